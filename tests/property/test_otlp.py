"""Whatever JSON stands where OTLP is due: nothing is raised, and everything is accounted for."""

import contextlib
import math
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dwell.integrations.otel.otlp import items_of
from dwell.integrations.otel.reading import evaluations_of, is_retrieval, retrieval_of
from dwell.integrations.otel.records import Span, SpanEvent
from dwell.integrations.ubi.fields import UnreadableField

KEYS = [
    "gen_ai.operation.name", "gen_ai.retrieval.query.text", "gen_ai.retrieval.documents", "openinference.span.kind",
    "input.value", "user.id", "enduser.id", "dwell.segment", "dwell.event_id", "gen_ai.evaluation.name",
    "gen_ai.evaluation.score.value", "dwell.document.id", "annotations.0.annotation.name",
    "annotations.0.annotation.score", "annotations.0.annotation.metadata", "retrieval.documents.0.document.id",
    "retrieval.documents.0.document.score", "retrieval.documents.1.document.metadata",
]  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TEXTS = st.sampled_from(
    ["retrieval", "RETRIEVER", '[{"id": "a"}]', '[{"id": 1, "metadata": {"x": 1}}]', "{", "NaN", "[]"]
)


def values(inner: Any) -> Any:
    held = st.fixed_dictionaries({"values": st.lists(inner | ANYTHING, max_size=3)}) | ANYTHING
    return st.one_of(st.builds(lambda kind, value: {kind: value}, st.sampled_from(["arrayValue", "kvlistValue"]), held))


PLAIN = st.one_of(
    st.builds(lambda value: {"stringValue": value}, TEXTS | st.text(max_size=5)),
    st.builds(
        lambda kind, value: {kind: value},
        st.sampled_from(["intValue", "doubleValue", "boolValue", "bytesValue"]),
        ANYTHING,
    ),
)
ATTRIBUTES = st.lists(
    st.fixed_dictionaries({"key": st.sampled_from(KEYS), "value": st.recursive(PLAIN, values, max_leaves=4) | ANYTHING})
    | ANYTHING,
    max_size=6,
)
INSTANT = st.just("1700000000000000000") | ANYTHING
TRACE, SPAN = st.just("5b8efff798038103d269b633813fc60c") | ANYTHING, st.just("eee19b7ec3c1b174") | ANYTHING
EVENT = st.fixed_dictionaries(
    {"name": st.just("gen_ai.evaluation.result") | ANYTHING, "timeUnixNano": INSTANT, "attributes": ATTRIBUTES}
)
MEMBER = st.fixed_dictionaries(
    {"traceId": TRACE, "spanId": SPAN, "attributes": ATTRIBUTES | ANYTHING},
    optional={
        "endTimeUnixNano": INSTANT,
        "timeUnixNano": INSTANT,
        "eventName": st.just("gen_ai.evaluation.result"),
        "events": st.lists(EVENT | ANYTHING, max_size=2) | ANYTHING,
        "links": st.lists(ANYTHING, max_size=2) | ANYTHING,
        "parentSpanId": SPAN,
        "droppedAttributesCount": ANYTHING,
    },
)


@given(
    spans=st.lists(MEMBER | ANYTHING, max_size=3),
    records=st.lists(MEMBER | ANYTHING, max_size=3),
    id_key=st.sampled_from([None, "x"]),
)
def test_every_member_comes_out_once_and_nothing_is_raised(
    spans: list[Any], records: list[Any], id_key: str | None
) -> None:
    request = {
        "resourceSpans": [{"scopeSpans": [{"spans": spans}]}],
        "resourceLogs": [{"scopeLogs": [{"logRecords": records}]}],
    }
    found = list(items_of(request))
    assert len(found) == len(spans) + len(records)
    for one in found:
        if not isinstance(one, Span):
            continue
        assert_told(one, id_key)


def assert_told(span: Span, id_key: str | None) -> None:
    """Fail where reading a span raises anything but its own word, or a list or evaluation is not what was promised."""
    noted: Counter[str] = Counter()
    told = None
    with contextlib.suppress(UnreadableField):
        told = retrieval_of(span, noted, id_key=id_key) if is_retrieval(span) else None
    if told is None:
        assert not noted
    else:
        ids = [document.id for document in told.documents]
        assert len(set(ids)) == len(ids) > 0
        assert all(math.isfinite(document.score or 0.0) for document in told.documents)
    assert all(one.targets[0] == span.id and math.isfinite(one.value) for one in evaluations_of(span).found)


DOCUMENTS = st.lists(
    st.dictionaries(st.sampled_from(["id", "score", "metadata", "x"]), ANYTHING | TEXTS, max_size=4) | ANYTHING,
    max_size=3,
)
ATTRIBUTE_VALUES = ANYTHING | TEXTS | DOCUMENTS


@given(
    attributes=st.dictionaries(st.sampled_from(KEYS), ATTRIBUTE_VALUES, max_size=8),
    dialect=st.sampled_from([{"gen_ai.operation.name": "retrieval"}, {"openinference.span.kind": "RETRIEVER"}]),
    event=st.dictionaries(st.sampled_from(KEYS), ATTRIBUTE_VALUES, max_size=4),
    id_key=st.sampled_from([None, "x"]),
)
def test_whatever_a_retrievers_attributes_hold_is_a_list_or_a_reason(
    attributes: dict[str, Any], dialect: dict[str, str], event: dict[str, Any], id_key: str | None
) -> None:
    said = SpanEvent("gen_ai.evaluation.result", 1.0, event)
    assert_told(Span("t:s", None, 1.0, attributes | dialect, (said,)), id_key)


@given(item=ANYTHING)
def test_whatever_stands_in_place_of_a_request_is_told(item: object) -> None:
    assert all(isinstance(one, UnreadableField) for one in items_of(item))
