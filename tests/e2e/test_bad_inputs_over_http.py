"""The twenty bad inputs at every call of the service: a 4xx that says where in the body and what to send instead.

Numbers are those of the list that all entries share; what is not over HTTP (settings, files, imports) is tested where
it enters. Number 7 in part and number 15 in batches are answered reaction by reaction: one bad one spoils no others.
"""

import gzip
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .serving import ROOT, Service, service

FEATURES = ("--features", "good,noise")
QUIET = {"DWELL_SERVE__TRAIN_EVERY_S": "3600.0"}
AHEAD = time.time() + 86_400.0  # still ahead when a long run of all tests comes to these
NINES = "9" * 5_000
# What only a program in Python could do
PYTHON = re.compile(r"\bPass\b|\w\(|\w=\w|\w=$|dwell\.|Loop|\bTrue\b|\bFalse\b|\bNone\b|\bstr\b|\bnumpy\b")


class Case(NamedTuple):
    """A bad input: its number in the list, the call, what is sent, and what must be answered."""

    number: int
    call: str
    body: Any
    path: str
    code: str
    status: int = 400


def docs(**changed: Any) -> list[dict[str, Any]]:
    return [{"id": "a", "good": 1.0, "noise": 0.0}, {"id": "b", "good": 0.5, "noise": 0.1, **changed}]


def ranked(**changed: Any) -> dict[str, Any]:
    return {"query": "q", "candidates": docs(), **changed}


def rows(ids: Any, features: Any) -> dict[str, Any]:
    return {"query": "q", "ids": ids, "features": features}


def logged(*results: Any, **changed: Any) -> dict[str, Any]:
    return {"query": "q", "results": list(results), **changed}


def reaction(**changed: Any) -> dict[str, Any]:
    return {"event_id": "e", "signal": "click", "doc": "a", **changed}


def raw(text: str) -> bytes:
    return text.encode()


def one_candidate(good: str) -> bytes:
    return b'{"query": "q", "candidates": [{"id": "a", "good": ' + good.encode() + b', "noise": 1}]}'


NAN_SCORE = raw('{"query": "q", "results": [{"id": "a", "score": NaN}]}')
TWO_IDS = raw('{"query": "q", "candidates": [{"id": "a", "id": "b"}]}')
NO_JSON = (b"", b"{", b'{"query": "q"} x', b'\xef\xbb\xbf{"query": "q"}')

