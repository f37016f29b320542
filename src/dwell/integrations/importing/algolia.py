"""Algolia: events of its Insights API, and the searches that they belong to.

An event names its search by `queryID`; which documents a search showed stands in its response, or in the search log.
Source: Algolia's Insights REST API, "Send events", and the methods of search-insights.js 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from dwell.integrations.importing.reading import (
    Format,
    Reading,
    digest_of,
    event_id_of,
    items_of_lines,
    list_of,
    numbers_of,
    object_of,
    text,
    text_or_none,
)
from dwell.integrations.importing.records import Item, Told
from dwell.integrations.ubi.fields import UnreadableField
from dwell.integrations.ubi.lines import decoded
from dwell.loop.imported import ToldList, ToldReaction

__all__ = ["ALGOLIA"]

# methods of search-insights.js by what they send
_METHODS: Final = {
    "clickedObjectIDsAfterSearch": ("click", None),
    "clickedObjectIDs": ("click", None),
    "convertedObjectIDsAfterSearch": ("conversion", None),
    "convertedObjectIDs": ("conversion", None),
    "addedToCartObjectIDsAfterSearch": ("conversion", "addToCart"),
    "addedToCartObjectIDs": ("conversion", "addToCart"),
    "purchasedObjectIDsAfterSearch": ("conversion", "purchase"),
    "purchasedObjectIDs": ("conversion", "purchase"),
    "viewedObjectIDs": ("view", None),
}
_SPELLINGS: Final = {"addToCart": "add_to_cart", "purchase": "purchase", "conversion": "convert"}


def _read(item: Item, reading: Reading) -> Iterator[Told]:
    given = _called(item)
    for pointer, found in _parts(given):
        if "eventType" in found:
            yield from _event(found, reading, pointer)
        elif "hits" in found or "objectIDs" in found:
            yield from _search(found, reading, pointer)
        elif "answer" in found:
            yield from _logged(found, reading)
        else:
            raise UnreadableField(
                pointer, "kind: neither an event (eventType), a search (queryID, hits) nor a log's entry (answer)"
            )


def _called(item: Item) -> Mapping[str, Any]:
    """Return an item as an object: a call of search-insights.js, [method, payload], as the event that it sends."""
    value = item.value
    if isinstance(value, bytes) and value.lstrip().startswith(b"["):
        call = decoded_or_refused(value, "")
        if isinstance(call, list) and len(call) == 2 and isinstance(call[1], Mapping):
            known = _METHODS.get(str(call[0]))
            if known is None:
                raise UnreadableField("/0", "kind: this method tells nothing of documents")
            kind, subtype = known
            return {**call[1], "eventType": kind, **({} if subtype is None else {"eventSubtype": subtype})}
    return object_of(item)


def decoded_or_refused(value: bytes | str, pointer: str) -> object:
    """Return decoded JSON.

    Raises:
        UnreadableField: It is none.
    """
    try:
        return decoded(value)
    except ValueError as error:
        raise UnreadableField(pointer, "malformed_json: this is no JSON; the log may have cut it off") from error


def _parts(found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what one object holds: the events of a request, the answers of several searches, or itself."""
    for name in ("events", "results"):
        if isinstance(found.get(name), list) and "queryID" not in found:
            for i, one in enumerate(found[name]):
                if not isinstance(one, Mapping):
                    raise UnreadableField(f"/{name}/{i}", "type: an object is due here")
                outer = {key: found[key] for key in ("userToken", "timestamp") if key in found}
                yield f"/{name}/{i}", {**outer, **one}
            return
    yield "", found


