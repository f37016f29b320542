"""What params would serve, measured: exploration averaged as enumeration says, and the same noise for all."""

import math
from itertools import permutations

import numpy as np
import pytest

from dwell.demo.quality import N_DRAWS, Sheet, compared
from dwell.demo.world import START, Search
from dwell.records import Params

GRADES = np.array([0.0, 1.0, 0.5])


def search(scores: list[float], grades: list[float]) -> Search:
    """Make a search whose candidates have these scores under weight 1 for the first feature."""
    features = np.zeros((len(scores), len(START)))
    features[:, 0] = scores
    graded = np.array(grades)
    return Search("q", "a", tuple(f"d{i}" for i in range(len(scores))), features, (graded, 1.0 - graded), (1.0, 1.0))


def ranker() -> Params:
    return Params(0, {name: float(i == 0) for i, name in enumerate(START)})


def expected_gain(scores: list[float], temperature: float) -> tuple[float, float]:
    """Enumerate all rankings of three documents: mean and standard deviation of their DCG."""
    z = np.array(scores) / (temperature * np.std(scores))
    gains, chances = [], []
    for order in permutations(range(len(scores))):
        chance, left = 1.0, list(range(len(scores)))
        for d in order:
            chance *= math.exp(z[d]) / sum(math.exp(z[i]) for i in left)
            left.remove(d)
        chances.append(chance)
        gains.append(sum(GRADES[d] / math.log2(rank + 2) for rank, d in enumerate(order)))
    mean = float(np.dot(chances, gains))
    return mean, math.sqrt(np.dot(chances, np.square(gains)) - mean**2)


def test_own_order_is_a_stable_sort() -> None:
    sheet = Sheet([search([3.0, 2.0, 1.0], GRADES.tolist()), search([1.0, 1.0, 2.0], GRADES.tolist())], 0)
    found = sheet.score(ranker(), 0, 0.0)
    first = 1.0 / math.log2(3) + 0.5 / math.log2(4)  # grades 0, 1, .5
    second = 0.5 + 1.0 / math.log2(4)  # .5, then the tie in its own order: 0, 1
    assert found.ndcg == pytest.approx([first, second])
    assert found.reciprocal_rank == pytest.approx([0.5, 1.0])
    other = sheet.score(ranker(), 1, 0.0)  # the second taste wants the opposite
    assert other.ndcg[0] == pytest.approx(1.0 + 0.5 / math.log2(4))


def test_with_exploration_it_is_the_mean_over_the_policy() -> None:
    scores, temperature, n = [0.3, 1.0, 0.8], 0.7, 400
    found = Sheet([search(scores, GRADES.tolist())] * n, 5).score(ranker(), 0, temperature)
    mean, sd = expected_gain(scores, temperature)
    # 5 standard errors: chance of a false alarm 6e-7
    assert found.ndcg.mean() == pytest.approx(mean, abs=5.0 * sd / math.sqrt(n * N_DRAWS))
    assert found.ndcg.std() > 0.0


def test_the_same_noise_serves_all_params_and_another_seed_another() -> None:
    searches = [search([1.0, 2.0, 3.0], GRADES.tolist()), search([1.0, 5.0], [1.0, 0.0]), search([], [])]
    sheet = Sheet(searches, 1)
    doubled = Params(1, {name: 2.0 * weight for name, weight in ranker().weights.items()})
    assert np.array_equal(sheet.score(ranker(), 0, 0.3).ndcg, sheet.score(doubled, 0, 0.3).ndcg)
    assert np.array_equal(sheet.score(ranker(), 0, 0.3).ndcg, Sheet(searches, 1).score(ranker(), 0, 0.3).ndcg)
    noisy = [Sheet(searches, seed).score(ranker(), 0, 5.0).ndcg for seed in (1, 2)]
    assert not np.array_equal(*noisy)
    assert sheet.score(ranker(), 0, 0.3).ndcg[2] == 0.0  # nothing is found, nothing is gained


def test_differences_are_paired() -> None:
    sheet = Sheet([search([3.0, 2.0, 1.0], GRADES.tolist()), search([2.0, 3.0, 1.0], GRADES.tolist())], 0)
    backwards = Params(1, {name: -weight for name, weight in ranker().weights.items()})
    scores, start = sheet.score(backwards, 0, 0.0), sheet.score(ranker(), 0, 0.0)
    quality = compared(scores, start, ["a", "b"])
    assert quality.ndcg_gain.value == pytest.approx(quality.ndcg.value - quality.start_ndcg.value)
    assert quality.mrr_gain.value == pytest.approx(np.mean(scores.reciprocal_rank - start.reciprocal_rank))
    same = compared(start, start, ["a", "b"])
    assert (same.ndcg_gain.value, same.ndcg_gain.low, same.ndcg_gain.high) == (0.0, 0.0, 0.0)
