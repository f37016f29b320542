"""OpenTelemetry, with its real SDK: what a traced loop tells, and what capture makes of traced retrievals."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import dwell
from dwell.errors import ConfigError, MissingDependencyError, PromotionRefused, RecordError
from dwell.integrations.otel import RetrievalCapture, import_otel, traced
from dwell.integrations.otel.spool import Spool
from dwell.integrations.scores import Meaning

DOCS = [{"id": "a", "x": 1.0}, {"id": "b", "x": 0.5}, {"id": "c", "x": 0.0}]
AT = 1_700_000_000.0


class Telling:
    """A provider whose finished spans can be looked at."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def text(self) -> str:
        return "".join(span.to_json() for span in self.spans)


@pytest.fixture
def telling() -> Iterator[Telling]:
    found = Telling()
    yield found
    found.provider.shutdown()


@pytest.fixture
def loop() -> Iterator[dwell.Loop]:
    with dwell.open(":memory:", features=["x"], weights={"x": 1.0}, temperature=0.0) as opened:
        yield opened


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


# ---- spans of a loop


def test_a_ranking_is_a_retrieval_span_without_text_or_users(loop: dwell.Loop, telling: Telling) -> None:
    told = traced(loop, telling.provider, data_source="kb")
    served = told.rank("secret words", DOCS, k=2, user="somebody", now=AT)
    (span,) = telling.spans
    assert span.name == "retrieval kb"
    assert attributes(span) == {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": "kb",
        "gen_ai.retrieval.top_k": 2,
        "dwell.event_id": served.event_id,
        "dwell.params_version": served.params_version,
        "dwell.n_served": 2,
    }
    assert "secret words" not in telling.text()
    assert "somebody" not in telling.text()
    assert served.ids == ["a", "b"]


def test_text_and_documents_are_told_where_asked_for(loop: dwell.Loop, telling: Telling) -> None:
    traced(loop, telling.provider, text=True, documents=True).rank("words", DOCS, k=2, now=AT)
    (span,) = telling.spans
    assert span.name == "retrieval"
    assert attributes(span)["gen_ai.retrieval.query.text"] == "words"
    assert json.loads(attributes(span)["gen_ai.retrieval.documents"]) == [
        {"id": "a", "score": 1.0}, {"id": "b", "score": 0.5}
    ]  # fmt: skip


def test_feedback_is_an_evaluation_below_the_span_of_its_list(loop: dwell.Loop, telling: Telling) -> None:
    told = traced(loop, telling.provider, documents=True)
    served = told.rank("q", DOCS, now=AT)
    (list_span,) = telling.spans
    tracer = telling.provider.get_tracer("application")
    with tracer.start_as_current_span("a later request") as later:
        answer = told.feedback(served.event_id, "click", doc="a", now=AT + 5.0)
    assert answer.status == "joined"
    (span,) = telling.named("dwell feedback")
    assert list_span.context is not None
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id) == (list_span.context.trace_id, list_span.context.span_id)
    assert [link.context.span_id for link in span.links] == [later.get_span_context().span_id]
    (event,) = span.events
    assert event.name == "gen_ai.evaluation.result"
    assert dict(event.attributes or {}) == {
        "gen_ai.evaluation.name": "click",
        "gen_ai.evaluation.score.value": 1.0,
        "dwell.event_id": served.event_id,
        "dwell.document.id": "a",
        "dwell.feedback.status": "joined",
    }


