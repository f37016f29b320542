"""What is not in anybody's search: each call asks what the contract says, and returns the loop's own values."""

import asyncio
import dataclasses
import logging
import math
import pickle
import time
import traceback
from typing import Any

import msgspec
import numpy as np
import pytest

import dwell
from dwell.errors import (
    AuthenticationError,
    NothingToRollBackError,
    RequestError,
    ServiceError,
    ServiceUnreachableError,
    StaleParamsError,
    UnknownEventError,
)
from dwell.health import HealthReport
from dwell.records import Transform

KEY = "dwell_adm_a-key-that-nobody-may-see"
DECISION = {
    "verdict": "hold",
    "reasons": ["unsupported: too little overlap"],
    "difference": {"value": 0.1, "low": None, "high": 0.2, "n": 7, "effective_sample_size": 3.5},
    "proposed_version": 4,
    "safe_version": 3,
}
ALERT = {"code": "c", "severity": "warning", "message": "m", "remedy": "r"}
PARAMS = {"version": 3, "weights": {"x": 1.0, "y": -0.5}, "temperature": 0.3, "units": "raw", "created_at": None}


@pytest.fixture
def told(stage: Any) -> dict[str, Any]:
    """Return what the server answers, by path."""
    answers: dict[str, Any] = {}

    def answer(asked: Any) -> Any:
        found = answers[asked.path.partition("?")[0]]
        return found if isinstance(found, stage.scene) else stage.scene(body=found)

    stage.otherwise = answer
    return answers


def refused(stage: Any, status: int, code: str, **more: Any) -> Any:
    return stage.scene(status, {"title": "t", "status": status, "code": code, "detail": "what happened", **more})


def test_each_call_asks_and_answers(stage: Any, told: dict[str, Any]) -> None:
    told |= {
        "/v1/params": PARAMS,
        "/v1/history": {"decisions": [DECISION]},
        "/v1/evaluate": DECISION,
        "/v1/promote": {"params": PARAMS | {"version": 5}, "decision": DECISION},
        "/v1/rollback": PARAMS,
        "/v1/health": {"status": "warning", "alerts": [ALERT], "n_events": 3, "last_verdict": "hold"},
        "/v1/erase": {"n_events": 2},
        "/v1/activate": {},
    }  # fmt: skip
    with dwell.Client(stage.url, KEY) as client:
        params = client.params
        assert (params.version, dict(params.weights), params.score(np.array([[2.0, 2.0]]))[0]) == (
            3, PARAMS["weights"], 1.0
        )  # fmt: skip
        assert client.features == ("x", "y")
        [decision] = client.history()
        assert decision.difference.low == -math.inf
        assert decision.difference.n == 7
        assert client.evaluate(params).verdict == "hold"
        assert client.evaluate(dataclasses.replace(params, weights={"x": 2.0, "y": 0.0})).reasons == DECISION["reasons"]
        assert client.promote(7, force=True, expected_version=3).version == 5
        assert client.rollback().version == 3
        report = client.health()
        assert isinstance(report, HealthReport)
        assert report.to_dict() == told["/v1/health"]
        assert client.erase("u-1") == 2
        client.activate("e", shown=["a"])
    assert client.params.version == 3  # as the embedded loop: readable after close
    assert len(client.history()) == 1
    bodies = [asked.json for asked in stage.asked if asked.method == "POST"]
    assert bodies == [
        {"version": 3},
        {"weights": {"x": 2.0, "y": 0.0}},
        {"version": 7, "force": True, "expected_version": 3},
        {},
        {"user": "u-1"},
        {"event_id": "e", "shown": ["a"]},
    ]
    keys = [asked.headers.get("idempotency-key") for asked in stage.asked if asked.method == "POST"]
    assert len(set(keys)) == len(keys)
    assert None not in keys


