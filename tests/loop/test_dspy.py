"""DSPy's own modules and evaluation around a loop: passages in the learned order, a metric's score as feedback."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import dspy
import numpy as np
import pytest

import dwell
from dwell.errors import ConfigError, MissingDependencyError, RecordError
from dwell.integrations.dspy import DwellRetrieve, DwellRM, FeedbackMetric


@pytest.fixture
def loop() -> Iterator[dwell.Loop]:
    rewards = {"click": 0.5, "metric": 0.1}
    with dwell.open(
        ":memory:", features=["score"], weights={"score": 1.0}, temperature=0.0, rewards=rewards, pepper="test"
    ) as found:
        yield found


def upside_down(query: str, k: int = 3) -> list[dict[str, Any]]:
    """Return k passages, the one with the highest score last."""
    return [{"long_text": f"text {i}", "score": float(i), "pid": i} for i in range(k)]


def giving(told: Any) -> Callable[..., Any]:
    """Return a retrieval model that gives the same to every query."""
    return lambda *_, **__: told


def test_a_retrieval_model_is_asked_for_more_and_the_best_are_returned(loop: dwell.Loop) -> None:
    found = DwellRM(upside_down, loop, k=2, n_candidates=5)("q", user="u", event_id="e-1")
    assert [(one.long_text, one.pid, one.event_id) for one in found] == [
        ("text 4", "4", "e-1"),
        ("text 3", "3", "e-1"),
    ]
    (kept,) = loop.experiences()
    assert [one["id"] for one in kept.results_served] == ["4", "3"]
    assert loop.feedback("e-1", "click", doc="4").status == "joined"


def test_a_module_keeps_the_event_id_and_is_awaited_too(loop: dwell.Loop) -> None:
    module = DwellRetrieve(DwellRM(upside_down, loop, n_candidates=4), k=2)
    answer = module(query="q")
    assert (answer.passages, answer.pids) == (["text 3", "text 2"], ["3", "2"])
    later = asyncio.run(module.acall(query="q", k=1))
    assert later.passages == ["text 3"]
    assert {one.event_id for one in loop.experiences()} == {answer.event_id, later.event_id}
    assert module.deepcopy().rm is module.rm  # optimisers copy programs; there is one loop


def test_what_can_not_rank_is_refused_by_name(loop: dwell.Loop) -> None:
    with pytest.raises(RecordError, match=r"a dwell\.Loop or a dwell\.Client is due here"):
        DwellRM(upside_down, "search.dwell")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"DwellRM\(rm, loop\)"):
        DwellRetrieve(upside_down)  # type: ignore[arg-type]
    assert DwellRetrieve(DwellRM(upside_down, loop)).k == 3


def test_nothing_found_is_no_event(loop: dwell.Loop) -> None:
    answer = DwellRetrieve(DwellRM(giving([]), loop))(query="q")
    assert (answer.passages, answer.event_id, answer.fallback) == ([], None, None)
    assert list(loop.experiences()) == []


def test_it_stands_in_for_the_configured_model(loop: dwell.Loop) -> None:
    with dspy.context(rm=DwellRM(upside_down, loop, n_candidates=3)):
        assert dspy.Retrieve(k=1)("q").passages == ["text 2"]


def test_dspys_own_embeddings_take_no_k(loop: dwell.Loop) -> None:
    def embedder(texts: list[str]) -> np.ndarray:
        return np.array([[text.count("a"), text.count("b")] for text in texts], dtype=np.float32)

    inner = dspy.retrievers.Embeddings(corpus=["bb", "a", "ab"], embedder=embedder, k=3)
    found = DwellRM(inner, loop, k=2, defaults={"score": 0.0})("a")
    assert found[0].event_id == found[1].event_id
    assert {one.long_text for one in found} <= {"bb", "a", "ab"}
    assert "fallback" not in loop.counts


@pytest.mark.parametrize(
    "told",
    [
        ["a text", "another"],
        [SimpleNamespace(long_text="a text"), SimpleNamespace(long_text="another")],
        [dspy.Example(long_text="a text"), {"text": "another"}],
        dspy.Prediction(passages=["a text", "another"]),
    ],
)
def test_passages_come_in_any_shape_and_have_an_id(loop: dwell.Loop, told: Any) -> None:
    rm = DwellRM(giving(told), loop, defaults={"score": 0.0})
    first, again = rm("q"), rm("q")
    assert [one.long_text for one in first] == ["a text", "another"]
    assert [one.pid for one in first] == [one.pid for one in again]
    assert first[0].pid != first[1].pid
    named = DwellRM(giving(told), loop, defaults={"score": 0.0}, id_of=lambda one: one["long_text"].upper())
    assert [one.pid for one in named("q")] == ["A TEXT", "ANOTHER"]


def test_the_loop_fails_open_and_bad_passages_are_refused_by_name(loop: dwell.Loop) -> None:
    found = DwellRM(giving(["b", "a"]), loop)("q")  # nobody tells a score
    assert [one.long_text for one in found] == ["b", "a"]
    assert loop.counts["fallback"] == 1
    assert [one.fallback for one in found] == ["feature_schema:score"] * 2
    assert DwellRetrieve(DwellRM(giving(["b"]), loop))(query="q").fallback == "feature_schema:score"
    with pytest.raises(RecordError, match=r"passages\[1\]"):
        DwellRM(giving(["b", 3]), loop)("q")
    with pytest.raises(RecordError, match="'k'"):
        DwellRM(upside_down, loop)("q", k=0)
    with pytest.raises(RecordError, match="n_candidates"):
        DwellRM(upside_down, loop, n_candidates=0)
    with pytest.raises(ConfigError, match="called with the query"):
        DwellRM([], loop)  # type: ignore[arg-type]


def test_a_metrics_score_is_weak_feedback_once_for_each_list(loop: dwell.Loop) -> None:
    module = DwellRetrieve(DwellRM(upside_down, loop, n_candidates=4))
    metric = FeedbackMetric(giving(0.75), loop, signal="metric")
    examples = [dspy.Example(query=f"q{i}").with_inputs("query") for i in range(3)]
    evaluate = dspy.Evaluate(devset=examples, metric=metric, num_threads=1, display_progress=False)
    result = evaluate(module)
    assert result.score == 75.0
    for example, prediction, _ in result.results:
        assert metric(example, prediction) == 0.75
    assert [one.feedback_signals for one in loop.experiences()] == [{"metric": 0.75}] * 3
    loop.close()  # every answer is there
    assert metric.feedback == {"joined": 3, "duplicate": 3}


def test_a_metric_never_fails_for_the_loops_sake(loop: dwell.Loop) -> None:
    prediction = dspy.Prediction(event_id="e-1")
    assert FeedbackMetric(giving(True), loop, signal="metric")("x", dspy.Prediction(answer="y")) is True
    worse = FeedbackMetric(giving(7.0), loop, signal="metric")
    assert worse("x", prediction) == 7.0
    nothing = FeedbackMetric(giving(None), loop, signal="metric")
    assert nothing("x", prediction) is None
    loop.feedback("e-1", "click")  # an answer to it comes after those before
    assert worse.feedback == {"rejected:signal_range": 1}
    assert nothing.feedback == {"no_number": 1}
    with pytest.raises(ConfigError, match="rewards do not declare"):
        FeedbackMetric(giving(1.0), loop, signal="unheard")
    loop.close()
    closed = FeedbackMetric(giving(1.0), loop, signal="metric")
    assert closed("x", prediction) == 1.0
    assert sum(closed.feedback.values()) == 1


def test_without_dspy_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dspy", None)
    monkeypatch.delitem(sys.modules, "dwell.integrations.dspy")
    with pytest.raises(MissingDependencyError, match=r"pip install 'dwell\[dspy\]'"):
        importlib.import_module("dwell.integrations.dspy")
