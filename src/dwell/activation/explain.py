"""Why an item has the activation that it has: everything that went into it, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from dwell.activation.ladder import Ladder
from dwell.records.arrays import FloatArray

__all__ = ["Explanation", "TimescaleShare", "shares"]


@dataclass(frozen=True, slots=True)
class TimescaleShare:
    """How much of a mass one rung of the ladder holds.

    Attributes:
        half_life_s: Of the rung; infinite for the plain count.
        reward: w_k S_k / P, in [0, 1]; 0 where there is no reward.
        exposure: w_k S_k / E, the same for exposure.
    """

    half_life_s: float
    reward: float
    exposure: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of one item at one instant.

    Attributes:
        item: Which item.
        now_us: At which instant, microseconds UTC.
        activation: A in nats, as `scores` gives it, floor included.
        without_floor: A before the floor.
        base_level: ln P in nats; -inf without reward.
        reward_mass: P, in units of one access a second ago.
        exposure_mass: E, in the same.
        prior_reward: alpha; 0 where the channels are "access".
        prior_exposure: alpha + beta; the same.
        prior_share: Share of the prior in P + alpha, in [0, 1]: 1 for an item that nobody used.
        timescales: Exact decomposition of both masses by age, slowest first; empty for meanings without traces. Each
            channel sums to 1 where it has mass.
        last_us: Latest instant at which something was added; None for no event.
        forget_us: First instant from which on it is below the threshold; None for never, or where no threshold was
        given. threshold: In nats, as given.
        is_pinned: Whether it is kept from being forgotten.
        floor: Least activation in nats; None where there is none.
        decay: d.
        meaning: "traces", "exact" or "petrov".
        ladder: Name and version of the ladder; None for meanings without.
    """

    item: str
    now_us: int
    activation: float
    without_floor: float
    base_level: float
    reward_mass: float
    exposure_mass: float
    prior_reward: float
    prior_exposure: float
    prior_share: float
    timescales: tuple[TimescaleShare, ...]
    last_us: int | None
    forget_us: int | None
    threshold: float | None
    is_pinned: bool
    floor: float | None
    decay: float
    meaning: str
    ladder: str | None


def shares(traces: FloatArray, decay: float, ladder: Ladder) -> tuple[TimescaleShare, ...]:
    """Return the share of each rung in both masses of one item, slowest first.

    Args:
        traces: (2, K) as of the instant in question.
        decay: d.
        ladder: Its rates and weights.
    """
    parts = traces * ladder.weights(decay)
    totals = parts.sum(axis=1)
    portions = parts / [[total if total > 0.0 else 1.0] for total in totals.tolist()]
    return tuple(
        TimescaleShare(half_life_s=half_life, reward=reward, exposure=exposure)
        for half_life, reward, exposure in zip(
            ladder.half_lives_s.tolist(), portions[0].tolist(), portions[1].tolist(), strict=True
        )
    )
