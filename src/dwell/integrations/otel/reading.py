"""Spans as lists and evaluations: both dialects, tolerant of what tracers leave out, and never silent about it."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from dwell.errors import RecordError
from dwell.integrations.otel import names
from dwell.integrations.otel.records import Document, Span, SpanEvaluation, SpanRetrieval
from dwell.integrations.ubi.fields import UnreadableField, identifier_or_none, object_id
from dwell.integrations.ubi.lines import decoded
from dwell.records import checks

__all__ = ["Evaluations", "concerns", "evaluations_of", "is_retrieval", "own_event_of", "retrieval_of"]

MAX_DOCUMENTS: Final = 10_000  # as for User Behavior Insights: what a search engine returns at most
_DOCUMENT: Final = re.compile(r"retrieval\.documents\.(\d{1,9})\.document\.(id|score|metadata)")
_OPINION: Final = re.compile(r"(?:annotations|evaluations)\.(\d{1,9})\.(?:annotation|evaluation)\.(\w+)")
_OPINIONS: Final = ("annotations.", "evaluations.")
_MANY: Final = (*_OPINIONS, "retrieval.documents.")
_READ: Final = frozenset(
    {
        names.OPERATION,
        names.QUERY_TEXT,
        names.DOCUMENTS,
        names.EVALUATION_LABEL,
        names.EVALUATION_NAME,
        names.EVALUATION_VALUE,
        names.OPENINFERENCE_KIND,
        names.INPUT_VALUE,
        names.DWELL_EVENT_ID,
        names.DWELL_DOCUMENT,
        names.DWELL_SEGMENT,
        *names.USERS,
    }
)


def concerns(name: str) -> bool:
    """Return whether an attribute of this name is looked at; texts of OpenInference's documents are not."""
    if name in _READ:
        return True
    return name.startswith(_MANY) and (name.startswith(_OPINIONS) or _DOCUMENT.fullmatch(name) is not None)


def is_retrieval(span: Span) -> bool:
    """Return whether a span is a retriever's, in either dialect."""
    return _is_genai(span) or span.attributes.get(names.OPENINFERENCE_KIND) == names.RETRIEVER


def own_event_of(span: Span) -> str | None:
    """Return the event that a span of `traced` is about: the loop has it already. None for everybody else's spans."""
    event_id = span.attributes.get(names.DWELL_EVENT_ID)
    return event_id if isinstance(event_id, str) else None


def _is_genai(span: Span) -> bool:
    return span.attributes.get(names.OPERATION) == names.RETRIEVAL


def retrieval_of(span: Span, noted: Counter[str], *, id_key: str | None = None) -> SpanRetrieval:
    """Return the list that a retriever's span tells of.

    Args:
        span: See `is_retrieval`.
        noted: Counts what is missing or odd in what is taken.
        id_key: Where a document has no id, the key of its metadata that is one.

    Raises:
        UnreadableField: No list can be made of it: no documents are told, one has no id, or a value is not what it
            should be.
    """
    seen: Counter[str] = Counter()
    where = names.QUERY_TEXT if _is_genai(span) else names.INPUT_VALUE
    documents = (
        _genai_documents(span, seen, id_key) if _is_genai(span) else _openinference_documents(span, seen, id_key)
    )
    if not documents:
        raise UnreadableField(f"/{names.DOCUMENTS}", "no_documents: the span tells of none; tracers have a switch")
    kept: dict[str, Document] = {}
    for one in documents:
        kept.setdefault(one.id, one)  # of a document told twice, as its chunks are, the first place counts
    if len(kept) < len(documents):
        seen["repeated_document"] += len(documents) - len(kept)
    if where not in span.attributes:
        seen["no_query"] += 1
    if any(one.score is None for one in documents):
        seen["no_score"] += 1
    users = (identifier_or_none(span.attributes, key, seen) for key in names.USERS)
    found = SpanRetrieval(
        event_id=span.id,
        query=_text(span.attributes.get(where, ""), f"/{where}"),
        at=span.ended_at,
        documents=tuple(kept.values()),
        user=next((user for user in users if user is not None), None),
        segment=identifier_or_none(span.attributes, names.DWELL_SEGMENT, seen),
    )
    noted.update(seen)
    return found


def _genai_documents(span: Span, noted: Counter[str], id_key: str | None) -> list[Document]:
    where = f"/{names.DOCUMENTS}"
    told = _from_json(span.attributes.get(names.DOCUMENTS), where)
    if told is None:
        return []
    if not isinstance(told, Sequence) or isinstance(told, str | bytes):
        raise UnreadableField(where, "type: an array of documents is due here")
    _check_number(len(told), where)
    documents = []
    for i, item in enumerate(told):
        one = _from_json(item, f"{where}/{i}")  # a list of texts is all that some tracers can tell
        if not isinstance(one, Mapping):
            raise UnreadableField(f"{where}/{i}", "type: an object is due here")
        documents.append(_document(one, one, f"{where}/{i}", noted, id_key))
    return documents


def _openinference_documents(span: Span, noted: Counter[str], id_key: str | None) -> list[Document]:
    told: dict[int, dict[str, object]] = {}
    for name, value in span.attributes.items():
        part = _DOCUMENT.fullmatch(name)
        if part is not None:
            told.setdefault(int(part[1]), {})[part[2]] = value
    where = "/retrieval.documents"
    _check_number(len(told), where)
    # a tracer that is full leaves out the oldest attributes: the list has a hole, or a document has lost its id
    if told and (span.n_dropped or max(told) != len(told) - 1):
        raise UnreadableField(
            where, "incomplete: the tracer left attributes out; raise its limit of attributes per span"
        )
    return [_document(told[i], {}, f"{where}/{i}", noted, id_key) for i in sorted(told)]


