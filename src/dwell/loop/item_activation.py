"""What a loop's activation says of items, and what may be asked of it: pin, forget, rebuild."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from dwell.activation import Explanation, Worth
from dwell.activation.instants import US_PER_S
from dwell.config import NEVER_FORGET_NATS
from dwell.errors import StorageError
from dwell.loop.activity_rows import Activity, dates_of, flush, flushed, fresh_activation, loaded
from dwell.loop.kept_rules import KeptRules, put_rules
from dwell.loop.sessions import Sessions
from dwell.loop.state import LoopState
from dwell.records import checks
from dwell.records.arrays import Float32Array, FloatArray
from dwell.storage import EventState, Reader, Transaction
from dwell.storage.protocol import chunks

__all__ = ["Forgotten", "ItemActivation", "Overview"]

_AT_ONCE: Final = 1_000
_WEEK_US: Final = 604_800 * US_PER_S
_MOST_FORGOTTEN: Final = 10_000  # at once: a second of the writer's time


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What forgetting found.

    Attributes:
        items: Ids below the threshold, those first that fell below it first.
        is_done: Whether they were forgotten; False of a dry run.
        archive: The file that keeps them, or None.
        has_more: Whether there are more than one call takes.
    """

    items: list[str]
    is_done: bool
    archive: str | None
    has_more: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """How much a store remembers of its items, and for how long.

    Attributes:
        n_items: Items with a history or a pin.
        n_pinned: Items that are never forgotten.
        decay: d.
        worth: Of an event after an hour, a day and a year, relative to a minute.
        ladder: Name and version of the timescales.
        threshold: Base level in nats below which an item may be forgotten; None for never.
        n_below: Items below it.
        n_below_in_a_week: Items that will be below it in a week, if nothing happens to them.
        session_cap: Events that count per item and user in one window.
        session_window_s: Length of a window.
        reward_version: What turns signals into rewards.
    """

    n_items: int
    n_pinned: int
    decay: float
    worth: Worth
    ladder: str
    threshold: float | None
    n_below: int
    n_below_in_a_week: int
    session_cap: int
    session_window_s: float
    reward_version: str


