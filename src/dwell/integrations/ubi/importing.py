"""Searches and reactions that were logged elsewhere, into a loop: lists in time order, then what users did."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

from dwell.errors import RecordError, StorageError
from dwell.integrations.ubi import meanings, ordinals
from dwell.integrations.ubi.lines import Found, read_file
from dwell.integrations.ubi.lists import Named, choose, lists_of, name_lists, names_of, safe_event_id
from dwell.integrations.ubi.reading import id_without_one, read_item
from dwell.integrations.ubi.records import Kind, Refusal, UbiEvent, UbiQuery, UbiReport
from dwell.integrations.ubi.spool import Reaction, Spool
from dwell.loop import Loop
from dwell.loop.recorded import RecordedList
from dwell.records import Feedback, checks

__all__ = ["MAX_SKEW_S", "Features", "import_ubi", "import_ubi_files", "outcome_of", "recorded_of"]

# (question, document ids) -> one mapping of every registered feature per document
Features = Callable[[str, Sequence[str]], Sequence[Mapping[str, float]]]

MAX_SKEW_S: Final = 300.0  # what clocks may be wrong by: design, section 4, has it for the future
MAX_LISTED: Final = 1_000  # refusals that a report holds; all are counted
_MAX_ACTIONS: Final = 1_000  # names of unknown actions that are counted apart, so that strangers can not fill memory
_BATCH: Final = 500  # query ids looked up at once, lists and reactions that wait for one commit
_BATCH_DOCUMENTS: Final = 50_000  # documents in lists that wait for one commit: the writer's queue holds 64 MB


@dataclass(slots=True)
class _Import:
    """One import under way."""

    loop: Loop
    spool: Spool
    overrides: Mapping[str, str | None]
    bases: Mapping[str, ordinals.Base]
    max_skew_s: float
    now: float
    features: Features | None
    on_progress: Callable[[int], None]
    counts: Counter[str] = field(default_factory=Counter)
    normalised: Counter[str] = field(default_factory=Counter)
    seen_bases: dict[str, Counter[str]] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    feedback: Counter[str] = field(default_factory=Counter)
    quarantined: list[Refusal] = field(default_factory=list)
    erased: dict[str, bool] = field(default_factory=dict)

    def run(self, found: Iterable[tuple[str, Found]]) -> UbiReport:
        """Read, put in order, record and send; return the report."""
        for n, (source, one) in enumerate(found, start=1):
            self._take(one, source)
            self.on_progress(n)
        self.spool.index()
        for application, lowest in self.spool.lowest_places():
            base = ordinals.observed_base([lowest])
            self.seen_bases.setdefault(application, Counter())[ordinals.counted(base)] += 1
        for ids in self.spool.ids(_BATCH):
            known = recorded_of(self.loop, ids)
            for query_id in ids:
                self._arrange(query_id, known[query_id])
        self._record()
        self._send()
        return self._report()

    # ---- read

    def _take(self, one: Found, source: str) -> None:
        record = self._read(one, source)
        if isinstance(record, Refusal):
            self.counts["quarantined"] += 1
            if len(self.quarantined) < MAX_LISTED:
                self.quarantined.append(record)
        elif isinstance(record, UbiQuery):
            self.counts["queries"] += 1
            self.spool.add_query(record, record.query_id or id_without_one(record))
        else:
            self.counts["events"] += 1
            self._take_event(record)

    def _read(self, one: Found, source: str) -> UbiQuery | UbiEvent | Refusal:
        if isinstance(one.item, Refusal):
            return Refusal(one.place, one.item.pointer, one.item.reason, source)
        if one.kind is None:
            return Refusal(one.place, "", "kind: neither a query (user_query) nor an event (action_name)", source)
        noted: Counter[str] = Counter()
        record = read_item(one.item, one.kind, one.place, noted, source=source)
        if not isinstance(record, Refusal) and record.at is not None and record.at > self.now + MAX_SKEW_S:
            return Refusal(one.place, "/timestamp", "future: more than 5 minutes from now", source)
        self.normalised.update(noted)
        return record

    def _take_event(self, event: UbiEvent) -> None:
        self.counts["without_query_id"] += event.query_id is None
        meaning = meanings.meaning_of(event.action_name, self.loop.rewards.signals, self.overrides)
        if meaning.kind == "unknown":
            is_room = event.action_name in self.unknown or len(self.unknown) < _MAX_ACTIONS
            self.unknown[event.action_name if is_room else "(others)"] += 1
        value = meanings.value_of(event, meaning.signal) if meaning.kind == "signal" else None
        if meaning.kind == "signal" and value is None:
            self.feedback["no_value"] += 1
        signal = meaning.signal if value is not None else ""
        self.spool.add_event(event, is_shown=meaning.kind == "shown", signal=signal, value=value)

    # ---- put in order

    def _arrange(self, query_id: str, known: Sequence[RecordedList]) -> None:
        """Decide which lists one query id has and which of them each of its reactions belongs to."""
        queries = self.spool.queries(query_id)
        impressions = self.spool.impressions(query_id)
        if queries or known:
            self.counts["joins"] += self.spool.n_events_of(query_id)
        lists = lists_of(queries, impressions, self._base(impressions))
        first_event_at = impressions[0].at if impressions else self.now
        named, n_nameless = name_lists(query_id, lists, known, first_event_at)
        self.refused["too_many_lists"] += n_nameless
        self.counts["split"] += len(lists) > 1
        self.counts["without_list"] += bool(queries) and not named
        for one in lists:
            self.counts["rebuilt"] += one.is_rebuilt
            self.counts["gaps"] += one.n_gaps
        new = [one for one in named if one.new is not None]
        self.counts["known"] += len(lists) - len(new) - n_nameless
        kept = {one.event_id for one in named} - {one.event_id for one in new if self._add_list(one) is False}
        self._arrange_reactions(query_id, named, kept)

    def _add_list(self, one: Named) -> bool:
        if one.new is None or self._is_erased(one.new.user):
            return False
        self.spool.add_list(one.event_id, one.at, one.new)
        return True

    def _base(self, impressions: Sequence[UbiEvent]) -> ordinals.Base | None:
        application = next((e.application for e in impressions if e.application), None)
        observed = ordinals.observed_base(e.ordinal for e in impressions if e.ordinal is not None)
        return ordinals.resolve(application, observed, self.bases, self.seen_bases)

    def _arrange_reactions(self, query_id: str, named: Sequence[Named], kept: set[str]) -> None:
        for object_id, at, user, signal, value, digest in self.spool.reactions(query_id):
            chosen = choose(object_id, at, named) if named else None
            delay_s = 0.0 if chosen is None else chosen.delay_s
            self.counts["negative"] += delay_s < 0.0
            if delay_s < -self.max_skew_s:
                self.counts["too_early"] += 1
                continue
            if not signal or value is None:
                continue
            event_id = safe_event_id(query_id) if chosen is None else chosen.event_id
            if self._is_erased(user) or (chosen is not None and event_id not in kept):
                continue
            received_at = at - min(delay_s, 0.0)
            self.spool.add_reaction(Reaction(event_id, signal, object_id, value, at, received_at, f"ubi:{digest}"))

    def _is_erased(self, user: str | None) -> bool:
        if user is None:
            return False
        if user not in self.erased:
            if len(self.erased) >= 100_000:
                self.erased.clear()
            self.erased[user] = self.loop.is_erased(user)
        self.counts["erased"] += self.erased[user]
        return self.erased[user]

    # ---- record and send

    def _record(self) -> None:
        waiting: list[str] = []
        n_documents = 0
        for event_id, at, new in self.spool.lists():
            try:
                results = self._results(new.query, new.documents)
                self.loop.log_retrieval(
                    new.query, results, user=new.user, segment=new.segment, event_id=event_id, now=at
                )
            except RecordError as error:
                self.refused[error.code] += 1
                continue
            waiting.append(event_id)
            n_documents += len(new.documents)
            if len(waiting) >= _BATCH or n_documents >= _BATCH_DOCUMENTS:
                self._wait_for(waiting)
                waiting, n_documents = [], 0
        self._wait_for(waiting)

    def _results(self, query: str, documents: Sequence[str]) -> list[dict[str, Any]]:
        if self.features is None:
            return [{"id": doc} for doc in documents]
        return [{"id": doc, **row} for doc, row in zip(documents, self.features(query, documents), strict=True)]

    def _wait_for(self, event_ids: Sequence[str]) -> None:
        """Wait until lists are durable.

        Raises:
            StorageError: The store did not take them all; what is there stays, and importing again goes on from it.
        """
        n_stored = len(self.loop.recorded(event_ids))
        self.counts["lists"] += n_stored
        if n_stored != len(event_ids):
            raise StorageError(
                f"{len(event_ids) - n_stored} lists could not be stored",
                code="not_stored",
                hint="Look for free space and permissions, then import again: what is there is not taken twice.",
            )

    def _send(self) -> None:
        waiting: list[Future[Feedback]] = []
        for one in self.spool.reactions_to_send():
            waiting.append(
                self.loop.submit_feedback(
                    one.event_id,
                    one.signal,
                    doc=one.doc,
                    value=one.value,
                    at=one.at,
                    idempotency_key=one.key,
                    now=one.received_at,
                )
            )
            if len(waiting) >= _BATCH:
                self._note(waiting)
                waiting = []
        self._note(waiting)

    def _note(self, answers: Sequence[Future[Feedback]]) -> None:
        for answer in answers:
            self.feedback[outcome_of(answer.result())] += 1

    def _report(self) -> UbiReport:
        counts = self.counts
        return UbiReport(
            n_queries=counts["queries"],
            n_events=counts["events"],
            n_quarantined=counts["quarantined"],
            quarantined=tuple(self.quarantined),
            normalised=_sorted(self.normalised),
            n_duplicates=self.spool.n_duplicates(),
            n_joins=counts["joins"],
            n_without_query_id=counts["without_query_id"],
            n_negative_delays=counts["negative"],
            n_too_early=counts["too_early"],
            ordinal_bases={name: _sorted(bases) for name, bases in sorted(self.seen_bases.items())},
            n_repeated_query_ids=self.spool.n_repeated_ids(),
            n_split_query_ids=counts["split"],
            n_lists=counts["lists"],
            n_lists_known=counts["known"],
            n_lists_without_features=counts["lists"] if self.features is None else 0,
            n_lists_rebuilt=counts["rebuilt"],
            n_rebuilt_gaps=counts["gaps"],
            n_queries_without_list=counts["without_list"],
            refused_lists=_sorted(self.refused),
            feedback=_sorted(self.feedback),
            unknown_actions=_sorted(self.unknown),
            n_erased=counts["erased"],
        )


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: n for name, n in sorted(counts.items()) if n}


def outcome_of(answer: Feedback) -> str:
    """Return the status of an answer, with the code of its reason where it was rejected."""
    if answer.status != "rejected":
        return answer.status
    return f"rejected:{(answer.reason or 'unknown').partition(':')[0]}"


def recorded_of(loop: Loop, query_ids: Sequence[str]) -> dict[str, list[RecordedList]]:
    """Return the lists that a store holds under the names of each query id, in the order of the names."""
    found: dict[str, list[RecordedList]] = {query_id: [] for query_id in query_ids}
    names = {query_id: names_of(query_id) for query_id in found}
    asked = list(found)
    while asked:
        wanted = {query_id: next(names[query_id], "") for query_id in asked}
        held = loop.recorded([name for name in wanted.values() if name])
        asked = [query_id for query_id in asked if wanted[query_id] in held]
        for query_id in asked:
            found[query_id].append(held[wanted[query_id]])
    return found


def import_ubi(
    loop: Loop,
    queries: Iterable[object],
    events: Iterable[object],
    *,
    actions: Mapping[str, str | None] | None = None,
    ordinal_base: Mapping[str, int] | int | None = None,
    max_skew_s: float = MAX_SKEW_S,
    features: Features | None = None,
    on_progress: Callable[[int], None] | None = None,
    now: float | None = None,
) -> UbiReport:
    """Record the lists that queries and impressions tell of, join what users did, and return what was found.

    Importing the same again changes nothing. What is held in memory does not grow with what is imported. Without
    `features` the lists are recorded, joined and counted, and nothing is learned from them.

    Args:
        loop: Open as the owner of its store.
        queries: Decoded JSON of the index `ubi_queries`.
        events: Decoded JSON of the index `ubi_events`, in any order.
        actions: {action: signal of the loop's rewards, "impression" for what was seen, None to ignore it}, where the
            action's own name is not the signal's.
        ordinal_base: 0 or 1, or {application: 0 or 1}; found per query where not given.
        max_skew_s: A reaction before its list by at most so much is credited when the list was served, which is the
            loop's rule for a clock that is wrong; an earlier one is left out and counted. Seconds, >= 0.
        features: Gives the registered features of documents, as they were when the list was served.
        on_progress: Called with the number of items read.
        now: Instants more than 5 minutes after it are refused.

    Raises:
        ConfigError: An override is wrong.
        RecordError: `max_skew_s` or `now` is no number in its range.
        StorageError: The store did not take the lists, or the loop is not its owner.
    """
    told = chain(_told(queries, "queries"), _told(events, "events"))
    return _run(
        loop,
        told,
        overrides=actions,
        ordinal_base=ordinal_base,
        max_skew_s=max_skew_s,
        features=features,
        on_progress=on_progress,
        now=now,
    )


def import_ubi_files(
    loop: Loop,
    paths: Iterable[Path],
    *,
    actions: Mapping[str, str | None] | None = None,
    ordinal_base: Mapping[str, int] | int | None = None,
    max_skew_s: float = MAX_SKEW_S,
    features: Features | None = None,
    on_progress: Callable[[int], None] | None = None,
    now: float | None = None,
) -> UbiReport:
    """Import files as `import_ubi` does; queries and events may stand in one file, in any order.

    A file holds JSON lines, OpenSearch bulk lines, search hits a line, or one JSON array. What an item is says the
    index that its bulk line names, else its content.

    Raises:
        ConfigError: A file can not be read, is no plain file or no text; or an override is wrong.
        RecordError: As `import_ubi`.
        StorageError: As `import_ubi`.
    """
    told = ((path.name, one) for path in paths for one in read_file(path))
    return _run(
        loop,
        told,
        overrides=actions,
        ordinal_base=ordinal_base,
        max_skew_s=max_skew_s,
        features=features,
        on_progress=on_progress,
        now=now,
    )


def _told(items: Iterable[object], kind: Kind) -> Iterator[tuple[str, Found]]:
    yield from ((kind, Found(kind, item, index)) for index, item in enumerate(items))


def _run(
    loop: Loop,
    told: Iterable[tuple[str, Found]],
    *,
    overrides: Mapping[str, str | None] | None,
    ordinal_base: Mapping[str, int] | int | None,
    max_skew_s: float,
    features: Features | None,
    on_progress: Callable[[int], None] | None,
    now: float | None,
) -> UbiReport:
    moment = time.time() if now is None else checks.timestamp(now, "now")
    with closing(Spool()) as spool:
        return _Import(
            loop=loop,
            spool=spool,
            overrides=meanings.check_actions(overrides, loop.rewards.signals),
            bases=ordinals.check_bases(ordinal_base),
            max_skew_s=checks.within(max_skew_s, "max_skew_s", 0.0, checks.MAX_TIMESTAMP_S),
            now=moment,
            features=features,
            on_progress=on_progress or (lambda _: None),
        ).run(told)
