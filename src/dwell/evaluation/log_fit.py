"""Does what was logged fit what judges it? Two checks of judged events that warn and never decide.

The live params judged by the log of the live params: on one half of the events the estimate of what they earn, on the
other half what they earned. And clicks by rank: as many in all as were seen, spread by examination and predicted
relevance, against those that came.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from dwell.evaluation.diagnostics import Finding, click_fit_of, split_half_finding
from dwell.evaluation.judging import JudgedEvent
from dwell.records.arrays import FloatArray, IntArray

__all__ = [
    "ClickMoments",
    "ClickSums",
    "OwnFigures",
    "click_finding",
    "click_moments",
    "click_sums",
    "fit_findings",
    "own_figures",
    "padded_sum",
    "split_half",
]

_LEAST_EVENTS: Final = 200  # of which half estimate: below it a mean of rewards is hardly normal
_LEAST_CLICKS: Final = 10.0  # expected at a rank: the usual rule for a normal approximation of counts
_MATTERS: Final = 0.25  # of the clicks expected: a linear prediction is off by some of it on every log
_ROUNDING: Final = 1e-4  # of rewards kept as float32


def fit_findings(
    events: Sequence[JudgedEvent], rewards: Sequence[FloatArray], theta: FloatArray
) -> tuple[Finding, ...]:
    """Return what does not fit, as "ok" or "warn": "split_half" and "click_fit", as far as the events can tell.

    Args:
        events: Judged events; those whose policy is the one that served have `own`.
        rewards: Per event, float64 (kept,).
        theta: (k,) examination per position.
    """
    sums = click_sums(events, rewards, theta)
    found = (split_half(own_figures(events, rewards)), click_finding(sums, click_moments(events, rewards, theta, sums)))
    return tuple(one for one in found if one is not None)


class OwnFigures(NamedTuple):
    """What events of the live params' own lists say, in the order in which they are bet on; NaN for the others.

    Attributes:
        estimated: float64 (n,), what the estimate says that they earned.
        observed: float64 (n,), what they earned.
    """

    estimated: FloatArray
    observed: FloatArray


def own_figures(events: Sequence[JudgedEvent], rewards: Sequence[FloatArray]) -> OwnFigures:
    """Return the numbers of events."""
    both = zip(events, rewards, strict=True)
    found = [(math.nan, math.nan) if e.own is None else (e.own.difference(c), float(c.sum())) for e, c in both]
    table = np.array(found, dtype=np.float64).reshape(len(found), 2)
    return OwnFigures(table[:, 0], table[:, 1])


def split_half(figures: OwnFigures) -> Finding | None:
    """Return the split-half check of all events' numbers; None where there are too few."""
    is_own = ~np.isnan(figures.estimated)
    if int(is_own.sum()) < _LEAST_EVENTS:
        return None
    finding = split_half_finding(figures.estimated[is_own][::2], figures.observed[is_own][1::2])
    return replace(finding, severity="warn") if finding.severity == "fail" else finding


class ClickSums(NamedTuple):
    """Clicks by rank, over events whose praise was not shared out; additive over parts of the events.

    Attributes:
        n: How many events.
        clicks: float64 (k,), clicks.
        expected: float64 (k,), reward expected.
    """

    n: int
    clicks: FloatArray
    expected: FloatArray

    def plus(self, other: ClickSums) -> ClickSums:
        """Return the sums over the events of both."""
        return ClickSums(self.n + other.n, *(padded_sum(a, b) for a, b in zip(self[1:], other[1:], strict=True)))

    @property
    def ratio(self) -> float:
        """Clicks per reward expected: what a click is worth is not known here, so the totals are made to agree."""
        total = float(self.expected.sum())
        return float(self.clicks.sum()) / total if total > 0.0 else 0.0


