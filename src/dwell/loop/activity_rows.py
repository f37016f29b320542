"""The sums of activation, and the rows in which a store keeps them: read at the opening, written about once a second.

Rows come with the number of the newest entry of the redo log that they hold. Where one process follows the facts the
entries up to it are dropped with the same commit. Where several do, all of them keep the sums and one writes the rows:
whoever finds that nobody else has since he looked last. Entries then stay for some seconds, for those that are a little
behind; who is further behind reads the rows anew.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from dwell.activation import LADDER_12, LADDER_14, NEVER_US, Activation, Prior
from dwell.activation.instants import US_PER_S
from dwell.activation.journal import Increment
from dwell.activation.table import Changes
from dwell.config import NEVER_FORGET_NATS, ActivationSettings
from dwell.errors import RecordError
from dwell.loop.kept_rules import KeptRules, rules_in
from dwell.loop.sessions import Sessions
from dwell.records.arrays import Float32Array
from dwell.storage import Reader, Store, Transaction

__all__ = [
    "Activity",
    "dates_of",
    "flush",
    "flushed",
    "fresh_activation",
    "has_missed",
    "increments_of",
    "loaded",
    "reloaded",
]

_log = logging.getLogger("dwell")

_ROUNDING_NATS: Final = 1e-9
_DATES: Final = "activation_dates"  # setting of the tenant: for which decay and threshold dates of forgetting stand
_ROWS: Final = "activation_rows"  # setting of the tenant: which entries the rows hold, see `_Rows`
_KEPT_FLUSHES: Final = 10  # entries stay so many flushes where others follow, some ten seconds: a look is half a second

_decode: Final = msgspec.msgpack.Decoder(list[Increment]).decode


class _Rows(NamedTuple):
    """What the rows on disk hold.

    Attributes:
        applied: Number of the newest entry that is in them.
        generation: Grows where they were changed by more than entries: pinned, forgotten, made anew.
    """

    applied: int = 0
    generation: int = 0


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
        owed: Items whose rows are not known to be on disk, with the newest entry that they held then.
        is_following: Whether the sums follow the facts: in the processes that take them in, and there alone.
        asked: What a rebuild goes over to; None where the sums are kept by it.
        is_shared: Whether other processes take in facts as well.
        generation: That of the rows which the sums come from.
        rows_seen: The newest entry in the rows when they were last looked at or written.
        kept_flushes: Newest entries of the last flushes, oldest first.
    """

    activation: Activation
    sessions: Sessions
    settings: ActivationSettings
    applied: int = 0
    flushed_at: float = 0.0
    is_flushing: bool = False
    is_all_due: bool = False
    owed: list[tuple[int, set[str]]] = field(default_factory=list)
    is_following: bool = True
    asked: KeptRules | None = None
    is_shared: bool = False
    generation: int = 0
    rows_seen: int = 0
    kept_flushes: deque[int] = field(default_factory=lambda: deque(maxlen=_KEPT_FLUSHES))

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


def fresh_activation(settings: ActivationSettings) -> Activation:
    """Return an activation that has seen nothing."""
    return Activation(
        decay=settings.decay,
        ladder=LADDER_12 if settings.n_rates == LADDER_12.size else LADDER_14,
        prior=Prior(base_rate=settings.base_rate, n_exposures=settings.prior_exposures),
        session_cap=None,  # the cap is the log's
    )


def loaded(activity: Activity, store: Store) -> None:
    """Bring activation to where the store is: its rows, and the redo entries that these do not hold yet.

    Raises:
        RecordError: code `corrupt`.
    """
    with store.snapshot() as reader:
        activity.applied = _read_into(activity.activation, reader)
        rows = _rows_in(reader)
        activity.generation, activity.rows_seen = rows.generation, rows.applied
        is_dated = reader.setting(_DATES) == _dates_body(activity.settings)
    if not is_dated:
        activity.is_all_due = True  # dates of forgetting are for another decay or threshold


def _read_into(activation: Activation, reader: Reader) -> int:
    """Fill an empty activation with the rows and the entries that these do not hold; return the newest one's number."""
    applied = _rows_in(reader).applied
    activation.load(reader.traces())
    for n, body in reader.trace_changes(after=applied):
        activation.apply(increments_of(body))
        applied = n
    return applied


def _rows_in(reader: Reader) -> _Rows:
    body = reader.setting(_ROWS)
    return _Rows() if not body else _Rows(*msgspec.msgpack.decode(body, type=tuple[int, int]))


