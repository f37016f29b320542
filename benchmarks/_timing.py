"""Who is faster, and by how much: calls of several systems in turn, and the ratio of their costs with its interval.

Absolute times of one machine move by a factor of two within a day; ratios of calls that ran next to each other do not.
So every round runs every contestant, beginning with another one each time, and what is compared is the ratio within a
round.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

COVERAGE: Final = 0.95  # at least this much of the distribution of the median lies within an interval


class Contestant(NamedTuple):
    """One thing that is timed.

    Attributes:
        name: Unique within a race.
        prepare: Given a number of calls, the input of each of them: fresh every round, made outside the timing.
        call: What is timed; given one input.
        n_calls: Calls per round.
    """

    name: str
    prepare: Callable[[int], Sequence[Any]]
    call: Callable[[Any], object]
    n_calls: int


class Interval(NamedTuple):
    """A median over rounds and between what it lies with at least 95 % confidence, where there are enough rounds.

    Attributes:
        value: Median.
        low: Lower end; the smallest of fewer than six rounds.
        high: Upper end; the largest of fewer than six rounds.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_figures(self.value)} ({_figures(self.low)} to {_figures(self.high)})"


def race(
    contestants: Sequence[Contestant], *, n_rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, FloatArray]:
    """Return the seconds per call of each contestant in each round, (n_rounds,); a first round is thrown away.

    Args:
        contestants: With different names.
        n_rounds: Rounds, >= 1.
        clock: CPU time of the process with all its threads, unless the disk is what is measured.
    """
    seconds = {contestant.name: np.empty(n_rounds) for contestant in contestants}
    for i in range(-1, n_rounds):
        first = i % len(contestants)
        for contestant in (*contestants[first:], *contestants[:first]):
            inputs = contestant.prepare(contestant.n_calls)
            call = contestant.call
            began = clock()
            for one in inputs:
                call(one)
            ended = clock()
            if i >= 0:
                seconds[contestant.name][i] = (ended - began) / len(inputs)
    return seconds


def interval(values: FloatArray) -> Interval:
    """Return the median and its distribution-free interval: the order statistics that hold it in 95 % of cases.

    With n values the k-th smallest and k-th largest enclose the median with probability 1 - 2 P(Binomial(n, 1/2) < k):
    the 2nd and the 8th of nine in 96 %.
    """
    ordered = np.sort(values)
    n = ordered.size
    k, outside = 1, 0.0
    while k <= n // 2:
        outside += math.comb(n, k - 1) / 2.0**n
        if 1.0 - 2.0 * outside < COVERAGE:
            break
        k += 1
    k = max(k - 1, 1)
    return Interval(float(np.median(ordered)), float(ordered[k - 1]), float(ordered[n - k]))


def ratio(theirs: FloatArray, ours: FloatArray) -> Interval:
    """Return how many times as much theirs costs, round by round."""
    return interval(theirs / ours)


def verdict(found: Interval, bar: float, *, at_least: bool = True) -> str:
    """Return "met" or "not met" where the whole interval is on one side of the bar, else "tie" and where the median is.

    Args:
        found: What was measured.
        bar: What was promised.
        at_least: Whether more is better.
    """
    low, high, value = found.low - bar, found.high - bar, found.value - bar
    if not at_least:
        low, high, value = -high, -low, -value
    if low >= 0.0:
        return "met"
    if high < 0.0:
        return "**not met**"
    return "tie, median met" if value >= 0.0 else "tie, median **not met**"


def _figures(value: float) -> str:
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.3g}"
