"""The one writer: in order, together to the disk, alone in failure, and never longer than there is room."""

import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest

from dwell.errors import ForkedError, StorageError, StoreClosedError
from dwell.storage import QueueFull, Store, Transaction, Writer, open_store, protocol
from dwell.testing.store_samples import sample_impression, sample_signal


class Gate:
    """A store whose commits wait until they are let through, and may be made to fail."""

    def __init__(self) -> None:
        self.store = open_store(":memory:")
        self.may_commit = threading.Event()
        self.has_begun = threading.Event()
        self.n_commits = 0
        self.failure: Exception | None = None

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self.store.transaction() as tx:
            self.has_begun.set()
            yield tx
            assert self.may_commit.wait(10)
            if self.failure is not None:
                raise self.failure
        self.n_commits += 1


@pytest.fixture
def gate() -> Iterator[Gate]:
    found = Gate()
    yield found
    found.may_commit.set()
    found.store.close()


@pytest.fixture(params=[":memory:", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    found = open_store(":memory:" if request.param == ":memory:" else str(tmp_path / "s"))
    yield found
    found.close()


def add(name: str):  # noqa: ANN201 - a job
    return lambda tx: tx.add_impression(sample_impression(name))


def fail(tx: Transaction) -> None:
    tx.add_impression(sample_impression("never"))
    tx.put_setting("never", b"")
    raise KeyError("on purpose")


def test_jobs_run_in_order_and_answer(store: Store) -> None:
    writer = Writer(store)
    futures = [writer.submit(add(f"e{i}"), event_ids=(f"e{i}",)) for i in range(500)]
    assert [future.result(10) for future in futures] == list(range(1, 501))
    writer.close()
    with store.snapshot() as reader:
        assert [found.event_id for found in reader.impressions([1, 2, 500])] == ["e0", "e1", "e499"]


def test_a_failing_job_fails_alone(store: Store) -> None:
    writer = Writer(store)
    futures = [writer.submit(fail if i % 3 == 1 else add(f"e{i}")) for i in range(30)]
    writer.close()
    for i, future in enumerate(futures):
        assert isinstance(future.exception(), KeyError) == (i % 3 == 1)
    with store.snapshot() as reader:
        assert reader.seqs() == list(range(1, 21))
        assert reader.setting("never") is None
        assert reader.event("never") is None


def test_a_future_is_resolved_after_its_commit(gate: Gate) -> None:
    writer = Writer(gate)
    future = writer.submit(add("a"))
    assert gate.has_begun.wait(10)
    time.sleep(0.02)
    assert not future.done()
    gate.may_commit.set()
    assert future.result(10) == 1
    writer.close()


def test_what_gathers_during_a_commit_is_one_group(gate: Gate) -> None:
    writer = Writer(gate, max_wait_s=10.0)  # computing time: a busy machine must not cut the group
    first = writer.submit(add("first"))
    assert gate.has_begun.wait(10)
    futures = [writer.submit(add(f"e{i}")) for i in range(50)]
    assert writer.n_queued == 50
    gate.may_commit.set()
    writer.flush()
    assert first.done()
    assert all(future.done() for future in futures)
    assert gate.n_commits == 2
    writer.close()


def test_jobs_that_nobody_waits_for_gather_until_one_comes_that_somebody_does(gate: Gate) -> None:
    gate.may_commit.set()
    writer = Writer(gate, gather_s=60.0)
    lying = [writer.submit(add(f"e{i}"), is_awaited=False) for i in range(5)]
    assert not gate.has_begun.wait(0.05)
    assert writer.submit(add("last")).result(10) == 6
    assert [future.result(10) for future in lying] == [1, 2, 3, 4, 5]
    assert gate.n_commits == 1
    writer.close()


def test_what_gathers_is_written_by_itself_by_a_flush_and_at_the_end(store: Store) -> None:
    writer = Writer(store, gather_s=0.005)
    assert writer.submit(add("alone"), is_awaited=False).result(10) == 1
    writer.close()
    writer = Writer(store, gather_s=60.0)
    flushed = writer.submit(add("flushed"), is_awaited=False)
    writer.flush()
    assert flushed.done()
    closed = writer.submit(add("closed"), is_awaited=False)
    writer.close()
    assert closed.done()


@pytest.mark.parametrize(("n_bytes", "n"), [(0, 100), (30, 2)])
def test_many_jobs_or_many_bytes_gather_no_longer(store: Store, n_bytes: int, n: int) -> None:
    writer = Writer(store, gather_s=60.0, max_bytes=100)
    futures = [writer.submit(add(f"e{i}"), n_bytes=n_bytes, is_awaited=False) for i in range(n)]
    assert [future.result(10) for future in futures] == list(range(1, n + 1))
    writer.close()


def test_a_failed_commit_fails_the_whole_group(gate: Gate) -> None:
    gate.failure = StorageError("the disk is full", code="disk_full")
    writer = Writer(gate)
    writer.submit(add("first"))
    assert gate.has_begun.wait(10)
    futures = [writer.submit(job) for job in (add("a"), fail, add("b"))]
    gate.may_commit.set()
    assert [getattr(future.exception(10), "code", None) for future in futures] == ["disk_full"] * 3
    gate.failure = None
    assert writer.submit(add("a")).result(10) == 1
    writer.close()


def test_a_transaction_that_can_not_begin_fails_those_that_wait(store: Store) -> None:
    writer = Writer(store)
    store.close()
    with pytest.raises(StoreClosedError):
        writer.submit(add("a")).result(10)
    writer.close()


def test_a_full_queue_refuses_at_once(gate: Gate) -> None:
    writer = Writer(gate, max_items=3, max_bytes=100)
    writer.submit(add("first"), n_bytes=100)
    assert gate.has_begun.wait(10)
    writer.submit(add("a"), n_bytes=60)
    with pytest.raises(QueueFull) as refusal:
        writer.submit(add("b"), n_bytes=41)
    assert refusal.value.code == "overloaded"
    writer.submit(add("b"), n_bytes=40)
    writer.submit(add("c"))
    with pytest.raises(QueueFull):
        writer.submit(add("d"))
    assert (writer.n_queued, writer.n_dropped) == (3, 2)
    gate.may_commit.set()
    writer.flush()
    assert writer.submit(add("d"), n_bytes=100).result(10) == 5
    writer.close()


def test_a_group_ends_in_time(gate: Gate) -> None:
    gate.may_commit.set()
    writer = Writer(gate, max_wait_s=0.0)
    futures = [writer.submit(add(f"e{i}")) for i in range(20)]
    assert [future.result(10) for future in futures] == list(range(1, 21))
    writer.close()
    assert gate.n_commits == 20


def test_a_cancelled_job_does_not_run(gate: Gate) -> None:
    writer = Writer(gate)
    writer.submit(add("first"))
    assert gate.has_begun.wait(10)
    cancelled = writer.submit(add("a"))
    assert cancelled.cancel()
    kept = writer.submit(add("b"))
    gate.may_commit.set()
    assert kept.result(10) == 2
    writer.close()


def test_closing_writes_what_waits(store: Store) -> None:
    writer = Writer(store)
    futures = [writer.submit(add(f"e{i}")) for i in range(2500)]
    writer.close()
    writer.close()
    assert all(future.done() for future in futures)
    with store.snapshot() as reader:
        assert reader.last_seq() == 2500
    with pytest.raises(StoreClosedError):
        writer.submit(add("late"))
    writer.flush()


def test_threads_lose_nothing(store: Store) -> None:
    writer = Writer(store)
    futures: list[Future[int]] = []

    def submit(name: int) -> None:
        for i in range(100):
            futures.append(writer.submit(add(f"{name}-{i}"), event_ids=(f"{name}-{i}",)))
            futures[-1].result(10)

    threads = [threading.Thread(target=submit, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert sorted(future.result() for future in futures) == list(range(1, 801))


def test_signals_of_one_group_find_their_impression(store: Store) -> None:
    writer = Writer(store)

    def join(name: str):  # noqa: ANN202 - a job
        def job(tx: Transaction) -> str:
            state = tx.event(name)
            return "orphan" if state is None else tx.add_signal(state.seq, sample_signal(name))

        return job

    names = [f"e{i}" for i in range(50)]
    early = [writer.submit(join(name), event_ids=(name,)) for name in names]
    made = [writer.submit(add(name), event_ids=(name,)) for name in names]
    late = [writer.submit(join(name), event_ids=(name,)) for name in names * 2]
    writer.close()
    assert {future.result() for future in early} == {"orphan"}
    assert [future.result() for future in made] == list(range(1, 51))
    assert [future.result() for future in late] == ["added"] * 50 + ["duplicate"] * 50


def test_a_forked_child_is_refused() -> None:
    writer = Writer(open_store(":memory:"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tested here
        child = os.fork()
    if child == 0:
        code = 0
        for use in (lambda: writer.submit(add("a")), writer.flush):
            try:
                use()
                code = 1
            except ForkedError:
                pass
        writer.close()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    writer.close()


EXITING = """
import sys
from dwell.storage import Writer, open_store
from dwell.testing.store_samples import sample_impression
writer = Writer(open_store(sys.argv[1]))
for i in range(300):
    writer.submit(lambda tx, i=i: tx.add_impression(sample_impression(f"e{i}")))
"""


def test_leaving_the_interpreter_writes_what_waits(tmp_path: Path, root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXITING, str(tmp_path / "s")],
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        timeout=30,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    store = open_store(str(tmp_path / "s"))
    with store.snapshot() as reader:
        assert reader.last_seq() == 300
    store.close()


def test_waiting_in_the_writers_own_thread_is_refused(store: Store) -> None:
    writer = Writer(store)
    said: list[str] = []

    def waits(_: object) -> None:
        try:
            writer.flush()
        except StorageError as error:
            said.append(error.code)

    writer.submit(waits).result(10)
    future = writer.submit(add("a"))
    future.add_done_callback(waits)
    writer.flush()
    writer.close()
    assert set(said) == {"in_callback"}


def test_a_callback_that_exits_does_not_stop_the_writer(gate: Gate) -> None:
    writer = Writer(gate)
    future = writer.submit(add("a"))
    assert gate.has_begun.wait(10)
    future.add_done_callback(lambda _: sys.exit(3))
    gate.may_commit.set()
    assert future.result(10) == 1
    assert writer.submit(add("b")).result(10) == 2
    writer.close()


def test_parked_signals_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_ORPHANS", 3)
    monkeypatch.setattr(protocol, "MAX_SIGNALS_PER_EVENT", 2)
    a = [sample_signal("a", at=float(i)) for i in range(3)]
    with store.transaction() as tx:
        assert [tx.add_orphan(s) for s in (*a, a[0])] == ["added", "added", "too_many", "duplicate"]
        undone = tx.savepoint()
        undone.__enter__()
        assert [tx.add_orphan(sample_signal(name)) for name in "bc"] == ["added", "overloaded"]
        assert not undone.__exit__(KeyError, KeyError(), None)
        assert tx.add_orphan(sample_signal("c")) == "added"
        assert tx.add_orphan(sample_signal("d")) == "overloaded"
    with store.transaction() as tx:
        assert tx.add_orphan(sample_signal("d")) == "overloaded"
        assert len(tx.take_orphans("a")) == 2
        assert [tx.add_orphan(sample_signal(name)) for name in "def"] == ["added", "added", "overloaded"]
        seq = tx.add_impression(sample_impression("z"))
        z = [sample_signal("z", at=float(i)) for i in range(3)]
        assert [tx.add_signal(seq, s) for s in (*z, z[0])] == ["added", "added", "too_many", "duplicate"]


def test_a_signal_is_known_by_its_instant_as_given_and_kept_with_the_credited_one(store: Store) -> None:
    given = sample_signal("a", at=90.0)
    with store.transaction() as tx:
        seq = tx.add_impression(sample_impression("a"))
        assert tx.add_signal(seq, given, credited_at=10.0) == "added"
        assert tx.add_signal(seq, given, credited_at=20.0) == "duplicate"
        assert tx.add_signal(seq, sample_signal("a", at=91.0), credited_at=10.0) == "added"
        assert [signal.at for signal in tx.signals([seq])[seq]] == [10.0, 10.0]
