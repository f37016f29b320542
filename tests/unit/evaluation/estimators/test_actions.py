"""Estimators for single actions: against obp, against expectations by enumeration, and what each setting leads to."""

from typing import Any

import numpy as np
import pytest

from dwell.errors import EvaluationError
from dwell.evaluation.estimators import (
    Sums,
    balanced_ips,
    direct_method,
    doubly_robust,
    ips,
    replay,
    shrunk_doubly_robust,
    subgaussian_doubly_robust,
    subgaussian_ips,
    switch_doubly_robust,
)
from dwell.records.arrays import FloatArray

CLOSE = 1e-9  # what is promised against obp; measured differences are below 1e-15


def value(sums: Sums) -> float:
    return sums.estimate().value


def only(kwargs: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: kwargs[name] for name in names}


# ------------------------------------------------------------------------------------------------ the same as obp


def test_replay_is_that_of_obp(obp: Any, action_log: Any) -> None:
    wanted = action_log.target.argmax(axis=1)
    greedy = np.eye(5)[wanted][:, :, None]
    theirs = obp.estimators.ReplayMethod().estimate_policy_value(
        reward=action_log.rewards, action=action_log.actions, action_dist=greedy, position=action_log.theirs["position"]
    )
    ours = replay(action_log.rewards, action_log.actions == wanted)
    assert value(ours) == pytest.approx(theirs, abs=CLOSE)
    assert ours.effective_sample_size == pytest.approx((action_log.actions == wanted).sum())


@pytest.mark.parametrize(
    ("normalised", "theirs"),
    [(False, "InverseProbabilityWeighting"), (True, "SelfNormalizedInverseProbabilityWeighting")],
)
def test_ips_and_snips_are_those_of_obp(obp: Any, action_log: Any, normalised: bool, theirs: str) -> None:  # noqa: FBT001 - a parameter of the test
    logged = only(action_log.theirs, "reward", "action", "pscore", "action_dist", "position")
    expected = getattr(obp.estimators, theirs)().estimate_policy_value(**logged)
    assert value(ips(*action_log.ours, self_normalised=normalised)) == pytest.approx(expected, abs=CLOSE)


def test_clipped_ips_is_ips_of_obp_with_propensities_raised_to_the_clip(obp: Any, action_log: Any) -> None:
    most = 1.5
    logged = only(action_log.theirs, "reward", "action", "action_dist", "position")
    # obp 0.4.1 can not clip; min(t / p, W) = t / max(p, t / W)
    raised = np.maximum(action_log.propensities, action_log.target_probabilities / most)
    assert (raised > action_log.propensities).sum() > 50
    expected = obp.estimators.InverseProbabilityWeighting().estimate_policy_value(**logged, pscore=raised)
    assert value(ips(*action_log.ours, max_importance_weight=most)) == pytest.approx(expected, abs=CLOSE)


def test_the_direct_method_is_that_of_obp(obp: Any, action_log: Any) -> None:
    known = only(action_log.theirs, "action_dist", "position", "estimated_rewards_by_reg_model")
    expected = obp.estimators.DirectMethod().estimate_policy_value(**known)
    assert value(direct_method(action_log.predicted[1])) == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize(("normalised", "theirs"), [(False, "DoublyRobust"), (True, "SelfNormalizedDoublyRobust")])
def test_dr_and_sndr_are_those_of_obp(obp: Any, action_log: Any, normalised: bool, theirs: str) -> None:  # noqa: FBT001 - a parameter of the test
    expected = getattr(obp.estimators, theirs)().estimate_policy_value(**action_log.theirs)
    ours = doubly_robust(*action_log.ours, *action_log.predicted, self_normalised=normalised)
    assert value(ours) == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize("most", [0.0, 0.5, 2.0, 1e6])
def test_switch_dr_is_that_of_obp(obp: Any, action_log: Any, most: float) -> None:
    expected = obp.estimators.SwitchDoublyRobust(tau=most).estimate_policy_value(**action_log.theirs)
    ours = switch_doubly_robust(*action_log.ours, *action_log.predicted, max_importance_weight=most)
    assert value(ours) == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize("shrinkage", [0.1, 1.0, 50.0])