def test_a_transform_travels_by_its_version_only(stage: Any, told: dict[str, Any]) -> None:
    transform = {"knots": [[0.0, 1.0]], "levels": [[-1.0, 1.0]], "kind": "gauss"}
    told |= {
        "/v1/params": {"version": 2, "weights": {"x": 1.0}, "origin": "learned", "transform": transform},
        "/v1/evaluate": DECISION,
    }
    with dwell.Client(stage.url, KEY) as client:
        params = client.params
        assert params.score(np.array([[0.5], [9.0]])).tolist() == [0.0, 1.0]
        client.evaluate(params)
        assert stage.asked[-1].json == {"version": 2}
        other = dataclasses.replace(params, transform=Transform((np.array([0.0]),), (np.array([0.5]),)))
        with pytest.raises(dwell.RecordError, match="transforms do not travel"):
            client.evaluate(other)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (409, "stale_params", StaleParamsError),
        (409, "nothing_to_roll_back", NothingToRollBackError),
        (404, "unknown_event", UnknownEventError),
        (400, "range", dwell.RecordError),
        (404, "not_found", RequestError),
        (409, "idempotency_conflict", RequestError),
        (401, "unauthorized", AuthenticationError),
        (403, "forbidden", AuthenticationError),
        (500, "storage", dwell.StorageError),
        (429, "too_many_requests", ServiceUnreachableError),
        (503, "overloaded", ServiceUnreachableError),
        (404, "", ServiceError),
    ],
)
def test_a_problem_becomes_the_error_of_its_code(
    stage: Any, told: dict[str, Any], status: int, code: str, kind: type[dwell.DwellError]
) -> None:
    told["/v1/rollback"] = refused(stage, status, code, path="/to", remedy="do that", request_id="r-1")
    with dwell.Client(stage.url, KEY, sleep=lambda _: None) as client, pytest.raises(kind) as caught:
        client.rollback(to=9)
    error = caught.value
    assert "what happened" in str(error)
    assert error.hint == "do that"
    if not isinstance(error, ServiceUnreachableError):
        assert (error.field, error.value) == ("to", 9)
        assert error.__notes__ == ["request 'r-1' in the server's log"]
        assert not code or error.code == code


def test_a_refused_promotion_carries_its_decision(stage: Any, told: dict[str, Any]) -> None:
    told["/v1/promote"] = refused(stage, 409, "promotion_refused", decision=DECISION)
    with dwell.Client(stage.url, KEY) as client, pytest.raises(dwell.PromotionRefused) as caught:
        client.promote(4)
    decision = caught.value.decision
    assert isinstance(decision, dwell.GateDecision)
    assert decision.reasons == DECISION["reasons"]


def test_training_that_was_accepted_is_no_report(stage: Any, told: dict[str, Any]) -> None:
    told["/v1/train"] = stage.scene(202, {"status": "accepted"})
    with dwell.Client(stage.url, KEY) as client, pytest.raises(ServiceError) as caught:
        client.train()
    assert caught.value.code == "accepted"


def test_a_call_has_one_budget_for_all_its_attempts(stage: Any, told: dict[str, Any]) -> None:
    told["/v1/health"] = stage.scene(500)
    with dwell.Client(stage.url, KEY, timeout_s=0.4) as client:
        start = time.monotonic()
        with pytest.raises(ServiceUnreachableError):
            client.health()
        assert time.monotonic() - start < 1.0
        assert 1 <= len(stage.asked) <= 4


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://user:hunter2@127.0.0.1", None),
        ("http://127.0.0.1/?key=hunter2", None),
        ("ftp://127.0.0.1/hunter2", None),
        ("hunter2", None),
        (b"http://hunter2", None),
        ("http://127.0.0.1:99999999/hunter2", None),
        ("http://127.0.0.1", "hunter2\n"),
        ("http://127.0.0.1", "hunter2 "),
        ("http://127.0.0.1", "hunter2é"),
        ("http://127.0.0.1", b"hunter2"),
        ("http://127.0.0.1", ""),
    ],
)
def test_a_bad_address_or_key_is_refused_without_being_shown(url: Any, key: Any) -> None:
    with pytest.raises(dwell.ConfigError) as caught:
        dwell.Client(url, key)
    assert "hunter2" not in "".join(traceback.format_exception_only(caught.value)) + repr(vars(caught.value))


