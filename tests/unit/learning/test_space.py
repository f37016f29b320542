"""Where weights are learned, and the way there and back."""

import numpy as np
import pytest

from dwell.activation import FEATURES
from dwell.learning.space import Space, equal_weights, space_for
from dwell.learning.transform import fit_transform
from dwell.ranking import policy_scores
from dwell.records import Params

NAMES = ("bm25", "cosine", "age")
ROWS = np.random.default_rng(0).standard_t(3, size=(500, 3)) * [5.0, 0.1, 100.0] + [10.0, 0.5, 300.0]
LISTS = ROWS[:60].reshape(4, 15, 3)


def given(**weights: float) -> Params:
    return Params(3, dict(zip(NAMES, weights.values(), strict=True)) if weights else dict.fromkeys(NAMES, 1.0))


def test_given_weights_start_exactly_at_the_live_policy() -> None:
    live = given(bm25=2.0, cosine=-7.0, age=0.01)
    space = space_for(live, ROWS)
    start = space.vector(live)
    assert np.linalg.norm(start) == pytest.approx(1.0)
    np.testing.assert_allclose(
        policy_scores(space.phi(LISTS) @ start, 0.3), policy_scores(live.score(LISTS), 0.3), rtol=1e-9, atol=1e-9
    )


def test_the_starting_score_is_standardised_where_the_space_was_fitted() -> None:
    live = given(bm25=2.0, cosine=-7.0, age=0.01)
    last = space_for(live, ROWS).phi(ROWS)[:, -1]
    assert (last.mean(), last.std()) == (pytest.approx(0.0, abs=1e-9), pytest.approx(1.0))


@pytest.mark.parametrize("start", ["given weights", "none"])
def test_vector_to_params_and_back_keeps_the_scores(start: str) -> None:
    live = given(bm25=2.0, cosine=-7.0, age=0.01)
    space = space_for(live, ROWS) if start == "given weights" else Space(NAMES, fit_transform(ROWS))
    vector = np.random.default_rng(1).normal(size=space.size)
    params = space.params(vector, version=4, parent=live, created_at=9.0)
    scores = space.phi(LISTS) @ vector
    # params are kept at norm 1: the scores are those of the vector, divided by its norm
    np.testing.assert_allclose(params.score(LISTS), scores / np.linalg.norm(vector), rtol=1e-9, atol=1e-9)
    assert (np.argsort(params.score(LISTS)) == np.argsort(scores)).all()
    np.testing.assert_allclose(space.vector(params), vector / np.linalg.norm(vector), rtol=1e-12)
    assert params.norm() == pytest.approx(1.0)
    assert (params.version, params.parent, params.origin, params.created_at) == (4, 3, "learned", 9.0)
    assert params.temperature == live.temperature


def test_a_successor_starts_exactly_where_its_parent_is() -> None:
    live = given(bm25=2.0, cosine=-7.0, age=0.01)
    first = space_for(live, ROWS)
    learned = first.params(np.array([0.3, -0.1, 0.2, 0.9]), version=4, parent=live, created_at=0.0)
    second = space_for(learned, ROWS * 50.0)  # other rows: the space of a version never changes
    np.testing.assert_array_equal(second.phi(LISTS), first.phi(LISTS))
    np.testing.assert_allclose(second.phi(LISTS) @ second.vector(learned), learned.score(LISTS), rtol=1e-12)
    # the starting formula lies in the same space: what a rollback compares with
    assert second.vector(live).tolist() == [0.0, 0.0, 0.0, 1.0]


def test_without_a_starting_formula_all_features_count_the_same() -> None:
    live = Params(0, dict.fromkeys(NAMES, 0.0), origin="caller-order")
    space = space_for(live, ROWS)
    assert space.size == 3
    np.testing.assert_allclose(space.vector(live), 3**-0.5)
    equal = equal_weights(NAMES, space.transform, parent=live, created_at=5.0)
    np.testing.assert_allclose(space.vector(equal), 3**-0.5)
    assert (equal.version, equal.parent, equal.origin, equal.created_at) == (1, 0, "standardised", 5.0)
    np.testing.assert_allclose(equal.score(LISTS), space.phi(LISTS).sum(axis=-1) * 3**-0.5, rtol=1e-12)


