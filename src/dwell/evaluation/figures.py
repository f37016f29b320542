"""Judged events in numbers: what the gate reads of each of them, whoever holds the event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dwell.evaluation.judging import JudgedEvent, differences, end_differences
from dwell.evaluation.prefix import Prefix, prefix_difference
from dwell.records.arrays import FloatArray

__all__ = ["Figures", "figures_of"]


class Figures(NamedTuple):
    """Numbers of n judged events in the order in which they are bet on, and what needs all of them together.

    Attributes:
        differences: float64 (n,), estimated difference of each.
        ends: float64 (n, m), the same at the ends of the examination's band.
        importance: float64 (n,), see `JudgedEvent`, as are the following three.
        unsupported: float64 (n,).
        clipped: float64 (n,).
        forgone: float64 (n,).
        prefix: The estimate by prefix weights: value, standard error, n, effective sample size; None where it can not
            be read.
    """

    differences: FloatArray
    ends: FloatArray
    importance: FloatArray
    unsupported: FloatArray
    clipped: FloatArray
    forgone: FloatArray
    prefix: Prefix | None

    def mean(self, name: str) -> float:
        """Return the mean of one of them, 0 where there is no event."""
        values = getattr(self, name)
        return float(np.mean(values)) if len(values) else 0.0


def figures_of(events: Sequence[JudgedEvent], rewards: Sequence[FloatArray]) -> Figures:
    """Return the numbers of events, given the rewards of each one's served documents."""
    return Figures(
        differences=differences(events, rewards),
        ends=end_differences(events, rewards),
        importance=np.array([e.importance for e in events], dtype=np.float64),
        unsupported=np.array([e.unsupported for e in events], dtype=np.float64),
        clipped=np.array([e.clipped for e in events], dtype=np.float64),
        forgone=np.array([e.forgone for e in events], dtype=np.float64),
        prefix=prefix_difference(events, rewards),
    )
