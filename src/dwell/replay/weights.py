"""What corrects for the sampler: one formula, so that neither a priority nor a decay can be applied twice.

    w_i = (t_i / P_i)^beta, divided by its mean over the batch

t is the target distribution of training (uniform, or recency-weighted), P the law that the batch was drawn from. If
the sampler itself realises the recency, t/P is constant and every weight is 1; if the draw is uniform, the weight
carries the recency; on top of priorities it removes the priority part only.

Source: Schaul et al. 2015, section 3.4. Normalised by the batch mean and not by the buffer's maximum: one item of
priority 1e-8 among 1,000 makes the mean weight 1.4e-5 in the latter (docs/decisions).
"""

from __future__ import annotations

import numpy as np

from dwell.records.arrays import FloatArray

__all__ = ["log2_recency", "sampling_weights"]


def log2_recency(timestamps: FloatArray, newest: float, half_life_s: float) -> FloatArray:
    """Return log2 of the recency weight 2^((t - newest) / half_life), float64 (n,); 0 for the newest."""
    return (timestamps - newest) / half_life_s


def sampling_weights(log2_target: FloatArray, log2_mass: FloatArray, *, beta: float) -> FloatArray:
    """Return the sampling weights of a batch, float64 (b,), >= 0, with mean 1.

    In logarithms, because a decay over thousands of half-lives has no float64.

    Args:
        log2_target: (b,) log2 of t_i, up to a constant that all share.
        log2_mass: (b,) log2 of P_i, up to a constant that all share.
        beta: Exponent in [0, 1]; 1 corrects fully, 0 not at all.
    """
    exponent = beta * (log2_target - log2_mass)
    weights: FloatArray = np.exp2(exponent - exponent.max())
    weights /= weights.mean()
    return weights
