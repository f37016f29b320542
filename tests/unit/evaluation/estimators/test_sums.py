"""Sums: what is kept, how it adds up, and that the error is the right one for a ratio."""

import pickle
import weakref
from typing import Any

import numpy as np
import pytest

from dwell.errors import EvaluationError
from dwell.evaluation.estimators import doubly_robust, ips, merged, prefix_ips
from dwell.evaluation.estimators.sums import MAX_TERM, sums_of

Z_95 = 1.959963984540054


def error(sums: Any) -> float:
    found = sums.estimate()
    return float((found.high - found.low) / (2.0 * Z_95))


def test_the_error_of_a_plain_mean_is_its_standard_error(action_log: Any) -> None:
    rewards, propensities, target = action_log.ours
    each = target / propensities * rewards
    assert error(ips(*action_log.ours)) == pytest.approx(each.std(ddof=1) / np.sqrt(each.size), rel=1e-8)


def test_the_error_of_a_ratio_is_that_of_its_residuals(action_log: Any) -> None:
    rewards, propensities, target = action_log.ours
    w = target / propensities
    residual = w * (rewards - (w @ rewards) / w.sum()) / w.mean()  # Owen 2013, eq. 9.8
    expected = np.sqrt((residual**2).sum() / (w.size - 1) / w.size)
    assert error(ips(*action_log.ours, self_normalised=True)) == pytest.approx(expected, rel=1e-8)


def test_the_error_of_sndr_counts_the_direct_term_with_the_correction(action_log: Any) -> None:
    rewards, propensities, target = action_log.ours
    predicted, direct = action_log.predicted
    w, left = target / propensities, rewards - predicted
    influence = direct - direct.mean() + w * (left - (w @ left) / w.sum()) / w.mean()
    found = doubly_robust(*action_log.ours, predicted, direct, self_normalised=True)
    assert error(found) == pytest.approx(influence.std(ddof=1) / np.sqrt(w.size), rel=1e-8)


def test_the_error_over_positions_is_that_of_the_jackknife(list_log: Any) -> None:
    """Leaving out one event at a time knows nothing of gradients; the two agree up to 1/n."""
    rewards, logged, target, shown = list_log

    def value(rows: Any) -> float:
        sums = prefix_ips(rewards[rows], logged[rows], target[rows], is_shown=shown[rows], self_normalised=True)
        return sums.estimate().value

    n = len(rewards)
    left_out = np.array([value(np.arange(n) != i) for i in range(n)])
    jackknife = np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    whole = prefix_ips(rewards, logged, target, is_shown=shown, self_normalised=True)
    assert error(whole) == pytest.approx(jackknife, rel=0.05)


def test_shards_add_up_to_the_whole(action_log: Any) -> None:
    whole = ips(*action_log.ours, self_normalised=True).estimate()
    shards = [ips(*(column[i::7] for column in action_log.ours), self_normalised=True) for i in range(7)]
    found = merged(shards).estimate()
    assert (found.n, found.value) == (whole.n, pytest.approx(whole.value, rel=1e-13))
    assert found.low == pytest.approx(whole.low, rel=1e-12)
    assert found.effective_sample_size == pytest.approx(whole.effective_sample_size, rel=1e-12)


@pytest.mark.parametrize(("offset", "close"), [(0.0, 1e-11), (1e6, np.inf)])
def test_one_event_at_a_time_is_the_same_as_all_at_once(offset: float, close: float) -> None:
    """Nothing drifts over 5,000 batches of one.

    The interval of a ratio loses twice the digits by which rewards exceed their own spread, so at 1e6 nothing is asked.
    """
    rng = np.random.default_rng(3)
    n = 5_000
    log = offset + rng.normal(size=n), rng.uniform(1e-3, 1.0, n), rng.random(n)
    whole = ips(*log, self_normalised=True).estimate()
    single = merged(ips(*(column[[i]] for column in log), self_normalised=True) for i in range(n)).estimate()
    assert single.value == pytest.approx(whole.value, rel=1e-12, abs=1e-14)
    assert single.high - single.low == pytest.approx(whole.high - whole.low, rel=close)
    assert single.effective_sample_size == pytest.approx(whole.effective_sample_size, rel=1e-11)


