"""LambdaLoss: positions, weights and gradient against what they are by definition."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from dwell.learning.lambda_loss import lambda_loss, lambda_weights, positions_of
from dwell.learning.learner import Sampled, position_values
from dwell.learning.pl_rank import Rankings
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow, RowBatch, stack_rows

THETA = np.array([1.0, 0.5, 0.25])
Z = np.array([[-0.4, 0.0, -1.3, -0.2], [-0.7, 0.0, 0.0, 0.0]])
CREDIT = np.array([[0.6, -0.5, 0.1, -0.2], [-0.3, 0.3, 0.0, 0.0]])


@pytest.fixture
def batch(event: Callable[..., EventRow]) -> RowBatch:
    return stack_rows([event(np.zeros((4, 2)), rewards=[1.0, 0.0, 0.0]), event(np.zeros((2, 2)), rewards=[0.0, 1.0])])


def sampled(batch: RowBatch, z: FloatArray) -> Sampled:
    log_weight = np.where(batch.is_document, z, -np.inf)
    rankings = Rankings(np.zeros((2, 1, 4), dtype=np.int64), np.exp(log_weight), log_weight)
    same = np.full(z.shape, 0.5)
    return Sampled(batch, rankings, CREDIT, CREDIT, same, same, position_values(batch, THETA), 1.0)


def value(position: int, n_shown: int) -> float:
    return float(THETA[position - 1]) if 1 <= position <= min(n_shown, 3) else 0.0


def objective(z: FloatArray, batch: RowBatch) -> float:
    """J of all lists by its definition, the positions being those at Z."""
    total = 0.0
    for i, n in enumerate(batch.is_document.sum(axis=1)):
        shown = int(batch.n_shown[i])
        place = {int(d): p for p, d in enumerate(np.argsort(-Z[i, :n]), 1)}
        for a, b in itertools.permutations(range(n), 2):
            if CREDIT[i, a] > CREDIT[i, b]:
                apart = abs(place[a] - place[b])
                rho = abs(value(place[a], shown) - value(place[b], shown))
                delta = abs(value(apart, shown) - value(apart + 1, shown))
                weight = (CREDIT[i, a] - CREDIT[i, b]) * (rho + 10.0 * delta)
                total -= weight * np.log1p(np.exp(z[i, b] - z[i, a]))
    return total


def test_the_gradient_is_that_of_the_objective_with_positions_held(batch: RowBatch) -> None:
    found = lambda_loss(sampled(batch, Z))
    step = 1e-5
    for place in itertools.product(range(2), range(4)):
        up, down = Z.copy(), Z.copy()
        up[place] += step
        down[place] -= step
        slope = (objective(up, batch) - objective(down, batch)) / (2.0 * step)
        assert found[place] == pytest.approx(slope, rel=1e-7, abs=1e-9)
    np.testing.assert_allclose(found.sum(axis=1), 0.0, atol=1e-12)


def test_positions_follow_the_scores_and_leave_out_what_is_no_document(batch: RowBatch) -> None:
    assert positions_of(Z, batch).tolist() == [[3.0, 1.0, 4.0, 2.0], [2.0, 1.0, 0.0, 0.0]]


def test_who_stands_for_several_takes_up_their_positions(event: Callable[..., EventRow]) -> None:
    # the best stands for itself, the second for 3: positions 2, 3 and 4, their middle is 3; the last is fifth
    row = event(np.zeros((3, 1)), rewards=[1.0], inclusion=[1.0, 1.0 / 3.0, 1.0])
    found = positions_of(np.array([[0.0, -1.0, -2.0]]), stack_rows([row]))
    np.testing.assert_allclose(found, [[1.0, 3.0, 5.0]], rtol=1e-12)


def test_exchanging_neighbours_at_the_top_counts_most() -> None:
    weights = lambda_weights(np.arange(1.0, 5.0)[None], np.array([[1.0, 0.5, 0.25, 0.0]]))[0]
    # rho + 10 delta: neighbours differ by theta(1) - theta(2) in delta
    assert weights[0, 1] == pytest.approx(0.5 + 10.0 * 0.5)
    assert weights[2, 3] == pytest.approx(0.25 + 10.0 * 0.5)
    assert weights[0, 2] == pytest.approx(0.75 + 10.0 * 0.25)
    np.testing.assert_array_equal(weights, weights.T)