CASES = [
    # 1: not finite, beyond float32, or said in words
    *(Case(1, "rank", one_candidate(n), "/candidates/0/good", "non_finite") for n in ("NaN", "-Infinity", "1e999")),
    Case(1, "rank", one_candidate('"NaN"'), "/candidates/0/good", "type:good"),
    Case(1, "rank", one_candidate("1e308"), "/candidates/0/good", "non_finite:good"),
    Case(1, "rank", raw('{"query": "q", "ids": ["a"], "features": [[1, 1e999]]}'), "/features/0/1", "non_finite"),
    Case(1, "rank", rows(["a"], [[1, 1e308]]), "/features/0/1", "non_finite:noise"),
    Case(1, "rank", ranked(query_embedding=[1e300, 1.0, 1.0]), "/query_embedding", "non_finite"),
    Case(
        1,
        "log_retrieval",
        raw('{"query": "q", "results": [{"id": "a", "score": NaN}]}'),
        "/results/0/score",
        "non_finite",
    ),
    Case(1, "log_retrieval", logged({"id": "a", "score": "inf"}), "/results/0/score", "type"),
    Case(1, "log_retrieval", logged({"id": "a", "score": 1e300}), "/results/0/score", "non_finite"),
    Case(1, "feedback", raw('{"event_id": "e", "signal": "click", "doc": "a", "value": NaN}'), "/value", "non_finite"),
    Case(1, "feedback", raw('[{"event_id": "e", "signal": "click", "at": 1e999}]'), "/0/at", "non_finite"),
    Case(1, "evaluate", raw('{"weights": {"good": 1, "noise": -1e999}}'), "/weights/noise", "non_finite"),
    Case(1, "promote", raw('{"weights": {"good": Infinity, "noise": 1}}'), "/weights/good", "non_finite"),
    # 2: another type
    *(Case(2, "rank", one_candidate(v), "/candidates/0/good", "type") for v in ("true", '"1"', "null", "[1]", "{}")),
    *(Case(2, "rank", ranked(k=k), "/k", "type") for k in (True, "3", 2.5, None, [2])),
    Case(2, "rank", ranked(activate=1), "/activate", "type"),
    Case(2, "rank", ranked(wait="no"), "/wait", "type"),
    Case(2, "rank", ranked(query=None), "/query", "type"),
    Case(2, "rank", {"candidates": docs()}, "/query", "type"),
    Case(2, "rank", ranked(user=5), "/user", "type"),
    Case(2, "rank", ranked(candidates=docs(id=7)), "/candidates/1/id", "type"),
    Case(2, "rank", rows(["a"], [[True, 1]]), "/features/0/0", "type"),
    Case(2, "rank", rows([1], [[1, 1]]), "/ids/0", "type"),
    Case(2, "rank", ranked(query_embedding=[1.0, "2", 3.0]), "/query_embedding/1", "type"),
    Case(2, "log_retrieval", logged({"id": "a", "rank": True}), "/results/0/rank", "type"),
    Case(2, "log_retrieval", logged({"id": "a", "rank": "1"}), "/results/0/rank", "type"),
    Case(2, "log_retrieval", logged({"id": 3.0}), "/results/0/id", "type"),
    Case(2, "feedback", reaction(value=True), "/value", "type"),
    Case(2, "feedback", reaction(value="1"), "/value", "type"),
    Case(2, "feedback", {"event_id": "e"}, "/signal", "type"),
    Case(2, "feedback", [reaction(), reaction(value="1")], "/1/value", "type"),
    Case(2, "feedback", {"items": [reaction(value=False)]}, "/items/0/value", "type"),
    Case(2, "evaluate", {"weights": {"good": 1.0, "noise": "1"}}, "/weights/noise", "type"),
    Case(2, "promote", {"version": True}, "/version", "type"),
    Case(2, "promote", {"version": 0, "force": 1}, "/force", "type"),
    Case(2, "rollback", {"to": "0"}, "/to", "type"),
    Case(2, "activate", {"event_id": "e", "shown": "ab"}, "/shown", "type"),
    Case(2, "erase", {"user": 5}, "/user", "type"),
    # 3: propensities are ours to compute, and are not taken
    Case(3, "rank", ranked(propensities=[1.5, 0.0]), "/propensities", "unknown_field"),
    Case(3, "log_retrieval", logged({"id": "a"}, propensities=[0.0]), "/propensities", "unknown_field"),
    # 4: lists
    Case(4, "rank", ranked(candidates=[]), "/candidates", "results_shape"),
    Case(4, "rank", {"query": "q"}, "/candidates", "results_shape"),
    Case(4, "rank", rows([], []), "/ids", "results_shape"),
    Case(4, "rank", {"query": "q", "ids": ["a"]}, "/features", "feature_schema"),
    Case(4, "rank", rows(["a", "b"], [[1, 1]]), "/features", "feature_schema"),
    Case(4, "rank", rows(["a", "b"], [[1, 1], [1]]), "/features", "results_shape"),
    Case(4, "rank", rows(["a", "a"], [[1, 1], [1, 1]]), "/ids", "results_shape"),
    Case(4, "rank", ranked(ids=["a"], features=[[1, 1]]), "/ids", "results_shape"),
    Case(4, "rank", ranked(candidates=[*docs(), docs()[0]]), "/candidates", "results_shape"),
    Case(4, "rank", ranked(candidates=[docs()[0], {"good": 1, "noise": 1}]), "/candidates/1", "results_shape"),
    Case(4, "rank", rows([f"d{i}" for i in range(10_001)], [[1, 1]]), "/ids", "type"),
    Case(4, "rank", ranked(candidates=docs() * 5_001), "/candidates", "type"),
    *(Case(4, "rank", ranked(k=k), "/k", "type") for k in (0, -1, 10_001)),
    Case(4, "log_retrieval", logged(), "/results", "type"),
    Case(4, "log_retrieval", logged({}), "/results/0", "results_shape"),
    Case(4, "log_retrieval", logged({"id": "a"}, {"id": "a"}), "/results", "results_shape"),
    Case(4, "log_retrieval", logged({"id": "a", "rank": 1}, {"id": "b", "rank": 3}), "/results", "results_shape"),
    Case(4, "log_retrieval", logged({"id": "a", "rank": 1}, {"id": "b", "rank": 1}), "/results", "results_shape"),
    Case(4, "activate", {"event_id": "later", "shown": []}, "/shown", "type"),
    Case(4, "activate", {"event_id": "later", "shown": ["a", "a"]}, "/shown", "results_shape"),
    # 5: embeddings
    Case(5, "rank", ranked(query_embedding=[]), "/query_embedding", "type"),
    Case(5, "rank", ranked(query_embedding=[1.0, 2.0]), "/query_embedding", "embedding_dim"),
    Case(5, "rank", ranked(query_embedding=[0.1] * 8_193), "/query_embedding", "type"),
    Case(5, "log_retrieval", logged({"id": "a"}, query_embedding=[1.0]), "/query_embedding", "embedding_dim"),
    # 6: features
    Case(6, "rank", ranked(candidates=docs(title=1.0)), "/candidates/1", "feature_schema:title"),
    Case(6, "rank", ranked(candidates=[{"id": "a", "good": 1.0}]), "/candidates/0", "feature_schema:noise"),
    Case(6, "rank", ranked(candidates=[{"id": "a"}]), "/candidates/0", "feature_schema:good"),
    Case(6, "rank", rows(["a"], [[1]]), "/features", "feature_schema"),
    Case(6, "rank", rows(["a"], [[]]), "/features", "feature_schema"),
    Case(6, "rank", ranked(candidates=docs(**{f"f{i}": 1.0 for i in range(2_000)})), "/candidates/1", "feature_schema"),
    # 7: what was never served; a reaction to an event that is not known waits for it, by design
    Case(7, "feedback", reaction(doc="elsewhere"), "/doc", "not_served"),
    Case(7, "activate", {"event_id": "never"}, "/event_id", "unknown_event", 404),
    Case(7, "activate", {"event_id": "later", "shown": ["elsewhere"]}, "/shown", "not_served"),
    # 9: a key that was used (the headers: below)
    Case(9, "feedback", reaction(doc="b", idempotency_key="used"), "/idempotency_key", "idempotency_conflict", 409),
    Case(9, "rank", ranked(query="another", event_id="e"), "/event_id", "conflict", 409),
    # 10: instants
    Case(10, "feedback", reaction(at=AHEAD), "/at", "timestamp"),
    Case(10, "feedback", reaction(at=AHEAD * 1e3), "/at", "timestamp"),
    Case(10, "feedback", reaction(at=AHEAD * 1e6), "/at", "timestamp"),
    Case(10, "feedback", reaction(at=-1.0), "/at", "type"),
    Case(10, "feedback", reaction(at=False), "/at", "type"),
    Case(10, "feedback", reaction(at="2026-01-01T00:00:00"), "/at", "type"),
    # 11: integers
    *(Case(11, "rank", ranked(k=k), "/k", "type") for k in (2**63, 10**30)),
    Case(11, "rank", raw('{"query": "q", "candidates": [], "k": ' + NINES + "}"), "/k", "non_finite"),
    Case(11, "rank", one_candidate(NINES), "/candidates/0/good", "non_finite"),
    Case(11, "feedback", reaction(value=2**63), "/value", "signal_range"),
    Case(11, "feedback", reaction(at=2**63), "/at", "timestamp"),
    *(Case(11, "promote", {"version": v}, "/version", "type") for v in (2**63, -1)),
    Case(11, "rollback", {"to": 2**63}, "/to", "type"),
    Case(11, "train", {"steps": 2**63}, "/steps", "type"),
    # 12: text
    *(
        Case(12, "rank", ranked(candidates=docs(id=doc)), "/candidates/1/id", "id")
        for doc in ("", "b\0", "b\u202ec", "b\n", "\x9f", "b" * 10_000, "é" * 400)
    ),
    Case(12, "rank", raw('{"query": "\\ud800", "candidates": []}'), "/query", "text"),
    Case(12, "rank", b'{"query": "q", "candidates": [{"id": "\xff"}]}', "/candidates/0/id", "text"),
    Case(12, "rank", ranked(query="a\0b"), "/query", "text"),
    Case(12, "rank", rows(["a\n"], [[1, 1]]), "/ids/0", "id"),
    Case(12, "rank", rows(["a" * 10_000], [[1, 1]]), "/ids/0", "type"),
    *(Case(12, "rank", ranked(user=u), "/user", "id") for u in ("u\n", "é" * 400)),
    *(Case(12, "rank", ranked(user=u), "/user", "type") for u in ("", "u" * 10_000)),
    Case(12, "rank", ranked(segment="\x7f"), "/segment", "id"),
    *(Case(12, "rank", ranked(event_id=e), "/event_id", "type") for e in ("", "a b", "e" * 10_000)),
    Case(12, "rank", ranked(event_id="e\n"), "/event_id", "id"),
    Case(12, "log_retrieval", logged({"id": "a\0"}), "/results/0/id", "id"),
    Case(12, "log_retrieval", logged({"memory_id": "a\0"}), "/results/0/id", "id"),
    Case(12, "feedback", reaction(doc="\0"), "/doc", "id"),
    Case(12, "feedback", reaction(doc="é" * 400), "/doc", "id"),
    Case(12, "feedback", raw('{"event_id": "e", "signal": "click", "doc": "\\udfff"}'), "/doc", "text"),
    Case(12, "feedback", reaction(idempotency_key="k\n"), "/idempotency_key", "id"),
    Case(12, "activate", {"event_id": "a b"}, "/event_id", "type"),
    Case(12, "activate", {"event_id": "later", "shown": ["a\0"]}, "/shown/0", "id"),
    *(Case(12, "erase", {"user": u}, "/user", "id") for u in ("u\n", "é" * 400)),
    # 13: too much
    Case(13, "rank", ranked(query="x" * 65_537), "/query", "type"),
    Case(13, "rank", ranked(query="é" * 40_000), "/query", "text"),
    Case(13, "rank", b" " * 2_000_001, "", "too_large", 413),
    Case(13, "feedback", [reaction()] * 1_001, "", "results_shape"),
    Case(13, "feedback", {"items": [reaction()] * 1_001}, "/items", "type"),
    # 14: JSON itself
    *(Case(14, call, b"[" * 1_000, "", "malformed_json") for call in ("rank", "feedback", "evaluate", "erase")),
    Case(14, "rank", b'{"a":' * 1_000, "", "malformed_json"),
    *(Case(14, "rank", b, "", "malformed_json") for b in NO_JSON),
    *(Case(14, "rank", b, "", "type") for b in (b"null", b"[]", b'"a"', b"1")),
    Case(14, "rank", raw('{"query": "q", "query": "r", "candidates": []}'), "/query", "duplicate_name"),
    Case(14, "rank", TWO_IDS, "/candidates/0/id", "duplicate_name"),
    Case(14, "feedback", raw('{"event_id": "e", "event_id": "f", "signal": "click"}'), "/event_id", "duplicate_name"),
    Case(14, "rank", ranked(kk=1), "/kk", "unknown_field"),
    Case(14, "feedback", [reaction(x=1)], "/0/x", "unknown_field"),
    Case(14, "feedback", {"items": [reaction()], "z": 1}, "/z", "unknown_field"),
    Case(14, "feedback", [], "", "results_shape"),
    Case(14, "feedback", [1], "/0", "type"),
    # 15: signals
    Case(15, "feedback", reaction(signal="clicck"), "/signal", "unknown_signal"),
    Case(15, "feedback", reaction(signal="dwell", value=-1.0), "/value", "signal_range"),
    Case(15, "feedback", reaction(signal="dwell", value=86_401.0), "/value", "signal_range"),
    Case(15, "feedback", reaction(signal="bounce", doc=None), "/doc", "signal_scope"),
    Case(15, "feedback", reaction(signal="abandoned"), "/doc", "signal_scope"),
    # 16: params
    Case(16, "evaluate", {}, "/weights", "type"),
    Case(16, "promote", {"weights": {"good": 1, "noise": 1}, "version": 0}, "/weights", "type"),
    *(
        Case(16, call, {"weights": weights}, "/weights", "feature_schema")
        for call in ("evaluate", "promote")
        for weights in ({}, {"good": 1.0}, {"good": 1.0, "noise": 1.0, "more": 1.0})
    ),
    *(
        Case(16, call, {"weights": {"good": 0.0, "noise": 0.0}}, "/weights", "params_bounds")
        for call in ("evaluate", "promote")
    ),
    Case(16, "promote", {"weights": {"good": 1e30, "noise": 0.0}, "force": True}, "/weights/good", "params_bounds"),
    *(Case(16, call, {"version": 99}, "/version", "unknown_version", 404) for call in ("evaluate", "promote")),
    Case(16, "promote", {"version": 0, "expected_version": 5}, "/expected_version", "stale_params", 409),
    Case(16, "rollback", {"to": 99}, "", "nothing_to_roll_back", 409),
    Case(16, "rollback", {"expected_version": 7}, "/expected_version", "stale_params", 409),
    # 17: settings of learning that a caller may choose
    *(Case(17, "train", {"steps": n}, "/steps", "type") for n in (0, -1, 10**6, True, 1.5)),
    Case(17, "train", {"capacity": 0}, "/capacity", "unknown_field"),
    # 19: no address is ever called
    Case(19, "rank", ranked(callback_url="http://169.254.169.254/"), "/callback_url", "unknown_field"),
    # 20: the tenant is that of the key
    *(
        Case(20, call, body, "/tenant", "unknown_field")
        for call, body in (
            ("rank", ranked(tenant="x")),
            ("feedback", reaction(tenant="x")),
            ("erase", {"user": "u", "tenant": "x"}),
        )
    ),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("bad") / "s.dwell", *FEATURES, "--no-auth", environment=QUIET) as found:
        asked = ranked(event_id="e", query_embedding=[1.0, 2.0, 3.0], wait=True)
        assert found.call("POST", "/v1/rank", asked)[1]["recorded"] == "durable"
        assert found.call("POST", "/v1/rank", ranked(event_id="later", activate=False, wait=True))[0] == 200
        assert found.call("POST", "/v1/feedback", reaction(idempotency_key="used"))[1]["status"] == "joined"
        yield found


