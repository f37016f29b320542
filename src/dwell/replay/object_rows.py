"""Rows that are whole experiences, of any shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dwell.errors import ReplayError
from dwell.records import Experience
from dwell.records.arrays import IntArray
from dwell.replay.index_rows import IndexRow
from dwell.replay.rows import FIELDS, amended, unknown_column
from dwell.replay.size_estimate import experience_bytes

__all__ = ["ObjectRows"]


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

    def reserve(self, _n_slots: int) -> None:
        """Nothing to do: a list grows by itself."""

    def check_names(self, names: Sequence[str]) -> None:
        """Refuse what is no attribute of an experience."""
        for name in names:
            if name not in FIELDS or name.startswith("_"):
                raise unknown_column(name, sorted(n for n in FIELDS if not n.startswith("_")))

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
            kept = amended(kept, priority=index.priority, reward=index.reward, version=index.version)
            self._experiences[slot] = kept
        return kept

    def read(self, slots: IntArray, _seqs: IntArray, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Return attributes as arrays."""
        columns = {}
        for name in names:
            if name not in FIELDS or name.startswith("_"):
                raise unknown_column(name, sorted(n for n in FIELDS if not n.startswith("_")))
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
