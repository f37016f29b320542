"""When a window ends, what becomes of a signal by then, and how an event moves from state to state.

    open --close--> closed --late_signal--> reopened --late_signal--> reopened
    open --close, never shown--> not_shown --activate--> open
    any state but evicted --evict--> evicted

`reopened` is a state of rest: the reward was computed again and the event is learned from as when it was closed.
A deferred event that is activated after its window became `not_shown` returns to `open`; the window is still measured
from its served time, so the next close ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from dwell.errors import RecordError
from dwell.records.experience import ExperienceState
from dwell.records.signal import Feedback

__all__ = [
    "LATE_WINDOW_S",
    "CreditedAt",
    "StateChange",
    "credited_at",
    "is_due",
    "join_status",
    "next_state",
    "window_end",
]

StateChange = Literal["close", "late_signal", "activate", "evict"]

LATE_WINDOW_S: Final = 604_800.0  # 7 days after the close: the default of dwell.open

_TRANSITIONS: Final[dict[tuple[ExperienceState, StateChange], ExperienceState]] = {
    ("open", "close"): "closed",
    ("closed", "late_signal"): "reopened",
    ("reopened", "late_signal"): "reopened",
    ("open", "activate"): "open",
    ("not_shown", "activate"): "open",
    ("open", "evict"): "evicted",
    ("closed", "evict"): "evicted",
    ("reopened", "evict"): "evicted",
    ("not_shown", "evict"): "evicted",
}


@dataclass(frozen=True, slots=True)
class CreditedAt:
    """The instant at which a signal counts.

    Attributes:
        at: UTC epoch seconds, >= the event's served time.
        is_skewed: Whether the given instant was before the served time.
        is_future: Whether it was after `now`.
    """

    at: float
    is_skewed: bool
    is_future: bool


def credited_at(at: float, served_at: float, now: float) -> CreditedAt:
    """Return the instant at which a signal counts: `at`, clamped to now, and never before the served time.

    A clock that runs behind must not lose a reaction, and one that runs ahead must not make a weight above 1; both are
    flagged, so that the caller counts them. With `now` itself before the served time the served time holds.

    Args:
        at: When the user acted, by the sender's clock, UTC epoch seconds.
        served_at: When the list was served.
        now: When the signal was received.
    """
    return CreditedAt(at=max(min(at, now), served_at), is_skewed=at < served_at, is_future=at > now)


def window_end(served_at: float, attribution_window_s: float) -> float:
    """Return the instant from which the event may close, UTC epoch seconds."""
    return served_at + attribution_window_s


def is_due(served_at: float, attribution_window_s: float, now: float) -> bool:
    """Whether the attribution window is over at `now`; the end itself belongs to what is over."""
    return window_end(served_at, attribution_window_s) <= now


def join_status(
    state: ExperienceState, closed_at: float | None, now: float, *, late_window_s: float = LATE_WINDOW_S
) -> Feedback:
    """Return what becomes of a legal, new signal for a known event: "joined", "late" or "rejected" with its reason.

    An open event takes signals whatever the time: nothing was computed from it yet. Lateness is measured by the
    receiver's clock, since the sender's can claim anything.

    Args:
        state: State of the event.
        closed_at: When it was closed, UTC epoch seconds; None while it never was.
        now: When the signal was received.
        late_window_s: How long after the close a signal still reopens the event, >= 0; the end itself does.

    Raises:
        RecordError: code `state`: a closed event without the instant of its close.
    """
    if state == "open":
        return Feedback("joined")
    if state == "not_shown":
        return Feedback("joined", "not_shown: it counts once the event is activated")
    if state == "evicted":
        return Feedback("rejected", "evicted: the event is no longer learned from")
    if closed_at is None:
        raise RecordError(
            "a closed event has an instant of its close",
            code="state",
            field="closed_at",
            value=closed_at,
            hint="Pass the instant that was stored when the window was found over.",
        )
    if now - closed_at > late_window_s:
        return Feedback("rejected", f"too_late: more than {late_window_s:g} s after the event was closed")
    return Feedback("late")


def next_state(state: ExperienceState, change: StateChange, *, is_shown: bool = True) -> ExperienceState:
    """Return the state after a change.

    Args:
        state: State before it.
        change: "close" (the window is over), "late_signal", "activate" or "evict".
        is_shown: Whether the list was shown; a deferred event that was not closes as "not_shown".

    Raises:
        RecordError: code `state`: no such change from that state.
    """
    found = _TRANSITIONS.get((state, change))
    if found is None:
        raise RecordError(
            f"an event in state {state!r} knows no {change!r}",
            code="state",
            field="state",
            value=state,
            hint="Read the event's state again: another call may have changed it.",
        )
    return "not_shown" if change == "close" and not is_shown else found
