"""Trees: what they are trained on, their bytes, and what is refused by name."""

import builtins
import importlib

import numpy as np
import pytest

from dwell.errors import ConfigError, DivergedError, LearningError, MissingDependencyError
from dwell.learning.predictor import Predictor
from dwell.learning.relevance import exposure_clip, relevance_estimates
from dwell.learning.trees import TreeRows, TreeScorer, TreeSettings, learn_trees, tree_rows
from dwell.testing.learner_world import LearnerWorld, closed_events, fitted_predictors, lists_of

WORLD = LearnerWorld(truth=np.array([0.6, 0.0, -0.8]), theta=np.array([1.0, 0.5, 0.25]), n_documents=6)
START = np.array([1.0, 0.0, 0.0])
NAMES = ("a", "b", "c")
KINDS = ("lightgbm", "xgboost")
BOTH = pytest.mark.parametrize("kind", KINDS)


def rows_of(n: int = 300) -> TreeRows:
    events = closed_events(WORLD, START, n, np.random.default_rng(0))
    return tree_rows(
        [lists_of(events[: n // 2], START), lists_of(events[n // 2 :], START)],
        fitted_predictors(events, WORLD.theta),
        theta=WORLD.theta,
        n_events=float(n),
    )


def grown(kind: str, rows: TreeRows | None = None, **changes: object) -> TreeScorer:
    settings = TreeSettings(**{"kind": kind, "n_rounds": 20, "min_documents": 20, **changes})
    return learn_trees(rows_of() if rows is None else rows, NAMES, settings)


def test_rows_are_the_documents_with_the_relevance_that_every_learner_is_given() -> None:
    events = closed_events(WORLD, START, 4, np.random.default_rng(0))
    lists = lists_of(events, START)._replace(weights=np.array([0.5, 1.0, 1.0, 1.5]))
    lists.batch.is_document[1, 4:] = False  # a shorter list
    lists.batch.log_stand_in[0, 5] = np.log(3.0)
    lists.batch.log_stand_in[1, 4:] = -np.inf
    nothing = Predictor(np.array([0.1, 0.0, 0.0, 0.2]))
    found = tree_rows([lists], (nothing, nothing), theta=WORLD.theta, n_events=1e4)
    due = relevance_estimates(lists.batch, nothing.predict(lists.phi), WORLD.theta, clip=exposure_clip(1e4))
    assert found.groups.tolist() == [6, 4, 6, 6]
    np.testing.assert_allclose(found.relevance[:6], due[0], rtol=1e-12)
    np.testing.assert_array_equal(found.features[6:10], lists.batch.features[1, :4])
    np.testing.assert_allclose(found.weights, [0.5] * 5 + [1.5] + [1.0] * 10 + [1.5] * 6, rtol=1e-12)


def test_no_list_is_refused() -> None:
    with pytest.raises(LearningError, match="no list"):
        tree_rows([], (Predictor(np.zeros(4)),) * 2, theta=WORLD.theta, n_events=1.0)


def test_an_infinite_feature_is_refused_and_a_missing_one_is_kept() -> None:
    events = closed_events(WORLD, START, 3, np.random.default_rng(0))
    lists = lists_of(events, START)
    nothing = (Predictor(np.zeros(4)),) * 2
    lists.batch.features[0, 0, 0] = np.nan
    assert np.isnan(tree_rows([lists], nothing, theta=WORLD.theta, n_events=3.0).features[0, 0])
    lists.batch.features[0, 0, 0] = np.inf
    with pytest.raises(DivergedError, match="features"):
        tree_rows([lists], nothing, theta=WORLD.theta, n_events=3.0)
    lists.batch.features[0, 0, 0] = 0.0
    lists.batch.rewards[1, 1] = np.nan
    with pytest.raises(DivergedError, match="rewards"):
        tree_rows([lists], nothing, theta=WORLD.theta, n_events=3.0)


@BOTH
def test_regression_finds_the_weighted_mean_of_the_estimates(kind: str) -> None:
    # one feature, two values; a tree that is grown to the end predicts the weighted mean of each
    x = np.repeat(np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], dtype=np.float32), 100, axis=0)
    relevance = np.tile([1.0, -5.0, 9.0, 3.0], 50) + 4.0 * x[:, 0]
    weights = np.tile([1.0, 2.0, 0.5, 1.0], 50)
    rows = TreeRows(x, relevance, weights, np.full(20, 10))
    found = grown(kind, rows, n_rounds=400, learning_rate=0.1, min_documents=2).score(x[[0, 100]])
    mean = (1.0 - 10.0 + 4.5 + 3.0) / 4.5
    np.testing.assert_allclose(found, [mean, mean + 4.0], atol=0.05)


@BOTH
@pytest.mark.parametrize("objective", ["regression", "lambdarank"])
def test_trees_prefer_what_users_want(kind: str, objective: str) -> None:
    scorer = grown(kind, objective=objective)
    x = np.random.default_rng(3).normal(size=(500, 3)).astype(np.float32)
    assert np.corrcoef(scorer.score(x), x @ WORLD.truth)[0, 1] > 0.5


@BOTH
def test_trees_survive_as_bytes_to_the_bit(kind: str) -> None:
    scorer = grown(kind)
    x = np.random.default_rng(3).normal(size=(200, 3)).astype(np.float32)
    x[0, 0] = np.nan
    again = TreeScorer.from_bytes(scorer.to_bytes())
    assert again.score(x).tobytes() == scorer.score(x).tobytes()
    assert (again.kind, again.feature_names) == (kind, NAMES)
    assert again.to_bytes() == scorer.to_bytes()


@BOTH
def test_the_same_rows_give_the_same_bytes(kind: str) -> None:
    assert grown(kind).to_bytes() == grown(kind).to_bytes()


def test_bytes_that_are_no_trees_are_refused_by_name() -> None:
    data = grown("lightgbm").to_bytes()
    damaged = bytearray(data)
    damaged[-5] ^= 1
    for wrong in (b"", b"pickle", data[:-1], bytes(damaged), data.replace(b'"lightgbm"', b'"catboost"', 1)):
        with pytest.raises(LearningError) as caught:
            TreeScorer.from_bytes(wrong)
        assert caught.value.code == "tree_bytes"


@pytest.mark.parametrize(("kind", "extra"), [("lightgbm", "dwell[trees]"), ("xgboost", "dwell[xgboost]")])
def test_a_library_that_is_absent_is_named_with_the_command(
    kind: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, there = rows_of(20), importlib.import_module

    def absent(name: str, *rest: object) -> object:
        if name == kind:
            raise ImportError(name)
        return there(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingDependencyError, match="is not installed") as caught:
        learn_trees(rows, NAMES, TreeSettings(kind=kind))
    assert f'pip install "{extra}"' in str(caught.value)
    assert isinstance(caught.value, builtins.ImportError)


@BOTH
def test_columns_and_names_are_equally_many(kind: str) -> None:
    with pytest.raises(LearningError, match="equally many"):
        learn_trees(rows_of(20), ("a", "b"), TreeSettings(kind=kind))


@BOTH
def test_an_infinite_feature_has_no_score(kind: str) -> None:
    with pytest.raises(LearningError, match="infinite"):
        grown(kind).score(np.array([[np.inf, 0.0, 0.0]]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "catboost"),
        ("objective", "ndcg"),
        ("n_rounds", 0),
        ("n_rounds", True),
        ("n_rounds", 10.0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("n_leaves", 1),
        ("min_documents", 0),
        ("seed", -1),
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        TreeSettings(**{name: value})
    assert caught.value.field == f"trees.{name}"
