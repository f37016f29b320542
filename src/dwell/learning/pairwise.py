"""Pairwise logistic regression on estimated relevance: the plainest alternative to the Plackett-Luce gradient.

    J = sum over pairs with r_i > r_j of  n_i n_j (r_i - r_j) log sigmoid(z_i - z_j) / n

z are the policy's log weights, r the doubly robust estimates, n_d the candidates that a document stands for and n their
sum in the list. Positions play no part.

The expected list reward is linear in r, this is not: which of two documents is preferred is decided by the *sign* of a
difference of estimates, so that noise in them does not average out but pulls scores together. docs/learners.md has what
that cost.

Source: Burges et al. 2005, "Learning to Rank using Gradient Descent" (RankNet), each pair weighted by
the difference of its estimates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dwell.learning.learner import Sampled, free_to_move
from dwell.records.arrays import FloatArray
from dwell.records.rows import RowBatch

__all__ = ["Pairs", "counts_of", "pair_gradient", "pairs_of", "pairwise_logistic", "plain_scores"]


class Pairs(NamedTuple):
    """Ordered pairs of the documents of each list, the first to be above the second.

    Attributes:
        weight: float64 (b, d, d), >= 0; 0 where the first is not preferred, or may not rise while the second falls.
        apart: float64 (b, d, d), z_i - z_j without what documents stand for; 0 where one of them is none.
    """

    weight: FloatArray
    apart: FloatArray


def plain_scores(sampled: Sampled) -> FloatArray:
    """Return log weights without what documents stand for, float64 (b, d), 0 where there is no document."""
    batch = sampled.batch
    return np.where(batch.is_document, sampled.rankings.log_weight, 0.0) - np.where(
        batch.is_document, batch.log_stand_in, 0.0
    )


def counts_of(batch: RowBatch) -> FloatArray:
    """Return how many pairs each pair stands for, n_i n_j, float64 (b, d, d)."""
    counts = batch.stand_in
    found: FloatArray = counts[:, :, None] * counts[:, None, :]
    return found


def pairs_of(sampled: Sampled) -> Pairs:
    """Return every preferred pair, weighted by the difference of estimated relevance and by what the two stand for.

    At the edge of the trust region a pair is dropped that would push its first document up or its second one down.
    """
    z = plain_scores(sampled)
    rise, fall = free_to_move(sampled)
    gain = np.maximum(sampled.credit[:, :, None] - sampled.credit[:, None, :], 0.0)
    is_free = rise[:, :, None] & fall[:, None, :]
    is_pair = sampled.batch.is_document[:, :, None] & sampled.batch.is_document[:, None, :]
    weight = np.where(is_free & is_pair, gain * counts_of(sampled.batch), 0.0)
    return Pairs(weight, np.where(is_pair, z[:, :, None] - z[:, None, :], 0.0))


def pair_gradient(weight: FloatArray, apart: FloatArray) -> FloatArray:
    """Return d/dz of sum weight log sigmoid(apart), float64 (b, d), summing to 0 in each list.

    Args:
        weight: (b, d, d) weight of each ordered pair.
        apart: (b, d, d) z_i - z_j.
    """
    # 1 - sigmoid(x) without overflow: e^-x for large x underflows to 0 quietly
    push = weight * 0.5 * (1.0 - np.tanh(0.5 * apart))
    found: FloatArray = push.sum(axis=2) - push.sum(axis=1)
    return found


def pairwise_logistic(sampled: Sampled) -> FloatArray:
    """Return the gradient of the pairwise logistic objective, float64 (b, d): an `Objective`."""
    pairs = pairs_of(sampled)
    n = sampled.batch.stand_in.sum(axis=1, keepdims=True)
    found: FloatArray = pair_gradient(pairs.weight, pairs.apart) / n
    return found
