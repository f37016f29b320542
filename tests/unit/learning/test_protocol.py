"""Learners by name."""

import numpy as np
import pytest

from dwell.errors import ConfigError
from dwell.learning.learner import LearnerSettings, learn, list_reward
from dwell.learning.protocol import OBJECTIVES, learner_of
from dwell.testing.learner_world import LearnerWorld, closed_events, fitted_predictors, lists_of


def test_an_unknown_objective_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="pl_rank") as caught:
        learner_of("ndcg")
    assert (caught.value.field, caught.value.value) == ("learner.objective", "ndcg")


def test_the_default_is_pl_rank_to_the_bit_and_the_others_are_not() -> None:
    world = LearnerWorld(truth=np.array([0.6, -0.8]), theta=np.array([1.0, 0.5]), n_documents=4)
    start = np.array([1.0, 0.0])
    rows = closed_events(world, start, 60, np.random.default_rng(0))
    predictors = fitted_predictors(rows, world.theta)

    def end(learner: object) -> bytes:
        return learner(
            start,
            [lists_of(rows, start)] * 3,
            predictors,
            theta=world.theta,
            temperature=0.5,
            n_events=60.0,
            settings=LearnerSettings(),
            rng=np.random.default_rng(1),
        ).vector.tobytes()

    assert OBJECTIVES["pl_rank"] is list_reward
    assert end(learner_of()) == end(learn) == end(learner_of("pl_rank"))
    assert len({end(learner_of(name)) for name in OBJECTIVES}) == len(OBJECTIVES) == 3
