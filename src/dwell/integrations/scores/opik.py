"""Opik: feedback scores of traces and spans, by the user's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from dwell.integrations.scores.records import Page, Reader, Score
from dwell.integrations.scores.telling import EVENT_KEY, WEEK_S, distinct, instant, mapping, moment, text, windows

__all__ = ["opik_scores"]

_MOST: Final = 1_000  # traces hold what models were told: some ten megabytes at once


def opik_scores(
    client: Any,  # noqa: ANN401 - opik.Opik
    project: str,
    *,
    event_key: str = EVENT_KEY,
    document_key: str = "document_id",
    event_of: Callable[[Any], str | None] | None = None,
    lookback_s: float = WEEK_S,
    most_at_once: int = _MOST,
) -> Reader:
    """Return a reader of the feedback scores of a project's traces and spans. `since` is the start of a trace or span.

    A score is about the event that the metadata of its trace or span names (`event_key`), else about the one whose id
    is the span's or the trace's. Opik tells no id of a score: it is known again by its trace or span, its name, and its
    value. Of several people's scores of one name Opik tells the mean.

    Args:
        client: An `opik.Opik` of yours.
        project: Its name.
        event_key: Key of a trace's or span's metadata that holds the event id.
        document_key: Key of it that holds the document; for spans alone.
        event_of: Gives the event id of a trace or span that you know better, None where you do not.
        lookback_s: How much later than its trace's start a score may come; the next import begins so long before.
        most_at_once: Traces and spans to hold in memory at once.
    """

    def fetch(start: float, end: float, most: int) -> Sequence[Any]:
        within = f'start_time >= "{_told(start)}" AND start_time < "{_told(end)}"'
        found = list(client.search_traces(project_name=project, filter_string=within, max_results=most))
        return [*found, *client.search_spans(project_name=project, filter_string=within, max_results=most)]

    def pages(names: Sequence[str], since: float | None, until: float, following: str | None) -> Iterator[Page]:
        for found, after in windows(since, until, following, fetch, most_at_once):
            scores = [
                _score(one, score, event_key, document_key, event_of)
                for one in found
                for score in one.feedback_scores or ()
                if score.name in names
            ]
            yield Page(scores, (), after)

    return Reader("opik", pages, lookback_s)


def _told(at: float) -> str:
    return moment(at).isoformat().replace("+00:00", "Z")


def _score(
    one: Any,  # noqa: ANN401 - a trace or a span of Opik's
    told: Any,  # noqa: ANN401 - a feedback score of it
    event_key: str,
    document_key: str,
    event_of: Callable[[Any], str | None] | None,
) -> Score:
    metadata = mapping(one.metadata)
    trace = getattr(one, "trace_id", None)  # a trace has none
    better = None if event_of is None else event_of(one)
    at = told.last_updated_at or told.created_at or one.end_time or one.start_time
    return Score(
        id=f"{one.id}:{told.name}",
        name=told.name,
        value=told.value,
        label=text(told.category_name),
        at=instant(at),
        targets=distinct((better, metadata.get(event_key), f"{trace}:{one.id}" if trace else None, one.id, trace)),
        doc=None if trace is None else text(metadata.get(document_key)),
        is_models=getattr(told, "source", None) == "online_scoring",
    )
