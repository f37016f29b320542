"""Checks of what callers pass to the buffer: each value is taken as it is or refused, never adjusted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any, Final

import numpy as np

from dwell.errors import ConfigError, DwellError, ReplayError
from dwell.records import Columns, ColumnSpec
from dwell.records.arrays import FloatArray, IntArray

__all__ = [
    "MAX_BATCH",
    "MAX_CAPACITY",
    "MAX_SEQ",
    "Keys",
    "as_generator",
    "as_keys",
    "as_priorities",
    "checked_names",
    "one_of",
    "real",
    "repeat_cap",
    "row_source",
    "whole",
]

MAX_BATCH: Final = 2**20  # public surface: any batch up to 2**20 is legal
MAX_CAPACITY: Final = 2**31  # slots are found through float64 sums of at most this many masses
NOBODY: Final = 2**63 - 1  # a number that is no seq is stale
MAX_SEQ: Final = NOBODY - 1

# a learner asks for the same columns at every step: they are looked at once
_SEEN_NAMES: set[tuple[str, ...]] = set()
_MOST_SEEN: Final = 256

Keys = list[str] | IntArray


def real(value: object, field: str, low: float, high: float, *, error: type[DwellError] = ReplayError) -> float:
    """Return a finite number in [low, high].

    Raises:
        DwellError: Of the given class, when it is not.
    """
    if type(value) is float:
        number = value
    else:
        is_number = not isinstance(value, bool | np.bool_) and isinstance(value, Real)
        number = _as_float(value) if is_number else math.nan
    if not low <= number <= high:
        raise error(
            f"a number in [{low:g}, {high:g}] is due here",
            field=field,
            value=value,
            hint="Pass a finite int or float in that range.",
        )
    return number


def _as_float(value: Any) -> float:  # noqa: ANN401 - a Real: Fraction, int and numpy scalars all convert
    try:
        return float(value)
    except OverflowError:
        return math.inf


def whole(value: object, field: str, low: int, high: int, *, error: type[DwellError] = ReplayError) -> int:
    """Return an int in [low, high]; floats and booleans are refused.

    Raises:
        DwellError: Of the given class, when it is not.
    """
    if type(value) is int and low <= value <= high:
        return value
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral) or not low <= int(value) <= high:
        raise error(
            f"a whole number in [{low}, {high}] is due here",
            field=field,
            value=value,
            hint="Pass an int in that range.",
        )
    return int(value)


def as_generator(rng: object, own: np.random.Generator) -> np.random.Generator:
    """Return the caller's generator, or the buffer's own where none was given.

    Raises:
        ReplayError: It is something else.
    """
    if rng is None:
        return own
    if not isinstance(rng, np.random.Generator):
        raise ReplayError(
            "a numpy Generator is due here", field="rng", value=rng, hint="Pass numpy.random.default_rng(seed)."
        )
    return rng


def as_keys(keys: object) -> Keys:
    """Return event ids as a list, or seqs as int64 (b,).

    Raises:
        ReplayError: They are neither all texts nor all ints.
    """
    if isinstance(keys, np.ndarray) and keys.dtype == np.int64 and keys.ndim == 1:
        # a copy: what is checked here must still stand when the lock is held
        own = keys.copy()
        return own if own.size == 0 or own.min() > 0 else np.where(own > 0, own, NOBODY)
    if isinstance(keys, Iterable) and not isinstance(keys, str | bytes):
        items = keys.tolist() if isinstance(keys, np.ndarray) and keys.ndim == 1 else list(keys)
        if all(isinstance(item, str) for item in items):
            return items
        if all(not isinstance(item, bool | np.bool_) and isinstance(item, Integral) for item in items):
            return np.array([int(item) if 0 < item < 2**63 else NOBODY for item in items], dtype=np.int64)
    raise ReplayError(
        "event ids or seqs are due here, all of one kind",
        field="event_ids",
        value=keys,
        hint="Pass a list of event ids, or batch.seqs.",
    )


def as_priorities(priorities: object, n_due: int) -> FloatArray:
    """Return priorities as float64 (n_due,), not yet judged one by one.

    Raises:
        ReplayError: They are no numbers, or another number of them.
    """
    if isinstance(priorities, np.ndarray) and priorities.dtype == np.float64 and priorities.shape == (n_due,):
        return priorities.copy()  # what is checked must still stand when the lock is held
    try:
        result = _as_floats(priorities)
    except (TypeError, ValueError, OverflowError) as error:
        raise ReplayError(
            "numbers are due here", field="priorities", value=priorities, hint="Pass floats >= 0."
        ) from error
    if result.shape != (n_due,):
        raise ReplayError(
            f"{n_due} priorities are due, one per event id",
            field="priorities",
            value=result.shape,
            hint="Pass arrays of the same length.",
        )
    return result


def _as_floats(values: object) -> FloatArray:
    """Return numbers as float64, what is beyond it as infinite.

    Raises:
        TypeError: They are no array or list of numbers.
    """
    if hasattr(values, "__array__") and not isinstance(values, np.ma.MaskedArray):
        array = np.asarray(values)
        if array.dtype.kind in "fiu" or not array.size:
            with np.errstate(over="ignore"):
                return np.array(array, dtype=np.float64)
        values = array.tolist() if array.dtype.kind == "O" else None
    is_list = isinstance(values, Sequence) and not isinstance(values, str | bytes)
    if not is_list or not all(isinstance(v, Real) and not isinstance(v, bool | np.bool_) for v in values):  # type: ignore[attr-defined]
        raise TypeError(type(values).__name__)
    return np.array([_as_float(value) for value in values], dtype=np.float64)  # type: ignore[attr-defined]


def row_source(columns: ColumnSpec | Columns | None) -> ColumnSpec | Columns | None:
    """Return None, a `ColumnSpec` or an object that satisfies `Columns`.

    Raises:
        ConfigError: It is something else.
    """
    is_source = all(hasattr(columns, name) for name in ("names", "read", "experience"))
    if columns is None or isinstance(columns, ColumnSpec) or is_source:
        return columns
    raise ConfigError(
        "columns is None, a ColumnSpec or a source of rows",
        field="columns",
        value=columns,
        hint="A source of rows has names, read(seqs, names) and experience(seq).",
    )


def one_of(value: object, field: str, known: Sequence[str]) -> None:
    """Refuse a word that is not among the known ones.

    Raises:
        ReplayError: It is another one.
    """
    if not isinstance(value, str) or value not in known:
        raise ReplayError("there is no such choice", field=field, value=value, hint=f"One of {', '.join(known)}.")


def repeat_cap(replace: object, max_repeats: object, normalisation: object) -> int:
    """Return the most times that one experience may stand in a batch.

    Raises:
        ReplayError: The arguments are malformed or contradict each other.
    """
    if max_repeats is not None:
        cap = whole(max_repeats, "max_repeats", 1, MAX_BATCH)
        if not replace and cap != 1:
            raise ReplayError(
                "without replacement nothing is repeated",
                field="max_repeats",
                value=cap,
                hint="Leave max_repeats out, or pass replace=True.",
            )
    else:
        cap = 1
    if normalisation == "buffer_max":
        raise ReplayError(
            "the maximum over the buffer is that of free repeats",
            field="normalisation",
            value=normalisation,
            hint='Under a cap take "batch_mean", "batch_max" or "none".',
        )
    return cap


def checked_names(columns: Sequence[str] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the columns to read.

    Raises:
        ReplayError: It is no sequence of texts.
    """
    if columns is None:
        return default
    if columns is default or (type(columns) is tuple and columns in _SEEN_NAMES):
        return columns
    if isinstance(columns, str) or not all(isinstance(name, str) for name in columns):
        raise ReplayError(
            "a list of column names is due here", field="columns", value=columns, hint="Pass ['reward', ...]."
        )
    names = tuple(columns)
    if len(_SEEN_NAMES) < _MOST_SEEN:
        _SEEN_NAMES.add(names)
    return names