def refused(answer: tuple[int, Any, dict[str, str]], status: int, code: str, path: str) -> None:
    """Check that an answer is a problem that names the place and what to do, in the words of HTTP."""
    found, problem, headers = answer
    assert (found, headers["content-type"]) == (status, "application/problem+json"), problem
    assert (problem["status"], problem["path"]) == (status, path), problem
    assert problem["code"] == code or problem["code"].startswith(f"{code}:"), problem
    assert problem["detail"]
    assert problem["request_id"] == headers["x-request-id"]
    assert problem["remedy"].endswith("."), problem
    assert PYTHON.search(problem["remedy"]) is None, problem


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number} {case.call}")
def test_each_is_refused_with_its_place_and_a_remedy(served: Service, case: Case) -> None:
    answer = served.call("POST", f"/v1/{case.call}", case.body)
    refused(answer, case.status, case.code, case.path)


def test_every_number_of_the_list_is_asked() -> None:
    elsewhere = {8, 18}  # tokens and files: below
    assert {case.number for case in CASES} | elsewhere == set(range(1, 21))


@pytest.mark.parametrize(
    ("path", "where"),
    [
        *((f"/v1/history?limit={n}", "/limit") for n in ("0", "-1", "1001", "1.5", "true", "abc", "1e999", "NaN", "")),
        *((f"/v1/experiences?since={n}", "/since") for n in ("-1", "NaN", "1e999", "1e12", "now", "true")),
        ("/v1/experiences?limit=9223372036854775808", "/limit"),
    ],
)
def test_numbers_in_the_address_are_read_as_strictly(served: Service, path: str, where: str) -> None:
    refused(served.call("GET", path), 400, "range", where)


