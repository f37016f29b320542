"""A loop whose calls are spans: what was asked, what came of it, how long it took.

The spans of `rank` and `log_retrieval` follow the conventions for retrievals of OpenTelemetry; feedback is told as the
event `gen_ai.evaluation.result`, of its own span or as a log record. No text and no user is told; ids of documents and
the query only where asked for.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from dwell.errors import DwellError, MissingDependencyError
from dwell.integrations.otel import names
from dwell.loop import Loop, TrainReport
from dwell.records import Feedback, GateDecision, Params, Served

if TYPE_CHECKING:
    from opentelemetry._logs import Logger, LoggerProvider
    from opentelemetry.trace import Span, SpanContext, TracerProvider

__all__ = ["TracedLoop", "traced"]

_REMEMBERED: Final = 10_000  # spans of lists to which feedback may still find its way: a few megabytes
_OF_A_SPAN: Final = re.compile(r"([0-9a-f]{32}):([0-9a-f]{16})")  # an event id that capture made
_Attributes = Mapping[str, Any]


def traced(
    loop: Loop,
    tracer_provider: TracerProvider | None = None,
    *,
    logger_provider: LoggerProvider | None = None,
    data_source: str | None = None,
    text: bool = False,
    documents: bool = False,
) -> TracedLoop:
    """Return a loop that does the same and tells a tracer.

    Args:
        loop: Any loop; it stays usable by itself, untraced.
        tracer_provider: Where spans go; the process's own when not given. Without an SDK that is nowhere, and costs
            next to nothing.
        logger_provider: Where given, feedback is a log record in the span of its list, as OpenTelemetry has it since
            it gave up events of spans; else an event of the feedback's own span.
        data_source: `gen_ai.data_source.id`, and the second half of a retrieval's name.
        text: Whether the query is told. It may be personal.
        documents: Whether ids and scores of documents are told.

    Raises:
        MissingDependencyError: opentelemetry-api is not installed, or too old for events that are log records; the
            message has the command.
    """
    return TracedLoop(
        loop, _Tracer(tracer_provider, logger_provider), data_source=data_source, text=text, documents=documents
    )


class _Told(NamedTuple):
    """A span under way, or None where tracing failed to begin it.

    Attributes:
        span: The span.
        about: Where the span of the list is that it is about, where that is known.
    """

    span: Span | None
    about: SpanContext | None = None


class _Tracer:
    """The tracer, behind a wall: whatever it raises, or a provider's processors raise, stays here."""

    def __init__(self, provider: TracerProvider | None, logger_provider: LoggerProvider | None) -> None:
        try:
            from opentelemetry import trace
        except ImportError as error:
            raise MissingDependencyError("tracing needs opentelemetry-api", hint="pip install 'dwell[otel]'") from error
        self._logger = None if logger_provider is None else _logger_of(logger_provider)
        self._api = trace
        self._tracer = trace.get_tracer("dwell", tracer_provider=provider)
        self._spans: OrderedDict[str, SpanContext] = OrderedDict()
        self._lock = threading.Lock()

    def started(self, name: str, attributes: _Attributes, *, about: str | None = None) -> _Told:
        """Return a span under way; a span about a list is a child of the list's own span, where that is known."""
        with contextlib.suppress(Exception):
            api = self._api
            kind = api.SpanKind.INTERNAL
            target = None if about is None else self._context_of(about)
            if target is None:
                return _Told(self._tracer.start_span(name, kind=kind, attributes=attributes), None)
            here = api.get_current_span().get_span_context()
            return _Told(
                self._tracer.start_span(
                    name,
                    context=api.set_span_in_context(api.NonRecordingSpan(target)),
                    kind=kind,
                    attributes=attributes,
                    links=[api.Link(here)] if here.is_valid else (),
                ),
                target,
            )
        return _Told(None)

    def ended(
        self,
        told: _Told,
        attributes: Callable[[], _Attributes] = dict,
        *,
        event: str | None = None,
        error: BaseException | None = None,
    ) -> None:
        """End a span; the attributes, of the span or of an event, are made only where somebody records them."""
        if event is not None and self._logger is not None:
            self._log(told, event, attributes)
        span = told.span
        if span is None:
            return
        with contextlib.suppress(Exception):
            if span.is_recording():
                if error is not None:
                    code = error.code if isinstance(error, DwellError) else type(error).__name__
                    span.set_attribute(names.ERROR_TYPE, code)
                    span.set_status(self._api.StatusCode.ERROR, code)
                elif event is not None and self._logger is None:
                    span.add_event(event, dict(attributes()))
                elif event is None:
                    span.set_attributes(dict(attributes()))
        with contextlib.suppress(Exception):
            span.end()

    def _log(self, told: _Told, event: str, attributes: Callable[[], _Attributes]) -> None:
        """Tell an event as a log record in the span that it is about, else in its own."""
        with contextlib.suppress(Exception):
            from opentelemetry._logs import LogRecord

            if self._logger is None or not self._logger.enabled(event_name=event):
                return
            place = told.about
            if place is None and told.span is not None:
                place = told.span.get_span_context()
            if place is None:
                return
            api = self._api
            where = api.set_span_in_context(api.NonRecordingSpan(place))
            self._logger.emit(
                LogRecord(timestamp=time.time_ns(), context=where, event_name=event, attributes=dict(attributes()))
            )

    def remember(self, told: _Told, event_id: str) -> None:
        """Keep where the span of a list is, for what will be said about it."""
        with contextlib.suppress(Exception):
            if told.span is None or not told.span.get_span_context().is_valid:
                return
            with self._lock:
                self._spans[event_id] = told.span.get_span_context()
                while len(self._spans) > _REMEMBERED:
                    self._spans.popitem(last=False)

    def _context_of(self, event_id: str) -> SpanContext | None:
        with self._lock:
            known = self._spans.get(event_id)
        found = None if known is not None else _OF_A_SPAN.fullmatch(event_id)
        if found is None:
            return known
        api = self._api
        sampled = api.TraceFlags(api.TraceFlags.SAMPLED)
        context: SpanContext = api.SpanContext(
            int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=sampled
        )
        return context


