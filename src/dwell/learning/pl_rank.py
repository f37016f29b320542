"""The gradient of a Plackett-Luce policy's expected list reward, from sampled rankings.

J = E_y [ sum over ranks k <= K of lambda_k * r_{y_k} ]. For a sampled ranking y with prefix denominators
Z_k = sum of exp(z_d) over documents not in y_1..y_{k-1}:

    PR_i = sum over i < k <= K of lambda_k r_{y_k}            RI_i = sum over k <= min(i, K) of PR_{k-1} / Z_k
    DR_i = sum over k <= min(i, K) of lambda_k / Z_k          (PR_0 is the total; ranks beyond K use i = K and PR = 0)
    dJ/dz_d = E_y [ PR_rank(d) + exp(z_d) (r_d DR_rank(d) - RI_rank(d)) ]

Source: Oosterhuis 2022, "Learning-to-Rank at the Speed of Sampling: Plackett-Luce Gradient Estimation With Minimal
Computational Complexity" (PL-Rank-3), equations 12 to 16.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from dwell.records.arrays import FloatArray, IntArray

__all__ = ["Rankings", "exposure_of", "full_rankings", "pl_rank_gradient"]


_WIDE: Final = 600.0  # exp(-708) is the smallest normal float64: a wider range of log weights is kept as logarithms


class Rankings(NamedTuple):
    """Full rankings of padded lists.

    Attributes:
        order: int64 (b, m, d), document indices from the top.
        weight: float64 (b, d), exp(z), 0 where there is no document.
        log_weight: float64 (b, d), z, -inf where there is no document.
    """

    order: IntArray
    weight: FloatArray
    log_weight: FloatArray


def full_rankings(log_weights: FloatArray, noise: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Rankings:
    """Return full rankings of each list from given noise, so that two policies can share it.

    Args:
        log_weights: (b, d) Plackett-Luce log weights, at most 0; -inf where there is no document.
        noise: float32 (b, m, d), log of standard exponential draws.
    """
    keys = noise - log_weights[:, None, :].astype(np.float32)
    return Rankings(np.argsort(keys, axis=-1), np.exp(log_weights), log_weights)


def _flat(order: IntArray, d: int) -> IntArray:
    """Return positions in a (b, d) array read row by row, for document indices (b, m, k)."""
    return order + (np.arange(len(order)) * d)[:, None, None]


def _by_document(values: FloatArray, flat: IntArray, d: int) -> FloatArray:
    """Return the mean over rankings of values given by rank, (b, m, k) -> (b, d)."""
    b, m, _ = flat.shape
    total: FloatArray = np.bincount(flat.ravel(), weights=values.ravel(), minlength=b * d).reshape(b, d) / m
    return total


def _depth(value_at: FloatArray) -> int:
    """Return the last rank that has a value in any list."""
    return int(np.flatnonzero(value_at.any(axis=0)).max(initial=-1)) + 1


def exposure_of(rankings: Rankings, value_at: FloatArray) -> FloatArray:
    """Return the expected position value of each document, (b, d).

    Args:
        rankings: Sampled rankings.
        value_at: (b, d) value of each rank, 0 beyond the end of the list.
    """
    d, k = value_at.shape[1], _depth(value_at)
    top = rankings.order[..., :k]
    return _by_document(np.broadcast_to(value_at[:, None, :k], top.shape), _flat(top, d), d)


def pl_rank_gradient(rankings: Rankings, rewards: FloatArray, value_at: FloatArray) -> FloatArray:
    """Return the sampled gradient of the expected list reward, dJ/dz, float64 (b, d), summing to 0 in each list.

    Args:
        rankings: Sampled full rankings of b lists.
        rewards: (b, d) reward per document, any real number, 0 where there is no document.
        value_at: (b, d) lambda per rank, 0 beyond the end of the list.
    """
    order, weight, log_weight = rankings
    d, k = order.shape[-1], max(_depth(value_at), 1)
    flat = _flat(order, d)
    placed, r = weight.take(flat), rewards.take(flat)
    values = value_at[:, None, :k]
    credit = r[..., :k] * values
    # denominators are summed from the tail: prefix differences would cancel
    tail = placed[..., k:].sum(axis=-1, keepdims=True)
    remaining = np.cumsum(placed[..., k - 1 :: -1], axis=-1)[..., ::-1] + tail
    inverse = np.divide(1.0, remaining, out=np.zeros_like(remaining), where=remaining > np.finfo(np.float64).tiny)
    from_here = np.cumsum(credit[..., ::-1], axis=-1)[..., ::-1]  # PR_{k-1}: reward at rank k and below
    running_reward = np.cumsum(from_here * inverse, axis=-1)  # RI
    running_value = np.cumsum(values * inverse, axis=-1)  # DR
    through = np.empty_like(placed)
    through[..., :k] = r[..., :k] * running_value - running_reward
    through[..., k:] = r[..., k:] * running_value[..., -1:] - running_reward[..., -1:]
    through *= placed
    lowest = np.where(np.isfinite(log_weight), log_weight, np.inf).min(axis=1)
    wide = np.flatnonzero(log_weight.max(axis=1) - lowest > _WIDE)
    if wide.size:
        through[wide] = _wide_terms(log_weight.take(flat[wide]), r[wide], from_here[wide], value_at[wide, :k])
    through[..., :k] += from_here - credit  # PR_k
    found = _by_document(through, flat, d)
    # the gradient of each list sums to 0, its sample does not: the rest is noise, which a feature that is the same for
    # all documents of a list would take for a slope; variance elsewhere .85 to 1.03 times, half of it for 5 documents
    share = weight / weight.sum(axis=1, keepdims=True)
    centred: FloatArray = found - found.sum(axis=1, keepdims=True) * share
    return centred


def _wide_terms(z: FloatArray, r: FloatArray, from_here: FloatArray, value_at: FloatArray) -> FloatArray:
    """Return exp(z_d) (r_d DR - RI) by rank, (b, m, d), where the weights themselves would underflow.

    Rank by rank, everything is kept as a ratio to the newest denominator, which is the smallest one so far.
    """
    log_remaining = np.logaddexp.accumulate(z[..., ::-1], axis=-1)[..., ::-1]
    terms = np.zeros_like(z)
    value, reward = np.zeros(z.shape[:-1]), np.zeros(z.shape[:-1])
    for i in range(z.shape[-1]):
        is_document = np.isfinite(z[..., i])
        newest = np.where(is_document, log_remaining[..., i], 0.0)
        shrink = np.exp(np.where(is_document, newest - log_remaining[..., max(i - 1, 0)], 0.0))
        value, reward = value * shrink, reward * shrink
        if i < value_at.shape[1]:
            value, reward = value + value_at[:, None, i], reward + from_here[..., i]
        own = np.where(is_document, np.exp(np.where(is_document, z[..., i], 0.0) - newest), 0.0)
        terms[..., i] = own * (r[..., i] * value - reward)
    return terms
