import dataclasses
import math

import numpy as np
import pytest

from dwell.errors import RecordError
from dwell.records import Adjustment, LowRank, Params, RawScore, Transform
from dwell.records.arrays import FloatArray

LINE = Transform(
    knots=(np.array([0.0, 10.0]), np.array([-1.0, 0.0, 3.0])),
    levels=(np.array([-2.0, 2.0]), np.array([-1.5, 0.0, 1.0])),
)


def test_given_weights_act_on_raw_values() -> None:
    params = Params(1, {"bm25": 2.0, "age": -0.5})
    features = np.array([[7.0, 4.0], [0.0, 2.0]])
    assert params.score(features).tolist() == [2.0 * 7.0 - 0.5 * 4.0, -0.5 * 2.0]
    assert params.feature_names == ("bm25", "age")
    assert params.vector.tolist() == [2.0, -0.5]


def test_scores_have_the_shape_of_the_lists() -> None:
    params = Params(1, {"a": 1.0, "b": 1.0})
    assert params.score(np.zeros((3, 5, 2))).shape == (3, 5)
    assert params.score(np.zeros((0, 2))).shape == (0,)
    assert params.score(np.float32([[1, 2]])).dtype == np.float64


def test_a_transform_is_linear_between_its_knots_and_flat_outside() -> None:
    mapped = LINE.apply(np.array([[2.5, 1.5], [-100.0, 1e12], [10.0, -0.5]]))
    expected = [[-2.0 + 4.0 * 0.25, 1.5 / 3.0], [-2.0, 1.0], [2.0, -0.75]]
    np.testing.assert_allclose(mapped, expected, rtol=1e-15)


def test_a_missing_feature_becomes_the_mean_and_touches_no_other() -> None:
    features = np.array([[np.nan, 1.5], [10.0, np.nan]])
    np.testing.assert_allclose(LINE.apply(features), [[0.0, 0.5], [2.0, 0.0]], rtol=1e-15)


def test_a_transform_keeps_shape_and_leaves_its_input_alone() -> None:
    features = np.float32([[[1.0, 2.0]], [[3.0, np.nan]]])
    before = features.copy()
    assert LINE.apply(features).shape == (2, 1, 2)
    np.testing.assert_array_equal(features, before)


@pytest.mark.parametrize("shape", [(1, 2), (3, 2), (2, 1, 2), (1, 1, 2)])
def test_no_number_of_documents_lets_a_transform_write_into_its_input(shape: tuple[int, ...]) -> None:
    # the transpose of a single row is contiguous already: a view of the caller's array unless it is copied
    features = np.full(shape, 5.0)
    LINE.apply(features)
    assert (features == 5.0).all()


def test_learned_weights_act_on_standardised_values_and_the_starting_score() -> None:
    raw = RawScore(weights=(0.5, 2.0), mean=3.0, sd=4.0, coefficient=0.25)
    params = Params(2, {"a": 1.0, "b": -2.0}, transform=LINE, raw_score=raw, origin="learned")
    a, b = 2.5, 1.5
    standardised = 1.0 * (-2.0 + 4.0 * 0.25) - 2.0 * (1.5 / 3.0)
    starting = 0.25 * ((0.5 * a + 2.0 * b) - 3.0) / 4.0
    assert params.score(np.array([[a, b]])).tolist() == pytest.approx([standardised + starting], rel=1e-15)
    assert params.norm() == pytest.approx(math.sqrt(1.0 + 4.0 + 0.25**2), rel=1e-15)


