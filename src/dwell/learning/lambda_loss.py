"""LambdaLoss on estimated relevance: pairs weighted by what exchanging them would do to the list's reward.

    J = sum over pairs with r_i > r_j of  n_i n_j (r_i - r_j) (rho_ij + mu delta_ij) log sigmoid(z_i - z_j)
    rho_ij = |theta(p_i) - theta(p_j)|,   delta_ij = theta(|p_i - p_j|) - theta(|p_i - p_j| + 1)

p are the positions in the order of the present scores, held fixed while differentiating; theta is the examination per
position, where the paper has 1 / log2(1 + p) for nDCG: it is the reward of a list that is estimated here, not nDCG. A
document that stands for several takes up as many positions; positions count from the middle of what it takes up.

As in `pairwise`, which document is preferred is decided by the sign of a difference of noisy estimates, which is not
linear in them.

Source: Wang, Li, Golbandi, Bendersky and Najork 2018, "The LambdaLoss Framework for Ranking Metric Optimization": the
weights of NDCG-Loss2++.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dwell.learning.learner import Sampled
from dwell.learning.pairwise import pair_gradient, pairs_of, plain_scores
from dwell.records.arrays import FloatArray
from dwell.records.rows import RowBatch

__all__ = ["lambda_loss", "lambda_weights", "positions_of"]

_MU: Final = 10.0  # of the paper's hybrid loss, and what allRank takes; not tuned here


def positions_of(z: FloatArray, batch: RowBatch) -> FloatArray:
    """Return the position of each document in descending order of its score, float64 (b, d), from 1; 0 for none.

    Args:
        z: (b, d) scores; whatever stands where there is no document does not matter.
        batch: The events.
    """
    order = np.argsort(np.where(batch.is_document, -z, np.inf), axis=1, kind="stable")
    counts = np.take_along_axis(batch.stand_in, order, axis=1)
    middle = np.cumsum(counts, axis=1) - 0.5 * counts + 0.5
    positions = np.zeros_like(z)
    np.put_along_axis(positions, order, middle, axis=1)
    return np.where(batch.is_document, positions, 0.0)


def _value_at(positions: FloatArray, values: FloatArray) -> FloatArray:
    """Return the examination at positions (b, ...) by linear interpolation of values (b, d), 0 beyond the last one."""
    b, d = values.shape
    table = np.concatenate([values[:, :1], values, np.zeros((b, 2))], axis=1)  # position 0 counts as the first
    at = np.minimum(positions.reshape(b, -1), d + 1.0)
    low = np.floor(at).astype(np.int64)
    share = at - low
    rows = np.arange(b)[:, None]
    found: FloatArray = (1.0 - share) * table[rows, low] + share * table[rows, low + 1]
    return found.reshape(positions.shape)


def lambda_weights(positions: FloatArray, values: FloatArray) -> FloatArray:
    """Return rho + mu delta of every pair of documents, float64 (b, d, d), symmetric, >= 0 where values fall.

    Args:
        positions: (b, d) from 1.
        values: (b, d) examination of each rank, not rising.
    """
    value = _value_at(positions, values)
    distance = np.abs(positions[:, :, None] - positions[:, None, :])
    rho = np.abs(value[:, :, None] - value[:, None, :])
    delta = np.abs(_value_at(distance, values) - _value_at(distance + 1.0, values))
    found: FloatArray = rho + _MU * delta
    return found


def lambda_loss(sampled: Sampled) -> FloatArray:
    """Return the gradient of LambdaLoss, float64 (b, d): an `Objective`."""
    pairs = pairs_of(sampled)
    positions = positions_of(plain_scores(sampled), sampled.batch)
    return pair_gradient(pairs.weight * lambda_weights(positions, sampled.values), pairs.apart)
