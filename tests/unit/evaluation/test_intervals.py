"""Fixed-n intervals against scipy, and against their formulas worked out by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from dwell.errors import EvaluationError
from dwell.evaluation import intervals as iv

X = np.array([0.0, 0.1, 0.4, 0.4, 1.0, 0.2])


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.5])
def test_normal_and_student_are_those_of_scipy(alpha: float) -> None:
    error = X.std(ddof=1) / math.sqrt(X.size)
    assert iv.normal(X, alpha) == pytest.approx(stats.norm.interval(1 - alpha, X.mean(), error), abs=1e-7)
    assert iv.student(X, alpha) == pytest.approx(stats.t.interval(1 - alpha, X.size - 1, X.mean(), error), abs=1e-9)


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (7, 7), (3, 10), (1, 1_000), (49_000, 100_000)])
@pytest.mark.parametrize("alpha", [0.01, 0.1])
def test_proportions_are_those_of_scipy(hits: int, n: int, alpha: float) -> None:
    for ours, method in ((iv.clopper_pearson, "exact"), (iv.wilson, "wilson")):
        expected = stats.binomtest(hits, n).proportion_ci(1 - alpha, method=method)
        assert ours(hits, n, alpha) == pytest.approx((expected.low, expected.high), abs=1e-8)


def test_a_ratio_to_ones_is_a_mean() -> None:
    assert iv.normal_ratio(X, np.ones(6), 0.05) == pytest.approx(iv.normal(X, 0.05))


def test_bounded_intervals_follow_their_formulas() -> None:
    low, high = iv.hoeffding(X, 0.05, low=-1.0, high=2.0)
    assert high - low == pytest.approx(2 * 3 * math.sqrt(math.log(40) / 12))
    low, high = iv.empirical_bernstein(X, 0.05, low=-1.0, high=2.0)
    half = math.sqrt(2 * X.var(ddof=1) * math.log(80) / 6) + 7 * 3 * math.log(80) / 15
    assert (low, high) == pytest.approx((X.mean() - half, X.mean() + half))


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, math.nan, True])
def test_a_level_that_is_none_is_refused(alpha: float) -> None:
    with pytest.raises(EvaluationError, match="alpha"):
        iv.normal(X, alpha)


def test_values_that_can_not_be_judged_are_refused() -> None:
    for x in (np.array([1.0]), np.array([1.0, math.nan]), np.ones((2, 2)), np.array([0.0, 1.5])):
        with pytest.raises(EvaluationError):
            iv.hoeffding(x, 0.05, low=0.0, high=1.0)
    with pytest.raises(EvaluationError):
        iv.wilson(3, 2, 0.05)