def test_dr_with_optimistic_shrinkage_is_that_of_obp(obp: Any, action_log: Any, shrinkage: float) -> None:
    expected = obp.estimators.DoublyRobustWithShrinkage(lambda_=shrinkage).estimate_policy_value(**action_log.theirs)
    ours = shrunk_doubly_robust(*action_log.ours, *action_log.predicted, shrinkage=shrinkage)
    assert value(ours) == pytest.approx(expected, abs=CLOSE)


# ------------------------------------------------------------------------------------ expectations by enumeration

LOGGING = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])  # two loggers
TARGET = np.array([0.1, 0.2, 0.7])
MEANS = np.array([0.2, 0.9, 0.5])
WRONG = np.array([0.7, 0.1, 0.4])  # predictions
TRUTH = float(TARGET @ MEANS)


def expectation(per_action: FloatArray, logging: FloatArray = LOGGING[0]) -> float:
    return float(logging @ per_action)


def one_by_one(estimator: Any, *arguments: FloatArray, **settings: Any) -> FloatArray:
    """What each action contributes alone, when its reward is its mean: contributions are linear in the reward."""
    rows = [[np.atleast_1d(argument[a]) for argument in arguments] for a in range(3)]
    return np.array([value(estimator(*row, **settings)) for row in rows])


def test_ips_is_unbiased() -> None:
    assert expectation(one_by_one(ips, MEANS, LOGGING[0], TARGET)) == pytest.approx(TRUTH, rel=1e-14)


def test_clipping_takes_off_what_is_above_the_clip() -> None:
    weights = TARGET / LOGGING[0]
    lost = float(LOGGING[0] @ (np.maximum(weights - 2.0, 0.0) * MEANS))
    found = expectation(one_by_one(ips, MEANS, LOGGING[0], TARGET, max_importance_weight=2.0))
    assert lost > 0.1
    assert found == pytest.approx(TRUTH - lost, rel=1e-14)


def test_dr_is_unbiased_with_wrong_predictions() -> None:
    found = one_by_one(doubly_robust, MEANS, LOGGING[0], TARGET, WRONG, np.full(3, TARGET @ WRONG))
    assert expectation(found) == pytest.approx(TRUTH, rel=1e-14)


def test_dr_is_unbiased_with_wrong_propensities_and_right_predictions() -> None:
    found = one_by_one(doubly_robust, MEANS, LOGGING[1], TARGET, MEANS, np.full(3, TRUTH))
    assert expectation(found) == pytest.approx(TRUTH, rel=1e-14)


def test_balanced_ips_is_unbiased_over_the_mixture_of_loggers() -> None:
    shares = np.array([0.25, 0.75])
    mixture = shares @ LOGGING
    found = np.array([value(balanced_ips(MEANS[[a]], LOGGING[:, [a]].T, shares, TARGET[[a]])) for a in range(3)])
    np.testing.assert_allclose(found, TARGET / mixture * MEANS, rtol=1e-14)
    assert expectation(found, mixture) == pytest.approx(TRUTH, rel=1e-14)


def test_balanced_ips_needs_support_by_one_logger_only() -> None:
    blind = np.array([[1.0, 0.0, 0.0], [0.2, 0.2, 0.6]])
    shares = np.array([0.5, 0.5])
    found = np.array([value(balanced_ips(MEANS[[a]], blind[:, [a]].T, shares, TARGET[[a]])) for a in range(3)])
    assert expectation(found, shares @ blind) == pytest.approx(TRUTH, rel=1e-14)


def test_one_logger_is_balanced_with_itself(action_log: Any) -> None:
    rewards, propensities, target = action_log.ours
    for normalised in (False, True):
        alone = balanced_ips(rewards, propensities[:, None], [1.0], target, self_normalised=normalised)
        assert alone.estimate() == ips(*action_log.ours, self_normalised=normalised).estimate()


@pytest.mark.parametrize("smoothing", [0.05, 0.5, 1.0])
def test_subgaussian_weights_are_harmonic_means_with_one(smoothing: float) -> None:
    weights = TARGET / LOGGING[0]
    harmonic = 1.0 / ((1.0 - smoothing) / weights + smoothing)
    found = one_by_one(subgaussian_ips, MEANS, LOGGING[0], TARGET, smoothing=smoothing)
    np.testing.assert_allclose(found, harmonic * MEANS, rtol=1e-14)
    direct = np.full(3, TARGET @ WRONG)
    found = one_by_one(subgaussian_doubly_robust, MEANS, LOGGING[0], TARGET, WRONG, direct, smoothing=smoothing)
    np.testing.assert_allclose(found, direct + harmonic * (MEANS - WRONG), rtol=1e-14)


