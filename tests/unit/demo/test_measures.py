"""nDCG, MRR and intervals against values derived by hand."""

import math

import numpy as np
import pytest

from dwell.demo.measures import ideal_gain, mean_of, ndcg, reciprocal_rank


def test_ndcg_of_one_right_answer_is_the_discount_of_its_rank() -> None:
    for rank in range(1, 13):
        grades = np.zeros(12)
        grades[rank - 1] = 1.0
        expected = 1.0 / math.log2(1 + rank) if rank <= 10 else 0.0
        assert ndcg(grades, ideal_gain(grades)) == pytest.approx(expected)
        assert reciprocal_rank(grades) == pytest.approx(1.0 / rank if rank <= 10 else 0.0)


def test_graded_gains_by_hand() -> None:
    # DCG of (.5, 0, 1) = .5 / log2(2) + 1 / log2(4) = 1; the best order has 1 + .5 / log2(3)
    grades = np.array([0.5, 0.0, 1.0])
    assert ideal_gain(grades) == pytest.approx(1.0 + 0.5 / math.log2(3))
    assert ndcg(grades, ideal_gain(grades)) == pytest.approx(1.0 / (1.0 + 0.5 / math.log2(3)))
    assert reciprocal_rank(grades) == 1.0  # wanted by half is wanted


def test_whole_blocks_are_measured_row_by_row() -> None:
    grades = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    expected = [1.0 / math.log2(3) / 2.0, 1.0, 0.0]
    assert ndcg(grades, np.array([2.0, 1.0, 0.0])) == pytest.approx(expected)
    assert reciprocal_rank(grades) == pytest.approx([0.5, 1.0, 0.0])


def test_nothing_to_find_is_nothing_gained() -> None:
    assert ndcg(np.zeros(3), 0.0) == 0.0
    assert reciprocal_rank(np.zeros((2, 0))) == pytest.approx([0.0, 0.0])


def test_with_every_value_a_group_the_interval_is_the_textbook_one() -> None:
    values = np.random.default_rng(0).normal(size=50)
    found = mean_of(values, range(50))
    half = 1.959963984540054 * values.std(ddof=1) / math.sqrt(50)
    assert (found.value, found.low, found.high) == pytest.approx(
        (values.mean(), values.mean() - half, values.mean() + half)
    )
    assert (found.n, found.effective_sample_size) == (50, 50.0)


def test_copies_of_a_value_in_one_group_add_no_evidence() -> None:
    values = np.random.default_rng(1).normal(size=20)
    once = mean_of(values, range(20))
    twice = mean_of(np.repeat(values, 2), np.repeat(np.arange(20), 2).tolist())
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))
    assert mean_of(np.repeat(values, 2), range(40)).low > twice.low


def test_one_group_knows_nothing_of_the_spread() -> None:
    found = mean_of(np.array([1.0, 2.0]), ["a", "a"])
    assert (found.value, found.low, found.high) == (1.5, -np.inf, np.inf)
