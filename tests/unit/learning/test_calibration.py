"""Calibration tables and the isotonic map, against brute force."""

import itertools

import numpy as np
import pytest

from dwell.errors import LearningError
from dwell.learning import calibration
from dwell.learning.calibration import Observed


def a_log(seed: int, n: int = 200) -> Observed:
    rng = np.random.default_rng(seed)
    predicted = np.round(rng.uniform(-1.0, 1.0, n), 1)  # with ties
    theta = 1.0 / rng.integers(1, 6, n)
    return Observed(predicted, (rng.random(n) < theta * predicted**2).astype(float), theta, rng.uniform(0.0, 2.0, n))


@pytest.mark.parametrize("seed", range(20))
def test_recalibration_never_makes_the_error_worse(seed: int) -> None:
    log = a_log(seed)
    after = log._replace(predicted=calibration.fit_recalibration(log).apply(log.predicted))
    assert calibration.weighted_squared_error(after) <= calibration.weighted_squared_error(log) * (1.0 + 1e-12)
    assert (np.diff(after.predicted[np.argsort(log.predicted)]) >= 0.0).all()


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_best_monotone_map(seed: int) -> None:
    # an isotonic regression is constant on blocks: try all 2^5 ways to cut six levels, keep those that are monotone
    rng = np.random.default_rng(seed)
    log = Observed(np.linspace(-0.5, 0.5, 6), rng.random(6) * 0.5, np.full(6, 0.8), rng.uniform(0.5, 2.0, 6))
    best = np.inf
    for cuts in itertools.product((False, True), repeat=5):
        block = np.cumsum([0, *cuts])
        w = np.bincount(block, log.weight * log.theta)
        level = np.bincount(block, log.weight * log.rewards) / w
        if (np.diff(level) >= 0.0).all():
            best = min(best, calibration.weighted_squared_error(log._replace(predicted=level[block])))
    found = log._replace(predicted=calibration.fit_recalibration(log).apply(log.predicted))
    assert calibration.weighted_squared_error(found) == pytest.approx(best, rel=1e-12)


def test_tables_compare_what_came_with_what_was_promised() -> None:
    log = Observed(
        np.array([0.5, 0.5, 0.2]), np.array([1.0, 0.0, 0.3]), np.array([1.0, 1.0, 0.5]), np.array([1.0, 3.0, 4.0])
    )
    table = calibration.calibration_by_position(log, np.array([1, 1, 3]))
    assert table.group.tolist() == [1, 3]
    np.testing.assert_allclose(table.observed, [0.25, 0.3])
    np.testing.assert_allclose(table.expected, [0.5, 0.1])
    np.testing.assert_allclose(table.ratio, [0.5, 3.0])
    assert calibration.expected_calibration_error(table) == pytest.approx((4.0 * 0.25 + 4.0 * 0.2) / 8.0)


def test_deciles_hold_a_tenth_each_and_keep_ties_together() -> None:
    n = 100
    log = Observed(np.linspace(-1.0, 1.0, n), np.zeros(n), np.ones(n), np.ones(n))
    assert calibration.calibration_by_decile(log).weight.tolist() == [10.0] * 10
    same = log._replace(predicted=np.full(n, 0.2))
    assert calibration.calibration_by_decile(same).weight.tolist() == [100.0]


@pytest.mark.parametrize(
    ("field", "value"),
    [("predicted", 1.5), ("theta", 0.0), ("weight", -1.0), ("rewards", np.nan)],
)
def test_what_can_not_be_calibrated_is_named(field: str, value: float) -> None:
    log = a_log(0)._replace(**{field: np.full(200, value)})
    with pytest.raises(LearningError) as caught:
        calibration.fit_recalibration(log)
    assert caught.value.field == field
