"""What may enter the buffer: asked of all before anything changes, so that a refusal changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dwell.errors import RecordError, ReplayError
from dwell.records import Experience, checks
from dwell.records.arrays import FloatArray, IntArray
from dwell.replay.arguments import MAX_SEQ, whole
from dwell.replay.event_ids import as_id_array
from dwell.replay.index_rows import IndexBlock, IndexRow
from dwell.replay.ring import Ring
from dwell.replay.rows import Rows
from dwell.replay.size_estimate import index_bytes, text_bytes

__all__ = ["check_admissible", "check_block", "checked_block", "checked_row", "ready_experience"]

MOST_PRIORITY: Final = float(np.finfo(np.float64).max)
_MOST_ID_CHARACTERS: Final = 128  # of an event id, as `checks.event_id` has it
# bytes of an ASCII event id: \w . : / @ - and the zeros that pad it
_IS_PLAIN: Final = np.array([byte == 0 or chr(byte).isalnum() or chr(byte) in "_.:/@-" for byte in range(128)])


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


def check_block(ring: Ring, block: IndexBlock, max_bytes: int | None, *, needs_seq: bool) -> None:
    """Refuse many experiences that could not all be put in, as `check_admissible` does for some.

    Raises:
        ReplayError: As `check_admissible`.
    """
    if needs_seq:
        rows = [block.row(i) for i in range(len(block.seqs))]
        check_admissible(ring, rows, max_bytes, needs_seq=True)
    elif max_bytes is not None:
        largest = int(block.sizes_bytes.argmax())
        check_admissible(ring, [block.row(largest)], max_bytes, needs_seq=False)


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


def ready_experience(item: object, rows: Rows, *, is_external: bool) -> tuple[object, IndexRow]:
    """Return the row of an experience and what the index keeps of it.

    Raises:
        ReplayError: It is no Experience, or does not fit.
        RecordError: Its user or segment is no identifier.
    """
    if not isinstance(item, Experience):
        raise ReplayError(
            "an Experience is due here",
            field="experience",
            value=type(item).__name__,
            hint="Build one with dwell.Experience(...).",
        )
    return rows.prepared(item), IndexRow(
        event_id=item.event_id,
        seq=whole(item.seq, "seq", 0, MAX_SEQ) if is_external else 0,
        timestamp=float(item.timestamp),
        priority=float(item.priority),
        reward=float(item.reward),
        version=whole(item.version, "version", 0, 2**63 - 1),
        user=checks.optional_identifier(item.user, "user"),
        segment=checks.optional_identifier(item.segment, "segment"),
        size_bytes=rows.size_bytes(item),
    )


def checked_row(
    event_id: object,
    *,
    seq: object,
    timestamp: object,
    priority: object,
    user: object,
    segment: object,
    reward: object,
    version: object,
    n_row_bytes: int,
) -> IndexRow:
    """Return what the index keeps of one row; a priority of None becomes 1.

    Raises:
        RecordError: A value is malformed.
        ReplayError: `seq` or `version` is no int in range.
    """
    checked_id = checks.event_id(event_id)
    name = None if user is None else checks.identifier(user, "user")
    group = None if segment is None else checks.identifier(segment, "segment")
    return IndexRow(
        checked_id,
        whole(seq, "seq", 0, MAX_SEQ),
        checks.timestamp(timestamp, "timestamp"),
        1.0 if priority is None else checks.within(priority, "priority", 0.0, MOST_PRIORITY, code="priority"),
        checks.within(reward, "reward", -1.0, 1.0, code="reward_range"),
        whole(version, "version", 0, 2**63 - 1),
        name,
        group,
        index_bytes(checked_id, name, group) + n_row_bytes,
    )


def checked_block(
    event_ids: Sequence[str] | npt.NDArray[Any],
    *,
    timestamps: object,
    priorities: object,
    rewards: object,
    versions: object,
    users: Sequence[str | None] | None,
    segments: Sequence[str | None] | None,
    seqs: object,
    n_row_bytes: int,
    needs_seq: bool,
) -> IndexBlock:
    """Return what the index keeps of many rows; priorities of None become 1, to be filled in.

    Raises:
        RecordError: A value is malformed.
        ReplayError: An argument has another length or kind.
    """
    ids = _checked_ids(event_ids)
    n = ids.size
    users, segments = _names(users, "users", n), _names(segments, "segments", n)
    sizes_bytes = np.char.str_len(ids) + (index_bytes("", None, None) + n_row_bytes)
    for names in (users, segments):
        if names is not None:
            sizes_bytes += [0 if name is None else text_bytes(name) for name in names]
    if (seqs is None) is needs_seq:
        raise ReplayError(
            "rows kept elsewhere are found by seq" if needs_seq else "this buffer numbers its rows itself",
            field="seqs",
            value=seqs,
            hint="Pass the seq of each row." if needs_seq else "Leave seqs out.",
        )
    return IndexBlock(
        event_ids=ids,
        seqs=_wholes(seqs, "seqs", n) if needs_seq else np.zeros(n, dtype=np.int64),
        timestamps=_numbers(timestamps, "timestamps", n, 0.0, checks.MAX_TIMESTAMP_S, "timestamp"),
        priorities=np.ones(n)
        if priorities is None
        else _numbers(priorities, "priorities", n, 0.0, MOST_PRIORITY, "priority"),
        rewards=_numbers(rewards, "rewards", n, -1.0, 1.0, "reward_range"),
        versions=_wholes(versions, "versions", n),
        users=users,
        segments=segments,
        sizes_bytes=sizes_bytes,
    )


def _names(names: object, field: str, n: int) -> list[str | None] | None:
    """Return n names or None, a list of our own: what is checked must still stand when the lock is held."""
    if names is None:
        return None
    if not isinstance(names, list | tuple | np.ndarray):
        raise RecordError(
            "a list of names is due here", code="type", field=field, value=type(names).__name__, hint="Pass a list."
        )
    if len(names) != n:
        raise _wrong_length(field, len(names), n)
    return [checks.optional_identifier(name, field) for name in list(names)]


def _checked_ids(event_ids: Sequence[str] | npt.NDArray[Any]) -> npt.NDArray[Any]:
    if isinstance(event_ids, np.ndarray) and event_ids.dtype.kind == "S" and event_ids.ndim == 1:
        if not event_ids.size:
            return np.zeros(0, dtype="S8")
        ids = as_id_array(event_ids.copy())
    elif not isinstance(event_ids, list | tuple | np.ndarray) or not set(map(type, event_ids)) <= {str, np.str_}:
        raise RecordError(
            "event ids are texts", code="type", field="event_ids", value=event_ids, hint="Pass a list of str."
        )
    elif not len(event_ids):
        return np.zeros(0, dtype="S8")
    else:
        # an array can not tell trailing zero bytes from its padding
        event_ids = list(event_ids)
        is_long = max(map(len, event_ids)) > _MOST_ID_CHARACTERS
        for text in event_ids if is_long or "\0" in "".join(event_ids) else ():
            checks.event_id(text, "event_ids")
        ids = as_id_array(event_ids)
    raw = ids.view(np.uint8).reshape(ids.size, -1)
    is_plain = raw.max(initial=0) < len(_IS_PLAIN) and bool(_IS_PLAIN.take(raw).all())
    is_filled = raw != 0
    has_gap = bool((is_filled[:, 1:] > is_filled[:, :-1]).any()) or not is_filled[:, 0].all()
    if not is_plain or has_gap or raw.shape[1] > _MOST_ID_CHARACTERS:
        for text in event_ids if not isinstance(event_ids, np.ndarray) else ids.tolist():
            checks.event_id(text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text, "event_ids")
    return ids


def _numbers(values: object, field: str, n: int, low: float, high: float, code: str) -> FloatArray:
    """Return finite numbers in a range, float64 (n,)."""
    array = _as_array(values)
    if array.dtype.kind not in "fiu":
        raise RecordError("numbers are due here", code="type", field=field, value=values, hint="Pass floats.")
    if array.shape not in {(n,), ()}:
        raise _wrong_length(field, array.shape, n)
    numbers: FloatArray = np.full(n, array, dtype=np.float64) if array.ndim == 0 else array.astype(np.float64)
    # NaN fails both comparisons
    if n and not (numbers.min() >= low and numbers.max() <= high):
        worst = numbers[~((numbers >= low) & (numbers <= high))][0]
        raise RecordError(
            f"numbers in [{low:g}, {high:g}] are due here",
            code=code,
            field=field,
            value=float(worst),
            hint="Correct it at its source.",
        )
    return numbers


def _as_array(values: object) -> npt.NDArray[Any]:
    try:
        return np.asarray(None if isinstance(values, np.ma.MaskedArray) else values)
    except ValueError:  # ragged
        return np.asarray(None)


def _wholes(values: object, field: str, n: int) -> IntArray:
    """Return whole numbers >= 0, int64 (n,)."""
    array = _as_array(values)
    if array.dtype.kind not in "iu":
        raise ReplayError("whole numbers are due here", field=field, value=values, hint="Pass ints.")
    if array.shape not in {(n,), ()}:
        raise _wrong_length(field, array.shape, n)
    if n and (int(array.min()) < 0 or int(array.max()) > MAX_SEQ):
        raise ReplayError("whole numbers in [0, 2^63) are due here", field=field, value=values, hint="Correct them.")
    return np.full(n, array, dtype=np.int64) if array.ndim == 0 else array.astype(np.int64)


def _wrong_length(field: str, found: object, n: int) -> ReplayError:
    return ReplayError(
        f"{n} are due, one per event id", field=field, value=found, hint="Pass arguments of the same length."
    )
