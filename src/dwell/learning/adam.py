"""The optimiser: Adam, as a memory that is handed on from step to step.

Source: Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", algorithm 1.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from dwell.records.arrays import FloatArray

__all__ = ["Adam", "adam_step"]

_BETA1: Final = 0.9  # Kingma and Ba 2015, section 2: the paper's own defaults
_BETA2: Final = 0.999
_EPSILON: Final = 1e-8


class Adam(NamedTuple):
    """The optimiser's memory.

    Attributes:
        first: Mean of the slopes.
        second: Mean of their squares.
        n_steps: Steps taken.
    """

    first: FloatArray
    second: FloatArray
    n_steps: int = 0


def adam_step(adam: Adam, slope: FloatArray, step_size: float) -> tuple[Adam, FloatArray]:
    """Return the memory after one more slope, and how far to move uphill; all in the shape of the slope."""
    n_steps = adam.n_steps + 1
    first = _BETA1 * adam.first + (1.0 - _BETA1) * slope
    second = _BETA2 * adam.second + (1.0 - _BETA2) * slope**2
    scale = np.sqrt(second / (1.0 - _BETA2**n_steps)) + _EPSILON
    return Adam(first, second, n_steps), step_size * (first / (1.0 - _BETA1**n_steps)) / scale
