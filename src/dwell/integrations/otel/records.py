"""What spans tell of retrievals and of what was thought of them, as frozen values, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from dwell.integrations.ubi.records import Refusal

__all__ = ["Document", "OtelReport", "Refusal", "Span", "SpanEvaluation", "SpanEvent", "SpanRetrieval"]


class SpanEvent(NamedTuple):
    """What happened within a span.

    Attributes:
        name: Its name.
        at: When, UTC epoch seconds.
        attributes: Names to plain values.
    """

    name: str
    at: float
    attributes: Mapping[str, object]


class Span(NamedTuple):
    """A finished span, whoever told of it; a log record that belongs to one is a span's event alone.

    Attributes:
        id: `trace_id:span_id` in lowercase hex: the event id of a list made of it.
        parent: The same of its parent, or None.
        ended_at: UTC epoch seconds.
        attributes: Names to plain values: text, numbers, truths, lists, mappings.
        events: In the order told.
        links: As `id`, of the spans that it names.
        n_dropped: Attributes that its tracer left out, for want of room.
    """

    id: str
    parent: str | None
    ended_at: float
    attributes: Mapping[str, object]
    events: tuple[SpanEvent, ...] = ()
    links: tuple[str, ...] = ()
    n_dropped: int = 0


class Document(NamedTuple):
    """One document of a list, without its text.

    Attributes:
        id: Its id.
        score: What its retriever gave it, or None.
        numbers: {name: finite number} of whatever else is told of it; features are looked for here.
    """

    id: str
    score: float | None
    numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRetrieval:
    """A list that a traced retriever returned.

    Attributes:
        event_id: `trace_id:span_id`.
        query: What was asked; "" where it is not told.
        at: When it was served, UTC epoch seconds.
        documents: In the order returned, at least one.
        user: Who asked, or None.
        segment: Group of queries, or None.
    """

    event_id: str
    query: str
    at: float
    documents: tuple[Document, ...]
    user: str | None = None
    segment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanEvaluation:
    """What somebody, or something, thought of what a span did.

    Attributes:
        targets: Spans that it may be about, the likeliest first.
        name: Of what was measured; a signal where the rewards declare one of that name.
        value: The score, or None; once it is known which signal it is, that signal's value.
        at: When, UTC epoch seconds.
        doc: The document that it is about, or None for the whole list.
        key: The same whenever the same evaluation comes again.
        label: The score as a word, or None.
    """

    targets: tuple[str, ...]
    name: str
    value: float | None
    at: float
    doc: str | None
    key: str
    label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtelReport:
    """What an import, or a capture so far, found and did.

    Attributes:
        n_spans: Spans and log records that could be read, those that concern nobody here included.
        n_quarantined: Items that could not be read, or retrievals of which no list can be made.
        quarantined: The first 1,000 of them.
        noted: {name: how often} of what is missing or odd in what was taken.
        n_lists: Lists recorded now.
        n_lists_known: Lists that the store had already.
        n_lists_without_features: Of those recorded now, the ones that nothing can be learned from.
        refused_lists: {code: lists that the loop refused}.
        feedback: {what became of an evaluation: how many}.
        unknown_evaluations: {name: how many} that no signal is declared for.
        left_out: {reason: how many} evaluations and lists that were understood and have no place here.
    """

    n_spans: int = 0
    n_quarantined: int = 0
    quarantined: tuple[Refusal, ...] = ()
    noted: Mapping[str, int] = field(default_factory=dict)
    n_lists: int = 0
    n_lists_known: int = 0
    n_lists_without_features: int = 0
    refused_lists: Mapping[str, int] = field(default_factory=dict)
    feedback: Mapping[str, int] = field(default_factory=dict)
    unknown_evaluations: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
