"""What a sample of experience is made of, and the port through which its columns are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dwell.errors import ReplayError
from dwell.records.arrays import FloatArray, IntArray
from dwell.records.experience import Experience

__all__ = ["Batch", "ColumnSpec", "Columns", "UpdateResult"]


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """Names, shapes and dtypes of packed rows.

    Attributes:
        columns: {name: (shape of one row, dtype)}, an attribute of Experience or a name of your own. `add` pads a
            shorter list with zeros and refuses a longer one by name; `add_packed` and `extend_columns` take exact
            shapes.
    """

    columns: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]

    def __post_init__(self) -> None:
        if not self.columns:
            raise ReplayError("a column spec names at least one column", field="columns", value=dict(self.columns))


class Columns(Protocol):
    """Rows addressed by `seq`, read column by column: a sample costs what it reads."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that `read` can return."""
        ...

    def read(self, seqs: IntArray, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Return the named columns for these rows, each with len(seqs) as its first dimension.

        Raises:
            ReplayError: A name or a seq is unknown.
        """
        ...

    def experience(self, seq: int) -> Experience:
        """Return the whole experience behind one row.

        Raises:
            ReplayError: The seq is unknown.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A sample: which experiences, how likely each draw was, and what corrects for it.

    Attributes:
        seqs: int64 (b,), accepted wherever event ids are.
        sampling_probabilities: float64 (b,), in (0, 1]: the expected share of the batch, which is P of one draw where
            repeats are free.
        sampling_weights: float64 (b,), (target_i / P_i)^beta, divided as `normalisation` says: mean 1 by default.
        columns: The columns asked for, each (b, ...).
    """

    seqs: IntArray
    sampling_probabilities: FloatArray
    sampling_weights: FloatArray
    columns: Mapping[str, npt.NDArray[Any]]
    _read_event_ids: Callable[[IntArray], list[str]] = field(repr=False)
    _read_experiences: Callable[[IntArray], list[Experience]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.seqs)

    @property
    def event_ids(self) -> list[str]:
        """Event ids in the order of the draws, read when asked for.

        Raises:
            ReplayError: An experience was removed since.
        """
        return self._read_event_ids(self.seqs)

    @property
    def experiences(self) -> list[Experience]:
        """Experiences in the order of the draws, read when asked for.

        Raises:
            ReplayError: An experience was removed since.
        """
        return self._read_experiences(self.seqs)


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """What became of an update, item by item; every item given is in exactly one of the three.

    Attributes:
        updated: Items changed.
        stale: Items that are no longer there, or hold a newer version: nobody was touched.
        rejected: Items whose new value is malformed.
    """

    updated: int
    stale: int
    rejected: int
