"""The buffer as plain values, and back: what is saved, and what a saved state must satisfy to be taken up again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dwell.errors import ConfigError, ReplayError
from dwell.records import Columns, ColumnSpec, Experience
from dwell.replay.arguments import MAX_CAPACITY
from dwell.replay.bounds import Bounds
from dwell.replay.contents import Contents
from dwell.replay.external_rows import ExternalRows
from dwell.replay.index_rows import IndexBlock
from dwell.replay.object_rows import ObjectRows
from dwell.replay.packed_rows import PackedRows
from dwell.replay.ring import NO_USER
from dwell.replay.rows import Rows
from dwell.replay.samplers import ExactTree

__all__ = ["ARGUMENTS", "FORMAT", "checked", "reduced", "restore_generator", "restored", "sound", "taken"]

FORMAT: Final = 2
MAX_SCALE: Final = 1074  # exponents of 2 in float64 run from -1073, the least subnormal's, to 1024
MAX_HALF_LIVES: Final = 10**15  # the longest time in the shortest half-life is 1e14 of them

_SETTINGS: Final = (
    "capacity", "alpha", "half_life_s", "max_bytes", "max_age_s", "segment_quotas", "next_seq", "newest",
    "rng", "scales",
)  # fmt: skip
# what the constructor is given again
ARGUMENTS: Final = ("capacity", "alpha", "half_life_s", "max_bytes", "max_age_s", "segment_quotas")
_NUMBERS: Final[Mapping[str, type]] = {
    "seq": np.int64,
    "timestamp": np.float64,
    "priority": np.float64,
    "reward": np.float64,
    "version": np.int64,
    "size_bytes": np.int64,
}
_KINDS: Final[Mapping[type, str]] = {ObjectRows: "objects", PackedRows: "packed", ExternalRows: "external"}


def taken(contents: Contents, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a buffer's state.

    Args:
        contents: Index and rows.
        settings: Exponent, half-life and generator, by the names that `checked` demands.
    """
    ring = contents.ring
    return {
        "format": FORMAT,
        "kind": _KINDS[type(contents.rows)],
        **settings,
        **{name: getattr(contents.bounds, name) for name in ("capacity", "max_bytes", "max_age_s", "segment_quotas")},
        "next_seq": contents.next_seq,
        "newest": contents.newest,
        "scales": contents.laws.scales(),
        "n_slots": ring.n_slots,
        "order": ring.in_order(),
        "index": {
            "event_id": ring.id_array(),
            **{name: ring.column(name).copy() for name in _NUMBERS},
            "segment": _names(ring.column("segment_code"), ring.segments.codes()),
            "user": _names(ring.column("user_code"), ring.users.codes()),
        },
        "rows": _saved_rows(contents),
    }


def _names(codes: npt.NDArray[Any], known: Mapping[str | None, int]) -> list[str | None] | None:
    """Return the name behind each code, or None where nobody has one."""
    if not any(name is not None for name in known):
        return None
    names: dict[int, str | None] = {code: name for name, code in known.items()}
    names[NO_USER] = None
    return [names[code] for code in codes.tolist()]


def _saved_rows(contents: Contents) -> object:
    n = len(contents.ring)
    if isinstance(contents.rows, ObjectRows):
        return [contents.experience(slot) for slot in range(n)]
    return contents.rows.saved(n) if isinstance(contents.rows, PackedRows) else None


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
    n = len(saved["order"])
    _check_lengths(index, n)
    if not n <= saved["n_slots"] <= saved["capacity"]:
        raise _malformed("n_slots", saved["n_slots"])
    _check_index(saved["order"], index)
    if saved["kind"] != "external" and n and saved["next_seq"] <= int(np.max(index["seq"])):
        raise _malformed("next_seq", saved["next_seq"])
    return saved


def _check_lengths(index: Mapping[str, Any], n: int) -> None:
    for name in ("event_id", *_NUMBERS, "segment", "user"):
        is_optional = name in {"segment", "user"}
        values = index.get(name)
        if name not in index or (values is None and not is_optional):
            raise _malformed(f"index.{name}", None)
        # text or ragged lists are found out here, by name
        if name in _NUMBERS and not _converts(values, _NUMBERS[name]):
            raise _malformed(f"index.{name}", None)
        if values is not None and len(values) != n:
            raise _malformed(f"index.{name}", None)


