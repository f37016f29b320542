"""Decoded JSON as queries and events: tolerant of what producers write, and never silent about it.

The official schemas 1.0 to 1.3 refuse their own enum values and every event of the official sample, so none of them is
the test here. What is read although no schema allows it is counted by name; what can not be read says where and why.
Source of the differences between the versions: the schemas `query.request` and `event` of User Behavior Insights.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from dwell.errors import RecordError
from dwell.integrations.ubi.fields import (
    UnreadableField,
    as_object,
    epoch_seconds,
    identifier_or_none,
    mapping_or_empty,
    object_id,
    ordinal,
    without_nulls,
)
from dwell.integrations.ubi.meanings import VALUE
from dwell.integrations.ubi.records import Kind, Refusal, UbiEvent, UbiQuery
from dwell.records import checks

__all__ = ["event_digest", "id_without_one", "kind_of", "read_event", "read_item", "read_query"]

MAX_HITS: Final = 10_000  # OpenSearch returns at most so many without scrolling (index.max_result_window)

_QUERY_KEYS: Final = frozenset(
    {
        "user_query",
        "query_id",
        "timestamp",
        "application",
        "client_id",
        "user_id",
        "query_response_hit_ids",
        "query_response_object_ids",
        "query_attributes",
    }
)
_EVENT_KEYS: Final = frozenset(
    {
        "action_name",
        "timestamp",
        "query_id",
        "application",
        "client_id",
        "user_id",
        "session_id",
        "user_query",
        "event_attributes",
    }
)


def kind_of(item: object) -> Kind | None:
    """Return what an item is: an event has an action, a query has a question and none; None for neither."""
    if not isinstance(item, Mapping):
        return None
    if item.get("action_name") is not None:
        return "events"
    return "queries" if item.get("user_query") is not None else None


def read_item(
    item: object, kind: Kind, index: int, noted: Counter[str], *, source: str = ""
) -> UbiQuery | UbiEvent | Refusal:
    """Return one decoded item as a record, or why it can not be read; never raises on anything that JSON can hold.

    Args:
        item: Decoded JSON.
        kind: What it should be.
        index: Its place in what was given, for the refusal.
        noted: Counts what was normalised; untouched by an item that is refused.
        source: Where it stands, for the refusal.
    """
    seen: Counter[str] = Counter()
    try:
        cleaned = without_nulls(as_object(item), seen)
        record = read_query(cleaned, seen) if kind == "queries" else read_event(cleaned, seen)
    except UnreadableField as error:
        return Refusal(index, error.pointer, error.reason, source)
    noted.update(seen)
    return record


def read_query(item: Mapping[str, Any], noted: Counter[str]) -> UbiQuery:
    """Return a query from an object without nulls.

    Raises:
        UnreadableField: `user_query` is missing, or a known field is not what it should be.
    """
    if "user_query" not in item:
        raise UnreadableField("/user_query", "missing: a query has what the user asked")
    at = None
    if "timestamp" in item:
        at = epoch_seconds(item["timestamp"], "/timestamp", noted)
    else:
        noted["no_timestamp"] += 1
    return UbiQuery(
        user_query=_text(item["user_query"], "/user_query"),
        query_id=identifier_or_none(item, "query_id", noted),
        at=at,
        application=identifier_or_none(item, "application", noted),
        client_id=identifier_or_none(item, "client_id", noted),
        user_id=identifier_or_none(item, "user_id", noted),
        hits=_hits(item, noted),
        attributes=mapping_or_empty(item, "query_attributes"),
        extra={key: value for key, value in item.items() if key not in _QUERY_KEYS},
    )


def read_event(item: Mapping[str, Any], noted: Counter[str]) -> UbiEvent:
    """Return an event from an object without nulls.

    Raises:
        UnreadableField: `action_name` or `timestamp` is missing, or a known field is not what it should be.
    """
    for key, what in (("action_name", "an event has a name"), ("timestamp", "an event has an instant")):
        if key not in item:
            raise UnreadableField(f"/{key}", f"missing: {what}")
    action = identifier_or_none(item, "action_name", noted)
    if action is None:
        raise UnreadableField("/action_name", "missing: an event has a name")
    attributes = mapping_or_empty(item, "event_attributes")
    thing = mapping_or_empty(attributes, "object", "/event_attributes")
    position = mapping_or_empty(attributes, "position", "/event_attributes")
    identity = None
    if thing.get("object_id") not in (None, ""):
        identity = object_id(thing["object_id"], "/event_attributes/object/object_id", noted)
    else:
        noted["no_object_id"] += 1
    place = None
    if "ordinal" in position:
        place = ordinal(position["ordinal"], "/event_attributes/position/ordinal", noted)
    else:
        noted["no_ordinal"] += 1
    user_query = item.get("user_query")
    return UbiEvent(
        action_name=action,
        at=epoch_seconds(item["timestamp"], "/timestamp", noted),
        query_id=identifier_or_none(item, "query_id", noted),
        application=identifier_or_none(item, "application", noted),
        client_id=identifier_or_none(item, "client_id", noted),
        user_id=identifier_or_none(item, "user_id", noted),
        session_id=identifier_or_none(item, "session_id", noted),
        user_query=None if user_query is None else _text(user_query, "/user_query"),
        object_id=identity,
        ordinal=place,
        xy=_xy(position, noted),
        attributes=attributes,
        extra={key: value for key, value in item.items() if key not in _EVENT_KEYS},
    )


def event_digest(event: UbiEvent) -> str:
    """Return 32 hex digits that are the same for the same action of a client on an object of a list at an instant.

    A collector that retries, or adds keys of its own, does not make a second reaction of it.
    """
    parts = [event.query_id, event.action_name, event.object_id, repr(event.at), event.client_id, event.user_id]
    if VALUE in event.attributes:
        parts.append(repr(event.attributes[VALUE])[:100])
    text = "\0".join("\1" if part is None else part for part in parts)  # ids hold no control characters
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def id_without_one(query: UbiQuery) -> str:
    """Return an id for a query that has none, the same whenever it comes again."""
    text = "\0".join((query.user_query, repr(query.at), query.user or "", *query.hits))
    return f"ubi:{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"


def _text(value: object, where: str) -> str:
    try:
        return checks.query_text(value, where)
    except RecordError as error:
        raise UnreadableField(where, f"{error.code}: {error.message}") from error


def _hits(item: Mapping[str, Any], noted: Counter[str]) -> tuple[str, ...]:
    key = "query_response_hit_ids"
    if key not in item and "query_response_object_ids" in item:
        key = "query_response_object_ids"
        noted["old_hit_ids_name"] += 1
    if key not in item:
        return ()
    given = item[key]
    where = f"/{key}"
    if not isinstance(given, list):
        raise UnreadableField(where, "type: an array of ids is due here")
    if len(given) > MAX_HITS:
        raise UnreadableField(where, f"too_many: at most {MAX_HITS} hits are read")
    hits = dict.fromkeys(object_id(hit, f"{where}/{i}", noted) for i, hit in enumerate(given))
    if len(hits) < len(given):
        noted["repeated_hit"] += len(given) - len(hits)
    return tuple(hits)


def _xy(position: Mapping[str, Any], noted: Counter[str]) -> tuple[float, float] | None:
    nested = position.get("xy")
    holder = nested if isinstance(nested, Mapping) else position
    x, y = holder.get("x"), holder.get("y")
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e9 for v in (x, y)):
        return None
    if holder is position:
        noted["xy_flat"] += 1
    return float(x), float(y)  # type: ignore[arg-type]