class ItemActivation:
    """Activation of a loop's items. Reading changes nothing; only the process that owns the store changes anything.

    In another process it is read as it was written last, at most about a second ago with what was acknowledged since.
    """

    def __init__(self, state: LoopState, activity: Activity) -> None:
        self._state = state
        self._activity = activity

    def _read(self) -> Activity:
        if self._activity.is_following:
            return self._activity
        settings = self._activity.settings
        fresh = Activity(fresh_activation(settings), self._activity.sessions, settings)
        loaded(fresh, self._state.store)
        return fresh

    def __len__(self) -> int:
        """Return the number of items with a history or a pin."""
        return len(self._read().activation)

    @property
    def worth(self) -> Worth:
        """What an event is worth after an hour, a day and a year, relative to a minute: how to show the decay."""
        return self._activity.activation.worth

    def items(self) -> list[str]:
        """Return the items with a history or a pin, in no order."""
        return self._read().activation.items()

    def overview(self, *, now: float | None = None, is_exact: bool = True) -> Overview:
        """Return how much is remembered, and for how long.

        Args:
            now: UTC epoch seconds.
            is_exact: Whether every item below the threshold is counted, a third of a millisecond each; else they are
                counted by the index, up to 10,000 and at most about a second behind.

        Raises:
            RecordError: The instant is malformed.
        """
        at_us = _us(now)
        read = self._read()
        activation, rules, settings = read.activation, read.sessions.rules, read.settings
        with self._state.store.snapshot() as reader:
            instants = (at_us + _WEEK_US, at_us)
            if is_exact:
                n_soon, n_now = (len(_due(read, reader, at, len(activation))) for at in instants)
            else:
                n_soon, n_now = (len(reader.forgettable(at, limit=_MOST_FORGOTTEN)) for at in instants)
        return Overview(
            n_items=len(activation),
            n_pinned=len(activation.pinned()),
            decay=settings.decay,
            worth=activation.worth,
            ladder=activation.ladder.ladder_id,
            threshold=None if settings.forget_below_nats == NEVER_FORGET_NATS else settings.forget_below_nats,
            n_below=n_now,
            n_below_in_a_week=n_soon,
            session_cap=rules.cap,
            session_window_s=rules.window_s,
            reward_version=rules.preset.reward_version,
        )

    def scores(self, items: Sequence[str], *, now: float | None = None) -> FloatArray:
        """Return activation in nats, float64 (n,), floors included; an item that nobody has seen has that of the prior.

        Args:
            items: n ids.
            now: UTC epoch seconds.

        Raises:
            RecordError: An id or the instant is malformed.
        """
        return self._read().activation.scores(items, _us(now))

    def base_levels(self, items: Sequence[str], *, now: float | None = None) -> FloatArray:
        """Return the base level in nats, float64 (n,), by which items are forgotten; -inf where nothing was rewarded.

        Args:
            items: n ids.
            now: UTC epoch seconds.

        Raises:
            RecordError: An id or the instant is malformed.
        """
        return self._read().activation.base_level(items, _us(now))

    def features(self, items: Sequence[str], *, now: float | None = None) -> Float32Array:
        """Return what `rank` would log of items beside the caller's features, float32 (n, 3), as `FEATURES` has it.

        Args:
            items: n ids.
            now: UTC epoch seconds.

        Raises:
            RecordError: An id or the instant is malformed.
        """
        return self._read().features(_ids(items), _us(now) / US_PER_S)

    def pinned(self) -> dict[str, float | None]:
        """Return the pinned items with their floors in nats, None where they have none."""
        return self._read().activation.pinned()

    def forget_dates(self, items: Sequence[str]) -> list[float | None]:
        """Return from when on each item may be forgotten, UTC epoch seconds; None for never.

        Raises:
            RecordError: An id is malformed.
        """
        dates = dates_of(self._read(), _ids(items))
        return [None if date is None else date / US_PER_S for date in dates]

    def explain(self, item: str, *, now: float | None = None) -> Explanation:
        """Return everything that went into an item's activation: reward, exposure, timescales, prior, pin, date.

        Args:
            item: Which, known or not.
            now: UTC epoch seconds.

        Raises:
            RecordError: The id or the instant is malformed.
        """
        threshold = self._activity.settings.forget_below_nats
        return self._read().activation.explain(item, _us(now), threshold=threshold)

    def pin(self, items: Sequence[str], *, floor: float | None = None) -> None:
        """Keep items from being forgotten, with a least activation in nats where one is given; durable on return.

        Raises:
            RecordError: An id is malformed, or the floor not finite.
            StorageError: Another process owns the store, or the disk refused.
        """
        checked, least = _ids(items), None if floor is None else checks.finite(floor, "floor")
        self._change(checked, lambda: self._activity.activation.pin(checked, floor=least))

    def unpin(self, items: Sequence[str]) -> None:
        """Let items be forgotten again; durable on return.

        Raises:
            RecordError: An id is malformed.
            StorageError: As `pin`.
        """
        checked = _ids(items)
        self._change(checked, lambda: self._activity.activation.unpin(checked))

    def forget(
        self,
        *,
        now: float | None = None,
        limit: int = _MOST_FORGOTTEN,
        archive: str | Path | None = None,
        dry_run: bool = True,
    ) -> Forgotten:
        """Forget what is below `activation.forget_below_nats`, found by date on an index; what is pinned stays.

        Only activation is forgotten: an item that is served again begins as one that nobody has seen.

        Args:
            now: UTC epoch seconds.
            limit: Most items, in [1, 10,000].
            archive: A file to which they are appended, one JSON object a line, and synced, before anything goes.
            dry_run: Say what would go, and change nothing.

        Raises:
            RecordError: An argument is out of its range.
            StorageError: As `pin`; code `archive` where the file can not be written, and nothing is forgotten.
        """
        most, at_us = checks.positive_integer(limit, "limit", most=_MOST_FORGOTTEN), _us(now)
        with self._state.store.snapshot() as reader:
            found = _due(self._read(), reader, at_us, most + 1)
        items, has_more = found[:most], len(found) > most
        where = None if archive is None else str(archive)
        if checks.boolean(dry_run, "dry_run") or not items:
            return Forgotten(items, is_done=False, archive=None, has_more=has_more)
        self._only_owner()
        if archive is not None:
            _archived(self._activity, items, Path(archive), at_us)
        gone: list[str] = []

        def forget() -> None:
            # an event that came meanwhile has moved its date
            still = _still_due(self._activity, items, at_us)
            if still:
                self._activity.activation.forget(still)
            gone.extend(still)

        self._change(items, forget)
        return Forgotten(gone, is_done=True, archive=where, has_more=has_more)

    def drop(self, items: Sequence[str]) -> int:
        """Forget items whatever they are worth, pinned or not, durably on return; return how many had a history or pin.

        For items that are no more. What was served before this call is in it; what still comes of the lists that showed
        them, and a rebuild, may give them a history again.

        Raises:
            RecordError: An id is malformed.
            StorageError: As `pin`.
        """
        checked = sorted(set(_ids(items)))
        if not checked:
            return 0
        n_known = 0

        def drop() -> None:
            nonlocal n_known
            n_known = self._activity.activation.forget(checked)

        # the sums take in a list after its commit: one that shares the commit of this would bring its items back
        self._state.write(lambda _: None)
        self._change(checked, drop)
        return n_known

    def rebuild(self) -> int:
        """Make all sums anew from the events that the store still has, and return the number of items.

        The same as those that were kept, where nothing was removed since; what retention has removed is lost by it.
        Nothing is recorded while it works. Pins stay. Where the loop was opened with other rewards, `max_results`, cap,
        window or number of rates than those that the sums are kept by, they go over to them now.

        Raises:
            StorageError: As `pin`.
        """
        self._only_owner()
        activity = self._activity
        before = (activity.activation, activity.applied, activity.sessions, activity.settings, activity.asked)
        was_all_due = activity.is_all_due

        def job(tx: Transaction) -> int:
            rules = activity.asked or KeptRules(activity.sessions.rules, activity.settings)
            fresh, pins = fresh_activation(rules.settings), activity.activation.pinned()
            sessions = Sessions(rules.session)
            seqs = tx.seqs()
            events = [event for part in chunks(seqs, _AT_ONCE) for event in _states(tx, part)]
            for found in sessions.all_of(tx, events):
                fresh.apply(found)
            for item, floor in pins.items():
                fresh.pin([item], floor=floor)
            # what others of this commit have changed is in the events, too, and must not be added once more after it
            activity.applied = max([activity.applied, *(n for n, _ in tx.trace_changes())])
            tx.drop_traces()
            put_rules(tx, rules)
            activity.activation, activity.sessions, activity.settings = fresh, sessions, rules.settings
            activity.asked, activity.is_all_due = None, True
            flush(activity, tx, is_anew=True)
            return len(fresh)

        def done(written: Future[int]) -> None:
            flushed(activity, written)
            if written.exception() is not None:
                activity.activation, activity.applied, activity.sessions, activity.settings, activity.asked = before
                activity.is_all_due = was_all_due

        return self._state.write(job, then=done)

    def _only_owner(self) -> None:
        if not self._activity.is_following or self._activity.is_shared or self._state.writer is None:
            raise StorageError(
                "activation is changed by the process that owns the store",
                code="not_owner",
                hint="Call it there, or stop the service first.",
            )

    def _change(self, items: Sequence[str], change: Callable[[], object]) -> None:
        """Change items and return once it is durable; where it can not be, they are as they were."""
        self._only_owner()
        activity = self._activity
        known: list[str] = []
        before: list[tuple[str, bytes]] = []

        def job(tx: Transaction) -> None:
            known[:] = [item for item in items if item in activity.activation]
            before[:] = activity.activation.rows(known) if known else ()
            change()
            flush(activity, tx, is_anew=True)

        def done(written: Future[None]) -> None:
            flushed(activity, written)
            if written.exception() is not None:
                was_known = set(known)
                new = [item for item in items if item not in was_known]
                if new:
                    activity.activation.forget(new)
                activity.activation.load(before)

        self._state.write(job, then=done)