def test_one_bad_reaction_of_a_batch_spoils_no_other_and_has_its_reason(served: Service) -> None:
    bad = [
        (reaction(at=AHEAD), "timestamp", "at"),
        (reaction(at=AHEAD * 1e3), "timestamp", "at"),
        (reaction(signal="dwell", value=-1.0), "signal_range", "value"),
        (reaction(signal="dwell", value=86_401.0), "signal_range", "value"),
        (reaction(signal="clicck"), "unknown_signal", "signal"),
        (reaction(signal="bounce", doc=None), "signal_scope", "doc"),
        (reaction(doc="d\0"), "id", "doc"),
    ]
    items = [reaction(signal="copy"), *(item for item, _, _ in bad), reaction(signal="copy", doc="b")]
    lines = b"\n".join(json.dumps(item).encode() for item in items)
    bodies: list[tuple[Any, dict[str, str]]] = [
        (items, {}),
        ({"items": items}, {}),
        (lines, {"content_type": "application/x-ndjson"}),
    ]
    for n, (body, headers) in enumerate(bodies):
        served.call("POST", "/v1/rank", ranked(event_id=f"batch-{n}", wait=True))
        raw_body = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, found, _ = served.call("POST", "/v1/feedback", raw_body.replace(b'"e"', b'"batch-%d"' % n), **headers)
        first, *middle, last = found["results"]
        assert (status, first["status"], last["status"]) == (200, "joined", "joined"), found
        for answer, (item, code, field) in zip(middle, bad, strict=True):
            assert answer["status"] == "rejected"
            assert answer["reason"].startswith(f"{code}: "), answer
            assert f"(field '{field}')" in answer["reason"]
            assert PYTHON.search(answer["reason"]) is None, answer
            assert str(item.get("value", "no such value")) not in answer["reason"], "what was sent is not repeated"