def test_adding_commutes_bit_for_bit(action_log: Any) -> None:
    one, two = ips(*(column[:150] for column in action_log.ours)), ips(*(column[150:] for column in action_log.ours))
    assert (one + two).estimate() == (two + one).estimate()


def test_what_is_kept_does_not_grow_and_can_travel(action_log: Any) -> None:
    once = ips(*action_log.ours)
    twice = once + once
    assert twice.mean.nbytes + twice.scatter.nbytes == once.mean.nbytes + once.scatter.nbytes
    assert pickle.loads(pickle.dumps(twice)).estimate() == twice.estimate()  # noqa: S301 - our own bytes
    with pytest.raises(ValueError, match="read-only"):
        once.mean[0] = 1.0


def test_an_empty_batch_changes_nothing_and_is_worth_nothing(action_log: Any) -> None:
    empty = ips([], [], [])
    found = empty.estimate()
    assert (found.value, found.low, found.high) == (0.0, -np.inf, np.inf)
    assert (found.n, found.effective_sample_size) == (0, 0.0)
    whole = ips(*action_log.ours)
    assert (whole + empty).estimate() == whole.estimate() == (empty + whole).estimate()
    assert (empty + empty).n == 0
    assert prefix_ips(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)), self_normalised=True).n == 0


def test_one_event_has_a_value_and_no_interval() -> None:
    found = ips([1.0], [0.5], [0.25]).estimate()
    assert (found.value, found.low, found.high) == (0.5, -np.inf, np.inf)
    assert (found.n, found.effective_sample_size) == (1, 1.0)


def test_equal_rewards_are_known_exactly_by_snips_whatever_the_weights(action_log: Any) -> None:
    rewards = np.full(action_log.n, 0.1)
    found = merged(
        ips(rewards[i::3], action_log.propensities[i::3], action_log.target_probabilities[i::3], self_normalised=True)
        for i in range(3)
    ).estimate()
    assert found.value == pytest.approx(0.1, rel=1e-14)
    assert 0.0 <= found.high - found.low < 1e-8
    assert found.effective_sample_size < 0.9 * action_log.n


@pytest.mark.parametrize("normalised", [False, True])
def test_a_log_without_a_single_reward_proves_nothing(action_log: Any, normalised: bool) -> None:  # noqa: FBT001 - a parameter of the test
    logged = action_log.propensities, action_log.target_probabilities
    rewards = np.zeros(action_log.n)
    found = ips(rewards, *logged, self_normalised=normalised).estimate()
    assert (found.value, found.low, found.high) == (0.0, -np.inf, np.inf)
    assert found.effective_sample_size > 10.0
    rewards[7] = 1.0  # one is enough for a scatter
    once = ips(rewards, *logged, self_normalised=normalised).estimate()
    assert np.isfinite(once.low)
    # rewards that cancel are rewards
    both = ips([1.0, -1.0], [0.5, 0.5], [0.5, 0.5], self_normalised=normalised).estimate()
    assert both.value == 0.0
    assert np.isfinite(both.high)


def test_the_effective_sample_size_is_that_of_kish(action_log: Any) -> None:
    w = action_log.target_probabilities / action_log.propensities
    expected = w.sum() ** 2 / (w**2).sum()
    assert ips(*action_log.ours).effective_sample_size == pytest.approx(expected, rel=1e-12)
    equal = ips(np.ones(10), np.full(10, 0.3), np.full(10, 0.1))
    assert equal.effective_sample_size == pytest.approx(10.0, rel=1e-14)
    assert equal.effective_sample_size <= 10.0


def test_the_mean_weight_is_one_under_the_right_propensities_and_not_under_others() -> None:
    rng = np.random.default_rng(4)
    logging, target = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    actions = rng.choice(3, size=5_000, p=logging)
    right = ips(np.zeros(5_000), logging[actions], target[actions]).mean_weight(alpha=0.001)
    assert right.low < 1.0 < right.high
    wrong = ips(np.zeros(5_000), 0.9 * logging[actions], target[actions]).mean_weight(alpha=0.001)
    assert wrong.low > 1.0


