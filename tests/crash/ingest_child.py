"""Opens a store as its owner and writes from several threads, telling on standard output what is durable.

    python ingest_child.py <path> <number of this run>

Each line that it prints was written after the future of its job was resolved: "event_id". Every third job is a group of
four events in one job, whose line names them all: all of them are there, or none is. Every job leaves a change of
traces with its events, and now and then a job puts all changes into rows. It never ends by itself.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable

from dwell.storage import Transaction, Writer, open_store
from dwell.testing.store_samples import sample_impression, sample_signal

N_THREADS = 6
FOLDED = 16  # every so many changes they are put into rows


def check_value(event_id: str) -> str:
    """Return a text of up to 2,000 characters that only this event can hold."""
    digest = hashlib.sha256(event_id.encode()).hexdigest()
    return digest * (1 + int(digest[:2], 16) % 31)


def job_for(event_ids: list[str]) -> Callable[[Transaction], None]:
    """Return a job that stores events, each with a signal."""

    def job(tx: Transaction) -> None:
        for event_id in event_ids:
            seq = tx.add_impression(sample_impression(event_id, query=check_value(event_id)))
            tx.add_signal(seq, sample_signal(event_id))
        n = tx.add_trace_change(" ".join(event_ids).encode("ascii"))
        if n % FOLDED == 0:
            waiting = [event_id for _, body in tx.trace_changes() for event_id in body.decode("ascii").split()]
            tx.put_traces([(event_id, event_id.encode("ascii"), n) for event_id in waiting], applied=n)

    return job


def submit_for_ever(writer: Writer, name: str) -> None:
    """Submit one job after the other, acknowledging each once it is durable."""
    i = 0
    while True:
        n = 4 if i % 3 == 2 else 1
        event_ids = [f"{name}-{i}-{j}" for j in range(n)]
        writer.submit(job_for(event_ids), event_ids=event_ids).result()
        # one write call of less than a pipe's 4,096 atomic bytes: a line is whole or not there
        os.write(1, (" ".join(event_ids) + "\n").encode("ascii"))
        i += 1


def main(arguments: list[str]) -> None:
    """Run until killed."""
    path, run = arguments
    store = open_store(path)
    writer = Writer(store)
    os.write(1, b"open\n")
    threads = [
        threading.Thread(target=submit_for_ever, args=(writer, f"run{run}-thread{n}"), daemon=True)
        for n in range(N_THREADS)
    ]
    for thread in threads:
        thread.start()
    threads[0].join()


if __name__ == "__main__":
    main(sys.argv[1:])
