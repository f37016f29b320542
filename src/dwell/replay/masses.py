"""What every experience weighs on the line that is drawn from, as numbers: the laws of priority and recency.

One buffer and the shards of many draw by the same masses, made here. What all who share a line have to agree on, the
unit of priorities and the shift of recencies, is a value of its own.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from dwell.records.arrays import FloatArray

__all__ = ["LEAST_BITS", "MOST_BITS", "PriorityUnit", "power_sum", "priority_scale", "priority_unit", "recency_masses"]

MOST_BITS: Final = 52  # a sum of units beyond it is rescaled: up to 2^53 it was exact, and all sums are made anew
GRID_BITS: Final = 6  # units are powers of 64, so that one suits each sum: the tree depends on no history
LEAST_BITS: Final = MOST_BITS - GRID_BITS  # a sum below it is rescaled: a unit is then at most 1.4e-14 of the whole
SAFE_EXPONENT: Final = 500.0  # log2 of a power within it neither overflows nor underflows, nor does its sum


class PriorityUnit(NamedTuple):
    """In what priorities are measured.

    Attributes:
        alpha: Exponent, >= 0.
        scale: Priorities count (priority / 2^scale)^alpha.
        unit: A whole unit is 2^-unit of that.
        factor: 2^unit.
        most: The priority whose mass alone is 2^54 units: beyond it there is no need to tell masses apart.
    """

    alpha: float
    scale: int
    unit: int
    factor: float
    most: float

    @classmethod
    def of(cls, alpha: float, scale: int, unit: int) -> PriorityUnit:
        """Return the unit of these three."""
        log2_most = (54 - unit) / alpha + scale if alpha else 1023.0
        return cls(alpha, scale, unit, 2.0**unit, 2.0 ** min(max(log2_most, -1022.0), 1023.0))

    def masses(self, priorities: FloatArray) -> FloatArray:
        """Return whole units, at least one where the priority is above 0; 2^53 and more where they are too many."""
        # never beyond float64; such a mass is found in the total, and a new unit chosen
        bounded = np.minimum(priorities, self.most)
        if self.scale:
            bounded = np.ldexp(bounded, -self.scale)
        # 0 ** 0 is 1 in floating point; a zero priority stays out at every alpha
        units: FloatArray = bounded**self.alpha if self.alpha else (bounded > 0.0).astype(np.float64)
        units *= self.factor
        np.rint(units, out=units)
        np.maximum(units, priorities > 0.0, out=units)
        return units


def priority_scale(largest: float, alpha: float) -> int:
    """Return the scale for priorities up to `largest` > 0: 0 unless their powers leave float64."""
    is_safe = abs(alpha * np.log2(largest)) <= SAFE_EXPONENT
    return 0 if is_safe else int(np.frexp(largest)[1])


def power_sum(priorities: FloatArray, alpha: float, scale: int) -> float:
    """Return the sum of (priority / 2^scale)^alpha over priorities above 0; for alpha 0 their number."""
    if not alpha:
        return float(np.count_nonzero(priorities))
    return float(np.power(np.ldexp(priorities, -scale), alpha).sum())


def priority_unit(total: float) -> int:
    """Return the power of 64, as its exponent of 2, with which a sum of powers > 0 is in [2^46, 2^52) units."""
    exponent = int(np.frexp(total)[1])  # total < 2^exponent
    return (MOST_BITS - exponent) // GRID_BITS * GRID_BITS


def recency_masses(timestamps: FloatArray, half_life_s: float, shift: int) -> FloatArray:
    """Return 2^(timestamp / half_life - shift), 0 where that underflows; another shift changes no bit of the law."""
    # a remainder is exact: what is lost of the fraction is one rounding, however far from the epoch
    whole, rest = np.divmod(timestamps, half_life_s)
    return np.ldexp(np.exp2(rest / half_life_s), (whole - shift).astype(np.int64))
