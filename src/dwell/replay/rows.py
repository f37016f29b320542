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

from dwell.errors import ReplayError
from dwell.records import Experience
from dwell.records.arrays import IntArray
from dwell.replay.index_rows import IndexRow

__all__ = ["FIELDS", "INDEX_COLUMNS", "Rows", "amended", "unknown_column"]

# columns that every buffer can read, whatever keeps its rows; the index holds their newest values
INDEX_COLUMNS: Final = ("seq", "timestamp", "priority", "reward", "version")

FIELDS: Final = tuple(field.name for field in fields(Experience))


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

    def reserve(self, n_slots: int, /) -> None:
        """Make room for that many rows."""
        ...

    def check_names(self, names: Sequence[str], /) -> None:
        """Refuse names of columns that are not here.

        Raises:
            ReplayError: One is not.
        """
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


def amended(experience: Experience, *, priority: float, reward: float, version: int) -> Experience:
    """Return a sealed copy with other numbers; they were checked at the door, so nothing is checked again."""
    copy = object.__new__(Experience)
    for name in FIELDS:
        object.__setattr__(copy, name, getattr(experience, name))
    for name, value in (("priority", priority), ("reward", reward), ("version", version), ("_is_sealed", True)):
        object.__setattr__(copy, name, value)
    return copy


def unknown_column(name: str, known: Sequence[str]) -> ReplayError:
    """Return the error that names a column and those that there are."""
    return ReplayError(
        "this buffer has no such column",
        code="unknown_column",
        field="columns",
        value=name,
        hint="It has " + ", ".join(known) + ".",
    )
