"""Fit the frozen map from raw features to standardised units that a learned version acts on.

Rank to normal: a feature's value becomes the normal quantile of its rank among the fitting rows, then is centred and
scaled to unit variance there. For linear learning on heavy tails it was the most even choice of four
(docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np
import numpy.typing as npt

from dwell.errors import LearningError
from dwell.records import Transform
from dwell.records.arrays import FloatArray

__all__ = ["MAX_FITTING_ROWS", "N_KNOTS", "fit_transform", "normal_quantile"]

N_KNOTS: Final = 64  # measured before the project on a heavy-tailed set: 64 knots from 1,000 rows
MAX_FITTING_ROWS: Final = 1_000
_NATURAL_RANGE: Final = 10.0  # nats: odds of 22,000
_MIN_SD: Final = 1e-12  # a feature that does not vary in the fitting rows maps to 0 everywhere

# Acklam's rational approximation of the inverse normal distribution function, relative error below 1.15e-9
_A = (-3.969683028665376e01, 2.209460984245205e02, -2.759285104469687e02, 1.383577518672690e02, -3.066479806614716e01)
_A6 = 2.506628277459239e00
_B = (-5.447609879822406e01, 1.615858368580409e02, -1.556989798598866e02, 6.680131188771972e01, -1.328068155288572e01)
_C = (
    -7.784894002430293e-03,
    -3.223964580411365e-01,
    -2.400758277161838e00,
    -2.549732539343734e00,
    4.374664141464968e00,
)
_C6 = 2.938163982698783e00
_D = (7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e00, 3.754408661907416e00)
_LOW: Final = 0.02425


def normal_quantile(p: FloatArray) -> FloatArray:
    """Return the standard normal quantile of probabilities in [1e-15, 1 - 1e-15]; absolute error below 1e-8.

    Source:
        P. J. Acklam, "An algorithm for computing the inverse normal cumulative distribution function", 2003.
    """
    p = np.asarray(p, dtype=np.float64)
    tail = np.minimum(p, 1.0 - p)
    q = np.sqrt(-2.0 * np.log(np.maximum(tail, 1e-300)))
    outer = np.polyval([*_C, _C6], q) / np.polyval([*_D, 1.0], q)
    centred = p - 0.5
    r = centred**2
    inner = centred * np.polyval([*_A, _A6], r) / np.polyval([*_B, 1.0], r)
    return np.where(tail >= _LOW, inner, np.where(p < 0.5, outer, -outer))


def _fit_column(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return knots and standardised levels for one feature from its observed values (n,), n >= 1."""
    ordered = np.sort(values)
    n = ordered.size
    positions = np.unique(np.round(np.linspace(0, n - 1, min(N_KNOTS, n))).astype(np.int64))
    knots = np.unique(ordered[positions])
    # mid-ranks: equal values share the mean of the ranks that they span
    first = np.searchsorted(ordered, knots, side="left")
    last = np.searchsorted(ordered, knots, side="right")
    levels = normal_quantile((first + last) / (2.0 * n))
    mapped = np.interp(ordered, knots, levels)
    sd = float(mapped.std())
    if sd < _MIN_SD:
        return knots[:1], np.zeros(1)
    return knots, (levels - mapped.mean()) / sd


def fit_transform(
    features: npt.NDArray[np.floating], *, kind: str = "gauss", natural: Collection[int] = ()
) -> Transform:
    """Return a frozen map fitted to these rows.

    Args:
        features: (n, f) raw values, n >= 1; NaN marks a missing value and is left out of the fit.
        kind: "gauss" (rank to normal) or "moments" (centre and scale, clipped at 5 standard deviations).
        natural: Columns whose unit is taken as it is, within +-10: a quantity such as log odds, whose values of today
            say nothing of its values of tomorrow.

    Raises:
        LearningError: No rows, infinite values, or an unknown kind.
    """
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or not rows.shape[0]:
        raise LearningError("a transform is fitted to at least one row", field="features", value=rows.shape)
    if np.isinf(rows).any():
        raise LearningError(
            "a feature is infinite", code="non_finite", field="features", hint="Quarantine such events."
        )
    if kind not in {"gauss", "moments"}:
        raise LearningError("unknown kind of transform", field="kind", value=kind, hint="Use 'gauss' or 'moments'.")
    knots, levels = [], []
    for j, column in enumerate(rows.T):
        seen = column[~np.isnan(column)]
        if j in natural:
            x = y = np.array([-_NATURAL_RANGE, _NATURAL_RANGE])
        elif not seen.size:
            x, y = np.zeros(1), np.zeros(1)
        elif kind == "gauss":
            x, y = _fit_column(seen)
        else:
            sd = float(seen.std())
            mean = float(seen.mean())
            is_constant = sd <= _MIN_SD * abs(mean)
            x = np.array([mean]) if is_constant else np.array([mean - 5.0 * sd, mean + 5.0 * sd])
            y = np.zeros(1) if is_constant else np.array([-5.0, 5.0])
        knots.append(x)
        levels.append(y)
    return Transform(tuple(knots), tuple(levels), kind)
