"""PostgreSQL: clients are killed, and the server crashes under load; what was acknowledged is there, once and whole."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator

import ingest_child
import psycopg
import pytest
from children import Nursery
from test_kill9 import check_jobs

from dwell.errors import QueueFull, StorageError
from dwell.storage import Transaction, Writer, open_store, postgres_sessions
from dwell.testing.store_samples import sample_impression, sample_signal

from ..postgres import emptied_database, server  # noqa: TID252 - tests are no installed package

pytestmark = pytest.mark.crash

N_KILLS = 4
N_RESTARTS = 3
N_THREADS = 4


@pytest.fixture
def url() -> Iterator[str]:
    with emptied_database() as found:
        yield found


def test_kill9_of_its_owner_loses_nothing_and_the_next_one_takes_over(
    url: str, nursery: Callable[..., Nursery]
) -> None:
    rng = random.Random(21)
    acknowledged: set[str] = set()
    born = nursery()
    for run in range(N_KILLS):
        child = born.start("ingest_child", url, run)
        assert child.line() == "open"
        lines = child.killed_after(rng, 0.4)
        acknowledged.update(event_id for line in lines for event_id in line.split())
        store = open_store(url)  # at once: the lock went with the process
        n = check_jobs(store, acknowledged)
        store.close()
    assert n >= len(acknowledged) > N_KILLS


def job_for(event_id: str) -> Callable[[Transaction], None]:
    """Return a job that may be sent again, as a client does that does not know what became of it."""

    def job(tx: Transaction) -> None:
        if tx.event(event_id) is None:
            seq = tx.add_impression(sample_impression(event_id, query=ingest_child.check_value(event_id)))
            tx.add_signal(seq, sample_signal(event_id))

    return job


def test_crashes_of_the_server_under_load_lose_nothing(url: str) -> None:
    store = open_store(url)
    writer = Writer(store)
    is_over = threading.Event()
    acknowledged: list[str] = []
    refused: list[StorageError] = []
    reads: list[int] = []

    def write(name: int) -> None:
        i = 0
        while not is_over.is_set():
            event_id = f"thread{name}-{i}"
            try:
                writer.submit(job_for(event_id), event_ids=[event_id]).result()
            except StorageError as error:
                refused.append(error)
                time.sleep(0.02)
            else:
                acknowledged.append(event_id)
                i += 1

    def read() -> None:
        while not is_over.is_set():
            try:
                with store.snapshot() as reader:
                    reads.append(reader.last_seq())
            except StorageError as error:
                refused.append(error)
            time.sleep(0.02)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(N_THREADS)] + [threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    n_before = [0]
    try:
        for i in range(N_RESTARTS):
            time.sleep(0.6)
            server().stop(signal.SIGQUIT if i % 2 == 0 else signal.SIGINT)
            time.sleep(0.1)
            server().start()
            n_before.append(len(acknowledged))
            ends_at = time.monotonic() + 20.0
            while len(acknowledged) <= n_before[-1] + N_THREADS and time.monotonic() < ends_at:
                time.sleep(0.02)
            assert len(acknowledged) > n_before[-1] + N_THREADS, "it does not go on by itself"
    finally:
        is_over.set()
        for thread in threads:
            thread.join(30.0)
    writer.close()
    assert refused, "no crash met a call: nothing was tried"
    assert all(error.retryable for error in refused if not isinstance(error, QueueFull))
    assert reads == sorted(reads), "a later snapshot saw less"
    with store.snapshot() as reader:
        seqs = reader.seqs()
        assert seqs == list(range(1, reader.last_seq() + 1)), "no number is missing, none is left over"
        there = [impression.event_id for impression in reader.impressions(seqs)]
        signals = reader.signals(seqs)
    assert len(there) == len(set(there))
    assert set(acknowledged) <= set(there)
    assert len(acknowledged) == len(set(acknowledged))
    assert all(len(found) == 1 for found in signals.values())
    assert store.verify() == []
    store.close()
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT last_seq FROM dwell.tenants").fetchall()
    assert found == [(len(there),)]
    assert postgres_sessions._AWAY_S < 0.6
