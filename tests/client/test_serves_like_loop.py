"""The same program on an embedded loop and on clients of one: the same calls, the same checks, the same values.

One server is a dozen lines around a real loop, written from the contract of the HTTP API; the other is `dwell serve`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import dwell
from dwell.errors import DwellError, NothingToRollBackError, UnknownEventError
from dwell.health import HealthReport
from dwell.health.doctor import Diagnosis, Finding

from ..e2e.serving import service  # noqa: TID252 - tests are no installed package

FEATURES = ("good", "noise")
N_EVENTS = 25


def plain(value: Any) -> Any:
    """Return a record for JSON: arrays as lists, what is not finite as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.name[0] != "_"}
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def answering(loop: dwell.Loop, stage: Any) -> Callable[[Any], Any]:
    """Return what serves a loop by the contract."""

    def params_of(body: dict[str, Any]) -> dwell.Params:
        return loop.version(body["version"]) if "version" in body else dwell.Params(0, body["weights"])

    calls: dict[str, Callable[[dict[str, Any]], Any]] = {
        "/v1/rank": lambda body: loop.rank(**body),
        "/v1/log_retrieval": lambda body: {"event_id": loop.log_retrieval(**body)},
        "/v1/feedback": lambda body: {"results": loop.feedback_many(body)},
        "/v1/activate": lambda body: loop.activate(**body) or {},
        "/v1/params": lambda _: loop.params,
        "/v1/history": lambda _: {"decisions": loop.history()},
        "/v1/health": lambda _: loop.health().to_dict(),
        "/v1/doctor": lambda _: loop.doctor().to_dict(),
        "/v1/train": lambda body: loop.train(**body),
        "/v1/evaluate": lambda body: loop.evaluate(params_of(body)),
        "/v1/promote": lambda body: {"params": loop.promote(params_of(body), force=body["force"])},
        "/v1/rollback": lambda body: loop.rollback(**body),
        "/v1/erase": lambda body: {"n_events": loop.erase(**body)},
    }

    def answer(asked: Any) -> Any:
        path, _, query = asked.path.partition("?")
        try:
            if path == "/v1/experiences":
                limit = int(query.removeprefix("limit=")) if query else None
                lines = [msgspec.json.encode(plain(one)) for one in loop.experiences(limit=limit)]
                return stage.scene(body=b"\n".join(lines))
            return stage.scene(body=plain(calls[path](asked.json if asked.body else {})))
        except DwellError as error:
            problem = {"code": error.code, "detail": error.message, "remedy": error.hint, "path": error.field}
            if isinstance(error, dwell.PromotionRefused):
                problem["decision"] = plain(error.decision)
            return stage.scene(409, problem)

    return answer


