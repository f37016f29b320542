"""Sums over parts of the events are the sums over all of them, in any division."""

from collections.abc import Sequence
from functools import reduce

import numpy as np
import pytest

from dwell.evaluation.figures import figures_of
from dwell.evaluation.judging import JudgedEvent
from dwell.evaluation.log_fit import ClickMoments, ClickSums, click_finding, click_moments, click_sums, fit_findings
from dwell.evaluation.prefix import (
    Moments,
    PrefixRatios,
    PrefixSums,
    prefix_difference,
    prefix_moments,
    prefix_of,
    prefix_sums,
)
from dwell.records.arrays import FloatArray

THETA = np.array([1.0, 0.5, 1.0 / 3.0, 0.25])


def log(n: int, *, seed: int = 3) -> tuple[list[JudgedEvent], list[FloatArray]]:
    """Return events of different length, some of which nobody drew, and their rewards."""
    rng = np.random.default_rng(seed)
    events, rewards = [], []
    for i in range(n):
        k = 1 + i % 4
        is_drawn = i % 7 != 0
        events.append(
            JudgedEvent(
                seq=i,
                direct=float(rng.normal()),
                slope=rng.normal(size=k),
                expected=rng.random(k) * 0.3,
                prefix=np.exp(rng.normal(size=k) * 0.3) if is_drawn else None,
                safe_prefix=np.ones(k) if is_drawn else None,
                importance=1.0,
                unsupported=0.0,
            )
        )
        rewards.append((rng.random(k) < 0.3).astype(float))
    return events, rewards


def parts(items: Sequence[object]) -> list[list[int]]:
    """Return places of three uneven parts, one of which is empty, in no order of the whole."""
    return [[], list(range(0, len(items), 3)), [i for i in range(len(items)) if i % 3][::-1]]


def test_moments_of_parts_are_those_of_all() -> None:
    values = np.random.default_rng(1).normal(5.0, 2.0, 1_001)
    found = reduce(Moments.plus, (Moments.of(values[part]) for part in parts(values)))
    assert (found.n, found.mean) == (1_001, pytest.approx(values.mean(), rel=1e-13))
    assert found.error_of_mean == pytest.approx(values.std(ddof=1) / np.sqrt(values.size), rel=1e-12)
    assert Moments().plus(Moments()) == Moments()


def test_the_prefix_estimate_of_parts_is_that_of_all() -> None:
    events, rewards = log(300)
    some = [([events[i] for i in part], [rewards[i] for i in part]) for part in parts(events)]
    ratios = PrefixRatios.of(reduce(PrefixSums.plus, (prefix_sums(*one) for one in some)))
    assert ratios is not None
    moments = reduce(Moments.plus, (prefix_moments(*one, ratios) for one in some))
    assert prefix_of(ratios, moments) == pytest.approx(prefix_difference(events, rewards), rel=1e-12)
    # an independent way to the value: position by position, each as often as it was shown
    drawn = [(e, c) for e, c in zip(events, rewards, strict=True) if e.prefix is not None]
    value = 0.0
    for k in range(4):
        at = [(e.prefix[k], e.safe_prefix[k], c[k]) for e, c in drawn if len(c) > k]  # type: ignore[index]
        new, safe, credit = (np.array(column) for column in zip(*at, strict=True))
        value += ((new * credit).sum() / new.sum() - (safe * credit).sum() / safe.sum()) * len(at) / len(drawn)
    assert ratios.value == pytest.approx(value, rel=1e-12)


def test_clicks_by_rank_of_parts_are_those_of_all() -> None:
    events, rewards = log(600)
    some = [([events[i] for i in part], [rewards[i] for i in part]) for part in parts(events)]
    sums = reduce(ClickSums.plus, (click_sums(*one, THETA) for one in some))
    moments = reduce(ClickMoments.plus, (click_moments(*one, THETA, sums) for one in some))
    found, (expected,) = click_finding(sums, moments), fit_findings(events, rewards, THETA)
    assert found is not None
    assert (found.code, found.severity) == (expected.code, expected.severity) == ("click_fit", found.severity)
    assert found.value == pytest.approx(expected.value, rel=1e-12)


def test_too_few_drawn_events_say_nothing() -> None:
    events, rewards = log(300)
    assert PrefixRatios.of(prefix_sums(events[:2], rewards[:2])) is None
    assert figures_of(events[:1], rewards[:1]).prefix is None
    assert figures_of([], []).mean("forgone") == 0.0