def test_self_normalised_subgaussian_ips_is_a_ratio() -> None:
    weights = TARGET / LOGGING[0]
    harmonic = 1.0 / (0.5 / weights + 0.5)
    found = subgaussian_ips(MEANS, LOGGING[0], TARGET, smoothing=0.5, self_normalised=True)
    assert value(found) == pytest.approx(float(harmonic @ MEANS / harmonic.sum()), rel=1e-14)


# ------------------------------------------------------------------------------------------- limits of the settings


def test_settings_at_their_ends_are_the_plain_estimators(action_log: Any) -> None:
    full = action_log.ours, action_log.predicted
    plain_ips, dr = ips(*full[0]).estimate(), doubly_robust(*full[0], *full[1]).estimate()
    dm = direct_method(full[1][1]).estimate()
    assert subgaussian_ips(*full[0], smoothing=0.0).estimate() == plain_ips
    assert ips(*full[0], max_importance_weight=1e9).estimate() == plain_ips
    assert subgaussian_ips(*full[0], smoothing=1.0).estimate().value == pytest.approx(full[0][0].mean())
    assert subgaussian_doubly_robust(*full[0], *full[1], smoothing=0.0).estimate() == dr
    assert doubly_robust(*full[0], *full[1], max_importance_weight=1e9).estimate() == dr
    assert switch_doubly_robust(*full[0], *full[1], max_importance_weight=1e9).estimate() == dr
    assert shrunk_doubly_robust(*full[0], *full[1], shrinkage=1e15).estimate().value == pytest.approx(dr.value)
    assert shrunk_doubly_robust(*full[0], *full[1], shrinkage=0.0).estimate().value == dm.value
    assert switch_doubly_robust(*full[0], *full[1], max_importance_weight=0.0).estimate().value == dm.value


def test_a_policy_judged_on_its_own_log_earned_what_it_earned(action_log: Any) -> None:
    rewards, propensities, _ = action_log.ours
    error = rewards.std(ddof=1) / np.sqrt(rewards.size)
    for normalised in (False, True):
        found = ips(rewards, propensities, propensities, self_normalised=normalised).estimate()
        assert found.value == pytest.approx(rewards.mean(), rel=1e-13)
        assert found.effective_sample_size == pytest.approx(rewards.size)
        # SNIPS too: w never varies, so neither does its mean
        assert (found.high - found.low) / (2.0 * 1.959963984540054) == pytest.approx(error, rel=1e-8)


def test_snips_shifts_with_the_rewards_and_ips_does_not(action_log: Any) -> None:
    rewards, propensities, target = action_log.ours
    moved = ips(rewards + 10.0, propensities, target, self_normalised=True).estimate()
    assert moved.value == pytest.approx(ips(rewards, propensities, target, self_normalised=True).estimate().value + 10)
    assert abs(value(ips(rewards + 10.0, propensities, target)) - value(ips(rewards, propensities, target)) - 10) > 0.1


# ---------------------------------------------------------------------------------------------------- edge cases


def test_a_zero_propensity_is_refused_by_name_and_place() -> None:
    with pytest.raises(EvaluationError, match="propensity is zero") as refused:
        ips([1.0, 1.0, 0.0], [0.5, 0.0, 0.2], [0.5, 0.0, 0.1])
    assert (refused.value.code, refused.value.field, refused.value.value) == ("zero_propensity", "propensities[1]", 0.0)
    with pytest.raises(EvaluationError) as refused:
        balanced_ips([1.0], [[0.0, 0.0]], [0.5, 0.5], [0.3])
    assert refused.value.code == "zero_propensity"


