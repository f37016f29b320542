"""Estimators on exposures: exactly unbiased under the position-based model by enumerating every ranking."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from dwell.errors import EvaluationError
from dwell.evaluation.estimators import exposure_doubly_robust, exposure_ips
from dwell.records.arrays import FloatArray

RELEVANCE = np.array([0.8, 0.1, 0.5, 0.3])
WRONG = np.array([0.2, 0.6, 0.9, 0.0])


class Shown(NamedTuple):
    """One ranking of the tiny world per document."""

    probability: float
    rewards: FloatArray
    examination: FloatArray


def exposures(tiny: Any) -> tuple[FloatArray, FloatArray]:
    return tiny.marginal("logged") @ tiny.theta, tiny.marginal("target") @ tiny.theta


def shown(tiny: Any) -> list[Shown]:
    found = []
    for y in tiny.rankings:
        examination = np.zeros(4)
        examination[list(y.order)] = tiny.theta
        found.append(Shown(float(y.logged.prod()), examination * RELEVANCE, examination))
    return found


def expected(tiny: Any, estimator: Any, *more: FloatArray, exposure: FloatArray | None = None) -> float:
    rho, omega = exposures(tiny)
    rho = rho if exposure is None else exposure
    return sum(
        y.probability
        * estimator(y.rewards[None], rho[None], omega[None], y.examination[None], *(m[None] for m in more))
        .estimate()
        .value
        for y in shown(tiny)
    )


def truth(tiny: Any) -> float:
    return float(exposures(tiny)[1] @ RELEVANCE)


def test_exposure_ips_is_unbiased(tiny: Any) -> None:
    assert expected(tiny, exposure_ips) == pytest.approx(truth(tiny), rel=1e-12)


def test_exposure_dr_is_unbiased_with_wrong_predictions(tiny: Any) -> None:
    assert expected(tiny, exposure_doubly_robust, WRONG) == pytest.approx(truth(tiny), rel=1e-12)


def test_exposure_dr_is_unbiased_with_wrong_exposures_and_right_predictions(tiny: Any) -> None:
    wrong = np.full(4, 0.4)
    assert expected(tiny, exposure_doubly_robust, RELEVANCE, exposure=wrong) == pytest.approx(truth(tiny), rel=1e-12)
    assert abs(expected(tiny, exposure_ips, exposure=wrong) - truth(tiny)) > 0.01


def test_both_are_biased_for_users_who_read_from_the_top(tiny: Any) -> None:
    """The model is an assumption: with cascade users the same weights lead elsewhere, as docs/estimators.md warns."""
    rho, omega = exposures(tiny)
    found = true = 0.0
    for y in tiny.rankings:
        attracted = RELEVANCE[list(y.order)]
        rewards, examination = np.zeros(4), np.zeros(4)
        rewards[list(y.order)] = attracted * np.concatenate([[1.0], np.cumprod(1.0 - 0.7 * attracted)[:-1]])
        examination[list(y.order)] = tiny.theta
        each = exposure_ips(rewards[None], rho[None], omega[None], examination[None]).estimate().value
        found += float(y.logged.prod()) * each
        true += float(y.target.prod() * rewards.sum())
    assert abs(found - true) > 0.01


def log_of(tiny: Any, n: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    rng = np.random.default_rng(6)
    each = shown(tiny)
    drawn = [each[i] for i in rng.choice(len(each), size=n, p=[y.probability for y in each])]
    examination = np.array([y.examination for y in drawn])
    clicks = (rng.random((n, 4)) < np.array([y.rewards for y in drawn])).astype(float)
    rho, omega = exposures(tiny)
    return clicks, np.tile(rho, (n, 1)), np.tile(omega, (n, 1)), examination


def test_self_normalised_exposure_ips_is_the_ratio_times_the_total_exposure(tiny: Any) -> None:
    clicks, rho, omega, examination = log_of(tiny, 50)
    w = np.where(examination > 0.0, omega / rho, 0.0)
    found = exposure_ips(clicks, rho, omega, examination, self_normalised=True).estimate()
    assert found.value == pytest.approx((w * clicks).sum() / (w * examination).sum() * omega[0].sum(), rel=1e-13)


def test_self_normalised_exposure_ips_is_exact_where_relevance_is_the_same(tiny: Any) -> None:
    _, rho, omega, examination = log_of(tiny, 50)
    found = exposure_ips(0.4 * examination, rho, omega, examination, self_normalised=True).estimate()
    assert found.value == pytest.approx(0.4 * omega[0].sum(), rel=1e-13)
    assert found.high - found.low == pytest.approx(0.0, abs=1e-7)


def test_a_policy_judged_on_its_own_log_earned_what_it_earned_on_average(tiny: Any) -> None:
    clicks, rho, _, examination = log_of(tiny, 50)
    found = exposure_ips(clicks, rho, rho, examination).estimate()
    assert found.value == pytest.approx(clicks.sum(axis=1).mean(), rel=1e-13)
    assert found.effective_sample_size == pytest.approx(50.0)


def test_dr_without_predictions_is_ips(tiny: Any) -> None:
    log = log_of(tiny, 50)
    for most in (None, 1.1):
        expected = exposure_ips(*log, max_importance_weight=most).estimate()
        assert exposure_doubly_robust(*log, np.zeros((50, 4)), max_importance_weight=most).estimate() == expected


def test_the_clip_holds_for_each_document(tiny: Any) -> None:
    clicks, rho, omega, examination = log_of(tiny, 50)
    w = np.minimum(np.where(examination > 0.0, omega / rho, 0.0), 1.1)
    assert (omega / rho).max() > 1.1
    found = exposure_ips(clicks, rho, omega, examination, max_importance_weight=1.1).estimate()
    assert found.value == pytest.approx((w * clicks).sum(axis=1).mean(), rel=1e-13)


def test_what_is_never_exposed_can_not_be_judged_by_rewards_but_by_predictions() -> None:
    never = np.array([[1.0, 0.0]]), np.array([[0.9, 0.0]]), np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])
    with pytest.raises(EvaluationError, match="never does") as refused:
        exposure_ips(*never)
    assert (refused.value.field, refused.value.code) == ("exposure[0, 1]", "zero_propensity")
    found = exposure_doubly_robust(*never, np.array([[0.6, 0.4]])).estimate().value
    assert found == pytest.approx(0.5 * 0.6 + 0.5 * 0.4 + 0.5 / 0.9 * (1.0 - 0.6))
    # neither policy exposes it: nothing is missing
    assert exposure_ips(never[0], never[1], np.array([[0.5, 0.0]]), never[3]).n == 1


def test_bad_exposures_are_refused_by_name() -> None:
    good = np.array([[1.0, 0.0]]), np.array([[0.9, 0.1]]), np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])
    for i, wrong, field, code in (
        (0, [[1.0, 1.0]], "rewards", "range"),
        (1, [[0.0, 0.1]], "exposure[0, 0]", "zero_propensity"),
        (1, [[0.9, -0.1]], "exposure[0, 1]", "range"),
        (2, [[0.5, 1.5]], "target_exposure[0, 1]", "range"),
        (3, [[2.0, 0.0]], "examination[0, 0]", "range"),
        (3, [1.0, 0.0], "examination", "shape"),
    ):
        arguments = [np.array(wrong) if j == i else column for j, column in enumerate(good)]
        with pytest.raises(EvaluationError) as refused:
            exposure_ips(*arguments)
        assert (refused.value.field, refused.value.code) == (field, code)
    with pytest.raises(EvaluationError) as refused:
        exposure_ips(*good, max_importance_weight=-1.0)
    assert refused.value.field == "max_importance_weight"
