"""What corrects for the sampler: one formula, so that neither a priority nor a decay can be applied twice.

    w_i = (t_i / P_i)^beta

t is the target distribution of training (uniform, or recency-weighted), P the law that the batch was drawn from. If
the sampler itself realises the recency, t/P is constant and every weight is the same; if the draw is uniform, the
weight carries the recency; on top of priorities it removes the priority part only.

What the weights are divided by is a choice with a name:

* "batch_mean" (default): mean 1 in the batch, self-normalised. No single experience sets the size of the step.
* "batch_max": at most 1 in the batch. The step shrinks with the spread of the batch.
* "buffer_max": at most 1 over all that could be drawn, as in the paper. One item of priority 1e-8 among 1,000 makes the
  mean weight 1.4e-5 (docs/samplers.md).
* "none": the ratio itself; its mean over batches is 1 when beta is 1.

Source: Schaul et al. 2015, section 3.4.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import numpy as np

from dwell.records.arrays import FloatArray
from dwell.replay.draws import Drawn

__all__ = ["NORMALISATIONS", "Normalisation", "log2_recency", "sampling_weights"]

Normalisation = Literal["batch_mean", "batch_max", "buffer_max", "none"]
NORMALISATIONS: Final[tuple[str, ...]] = get_args(Normalisation)


def log2_recency(timestamps: FloatArray, newest: float, half_life_s: float) -> FloatArray:
    """Return log2 of the recency weight 2^((t - newest) / half_life), float64 (n,); 0 for the newest."""
    return (timestamps - newest) / half_life_s


def sampling_weights(
    drawn: Drawn,
    log2_target: FloatArray | None,
    *,
    beta: float,
    normalisation: Normalisation = "batch_mean",
    log2_scale: float = 0.0,
) -> FloatArray:
    """Return the sampling weights of a batch, float64 (b,), >= 0.

    Args:
        drawn: The batch.
        log2_target: (b,) log2 of t_i up to a constant that all share; None where t is uniform.
        beta: Exponent in [0, 1]; 1 corrects fully, 0 not at all.
        normalisation: What they are divided by.
        log2_scale: For "none" and "buffer_max": log2 of what t / P, as given, is to be divided by.
    """
    if log2_target is None and drawn.log2_masses is None and normalisation == "batch_mean":
        # whole-number masses: no probability is below 2^-53, and no power of it leaves float64
        weights: FloatArray = 1.0 / drawn.probabilities if beta == 1.0 else drawn.probabilities**-beta
        weights *= weights.size / np.add.reduce(weights)
        return weights
    # in logarithms, because a decay over thousands of half-lives has no float64
    if normalisation in {"batch_mean", "batch_max"}:
        log2_law = np.log2(drawn.probabilities) if drawn.log2_masses is None else drawn.log2_masses
        exponent = beta * ((0.0 if log2_target is None else log2_target) - log2_law)
        weights = np.exp2(exponent - exponent.max())
        if normalisation == "batch_mean":
            weights *= weights.size / weights.sum()
        return weights
    log2_ratio = (0.0 if log2_target is None else log2_target) - np.log2(drawn.probabilities)
    return np.asarray(np.exp2(beta * (log2_ratio - log2_scale)))
