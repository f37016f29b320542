"""Lists and reactions that were logged elsewhere, many to a commit, with how far the log was read in the same commit.

So whoever is killed half way goes on where the last commit ended, and what is told twice is known by its event id or
its idempotency key.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import msgspec

from dwell.errors import RecordError
from dwell.loop.activity import Watch, follow_commit
from dwell.loop.archive_import import put_archived
from dwell.loop.engine import Loop
from dwell.loop.feedback import Joined, join_all, record_impression
from dwell.loop.ingest import checked_signal, count_joined, fix_dimension
from dwell.loop.rank import DrawnElsewhere, external_list
from dwell.loop.state import LoopState
from dwell.loop.warm_up import note_served
from dwell.records import Impression, Signal, checks
from dwell.storage import EventState, Transaction, pseudonym
from dwell.storage.archive_rows import ArchivedEvent, archived_events

__all__ = [
    "DrawnElsewhere",
    "Taken",
    "ToldList",
    "ToldReaction",
    "bring_known",
    "noted_progress",
    "take_told",
]

_PROGRESS: Final = "imports"  # setting of the tenant: how far each log was read
_LEAST_KEPT: Final = 1e-9  # a log that keeps fewer is told wrongly
_MOST_LOGS: Final = 100  # logs whose progress is kept, the newest ones: who imports a log a day has a quarter


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldList:
    """A list that was served elsewhere.

    Attributes:
        event_id: Its identity.
        at: When it was served, UTC epoch seconds.
        query: What was asked.
        results: Mappings with "id", and where known "rank", "score" and features: see `Loop.log_retrieval`; where
            `drawn` is given, the candidates in the order in which that policy had them.
        user: Who asked, or None; a pseudonym is kept.
        segment: Group of queries, or None.
        query_embedding: Vector of the query, or None.
        drawn: Where one of the results was drawn and shown alone.
        keep_probability: Probability with which the log kept lists like this one, in (0, 1].
    """

    event_id: str
    at: float
    query: str
    results: Sequence[Mapping[str, Any]]
    user: str | None = None
    segment: str | None = None
    query_embedding: object = None
    drawn: DrawnElsewhere | None = None
    keep_probability: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldReaction:
    """What somebody did with a list, as it was logged elsewhere.

    Attributes:
        event_id: The list.
        signal: Name of the signal.
        at: When, by the log's clock, UTC epoch seconds.
        key: What it is known by when it is told again.
        doc: The document, or None for the whole list.
        value: Its value.
        user: Who acted, or None: what an erased user did is left out.
    """

    event_id: str
    signal: str
    at: float
    key: str
    doc: str | None = None
    value: float = 1.0
    user: str | None = None


class Taken(NamedTuple):
    """What became of a list or a reaction.

    Attributes:
        outcome: Of a list "recorded", "known", "erased" or "refused"; of a reaction a status of `Feedback`, "erased",
            "too_early", or "rejected".
        has_features: Of a list that was recorded, whether something can be learned from it.
        is_drawn: Of a list that was recorded, whether its chance is known.
        error: Why it was refused, or None.
        reason: Why a reaction was rejected, its code first, or None.
    """

    outcome: str
    has_features: bool = False
    is_drawn: bool = False
    error: RecordError | None = None
    reason: str | None = None


def noted_progress(loop: Loop) -> dict[str, Any]:
    """Return what was noted beside the commits of `take_told`, by key."""
    with loop._state.store.snapshot() as reader:  # noqa: SLF001 - who writes facts for a loop may look at all of it
        body = reader.setting(_PROGRESS)
    return {} if body is None else msgspec.msgpack.decode(body)


def take_told(
    loop: Loop,
    told: Sequence[ToldList | ToldReaction],
    *,
    max_skew_s: float,
    progress: tuple[str, object] | None = None,
) -> list[Taken]:
    """Record lists and join reactions in one commit, and return what became of each, in their order.

    Lists go first, so that a reaction finds its list whichever was told first. A reaction is received when it happened,
    by the log's clock, and never before its list. One whose list is not there is parked, as always.

    Args:
        loop: It ingests for its store.
        told: A few hundred: while they are written, others wait.
        max_skew_s: A reaction further before its list is left out; one that is nearer is credited when the list was
            served, seconds, >= 0.
        progress: Key and msgpack value to note in the same commit.

    Raises:
        StorageError: The store could not; nothing of it is there.
    """
    state = loop._state  # noqa: SLF001 - as above
    found: list[Taken] = [Taken("")] * len(told)
    impressions: dict[int, Impression] = {}
    signals: dict[int, Signal] = {}
    for i, one in enumerate(told):
        try:
            if isinstance(one, ToldList):
                impressions[i] = _impression(state, one)
            else:
                signals[i] = _signal(state, one)
        except RecordError as error:
            is_list = isinstance(one, ToldList)
            found[i] = Taken("refused" if is_list else "rejected", error=error, reason=f"{error.code}: {error.message}")
    for impression in impressions.values():
        if impression.query_embedding is not None:
            fix_dimension(state, impression.query_embedding)
    batch = _Batch(state, impressions, signals, {i: _pseudonym(state, told[i].user) for i in signals}, max_skew_s)

    def job(tx: Transaction, watch: Watch | None) -> dict[int, Taken]:
        outcomes = batch.written(tx, watch)
        if progress is not None:
            _note(tx, *progress)
        return outcomes

    outcomes = state.write_watched(job)
    batch.count(outcomes)
    follow_commit(state.activity, state.writer, time.monotonic())
    for i, taken in outcomes.items():
        found[i] = taken
    return found


def bring_known(loop: Loop, other: Loop, event_ids: Sequence[str]) -> None:
    """Put what one loop's store knows of events into another's that does not know them yet, as it stands.

    What is then told to the other one has the outcome that it would have here; parked signals are not brought.
    """
    source, target = loop._state, other._state  # noqa: SLF001 - as above
    with target.store.snapshot() as reader:
        wanted = [event_id for event_id in dict.fromkeys(event_ids) if reader.event(event_id) is None]
    with source.store.snapshot() as reader:
        known = [event for event in map(reader.event, wanted) if event is not None]
        events = archived_events(reader, [event.seq for event in known])
    if events:
        target.write(lambda tx: _put(tx, events))


def _put(tx: Transaction, events: Sequence[ArchivedEvent]) -> None:
    for event in events:
        put_archived(tx, event)


def _impression(state: LoopState, one: ToldList) -> Impression:
    impression = external_list(
        state,
        one.query,
        one.results,
        user=one.user,
        segment=one.segment,
        query_embedding=one.query_embedding,
        event_id=one.event_id,
        now=checks.timestamp(one.at, "timestamp"),
        drawn=one.drawn,
    ).impression
    if one.keep_probability == 1.0:
        return impression
    kept = checks.within(one.keep_probability, "keep_probability", _LEAST_KEPT, 1.0)
    return replace(impression, keep_probability=kept)


def _signal(state: LoopState, one: ToldReaction) -> Signal:
    return checked_signal(
        state, one.event_id, one.signal, doc=one.doc, value=one.value, at=one.at, key=one.key, now=one.at
    )


def _pseudonym(state: LoopState, user: str | None) -> str | None:
    return None if user is None else pseudonym(state.identity.pepper, state.identity.tenant, user)


class _Batch:
    """One commit's worth, checked; `written` may be called again where its commit failed."""

    def __init__(
        self,
        state: LoopState,
        impressions: Mapping[int, Impression],
        signals: Mapping[int, Signal],
        users: Mapping[int, str | None],
        max_skew_s: float,
    ) -> None:
        self._state = state
        self._impressions = impressions
        self._signals = signals
        self._users = users
        self._max_skew_s = max_skew_s
        self._joined: list[Joined] = []
        self._erased: dict[str, bool] = {}

    def written(self, tx: Transaction, watch: Watch | None) -> dict[int, Taken]:
        """Store everything and return what became of each."""
        self._joined, self._erased = [], {}
        ids = [one.event_id for one in self._impressions.values()]
        tx.prefetch([*ids, *(one.event_id for one in self._signals.values())])
        found = {i: self._recorded(tx, one, watch) for i, one in self._impressions.items()}
        due: dict[int, Signal] = {}
        for i, signal in self._signals.items():
            taken = self._kept_out(tx, signal, self._users[i])
            if isinstance(taken, Taken):
                found[i] = taken
            else:
                due[i] = taken
        joined = join_all(tx, list(due.values()), self._state.rules, watch)
        self._joined += joined
        for i, one in zip(due, joined, strict=True):
            found[i] = Taken(one.feedback.status, reason=one.feedback.reason)
        return found

    def _recorded(self, tx: Transaction, impression: Impression, watch: Watch | None) -> Taken:
        if self._is_erased(tx, impression.user):
            return Taken("erased")
        known = tx.event(impression.event_id)
        if known is not None:
            return self._again(tx, known, impression)
        record_impression(tx, impression, self._state.rules, self._joined.append, watch)
        return Taken("recorded", has_features=impression.has_features, is_drawn=not impression.is_deterministic)

    def _again(self, tx: Transaction, known: EventState, impression: Impression) -> Taken:
        before = tx.impressions([known.seq])
        if known.shown == impression.served and before and before[0].query == impression.query:
            return Taken("known")
        error = RecordError(
            "this event id was used for another query or other documents",
            code="conflict",
            field="event_id",
            hint="One event id is one list; look for an id that two of them share.",
        )
        return Taken("refused", error=error)

    def _kept_out(self, tx: Transaction, signal: Signal, user: str | None) -> Taken | Signal:
        if self._is_erased(tx, user):
            return Taken("erased")
        known = tx.event(signal.event_id)
        if known is None:
            return signal
        if signal.at < known.served_at - self._max_skew_s:
            return Taken("too_early")
        if signal.at < known.served_at:
            return replace(signal, received_at=known.served_at)
        return signal

    def _is_erased(self, tx: Transaction, user: str | None) -> bool:
        if user is None:
            return False
        if user not in self._erased:
            self._erased[user] = tx.is_erased(user)
        return self._erased[user]

    def count(self, outcomes: Mapping[int, Taken]) -> None:
        """Count what was stored, as `log_retrieval` and `feedback` do."""
        state = self._state
        for joined in self._joined:
            count_joined(state, joined)
        for i, impression in self._impressions.items():
            if outcomes[i].outcome != "recorded":
                continue
            state.counters["impressions"] += 1
            state.counters["no_features"] += not impression.has_features
            state.tally.retrievals[impression.policy, state.mode] += 1
            note_served(state, impression)


def _note(tx: Transaction, key: str, value: object) -> None:
    body = tx.setting(_PROGRESS)
    notes: dict[str, Any] = {} if body is None else msgspec.msgpack.decode(body)
    notes.pop(key, None)
    notes[key] = value
    for old in list(notes)[:-_MOST_LOGS]:
        del notes[old]
    tx.put_setting(_PROGRESS, msgspec.msgpack.encode(notes))
