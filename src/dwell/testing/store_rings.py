"""A small column ring to try things with: every number of a row follows from its seq and one mark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dwell.storage.column_ring import ColumnRing, RingColumn, RingSchema

__all__ = ["ring_contents", "sample_columns", "sample_ring_schema", "sample_row"]


def sample_ring_schema(*, d: int = 4, event_id_bytes: int = 16, key: str = "sample") -> RingSchema:
    """Return a schema with columns in every region, lists of d documents."""
    return RingSchema(
        (
            RingColumn("priority", np.dtype(np.float64), region="index"),
            RingColumn("version", np.dtype(np.int64), region="index"),
            RingColumn("features", np.dtype(np.float32), (d, 3)),
            RingColumn("n_kept", np.dtype(np.int16)),
            RingColumn("rewards", np.dtype(np.float64), (d,)),
            RingColumn("embedding", np.dtype(np.float16), (6,), "own"),
        ),
        event_id_bytes=event_id_bytes,
        key=key,
    )


def sample_columns(seqs: Sequence[int], mark: int, *, d: int = 4) -> dict[str, npt.NDArray[Any]]:
    """Return all columns of rows whose marks are the same, 0 <= mark < 2,048 (what a float16 counts to)."""
    wanted = np.array(seqs, dtype=np.int64)
    n = len(wanted)
    lists = np.broadcast_to(np.arange(d), (n, d))
    return {
        "seq": wanted,
        "event_id": np.array([f"e{seq}".encode() for seq in seqs], dtype="S16"),
        "priority": wanted + mark / 4096,
        "version": np.full(n, mark),
        "features": np.repeat((lists + mark).astype(np.float32)[:, :, None], 3, axis=2),
        "n_kept": np.full(n, mark, dtype=np.int16),
        "rewards": lists + mark / 4096,
        "embedding": np.full((n, 6), mark, dtype=np.float16),
    }


def sample_row(seq: int, mark: int, *, d: int = 4) -> dict[str, Any]:
    """Return the values of one row, for `ColumnRing.put`."""
    return {
        name: column[0].tobytes().rstrip(b"\0") if name == "event_id" else column[0]
        for name, column in sample_columns([seq], mark, d=d).items()
        if name != "seq"
    }


def ring_contents(ring: ColumnRing) -> dict[int, dict[str, bytes]]:
    """Return every row of a ring as {seq: {column: bytes}}, read by `seq`."""
    seqs = ring.seqs()
    found = ring.read(seqs, ring.names)
    return {
        int(seq): {name: np.ascontiguousarray(found[name][i]).tobytes() for name in ring.names}
        for i, seq in enumerate(seqs.tolist())
    }
