import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest

from dwell.errors import ConfigError, EvaluationError
from dwell.reward.examination import HarvestSums, harvest
from dwell.reward.swaps import examined_given_pair, swap_sums, swapped


def test_a_deterministic_list_is_swapped_as_often_as_said() -> None:
    rng = np.random.default_rng(3)
    drawn = [swapped([7, 8, 9], rng, 0.4) for _ in range(4000)]
    pairs = np.bincount([d.pair for d in drawn], minlength=3) / 4000
    # five standard errors of a share of 0.6 in 4,000: 0.039
    np.testing.assert_allclose(pairs, [0.6, 0.2, 0.2], atol=0.039)
    assert {tuple(d.order.tolist()) for d in drawn} == {(7, 8, 9), (8, 7, 9), (7, 9, 8)}
    for d in drawn:
        assert math.prod(d.propensities.tolist()) == (1.0 if d.pair == 0 else 0.5)
        assert d.is_swapped == (d.order.tolist() != [7, 8, 9])


def test_propensities_given_a_pair_are_the_share_of_all_ways_to_get_there() -> None:
    weight = {0: 1.0, 1: 2.0, 2: 3.0}
    chance: dict[tuple[int, ...], float] = {}
    stepwise: dict[tuple[int, ...], list[float]] = {}
    for order in itertools.permutations(weight):
        rest, steps = 6.0, []
        for doc in order:
            steps.append(weight[doc] / rest)
            rest -= weight[doc]
        chance[order], stepwise[order] = math.prod(steps), steps
    rng = np.random.default_rng(1)
    for order, steps in stepwise.items():
        for _ in range(20):
            d = swapped(order, rng, 1.0, propensities=steps)
            shown = d.order.tolist()
            other = shown.copy()
            other[d.pair - 1], other[d.pair] = other[d.pair], other[d.pair - 1]
            expected = (chance[tuple(shown)] + chance[tuple(other)]) / 2
            assert math.prod(d.propensities.tolist()) == pytest.approx(expected, rel=1e-12)


def test_swaps_are_exact_in_expectation_for_a_deterministic_logger() -> None:
    theta, relevant = np.array([1.0, 0.5, 0.2]), np.array([0.9, 0.1, 0.4])
    pairs = [1, 1, 2, 2]
    orders = np.array([[0, 1, 2], [1, 0, 2], [0, 1, 2], [0, 2, 1]])
    found = swap_sums(pairs, theta * relevant[orders]).fitted(pseudo_clicks=1e-12, source="swaps")
    np.testing.assert_allclose(found.values, theta, rtol=1e-10)
    assert found.n_effective == (2.0, 2.0)
    assert found.source == "swaps"


def test_the_input_is_not_changed() -> None:
    order, p = np.array([1, 2]), np.array([0.5, 1.0])
    for _ in range(10):
        swapped(order, np.random.default_rng(1), 1.0, propensities=p)
    assert order.tolist() == [1, 2]
    assert p.tolist() == [0.5, 1.0]


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan, True])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ConfigError):
        swapped([1, 2], np.random.default_rng(0), share)


@pytest.mark.parametrize(
    ("pairs", "clicks"),
    [([2], [[1, 0]]), ([-1], [[1, 0]]), ([1], [[1, np.nan]]), ([1], [[np.nan, 1]]), ([1.0], [[1, 0]]), ([1], [[2, 0]])],
)
def test_malformed_records_are_refused(pairs: npt.ArrayLike, clicks: npt.ArrayLike) -> None:
    with pytest.raises(EvaluationError):
        swap_sums(pairs, clicks)


def test_sums_of_shards_of_any_length_are_the_sums_of_the_whole() -> None:
    rng = np.random.default_rng(2)
    p, c = rng.uniform(0.1, 1.0, (40, 4)), (rng.random((40, 4)) < 0.5).astype(float)
    p[20:, 3] = np.nan
    parts = HarvestSums.of(p[20:, :3], c[20:, :3]) + HarvestSums.empty(1).plus(p[:20], c[:20])
    whole = harvest(p, c)
    np.testing.assert_allclose(parts.fitted().values, whole.values, rtol=1e-12)
    np.testing.assert_allclose(parts.fitted().se, whole.se, rtol=1e-12)
    assert parts.fitted().n_lists == 40


def test_examination_given_a_pair_is_the_mean_of_its_two_places() -> None:
    theta = np.array([1.0, 0.5, 0.2])
    assert examined_given_pair(theta, 2).tolist() == [1.0, 0.35, 0.35]
    assert examined_given_pair(theta, 1).tolist() == [0.75, 0.75, 0.2]
    assert theta.tolist() == [1.0, 0.5, 0.2]
