"""Names for the array types that stand in signatures."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["BoolArray", "Float32Array", "FloatArray", "HashArray", "IntArray", "frozen", "one_by_one"]

FloatArray: TypeAlias = npt.NDArray[np.float64]
Float32Array: TypeAlias = npt.NDArray[np.float32]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
HashArray: TypeAlias = npt.NDArray[np.uint64]


def frozen(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return the same array, marked read-only, so that a shared value can not change under a reader."""
    array.flags.writeable = False
    return array


def one_by_one(array: npt.NDArray[Any]) -> Any:  # noqa: ANN401 - a number of the array's kind, by index
    """Return the same memory for reading and writing single Python numbers, at half of what an array asks for one."""
    return memoryview(array)  # type: ignore[arg-type]  # numpy arrays are buffers from Python 3.12 on for mypy
