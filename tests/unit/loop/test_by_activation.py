"""How far a proposal of both learners is moved towards the reward predictor."""

from typing import Any

import numpy as np
import pytest

from dwell.activation import FEATURES
from dwell.learning.learner import Learned, LearnerSettings
from dwell.learning.predictor import Predictor
from dwell.loop.by_activation import hastened

NAMES = ("x", "y", *FEATURES)
START = np.array([0.6, 0.8, 0.0, 0.0, 0.0])
SETTINGS = LearnerSettings()


def learned(vector: Any = START, n_steps: int = 3) -> Learned:
    return Learned(np.asarray(vector, dtype=np.float64), n_steps, 0.0, False, {})


def predictor(*beta: float) -> Predictor:
    return Predictor(np.array([*beta, 0.7]))  # the intercept last: it is no direction


def moved(*towards: float, by: float = 1e-6) -> Learned:
    """Return what replay learned where it went a little way towards a direction."""
    vector = START + by * np.array(towards)
    return learned(vector / np.linalg.norm(vector))


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_a_step_towards_the_predictor_half_as_long_each_time(attempt: int) -> None:
    own, aim = moved(0.0, 0.0, 1.0, 0.0, 0.0), predictor(0.0, 0.0, 2.0, 0.0, 0.0)
    found = hastened(own, START, aim, names=NAMES, attempt=attempt, settings=SETTINGS)
    step = 0.25 / 2 ** (attempt - 1)
    angle = 2.0 * np.arcsin(step / 2.0)  # of a chord
    expected = [0.6 * np.cos(angle), 0.8 * np.cos(angle), np.sin(angle), 0.0, 0.0]
    np.testing.assert_allclose(found.vector, expected, atol=3e-6)
    assert found.step_norm == pytest.approx(step, abs=3e-6)


def test_a_weight_that_replay_moves_the_other_way_stays_as_it_was_learned() -> None:
    own, aim = moved(0.0, 0.0, -1.0, 0.0, 0.0, by=0.01), predictor(0.0, 0.0, 2.0, 0.0, 0.0)
    found = hastened(own, START, aim, names=NAMES, attempt=1, settings=SETTINGS)
    assert found.vector[2] < 0.0


def test_evidence_and_age_are_left_to_replay() -> None:
    own = moved(0.0, 0.0, 1.0, 1.0, -1.0)
    pulled = hastened(own, START, predictor(0.0, 0.0, 1.0, 9.0, -9.0), names=NAMES, attempt=1, settings=SETTINGS)
    plain = hastened(own, START, predictor(0.0, 0.0, 1.0, 0.0, 0.0), names=NAMES, attempt=1, settings=SETTINGS)
    np.testing.assert_array_equal(pulled.vector, plain.vector)
    assert plain.vector[2] > 0.2


def test_replay_alone_decides_when_it_is_near_when_nothing_was_learned_and_beside_a_formula() -> None:
    near = predictor(0.6, 0.8, 0.1, 0.0, 0.0)
    own = learned([0.8, 0.6, 0.0, 0.0, 0.0])
    assert hastened(own, START, near, names=NAMES, attempt=1, settings=SETTINGS) is own
    far, nothing = predictor(0.0, 0.0, 1.0, 0.0, 0.0), learned(n_steps=0)
    assert hastened(nothing, START, far, names=NAMES, attempt=1, settings=SETTINGS) is nothing
    silent = predictor(0.0, 0.0, 0.0, 1.0, 1.0)
    assert hastened(own, START, silent, names=NAMES, attempt=1, settings=SETTINGS) is own
    start = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])  # the formula's score last
    beside = learned(start)
    assert hastened(beside, start, predictor(1.0, *[0.0] * 5), names=NAMES, attempt=1, settings=SETTINGS) is beside


def test_the_whole_stays_within_the_longest_step() -> None:
    short = LearnerSettings(max_step_norm=0.1)
    own = moved(0.2, -0.2, 1.0, 0.0, 0.0, by=1.0)
    found = hastened(own, START, predictor(0.0, 0.0, 1.0, 0.0, 0.0), names=NAMES, attempt=1, settings=short)
    assert found.was_bounded
    assert np.linalg.norm(found.vector - START) <= 0.1 + 1e-9
    assert np.linalg.norm(found.vector) == pytest.approx(1.0)