def test_feedback_is_a_log_record_in_the_span_of_its_list_where_asked_for(loop: dwell.Loop, telling: Telling) -> None:
    exporter = InMemoryLogRecordExporter()
    logs = LoggerProvider(shutdown_on_exit=False)
    logs.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    told = traced(loop, telling.provider, logger_provider=logs, documents=True)
    served = told.rank("q", DOCS, now=AT)
    (list_span,) = telling.spans
    assert list_span.context is not None
    items: list[Any] = [
        {"event_id": served.event_id, "signal": "click", "doc": "b"},
        {"event_id": 7, "signal": "click"},
    ]
    with telling.provider.get_tracer("application").start_as_current_span("a later request"):
        told.feedback(served.event_id, "click", doc="a", value=1.0, now=AT + 5.0)
        told.feedback_many(items, now=AT + 6.0)
    found = [one.log_record for one in exporter.get_finished_logs()]
    assert [one.event_name for one in found] == ["gen_ai.evaluation.result"] * 2  # an id that is none has no list
    assert {(one.trace_id, one.span_id) for one in found} == {(list_span.context.trace_id, list_span.context.span_id)}
    assert dict(found[0].attributes or {}) == {
        "gen_ai.evaluation.name": "click",
        "gen_ai.evaluation.score.value": 1.0,
        "dwell.event_id": served.event_id,
        "dwell.document.id": "a",
        "dwell.feedback.status": "joined",
    }
    assert [span.events for span in telling.named("dwell feedback")] == [(), ()]
    told.feedback("of another process", "click")  # whose span is not known: it is told in the feedback's own
    own = telling.named("dwell feedback")[-1].context
    assert own is not None
    assert exporter.get_finished_logs()[-1].log_record.span_id == own.span_id
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("opentelemetry._logs.LogRecord", Telling)  # takes neither a context nor an event's name
        with pytest.raises(MissingDependencyError, match="need a newer opentelemetry-api"):
            traced(loop, telling.provider, logger_provider=logs)
    logs.shutdown()


def test_a_logger_that_fails_stays_behind_the_wall(loop: dwell.Loop, telling: Telling) -> None:
    class Failing:
        def get_logger(self, _: str) -> Any:
            return self

        def enabled(self, **_: object) -> bool:
            return True

        def emit(self, _: object) -> None:
            raise OSError

    told = traced(loop, telling.provider, logger_provider=Failing())  # type: ignore[arg-type]
    served = told.rank("q", DOCS, now=AT)
    assert told.feedback(served.event_id, "click", doc="a", now=AT).status == "joined"


def test_each_way_to_give_feedback_says_what_became_of_it(loop: dwell.Loop, telling: Telling) -> None:
    told = traced(loop, telling.provider)
    served = told.rank("q", DOCS, now=AT)
    told.submit_feedback(served.event_id, "click", doc="a", now=AT + 1.0).result()
    items = [{"event_id": served.event_id, "signal": "click", "doc": "zzz"}, {"signal": "click"}, 7]
    answers = told.feedback_many(items, now=AT + 2.0)  # type: ignore[list-item]
    assert [one.status for one in answers] == ["rejected", "rejected", "rejected"]
    later = told.submit_feedback_many([{"event_id": served.event_id, "signal": "thumbs"}], now=AT + 3.0)
    assert [one.status for one in later.result()] == ["joined"]
    with pytest.raises(RecordError):
        told.feedback_many(7)  # type: ignore[arg-type]
    assert loop.recorded([served.event_id])
    telling.provider.force_flush()
    found = [dict(event.attributes or {}) for span in telling.named("dwell feedback") for event in span.events]
    assert [one["dwell.feedback.status"] for one in found] == ["joined", "rejected", "joined"]
    assert found[1]["dwell.feedback.reason"] == "not_served"
    assert "zzz" not in telling.text()


