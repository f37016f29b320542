"""What users did with what was served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Feedback", "FeedbackStatus", "Signal"]

FeedbackStatus = Literal["joined", "late", "duplicate", "orphan", "rejected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One observed reaction to one served list; never changed once written.

    Attributes:
        event_id: The served list that it belongs to.
        name: Name of the signal, as the reward preset declares it.
        doc: The document that it is about, or None for a signal about the whole list.
        value: Observed value; its unit and range are those of the signal's declaration (dwell: seconds).
        at: When the user acted, UTC epoch seconds.
        received_at: When it was given to the loop, UTC epoch seconds.
        idempotency_key: The caller's key for retries, or None.
    """

    event_id: str
    name: str
    doc: str | None
    value: float
    at: float
    received_at: float
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """What became of one signal.

    Attributes:
        status: "joined" (counts), "late" (the event was closed; its reward is computed again), "duplicate" (nothing
            new), "orphan" (no such event yet: parked for 24 hours) or "rejected".
        reason: Why, where the status alone does not say it: a code, then words.
    """

    status: FeedbackStatus
    reason: str | None = None