def test_a_line_that_can_not_be_read_names_its_field(served: Service) -> None:
    good = json.dumps(reaction(signal="copy")).encode()
    lines = good + b'\n{"event_id": "e", "signal": "click", "value": NaN}\n' + good[:-1] + b', "x": 1}\n'
    found = served.call("POST", "/v1/feedback", lines, content_type="application/x-ndjson")[1]["results"]
    assert [one["status"] for one in found] == ["joined", "rejected", "rejected"]
    assert found[1]["reason"].startswith("non_finite: a number is not finite (field 'value')")
    assert found[2]["reason"].startswith("unknown_field: ")
    assert "(field 'x')" in found[2]["reason"]


@pytest.mark.parametrize(
    ("headers", "body", "status", "code", "path"),
    [
        ({"content_type": "application/octet-stream"}, b"\x80\x04\x95", 415, "unsupported_media_type", "/Content-Type"),
        ({"content_type": "text/html"}, b"{}", 415, "unsupported_media_type", "/Content-Type"),
        ({"content_type": "application/json; charset=utf-16"}, b"{}", 415, "unsupported_media_type", "/Content-Type"),
        ({"content_encoding": "br"}, b"x", 415, "unsupported_media_type", "/Content-Encoding"),
        ({"content_encoding": "gzip"}, b"x", 400, "malformed_json", ""),
        ({"content_encoding": "gzip"}, gzip.compress(bytes(5_000_000)), 413, "too_large", ""),
        ({"idempotency_key": "k" * 300}, b"{}", 400, "type", "/Idempotency-Key"),
        ({"idempotency_key": "a b"}, b"{}", 400, "type", "/Idempotency-Key"),
    ],
)
def test_headers_are_read_as_strictly(
    served: Service, headers: dict[str, str], body: bytes, status: int, code: str, path: str
) -> None:
    for call in ("rank", "feedback", "evaluate"):
        refused(served.call("POST", f"/v1/{call}", body, **headers), status, code, path)


