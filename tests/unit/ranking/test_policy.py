"""The Plackett-Luce policy against brute force, and against hostile scores."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pytest
from scipy import stats

from dwell.errors import RecordError
from dwell.ranking import conditional_propensities, draw_ranking, policy_scores, sampled_rankings, score_spread
from dwell.ranking.policy import MIN_SPREAD
from dwell.records.arrays import FloatArray, IntArray


def steps_by_hand(z: FloatArray, order: Sequence[int], k: int) -> FloatArray:
    """P(document i | those above it), term by term, in exact order of the definition."""
    left = list(order)
    found = []
    for document in order[:k]:
        found.append(math.exp(z[document]) / math.fsum(math.exp(z[other]) for other in left))
        left.remove(document)
    return np.array(found)


def every_ranking(z: FloatArray, k: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """All rankings of k documents with their Plackett-Luce probability."""
    n = len(z)
    for top in itertools.permutations(range(n), k):
        rest = [d for d in range(n) if d not in top]
        yield top, float(np.prod(steps_by_hand(z, [*top, *rest], k)))


@pytest.mark.parametrize("temperature", [0.05, 0.3, 1.0, 7.0])
@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_conditional_propensities_are_the_definition(n: int, temperature: float) -> None:
    rng = np.random.default_rng(n)
    z = policy_scores(rng.normal(size=n), temperature)
    order = rng.permutation(n)
    for k in {1, max(1, n // 2), n}:
        np.testing.assert_allclose(conditional_propensities(z, order, k), steps_by_hand(z, list(order), k), rtol=1e-12)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (3, 2), (4, 4), (5, 3), (5, 5)])
def test_the_probabilities_of_all_rankings_sum_to_one(n: int, k: int) -> None:
    z = policy_scores(np.random.default_rng(n + k).normal(size=n), 0.5)
    total = 0.0
    for top in itertools.permutations(range(n), k):
        rest = [d for d in range(n) if d not in top]
        total += conditional_propensities(z, np.array([*top, *rest]), k).prod()
    assert total == pytest.approx(1.0, abs=1e-12)


def test_whole_batches_get_what_each_list_gets() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 4, 6))
    z = policy_scores(scores, 0.3)
    for i, j in np.ndindex(3, 4):
        np.testing.assert_array_equal(z[i, j], policy_scores(scores[i, j], 0.3))


def test_log_weights_are_at_most_zero_and_spread_by_one_over_the_temperature() -> None:
    z = policy_scores(np.array([3.0, -1.0, 4.0, 1.0, -5.0]), 0.25)
    assert z.max() == 0.0
    assert z.std() == pytest.approx(1.0 / 0.25)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_without_exploration_there_is_no_distribution(temperature: float) -> None:
    with pytest.raises(RecordError, match="temperature"):
        policy_scores(np.array([1.0, 2.0]), temperature)


def test_a_small_spread_is_not_blown_up() -> None:
    # 1e-12 apart is the same score: sd = 5e-13 is below 1e-9, so z = -1e-12 / (tau * 1e-9)
    z = policy_scores(np.array([1e-12, 0.0]), 0.5)
    assert z[1] == pytest.approx(-1e-12 / (0.5 * MIN_SPREAD))


def test_places_without_a_candidate_have_no_weight_and_do_not_spread() -> None:
    scores = np.array([2.0, -np.inf, 0.5, 1.0, -np.inf])
    z = policy_scores(scores, 0.3)
    np.testing.assert_allclose(z[[0, 2, 3]], policy_scores(scores[[0, 2, 3]], 0.3), rtol=1e-14)
    assert np.isneginf(z[[1, 4]]).all()
    # beside a full list, too
    both = policy_scores(np.stack([scores, np.arange(5.0)]), 0.3)
    np.testing.assert_allclose(both[0], z, rtol=1e-14)
    np.testing.assert_allclose(both[1], policy_scores(np.arange(5.0), 0.3), rtol=1e-14)


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e30, 1e150, 1e200, 1e307])
def test_huge_scores_rank_like_small_ones(scale: float) -> None:
    scores = np.array([1.0, -3.0, 2.5, 0.0])
    np.testing.assert_allclose(policy_scores(scores * scale, 0.3), policy_scores(scores, 0.3), rtol=1e-9)
    assert score_spread(scores * scale) == pytest.approx(scores.std() * scale, rel=1e-9)


def test_scores_whose_difference_overflows_are_still_ordered() -> None:
    z = policy_scores(np.array([-1.7e308, 1.7e308, 0.0]), 0.3)
    np.testing.assert_allclose(z, policy_scores(np.array([-1.0, 1.0, 0.0]), 0.3), rtol=1e-12)


def test_one_huge_list_leaves_its_neighbours_alone() -> None:
    small = np.array([1e-3, 2e-3, 0.0])
    z = policy_scores(np.stack([small, small * 1e200]), 0.3)
    np.testing.assert_allclose(z[0], policy_scores(small, 0.3), rtol=1e-12)
    np.testing.assert_allclose(z[1], z[0], rtol=1e-9)


def test_the_weighted_spread_counts_each_score_as_often_as_it_stands_for() -> None:
    scores, counts = np.array([1.0, 4.0, -2.0]), np.array([3, 1, 2])
    assert score_spread(scores, counts.astype(float)) == pytest.approx(np.repeat(scores, counts).std(), rel=1e-14)


def logarithmic_steps(z: FloatArray, order: IntArray, k: int) -> FloatArray:
    """The same definition by exact sums of logarithms, for weights that underflow."""
    found = []
    for i in range(k):
        tail = z[order[i:]]
        peak = tail.max()
        found.append(math.exp(tail[0] - peak - math.log(math.fsum(np.exp(tail - peak)))))
    return np.array(found)


def test_the_wide_branch_equals_the_narrow_one_where_both_are_valid() -> None:
    rng = np.random.default_rng(4)
    order = rng.permutation(8)
    z = rng.uniform(-599.0, 0.0, size=8)
    z[3] = 0.0
    narrow = conditional_propensities(z, order, 8)
    # one more document that is placed last and out of reach forces the other branch and changes nothing
    wide = conditional_propensities(np.append(z, -2_000.0), np.append(order, 8), 8)
    np.testing.assert_allclose(wide, narrow, rtol=1e-11)
    np.testing.assert_allclose(narrow, logarithmic_steps(z, order, 8), rtol=1e-11)


@pytest.mark.parametrize("z", [[-700.0, 0.0, -800.0, -801.0], [-1e5, -1e5, 0.0], [0.0, -5e3, -5e3 - 1.0, -9e3]])
def test_weights_that_underflow_still_have_ratios(z: list[float]) -> None:
    z = np.array(z)
    for order in itertools.permutations(range(z.size)):
        found = conditional_propensities(z, np.array(order), z.size)
        np.testing.assert_allclose(found, logarithmic_steps(z, np.array(order), z.size), rtol=1e-9, atol=1e-300)


def test_temperature_zero_is_a_stable_sort() -> None:
    scores = np.array([1.0, 3.0, 1.0, 3.0, -2.0, 0.0, -0.0])
    drawn = draw_ranking(scores, 0.0, 7, np.random.default_rng(0))
    assert drawn.order.tolist() == [1, 3, 0, 2, 5, 6, 4]
    assert (drawn.propensities == 1.0).all()


def test_temperature_zero_does_not_touch_the_generator() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    draw_ranking(np.arange(3.0), 0.0, 2, rng)
    assert rng.bit_generator.state == before


def test_equal_scores_are_the_callers_order_without_exploration() -> None:
    assert draw_ranking(np.full(6, 3.3), 0.0, 6, np.random.default_rng(0)).order.tolist() == list(range(6))


def test_equal_scores_are_uniform_with_exploration() -> None:
    drawn = draw_ranking(np.full(5, 1e9 + 0.1), 0.3, 5, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.propensities, [1 / 5, 1 / 4, 1 / 3, 1 / 2, 1.0], rtol=1e-12)


def test_one_candidate_is_certain() -> None:
    drawn = draw_ranking(np.array([-7.0]), 0.3, 1, np.random.default_rng(0))
    assert (drawn.order.tolist(), drawn.propensities.tolist()) == ([0], [1.0])


def test_logged_propensities_are_re_derived_from_the_scores() -> None:
    # design, section 5: agreement to 1e-12
    rng = np.random.default_rng(9)
    for n in (1, 2, 7, 30, 200):
        scores = rng.standard_t(2, size=n) * 100.0
        k = min(n, 10)
        drawn = draw_ranking(scores, 0.3, k, rng)
        assert len(set(drawn.order.tolist())) == k
        rest = np.setdiff1d(np.arange(n), drawn.order)
        again = conditional_propensities(policy_scores(scores, 0.3), np.concatenate([drawn.order, rest]), k)
        np.testing.assert_allclose(again, drawn.propensities, rtol=1e-12)
        assert ((drawn.propensities > 0.0) & (drawn.propensities <= 1.0)).all()


def frequencies(rankings: Iterable[IntArray], n: int, k: int) -> IntArray:
    index = {top: i for i, top in enumerate(itertools.permutations(range(n), k))}
    return np.bincount([index[tuple(r)] for r in rankings], minlength=len(index))


@pytest.mark.statistical
@pytest.mark.parametrize("source", ["draw_ranking", "sampled_rankings", "sampled_rankings, partitioned"])
def test_rankings_are_drawn_as_often_as_they_should_be(source: str) -> None:
    # chi-square on all rankings; the false-alarm rate of each case is 1e-4
    rng = np.random.default_rng(31)
    n, k = (5, 2) if source.endswith("partitioned") else (4, 3)
    scores = rng.normal(size=n)
    z = policy_scores(scores, 0.8)
    n_draws = 12_000
    if source == "draw_ranking":
        rankings = [draw_ranking(scores, 0.8, k, rng).order for _ in range(n_draws)]
    else:
        rankings = sampled_rankings(z, n_draws, k, rng)
    expected = np.array([p for _, p in every_ranking(z, k)]) * n_draws
    assert expected.min() > 5.0  # for the chi-square approximation
    statistic = ((frequencies(rankings, n, k) - expected) ** 2 / expected).sum()
    assert stats.chi2.sf(statistic, expected.size - 1) > 1e-4


def test_the_spread_is_the_standard_deviation_alone_and_in_a_batch_bit_by_bit() -> None:
    scores = np.random.default_rng(4).normal(5.0, 2.0, size=(6, 100))
    together = score_spread(scores)
    np.testing.assert_allclose(together, scores.std(axis=-1), rtol=1e-14)
    alone = np.array([score_spread(row) for row in scores])
    assert alone.tobytes() == together.tobytes()


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1.0, 1e100, 1e160])
def test_one_list_has_the_bits_that_it_has_in_a_batch(scale: float) -> None:
    scores = scale * np.random.default_rng(5).normal(size=(4, 60))
    together = policy_scores(scores, 0.3)
    for row, expected in zip(scores, together, strict=True):
        assert policy_scores(row, 0.3).tobytes() == expected.tobytes()