def test_learning_tells_the_gates_verdict(loop: dwell.Loop, telling: Telling) -> None:
    told = traced(loop, telling.provider)
    for i in range(40):
        served = told.rank(f"q{i}", DOCS, user=f"u{i}", now=AT + i)
        told.feedback(served.event_id, "click", doc="b", now=AT + i)
    report = told.train(now=AT + 1e6)
    (span,) = telling.named("dwell train")
    found = attributes(span)
    assert found["dwell.train.n_closed"] == 40 == report.n_closed
    assert found["dwell.train.ended_by"] == report.ended_by
    assert found["dwell.gate.verdict"] == report.decision.verdict
    assert list(found["dwell.gate.reasons"]) == report.decision.reasons
    assert found["dwell.gate.proposed_version"] == report.decision.proposed_version
    decision = told.evaluate(report.proposed, now=AT + 1e6)
    assert attributes(telling.named("dwell gate")[0])["dwell.gate.verdict"] == decision.verdict == "hold"
    with pytest.raises(PromotionRefused):
        told.promote(report.proposed, now=AT + 1e6)
    (refused,) = telling.named("dwell promote")
    assert refused.status.status_code is StatusCode.ERROR
    assert attributes(refused)["error.type"] == "promotion_refused"
    live = told.promote(report.proposed, force=True, now=AT + 1e6)
    assert attributes(telling.named("dwell promote")[1])["dwell.params_version"] == live.version
    back = told.rollback(now=AT + 1e6)
    assert attributes(telling.named("dwell rollback")[0])["dwell.params_version"] == back.version


def test_what_is_refused_is_an_error_by_its_code(loop: dwell.Loop, telling: Telling) -> None:
    told = traced(loop, telling.provider)
    with pytest.raises(RecordError):
        told.rank("q", [], k=0)
    with pytest.raises(RecordError):
        told.log_retrieval("q", [], event_id="e")
    assert [attributes(span)["error.type"] for span in telling.spans] == ["range", "results_shape"]
    served = told.rank("q", [{"id": "a", "x": float("nan")}], now=AT)
    assert attributes(telling.spans[-1])["dwell.fallback"] == served.fallback == "non_finite:x"
    assert telling.spans[-1].status.status_code is StatusCode.UNSET


def test_everything_else_is_the_loops_own(loop: dwell.Loop, telling: Telling) -> None:
    with traced(loop, telling.provider) as told:
        assert told.loop is loop
        event_id = told.log_retrieval("q", DOCS, now=AT)
        assert told.recorded([event_id])[event_id].shown == ("a", "b", "c")
        assert told.features == ("x",)
    with pytest.raises(dwell.DwellError):
        loop.log_retrieval("q", DOCS)


class Broken:
    """A span processor that fails at every turn."""

    def on_start(self, span: object, parent_context: object = None) -> None:
        raise ZeroDivisionError(span, parent_context)

    def on_end(self, span: object) -> None:
        raise ZeroDivisionError(span)

    def _on_ending(self, span: object) -> None:
        raise ZeroDivisionError(span)

    def shutdown(self) -> None:
        """End."""

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return timeout_millis >= 0


def test_a_tracer_that_fails_fails_alone(loop: dwell.Loop) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Broken())  # type: ignore[arg-type]
    told = traced(loop, provider)
    served = told.rank("q", DOCS, now=AT)
    assert told.feedback(served.event_id, "click", doc="a", now=AT).status == "joined"
    assert told.train(now=AT + 1e6).n_closed == 1


