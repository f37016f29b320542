"""Values on their way into a ring: checked and cast before anything changes, so that a refused row leaves no trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dwell.errors import ReplayError
from dwell.storage.ring_schema import RingColumn, RingSchema

__all__ = ["cast_many", "cast_one", "cast_values"]

# dtype kinds that a column of a kind takes: a float in a column of integers would lose its fraction without a word
_TAKES: Final = {"b": "b", "i": "biu", "u": "biu", "f": "biuf", "S": "S"}


def cast_one(schema: RingSchema, seq: int, values: Mapping[str, Any]) -> list[tuple[str, npt.NDArray[Any]]]:
    """Return (name, array) for each column of one row, `seq` included.

    Raises:
        ReplayError: A column is missing, unknown, or its value does not fit; or seq is below 1. Names the column.
    """
    if seq < 1:
        raise ReplayError("a seq is at least 1", field="seq", value=seq, hint="Take the one that the store gave.")
    given = {"seq": seq, **values}
    _check_names(schema, given)
    return [(column.name, cast_values(column, given[column.name], ())) for column in schema.all_columns]


def cast_many(schema: RingSchema, columns: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Return all columns of some rows, `seq` included, each (b, ...).

    Raises:
        ReplayError: As `cast_one`; also for a seq given twice.
    """
    _check_names(schema, columns)
    n_rows = len(columns["seq"])
    found = {c.name: cast_values(c, columns[c.name], (n_rows,)) for c in schema.all_columns}
    seqs = found["seq"]
    if n_rows and (seqs.min() < 1 or np.unique(seqs).size != n_rows):
        raise ReplayError("seqs are at least 1 and all different", field="seq", value=seqs, hint="Put each row once.")
    return found


def _check_names(schema: RingSchema, given: Mapping[str, Any]) -> None:
    if given.keys() != schema.name_set:
        raise ReplayError(
            "a row has each column of the ring, and no other",
            field="columns",
            value=sorted(schema.name_set.symmetric_difference(given)),
            hint=f"There are {list(schema.names)}.",
        )


def cast_values(column: RingColumn, values: Any, lead: tuple[int, ...]) -> npt.NDArray[Any]:  # noqa: ANN401 - anything may be given
    """Return the values of a column as it keeps them, (*lead, *shape of one row).

    Raises:
        ReplayError: They have another shape, are too long, or can not be kept in its dtype without loss of range.
    """
    try:
        given = np.asarray(values)
    except ValueError as error:  # lists of different lengths
        raise _misfit(column, values) from error
    try:
        if given.dtype != column.dtype and not _fits(column, given):
            raise _misfit(column, given.dtype)
        if column.dtype.kind == "S" and _ends_in_zero(values):
            raise _misfit(column, values)
        cast = _cast(given, column.dtype)
    except (TypeError, OverflowError, FloatingPointError) as error:
        raise _misfit(column, values) from error
    if cast.shape != (*lead, *column.shape):
        raise ReplayError(
            f"the value has shape {cast.shape}, the column keeps {(*lead, *column.shape)}",
            code="too_long",
            field=f"columns.{column.name}",
            value=cast.shape,
            hint="Pad it with zeros, or widen the ring.",
        )
    return cast


def _fits(column: RingColumn, given: npt.NDArray[Any]) -> bool:
    kind = column.dtype.kind
    if given.dtype.kind not in _TAKES[kind]:
        return not given.size  # an empty list is a float to numpy, whatever it was meant to hold
    if kind == "S":
        return int(np.char.str_len(given).max(initial=0)) <= column.dtype.itemsize
    if kind in "iu" and given.size:
        bounds = np.iinfo(column.dtype)
        return int(given.min()) >= bounds.min and int(given.max()) <= bounds.max
    return True


def _cast(given: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if given.dtype == dtype or dtype.kind != "f" or given.dtype.itemsize <= dtype.itemsize:
        return given.astype(dtype, copy=False)
    with np.errstate(over="raise"):  # 1e5 is infinite as a float16
        return given.astype(dtype)


def _ends_in_zero(values: Any) -> bool:  # noqa: ANN401 - anything may be given
    # a fixed width is filled up with zero bytes: one at the end of a value would not come back
    if isinstance(values, bytes):
        return values.endswith(b"\0")
    return isinstance(values, list | tuple) and any(isinstance(v, bytes) and v.endswith(b"\0") for v in values)


def _misfit(column: RingColumn, value: object) -> ReplayError:
    return ReplayError(
        f"the value can not be kept as {column.dtype}",
        code="dtype",
        field=f"columns.{column.name}",
        value=value,
        hint="Correct the value, or widen the ring.",
    )