def test_a_smaller_alpha_is_a_wider_interval(action_log: Any) -> None:
    sums = ips(*action_log.ours)
    wide, narrow = sums.estimate(alpha=0.01), sums.estimate(alpha=0.3173105078629141)
    each = action_log.target_probabilities / action_log.propensities * action_log.rewards
    # the two-sided chance beyond one standard error is erfc(1 / sqrt 2)
    assert narrow.high - narrow.value == pytest.approx(each.std(ddof=1) / np.sqrt(each.size), rel=1e-6)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, np.nan, True, "0.05"])
def test_an_alpha_that_is_no_chance_is_refused(alpha: Any) -> None:
    sums = ips([1.0, 0.0], [0.5, 0.5], [0.5, 0.5])
    for ask in (sums.estimate, sums.mean_weight):
        with pytest.raises(EvaluationError) as refused:
            ask(alpha=alpha)
        assert refused.value.field == "alpha"


def test_different_estimators_do_not_add_up() -> None:
    log = [1.0, 0.0], [0.5, 0.5], [0.5, 0.5]
    lists = np.ones((2, 3)), np.full((2, 3), 0.5), np.full((2, 3), 0.5)
    shorter = [column[:, :2] for column in lists]
    for one, two in (
        (ips(*log), ips(*log, self_normalised=True)),
        (ips(*log, max_importance_weight=10.0), ips(*log, max_importance_weight=10.0000001)),
        (prefix_ips(*lists, self_normalised=True), prefix_ips(*shorter, self_normalised=True)),
    ):
        with pytest.raises(EvaluationError) as refused:
            one + two
        assert refused.value.code == "estimator"
    with pytest.raises(TypeError):
        ips(*log) + 1  # type: ignore[operator]


def test_merging_holds_one_part_at_a_time(action_log: Any) -> None:
    alive: list[Any] = []

    def parts() -> Any:
        for i in range(50):
            part = ips(*(column[i::50] for column in action_log.ours))
            alive.append(weakref.ref(part.mean))
            yield part
            del part
            assert sum(reference() is not None for reference in alive) <= 3

    assert merged(parts()).n == action_log.n
    assert len(alive) == 50


def test_nothing_to_merge_is_refused() -> None:
    with pytest.raises(EvaluationError, match="nothing to merge"):
        merged([])


def test_a_term_is_as_large_as_its_square_allows() -> None:
    edge = np.array([MAX_TERM, 0.0])
    assert np.isfinite(sums_of("edge", edge, edge).estimate().high)
    with pytest.raises(EvaluationError) as refused:
        sums_of("edge", edge, edge * 1.001)
    assert refused.value.code == "overflow"


@pytest.mark.parametrize("tiny", [1e-160, 1e-310])
def test_weights_that_are_all_next_to_nothing_cancel_or_are_not_known(tiny: float) -> None:
    """Their squares are no numbers: never a warning, never NaN, and no interval that claims to know."""
    found = ips([1.0, 0.0, 1.0, 1.0], np.full(4, 0.5), np.full(4, tiny), self_normalised=True).estimate()
    assert found.value == pytest.approx(0.75)
    assert not np.isnan([found.low, found.high, found.effective_sample_size]).any()
    assert found.high - found.low > 0.3


def test_rewards_and_predictions_that_overflow_are_refused() -> None:
    huge = np.full(2, 1e308)
    for refuse in (
        lambda: doubly_robust(huge, [0.5, 0.5], [0.5, 0.5], -huge, [0.0, 0.0]),
        lambda: ips(huge, [0.5, 0.5], [1.0, 1.0]),
        lambda: ips(huge, [0.5, 0.5], [0.0, 0.0], self_normalised=True) + ips(huge, [0.5, 0.5], [0.5, 0.5]),
        lambda: prefix_ips(np.full((2, 3), 1e308), np.full((2, 3), 0.5), np.full((2, 3), 0.5)),
    ):
        with pytest.raises(EvaluationError):
            refuse()


def test_it_says_what_it_is() -> None:
    assert repr(ips([1.0], [0.5], [0.5], max_importance_weight=10)) == "Sums(ips(max_importance_weight=10.0), n=1)"
