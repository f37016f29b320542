"""Intervals for a mean or a proportion at a sample size fixed beforehand: one look, two-sided, coverage 1 - alpha.

Source: Hoeffding 1963; Maurer and Pontil 2009, theorem 4 (empirical Bernstein, both sides); Clopper and Pearson 1934;
Wilson 1927. Whoever looks more than once uses `confidence_sequences`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from dwell.errors import EvaluationError
from dwell.learning.transform import normal_quantile
from dwell.records.arrays import FloatArray

__all__ = [
    "Interval",
    "clopper_pearson",
    "empirical_bernstein",
    "hoeffding",
    "normal",
    "normal_ratio",
    "student",
    "wilson",
]

_BISECTIONS: Final = 200  # halves until two neighbouring floats are left
_FRACTION_STEPS: Final = 10_000  # Lentz needs about sqrt(max(a, b)) of them
_EPSILON: Final = 1e-15
_TINY: Final = 1e-300
_FEW: Final = 2


class Interval(NamedTuple):
    """Two ends that hold the truth with the chance asked for."""

    low: float
    high: float


def _level(alpha: float) -> float:
    if isinstance(alpha, bool) or not 0.0 < alpha < 1.0:
        raise EvaluationError("the chance of a miss lies in (0, 1)", field="alpha", value=alpha)
    return float(alpha)


def _values(x: FloatArray, field: str = "x", *, low: float = -math.inf, high: float = math.inf) -> FloatArray:
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 1 or values.size < _FEW or not np.isfinite(values).all():
        raise EvaluationError("an interval needs at least two finite numbers", field=field, value=values.shape)
    if not low < high or values.min() < low or values.max() > high:
        raise EvaluationError(f"values lie outside of [{low:g}, {high:g}]", field=field, value=float(values.max()))
    return values


def _around(centre: float, half: float) -> Interval:
    return Interval(centre - half, centre + half)


def _normal_z(alpha: float) -> float:
    return -float(normal_quantile(np.array(_level(alpha) / 2.0)))


def normal(x: FloatArray, alpha: float) -> Interval:
    """Return mean +- z sd / sqrt(n); holds as n grows, too short for skewed values."""
    values = _values(x)
    return _around(float(values.mean()), _normal_z(alpha) * float(values.std(ddof=1)) / math.sqrt(values.size))


def normal_ratio(numerator: FloatArray, denominator: FloatArray, alpha: float) -> Interval:
    """Return the linearised interval of sum(numerator) / sum(denominator), pairs being independent."""
    a, b = _values(numerator, "numerator"), _values(denominator, "denominator")
    if a.shape != b.shape or b.mean() == 0.0:
        raise EvaluationError("a ratio needs pairs and a denominator that is not 0", field="denominator", value=b.shape)
    ratio = float(a.sum() / b.sum())
    residual = (a - ratio * b) / b.mean()
    return _around(ratio, _normal_z(alpha) * float(residual.std(ddof=1)) / math.sqrt(a.size))


def student(x: FloatArray, alpha: float) -> Interval:
    """Return mean +- t sd / sqrt(n), exact for normal values."""
    values = _values(x)
    df = values.size - 1.0
    # P(|T| > t) = I_{df / (df + t^2)}(df / 2, 1 / 2)
    y = _bisected(lambda v: _beta_cdf(v, df / 2.0, 0.5), _level(alpha))
    return _around(float(values.mean()), math.sqrt(df * (1.0 - y) / y * values.var(ddof=1) / values.size))


def hoeffding(x: FloatArray, alpha: float, *, low: float, high: float) -> Interval:
    """Return the interval for values in [low, high], valid at every n."""
    values = _values(x, low=low, high=high)
    return _around(float(values.mean()), (high - low) * math.sqrt(math.log(2.0 / _level(alpha)) / (2.0 * values.size)))


def empirical_bernstein(x: FloatArray, alpha: float, *, low: float, high: float) -> Interval:
    """Return the interval for values in [low, high] that is short where their variance is small; valid at every n."""
    values = _values(x, low=low, high=high)
    log = math.log(4.0 / _level(alpha))  # theorem 4 is one-sided at 2 / delta, delta = alpha / 2
    n = values.size
    half = math.sqrt(2.0 * float(values.var(ddof=1)) * log / n) + 7.0 * (high - low) * log / (3.0 * (n - 1))
    return _around(float(values.mean()), half)


def _counted(n_hits: int, n: int) -> None:
    if isinstance(n_hits, bool) or isinstance(n, bool) or n < 1 or not 0 <= n_hits <= n:
        raise EvaluationError("hits are counted among at least one trial", field="n_hits", value=(n_hits, n))


def wilson(n_hits: int, n: int, alpha: float) -> Interval:
    """Return the score interval of a proportion: close to its level on average, not below it at every p."""
    _counted(n_hits, n)
    z2 = _normal_z(alpha) ** 2
    p = n_hits / n
    half = math.sqrt(z2 * (p * (1.0 - p) / n + z2 / (4.0 * n * n))) / (1.0 + z2 / n)
    found = _around((p + z2 / (2.0 * n)) / (1.0 + z2 / n), half)
    return Interval(max(found.low, 0.0) if n_hits else 0.0, min(found.high, 1.0) if n_hits < n else 1.0)


def clopper_pearson(n_hits: int, n: int, alpha: float) -> Interval:
    """Return the exact interval of a proportion: covers with at least 1 - alpha at every p and n."""
    _counted(n_hits, n)
    tail = _level(alpha) / 2.0
    low = 0.0 if n_hits == 0 else _bisected(lambda p: _beta_cdf(p, n_hits, n - n_hits + 1.0), tail)
    high = 1.0 if n_hits == n else _bisected(lambda p: _beta_cdf(p, n_hits + 1.0, n - n_hits), 1.0 - tail)
    return Interval(low, high)


def _bisected(rising: Callable[[float], float], target: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if rising(middle) < target else (low, middle)
    return 0.5 * (low + high)


def _beta_cdf(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function by its continued fraction (Lentz; Numerical Recipes, 6.4)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _beta_cdf(1.0 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    c, d = 1.0, 1.0 / _away(1.0 - (a + b) * x / (a + 1.0))
    total = d
    for m in range(1, _FRACTION_STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for term in (even, odd):
            d = 1.0 / _away(1.0 + term * d)
            c = _away(1.0 + term / c)
            total *= c * d
        if abs(c * d - 1.0) < _EPSILON:
            break
    return math.exp(log_front) * total / a


def _away(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
