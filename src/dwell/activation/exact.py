r"""Base level without approximation: the whole history is kept.

B = ln sum_j age_j^-d, the log of need odds in ACT-R, ages in seconds, natural logarithm. Another unit shifts every B by
the same: B_days = B_seconds + d ln 86400.

"Optimized learning" replaces the history by its count and its beginning, as if the n accesses were spread evenly:
B = ln(n / (1 - d)) - d ln L. Off by 0.8 nats on average over histories that are not even, and not monotone in d.

Source: Anderson and Lebiere 1998, The Atomic Components of Thought, chapter 4; agrees with pyactup 2.2.5 (its exact and
its `optimized_learning=True`) within 1e-9.
"""

from __future__ import annotations

import numpy as np

from dwell.errors import RecordError
from dwell.records import checks
from dwell.records.arrays import FloatArray

__all__ = ["base_level", "checked_ages", "optimized_base_level"]


def checked_ages(ages_s: object, field: str = "ages_s") -> FloatArray:
    """Return ages as float64 (n,), n >= 1, each finite and > 0.

    Raises:
        RecordError: There is none, or one is not a positive number: a power law has no value at age 0.
    """
    array = np.asarray(ages_s)
    if array.dtype.kind not in "fiu" or array.ndim != 1 or array.size == 0:
        raise RecordError(
            "one or more ages in seconds are due here",
            code="type",
            field=field,
            value=ages_s,
            hint="Pass a list of positive numbers.",
        )
    ages: FloatArray = array.astype(np.float64)
    is_bad = ~(np.isfinite(ages) & (ages > 0.0))
    if is_bad.any():
        place = int(is_bad.argmax())
        raise RecordError(
            "an age is a finite number above 0",
            code="range",
            field=f"{field}[{place}]",
            value=float(ages[place]),
            hint="A power law has no value at age 0; traces have.",
        )
    return ages


def checked_exponent(decay: object) -> float:
    """Return d in [0, 1): the exact formulas hold beyond the range of the ladders.

    Raises:
        RecordError: It is outside.
    """
    d = checks.within(decay, "decay", 0.0, 1.0)
    if d == 1.0:
        raise RecordError("the decay is not below 1", code="range", field="decay", value=decay, hint="0.5 is usual.")
    return d


def base_level(ages_s: object, decay: float = 0.5, *, amounts: object = None) -> float:
    """Return B = ln sum_j amount_j age_j^-d in nats.

    Args:
        ages_s: (n,) seconds, each > 0.
        decay: d in [0, 1).
        amounts: (n,) weight of each access, >= 0, not all 0; 1 each when not given.

    Raises:
        RecordError: An age is not above 0, an amount negative, the decay outside its range.
    """
    ages, d = checked_ages(ages_s), checked_exponent(decay)
    if amounts is None:
        return float(np.log(np.sum(ages**-d)))
    weights = np.asarray(amounts, dtype=np.float64)
    if weights.shape != ages.shape or not np.isfinite(weights).all() or (weights < 0.0).any() or not weights.any():
        raise RecordError(
            "one amount >= 0 per age is due, not all 0",
            code="range",
            field="amounts",
            value=amounts,
            hint="Leave it out where every access counts 1.",
        )
    return float(np.log(np.sum(weights * ages**-d)))


def optimized_base_level(n_accesses: int, lifetime_s: float, decay: float = 0.5) -> float:
    """Return B = ln(n / (1 - d)) - d ln L in nats, as if accesses were spread evenly over the lifetime.

    Args:
        n_accesses: n >= 1.
        lifetime_s: L, the age of the first access, > 0. (Not of the latest: pyactr 0.3.2 takes that.)
        decay: d in [0, 1).

    Raises:
        RecordError: An argument is out of its range.
    """
    n, d = checks.positive_integer(n_accesses, "n_accesses"), checked_exponent(decay)
    lifetime = checked_ages([lifetime_s], "lifetime_s")[0]
    return float(np.log(n / (1.0 - d)) - d * np.log(lifetime))
