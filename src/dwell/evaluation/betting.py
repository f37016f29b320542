"""Anytime-valid inference on a mean by betting: look as often as you like, the error stays below alpha.

Under "the mean is at most m" the wealth K_t = product of (1 + lambda_i (x_i - m)), with bets lambda_i >= 0 fixed before
x_i is seen and small enough that wealth stays positive, is a nonnegative supermartingale: the chance that it ever
reaches 1/alpha is at most alpha (Ville). The lower confidence bound is the smallest m that has never been refuted.

Money is spread evenly over a few bettors and never moved between them: their mean is a supermartingale as each of them
is. A bettor who hopes for a mean of g standard deviations bets g / sd, the growth-optimal bet at that mean, sd being
estimated from what came before; the grid of g spans what a few hundred to twenty thousand values can show, so nobody
has to guess the effect, and noise in an estimate of it costs nothing. No bet depends on m but by its cap, so wealth
never rises with m: the means not refuted are an interval.

A bet may not depend on what is known of x_i before it is drawn, such as the range that its query allows: the mean is
over queries, and who stakes more on some of them tests another one.

Source: Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting", section 4 and appendix
B (bets, mixtures); Kelly 1956. Values are bounded from below only, which is all that one-sided bets need.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dwell.records.arrays import FloatArray

__all__ = ["MAX_BET", "log_wealth", "lower_bound", "upper_bound"]

# benchmarks/judging.py --only bets: fewer events at every effect than bets on the estimated mean (aGRAPA) capped at .9
MAX_BET: Final = 0.97  # of what would risk ruin
_EFFECTS: Final = np.array(
    [0.025, 0.05, 0.1, 0.2]
)  # means in standard deviations; a bet off by 2^.5 grows at .83 of best
_PRIOR_VARIANCE: Final = 0.25  # of a value before anything is seen; validity does not depend on it
_PRIOR_WEIGHT: Final = 1.0
_BISECTIONS: Final = 40  # 6 / 2^40: far below the rounding of what is printed


def _bets(values: FloatArray) -> FloatArray:
    """Return the bet of each bettor before each value, before any cap, float64 (g, n)."""
    n_before = np.arange(values.size)
    total = np.concatenate([[0.0], np.cumsum(values)[:-1]])
    square = np.concatenate([[0.0], np.cumsum(values**2)[:-1]])
    weight = n_before + _PRIOR_WEIGHT
    variance = np.maximum((square + _PRIOR_WEIGHT * _PRIOR_VARIANCE) / weight - (total / weight) ** 2, 1e-12)
    bets: FloatArray = _EFFECTS[:, None] / np.sqrt(variance)
    return bets


def _log_wealth(values: FloatArray, bets: FloatArray, mean: float, floor: float) -> FloatArray:
    wealth = np.cumsum(np.log1p(np.minimum(bets, MAX_BET / (mean - floor)) * (values - mean)), axis=1)
    most = wealth.max(axis=0)
    mixed: FloatArray = most + np.log(np.exp(wealth - most).mean(axis=0))
    return mixed


def log_wealth(x: FloatArray, mean: float, *, floor: float) -> FloatArray:
    """Return the log wealth after each value when betting against "the mean is at most `mean`", float64 (n,).

    Args:
        x: (n,) values in the order in which they became known, each >= floor; smaller ones count as the floor.
        mean: The hypothesis, > floor.
        floor: Lower bound of the values.
    """
    if not x.size:
        return np.zeros(0)
    values = np.maximum(x, floor)
    return _log_wealth(values, _bets(values), mean, floor)


def lower_bound(x: FloatArray, alpha: float, *, floor: float) -> float:
    """Return the anytime-valid lower confidence bound on the mean, >= floor; it never falls as values are added.

    Args:
        x: (n,) values in order, bounded below by `floor`.
        alpha: Chance of ever exceeding the mean, in (0, 1).
        floor: Lower bound of the values.
    """
    if not x.size:
        return floor
    threshold = -np.log(alpha)
    values = np.maximum(x, floor)
    low, high = floor, float(values.max())
    if not high > low:
        return floor
    bets = _bets(values)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if _log_wealth(values, bets, middle, floor).max() >= threshold:
            low = middle
        else:
            high = middle
    return low


def upper_bound(x: FloatArray, alpha: float, *, ceiling: float) -> float:
    """Return the anytime-valid upper confidence bound on the mean, <= ceiling; larger values count as the ceiling."""
    return -lower_bound(-x, alpha, floor=-ceiling)
