"""Bounds on the mean of values in [low, high] that hold at every look at once.

The empirical-Bernstein sequence needs a few sums, so it streams; the betting sequence is shorter and reads all values.

Source: Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting", theorem 2 (predictable
plug-in empirical Bernstein); section 4 for betting. Either end of an interval asked for at 2 alpha is a
one-sided bound at alpha.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from dwell.errors import EvaluationError
from dwell.evaluation.betting import lower_bound, upper_bound
from dwell.evaluation.intervals import Interval
from dwell.records.arrays import FloatArray

__all__ = ["BernsteinSequence", "RunningBounds", "betting_bounds", "running_bernstein"]

_MAX_BET: Final = 0.5  # c of theorem 2: the paper's choice
_UNIT: Final = Interval(0.0, 1.0)
_PRIOR_VARIANCE: Final = 0.25  # of values in [0, 1], as in the paper


class RunningBounds(NamedTuple):
    """Bounds after each value, float64 (n,) both; the interval never widens."""

    low: FloatArray
    high: FloatArray


def _checked(x: FloatArray, alpha: float, low: float, high: float) -> FloatArray:
    values = np.asarray(x, dtype=np.float64)
    if isinstance(alpha, bool) or not 0.0 < alpha < 1.0:
        raise EvaluationError("the chance of a miss lies in (0, 1)", field="alpha", value=alpha)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise EvaluationError("a range needs two finite ends", field="high", value=(low, high))
    if values.ndim != 1 or not np.isfinite(values).all():
        raise EvaluationError("values are finite numbers in one row", field="x", value=values.shape)
    if values.size and (values.min() < low or values.max() > high):
        raise EvaluationError(f"values lie outside of [{low:g}, {high:g}]", field="x", value=float(values.max()))
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class BernsteinSequence:
    """The two-sided empirical-Bernstein sequence so far, in a few sums; `plus` returns the next one.

    Attributes:
        alpha: Chance of ever missing the mean, in (0, 1).
        low: Lower end of the values.
        high: Upper end of the values.
        n: Values seen.
        total: Sum of the values, scaled to [0, 1].
        squares: Sum of squared distances to the running mean.
        bets: Sum of bets.
        weighted: Sum of bets times values.
        cost: Sum of the variance terms.
        best: Interval so far.
    """

    alpha: float
    low: float
    high: float
    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    bets: float = 0.0
    weighted: float = 0.0
    cost: float = 0.0
    best: Interval = _UNIT

    def __post_init__(self) -> None:
        _checked(np.zeros(0), self.alpha, self.low, self.high)

    @property
    def interval(self) -> Interval:
        """The interval that holds the mean, with every earlier one, with chance 1 - alpha."""
        width = self.high - self.low
        return Interval(self.low + width * self.best.low, self.low + width * self.best.high)

    def plus(self, value: float) -> BernsteinSequence:
        """Return the sequence after one more value in [low, high]."""
        _checked(np.array([value]), self.alpha, self.low, self.high)
        x = (value - self.low) / (self.high - self.low)
        t = self.n + 1
        log = math.log(2.0 / self.alpha)
        mean_before = (0.5 + self.total) / t
        variance_before = (_PRIOR_VARIANCE + self.squares) / t
        bet = min(math.sqrt(2.0 * log / (variance_before * t * math.log(1.0 + t))), _MAX_BET)
        total = self.total + x
        bets, weighted = self.bets + bet, self.weighted + bet * x
        cost = self.cost + (x - mean_before) ** 2 * (-math.log1p(-bet) - bet)
        centre, half = weighted / bets, (log + cost) / bets
        return BernsteinSequence(
            alpha=self.alpha,
            low=self.low,
            high=self.high,
            n=t,
            total=total,
            squares=self.squares + (x - (0.5 + total) / (t + 1)) ** 2,
            bets=bets,
            weighted=weighted,
            cost=cost,
            best=Interval(max(self.best.low, centre - half), min(self.best.high, centre + half)),
        )


def running_bernstein(x: FloatArray, alpha: float, *, low: float, high: float) -> RunningBounds:
    """Return the empirical-Bernstein bounds after each of (n,) values in [low, high]; they miss ever with <= alpha."""
    values = (_checked(x, alpha, low, high) - low) / (high - low)
    t = np.arange(1.0, values.size + 1.0)
    log = math.log(2.0 / alpha)
    after = (0.5 + np.cumsum(values)) / (t + 1.0)
    before = np.concatenate([[0.5], after[:-1]]) if values.size else after
    squares = np.cumsum((values - after) ** 2)
    variance = (_PRIOR_VARIANCE + np.concatenate([[0.0], squares])[: values.size]) / t
    bet = np.minimum(np.sqrt(2.0 * log / (variance * t * np.log1p(t))), _MAX_BET)
    bets = np.cumsum(bet)
    centre = np.cumsum(bet * values) / bets
    half = (log + np.cumsum((values - before) ** 2 * (-np.log1p(-bet) - bet))) / bets
    lows = np.maximum.accumulate(np.maximum(centre - half, 0.0))
    highs = np.minimum.accumulate(np.minimum(centre + half, 1.0))
    return RunningBounds(low + (high - low) * lows, low + (high - low) * highs)


def betting_bounds(x: FloatArray, alpha: float, *, low: float, high: float) -> Interval:
    """Return the two-sided betting interval after all of (n,) values: alpha / 2 is bet on each side."""
    values = _checked(x, alpha, low, high)
    return Interval(lower_bound(values, alpha / 2.0, floor=low), upper_bound(values, alpha / 2.0, ceiling=high))
