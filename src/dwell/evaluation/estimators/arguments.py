"""What an estimator is given, as float64 arrays of one shape, or refused by name. Nothing is ever adjusted."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dwell.errors import EvaluationError, RecordError
from dwell.records import checks
from dwell.records.arrays import BoolArray, FloatArray

__all__ = ["at_least", "flags", "number", "positive", "probabilities", "propensities", "reals", "refused"]

_ROUNDING: Final = 1e-9  # probabilities are sums of rounded numbers: by so much they may exceed 1
_NO_LOGARITHMS: Final = "Pass probabilities, not logarithms."


def number(value: object, field: str) -> float:
    """Return a finite real number.

    Raises:
        EvaluationError: It is none.
    """
    try:
        return checks.finite(value, field)
    except RecordError as error:
        raise EvaluationError(error.message, code=error.code, field=field, value=value, hint=error.hint) from None


def at_least(value: object, field: str, low: float, *, most: float = np.inf) -> float:
    """Return a real number in [low, most].

    Raises:
        EvaluationError: It is none, or out of range.
    """
    found = number(value, field)
    if not low <= found <= most:
        raise EvaluationError(
            f"the number is outside [{low:g}, {most:g}]", code="range", field=field, value=value, hint="Correct it."
        )
    return found


def positive(value: object, field: str) -> float:
    """Return a finite number above 0.

    Raises:
        EvaluationError: It is none.
    """
    found = number(value, field)
    if found <= 0.0:
        raise EvaluationError(
            "the number is not above 0", code="range", field=field, value=value, hint="Pass 10.0, or leave it out."
        )
    return found


def refused(what: str, field: str, array: npt.NDArray[Any], is_wrong: BoolArray, *, code: str, hint: str) -> None:
    """Raise for the first wrong element, named by its index; return where there is none."""
    if not is_wrong.any():
        return
    index = tuple(int(i) for i in np.argwhere(is_wrong)[0])
    raise EvaluationError(
        what,
        code=code,
        field=f"{field}[{', '.join(map(str, index))}]",
        value=array[index].item(),
        hint=hint,
    )


def _shaped(value: object, field: str, shape: tuple[int, ...] | None, n_axes: int) -> npt.NDArray[Any]:
    array = np.asarray(value)
    if array.ndim != n_axes or (shape is not None and array.shape != shape):
        due = f"shape {shape}" if shape is not None else f"{n_axes} axes"
        raise EvaluationError(
            f"an array of {due} is due here",
            code="shape",
            field=field,
            value=array.shape,
            hint="One row per event, and the same shape as the rewards.",
        )
    return array


def reals(value: object, field: str, *, shape: tuple[int, ...] | None = None, n_axes: int = 1) -> FloatArray:
    """Return finite numbers as float64.

    Args:
        value: What was given.
        field: Its name.
        shape: What its shape must be, or None.
        n_axes: How many axes it must have where no shape is given.

    Raises:
        EvaluationError: It is no array of numbers, of another shape, or not finite.
    """
    array = _shaped(value, field, shape, len(shape) if shape is not None else n_axes)
    if array.dtype.kind not in "fiu":
        raise EvaluationError(
            "numbers are due here",
            code="type",
            field=field,
            value=str(array.dtype),
            hint="Pass floats or integers, not booleans, objects or text.",
        )
    found = array.astype(np.float64)
    refused(
        "the number is not finite",
        field,
        found,
        ~np.isfinite(found),
        code="non_finite",
        hint="Leave such events out.",
    )
    return found


def probabilities(value: object, field: str, *, shape: tuple[int, ...]) -> FloatArray:
    """Return numbers in [0, 1] as float64.

    Raises:
        EvaluationError: As `reals`, or a number is outside.
    """
    found = reals(value, field, shape=shape)
    wrong = (found < 0.0) | (found > 1.0 + _ROUNDING)
    refused("a probability is in [0, 1]", field, found, wrong, code="range", hint=_NO_LOGARITHMS)
    return found


def propensities(value: object, field: str, *, shape: tuple[int, ...], where: BoolArray | None = None) -> FloatArray:
    """Return numbers in (0, 1] as float64; what is not asked for by `where` comes back as 1.

    Raises:
        EvaluationError: As `reals`, or a number is zero or outside.
    """
    array = _shaped(value, field, shape, len(shape))
    if where is not None and array.dtype.kind in "fiu":
        array = np.where(where, array, 1.0)  # padding may hold anything, NaN included
    found = reals(array, field, shape=shape)
    refused(
        "a propensity is zero: the logging policy can not have shown this",
        field,
        found,
        found == 0.0,
        code="zero_propensity",
        hint="Log the probability with which the document was drawn; what is never drawn can not be judged.",
    )
    wrong = (found < 0.0) | (found > 1.0 + _ROUNDING)
    refused("a propensity is in (0, 1]", field, found, wrong, code="range", hint=_NO_LOGARITHMS)
    return found


def flags(value: object, field: str, *, shape: tuple[int, ...]) -> BoolArray:
    """Return booleans.

    Raises:
        EvaluationError: They are none, or of another shape.
    """
    array = _shaped(value, field, shape, len(shape))
    if array.dtype != np.bool_:
        raise EvaluationError(
            "booleans are due here",
            code="type",
            field=field,
            value=str(array.dtype),
            hint="Compare first: actions == logged.",
        )
    return array
