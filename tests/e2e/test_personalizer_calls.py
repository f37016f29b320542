"""The three calls of Azure Personalizer, as its clients make them: by their shapes, header and statuses."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import pstdev
from typing import Any

import pytest

from .serving import Service, made_key, service

PATH = "/personalizer/v1.0"
N = 5
QUICK = {"DWELL_STORE__WEIGHTS": "{ age = 1.0 }", "DWELL_STORE__FEATURES": '["age"]'}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str, str]]:
    """The service, a secret key, and an admin key."""
    store: Path = tmp_path_factory.mktemp("pz") / "s.dwell"
    with service(store, environment=QUICK) as found:
        secret, admin = made_key(store, "secret"), made_key(store, "admin")
        until = time.monotonic() + 5.0
        while found.call("GET", "/v1/params", key=admin)[0] != 200 and time.monotonic() < until:
            time.sleep(0.1)
        yield found, secret, admin


def body(event_id: str | None, **more: Any) -> dict[str, Any]:
    actions = [{"id": f"a{i}", "features": [{"age": float(i), "topic": "cup"}]} for i in range(N)]
    named = {} if event_id is None else {"eventId": event_id}
    return {"contextFeatures": [{"device": "phone"}], "actions": actions, **named, **more}


def experience(found: Service, admin: str, event_id: str) -> dict[str, Any]:
    status, lines, _ = found.call("GET", "/v1/experiences?limit=1000", key=admin)
    assert status == 200
    text = lines.decode() if isinstance(lines, bytes) else None
    records = [lines] if text is None else [json.loads(line) for line in text.splitlines()]
    return next(one for one in records if one["event_id"] == event_id)


def test_a_rank_chooses_one_action_and_says_how_likely_each_was(asked: tuple[Service, str, str]) -> None:
    found, secret, admin = asked
    header = {"ocp_apim_subscription_key": secret}
    status, first, _ = found.call("POST", f"{PATH}/rank", body("e-1", excludedActions=["a4"]), **header)
    assert status == 201
    assert set(first) == {"ranking", "eventId", "rewardActionId"}
    assert [one["id"] for one in first["ranking"]][-1] == "a4"
    assert {one["id"] for one in first["ranking"]} == {f"a{i}" for i in range(N)}
    assert first["rewardActionId"] == first["ranking"][0]["id"] != "a4"
    chances = {one["id"]: one["probability"] for one in first["ranking"]}
    assert chances["a4"] == 0.0
    # the last one has what the others leave; all add up to one, and are those of the policy: exp(s / (0.3 sd))
    weights = {f"a{i}": math.exp(i / (0.3 * pstdev(range(4)))) for i in range(4)}
    for name, weight in weights.items():
        assert chances[name] == pytest.approx(weight / sum(weights.values()), rel=1e-5)
    assert found.call("POST", f"{PATH}/rank", body("e-1", excludedActions=["a4"]), **header)[1] == first
    status, problem, _ = found.call("POST", f"{PATH}/rank", body("e-1", contextFeatures=[{"device": "desk"}]), **header)
    assert (status, problem["code"]) == (409, "conflict")
    assert found.call("POST", f"{PATH}/events/e-1/reward", {"value": 0.8}, **header)[0] == 204
    one = experience(found, admin, "e-1")
    assert [result["id"] for result in one["results_served"]] == [first["rewardActionId"]], "it alone was shown"
    assert one["feedback_signals"] == {"reward": 0.8}
    assert "phone" in one["query"]
    assert len(one["candidates"]) == 4


def test_a_deferred_action_counts_once_it_is_activated(asked: tuple[Service, str, str]) -> None:
    found, secret, admin = asked
    for event_id in ("later", "never"):
        assert found.call("POST", f"{PATH}/rank", body(event_id, deferActivation=True), key=secret)[0] == 201
    for _ in range(2):
        assert found.call("POST", f"{PATH}/events/later/activate", b"", key=secret)[0] == 204
    assert experience(found, admin, "later")["state"] == "open"
    assert len(experience(found, admin, "later")["results_served"]) == 1
    counts = found.call("GET", "/metrics", key=admin)[1].decode()
    assert 'dwell_events{state="not_shown"} 1.0' in counts


def test_an_id_is_given_where_none_came(asked: tuple[Service, str, str]) -> None:
    found, secret, _ = asked
    first, second = (found.call("POST", f"{PATH}/rank", body(None), key=secret)[1]["eventId"] for _ in range(2))
    assert first != second
    assert found.call("POST", f"{PATH}/events/{first}/reward", {"value": -1}, key=secret)[0] == 204


@pytest.mark.parametrize(
    ("path", "sent", "status", "where"),
    [
        ("/rank", body("x", excludedActions=[f"a{i}" for i in range(N)]), 400, "/excludedActions"),
        ("/rank", {"actions": []}, 400, "/actions"),
        ("/rank", {"actions": [{"id": "a", "features": [{"age": 1.0}]}, {"id": "b"}]}, 400, "/actions/1/features"),
        (
            "/rank",
            {
                "actions": [{"id": "a"}, {"id": "b", "features": [{"age": 1.0}]}, {"id": "c", "features": [{}]}],
                "excludedActions": ["a"],
            },
            400,
            "/actions/2/features",
        ),
        ("/rank", body("x", eventid="y"), 400, "/eventid"),
        ("/rank", body("a b"), 400, "/eventId"),
        ("/rank", body("x", contextFeatures=[{}, 1]), 400, "/contextFeatures/1"),
        ("/rank", b'{"actions": [{"id": "a", "features": [{"age": 1, "in": {"b": 1, "b": 2}}]}]}', 400, ""),
        ("/rank", b'{"actions": [{"id": "a", "features": [{"age": 1e999}]}]}', 400, "/actions/0/features/0/age"),
        ("/events/x/reward", {"value": 1.5}, 400, "/value"),
        ("/events/x/reward", {"value": "1"}, 400, "/value"),
        ("/events/x/reward", {}, 400, "/value"),
        ("/events/a%20b/reward", {"value": 1.0}, 400, "/eventId"),
        ("/events/nobody/activate", b"", 404, ""),
    ],
)
def test_what_is_wrong_is_told_by_its_place(
    asked: tuple[Service, str, str], path: str, sent: Any, status: int, where: str
) -> None:
    found, secret, _ = asked
    answered, problem, _ = found.call("POST", PATH + path, sent, key=secret)
    assert answered == status, problem
    assert where in {problem["path"], ""}, problem
    assert problem["remedy"]


def test_the_path_as_it_stands_in_the_document_is_no_event(asked: tuple[Service, str, str]) -> None:
    found, secret, _ = asked
    for name, sent in (("reward", {"value": 1.0}), ("activate", b"")):
        status, problem, _ = found.call("POST", PATH + "/events/{event_id}/" + name, sent, key=secret)
        assert (status, problem["path"]) == (400, "/eventId")


def test_a_public_key_is_not_enough(asked: tuple[Service, str, str]) -> None:
    found, _, _ = asked
    assert found.call("POST", f"{PATH}/rank", body("y"))[0] == 401
    assert found.call("POST", f"{PATH}/events/e-1/reward", {"value": 1.0})[0] == 401
