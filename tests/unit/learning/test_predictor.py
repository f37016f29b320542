"""The reward predictor against an independent least-squares solver."""

import numpy as np
import pytest
from scipy import optimize

from dwell.errors import LearningError
from dwell.learning.predictor import Predictor, PredictorSums, fit_predictor
from dwell.records.arrays import FloatArray


def log_of(rng: np.random.Generator, n: int, f: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Served documents: features, rewards, examination, sampling weight."""
    return rng.normal(size=(n, f)), rng.random(n), 1.0 / rng.integers(1, 11, size=n), rng.uniform(0.2, 3.0, size=n)


def test_the_solution_minimises_the_weighted_squares() -> None:
    phi, c, theta, kappa = log_of(np.random.default_rng(0), 200, 3)
    ridge = 7.0
    found = fit_predictor(PredictorSums.empty(3).plus(phi, c, theta, kappa), ridge=ridge).beta
    # sum kappa (c - theta m)^2 / theta + ridge |beta|^2 as rows of one plain least-squares problem, the ridge a row
    # each; 1e-6 keeps the intercept regular
    x = np.column_stack([phi, np.ones(200)])
    rows = x * np.sqrt(kappa * theta)[:, None]
    penalty = np.diag(np.sqrt([ridge] * 3 + [1e-6]))
    targets = np.concatenate([c * np.sqrt(kappa / theta), np.zeros(4)])
    expected = np.linalg.lstsq(np.vstack([rows, penalty]), targets, rcond=None)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9)

    def loss(beta: FloatArray) -> float:
        return float((kappa * (c - theta * (x @ beta)) ** 2 / theta).sum() + ridge * (beta[:3] ** 2).sum())

    np.testing.assert_allclose(found, optimize.minimize(loss, np.zeros(4), tol=1e-12).x, atol=1e-4)


def test_sums_add_up_over_shards_in_any_order() -> None:
    phi, c, theta, kappa = log_of(np.random.default_rng(1), 90, 4)
    whole = PredictorSums.empty(4).plus(phi, c, theta, kappa)
    parts = PredictorSums.empty(4)
    for cut in (slice(60, 90), slice(0, 0), slice(0, 60)):
        parts = parts.plus(phi[cut], c[cut], theta[cut], kappa[cut])
    assert parts.n == whole.n == 90
    np.testing.assert_allclose(parts.gram, whole.gram, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(parts.moment, whole.moment, rtol=1e-12)
    np.testing.assert_allclose(fit_predictor(parts).beta, fit_predictor(whole).beta, rtol=1e-9)


@pytest.mark.statistical
def test_known_relevance_is_recovered_from_biased_clicks() -> None:
    # the error of each coefficient is within 5 of its standard errors (sandwich): 6e-7 per coefficient
    rng = np.random.default_rng(2)
    n, beta = 20_000, np.array([0.0, -0.1, 0.5])
    phi = rng.uniform(-1.0, 1.0, size=(n, 2))
    x = np.column_stack([phi, np.ones(n)])
    # position follows the first feature: a predictor that ignores examination would read it as relevance
    position = np.clip(np.round(5.0 - 4.0 * phi[:, 0] + rng.normal(size=n)), 1, 10)
    theta = 1.0 / position
    clicks = (rng.random(n) < theta * (x @ beta)).astype(float)
    found = fit_predictor(PredictorSums.empty(2).plus(phi, clicks, theta, np.ones(n)), ridge=0.0).beta
    bread = np.linalg.inv((x * theta[:, None]).T @ x)
    error = np.sqrt(np.diag(bread @ ((x * ((clicks - theta * (x @ beta)) ** 2)[:, None]).T @ x) @ bread))
    assert (np.abs(found - beta) < 5.0 * error).all()
    naive = np.linalg.lstsq(x, clicks, rcond=None)[0]
    assert abs(naive[0] - beta[0]) > 5.0 * error[0]


def test_no_event_predicts_nothing() -> None:
    assert fit_predictor(PredictorSums.empty(3)).predict(np.ones((2, 3))).tolist() == [0.0, 0.0]


def test_without_a_ridge_a_feature_that_never_varies_gets_no_weight() -> None:
    phi = np.column_stack([np.linspace(-1.0, 1.0, 50), np.zeros(50)])
    sums = PredictorSums.empty(2).plus(phi, 0.2 + 0.1 * phi[:, 0], np.ones(50), np.ones(50))
    np.testing.assert_allclose(fit_predictor(sums, ridge=0.0).beta, [0.1, 0.0, 0.2], atol=1e-6)


def test_two_equal_features_share_their_weight_without_a_ridge() -> None:
    one = np.linspace(-1.0, 1.0, 50)
    sums = PredictorSums.empty(2).plus(np.column_stack([one, one]), 0.1 * one, np.ones(50), np.ones(50))
    np.testing.assert_allclose(fit_predictor(sums, ridge=0.0).beta, [0.05, 0.05, 0.0], atol=1e-6)


def test_the_intercept_is_not_shrunk() -> None:
    phi = np.random.default_rng(0).normal(size=(10, 2))
    phi -= phi.mean(axis=0)
    sums = PredictorSums.empty(2).plus(phi, np.full(10, 0.4), np.ones(10), np.ones(10))
    np.testing.assert_allclose(fit_predictor(sums, ridge=1e9).beta, [0.0, 0.0, 0.4], atol=1e-6)


def test_predictions_stay_in_the_range_of_rewards() -> None:
    predictor = Predictor(np.array([10.0, 0.2]))
    assert predictor.predict(np.array([[[1.0]], [[-1.0]], [[0.01]]])).tolist() == [[1.0], [-1.0], [10.0 * 0.01 + 0.2]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_sums_that_are_not_finite_are_refused(bad: float) -> None:
    sums = PredictorSums(np.full((2, 2), bad), np.zeros(2), 1)
    with pytest.raises(LearningError, match="not finite") as caught:
        fit_predictor(sums)
    assert caught.value.code == "non_finite"


def test_one_document_at_a_time_is_exactly_all_at_once_and_taking_off_undoes_it() -> None:
    phi, c, theta, kappa = log_of(np.random.default_rng(4), 80, 3)
    batch = PredictorSums.empty(3).plus(phi, c, theta, kappa)
    one_by_one = PredictorSums.empty(3)
    for i in range(80):
        at = slice(i, i + 1)
        one_by_one = one_by_one.plus(phi[at], c[at], theta[at], kappa[at])
    np.testing.assert_allclose(fit_predictor(one_by_one).beta, fit_predictor(batch).beta, rtol=0.0, atol=1e-10)
    rest = batch.minus(phi[50:], c[50:], theta[50:], kappa[50:])
    first = PredictorSums.empty(3).plus(phi[:50], c[:50], theta[:50], kappa[:50])
    assert rest.n == 50
    np.testing.assert_allclose(fit_predictor(rest).beta, fit_predictor(first).beta, rtol=0.0, atol=1e-10)
    with pytest.raises(LearningError, match="taken off"):
        first.minus(phi, c, theta, kappa)


def test_decayed_sums_are_those_of_decayed_weights() -> None:
    phi, c, theta, kappa = log_of(np.random.default_rng(5), 40, 2)
    found = PredictorSums.empty(2).plus(phi, c, theta, kappa).decayed(0.5)
    expected = PredictorSums.empty(2).plus(phi, c, theta, kappa * 0.5)
    np.testing.assert_allclose(found.gram, expected.gram, rtol=1e-12)
    np.testing.assert_allclose(found.moment, expected.moment, rtol=1e-12)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(LearningError, match="decay"):
            found.decayed(wrong)
