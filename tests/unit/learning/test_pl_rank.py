"""The gradient of a Plackett-Luce policy, exactly: every ranking is fed to it with its probability."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from dwell.learning.pl_rank import Rankings, exposure_of, full_rankings, pl_rank_gradient
from dwell.ranking import conditional_propensities
from dwell.records.arrays import FloatArray, IntArray


def exact_expectation(z: FloatArray, rewards: FloatArray, values: FloatArray) -> FloatArray:
    """E over rankings of what one sampled ranking contributes, all n! of them side by side."""
    n = z.size
    orders = np.array(list(itertools.permutations(range(n))))
    probability = np.array([conditional_propensities(z, order, n).prod() for order in orders])
    log_weight = np.tile(z, (len(orders), 1))
    one_each = Rankings(orders[:, None, :], np.exp(log_weight), log_weight)
    found = pl_rank_gradient(one_each, np.tile(rewards, (len(orders), 1)), np.tile(values, (len(orders), 1)))
    return probability @ found


def finite_differences(function: Callable[[FloatArray], float], x: FloatArray, step: float = 1e-5) -> FloatArray:
    return np.array([(function(x + step * e) - function(x - step * e)) / (2.0 * step) for e in np.eye(x.size)])


@pytest.mark.parametrize(
    "values",
    [
        [1.0, 0.5, 1 / 3, 0.0, 0.0],
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [1.0, 0.9, 0.5, 0.4, 0.2],
        [0.3, 0.0, 0.7, 0.0, 0.0],
    ],
    ids=["top 3", "top 1", "all shown", "nobody looks at rank 2"],
)
@pytest.mark.parametrize("rewards", [[1.0, 0.0, 0.3, -0.7, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]])
def test_the_expectation_is_the_gradient_of_the_enumerated_reward(
    values: list[float], rewards: list[float], list_reward: Callable[..., float]
) -> None:
    z = np.random.default_rng(3).normal(size=5) * 1.5
    values, rewards = np.array(values), np.array(rewards)
    # central differences: error step^2 * third derivative / 6, about 1e-10, plus rounding 1e-16 / step
    expected = finite_differences(lambda x: list_reward(x, rewards, values), z)
    np.testing.assert_allclose(exact_expectation(z, rewards, values), expected, atol=1e-8)


def test_moving_all_scores_together_changes_nothing() -> None:
    z, rewards = np.array([0.0, -0.5, -2.0, -0.1]), np.array([1.0, -1.0, 0.5, 0.2])
    values = np.array([1.0, 0.5, 0.0, 0.0])
    assert exact_expectation(z, rewards, values).sum() == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(exact_expectation(z + 3.0, rewards, values), exact_expectation(z, rewards, values))


def sampled(z: FloatArray, n_samples: int = 64, seed: int = 0) -> Rankings:
    noise = np.random.default_rng(seed).standard_exponential((len(z), n_samples, z.shape[1]), dtype=np.float32)
    return full_rankings(z, np.log(noise))


def test_a_batch_of_padded_lists_gets_what_each_list_gets_alone() -> None:
    rng = np.random.default_rng(5)
    z, rewards = rng.normal(size=(3, 6)), rng.normal(size=(3, 6))
    values = np.tile([1.0, 0.5, 0.25, 0.0, 0.0, 0.0], (3, 1))
    z[1, 4:], rewards[1, 4:] = -np.inf, 0.0
    z[2, 1:], rewards[2, 1:] = -np.inf, 0.0
    together = sampled(z)
    gradient = pl_rank_gradient(together, rewards, values)
    for i, n in enumerate((6, 4, 1)):
        alone = Rankings(together.order[i : i + 1, :, :n], together.weight[i : i + 1, :n], z[i : i + 1, :n])
        expected = pl_rank_gradient(alone, rewards[i : i + 1, :n], values[i : i + 1, :n])
        np.testing.assert_allclose(gradient[i, :n], expected[0], atol=1e-12)
        assert (gradient[i, n:] == 0.0).all()
    assert (gradient[2] == 0.0).all()  # one document: nothing to learn


def test_padding_is_sorted_behind_every_document() -> None:
    z = np.full((1, 7), -np.inf)
    z[0, [2, 5]] = [0.0, -300.0]
    assert set(sampled(z).order[0, :, :2].ravel().tolist()) == {2, 5}


def test_equal_rewards_over_a_whole_list_that_is_all_shown_leave_nothing_to_gain() -> None:
    # every ranking of equals is worth the same
    found = exact_expectation(np.array([0.0, -1.0, -2.0, 0.5]), np.ones(4), np.array([1.0, 0.5, 0.3, 0.2]))
    np.testing.assert_allclose(found, 0.0, atol=1e-12)


def test_each_sample_sums_to_zero_so_that_what_is_common_to_a_list_gets_no_slope() -> None:
    rng = np.random.default_rng(2)
    z, rewards = rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    values = np.tile([1.0, 0.5, 0.25, 0.0, 0.0, 0.0], (4, 1))
    gradient = pl_rank_gradient(sampled(z, 3), rewards, values)
    np.testing.assert_allclose(gradient.sum(axis=1), 0.0, atol=1e-12)
    assert (gradient != 0.0).all()


def test_exposure_is_the_mean_value_of_the_ranks() -> None:
    orders = np.array([[[0, 1, 2], [2, 0, 1]]])
    found = exposure_of(Rankings(orders, np.ones((1, 3)), np.zeros((1, 3))), np.array([[1.0, 0.5, 0.0]]))
    assert found.tolist() == [[(1.0 + 0.5) / 2, 0.5 / 2, 1.0 / 2]]


def exact_wide(z: FloatArray, rewards: FloatArray, values: FloatArray, order: IntArray) -> FloatArray:
    """What one ranking contributes, from the definition, with denominators kept as logarithms of exact sums."""
    z, rewards = z[order], rewards[order]
    n = z.size
    log_remaining = [z[i:].max() + math.log(math.fsum(np.exp(z[i:] - z[i:].max()))) for i in range(n)]
    credit = values * rewards
    found = np.zeros(n)
    for i in range(n):
        ratios = [math.exp(z[i] - log_remaining[k]) for k in range(i + 1)]
        value = sum(values[k] * ratios[k] for k in range(i + 1))
        reward = sum(credit[k:].sum() * ratios[k] for k in range(i + 1))
        found[order[i]] = credit[i + 1 :].sum() + rewards[i] * value - reward
    # what does not sum to 0 is noise, and is taken off by each document's share of the first place
    share = np.zeros(n)
    share[order] = np.exp(z - log_remaining[0])
    return found - found.sum() * share


@pytest.mark.parametrize("z", [[0.0, -800.0, -800.5, -801.0], [0.0, -712.0, -713.0, -5e4], [0.0, -1.0, -2.0, -650.0]])
def test_weights_that_underflow_still_have_a_gradient(z: list[float]) -> None:
    z, rewards, values = np.array(z), np.array([0.2, 1.0, -0.4, 0.6]), np.array([1.0, 0.5, 0.25, 0.0])
    for order in itertools.permutations(range(4)):
        one = Rankings(np.array([[order]]), np.exp(z)[None], z[None])
        found = pl_rank_gradient(one, rewards[None], values[None])
        np.testing.assert_allclose(found[0], exact_wide(z, rewards, values, np.array(order)), rtol=1e-9, atol=1e-12)


def test_a_wide_list_and_a_narrow_one_side_by_side() -> None:
    z = np.array([[0.0, -1.0, -2.0, -np.inf], [0.0, -900.0, -901.0, -np.inf]])
    rewards, values = np.array([[1.0, 0.0, 0.5, 0.0]] * 2), np.array([[1.0, 0.5, 0.0, 0.0]] * 2)
    both = sampled(z)
    gradient = pl_rank_gradient(both, rewards, values)
    narrow = Rankings(both.order[:1], both.weight[:1], z[:1])
    np.testing.assert_array_equal(gradient[:1], pl_rank_gradient(narrow, rewards[:1], values[:1]))
    expected = np.mean([exact_wide(z[1, :3], rewards[1, :3], values[1, :3], o[:3]) for o in both.order[1]], axis=0)
    np.testing.assert_allclose(gradient[1, :3], expected, rtol=1e-9, atol=1e-12)
    assert gradient[1, 3] == 0.0
