"""Rows that somebody else keeps and finds by `seq`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dwell.records import Columns, Experience
from dwell.records.arrays import IntArray
from dwell.replay.index_rows import IndexRow
from dwell.replay.rows import INDEX_COLUMNS, amended, unknown_column
from dwell.replay.size_estimate import index_bytes

__all__ = ["ExternalRows"]


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

    def reserve(self, _n_slots: int) -> None:
        """Nothing to keep."""

    def check_names(self, names: Sequence[str]) -> None:
        """Refuse what the source does not have."""
        for name in names:
            if name not in self._source.names:
                raise unknown_column(name, sorted({*self._source.names, *INDEX_COLUMNS}))

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
        return amended(
            self._source.experience(index.seq), priority=index.priority, reward=index.reward, version=index.version
        )

    def read(self, _slots: IntArray, seqs: IntArray, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Return the source's columns."""
        for name in names:
            if name not in self._source.names:
                raise unknown_column(name, sorted({*self._source.names, *INDEX_COLUMNS}))
        return self._source.read(seqs, names) if names else {}