def test_without_an_sdk_nothing_is_made_up(loop: dwell.Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    told = traced(loop, trace.NoOpTracerProvider(), documents=True)
    monkeypatch.setattr(json, "dumps", lambda _: pytest.fail("documents are written though nobody listens"))
    served = told.rank("q", DOCS, now=AT)
    assert told.feedback(served.event_id, "click", doc="a", now=AT).status == "joined"


def test_a_missing_library_is_told(loop: dwell.Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingDependencyError, match="opentelemetry-api"):
        traced(loop)


# ---- capture


Capture = Callable[..., tuple[RetrievalCapture, Telling]]


@pytest.fixture
def captured(loop: dwell.Loop, telling: Telling) -> Capture:
    def make(**how: Any) -> tuple[RetrievalCapture, Telling]:
        capture = RetrievalCapture(loop, **how)
        telling.provider.add_span_processor(capture)  # type: ignore[arg-type]
        return capture, telling

    return make


GENAI = {
    "gen_ai.operation.name": "retrieval",
    "gen_ai.retrieval.query.text": "reset 2fa",
    "gen_ai.retrieval.documents": json.dumps([
        {"id": "kb-1", "score": 0.9, "content": "Text of one", "x": 2.0},
        {"id": "kb-2", "score": 0.8, "content": "Text of two", "x": 1.0},
    ]),
    "user.id": "u-77",
}  # fmt: skip
OPENINFERENCE = {
    "openinference.span.kind": "RETRIEVER",
    "input.value": "reset 2fa",
    "retrieval.documents.0.document.id": "kb-1",
    "retrieval.documents.0.document.score": 0.9,
    "retrieval.documents.0.document.content": "Text of one",
    "retrieval.documents.0.document.metadata": '{"x": 2.0, "title": "One"}',
    "retrieval.documents.1.document.id": "kb-2",
    "retrieval.documents.1.document.score": 0.8,
    "retrieval.documents.1.document.content": "Text of two",
    "retrieval.documents.1.document.metadata": '{"x": 1}',
    "user.id": "u-77",
}


def span_id(span: Any) -> str:
    context = span.get_span_context()
    return f"{context.trace_id:032x}:{context.span_id:016x}"


# As openinference-instrumentation-langchain tells a retriever: no ids, the texts once more, in the output
LANGCHAIN = {
    "openinference.span.kind": "RETRIEVER",
    "input.value": "reset 2fa",
    "output.value": '{"documents": [{"id": "d1", "page_content": "Text of one"}]}',
    "output.mime_type": "application/json",
    "retrieval.documents.0.document.content": "Text of one",
    "retrieval.documents.0.document.metadata": '{"source": "kb-1", "score": 0.9, "x": 2.0}',
    "retrieval.documents.1.document.content": "Text of two",
    "retrieval.documents.1.document.metadata": '{"source": "kb-2", "score": 0.4, "x": 1.0}',
    "metadata": '{"ls_retriever_name": "r"}',
}


@pytest.mark.parametrize("dialect", [GENAI, OPENINFERENCE, LANGCHAIN], ids=["genai", "openinference", "langchain"])
def test_a_traced_retriever_becomes_an_experience_with_a_reward(
    loop: dwell.Loop, captured: Capture, dialect: dict[str, Any]
) -> None:
    capture, telling = captured(id_key="source")
    tracer = telling.provider.get_tracer("application")
    with tracer.start_as_current_span("answer"), tracer.start_as_current_span("retrieve") as span:
        span.set_attributes(dialect)
        span.add_event(
            "gen_ai.evaluation.result",
            {"gen_ai.evaluation.name": "thumbs", "gen_ai.evaluation.score.value": 1.0, "dwell.document.id": "kb-2"},
        )
    assert capture.force_flush()
    assert loop.close_events(now=AT + 1e9) == 1
    (found,) = loop.experiences()
    assert found.event_id == span_id(span)
    assert found.query == "reset 2fa"
    assert [(one["id"], one["x"]) for one in found.results_served] == [("kb-1", 2.0), ("kb-2", 1.0)]
    assert found.feedback_signals == {"thumbs": 1.0}
    assert found.reward == pytest.approx(loop.rewards.signals["thumbs"].weight)
    report = capture.report
    assert (report.n_lists, report.n_lists_without_features, report.feedback) == (1, 0, {"joined": 1})
    assert report.n_quarantined == 0


def test_labels_and_other_scales_are_worth_what_the_mapping_says(loop: dwell.Loop, captured: Capture) -> None:
    signals = {
        "correctness": Meaning(signal="helpful", labels={"pass": 1.0, "fail": 0.25}),
        "stars": {"signal": "thumbs", "low": 1, "high": 5, "onto": [-1, 1]},
    }
    capture, telling = captured(signals=signals)
    with telling.provider.get_tracer("application").start_as_current_span("retrieve") as span:
        span.set_attributes(GENAI)
        for told in (
            {"gen_ai.evaluation.name": "correctness", "gen_ai.evaluation.score.label": "fail"},
            {"gen_ai.evaluation.name": "correctness", "gen_ai.evaluation.score.label": "perhaps"},
            {"gen_ai.evaluation.name": "stars", "gen_ai.evaluation.score.value": 4},
            {"gen_ai.evaluation.name": "stars", "gen_ai.evaluation.score.value": 6},
            {"gen_ai.evaluation.name": "rating", "gen_ai.evaluation.score.label": "good"},
        ):
            span.add_event("gen_ai.evaluation.result", told)
    assert capture.force_flush()
    assert {s.name: s.value for s in loop.signals(span_id(span))} == {"helpful": 0.25, "thumbs": 0.5}
    report = capture.report
    assert [one.reason.partition(":")[0] for one in report.quarantined] == ["unknown_label", "out_of_range"]
    assert report.left_out == {"no_score": 1}
    with pytest.raises(ConfigError, match=r"outside \[0, 1\]"):
        RetrievalCapture(loop, signals={"correctness": Meaning(signal="helpful", labels={"pass": 2.0})})


def test_evaluations_come_as_annotations_children_links_and_log_records(loop: dwell.Loop, captured: Capture) -> None:
    capture, telling = captured(signals={"stars": "rating", "toxicity": None})
    tracer = telling.provider.get_tracer("application")
    with tracer.start_as_current_span("retrieve") as span:
        span.set_attributes(GENAI)
        with tracer.start_as_current_span("judge") as child:  # it ends before its list is known
            child.add_event("gen_ai.evaluation.result", {
                "gen_ai.evaluation.name": "helpful", "gen_ai.evaluation.score.value": 1
            })  # fmt: skip
        span.set_attributes({
            "annotations.0.annotation.name": "stars", "annotations.0.annotation.score": 5,
            "annotations.1.annotation.name": "toxicity", "annotations.1.annotation.score": 0.1,
            "annotations.2.annotation.name": "groundedness", "annotations.2.annotation.score": 0.7,
            "annotations.3.annotation.name": "stars", "annotations.3.annotation.label": "good",
            "evaluations.0.evaluation.name": "stars", "evaluations.0.evaluation.score": 5,
        })  # fmt: skip
    link = trace.Link(span.get_span_context())
    with tracer.start_as_current_span("POST /click", links=[link]) as later:
        later.add_event("gen_ai.evaluation.result", {
            "gen_ai.evaluation.name": "click", "gen_ai.evaluation.score.value": 1.0, "dwell.document.id": "kb-1"
        })  # fmt: skip
    logs = LoggerProvider(shutdown_on_exit=False)
    logs.add_log_record_processor(capture)  # type: ignore[arg-type]
    logs.get_logger("application").emit(
        event_name="gen_ai.evaluation.result",
        context=trace.set_span_in_context(span),
        attributes={"gen_ai.evaluation.name": "thumbs", "gen_ai.evaluation.score.value": -1.0},
    )
    assert capture.force_flush()
    assert {s.name: (s.doc, s.value) for s in loop.signals(span_id(span))} == {
        "helpful": (None, 1.0), "rating": (None, 5.0), "click": ("kb-1", 1.0), "thumbs": (None, -1.0)
    }  # fmt: skip
    report = capture.report
    assert report.feedback == {"joined": 4, "duplicate": 1}
    assert report.unknown_evaluations == {"groundedness": 1}
    assert report.left_out == {"ignored": 1, "no_score": 1}
    logs.shutdown()


def test_an_evaluation_waits_for_the_span_of_its_list_to_end(loop: dwell.Loop, captured: Capture) -> None:
    capture, telling = captured()
    tracer = telling.provider.get_tracer("application")
    with tracer.start_as_current_span("retrieve") as span:
        span.set_attributes(GENAI)
        with tracer.start_as_current_span("judge") as child:
            child.add_event("gen_ai.evaluation.result", {
                "gen_ai.evaluation.name": "helpful", "gen_ai.evaluation.score.value": 1.0
            })  # fmt: skip
        assert capture.force_flush()
        assert capture.report.feedback == {}
    assert capture.force_flush()
    assert capture.report.feedback == {"joined": 1}
    assert [s.name for s in loop.signals(span_id(span))] == ["helpful"]


def test_an_evaluation_of_another_span_is_nobodys(loop: dwell.Loop, captured: Capture) -> None:
    capture, telling = captured()
    with telling.provider.get_tracer("application").start_as_current_span("chat") as span:
        span.add_event("gen_ai.evaluation.result", {
            "gen_ai.evaluation.name": "thumbs", "gen_ai.evaluation.score.value": 1.0
        })  # fmt: skip
    assert capture.force_flush()
    capture.shutdown()
    assert capture.report.left_out == {"of_another_span": 1}
    assert loop.event_counts()["orphans"] == 0
    with telling.provider.get_tracer("application").start_as_current_span("retrieve") as span:
        span.set_attributes(GENAI)
    assert capture.report.left_out["after_shutdown"] == 1


def test_a_list_of_an_earlier_process_is_found_in_the_store(loop: dwell.Loop, captured: Capture) -> None:
    event_id = f"{7:032x}:{8:016x}"
    loop.log_retrieval("q", DOCS, event_id=event_id, now=AT)
    capture, telling = captured()
    context = trace.SpanContext(7, 8, is_remote=True)
    with telling.provider.get_tracer("a").start_as_current_span("late", links=[trace.Link(context)]) as span:
        span.add_event("gen_ai.evaluation.result", {
            "gen_ai.evaluation.name": "thumbs", "gen_ai.evaluation.score.value": 1.0
        })  # fmt: skip
    assert capture.force_flush()
    assert [s.name for s in loop.signals(event_id)] == ["thumbs"]


def test_what_a_traced_loop_tells_is_not_captured_twice(loop: dwell.Loop, captured: Capture) -> None:
    capture, telling = captured()
    told = traced(loop, telling.provider, documents=True)
    served = told.rank("q", DOCS)
    told.feedback(served.event_id, "click", doc="a")
    (list_span, _) = telling.spans
    assert list_span.context is not None
    with telling.provider.get_tracer("a").start_as_current_span("judge", links=[trace.Link(list_span.context)]) as span:
        span.add_event("gen_ai.evaluation.result", {
            "gen_ai.evaluation.name": "helpful", "gen_ai.evaluation.score.value": 1.0
        })  # fmt: skip
    assert capture.force_flush()
    assert loop.event_counts()["open"] == 1
    assert capture.report.left_out == {"own": 2}
    assert sorted(s.name for s in loop.signals(served.event_id)) == ["click", "helpful"]


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("1 nan score", {"gen_ai.retrieval.documents": '[{"id": "a", "score": NaN}]'}, "malformed_json"),
    ("1 huge score", {"gen_ai.retrieval.documents": '[{"id": "a", "score": 1e999}]'}, "malformed_json"),
    ("1 score of text", {"gen_ai.retrieval.documents": '[{"id": "a", "score": "NaN"}]'}, "type"),
    ("2 score of truth", {"gen_ai.retrieval.documents": '[{"id": "a", "score": true}]'}, "type"),
    ("4 none", {"gen_ai.retrieval.documents": "[]"}, "no_documents"),
    ("4 no array", {"gen_ai.retrieval.documents": "{}"}, "type"),
    ("4 no id", {"gen_ai.retrieval.documents": '[{"score": 1.0}]'}, "no_id"),
    ("4 no object", {"gen_ai.retrieval.documents": "[3]"}, "type"),
    ("4 too many", {"gen_ai.retrieval.documents": json.dumps([{"id": str(i)} for i in range(10_001)])}, "too_many"),
    ("11 huge id", {"gen_ai.retrieval.documents": '[{"id": 100000000000000000000}]'}, "id"),
    ("12 control", {"gen_ai.retrieval.documents": '[{"id": "a\\u0000b"}]'}, "id"),
    ("12 surrogate", {"gen_ai.retrieval.documents": '[{"id": "\\ud800"}]'}, "malformed_json"),
    ("12 long id", {"gen_ai.retrieval.documents": json.dumps([{"id": "x" * 513}])}, "id"),
    ("12 user", {"user.id": "u\n"}, "id"),
    ("12 nul", {"gen_ai.retrieval.query.text": "a\0b"}, "text"),
    ("13 long query", {"gen_ai.retrieval.query.text": "x" * 65_537}, "text"),
    ("13 query type", {"gen_ai.retrieval.query.text": 7}, "type"),
    ("14 cut off", {"gen_ai.retrieval.documents": '[{"id": "a"'}, "malformed_json"),
    ("14 deep", {"gen_ai.retrieval.documents": "[" * 100_000}, "malformed_json"),
]


