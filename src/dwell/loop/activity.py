"""Activation of a loop's items: kept in step with the facts, durable with them, written behind.

What an event changes is worked out inside the transaction that stores it and written there as one entry of a redo log;
the sums in memory follow after the commit. Rows of sums are written about once a second, in one transaction with the
number of the newest entry that they hold, which drops the entries up to it. After a crash rows and the entries that are
left give the sums as they were: no event is counted twice, none is lost.

Where several processes serve, each adds the entries of all in the order of their numbers, so that all have the same
sums, to the bit. One of them writes the rows: whoever finds that nobody else has since he looked last. The entries that
are in the rows stay for some seconds, for those that are a little behind; who is further behind reads the rows anew.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
import numpy as np

from dwell.activation import FEATURES
from dwell.activation.journal import Increment, Journal
from dwell.errors import DwellError, StorageError
from dwell.loop.activity_rows import Activity, dates_of, flush, flushed, has_missed, increments_of, loaded, reloaded
from dwell.loop.sessions import Sessions, Window
from dwell.storage import EventState, Reader, Store, Transaction, Writer

__all__ = [
    "FEATURES",
    "Activity",
    "Change",
    "Watch",
    "dates_of",
    "flush",
    "flushed",
    "follow_commit",
    "follow_others",
    "loaded",
    "with_activation",
]

_log = logging.getLogger("dwell")

T = TypeVar("T")

_FLUSH_S: Final = 1.0  # facts on activation: rows are coalesced for at most a second

_encode: Final = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Change:
    """What one job has changed, durable with its facts.

    Attributes:
        n: Number of its entry in the redo log.
        increments: What is added to the sums.
    """

    n: int
    increments: list[Increment]


@dataclass(slots=True, eq=False)
class Watch:
    """Collects what one job changes.

    Attributes:
        sessions: Who has seen what.
        increments: What was found so far.
    """

    sessions: Sessions
    increments: list[Increment] = field(default_factory=list)
    _journals: dict[str, Journal] = field(default_factory=dict)
    _windows: set[Window] = field(default_factory=set)

    def expect(self, reader: Reader, event: EventState) -> None:
        """Look at an event before anything of it changes."""
        window = self.sessions.window_of(event)
        if window is not None:
            self._windows.add(window)
        self._journals[event.event_id] = self.sessions.journal(reader, event)

    def served(self, event: EventState) -> None:
        """Take in a list that was stored, or shown, just now."""
        self.increments += self.sessions.serve(self._journals[event.event_id], event)

    def reacted(self, reader: Reader, event: EventState) -> None:
        """Take in the signals of an event, of which some were stored just now."""
        signals = reader.signals([event.seq])[event.seq]
        self.increments += self.sessions.react(self._journals[event.event_id], event, signals)

    def erased(self, reader: Reader, user: str) -> None:
        """Take away what all events of a user added, before they go; other users' events do not depend on them."""
        events = reader.events_of(user, since=0.0, until=np.inf)
        for found in self.sessions.all_of(reader, events):
            self.increments += [(item, at_us, -reward, -exposure) for item, at_us, reward, exposure in found]
        self.sessions.clear()

    def change(self, tx: Transaction) -> Change | None:
        """Write what was found, and return it; None where nothing changed."""
        if not self.increments:
            return None
        return Change(tx.add_trace_change(_encode(self.increments)), self.increments)

    def undone(self) -> None:
        """Forget what was looked at: nothing of it has happened."""
        self.sessions.forget(self._windows)


def with_activation(
    activity: Activity | None, store: Store, job: Callable[[Transaction, Watch | None], T]
) -> tuple[Callable[[Transaction], T], Callable[[Future[Any]], None]]:
    """Return a job for the writer, and what is to be called in its thread when the job's future is done.

    Args:
        activity: None where activation is not kept; then nothing is watched.
        store: Asked for what another process changed meanwhile, as an erasure does.
        job: Called with the transaction and what it is to tell of changes.
    """
    if activity is None:
        return lambda tx: job(tx, None), lambda _: None
    watches: list[Watch] = []
    found: list[Change] = []

    def watched(tx: Transaction) -> T:
        sessions = activity.sessions
        sessions.keep_up(tx, store.data_version() if activity.is_shared else None)
        watch = Watch(sessions)
        watches[:] = [watch]
        try:
            result = job(tx, watch)
            change = watch.change(tx)
        except BaseException:
            watch.undone()
            raise
        finally:
            sessions.trim()
        found[:] = [] if change is None else [change]
        return result

    def done(written: Future[Any]) -> None:
        activity.sessions.leave()
        if written.cancelled() or written.exception() is not None:
            for watch in watches:
                watch.undone()
            return
        for change in found:
            if activity.is_following:
                _take_in(activity, store, change)

    return watched, done


def _take_in(activity: Activity, store: Store, change: Change) -> None:
    """Add a change to the sums, after those of other processes that stand before it."""
    if change.n == activity.applied + 1:
        activity.activation.apply(change.increments)
        activity.applied = change.n
    elif change.n > activity.applied:
        _catch_up(activity, store)


def _catch_up(activity: Activity, store: Store) -> None:
    """Add whatever stands in the redo log and not in the sums; where it can not be read, the next time does it."""
    try:
        with store.snapshot() as reader:
            entries = reader.trace_changes(after=activity.applied)
            if activity.is_shared and has_missed(activity, reader, entries):
                reloaded(activity, reader)
                return
        for n, body in entries:
            activity.activation.apply(increments_of(body))
            activity.applied = n
    except DwellError as error:
        _log.warning("activation lags behind the facts until these can be read again: %s", error)


def follow_others(activity: Activity | None, store: Store, writer: Writer | None) -> None:
    """Have the sums take in what another process changed, soon: its erasure must not wait for our next event.

    Args:
        activity: None where activation is not kept.
        store: Where the changes stand.
        writer: The store's; None where it is another process's.
    """
    if activity is None or writer is None or not activity.is_following:
        return

    def done(written: Future[None]) -> None:
        if written.exception() is None:
            _catch_up(activity, store)

    with contextlib.suppress(StorageError):  # a full queue: whatever is in it will do
        writer.submit(lambda _: None, is_awaited=False, then=done)


def follow_commit(activity: Activity | None, writer: Writer | None, now: float) -> None:
    """Have rows written where it is time to; called after a commit, in the writer's thread.

    Args:
        activity: None where activation is not kept.
        writer: The store's.
        now: Monotonic seconds.
    """
    if activity is None or writer is None or activity.is_flushing or now - activity.flushed_at < _FLUSH_S:
        return
    activity.is_flushing, activity.flushed_at = True, now

    def done(written: Future[int]) -> None:
        activity.is_flushing = False
        flushed(activity, written)

    try:
        writer.submit(lambda tx: flush(activity, tx), is_awaited=False, then=done)
    except StorageError:  # a full queue, or the end: what is not written stands in the redo log
        activity.is_flushing = False
