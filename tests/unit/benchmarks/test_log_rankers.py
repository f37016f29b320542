import math

import numpy as np
import pytest

from dwell.ranking import draw_ranking
from dwell.testing.users import PositionBasedUser
from study.log_rankers import click_through, logged_propensities, naive_pl_rank, unbiased_lambdamart, vw_bandit
from study.scoring import ndcg_per_question
from study.simulation import TEMPERATURE, Logged
from study.worlds import World


def a_log(world: World, n: int) -> list[Logged]:
    """Return lists as the logging policy draws them and position-based clicks on them."""
    weights = np.array(list(world.weights.values()))
    rng = np.random.default_rng(5)
    user = PositionBasedUser()
    found = []
    for _ in range(n):
        question = int(rng.integers(len(world.train)))
        shown = draw_ranking(world.train[question].features @ weights, TEMPERATURE, 4, rng).order
        found.append(Logged(question, shown, user.clicks(world.train[question].grades[shown], rng)))
    return found


def start_of(world: World) -> float:
    weights = np.array(list(world.weights.values()))
    return float(ndcg_per_question(lambda features: features @ weights, world.test).mean())


def test_the_propensities_are_those_of_the_logging_policy(small_world: World) -> None:
    entry = a_log(small_world, 1)[0]
    scores = small_world.train[entry.question].features @ np.array(list(small_world.weights.values()))
    weight = [math.exp(score / (TEMPERATURE * float(np.std(scores)))) for score in scores.tolist()]
    left = set(range(6))
    for found, document in zip(logged_propensities(small_world, entry), entry.shown.tolist(), strict=True):
        assert found == pytest.approx(weight[document] / sum(weight[d] for d in left))
        left.remove(document)


def test_click_through_is_clicks_per_time_shown(small_world: World) -> None:
    log = [
        Logged(2, np.array([0, 1]), np.array([True, False])),
        Logged(2, np.array([1, 0]), np.array([False, False])),
        Logged(2, np.array([3, 0]), np.array([True, True])),
    ]
    found = click_through(small_world, log)
    assert found[2][0] == pytest.approx([2 / 3, 0.0, 0.0, 1.0, 0.0, 0.0])
    assert [asked for _, asked in found] == [0, 0, 3] + [0] * 9


def test_naive_pl_rank_finds_the_feature_that_tells(small_world: World) -> None:
    score = naive_pl_rank(small_world, a_log(small_world, 1_500), 0)
    assert ndcg_per_question(score, small_world.test).mean() > start_of(small_world) + 0.05


def test_without_a_click_the_naive_ranker_stays_where_it_is(small_world: World) -> None:
    log = [entry._replace(clicks=np.zeros(4, dtype=bool)) for entry in a_log(small_world, 20)]
    found = ndcg_per_question(naive_pl_rank(small_world, log, 0), small_world.test)
    assert found.mean() == pytest.approx(start_of(small_world))


def test_unbiased_lambdamart_learns_what_the_asked_questions_want(small_world: World) -> None:
    """On the asked ones: 72 documents are too few for trees to say anything about others."""
    pytest.importorskip("lightgbm")
    score = unbiased_lambdamart(small_world, a_log(small_world, 1_500))
    asked = ndcg_per_question(score, small_world.train).mean()
    weights = np.array(list(small_world.weights.values()))
    assert asked > ndcg_per_question(lambda features: features @ weights, small_world.train).mean() + 0.05


@pytest.mark.parametrize("slots", [1, 4])
def test_the_bandit_finds_the_feature_that_tells(small_world: World, slots: int) -> None:
    pytest.importorskip("vowpalwabbit")
    score = vw_bandit(small_world, a_log(small_world, 1_500), slots=slots)
    assert ndcg_per_question(score, small_world.test).mean() > start_of(small_world) + 0.05