@pytest.mark.parametrize(("changed", "code"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_span_that_can_not_be_used_is_counted_with_its_reason(
    loop: dwell.Loop, captured: Capture, changed: dict[str, Any], code: str
) -> None:
    capture, telling = captured()
    with telling.provider.get_tracer("application").start_as_current_span("retrieve") as span:
        span.set_attributes(GENAI | changed)
    assert capture.force_flush()
    (refusal,) = capture.report.quarantined
    assert refusal.reason.partition(":")[0] == code
    assert loop.event_counts()["open"] == 0


def test_an_evaluation_that_is_wrong_is_refused_by_name(loop: dwell.Loop, captured: Capture) -> None:
    capture, telling = captured()
    with telling.provider.get_tracer("application").start_as_current_span("retrieve") as span:
        span.set_attributes(GENAI)
        for name, value, doc in (
            ("thumbs", True, "kb-1"), ("thumbs", float("nan"), "kb-1"), ("thumbs", "1", "kb-1"), ("", 1.0, "kb-1"),
            ("thumbs", 1.0, "x\n"), ("thumbs", 9.0, "kb-1"), ("click", 1.0, "elsewhere"), ("dwell", -1.0, "kb-1"),
        ):  # fmt: skip
            span.add_event("gen_ai.evaluation.result", {
                "gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": value, "dwell.document.id": doc
            })  # fmt: skip
    assert capture.force_flush()
    reasons = [one.reason.partition(":")[0] for one in capture.report.quarantined]
    assert reasons == ["type", "non_finite", "type", "missing", "id"]
    assert capture.report.feedback == {"rejected:not_served": 1, "rejected:signal_range": 2}
    assert loop.signals(span_id(span)) == []


def test_openinference_lists_that_a_tracer_cut_are_refused(loop: dwell.Loop, captured: Capture) -> None:
    capture, telling = captured()
    tracer = telling.provider.get_tracer("application")
    for missing in ("retrieval.documents.0.document.id", "retrieval.documents.1.document.id"):
        with tracer.start_as_current_span("retrieve") as span:
            span.set_attributes({name: value for name, value in OPENINFERENCE.items() if name != missing})
    with tracer.start_as_current_span("retrieve") as span:
        span.set_attributes({k: v for k, v in OPENINFERENCE.items() if not k.startswith("retrieval.documents.0.")})
    with tracer.start_as_current_span("retrieve") as span:  # the SDK keeps 128 attributes, the newest ones
        span.set_attributes({f"other.{i}": i for i in range(130)} | OPENINFERENCE)
    assert capture.force_flush()
    reasons = [one.reason.partition(":")[0] for one in capture.report.quarantined]
    assert reasons == ["no_id", "no_id", "incomplete", "incomplete"]
    assert list(loop.experiences()) == []


def test_ids_and_features_may_stand_elsewhere(loop: dwell.Loop, captured: Capture) -> None:
    def features(query: str, ids: Any) -> list[dict[str, float]]:
        return [{"x": float(len(query)) + i} for i, _ in enumerate(ids)]

    capture, telling = captured(id_key="source", features=features)
    with telling.provider.get_tracer("application").start_as_current_span("retrieve") as span:
        span.set_attributes({
            "openinference.span.kind": "RETRIEVER", "input.value": "four",
            "retrieval.documents.0.document.metadata": '{"source": "a.md"}',
            "retrieval.documents.1.document.metadata": '{"source": 12}',
        })  # fmt: skip
    assert capture.force_flush()
    (found,) = loop.experiences()
    assert [(one["id"], one["x"]) for one in found.results_served] == [("a.md", 4.0), ("12", 5.0)]
    assert capture.report.noted == {"no_score": 1, "number:object_id": 1}


def test_texts_of_documents_are_not_in_the_store(loop: dwell.Loop, captured: Capture) -> None:
    capture, telling = captured(id_key="source")
    for dialect in (GENAI, OPENINFERENCE, LANGCHAIN):
        with telling.provider.get_tracer("application").start_as_current_span("retrieve") as span:
            span.set_attributes(dialect)
    assert capture.force_flush()
    found = "".join(repr(one) for one in loop.experiences())
    assert "kb-1" in found
    assert "Text of" not in found
    assert "One" not in found


def test_a_queue_that_is_full_loses_spans_and_says_so(loop: dwell.Loop, captured: Capture) -> None:
    gate = threading.Event()

    def features(query: str, ids: Any) -> list[dict[str, float]]:
        assert gate.wait(10.0)
        return [{"x": 1.0} for _ in ids]

    capture, telling = captured(capacity=1, features=features)
    tracer = telling.provider.get_tracer("application")
    for _ in range(6):
        with tracer.start_as_current_span("retrieve") as span:
            span.set_attributes(GENAI)
    gate.set()
    assert capture.force_flush()
    report = capture.report
    assert report.left_out["overloaded"] == 6 - report.n_lists
    assert 1 <= report.n_lists <= 2  # the one that was held up, and the one that waited


def test_whatever_goes_wrong_stays_in_the_capture(loop: dwell.Loop, captured: Capture) -> None:
    def features(query: str, ids: Any) -> list[dict[str, float]]:
        raise ZeroDivisionError

    capture, telling = captured(features=features)
    tracer = telling.provider.get_tracer("application")
    with tracer.start_as_current_span("retrieve") as span:
        span.set_attributes(GENAI)
    assert capture.force_flush()
    assert capture.report.refused_lists == {"internal:ZeroDivisionError": 1}
    loop.close()
    with tracer.start_as_current_span("retrieve") as span:
        span.set_attributes(GENAI)
    capture.shutdown()
    assert capture.report.n_lists == 0
    capture.on_end(None)  # type: ignore[arg-type]
    capture.on_emit(None)


def test_wrong_settings_are_refused(loop: dwell.Loop) -> None:
    with pytest.raises(ConfigError, match="not declare"):
        RetrievalCapture(loop, signals={"stars": "no such signal"})
    with pytest.raises(RecordError):
        RetrievalCapture(loop, capacity=0)


def test_of_thousands_of_evaluations_with_many_links_each_link_is_looked_up_once_a_batch(
    loop: dwell.Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # one request of 50 KB, packed: 7,500 of them with 128 links took 21 s of the service's time
    looked: list[str] = []
    original = Spool.served_at

    def heard(spool: Spool, event_id: str) -> tuple[float, bool] | None:
        looked.append(event_id)
        return original(spool, event_id)

    monkeypatch.setattr(Spool, "served_at", heard)
    nanoseconds = int(AT * 1e9)
    evaluation = {
        "name": "gen_ai.evaluation.result",
        "attributes": [
            {"key": "gen_ai.evaluation.name", "value": {"stringValue": "click"}},
            {"key": "gen_ai.evaluation.score.value", "value": {"doubleValue": 1.0}},
        ],
    }
    links = [{"traceId": f"{i:032x}", "spanId": f"{i:016x}"} for i in range(1, 129)]
    events = [{**evaluation, "timeUnixNano": str(nanoseconds + i * 1_000_000)} for i in range(1_500)]
    span = {"traceId": "a" * 32, "spanId": "b" * 16, "endTimeUnixNano": str(nanoseconds + 10**10)}
    request = {"resourceSpans": [{"scopeSpans": [{"spans": [{**span, "links": links, "events": events}]}]}]}
    assert import_otel(loop, [request], now=AT + 100.0).left_out == {"of_another_span": 1_500}
    assert len(looked) == 3 * 129  # in three batches of 500, the span itself and what it links to
