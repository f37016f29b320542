"""Relevance per (event, document) from biased clicks: policy-aware, doubly robust, pessimistic without support.

    r_d = mu_d * min(1, rho_d / clip)  +  1[d shown at k] (c_d - theta_k mu_d) / max(rho_d, clip)

c is the document's reward, theta_k the examination of its position, rho_d its exposure under the logging policy, mu_d
the direct method's prediction. Documents that were hardly exposed promise nothing: without that factor the direct
method extrapolates to documents that were never shown, and a ranking truly 0.125 worse read 0.462 better.

Source: Oosterhuis 2023, "Doubly Robust Estimation for Correcting Position Bias in Click Feedback for Unbiased Learning
to Rank", section 4; the pessimistic factor: docs/decisions/0005.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from dwell.records.arrays import FloatArray
from dwell.records.rows import RowBatch

__all__ = ["MAX_CLIP", "MIN_EFFECTIVE", "examination_at", "exposure_clip", "relevance_estimates"]

MAX_CLIP: Final = 0.1  # learning study, section 2.3: clip = min(0.1, 10 / sqrt(N))
MIN_EFFECTIVE: Final = 10.0


def exposure_clip(n_events: float) -> float:
    """Return the smallest exposure that is divided by, min(0.1, 10 / sqrt(n)), for n >= 1 events of effective size."""
    return min(MAX_CLIP, MIN_EFFECTIVE / math.sqrt(max(n_events, 1.0)))


def examination_at(position: np.ndarray[tuple[int, ...], np.dtype[np.int64]], theta: FloatArray) -> FloatArray:
    """Return the examination of 1-based positions, 0 for position 0 and beyond the table."""
    table = np.concatenate([[0.0], theta])
    return np.where(position < table.size, table[np.minimum(position, table.size - 1)], 0.0)


def relevance_estimates(batch: RowBatch, predicted: FloatArray, theta: FloatArray, *, clip: float) -> FloatArray:
    """Return one relevance estimate per document, float64 (b, d), 0 where padded.

    Args:
        batch: Closed events.
        predicted: (b, d) the direct method's relevance per document.
        theta: (k,) examination per position.
        clip: Smallest exposure that is divided by, in (0, 1].
    """
    examined = examination_at(batch.position, theta)
    is_shown = batch.position > 0
    supported = predicted * np.minimum(1.0, batch.exposure / clip)
    residual = (batch.rewards - examined * predicted) / np.maximum(batch.exposure, clip)
    return np.where(batch.is_document, supported + np.where(is_shown, residual, 0.0), 0.0)
