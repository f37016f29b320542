"""One queue and one thread through which everything is written, many jobs to a commit."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, TypeVar

from dwell.errors import ForkedError, QueueFull, StorageError, StoreClosedError
from dwell.storage.protocol import Store, Transaction

__all__ = ["QueueFull", "Writer"]

T = TypeVar("T")

_MOST_JOBS: Final = 1000  # per commit: beyond it the cost per job no longer falls
# What is taken and put back costs, too: with 30 that fit and 1,000 taken it was an eighth of all time
# (benchmarks/activation.py --only durable)
_FEWEST_JOBS: Final = 16
# A choice: a commit costs processor time however little is in it, and fifty a second of them are few; what nobody waits
# for may be lost by a crash for as long. How much `rank` costs with it: benchmarks/service.py cost.
_GATHER_S: Final = 0.020
_MOST_GATHERED: Final = 100  # beyond it a commit's own cost is lost among that of its jobs


class _Item(NamedTuple):
    job: Callable[[Transaction], Any]
    future: Future[Any]
    n_bytes: int
    event_ids: Sequence[str]
    is_awaited: bool


class _Result(NamedTuple):
    value: Any
    error: BaseException | None


class Writer:
    """Runs jobs in the order in which they were given, each alone in failure, many together in one commit.

    A job runs in a savepoint of the group's transaction: if it raises, its own writes are undone and its own future
    gets the error. Futures are resolved after the commit, never before. If the commit fails, all futures of the group
    get its error. While one commit is on its way to the disk the next group gathers. A job that somebody waits for
    starts as soon as the queue is idle, and takes with it what came before; others gather for a moment first.

    Args:
        store: Opened as owner or admin; the caller closes it, after the writer.
        max_items: Jobs that may wait.
        max_bytes: Bytes that may wait, as told to `submit`.
        max_wait_s: Computing time that the jobs of a group may take before it commits, so that the first one does not
            wait for a thousand others.
        gather_s: How long jobs that nobody waits for may lie before a group is begun for them.
    """

    def __init__(
        self,
        store: Store,
        *,
        max_items: int = 10_000,
        max_bytes: int = 64_000_000,
        max_wait_s: float = 0.010,
        gather_s: float = _GATHER_S,
    ) -> None:
        self._store = store
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._max_wait_s = max_wait_s
        self._gather_s = gather_s
        self._pid = os.getpid()
        self._queue: deque[_Item] = deque()
        self._n_bytes = 0
        self._n_awaited = 0  # jobs in the queue, and flushes, that somebody waits for
        self._n_taken = 0  # jobs ever taken into the queue
        self._n_done = 0  # jobs ever resolved
        self._n_dropped = 0
        self._is_closing = False
        self._most_jobs = _MOST_JOBS  # of a group; fewer where the last one had no time for so many
        lock = threading.Lock()
        self._has_work = threading.Condition(lock)
        self._is_done = threading.Condition(lock)
        self._thread = threading.Thread(target=self._run, name="dwell-writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # a daemon thread is frozen at exit: what waits is written before

    @property
    def n_queued(self) -> int:
        """Jobs that wait."""
        return len(self._queue)

    @property
    def n_dropped(self) -> int:
        """Jobs that were refused because the queue was full."""
        return self._n_dropped

    def submit(
        self,
        job: Callable[[Transaction], T],
        *,
        n_bytes: int = 0,
        event_ids: Sequence[str] = (),
        is_awaited: bool = True,
        then: Callable[[Future[T]], None] | None = None,
    ) -> Future[T]:
        """Return the future of a job's result, resolved once it is on disk; never blocks.

        Args:
            job: Called with the transaction, in the writer's thread.
            n_bytes: What it holds in memory while it waits.
            event_ids: The events that it is about: what is known of all events of a group is read at once, which is
                worth much beside a thread that computes without pause.
            is_awaited: False where nobody waits for the future: the job may lie for `gather_s`, so that others share
                its commit.
            then: Called with the future once it is resolved: always in the writer's thread, in the order of the jobs,
                and before the next group runs. A callback that is added to the future afterwards may come too late for
                that, and runs in the thread that adds it then.

        Raises:
            QueueFull: There is no room.
            StoreClosedError: The writer was closed.
            ForkedError: It was inherited through fork.
        """
        self._check_not_forked()
        future: Future[T] = Future()
        if then is not None:
            future.add_done_callback(then)
        with self._has_work:
            if self._is_closing:
                raise StoreClosedError("the writer was closed", hint="Open the store anew.")
            if len(self._queue) >= self._max_items or self._n_bytes + n_bytes > self._max_bytes:
                self._n_dropped += 1
                raise QueueFull(
                    f"{len(self._queue)} jobs of {self._n_bytes} bytes wait to be written",
                    hint="Write less, or let the disk catch up; what was refused is counted.",
                )
            self._queue.append(_Item(job, future, n_bytes, event_ids, is_awaited))
            self._n_bytes += n_bytes
            self._n_awaited += is_awaited
            self._n_taken += 1
            # One that only joins those that gather wakes nobody: waking costs as much as queueing
            if len(self._queue) == 1 or self._is_due():
                self._has_work.notify()
        return future

    def check_may_wait(self) -> None:
        """Return where a thread may wait for the writer: everywhere but in the writer's own thread.

        Jobs and the callbacks of futures run in that thread: what they wait for would never be written.

        Raises:
            StorageError: code `in_callback`.
        """
        if threading.get_ident() == self._thread.ident:
            raise StorageError(
                "the callback of a future can not wait for the thread that it runs in",
                code="in_callback",
                hint="Do it from another thread; submitting without waiting is possible here.",
            )

    def flush(self) -> None:
        """Return when everything that was submitted before is on disk, or has failed.

        Raises:
            ForkedError: The writer was inherited through fork.
            StorageError: code `in_callback`: called in the writer's own thread.
        """
        self._check_not_forked()
        self.check_may_wait()
        with self._is_done:
            wanted = self._n_taken
            self._n_awaited += 1
            self._has_work.notify()
            try:
                self._is_done.wait_for(lambda: self._n_done >= wanted)
            finally:
                self._n_awaited -= 1

    def close(self) -> None:
        """Write what waits, then stop; closing twice is legal. In a forked child nothing is touched."""
        if self._pid != os.getpid():
            return
        with self._has_work:
            self._is_closing = True
            self._has_work.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        atexit.unregister(self.close)

    def _check_not_forked(self) -> None:
        if self._pid != os.getpid():
            raise ForkedError(
                f"the writer was started by process {self._pid} and inherited through fork",
                hint="Open the store anew in the child.",
            )

    def _run(self) -> None:
        while True:
            with self._has_work:
                self._has_work.wait_for(lambda: self._queue or self._is_closing)
                if not self._queue:
                    return
                self._has_work.wait_for(self._is_due, timeout=self._gather_s)
                group = self._taken()
            self._write(group)

    def _is_due(self) -> bool:
        """Return whether what is queued is to be written without gathering any longer."""
        return (
            self._n_awaited > 0
            or self._is_closing
            or len(self._queue) >= _MOST_GATHERED
            or 2 * self._n_bytes > self._max_bytes
        )

    def _taken(self) -> list[_Item]:
        group = [self._queue.popleft() for _ in range(min(self._most_jobs, len(self._queue)))]
        self._n_bytes -= sum(item.n_bytes for item in group)
        self._n_awaited -= sum(item.is_awaited for item in group)
        return group

    def _put_back(self, items: list[_Item]) -> None:
        items = [item._replace(is_awaited=True) for item in items]  # they have lain long enough
        with self._has_work:
            self._queue.extendleft(reversed(items))
            self._n_bytes += sum(item.n_bytes for item in items)
            self._n_awaited += len(items)

    def _write(self, group: list[_Item]) -> None:
        results: list[_Result] = []
        try:
            with self._store.transaction() as tx:
                self._run_jobs(tx, group, results)
        except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits for it
            n_run = len(results) or len(group)
            for item in group[:n_run]:
                _resolve(item.future, _Result(None, error))
        else:
            n_run = len(results)
            for item, result in zip(group, results, strict=False):
                _resolve(item.future, result)
        if n_run < len(group):
            self._put_back(group[n_run:])
            self._most_jobs = max(_FEWEST_JOBS, 2 * n_run)
        else:
            self._most_jobs = min(2 * self._most_jobs, _MOST_JOBS)
        with self._is_done:
            self._n_done += n_run
            self._is_done.notify_all()

    def _run_jobs(self, tx: Transaction, group: list[_Item], results: list[_Result]) -> None:
        tx.prefetch([event_id for item in group for event_id in item.event_ids])
        # This thread's own time: beside a busy thread the clock runs on while nothing of the group is done, and groups
        # of one job would make that worse
        ends_at = time.thread_time() + self._max_wait_s
        for item in group:
            results.append(_run_job(tx, item))
            if time.thread_time() >= ends_at:
                return


def _run_job(tx: Transaction, item: _Item) -> _Result:
    if item.future.cancelled():
        return _Result(None, None)
    try:
        with tx.savepoint():
            return _Result(item.job(tx), None)
    except BaseException as error:  # noqa: BLE001 - it belongs to the caller, and must not take the others down
        return _Result(None, error)


def _resolve(future: Future[Any], result: _Result) -> None:
    if not future.set_running_or_notify_cancel():
        return
    # A callback that exits its thread must not take the writer with it: the future has its result by then
    with contextlib.suppress(BaseException):
        if result.error is None:
            future.set_result(result.value)
        else:
            future.set_exception(result.error)
