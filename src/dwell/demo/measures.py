"""The measures of a ranking where the truth is known, and means with intervals that know what hangs together. Pure."""

from collections.abc import Hashable, Sequence

import numpy as np

from dwell.records import Estimate
from dwell.records.arrays import FloatArray

__all__ = ["DEPTH", "ideal_gain", "mean_of", "ndcg", "reciprocal_rank"]

DEPTH = 10  # results shown, and looked at by every measure

_Z_95 = 1.959963984540054
_DISCOUNT = 1.0 / np.log2(np.arange(2, DEPTH + 2))


def ndcg(grades: FloatArray, ideal: float | FloatArray) -> FloatArray:
    """nDCG@10 of rankings, float64 (...), gains being the grades themselves; 0 where there is nothing to find.

    Args:
        grades: (..., k) grades in the order shown.
        ideal: DCG@10 of the best order, one for all or (...).

    Source: K. Järvelin, J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 20(4), 2002, with the
        discount 1 / log2(1 + rank).
    """
    top = grades[..., :DEPTH]
    gained: FloatArray = top @ _DISCOUNT[: top.shape[-1]]
    best = np.broadcast_to(np.asarray(ideal, dtype=np.float64), gained.shape)
    return np.divide(gained, best, out=np.zeros_like(gained), where=best > 0.0)


def ideal_gain(grades: FloatArray) -> float:
    """DCG@10 of the best order of these documents."""
    best = np.sort(grades)[::-1][:DEPTH]
    return float(best @ _DISCOUNT[: best.size])


def reciprocal_rank(grades: FloatArray) -> FloatArray:
    """1 / rank of the first wanted document within ten, float64 (...); 0 where there is none."""
    wanted = grades[..., :DEPTH] > 0.0
    first: FloatArray = 1.0 / (1.0 + wanted.argmax(axis=-1)) if wanted.shape[-1] else np.zeros(wanted.shape[:-1])
    return np.where(wanted.any(axis=-1), first, 0.0)


def mean_of(values: FloatArray, groups: Sequence[Hashable]) -> Estimate:
    """A mean with its normal 95 % interval; values of one group count as hanging together.

    The variance is the cluster-robust one, G / (G - 1) * sum over groups of (sum of deviations)^2 / n^2. With a single
    group nothing is known of the spread: the interval is infinite.

    Args:
        values: (n,), n >= 1.
        groups: n labels: queries with the same answer are one piece of evidence.

    Source: K.-Y. Liang, S. Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 73, 1986.
    """
    names = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    n_groups = len(names)
    mean = float(values.mean())
    if n_groups < 2:
        return Estimate(mean, -np.inf, np.inf, values.size, float(n_groups))
    sums = np.bincount([names[name] for name in groups], weights=values - mean)
    error = float(np.sqrt(n_groups / (n_groups - 1) * (sums**2).sum())) / values.size
    return Estimate(mean, mean - _Z_95 * error, mean + _Z_95 * error, values.size, float(n_groups))
