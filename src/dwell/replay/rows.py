"""What stands behind a slot: whole experiences, packed rows, or rows that somebody else keeps.

All three answer the same calls. `prepared` does everything that can fail, so that a refused experience changes
nothing; `store` then can not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from dwell.errors import ConfigError, ReplayError
from dwell.records import Columns, ColumnSpec, Experience
from dwell.records.arrays import IntArray
from dwell.replay.ring import IndexRow
from dwell.replay.size_estimate import experience_bytes, index_bytes

__all__ = ["INDEX_COLUMNS", "ExternalRows", "ObjectRows", "PackedRows", "Rows"]

# columns that every buffer can read, whatever keeps its rows; the index holds their newest values
INDEX_COLUMNS: Final = ("seq", "timestamp", "priority", "reward", "version")

_FIELDS: Final = tuple(field.name for field in fields(Experience))


class Rows(Protocol):
    """Rows by slot."""

    @property
    def default_columns(self) -> tuple[str, ...]:
        """Columns that a sample reads when none are asked for."""
        ...

    @property
    def index_dtypes(self) -> Mapping[str, np.dtype[Any]]:
        """Columns of the index that are asked for in another dtype than the index has."""
        ...

    def size_bytes(self, experience: Experience) -> int:
        """Return the estimated memory of one experience, index included."""
        ...

    def prepared(self, experience: Experience, /) -> object:
        """Return the row of an experience, checked, for `store`.

        Raises:
            ReplayError: It does not fit; names the column.
        """
        ...

    def store(self, slot: int, row: object, /) -> None:
        """Put a prepared row in a slot; a slot just past the end is legal."""
        ...

    def move(self, source: int, target: int, /) -> None:
        """Move the last row into a slot that became vacant, or drop it when they are the same."""
        ...

    def clear(self) -> None:
        """Drop every row."""
        ...

    def experience(self, slot: int, index: IndexRow, /) -> Experience:
        """Return the experience in a slot, with the priority, reward and version of the index."""
        ...

    def read(self, slots: IntArray, seqs: IntArray, names: Sequence[str], /) -> dict[str, npt.NDArray[Any]]:
        """Return columns that are not the index's, each with len(slots) as first dimension; a copy.

        Raises:
            ReplayError: A name is unknown, or the values have no common shape.
        """
        ...


class ObjectRows:
    """Whole experiences of any shape."""

    __slots__ = ("_experiences",)

    def __init__(self, experiences: Sequence[Experience] = ()) -> None:
        self._experiences = list(experiences)

    @property
    def default_columns(self) -> tuple[str, ...]:
        """None: values of any shape have no columns."""
        return ()

    @property
    def index_dtypes(self) -> Mapping[str, np.dtype[Any]]:
        """None: the index's own."""
        return {}

    def size_bytes(self, experience: Experience) -> int:
        """Return the estimated memory of one experience, index included."""
        return experience_bytes(experience)

    def prepared(self, experience: Experience) -> Experience:
        """Return a sealed copy."""
        return experience.sealed()

    def store(self, slot: int, row: object) -> None:
        """Put a prepared row in a slot."""
        if not isinstance(row, Experience):
            raise TypeError(type(row))
        if slot == len(self._experiences):
            self._experiences.append(row)
        else:
            self._experiences[slot] = row

    def move(self, source: int, target: int) -> None:
        """Move the last row into a vacant slot."""
        self._experiences[target] = self._experiences[source]
        self._experiences.pop()

    def clear(self) -> None:
        """Drop every row."""
        self._experiences.clear()

    def experience(self, slot: int, index: IndexRow) -> Experience:
        """Return the kept experience; one whose priority or reward changed since is copied, never altered."""
        kept = self._experiences[slot]
        if (kept.priority, kept.reward, kept.version) != (index.priority, index.reward, index.version):
            kept = _amended(kept, priority=index.priority, reward=index.reward, version=index.version)
            self._experiences[slot] = kept
        return kept

    def read(self, slots: IntArray, _seqs: IntArray, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Return attributes as arrays."""
        columns = {}
        for name in names:
            if name not in _FIELDS or name.startswith("_"):
                raise _unknown_column(name, sorted(n for n in _FIELDS if not n.startswith("_")))
            values = [getattr(self._experiences[slot], name) for slot in slots.tolist()]
            try:
                columns[name] = np.array(values)
            except ValueError as error:
                raise ReplayError(
                    "the experiences drawn hold values of different lengths",
                    field=f"columns.{name}",
                    value=name,
                    hint="Read batch.experiences, or give the buffer a ColumnSpec that pads them.",
                ) from error
        return columns


class PackedRows:
    """Fixed-width columns in memory, 10 to 20 times smaller than objects and never seen by the garbage collector.

    Only the columns of the spec and of the index are kept: an experience read back has every other field empty.
    """

    __slots__ = ("_columns", "_dtype", "_of_index", "_spec")

    def __init__(self, spec: ColumnSpec, *, n_slots: int = 0) -> None:
        self._spec: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self._of_index: dict[str, np.dtype[Any]] = {}
        for name, (shape, dtype) in spec.columns.items():
            kind = np.dtype(dtype)
            if name not in _FIELDS or name.startswith("_") or name in {"event_id", "user", "segment"}:
                raise ConfigError(
                    "a column is an attribute of Experience that holds numbers",
                    field=f"columns.{name}",
                    value=name,
                    hint="Name an attribute such as query_embedding, propensities or reward.",
                )
            if kind.kind not in "fiub" or any(n < 1 for n in shape):
                raise ConfigError(
                    "a column has a numeric dtype and positive lengths",
                    field=f"columns.{name}",
                    value=(shape, dtype),
                    hint="Pass for example ((384,), np.dtype('float32')).",
                )
            if name not in INDEX_COLUMNS:
                self._spec[name] = (tuple(shape), kind)
            elif shape == ():
                self._of_index[name] = kind
            else:
                raise ConfigError(
                    "this column is one number", field=f"columns.{name}", value=shape, hint="Give it the shape ()."
                )
        # one record per row: a gather touches one place in memory, 1.3 to 1.5 times faster than an array per column
        self._dtype = np.dtype([(name, kind, shape) for name, (shape, kind) in self._spec.items()])
        self._columns = np.zeros(n_slots, self._dtype)

    @property
    def default_columns(self) -> tuple[str, ...]:
        """All columns of the spec."""
        return (*self._spec, *self._of_index)

    @property
    def index_dtypes(self) -> Mapping[str, np.dtype[Any]]:
        """The dtypes that the spec gives to columns of the index."""
        return self._of_index

    def size_bytes(self, experience: Experience) -> int:
        """Return the memory of one row and its index entries."""
        return index_bytes(experience.event_id, experience.user, experience.segment) + self._dtype.itemsize

    def prepared(self, experience: Experience) -> npt.NDArray[Any]:
        """Return the packed row; shorter lists are padded with zeros, longer ones refused by name."""
        row = np.zeros((), self._dtype)
        for name, (shape, kind) in self._spec.items():
            value = _as_numbers(name, getattr(experience, name))
            if value.ndim != len(shape) or any(n > most for n, most in zip(value.shape, shape, strict=True)):
                if value.size == 0:
                    continue
                raise ReplayError(
                    f"the value has shape {value.shape}, a row holds at most {shape}",
                    code="too_long",
                    field=f"columns.{name}",
                    value=value.shape,
                    hint="Shorten it, or make the buffer with a wider ColumnSpec.",
                )
            with np.errstate(over="ignore"):
                cast = value.astype(kind)
            if not np.isfinite(cast).all() or (kind.kind in "iub" and (cast != value).any()):
                raise ReplayError(
                    f"the value can not be kept as {kind}",
                    code="dtype",
                    field=f"columns.{name}",
                    value=getattr(experience, name),
                    hint="Correct the value, or make the buffer with a wider dtype.",
                )
            row[name][tuple(slice(n) for n in value.shape)] = cast
        return row

    def store(self, slot: int, row: object) -> None:
        """Put a prepared row in a slot."""
        if slot >= self._columns.size:
            grown = np.zeros(max(1024, 2 * self._columns.size), self._dtype)
            grown[: self._columns.size] = self._columns
            self._columns = grown
        self._columns[slot] = row

    def move(self, source: int, target: int) -> None:
        """Move the last row into a vacant slot."""
        self._columns[target] = self._columns[source]

    def clear(self) -> None:
        """Drop every row; the allocation stays."""

    def experience(self, slot: int, index: IndexRow) -> Experience:
        """Return what is kept of the experience; fields outside the spec are empty."""
        row = self._columns[slot]
        kept: dict[str, Any] = {name: row[name].tolist() for name in self._spec}
        given: dict[str, Any] = {
            "query": "",
            "query_embedding": (),
            "results_served": (),
            "ranking_params": {},
            "feedback_signals": {},
        }
        return Experience(
            **{**given, **kept},
            event_id=index.event_id,
            timestamp=index.timestamp,
            reward=index.reward,
            priority=index.priority,
            user=index.user,
            segment=index.segment,
            version=index.version,
            seq=index.seq,
        ).sealed()

    def read(self, slots: IntArray, _seqs: IntArray, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Return packed columns."""
        for name in names:
            if name not in self._spec:
                raise _unknown_column(name, sorted({*self._spec, *INDEX_COLUMNS}))
        if not names:
            return {}
        rows = self._columns.take(slots)
        return {name: np.ascontiguousarray(rows[name]) for name in names}

    def saved(self, n: int) -> npt.NDArray[Any]:
        """Return a copy of the first n rows."""
        return self._columns[:n].copy()

    def load(self, rows: npt.NDArray[Any]) -> None:
        """Take over saved rows.

        Raises:
            ReplayError: They were saved with another spec.
        """
        if rows.dtype != self._dtype:
            raise ReplayError(
                "the saved rows have other columns than the spec",
                code="state",
                field="state.rows",
                value=rows.dtype,
                hint="Restore with the ColumnSpec that they were saved with.",
            )
        self._columns = rows.copy()


class ExternalRows:
    """Rows that somebody else keeps and finds by `seq`; the buffer holds the index alone."""

    __slots__ = ("_source",)

    def __init__(self, source: Columns) -> None:
        self._source = source

    @property
    def default_columns(self) -> tuple[str, ...]:
        """None: a sample costs what it reads."""
        return ()

    @property
    def index_dtypes(self) -> Mapping[str, np.dtype[Any]]:
        """None: the index's own."""
        return {}

    def size_bytes(self, experience: Experience) -> int:
        """Return the estimated memory of the index entries."""
        return index_bytes(experience.event_id, experience.user, experience.segment)

    def prepared(self, _experience: Experience) -> object:
        """Return nothing: the row is where it is."""
        return None

    def store(self, _slot: int, _row: object) -> None:
        """Nothing to keep."""

    def move(self, _source: int, _target: int) -> None:
        """Nothing to move."""

    def clear(self) -> None:
        """Nothing to drop."""

    def experience(self, _slot: int, index: IndexRow) -> Experience:
        """Return the source's experience, with the priority, reward and version of the index."""
        return _amended(
            self._source.experience(index.seq), priority=index.priority, reward=index.reward, version=index.version
        )

    def read(self, _slots: IntArray, seqs: IntArray, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Return the source's columns."""
        for name in names:
            if name not in self._source.names:
                raise _unknown_column(name, sorted({*self._source.names, *INDEX_COLUMNS}))
        return self._source.read(seqs, names) if names else {}


def _amended(experience: Experience, *, priority: float, reward: float, version: int) -> Experience:
    """Return a sealed copy with other numbers; they were checked at the door, so nothing is checked again."""
    copy = object.__new__(Experience)
    for name in _FIELDS:
        object.__setattr__(copy, name, getattr(experience, name))
    for name, value in (("priority", priority), ("reward", reward), ("version", version), ("_is_sealed", True)):
        object.__setattr__(copy, name, value)
    return copy


def _as_numbers(name: str, value: object) -> npt.NDArray[Any]:
    try:
        array = np.asarray(value if not isinstance(value, Mapping) else None)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "fiub":
        raise ReplayError(
            "the value is not a number or an array of numbers",
            code="dtype",
            field=f"columns.{name}",
            value=value,
            hint="Leave the attribute out of the ColumnSpec, or keep objects with columns=None.",
        )
    return array


def _unknown_column(name: str, known: Sequence[str]) -> ReplayError:
    return ReplayError(
        "this buffer has no such column",
        code="unknown_column",
        field="columns",
        value=name,
        hint="It has " + ", ".join(known) + ".",
    )