def _us(now: float | None) -> int:
    moment = time.time() if now is None else checks.timestamp(now, "now")
    return round(moment * US_PER_S)


def _ids(items: Sequence[str]) -> list[str]:
    return [checks.identifier(item, f"items[{i}]") for i, item in enumerate(items)]


def _states(reader: Reader, seqs: Sequence[int]) -> list[EventState]:
    found = (reader.event(impression.event_id) for impression in reader.impressions(seqs))
    return [event for event in found if event is not None]


def _due(activity: Activity, reader: Reader, at_us: int, most: int) -> list[str]:
    """Return items that are below the threshold, by the index; what has changed since it was written is looked at."""
    return _still_due(activity, [item for item, _ in reader.forgettable(at_us, limit=most)], at_us)


def _still_due(activity: Activity, items: Sequence[str], at_us: int) -> list[str]:
    dates = dates_of(activity, items)
    return [item for item, date in zip(items, dates, strict=True) if date is not None and date <= at_us]


def _archived(activity: Activity, items: Sequence[str], path: Path, at_us: int) -> None:
    """Append what is known of items to a file, and return once it is on the disk.

    Raises:
        StorageError: code `archive`.
    """
    masses = activity.activation.masses(items, at_us)
    lines = []
    for (item, packed), (reward, exposure) in zip(activity.activation.rows(items), np.asarray(masses), strict=True):
        lines.append(
            {
                "item": item,
                "archived_us": at_us,
                "reward_mass": float(reward),
                "exposure_mass": float(exposure),
                "ladder": activity.activation.ladder.ladder_id,
                "packed": base64.b64encode(packed).decode("ascii"),
            }
        )
    try:
        with path.open("ab") as file:
            file.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(
            f"the archive {path} can not be written: {error.strerror}",
            code="archive",
            hint="Give a file in a folder that can be written to; nothing was forgotten.",
        ) from error