class Awaited:
    """An asynchronous client, called as a synchronous one: an event loop in a thread of its own awaits each call."""

    def __init__(self, make: Callable[[], dwell.AsyncClient]) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

        async def made() -> dwell.AsyncClient:
            return make()

        self.client = self.run(made())

    def run(self, awaited: Any) -> Any:
        async def wait() -> Any:
            return await awaited

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result(60.0)

    def experiences(self, **how: Any) -> list[dwell.Experience]:
        async def gathered() -> list[dwell.Experience]:
            return [one async for one in self.client.experiences(**how)]

        return list(self.run(gathered()))

    def submit_feedback(self, *given: Any, **named: Any) -> Any:
        async def waited() -> Any:
            return await self.client.submit_feedback(*given, **named)

        return asyncio.run_coroutine_threadsafe(waited(), self.loop)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.client, name)
        return (lambda *a, **k: self.run(found(*a, **k))) if callable(found) else self.run(found)

    def stop(self) -> None:
        """Close the client and end the thread."""
        self.run(self.client.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


SERVICE = {"DWELL_STORE__ATTRIBUTION_WINDOW_S": "0.001", "DWELL_STORE__SEED": "3"}


@pytest.fixture(params=["embedded", "client", "async client", "client of dwell serve", "async client of dwell serve"])
def loop(request: pytest.FixtureRequest, stage: Any, tmp_path: Path) -> Iterator[Any]:
    """Return a loop, a client of the same loop, or a client of a real service."""
    if request.param.endswith("dwell serve"):
        arguments = ("--features", ",".join(FEATURES), "--no-auth")
        with service(tmp_path / "s.dwell", *arguments, environment=SERVICE) as served:
            yield from client_of(served.url, is_async=request.param.startswith("async"))
        return
    with dwell.open(":memory:", features=FEATURES, attribution_window_s=1e-3, seed=3) as embedded:
        stage.otherwise = answering(embedded, stage)
        if request.param == "embedded":
            yield embedded
        else:
            yield from client_of(stage.url, is_async=request.param.startswith("async"))


def client_of(url: str, *, is_async: bool) -> Iterator[Any]:
    """Yield a client; an asynchronous one is called as a synchronous one."""
    how: dict[str, Any] = {"rank_timeout_s": 30.0, "feedback_timeout_s": 30.0, "flush_every_s": 0.02}
    if not is_async:
        with dwell.Client(url, "k", **how) as client:
            yield client
        return
    awaited = Awaited(lambda: dwell.AsyncClient(url, "k", **how))
    yield awaited
    awaited.stop()


def candidates(rng: np.random.Generator) -> list[dict[str, Any]]:
    return [{"id": f"d{i}", "good": float(rng.random()), "noise": float(rng.random())} for i in range(6)]


def check_diagnosis(found: Diagnosis) -> None:
    """Fail unless it is one, with all that a diagnosis has."""
    assert isinstance(found, Diagnosis)
    assert found.n_events == N_EVENTS + 3
    assert {one.name for one in found.looked_at} >= {"rewards", "clocks", "ring"}
    assert found.answer.startswith("Is it learning?")
    assert all(isinstance(one, Finding) for one in found.findings)
    assert [one.harm for one in found.findings] == sorted(one.harm for one in found.findings)


def test_a_program_sees_no_difference(loop: Any) -> None:
    rng = np.random.default_rng(1)
    for i in range(N_EVENTS):
        served = loop.rank("q", candidates(rng), k=3, user=f"u{i % 7}", event_id=f"e-{i}")
        assert isinstance(served, dwell.Served)
        assert (served.event_id, len(served.ids), served.fallback) == (f"e-{i}", 3, None)
        assert ((served.propensities > 0.0) & (served.propensities <= 1.0)).all()
        assert loop.feedback(served.event_id, "click", doc=served.ids[0]) == dwell.Feedback("joined")
    again = loop.rank("q", ids=["a", "b"], features=np.array([[0.1, 0.2], [0.3, 0.4]]), k=9, event_id="array")
    assert sorted(again.ids) == ["a", "b"]
    assert loop.feedback("array", "click", doc="elsewhere").status == "rejected"
    assert loop.feedback("nowhere", "click").status == "orphan"
    assert loop.submit_feedback("array", "click", doc="a").result(30.0).status == "joined"
    many = [{"event_id": "array", "signal": "click", "doc": "b"}, {"event_id": "array"}]
    assert [one.status for one in loop.feedback_many(many)] == ["joined", "rejected"]

    assert loop.log_retrieval("q", [{"memory_id": "m", "rank": 1, "score": 0.5}], event_id="log") == "log"
    assert loop.feedback("log", "click", doc="m").status == "joined"
    deferred = loop.rank("q", candidates(rng), activate=False)
    loop.activate(deferred.event_id, shown=deferred.ids)
    with pytest.raises(UnknownEventError):
        loop.activate("nowhere", shown=["a"])

    assert loop.rank("q", [{"id": "a", "good": float("nan"), "noise": 1.0}]).fallback == "non_finite:good"
    assert loop.rank("q", [{"id": "a", "good": 1.0}]).fallback == "feature_schema:noise"

    assert loop.features == FEATURES
    before = loop.params
    report = loop.train(steps=2)
    assert isinstance(report, dwell.TrainReport)
    assert report.n_closed >= N_EVENTS
    assert report.live.version == before.version
    assert isinstance(loop.evaluate(report.proposed), dwell.GateDecision)
    with pytest.raises(dwell.PromotionRefused) as refused:
        loop.promote(report.proposed)
    assert refused.value.decision.verdict != "promote"
    live = loop.promote(report.proposed, force=True)
    assert live.version == report.proposed.version == loop.params.version
    features = np.array([[0.2, 0.9], [0.7, 0.1]])
    assert np.array_equal(loop.params.score(features), report.proposed.score(features))
    assert loop.rollback().version == before.version
    with pytest.raises(NothingToRollBackError):
        loop.rollback(to=before.version)
    assert [one.kind for one in loop.history()][-2:] == ["forced", "rollback"]

    found = list(loop.experiences(limit=5))
    assert len(found) == 5
    assert all(isinstance(one, dwell.Experience) for one in found)
    health = loop.health()
    assert isinstance(health, HealthReport)
    assert health.figures["n_events"] == N_EVENTS + 3
    check_diagnosis(loop.doctor())
    assert loop.erase("u3") == len([i for i in range(N_EVENTS) if i % 7 == 3])