def _document(
    told: Mapping[str, object], own: Mapping[str, object], where: str, noted: Counter[str], id_key: str | None
) -> Document:
    metadata = _metadata(told.get("metadata"), noted)
    identity = told.get("id")
    if identity in (None, "") and id_key is not None:
        identity = metadata.get(id_key)
    if identity in (None, ""):
        raise UnreadableField(f"{where}/id", "no_id: a document has no id; name the key of its metadata that is one")
    score = told.get("score")
    number = None if score is None else _number(score, f"{where}/score")
    numbers = {**_numbers(metadata), **_numbers(own)}
    if number is not None:
        numbers["score"] = number
    return Document(object_id(identity, f"{where}/id", noted), number, numbers)


def _metadata(told: object, noted: Counter[str]) -> Mapping[str, object]:
    try:
        found = _from_json(told, "")
    except UnreadableField:
        noted["unreadable_metadata"] += 1
        return {}
    return found if isinstance(found, Mapping) else {}


def _numbers(told: Mapping[str, object]) -> dict[str, float]:
    """Return the finite numbers of an object; features are chosen among them, so the rest is nobody's loss."""
    found = {}
    for name, value in told.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                number = checks.finite(value, name)
            except RecordError:
                continue
            found[name] = number
    return found


def _check_number(n: int, where: str) -> None:
    if n > MAX_DOCUMENTS:
        raise UnreadableField(where, f"too_many: at most {MAX_DOCUMENTS} documents are read")


def _from_json(value: object, where: str) -> object:
    """Return what JSON text stands for; what is no text stands for itself."""
    if not isinstance(value, str):
        return value
    try:
        return decoded(value)
    except ValueError as error:
        raise UnreadableField(where, "malformed_json: JSON is due here") from error


def _number(value: object, where: str) -> float:
    try:
        return checks.finite(value, where)
    except RecordError as error:
        raise UnreadableField(where, f"{error.code}: {error.message}") from error


def _text(value: object, where: str) -> str:
    try:
        return checks.query_text(value, where)
    except RecordError as error:
        raise UnreadableField(where, f"{error.code}: {error.message}") from error


class Evaluations(NamedTuple):
    """What a span says of evaluations.

    Attributes:
        found: Those that have a name, and a score or a label.
        unreadable: Why others can not be read.
        n_without_score: Those with an explanation alone.
        n_own: Those that a loop told of itself.
    """

    found: list[SpanEvaluation]
    unreadable: list[UnreadableField]
    n_without_score: int
    n_own: int


def evaluations_of(span: Span) -> Evaluations:
    """Return what a span, or a log record in it, tells of evaluations: its own, of what it links to, of its parent."""
    result = Evaluations([], [], 0, 0)
    n_without_score = n_own = 0
    for told, at, where in _told(span):
        if names.DWELL_EVENT_ID in told:
            n_own += 1
        elif told.get(names.EVALUATION_VALUE) is None and _label(told) is None:
            n_without_score += 1
        else:
            try:
                result.found.append(_evaluation(span, told, at, where))
            except UnreadableField as error:
                result.unreadable.append(error)
    return result._replace(n_without_score=n_without_score, n_own=n_own)


def _told(span: Span) -> Iterator[tuple[Mapping[str, object], float, str]]:
    """Yield attributes of evaluations by OpenTelemetry's names, with their instant and place."""
    for i, event in enumerate(span.events):
        if event.name == names.EVALUATION:
            yield event.attributes, event.at, f"/events/{i}"
    opinions: dict[str, dict[str, object]] = {}
    for name, value in span.attributes.items():
        part = _OPINION.fullmatch(name) if name.startswith(_OPINIONS) else None
        if part is not None:
            opinions.setdefault(f"{name[0]}{part[1]}", {})[part[2]] = value
    for told in opinions.values():
        renamed = {
            names.EVALUATION_NAME: told.get("name"),
            names.EVALUATION_VALUE: told.get("score"),
            names.EVALUATION_LABEL: told.get("label"),
        }
        for key in ("identifier", "metadata"):
            if key in told:
                renamed[key] = told[key]
        yield renamed, span.ended_at, "/annotations"


def _evaluation(span: Span, told: Mapping[str, Any], at: float, where: str) -> SpanEvaluation:
    noted: Counter[str] = Counter()
    name = identifier_or_none(told, names.EVALUATION_NAME, noted, where)
    if name is None:
        raise UnreadableField(f"{where}/{names.EVALUATION_NAME}", "missing: an evaluation has a name")
    score, label = told.get(names.EVALUATION_VALUE), _label(told)
    value = None if score is None else _number(score, f"{where}/{names.EVALUATION_VALUE}")
    about = {**_metadata(told.get("metadata"), noted), **told}
    doc = about.get(names.DWELL_DOCUMENT)
    document = None if doc is None else object_id(doc, f"{where}/{names.DWELL_DOCUMENT}", noted)
    if not math.isfinite(at):
        raise UnreadableField(where, "timestamp: the instant is not finite")
    said = f"label:{label}" if value is None else repr(value)
    parts = (span.id, name, document or "", said, repr(at), str(told.get("identifier", ""))[:512])
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
    targets = dict.fromkeys((span.id, *span.links, *(() if span.parent is None else (span.parent,))))
    return SpanEvaluation(
        targets=tuple(targets), name=name, value=value, at=at, doc=document, key=f"otel:{digest}", label=label
    )


def _label(told: Mapping[str, object]) -> str | None:
    label = told.get(names.EVALUATION_LABEL)
    return label if isinstance(label, str) and label else None