def _logger_of(provider: LoggerProvider) -> Logger:
    """Return what takes log records.

    Raises:
        MissingDependencyError: The library knows no log records that are events.
    """
    try:
        from opentelemetry._logs import LogRecord
    except ImportError:
        known: Mapping[str, object] = {}
    else:
        known = inspect.signature(LogRecord.__init__).parameters
    if not {"context", "event_name"} <= known.keys():
        raise MissingDependencyError(
            "events as log records need a newer opentelemetry-api",
            hint="pip install -U opentelemetry-api, or leave logger_provider out.",
        )
    return provider.get_logger("dwell")


class TracedLoop:
    """A loop that tells a tracer. What is not here is the loop's own, untraced; made by `traced`."""

    def __init__(self, loop: Loop, tracer: _Tracer, *, data_source: str | None, text: bool, documents: bool) -> None:
        self._loop = loop
        self._tracer = tracer
        self._source = data_source
        self._tells_text = text
        self._tells_documents = documents

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the loop has
        return getattr(self._loop, name)

    @property
    def loop(self) -> Loop:
        """The loop itself."""
        return self._loop

    # ---- serve and record

    def rank(
        self,
        query: str,
        candidates: Sequence[Mapping[str, Any]] | None = None,
        *,
        k: int = 10,
        **how: Any,  # noqa: ANN401 - what else the loop takes
    ) -> Served:
        """Return what `Loop.rank` does, in a span `retrieval`.

        Raises:
            RecordError: As `Loop.rank`.
        """
        told = self._retrieval(query, k)
        with self._failing(told):
            served = self._loop.rank(query, candidates, k=k, **how)
        self._tracer.remember(told, served.event_id)
        self._tracer.ended(told, lambda: self._of_served(served))
        return served

    def log_retrieval(
        self,
        query: str,
        results: Sequence[Mapping[str, Any]],
        **how: Any,  # noqa: ANN401 - what else the loop takes
    ) -> str:
        """Return what `Loop.log_retrieval` does, in a span `retrieval`.

        Raises:
            RecordError: As `Loop.log_retrieval`.
        """
        told = self._retrieval(query, None)
        with self._failing(told):
            event_id = self._loop.log_retrieval(query, results, **how)
        self._tracer.remember(told, event_id)
        self._tracer.ended(told, lambda: {names.DWELL_EVENT_ID: event_id, "dwell.n_served": len(results)})
        return event_id

    def feedback(
        self,
        event_id: str,
        signal: str,
        *,
        doc: str | None = None,
        value: float = 1.0,
        **how: Any,  # noqa: ANN401 - what else the loop takes
    ) -> Feedback:
        """Return what `Loop.feedback` does, in a span below that of its list."""
        told = self._evaluation(event_id)
        answer = self._loop.feedback(event_id, signal, doc=doc, value=value, **how)
        self._end_evaluation(told, event_id, (signal, doc, value), answer)
        return answer

    def submit_feedback(
        self,
        event_id: str,
        signal: str,
        *,
        doc: str | None = None,
        value: float = 1.0,
        **how: Any,  # noqa: ANN401 - what else the loop takes
    ) -> Future[Feedback]:
        """Return what `Loop.submit_feedback` does; the span ends with the answer."""
        told = self._evaluation(event_id)
        answer = self._loop.submit_feedback(event_id, signal, doc=doc, value=value, **how)
        what = (signal, doc, value)
        answer.add_done_callback(lambda done: self._end_evaluation(told, event_id, what, done.result()))
        return answer

    def feedback_many(self, items: Sequence[Mapping[str, Any]], *, now: float | None = None) -> list[Feedback]:
        """Return what `Loop.feedback_many` does, with a span below the list of each item.

        Raises:
            RecordError: As `Loop.feedback_many`.
        """
        begun = self._begun(items)
        with self._failing(*(told for told, _, _ in begun)):
            answers = self._loop.feedback_many(items, now=now)
        self._end_all(begun, answers)
        return answers

    def submit_feedback_many(
        self,
        items: Sequence[Mapping[str, Any]],
        **how: Any,  # noqa: ANN401 - what else the loop takes
    ) -> Future[list[Feedback]]:
        """Return what `Loop.submit_feedback_many` does; the spans end with the answers.

        Raises:
            RecordError: As `Loop.submit_feedback_many`.
        """
        begun = self._begun(items)
        with self._failing(*(told for told, _, _ in begun)):
            answers = self._loop.submit_feedback_many(items, **how)
        answers.add_done_callback(lambda done: self._end_all(begun, done.result()))
        return answers

    # ---- learn and judge

    def train(self, *, steps: int | None = None, now: float | None = None) -> TrainReport:
        """Return what `Loop.train` does, in a span `dwell train` that holds the gate's verdict.

        Raises:
            StorageError: As `Loop.train`.
        """
        told = self._tracer.started("dwell train", {})
        with self._failing(told):
            report = self._loop.train(steps=steps, now=now)
        self._tracer.ended(told, lambda: _of_report(report))
        return report

    def evaluate(self, params: Params, *, now: float | None = None) -> GateDecision:
        """Return what `Loop.evaluate` does, in a span `dwell gate`.

        Raises:
            RecordError: As `Loop.evaluate`.
        """
        told = self._tracer.started("dwell gate", {})
        with self._failing(told):
            decision = self._loop.evaluate(params, now=now)
        self._tracer.ended(told, lambda: _of_decision(decision))
        return decision

    def promote(self, params: Params, *, force: bool = False, now: float | None = None) -> Params:
        """Return what `Loop.promote` does, in a span `dwell promote`.

        Raises:
            PromotionRefused: As `Loop.promote`; the span is an error then.
            AlreadyLiveError: As `Loop.promote`.
            RecordError: As `Loop.promote`.
        """
        told = self._tracer.started("dwell promote", {"dwell.is_forced": force})
        with self._failing(told):
            live = self._loop.promote(params, force=force, now=now)
        self._tracer.ended(told, lambda: {"dwell.params_version": live.version})
        return live

    def rollback(self, to: int | None = None, *, now: float | None = None) -> Params:
        """Return what `Loop.rollback` does, in a span `dwell rollback`.

        Raises:
            NothingToRollBackError: As `Loop.rollback`.
        """
        told = self._tracer.started("dwell rollback", {})
        with self._failing(told):
            live = self._loop.rollback(to, now=now)
        self._tracer.ended(told, lambda: {"dwell.params_version": live.version})
        return live

    def close(self) -> None:
        """Close the loop, as `Loop.close`."""
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- what is told

    @contextlib.contextmanager
    def _failing(self, *told: _Told) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            for one in told:
                self._tracer.ended(one, error=error)
            raise

    def _retrieval(self, query: object, k: object) -> _Told:
        attributes: dict[str, Any] = {names.OPERATION: names.RETRIEVAL}
        if self._source is not None:
            attributes[names.DATA_SOURCE] = self._source
        if k is not None:
            attributes[names.TOP_K] = k
        if self._tells_text:
            attributes[names.QUERY_TEXT] = query
        name = names.RETRIEVAL if self._source is None else f"{names.RETRIEVAL} {self._source}"
        return self._tracer.started(name, attributes)

    def _of_served(self, served: Served) -> _Attributes:
        told: dict[str, Any] = {
            names.DWELL_EVENT_ID: served.event_id,
            "dwell.params_version": served.params_version,
            "dwell.n_served": len(served.ids),
        }
        if served.fallback is not None:
            told["dwell.fallback"] = served.fallback
        if self._tells_documents:
            scores = served.scores.tolist()
            # no attribute of a span holds objects yet: the conventions have JSON text for that
            told[names.DOCUMENTS] = json.dumps(
                [
                    {"id": doc, "score": score} if math.isfinite(score) else {"id": doc}
                    for doc, score in zip(served.ids, scores, strict=True)
                ]
            )
        return told

    def _evaluation(self, event_id: object) -> _Told:
        if not isinstance(event_id, str):
            return _Told(None)  # the loop refuses it, and no span is about it
        return self._tracer.started("dwell feedback", {names.DWELL_EVENT_ID: event_id}, about=event_id)

    def _begun(self, items: object) -> list[tuple[_Told, Any, tuple[Any, Any, Any]]]:
        """Return a span for each item, its list, and what is said; an item may be anything, and is answered anyway."""
        begun: list[tuple[_Told, Any, tuple[Any, Any, Any]]] = []
        with contextlib.suppress(Exception):
            for item in items:  # type: ignore[attr-defined]
                told: Mapping[str, Any] = item if isinstance(item, Mapping) else {}
                what = (told.get("signal"), told.get("doc"), told.get("value", 1.0))
                begun.append((self._evaluation(told.get("event_id")), told.get("event_id"), what))
        return begun

    def _end_all(self, begun: Sequence[tuple[_Told, Any, tuple[Any, Any, Any]]], answers: Sequence[Feedback]) -> None:
        for (told, event_id, what), answer in zip(begun, answers, strict=False):
            self._end_evaluation(told, event_id, what, answer)

    def _end_evaluation(self, told: _Told, event_id: str, what: tuple[Any, str | None, Any], answer: Feedback) -> None:
        def attributes() -> _Attributes:
            signal, doc, value = what
            found: dict[str, Any] = {
                names.EVALUATION_NAME: signal,
                names.EVALUATION_VALUE: float(value),
                names.DWELL_EVENT_ID: event_id,
                "dwell.feedback.status": answer.status,
            }
            if doc is not None and self._tells_documents:
                found[names.DWELL_DOCUMENT] = doc
            if answer.status == "rejected":
                found["dwell.feedback.reason"] = (answer.reason or "unknown").partition(":")[0]
            return found

        self._tracer.ended(told, attributes, event=names.EVALUATION)


def _of_report(report: TrainReport) -> _Attributes:
    return {
        "dwell.train.ended_by": report.ended_by,
        "dwell.train.n_steps": report.n_steps,
        "dwell.train.n_closed": report.n_closed,
        "dwell.train.n_learned_from": report.n_learned_from,
        "dwell.train.step_norm": report.step_norm,
        "dwell.params_version": report.live.version,
        **_of_decision(report.decision),
    }


def _of_decision(decision: GateDecision) -> _Attributes:
    found: dict[str, Any] = {
        "dwell.gate.verdict": decision.verdict,
        "dwell.gate.reasons": list(decision.reasons),
        "dwell.gate.kind": decision.kind,
        "dwell.gate.proposed_version": decision.proposed_version,
        "dwell.gate.safe_version": decision.safe_version,
        "dwell.gate.n": decision.difference.n,
    }
    for name in ("value", "low", "high"):  # infinite where there is no evidence: left out, as JSON has no such number
        number = float(getattr(decision.difference, name))
        if math.isfinite(number):
            found[f"dwell.gate.difference.{name}"] = number
    return found
