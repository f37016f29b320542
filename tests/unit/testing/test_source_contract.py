"""The contract of sources sees every fault that it is there for."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from dwell.errors import RecordError, StorageError
from dwell.retrieval import CandidateSource, Found, VectorSource
from dwell.testing.source_contract import (
    DIMENSIONS,
    DOCUMENTS,
    CandidateSourceContract,
    SampleDocument,
    sample_embedding,
)


def vectors(documents: Sequence[SampleDocument]) -> VectorSource:
    return VectorSource(
        [one.id for one in documents],
        np.array([one.embedding for one in documents]).reshape(-1, DIMENSIONS),
        metadata={one.id: one.metadata for one in documents},
    )


class _Faulty:
    """Vectors in memory, and one fault."""

    name, features = "faulty", ("cosine",)

    def __init__(self, documents: Sequence[SampleDocument], fault: Callable[..., list[Found]]) -> None:
        self._source = vectors(documents)
        self._fault = fault
        self.n_calls = 0

    def search(self, query: str, **arguments: Any) -> list[Found]:
        self.n_calls += 1
        return self._fault(self, query, **arguments)

    def honest(self, query: str, **arguments: Any) -> list[Found]:
        return self._source.search(query, **arguments)

    def close(self) -> None:
        self._source.close()


def changed(change: Callable[[list[Found]], list[Found]]) -> Callable[..., list[Found]]:
    return lambda self, query, **arguments: change(self.honest(query, **arguments))


def with_features(found: list[Found], **features: float) -> list[Found]:
    return [Found(one.id, {**one.features, **features}, one.text, one.metadata) for one in found]


def without(name: str) -> Callable[..., list[Found]]:
    return lambda self, query, **arguments: self.honest(query, **{k: v for k, v in arguments.items() if k != name})


def raising_on_quotes(self: _Faulty, query: str, **arguments: Any) -> list[Found]:
    if '"' in query:
        raise StorageError("syntax error")
    return self.honest(query, **arguments)


def forgiving(self: _Faulty, query: str, **arguments: Any) -> list[Found]:
    try:
        return self.honest(query, **arguments)
    except (RecordError, StorageError):
        return []


FAULTS: list[tuple[Callable[..., list[Found]], str]] = [
    (changed(lambda found: found[::-1]), "test_the_document_that_is_asked_for_stands_first"),
    (changed(lambda found: found[::-1]), "test_the_best_stands_first"),
    (changed(lambda found: [*found[:1], *found]), "test_each_id_stands_once_and_is_one_of_the_documents"),
    (
        changed(lambda found: [Found("nobody's", {"cosine": 0.0}), *found]),
        "test_each_id_stands_once_and_is_one_of_the_documents",
    ),
    (
        changed(lambda found: with_features(found, cosine=math.nan)),
        "test_every_document_has_exactly_the_features_that_it_brings_and_they_are_finite",
    ),
    (
        changed(lambda found: with_features(found, more=1.0)),
        "test_every_document_has_exactly_the_features_that_it_brings_and_they_are_finite",
    ),
    (changed(lambda found: with_features(found, cosine=1.0)), "test_the_best_stands_first"),
    (without("k"), "test_k_is_the_most"),
    (without("k"), "test_malformed_arguments_are_refused"),
    (changed(lambda found: [*found, Found("kb-1", {"cosine": 0.0})]), "test_an_empty_index_has_no_candidates"),
    (
        lambda self, query, **arguments: [] if not query.isascii() else self.honest(query, **arguments),
        "test_letters_of_all_scripts_are_found",
    ),
    (raising_on_quotes, "test_nothing_in_a_query_is_syntax"),
    (without("filters"), "test_filters_let_only_their_values_through"),
    (without("filters"), "test_nothing_in_a_filter_is_syntax"),
    (
        lambda self, query, **arguments: self.honest(query, **arguments)[: 3 + self.n_calls],
        "test_the_same_question_has_the_same_answer",
    ),
    (forgiving, "test_malformed_arguments_are_refused"),
    (forgiving, "test_a_vector_that_can_not_be_compared_is_refused"),
    (forgiving, "test_a_closed_source_says_so"),
    (
        lambda self, query, **arguments: self.honest(query, **arguments)[: 1 + self.n_calls % 2],
        "test_threads_may_share_it",
    ),
]


@pytest.mark.parametrize(("fault", "caught_by"), FAULTS)
def test_the_contract_catches(fault: Callable[..., list[Found]], caught_by: str) -> None:
    class Broken(CandidateSourceContract):
        takes_embedding, orders_by = True, "cosine"

        def source(self, documents: Sequence[SampleDocument]) -> CandidateSource:
            return _Faulty(documents, fault)

    with pytest.raises((AssertionError, StorageError)):
        getattr(Broken(), caught_by)()


def test_samples_point_where_their_words_do() -> None:
    assert sample_embedding("a b") == pytest.approx(sample_embedding("B a"))
    assert math.hypot(*sample_embedding("")) == 1.0
    assert len({one.id for one in DOCUMENTS}) == len(DOCUMENTS) == 10
