"""The service as it is started and called: every call once, keys, tenants, retries, learning, and its end."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .serving import ROOT, Service, service

QUICK = {
    "DWELL_STORE__ATTRIBUTION_WINDOW_S": "0.2",
    "DWELL_GATE__MIN_EVENTS": "20",
    "DWELL_GATE__MIN_USERS": "5",
    "DWELL_SERVE__TRAIN_EVERY_S": "3600.0",
}
FEATURES = ("--features", "good,noise")


def candidates(n: int = 4) -> list[dict[str, Any]]:
    return [{"id": f"d{i}", "good": i / n, "noise": 0.5} for i in range(n)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("open") / "s.dwell", *FEATURES, "--no-auth", environment=QUICK) as found:
        yield found


def test_what_is_ranked_is_answered_for(served: Service) -> None:
    asked = {"query": "q", "candidates": candidates(), "k": 3, "user": "u", "event_id": "once", "wait": True}
    status, first, headers = served.call("POST", "/v1/rank", asked)
    assert (status, first["recorded"], len(first["ids"])) == (200, "durable", 3)
    assert headers["dwell-params-version"] == str(first["params_version"])
    assert served.call("POST", "/v1/rank", asked)[1]["ids"] == first["ids"], "a retry is answered as before"
    status, problem, _ = served.call("POST", "/v1/rank", {**asked, "query": "another"})
    assert (status, problem["code"], problem["path"]) == (409, "conflict", "/event_id")
    item = {"event_id": "once", "signal": "click", "doc": first["ids"][0]}
    assert served.call("POST", "/v1/feedback", item)[1] == {"status": "joined", "reason": None}
    many = served.call("POST", "/v1/feedback", [item, {**item, "doc": "never"}, {**item, "event_id": "unknown"}])
    assert [one["status"] for one in many[1]["results"]] == ["joined", "rejected", "orphan"]


def test_lines_are_taken_one_by_one(served: Service) -> None:
    served.call("POST", "/v1/rank", {"query": "q", "candidates": candidates(), "event_id": "lines"})
    good = json.dumps({"event_id": "lines", "signal": "click", "doc": "d0"}).encode()
    status, found, _ = served.call(
        "POST", "/v1/feedback", good + b"\nnot json\n" + good, content_type="application/x-ndjson"
    )
    assert status == 200
    assert [one["status"] for one in found["results"]] == ["joined", "rejected", "duplicate"], "one instant, one click"
    assert found["results"][1]["reason"].startswith("malformed_json")


def test_a_key_makes_a_batch_one_effect_and_one_answer(served: Service) -> None:
    served.call("POST", "/v1/rank", {"query": "q", "candidates": candidates(), "event_id": "keyed"})
    items = [{"event_id": "keyed", "signal": "click", "doc": "d0"}]
    first = served.call("POST", "/v1/feedback", items, idempotency_key="k1")
    assert first[1]["results"][0]["status"] == "joined"
    assert served.call("POST", "/v1/feedback", items, idempotency_key="k1")[1] == first[1]
    status, problem, _ = served.call("POST", "/v1/feedback", items * 2, idempotency_key="k1")
    assert (status, problem["code"]) == (409, "idempotency_conflict")
    status, problem, _ = served.call("POST", "/v1/rank", {"query": "q"}, idempotency_key="k" * 300)
    assert (status, problem["path"]) == (400, "/Idempotency-Key")
    body = {"query": "q", "candidates": candidates()}
    one, again = (served.call("POST", "/v1/rank", body, idempotency_key="k2")[1] for _ in range(2))
    assert one == again
    status, problem, _ = served.call("POST", "/v1/rank", {**body, "k": 1}, idempotency_key="k2")
    assert (status, problem["code"]) == (409, "idempotency_conflict")


def test_a_list_of_somebody_else_and_a_deferred_one(served: Service) -> None:
    results = [{"memory_id": "m1", "rank": 1, "score": 2.0}, {"memory_id": "m2", "rank": 2, "score": 1.0}]
    status, found, _ = served.call("POST", "/v1/log_retrieval", {"query": "q", "results": results, "event_id": "ext"})
    assert (status, found["event_id"]) == (200, "ext")
    assert (
        served.call("POST", "/v1/feedback", {"event_id": "ext", "signal": "click", "doc": "m2"})[1]["status"]
        == "joined"
    )
    asked = {"query": "q", "candidates": candidates(), "event_id": "later", "activate": False, "wait": True}
    ids = served.call("POST", "/v1/rank", asked)[1]["ids"]
    assert served.call("POST", "/v1/activate", {"event_id": "later", "shown": ids[:2]})[0] == 200
    status, problem, _ = served.call("POST", "/v1/activate", {"event_id": "nobody"})
    assert (status, problem["code"]) == (404, "unknown_event")


@pytest.mark.parametrize(
    ("path", "body", "status", "where"),
    [
        (
            "/v1/rank",
            b'{"query": "q", "candidates": [{"id": "a", "good": NaN, "noise": 1}]}',
            400,
            "/candidates/0/good",
        ),
        (
            "/v1/rank",
            b'{"query": "q", "candidates": [{"id": "a", "good": 1e999, "noise": 1}]}',
            400,
            "/candidates/0/good",
        ),
        ("/v1/rank", {"query": "q", "candidates": [{"id": "a", "good": True, "noise": 1}]}, 400, "/candidates/0/good"),
        ("/v1/rank", {"query": "q", "candidates": [{"id": "a", "good": "1", "noise": 1}]}, 400, "/candidates/0/good"),
        ("/v1/rank", {"query": "q", "candidates": candidates(), "k": 0}, 400, "/k"),
        ("/v1/rank", {"query": "q", "candidates": candidates(), "kk": 1}, 400, "/kk"),
        ("/v1/rank", {"query": "q", "candidates": []}, 400, "/candidates"),
        ("/v1/rank", {"query": "q", "ids": ["a", "b"], "features": [[1.0, 2.0], [1.0]]}, 400, "/features"),
        ("/v1/feedback", {"event_id": "e", "signal": "click", "value": True}, 400, "/value"),
        ("/v1/feedback", [], 400, ""),
        ("/v1/promote", {"version": 99}, 400, "/version"),
        ("/v1/rank", b"{", 400, ""),
        ("/v1/rank", b"[" * 1000, 400, ""),
    ],
)
def test_what_is_malformed_is_told_by_place_and_remedy(
    served: Service, path: str, body: object, status: int, where: str
) -> None:
    found, problem, headers = served.call("POST", path, body)
    if path == "/v1/promote":
        status = 404
    assert (found, problem["path"]) == (status, where), problem
    assert problem["remedy"]
    assert headers["content-type"] == "application/problem+json"


def test_the_learner_learns_and_what_it_says_arrives(served: Service) -> None:
    for i in range(60):
        asked = {"query": f"q{i % 7}", "candidates": candidates(), "user": f"u{i}", "event_id": f"t{i}"}
        ids = served.call("POST", "/v1/rank", asked)[1]["ids"]
        served.call("POST", "/v1/feedback", {"event_id": f"t{i}", "signal": "click", "doc": ids[0]})
    time.sleep(0.4)
    status, report, _ = served.call("POST", "/v1/train", {})
    assert status == 200, report
    assert report["n_closed"] >= 60
    assert report["decision"]["verdict"] in {"hold", "reject", "promote"}
    health = served.call("GET", "/v1/health")[1]
    assert health["learner"] == "up"
    assert health["feedback_joined"] >= 60
    told = served.call("GET", "/v1/doctor")[1]
    assert told["answer"].startswith("Is it learning?")
    assert told["n_events"] >= 60
    assert [one["harm"] for one in told["findings"]] == sorted(one["harm"] for one in told["findings"])
    assert "rewards_missing" not in {one["code"] for one in told["findings"]}
    decision = served.call("POST", "/v1/evaluate", {"weights": {"good": 1.0, "noise": 0.0}})[1]
    assert decision["kind"] == "evaluated"
    status, refused, _ = served.call("POST", "/v1/promote", {"weights": {"good": 1.0, "noise": 0.0}})
    assert (status, refused["code"]) == (409, "promotion_refused")
    assert refused["decision"]["reasons"]
    before = served.call("GET", "/v1/params")[1]["version"]
    status, done, _ = served.call("POST", "/v1/promote", {"weights": {"good": 1.0, "noise": 0.0}, "force": True})
    assert (status, done["decision"]["kind"]) == (200, "forced")
    assert served.call("GET", "/v1/params")[1]["version"] == done["params"]["version"] != before
    status, stale, _ = served.call("POST", "/v1/rollback", {"expected_version": before})
    assert (status, stale["code"]) == (409, "stale_params")
    back = [served.call("POST", "/v1/rollback", {}, idempotency_key="back") for _ in range(2)]
    assert [one[1]["version"] for one in back] == [before, before], "a retry goes back once"
    kinds = [d["kind"] for d in served.call("GET", "/v1/history?limit=2")[1]["decisions"]]
    assert kinds == ["forced", "rollback"]
    body = {"weights": {"good": 0.5, "noise": 0.5}, "force": True}
    with ThreadPoolExecutor(8) as threads:
        sent = [threads.submit(served.call, "POST", "/v1/promote", body, idempotency_key="at-once") for _ in range(8)]
        answers = [one.result()[1] for one in sent]
    assert all(one == answers[0] for one in answers), answers
    kinds = [d["kind"] for d in served.call("GET", "/v1/history?limit=2")[1]["decisions"]]
    assert kinds == ["rollback", "forced"], "eight at once are one promotion"


def test_a_user_is_forgotten_and_what_is_left_comes_out(served: Service) -> None:
    served.call("POST", "/v1/rank", {"query": "secret wish", "candidates": candidates(), "user": "gone", "wait": True})
    assert served.call("POST", "/v1/erase", {"user": "gone"})[1] == {"n_events": 1}
    status, lines, headers = served.call("GET", "/v1/experiences?limit=1000")
    raw = lines if isinstance(lines, bytes) else json.dumps(lines).encode()
    assert (status, headers["content-type"]) == (200, "application/x-ndjson")
    assert b"secret wish" not in raw
    assert served.call("GET", "/v1/experiences?limit=0")[1]["path"] == "/limit"


@pytest.mark.parametrize("base", ["/ubi/", "/ubi_", "/ubi/ubi_"])
def test_user_behavior_insights_arrive_where_collectors_send_them(served: Service, base: str) -> None:
    query = {"query_id": f"ubi{len(base)}", "user_query": "q", "timestamp": time.time(), "client_id": "c"}
    query["query_response_hit_ids"] = ["d1", "d2"]
    assert served.call("POST", f"{base}queries", [query])[1]["accepted"] == 1
    event = {"action_name": "click", "query_id": query["query_id"], "client_id": "c", "timestamp": time.time()}
    event["event_attributes"] = {"object": {"object_id": "d2"}, "position": {"ordinal": 2}}
    status, found, _ = served.call("POST", f"{base}events", [event])
    assert (status, found["accepted"], found["outcomes"]) == (200, 1, {"joined": 1})


def test_it_says_what_it_is(served: Service) -> None:
    assert served.call("GET", "/livez")[1] == {"status": "live"}
    assert served.call("GET", "/readyz")[1]["status"] == "ready"
    document = served.call("GET", "/openapi.json")[1]
    assert document["openapi"].startswith("3.1")
    page = served.call("GET", "/docs")[1]
    assert b"/v1/rank" in page
    assert b"<script" not in page
    assert b'href="#RankBody"' in page
    assert b'id="RankBody"' in page
    text = served.call("GET", "/metrics")[1].decode()
    assert 'dwell_feedback_total{outcome="joined",signal="click"}' in text
    assert 'dwell_events{state="orphans"}' in text
    assert served.call("GET", "/nowhere")[0] == 404
    assert served.call("GET", "/v1/rank")[0] == 405


def keys(store: Path, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "dwell", "keys", *arguments, str(store), "--json"],
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_each_key_does_what_it_may_for_its_tenant_alone(tmp_path: Path) -> None:
    store = tmp_path / "s.dwell"
    with service(store, *FEATURES, environment=QUICK) as found:
        assert found.call("GET", "/v1/params")[0] == 401
        made = {
            kind: keys(store, "create", "--kind", kind, "--name", kind)["key"] for kind in ("public", "secret", "admin")
        }
        other = keys(store, "create", "--kind", "secret", "--name", "other", "--tenant", "other")["key"]
        until = time.monotonic() + 3.0
        while found.call("GET", "/v1/params", key=made["secret"])[0] != 200 and time.monotonic() < until:
            time.sleep(0.1)
        asked = {"query": "q", "candidates": candidates(), "user": "u", "event_id": "e", "wait": True}
        served = found.call("POST", "/v1/rank", asked, key=made["secret"])[1]
        assert found.call("POST", "/v1/rank", asked, key=made["public"])[0] == 403
        assert found.call("POST", "/v1/erase", {"user": "u"}, key=made["secret"])[0] == 403
        item = {"event_id": "e", "signal": "click", "doc": served["ids"][0]}
        assert found.call("POST", "/v1/feedback", item, key=made["public"])[1]["code"] == "token_invalid"
        good = {"key": made["public"], "user": "u", "items": [{**item, "token": served["token"]}]}
        assert found.call("POST", "/v1/feedback", {**good, "user": "v"}, content_type="text/plain")[0] == 403
        assert (
            found.call("POST", "/v1/feedback", good, content_type="text/plain")[1]["results"][0]["status"] == "joined"
        )
        # another tenant knows neither the event nor its params
        assert found.call("POST", "/v1/activate", {"event_id": "e"}, key=other)[0] == 404
        assert found.call("POST", "/v1/feedback", item, key=other)[1]["status"] == "orphan"
        health = found.call("GET", "/v1/health", key=other)[1]
        assert health["n_events"] == 0
        assert found.stop() == 0


def test_it_ends_at_once_and_loses_nothing(tmp_path: Path) -> None:
    store = tmp_path / "s.dwell"
    with service(store, *FEATURES, "--no-auth", environment=QUICK) as found:
        for i in range(20):
            found.call("POST", "/v1/rank", {"query": "q", "candidates": candidates(), "event_id": f"e{i}"})
        began = time.monotonic()
        assert found.stop(signal.SIGINT) == 0
        assert time.monotonic() - began < 10.0
    with service(store, "--no-auth", environment=QUICK) as found:
        assert found.call("GET", "/v1/health")[1]["n_events"] == 20


def test_a_port_that_is_taken_is_told_by_name(tmp_path: Path) -> None:
    with service(tmp_path / "a.dwell", *FEATURES, "--no-auth", environment=QUICK) as found:
        port = found.url.rpartition(":")[2]
        command = [
            sys.executable,
            "-m",
            "dwell",
            "serve",
            str(tmp_path / "b.dwell"),
            *FEATURES,
            "--no-auth",
            "--port",
            port,
        ]
        done = subprocess.run(
            command, env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 1
        told = [line for line in done.stderr.splitlines() if line.startswith("dwell:")]
        assert len(told) == 1
        assert "serve.port" in told[0]
        assert "Traceback" not in done.stderr


def test_who_asks_for_health_all_the_time_does_not_stop_learning(tmp_path: Path) -> None:
    often = {**QUICK, "DWELL_SERVE__TRAIN_EVERY_S": "0.5"}
    with service(tmp_path / "s.dwell", *FEATURES, "--no-auth", environment=often) as found:
        found.call("POST", "/v1/rank", {"query": "q", "candidates": candidates(), "event_id": "e", "wait": True})
        until = time.monotonic() + 20.0
        while found.call("GET", "/v1/health")[1].get("n_closed", 0) == 0 and time.monotonic() < until:
            time.sleep(0.2)
        assert found.call("GET", "/v1/health")[1]["n_closed"] == 1
