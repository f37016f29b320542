"""When an item falls below a threshold, what an access is worth later, and how far activation may move a score.

Between events every trace decreases, so that the instant at which base level crosses a threshold is known beforehand:
it goes into an index, and forgetting is a range scan and no sweep over all items. It holds for one decay and one
threshold, until the next event of the item.

Source of the idea: Derbinsky and Laird 2013, Effective and efficient forgetting of learned knowledge in Soar's working
and procedural memories.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from dwell.activation.instants import NEVER_US, US_PER_S
from dwell.activation.ladder import YEAR_S, checked_decay
from dwell.records import checks
from dwell.records.arrays import BoolArray, FloatArray, IntArray

__all__ = ["Bounded", "Worth", "bounded", "first_below", "worth"]

# Later is "never": the plain count of a ladder keeps base level above a low threshold for good.
HORIZON_US: Final = int(100 * YEAR_S) * US_PER_S
_N_STEPS: Final = 100  # per 24 % of elapsed time, 1 s to 100 years: where a curve that is not monotone is looked at


class Worth(NamedTuple):
    """What an access is worth, relative to one of a minute ago: how a decay is shown to people.

    Attributes:
        hour: An hour later, in (0, 1).
        day: A day later.
        year: A year later.
    """

    hour: float
    day: float
    year: float


def worth(decay: float) -> Worth:
    """Return (age / 60 s)^-d for an hour, a day and a year.

    Raises:
        RecordError: The decay is outside [0.1, 0.9].
    """
    d = checked_decay(decay)
    return Worth(*((age_s / 60.0) ** -d for age_s in (3_600.0, 86_400.0, YEAR_S)))


class Bounded(NamedTuple):
    """What activation may add to a score, and what was held back.

    Attributes:
        values: Within [centre - limit, centre + limit].
        n_clipped: How many were outside.
        held_back: Nats that were cut off each, 0 where nothing was; negative where a value was too low.
    """

    values: FloatArray
    n_clipped: int
    held_back: FloatArray


def bounded(values: FloatArray, *, centre: float, limit: float) -> Bounded:
    """Return activations within `limit` nats of the centre, so that decay never silently zeroes what matches well.

    Args:
        values: Nats, any shape; -inf becomes the lower end.
        centre: Nats, finite; that of an item without a history.
        limit: C, nats, > 0.

    Raises:
        RecordError: The centre is not finite or the limit not above 0.
    """
    middle, most = checks.finite(centre, "centre"), checks.within(limit, "limit", 1e-9, 1e6)
    held = np.clip(values, middle - most, middle + most)
    cut = values - held
    return Bounded(held, int(np.count_nonzero(cut)), cut)


def first_below(
    value_at: Callable[[IntArray], FloatArray], begin_us: IntArray, threshold: float, *, is_falling: bool
) -> IntArray:
    """Return the first instant from which on each item is below a threshold, (n,) microseconds; `NEVER_US` for none.

    It is exact to the microsecond. Where the curve may rise in between, it is the first fall that is seen at 100
    instants that are 24 % of elapsed time apart.

    Args:
        value_at: Given (n,) instants, the n values at them.
        begin_us: (n,) instants of the latest event: from there on nothing is added.
        threshold: tau, nats, finite.
        is_falling: Whether every curve only falls, so that bisection alone is right.

    Raises:
        RecordError: The threshold is not finite.
    """
    tau = checks.finite(threshold, "threshold")
    begin = np.asarray(begin_us, dtype=np.int64)
    above, below = begin - 1, begin + HORIZON_US
    never: BoolArray = np.zeros(begin.shape, dtype=np.bool_)
    if is_falling:
        never = value_at(below) >= tau
    else:
        is_open = np.ones(begin.shape, dtype=np.bool_)
        steps = np.concatenate([[0], np.geomspace(US_PER_S, HORIZON_US, _N_STEPS).astype(np.int64)])
        for step in steps.tolist():
            at = begin + step
            is_low = value_at(at) < tau
            below = np.where(is_open & is_low, at, below)
            is_open &= ~is_low
            above = np.where(is_open, at, above)
        never = is_open
    # invariant: above is not below the threshold (or before the beginning), below is
    while (below - above > 1).any():
        middle = above + (below - above) // 2
        is_low = (value_at(np.maximum(middle, begin)) < tau) & (middle >= begin)
        below, above = np.where(is_low, middle, below), np.where(is_low, above, middle)
    return np.where(never, NEVER_US, below)