def test_a_missing_feature_counts_as_zero_in_the_starting_score() -> None:
    raw = RawScore(weights=(1.0, 1.0), mean=0.0, sd=1.0, coefficient=1.0)
    params = Params(2, {"a": 0.0, "b": 0.0}, transform=LINE, raw_score=raw)
    assert params.score(np.array([[np.nan, 5.0]])).tolist() == [5.0]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"weights": {"id": 1.0}}, "feature_schema"),
        ({"weights": {"": 1.0}}, "id"),
        ({"weights": {"a\n": 1.0}}, "id"),
        ({"weights": {7: 1.0}}, "type"),
        ({"weights": {"a": math.nan}}, "non_finite"),
        ({"weights": {"a": math.inf}}, "non_finite"),
        ({"weights": {"a": True}}, "type"),
        ({"weights": {"a": "1"}}, "type"),
        ({"weights": {str(i): 0.0 for i in range(1_025)}}, "feature_schema"),
        ({"temperature": -0.1}, "range"),
        ({"temperature": math.nan}, "non_finite"),
        ({"temperature": True}, "type"),
        ({"weights": {"a": 1.0}, "transform": LINE}, "feature_schema"),
        ({"raw_score": RawScore((1.0,), 0.0, 1.0, 1.0)}, "feature_schema"),
        ({"transform": "gauss"}, "type"),
        ({"raw_score": 1.0}, "type"),
        ({"version": -1}, "range"),
        ({"version": 2**63}, "range"),
        ({"version": 1.0}, "type"),
        ({"version": True}, "type"),
        ({"parent": -1}, "range"),
        ({"origin": "mine"}, "params_bounds"),
        ({"created_at": math.nan}, "non_finite"),
    ],
)
def test_bad_params_are_refused_with_code_and_remedy(changes: dict[str, object], code: str) -> None:
    with pytest.raises(RecordError) as caught:
        Params(**({"version": 1, "weights": {"a": 1.0, "b": 2.0}} | changes))
    assert caught.value.code == code
    assert caught.value.hint


ONE = (np.zeros(1),)
RISING = np.array([0.0, 1.0])


@pytest.mark.parametrize(
    ("knots", "levels", "kind", "code"),
    [
        (ONE, ONE, "cubic", "params_bounds"),
        (ONE, (), "gauss", "params_bounds"),
        ((np.zeros(0),), (np.zeros(0),), "gauss", "type"),
        ((np.zeros((1, 1)),), ONE, "gauss", "type"),
        (([0.0],), ONE, "gauss", "type"),
        ((np.zeros(1, dtype=np.float32),), ONE, "gauss", "type"),
        ((np.array([np.nan]),), ONE, "gauss", "non_finite"),
        (ONE, (np.array([np.inf]),), "gauss", "non_finite"),
        ((RISING,), ONE, "gauss", "params_bounds"),
        ((RISING[::-1],), (RISING,), "gauss", "params_bounds"),
        ((np.ones(2),), (RISING,), "gauss", "params_bounds"),
        (ONE, (np.array([-1.1e6]),), "gauss", "params_bounds"),
    ],
)
def test_a_bad_transform_is_refused_with_field_and_remedy(knots: object, levels: object, kind: str, code: str) -> None:
    with pytest.raises(RecordError) as caught:
        Transform(knots, levels, kind)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert caught.value.field.startswith("transform.")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"weights": (math.nan,)}, "non_finite"),
        ({"weights": ("1",)}, "type"),
        ({"mean": math.inf}, "non_finite"),
        ({"sd": 0.0}, "params_bounds"),
        ({"sd": -1.0}, "params_bounds"),
        ({"sd": math.nan}, "non_finite"),
        ({"coefficient": 1.1e12}, "params_bounds"),
        ({"coefficient": math.nan}, "non_finite"),
    ],
)
def test_a_bad_starting_score_is_refused_with_field_and_remedy(changes: dict[str, object], code: str) -> None:
    with pytest.raises(RecordError) as caught:
        RawScore(**({"weights": (1e300,), "mean": 0.0, "sd": 1.0, "coefficient": 1.0} | changes))
    assert caught.value.code == code
    assert caught.value.field.startswith("raw_score." + next(iter(changes)))
    assert caught.value.hint


