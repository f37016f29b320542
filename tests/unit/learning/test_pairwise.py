"""The pairwise objective's gradient against finite differences, and what a pair counts."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from dwell.learning.learner import Sampled, position_values
from dwell.learning.pairwise import pairs_of, pairwise_logistic
from dwell.learning.pl_rank import Rankings
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow, RowBatch, stack_rows

THETA = np.array([1.0, 0.5, 0.25])


@pytest.fixture
def batch(event: Callable[..., EventRow]) -> RowBatch:
    """Two lists: four documents of which two stand for several, and a short one."""
    long = event(np.zeros((4, 2)), rewards=[1.0, 0.0], inclusion=[1.0, 1.0, 0.5, 0.2], n_shown=3)
    return stack_rows([long, event(np.zeros((2, 2)), rewards=[0.0, 1.0], n_shown=2)])


def sampled(batch: RowBatch, z: FloatArray, credit: FloatArray, exposure: FloatArray | None = None) -> Sampled:
    """What an objective sees when the plain log weights are z; every document is inside the region by default."""
    log_weight = np.where(batch.is_document, z + batch.log_stand_in, -np.inf)
    rankings = Rankings(np.zeros((*z.shape[:1], 1, z.shape[1]), dtype=np.int64), np.exp(log_weight), log_weight)
    same = np.full(z.shape, 0.5)
    exposure = same if exposure is None else exposure
    return Sampled(batch, rankings, credit, credit, exposure, same, position_values(batch, THETA), 1.0)


Z = np.array([[0.0, -0.4, -1.3, -0.2], [-0.7, 0.0, 0.0, 0.0]])
CREDIT = np.array([[0.6, -0.5, 0.1, -0.2], [-0.3, 0.3, 0.0, 0.0]])


def objective(z: FloatArray, batch: RowBatch) -> float:
    """J of all lists, pair by pair, every candidate written out."""
    total = 0.0
    for i, n in enumerate(batch.is_document.sum(axis=1)):
        counts = batch.stand_in[i]
        for a, b in itertools.permutations(range(n), 2):
            if CREDIT[i, a] > CREDIT[i, b]:
                both = counts[a] * counts[b] * (CREDIT[i, a] - CREDIT[i, b])
                total -= both * np.log1p(np.exp(z[i, b] - z[i, a])) / counts[:n].sum()
    return total


def test_the_gradient_is_that_of_the_objective(batch: RowBatch) -> None:
    found = pairwise_logistic(sampled(batch, Z, CREDIT))
    step = 1e-5
    for place in itertools.product(range(2), range(4)):
        up, down = Z.copy(), Z.copy()
        up[place] += step
        down[place] -= step
        slope = (objective(up, batch) - objective(down, batch)) / (2.0 * step)
        assert found[place] == pytest.approx(slope, rel=1e-7, abs=1e-9)
    np.testing.assert_allclose(found.sum(axis=1), 0.0, atol=1e-12)
    assert (found[1, 2:] == 0.0).all()


def test_a_pair_is_dropped_that_would_leave_the_trust_region(batch: RowBatch) -> None:
    # with eps 1 a document may not rise beyond twice its safe exposure, nor fall below half of it
    exposure = np.full((2, 4), 0.5)
    exposure[0, 0], exposure[0, 1] = 1.2, 0.1
    weight = pairs_of(sampled(batch, Z, CREDIT, exposure)).weight
    assert (weight[0, 0] == 0.0).all()  # the best may not rise: it is no pair's first
    assert (weight[0, :, 1] == 0.0).all()  # the worst may not fall: it is no pair's second
    assert weight[0, 2, 3] == pytest.approx(2.0 * 5.0 * 0.3)
    assert weight[1, 1, 0] == pytest.approx(0.6)


def test_scores_that_are_far_apart_do_not_overflow(batch: RowBatch) -> None:
    found = pairwise_logistic(sampled(batch, 1e5 * Z, CREDIT))
    assert np.isfinite(found).all()