class ClickMoments(NamedTuple):
    """Clicks expected by rank, once the totals agree; additive over parts of the events.

    Attributes:
        hoped: float64 (k,), clicks expected.
        variance: float64 (k,), their binomial variance.
    """

    hoped: FloatArray
    variance: FloatArray

    def plus(self, other: ClickMoments) -> ClickMoments:
        """Return the sums over the events of both."""
        return ClickMoments(padded_sum(self.hoped, other.hoped), padded_sum(self.variance, other.variance))


def padded_sum(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the sum of two tables by rank, as long as the longer one."""
    k = max(len(a), len(b))
    found: FloatArray = np.pad(a, (0, k - len(a))) + np.pad(b, (0, k - len(b)))
    return found


class _Told(NamedTuple):
    """Served documents of lists whose praise was not shared out, (m,) each."""

    n: int
    clicks: FloatArray
    expected: FloatArray
    rank: IntArray


def _told(events: Sequence[JudgedEvent], rewards: Sequence[FloatArray], theta: FloatArray) -> _Told:
    told = [(e.expected, c) for e, c in zip(events, rewards, strict=True) if not _is_shared_out(c, theta)]
    nothing = [np.zeros(0)]
    clicks = (np.concatenate(nothing + [c for _, c in told]) > 0.0).astype(np.float64)
    expected = np.maximum(np.concatenate(nothing + [e for e, _ in told]), 0.0)
    rank = np.concatenate([np.zeros(0, dtype=np.int64)] + [np.arange(1, len(c) + 1) for _, c in told])
    return _Told(len(told), clicks, expected, rank)


def _by_rank(rank: IntArray, values: FloatArray) -> FloatArray:
    return np.bincount(rank, values).astype(np.float64)[1:]


def click_sums(events: Sequence[JudgedEvent], rewards: Sequence[FloatArray], theta: FloatArray) -> ClickSums:
    """Return the first round of sums by rank over some events."""
    told = _told(events, rewards, theta)
    return ClickSums(told.n, _by_rank(told.rank, told.clicks), _by_rank(told.rank, told.expected))


def click_moments(
    events: Sequence[JudgedEvent], rewards: Sequence[FloatArray], theta: FloatArray, sums: ClickSums
) -> ClickMoments:
    """Return the second round over the same events, given the sums over all events."""
    told = _told(events, rewards, theta)
    hoped = np.minimum(told.expected * sums.ratio, 1.0)
    return ClickMoments(_by_rank(told.rank, hoped), _by_rank(told.rank, hoped * (1.0 - hoped)))


def click_finding(sums: ClickSums, moments: ClickMoments) -> Finding | None:
    """Return the rank that fits worst; None where too little was clicked or expected to tell."""
    if sums.n < _LEAST_EVENTS or sums.expected.sum() == 0.0 or sums.clicks.sum() == 0.0:
        return None
    rank = np.flatnonzero(moments.hoped >= _LEAST_CLICKS)
    if len(rank) < 2:  # one rank fits by the totals alone
        return None
    found = click_fit_of(rank + 1, sums.clicks[rank], moments.hoped[rank], moments.variance[rank])
    worst = max(found, key=lambda one: abs(one.value))
    k = int(worst.code.rpartition("_")[2])
    ratio = float(sums.clicks[k - 1]) / float(moments.hoped[k - 1])
    is_off = worst.severity != "ok" and abs(ratio - 1.0) > _MATTERS
    return replace(worst, code="click_fit", severity="warn" if is_off else "ok", remedy=worst.remedy if is_off else "")


def _is_shared_out(rewards: FloatArray, theta: FloatArray) -> bool:
    """Return whether a list has praise that was spread over it by examination: it says nothing of who looked."""
    n = min(len(rewards), len(theta))
    if n < 2 or not rewards[0] > 0.0:
        return False
    share = rewards[:n] / theta[:n]
    low, high = float(share.min()), float(share.max())
    return low > 0.0 and math.isfinite(high) and high - low <= _ROUNDING * high
