"""The buffer as plain values, and back: what is saved, and what a saved state must satisfy to be taken up again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from dwell.errors import ReplayError
from dwell.records import Experience
from dwell.replay.ring import IndexRow, Ring
from dwell.replay.rows import ExternalRows, ObjectRows, PackedRows, Rows

__all__ = ["FORMAT", "checked", "restore_generator", "restored_ring", "restored_rows", "taken"]

FORMAT: Final = 1

_SETTINGS: Final = ("capacity", "alpha", "half_life_s", "max_bytes", "next_seq", "rng", "scales")
_TABLE: Final = tuple(name for name in IndexRow._fields)
_KINDS: Final[Mapping[type, str]] = {ObjectRows: "objects", PackedRows: "packed", ExternalRows: "external"}


def taken(ring: Ring, rows: Rows, content: object, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a buffer's state.

    Args:
        ring: The index.
        rows: What keeps the rows.
        content: The rows by slot, or None where they are kept elsewhere.
        settings: Everything else, by the names that `checked` demands.
    """
    table = [ring.row(slot) for slot in range(len(ring))]
    return {
        "format": FORMAT,
        "kind": _KINDS[type(rows)],
        **settings,
        "n_slots": ring.n_slots,
        "order": ring.in_order(),
        "index": {name: [getattr(row, name) for row in table] for name in _TABLE},
        "rows": content,
    }


def checked(saved: object) -> Mapping[str, Any]:
    """Return a saved state that is whole and sound.

    Raises:
        ReplayError: It is not; names what is wrong.
    """
    if not isinstance(saved, Mapping):
        raise _malformed("format", saved)
    if saved.get("format") != FORMAT:
        raise _malformed("format", saved.get("format"))
    for name in (*_SETTINGS, "kind", "n_slots", "order", "index", "rows"):
        if name not in saved:
            raise _malformed(name, None)
    index = saved["index"]
    for name in _TABLE:
        if name not in index or len(index[name]) != len(saved["order"]):
            raise _malformed(f"index.{name}", None)
    if not len(saved["order"]) <= saved["n_slots"] <= saved["capacity"]:
        raise _malformed("n_slots", saved["n_slots"])
    _check_index(saved["order"], index)
    if saved["kind"] != "external" and saved["next_seq"] <= max(index["seq"], default=0):
        raise _malformed("next_seq", saved["next_seq"])
    return saved


def _check_index(order: Sequence[int], index: Mapping[str, Sequence[Any]]) -> None:
    priorities = np.asarray(index["priority"], dtype=np.float64)
    if not ((priorities >= 0.0) & (priorities < np.inf)).all():
        raise _malformed("index.priority", None)
    if not np.isfinite(np.asarray(index["timestamp"], dtype=np.float64)).all():
        raise _malformed("index.timestamp", None)
    seqs = index["seq"]
    if Counter(int(seq) for seq in order) != Counter(seqs) or len(set(seqs)) != len(seqs) or min(seqs, default=1) < 1:
        raise _malformed("index.seq", None)
    if len(set(index["event_id"])) != len(seqs):
        raise _malformed("index.event_id", None)


def restored_ring(saved: Mapping[str, Any]) -> Ring:
    """Return the index of a checked state, slot by slot as it was."""
    ring = Ring(saved["capacity"], n_slots=saved["n_slots"])
    for values in zip(*(saved["index"][name] for name in _TABLE), strict=True):
        ring.append(IndexRow(*values))
    ring.reorder([int(seq) for seq in saved["order"]])
    return ring


def restored_rows(saved: Mapping[str, Any], rows: Rows) -> Rows:
    """Return the rows of a checked state, in the kind that a new buffer has.

    Args:
        saved: The state.
        rows: The new buffer's empty rows.

    Raises:
        ReplayError: The state has rows of another kind, or other columns.
    """
    content, kind = saved["rows"], _KINDS[type(rows)]
    if kind != saved["kind"]:
        raise ReplayError(
            f"the state holds {saved['kind']} rows, the columns given make {kind} ones",
            code="state",
            field="columns",
            value=kind,
            hint="Pass from_state the columns that the saved buffer had.",
        )
    n = len(saved["order"])
    if isinstance(rows, ExternalRows):
        return rows
    if content is None or len(content) != n:
        raise _malformed("rows", None)
    if isinstance(rows, PackedRows):
        rows.load(content)
        return rows
    if not all(isinstance(item, Experience) for item in content):
        raise _malformed("rows", None)
    return ObjectRows([item.sealed() for item in content])


def restore_generator(rng: np.random.Generator, saved: object) -> None:
    """Set a generator to a saved position.

    Raises:
        ReplayError: It was saved from another kind of generator.
    """
    try:
        rng.bit_generator.state = saved  # type: ignore[assignment]  # numpy checks the value
    except (KeyError, TypeError, ValueError) as error:
        raise _malformed("rng", saved) from error


def _malformed(field: str, value: object) -> ReplayError:
    return ReplayError(
        "this is not a state that can be taken up",
        code="state",
        field=f"state.{field}",
        value=value,
        hint="Pass what ReplayBuffer.to_state returned, unchanged.",
    )
