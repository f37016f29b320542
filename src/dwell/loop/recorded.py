"""Which lists a store holds: for those who bring reactions, and lists, that were told elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dwell.errors import RecordError
from dwell.loop.state import LoopState
from dwell.records import Params, Signal, checks
from dwell.records.impression import Policy
from dwell.storage import pseudonym

__all__ = ["RecordedList", "is_erased", "recorded_lists", "recorded_signals", "stored_version"]


class RecordedList(NamedTuple):
    """A list that a store holds.

    Attributes:
        event_id: Its identity.
        query: What was asked.
        shown: Document ids that the user saw, in order.
        served_at: When, UTC epoch seconds.
        policy: What ordered it: "external" came through `log_retrieval`.
    """

    event_id: str
    query: str
    shown: tuple[str, ...]
    served_at: float
    policy: Policy


def recorded_lists(state: LoopState, event_ids: Sequence[str]) -> dict[str, RecordedList]:
    """Return, by event id, those of these lists that the store holds, what was logged just now included."""
    if state.writer is not None:
        state.writer.flush()
    with state.store.snapshot() as reader:
        events = [event for event in map(reader.event, event_ids) if event is not None]
        impressions = {one.seq: one for one in reader.impressions([event.seq for event in events])}
    return {
        event.event_id: RecordedList(
            event.event_id, impressions[event.seq].query, event.shown, event.served_at, impressions[event.seq].policy
        )
        for event in events
        if event.seq in impressions
    }


def recorded_signals(state: LoopState, event_id: str) -> list[Signal]:
    """Return what users did with a list, in the order of the store; empty for a list that it does not hold."""
    with state.store.snapshot() as reader:
        event = reader.event(event_id)
        return [] if event is None else reader.signals([event.seq]).get(event.seq, [])


def is_erased(state: LoopState, user: object) -> bool:
    """Return whether everything of this user was erased: what is imported must not bring it back."""
    who = pseudonym(state.identity.pepper, state.identity.tenant, checks.identifier(user, "user"))
    with state.store.snapshot() as reader:
        return reader.is_erased(who)


def stored_version(state: LoopState, version: int) -> Params:
    """Return any version that the store holds.

    Raises:
        RecordError: code `unknown_version`.
    """
    found = state.params(version)
    if found is None:
        raise RecordError(
            "no such version", code="unknown_version", field="version", value=version, hint="See history()."
        )
    return found
