import itertools
import math

import numpy as np
import pytest

from study.baselines import (
    LEARNING_RATES,
    PASSES,
    lambdamart,
    linear_on_labels,
    list_gradients,
    literal_priorities,
    literal_trainer,
)
from study.scoring import ndcg_per_question
from study.simulation import TEMPERATURE, Logged
from study.worlds import FloatArray, World


def log_probability(weights: FloatArray, documents: FloatArray, n_shown: int, temperature: float) -> float:
    """Return the log of the product of the conditional probabilities, factor by factor."""
    weight = [math.exp(float(row @ weights) / temperature) for row in documents]
    return sum(math.log(weight[i] / sum(weight[i:])) for i in range(n_shown))


@pytest.mark.parametrize("n_shown", [1, 3, 5])
def test_the_gradient_is_that_of_the_list_s_log_probability(n_shown: int) -> None:
    rng = np.random.default_rng(0)
    weights, documents = rng.normal(size=(2, 4)), rng.normal(size=(5, 4))
    found = list_gradients(weights, documents, n_shown, 0.7)
    step = 1e-6
    for row, gradient in zip(weights, found, strict=True):
        for j, value in enumerate(gradient):
            moved = step * np.eye(4)[j]
            ahead = log_probability(row + moved, documents, n_shown, 0.7)
            behind = log_probability(row - moved, documents, n_shown, 0.7)
            assert value == pytest.approx((ahead - behind) / (2 * step), abs=1e-7)


def test_the_gradient_is_zero_on_average_over_all_lists() -> None:
    """The score function has mean 0 under the policy itself: enumerated over all lists of two out of four."""
    rng = np.random.default_rng(1)
    weights, documents = rng.normal(size=3), rng.normal(size=(4, 3))
    total, mass = np.zeros(3), 0.0
    for shown in itertools.permutations(range(4), 2):
        order = [*shown, *(i for i in range(4) if i not in shown)]
        chance = math.exp(log_probability(weights, documents[order], 2, 0.3))
        total += chance * list_gradients(weights[None], documents[order], 2, 0.3)[0]
        mass += chance
    assert mass == pytest.approx(1.0)
    assert total == pytest.approx(np.zeros(3), abs=1e-12)


def test_scores_far_apart_do_not_overflow() -> None:
    documents = np.array([[0.0], [1.0], [5_000.0]])
    assert np.isfinite(list_gradients(np.array([[1.0]]), documents, 2, 0.3)).all()


def test_priorities_are_those_of_the_founding_document() -> None:
    rewards = np.array([2.0, 0.0, 1.0])
    expected = []
    for i, reward in enumerate(rewards):
        predicted = sum(rewards[:i]) / i if i else 0.0
        expected.append(abs(reward - predicted) + 0.1 * abs(reward) + 0.01)
    assert literal_priorities(rewards) == pytest.approx(expected)


def a_log(world: World, n: int) -> list[Logged]:
    rng = np.random.default_rng(5)
    found = []
    for _ in range(n):
        question = int(rng.integers(len(world.train)))
        shown = rng.permutation(6)[:4]
        found.append(Logged(question, shown, rng.random(4) < 0.3))
    return found


def test_the_literal_trainer_is_the_founding_document_s_loop(small_world: World) -> None:
    """Against its pseudo-code, written out plainly, with the same draws."""
    log = a_log(small_world, 130)
    found = literal_trainer(small_world, log, seed=2).test
    x = np.concatenate([question.features for question in small_world.train]).astype(np.float64)
    mean, sd = x.mean(axis=0), x.std(axis=0)
    documents = [(question.features - mean) / sd for question in small_world.train]
    rewards = [int(entry.clicks.sum()) for entry in log]
    priorities = literal_priorities(np.array(rewards, dtype=np.float64))
    start = np.array(list(small_world.weights.values())) * sd
    start = start / np.mean([np.std(z @ start) for z in documents])
    for rate in LEARNING_RATES:
        rng = np.random.default_rng([2, 4])
        weights = start.copy()
        n_drawn = 0
        for passes in PASSES:
            while n_drawn < passes * len(log):
                n_drawn += 64
                # what `random.choices(..., weights=priorities, k=64)` does
                for i in rng.choice(len(log), 64, p=priorities / priorities.sum()):
                    shown = log[i].shown
                    others = [d for d in range(6) if d not in shown]
                    listed = documents[log[i].question][[*shown, *others]]
                    slope = list_gradients(weights[None], listed, len(shown), TEMPERATURE)[0]
                    weights = weights + rate * rewards[i] * slope
            plain = weights.copy()
            expected = ndcg_per_question(lambda f, w=plain: ((f - mean) / sd) @ w, small_world.test)  # type: ignore[misc]
            assert found[rate, passes] == pytest.approx(expected)


def test_without_a_click_the_literal_trainer_stays_where_it_is(small_world: World) -> None:
    log = [entry._replace(clicks=np.zeros(4, dtype=bool)) for entry in a_log(small_world, 70)]
    weights = np.array(list(small_world.weights.values()))
    start = ndcg_per_question(lambda features: features @ weights, small_world.test)
    for figures in literal_trainer(small_world, log, seed=0).test.values():
        assert figures == pytest.approx(start)


def test_the_linear_ranker_on_full_labels_finds_the_feature_that_tells(small_world: World) -> None:
    score, _ = linear_on_labels(small_world)
    weights = np.array(list(small_world.weights.values()))
    start = ndcg_per_question(lambda features: features @ weights, small_world.test)
    learned = ndcg_per_question(score, small_world.test)
    assert learned.mean() > start.mean() + 0.1
    units = np.eye(3, dtype=np.float32)
    assert np.argmax(score(units) - score(np.zeros((1, 3), np.float32))) == 0


def test_lambdamart_finds_the_feature_that_tells(small_world: World) -> None:
    pytest.importorskip("lightgbm")
    score = lambdamart(small_world)
    grades_told = np.zeros((2, 3), dtype=np.float32)
    grades_told[1, 0] = 4.0
    low, high = score(grades_told)
    assert high > low
