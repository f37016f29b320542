"""Relevance from biased clicks: expectations over every ranking and every pattern of clicks."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from dwell.learning.relevance import MAX_CLIP, examination_at, exposure_clip, relevance_estimates
from dwell.ranking import policy_scores
from dwell.records.arrays import FloatArray, IntArray
from dwell.records.rows import EventRow, stack_rows

THETA = np.array([1.0, 0.4])
TRUE = np.array([0.9, 0.2, 0.5, 0.05])


def exact_exposure(rankings: Callable[..., Iterator[tuple[IntArray, float]]], z: FloatArray) -> FloatArray:
    exposure = np.zeros(z.size)
    for order, p in rankings(z, THETA.size):
        exposure[order[: THETA.size]] += p * THETA
    return exposure


def expected_estimate(
    event: Callable[..., EventRow],
    rankings: Callable[..., Iterator[tuple[IntArray, float]]],
    z: FloatArray,
    predicted: FloatArray,
    clip: float,
) -> tuple[FloatArray, FloatArray]:
    """E of the estimate per document: every ranking, every pattern of clicks of a position-based user."""
    exposure = exact_exposure(rankings, z)
    total = np.zeros(z.size)
    for order, p in rankings(z, THETA.size):
        for clicks in itertools.product((0.0, 1.0), repeat=THETA.size):
            chance = THETA * TRUE[order[: THETA.size]]
            weight = p * float(np.prod(np.where(clicks, chance, 1.0 - chance)))
            row = event(np.zeros((z.size, 1)), rewards=clicks, exposure=exposure[order])
            found = relevance_estimates(stack_rows([row]), predicted[order][None], THETA, clip=clip)[0]
            total[order] += weight * found
    return total, exposure


@pytest.mark.parametrize("predicted", [[0.0] * 4, [0.5] * 4, [1.0, -1.0, 0.3, 0.9], list(TRUE)])
def test_the_estimate_is_unbiased_for_any_predictor_where_there_is_support(
    event: Callable[..., EventRow], rankings: Callable[..., Iterator[tuple[IntArray, float]]], predicted: list[float]
) -> None:
    z = policy_scores(np.array([1.0, 0.5, 0.0, -0.5]), 1.0)
    found, exposure = expected_estimate(event, rankings, z, np.array(predicted), clip=0.05)
    assert exposure.min() > 0.05
    np.testing.assert_allclose(found, TRUE, atol=1e-12)


@pytest.mark.parametrize("predicted", [0.0, 0.7, -1.0])
def test_below_the_clip_relevance_shrinks_in_proportion_for_any_predictor(
    event: Callable[..., EventRow], rankings: Callable[..., Iterator[tuple[IntArray, float]]], predicted: float
) -> None:
    # both halves are multiplied by rho / clip, so that what remains does not depend on the predictor either
    z = policy_scores(np.array([1.0, 0.5, 0.0, -0.5]), 0.2)
    found, exposure = expected_estimate(event, rankings, z, np.full(4, predicted), clip=0.1)
    assert exposure.min() < 0.01
    assert exposure.max() > 0.1
    np.testing.assert_allclose(found, TRUE * np.minimum(1.0, exposure / 0.1), atol=1e-12)


def test_what_was_never_shown_promises_nothing(event: Callable[..., EventRow]) -> None:
    row = event(np.zeros((3, 1)), rewards=[1.0], exposure=[1.0, 0.0, 0.05])
    found = relevance_estimates(stack_rows([row]), np.array([[0.5, 1.0, 1.0]]), THETA, clip=0.1)
    # shown at 1: mu + (c - mu) / 1; never exposed: 0; half the clip: half the prediction
    np.testing.assert_allclose(found, [[0.5 + (1.0 - 0.5), 0.0, 0.5]])


def test_padding_and_positions_beyond_the_table(event: Callable[..., EventRow]) -> None:
    long = event(np.zeros((4, 1)), rewards=[0.0, 0.0, 1.0], exposure=[1.0, 0.5, 0.5, 0.0])
    short = event(np.zeros((1, 1)), rewards=[-1.0], exposure=[1.0])
    predicted = np.full((2, 4), 0.25)
    found = relevance_estimates(stack_rows([long, short]), predicted, THETA, clip=0.1)
    np.testing.assert_allclose(found[0], [0.0, 0.25 - 0.4 * 0.25 / 0.5, 0.25 + 1.0 / 0.5, 0.0])
    np.testing.assert_allclose(found[1], [-1.0, 0.0, 0.0, 0.0])


def test_examination_of_positions() -> None:
    theta = np.array([1.0, 0.5])
    assert examination_at(np.array([[0, 1], [2, 3]]), theta).tolist() == [[0.0, 1.0], [0.5, 0.0]]
    assert examination_at(np.array([0, 1, 9]), np.zeros(0)).tolist() == [0.0, 0.0, 0.0]


def test_the_clip_falls_with_the_events() -> None:
    # min(.1, 10 / sqrt n): 10 / sqrt(n) = .1 at n = 10,000
    assert exposure_clip(0.0) == exposure_clip(1.0) == exposure_clip(9_999.0) == MAX_CLIP
    assert exposure_clip(1e6) == pytest.approx(0.01)