def test_given_weights_that_score_everything_the_same_still_make_a_space() -> None:
    live = given(bm25=0.0, cosine=0.0, age=0.0)
    space = space_for(live, ROWS)
    assert (space.phi(LISTS)[..., -1] == 0.0).all()
    assert np.isfinite(space.phi(LISTS)).all()


def test_missing_values_add_nothing() -> None:
    live = given(bm25=2.0, cosine=1.0, age=0.0)
    space = space_for(live, ROWS)
    row = np.array([[3.0, np.nan, np.nan]])
    raw = (3.0 * 2.0 - space.raw_mean) / space.raw_sd
    np.testing.assert_allclose(space.phi(row)[0, 1:], [0.0, 0.0, raw])
    params = space.params(np.array([1.0, 1.0, 1.0, 1.0]), version=1, parent=live, created_at=0.0)
    np.testing.assert_allclose(params.score(row), space.phi(row).sum() / 2.0)


def test_one_feature() -> None:
    live = Params(1, {"only": -2.0})
    space = space_for(live, ROWS[:, :1])
    assert space.phi(ROWS[:, :1]).shape == (500, 2)
    assert space.vector(live).tolist() == [0.0, 1.0]


def test_a_feature_that_came_later_is_mapped_once_it_varies_and_no_score_changes() -> None:
    rng = np.random.default_rng(4)
    early = np.column_stack([rng.normal(size=200), np.zeros(200), rng.normal(size=200)])
    live = Params(
        version=3,
        weights={"a": 0.8, "later": 0.0, "b": -0.6},
        transform=fit_transform(early),
        origin="learned",
    )
    assert live.transform is not None
    assert live.transform.knots[1].size == 1
    now = np.column_stack([rng.normal(size=200), rng.lognormal(size=200), rng.normal(size=200)])
    space = space_for(live, now)
    mapped = space.phi(now)[:, 1]
    assert mapped.std() == pytest.approx(1.0, abs=0.05)
    order = np.argsort(now[:, 1])
    assert (np.diff(mapped[order]) >= 0.0).all()
    # the columns that were known keep their map, bit by bit, and the live params their scores
    for column in (0, 2):
        assert space.transform.knots[column] is live.transform.knots[column]
    again = space.params(space.vector(live), version=4, parent=live, created_at=0.0)
    np.testing.assert_allclose(again.score(now), live.score(now), rtol=1e-12, atol=1e-12)
    # one that has a weight, or still does not vary, stays as it is
    weighted = Params(version=3, weights={"a": 0.8, "later": 0.1, "b": -0.6}, transform=live.transform)
    assert space_for(weighted, now).transform.knots[1].size == 1
    assert space_for(live, early).transform.knots[1].size == 1
    # before it existed it was missing: only what is there is fitted
    half = now.copy()
    half[:150, 1] = np.nan
    assert space_for(live, half).transform.knots[1].size > 1


def test_where_there_are_no_weights_yet_the_loops_own_features_have_none() -> None:
    names = ("bm25", "cosine", *FEATURES)
    space = Space(names, fit_transform(np.random.default_rng(1).normal(size=(50, 5))))
    nothing = Params(1, dict.fromkeys(names, 0.0))
    equal = equal_weights(names, space.transform, parent=nothing, created_at=5.0)
    np.testing.assert_allclose(space.vector(nothing), [0.5**0.5, 0.5**0.5, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(space.vector(nothing), space.vector(equal), rtol=1e-12)
    alone = Space(FEATURES, fit_transform(np.random.default_rng(1).normal(size=(50, 3))))
    np.testing.assert_array_equal(alone.vector(Params(1, dict.fromkeys(FEATURES, 0.0))), [1.0, 0.0, 0.0])
