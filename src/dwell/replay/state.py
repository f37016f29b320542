"""The buffer as plain values, and back: what is saved, and what a saved state must satisfy to be taken up again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any, Final

import numpy as np

from dwell.errors import ConfigError, ReplayError
from dwell.records import ColumnSpec, Experience
from dwell.records.checks import MAX_TIMESTAMP_S
from dwell.replay.arguments import MAX_CAPACITY
from dwell.replay.ring import IndexRow, Ring
from dwell.replay.rows import ExternalRows, ObjectRows, PackedRows, Rows

__all__ = ["FORMAT", "checked", "reduced", "restore_generator", "restored_ring", "restored_rows", "sound", "taken"]

FORMAT: Final = 1
MAX_SCALE: Final = 1074  # exponents of 2 in float64 run from -1073, the least subnormal's, to 1024

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
    _check_settings(saved)
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


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _check_settings(saved: Mapping[str, Any]) -> None:
    for name, least, most in (("capacity", 1, MAX_CAPACITY), ("next_seq", 1, 2**63), ("n_slots", 0, MAX_CAPACITY)):
        if not _is_whole(saved[name]) or not least <= saved[name] <= most:
            raise _malformed(name, saved[name])
    _check_scales(saved["scales"])
    for name, kind in (("index", Mapping), ("order", Sequence | np.ndarray)):
        if not isinstance(saved[name], kind):
            raise _malformed(name, saved[name])


def _check_scales(scales: object) -> None:
    """Refuse what no tree could have been scaled by: an exponent of 2 beyond float64, or no instant."""
    if not isinstance(scales, Mapping):
        raise _malformed("scales", scales)
    for name, scale in scales.items():
        is_sound = {
            "priority": _is_whole(scale) and abs(scale) <= MAX_SCALE,
            "recency": isinstance(scale, int | float) and abs(scale) <= MAX_TIMESTAMP_S,
        }
        if not is_sound.get(name, False):
            raise _malformed(f"scales.{name}", scale)


@contextmanager
def sound() -> Iterator[None]:
    """Say of anything that can not be made from a saved state that the state is malformed.

    Raises:
        ReplayError: code `state`.
        ConfigError: The columns given with it are none.
    """
    try:
        yield
    except ReplayError:
        raise
    except ConfigError as error:
        if str(error.field).startswith("columns"):
            raise  # the caller's, not the state's
        raise _malformed(str(error.field), error.value) from error
    except (TypeError, ValueError, OverflowError, LookupError, AttributeError) as error:
        raise _malformed("index", None) from error


def reduced(buffer: Any, columns: ColumnSpec | None, rows: Rows) -> tuple[Any, ...]:  # noqa: ANN401 - the buffer's module imports this one
    """Return how pickle and copy make a buffer's twin: from its state, its lock being its own.

    Raises:
        ReplayError: Its rows are kept elsewhere, which a copy has no part in.
    """
    if isinstance(rows, ExternalRows):
        raise ReplayError(
            "a buffer whose rows are kept elsewhere is not copied or pickled whole",
            code="external_rows",
            field="columns",
            value=type(rows).__name__,
            hint="Take to_state(), and give from_state() the same source of rows.",
        )
    return _twin, (type(buffer), buffer.to_state(), columns)


def _twin(kind: Any, saved: Mapping[str, Any], columns: ColumnSpec | None) -> Any:  # noqa: ANN401 - see `reduced`
    return kind.from_state(saved, columns=columns)


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
