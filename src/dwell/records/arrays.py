"""Names for the array types that stand in signatures."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["BoolArray", "Float32Array", "FloatArray", "IntArray", "frozen"]

FloatArray: TypeAlias = npt.NDArray[np.float64]
Float32Array: TypeAlias = npt.NDArray[np.float32]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]


def frozen(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return the same array, marked read-only, so that a shared value can not change under a reader."""
    array.flags.writeable = False
    return array