def test_the_key_is_never_shown(stage: Any, nobody: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    for url in (stage.url, nobody):
        stage.otherwise = lambda _: refused(stage, 401, "unauthorized")
        with dwell.Client(url, KEY, strict=True, timeout_s=0.5) as client:
            shown += [repr(client), str(client), repr(vars(client)), repr(vars(client._core))]
            for call in (client.health, lambda: client.rank("q", [{"id": "a"}]), lambda: client.erase("u")):
                with pytest.raises(ServiceError) as caught:
                    call()
                trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
                shown += ["".join(trace.format()), repr(caught.value), repr(vars(caught.value))]
            shown += [repr(client.feedback("e", "click"))]
            with pytest.raises(TypeError):
                pickle.dumps(client._core.key)
    shown += [record.getMessage() + repr(record.args) for record in caplog.records]
    assert any("unauthorized" in text for text in shown)
    assert [text for text in shown if "nobody-may-see" in text] == []


def test_experiences_come_line_by_line(stage: Any, told: dict[str, Any]) -> None:
    one = {
        "event_id": "e", "timestamp": 1.0, "query": "q", "query_embedding": [], "results_served": [{"id": "a"}],
        "ranking_params": {}, "feedback_signals": {"click": 1.0}, "reward": 0.5, "of a newer server": 1,
    }  # fmt: skip
    told["/v1/experiences"] = stage.scene(
        body=b"\n".join(msgspec.json.encode(one | {"event_id": name}) for name in "ef") + b"\n"
    )
    with dwell.Client(stage.url, KEY) as client:
        found = list(client.experiences(since=0.5, limit=10))
        assert [(e.event_id, e.reward, e.feedback_signals) for e in found] == [
            ("e", 0.5, {"click": 1.0}), ("f", 0.5, {"click": 1.0})
        ]  # fmt: skip
        assert stage.asked[-1].path == "/v1/experiences?since=0.5&limit=10"
        with pytest.raises(dwell.RecordError):
            list(client.experiences(limit=1_001))


def test_the_async_client_asks_the_same(stage: Any, told: dict[str, Any]) -> None:
    told |= {"/v1/params": PARAMS, "/v1/evaluate": DECISION, "/v1/erase": {"n_events": 2}}

    async def main() -> None:
        async with dwell.AsyncClient(stage.url, KEY, timeout_s=2.0) as client:
            params = await client.params
            assert params.version == 3
            assert await client.features == ("x", "y")
            assert (await client.evaluate(params)).verdict == "hold"
            assert await client.erase("u") == 2
            assert "nobody-may-see" not in repr(client) + repr(vars(client))

    asyncio.run(main())


def test_the_async_client_fails_open_in_time(stage: Any, nobody: str) -> None:
    async def main() -> None:
        candidates = [{"id": "a", "x": 1.0}, {"id": "b", "x": 2.0}]
        async with dwell.AsyncClient(stage.url) as client:
            assert (await client.rank("q", candidates)).ids == ["b", "a"]
            for scene in (stage.scene(wait_s=1.0), stage.scene(body=b"x" * 100, drip_s=0.02)):
                stage.script = [scene]
                start = time.monotonic()
                served = await client.rank("q", candidates)
                assert 0.2 < time.monotonic() - start < 0.7
                assert (served.ids, served.fallback) == (["a", "b"], "timeout")
        async with dwell.AsyncClient(nobody) as client:
            assert (await client.rank("q", candidates)).fallback == "unreachable"
            assert (await client.feedback("e", "click")).status == "rejected"

    asyncio.run(main())
