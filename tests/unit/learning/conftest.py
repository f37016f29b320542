"""Small worlds in which everything can be enumerated."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest

from dwell.ranking import conditional_propensities
from dwell.records.arrays import FloatArray, IntArray
from dwell.records.rows import EventRow


def _event(
    features: npt.ArrayLike,
    *,
    rewards: npt.ArrayLike = (),
    exposure: npt.ArrayLike | None = None,
    inclusion: npt.ArrayLike | None = None,
    n_shown: int | None = None,
    **changes: object,
) -> EventRow:
    """Return a closed event: the first len(rewards) documents were served in this order."""
    features = np.asarray(features, dtype=np.float32)
    n, kept = len(features), len(rewards)
    values = {
        "seq": 1,
        "event_id": "e",
        "query_hash": 0,
        "user_hash": 1,
        "served_at": 0.0,
        "features": features,
        "inclusion": np.ones(n) if inclusion is None else np.asarray(inclusion, dtype=np.float64),
        "exposure": np.full(n, 0.5) if exposure is None else np.asarray(exposure, dtype=np.float64),
        "n_kept": kept,
        "n_shown": kept if n_shown is None else n_shown,
        "rewards": np.asarray(rewards, dtype=np.float64),
        "propensities": np.ones(kept),
        "caller_rank": np.arange(float(n)),
        "params_version": 1,
        "temperature": 0.3,
        "is_held_out": False,
        "is_deterministic": False,
        "is_caller_ordered": False,
        "version": 1,
    }
    return EventRow(**{**values, **changes})


def _rankings(log_weights: FloatArray, k: int) -> Iterator[tuple[IntArray, float]]:
    """Return (order, probability) of every ranking of the top k, the others behind in any order."""
    n = log_weights.size
    for top in itertools.permutations(range(n), k):
        rest = [d for d in range(n) if d not in top]
        order = np.array([*top, *rest])
        yield order, float(conditional_propensities(log_weights, order, k).prod())


def _list_reward(log_weights: FloatArray, rewards: FloatArray, values: FloatArray) -> float:
    """Return E[sum of values at rank * reward], by enumeration; values are 0 beyond the end of the list."""
    k = int(np.flatnonzero(values).max(initial=-1)) + 1
    return sum(p * float(values[:k] @ rewards[order[:k]]) for order, p in _rankings(log_weights, k))


@pytest.fixture
def event() -> Callable[..., EventRow]:
    return _event


@pytest.fixture
def rankings() -> Callable[..., Iterator[tuple[IntArray, float]]]:
    return _rankings


@pytest.fixture
def list_reward() -> Callable[..., float]:
    return _list_reward
