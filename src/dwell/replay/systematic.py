"""Sampling without replacement with exact inclusion probabilities: systematic sampling in proportion to size.

Items are put in random order on a line, each as long as its mass; `b` equally spaced points with one random start
hit `b` items. An item at least as long as the spacing is certain to be hit: it is taken first, and the rest is drawn
from what remains. So P(item in batch) = min(1, b * mass / total), with the certain items taken out of `b` and total.

Source: Madow 1949, "On the Theory of Systematic Sampling, II"; random order: Hartley and Rao 1962, "Sampling with
Unequal Probabilities and without Replacement".
"""

from __future__ import annotations

import numpy as np

from dwell.records.arrays import FloatArray, IntArray

__all__ = ["inclusion_probabilities", "systematic_sample"]


def inclusion_probabilities(masses: FloatArray, n_drawn: int) -> FloatArray:
    """Return P(i in batch) for a batch of distinct items, float64 (n,), summing to `n_drawn`.

    Args:
        masses: (n,) finite, >= 0; at least `n_drawn` of them above 0.
        n_drawn: Size of the batch, >= 1.
    """
    heaviest_first = np.sort(masses)[::-1]
    # tail[k]: mass of all but the k heaviest, summed from the light end so that nothing cancels
    tail = np.cumsum(heaviest_first[::-1])[::-1]
    left = n_drawn - np.arange(min(n_drawn, masses.size))
    is_certain = heaviest_first[: left.size] * left >= tail[: left.size]
    n_certain = left.size if is_certain.all() else int(is_certain.argmin())
    result = np.zeros_like(masses)
    if n_certain < n_drawn:
        result = (n_drawn - n_certain) * (masses / tail[n_certain])
    if n_certain:
        result[np.argsort(-masses, kind="stable")[:n_certain]] = 1.0
    return np.minimum(result, 1.0)


def systematic_sample(inclusion: FloatArray, n_drawn: int, rng: np.random.Generator) -> IntArray:
    """Return `n_drawn` distinct indices in random order, index i with probability `inclusion[i]`, int64 (n_drawn,).

    Args:
        inclusion: (n,) inclusion probabilities in [0, 1] that sum to `n_drawn`.
        n_drawn: Size of the batch, >= 1.
        rng: Source of the order and of the start.
    """
    certain = np.flatnonzero(inclusion >= 1.0)
    n_open = n_drawn - certain.size
    if n_open == 0:
        return rng.permutation(certain)
    order = rng.permutation(np.flatnonzero((inclusion > 0.0) & (inclusion < 1.0)))
    ends = np.cumsum(inclusion.take(order))
    ends *= n_open / ends[-1]
    points = rng.random() + np.arange(n_open)
    # an item shorter than the spacing is hit once at most; where rounding at a border hits it twice, step on
    step = np.arange(n_open)
    hit = np.maximum.accumulate(ends.searchsorted(points, side="right") - step) + step
    hit = np.minimum(hit, order.size - n_open + step)
    return rng.permutation(np.concatenate([certain, order.take(hit)]))
