"""The rows that are stored: the record of the comparison with other buffers, and the row that a loop learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Block = dict[str, npt.NDArray[Any]]

FIRST_TIMESTAMP: Final = 1_700_000_000.0  # row i has this timestamp + i: so a gathered row tells which one it is
N_TEMPLATE: Final = 10_000  # rows of random numbers; a million of their own would take longer to draw than to store
ID_BYTES: Final = 32  # text of an event id, as of a UUID without its hyphens
_SPREAD: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835  # odd: multiplying by it modulo 2^128 keeps ids different


class Layout(NamedTuple):
    """The columns of a row.

    Attributes:
        name: For the report.
        columns: {name: (shape, dtype)}; "timestamp" and "reward" are among them.
        learner: Names of the columns that a learner reads.
        priority_bytes: What the priority adds to the size of a record.
    """

    name: str
    columns: Mapping[str, tuple[tuple[int, ...], str]]
    learner: tuple[str, ...]
    priority_bytes: int

    def n_bytes(self, names: Sequence[str] | None = None) -> int:
        """Return the size of these columns of one row; of the whole record, priority included, where none are named."""
        chosen = self.columns if names is None else {name: self.columns[name] for name in names}
        sizes = [int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in chosen.values()]
        return sum(sizes) + (self.priority_bytes if names is None else 0)

    def only(self, names: Sequence[str]) -> Layout:
        """Return the layout of rows that hold nothing but these columns."""
        return self._replace(columns={name: self.columns[name] for name in names}, learner=tuple(names))


RECORD: Final = Layout(
    "1952 B record",
    {
        "emb": ((384,), "f4"),
        "feats": ((10, 8), "f4"),
        "clicks": ((10,), "f4"),
        "propensities": ((10,), "f4"),
        "reward": ((), "f4"),
        "timestamp": ((), "f8"),
    },
    ("feats", "clicks", "propensities", "reward", "timestamp"),
    4,
)

# What `dwell.records.rows.EventRow` holds, at 64 documents of 5 features, 20 of them shown.
_LOOP_COLUMNS: Final[dict[str, tuple[tuple[int, ...], str]]] = {
    "features": ((64, 5), "f4"),
    "inclusion": ((64,), "f4"),
    "exposure": ((64,), "f4"),
    "caller_rank": ((64,), "f4"),
    "rewards": ((20,), "f8"),
    "propensities": ((20,), "f8"),
    "query_hash": ((), "u8"),
    "user_hash": ((), "u8"),
    "n_kept": ((), "i4"),
    "n_shown": ((), "i4"),
    "params_version": ((), "i8"),
    "temperature": ((), "f8"),
    "flags": ((), "u4"),
    "reward": ((), "f4"),
    "timestamp": ((), "f8"),
}
LOOP_ROW: Final = Layout("the Loop's own row", _LOOP_COLUMNS, tuple(_LOOP_COLUMNS), 8)


def template(layout: Layout, rng: np.random.Generator) -> Block:
    """Return the random rows that all stored rows repeat, (N_TEMPLATE, ...) per column; rewards in [-1, 1]."""
    block: Block = {}
    for name, (shape, kind) in layout.columns.items():
        values = rng.uniform(-1.0, 1.0, size=(N_TEMPLATE, *shape))
        dtype = np.dtype(kind)
        block[name] = values.astype(dtype) if dtype.kind == "f" else np.abs(values * 1e6).astype(dtype)
    return block


def rows(pattern: Block, first: int, n: int) -> Block:
    """Return rows number `first` to `first + n - 1`, a copy."""
    positions = np.arange(first, first + n)
    block = {name: values.take(positions % N_TEMPLATE, axis=0) for name, values in pattern.items()}
    block["timestamp"] = FIRST_TIMESTAMP + positions
    return block


def numbers_of(timestamps: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return which rows these timestamps belong to, (n,)."""
    return (np.asarray(timestamps).reshape(-1) - FIRST_TIMESTAMP).astype(np.int64)


def event_ids(first: int, n: int) -> list[str]:
    """Return the ids of these rows: 32 hexadecimal digits each, in no order, all different."""
    return [f"{(i + 1) * _SPREAD % 2**128:032x}" for i in range(first, first + n)]


def priorities(rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    """Return priorities as a prediction error within [0, 1] and the small constant give them."""
    return rng.random(n) + 0.01
