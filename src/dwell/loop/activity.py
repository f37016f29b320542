"""Activation of a loop's items: kept in step with the facts, durable with them, written behind.

What an event changes is worked out inside the transaction that stores it and written there as one entry of a redo log;
the sums in memory follow after the commit. Rows of sums are written about once a second, in one transaction with the
number of the newest entry that they hold, which drops the entries up to it. After a crash rows and the entries that are
left give the sums as they were: no event is counted twice, none is lost.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
import numpy as np

from dwell.activation import FEATURES, NEVER_US, Activation
from dwell.activation.instants import US_PER_S
from dwell.activation.journal import Increment, Journal
from dwell.config import NEVER_FORGET_NATS, ActivationSettings
from dwell.errors import DwellError, RecordError, StorageError
from dwell.loop.kept_rules import KeptRules
from dwell.loop.sessions import Sessions, Window
from dwell.records.arrays import Float32Array
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

_ROUNDING_NATS: Final = 1e-9
_FLUSH_S: Final = 1.0  # facts on activation: rows are coalesced for at most a second
_DATES: Final = "activation_dates"  # setting of the tenant: for which decay and threshold dates of forgetting stand

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Increment]).decode


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
class Activity:
    """Activation with what keeps it in step. Only the writer's thread changes it; anybody may read.

    Attributes:
        activation: The sums, and how they are read.
        sessions: Who has seen what.
        settings: As configured.
        applied: Number of the newest entry of the redo log that the sums hold.
        flushed_at: Monotonic seconds of the last time that rows were written.
        is_flushing: Whether a flush waits to be written.
        is_all_due: Whether the next flush writes every row.
        owed: Items whose rows were given to a flush that is not known to be on disk.
        is_following: Whether the sums follow the facts: in the process that takes them in, and there alone.
        asked: What a rebuild goes over to; None where the sums are kept by it.
    """

    activation: Activation
    sessions: Sessions
    settings: ActivationSettings
    applied: int = 0
    flushed_at: float = 0.0
    is_flushing: bool = False
    is_all_due: bool = False
    owed: set[str] = field(default_factory=set)
    is_following: bool = True
    asked: KeptRules | None = None

    def features(self, ids: Sequence[str], now: float) -> Float32Array:
        """Return `FEATURES` of candidates as of now, float32 (n, 3).

        Activation is in nats above that of an item that nobody has seen, within `limit_nats` of it: whatever decays
        can hold back no more than that.
        """
        found = self.activation.features(ids, round(now * US_PER_S))
        limit = self.settings.limit_nats
        above = np.clip(found[:, 0] - self.activation.prior.activation, -limit, limit)
        above[np.abs(above) < _ROUNDING_NATS] = 0.0  # nobody has seen it: the same for all such items, to the bit
        found[:, 0] = above
        return found.astype(np.float32)


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
        sessions.keep_up(tx)
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
        for n, body in entries:
            activity.activation.apply(_increments(body))
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


def loaded(activity: Activity, store: Store) -> None:
    """Bring activation to where the store is: its rows, and the redo entries that these do not hold yet.

    Raises:
        RecordError: code `corrupt`.
    """
    with store.snapshot() as reader:
        activity.activation.load(reader.traces())
        for n, body in reader.trace_changes():
            activity.activation.apply(_increments(body))
            activity.applied = n
        is_dated = reader.setting(_DATES) == _dates_body(activity.settings)
    if not is_dated:
        activity.is_all_due = True  # dates of forgetting are for another decay or threshold


def _increments(body: bytes) -> list[Increment]:
    try:
        return _decode(body)
    except msgspec.DecodeError as error:
        raise RecordError(
            f"a change of activation can not be read: {error}",
            code="corrupt",
            field="trace_changes",
            hint="Restore the store from a backup, or drop the activation features and rebuild.",
        ) from error


def flush(activity: Activity, tx: Transaction) -> int:
    """Write the rows that changed since the last time; return how many. For the writer's thread.

    Until `flushed` is told that they are on disk, the next flush writes them again.
    """
    activation = activity.activation
    changes = activation.take_changes(everything=activity.is_all_due)
    new = {item for item, _ in changes.rows}.union(changes.removed)
    owed = sorted(activity.owed - new)
    activity.owed |= new
    known = [item for item in owed if item in activation]
    packed = [*changes.rows, *(activation.rows(known) if known else ())]
    removed = [*changes.removed, *(item for item in owed if item not in activation)]
    dates = dates_of(activity, [item for item, _ in packed])
    rows = [(item, row, date) for (item, row), date in zip(packed, dates, strict=True)]
    tx.put_traces(rows, removed=removed, applied=activity.applied)
    body = _dates_body(activity.settings)
    if tx.setting(_DATES) != body:
        tx.put_setting(_DATES, body)
    return len(rows)


def flushed(activity: Activity, written: Future[Any]) -> None:
    """Take note of what became of a flush; called in the writer's thread."""
    if written.exception() is None:
        activity.is_all_due = False
        activity.owed.clear()
    else:
        _log.warning("activation was not written, and is kept for the next time: %s", written.exception())


def dates_of(activity: Activity, items: Sequence[str]) -> list[int | None]:
    """Return from which instant on each item is below the threshold, None for never; the settings may have none."""
    threshold = activity.settings.forget_below_nats
    if not items or threshold == NEVER_FORGET_NATS:
        return [None] * len(items)
    found = activity.activation.forget_date(items, threshold).tolist()
    return [None if date == NEVER_US else date for date in found]


def _dates_body(settings: ActivationSettings) -> bytes:
    return msgspec.msgpack.encode([settings.decay, settings.forget_below_nats])


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
