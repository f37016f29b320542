"""Estimators for lists: against obp, and exactly unbiased by enumerating every ranking of a tiny world."""

from typing import Any

import numpy as np
import pytest

from dwell.errors import EvaluationError
from dwell.evaluation.estimators import cascade_doubly_robust, item_position_ips, list_ips, prefix_ips
from dwell.records.arrays import FloatArray

CLOSE = 1e-9

# what each kind of user makes of a ranking: reward per position
WORTH = np.array([0.8, 0.1, 0.5, 0.3])


def any_user(order: tuple[int, ...], theta: FloatArray) -> FloatArray:
    """A user to whom every position depends on the whole list, on what stands below included."""
    return theta * WORTH[list(order)] * (1.0 + 0.5 * WORTH[order[-1]] - 0.3 * WORTH[order[0]])


def reads_from_the_top(order: tuple[int, ...], theta: FloatArray) -> FloatArray:
    """A user who stops when content: a position depends on what stands above."""
    attracted = WORTH[list(order)]
    return attracted * np.concatenate([[1.0], np.cumprod(1.0 - 0.7 * attracted)[:-1]])


def looks_at_positions(order: tuple[int, ...], theta: FloatArray) -> FloatArray:
    return theta * WORTH[list(order)]


USERS = {"any": any_user, "top": reads_from_the_top, "positions": looks_at_positions}


def truth(tiny: Any, user: str) -> float:
    return float(sum(y.target.prod() * USERS[user](y.order, tiny.theta).sum() for y in tiny.rankings))


def expected(tiny: Any, contribution: Any) -> float:
    """The exact expectation under the logging policy of what one list contributes."""
    assert sum(y.logged.prod() for y in tiny.rankings) == pytest.approx(1.0, rel=1e-14)
    return float(sum(y.logged.prod() * contribution(y) for y in tiny.rankings))


def alone(estimator: Any, *arguments: Any, **settings: Any) -> float:
    return float(estimator(*(np.atleast_1d(argument)[None] for argument in arguments), **settings).estimate().value)


def by_list(tiny: Any, user: str) -> float:
    def contribution(y: Any) -> float:
        rewards = USERS[user](y.order, tiny.theta)[None]
        return list_ips(rewards, y.logged.prod(keepdims=True), y.target.prod(keepdims=True)).estimate().value

    return expected(tiny, contribution)


def by_prefix(tiny: Any, user: str) -> float:
    return expected(tiny, lambda y: alone(prefix_ips, USERS[user](y.order, tiny.theta), y.logged, y.target))


def by_item_position(tiny: Any, user: str) -> float:
    logged, target = tiny.marginal("logged"), tiny.marginal("target")

    def contribution(y: Any) -> float:
        at = list(y.order), range(3)
        return alone(item_position_ips, USERS[user](y.order, tiny.theta), logged[at], target[at])

    return expected(tiny, contribution)


@pytest.mark.parametrize("user", USERS)
def test_whole_list_ips_is_unbiased_for_any_user(tiny: Any, user: str) -> None:
    assert by_list(tiny, user) == pytest.approx(truth(tiny, user), rel=1e-12)


@pytest.mark.parametrize("user", ["top", "positions"])
def test_prefix_ips_is_unbiased_for_users_who_read_from_the_top(tiny: Any, user: str) -> None:
    assert by_prefix(tiny, user) == pytest.approx(truth(tiny, user), rel=1e-12)


def test_item_position_ips_is_unbiased_for_users_to_whom_positions_stand_alone(tiny: Any) -> None:
    assert by_item_position(tiny, "positions") == pytest.approx(truth(tiny, "positions"), rel=1e-12)


def test_each_is_biased_where_its_assumption_fails(tiny: Any) -> None:
    """Otherwise the three tests above would say nothing of the weights."""
    assert abs(by_prefix(tiny, "any") - truth(tiny, "any")) > 1e-3
    assert abs(by_item_position(tiny, "any") - truth(tiny, "any")) > 1e-3
    assert abs(by_item_position(tiny, "top") - truth(tiny, "top")) > 1e-3


def predictions(tiny: Any, wrong: float) -> tuple[dict[tuple[int, ...], float], dict[tuple[int, ...], float]]:
    """Return q and v by prefix: rewards from the last document of the prefix on, off by `wrong` times some noise."""
    rng = np.random.default_rng(2)
    q: dict[tuple[int, ...], float] = {}
    v: dict[tuple[int, ...], float] = {}
    for k in (2, 1, 0):
        for prefix in sorted({y.order[:k] for y in tiny.rankings}):
            following = [y for y in tiny.rankings if y.order[:k] == prefix]
            chosen = {y.order[k]: y for y in following}
            v[prefix] = 0.0
            for document, y in chosen.items():
                longer = (*prefix, document)
                reward = reads_from_the_top(y.order, tiny.theta)[k]
                q[longer] = reward + (v[longer] if k < 2 else 0.0) + wrong * rng.normal()
                v[prefix] += y.target[k] * q[longer]
    return q, v


