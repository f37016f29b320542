"""What a column ring holds: the columns, where each of them stands, and what else makes a file of it unusable."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, get_args

import numpy as np

from dwell.errors import ConfigError

__all__ = ["RingColumn", "RingSchema"]

Placing = Literal["index", "row", "own"]

_ALIGNMENT: Final = 8  # bytes: float64 at odd addresses costs a second read per number


@dataclass(frozen=True, slots=True)
class RingColumn:
    """One fixed-width column.

    Args:
        name: Its name.
        dtype: Booleans, integers, floats or bytes of one width ("S24").
        shape: Of one row; () for a number.
        region: "index": read for all rows at opening, an array of its own in one piece. "row": packed with the others
            of its kind into one record per row. "own": a region that only those pay for who ask for it.

    Raises:
        ConfigError: An argument is unknown or out of range.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...] = ()
    region: Placing = "row"

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        kind, width = self.dtype.kind, self.dtype.itemsize
        wrong = (
            ("region", self.region, self.region not in get_args(Placing)),
            ("name", self.name, not self.name.isidentifier()),
            ("dtype", self.dtype, kind not in "biufS" or width == 0 or not self.dtype.isnative),
            ("shape", self.shape, any(n < 1 for n in self.shape)),
        )
        for field, value, is_wrong in wrong:
            if is_wrong:
                raise ConfigError(
                    "a ring's column has a name, a native fixed-width dtype, positive lengths and a region",
                    field=f"{self.name}.{field}",
                    value=value,
                    hint=f"The regions are {', '.join(get_args(Placing))}.",
                )

    @property
    def n_bytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class RingSchema:
    """The columns of a ring, and whatever else an older file has to agree with.

    Every ring has two columns besides: `seq` (int64) and `event_id` (bytes), both in the index.

    Args:
        columns: The others, names all different.
        event_id_bytes: Width of an event id in UTF-8, a positive multiple of 8.
        key: Anything else that the rows depend on, as text: feature names, hold-out share, fingerprint of the salt.

    Raises:
        ConfigError: A name twice, or a width that is no multiple of 8.
    """

    columns: tuple[RingColumn, ...]
    event_id_bytes: int = 40  # a UUID in its usual 36 characters
    key: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        if self.event_id_bytes < 8 or self.event_id_bytes % 8:
            raise ConfigError(
                "the width of event ids is a positive multiple of 8",
                field="event_id_bytes",
                value=self.event_id_bytes,
                hint="Take the next multiple.",
            )
        names = self.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(
                "a ring has each column once",
                field="columns",
                value=twice,
                hint="`seq` and `event_id` are always there.",
            )

    @cached_property
    def all_columns(self) -> tuple[RingColumn, ...]:
        """`seq`, `event_id`, then the others."""
        return (
            RingColumn("seq", np.dtype(np.int64), region="index"),
            RingColumn("event_id", np.dtype(f"S{self.event_id_bytes}"), region="index"),
            *self.columns,
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, in order."""
        return tuple(column.name for column in self.all_columns)

    @cached_property
    def name_set(self) -> frozenset[str]:
        """Names of all columns."""
        return frozenset(self.names)

    def placed(self, region: Placing) -> tuple[RingColumn, ...]:
        """Return the columns of a region, in order."""
        return tuple(column for column in self.all_columns if column.region == region)

    @cached_property
    def row_dtype(self) -> np.dtype[Any]:
        """The record of one row: the widest numbers first, so that each stands at a multiple of its width."""
        columns = sorted(self.placed("row"), key=lambda column: -_unit(column.dtype))
        ends = np.cumsum([column.n_bytes for column in columns], dtype=np.int64).tolist()
        n_bytes = ends[-1] if ends else 0
        return np.dtype(
            {
                "names": [column.name for column in columns],
                "formats": [(column.dtype, column.shape) for column in columns],
                "offsets": [0, *ends[:-1]] if ends else [],
                "itemsize": -(-n_bytes // _ALIGNMENT) * _ALIGNMENT,
            }
        )

    @cached_property
    def digest(self) -> bytes:
        """16 bytes that differ between any two schemas, and between machines of different byte order."""
        text = repr((sys.byteorder, self.key, [(c.name, c.dtype.str, c.shape, c.region) for c in self.all_columns]))
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def widens(self, older: RingSchema) -> bool:
        """Whether every row of an older schema fits this one with zeros added: the same columns, none shorter."""
        if self.key != older.key or self.names != older.names:
            return False
        return all(
            a.region == b.region
            and a.dtype.kind == b.dtype.kind
            and (a.dtype == b.dtype or (a.dtype.kind == "S" and a.dtype.itemsize > b.dtype.itemsize))
            and len(a.shape) == len(b.shape)
            and all(n >= m for n, m in zip(a.shape, b.shape, strict=True))
            for a, b in zip(self.all_columns, older.all_columns, strict=True)
        )


def _unit(dtype: np.dtype[Any]) -> int:
    return 1 if dtype.kind == "S" else dtype.itemsize
