"""Traces that were written to files, into a loop: lists in time order, then what was thought of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, cast

from dwell.errors import RecordError, StorageError
from dwell.integrations.otel import joining, reading
from dwell.integrations.otel.otlp import items_of
from dwell.integrations.otel.records import OtelReport, Refusal, Span, SpanEvaluation, SpanRetrieval
from dwell.integrations.otel.spool import Spool
from dwell.integrations.scores.meanings import Meaning
from dwell.integrations.ubi.fields import UnreadableField
from dwell.integrations.ubi.importing import MAX_SKEW_S, outcome_of
from dwell.integrations.ubi.lines import read_file
from dwell.loop import Loop
from dwell.loop.recorded import RecordedList
from dwell.records import Feedback, checks

__all__ = ["import_otel", "import_otel_files"]

MAX_LISTED: Final = 1_000  # refusals that a report holds; all are counted
_MAX_NAMES: Final = 1_000  # names of unknown evaluations that are counted apart: strangers can not fill memory
_BATCH: Final = 500  # lists and reactions that wait for one commit
_BATCH_DOCUMENTS: Final = 50_000  # documents in lists that wait for one commit: the writer's queue holds 64 MB
# A line is one export of the collector, by default 8,192 spans; with texts of documents one has some kilobytes
_MAX_LINE_BYTES: Final = 67_108_864


class _Placed(NamedTuple):
    """Decoded JSON, or why there is none, and where it stands."""

    item: object
    place: int
    source: str


class _Known(NamedTuple):
    """What is known of the spans that a batch of evaluations may be about.

    Attributes:
        here: {span: when its list was served, and whether it is left out; None where none is told of here}.
        own: {one of those: the event that it is about}.
        held: Those events that the store has.
    """

    here: Mapping[str, tuple[float, bool] | None]
    own: Mapping[str, str]
    held: Mapping[str, RecordedList]


@dataclass(slots=True)
class _Import:
    """One import under way."""

    loop: Loop
    spool: Spool
    signals: Mapping[str, Meaning | None]
    id_key: str | None
    features: joining.Features | None
    max_skew_s: float
    now: float
    on_progress: Callable[[int], None]
    counts: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    feedback: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    quarantined: list[Refusal] = field(default_factory=list)

    def run(self, told: Iterable[_Placed]) -> OtelReport:
        """Read, put in order, record and send; return the report."""
        for n, one in enumerate(told, start=1):
            if isinstance(one.item, Refusal):
                self._refuse(one, one.item.pointer, one.item.reason)
            else:
                for found in items_of(one.item):
                    self._take(found, one)
            self.on_progress(n)
        self._record()
        for batch in self.spool.evaluations(_BATCH):
            self._send(batch)
        return self._report()

    # ---- read

    def _take(self, found: Span | UnreadableField | None, one: _Placed) -> None:
        if isinstance(found, UnreadableField):
            self._refuse(one, found.pointer, found.reason)
            return
        self.counts["spans"] += 1
        if found is None:
            return
        if found.ended_at > self.now + MAX_SKEW_S:
            self._refuse(one, "/endTimeUnixNano", "future: more than 5 minutes from now")
            return
        if reading.is_retrieval(found):
            self._take_list(found, one)
        self._take_evaluations(found, one)

    def _take_list(self, span: Span, one: _Placed) -> None:
        own = reading.own_event_of(span)
        if own is not None:
            self.left_out["own"] += 1
            self.spool.add_own(span.id, own)
            return
        try:
            retrieval = reading.retrieval_of(span, self.noted, id_key=self.id_key)
        except UnreadableField as error:
            self._refuse(one, error.pointer, error.reason)
            return
        self.noted["repeated_span"] += not self.spool.add_list(retrieval)

    def _take_evaluations(self, span: Span, one: _Placed) -> None:
        told = reading.evaluations_of(span)
        self.left_out["no_score"] += told.n_without_score
        self.left_out["own"] += told.n_own
        for error in told.unreadable:
            self._refuse(one, error.pointer, error.reason)
        for evaluation in told.found:
            try:
                joined = joining.signal_of(evaluation, self.loop.rewards.signals, self.signals)
            except UnreadableField as error:
                self._refuse(one, error.pointer, error.reason)
                continue
            if not isinstance(joined, str):
                self.spool.add_evaluation(joined[1], joined[0])
            elif joined != "unknown":
                self.left_out[joined] += 1
            else:
                is_room = evaluation.name in self.unknown or len(self.unknown) < _MAX_NAMES
                self.unknown[evaluation.name if is_room else "(others)"] += 1

    def _refuse(self, one: _Placed, pointer: str, reason: str) -> None:
        self.counts["quarantined"] += 1
        if len(self.quarantined) < MAX_LISTED:
            self.quarantined.append(Refusal(one.place, pointer, reason, one.source))

    # ---- record

    def _record(self) -> None:
        waiting: list[SpanRetrieval] = []
        n_documents = 0
        for one in self.spool.lists():
            if one.user is not None and self.loop.is_erased(one.user):
                self.left_out["erased"] += 1
                self.spool.leave_out(one.event_id)
                continue
            waiting.append(one)
            n_documents += len(one.documents)
            if len(waiting) >= _BATCH or n_documents >= _BATCH_DOCUMENTS:
                self._log(waiting)
                waiting, n_documents = [], 0
        self._log(waiting)

    def _log(self, lists: Sequence[SpanRetrieval]) -> None:
        """Record lists and wait until they are durable.

        Raises:
            StorageError: The store did not take them all; what is there stays, and importing again goes on from it.
        """
        known = self.loop.recorded([one.event_id for one in lists])
        new = []
        for one in lists:
            results = joining.results_of(one, self.loop.feature_columns, self.features)
            try:
                self.loop.log_retrieval(
                    one.query, results, user=one.user, segment=one.segment, event_id=one.event_id, now=one.at
                )
            except RecordError as error:
                self.refused[error.code] += 1
                if one.event_id not in known:
                    self.spool.leave_out(one.event_id)
                continue
            if one.event_id not in known:
                new.append(one.event_id)
                self.counts["bare"] += any(
                    name not in row for row in results for name in self.loop.feature_columns or ("",)
                )
        self.counts["known"] += len(known)
        n_stored = len(self.loop.recorded(new))
        self.counts["lists"] += n_stored
        if n_stored != len(new):
            raise StorageError(
                f"{len(new) - n_stored} lists could not be stored",
                code="not_stored",
                hint="Look for free space and permissions, then import again: what is there is not taken twice.",
            )

    # ---- send

    def _send(self, batch: Sequence[tuple[str, SpanEvaluation]]) -> None:
        # each target once: a span may link to 128 others, and hold thousands of evaluations
        here = {t: self.spool.served_at(t) for t in dict.fromkeys(t for _, one in batch for t in one.targets)}
        own = {t: self.spool.own_event(t) or t for t, found in here.items() if found is None}
        known = _Known(here, own, self.loop.recorded(list(dict.fromkeys(own.values()))))
        waiting: list[Future[Feedback]] = []
        for signal, one in batch:
            found = self._list_of(one, known)
            if isinstance(found, str):
                self.left_out[found] += 1
                continue
            event_id, served_at = found
            waiting.append(
                self.loop.submit_feedback(
                    event_id,
                    signal,
                    doc=one.doc,
                    value=cast("float", one.value),  # as its signal it has one
                    at=one.at,
                    idempotency_key=one.key,
                    now=max(one.at, served_at),
                )
            )
        for answer in waiting:
            self.feedback[outcome_of(answer.result())] += 1

    def _list_of(self, one: SpanEvaluation, known: _Known) -> tuple[str, float] | str:
        """Return which list an evaluation is about and when that was served, or why it is about none."""
        for target in one.targets:
            here = known.here[target]
            if here is not None and here[1]:
                return "of_a_list_left_out"
            event_id = target if here is not None else known.own[target]
            if here is None and event_id not in known.held:
                continue
            served_at = known.held[event_id].served_at if here is None else here[0]
            return "too_early" if one.at < served_at - self.max_skew_s else (event_id, served_at)
        return "of_another_span"

    def _report(self) -> OtelReport:
        counts = self.counts
        return OtelReport(
            n_spans=counts["spans"],
            n_quarantined=counts["quarantined"],
            quarantined=tuple(self.quarantined),
            noted=_sorted(self.noted),
            n_lists=counts["lists"],
            n_lists_known=counts["known"],
            n_lists_without_features=counts["bare"],
            refused_lists=_sorted(self.refused),
            feedback=_sorted(self.feedback),
            unknown_evaluations=_sorted(self.unknown),
            left_out=_sorted(self.left_out),
        )


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: n for name, n in sorted(counts.items()) if n}


def import_otel(
    loop: Loop,
    requests: Iterable[object],
    *,
    signals: Mapping[str, object] | None = None,
    id_key: str | None = None,
    features: joining.Features | None = None,
    max_skew_s: float = MAX_SKEW_S,
    on_progress: Callable[[int], None] | None = None,
    now: float | None = None,
) -> OtelReport:
    """Record the lists that traced retrievers returned, join evaluations with them, and return what was found.

    Importing the same again changes nothing. What is held in memory does not grow with what is imported, except for the
    lists' ids. Texts of documents are not kept.

    Args:
        loop: Open as the owner of its store.
        requests: Decoded JSON of OTLP: objects with `resourceSpans`, `resourceLogs` or both, in any order.
        signals: {name of an evaluation: signal of the loop's rewards, or a `dwell.integrations.scores.Meaning` where
            labels or numbers are to be worth something else, None to ignore it}; where its own name is not the
            signal's.
        id_key: Where a document has no id, the key of its metadata that is one.
        features: Gives the registered features of documents, as they were when the list was served; without it they are
            looked for among the numbers that a span tells of a document, its `score` included.
        max_skew_s: An evaluation before its list by at most so much counts, as if it came with the list; an earlier one
            is left out and counted. Seconds, >= 0.
        on_progress: Called with the number of requests read.
        now: Spans that ended more than 5 minutes after it are refused.

    Raises:
        ConfigError: `signals` names a signal that the rewards do not declare.
        RecordError: `max_skew_s` or `now` is no number in its range.
        StorageError: The store did not take the lists, or the loop is not its owner.
    """
    moment = time.time() if now is None else checks.timestamp(now, "now")
    told = (one if isinstance(one, _Placed) else _Placed(one, i, "") for i, one in enumerate(requests))
    with closing(Spool()) as spool:
        return _Import(
            loop=loop,
            spool=spool,
            signals=joining.check_signals(signals, loop.rewards.signals),
            id_key=id_key,
            features=features,
            max_skew_s=checks.within(max_skew_s, "max_skew_s", 0.0, checks.MAX_TIMESTAMP_S),
            now=moment,
            on_progress=on_progress or (lambda _: None),
        ).run(told)


def import_otel_files(
    loop: Loop,
    paths: Iterable[Path],
    *,
    signals: Mapping[str, object] | None = None,
    id_key: str | None = None,
    features: joining.Features | None = None,
    max_skew_s: float = MAX_SKEW_S,
    on_progress: Callable[[int], None] | None = None,
    now: float | None = None,
) -> OtelReport:
    """Import files as `import_otel` does: a request a line, as the collector's file exporter writes, or a JSON array.

    Raises:
        ConfigError: A file can not be read, is no plain file or no text; or `signals` is wrong.
        RecordError: As `import_otel`.
        StorageError: As `import_otel`.
    """
    told = (
        _Placed(one.item, one.place, path.name) for path in paths for one in read_file(path, most_bytes=_MAX_LINE_BYTES)
    )
    return import_otel(
        loop,
        told,
        signals=signals,
        id_key=id_key,
        features=features,
        max_skew_s=max_skew_s,
        on_progress=on_progress,
        now=now,
    )