def cascade(tiny: Any, y: Any, wrong: float, **settings: Any) -> float:
    q, v = predictions(tiny, wrong)
    rewards = reads_from_the_top(y.order, tiny.theta)
    along = [q[y.order[: k + 1]] for k in range(3)], [v[y.order[:k]] for k in range(3)]
    return alone(cascade_doubly_robust, rewards, y.logged, y.target, *map(np.array, along), **settings)


@pytest.mark.parametrize("wrong", [0.0, 0.3])
def test_cascade_dr_is_unbiased_whatever_is_predicted(tiny: Any, wrong: float) -> None:
    found = expected(tiny, lambda y: cascade(tiny, y, wrong))
    assert found == pytest.approx(truth(tiny, "top"), rel=1e-12)


def test_cascade_dr_does_not_vary_at_all_under_right_predictions(tiny: Any) -> None:
    found = [cascade(tiny, y, 0.0) for y in tiny.rankings]
    np.testing.assert_allclose(found, truth(tiny, "top"), rtol=1e-12)
    assert np.std([cascade(tiny, y, 0.3) for y in tiny.rankings]) > 0.1


def test_cascade_dr_without_predictions_is_prefix_ips(list_log: Any) -> None:
    rewards, logged, target, shown = list_log
    nothing = np.zeros(rewards.shape)
    for normalised in (False, True):
        settings = {"is_shown": shown, "self_normalised": normalised}
        ours = cascade_doubly_robust(rewards, logged, target, nothing, nothing, **settings).estimate()
        assert ours == prefix_ips(rewards, logged, target, **settings).estimate()


# --------------------------------------------------------------------------------------------------- against obp


def rows(log: Any, *columns: FloatArray) -> dict[str, Any]:
    """The same lists as obp takes them: one row for each position that is shown."""
    events, positions = np.nonzero(log.is_shown)
    logged, target = columns
    return {
        "reward": log.rewards[events, positions],
        "position": positions,
        "behavior_policy_pscore": logged[events, positions],
        "evaluation_policy_pscore": target[events, positions],
    }


def test_the_three_list_estimators_are_those_of_obp(obp: Any, list_log: Any) -> None:
    """The inputs are checked with pandas there; after that it is the sum of round rewards over the lists."""
    rewards, logged, target, shown = list_log
    n, k = rewards.shape
    # the whole list's probability and that of the prefix, as obp wants them multiplied up
    whole = [np.where(shown, p, 1.0).prod(axis=1) for p in (logged, target)]
    for name, ours, columns in (
        ("SlateStandardIPS", list_ips(rewards, *whole), [np.repeat(p[:, None], k, axis=1) for p in whole]),
        ("SlateIndependentIPS", item_position_ips(rewards, logged, target, is_shown=shown), (logged, target)),
        (
            "SlateRewardInteractionIPS",
            prefix_ips(rewards, logged, target, is_shown=shown),
            [p.cumprod(axis=1) for p in (logged, target)],
        ),
    ):
        theirs = getattr(obp.estimators_slate, name)(len_list=k)._estimate_round_rewards(**rows(list_log, *columns))
        assert ours.estimate().value == pytest.approx(theirs.sum() / n, abs=CLOSE)


# ------------------------------------------------------------------------------------------- self-normalised forms


def test_self_normalised_whole_list_ips_is_a_ratio(list_log: Any) -> None:
    rewards, logged, target, _ = list_log
    w = target[:, 0] / logged[:, 0]
    found = list_ips(rewards, logged[:, 0], target[:, 0], self_normalised=True).estimate()
    assert found.value == pytest.approx(float(w @ rewards.sum(axis=1) / w.sum()), rel=1e-13)
    assert found.effective_sample_size == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=1e-12)


@pytest.mark.parametrize("estimator", [prefix_ips, item_position_ips])
def test_self_normalisation_is_position_by_position(list_log: Any, estimator: Any) -> None:
    rewards, logged, target, shown = list_log
    total = 0.0
    for k in range(rewards.shape[1]):
        reached = shown[:, k]
        ratio = target / logged
        w = (ratio[:, : k + 1].prod(axis=1) if estimator is prefix_ips else ratio[:, k])[reached]
        total += reached.mean() * float(w @ rewards[reached, k]) / w.sum()
    found = estimator(rewards, logged, target, is_shown=shown, self_normalised=True)
    assert found.estimate().value == pytest.approx(total, rel=1e-13)


