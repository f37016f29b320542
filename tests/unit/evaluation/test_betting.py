"""Bounds by betting: their arithmetic and their limits; how often they err is in tests/statistical."""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from dwell.evaluation.betting import MAX_BET, log_wealth, lower_bound, upper_bound
from dwell.records.arrays import FloatArray

FLOOR = -3.0


def streams() -> Iterator[FloatArray]:
    rng = np.random.default_rng(0)
    yield rng.normal(0.1, 0.3, 400)
    yield (rng.random(400) < 0.1) * 2.0
    yield np.concatenate([rng.normal(0.5, 0.1, 150), rng.normal(-0.5, 0.4, 250)])
    yield np.clip(rng.standard_t(2, 400), -3.0, 3.0)


def wealth_by_hand(x: FloatArray, mean: float) -> list[float]:
    """One value at a time and one bettor at a time: a bet may look at what came before, and at nothing else."""
    effects = (0.025, 0.05, 0.1, 0.2)
    capital, path = [1.0 / len(effects)] * len(effects), []
    for i, value in enumerate(x):
        seen = x[:i]
        weight = i + 1.0
        average = float(np.sum(seen)) / weight
        spread = math.sqrt(max((float(np.sum(np.square(seen))) + 0.25) / weight - average**2, 1e-12))
        for j, effect in enumerate(effects):
            capital[j] *= 1.0 + min(effect / spread, 0.97 / (mean - FLOOR)) * (value - mean)
        path.append(math.log(sum(capital)))
    return path


@pytest.mark.parametrize("mean", [-1.0, 0.0, 0.2])
def test_wealth_grows_by_bets_fixed_before_each_value(mean: float) -> None:
    x = np.clip(np.random.default_rng(1).normal(0.1, 0.4, 60), FLOOR, None)
    np.testing.assert_allclose(log_wealth(x, mean, floor=FLOOR), wealth_by_hand(x, mean), rtol=1e-9, atol=1e-12)


def test_what_comes_later_does_not_change_what_was() -> None:
    x = np.random.default_rng(2).normal(size=200)
    for n in (1, 50, 199):
        np.testing.assert_array_equal(log_wealth(x[:n], 0.0, floor=FLOOR), log_wealth(x, 0.0, floor=FLOOR)[:n])


def test_ruin_is_impossible() -> None:
    # the worst that can happen: all wealth that may be risked is, and the floor comes
    x = np.array([3.0] * 50 + [FLOOR] * 10)
    wealth = log_wealth(x, 0.0, floor=FLOOR)
    assert np.isfinite(wealth).all()
    assert (np.diff(wealth) >= math.log(1.0 - MAX_BET) - 1e-12).all()


def test_an_expected_bet_on_a_true_mean_gains_nothing() -> None:
    # two-point values around the hypothesis: E[1 + bet (x - m)] is 1 at each step, whatever the history
    low, high, m = -1.0, 2.0, 0.2
    p = (m - low) / (high - low)
    history = np.random.default_rng(3).choice([low, high], size=30)
    before = log_wealth(history, m, floor=FLOOR)[-1]
    after = [log_wealth(np.append(history, x), m, floor=FLOOR)[-1] for x in (low, high)]
    assert (1.0 - p) * math.exp(after[0] - before) + p * math.exp(after[1] - before) == pytest.approx(1.0)


def test_no_value_says_nothing() -> None:
    assert lower_bound(np.zeros(0), 0.05, floor=FLOOR) == FLOOR
    assert upper_bound(np.zeros(0), 0.05, ceiling=3.0) == 3.0
    assert log_wealth(np.zeros(0), 0.0, floor=FLOOR).size == 0


@pytest.mark.parametrize("value", [FLOOR, FLOOR - 100.0])
def test_values_at_or_below_the_floor_leave_the_bound_there(value: float) -> None:
    assert lower_bound(np.full(500, value), 0.05, floor=FLOOR) == FLOOR


def test_values_below_the_floor_count_as_the_floor() -> None:
    x = np.random.default_rng(4).normal(0.5, 1.0, 300)
    x[::50] = -1e9
    assert lower_bound(x, 0.05, floor=FLOOR) == lower_bound(np.maximum(x, FLOOR), 0.05, floor=FLOOR)


@pytest.mark.parametrize("x", list(streams()))
def test_the_bound_is_the_smallest_mean_that_was_never_refuted(x: FloatArray) -> None:
    alpha = 0.05
    bound = lower_bound(x, alpha, floor=FLOOR)
    assert FLOOR <= bound < x.max()
    for m in np.linspace(FLOOR + 1e-3, bound - 1e-6, 40):
        assert log_wealth(x, m, floor=FLOOR).max() >= -math.log(alpha)
    assert log_wealth(x, bound + 1e-6, floor=FLOOR).max() < -math.log(alpha)


@pytest.mark.parametrize("x", list(streams()))
def test_a_smaller_alpha_and_fewer_looks_never_raise_the_bound(x: FloatArray) -> None:
    bounds = [lower_bound(x, alpha, floor=FLOOR) for alpha in (0.5, 0.1, 0.05, 0.01, 1e-6)]
    assert (np.diff(bounds) <= 1e-9).all()
    bounds = [lower_bound(x[:n], 0.05, floor=FLOOR) for n in (1, 10, 100, 400)]
    assert (np.diff(bounds) >= -1e-9).all()


@pytest.mark.parametrize("x", list(streams()))
def test_the_upper_bound_mirrors_the_lower(x: FloatArray) -> None:
    assert upper_bound(x, 0.05, ceiling=2.0) == -lower_bound(-x, 0.05, floor=-2.0)


def test_a_mean_that_changes_on_the_way_refutes_both_ends() -> None:
    x = np.concatenate([np.full(300, 0.5), np.full(600, -0.5)]) + np.random.default_rng(0).normal(0.0, 0.1, 900)
    assert lower_bound(x, 0.05, floor=FLOOR) > 0.0 > upper_bound(x, 0.05, ceiling=3.0)


@pytest.mark.parametrize("x", list(streams()))
def test_wealth_never_rises_with_the_mean_that_is_bet_against(x: FloatArray) -> None:
    # so the means that were never refuted are an interval, and halving it finds its end
    paths = np.array([log_wealth(x, m, floor=FLOOR) for m in np.linspace(FLOOR + 1e-3, 3.0, 60)])
    assert (np.diff(paths, axis=0) <= 1e-9).all()


def test_a_refuted_mean_stays_refuted_whatever_comes() -> None:
    # the bound is the highest so far: a bad spell after a gain was shown does not take it back
    x = np.concatenate([np.full(200, 0.4), np.full(2_000, -0.4)])
    bounds = [lower_bound(x[:n], 0.05, floor=FLOOR) for n in range(10, x.size, 90)]
    assert (np.diff(bounds) >= -1e-9).all()
    assert bounds[-1] > 0.0


@pytest.mark.parametrize("n", [100, 1_000, 10_000])
def test_a_constant_is_bounded_ever_closer(n: int) -> None:
    # once the variance is learned, a bet on m risks at most .9 / (m + 3): wealth (1 + .97 (c - m) / (m + 3))^n
    c = 0.5
    bound = lower_bound(np.full(n, c), 0.05, floor=FLOOR)
    assert bound <= c
    assert c - bound < 4.0 * (math.log(20.0) + 5.0) / n + 0.02
