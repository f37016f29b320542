"""What the learner reads of one event, as a row of fixed width, and back.

Lists are padded with zeros to the width of the ring; numbers keep their bits in both directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.records.arrays import Float32Array, IntArray
from dwell.records.rows import EventRow
from dwell.storage.ring_schema import RingColumn, RingSchema

__all__ = ["INDEX", "EmbeddingKind", "LearningRow", "RowShape", "packed", "row_schema", "taken_up_us", "unpacked"]

EmbeddingKind = Literal["none", "float16", "float32"]

FORMAT: Final = 4  # of the row: part of the key, so that another version's ring is made anew
FIRST_DOCUMENTS: Final = 16  # width of a new ring; it doubles as longer lists come
_UINT64: Final = np.dtype(np.uint64)
_FLOAT64: Final = np.dtype(np.float64)
_FLOAT32: Final = np.dtype(np.float32)
_INT64: Final = np.dtype(np.int64)
_INT32: Final = np.dtype(np.int32)
_BOOL: Final = np.dtype(np.bool_)

# read for all events at opening, and by health: 94 bytes beside seq and event id
INDEX: Final[Mapping[str, np.dtype[Any]]] = {
    "served_at": _FLOAT64,
    "late_us": _INT64,
    "priority": _FLOAT64,
    "reward": _FLOAT64,
    "row_reward": _FLOAT64,
    "version": _INT64,
    "segment_code": _INT32,
    "is_held_out": _BOOL,
    "has_user": _BOOL,
    "user_hash": _UINT64,
    "query_hash": _UINT64,
    "swap_pair": _INT32,
}


class RowShape(NamedTuple):
    """How wide a row is.

    Attributes:
        n_features: Features per document, >= 1.
        n_documents: Documents kept per event.
        n_positions: Served documents kept per event.
        id_bytes: Bytes of an event id, a multiple of 8.
        embedding_dim: Dimension of the query embedding, 0 for none.
    """

    n_features: int
    n_documents: int = FIRST_DOCUMENTS
    n_positions: int = FIRST_DOCUMENTS
    id_bytes: int = 40
    embedding_dim: int = 0

    def holding(self, row: LearningRow, embedding: EmbeddingKind) -> RowShape:
        """Return this shape, or the next wider one that holds a row."""
        event = row.event
        dim = 0 if embedding == "none" or row.embedding is None else len(row.embedding)
        return self._replace(
            n_documents=_doubled(self.n_documents, len(event.inclusion)),
            n_positions=_doubled(self.n_positions, event.n_kept),
            id_bytes=_doubled(self.id_bytes, len(event.event_id.encode())),
            embedding_dim=max(self.embedding_dim, dim),
        )


class LearningRow(NamedTuple):
    """An event and what the buffer knows of it.

    Attributes:
        event: What the learner reads.
        reward: Reward of the list.
        priority: Raw priority.
        embedding: float32 (d,), or None.
    """

    event: EventRow
    reward: float
    priority: float
    embedding: Float32Array | None


def _doubled(width: int, needed: int) -> int:
    while width < needed:
        width *= 2
    return width


def row_schema(shape: RowShape, *, key: str, embedding: EmbeddingKind) -> RingSchema:
    """Return the schema of a ring of such rows."""
    d, k = shape.n_documents, shape.n_positions
    columns = [RingColumn(name, dtype, region="index") for name, dtype in INDEX.items()]
    columns += [
        RingColumn("features", _FLOAT32, (d, shape.n_features)),
        RingColumn("inclusion", _FLOAT64, (d,)),
        RingColumn("exposure", _FLOAT32, (d,)),
        RingColumn("caller_rank", _INT32, (d,)),
        RingColumn("rewards", _FLOAT32, (k,)),
        RingColumn("propensities", _FLOAT64, (k,)),
        RingColumn("doc_hashes", _UINT64, (k,)),
        RingColumn("temperature", _FLOAT64),
        RingColumn("n_documents", _INT32),
        RingColumn("n_kept", _INT32),
        RingColumn("n_shown", _INT32),
        RingColumn("params_version", _INT32),
        RingColumn("is_deterministic", _BOOL),
        RingColumn("is_caller_ordered", _BOOL),
    ]
    if shape.embedding_dim:
        kind = _FLOAT32 if embedding == "float32" else np.dtype(np.float16)
        columns.append(RingColumn("query_embedding", kind, (shape.embedding_dim,), region="own"))
    return RingSchema(tuple(columns), event_id_bytes=shape.id_bytes, key=f"{FORMAT}|{embedding}|{key}")


def taken_up_us(columns: Mapping[str, npt.NDArray[Any]]) -> IntArray:
    """Return what rows are ordered by, ties by seq, int64 (n,): served, or activated where that came too late.

    The same in the process that took an event up and in one that finds it in the store: what judges must not change
    its order when a store is opened again.
    """
    # whole microseconds, as on disk, so that events which were activated together tie
    served: IntArray = np.rint(columns["served_at"] * 1e6).astype(np.int64)
    found: IntArray = served + columns["late_us"]
    return found


def packed(rows: Sequence[LearningRow], schema: RingSchema) -> dict[str, npt.NDArray[Any]]:
    """Return every column of the ring for some rows, each (b, ...); all of them fit."""
    n = len(rows)
    events = [row.event for row in rows]
    lengths = [len(event.inclusion) for event in events]
    scalars: dict[str, list[Any]] = {
        "seq": [event.seq for event in events],
        "event_id": [event.event_id.encode() for event in events],
        "served_at": [event.served_at for event in events],
        "priority": [row.priority for row in rows],
        "reward": [row.reward for row in rows],
        "row_reward": [min(max(float(event.rewards.sum()), -1.0), 1.0) for event in events],
        "version": [event.version for event in events],
        "segment_code": [event.segment_code for event in events],
        "is_held_out": [event.is_held_out for event in events],
        "has_user": [event.user_hash is not None for event in events],
        "user_hash": [event.user_hash or 0 for event in events],
        "query_hash": [event.query_hash for event in events],
        "late_us": [event.late_us for event in events],
        "swap_pair": [event.swap_pair for event in events],
        "temperature": [event.temperature for event in events],
        "n_documents": lengths,
        "n_kept": [event.n_kept for event in events],
        "n_shown": [event.n_shown for event in events],
        "params_version": [event.params_version for event in events],
        "is_deterministic": [event.is_deterministic for event in events],
        "is_caller_ordered": [event.is_caller_ordered for event in events],
    }
    out = {}
    for column in schema.all_columns:
        if column.name in scalars:
            out[column.name] = np.array(scalars[column.name], dtype=column.dtype)
        else:
            out[column.name] = np.zeros((n, *column.shape), column.dtype)
    features, inclusion, exposure = out["features"], out["inclusion"], out["exposure"]
    caller_rank = out["caller_rank"]
    rewards, propensities, embeddings = out["rewards"], out["propensities"], out.get("query_embedding")
    doc_hashes = out["doc_hashes"]
    bounds = np.finfo(np.float32 if embeddings is None else embeddings.dtype)
    for i, (event, length) in enumerate(zip(events, lengths, strict=True)):
        kept = event.n_kept
        features[i, :length] = event.features
        inclusion[i, :length] = event.inclusion
        exposure[i, :length] = event.exposure
        caller_rank[i, :length] = event.caller_rank
        rewards[i, :kept] = event.rewards
        propensities[i, :kept] = event.propensities
        doc_hashes[i, : len(event.doc_hashes)] = event.doc_hashes
        embedding = rows[i].embedding
        if embeddings is not None and embedding is not None:
            # clipped: beyond the range of a float16 it would be infinite
            embeddings[i] = np.clip(embedding, bounds.min, bounds.max)
    return out


def unpacked(
    columns: Mapping[str, npt.NDArray[Any]], segments: Mapping[int, str | None] = MappingProxyType({})
) -> list[EventRow]:
    """Return events from the columns of some rows; the arrays of all share the memory of these.

    Args:
        columns: Every column of the ring; that of the embeddings may be left out.
        segments: Names of segments by code.
    """
    embeddings = columns.get("query_embedding")
    has_embedding = np.zeros(len(columns["seq"]), dtype=bool) if embeddings is None else (embeddings != 0.0).any(axis=1)
    exposure = columns["exposure"].astype(np.float64)
    rewards = columns["rewards"].astype(np.float64)
    caller_rank = columns["caller_rank"].astype(np.float64)
    features, inclusion, propensities = columns["features"], columns["inclusion"], columns["propensities"]
    doc_hashes = columns["doc_hashes"]
    numbers = (
        "n_documents", "n_kept", "seq", "event_id", "query_hash", "has_user", "user_hash", "served_at", "n_shown",
        "params_version", "temperature", "is_held_out", "is_deterministic", "is_caller_ordered", "version",
        "segment_code", "late_us", "swap_pair",
    )  # fmt: skip
    found = []
    for i, (
        length, kept, seq, event_id, query_hash, has_user, user_hash, served_at, n_shown,
        params_version, temperature, is_held_out, is_deterministic, is_caller_ordered, version, segment_code,
        late_us, swap_pair,
    ) in enumerate(zip(*(columns[name].tolist() for name in numbers), strict=True)):  # fmt: skip
        found.append(
            EventRow(
                seq=seq,
                event_id=event_id.decode(),
                query_hash=query_hash,
                user_hash=user_hash if has_user else None,
                served_at=served_at,
                features=features[i, :length],
                inclusion=inclusion[i, :length],
                exposure=exposure[i, :length],
                n_kept=kept,
                n_shown=n_shown,
                rewards=rewards[i, :kept],
                propensities=propensities[i, :kept],
                caller_rank=caller_rank[i, :length],
                params_version=params_version,
                temperature=temperature,
                is_held_out=is_held_out,
                is_deterministic=is_deterministic,
                is_caller_ordered=is_caller_ordered,
                version=version,
                segment_code=segment_code,
                doc_hashes=doc_hashes[i, :kept],
                late_us=late_us,
                swap_pair=swap_pair,
                segment=segments.get(segment_code),
                query_embedding=embeddings[i] if embeddings is not None and has_embedding[i] else None,
            )
        )
    return found
