"""Scores given elsewhere, through the real clients of Langfuse and Phoenix, against a server on this machine.

It answers as their REST APIs document it; of Opik's client, which is not installed, an object has the documented shape.
"""

from __future__ import annotations

import base64
import json
import math
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from langfuse import Langfuse
from opentelemetry.sdk.trace import TracerProvider
from phoenix.client import Client as Phoenix

import dwell
from dwell.cli import main
from dwell.errors import ConfigError, ServiceError, StorageError
from dwell.integrations.scores import (
    Meaning,
    Page,
    Reader,
    Score,
    import_scores,
    langfuse_scores,
    opik_scores,
    phoenix_scores,
    rewards_to_langfuse,
)

AT = 1_760_000_000.0
TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
NOW = AT + 600.0


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


class Elsewhere(ThreadingHTTPServer):
    """Scores of Langfuse, spans and annotations of Phoenix, and what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        self.scores: list[dict[str, Any]] = []
        self.spans: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.written: list[tuple[str, Any]] = []
        self.fails_after: int | None = None
        self.page = 2
        super().__init__(("127.0.0.1", 0), Answering)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str, query: dict[str, list[str]]) -> dict[str, Any] | None:
        if path == "/api/public/v3/scores":
            return self.langfuse(query)
        if path == "/v1/projects/kb/spans":
            found = [one for one in self.spans if query["start_time"][0] <= one["start_time"] < query["end_time"][0]]
            return self.paged(found, query)
        if path == "/v1/projects/kb/span_annotations":
            names = query.get("include_annotation_names", [])
            wanted = [a for a in self.annotations if a["span_id"] in query["span_ids"] and a["name"] in names]
            return self.paged(wanted, query)
        return None

    def langfuse(self, query: dict[str, list[str]]) -> dict[str, Any]:
        names = query["name"][0].split(",") if "name" in query else None
        start = query.get("fromTimestamp", [""])[0]
        found = [
            one for one in self.scores if (names is None or one["name"] in names) and one["timestamp"] >= start[:19]
        ]
        begin = int(base64.urlsafe_b64decode(query["cursor"][0])) if "cursor" in query else 0
        end = begin + self.page
        meta: dict[str, Any] = {"limit": self.page}
        if end < len(found):
            meta["cursor"] = base64.urlsafe_b64encode(str(end).encode()).decode()
        return {"data": found[begin:end], "meta": meta}

    def paged(self, found: list[dict[str, Any]], query: dict[str, list[str]]) -> dict[str, Any]:
        begin = int(query.get("cursor", ["0"])[0])
        end = begin + min(self.page, int(query["limit"][0]))
        return {"data": found[begin:end], "next_cursor": str(end) if end < len(found) else None}


class Answering(BaseHTTPRequestHandler):
    server: Elsewhere

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        here = self.server
        here.asked.append((path, query))
        is_down = here.fails_after is not None and len(here.asked) > here.fails_after
        answer = None if is_down else here.answer(path, query)
        body = json.dumps({"message": "no"} if answer is None else answer).encode()
        self.send_response(400 if is_down else 404 if answer is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.server.written.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        body = b'{"successes": [], "errors": [], "results": {}}'
        self.send_response(202)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    server = Elsewhere()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def loop() -> Iterator[dwell.Loop]:
    with dwell.open(":memory:", features=["x"], pepper="test") as found:
        for event_id in ("e-1", "e-2", TRACE, f"{TRACE}:{SPAN}"):
            found.rank("q", [{"id": "a", "x": 1.0}, {"id": "b", "x": 0.5}], event_id=event_id, now=AT)
        yield found


def signals(loop: dwell.Loop, event_id: str) -> list[tuple[str, str | None, float]]:
    return [(one.name, one.doc, one.value) for one in loop.signals(event_id)]


# ---- Langfuse


def langfuse_score(number: int, value: object, kind: str = "NUMERIC", **more: Any) -> dict[str, Any]:
    told = {
        "id": f"s-{number}",
        "projectId": "p",
        "name": "helpful",
        "value": value,
        "dataType": kind,
        "source": "API",
        "timestamp": iso(AT + 60.0),
        "environment": "default",
        "createdAt": iso(AT + 61.0),
        "updatedAt": iso(AT + 61.0),
        "metadata": {"event_id": "e-1"},
        "subject": {"kind": "trace", "id": "unheard"},
    }
    return {**told, **more}


@pytest.fixture
def langfuse(elsewhere: Elsewhere) -> Iterator[Langfuse]:
    login = {"public_key": f"pk-{elsewhere.server_port}", "secret_key": "sk"}
    client = Langfuse(**login, base_url=elsewhere.url, tracing_enabled=False)
    yield client
    client.shutdown()


def test_scores_of_langfuse_find_their_lists_page_by_page(
    loop: dwell.Loop, elsewhere: Elsewhere, langfuse: Langfuse
) -> None:
    elsewhere.scores = [
        langfuse_score(1, 0.75),
        langfuse_score(2, True, "BOOLEAN", metadata={"event_id": "e-2", "document_id": "b"}),
        langfuse_score(3, "so-so", "CATEGORICAL", name="taste", metadata=None, subject={"kind": "trace", "id": TRACE}),
        langfuse_score(
            4, 5.0, name="stars", metadata={}, subject={"kind": "observation", "id": SPAN, "traceId": TRACE}
        ),
        langfuse_score(5, 0.5, name="unmapped"),
    ]
    mapping: dict[str, object] = {
        "helpful": "helpful",
        "taste": Meaning(signal="thumbs", labels={"good": 1.0, "so-so": -0.5}),
        "stars": {"signal": "reward", "low": 1, "high": 5, "onto": [-1, 1]},
    }
    report = import_scores(loop, langfuse_scores(langfuse), mapping, since=AT, now=NOW)
    assert (report.n_scores, report.n_quarantined, report.feedback) == (4, 0, {"joined": 4})
    assert signals(loop, "e-1") == [("helpful", None, 0.75)]
    assert signals(loop, "e-2") == [("helpful", "b", 1.0)]
    assert signals(loop, TRACE) == [("thumbs", None, -0.5)]
    assert signals(loop, f"{TRACE}:{SPAN}") == [("reward", None, 1.0)]  # 5 of 1 to 5 is the top of -1 to 1
    assert [one.at for one in loop.signals("e-1")] == [AT + 60.0]
    assert len(elsewhere.asked) == 2
    assert elsewhere.asked[0][1]["name"] == ["helpful,taste,stars"]
    assert report.next_since == NOW - 300.0
    again = import_scores(loop, langfuse_scores(langfuse), mapping, since=AT, now=NOW + 60.0)
    assert again.feedback == {"duplicate": 4}
    assert signals(loop, "e-1") == [("helpful", None, 0.75)]


def test_a_changed_score_is_a_changed_vote(loop: dwell.Loop, elsewhere: Elsewhere, langfuse: Langfuse) -> None:
    elsewhere.scores = [langfuse_score(1, 1.0)]
    import_scores(loop, langfuse_scores(langfuse), {"helpful": "thumbs"}, now=NOW)
    elsewhere.scores = [langfuse_score(1, -1.0, updatedAt=iso(AT + 91.0))]
    report = import_scores(loop, langfuse_scores(langfuse), {"helpful": "thumbs"}, now=NOW)
    assert report.feedback == {"joined": 1}
    assert [(one.value, one.at) for one in loop.signals("e-1")] == [(1.0, AT + 60.0), (-1.0, AT + 90.0)]
    (kept,) = [one for one in loop.experiences() if one.event_id == "e-1"]
    assert kept.feedback_signals == {"thumbs": -1.0}


def test_what_can_not_be_used_is_counted_with_its_reason(
    loop: dwell.Loop, elsewhere: Elsewhere, langfuse: Langfuse
) -> None:
    elsewhere.page = 100
    elsewhere.scores = [
        langfuse_score(1, 1.5),
        langfuse_score(2, "excellent", "CATEGORICAL", name="taste"),
        langfuse_score(3, 0.5, timestamp=iso(NOW + 301.0), updatedAt=iso(NOW + 301.0), createdAt=iso(NOW + 301.0)),
        langfuse_score(4, "words alone", "TEXT"),
        langfuse_score(5, 0.5, metadata={"event_id": "e-99"}),
        langfuse_score(6, 0.5, metadata=None, subject=None),
        langfuse_score(7, False, "BOOLEAN"),
        langfuse_score(8, 0.5, metadata={"event_id": "e-1", "document_id": "nobody"}),
        langfuse_score(9, 0.5),
        langfuse_score(10, 0.25, metadata={"event_id": "no id"}, subject={"kind": "session", "id": "line\nbreak"}),
    ]
    meaning = Meaning(signal="helpful", low=0.0, high=1.0, false=None)
    mapping = {"helpful": meaning, "taste": {"signal": "thumbs", "labels": {"good": 1}}}
    report = import_scores(loop, langfuse_scores(langfuse), mapping, now=NOW)
    assert report.n_scores == 10
    assert [(one.index, one.pointer, one.reason.partition(":")[0], one.source) for one in report.quarantined] == [
        (0, "/value", "out_of_range", "langfuse"),
        (1, "/label", "unknown_label", "langfuse"),
        (2, "/timestamp", "in_the_future", "langfuse"),
    ]
    assert report.left_out == {"no_value": 1, "unknown_list": 2, "no_list": 1, "ignored": 1}
    assert report.feedback == {"joined": 1, "rejected:not_served": 1}


def test_an_import_that_was_cut_off_goes_on_after_its_last_page(
    loop: dwell.Loop, elsewhere: Elsewhere, langfuse: Langfuse, tmp_path: Path
) -> None:
    elsewhere.scores = [langfuse_score(i, i / 10.0, metadata={"event_id": f"e-{i}"}) for i in range(1, 6)]
    place = tmp_path / "langfuse.json"
    elsewhere.fails_after = 1

    def run(now: float) -> Any:
        reader = langfuse_scores(SimpleNamespace(api=langfuse.api))
        return import_scores(loop, reader, {"helpful": "helpful"}, since=AT, progress=place, now=now)

    with pytest.raises(ServiceError, match="langfuse did not answer"):
        run(NOW)
    assert signals(loop, "e-2") == [("helpful", None, 0.2)]
    elsewhere.fails_after = None
    n_before = len(elsewhere.asked)
    report = run(NOW + 60.0)
    assert (report.n_scores, len(elsewhere.asked) - n_before) == (3, 2)  # five by two: the first page is not asked for
    assert report.next_since == NOW - 300.0  # the import that was cut off ended there
    elsewhere.asked.clear()
    run(NOW + 120.0)
    assert elsewhere.asked[0][1]["fromTimestamp"] == [iso(NOW - 300.0)]
    with pytest.raises(ConfigError, match="keeps the progress of langfuse"):
        import_scores(loop, Reader("opik", lambda *_: iter(()), 0.0), {"x": "thumbs"}, progress=place, now=NOW)
    place.write_text("{}")
    with pytest.raises(ConfigError, match="keeps no progress"):
        run(NOW)
    assert list(tmp_path.iterdir()) == [place]


def test_who_knows_better_is_asked_first(loop: dwell.Loop, elsewhere: Elsewhere, langfuse: Langfuse) -> None:
    elsewhere.scores = [langfuse_score(1, 1.0)]
    reader = langfuse_scores(langfuse, event_of=lambda score: "e-2" if score.name == "helpful" else None)
    import_scores(loop, reader, {"helpful": "helpful"}, now=NOW)
    assert (signals(loop, "e-1"), signals(loop, "e-2")) == ([], [("helpful", None, 1.0)])


def test_rewards_go_back_as_scores_of_their_traces(loop: dwell.Loop, elsewhere: Elsewhere) -> None:
    for event_id, signal in ((TRACE, "thumbs"), (f"{TRACE}:{SPAN}", "helpful"), ("e-1", "thumbs")):
        loop.feedback(event_id, signal, value=1.0, now=AT + 60.0)
    loop.close_events(AT + 10_000.0)
    login = {"public_key": f"pk-write-{elsewhere.server_port}", "secret_key": "sk"}
    client = Langfuse(**login, base_url=elsewhere.url, tracer_provider=TracerProvider(shutdown_on_exit=False))
    assert rewards_to_langfuse(loop, client) == 2  # e-1 names no trace, e-2 and the other have no feedback
    assert rewards_to_langfuse(loop, client, trace_of=lambda one: TRACE if one.event_id == "e-1" else None) == 1
    client.flush()
    client.shutdown()
    text = json.dumps(elsewhere.written)
    rewards = {one.event_id: one.reward for one in loop.experiences()}
    for event_id in (TRACE, f"{TRACE}:{SPAN}", "e-1"):
        assert f'"dwell:{event_id}"' in text
        assert f'"value": {rewards[event_id]}' in text
    assert f'"observationId": "{SPAN}"' in text
    with pytest.raises(ConfigError, match="does not read scores page by page"):
        langfuse_scores(SimpleNamespace(api=SimpleNamespace(scores=SimpleNamespace(get_many=lambda page: page))))


def test_the_command_reads_with_the_clients_own_variables(
    elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "search.dwell")
    with dwell.open(store, features=["x"]) as loop:
        loop.rank("q", [{"id": "a", "x": 1.0}], event_id="e-1", now=AT)
    elsewhere.scores = [langfuse_score(1, 1.0), langfuse_score(2, 7.0)]
    command = ["import", "scores", "langfuse", store, "--map", '{"helpful": {"signal": "thumbs", "high": 1}}']
    monkeypatch.delenv("LANGFUSE_PUBLIC_KEY", raising=False)
    assert main(command) == 1
    assert "LANGFUSE_PUBLIC_KEY is not set" in capsys.readouterr().err
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", f"pk-cli-{elsewhere.server_port}")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk")
    monkeypatch.setenv("LANGFUSE_BASE_URL", elsewhere.url)
    assert main([*command, "--json", "--since", "2025-10-09"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["n_scores"], told["n_quarantined"], told["feedback"]) == (2, 1, {"joined": 1})
    assert main(command) == 0
    told_again = capsys.readouterr().out
    assert "duplicate 1" in told_again
    assert "out_of_range" in told_again
    elsewhere.scores = [langfuse_score(2, 7.0)]
    assert main(command) == 1
    assert "none of 1 scores could be used" in capsys.readouterr().err
    assert main([*command, "--project", "kb"]) == 1
    assert "belong to one project" in capsys.readouterr().err
    assert main(["import", "scores", "phoenix", *command[3:]]) == 1
    assert "read project by project" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "opik", None)
    assert main(["import", "scores", "opik", *command[3:]]) == 1
    assert "dwell[opik]" in capsys.readouterr().err
    assert main(command[:4]) == 2


# ---- Phoenix


def span(trace: str, span_id: str, at: float, kind: str = "CHAIN", **attributes: Any) -> dict[str, Any]:
    return {
        "name": "a span",
        "context": {"trace_id": trace, "span_id": span_id},
        "span_kind": kind,
        "start_time": datetime.fromtimestamp(at, UTC).isoformat(),
        "end_time": datetime.fromtimestamp(at + 1.0, UTC).isoformat(),
        "status_code": "OK",
        "attributes": attributes,
    }


def annotation(number: int, span_id: str, result: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    told = {
        "id": f"a-{number}",
        "name": "thumbs",
        "annotator_kind": "HUMAN",
        "span_id": span_id,
        "result": result,
        "metadata": {},
        "created_at": iso(AT + 60.0),
        "updated_at": iso(AT + 60.0),
        "source": "APP",
        "user_id": None,
    }
    return {**told, **more}


def test_annotations_of_phoenix_find_the_list_of_their_trace(loop: dwell.Loop, elsewhere: Elsewhere) -> None:
    elsewhere.spans = [
        span(TRACE, "root", AT + 1.0),
        span(TRACE, SPAN, AT + 2.0, "RETRIEVER"),
        span("t-2", "traced", AT + 3.0, **{"dwell.event_id": "e-1"}),
        span("t-3", "json", AT + 90_000.0, metadata='{"event_id": "e-2"}'),
        span("t-4", "elsewhere", AT + 5.0),
    ]
    elsewhere.annotations = [
        annotation(1, "root", {"score": 1.0, "label": "up"}),
        annotation(2, "traced", {"label": "down"}, metadata={"document_id": "b"}),
        annotation(3, "json", {"score": 0.5}),
        annotation(4, "elsewhere", {"score": 1.0}),
        annotation(5, "elsewhere", {"score": 1.0}, metadata={"event_id": "e-2"}),
        annotation(6, "root", {"explanation": "words"}),
        annotation(7, "root", {"score": 1.0}, name="unmapped"),
        annotation(8, "root", {"score": 1.0}, updated_at="yesterday"),
    ]
    phoenix = Phoenix(base_url=elsewhere.url, api_key="key")
    reader = phoenix_scores(phoenix, "kb", most_at_once=4)
    mapping = {"thumbs": {"signal": "thumbs", "labels": {"up": 1, "down": -1}}}
    report = import_scores(loop, reader, mapping, since=AT, now=AT + 100_000.0)
    assert (report.n_scores, report.feedback) == (7, {"joined": 4})
    assert report.left_out == {"unknown_list": 1, "no_value": 1}
    assert [one.reason for one in report.quarantined] == ["malformed: ValueError"]
    assert signals(loop, f"{TRACE}:{SPAN}") == [("thumbs", None, 1.0)]  # of the root, the one retrieval below it
    assert signals(loop, "e-1") == [("thumbs", "b", -1.0)]
    assert sorted(value for _, _, value in signals(loop, "e-2")) == [0.5, 1.0]
    assert import_scores(loop, reader, mapping, since=AT, now=AT + 100_000.0).feedback == {"duplicate": 4}
    elsewhere.fails_after = 0
    with pytest.raises(ServiceError, match="phoenix did not answer"):
        import_scores(loop, reader, mapping, since=AT, now=AT + 100_000.0)
    with pytest.raises(ConfigError, match="read from an instant on"):
        import_scores(loop, reader, mapping, now=AT)


def test_a_day_with_too_many_spans_is_halved_and_a_second_is_refused(loop: dwell.Loop, elsewhere: Elsewhere) -> None:
    elsewhere.page = 100
    elsewhere.spans = [span(f"t-{i}", f"s-{i}", AT + 600.0 * i) for i in range(20)]
    elsewhere.annotations = [annotation(i, f"s-{i}", {"score": 1.0}, metadata={"event_id": "e-1"}) for i in range(20)]
    phoenix = Phoenix(base_url=elsewhere.url, api_key="key")
    reader = phoenix_scores(phoenix, "kb", most_at_once=6)
    report = import_scores(loop, reader, {"thumbs": "thumbs"}, since=AT, now=AT + 12_000.0)
    assert report.n_scores == 20
    elsewhere.spans = [span("t", f"s-{i}", AT + 0.1) for i in range(8)]
    with pytest.raises(ServiceError, match="a second holds more than 6"):
        import_scores(loop, reader, {"thumbs": "thumbs"}, since=AT, now=AT + 12_000.0)


# ---- Opik


class Opik:
    """What `opik.Opik` 2.2 documents: traces and spans with their feedback scores."""

    def __init__(self, traces: list[Any], spans: list[Any]) -> None:
        self.found = {"traces": traces, "spans": spans}
        self.asked: list[tuple[str, str]] = []

    def _search(self, what: str, project_name: str, filter_string: str, max_results: int) -> list[Any]:
        self.asked.append((project_name, filter_string))
        words = filter_string.split('"')
        start, end = (datetime.fromisoformat(words[i]) for i in (1, 3))
        return [one for one in self.found[what] if start <= one.start_time < end][:max_results]

    def search_traces(self, project_name: str, filter_string: str, max_results: int) -> list[Any]:
        return self._search("traces", project_name, filter_string, max_results)

    def search_spans(self, project_name: str, filter_string: str, max_results: int) -> list[Any]:
        return self._search("spans", project_name, filter_string, max_results)


def opik_one(own: str, scores: list[Any], **more: Any) -> Any:
    start = datetime.fromtimestamp(AT + 1.0, UTC)
    return SimpleNamespace(id=own, start_time=start, end_time=None, feedback_scores=scores, **more)


def opik_score(name: str, value: float, category: str | None = None) -> Any:
    at = datetime.fromtimestamp(AT + 60.0, UTC)
    return SimpleNamespace(name=name, value=value, category_name=category, last_updated_at=None, created_at=at)


def test_feedback_scores_of_opik_find_their_lists(loop: dwell.Loop) -> None:
    traces = [
        opik_one("e-1", [opik_score("helpful", 1.0), opik_score("unmapped", 1.0)], metadata=None),
        opik_one("t-2", [opik_score("helpful", 0.0, "no")], metadata={"event_id": "e-2"}),
        opik_one("t-3", None, metadata=None),  # type: ignore[arg-type]
    ]
    spans = [opik_one(SPAN, [opik_score("helpful", 1.0)], metadata={"document_id": "a"}, trace_id=TRACE)]
    client = Opik(traces, spans)
    mapping = {"helpful": Meaning(signal="thumbs", labels={"no": -1.0})}
    report = import_scores(loop, opik_scores(client, "kb"), mapping, since=AT, now=NOW)
    assert (report.n_scores, report.feedback) == (3, {"joined": 3})
    assert client.asked[0] == ("kb", f'start_time >= "{iso(AT)}" AND start_time < "{iso(NOW)}"')
    assert signals(loop, "e-1") == [("thumbs", None, 1.0)]
    assert signals(loop, "e-2") == [("thumbs", None, -1.0)]
    assert signals(loop, f"{TRACE}:{SPAN}") == [("thumbs", "a", 1.0)]
    assert import_scores(loop, opik_scores(client, "kb"), mapping, since=AT, now=NOW).feedback == {"duplicate": 3}


# ---- whatever reads


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "named with their signals"),
        ({"x": "unheard"}, "rewards do not declare"),
        ({"x": 3}, "named with its signal"),
        ({"x": {"low": 0}}, "a score is a signal"),
        ({"x": {"signal": "thumbs", "scale": 2}}, "unknown field"),
        ({"x": {"signal": "thumbs", "low": 1, "high": 1}}, "low is below high"),
        ({"x": {"signal": "thumbs", "low": math.nan}}, "finite"),
        ({"x": {"signal": "thumbs", "onto": [0, 1]}}, "a pair is due"),
        ({"x": {"signal": "thumbs", "low": 0, "high": 1, "onto": [-2, 1]}}, r"outside \[-1, 1\]"),
        ({"x": {"signal": "thumbs", "labels": {"good": 7}}}, r"outside \[-1, 1\]"),
        ({"x": {"signal": "thumbs", "labels": ["good"]}}, "wrong type"),
        ({"x": {"signal": "thumbs", "false": -3}}, r"outside \[-1, 1\]"),
    ],
)
def test_a_mapping_that_means_nothing_is_refused_before_anything_is_read(
    loop: dwell.Loop, given: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        import_scores(loop, Reader("x", lambda *_: iter(()), 0.0), given, now=NOW)


def test_a_client_in_place_of_its_reader_is_refused_with_the_remedy(loop: dwell.Loop) -> None:
    with pytest.raises(ConfigError, match=r"langfuse_scores\(client\)"):
        import_scores(loop, object(), {"x": "thumbs"}, now=NOW)  # type: ignore[arg-type]


def test_a_judges_score_may_be_an_agents_word_which_is_in_no_reward(loop: dwell.Loop) -> None:
    score = Score(id="1", name="judge", value=1.0, label=None, at=AT, targets=("e-1",))
    reader = Reader("x", lambda *_: iter([Page([score], (), None)]), 0.0)
    assert import_scores(loop, reader, {"judge": "agent_helpful"}, now=NOW).feedback == {"joined": 1}
    (kept,) = [one for one in loop.experiences() if one.event_id == "e-1"]
    assert (kept.feedback_signals, kept.reward) == ({"agent_helpful": 1.0}, 0.0)


def test_what_its_source_calls_a_models_is_an_agents_word_whatever_it_is_mapped_to(
    loop: dwell.Loop, elsewhere: Elsewhere, langfuse: Langfuse
) -> None:
    elsewhere.scores = [langfuse_score(1, 1.0, source="EVAL"), langfuse_score(2, 1.0, metadata={"event_id": "e-2"})]
    import_scores(loop, langfuse_scores(langfuse), {"helpful": "helpful"}, now=NOW)
    assert (signals(loop, "e-1"), signals(loop, "e-2")) == ([("agent_helpful", None, 1.0)], [("helpful", None, 1.0)])
    elsewhere.spans = [span(TRACE, SPAN, AT + 2.0, "RETRIEVER")]
    elsewhere.annotations = [
        annotation(1, SPAN, {"score": 1.0}, annotator_kind="LLM"),
        annotation(2, SPAN, {"score": -1.0}, annotator_kind="CODE"),
    ]
    phoenix = Phoenix(base_url=elsewhere.url, api_key="key")
    import_scores(loop, phoenix_scores(phoenix, "kb"), {"thumbs": "thumbs"}, since=AT, now=NOW)
    judged = opik_score("helpful", 1.0)
    judged.source = "online_scoring"
    client = Opik([], [opik_one(SPAN, [judged], metadata=None, trace_id=TRACE)])
    import_scores(loop, opik_scores(client, "kb"), {"helpful": "helpful"}, since=AT, now=NOW)
    assert sorted(signals(loop, f"{TRACE}:{SPAN}")) == [
        ("agent_helpful", None, 1.0), ("agent_thumbs", None, 1.0), ("thumbs", None, -1.0),
    ]  # fmt: skip


def test_numbers_are_taken_in_proportion(loop: dwell.Loop) -> None:
    scores = [
        Score(id=str(i), name="error", value=value, label=None, at=AT, targets=("e-1",))
        for i, value in enumerate([0.0, 25.0, 100.0, 100.5, math.inf])
    ]
    reader = Reader("x", lambda *_: iter([Page(scores, (), None)]), 0.0)
    seen: list[int] = []
    meaning = Meaning(signal="thumbs", low=0, high=100, onto=(1, -1))  # an error is the worse the larger it is
    report = import_scores(loop, reader, {"error": meaning}, now=NOW, on_progress=seen.append)
    assert sorted(value for _, _, value in signals(loop, "e-1")) == [-1.0, 0.5, 1.0]
    assert [one.index for one in report.quarantined] == [3, 4]
    assert seen == [5]
    loop.close()
    with pytest.raises(StorageError):
        import_scores(loop, reader, {"error": meaning}, now=NOW)
