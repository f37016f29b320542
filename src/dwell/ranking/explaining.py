"""Why a document stands where it stands: what each feature adds to its score, and how alike two orders are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dwell.errors import RecordError
from dwell.ranking.policy import MIN_SPREAD, score_spread
from dwell.records import Params
from dwell.records.arrays import FloatArray, IntArray

__all__ = ["contributions", "kendall_tau", "order_of", "standardised_contributions"]


def contributions(
    params: Params,
    features: npt.NDArray[np.floating],
    *,
    segment: str | None = None,
    query_embedding: npt.NDArray[np.floating] | None = None,
) -> FloatArray:
    """Return what each feature adds to each document's score, float64 (n, f), in the order of the features.

    A row sums to the document's `Params.score`, less a number that is the same for all documents of all lists: the mean
    of the starting ranker's score, where a version has that as one more feature. Its part is told by the features that
    it is made of.

    Args:
        params: The version that orders.
        features: (n, f) raw feature values; one that did not exist (NaN) adds nothing.
        segment: The query's segment, where the version has weights by segment.
        query_embedding: (m,) the query's embedding, where it has weights by query.

    Raises:
        RecordError: Another number of features, or an embedding of another size.
    """
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(params.weights):
        raise RecordError(
            "features of another shape", code="feature_schema", field="features", value=values.shape,
            hint=f"Give an array of shape (n, {len(params.weights)}), a column per feature in order.",
        )  # fmt: skip
    shift = params.shift(segment=segment, query_embedding=query_embedding)
    n_features = values.shape[1]
    weights = params.vector if shift is None else params.vector + shift[:n_features]
    raw = np.nan_to_num(values, nan=0.0)
    if params.transform is None:
        return raw * weights
    added: FloatArray = params.transform.apply(values) * weights
    start = params.raw_score
    if start is not None:
        coefficient = start.coefficient + (0.0 if shift is None else float(shift[-1]))
        added += coefficient / start.sd * raw * np.array(start.weights)
    return added


def standardised_contributions(added: FloatArray) -> FloatArray:
    """Return contributions as they count within one list, (n, f): centred by column, over the spread of the scores.

    So a row sums to how many standard deviations the document's score lies above the list's mean: versions in other
    units are told in the same one.

    Args:
        added: (n, f) as `contributions` returns, of all documents of the list.
    """
    if not added.shape[0]:
        return added.copy()
    spread = max(float(score_spread(added.sum(axis=1))), MIN_SPREAD)
    centred: FloatArray = (added - added.mean(axis=0)) / spread
    return centred


def order_of(scores: npt.NDArray[np.floating], caller_rank: npt.NDArray[np.number]) -> IntArray:
    """Return documents best first, int64 (n,): by score, and where scores are equal as the caller had them.

    Args:
        scores: (n,) finite.
        caller_rank: (n,) place of each document in the caller's order, each place once.
    """
    order: IntArray = np.lexsort((caller_rank, -np.asarray(scores, dtype=np.float64))).astype(np.int64)
    return order


def kendall_tau(first: IntArray, second: IntArray) -> float:
    """Return how alike two orders of the same documents are: 1 the same, 0 no relation, -1 turned round.

    1 for fewer than two documents: there is nothing that could differ. O(n^2).

    Args:
        first: int64 (n,), documents 0 to n - 1, each once, best first.
        second: The same documents in another order.

    Source:
        Kendall 1938, "A New Measure of Rank Correlation"; orders have no ties.
    """
    n = len(first)
    if n < 2:
        return 1.0
    places = np.empty(n, dtype=np.int64)
    places[second] = np.arange(n)
    seen = places[first]
    upper = np.triu_indices(n, 1)
    return float(np.sign(seen[None, :] - seen[:, None])[upper].mean())
