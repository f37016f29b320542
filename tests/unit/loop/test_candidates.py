import time
from collections import UserDict, deque
from itertools import repeat

import numpy as np
import pytest

from dwell.errors import FeatureSchemaError, RecordError
from dwell.loop.candidates import MAX_CANDIDATES, read_array, read_dicts, readable_ids

NAMES = ("x", "y")


def test_mappings_become_ids_and_float32_in_the_order_of_the_names() -> None:
    found = read_dicts([{"y": 2.0, "id": "a", "x": 1.0}, {"id": "b", "x": 3, "y": np.float32(4)}], NAMES)
    assert found.ids == ["a", "b"]
    assert found.features.dtype == np.float32
    assert found.features.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_ids_with_an_array_say_the_same() -> None:
    found = read_array(["a", "b"], [[1, 2], [3, 4]], NAMES)
    assert (found.ids, found.features.tolist()) == (["a", "b"], [[1.0, 2.0], [3.0, 4.0]])
    assert read_array(["a"], np.array([[1, 2]], dtype=np.uint8), NAMES).features.dtype == np.float32


def test_the_callers_array_is_copied() -> None:
    mine = np.ones((1, 2), dtype=np.float32)
    found = read_array(["a"], mine, NAMES)
    mine[:] = 7.0
    assert found.features.tolist() == [[1.0, 1.0]]


def test_the_value_that_is_wrong_is_named() -> None:
    with pytest.raises(RecordError) as error:
        read_dicts([{"id": "a", "x": 1.0, "y": 1.0}, {"id": "b", "x": 1.0, "y": float("inf")}], NAMES)
    assert (error.value.code, error.value.field) == ("non_finite:y", "candidates[1].y")
    with pytest.raises(RecordError) as error:
        read_array(["a", "b"], [[1.0, 1.0], [float("nan"), 1.0]], NAMES)
    assert (error.value.code, error.value.field) == ("non_finite:x", "features[1].x")


def test_the_difference_of_features_is_told() -> None:
    with pytest.raises(FeatureSchemaError, match=r"missing \['y'\], unknown \['z'\]") as error:
        read_dicts([{"id": "a", "x": 1.0, "z": 1.0}], NAMES)
    assert (error.value.code, error.value.field) == ("feature_schema:y", "candidates[0]")
    with pytest.raises(FeatureSchemaError) as error:
        read_dicts([{"id": "a", "x": 1.0, "y": 1.0, "z": 1.0}], NAMES)
    assert error.value.code == "feature_schema:z"


def test_the_document_that_stands_twice_is_told() -> None:
    with pytest.raises(RecordError) as error:
        read_dicts([{"id": d, "x": 1.0, "y": 1.0} for d in ("a", "b", "a")], NAMES)
    assert error.value.value == "a"


@pytest.mark.parametrize("n", [0, MAX_CANDIDATES + 1])
def test_a_list_has_one_to_a_hundred_thousand_documents(n: int) -> None:
    with pytest.raises(RecordError) as error:
        read_array([str(i) for i in range(n)], np.ones((n, 2)), NAMES)
    assert error.value.code == "results_shape"


@pytest.mark.parametrize("features", [[[1.0, True]], [[True, False]], ((1.0, np.True_),)])
def test_flags_in_lists_are_no_numbers(features: object) -> None:
    with pytest.raises(RecordError) as error:
        read_array(["a"], features, NAMES)
    assert error.value.code == "type"


def test_what_can_be_read_of_a_malformed_call() -> None:
    # four items hold no id: 3, {"id": 4}, {} and ""
    mixed = [{"id": "a"}, {"memory_id": "b"}, "c", 3, {"id": 4}, {}, "", "a"]
    assert readable_ids(mixed, None) == (["a", "b", "c"], 4)
    assert readable_ids([{"id": "a"}], ["x", "y"]) == (["x", "y"], 0)
    found = readable_ids(None, np.array(["x", "y", "x"]))
    assert found == (["x", "y"], 0)
    assert found is not None
    assert {type(doc) for doc in found.ids} == {str}
    for kind in (dict.fromkeys("xy").keys(), (doc for doc in "xy"), deque("xy"), {"x": 0, "y": 1}.keys()):
        assert readable_ids(None, kind) == (["x", "y"], 0)
    found = readable_ids(None, {"x", "y"})
    assert found is not None
    assert set(found.ids) == {"x", "y"}
    assert readable_ids(None, repeat("x")) == (["x"], 0)  # it ends although the iterator never does


class Hostile(UserDict[str, object]):
    """A mapping that raises when it is looked at."""

    def get(self, key: str, default: object = None) -> object:
        raise KeyError(key, default)


def test_one_hostile_mapping_does_not_hide_the_other_ids() -> None:
    assert readable_ids([{"id": "a"}, Hostile(id="b"), {"id": "c"}], None) == (["a", "c"], 1)


def test_ids_of_numpy_become_plain_text() -> None:
    for found in (
        read_array(np.array(["a", "b"]).tolist(), np.ones((2, 2)), NAMES),
        read_array(list(np.array(["a", "b"])), np.ones((2, 2)), NAMES),
        read_dicts([{"id": np.str_("a"), "x": 1.0, "y": 1.0}], NAMES),
    ):
        assert {type(doc) for doc in found.ids} == {str}


def test_a_duplicate_among_many_is_found_in_one_pass() -> None:
    # pairwise comparison would need 5e9 steps: minutes
    ids = [str(i) for i in range(MAX_CANDIDATES - 1)]
    began = time.process_time()
    with pytest.raises(RecordError) as error:
        read_array([*ids, ids[-1]], np.ones((MAX_CANDIDATES, 2)), NAMES)
    assert error.value.value == ids[-1]
    assert time.process_time() - began < 10.0


def test_what_can_not_be_read_of_a_malformed_call() -> None:
    for nothing in (None, "abc", b"abc", {"id": "a"}, [], [1, 2], iter(["a"]), 7, np.array(3), np.ones(3)):
        assert readable_ids(nothing, None) is None
