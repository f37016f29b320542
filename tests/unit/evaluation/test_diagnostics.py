"""Each check on numbers worked out by hand, on both sides of its threshold."""

import math

import numpy as np
import pytest

from dwell.errors import EvaluationError
from dwell.evaluation import diagnostics as dg


def test_equal_weights_are_worth_all_events_and_one_heavy_weight_one() -> None:
    ess, share = dg.weight_concentration(np.ones(100), "exposure")
    assert (ess.severity, ess.value, share.severity, share.value) == ("ok", 1.0, "ok", 0.01)
    assert ess.remedy == ""
    ess, share = dg.weight_concentration(np.eye(100)[0], "exposure")
    assert (ess.severity, ess.value, share.severity, share.value) == ("fail", 0.01, "warn", 1.0)
    assert ess.remedy
    assert share.remedy


def test_the_threshold_of_the_mean_weight_is_three_standard_errors() -> None:
    # half at 1 + g - 1, half at 1 + g + 1: standard error 1 / sqrt(n - 1)
    for gap, severity in ((2.9, "ok"), (3.1, "fail"), (-3.1, "fail")):
        g = gap / math.sqrt(99)
        found = dg.mean_weight(np.where(np.arange(100) % 2, 2.0, 0.0) + max(g, 0.0) if g > 0 else _below(g))
        assert found.value == pytest.approx(gap)
        assert found.severity == severity


def _below(g: float) -> np.ndarray:
    # the same with a spread of 1/2, which leaves room above 0: twice as many standard errors for half of the gap
    return np.where(np.arange(100) % 2, 1.5, 0.5) + g / 2.0


def test_masses_have_their_thresholds() -> None:
    assert dg.mass_share(0.04, "clipped").severity == "ok"
    assert dg.mass_share(0.06, "clipped").severity == "warn"
    assert dg.mass_share(0.06, "unsupported").severity == "ok"
    with pytest.raises(EvaluationError):
        dg.mass_share(1.1, "clipped")


def test_the_click_fit_names_the_rank_that_does_not_fit() -> None:
    rank = np.repeat([1, 2], 100)
    clicks = np.where(np.arange(200) % 2, 1.0, 0.0)
    first, second = dg.click_fit(clicks, np.where(rank == 1, 0.5, 0.2), rank)
    assert (first.value, first.severity) == (0.0, "ok")
    assert second.value == pytest.approx((50 - 20) / math.sqrt(100 * 0.2 * 0.8))
    assert (second.code, second.severity) == ("click_fit_2", "warn")


def test_estimates_are_compared_in_pairs() -> None:
    wide = np.random.default_rng(0).normal(0.0, 100.0, 50)
    alternating = np.where(np.arange(50) % 2, 0.3, -0.1)
    assert dg.agreement(wide, wide).severity == "ok"
    found = dg.agreement(wide + alternating, wide)
    assert found.value == pytest.approx(0.1 / (0.2 / 7.0))
    assert found.severity == "warn"


def test_halves_are_compared_by_both_their_errors() -> None:
    # variances 1 * 100/99 over 100 and 0.25 * 50/49 over 50
    estimated, observed = np.where(np.arange(100) % 2, 3.0, 1.0), np.where(np.arange(50) % 2, 2.0, 1.0)
    error = math.sqrt(1 / 99 + 0.25 / 49)
    found = dg.split_half_finding(estimated, observed)
    assert (found.code, found.severity) == ("split_half", "fail")
    assert found.value == pytest.approx(0.5 / error)
    assert dg.split_half_finding(estimated + 2.9 * error - 0.5, observed).severity == "ok"
    assert dg.split_half_finding(estimated - 2.9 * error - 0.5, observed).severity == "ok"
    assert dg.split_half_finding(estimated - 3.1 * error - 0.5, observed).severity == "fail"
    assert dg.split_half_finding(np.ones(3), np.ones(2)).value == 0.0
    assert dg.split_half_finding(np.ones(3), np.zeros(2)).value == math.inf
    for bad in (np.ones(1), np.array([1.0, math.nan]), np.ones((2, 2))):
        with pytest.raises(EvaluationError, match="finite") as caught:
            dg.split_half_finding(np.ones(3), bad)
        assert caught.value.field == "observed"
        with pytest.raises(EvaluationError) as caught:
            dg.split_half_finding(bad, np.ones(3))
        assert caught.value.field == "estimated"


def test_what_is_no_sample_is_refused() -> None:
    for bad in (np.array([1.0]), np.array([1.0, math.nan]), np.array([1.0, -1.0])):
        with pytest.raises(EvaluationError):
            dg.mean_weight(bad)
