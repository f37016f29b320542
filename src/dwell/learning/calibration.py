"""Does the reward predictor promise what is then observed, and a monotone map that makes it so.

A prediction m of relevance promises theta_k m of reward at rank k. Tables compare both by position and by decile of the
prediction. Recalibration is the weighted isotonic regression of c / theta on m with weights kappa theta: it minimises
the predictor's own loss, sum kappa (c - theta m)^2 / theta, over all monotone maps of m instead of all weights. The map
that changes nothing is one of them, so on what it was fitted to that loss is never worse.

Source: Ayer, Brunk, Ewing, Reid, Silverman 1955 (pool adjacent violators); Zadrozny and Elkan 2002, "Transforming
Classifier Scores into Accurate Multiclass Probability Estimates"; expected calibration error: Naeini, Cooper,
Hauskrecht 2015, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from dwell.errors import LearningError
from dwell.records.arrays import FloatArray, IntArray

__all__ = [
    "CalibrationTable",
    "Observed",
    "Recalibration",
    "calibration_by_decile",
    "calibration_by_position",
    "expected_calibration_error",
    "fit_recalibration",
    "weighted_squared_error",
]

_N_DECILES: Final = 10


class Observed(NamedTuple):
    """Served documents with what was predicted and what came, one entry each, (n,).

    Attributes:
        predicted: float64, relevance in [-1, 1], from a predictor that never saw the query.
        rewards: float64, reward observed (less beta_k under trust bias).
        theta: float64, examination of the position (alpha_k under trust bias), > 0.
        weight: float64, kappa >= 0.
    """

    predicted: FloatArray
    rewards: FloatArray
    theta: FloatArray
    weight: FloatArray


class CalibrationTable(NamedTuple):
    """Observed and expected reward by group, the groups without weight left out; (g,) each.

    Attributes:
        group: int64, position from 1, or decile from 1.
        weight: float64, sum of kappa, > 0.
        observed: float64, mean reward.
        expected: float64, mean of theta times the prediction.
    """

    group: IntArray
    weight: FloatArray
    observed: FloatArray
    expected: FloatArray

    @property
    def ratio(self) -> FloatArray:
        """Observed divided by expected, NaN where nothing was expected: 1 is calibrated."""
        return np.divide(
            self.observed, self.expected, out=np.full_like(self.observed, np.nan), where=self.expected != 0.0
        )


@dataclass(frozen=True, slots=True, eq=False)
class Recalibration:
    """A monotone map of predictions, linear between its knots and constant beyond them.

    Attributes:
        knots: float64 (m,), predictions, strictly increasing.
        values: float64 (m,), what they become, never decreasing, in [-1, 1].
    """

    knots: FloatArray
    values: FloatArray

    def apply(self, predicted: FloatArray) -> FloatArray:
        """Return recalibrated predictions, of the same shape, in [-1, 1]."""
        return np.interp(predicted, self.knots, self.values)


def calibration_by_position(log: Observed, position: IntArray) -> CalibrationTable:
    """Return observed and expected reward by 1-based position (n,).

    Raises:
        LearningError: There is nothing, shapes differ, or a value is out of its range.
    """
    _check(log)
    if position.shape != log.predicted.shape or (position < 1).any():
        raise LearningError("a position is below 1", field="position", hint="Pass one 1-based rank per document.")
    return _table(log, position)


def calibration_by_decile(log: Observed) -> CalibrationTable:
    """Return observed and expected reward by decile of the prediction: equal weight each, equal predictions together.

    Raises:
        LearningError: As `calibration_by_position`.
    """
    _check(log)
    levels, at = np.unique(log.predicted, return_inverse=True)
    by_level = np.bincount(at, log.weight, minlength=levels.size)
    # a level belongs where the middle of its weight lies: equal predictions never fall into two groups
    middle = (np.cumsum(by_level) - 0.5 * by_level) / log.weight.sum()
    decile = np.minimum((middle * _N_DECILES).astype(np.int64), _N_DECILES - 1) + 1
    return _table(log, decile[at])


def expected_calibration_error(table: CalibrationTable) -> float:
    """Return the mean distance of observed from expected over the groups, by weight, in units of reward, >= 0."""
    return float((table.weight * np.abs(table.observed - table.expected)).sum() / table.weight.sum())


def weighted_squared_error(log: Observed) -> float:
    """Return sum kappa (c - theta m)^2 / theta, the loss that predictor and recalibration minimise."""
    return float((log.weight * (log.rewards - log.theta * log.predicted) ** 2 / log.theta).sum())


def fit_recalibration(log: Observed) -> Recalibration:
    """Return the monotone map into [-1, 1] with the smallest weighted squared error on this log.

    On this log the error is never worse than that of the predictions themselves, which are in [-1, 1]; on other events
    it may be: fit on one fold of queries and apply to the other.

    Raises:
        LearningError: There is nothing, shapes differ, or a value is out of its range.
    """
    _check(log)
    levels, at = np.unique(log.predicted, return_inverse=True)
    weight = np.bincount(at, log.weight * log.theta, minlength=levels.size).astype(np.float64)
    total = np.bincount(at, log.weight * log.rewards, minlength=levels.size).astype(np.float64)
    is_told = weight > 0.0
    levels, value, n_pooled = levels[is_told], *_pooled(total[is_told], weight[is_told])
    last = np.cumsum(n_pooled) - 1
    ends = np.unique(np.concatenate([last - n_pooled + 1, last]))
    # the best map into a range is the best map, cut to the range
    return Recalibration(levels[ends], np.clip(np.repeat(value, n_pooled), -1.0, 1.0)[ends])


def _pooled(total: FloatArray, weight: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return values and lengths of the blocks of the isotonic regression of total / weight."""
    totals: list[float] = []
    weights: list[float] = []
    lengths: list[int] = []
    for one, its_weight in zip(total.tolist(), weight.tolist(), strict=True):
        s, w, n = one, its_weight, 1
        while totals and totals[-1] / weights[-1] >= s / w:
            s, w, n = s + totals.pop(), w + weights.pop(), n + lengths.pop()
        totals.append(s)
        weights.append(w)
        lengths.append(n)
    return np.array(totals) / np.array(weights), np.array(lengths, dtype=np.int64)


def _table(log: Observed, group: IntArray) -> CalibrationTable:
    weight = np.bincount(group, log.weight).astype(np.float64)
    at = np.flatnonzero(weight > 0.0)
    observed = np.bincount(group, log.weight * log.rewards)[at] / weight[at]
    expected = np.bincount(group, log.weight * log.theta * log.predicted)[at] / weight[at]
    return CalibrationTable(at, weight[at], observed, expected)


def _check(log: Observed) -> None:
    for name, values in zip(log._fields, log, strict=True):
        if values.ndim != 1 or values.shape != log.predicted.shape or not np.isfinite(values).all():
            raise LearningError(
                f"{name} is not one finite number per served document",
                field=name,
                value=values.shape,
                hint="Pass (n,).",
            )
    if (np.abs(log.predicted) > 1.0).any():
        raise LearningError("a prediction is outside [-1, 1]", field="predicted", hint="Pass Predictor.predict.")
    if (log.theta <= 0.0).any():
        raise LearningError("an examination is not above 0", field="theta", hint="Leave out what nobody looks at.")
    if (log.weight < 0.0).any() or not (log.weight > 0.0).any():
        raise LearningError("weights are negative or all 0", field="weight", hint="Pass ones.")
