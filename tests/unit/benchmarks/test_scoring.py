import itertools
import math

import numpy as np
import pytest

from study.scoring import ndcg, ndcg_per_question, ndcg_shown
from study.worlds import Question


def dcg(grades: tuple[int, ...], k: int) -> float:
    return sum((2**grade - 1) / math.log2(rank + 1) for rank, grade in enumerate(grades[:k], start=1))


@pytest.mark.parametrize("k", [1, 3, 10])
def test_it_is_the_dcg_over_that_of_the_best_of_all_orders(k: int) -> None:
    grades = (0, 3, 1, 0, 2)
    best = max(dcg(order, k) for order in itertools.permutations(grades))
    for order in itertools.permutations(range(5)):
        scores = np.empty(5)
        scores[list(order)] = np.arange(5, 0, -1)
        expected = dcg(tuple(grades[i] for i in order), k) / best
        assert ndcg(scores, np.array(grades), k) == pytest.approx(expected, rel=1e-12)


def test_without_a_relevant_candidate_it_is_nan() -> None:
    assert math.isnan(ndcg(np.array([1.0, 2.0]), np.array([0, 0])))


def test_ties_stay_in_the_order_given() -> None:
    assert ndcg(np.zeros(3), np.array([1, 0, 0])) == 1.0
    assert ndcg(np.zeros(3), np.array([0, 0, 1])) == pytest.approx(1 / math.log2(4))


def test_a_list_shorter_than_k_is_measured_against_the_best_of_all_candidates() -> None:
    shown, grades = np.array([1]), np.array([0, 1, 1])
    assert ndcg_shown(shown, grades) == pytest.approx(1.0 / (1.0 + 1.0 / math.log2(3)))


def test_every_question_has_a_figure_of_its_own() -> None:
    questions = [
        Question("a", ("x", "y"), np.array([[1.0], [2.0]], np.float32), np.array([1, 0])),
        Question("b", ("x", "y"), np.array([[1.0], [2.0]], np.float32), np.array([0, 1])),
    ]
    found = ndcg_per_question(lambda features: features[:, 0].astype(np.float64), questions)
    assert found == pytest.approx([1 / math.log2(3), 1.0])