def test_no_path_leads_to_a_file(served: Service) -> None:
    for path in ("/../../etc/passwd", "/dwell.js/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/v1/nothing"):
        status, problem, _ = served.call("GET", path)
        assert (status, problem["code"]) == (404, "not_found")
        assert problem["remedy"]


@pytest.mark.parametrize("kind", ["queries", "events"])
def test_the_tolerant_sinks_are_strict_about_json_and_tell_the_rest_item_by_item(served: Service, kind: str) -> None:
    for body in (b"", b"{", b"[" * 1_000, b'{"a":' * 1_000):
        refused(served.call("POST", f"/ubi/{kind}", body), 400, "malformed_json", "")
    refused(served.call("POST", f"/ubi/{kind}", [{}] * 1_001), 413, "too_large", "")
    bad: list[tuple[dict[str, Any], str]] = [
        ({}, "/user_query" if kind == "queries" else "/action_name"),
        ({"user_query": "q", "action_name": "click", "query_id": "e", "timestamp": AHEAD * 1e3}, "/timestamp"),
        ({"user_query": "q", "action_name": "click", "query_id": "q" * 10_000, "timestamp": 1.0}, "/query_id"),
    ]
    status, found, _ = served.call("POST", f"/ubi/{kind}", [item for item, _ in bad])
    assert (status, found["accepted"]) == (200, 0)
    told = [(one["index"], one["pointer"]) for one in found["quarantined"]]
    assert told == [(i, pointer) for i, (_, pointer) in enumerate(bad)], found


