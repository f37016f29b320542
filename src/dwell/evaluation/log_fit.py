"""Does what was logged fit what judges it? Two checks of judged events that warn and never decide.

The live params judged by the log of the live params: on one half of the events the estimate of what they earn, on the
other half what they earned. And clicks by rank: as many in all as were seen, spread by examination and predicted
relevance, against those that came.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from dwell.evaluation.diagnostics import Finding, click_fit, split_half_finding
from dwell.evaluation.judging import JudgedEvent
from dwell.records.arrays import FloatArray

__all__ = ["fit_findings"]

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
    found = (_split_half(events, rewards), _click_fit(events, rewards, theta))
    return tuple(one for one in found if one is not None)


def _split_half(events: Sequence[JudgedEvent], rewards: Sequence[FloatArray]) -> Finding | None:
    own = [(e.own, c) for e, c in zip(events, rewards, strict=True) if e.own is not None]
    if len(own) < _LEAST_EVENTS:
        return None
    estimated = np.array([contribution.difference(c) for contribution, c in own[::2]])
    observed = np.array([float(c.sum()) for _, c in own[1::2]])
    finding = split_half_finding(estimated, observed)
    return replace(finding, severity="warn") if finding.severity == "fail" else finding


def _click_fit(events: Sequence[JudgedEvent], rewards: Sequence[FloatArray], theta: FloatArray) -> Finding | None:
    """Return the rank that fits worst; None where too little was clicked or expected to tell."""
    told = [(e.expected, c) for e, c in zip(events, rewards, strict=True) if not _is_shared_out(c, theta)]
    if len(told) < _LEAST_EVENTS:
        return None
    clicks = (np.concatenate([c for _, c in told]) > 0.0).astype(np.float64)
    expected = np.maximum(np.concatenate([e for e, _ in told]), 0.0)
    rank = np.concatenate([np.arange(1, len(c) + 1) for _, c in told])
    if expected.sum() == 0.0 or clicks.sum() == 0.0:
        return None
    # a prediction is of reward, and of what a click is worth nothing is known here: the totals are made to agree
    expected = np.minimum(expected * (clicks.sum() / expected.sum()), 1.0)
    by_rank = np.bincount(rank, expected)
    is_read = by_rank[rank] >= _LEAST_CLICKS
    if len(np.unique(rank[is_read])) < 2:  # one rank fits by the totals alone
        return None
    found = click_fit(clicks[is_read], expected[is_read], rank[is_read])
    worst = max(found, key=lambda one: abs(one.value))
    k = int(worst.code.rpartition("_")[2])
    ratio = float(clicks[rank == k].sum()) / float(by_rank[k])
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
