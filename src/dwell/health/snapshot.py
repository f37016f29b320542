"""What health is judged from: counts and columns gathered at one instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dwell.records.arrays import FloatArray

__all__ = ["HealthSnapshot"]


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
