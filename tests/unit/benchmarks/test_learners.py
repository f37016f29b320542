"""The comparison of learners: its log is what the policy says, and its parts run."""

import numpy as np
import pytest

import learners
from _learners_log import TEMPERATURE, THETA, predictors_of, sample_of, serve, start_of
from dwell.learning.learner import log_weights_of
from dwell.ranking import conditional_propensities
from dwell.testing.users import PositionBasedUser
from study.scoring import ndcg_per_question
from study.worlds import World


def test_the_log_has_the_propensities_exposures_and_clicks_of_its_policy(small_world: World) -> None:
    space, start = start_of(small_world, 0)
    phi = [space.phi(question.features) for question in small_world.train]
    served = serve(small_world, phi, start, 300, PositionBasedUser(noise=0.1, max_grade=4), np.random.default_rng(0))
    lists = sample_of(served, list(range(300)), start)
    z = log_weights_of(lists.phi @ start, lists.batch, TEMPERATURE)
    for i, row in enumerate(served.rows):
        np.testing.assert_allclose(row.propensities, conditional_propensities(z[i], np.arange(6), 6), rtol=1e-9)
        assert row.exposure.sum() == pytest.approx(THETA[:6].sum(), rel=1e-9)
        question = small_world.train[served.questions[i]]
        assert {tuple(x) for x in row.features.tolist()} == {tuple(x) for x in question.features.tolist()}
    clicked = np.array([row.rewards for row in served.rows]).mean(axis=0)
    assert clicked[0] > 2.0 * clicked[5]  # examination 1 and 1/6


def test_the_start_orders_as_the_logging_ranker_does(small_world: World) -> None:
    space, start = start_of(small_world, 0)
    weights = np.array([small_world.weights[name] for name in small_world.feature_names])
    by_start = ndcg_per_question(lambda features: space.phi(features) @ start, small_world.test)
    np.testing.assert_array_equal(by_start, ndcg_per_question(lambda features: features @ weights, small_world.test))


def test_every_learner_has_a_line_and_ties_are_called_ties(small_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learners, "N_STEPS", 2)
    monkeypatch.setattr(learners, "BATCH", 16)
    found, seconds = learners.measure(small_world, n_seeds=2, n_events=200, users="position", say=lambda _: None)
    lines = learners.table(found, seconds)
    assert len(lines) == 2 + len(found) == 2 + 1 + 3 + 1 + 4
    assert all(values.shape == (2, len(small_world.test)) for values in found.values())
    same = learners.table(
        {"pl_rank": found["pl_rank"], "its copy": found["pl_rank"]}, dict.fromkeys(["pl_rank", "its copy"], 0.0)
    )
    assert "| +0.0000 | +0.0000 to +0.0000 | tie |" in same[-1]


def test_two_folds_have_two_predictors(small_world: World) -> None:
    space, start = start_of(small_world, 0)
    phi = [space.phi(question.features) for question in small_world.train]
    served = serve(small_world, phi, start, 100, PositionBasedUser(), np.random.default_rng(0))
    one, two = predictors_of(served)
    assert one.beta.tolist() != two.beta.tolist()


@pytest.mark.parametrize("wrong", [["--events", "150"], ["--seeds", "0"], ["--sets", "none"]])
def test_what_can_not_be_measured_is_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit):
        learners.arguments(wrong)
