"""What serves people never fails with the server: against a real server on loopback that misbehaves as told."""

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.client.retrying import N_FAILURES
from dwell.errors import AuthenticationError, RecordError, ServiceError, ServiceUnreachableError

KEY = "dwell_sec_a-key-that-nobody-may-see"
CANDIDATES = [{"id": "a", "x": 1.0}, {"id": "b", "x": 2.0}, {"id": "c", "x": 3.0}]
BUDGET_S = 0.25
SLACK_S = 0.35  # two busy cores: a thread may wait for its turn


@pytest.fixture
def client(stage: Any) -> Iterator[dwell.Client]:
    with dwell.Client(stage.url, KEY, rng=random.Random(1)) as client:
        yield client


def assert_callers_order(served: dwell.Served, fallback: str) -> None:
    assert served.ids == ["a", "b", "c"]
    assert served.fallback == fallback
    assert served.propensities.tolist() == [1.0, 1.0, 1.0]
    assert (np.diff(served.scores) < 0).all()


def test_an_answer_is_served_as_it_came(stage: Any, client: dwell.Client) -> None:
    served = client.rank("q", CANDIDATES, user="u", event_id="e-1")
    assert served.ids == ["c", "b", "a"]
    assert (served.event_id, served.params_version, served.token, served.fallback) == ("e-1", 3, "t", None)
    [asked] = stage.asked
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.json == {
        "query": "q", "user": "u", "event_id": "e-1", "activate": True, "k": 3, "candidates": CANDIDATES
    }  # fmt: skip


def test_a_failed_attempt_is_repeated_with_the_same_event_id(stage: Any, client: dwell.Client) -> None:
    stage.script = [stage.scene(500), stage.scene(503)]
    served = client.rank("q", CANDIDATES)
    assert served.ids == ["c", "b", "a"]
    assert len(stage.asked) == 3
    assert {asked.json["event_id"] for asked in stage.asked} == {served.event_id}


def test_nobody_there(nobody: str) -> None:
    with dwell.Client(nobody, KEY) as client:
        start = time.monotonic()
        served = client.rank("q", CANDIDATES, event_id="mine")
        assert time.monotonic() - start < BUDGET_S + SLACK_S
        assert_callers_order(served, "unreachable")
        assert served.event_id == "mine"  # no server ever heard of it
        answer = client.feedback("mine", "click", doc="a")
        assert (answer.status, (answer.reason or "").partition(":")[0]) == ("rejected", "unreachable")
        assert client.log_retrieval("q", CANDIDATES, event_id="other") == "other"
        assert client.counters["dropped_impressions"] == 1


@pytest.mark.parametrize("scene", [{"wait_s": 1.0}, {"drip_s": 0.02}], ids=["silent", "in drops"])
def test_a_slow_answer_is_not_waited_for(stage: Any, scene: dict[str, float]) -> None:
    whole = {"event_id": "e", "ids": ["c"], "scores": [1.0], "propensities": [1.0], "params_version": 1}
    stage.script = [stage.scene(200, body=whole, **scene)]
    with dwell.Client(stage.url, KEY) as client:
        start = time.monotonic()
        served = client.rank("q", CANDIDATES, event_id="mine")
        took_s = time.monotonic() - start
    assert_callers_order(served, "timeout")
    assert BUDGET_S - 0.01 <= took_s < BUDGET_S + SLACK_S
    # the server may have served and recorded that event: its id must not collect what happens to this list
    assert served.event_id != "mine"


def test_an_overloaded_server_is_left_alone_as_long_as_it_asks(stage: Any, client: dwell.Client) -> None:
    stage.script = [stage.scene(429, headers={"retry-after": "60"})]
    start = time.monotonic()
    assert_callers_order(client.rank("q", CANDIDATES), "overloaded")
    assert time.monotonic() - start < BUDGET_S + SLACK_S
    assert len(stage.asked) == 1


def test_a_short_wish_is_honoured_within_the_budget(stage: Any) -> None:
    stage.script = [stage.scene(503, headers={"retry-after": "0.3"})]
    with dwell.Client(stage.url, KEY, feedback_timeout_s=5.0) as client:
        assert client.feedback("e", "click", doc="a").status == "joined"
    first, second = stage.asked
    assert second.at - first.at >= 0.3
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


@pytest.mark.parametrize(
    ("body", "fallback"),
    [(b"<html>", "bad_answer"), (b"[" * 100_000, "bad_answer"), ({"ids": ["a"]}, "bad_answer")],
)
def test_an_unreadable_answer_serves_the_callers_order(
    stage: Any, client: dwell.Client, body: Any, fallback: str
) -> None:
    stage.script = [stage.scene(200, body=body)]
    assert_callers_order(client.rank("q", CANDIDATES), fallback)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "unauthorized", AuthenticationError),
        (403, "forbidden", AuthenticationError),
        (400, "feature_schema:x", dwell.RecordError),
        (500, "storage", dwell.StorageError),
    ],
)
def test_a_refusal_serves_the_callers_order_and_raises_where_strict(
    stage: Any, client: dwell.Client, status: int, code: str, kind: type[Exception]
) -> None:
    stage.otherwise = lambda _: stage.scene(
        status, body={"status": status, "code": code, "detail": "no", "remedy": "r"}
    )
    assert_callers_order(client.rank("q", CANDIDATES), code)
    with dwell.Client(stage.url, KEY, strict=True) as strict, pytest.raises(kind) as caught:
        strict.rank("q", CANDIDATES)
    assert getattr(caught.value, "code", None) == code


