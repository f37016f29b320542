"""What may enter the buffer: asked of all before anything changes, so that a refusal changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from dwell.errors import ReplayError
from dwell.replay.ring import IndexRow, Ring

__all__ = ["check_admissible"]


def check_admissible(ring: Ring, rows: Sequence[IndexRow], max_bytes: int | None, *, needs_seq: bool) -> None:
    """Refuse experiences that could not all be put in, one after the other.

    Args:
        ring: The index as it is.
        rows: What is to be put in, in order.
        max_bytes: Most bytes of the buffer, or None.
        needs_seq: Whether each row brings its own seq, because its content is kept elsewhere.

    Raises:
        ReplayError: One is larger than the buffer, has no seq, or its seq and its event id do not belong together.
    """
    for row in rows:
        if max_bytes is not None and row.size_bytes > max_bytes:
            raise ReplayError(
                f"the experience takes about {row.size_bytes} bytes, the buffer holds {max_bytes}",
                code="too_large",
                field="max_bytes",
                value=row.event_id,
                hint="Shorten it, or raise max_bytes.",
            )
    if needs_seq:
        _check_seqs(ring, rows)


def _check_seqs(ring: Ring, rows: Sequence[IndexRow]) -> None:
    event_of: dict[int, str] = {}
    seq_of: dict[str, int] = {}
    for row in rows:
        if row.seq < 1:
            raise ReplayError(
                "rows kept elsewhere are found by seq, and this experience has none",
                field="seq",
                value=row.seq,
                hint="Give the experience the seq of its row, from 1.",
            )
        # both unknown, or both the same slot
        is_split = ring.slot_of(row.event_id) != ring.slot_of(row.seq)
        is_split |= event_of.setdefault(row.seq, row.event_id) != row.event_id
        is_split |= seq_of.setdefault(row.event_id, row.seq) != row.seq
        if is_split:
            raise ReplayError(
                f"the seq of {row.event_id!r} is another one, or belongs to another event",
                code="conflict",
                field="seq",
                value=row.seq,
                hint="One event has one seq, for ever.",
            )
