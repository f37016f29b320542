"""Whatever scores documents keeps the promises of a scorer, and one with a fault does not."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pytest

from dwell.learning.protocol import Scorer
from dwell.learning.transform import fit_transform
from dwell.learning.trees import TreeKind, TreeScorer, TreeSettings, learn_trees, tree_rows
from dwell.records import Params
from dwell.records.arrays import FloatArray
from dwell.testing.learner_world import LearnerWorld, closed_events, fitted_predictors, lists_of
from dwell.testing.ranker_contract import RankerContract

NAMES = ("a", "b", "c", "d")
WEIGHTS = dict(zip(NAMES, (0.5, -0.5, 0.1, 0.7), strict=True))


@lru_cache(maxsize=2)
def _trees(kind: TreeKind) -> bytes:
    world = LearnerWorld(truth=np.array([0.5, -0.5, 0.5, -0.5]), theta=np.array([1.0, 0.5, 0.25]))
    start = np.array([1.0, 0.0, 0.0, 0.0])
    events = closed_events(world, start, 200, np.random.default_rng(0))
    rows = tree_rows(
        [lists_of(events, start)], fitted_predictors(events, world.theta), theta=world.theta, n_events=200.0
    )
    return learn_trees(rows, NAMES, TreeSettings(kind=kind, n_rounds=10, min_documents=20)).to_bytes()


class TestGivenParams(RankerContract):
    def ranker(self) -> Scorer:
        return Params(version=1, weights=WEIGHTS)


class TestLearnedParams(RankerContract):
    def ranker(self) -> Scorer:
        transform = fit_transform(np.random.default_rng(1).normal(size=(300, 4)))
        return Params(version=2, weights=WEIGHTS, transform=transform, origin="learned", parent=1)


class TestLightGbm(RankerContract):
    def ranker(self) -> Scorer:
        return TreeScorer.from_bytes(_trees("lightgbm"))


class TestXgBoost(RankerContract):
    def ranker(self) -> Scorer:
        return TreeScorer.from_bytes(_trees("xgboost"))


class _Faulty:
    def __init__(self, fault: Callable[[FloatArray], FloatArray]) -> None:
        self._fault = fault

    def score(self, features: npt.NDArray[np.floating]) -> FloatArray:
        return self._fault(features)


def _scribbles(features: npt.NDArray[np.floating]) -> FloatArray:
    features[...] = 0.0
    return np.zeros(len(features))


@pytest.mark.parametrize(
    ("fault", "caught_by"),
    [
        (lambda x: x.sum(axis=1), "test_a_score_per_document"),  # float32
        (lambda x: np.zeros(len(x)), "test_a_score_per_document"),
        (
            lambda x: x.sum(axis=1) + np.random.default_rng().normal(size=len(x)),
            "test_the_same_documents_have_the_same_scores",
        ),
        (
            lambda x: x.sum(axis=1) + np.random.default_rng().normal(size=len(x)),
            "test_two_of_them_made_alike_agree",
        ),
        (lambda x: x[:, 0] - x[:, 0].mean(), "test_a_score_does_not_depend_on_the_other_documents"),
        (_scribbles, "test_what_it_was_given_is_not_changed"),
        (lambda x: np.ones(max(len(x), 1)), "test_no_document_has_no_score"),
        (lambda x: x.sum(axis=1) * x.dtype.itemsize, "test_doubles_that_floats_can_hold_are_the_same"),
        (lambda x: x.sum(axis=1), "test_a_missing_feature_is_no_obstacle"),
        (lambda x: x.sum(axis=1), "test_another_number_of_features_is_refused"),
    ],
)
def test_the_contract_catches(fault: Callable[[FloatArray], FloatArray], caught_by: str) -> None:
    class Broken(RankerContract):
        def ranker(self) -> Scorer:
            return _Faulty(fault)

    with pytest.raises(AssertionError):
        getattr(Broken(), caught_by)()
