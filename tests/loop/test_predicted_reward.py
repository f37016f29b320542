"""What the predictor expected is told before the reward is known, and is the surprise behind the priority."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dwell

Open = Callable[..., dwell.Loop]


def test_before_anything_was_learned_nothing_is_expected(opened: Open, world: Any) -> None:
    loop = opened()
    world.visits(loop, 20)
    loop.close_events(now=world.now)
    assert {e.predicted_reward for e in loop.experiences()} == {None}


def test_what_is_expected_follows_from_the_predictor_in_force_when_the_window_ended(
    opened: Open, world: Any, anywhere: str
) -> None:
    loop = opened(anywhere)
    world.visits(loop, 150)
    loop.train(now=world.now)
    expected = loop._state.expected
    assert expected is not None
    beta = expected.predictor.beta.copy()
    world.visits(loop, 100)
    loop.close_events(now=world.now)
    found = [e for e in loop.experiences() if e.predicted_reward is not None]
    assert len(found) == 100
    for e in found[:10]:
        features = np.array([[r[name] for name in loop.features] for r in e.results_served], dtype=np.float32)
        relevance = np.clip(expected.space.phi(features) @ beta[:-1] + beta[-1], -1.0, 1.0)
        due = float(np.clip((relevance / np.arange(1, len(relevance) + 1)).sum(), -1.0, 1.0))
        assert e.predicted_reward == pytest.approx(due, abs=1e-12)
        surprise = abs(e.reward - due)
        assert e.priority == pytest.approx(surprise + 0.1 * abs(e.reward) + 0.01, abs=1e-6)
    # it says something: events with a higher expectation were rewarded more
    assert np.corrcoef([e.predicted_reward for e in found], [e.reward for e in found])[0, 1] > 0.0


def test_a_late_reward_leaves_the_expectation_as_it_was(opened: Open, world: Any) -> None:
    loop = opened()
    world.visits(loop, 100)
    loop.train(now=world.now)
    world.visits(loop, 10)
    loop.close_events(now=world.now)
    before = list(loop.experiences())[-1]
    doc = before.results_served[0]["id"]
    assert loop.feedback(before.event_id, "reward", doc=doc, value=1.0, now=world.now).status == "late"
    after = list(loop.experiences())[-1]
    assert after.version == before.version + 1
    assert after.predicted_reward == before.predicted_reward
    assert after.predicted_reward is not None
    assert after.priority == pytest.approx(
        abs(after.reward - after.predicted_reward) + 0.1 * abs(after.reward) + 0.01, abs=1e-6
    )


def test_the_predictor_in_force_outlives_the_process(opened: Open, world: Any) -> None:
    loop = opened("a.dwell")
    world.visits(loop, 100)
    loop.train(now=world.now)
    assert loop._state.expected is not None
    beta = loop._state.expected.predictor.beta.tobytes()
    loop.close()
    again = opened("a.dwell", weights=None)
    assert again._state.expected is not None
    assert again._state.expected.predictor.beta.tobytes() == beta


def test_recalibrated_it_says_what_the_map_says_and_keeps_it(opened: Open, world: Any) -> None:
    def expected_of(loop: dwell.Loop) -> Any:
        found = loop._state.expected
        assert found is not None
        return found

    config = {"training": {"recalibrate": True, "target_steps": 5}}
    loop = opened("a.dwell", config=config)
    world.visits(loop, 150)
    loop.train(now=world.now)
    expected = expected_of(loop)
    knots, values = expected.recalibration.knots, expected.recalibration.values
    assert (np.diff(knots) > 0.0).all()
    assert (np.diff(values) >= 0.0).all()
    # the map minimises the squared error over all monotone ones, so the mean it promises is the mean that came
    rows = loop._state.replayed.trainable()
    theta = loop._state.theta()
    features = np.concatenate([row.features[: row.n_kept] for row in rows])
    assert values.size > 1
    assert np.ptp(expected.recalibration.apply(expected.predictor.predict(expected.space.phi(features)))) > 0.0
    world.visits(loop, 20)
    loop.close_events(now=world.now)
    e = next(e for e in reversed(list(loop.experiences())) if e.predicted_reward is not None)
    shown = np.array([[r[name] for name in loop.features] for r in e.results_served], dtype=np.float32)
    relevance = np.interp(expected.predictor.predict(expected.space.phi(shown)), knots, values)
    assert e.predicted_reward == pytest.approx(float((relevance * theta[: len(relevance)]).sum()), abs=1e-12)
    loop.close()
    again = opened("a.dwell", config=config)
    assert expected_of(again).recalibration.values.tolist() == values.tolist()
    assert expected_of(again).recalibration.knots.tolist() == knots.tolist()


def test_by_default_there_is_no_map(opened: Open, world: Any) -> None:
    loop = opened()
    world.visits(loop, 60)
    loop.train(now=world.now)
    assert loop._state.expected.recalibration is None
