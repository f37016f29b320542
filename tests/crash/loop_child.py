"""Opens a loop and serves from several threads, telling on standard output what is durable.

    python loop_child.py <path> <number of this run> [durability] ["exits": ends in order when asked by SIGTERM]

Each event is a ranked or a logged list, followed by feedback that is waited for: one click, or for every third event
four clicks in one call, which is one commit. A line is an event id, written after the answer said "joined" or "late",
or "! <event id> <answer>" for any other answer. One more thread closes events all the time. It never ends by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
import threading
import time
from typing import Any

import numpy as np

import dwell
from dwell.errors import StorageError, StoreClosedError

N_THREADS = 5
N_DOCUMENTS = 6
FEATURES = ("bm25", "cosine")
START = 1_700_000_000.0
WINDOW_S = 5.0  # an event is served per second of the children's own clock: the newest few of each thread are open


def check_text(event_id: str) -> str:
    """Return a text of up to 2,000 characters that only this event can hold."""
    digest = hashlib.sha256(event_id.encode()).hexdigest()
    return digest * (1 + int(digest[:2], 16) % 31)


def check_features(event_id: str, document: str) -> list[float]:
    """Return two float32 numbers in [0, 1) that only this document of this event can have."""
    digest = hashlib.sha256(f"{event_id} {document}".encode()).digest()
    return [float(np.float32(int.from_bytes(digest[8 * j : 8 * j + 3], "little") / 2**24)) for j in range(2)]


def candidates_of(event_id: str) -> list[dict[str, Any]]:
    """Return the candidates of an event, in the caller's order."""
    ids = [f"{event_id}/doc-{j}" for j in range(N_DOCUMENTS)]
    return [{"id": i, **dict(zip(FEATURES, check_features(event_id, i), strict=True))} for i in ids]


def number_of(event_id: str) -> int:
    """Return which event of its thread it is."""
    return int(event_id.rsplit("-", 1)[1])


def n_clicks_of(event_id: str) -> int:
    """Return how many clicks are sent for an event, in one call."""
    return 4 if number_of(event_id) % 3 == 2 else 1


def serve(loop: dwell.Loop, event_id: str) -> list[dwell.Feedback]:
    """Rank or log one list, send its clicks, and return what became of them."""
    now = START + number_of(event_id)
    text, found = check_text(event_id), candidates_of(event_id)
    if number_of(event_id) % 3 == 1:
        loop.log_retrieval(text, found, event_id=event_id, now=now)
        shown = [document["id"] for document in found]
    else:
        shown = loop.rank(text, found, event_id=event_id, user=f"user-{now % 50:.0f}", now=now).ids
    if n_clicks_of(event_id) == 1:
        return [loop.feedback(event_id, "click", doc=shown[0], now=now + 1.0)]
    clicks = [{"event_id": event_id, "signal": "click", "doc": doc} for doc in shown[:4]]
    return loop.feedback_many(clicks, now=now + 1.0)


def tell(words: str) -> None:
    """Write a line in one call of less than a pipe's 4,096 atomic bytes: it is whole or not there."""
    os.write(1, (words.replace("\n", " ")[:1_000] + "\n").encode("ascii", "replace"))


def serve_for_ever(loop: dwell.Loop, name: str) -> None:
    """Serve one list after the other, telling of each once it is durable."""
    i = 0
    while True:
        event_id = f"{name}-{i}"
        try:
            answers = serve(loop, event_id)
        except StoreClosedError:  # the process is ending
            return
        refused = [answer for answer in answers if answer.status not in {"joined", "late"}]
        tell(f"! {event_id} {refused[0]}" if refused else event_id)
        i += 1


def close_for_ever(loop: dwell.Loop) -> None:
    """Close events whose window is over by the clock of the last one served."""
    while True:
        with contextlib.suppress(StorageError):  # where a disk fails now and then, the next time does it
            loop.close_events(now=START + 10_000.0)
        time.sleep(0.01)


def opened(path: str, durability: str) -> dwell.Loop:
    """Return the loop, at the twentieth try at the latest: where a disk fails now and then, one succeeds."""
    for _ in range(19):
        try:
            return dwell.open(path, features=FEATURES, durability=durability, attribution_window_s=WINDOW_S)
        except StorageError as error:
            tell(f"! open {error.code}: {error}")
    return dwell.open(path, features=FEATURES, durability=durability, attribution_window_s=WINDOW_S)


def main(arguments: list[str]) -> None:
    """Run until killed."""
    path, run, durability, manner = [*arguments, "full", "dies"][:4] if len(arguments) < 3 else [*arguments, "dies"][:4]
    if manner == "exits":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    loop = opened(path, durability)
    tell("open")
    threads = [
        threading.Thread(target=serve_for_ever, args=(loop, f"run{run}-thread{n}"), daemon=True)
        for n in range(N_THREADS)
    ]
    threads.append(threading.Thread(target=close_for_ever, args=(loop,), daemon=True))
    for thread in threads:
        thread.start()
    threads[0].join()


if __name__ == "__main__":
    main(sys.argv[1:])