def reloaded(activity: Activity, reader: Reader) -> None:
    """Take the sums anew from what another process wrote; whoever reads sees those of before until they are whole."""
    rules = rules_in(reader)
    if rules is not None and rules.session != activity.sessions.rules:
        activity.sessions, activity.settings = Sessions(rules.session), rules.settings
    fresh = fresh_activation(activity.settings)
    applied = _read_into(fresh, reader)
    rows = _rows_in(reader)
    activity.activation, activity.applied = fresh, applied
    activity.generation, activity.rows_seen = rows.generation, rows.applied
    activity.is_all_due = reader.setting(_DATES) != _dates_body(activity.settings)
    activity.owed.clear()


def has_missed(activity: Activity, reader: Reader, entries: Sequence[tuple[int, bytes]]) -> bool:
    """Return whether entries are gone that the sums do not hold, or the rows were changed otherwise.

    Args:
        activity: The sums.
        reader: Where the rows stand.
        entries: All that are there after those in the sums.
    """
    rows = _rows_in(reader)
    newest_gone = entries[0][0] - 1 if entries else rows.applied
    return rows.generation != activity.generation or newest_gone > activity.applied


def increments_of(body: bytes) -> list[Increment]:
    """Return what an entry of the redo log adds to the sums.

    Raises:
        RecordError: code `corrupt`.
    """
    try:
        return _decode(body)
    except msgspec.DecodeError as error:
        raise RecordError(
            f"a change of activation can not be read: {error}",
            code="corrupt",
            field="trace_changes",
            hint="Restore the store from a backup, or drop the activation features and rebuild.",
        ) from error


def flush(activity: Activity, tx: Transaction, *, is_anew: bool = False) -> int:
    """Write the rows that changed since the last time; return how many. For the writer's thread.

    Until `flushed` is told that they are on disk, the next flush writes them again. Where another process writes them
    nothing is written.

    Args:
        activity: What has changed.
        tx: Where they are written.
        is_anew: Whether more than entries changed the rows, which others can not follow: they read them anew.
    """
    rows = _rows_in(tx)
    if activity.is_shared and (rows.generation != activity.generation or rows.applied > activity.applied):
        return 0  # the sums are behind the rows, and catch up soon
    changes = activity.activation.take_changes(everything=activity.is_all_due)
    activity.owed = [(n, items) for n, items in activity.owed if not activity.is_shared or n > rows.applied]
    new = {item for item, _ in changes.rows}.union(changes.removed)
    activity.owed.append((activity.applied, new))
    if activity.is_shared and rows.applied > activity.rows_seen and not activity.is_all_due:
        activity.rows_seen = rows.applied
        return 0
    return _written(activity, tx, rows, changes, is_anew=is_anew)


def _written(activity: Activity, tx: Transaction, rows: _Rows, changes: Changes, *, is_anew: bool) -> int:
    activation = activity.activation
    new = activity.owed[-1][1]
    owed = sorted(set().union(*(items for _, items in activity.owed[:-1])) - new)
    known = [item for item in owed if item in activation]
    packed = [*changes.rows, *(activation.rows(known) if known else ())]
    removed = [*changes.removed, *(item for item in owed if item not in activation)]
    dates = dates_of(activity, [item for item, _ in packed])
    given = [(item, row, date) for (item, row), date in zip(packed, dates, strict=True)]
    dropped = activity.applied
    if activity.is_shared:
        is_full = len(activity.kept_flushes) == _KEPT_FLUSHES
        dropped = activity.kept_flushes[0] if is_full else 0
        activity.kept_flushes.append(activity.applied)
    tx.put_traces(given, removed=removed, applied=dropped)
    activity.rows_seen = activity.applied
    activity.generation = rows.generation + is_anew
    found = _Rows(activity.applied, activity.generation)
    if found != rows:
        tx.put_setting(_ROWS, msgspec.msgpack.encode(found))
    body = _dates_body(activity.settings)
    if tx.setting(_DATES) != body:
        tx.put_setting(_DATES, body)
    return len(given)


def flushed(activity: Activity, written: Future[Any]) -> None:
    """Take note of what became of a flush; called in the writer's thread."""
    if written.exception() is not None:
        _log.warning("activation was not written, and is kept for the next time: %s", written.exception())
    elif activity.rows_seen == activity.applied or not activity.is_shared:
        activity.is_all_due = False
        activity.owed.clear()


def dates_of(activity: Activity, items: Sequence[str]) -> list[int | None]:
    """Return from which instant on each item is below the threshold, None for never; the settings may have none."""
    threshold = activity.settings.forget_below_nats
    if not items or threshold == NEVER_FORGET_NATS:
        return [None] * len(items)
    found = activity.activation.forget_date(items, threshold).tolist()
    return [None if date == NEVER_US else date for date in found]


def _dates_body(settings: ActivationSettings) -> bytes:
    return msgspec.msgpack.encode([settings.decay, settings.forget_below_nats])
