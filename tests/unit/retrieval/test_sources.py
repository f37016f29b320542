"""What every source checks before it asks, and what it hands back."""

import math
from typing import Any

import numpy as np
import pytest

from dwell.errors import ConfigError, RecordError, StoreClosedError
from dwell.retrieval import Found, Retriever, RetrieverSource, StoredDocument, VectorSource
from dwell.retrieval.sources import FEATURE_OF, best_first, checked_filters, nearness, read_request, vector_of


def test_a_request_is_checked() -> None:
    assert read_request("reset", 3, None) == ("reset", 3, {})
    assert read_request("", np.int64(10_000), {"lang": ("en", "de"), "year": 2024}) == (
        "",
        10_000,
        {"lang": ["en", "de"], "year": [2024]},
    )
    for bad in (("a\x00", 3, None), (3, 3, None), ("a", 0, None), ("a", 10_001, None), ("a", True, None)):
        with pytest.raises(RecordError):
            read_request(*bad)


@pytest.mark.parametrize("values", [[], ["en", 1], 1.0, False, None, {"b": 1}, "\x00"])
def test_filters_are_text_or_whole_numbers(values: Any) -> None:
    with pytest.raises(RecordError):
        checked_filters({"a": values})


@pytest.mark.parametrize("bad", ["en", ["en"], {"": "en"}, {1: "en"}])
def test_filters_are_by_field(bad: Any) -> None:
    with pytest.raises(RecordError):
        checked_filters(bad)


def test_the_best_stands_first_and_each_once() -> None:
    found = [Found("b", {"x": 1.0}), Found("a", {"x": 1.0}), Found("c", {"x": 3.0}), Found("b", {"x": 2.0}, "better")]
    assert [(one.id, one.text) for one in best_first(found, 9, ("x",))] == [("c", ""), ("b", "better"), ("a", "")]
    assert [one.id for one in best_first(found, 1, ("x",))] == ["c"]
    malformed = [
        Found("", {"x": 1.0}),
        Found("a\n", {"x": 1.0}),
        Found("a", {}),
        Found("a", {"x": 1.0, "y": 1.0}),
        Found("a", {"x": math.nan}),
        Found("a", {"x": math.inf}),
    ]
    for bad in malformed:
        with pytest.raises(RecordError):
            best_first([*found, bad], 9, ("x",))


def test_nearness_falls_with_the_distance_and_stays_above_zero() -> None:
    assert [nearness(d) for d in (0.0, 1.0, 3.0)] == [1.0, 0.5, 0.25]
    assert 0.0 < nearness(1e300) < nearness(1e299)
    assert nearness(-1e-12) == 1.0  # rounding of a squared distance


def test_a_vector_is_the_given_one_or_made() -> None:
    assert vector_of("a", [3, 4], space="cosine", embed=lambda _: [0.0, 1.0]) == [3.0, 4.0]
    assert vector_of("a", None, space="cosine", embed=lambda query: [float(len(query)), 0.0]) == [1.0, 0.0]
    assert vector_of("a", [0, 0], space="l2") == [0.0, 0.0]  # an origin like any other
    for given in (None, [0.0, 0.0], [1.0], "ab", [math.nan, 0.0]):
        with pytest.raises(RecordError):
            vector_of("a", given, space="cosine", dim=2)


def test_vectors_in_memory_are_checked_when_they_are_given() -> None:
    good = np.eye(3)
    three = ["a", "b", "c"]
    misfits: list[tuple[list[str], Any]] = [
        (three[:2], good),
        (["a", "b", "a"], good),
        (["a", "", "b"], good),
        (three, good[:, :0]),
        (three, good * np.nan),
        (["a"], [1.0]),
    ]
    for ids, vectors in misfits:
        with pytest.raises(ConfigError):
            VectorSource(ids, vectors)
    for arguments in ({"space": "hamming"}, {"name": ""}):
        with pytest.raises(ConfigError):
            VectorSource(["a", "b", "c"], good, **arguments)  # type: ignore[arg-type]
    assert VectorSource(["a", "b", "c"], good, space="l2", name="mine").features == (FEATURE_OF["l2"],)


def test_a_document_without_direction_is_at_right_angles_to_all() -> None:
    source = VectorSource(["zero", "along", "against"], [[0.0, 0.0], [2.0, 0.0], [-3.0, 0.0]])
    found = source.search("", query_embedding=[5.0, 0.0])
    assert [(one.id, one.features["cosine"]) for one in found] == [("along", 1.0), ("zero", 0.0), ("against", -1.0)]


def test_the_retriever_gives_what_it_knows() -> None:
    with Retriever.build(
        [StoredDocument("a", "Tokens", "reset a token"), StoredDocument("b", "Mail", "a mail")]
    ) as own:
        source = RetrieverSource(own)
        [found] = source.search("tokens", k=1)
        candidates = own.search("tokens", 1)
        assert (found.id, found.text, found.metadata) == ("a", "reset a token", {"title": "Tokens"})
        assert list(found.features.values()) == candidates.features[0].tolist()
        source.close()
        with pytest.raises(StoreClosedError):
            source.search("tokens")
        assert len(own.search("tokens")) > 0  # the retriever is the caller's
