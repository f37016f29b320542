"""The public API as users type it: read by mypy --strict, never run.

Each `assert_type` is a promise about a return type; each annotation one about what is accepted.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal, assert_type

import numpy as np
import numpy.typing as npt

import dwell
from dwell.integrations.found import RankingLoop


def opens(where: str | Path) -> dwell.Loop:
    """A loop is opened on a path or in memory, with everything else by name."""
    return dwell.open(
        where,
        features=["bm25", "cosine"],
        weights={"bm25": 1.0, "cosine": 0.5},
        capacity=100_000,
        max_results=20,
        embedding_dim=None,
        mode="live",
        temperature=0.3,
        rewards=None,
        attribution_window_s=1800.0,
        durability="full",
        seed=0,
        config={"gate": {"alpha": 0.05}},
        strict=False,
        learner="replay",
        max_candidates=64,
        canary_share=0.05,
        holdout=0.3,
        pepper=b"pepper",
        tenant="",
        late_window_s=604_800.0,
        retention_s=None,
        max_store_bytes=10_000_000_000,
        drop_features=(),
    )


def serves(loop: dwell.Loop, matrix: npt.NDArray[np.float32]) -> None:
    """Candidates are dicts, or ids beside an array."""
    served = loop.rank("reset 2fa", candidates=[{"id": "kb-12", "bm25": 7.1, "cosine": 0.83}], user="u-77")
    assert_type(served, dwell.Served)
    assert_type(served.event_id, str)
    assert_type(served.ids, list[str])
    assert_type(served.scores, npt.NDArray[np.float64])
    assert_type(served.propensities, npt.NDArray[np.float64])
    assert_type(served.params_version, int)
    assert_type(served.token, str | None)
    assert_type(served.fallback, str | None)
    loop.rank(
        "q", [{"id": "a", "bm25": 1}], k=3, segment="en", query_embedding=[0.1, 0.2], event_id="e", activate=False
    )
    loop.rank("q", ids=["a", "b"], features=matrix, query_embedding=matrix[0], now=1.0)
    assert_type(loop.log_retrieval("q", [{"memory_id": "m", "rank": 1, "score": 0.5}], user="u"), str)
    loop.activate("e", shown=["a"], now=2.0)


def hears(loop: dwell.Loop) -> None:
    """Feedback answers at once, later, or for many."""
    answer = loop.feedback("e", "click", doc="kb-12", value=1.0, at=None, idempotency_key="k", now=3.0)
    assert_type(answer, dwell.Feedback)
    assert_type(answer.status, Literal["joined", "late", "duplicate", "orphan", "rejected"])
    assert_type(answer.reason, str | None)
    assert_type(loop.submit_feedback("e", "click", doc="kb-12"), Future[dwell.Feedback])
    assert_type(loop.feedback_many([{"event_id": "e", "signal": "click", "doc": "kb-12"}]), list[dwell.Feedback])


def learns(loop: dwell.Loop) -> None:
    """A report holds the decision, the params before and after, and how learning went."""
    assert_type(loop.close_events(), int)
    report = loop.train(steps=None, now=None)
    assert_type(report, dwell.TrainReport)
    assert_type(report.decision, dwell.GateDecision)
    assert_type(report.live, dwell.Params)
    assert_type(report.proposed, dwell.Params)
    assert_type(report.curves, dict[str, list[float]])
    assert_type(report.ended_by, str)
    decision = loop.evaluate(report.proposed)
    assert_type(decision.verdict, Literal["promote", "hold", "reject"])
    assert_type(decision.reasons, list[str])
    assert_type(decision.difference, dwell.Estimate)
    assert_type(decision.estimates, dict[str, dwell.Estimate])
    estimate = decision.difference
    figures: tuple[float, float, float, int, float] = (
        estimate.value,
        estimate.low,
        estimate.high,
        estimate.n,
        estimate.effective_sample_size,
    )
    assert_type(figures[3], int)
    try:
        loop.promote(report.proposed, force=False)
    except dwell.PromotionRefused as refused:
        assert_type(refused.code, str)
        assert_type(refused.hint, str)
    challenged = loop.challenge("lightgbm", settings=dwell.TreeSettings(n_rounds=10))
    assert_type(challenged, dwell.Challenge)
    assert_type(loop.rollback(to=None), dwell.Params)
    assert_type(loop.history(), list[dwell.GateDecision])


def looks(loop: dwell.Loop, features: npt.NDArray[np.float64]) -> None:
    """Params, experiences and health can be read."""
    params = loop.params
    assert_type(params.version, int)
    assert_type(params.temperature, float)
    assert_type(params.score(features), npt.NDArray[np.float64])
    weight: float = params.weights["bm25"]
    assert_type(weight, float)
    assert_type(loop.experiences(since=None, limit=10), Iterator[dwell.Experience])
    health = loop.health(now=None)
    assert_type(health.status, Literal["empty", "healthy", "warning", "critical"])
    assert_type(health.to_dict(), dict[str, Any])
    for alert in health.alerts:
        assert_type(alert.severity, Literal["warning", "critical"])
    assert_type(loop.erase("u-77"), int)
    assert_type(loop.export("out.jsonl"), int)
    assert_type(loop.export("out.csv", "csv", since=0.0, limit=3, has_text=False), int)
    with loop as same:
        assert_type(same, dwell.Loop)
    loop.close()


def replays(experience: dwell.Experience) -> None:
    """The buffer works alone, with experiences of any shape."""
    buffer = dwell.ReplayBuffer(10_000, alpha=0.6, half_life_s=None, max_bytes=None, seed=0)
    buffer.add(experience)
    assert_type(buffer.size(), int)
    assert_type(buffer.sample_uniform(8), list[dwell.Experience])
    assert_type(buffer.sample_priority(8), list[dwell.Experience])
    batch = buffer.sample(8, strategy="recency", beta=1.0, replace=True, now=1.0, rng=np.random.default_rng(0))
    assert_type(batch, dwell.Batch)
    assert_type(batch.seqs, npt.NDArray[np.int64])
    assert_type(batch.sampling_weights, npt.NDArray[np.float64])
    changed = buffer.update_priorities(batch.seqs, [1.0] * 8)
    assert_type(changed, dwell.UpdateResult)
    assert_type(changed.updated, int)


def asks(client: dwell.Client, candidates: list[dict[str, Any]]) -> None:
    """A client is a loop that another process serves."""
    assert_type(client.rank("q", candidates, user="u"), dwell.Served)
    assert_type(client.feedback("e", "click", doc="a", at=1.0), dwell.Feedback)
    assert_type(client.feedback_many([{"event_id": "e", "signal": "click"}]), list[dwell.Feedback])
    assert_type(client.submit_feedback("e", "click"), Future[dwell.Feedback])
    assert_type(client.train(), dwell.TrainReport)
    assert_type(client.evaluate(client.params), dwell.GateDecision)
    assert_type(client.promote(3, force=True, expected_version=2), dwell.Params)
    assert_type(client.experiences(limit=10), Iterator[dwell.Experience])
    assert_type(client.erase("u"), int)


async def asks_without_waiting(candidates: list[dict[str, Any]]) -> None:
    """The asynchronous one is awaited."""
    async with dwell.AsyncClient("http://127.0.0.1:8321", "dwell_sec_...", rank_timeout_s=0.1) as client:
        assert_type(await client.rank("q", candidates), dwell.Served)
        assert_type(await client.submit_feedback("e", "click"), dwell.Feedback)
        assert_type(await client.params, dwell.Params)
        assert_type(await client.history(), list[dwell.GateDecision])
        async for experience in client.experiences():
            assert_type(experience, dwell.Experience)


def errors() -> tuple[type[Exception], ...]:
    """Every error of ours can be caught by one class, and malformed values as ValueError."""
    malformed: tuple[type[ValueError], ...] = (dwell.ConfigError, dwell.RecordError)
    ours: tuple[type[dwell.DwellError], ...] = (dwell.StorageError, dwell.PromotionRefused, *())
    return (*malformed, *ours)


def adapters_take_a_loop_and_a_client(loop: dwell.Loop, client: dwell.Client) -> tuple[RankingLoop, RankingLoop]:
    """Both can be given to an adapter."""
    return loop, client
