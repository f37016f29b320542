"""Retrievals of a process that is traced already, recorded as its spans end: no other code of it changes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from dwell.errors import DwellError
from dwell.integrations.otel import joining, names, reading
from dwell.integrations.otel.records import OtelReport, Refusal, Span, SpanEvaluation, SpanEvent
from dwell.integrations.ubi.fields import UnreadableField
from dwell.integrations.ubi.importing import outcome_of
from dwell.loop import Loop
from dwell.records import Feedback, checks

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["RetrievalCapture"]

CAPACITY: Final = 2_048  # as the SDK's own batch processor: spans that wait
_MOST: Final = 10_000  # lists remembered, and evaluations that wait for theirs
_WAIT_S: Final = 60.0  # an evaluation in a child ends before its list's span does; a retriever takes no minute
_LISTED: Final = 1_000  # refusals that a report holds, and names of unknown evaluations
_LOOK_S: Final = 5.0  # how often evaluations that wait are looked through while no span ends


class _Waiting(NamedTuple):
    """An evaluation whose list is not known yet.

    Attributes:
        until: Monotonic seconds at which nobody waits any longer.
        signal: What it is to the loop.
        evaluation: The evaluation.
        is_asked: Whether the store was asked for its list.
    """

    until: float
    signal: str
    evaluation: SpanEvaluation
    is_asked: bool = False


class RetrievalCapture:
    """A span processor, and a log record processor, that records retrievals into a loop and joins evaluations.

    `provider.add_span_processor(RetrievalCapture(loop))` is all there is to do. Ending a span costs its thread a look
    at the names of its attributes; the rest happens in a thread of its own, and nothing is ever raised into the
    process. What can not be used is counted: see `report`.

    Args:
        loop: Open as the owner of its store; it stays the caller's to close, after the provider's shutdown.
        signals: {name of an evaluation: signal of the loop's rewards, or a `dwell.integrations.scores.Meaning` where
            labels or numbers are to be worth something else, None to ignore it}; where its own name is not the
            signal's.
        id_key: Where a document has no id, the key of its metadata that is one.
        features: Gives the registered features of documents; without it they are looked for among the numbers that a
            span tells of a document, its `score` included.
        capacity: Spans that may wait, >= 1; one more is counted as `overloaded` and lost.

    Raises:
        ConfigError: `signals` names a signal that the rewards do not declare.
        RecordError: `capacity` is no whole number in its range.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        signals: Mapping[str, object] | None = None,
        id_key: str | None = None,
        features: joining.Features | None = None,
        capacity: int = CAPACITY,
    ) -> None:
        self._loop = loop
        self._signals = joining.check_signals(signals, loop.rewards.signals)
        self._id_key = id_key
        self._features = features
        self._capacity = checks.positive_integer(capacity, "capacity")
        self._queue: deque[Callable[[], Span]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_busy = False
        self._is_over = False
        self._counts: dict[str, Counter[str]] = {
            name: Counter() for name in ("items", "noted", "refused", "feedback", "unknown", "left_out")
        }
        self._quarantined: list[Refusal] = []
        self._lists: OrderedDict[str, str] = OrderedDict()  # {span: event}, the newest last
        self._waiting: deque[_Waiting] = deque()
        self._answers: list[Future[Feedback]] = []

    # ---- what OpenTelemetry calls

    def on_start(self, span: object, parent_context: object = None) -> None:
        """Do nothing: a span is looked at when it has ended."""

    def _on_ending(self, span: object) -> None:
        """Do nothing; the SDK calls it."""

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span that concerns retrievals; never raises, never waits for the disk."""
        with contextlib.suppress(Exception):
            is_told = any(map(reading.concerns, span.attributes or {}))
            if is_told or any(event.name == names.EVALUATION for event in span.events):
                self._put(lambda: _of_span(span))

    def on_emit(self, log_record: Any) -> None:  # noqa: ANN401 - the SDK's class has another name in every other version
        """Take a log record that is an evaluation; never raises, never waits for the disk."""
        with contextlib.suppress(Exception):
            record = getattr(log_record, "log_record", log_record)
            if record.event_name == names.EVALUATION:
                self._put(lambda: _of_record(record))

    def enabled(self, *, event_name: str | None = None, **_: object) -> bool:
        """Return whether a log record of this name could be wanted; the SDK asks."""
        return event_name in {None, names.EVALUATION}

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return whether every span that ended before is on disk, waiting for it at most so long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and not self._is_busy, timeout_millis / 1_000.0)

    def shutdown(self) -> None:
        """Record what waits, within 5 seconds, and take nothing more."""
        self.force_flush(5_000)
        with self._changed:
            self._is_over = True
            self._counts["left_out"]["of_another_span"] += len(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()

    @property
    def report(self) -> OtelReport:
        """What was found and done so far; lists count once the loop has taken them."""
        with self._changed:
            counts = {name: {k: n for k, n in sorted(found.items()) if n} for name, found in self._counts.items()}
            items = self._counts["items"]
            return OtelReport(
                n_spans=items["spans"],
                n_quarantined=items["quarantined"],
                quarantined=tuple(self._quarantined),
                noted=counts["noted"],
                n_lists=items["lists"],
                n_lists_without_features=items["bare"],
                refused_lists=counts["refused"],
                feedback=counts["feedback"],
                unknown_evaluations=counts["unknown"],
                left_out=counts["left_out"],
            )

    # ---- the queue

    def _put(self, made: Callable[[], Span]) -> None:
        with self._changed:
            if self._is_over or len(self._queue) >= self._capacity:
                self._counts["left_out"]["after_shutdown" if self._is_over else "overloaded"] += 1
                return
            self._queue.append(made)
            if self._thread is None or not self._thread.is_alive():  # the first one, or the first one after a fork
                self._thread = threading.Thread(target=self._work, name="dwell-otel-capture", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._queue) or self._is_over, _LOOK_S if self._waiting else None)
                if self._is_over and not self._queue:
                    return
                batch = list(self._queue)
                self._queue.clear()
                self._is_busy = True
            for made in batch:
                with self._refusing():
                    self._take(made())
            with self._refusing():
                self._settle()
            for answer in self._answers:
                self._count("feedback", outcome_of(answer.result()))
            self._answers.clear()

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Count what goes wrong: it must neither reach the process nor end the thread."""
        try:
            yield
        except DwellError as error:
            self._count("refused", error.code)
        except Exception as error:  # noqa: BLE001 - spans, and whoever gives the features, may do anything
            self._count("refused", f"internal:{type(error).__name__}")

    def _count(self, name: str, what: str, n: int = 1) -> None:
        with self._changed:
            self._counts[name][what] += n

    # ---- one span

    def _take(self, span: Span) -> None:
        self._count("items", "spans")
        own = reading.own_event_of(span)
        if own is not None and reading.is_retrieval(span):
            self._count("left_out", "own")
            self._remember(span.id, own)
        elif reading.is_retrieval(span):
            try:
                self._record(span)
            except UnreadableField as error:
                self._quarantine(error)
        self._take_evaluations(span)

    def _record(self, span: Span) -> None:
        """Hand a list to the loop.

        Raises:
            UnreadableField: There is none to be made of it.
        """
        noted: Counter[str] = Counter()
        retrieval = reading.retrieval_of(span, noted, id_key=self._id_key)
        columns = self._loop.feature_columns
        results = joining.results_of(retrieval, columns, self._features)
        self._loop.log_retrieval(
            retrieval.query,
            results,
            user=retrieval.user,
            segment=retrieval.segment,
            event_id=retrieval.event_id,
            now=retrieval.at,
        )
        self._remember(span.id, retrieval.event_id)
        for name, n in noted.items():
            self._count("noted", name, n)
        self._count("items", "lists")
        if not columns or any(name not in row for row in results for name in columns):
            self._count("items", "bare")

    def _remember(self, span_id: str, event_id: str) -> None:
        self._lists[span_id] = event_id
        while len(self._lists) > _MOST:
            self._lists.popitem(last=False)

    def _quarantine(self, error: UnreadableField) -> None:
        with self._changed:
            self._counts["items"]["quarantined"] += 1
            if len(self._quarantined) < _LISTED:
                self._quarantined.append(Refusal(self._counts["items"]["spans"] - 1, error.pointer, error.reason))

    # ---- evaluations

    def _take_evaluations(self, span: Span) -> None:
        told = reading.evaluations_of(span)
        self._count("left_out", "no_score", told.n_without_score)
        self._count("left_out", "own", told.n_own)
        for error in told.unreadable:
            self._quarantine(error)
        for one in told.found:
            try:
                joined = joining.signal_of(one, self._loop.rewards.signals, self._signals)
            except UnreadableField as error:
                self._quarantine(error)
                continue
            if not isinstance(joined, str):
                self._waiting.append(_Waiting(time.monotonic() + _WAIT_S, *joined))
                if len(self._waiting) > _MOST:
                    self._waiting.popleft()
                    self._count("left_out", "overloaded")
            elif joined != "unknown":
                self._count("left_out", joined)
            else:
                with self._changed:
                    unknown = self._counts["unknown"]
                    unknown[one.name if one.name in unknown or len(unknown) < _LISTED else "(others)"] += 1

    def _settle(self) -> None:
        """Send the evaluations whose list is known by now; the store is asked for the others once."""
        new = [t for one in self._waiting if not one.is_asked for t in one.evaluation.targets if t not in self._lists]
        held = self._loop.recorded(new)  # waits until what was logged is on disk, too
        for _ in range(len(self._waiting)):
            one = self._waiting.popleft()
            known = (self._lists.get(t) or (t if t in held else None) for t in one.evaluation.targets)
            event_id = next(filter(None, known), None)
            if event_id is not None:
                self._send(event_id, one.signal, one.evaluation)
            elif time.monotonic() < one.until:
                self._waiting.append(one._replace(is_asked=True))
            else:
                self._count("left_out", "of_another_span")

    def _send(self, event_id: str, signal: str, one: SpanEvaluation) -> None:
        self._answers.append(
            self._loop.submit_feedback(
                event_id,
                signal,
                doc=one.doc,
                value=cast("float", one.value),  # as its signal it has one
                at=one.at,
                idempotency_key=one.key,
            )
        )


def _of_span(span: ReadableSpan) -> Span:
    context = span.get_span_context()
    if context is None:
        raise UnreadableField("/traceId", "id: the span has no context")
    return Span(
        id=_id(context.trace_id, context.span_id),
        parent=None if span.parent is None else _id(span.parent.trace_id, span.parent.span_id),
        ended_at=(span.end_time or 0) / 1e9,
        attributes={name: value for name, value in (span.attributes or {}).items() if reading.concerns(name)},
        events=tuple(
            SpanEvent(event.name, event.timestamp / 1e9, dict(event.attributes or {}))
            for event in span.events
            if event.name == names.EVALUATION
        ),
        links=tuple(_id(link.context.trace_id, link.context.span_id) for link in span.links),
        n_dropped=span.dropped_attributes,
    )


def _of_record(record: Any) -> Span:  # noqa: ANN401 - see `on_emit`
    at = (record.timestamp or record.observed_timestamp or 0) / 1e9
    event = SpanEvent(names.EVALUATION, at, dict(record.attributes or {}))
    return Span(_id(record.trace_id or 0, record.span_id or 0), None, at, {}, (event,))


def _id(trace_id: int, span_id: int) -> str:
    return f"{trace_id:032x}:{span_id:016x}"
