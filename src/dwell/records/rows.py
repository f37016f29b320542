"""What the learner and the judge read of one event, and many of them padded into arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dwell.records.arrays import BoolArray, Float32Array, FloatArray, HashArray, IntArray

__all__ = ["EventRow", "RowBatch", "stack_rows"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EventRow:
    """One closed event as the learner sees it: documents, exposure, credit.

    Attributes:
        seq: Position in the store's order.
        event_id: Identity.
        query_hash: 64-bit hash of the normalised query: groups repeats for cross-fitting.
        user_hash: 64-bit hash of the pseudonym, or None where the user is unknown.
        served_at: UTC epoch seconds.
        features: float32 (l, f), raw; NaN marks a missing feature. Served documents first, in served order.
        inclusion: float64 (l,), probability with which the document was kept, in (0, 1].
        exposure: float64 (l,), expected examination under the logging policy.
        n_kept: Served documents among the l: the first `n_kept`.
        n_shown: Length of the list as shown, >= n_kept.
        rewards: float64 (n_kept,), reward per served document, in [-1, 1].
        propensities: float64 (n_kept,), P(document i | those above it) under the logging policy.
        caller_rank: float64 (l,), 0-based position of each document in the caller's own order.
        params_version: Version that served.
        temperature: Exploration temperature of the logging policy, >= 0.
        is_held_out: Whether the event only judges.
        is_deterministic: Whether the logging policy drew nothing, a swap apart.
        is_caller_ordered: Whether the caller's own order was logged, not params; and whatever another policy drew.
        version: Version of the outcome that this row was made of.
        segment_code: Number of the event's segment among those of its loop, >= 0.
        doc_hashes: uint64 (n_kept,), hashes of the served documents' ids, for caps on the influence of one; empty where
            they are not known.
        late_us: Microseconds by which the event was activated after its window's end; 0 where it was not late. It is
            taken up that much later than what was served with it.
        swap_pair: Upper position, from 1, of the pair that was shown in either order by a fair coin; 0 for none. Such
            an event is learned from, with its exposure given the pair, and never judges.
        segment: Name of the event's segment, or None.
        query_embedding: Float (m,), or None where the query had none or embeddings were not asked for.
    """

    seq: int
    event_id: str
    query_hash: int
    user_hash: int | None
    served_at: float
    features: Float32Array
    inclusion: FloatArray
    exposure: FloatArray
    n_kept: int
    n_shown: int
    rewards: FloatArray
    propensities: FloatArray
    caller_rank: FloatArray
    params_version: int
    temperature: float
    is_held_out: bool
    is_deterministic: bool
    is_caller_ordered: bool
    version: int
    segment_code: int = 0
    doc_hashes: HashArray = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    late_us: int = 0
    swap_pair: int = 0
    segment: str | None = None
    query_embedding: npt.NDArray[np.floating] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RowBatch:
    """Events padded to the same number of documents (b, d) and served positions (b, k).

    Attributes:
        seqs: int64 (b,).
        features: float32 (b, d, f), raw, 0 where padded.
        is_document: bool (b, d).
        log_stand_in: float64 (b, d), log of the number of candidates that a document stands for; -inf where padded.
        exposure: float64 (b, d), under the logging policy; 0 where padded.
        rewards: float64 (b, d), 0 for documents that were not served.
        position: int64 (b, d), 1-based rank of served documents, 0 for the others.
        propensities: float64 (b, k), 1 where padded.
        caller_rank: float64 (b, d), 0-based position in the caller's own order; 0 where padded.
        n_kept: int64 (b,), served documents kept.
        n_shown: int64 (b,), length of the list as shown.
        query_hash: uint64 (b,).
    """

    seqs: IntArray
    features: Float32Array
    is_document: BoolArray
    log_stand_in: FloatArray
    exposure: FloatArray
    rewards: FloatArray
    position: IntArray
    propensities: FloatArray
    caller_rank: FloatArray
    n_kept: IntArray
    n_shown: IntArray
    query_hash: HashArray

    @property
    def stand_in(self) -> FloatArray:
        """Number of candidates that each document stands for, (b, d), 0 where padded."""
        return np.exp(self.log_stand_in)


def stack_rows(rows: Sequence[EventRow], *, n_documents: int = 0) -> RowBatch:
    """Return events padded into one batch, in the order given; at least one event, all with the same features.

    Args:
        rows: The events.
        n_documents: Fewest documents to pad to: those of the longest list of a batch of which these are a part.
    """
    n_rows = len(rows)
    d = max(n_documents, *(len(row.inclusion) for row in rows))
    k = max(row.n_kept for row in rows)
    f = rows[0].features.shape[1]
    features = np.zeros((n_rows, d, f), dtype=np.float32)
    is_document = np.zeros((n_rows, d), dtype=bool)
    log_stand_in = np.full((n_rows, d), -np.inf)
    exposure = np.zeros((n_rows, d))
    rewards = np.zeros((n_rows, d))
    position = np.zeros((n_rows, d), dtype=np.int64)
    propensities = np.ones((n_rows, k))
    caller_rank = np.zeros((n_rows, d))
    for i, row in enumerate(rows):
        n, kept = len(row.inclusion), row.n_kept
        features[i, :n] = row.features
        is_document[i, :n] = True
        log_stand_in[i, :n] = -np.log(row.inclusion)
        exposure[i, :n] = row.exposure
        rewards[i, :kept] = row.rewards
        position[i, :kept] = np.arange(1, kept + 1)
        propensities[i, :kept] = row.propensities
        caller_rank[i, :n] = row.caller_rank
    return RowBatch(
        seqs=np.array([row.seq for row in rows], dtype=np.int64),
        features=features,
        is_document=is_document,
        log_stand_in=log_stand_in,
        exposure=exposure,
        rewards=rewards,
        position=position,
        propensities=propensities,
        caller_rank=caller_rank,
        n_kept=np.array([row.n_kept for row in rows], dtype=np.int64),
        n_shown=np.array([row.n_shown for row in rows], dtype=np.int64),
        query_hash=np.array([row.query_hash for row in rows], dtype=np.uint64),
    )
