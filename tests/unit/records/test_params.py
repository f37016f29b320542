import dataclasses
import math

import numpy as np
import pytest

from dwell.errors import RecordError
from dwell.records import Params, RawScore, Transform

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
