"""The oracle, the logs and the tiny world that estimators are checked against."""

import itertools
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from dwell.records.arrays import BoolArray, FloatArray, IntArray

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "benchmarks"))

from _open_bandit_obp import Obp, obp_or_none


@pytest.fixture(scope="session")
def obp() -> Obp:
    """Return obp's estimators: an implementation by other hands."""
    found = obp_or_none()
    if found is None:
        pytest.skip("obp is not installed: pip install --no-deps obp==0.4.1")
    return found


class ActionLog(NamedTuple):
    """A log of single actions, as obp takes it and as ours does."""

    actions: IntArray
    rewards: FloatArray
    propensities: FloatArray
    target: FloatArray  # (n, a) probabilities
    predictions: FloatArray  # (n, a)

    @property
    def n(self) -> int:
        return self.rewards.size

    @property
    def target_probabilities(self) -> FloatArray:
        return self.target[np.arange(self.n), self.actions]

    @property
    def ours(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        return self.rewards, self.propensities, self.target_probabilities

    @property
    def predicted(self) -> tuple[FloatArray, FloatArray]:
        return self.predictions[np.arange(self.n), self.actions], (self.predictions * self.target).sum(axis=1)

    @property
    def theirs(self) -> dict[str, Any]:
        return {
            "reward": self.rewards,
            "action": self.actions,
            "pscore": self.propensities,
            "action_dist": self.target[:, :, None],
            "position": np.zeros(self.n, dtype=int),
            "estimated_rewards_by_reg_model": self.predictions[:, :, None],
        }


@pytest.fixture
def action_log() -> ActionLog:
    """Return 400 events of 5 actions with a context each; weights up to some dozens."""
    rng = np.random.default_rng(5)
    n, a = 400, 5
    logging, target = rng.dirichlet(np.full(a, 1.0), n), rng.dirichlet(np.full(a, 0.7), n)
    actions = (rng.random(n)[:, None] > logging.cumsum(axis=1)[:, :-1]).sum(axis=1)
    means = rng.random((n, a))
    return ActionLog(
        actions=actions,
        rewards=rng.normal(means[np.arange(n), actions], 0.3),
        propensities=logging[np.arange(n), actions],
        target=target,
        predictions=means + rng.normal(0.0, 0.2, (n, a)),
    )


class Ranking(NamedTuple):
    """One ranking of the tiny world with everything that a policy says of it."""

    order: tuple[int, ...]
    logged: FloatArray  # (k,) conditional probabilities
    target: FloatArray


class TinyWorld(NamedTuple):
    """Two Plackett-Luce policies on 4 documents, 3 shown: 24 rankings, so that every expectation is a sum."""

    rankings: list[Ranking]
    theta: FloatArray

    def marginal(self, which: str) -> FloatArray:
        """P(document at position), (4, 3)."""
        found = np.zeros((4, 3))
        for ranking in self.rankings:
            found[list(ranking.order), range(3)] += getattr(ranking, which).prod()
        return found


@pytest.fixture(scope="session")
def tiny() -> TinyWorld:
    logged, target = np.array([0.9, 0.2, 0.0, -0.7]), np.array([-0.5, 0.4, 1.3, 0.1])
    rankings = []
    for order in itertools.permutations(range(4), 3):
        steps = []
        for scores in (logged, target):
            mass = np.exp(scores)
            left = [mass.sum() - mass[list(order[:k])].sum() for k in range(3)]
            steps.append(mass[list(order)] / left)
        rankings.append(Ranking(order, *steps))
    return TinyWorld(rankings, np.array([1.0, 0.6, 0.3]))


class ListLog(NamedTuple):
    """Lists of up to 4 positions with conditional and marginal probabilities."""

    rewards: FloatArray
    propensities: FloatArray
    target_probabilities: FloatArray
    is_shown: BoolArray


@pytest.fixture
def list_log() -> ListLog:
    rng = np.random.default_rng(8)
    n, k = 300, 4
    is_shown = np.arange(k) < rng.integers(1, k + 1, n)[:, None]
    return ListLog(
        rewards=rng.random((n, k)) * is_shown,
        propensities=rng.uniform(0.1, 1.0, (n, k)),
        target_probabilities=rng.uniform(0.0, 1.0, (n, k)),
        is_shown=is_shown,
    )