def _converts(values: object, kind: type) -> bool:
    try:
        found = np.asarray(values)
    except ValueError:
        return False
    return found.ndim == 1 and (found.dtype.kind in ("iu" if kind is np.int64 else "fiu") or not found.size)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _check_settings(saved: Mapping[str, Any]) -> None:
    for name, least, most in (("capacity", 1, MAX_CAPACITY), ("next_seq", 1, 2**63), ("n_slots", 0, MAX_CAPACITY)):
        if not _is_whole(saved[name]) or not least <= saved[name] <= most:
            raise _malformed(name, saved[name])
    if not isinstance(saved["newest"], float) or not 0.0 <= saved["newest"] < np.inf:
        raise _malformed("newest", saved["newest"])
    _check_scales(saved["scales"])
    for name, kind in (("index", Mapping), ("order", Sequence | np.ndarray)):
        if not isinstance(saved[name], kind):
            raise _malformed(name, saved[name])


def _check_scales(scales: object) -> None:
    """Refuse what no tree could have been scaled by."""
    if not isinstance(scales, Mapping):
        raise _malformed("scales", scales)
    most = {"priority": MAX_SCALE, "recency": MAX_HALF_LIVES}
    for name, scale in scales.items():
        if name not in most or not _is_whole(scale) or abs(scale) > most[name]:
            raise _malformed(f"scales.{name}", scale)


@contextmanager
def sound() -> Iterator[None]:
    """Say of anything that can not be made from a saved state that the state is malformed.

    Raises:
        ReplayError: code `state`.
        ConfigError: The columns or the engine given with it are none.
    """
    try:
        yield
    except ReplayError:
        raise
    except ConfigError as error:
        if str(error.field).startswith(("columns", "engine")):
            raise  # the caller's, not the state's
        raise _malformed(str(error.field), error.value) from error
    except (TypeError, ValueError, OverflowError, LookupError, AttributeError) as error:
        raise _malformed("index", None) from error


def _check_index(order: Any, index: Mapping[str, Any]) -> None:  # noqa: ANN401 - whatever a file held
    priorities = np.asarray(index["priority"], dtype=np.float64)
    if not ((priorities >= 0.0) & (priorities < np.inf)).all():
        raise _malformed("index.priority", None)
    timestamps = np.asarray(index["timestamp"], dtype=np.float64)
    if not (np.isfinite(timestamps) & (timestamps >= 0.0)).all():
        raise _malformed("index.timestamp", None)
    if not np.isfinite(np.asarray(index["reward"], dtype=np.float64)).all():
        raise _malformed("index.reward", None)
    seqs = np.sort(np.asarray(index["seq"]))
    is_whole = seqs.dtype.kind in "iu" or not seqs.size
    if not is_whole or (seqs.size and seqs[0] < 1) or (np.diff(seqs) == 0).any():
        raise _malformed("index.seq", None)
    if not np.array_equal(np.sort(np.asarray(order)), seqs):
        raise _malformed("order", None)
    ids = np.asarray(index["event_id"])
    if ids.dtype.kind != "S" or np.unique(ids).size != seqs.size:
        raise _malformed("index.event_id", None)


def restored(
    saved: Mapping[str, Any],
    bounds: Bounds,
    *,
    alpha: float,
    half_life_s: float | None,
    columns: ColumnSpec | Columns | None,
    make_tree: Callable[[int], ExactTree],
) -> Contents:
    """Return the contents of a checked state, slot by slot as they were.

    Raises:
        ReplayError: The state has rows of another kind, or other columns.
    """
    contents = Contents(
        bounds,
        alpha=alpha,
        half_life_s=half_life_s,
        columns=columns,
        make_tree=make_tree,
        n_slots=saved["n_slots"],
        scales=saved["scales"],
    )
    _load_rows(saved, contents.rows)
    index = saved["index"]
    numbers: dict[str, npt.NDArray[Any]] = {
        name: np.asarray(index[name]).astype(kind) for name, kind in _NUMBERS.items()
    }
    if len(saved["order"]):
        contents.ring.append_block(
            IndexBlock(
                np.asarray(index["event_id"]),
                numbers["seq"],
                numbers["timestamp"],
                numbers["priority"],
                numbers["reward"],
                numbers["version"],
                index["user"],
                index["segment"],
                numbers["size_bytes"],
            )
        )
        contents.ring.reorder(np.asarray(saved["order"]).astype(np.int64))
    contents.next_seq = int(saved["next_seq"])
    contents.restored(float(saved["newest"]))
    return contents


def _load_rows(saved: Mapping[str, Any], rows: Rows) -> None:
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
    if isinstance(rows, PackedRows):
        rows.load(content, n)
    elif isinstance(rows, ObjectRows):
        if content is None or len(content) != n or not all(isinstance(item, Experience) for item in content):
            raise _malformed("rows", None)
        for slot, item in enumerate(content):
            rows.store(slot, item.sealed())


def reduced(buffer: Any, columns: ColumnSpec | None, rows: Rows) -> tuple[Any, ...]:  # noqa: ANN401 - a subclass too
    """Return what pickle and copy make a twin of a buffer from.

    Raises:
        ReplayError: Its rows are kept elsewhere: the source would not go with them.
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
