"""Phoenix: annotations of spans, by the user's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from dwell.integrations.scores.records import Page, Reader, Score
from dwell.integrations.scores.telling import EVENT_KEY, WEEK_S, distinct, instant, mapping, moment, text, windows

__all__ = ["phoenix_scores"]

_MOST: Final = 1_000  # spans hold what models were told: some ten megabytes at once
_OWN: Final = "dwell.event_id"  # what `dwell.integrations.otel.traced` writes on its spans


def phoenix_scores(
    client: Any,  # noqa: ANN401 - phoenix.client.Client
    project: str,
    *,
    event_key: str = EVENT_KEY,
    document_key: str = "document_id",
    event_of: Callable[[Mapping[str, Any]], str | None] | None = None,
    lookback_s: float = WEEK_S,
    most_at_once: int = _MOST,
) -> Reader:
    """Return a reader of the annotations of a project's spans. `since` is the start of a span, not of its annotation.

    An annotation is about the event that its metadata names (`event_key`), else the span's: its attribute
    `dwell.event_id` or its metadata, or `trace_id:span_id`; else, where the trace holds one retrieval alone, that one;
    else the trace's id. So thumbs on the root of a trace find the list below it.

    Args:
        client: A `phoenix.client.Client` of yours.
        project: Its name or id.
        event_key: Key of an annotation's or span's metadata that holds the event id.
        document_key: Key of an annotation's metadata that holds the document it is about.
        event_of: Gives the event id of an annotation that you know better, None where you do not.
        lookback_s: How much later than its span's start an annotation may come; the next import begins so long before.
        most_at_once: Spans to hold in memory at once.
    """

    def fetch(start: float, end: float, most: int) -> Sequence[Mapping[str, Any]]:
        spans: Sequence[Mapping[str, Any]] = client.spans.get_spans(
            project_identifier=project, start_time=moment(start), end_time=moment(end), limit=most
        )
        return spans

    def pages(names: Sequence[str], since: float | None, until: float, following: str | None) -> Iterator[Page]:
        for spans, after in windows(since, until, following, fetch, most_at_once):
            told = (
                client.spans.get_span_annotations(
                    spans=spans, project_identifier=project, include_annotation_names=list(names)
                )
                if spans
                else []
            )
            known = _events_of(spans, event_key)
            scores, unreadable = [], []
            for one in told:
                try:
                    scores.append(_score(one, known, event_key, document_key, event_of))
                except (KeyError, TypeError, ValueError) as error:
                    unreadable.append(("", f"malformed: {type(error).__name__}"))
            yield Page(scores, unreadable, after)

    return Reader("phoenix", pages, lookback_s)


def _events_of(spans: Sequence[Mapping[str, Any]], event_key: str) -> dict[str, tuple[str, ...]]:
    """Return {span id: event ids that its annotations may be about}."""
    own: dict[str, tuple[str, ...]] = {}
    traces: dict[str, str] = {}
    retrievals: dict[str, list[str]] = {}
    for span in spans:
        trace, span_id = span["context"]["trace_id"], span["context"]["span_id"]
        attributes = mapping(span.get("attributes"))
        named = distinct((attributes.get(_OWN), _inner(attributes, "metadata", event_key)))
        traces[span_id] = trace
        own[span_id] = (*named, f"{trace}:{span_id}")
        if named or span.get("span_kind") == "RETRIEVER":
            retrievals.setdefault(trace, []).append(own[span_id][0])
    found = {}
    for span_id, trace in traces.items():
        alone = retrievals.get(trace, []) if len(set(retrievals.get(trace, []))) == 1 else []
        found[span_id] = distinct((*own[span_id], *alone, trace))
    return found


def _inner(attributes: Mapping[str, object], name: str, key: str) -> object:
    """Return an attribute of an attribute, however it is told: as one name, as JSON text, or as an object."""
    return attributes.get(f"{name}.{key}", mapping(attributes.get(name)).get(key))


def _score(
    told: Mapping[str, Any],
    known: Mapping[str, tuple[str, ...]],
    event_key: str,
    document_key: str,
    event_of: Callable[[Mapping[str, Any]], str | None] | None,
) -> Score:
    metadata = mapping(told.get("metadata"))
    result = mapping(told.get("result"))
    score = result.get("score")
    better = None if event_of is None else event_of(told)
    return Score(
        id=told["id"],
        name=told["name"],
        value=score if isinstance(score, int | float) else None,
        label=text(result.get("label")),
        at=instant(told["updated_at"]),
        targets=distinct((better, metadata.get(event_key), *known.get(told["span_id"], ()))),
        doc=text(metadata.get(document_key)),
        is_models=told.get("annotator_kind") == "LLM",
    )
