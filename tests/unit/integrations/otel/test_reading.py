"""Spans of both dialects as lists and evaluations, without any SDK."""

import json
from collections import Counter
from typing import Any

import pytest

from dwell.integrations.otel.reading import concerns, evaluations_of, is_retrieval, retrieval_of
from dwell.integrations.otel.records import Span, SpanEvent
from dwell.integrations.ubi.fields import UnreadableField

ID = f"{1:032x}:{2:016x}"
AT = 1_700_000_000.0


def span(attributes: dict[str, Any], *events: SpanEvent, **how: Any) -> Span:
    return Span(ID, how.pop("parent", None), AT, attributes, events, **how)


def genai(documents: object, **more: Any) -> Span:
    told = documents if isinstance(documents, list) else json.dumps(documents)
    return span({"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": told, **more})


def test_only_retrievers_are_retrievals() -> None:
    assert is_retrieval(span({"gen_ai.operation.name": "retrieval"}))
    assert is_retrieval(span({"openinference.span.kind": "RETRIEVER"}))
    assert not is_retrieval(span({"gen_ai.operation.name": "chat"}))
    assert not is_retrieval(span({"openinference.span.kind": "RERANKER"}))


def test_texts_are_not_looked_at() -> None:
    assert concerns("retrieval.documents.0.document.id")
    assert not concerns("retrieval.documents.0.document.content")
    assert not concerns("gen_ai.input.messages")
    assert not concerns("annotation")


@pytest.mark.parametrize(
    "documents",
    [
        [{"id": "a", "score": 2}, {"id": "b", "score": 1}],  # structured, as OTLP can hold them
        ['{"id": "a", "score": 2}', '{"id": "b", "score": 1}'],  # a list of texts
    ],
)
def test_documents_are_read_however_a_tracer_can_tell_them(documents: list[Any]) -> None:
    for told in (genai(documents), genai({}, **{"gen_ai.retrieval.documents": json.dumps(documents)})):
        found = retrieval_of(told, Counter())
        assert [(one.id, one.score) for one in found.documents] == [("a", 2.0), ("b", 1.0)]


def test_what_is_missing_is_counted() -> None:
    noted: Counter[str] = Counter()
    found = retrieval_of(genai([{"id": "a"}, {"id": 7}, {"id": "a", "score": 1.0}]), noted)
    assert [(one.id, one.score) for one in found.documents] == [
        ("a", None),
        ("7", None),
    ]  # the first "a", not the second
    assert (found.query, found.user, found.at, found.event_id) == ("", None, AT, ID)
    assert noted == {"repeated_document": 1, "no_query": 1, "no_score": 1, "number:object_id": 1}


def test_an_empty_user_is_nobody() -> None:
    noted: Counter[str] = Counter()
    found = retrieval_of(genai([{"id": "a"}], **{"user.id": "", "enduser.id": "u"}), noted)
    assert found.user == "u"
    assert noted["empty:user.id"] == 1


def test_nothing_is_counted_for_a_list_that_is_refused() -> None:
    noted: Counter[str] = Counter()
    with pytest.raises(UnreadableField, match="no_id"):
        retrieval_of(genai([{"id": 7}, {}]), noted)
    assert noted == {}


def test_numbers_are_features_and_nothing_else_is() -> None:
    told = {"id": "a", "score": 0.5, "x": 1, "y": True, "z": "1", "metadata": '{"m": 2, "title": "T"}'}
    (found,) = retrieval_of(genai([told]), Counter()).documents
    assert found.numbers == {"score": 0.5, "x": 1.0, "m": 2.0}


def test_metadata_that_is_broken_costs_itself_alone() -> None:
    noted: Counter[str] = Counter()
    (found,) = retrieval_of(genai([{"id": "a", "metadata": "{"}]), noted).documents
    assert found.numbers == {}
    assert noted["unreadable_metadata"] == 1


def opinion(**told: Any) -> SpanEvent:
    return SpanEvent("gen_ai.evaluation.result", AT + 1.0, {f"gen_ai.evaluation.{k}": v for k, v in told.items()})


def test_an_evaluation_is_about_its_span_its_links_or_its_parent() -> None:
    told = span({}, opinion(name="thumbs", **{"score.value": 1}), parent="p:p", links=("l:l", ID))
    (found,) = evaluations_of(told).found
    assert found.targets == (ID, "l:l", "p:p")
    assert (found.name, found.value, found.at, found.doc) == ("thumbs", 1.0, AT + 1.0, None)


def test_the_same_evaluation_has_the_same_key_and_another_one_another() -> None:
    def key(event: SpanEvent) -> str:
        (found,) = evaluations_of(span({}, event)).found
        return found.key

    same = {"name": "thumbs", "score.value": 1.0}
    assert key(opinion(**same)) == key(opinion(**same, explanation="because"))
    assert len({key(opinion(**same)), key(opinion(**same | {"name": "helpful"})),
                key(opinion(**same | {"score.value": 0.5}))}) == 3  # fmt: skip


def test_both_forms_of_openinference_are_one_opinion() -> None:
    attributes = {
        "annotations.0.annotation.name": "helpful", "annotations.0.annotation.score": 1,
        "annotations.0.annotation.metadata": '{"dwell.document.id": "a"}',
        "evaluations.3.evaluation.name": "helpful", "evaluations.3.evaluation.score": 1,
        "evaluations.3.evaluation.metadata": '{"dwell.document.id": "a"}',
        "annotations.4.annotation.name": "label only", "annotations.4.annotation.label": "good",
        "annotations.5.annotation.name": "words only", "annotations.5.annotation.explanation": "because",
    }  # fmt: skip
    told = evaluations_of(span(attributes))
    first, second, third = told.found
    assert [(one.name, one.value, one.doc, one.at) for one in (first, second)] == [("helpful", 1.0, "a", AT)] * 2
    assert first.key == second.key
    assert (third.name, third.value, third.label) == ("label only", None, "good")
    bad = evaluations_of(span(attributes | {"annotations.4.annotation.label": "bad"})).found[2]
    assert third.key != bad.key
    assert told.n_without_score == 1


def test_what_a_loop_told_of_itself_is_left_alone() -> None:
    event = SpanEvent("gen_ai.evaluation.result", AT, {"dwell.event_id": "e", "gen_ai.evaluation.score.value": 1.0})
    told = evaluations_of(span({}, event))
    assert (told.found, told.n_own) == ([], 1)
