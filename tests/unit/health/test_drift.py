"""Drift against scipy's test and the index by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from dwell.health.drift import drift_of, kolmogorov_smirnov, population_stability_index, split_newest

RNG = np.random.default_rng(3)


@pytest.mark.parametrize(("n", "m", "shift"), [(100, 900, 0.0), (100, 900, 0.2), (500, 500, 0.1), (1_000, 4_000, 0.05)])
def test_the_distance_is_scipys_and_the_probability_close_to_it(n: int, m: int, shift: float) -> None:
    first, second = RNG.normal(size=n), RNG.normal(size=m) + shift
    statistic, p_value = kolmogorov_smirnov(first, second)
    due = stats.ks_2samp(first, second, method="exact")
    assert statistic == pytest.approx(due.statistic, abs=1e-12)
    # an asymptotic formula: within a tenth of the exact one in the middle, and of the same size in the tail
    assert p_value == pytest.approx(due.pvalue, rel=0.15, abs=0.02)


def test_samples_that_are_alike_or_apart() -> None:
    values = np.arange(100.0)
    assert kolmogorov_smirnov(values, values) == (0.0, 1.0)
    statistic, p_value = kolmogorov_smirnov(values, values + 1_000.0)
    assert (statistic, p_value < 1e-30) == (1.0, True)


def test_the_index_by_hand() -> None:
    # deciles at 0 and at 1: counts with half an observation added are 80.5 and 20.5 of 101
    reference, newest = np.repeat([0.0, 1.0], [80, 20]), np.repeat([0.0, 1.0], [10, 10])
    p, q = np.array([80.5, 20.5]) / 101.0, np.array([10.5, 10.5]) / 21.0
    due = sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))
    assert population_stability_index(reference, newest) == pytest.approx(due)


@pytest.mark.parametrize("beyond", [-1.0, 1.0])
def test_what_is_beyond_a_constant_reference_is_seen(beyond: float) -> None:
    same, other = np.zeros(200), np.full(200, beyond)
    assert population_stability_index(same, same) == 0.0
    # 200.5 and 0.5 of 201 against 0.5 and 200.5
    assert population_stability_index(same, other) == pytest.approx(2.0 * 200.0 / 201.0 * math.log(401.0))


def test_the_change_is_that_of_the_means() -> None:
    assert drift_of(np.array([1.0, 3.0]), np.array([1.0, 2.0])).change == -0.5


@pytest.mark.parametrize(
    ("n", "due"), [(999, None), (1_000, (900, 100)), (5_000, (4_500, 500)), (200_000, (100_000, 10_000))]
)
def test_the_newest_tenth_is_compared_within_bounds(n: int, due: tuple[int, int] | None) -> None:
    found = split_newest(np.arange(float(n)))
    assert (found and (found[0].size, found[1].size)) == due
    if found is not None:
        assert (found[1][-1], found[1][0] - found[0][-1]) == (n - 1.0, 1.0)