def test_tokens_and_keys_are_refused_without_an_oracle(tmp_path: Path) -> None:
    def made(kind: str, tenant: str = "") -> str:
        command = [sys.executable, "-m", "dwell", "keys", "create", "--kind", kind, "--name", "n", "--tenant", tenant]
        env = {"PYTHONPATH": str(ROOT / "src"), "PATH": ""}
        done = subprocess.run(
            [*command, str(tmp_path / "s.dwell"), "--json"], env=env, capture_output=True, text=True, check=True
        )
        return str(json.loads(done.stdout)["key"])

    with service(tmp_path / "s.dwell", *FEATURES, environment=QUIET) as found:
        public, secret, other = made("public"), made("secret"), made("secret", "other")
        until = time.monotonic() + 5.0
        while found.call("GET", "/v1/params", key=other)[0] != 200 and time.monotonic() < until:
            time.sleep(0.1)
        token = {
            name: found.call("POST", "/v1/rank", ranked(event_id=name, user="u", wait=True), key=key)[1]["token"]
            for name, key in (("mine", secret), ("second", secret), ("theirs", other))
        }
        told = set()
        for bad in (None, "", "x" * 120, token["mine"][:-1], token["mine"] + "=", token["second"], token["theirs"]):
            item = reaction(event_id="mine", **({} if bad is None else {"token": bad}))
            answer = found.call("POST", "/v1/feedback", {"user": "u", "items": [item]}, key=public)
            refused(answer, 403, "token_invalid", answer[1]["path"])
            told.add((answer[1]["detail"], answer[1]["path"], answer[1]["remedy"]))
        assert len(told) == 1, "every bad token is refused in the same words"
        for call, key, status, code in (
            ("rank", None, 401, "unauthorized"),
            ("rank", "dwell_sec_nonsense", 401, "unauthorized"),
            ("rank", public, 403, "forbidden"),
            ("rank?key=" + secret, None, 401, "unauthorized"),
            ("erase", secret, 403, "forbidden"),
            ("train", secret, 403, "forbidden"),
        ):
            refused(found.call("POST", f"/v1/{call}", ranked(), key=key), status, code, "/Authorization")
        # what belongs to another tenant is not there
        refused(found.call("POST", "/v1/activate", {"event_id": "mine"}, key=other), 404, "unknown_event", "/event_id")


def test_nothing_of_all_this_was_recorded(served: Service) -> None:
    raw_lines = served.call("GET", "/v1/experiences?limit=1000")[1]
    lines = raw_lines if isinstance(raw_lines, bytes) else json.dumps(raw_lines).encode()
    found = {one["event_id"]: one for one in map(json.loads, lines.splitlines())}
    assert {name for name in found if not name.startswith("batch-")} == {"e", "later"}
    told = found["e"]["feedback_signals"]
    assert set(told) == {"click", "copy"}, told
    assert served.call("GET", "/v1/params")[1]["version"] == 0
