"""What health is judged from: counts and columns gathered at one instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dwell.records.arrays import FloatArray

__all__ = ["ExaminationSeen", "HealthSnapshot"]


@dataclass(frozen=True, slots=True)
class ExaminationSeen:
    """Who is taken to look at each position, and what the events in memory say of it; every table counts from the top.

    Attributes:
        source: How the examination in force was found: "harvest", "swaps" or "assumed".
        version: Its name and numbers.
        values: Probability of examination per position, in (0, 1].
        is_monotone: Whether no position is looked at more than the one above it.
        measured: What the events in memory spoke for when they were last asked: "harvest", "swaps", "regression_em", or
            "assumed" where they do not say enough; "" where nothing was asked since the loop was opened. Tables of what
            was not asked are empty.
        reasons: Why each more trusted way was passed over.
        low: Lower ends of the band that the gate asks about.
        high: Upper ends.
        calibration: Observed over expected rewards per position, by the reward predictor; None where none are expected.
        calibration_low: Lower ends of pointwise 95 % intervals.
        calibration_high: Upper ends.
        rises: Adjacent pairs whose lower position is looked at more, beyond chance, in words.
        remedy: What to look at where there are any, or "".
    """

    source: str
    version: str
    values: tuple[float, ...]
    is_monotone: bool
    measured: str
    reasons: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    calibration: tuple[float | None, ...] = ()
    calibration_low: tuple[float | None, ...] = ()
    calibration_high: tuple[float | None, ...] = ()
    rises: tuple[str, ...] = ()
    remedy: str = ""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class HealthSnapshot:
    """One loop at one instant.

    Attributes:
        now: UTC epoch seconds.
        capacity: Most closed events kept.
        states: Number of events per state.
        served_at: float64 (n,), served times of the closed events in memory.
        rewards: float64 (n,), their list rewards.
        user_counts: Events per user pseudonym among them; the key None counts events without one.
        segment_counts: Events per segment among them; the key None counts events without one.
        query_counts: Events per query hash among them.
        counters: What was counted since the loop was opened, by name.
        n_signals: Signals stored.
        live_version: Params in force.
        n_promotions: Promotions in the ledger, the initial one left out.
        last_verdict: The ledger's newest verdict with its first reason, or "".
        replay_ratio: Replayed lists per event taken in, lately, as of the last learning.
        oldest_params_version: Oldest version that served an event which was learned from last, or None.
        examination: Who is taken to look where, or None where that was not asked.
    """

    now: float
    capacity: int
    states: Mapping[str, int]
    served_at: FloatArray
    rewards: FloatArray
    user_counts: Mapping[object, int]
    segment_counts: Mapping[object, int]
    query_counts: Mapping[object, int]
    counters: Mapping[str, int]
    n_signals: int
    live_version: int
    n_promotions: int
    last_verdict: str
    replay_ratio: float = 0.0
    oldest_params_version: int | None = None
    examination: ExaminationSeen | None = None
