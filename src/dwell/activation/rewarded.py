r"""Two channels, reward and exposure: activation as the log of reward per exposure.

    P = sum_j reward_j K(age_j),   E = sum_j exposure_j K(age_j),   A = ln(P + alpha) - ln(E + alpha + beta)

A serve adds exposure, feedback adds reward in [0, 1] at the instant of its serve, negative feedback adds its size to
exposure. A is finite for a new item (the prior), rises with reward and falls with unrewarded exposure, and both are
forgotten. Where "served" itself counts as an access, what is served is served more, and nothing is learned;
tests/statistical/test_activation.py plays both, and clicks alone.

exp(A) is the posterior mean of a Gamma or Beta rate. The prior is said in exposures of an age, so that it keeps its
meaning when the decay is changed. Without the exposure channel and the prior, A = ln P is ACT-R's base level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from dwell.errors import ConfigError, RecordError
from dwell.records import checks
from dwell.records.arrays import FloatArray

__all__ = ["LAWS", "Law", "Prior", "drawn_activation", "need_odds"]

Law = Literal["gamma", "beta"]
LAWS: Final[tuple[str, ...]] = get_args(Law)

_SLACK: Final = 1e-9  # rounding between two sums that are equal


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of an item that nobody has seen: a rate, and how many exposures that belief is worth.

    Attributes:
        base_rate: alpha / (alpha + beta), reward per exposure over the whole namespace, in (0, 1). 0.1 is a guess: take
            your own.
        n_exposures: How many exposures the belief is worth, > 0.
        age_s: How old those exposures are, > 0; with d they give alpha + beta = n_exposures * age_s^-d. An exposure of
            an hour ago weighs as much as five of a day ago at d = 0.5.

    Raises:
        ConfigError: A value is out of its range.
    """

    base_rate: float = 0.1
    n_exposures: float = 1.0
    age_s: float = 3_600.0

    def __post_init__(self) -> None:
        for name, low, high in (("base_rate", 1e-9, 1.0 - 1e-9), ("n_exposures", 1e-9, 1e9), ("age_s", 1e-3, 1e10)):
            try:
                object.__setattr__(self, name, checks.within(getattr(self, name), name, low, high))
            except RecordError as error:
                raise ConfigError(error.message, field=f"prior.{name}", value=error.value, hint=error.hint) from error

    def masses(self, decay: float) -> tuple[float, float]:
        """Return (alpha, beta) in units of kernel mass at this decay."""
        total = self.n_exposures * self.age_s**-decay
        return self.base_rate * total, (1.0 - self.base_rate) * total

    @property
    def activation(self) -> float:
        """A of an item without a history: ln of the base rate."""
        return float(np.log(self.base_rate))


def need_odds(rewards: FloatArray, exposures: FloatArray, alpha: float, beta: float) -> FloatArray:
    """Return A = ln(P + alpha) - ln(E + alpha + beta) in nats, of the shape of the masses.

    Args:
        rewards: P >= 0, any shape.
        exposures: E >= 0, of the same shape.
        alpha: > 0, in units of kernel mass.
        beta: > 0, in the same.
    """
    # one logarithm of the ratio: both are above 0
    found: FloatArray = rewards + alpha
    found /= exposures + (alpha + beta)
    return np.asarray(np.log(found, out=found))


def drawn_activation(
    rewards: FloatArray,
    exposures: FloatArray,
    alpha: float,
    beta: float,
    *,
    rng: np.random.Generator,
    law: Law = "gamma",
) -> FloatArray:
    """Return ln of one draw of reward per exposure from its posterior: what Thompson sampling ranks by.

    Args:
        rewards: P >= 0, any shape.
        exposures: E >= 0, of the same shape.
        alpha: > 0.
        beta: > 0.
        rng: Source of the draw.
        law: "gamma": shape P + alpha, rate E + alpha + beta. "beta": (P + alpha, E - P + beta), where no item has more
            reward than exposure. Both have mean exp(A).

    Raises:
        RecordError: law "beta" where P exceeds E.
    """
    if law not in LAWS:
        raise RecordError(
            "there is no such law", code="range", field="law", value=law, hint=f"One of {', '.join(LAWS)}."
        )
    if law == "beta":
        unrewarded = exposures - rewards
        if (unrewarded < -_SLACK * (1.0 + rewards)).any():
            raise RecordError(
                "an item has more reward than exposure: no share of one in the other",
                code="range",
                field="law",
                value=law,
                hint='Take "gamma", or record an exposure of at least the reward.',
            )
        draw = rng.beta(rewards + alpha, np.maximum(unrewarded, 0.0) + beta)
    else:
        draw = rng.gamma(rewards + alpha, 1.0 / (exposures + (alpha + beta)))
    # a shape of 0.001 draws what float64 can not hold: the smallest normal number stands for it
    return np.asarray(np.log(np.maximum(draw, np.finfo(np.float64).tiny)))