def test_the_norm_of_large_weights_does_not_overflow() -> None:
    assert Params(1, {"a": 3e200, "b": 4e200}).norm() == pytest.approx(5e200, rel=1e-15)


@pytest.mark.parametrize("features", [np.zeros((3, 1)), np.zeros((2, 3)), np.float64(1.0), [[1.0, 2.0]]])
@pytest.mark.parametrize("transform", [None, LINE])
def test_features_of_another_shape_are_refused(features: object, transform: Transform | None) -> None:
    with pytest.raises(RecordError, match=r"another shape") as caught:
        Params(1, {"a": 1.0, "b": 1.0}, transform=transform).score(features)  # type: ignore[arg-type]
    assert (caught.value.field, caught.value.code) == ("features", "feature_schema")
    assert "(..., 2)" in caught.value.hint


def test_params_without_features_are_legal_and_score_nothing() -> None:
    params = Params(version=0, weights={})
    assert params.feature_names == ()
    assert params.score(np.zeros((3, 0))).tolist() == [0.0, 0.0, 0.0]


def test_a_bad_weight_is_named() -> None:
    with pytest.raises(RecordError) as caught:
        Params(1, {"a": 1.0, "cosine": math.nan})
    assert caught.value.field == "weights.cosine"


def test_params_can_not_change_and_do_not_follow_what_they_were_made_of() -> None:
    given = {"a": 1.0}
    params = Params(1, given)
    given["a"] = 5.0
    assert params.weights == {"a": 1.0}
    with pytest.raises(TypeError):
        params.weights["a"] = 2.0
    with pytest.raises(ValueError, match="read-only"):
        params.vector[0] = 2.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.version = 2


def test_temperature_zero_is_legal() -> None:
    assert Params(1, {"a": 1.0}, temperature=0).temperature == 0


# ------------------------------------------------------------ additions by segment and by query

FEATURES = np.array([[2.5, 1.5], [10.0, -0.5], [np.nan, 3.0]])
RAW = RawScore(weights=(0.5, 2.0), mean=3.0, sd=4.0, coefficient=0.25)
WEIGHTS = {"a": 1.0, "b": -2.0}
TURN = LowRank(np.array([[1.0, 0.0], [0.5, -1.0], [0.0, 2.0]]), np.array([[1.0, 2.0], [0.0, 1.0]]))
BY_SEGMENT = {"de": Adjustment({"b": 0.5}, -0.75), "en": Adjustment({})}


def adjusted(**changes: object) -> Params:
    fields = {"transform": LINE, "raw_score": RAW, "by_segment": BY_SEGMENT, "by_query": TURN, **changes}
    return Params(2, WEIGHTS, **fields)  # type: ignore[arg-type]


def summed(a: float, b: float, coefficient: float) -> Params:
    """Params whose weights are given in full: an oracle that knows of no additions."""
    return Params(2, {"a": a, "b": b}, transform=LINE, raw_score=dataclasses.replace(RAW, coefficient=coefficient))


def test_a_segment_adds_to_the_weights_and_to_the_starting_score() -> None:
    found = adjusted().score(FEATURES, segment="de")
    np.testing.assert_allclose(found, summed(1.0, -1.5, -0.5).score(FEATURES), rtol=1e-15)
    plain = Params(1, WEIGHTS, by_segment=BY_SEGMENT)  # on raw values there is no starting score
    np.testing.assert_allclose(plain.score(FEATURES, segment="de"), Params(1, {"a": 1.0, "b": -1.5}).score(FEATURES))
    assert plain.weights_for(segment="de") == {"a": 1.0, "b": -1.5}


def test_a_query_adds_by_its_embedding_at_norm_one() -> None:
    # e = (3, 4) / 5: V^T e = (.6, 2), U of it = (.6, .3 - 2, 4)
    found = adjusted().score(FEATURES, query_embedding=np.float32([30, 40]))
    np.testing.assert_allclose(found, summed(1.6, -3.7, 4.25).score(FEATURES), rtol=1e-14)
    both = adjusted().score(FEATURES, segment="de", query_embedding=np.array([3.0, 4.0]))
    np.testing.assert_allclose(both, summed(1.6, -3.2, 3.5).score(FEATURES), rtol=1e-14)


