"""Estimates of relevance: the default's identity, repeats with recency, channels, and what is refused."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dwell.errors import LearningError
from dwell.learning import estimates
from dwell.learning.estimates import Channel, ClickModel, Fractions, position_based
from dwell.learning.relevance import relevance_estimates
from dwell.records.rows import EventRow, RowBatch, stack_rows

THETA = np.array([1.0, 0.4])


@pytest.fixture
def batch(event: Callable[..., EventRow]) -> RowBatch:
    return stack_rows(
        [
            event(np.zeros((3, 1)), rewards=[1.0, 0.0], exposure=[0.5, 0.05, 0.3]),
            event(np.zeros((2, 1)), rewards=[0.5], exposure=[0.9, 0.2]),
        ]
    )


def test_the_default_is_the_learners_estimate_bit_for_bit(batch: RowBatch) -> None:
    predicted = np.random.default_rng(0).normal(size=(2, 3))
    found = estimates.relevance_of(batch, predicted, position_based(THETA), clip=0.1)
    np.testing.assert_array_equal(found, relevance_estimates(batch, predicted, THETA, clip=0.1))


def test_self_normalised_divides_by_the_mean_weight_of_the_batch(batch: RowBatch) -> None:
    found = estimates.relevance_of(batch, np.zeros((2, 3)), position_based(THETA), clip=0.1, kind="self_normalised")
    mean = (1.0 / 0.5 + 0.4 / 0.1 + 1.0 / 0.9) / 5
    np.testing.assert_allclose(found, np.array([[1.0 / 0.5, 0.0, 0.0], [0.5 / 0.9, 0.0, 0.0]]) / mean)


def test_a_half_life_is_a_half_life(event: Callable[..., EventRow]) -> None:
    # 1 now, 0 one half-life ago: 1 / (1 + 1/2). Applied twice it would be 1 / (1 + 1/4)
    rows = [event(np.zeros((1, 1)), rewards=[c], exposure=[1.0]) for c in (1.0, 0.0)]
    kappa = estimates.recency_weights(np.array([100.0, 40.0]), now=100.0, half_life_s=60.0)
    assert kappa.tolist() == [1.0, 0.5]
    both = stack_rows(rows)
    found = estimates.estimated_fractions(both, np.zeros((2, 1)), position_based(THETA), clip=0.1, kind="ips")
    pairs = estimates.pair_estimates(both, np.full((2, 1), 7, dtype=np.uint64), found, kappa)
    assert pairs.relevance.tolist() == [pytest.approx(2.0 / 3.0)]
    # time that passes for all alike changes no estimate
    later = estimates.recency_weights(np.array([100.0, 40.0]), now=400.0, half_life_s=60.0)
    again = estimates.pair_estimates(both, np.full((2, 1), 7, dtype=np.uint64), found, later)
    np.testing.assert_allclose(again.relevance, pairs.relevance)


def test_pairs_are_kept_apart_and_nothing_said_is_0(batch: RowBatch) -> None:
    documents = np.array([[5, 6, 7], [5, 6, 0]], dtype=np.uint64)
    found = Fractions(np.array([[1.0, 2.0, 0.0], [4.0, 0.0, 9.0]]), np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 9.0]]))
    pairs = estimates.pair_estimates(batch, documents, found, np.ones(2))
    assert pairs.document.tolist() == [5, 6, 7]
    assert pairs.relevance.tolist() == [2.5, 1.0, 0.0]


def test_a_dislike_has_its_own_examination(event: Callable[..., EventRow]) -> None:
    # shown second, disliked: examined by .5 when it comes to dislikes, with exposure .25
    one = stack_rows([event(np.zeros((2, 1)), rewards=[0.0, 0.0], exposure=[0.5, 0.5])])
    likes, dislikes = estimates.channels_of(np.array([[0.8, -1.0]]))
    assert (likes.tolist(), dislikes.tolist()) == ([[0.8, 0.0]], [[0.0, 1.0]])
    nothing, own = np.zeros((1, 2)), ClickModel(np.array([0.6, 0.5]), np.zeros(2))
    found = estimates.utility_of(
        one,
        Channel(likes, np.array([[0.5, 0.5]]), nothing, position_based(THETA)),
        Channel(dislikes, np.array([[0.3, 0.25]]), nothing, own),
        cost=2.0,
        clip=0.1,
        kind="ips",
    )
    np.testing.assert_allclose(found, [[0.8 / 0.5, -2.0 * 1.0 / 0.25]])


@pytest.mark.parametrize(
    ("changed", "field"),
    [({"kind": "best"}, "kind"), ({"clip": 0.0}, "clip"), ({"clip": True}, "clip"), ({"clip": np.nan}, "clip")],
)
def test_what_can_not_be_estimated_is_named(batch: RowBatch, changed: dict[str, object], field: str) -> None:
    with pytest.raises(LearningError) as caught:
        estimates.relevance_of(batch, np.zeros((2, 3)), position_based(THETA), **{"clip": 0.1, **changed})
    assert caught.value.field == field


def test_shown_without_exposure_is_refused_by_ips(event: Callable[..., EventRow]) -> None:
    one = stack_rows([event(np.zeros((1, 1)), rewards=[1.0], exposure=[0.0])])
    with pytest.raises(LearningError, match="no exposure"):
        estimates.relevance_of(one, np.zeros((1, 1)), position_based(THETA), clip=0.1, kind="ips")


@pytest.mark.parametrize("half_life", [0.0, -1.0])
def test_a_half_life_is_above_0(half_life: float) -> None:
    with pytest.raises(LearningError, match="half-life"):
        estimates.recency_weights(np.zeros(1), now=0.0, half_life_s=half_life)


def test_trust_is_taken_off_and_relevance_comes_back(event: Callable[..., EventRow]) -> None:
    # P(click | d, k) = theta_k (e+_k r + e-_k (1 - r)); e- is .6 / k down to the tenth position, and no less below it
    theta = 1.0 / np.arange(1.0, 13.0)
    clicks = estimates.trusting(theta, relevant=0.9, irrelevant=0.6)
    mistaken = np.array([0.6 / min(k, 10) for k in range(1, 13)])
    relevance = np.linspace(0.0, 1.0, 12)
    seen = theta * (0.9 * relevance + mistaken * (1.0 - relevance))
    np.testing.assert_allclose(clicks.alpha * relevance + clicks.beta, seen, rtol=1e-12)
    # a log that is fixed: exposure is alpha, so the expected clicks give the relevance back, and theta alone does not
    one = stack_rows([event(np.zeros((12, 1)), rewards=seen, exposure=clicks.alpha)])
    found = estimates.relevance_of(one, np.zeros((1, 12)), clicks, clip=0.01, kind="ips")
    np.testing.assert_allclose(found[0], relevance, atol=1e-12)
    naive = estimates.relevance_of(
        replace(one, exposure=theta[None, :]), np.zeros((1, 12)), position_based(theta), clip=0.01, kind="ips"
    )
    assert naive[0, 0] > 0.5  # irrelevant, and believed for standing first


@pytest.mark.parametrize(("irrelevant", "relevant"), [(-0.1, 0.5), (0.5, 0.5), (0.2, 1.1), (np.nan, 0.5)])
def test_trust_that_is_none_is_refused(irrelevant: float, relevant: float) -> None:
    with pytest.raises(LearningError, match="less often"):
        estimates.trusting(np.ones(2), relevant=relevant, irrelevant=irrelevant)
