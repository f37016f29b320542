"""Scores into a loop: page by page, each known again when it comes again, with a place to go on from."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from dwell.errors import ConfigError, DwellError, ServiceError, StorageError
from dwell.integrations.scores.meanings import Meaning, meanings_of, value_of
from dwell.integrations.scores.progress import Progress, keep_progress, kept_progress
from dwell.integrations.scores.records import Page, Reader, Score, ScoresReport
from dwell.integrations.ubi.fields import UnreadableField
from dwell.integrations.ubi.importing import outcome_of
from dwell.integrations.ubi.records import Refusal
from dwell.loop import Loop
from dwell.records import checks
from dwell.reward.provenance import named_by

__all__ = ["import_scores"]

_LISTED: Final = 1_000  # refusals that a report holds, as for OpenTelemetry
_MAX_SKEW_S: Final = 300.0  # design, section 4: what is further in the future is refused at import


def import_scores(
    loop: Loop,
    reader: Reader,
    scores: Mapping[str, object],
    *,
    since: float | None = None,
    progress: str | Path | None = None,
    on_progress: Callable[[int], None] | None = None,
    now: float | None = None,
) -> ScoresReport:
    """Give scores to the lists that they are about, and return what became of them; doing it again changes nothing.

    Args:
        loop: Open as the owner of its store.
        reader: Where they come from: `langfuse_scores(client)`, and its like.
        scores: {name of a score: name of the signal, a `Meaning`, or its fields as a mapping}. No others are read.
        since: Only what is not older, UTC epoch seconds; what a reader measures by it says the reader.
        progress: A file that keeps how far it went. Where it is there, `since` is what it says, and an import that was
            cut off goes on after its last page.
        on_progress: Called with the number of scores read, after each page.
        now: Scores that are more than 5 minutes later are refused.

    Raises:
        ConfigError: `scores` maps what is no signal, `reader` is no reader, or the file of progress is another's.
        RecordError: `since` or `now` is no instant.
        ServiceError: The source does not answer; what came before is recorded.
        StorageError: The loop is not the owner of its store.
    """
    if not callable(getattr(reader, "pages", None)):
        raise ConfigError(
            "a reader of scores is due here",
            field="reader",
            value=type(reader).__name__,
            hint="Give the client to its reader: langfuse_scores(client), phoenix_scores, opik_scores.",
        )
    meanings = meanings_of(scores, loop.rewards.signals)
    if not loop.is_recording:
        raise StorageError("this loop does not record", hint="Open the store as its owner.")
    moment = time.time() if now is None else checks.timestamp(now, "now")
    began = Progress(
        source=reader.source, since=None if since is None else checks.timestamp(since, "since"), until=moment
    )
    place = None if progress is None else Path(progress)
    if place is not None:
        began = kept_progress(place, reader.source) or began
        if began.following is None:
            began = replace(began, until=moment)
    taking = _Taking(loop, reader.source, meanings, moment + _MAX_SKEW_S)
    for page in _asked(reader, list(meanings), began):
        taking.take(page)
        if on_progress is not None:
            on_progress(taking.n_scores)
        if place is not None and page.following is not None:
            keep_progress(place, replace(began, following=page.following))
    next_since = max(began.until - reader.lookback_s, began.since or 0.0)
    if place is not None:
        keep_progress(place, Progress(source=reader.source, since=next_since, until=began.until))
    return taking.report(next_since)


def _asked(reader: Reader, names: list[str], began: Progress) -> Iterator[Page]:
    pages = reader.pages(names, began.since, began.until, began.following)
    while True:
        try:
            page = next(pages, None)
        except DwellError:
            raise
        except Exception as error:
            raise ServiceError(
                f"{reader.source} did not answer, or not with scores: {type(error).__name__}",
                code="source_failed",
                hint="What came before is recorded. Call again; with progress= it goes on from there.",
            ) from error
        if page is None:
            return
        yield page


class _Taking:
    """One import under way."""

    def __init__(self, loop: Loop, source: str, meanings: Mapping[str, Meaning], latest: float) -> None:
        self._loop = loop
        self._source = source
        self._meanings = meanings
        self._latest = latest
        self.n_scores = 0
        self._n_quarantined = 0
        self._quarantined: list[Refusal] = []
        self._feedback: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def take(self, page: Page) -> None:
        """Send what a page holds, in one commit."""
        for pointer, reason in page.unreadable:
            self.n_scores += 1
            self._refuse(pointer, reason)
        wanted = [(score, value) for score in page.scores if (value := self._value(score)) is not None]
        targets = dict.fromkeys(target for score, _ in wanted for target in score.targets)
        held = self._loop.recorded([target for target in targets if _is_event_id(target)])
        waiting = []
        for score, value in wanted:
            served = next((held[target] for target in score.targets if target in held), None)
            if served is None:
                self._left_out["unknown_list"] += 1
                continue
            waiting.append(
                self._loop.submit_feedback(
                    served.event_id,
                    named_by(self._meanings[score.name].signal, "agent" if score.is_models else "person"),
                    doc=score.doc,
                    value=value,
                    at=score.at,
                    # with the value: who changes a score changes a vote, who reads it again does nothing
                    idempotency_key=f"{self._source}:{score.id}:{value!r}"[:512],
                    now=max(score.at, served.served_at),
                )
            )
        for answer in waiting:
            self._feedback[outcome_of(answer.result())] += 1

    def _value(self, score: Score) -> float | None:
        """Return what a score is worth as its signal, or None where it is counted as something else."""
        self.n_scores += 1
        meaning = self._meanings.get(score.name)
        if meaning is None:
            self._left_out["ignored"] += 1
            return None
        if not score.targets:
            self._left_out["no_list"] += 1
            return None
        try:
            value = self._worth(score, meaning)
        except UnreadableField as error:
            self._refuse(error.pointer, error.reason)
            return None
        if isinstance(value, str):
            self._left_out[value] += 1
            return None
        return value

    def _worth(self, score: Score, meaning: Meaning) -> float | str:
        if score.at > self._latest:
            raise UnreadableField("/timestamp", "in_the_future: later than now by more than 5 minutes")
        return value_of(score, meaning)

    def _refuse(self, pointer: str, reason: str) -> None:
        if len(self._quarantined) < _LISTED:
            self._quarantined.append(Refusal(self.n_scores - 1, pointer, reason, self._source))
        self._n_quarantined += 1

    def report(self, next_since: float) -> ScoresReport:
        """Return what was found and done."""
        return ScoresReport(
            n_scores=self.n_scores,
            n_quarantined=self._n_quarantined,
            quarantined=tuple(self._quarantined),
            feedback=dict(self._feedback),
            left_out=dict(self._left_out),
            next_since=next_since,
        )


def _is_event_id(target: str) -> bool:
    try:
        checks.event_id(target)
    except DwellError:
        return False
    return True
