import itertools
import math

import numpy as np
import pytest

from study.pdgd import RATES, pdgd, pdgd_update
from study.scoring import ndcg_per_question
from study.worlds import FloatArray, World


def probability(scores: FloatArray, order: tuple[int, ...]) -> float:
    """Return the Plackett-Luce probability of a list, factor by factor."""
    left = list(range(len(scores)))
    found = 1.0
    for document in order:
        found *= math.exp(scores[document]) / sum(math.exp(scores[d]) for d in left)
        left.remove(document)
    return found


def published(documents: FloatArray, scores: FloatArray, shown: tuple[int, ...], clicks: list[bool]) -> FloatArray:
    """Return the update as the paper writes it, with both lists' probabilities computed in full."""
    total = np.zeros(documents.shape[1])
    last = max(i for i, clicked in enumerate(clicks) if clicked)
    for i, j in itertools.permutations(range(min(last + 2, len(shown))), 2):
        if clicks[i] and not clicks[j]:
            swapped = list(shown)
            swapped[i], swapped[j] = shown[j], shown[i]
            here, there = probability(scores, shown), probability(scores, tuple(swapped))
            a, b = math.exp(scores[shown[i]]), math.exp(scores[shown[j]])
            total += there / (here + there) * a * b / (a + b) ** 2 * (documents[shown[i]] - documents[shown[j]])
    return total


@pytest.mark.parametrize(
    "clicks", [[True, False, False, False], [False, True, False, True], [False, False, True, False]]
)
def test_the_update_is_the_published_one(clicks: list[bool]) -> None:
    rng = np.random.default_rng(0)
    documents, scores = rng.normal(size=(6, 3)), 1.5 * rng.normal(size=6)
    shown = (4, 0, 5, 2)
    found = pdgd_update(documents, scores, np.array(shown), np.array(clicks))
    assert found == pytest.approx(published(documents, scores, shown, clicks), abs=1e-12)


@pytest.mark.parametrize("clicked", [False, True])
def test_a_list_that_prefers_nothing_moves_nothing(clicked: bool) -> None:  # noqa: FBT001 - a test's parameter
    rng = np.random.default_rng(1)
    found = pdgd_update(rng.normal(size=(4, 2)), rng.normal(size=4), np.arange(4), np.full(4, clicked))
    assert (found == 0.0).all()


def test_scores_far_apart_do_not_overflow() -> None:
    found = pdgd_update(np.eye(3), np.array([0.0, 5_000.0, 1.0]), np.array([1, 2, 0]), np.array([False, True, False]))
    assert np.isfinite(found).all()


def test_it_finds_the_feature_that_tells(small_world: World) -> None:
    weights = np.array(list(small_world.weights.values()))
    start = ndcg_per_question(lambda features: features @ weights, small_world.test).mean()
    found = pdgd(small_world, seed=0, n_events=1_500, user="pbm")
    assert set(found) == set(RATES)
    assert found[0.1].mean() > start + 0.1
