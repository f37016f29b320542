"""PostgreSQL: clients are killed, and the server crashes under load; what was acknowledged is there, once and whole."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator

import ingest_child
import pytest
from children import Nursery
from test_kill9 import check_jobs

from dwell.errors import StorageError, StoreOwnedError
from dwell.storage import Store, Transaction, Writer, open_store
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


def taken_over(url: str) -> Store:
    """Return a store whose owner was killed: its lock goes when the server has seen that, and ended what ran."""
    ends_at = time.monotonic() + 10.0
    while True:
        try:
            return open_store(url)
        except StoreOwnedError:
            assert time.monotonic() < ends_at, "the lock of a killed process lives on"


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
        store = taken_over(url)
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


class Load:
    """Threads that write and read, and go on whatever is answered; what was acknowledged, refused and seen."""

    def __init__(self, store: Store) -> None:
        self.acknowledged: list[str] = []
        self.refused: list[StorageError] = []
        self.seen: list[int] = []
        self._store = store
        self._writer = Writer(store)
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(N_THREADS)]
        self._threads.append(threading.Thread(target=self._read))
        for thread in self._threads:
            thread.start()

    def _write(self, name: int) -> None:
        i = 0
        while not self._is_over.is_set():
            event_id = f"thread{name}-{i}"
            try:
                self._writer.submit(job_for(event_id), event_ids=[event_id]).result()
            except StorageError as error:
                self.refused.append(error)
                time.sleep(0.02)
            else:
                self.acknowledged.append(event_id)
                i += 1

    def _read(self) -> None:
        while not self._is_over.is_set():
            try:
                with self._store.snapshot() as reader:
                    self.seen.append(reader.last_seq())
            except StorageError as error:
                self.refused.append(error)
            time.sleep(0.02)

    def goes_on(self) -> bool:
        """Return whether more than one event per thread is acknowledged from now on, within 20 s."""
        wanted = len(self.acknowledged) + N_THREADS
        ends_at = time.monotonic() + 20.0
        while len(self.acknowledged) <= wanted and time.monotonic() < ends_at:
            time.sleep(0.02)
        return len(self.acknowledged) > wanted

    def end(self) -> None:
        """Stop the threads, and write what waits."""
        self._is_over.set()
        for thread in self._threads:
            thread.join(30.0)
        self._writer.close()


def test_crashes_of_the_server_under_load_lose_nothing(url: str) -> None:
    store = open_store(url)
    load = Load(store)
    try:
        for i in range(N_RESTARTS):
            time.sleep(0.6)
            server().stop(signal.SIGQUIT if i % 2 == 0 else signal.SIGINT)
            time.sleep(0.1)
            server().start()
            assert load.goes_on(), "it does not go on by itself"
    finally:
        load.end()
    assert load.refused, "no crash met a call: nothing was tried"
    assert all(error.retryable for error in load.refused)
    assert load.seen == sorted(load.seen), "a later snapshot saw less"
    with store.snapshot() as reader:
        seqs = reader.seqs()
        assert seqs == list(range(1, reader.last_seq() + 1)), "no number is missing, none is left over"
        there = [impression.event_id for impression in reader.impressions(seqs)]
        signals = reader.signals(seqs)
    assert len(there) == len(set(there))
    assert set(load.acknowledged) <= set(there)
    assert all(len(found) == 1 for found in signals.values())
    assert store.verify() == []
    store.close()
