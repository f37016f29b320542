"""OTLP over HTTP, as a collector sends it to `dwell serve`."""

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .serving import Service, made_key, service

Asked = tuple[Service, str, str]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """The service, a secret key, and an admin key."""
    store: Path = tmp_path_factory.mktemp("otlp") / "s.dwell"
    with service(store, environment={"DWELL_STORE__FEATURES": '["score"]'}) as found:
        secret, admin = made_key(store, "secret"), made_key(store, "admin")
        until = time.monotonic() + 5.0
        while found.call("GET", "/v1/params", key=admin)[0] != 200 and time.monotonic() < until:
            time.sleep(0.1)
        yield found, secret, admin


def attributes(told: dict[str, object]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"stringValue" if isinstance(value, str) else "doubleValue": value}}
        for key, value in told.items()
    ]


def ids(i: int) -> dict[str, Any]:
    return {"traceId": f"{i:032x}", "spanId": f"{i:016x}"}


def spans(i: int, documents: str = '[{"id": "a", "score": 0.9}, {"id": "b", "score": 0.1}]') -> dict[str, Any]:
    told = attributes({"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": documents})
    span = {**ids(i), "endTimeUnixNano": str(time.time_ns()), "attributes": told}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


def records(i: int, value: float) -> dict[str, Any]:
    told = attributes({"gen_ai.evaluation.name": "thumbs", "gen_ai.evaluation.score.value": value})
    record = {
        **ids(i),
        "timeUnixNano": str(time.time_ns()),
        "eventName": "gen_ai.evaluation.result",
        "attributes": told,
    }
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}


def test_traces_and_logs_become_an_experience(asked: Asked) -> None:
    found, secret, admin = asked
    assert found.call("POST", "/v1/traces", spans(1), key=secret)[:2] == (200, {})
    assert found.call("POST", "/v1/traces", spans(1), key=secret)[0] == 200
    assert found.call("POST", "/v1/logs", records(1, 1.0), key=secret)[:2] == (200, {})
    status, line, _ = found.call("GET", "/v1/experiences?limit=10", key=admin)
    assert status == 200
    (one,) = [line] if isinstance(line, dict) else [json.loads(text) for text in line.decode().splitlines()]
    assert (one["event_id"], one["feedback_signals"]) == (f"{1:032x}:{1:016x}", {"thumbs": 1.0})


def test_a_body_may_be_packed(asked: Asked) -> None:
    found, secret, _ = asked
    body = gzip.compress(json.dumps(spans(2)).encode())
    status, answer, _ = found.call("POST", "/v1/traces", body, key=secret, content_encoding="gzip")
    assert (status, answer) == (200, {})


def test_what_can_not_be_used_is_a_partial_success(asked: Asked) -> None:
    found, secret, _ = asked
    status, answer, _ = found.call("POST", "/v1/traces", spans(3, "[]"), key=secret)
    assert status == 200
    assert answer["partialSuccess"]["rejectedSpans"] == "1"
    assert "no_documents" in answer["partialSuccess"]["errorMessage"]
    broken = records(1, 1.0)
    broken["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["traceId"] = "x"
    status, answer, _ = found.call("POST", "/v1/logs", broken, key=secret)
    assert (status, answer["partialSuccess"]["rejectedLogRecords"]) == (200, "1")
    assert found.call("POST", "/v1/traces", {}, key=secret)[:2] == (200, {})


def test_what_is_no_request_is_refused(asked: Asked) -> None:
    found, secret, _ = asked
    for body, code in ((b"{", "malformed_json"), (b"[" * 1_000, "malformed_json"), (b"[]", "type"), (b"7", "type"),
                       (b'{"resourceSpans": 7}', "type")):  # fmt: skip
        status, problem, _ = found.call("POST", "/v1/traces", body, key=secret)
        assert (status, problem["code"]) == (400, code)
    assert found.call("POST", "/v1/traces", b"\x0a", key=secret, content_type="application/x-protobuf")[0] == 415
    assert found.call("POST", "/v1/traces", spans(4))[0] == 401