def _logged(found: Mapping[str, Any], reading: Reading) -> Iterator[Told]:
    """Yield the searches of one entry of the search log: its answer is JSON in text."""
    answer = decoded_or_refused(text(found.get("answer"), "/answer"), "/answer")
    if not isinstance(answer, Mapping):
        raise UnreadableField("/answer", "type: an object is due here")
    asked = found.get("query_body")
    told = decoded_or_refused(asked, "/query_body") if isinstance(asked, str) and asked else {}
    outer: dict[str, Any] = {"timestamp": found.get("timestamp")}
    if isinstance(told, Mapping):
        outer |= {key: told[key] for key in ("userToken", "params", "query") if isinstance(told.get(key), str)}
    for pointer, one in _parts(answer):
        if "hits" in one:
            yield from _search({**outer, **one}, reading, f"/answer{pointer}")
        else:
            reading.left_out["other_calls"] += 1


def _search(found: Mapping[str, Any], reading: Reading, pointer: str) -> Iterator[Told]:
    if found.get("queryID") is None:
        reading.left_out["searches_without_query_id"] += 1
        return
    rows = []
    for i, hit in enumerate(list_of(found.get("hits", found.get("objectIDs")), f"{pointer}/hits")):
        where = f"{pointer}/hits/{i}"
        row = hit if isinstance(hit, Mapping) else {"objectID": hit}
        info = row.get("_rankingInfo")
        numbers = numbers_of(row)
        if isinstance(info, Mapping):
            numbers |= {f"_rankingInfo.{key}": value for key, value in numbers_of(info).items()}
        known = {name: value for name, value in numbers.items() if name in reading.features}
        rows.append({**known, "id": text(row.get("objectID"), f"{where}/objectID")})
    if not rows:
        reading.left_out["searches_without_hits"] += 1
        return
    params = parse_qs(found["params"]) if isinstance(found.get("params"), str) else {}
    query = found.get("query", next(iter(params.get("query", ())), ""))
    token = found.get("userToken", next(iter(params.get("userToken", ())), None))
    yield ToldList(
        event_id=event_id_of(found["queryID"], f"{pointer}/queryID"),
        at=reading.at(found.get("timestamp"), f"{pointer}/timestamp"),
        query=query if isinstance(query, str) else "",
        results=rows,
        user=text_or_none(token, f"{pointer}/userToken"),
    )


def _event(found: Mapping[str, Any], reading: Reading, pointer: str) -> Iterator[Told]:
    kind = text(found["eventType"], f"{pointer}/eventType")
    subtype = text_or_none(found.get("eventSubtype"), f"{pointer}/eventSubtype")
    if kind == "view" and "view" not in reading.overrides:
        reading.left_out["views"] += 1  # that a document was seen is no opinion of it
        return
    data = found.get("objectData")
    each = data if isinstance(data, list) else []
    query_ids = [one.get("queryID") if isinstance(one, Mapping) else None for one in each]
    docs = list_of(found.get("objectIDs"), f"{pointer}/objectIDs") if "objectIDs" in found else []
    if not docs:
        reading.left_out["events_without_objects"] += 1
        return
    at = reading.at(found.get("timestamp"), f"{pointer}/timestamp")
    name = text_or_none(found.get("eventName"), f"{pointer}/eventName")
    user = text_or_none(found.get("userToken"), f"{pointer}/userToken")
    named = name if name in reading.overrides else None
    signal = reading.signal(named, subtype and _SPELLINGS.get(subtype, subtype), _SPELLINGS.get(kind, kind))
    for i, given in enumerate(docs):
        doc = text(given, f"{pointer}/objectIDs/{i}")
        query_id = found.get("queryID") or (query_ids[i] if i < len(query_ids) else None)
        if query_id is None:
            reading.left_out["events_without_query_id"] += 1
        elif signal is not None:
            event_id = event_id_of(query_id, f"{pointer}/queryID")
            key = f"algolia:{digest_of(event_id, kind, subtype, name, doc, user, found.get('timestamp'))}"
            yield ToldReaction(event_id=event_id, signal=signal, at=at, key=key, doc=doc, user=user)


ALGOLIA: Final = Format(items_of_lines, _read)
