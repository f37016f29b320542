"""`dwell import otel`: files of a collector, as people and programs bring them in."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

import dwell
from dwell.integrations.otel import import_otel

from .called import Run

AT = 1_700_000_000


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "search.dwell"
    dwell.open(path, features=["score"]).close()
    return path


def ids(i: int) -> dict[str, str]:
    return {"traceId": f"{i + 1:032x}", "spanId": f"{i + 1:016x}"}


def attribute(key: str, value: object) -> dict[str, Any]:
    kind = {str: "stringValue", bool: "boolValue", int: "intValue", float: "doubleValue"}[type(value)]
    return {"key": key, "value": {kind: value}}


def attributes(**told: object) -> list[dict[str, Any]]:
    return [attribute(key.replace("__", "."), value) for key, value in told.items()]


def retrieval(i: int, *events: dict[str, Any], user: str = "u", **more: object) -> dict[str, Any]:
    documents = json.dumps([{"id": "a", "score": 0.9, "content": "Text"}, {"id": "b", "score": 0.5}])
    told = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": documents, "user.id": user} | more
    return {
        **ids(i), "name": "retrieval kb", "endTimeUnixNano": str((AT + i) * 10**9),
        "attributes": [attribute(key, value) for key, value in told.items()], "events": list(events),
    }  # fmt: skip


def thumbs(i: int, value: object = 1.0, name: str = "thumbs") -> dict[str, Any]:
    told = {"gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": value}
    return {
        "name": "gen_ai.evaluation.result", "timeUnixNano": str((AT + i) * 10**9),
        "attributes": [attribute(key, one) for key, one in told.items()],
    }  # fmt: skip


def spans(*told: object) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": list(told)}]}]}


def logs(i: int, value: float = 1.0) -> dict[str, Any]:
    told = thumbs(i, value)
    record = {**ids(i), "eventName": told.pop("name"), **told}
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}


def write(path: Path, items: list[Any]) -> Path:
    lines = (item if isinstance(item, str) else json.dumps(item) for item in items)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_collectors_file_comes_in_once(dwell_: Run, store: Path, tmp_path: Path) -> None:
    chat = {**ids(5), "endTimeUnixNano": str(AT * 10**9), "attributes": attributes(gen_ai__operation__name="chat")}
    log = write(
        tmp_path / "traces.jsonl",
        [logs(0), spans(retrieval(0), chat), spans(retrieval(1, thumbs(1, 5.0, "stars"), thumbs(1, 0.2, "toxic")))],
    )
    arguments = ("import", "otel", store, log, "--signals", '{"stars": {"signal": "rating", "low": 1, "high": 5}}')
    ran = dwell_(*arguments, "--json")
    assert (ran.code, ran.err) == (0, "")
    report = json.loads(ran.out)
    assert (report["n_spans"], report["n_lists"], report["n_lists_without_features"]) == (4, 2, 0)
    assert report["feedback"] == {"joined": 2}
    assert report["unknown_evaluations"] == {"toxic": 1}
    assert (report["n_quarantined"], report["quarantined"]) == (0, [])
    with dwell.open(store) as loop:
        loop.close_events(now=float(AT + 10**6))
        first, second = loop.experiences()
        assert (first.event_id, first.feedback_signals) == (f"{1:032x}:{1:016x}", {"thumbs": 1.0})
        assert second.feedback_signals == {"rating": 5.0}
        assert first.reward == pytest.approx(loop.rewards.signals["thumbs"].weight)
        assert "Text" not in repr((first, second))
    again = dwell_(*arguments)
    assert (again.code, again.err) == (0, "")
    assert "0 recorded, 2 known" in again.out
    assert "duplicate 2" in again.out


def test_what_was_odd_is_told(dwell_: Run, store: Path, tmp_path: Path) -> None:
    log = write(tmp_path / "traces.jsonl", [
        "{", {"resourceMetrics": []}, spans(retrieval(0), {**retrieval(1), "traceId": "x"}),
        spans(retrieval(2, **{"gen_ai.retrieval.documents": "[]"})), spans(retrieval(3, thumbs(3, True))),
    ])  # fmt: skip
    ran = dwell_("import", "otel", store, log, "--json")
    assert ran.code == 0
    report = json.loads(ran.out)
    assert report["n_lists"] == 2
    assert [(one["index"], one["reason"].partition(":")[0]) for one in report["quarantined"]] == [
        (0, "malformed_json"), (2, "id"), (3, "no_documents"), (4, "type")
    ]  # fmt: skip
    assert {one["source"] for one in report["quarantined"]} == {"traces.jsonl"}
    assert "no_documents" in dwell_("import", "otel", store, log).out


def test_a_log_of_which_nothing_can_be_used_is_a_failure(dwell_: Run, store: Path, tmp_path: Path) -> None:
    log = write(tmp_path / "silent.jsonl", [spans(retrieval(0, **{"gen_ai.retrieval.documents": "[]"}))])
    ran = dwell_("import", "otel", store, log)
    assert ran.code == 1
    assert "tracers have a switch" in ran.err
    (tmp_path / "binary.jsonl").write_bytes(b"\x1f\x8b\x08traces")
    assert dwell_("import", "otel", store, tmp_path / "binary.jsonl").code == 1
    assert dwell_("import", "otel", store, tmp_path / "nowhere.jsonl").code == 1
    assert dwell_("import", "otel", store, tmp_path).code == 1
    assert dwell_("import", "otel", store, write(tmp_path / "empty.jsonl", [])).code == 0


@pytest.mark.parametrize("arguments", [(), ("log.jsonl", "--signals", "[]"), ("log.jsonl", "--signals", '{"a": 3}')])
def test_wrong_usage_is_told(dwell_: Run, store: Path, arguments: tuple[str, ...]) -> None:
    assert dwell_("import", "otel", store, *arguments).code == 2


def test_a_mapping_to_no_signal_is_refused(dwell_: Run, store: Path, tmp_path: Path) -> None:
    log = write(tmp_path / "traces.jsonl", [spans(retrieval(0))])
    ran = dwell_("import", "otel", store, log, "--signals", '{"stars": "no such signal"}')
    assert ran.code == 1
    assert "signals.stars" in ran.err


def test_features_are_needed_to_learn(dwell_: Run, tmp_path: Path) -> None:
    log = write(tmp_path / "traces.jsonl", [spans(retrieval(0))])
    refused = dwell_("import", "otel", tmp_path / "new.dwell", log)
    assert refused.code == 1
    ran = dwell_("import", "otel", tmp_path / "new.dwell", log, "--create")
    assert ran.code == 0
    assert "nothing is learned" in ran.out


def test_the_order_in_a_file_does_not_count(store: Path) -> None:
    told = [spans(retrieval(3)), logs(9), logs(3), spans(retrieval(9)), spans(retrieval(1))]
    with dwell.open(store) as loop:
        report = import_otel(loop, told)
        assert report.feedback == {"joined": 2}
        assert [one.timestamp for one in loop.experiences()] == [AT + 1, AT + 3, AT + 9]


def test_evaluations_may_come_in_a_file_of_their_own(store: Path) -> None:
    with dwell.open(store) as loop:
        import_otel(loop, [spans(retrieval(0)), spans(retrieval(0))])
        report = import_otel(loop, [logs(0), logs(7)])
        assert (report.feedback, report.left_out) == ({"joined": 1}, {"of_another_span": 1})
        assert loop.event_counts()["orphans"] == 0


def test_clocks_may_be_wrong_by_a_little(store: Path) -> None:
    early, too_early = logs(100), logs(200)
    for told, seconds in ((early, 299), (too_early, 301)):
        record = told["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
        record["timeUnixNano"] = str(int(record["timeUnixNano"]) - seconds * 10**9)
    with dwell.open(store) as loop:
        report = import_otel(loop, [spans(retrieval(100), retrieval(200)), early, too_early])
        assert (report.feedback, report.left_out) == ({"joined": 1}, {"too_early": 1})
        later = spans(retrieval(int(time.time()) - AT + 3_600))
        assert import_otel(loop, [later]).quarantined[0].reason.startswith("future")


def test_erased_users_stay_erased(store: Path) -> None:
    with dwell.open(store) as loop:
        import_otel(loop, [spans(retrieval(0, user="gone"))])
        assert loop.erase("gone") == 1
        report = import_otel(loop, [spans(retrieval(0, user="gone"), retrieval(1)), logs(0)])
        assert report.left_out == {"erased": 1, "of_a_list_left_out": 1}
        assert [one.event_id for one in loop.experiences()] == [f"{2:032x}:{2:016x}"]


def test_another_list_under_a_known_span_is_a_conflict(store: Path) -> None:
    other = retrieval(0, **{"gen_ai.retrieval.documents": '[{"id": "z", "score": 1.0}]'})
    with dwell.open(store) as loop:
        import_otel(loop, [spans(retrieval(0))])
        report = import_otel(loop, [spans(other)])
        assert report.n_lists == 0
        assert sum(report.refused_lists.values()) == 1
        (held,) = loop.experiences()
        assert [one["id"] for one in held.results_served] == ["a", "b"]
