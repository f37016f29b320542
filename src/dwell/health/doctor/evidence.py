"""What the doctor judges from: the newest events of a store as they were recorded, and a few facts beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from dwell.records import GateDecision, Impression, Params, Signal
from dwell.records.arrays import Float32Array
from dwell.records.impression import Mode

__all__ = ["LEAST_EVENTS", "MOST_EVENTS", "Evidence", "RingSeen", "SeenEvent"]

MOST_EVENTS: Final = 5_000  # a share of one half is known to 1.4 points (two standard errors), and it reads in a second
LEAST_EVENTS: Final = 50  # as in the health report: below it shares and rates are chance

_FINISHED: Final = frozenset({"closed", "reopened", "evicted"})


class SeenEvent(NamedTuple):
    """One event with what came of it.

    Attributes:
        impression: What was served.
        state: "open", "closed", "reopened", "not_shown" or "evicted".
        reward: Of the list, in [-1, 1]; None while open.
        document_rewards: float32 (k,), per document in served order; None while open.
        signals: What users did with it.
    """

    impression: Impression
    state: str
    reward: float | None
    document_rewards: Float32Array | None
    signals: tuple[Signal, ...]

    @property
    def is_finished(self) -> bool:
        """Whether its reward is known."""
        return self.state in _FINISHED and self.reward is not None


class RingSeen(NamedTuple):
    """The side file of columns beside the store.

    Attributes:
        state: "none" (there is no file, or none is due), "in_use" (a process has the store open and writes to it),
            "in_step", "stale" (the store moved on without it, or its writer died) or "damaged".
        words: What was seen, for a person.
    """

    state: Literal["none", "in_use", "in_step", "stale", "damaged"]
    words: str


_NO_RING: Final = RingSeen("none", "there is none")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evidence:
    """One store at one instant.

    Attributes:
        now: UTC epoch seconds.
        mode: Mode of the loop.
        events: The newest events, at most `MOST_EVENTS`, in the order served.
        counts: Events per state over the whole store, and "signals", "orphans" and "quarantined".
        feature_names: Registered features.
        own_features: Those among them that the loop makes itself.
        live: Params in force.
        start: The params that ordered first, or None where that was the caller.
        n_learned: Versions that were learned.
        decisions: The ledger, oldest first.
        attribution_window_s: How long signals are waited for.
        quarantine_reasons: Quarantined calls by code, of the newest ones.
        ring: The side file of columns.
    """

    now: float
    mode: Mode
    events: tuple[SeenEvent, ...]
    counts: Mapping[str, int]
    feature_names: tuple[str, ...]
    live: Params
    attribution_window_s: float
    own_features: tuple[str, ...] = ()
    start: Params | None = None
    n_learned: int = 0
    decisions: tuple[GateDecision, ...] = ()
    quarantine_reasons: Mapping[str, int] = field(default_factory=dict)
    ring: RingSeen = _NO_RING

    @property
    def finished(self) -> list[SeenEvent]:
        """Those events whose reward is known."""
        return [event for event in self.events if event.is_finished]

    @property
    def n_events(self) -> int:
        """Events of the whole store."""
        return sum(self.counts.get(state, 0) for state in ("open", "closed", "reopened", "not_shown", "evicted"))

    @property
    def n_finished(self) -> int:
        """Events of the whole store whose reward is known."""
        return sum(self.counts.get(state, 0) for state in _FINISHED)
