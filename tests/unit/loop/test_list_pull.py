from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from dwell.learning.learner import LearnerSettings
from dwell.learning.predictor import Predictor
from dwell.learning.space import Space
from dwell.loop.expected import Expected
from dwell.loop.list_pull import list_pull
from dwell.records import Params
from dwell.records.params import Transform
from dwell.records.rows import EventRow

THETA = np.array([1.0, 0.5, 0.25])
# the map is the identity between -9 and 9, so raw values are standardised ones
MAP = Transform((np.array([-9.0, 9.0]),) * 2, (np.array([-9.0, 9.0]),) * 2, kind="moments")
LIVE = Params(version=3, weights={"x": 0.6, "y": 0.8}, temperature=0.7, transform=MAP, origin="learned")
EXPECTED = Expected(Predictor(np.zeros(3)), Space(("x", "y"), MAP))
FEATURES = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]], dtype=np.float32)
EXPOSURE = np.array([0.6, 0.7, 0.45])  # all above any clip of a thousand events


def row(event_id: str = "e", rewards: tuple[float, ...] = (0.0, 0.0, 0.5)) -> EventRow:
    return EventRow(
        seq=1, event_id=event_id, query_hash=4, user_hash=None, served_at=0.0, features=FEATURES, inclusion=np.ones(3),
        exposure=EXPOSURE, n_kept=3, n_shown=3, rewards=np.array(rewards), propensities=np.ones(3) / 2.0,
        caller_rank=np.arange(3.0), params_version=3, temperature=0.7, is_held_out=False, is_deterministic=False,
        is_caller_ordered=False, version=1,
    )  # fmt: skip


def pulled(given: EventRow, live: Params = LIVE, expected: Expected | None = EXPECTED, **settings: object) -> object:
    return list_pull(
        given, live, expected, theta=THETA, n_events=1000.0, settings=LearnerSettings(**settings)  # type: ignore[arg-type]
    )  # fmt: skip


def expected_reward(w: np.ndarray, relevance: np.ndarray) -> float:
    """By enumeration of the six rankings: sum of P(ranking) times what its documents are worth where they stand."""
    scores = FEATURES.astype(float) @ w
    z = np.exp(scores / (0.7 * scores.std()))
    total = 0.0
    for order in permutations(range(3)):
        p, left = 1.0, z.sum()
        for doc in order:
            p *= z[doc] / left
            left -= z[doc]
        total += p * float(THETA @ relevance[list(order)])
    return total


def test_a_list_pulls_the_way_in_which_its_own_expected_reward_grows() -> None:
    # the predictor expects nothing, so relevance is what was earned over how likely it was looked at
    relevance = np.array([0.0, 0.0, 0.5]) / EXPOSURE
    w, h = np.array([0.6, 0.8]), 1e-5
    slope = [
        (expected_reward(w + h * axis, relevance) - expected_reward(w - h * axis, relevance)) / (2.0 * h)
        for axis in np.eye(2)
    ]
    # 60 lists that differ in nothing but their draws: 15,360 rankings
    found = [pulled(row(f"e{i}")) for i in range(60)]
    each = np.array([[one["x"], one["y"]] for one in found])  # type: ignore[index]
    error = each.std(axis=0, ddof=1) / np.sqrt(60)
    assert (np.abs(each.mean(axis=0) - slope) < 4.0 * error).all()  # false alarm: 1 in 8,000
    assert (error < 0.1 * np.abs(slope).max()).all()


def test_the_same_list_pulls_the_same_way_each_time() -> None:
    assert pulled(row()) == pulled(row())


@pytest.mark.parametrize("settings", [{"objective": "pdgd"}, {"trust_bias": True}, {"negative_weight": 2.0}])
def test_a_learner_whose_steps_are_no_sum_over_such_lists_says_nothing(settings: dict[str, object]) -> None:
    assert pulled(row(), **settings) is None


def test_without_a_predictor_or_with_one_of_other_features_nothing_is_said() -> None:
    assert pulled(row(), expected=None) is None
    assert pulled(row(), live=replace(LIVE, weights={"x": 0.6, "z": 0.8})) is None
    assert pulled(row(), expected=EXPECTED._replace(predictor=Predictor(np.full(3, np.nan)))) is None