def test_who_adds_nothing_changes_no_bit() -> None:
    without = Params(2, WEIGHTS, transform=LINE, raw_score=RAW)
    bits = without.score(FEATURES).tobytes()
    for segment in (None, "nowhere"):
        assert adjusted().score(FEATURES, segment=segment).tobytes() == bits
        assert without.score(FEATURES, segment="de", query_embedding=np.ones(2)).tobytes() == bits
    np.testing.assert_array_equal(adjusted().score(FEATURES, query_embedding=np.zeros(2)), without.score(FEATURES))
    assert (adjusted().is_adjusted, without.is_adjusted) == (True, False)
    assert adjusted().weights_for() == WEIGHTS
    assert adjusted().shift(segment="nowhere") is None


def test_additions_can_not_be_changed_under_a_reader() -> None:
    u = np.ones((3, 1))
    params = adjusted(by_query=LowRank(u, np.ones((2, 1))))
    before = params.score(FEATURES, query_embedding=np.ones(2)).tobytes()
    u[:] = 7.0
    assert params.score(FEATURES, query_embedding=np.ones(2)).tobytes() == before
    with pytest.raises(TypeError):
        params.by_segment["de"] = Adjustment({})  # type: ignore[index]
    with pytest.raises(TypeError):
        params.by_segment["de"].weights["a"] = 1.0  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"by_segment": [("de", Adjustment({}))]}, "by_segment"),
        ({"by_segment": {"de": {"a": 1.0}}}, "by_segment['de']"),
        ({"by_segment": {"de": Adjustment({"c": 1.0})}}, "by_segment['de']"),
        ({"by_segment": {"": Adjustment({})}}, "by_segment"),
        ({"by_segment": {f"s{i}": Adjustment({}) for i in range(1_001)}}, "by_segment"),
        ({"by_query": np.ones((3, 2))}, "by_query"),
        ({"by_query": LowRank(np.ones((2, 1)), np.ones((2, 1)))}, "by_query.u"),  # none for the starting score
    ],
)
def test_additions_of_another_kind_are_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(RecordError) as caught:
        adjusted(**changes)
    assert caught.value.field == field


@pytest.mark.parametrize("bad", [math.nan, math.inf, 2e12, True, "1"])
def test_an_addition_that_is_no_number_is_refused(bad: object) -> None:
    with pytest.raises(RecordError):
        Adjustment({"a": bad})  # type: ignore[dict-item]
    with pytest.raises(RecordError):
        Adjustment({}, bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("u", "v"),
    [
        (np.full((2, 1), np.nan), np.ones((2, 1))),
        (np.ones((2, 1)), np.full((2, 1), np.inf)),
        (np.ones((2, 1)), np.full((2, 1), 2e12)),
        (np.ones((2, 2)), np.ones((2, 1))),
        (np.ones((2, 9)), np.ones((2, 9))),
        (np.ones(2), np.ones((2, 1))),
        (np.ones((2, 1), dtype=np.float32), np.ones((2, 1))),
        ([[1.0]], np.ones((2, 1))),
    ],
)
def test_factors_that_are_none_are_refused(u: object, v: object) -> None:
    with pytest.raises(RecordError):
        LowRank(u, v)  # type: ignore[arg-type]


@pytest.mark.parametrize(("bad", "code"), [(np.ones(3), "embedding_dim"), (np.array([1.0, np.nan]), "non_finite")])
def test_an_embedding_of_another_kind_is_refused(bad: FloatArray, code: str) -> None:
    with pytest.raises(RecordError) as caught:
        adjusted().score(FEATURES, query_embedding=bad)
    assert caught.value.code == code
