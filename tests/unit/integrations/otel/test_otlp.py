"""OTLP in JSON: every span comes out, or the place and the reason why it does not."""

import json
import math
from typing import Any

import pytest

from dwell.integrations.otel.otlp import items_of
from dwell.integrations.otel.records import Span
from dwell.integrations.ubi.fields import UnreadableField

TRACE, SPAN = "5B8EFFF798038103D269B633813FC60C", "EEE19B7EC3C1B174"  # the example of the protocol's documents
END = 1_700_000_000_500_000_000


def attribute(key: str, **value: Any) -> dict[str, Any]:
    return {"key": key, "value": value}


OPERATION = attribute("gen_ai.operation.name", stringValue="retrieval")


def span(*attributes: Any, **changed: Any) -> dict[str, Any]:
    told = {"traceId": TRACE, "spanId": SPAN, "endTimeUnixNano": str(END), "attributes": [OPERATION, *attributes]}
    return told | changed


def request(*spans: object) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def read(*spans: object) -> list[Any]:
    return list(items_of(request(*spans)))


def test_a_span_is_read_with_what_concerns_retrievals() -> None:
    told = span(
        attribute("gen_ai.retrieval.query.text", stringValue="q"),
        attribute("retrieval.documents.0.document.content", stringValue="text"),
        parentSpanId="00f067aa0ba902b7",
        links=[{"traceId": TRACE, "spanId": "0000000000000001"}],
        droppedAttributesCount=3,
    )
    assert read(told) == [
        Span(
            id=f"{TRACE}:{SPAN}".lower(),
            parent=f"{TRACE}:00f067aa0ba902b7".lower(),
            ended_at=END / 1e9,
            attributes={"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.query.text": "q"},
            links=(f"{TRACE}:0000000000000001".lower(),),
            n_dropped=3,
        )
    ]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"intValue": "7"}, 7), ({"intValue": -7}, -7), ({"doubleValue": 1}, 1.0),
        ({"doubleValue": "-Infinity"}, -math.inf),
        ({"boolValue": True}, True), ({}, None), (None, None),
        ({"arrayValue": {"values": [{"stringValue": "a"}, {"kvlistValue": {"values": [attribute("id", intValue=1)]}}]}},
         ["a", {"id": 1}]),
        ({"arrayValue": {}}, []),
    ],
)  # fmt: skip
def test_values_become_plain(value: Any, plain: object) -> None:
    (found,) = read(span({"key": "gen_ai.retrieval.documents", "value": value}))
    assert found.attributes["gen_ai.retrieval.documents"] == plain


def test_others_spans_are_passed_over() -> None:
    assert read({"traceId": "whatever", "attributes": [attribute("http.route", stringValue="/")]}) == [None]
    assert list(items_of({"resourceMetrics": []})) == []


def test_a_log_record_is_an_event_of_its_span() -> None:
    record = {
        "traceId": TRACE, "spanId": SPAN, "observedTimeUnixNano": END, "eventName": "gen_ai.evaluation.result",
        "attributes": [attribute("gen_ai.evaluation.name", stringValue="thumbs")],
    }  # fmt: skip
    other = record | {"eventName": "other"}
    found = list(items_of({"resourceLogs": [{"scopeLogs": [{"logRecords": [record, other]}]}]}))
    assert found[1] is None
    assert (found[0].id, found[0].attributes) == (f"{TRACE}:{SPAN}".lower(), {})
    (event,) = found[0].events
    assert (event.at, event.attributes) == (END / 1e9, {"gen_ai.evaluation.name": "thumbs"})


def deep(n: int) -> dict[str, Any]:
    value: dict[str, Any] = {"stringValue": "x"}
    for _ in range(n):
        value = {"arrayValue": {"values": [value]}}
    return value


BAD: list[tuple[str, object, str, str]] = [
    ("no object", 7, "/spans/0", "type"),
    ("1 huge integer", span(attribute("user.id", intValue="9" * 30)), "/attributes/1/value", "type"),
    ("2 truth as integer", span(attribute("user.id", intValue=True)), "/attributes/1/value", "type"),
    ("2 text as double", span(attribute("user.id", doubleValue="1.5")), "/attributes/1/value", "type"),
    ("2 number as text", span(attribute("user.id", stringValue=5)), "/attributes/1/value", "type"),
    ("2 two values", span(attribute("user.id", stringValue="u", intValue=1)), "/attributes/1/value", "type"),
    ("2 no value", span(attribute("user.id", nullValue=None)), "/attributes/1/value", "type"),
    ("10 text", span(endTimeUnixNano="2024-01-01T00:00:00"), "/endTimeUnixNano", "timestamp"),
    ("10 truth", span(endTimeUnixNano=True), "/endTimeUnixNano", "timestamp"),
    ("10 negative", span(endTimeUnixNano=-5), "/endTimeUnixNano", "timestamp"),
    ("10 missing", span(endTimeUnixNano=None), "/endTimeUnixNano", "timestamp"),
    ("10 not ended", span(endTimeUnixNano="0"), "/endTimeUnixNano", "timestamp"),
    ("11 beyond 64 bits", span(endTimeUnixNano=2**63), "/endTimeUnixNano", "timestamp"),
    ("12 short id", span(traceId="ab"), "/traceId", "id"),
    ("12 base64 id", span(spanId="7uGbfsPBsXQ="), "/spanId", "id"),
    ("12 zero id", span(spanId="0" * 16), "/spanId", "id"),
    ("12 id type", span(traceId=7), "/traceId", "id"),
    ("12 parent", span(parentSpanId="x"), "/parentSpanId", "id"),
    ("12 link", span(links=[{"traceId": TRACE}]), "/links/0/spanId", "id"),
    ("14 links", span(links={}), "/links", "type"),
    ("14 attributes", span(attributes=3), "/attributes", "type"),
    ("14 attribute", span(attributes=[3]), "/attributes/0", "type"),
    ("14 twice", span(OPERATION), "/attributes/1", "duplicate_name"),
    ("14 deep", span({"key": "user.id", "value": deep(40)}), "/attributes/1", "depth"),
    ("10 event", span(events=[{"name": "gen_ai.evaluation.result"}]), "/events/0/timeUnixNano", "timestamp"),
]


@pytest.mark.parametrize(("told", "pointer", "code"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_what_can_not_be_read_says_where_and_why(told: object, pointer: str, code: str) -> None:
    good = span(spanId="1" * 16)
    found = read(told, good)
    assert isinstance(found[0], UnreadableField)
    assert found[0].reason.partition(":")[0] == code
    assert pointer in found[0].pointer
    assert "stringValue" not in found[0].reason
    assert isinstance(found[1], Span), "a bad span costs itself alone"


@pytest.mark.parametrize(
    "item",
    [
        7,
        None,
        [],
        "x",
        {},
        {"spans": []},
        {"resourceSpans": 3},
        {"resourceSpans": [3]},
        {"resourceSpans": [{"scopeSpans": {}}]},
    ],
)
def test_what_is_no_request_is_refused(item: object) -> None:
    found = list(items_of(item))
    assert len(found) == 1
    assert isinstance(found[0], UnreadableField)


def test_an_empty_request_is_a_quiet_one() -> None:
    assert list(items_of({"resourceSpans": [], "resourceLogs": None})) == []
    assert list(items_of(json.loads('{"resourceSpans": [{"scopeSpans": [{}]}]}'))) == []