def test_self_normalised_cascade_dr_is_position_by_position(list_log: Any) -> None:
    rewards, logged, target, shown = list_log
    rng = np.random.default_rng(1)
    q, v = rng.random(rewards.shape) * shown, rng.random(rewards.shape) * shown
    w = np.cumprod(target / logged, axis=1)
    after = np.concatenate([v[:, 1:], np.zeros((len(v), 1))], axis=1)
    total = v[:, 0].mean()
    for k in range(rewards.shape[1]):
        reached = shown[:, k]
        total += reached.mean() * (w * (rewards - q + after))[reached, k].sum() / w[reached, k].sum()
    found = cascade_doubly_robust(rewards, logged, target, q, v, is_shown=shown, self_normalised=True)
    assert found.estimate().value == pytest.approx(total, rel=1e-13)


def test_a_policy_judged_on_its_own_log_earned_what_it_earned(list_log: Any) -> None:
    rewards, logged, _, shown = list_log
    mean = rewards.sum(axis=1).mean()
    for estimator in (prefix_ips, item_position_ips):
        for normalised in (False, True):
            found = estimator(rewards, logged, logged, is_shown=shown, self_normalised=normalised).estimate()
            assert found.value == pytest.approx(mean, rel=1e-13)
            assert found.effective_sample_size == pytest.approx(len(rewards), rel=1e-13)


# ---------------------------------------------------------------------------------------------------- edge cases


def test_padding_may_hold_anything_but_rewards(list_log: Any) -> None:
    rewards, logged, target, shown = list_log
    blank = np.where(shown, logged, np.nan), np.where(shown, target, np.nan)
    for estimator in (prefix_ips, item_position_ips):
        expected = estimator(rewards, logged, target, is_shown=shown).estimate()
        assert estimator(rewards, *blank, is_shown=shown).estimate() == expected
        with pytest.raises(EvaluationError, match="no list reaches has a reward"):
            estimator(rewards + 1.0, *blank, is_shown=shown)


def test_a_position_that_the_target_policy_never_fills_so_is_not_known() -> None:
    """Weight 0 at position 2 throughout: nothing tells what it would earn, and the interval says so."""
    rewards, logged, target = np.ones((4, 2)), np.full((4, 2), 0.5), np.array([[0.5, 0.0]] * 4)
    found = prefix_ips(rewards, logged, target, self_normalised=True).estimate()
    assert (found.value, found.low, found.high) == (1.0, -np.inf, np.inf)


def test_a_position_that_no_list_reaches_adds_nothing(list_log: Any) -> None:
    rewards, logged, target, shown = list_log
    wider = [np.pad(column, ((0, 0), (0, 2))) for column in list_log]
    narrow = prefix_ips(rewards, logged, target, is_shown=shown, self_normalised=True).estimate()
    found = prefix_ips(*wider[:3], is_shown=wider[3], self_normalised=True).estimate()
    assert found.value == pytest.approx(narrow.value, rel=1e-14)
    assert found.low == pytest.approx(narrow.low, rel=1e-12)


def test_bad_lists_are_refused_by_name() -> None:
    lists = np.ones((2, 2)), np.full((2, 2), 0.5), np.full((2, 2), 0.5)
    zero = np.array([[0.5, 0.5], [0.5, 0.0]])
    for refuse, field, code in (
        (lambda: prefix_ips(lists[0], zero, lists[2]), "propensities[1, 1]", "zero_propensity"),
        (lambda: item_position_ips(lists[0], zero, lists[2]), "item_position_propensities[1, 1]", "zero_propensity"),
        (lambda: list_ips(lists[0], [0.5, 0.0], [0.5, 0.5]), "list_propensities[1]", "zero_propensity"),
        (lambda: prefix_ips(lists[0][0], *lists[1:]), "rewards", "shape"),
        (lambda: prefix_ips(lists[0], lists[1][:1], lists[2]), "propensities", "shape"),
        (lambda: prefix_ips(lists[0], lists[1], lists[2] * np.nan), "target_probabilities[0, 0]", "non_finite"),
        (lambda: prefix_ips(*lists, is_shown=np.array([[False, True]] * 2)), "is_shown", "gap"),
        (lambda: prefix_ips(*lists, is_shown=np.ones((2, 2))), "is_shown", "type"),
        (lambda: cascade_doubly_robust(*lists, lists[0], lists[0][:1]), "predicted_target", "shape"),
        (
            lambda: cascade_doubly_robust(
                lists[0] * [1.0, 0.0], *lists[1:], lists[0], lists[0], is_shown=np.array([[True, False]] * 2)
            ),
            "predicted",
            "range",
        ),
        (lambda: prefix_ips(lists[0], np.full((2, 2), 1e-200), lists[2]), "importance_weight", "overflow"),
    ):
        with pytest.raises(EvaluationError) as refused:
            refuse()
        assert (refused.value.field, refused.value.code) == (field, code)