@pytest.mark.parametrize(
    ("bad", "fallback"),
    [
        ({"candidates": [{"id": "a", "x": float("nan")}, *CANDIDATES[1:]]}, "non_finite:x"),
        ({"candidates": [{"id": "a", "x": True}, *CANDIDATES[1:]]}, "type:x"),
        ({"candidates": [{"id": "a", "x": 1j}, *CANDIDATES[1:]]}, "type:x"),
        ({"candidates": CANDIDATES, "query_embedding": [float("inf")]}, "non_finite"),
        ({"candidates": CANDIDATES, "activate": 1}, "type"),
        ({"candidates": CANDIDATES, "event_id": "has space"}, "id"),
        ({"ids": ["a", "b", "c"], "features": np.full((3, 1), np.nan)}, "non_finite"),
        ({"ids": ["a", "b", "c"], "features": [[1.0]]}, "feature_schema"),
        ({"ids": ["a", "b", "c"]}, "type"),
    ],
)
def test_bad_values_never_reach_the_server_and_never_raise(
    stage: Any, client: dwell.Client, bad: dict[str, Any], fallback: str
) -> None:
    assert_callers_order(client.rank("q", **bad), fallback)
    assert stage.asked == []


@pytest.mark.parametrize("candidates", [None, [], [{}], "abc", 7])
def test_only_unreadable_ids_raise(client: dwell.Client, candidates: Any) -> None:
    with pytest.raises(RecordError):
        client.rank("q", candidates)


@pytest.mark.parametrize("k", [0, -1, True, 1.0, "3"])
def test_only_a_bad_k_raises(client: dwell.Client, k: Any) -> None:
    with pytest.raises(RecordError):
        client.rank("q", CANDIDATES, k=k)


def test_any_positive_k_is_taken(stage: Any, client: dwell.Client) -> None:
    assert len(client.rank("q", CANDIDATES, k=2**62).ids) == 3
    assert len(client.rank("q", CANDIDATES, k=2).ids) == 2
    assert [asked.json["k"] for asked in stage.asked] == [3, 2]


def test_a_dead_server_costs_nothing_after_a_few_searches_and_is_found_again(stage: Any) -> None:
    now = [100.0]
    with dwell.Client(stage.url, KEY, clock=lambda: now[0], sleep=lambda _: None, rng=random.Random(3)) as client:
        well, stage.otherwise = stage.otherwise, lambda _: stage.scene(500)
        codes = [client.rank("q", CANDIDATES).fallback for _ in range(6)]
        # two calls of three attempts reach five failures in a row; the clock stands still meanwhile
        assert codes == ["server_error", "server_error", *["circuit_open"] * 4]
        n_asked = len(stage.asked)
        assert n_asked == 6 > N_FAILURES
        assert client.feedback("e", "click", doc="a").status == "rejected"
        assert len(stage.asked) == n_asked
        now[0] += 5.0  # longer than any first pause
        stage.otherwise = well
        assert client.rank("q", CANDIDATES).fallback is None
        assert client.rank("q", CANDIDATES).fallback is None


def test_the_first_of_many_fallbacks_is_logged(
    stage: Any, client: dwell.Client, caplog: pytest.LogCaptureFixture
) -> None:
    well = stage.otherwise
    for otherwise in (lambda _: stage.scene(401), well, lambda _: stage.scene(403)):
        stage.otherwise = otherwise
        for _ in range(3):
            client.rank("q", CANDIDATES)
    lines = [record.getMessage() for record in caplog.records if record.name == "dwell.client"]
    assert len(lines) == 2
    assert all("caller's order" in line for line in lines)
    assert client.counters["fallback"] == 6


def test_strict_says_what_happened(nobody: str) -> None:
    with dwell.Client(nobody, KEY, strict=True) as client:
        with pytest.raises(ServiceUnreachableError) as caught:
            client.rank("q", CANDIDATES)
        assert caught.value.code == "unreachable"
        assert not caught.value.may_have_arrived
        with pytest.raises(ServiceError):
            client.log_retrieval("q", CANDIDATES)


def test_after_close_a_search_is_still_served(stage: Any) -> None:
    client = dwell.Client(stage.url, KEY)
    client.close()
    client.close()
    assert_callers_order(client.rank("q", CANDIDATES), "closed")
    assert client.feedback("e", "click", doc="a").status == "rejected"
    assert client.submit_feedback("e", "click", doc="a").result(1.0).status == "rejected"
    with pytest.raises(ServiceError):
        _ = client.params
    assert stage.asked == []


def test_many_threads_share_a_client(stage: Any, client: dwell.Client) -> None:
    served: list[dwell.Served] = []

    def search() -> None:
        served.extend(client.rank("q", CANDIDATES) for _ in range(10))

    threads = [threading.Thread(target=search) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.event_id for one in served}) == 80
    assert sum(one.fallback is None for one in served) >= 70  # a busy machine may let a few run out of time
