"""What an estimator keeps of a log, however long it is: a value that adds up over batches, shards and machines.

Every estimator of this room maps an event to a short vector t of terms, and its value is one function of their mean:

    value = mean(direct) + sum over k of mean(numerator_k) * mean(size_k) / mean(denominator_k)

Without self-normalisation there is only the first term. The mean and the scatter of t are therefore all that has to be
kept, and the standard error is that of the linearised function: sqrt(g' C g / n), C the covariance of t, g the gradient
at its mean (the delta method).

Means and scatter are merged, never raw squares: those cancel where rewards hardly vary.

Source: Chan, Golub and LeVeque 1983, "Algorithms for Computing the Sample Variance" (merging); Owen 2013, "Monte Carlo
theory, methods and examples", section 9.2 (the error of a self-normalised estimate); Kish 1965 (effective sample size).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np

from dwell.errors import EvaluationError
from dwell.evaluation.estimators import arguments
from dwell.learning.transform import normal_quantile
from dwell.records import Estimate
from dwell.records.arrays import FloatArray, frozen

__all__ = ["MAX_TERM", "Sums", "merged", "sums_of"]

MAX_TERM: Final = 1e140  # its square leaves room in float64 for 1e28 events
_FEW: Final = 2  # a variance needs two values
_N_PER_RATIO: Final = 3  # numerator, denominator, size
_WEIGHT: Final = 0  # row of the importance weight among the terms; row 1 is the direct term


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Sums:
    """The sums of one estimator over the events that it has seen; adding two gives those of both logs.

    Adding is commutative bit for bit, and associative up to rounding. The size does not depend on n, and a value
    travels between processes by pickle.

    Attributes:
        estimator: Which estimator and with which settings; only equal ones add up.
        n: Events seen.
        mean: float64 (m,), mean of each term; 0 where n is 0.
        scatter: float64 (m, m), sum over events of (t - mean)(t - mean)'.
    """

    estimator: str
    n: int
    mean: FloatArray
    scatter: FloatArray

    def __repr__(self) -> str:
        return f"Sums({self.estimator}, n={self.n})"

    def __add__(self, other: Sums) -> Sums:
        if not isinstance(other, Sums):
            return NotImplemented
        if self.estimator != other.estimator or self.mean.shape != other.mean.shape:
            raise EvaluationError(
                f"sums of {self.estimator} and of another estimator do not add up",
                code="estimator",
                field="estimator",
                value=other.estimator,
                hint="Use one estimator with the same settings, and lists of the same width, for all shards.",
            )
        if not (self.n and other.n):
            return self if self.n else other
        n = self.n + other.n
        apart = other.mean - self.mean
        mean = (self.n * self.mean + other.n * other.mean) / n
        scatter = self.scatter + other.scatter + np.outer(apart, apart) * (self.n * other.n / n)
        return _frozen(self.estimator, n, mean, scatter)

    @property
    def effective_sample_size(self) -> float:
        """How many equally weighted events the importance weights are worth (Kish), in [0, n]; 0 if all are 0."""
        total = self.n * float(self.mean[_WEIGHT])
        square = float(self.scatter[_WEIGHT, _WEIGHT]) + total * float(self.mean[_WEIGHT])
        return min(total * (total / square), float(self.n)) if square > 0.0 else 0.0

    @property
    def _is_silent(self) -> bool:
        """Whether every event contributed exactly 0, so that the scatter says 0 and means nothing."""
        earned = slice(_WEIGHT + 1, _WEIGHT + 2 + _n_ratios(self.mean))
        return not (self.mean[earned].any() or self.scatter[earned, earned].any())

    def estimate(self, *, alpha: float = 0.05) -> Estimate:
        """Return the value with its normal interval.

        The interval holds for a log of fixed length, looked at once, that is long enough for the mean of the terms to
        be normal. It knows nothing of bias: of a clipped or shrunk estimator it covers what that estimator tends to.
        It is infinite where nothing is known: fewer than two events, effective sample size 0, a position of which every
        weight is 0 (that position then adds 0 to the value), or no contribution but 0 throughout: a log without a
        single reward does not prove that there are none.

        Args:
            alpha: Chance that the interval misses, in (0, 1).

        Raises:
            EvaluationError: `alpha` is out of range.
        """
        value, gradient, is_known = _linearised(self.mean)
        effective = self.effective_sample_size
        with np.errstate(all="ignore"):  # a denominator near 0 has a gradient that is no number, and size 0
            half = _half_width(float(gradient @ self.scatter @ gradient), self.n, alpha)
        if effective == 0.0 or not is_known or self._is_silent:
            half = math.inf
        return Estimate(value, value - half, value + half, self.n, effective)

    def mean_weight(self, *, alpha: float = 0.05) -> Estimate:
        """Return the mean importance weight with its interval, which must hold 1 where nothing was clipped or shrunk.

        The cheapest check of a log: propensities that are wrong, or that belong to another policy, move it off 1. (Not
        for exposures, whose mean weight has no such value.)

        Args:
            alpha: Chance that the interval misses, in (0, 1).

        Raises:
            EvaluationError: `alpha` is out of range.
        """
        weight = float(self.mean[_WEIGHT])
        half = _half_width(float(self.scatter[_WEIGHT, _WEIGHT]), self.n, alpha)
        return Estimate(weight, weight - half, weight + half, self.n, self.effective_sample_size)


def merged(parts: Iterable[Sums]) -> Sums:
    """Return the sums of all parts together.

    Args:
        parts: At least one, all of the same estimator with the same settings.

    Raises:
        EvaluationError: There is none, or they are of different estimators.
    """
    each = iter(parts)  # one at a time: what is merged need not fit into memory at once
    first = next(each, None)
    if first is None:
        raise EvaluationError(
            "there is nothing to merge", code="empty", field="parts", value=parts, hint="Pass the sums of one batch."
        )
    return reduce(Sums.__add__, each, first)


def sums_of(
    estimator: str,
    weight: FloatArray,
    direct: FloatArray,
    numerators: FloatArray | None = None,
    denominators: FloatArray | None = None,
    sizes: FloatArray | None = None,
) -> Sums:
    """Return the sums of one batch of events.

    Args:
        estimator: Which estimator and with which settings.
        weight: (n,) the importance weight of each event, for the effective sample size.
        direct: (n,) what counts as it is.
        numerators: (k, n) what is divided by the mean of `denominators`, or None.
        denominators: (k, n), >= 0.
        sizes: (k, n) what the ratio is multiplied by.

    Raises:
        EvaluationError: A term is too large for its square to be a number.
    """
    rows = [np.stack([weight, direct])]
    rows += [part for part in (numerators, denominators, sizes) if part is not None]
    terms = np.ascontiguousarray(np.concatenate(rows))  # the last axis is contiguous: numpy adds it pairwise
    n = terms.shape[1]
    if n == 0:
        return _frozen(estimator, 0, np.zeros(len(terms)), np.zeros((len(terms), len(terms))))
    largest = float(np.abs(terms).max())
    if not largest <= MAX_TERM:  # NaN is refused too: infinity times zero
        raise EvaluationError(
            f"an importance weight, or its product with a reward, is beyond {MAX_TERM:g}",
            code="overflow",
            field="importance_weight",
            value=largest,
            hint="The logging policy hardly ever shows what the target policy wants: clip with max_importance_weight.",
        )
    mean = terms.sum(axis=1) / n
    centred = terms - mean[:, None]
    return _frozen(estimator, n, mean, centred @ centred.T)


def _frozen(estimator: str, n: int, mean: FloatArray, scatter: FloatArray) -> Sums:
    frozen(mean)
    frozen(scatter)
    return Sums(estimator, n, mean, scatter)


def _n_ratios(mean: FloatArray) -> int:
    return (mean.size - 2) // _N_PER_RATIO


def _half_width(scatter: float, n: int, alpha: float) -> float:
    """Return half of the normal interval of a mean, infinite below two events."""
    if not 0.0 < arguments.number(alpha, "alpha") < 1.0:
        raise EvaluationError(
            "an error probability is in (0, 1)", code="range", field="alpha", value=alpha, hint="Pass 0.05."
        )
    if n < _FEW:
        return math.inf
    return float(-normal_quantile(np.array(0.5 * alpha))) * math.sqrt(max(scatter, 0.0) / (n - 1) / n)


def _linearised(mean: FloatArray) -> tuple[float, FloatArray, bool]:
    """Return the value at the mean terms, its gradient, and whether every ratio in it is known."""
    k = _n_ratios(mean)
    numerator, denominator, size = mean[2:].reshape(_N_PER_RATIO, k)
    is_due = size != 0.0  # a position that no list reaches adds nothing
    is_known = bool((denominator[is_due] > 0.0).all())
    share = np.divide(numerator, denominator, out=np.zeros(k), where=denominator > 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        scale = np.divide(size, denominator, out=np.zeros(k), where=denominator > 0.0)
        gradient = np.concatenate([[0.0, 1.0], scale, -share * scale, share])
    return float(mean[1] + share @ size), gradient, is_known
