"""The trust region: no document gains or loses exposure beyond a ratio of what the safe policy gives it.

A document's credit is withdrawn once following it would leave the region: positive credit where its exposure already is
more than (1 + eps) times the safe one, negative credit where it is less than 1 / (1 + eps) of it. Inside, credit is
untouched, so the gradient is that of the unconstrained objective.

Source: Gupta, Oosterhuis and de Rijke 2024, "Practical and Robust Safety Guarantees for Advanced Counterfactual
Learning to Rank" (PRPO), section 4.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from dwell.records.arrays import FloatArray

__all__ = ["MAX_TRUST", "TRUST_PER_ROOT_EVENT", "trust_radius", "trusted_rewards"]

MAX_TRUST: Final = 1.5  # gated-loop study: eps = 1.5 worked, 0.5 learned more slowly
TRUST_PER_ROOT_EVENT: Final = 0.025  # the same study: eps = min(1.5, .025 sqrt(N)) removed the losses at 500 events
_FLOOR: Final = (
    0.01  # exposures below it are Monte Carlo noise of the sampled rankings: one draw in 16 at theta 1/10 is 0.006
)


def trust_radius(n_events: float) -> float:
    """Return the region's size eps for n events, min(1.5, 0.025 sqrt(n))."""
    return min(MAX_TRUST, TRUST_PER_ROOT_EVENT * math.sqrt(max(n_events, 0.0)))


def trusted_rewards(rewards: FloatArray, exposure: FloatArray, safe_exposure: FloatArray, *, eps: float) -> FloatArray:
    """Return rewards with the credit of documents at the edge of the region withdrawn, same shape.

    Args:
        rewards: (b, d) credit per document.
        exposure: (b, d) exposure under the params being learned.
        safe_exposure: (b, d) exposure under the safe params, from the same noise.
        eps: Size of the region, >= 0.
    """
    ratio = (exposure + _FLOOR) / (safe_exposure + _FLOOR)
    leaves = ((rewards > 0.0) & (ratio > 1.0 + eps)) | ((rewards < 0.0) & (ratio < 1.0 / (1.0 + eps)))
    return np.where(leaves, 0.0, rewards)
