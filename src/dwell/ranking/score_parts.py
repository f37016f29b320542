"""A score taken apart: what each feature of each document adds to it, under the params that gave it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.records import Params
from dwell.records.arrays import FloatArray

__all__ = ["ScoreParts", "score_parts"]


class ScoreParts(NamedTuple):
    """Scores by what they are made of: `parts.sum(axis=1) + constant` is what `Params.score` says, up to rounding.

    Attributes:
        weights: float64 (f,), what acts on each feature for this query, in the units of the params.
        parts: float64 (n, f), what each feature adds to the score of each document. Where a learned version weighs the
            starting ranker's own score, that score's part of each feature is in it.
        constant: The same for every document, so that it orders nothing; 0 but where the starting score is centred.
    """

    weights: FloatArray
    parts: FloatArray
    constant: float


def score_parts(
    params: Params,
    features: npt.NDArray[np.floating],
    *,
    segment: str | None = None,
    query_embedding: npt.NDArray[np.floating] | None = None,
) -> ScoreParts:
    """Return what each feature adds to the score of each document.

    Args:
        params: The params.
        features: (n, f) raw feature values in the order of `params.feature_names`; NaN adds nothing.
        segment: As for `Params.score`.
        query_embedding: As for `Params.score`.

    Raises:
        RecordError: An embedding of another size than the weights were learned with.
    """
    shift = params.shift(segment=segment, query_embedding=query_embedding)
    weights = params.vector if shift is None else params.vector + shift[: params.vector.size]
    raw = np.nan_to_num(np.asarray(features, dtype=np.float64))
    if params.transform is None:
        return ScoreParts(weights, raw * weights, 0.0)
    parts = params.transform.apply(features) * weights
    start = params.raw_score
    if start is None:
        return ScoreParts(weights, parts, 0.0)
    coefficient = (start.coefficient + (0.0 if shift is None else float(shift[-1]))) / start.sd
    return ScoreParts(weights, parts + coefficient * raw * np.array(start.weights), -coefficient * start.mean)
