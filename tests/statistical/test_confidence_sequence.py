"""How often bounds by betting err, with a look at every step. Seeds are fixed; the stated rates are those of a seed."""

import numpy as np
import pytest
from scipy import stats

from dwell.evaluation.betting import log_wealth, lower_bound, upper_bound
from dwell.records.arrays import FloatArray

pytestmark = pytest.mark.statistical

ALPHA = 0.05
N_RUNS = 400
# of 400 runs at the promised rate, so many or more err with probability 1e-4
TOO_MANY = int(stats.binom.isf(1e-4, N_RUNS, ALPHA)) + 1


def click_difference(rng: np.random.Generator, n: int) -> FloatArray:
    """What a doubly robust difference looks like: mostly small, now and then a click counted twice."""
    shown = rng.normal(0.0, 0.15, n)
    return shown + (rng.random(n) < 0.05) * rng.choice([-1.5, 1.5], size=n)


def skewed(rng: np.random.Generator, n: int) -> FloatArray:
    # rare losses pay for common gains: the mean looks positive until the loss comes
    return np.where(rng.random(n) < 0.02, -2.45, 0.05)


def drifting(rng: np.random.Generator, n: int) -> FloatArray:
    """A null that wanders: each value has mean 0 given the past, its spread depends on the last one."""
    z = rng.choice([-1.0, 1.0], size=n)
    spread = np.where(np.concatenate([[1.0], z[:-1]]) > 0.0, 0.8, 0.1)
    return z * spread


NULLS = {"clicks": click_difference, "rare losses": skewed, "changing spread": drifting}


@pytest.mark.parametrize("name", NULLS)
def test_looking_at_every_step_refutes_a_true_null_at_most_as_often_as_promised(name: str) -> None:
    rng = np.random.default_rng(1)
    n_false = 0
    for _ in range(N_RUNS):
        x = NULLS[name](rng, 2_000)
        assert x.min() >= -3.0
        n_false += log_wealth(x, 0.0, floor=-3.0).max() >= -np.log(ALPHA)
    print(f"{name}: {n_false} of {N_RUNS} nulls refuted, {TOO_MANY} would be too many")
    assert n_false < TOO_MANY


def test_a_mean_below_the_hypothesis_is_refuted_even_less() -> None:
    rng = np.random.default_rng(2)
    n_false = sum(
        log_wealth(click_difference(rng, 2_000) - 0.02, 0.0, floor=-3.0).max() >= -np.log(ALPHA) for _ in range(N_RUNS)
    )
    assert n_false < TOO_MANY


def test_the_interval_covers_the_mean_at_both_ends() -> None:
    rng = np.random.default_rng(3)
    too_high = too_low = 0
    for _ in range(150):
        x = np.clip(click_difference(rng, 1_000) + 0.1, -3.0, 3.0)
        too_high += lower_bound(x, ALPHA, floor=-3.0) > 0.1
        too_low += upper_bound(x, ALPHA, ceiling=3.0) < 0.1
    limit = stats.binom.isf(1e-4, 150, ALPHA) + 1
    assert too_high < limit
    assert too_low < limit


def test_a_real_gain_is_seen_in_time() -> None:
    # the learning study's effect: +.0175 on a sd of .15 (median stop 1,866 lists by empirical Bernstein). A fixed test
    # of power .5 needs (1.645 * .15 / .0175)^2 = 199 lists; looking at any time may cost ten times that
    rng = np.random.default_rng(4)
    stops = []
    for _ in range(60):
        path = log_wealth(np.clip(rng.normal(0.0175, 0.15, 6_000), -3.0, 3.0), 0.0, floor=-3.0)
        crossed = path >= -np.log(ALPHA)
        stops.append(int(crossed.argmax()) if crossed.any() else crossed.size)
    print(f"median stop {np.median(stops):.0f} lists, 90 % by {np.quantile(stops, 0.9):.0f}")
    assert np.median(stops) < 10 * 199
    assert np.quantile(stops, 0.9) < 6_000


def test_a_repeated_fixed_test_would_err_far_more_often() -> None:
    # why the sequence exists: the same nulls, a one-sided z-test at each step from the 50th on
    rng = np.random.default_rng(1)
    n_false = 0
    for _ in range(100):
        x = click_difference(rng, 2_000)
        n = np.arange(1, x.size + 1)
        mean = np.cumsum(x) / n
        error = np.sqrt(np.maximum(np.cumsum(x**2) / n - mean**2, 1e-12) / n)
        n_false += (mean[50:] > 1.645 * error[50:]).any()
    assert n_false > stats.binom.isf(1e-6, 100, ALPHA)
