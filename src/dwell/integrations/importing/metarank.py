"""Events of Metarank: items, users, rankings and interactions, one JSON object a line.

Source: Metarank's "Event schema", version 0.7.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dwell.integrations.importing.reading import (
    Format,
    Reading,
    event_id_of,
    items_of_lines,
    list_of,
    numbers_of,
    object_of,
    text,
    text_or_none,
)
from dwell.integrations.importing.records import Item, Told
from dwell.integrations.importing.shelf import Shelf
from dwell.integrations.ubi.fields import UnreadableField
from dwell.loop.imported import ToldList, ToldReaction

__all__ = ["METARANK"]

_SPELLINGS: Final = {"cart": "add_to_cart", "like": "thumbs_up", "dislike": "thumbs_down"}


def _read(item: Item, reading: Reading) -> Iterator[Told]:
    found = object_of(item)
    kind = found.get("event")
    if kind == "item":
        _take_item(found, reading)
    elif kind == "ranking":
        yield _ranking(found, reading)
    elif kind == "interaction":
        yield from _interaction(found, reading)
    elif kind == "user":
        reading.left_out["user_fields"] += 1
    else:
        raise UnreadableField("/event", "kind: item, user, ranking or interaction is due here")


def _fields(found: Mapping[str, Any], pointer: str) -> dict[str, Any]:
    given = found.get("fields")
    if given is None:
        return {}
    fields = {}
    for i, one in enumerate(list_of(given, f"{pointer}/fields")):
        if not isinstance(one, Mapping) or not isinstance(one.get("name"), str):
            raise UnreadableField(f"{pointer}/fields/{i}", "type: an object with name and value is due here")
        fields[one["name"]] = one.get("value")
    return fields


def _shelf(reading: Reading) -> Shelf:
    if reading.kept is None:
        reading.kept = Shelf()
    found: Shelf = reading.kept
    return found


def _take_item(found: Mapping[str, Any], reading: Reading) -> None:
    """Keep the numbers of an item: a ranking after it has them as features."""
    name = text(found.get("item"), "/item")
    shelf = _shelf(reading)
    numbers = {key: value for key, value in numbers_of(_fields(found, "")).items() if key in reading.features}
    if numbers:
        shelf.put(name, {**shelf.get(name), **numbers})


def _ranking(found: Mapping[str, Any], reading: Reading) -> ToldList:
    results = []
    for i, one in enumerate(list_of(found.get("items"), "/items")):
        if not isinstance(one, Mapping):
            raise UnreadableField(f"/items/{i}", "type: an object is due here")
        doc = text(one.get("id"), f"/items/{i}/id")
        row: dict[str, Any] = {**_shelf(reading).get(doc), **numbers_of(_fields(one, f"/items/{i}")), "id": doc}
        row.pop("rank", None)
        if "score" not in reading.features:
            row.pop("score", None)
        results.append(row)
        if one.get("label") is not None:
            reading.left_out["labels"] += 1
    fields = _fields(found, "")
    query = fields.get("query")
    if not isinstance(query, str):
        query = json.dumps(fields, sort_keys=True, ensure_ascii=False) if fields else ""
    return ToldList(
        event_id=event_id_of(found.get("id"), "/id"),
        at=reading.at(found.get("timestamp"), "/timestamp"),
        query=query,
        results=results,
        user=text_or_none(found.get("user"), "/user"),
    )


def _interaction(found: Mapping[str, Any], reading: Reading) -> Iterator[ToldReaction]:
    kind = text(found.get("type"), "/type")
    if found.get("ranking") is None:
        reading.left_out["interactions_without_ranking"] += 1
        return
    event_id = event_id_of(found["ranking"], "/ranking")
    key = text(found.get("id"), "/id")
    at = reading.at(found.get("timestamp"), "/timestamp")
    signal = reading.signal(kind, _SPELLINGS.get(kind))
    if signal is None:
        return
    numbers = numbers_of(_fields(found, ""))
    value = numbers.get("value", numbers.get(signal))
    if value is None and signal == "dwell":
        reading.left_out["dwell_without_seconds"] += 1
        return
    yield ToldReaction(
        event_id=event_id,
        signal=signal,
        at=at,
        key=f"metarank:{key}"[:512],
        doc=text_or_none(found.get("item"), "/item"),
        value=1.0 if value is None else value,
        user=text_or_none(found.get("user"), "/user"),
    )


METARANK: Final = Format(items_of_lines, _read, is_stateful=True)
