"""Expected examination of each document under a policy: what inverse propensities are made of here.

rho_d = E over rankings y of [ theta(rank of d in y) * 1(rank <= k) ],  theta_k = P(user looks at position k).

Source: Oosterhuis and de Rijke 2020, "Policy-Aware Unbiased Learning to Rank", section 4.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from dwell.records.arrays import FloatArray, IntArray

__all__ = [
    "N_EXPOSURE_DRAWS",
    "Exposure",
    "deterministic_exposure",
    "expected_exposure",
    "rank_marginals",
    "sampled_rankings",
]

N_EXPOSURE_DRAWS: Final = 200  # design, section 5: 200 Gumbel draws per closed event


class Exposure(NamedTuple):
    """Expected examination with its Monte Carlo error.

    Attributes:
        value: float64 (..., n), in [0, max theta].
        standard_error: float64 (..., n), of the Monte Carlo mean.
    """

    value: FloatArray
    standard_error: FloatArray


def sampled_rankings(log_weights: FloatArray, n_draws: int, k: int, rng: np.random.Generator) -> IntArray:
    """Return the first k documents of `n_draws` rankings, int64 (..., n_draws, k).

    Args:
        log_weights: (..., n) Plackett-Luce log weights; -inf is never placed before a candidate.
        n_draws: Rankings per list.
        k: Documents per ranking, 1 <= k <= n.
        rng: Source of the draws.
    """
    shape = (*log_weights.shape[:-1], n_draws, log_weights.shape[-1])
    noise = rng.standard_exponential(shape, dtype=np.float32)
    with np.errstate(divide="ignore"):
        keys = np.log(noise, out=noise)
    keys -= log_weights[..., None, :].astype(np.float32)
    n = shape[-1]
    if n > 2 * k:
        top = np.argpartition(keys, k - 1, axis=-1)[..., :k]
        order = np.argsort(np.take_along_axis(keys, top, axis=-1), axis=-1)
        return np.take_along_axis(top, order, axis=-1)
    return np.argsort(keys, axis=-1)[..., :k]


def rank_marginals(order: IntArray, n: int) -> FloatArray:
    """Return how often each document stood at each rank, float64 (k, n), rows summing to 1.

    Exposure under any examination is one product with it.

    Args:
        order: (m, k) document indices of m rankings, from the top.
        n: Number of documents.
    """
    m, k = order.shape
    cells = order + np.arange(k) * n
    frequency: FloatArray = np.bincount(cells.ravel(), minlength=k * n).reshape(k, n) / m
    return frequency


def expected_exposure(
    log_weights: FloatArray, theta: FloatArray, rng: np.random.Generator, *, n_draws: int = N_EXPOSURE_DRAWS
) -> Exposure:
    """Return the expected examination of each candidate of one list under Plackett-Luce.

    Args:
        log_weights: (n,) log weights of all candidates.
        theta: (k,) examination per position shown, each in [0, 1].
        rng: Source of the draws.
        n_draws: Rankings drawn.
    """
    n = log_weights.size
    k = min(theta.size, n)
    frequency = rank_marginals(sampled_rankings(log_weights, n_draws, k, rng), n)
    mean, square = theta[:k] @ frequency, theta[:k] ** 2 @ frequency
    return Exposure(mean, np.sqrt(np.maximum(square - mean**2, 0.0) / n_draws))


def deterministic_exposure(order: IntArray, theta: FloatArray, n: int) -> Exposure:
    """Return the examination of each of n candidates when one order is always shown; its error is 0.

    Args:
        order: (m,) candidate indices from the top.
        theta: (k,) examination per position.
        n: Number of candidates.
    """
    value = np.zeros(n)
    shown = order[: theta.size]
    value[shown] = theta[: shown.size]
    return Exposure(value, np.zeros(n))
