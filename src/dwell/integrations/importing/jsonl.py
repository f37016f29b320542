"""One JSON object a line: what `log_retrieval` and `log_feedback` write down, and what `Loop.export` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dwell.integrations.importing.exported import NEVER_SHOWN, aggregated, note_chances
from dwell.integrations.importing.reading import (
    Format,
    Reading,
    digest_of,
    event_id_of,
    items_of_lines,
    list_of,
    number,
    object_of,
    text_or_none,
)
from dwell.integrations.importing.records import Item, Told
from dwell.integrations.ubi.fields import UnreadableField
from dwell.loop.imported import DrawnElsewhere, ToldList, ToldReaction

__all__ = ["JSONL", "read"]


def read(item: Item, reading: Reading) -> Iterator[Told]:
    """Yield what one object tells: a list, a reaction, or an exported experience with its reactions.

    Raises:
        UnreadableField: It is none of these, or a field of it can not be read.
    """
    found = object_of(item)
    if "results_served" in found:
        yield from _experience(found, reading)
    elif "results" in found:
        yield _list(found, reading)
    elif "signal" in found:
        yield from _reaction(found, reading)
    elif "feedback_signals" in found or "signals" in found:
        yield from _signals(found, reading)
    else:
        raise UnreadableField(
            "", "kind: neither a list (results), a reaction (signal), nor an exported experience (results_served)"
        )


def _list(found: Mapping[str, Any], reading: Reading) -> ToldList:
    results = _results(list_of(found["results"], "/results"), "/results")
    drawn = None
    candidates = found.get("candidates")
    if candidates is not None:
        rows = _results(list_of(candidates, "/candidates"), "/candidates")
        if len(results) == 1 and any(row.get("probability") is not None for row in rows):
            chances = [row.get("probability") for row in rows]
            drawn = DrawnElsewhere(_doc(results[0], "/results/0"), chances)
            results = rows
        else:
            reading.left_out["candidates"] += 1
    return ToldList(
        event_id=event_id_of(found.get("event_id"), "/event_id"),
        at=reading.at(found.get("timestamp"), "/timestamp"),
        query=_query(found),
        results=results,
        user=_user(found),
        segment=text_or_none(found.get("segment"), "/segment"),
        query_embedding=found.get("query_embedding") or None,
        drawn=drawn,
    )


def _query(found: Mapping[str, Any]) -> str:
    query = found.get("query", "")
    if not isinstance(query, str):
        raise UnreadableField("/query", "type: text is due here")
    return query


def _user(found: Mapping[str, Any]) -> str | None:
    name = "user" if found.get("user") is not None else "user_id"
    return text_or_none(found.get(name), f"/{name}")


def _doc(row: Mapping[str, Any], pointer: str) -> str:
    doc = text_or_none(row.get("id", row.get("memory_id")), f"{pointer}/id")
    if doc is None:
        raise UnreadableField(f"{pointer}/id", "missing: a document has an id")
    return doc


def _results(given: list[Any], pointer: str) -> list[dict[str, Any]]:
    """Return results with text as ids and with features beside them, where they stand in an object of their own."""
    found = []
    for i, row in enumerate(given):
        if type(row) is not dict and not isinstance(row, Mapping):
            raise UnreadableField(f"{pointer}/{i}", "type: an object is due here")
        features = row.get("features")
        flat = {**row, **features} if isinstance(features, Mapping) else {**row}
        doc = row.get("id", row.get("memory_id"))
        flat["id"] = doc if type(doc) is str else _doc(row, f"{pointer}/{i}")
        found.append(
            {key: value for key, value in flat.items() if value is not None} if None in flat.values() else flat
        )
    return found


def _reaction(found: Mapping[str, Any], reading: Reading) -> Iterator[ToldReaction]:
    name = found["signal"]
    if not isinstance(name, str):
        raise UnreadableField("/signal", "type: text is due here")
    event_id = event_id_of(found.get("event_id"), "/event_id")
    doc = text_or_none(found.get("doc", found.get("id", found.get("memory_id"))), "/doc")
    value = number(found.get("value", 1.0), "/value")
    when = "at" if found.get("at") is not None else "timestamp"
    at = reading.at(found.get(when), f"/{when}")
    key = text_or_none(found.get("idempotency_key"), "/idempotency_key")
    signal = reading.signal(name)
    if signal is not None:
        # without an instant of its own it is known by what it says: said twice, it counts once
        key = key or f"log:{digest_of(event_id, signal, doc, value, found.get(when))}"
        yield ToldReaction(event_id=event_id, signal=signal, at=at, key=key, doc=doc, value=value, user=_user(found))


def _signals(found: Mapping[str, Any], reading: Reading) -> Iterator[ToldReaction]:
    name = "signals" if "signals" in found else "feedback_signals"
    signals = found[name]
    if not isinstance(signals, Mapping):
        raise UnreadableField(f"/{name}", "type: an object {signal: value} is due here")
    whole = {key: value for key, value in found.items() if key not in {name, "idempotency_key"}}
    for signal, value in signals.items():
        yield from _reaction({**whole, "signal": signal, "value": value}, reading)


def _experience(found: Mapping[str, Any], reading: Reading) -> Iterator[Told]:
    """Yield an exported experience: the list, and each aggregated signal at the instant at which it was served."""
    if found.get("state") == NEVER_SHOWN:
        reading.left_out["never_shown"] += 1
        return
    listed = _list(
        {**{k: v for k, v in found.items() if k != "candidates"}, "results": found["results_served"]}, reading
    )
    note_chances(list_of(found.get("propensities") or [], "/propensities"), reading)
    yield listed
    by_document = found.get("document_signals") or {}
    overall = found.get("feedback_signals") or {}
    if not isinstance(by_document, Mapping) or not isinstance(overall, Mapping):
        raise UnreadableField("/document_signals", "type: objects of signals are due here")
    told: set[str] = set()
    for doc, signals in by_document.items():
        if not isinstance(signals, Mapping):
            raise UnreadableField("/document_signals", "type: an object {signal: value} is due here")
        told |= signals.keys()
        yield from aggregated(listed, signals, doc, reading)
    yield from aggregated(listed, {name: value for name, value in overall.items() if name not in told}, None, reading)


JSONL: Final = Format(items_of_lines, read)
