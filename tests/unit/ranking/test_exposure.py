"""Expected examination against enumeration."""

import itertools

import numpy as np
import pytest
from scipy import stats

from dwell.ranking import (
    conditional_propensities,
    deterministic_exposure,
    expected_exposure,
    policy_scores,
    sampled_rankings,
)
from dwell.records.arrays import FloatArray


def exact_exposure(z: FloatArray, theta: FloatArray) -> FloatArray:
    n, k = z.size, min(theta.size, z.size)
    exposure = np.zeros(n)
    for top in itertools.permutations(range(n), k):
        rest = [d for d in range(n) if d not in top]
        exposure[list(top)] += theta[:k] * conditional_propensities(z, np.array([*top, *rest]), k).prod()
    return exposure


@pytest.mark.statistical
@pytest.mark.parametrize(("n", "k"), [(5, 3), (4, 4), (6, 2), (3, 5), (1, 1)])
def test_exposure_is_within_five_standard_errors_of_enumeration(n: int, k: int) -> None:
    rng = np.random.default_rng(17)
    z = policy_scores(rng.normal(size=n), 0.6)
    theta = 1.0 / np.arange(1, k + 1)
    found = expected_exposure(z, theta, rng, n_draws=20_000)
    # 5 SE: 6e-7 per document; 1e-4 where the frequency is 0 or 1 and the error is estimated as 0
    assert (np.abs(found.value - exact_exposure(z, theta)) <= 5.0 * found.standard_error + 1e-4).all()
    assert found.value.sum() == pytest.approx(theta[: min(n, k)].sum(), abs=1e-9)


@pytest.mark.statistical
def test_the_standard_error_is_the_spread_over_repetitions() -> None:
    # 400 independent z-values: their mean square is chi-square(400)/400, outside [0.76, 1.27] with probability 1e-3
    z = policy_scores(np.array([0.5, 0.2, 0.0, -0.4]), 1.0)
    theta = np.array([1.0, 0.5, 0.3])
    exact = exact_exposure(z, theta)
    scores = []
    for seed in range(400):
        found = expected_exposure(z, theta, np.random.default_rng(seed))
        scores.append((found.value[seed % 4] - exact[seed % 4]) / found.standard_error[seed % 4])
    low, high = stats.chi2.ppf([5e-4, 1 - 5e-4], 400) / 400
    assert low < np.mean(np.square(scores)) < high


def test_a_place_without_candidate_is_never_exposed() -> None:
    z = np.array([-0.3, -np.inf, 0.0, -1.0, -np.inf])
    found = expected_exposure(z, np.ones(3), np.random.default_rng(0))
    assert found.value.tolist() == [1.0, 0.0, 1.0, 1.0, 0.0]
    placed = sampled_rankings(z, 500, 3, np.random.default_rng(0))
    assert set(placed.ravel().tolist()) == {0, 2, 3}


def test_a_deterministic_order_is_examined_as_shown() -> None:
    found = deterministic_exposure(np.array([2, 0, 3, 1]), np.array([1.0, 0.5, 0.25]), 5)
    assert found.value.tolist() == [0.5, 0.0, 1.0, 0.25, 0.0]
    assert (found.standard_error == 0.0).all()


def test_a_deterministic_order_shorter_than_the_table() -> None:
    assert deterministic_exposure(np.array([1]), np.array([1.0, 0.5]), 2).value.tolist() == [0.0, 1.0]


def test_rankings_of_batches_hold_each_document_once() -> None:
    z = np.random.default_rng(0).normal(size=(2, 3, 9))
    for k in (1, 4, 9):
        placed = sampled_rankings(z, 50, k, np.random.default_rng(1))
        assert placed.shape == (2, 3, 50, k)
        assert (np.diff(np.sort(placed, axis=-1), axis=-1) > 0).all()