def test_a_weight_that_overflows_is_refused_unless_it_is_bounded() -> None:
    rare = np.array([1.0, 1.0]), np.array([5e-324, 0.5]), np.array([1.0, 0.5])
    model = np.array([0.4, 0.6]), np.array([0.5, 0.5])
    for refuse in (
        lambda: ips(*rare),
        lambda: ips(*rare, self_normalised=True),
        lambda: doubly_robust(*rare, *model),
        lambda: subgaussian_ips(*rare, smoothing=0.0),
        lambda: ips([0.0, 1.0], [1e-200, 0.5], [1.0, 0.5]),  # w r is 0, w itself has no square
    ):
        with pytest.raises(EvaluationError, match="max_importance_weight") as refused:
            refuse()
        assert (refused.value.code, refused.value.field) == ("overflow", "importance_weight")
    assert value(ips(*rare, max_importance_weight=4.0)) == 2.5
    assert value(subgaussian_ips(*rare, smoothing=0.5)) == pytest.approx((2.0 + 1.0) / 2.0)
    assert value(shrunk_doubly_robust(*rare, *model, shrinkage=1.0)) == pytest.approx(0.5 + 0.5 * 0.4 / 2.0)
    assert value(switch_doubly_robust(*rare, *model, max_importance_weight=1.0)) == pytest.approx(0.5 + 0.4 / 2.0)


def test_no_event_that_the_target_policy_would_have_shown_tells_nothing() -> None:
    nothing = np.array([1.0, 0.0]), np.array([0.5, 0.5]), np.zeros(2)
    model = np.array([0.4, 0.6]), np.array([0.5, 0.3])
    for sums, expected in (
        (ips(*nothing), 0.0),
        (ips(*nothing, self_normalised=True), 0.0),
        (replay(nothing[0], [False, False]), 0.0),
        (doubly_robust(*nothing, *model), 0.4),
        (doubly_robust(*nothing, *model, self_normalised=True), 0.4),
    ):
        found = sums.estimate()
        assert (found.value, found.low, found.high) == (expected, -np.inf, np.inf)
        assert (found.n, found.effective_sample_size) == (2, 0.0)


@pytest.mark.parametrize(
    ("wrong", "field", "code"),
    [
        ({"rewards": [True, False]}, "rewards", "type"),
        ({"rewards": ["1", "0"]}, "rewards", "type"),
        ({"rewards": [[1.0, 0.0]]}, "rewards", "shape"),
        ({"rewards": [1.0, np.nan]}, "rewards[1]", "non_finite"),
        ({"propensities": [0.5]}, "propensities", "shape"),
        ({"propensities": [0.5, -0.1]}, "propensities[1]", "range"),
        ({"propensities": [1.5, 0.1]}, "propensities[0]", "range"),
        ({"propensities": [np.inf, 0.1]}, "propensities[0]", "non_finite"),
        ({"target_probabilities": [0.5, -1e-3]}, "target_probabilities[1]", "range"),
        ({"target_probabilities": [0.5, 1.1]}, "target_probabilities[1]", "range"),
        ({"max_importance_weight": 0.0}, "max_importance_weight", "range"),
        ({"max_importance_weight": np.nan}, "max_importance_weight", "non_finite"),
        ({"max_importance_weight": True}, "max_importance_weight", "type"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong: dict[str, Any], field: str, code: str) -> None:
    good = {"rewards": [1.0, 0.0], "propensities": [0.5, 0.5], "target_probabilities": [0.5, 0.5]}
    with pytest.raises(EvaluationError) as refused:
        ips(**{**good, **wrong})
    assert (refused.value.field, refused.value.code) == (field, code)


@pytest.mark.parametrize("shares", [[], [0.5, 0.4], [1.5, -0.5], [1.0, 0.0]])
def test_shares_of_loggers_are_positive_and_sum_to_one(shares: list[float]) -> None:
    with pytest.raises(EvaluationError) as refused:
        balanced_ips([1.0], [[0.5, 0.5][: len(shares)]], np.array(shares), [0.3])
    assert refused.value.field == "logger_shares"


def test_settings_out_of_range_are_refused(action_log: Any) -> None:
    full = *action_log.ours, *action_log.predicted
    for refuse, field in (
        (lambda: subgaussian_ips(*full[:3], smoothing=1.1), "smoothing"),
        (lambda: subgaussian_doubly_robust(*full, smoothing=-0.1), "smoothing"),
        (lambda: shrunk_doubly_robust(*full, shrinkage=-1.0), "shrinkage"),
        (lambda: switch_doubly_robust(*full, max_importance_weight=-1.0), "max_importance_weight"),
        (lambda: replay(full[0], np.zeros(full[0].size)), "is_match"),
    ):
        with pytest.raises(EvaluationError) as refused:
            refuse()
        assert refused.value.field == field
