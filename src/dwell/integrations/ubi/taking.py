"""One request of a UBI collector, without HTTP: what was sent is read, recorded or joined, and answered."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dwell.errors import RecordError
from dwell.integrations.ubi import meanings
from dwell.integrations.ubi.importing import MAX_SKEW_S, outcome_of, recorded_of
from dwell.integrations.ubi.lines import Found, decoded, items_of_lines
from dwell.integrations.ubi.lists import Named, choose, lists_of, name_lists, safe_event_id
from dwell.integrations.ubi.reading import event_digest, id_without_one, read_item
from dwell.integrations.ubi.records import Kind, Refusal, UbiAnswer, UbiEvent, UbiQuery
from dwell.loop import Loop
from dwell.loop.recorded import RecordedList

__all__ = ["MAX_BODY_BYTES", "MAX_ITEMS", "take_ubi"]

MAX_ITEMS: Final = 1_000  # as for feedback: one commit, and an answer that can be read
MAX_BODY_BYTES: Final = 2_000_000  # as for feedback: 2 MB
_LINES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
_JSON: Final = frozenset({"application/json", "text/plain", "application/octet-stream", ""})  # text/plain: sendBeacon


def take_ubi(
    loop: Loop,
    kind: Kind,
    payload: bytes,
    content_type: str,
    *,
    trusted: bool,
    now: float,
    actions: Mapping[str, str | None] | None = None,
) -> UbiAnswer:
    """Return what became of the items of one request, once their commit is durable.

    An item that can not be read is quarantined, and the others are taken. Queries with hits are recorded as lists; a
    query without hits is accepted, and its list, which only impressions tell, is left to an import. An event whose list
    is not known yet is parked for 24 hours. What comes twice counts once.

    A sender that is not trusted (a public key, which everybody can read in a page) tells no lists: its queries are
    accepted and change nothing. Its events count where somebody trusted told the list and the list holds their object.

    Args:
        loop: Open as the owner of its store.
        kind: What is sent, by the path.
        payload: The body: an object, an array, or lines; at most 1,000 items and 2 MB.
        content_type: Its media type, parameters allowed; JSON, NDJSON, plain text, or "".
        trusted: Whether the sender holds a secret key.
        now: When it was received, UTC epoch seconds.
        actions: As in `import_ubi`.

    Raises:
        ConfigError: The map names a signal that the rewards do not declare.
        RecordError: code `too_large`, `unsupported_media_type` or `malformed_json`: nothing was taken.
        StorageError: The store can not be read or waited for.
    """
    noted: Counter[str] = Counter()
    overrides = meanings.check_actions(actions, loop.rewards.signals)
    refused: list[Refusal] = []
    queries: list[UbiQuery] = []
    events: list[UbiEvent] = []
    for one in _items(payload, content_type):
        record = _read(one, kind, noted, now)
        if isinstance(record, Refusal):
            refused.append(record)
        elif isinstance(record, UbiQuery):
            queries.append(record)
        else:
            events.append(record)
    outcomes: Counter[str] = Counter()
    _take_queries(loop, queries, outcomes, trusted=trusted, now=now)
    _take_events(loop, events, outcomes, overrides, trusted=trusted, now=now)
    return UbiAnswer(
        accepted=len(queries) + len(events),
        normalised=dict(sorted(noted.items())),
        quarantined=tuple(refused),
        outcomes=dict(sorted(outcomes.items())),
    )


def _read(one: Found, kind: Kind, noted: Counter[str], now: float) -> UbiQuery | UbiEvent | Refusal:
    if isinstance(one.item, Refusal):
        return one.item
    seen: Counter[str] = Counter()
    record = read_item(one.item, kind, one.place, seen)
    if not isinstance(record, Refusal) and record.at is not None and record.at > now + MAX_SKEW_S:
        return Refusal(one.place, "/timestamp", "future: more than 5 minutes from now")
    noted.update(seen)
    return record


def _items(payload: bytes, content_type: str) -> list[Found]:
    """Return the items of a body.

    Raises:
        RecordError: See `take_ubi`.
    """
    if len(payload) > MAX_BODY_BYTES:
        raise _too_large("payload", f"a body has at most {MAX_BODY_BYTES} bytes", len(payload))
    media = content_type.partition(";")[0].strip().lower()
    if media not in _LINES | _JSON:
        raise RecordError(
            "this media type is not taken",
            code="unsupported_media_type",
            field="content_type",
            value=media,
            hint="Send application/json or application/x-ndjson.",
        )
    items = (
        _items_of_lines(payload)
        if media in _LINES
        else _items_of_json(payload, may_be_lines=media != "application/json")
    )
    if len(items) > MAX_ITEMS:
        raise _too_large("items", f"a request has at most {MAX_ITEMS} items", len(items))
    return items


def _items_of_lines(payload: bytes) -> list[Found]:
    found: list[Found] = []
    for one in items_of_lines(io.BytesIO(payload)):
        found.append(one)
        if len(found) > MAX_ITEMS:
            break
    return found


def _items_of_json(payload: bytes, *, may_be_lines: bool) -> list[Found]:
    try:
        body = decoded(payload)
    except ValueError as error:
        if may_be_lines and b"\n" in payload.strip():
            return _items_of_lines(payload)
        raise RecordError(
            "the body is no JSON",
            code="malformed_json",
            field="payload",
            value=len(payload),
            hint="Send one object, an array of objects, or lines as application/x-ndjson.",
        ) from error
    return [Found(None, item, index) for index, item in enumerate(body if isinstance(body, list) else [body])]


def _too_large(field: str, message: str, value: int) -> RecordError:
    return RecordError(message, code="too_large", field=field, value=value, hint="Send it in parts.")


def _take_queries(
    loop: Loop, queries: Sequence[UbiQuery], outcomes: Counter[str], *, trusted: bool, now: float
) -> None:
    """Record the lists of queries in the order sent."""
    if not queries:
        return
    if not trusted:
        outcomes["untrusted"] += len(queries)
        return
    ids = [query.query_id or id_without_one(query) for query in queries]
    held = recorded_of(loop, ids)
    for query_id, query in zip(ids, queries, strict=True):
        outcomes[_take_query(loop, query_id, query, held[query_id], now)] += 1
    loop.recorded([])  # what was logged is durable before it is answered


def _take_query(loop: Loop, query_id: str, query: UbiQuery, held: list[RecordedList], now: float) -> str:
    if not query.hits:
        return "no_list"
    named, _ = name_lists(query_id, lists_of([query], [], None), held, now)
    new = next((one for one in named if one.new is not None), None)
    if new is None:
        is_known = any(one.shown == query.hits or one.policy != "external" for one in held)
        return "known" if is_known else "refused:too_many_lists"
    try:
        loop.log_retrieval(
            query.user_query,
            [{"id": doc} for doc in new.documents],
            user=query.user,
            segment=None if new.new is None else new.new.segment,
            event_id=new.event_id,
            now=new.at,
        )
    except RecordError as error:
        return f"refused:{error.code}"
    held.append(RecordedList(new.event_id, query.user_query, new.documents, new.at, "external"))
    return "recorded"


def _take_events(
    loop: Loop,
    events: Sequence[UbiEvent],
    outcomes: Counter[str],
    overrides: Mapping[str, str | None],
    *,
    trusted: bool,
    now: float,
) -> None:
    """Send what the events mean to the loop, in one commit."""
    held = recorded_of(loop, [event.query_id for event in events if event.query_id is not None])
    items: list[dict[str, Any]] = []
    for event in events:
        item = _item_of(loop, event, held, overrides, trusted=trusted)
        if isinstance(item, str):
            outcomes[item] += 1
        else:
            items.append(item)
    for answer in loop.feedback_many(items, now=now):
        outcomes[outcome_of(answer)] += 1


def _item_of(
    loop: Loop,
    event: UbiEvent,
    held: Mapping[str, Sequence[RecordedList]],
    overrides: Mapping[str, str | None],
    *,
    trusted: bool,
) -> dict[str, Any] | str:
    """Return what `feedback_many` takes, or why there is nothing to send."""
    meaning = meanings.meaning_of(event.action_name, loop.rewards.signals, overrides)
    if meaning.kind != "signal":
        return meaning.kind
    if event.query_id is None:
        return "no_query_id"
    if event.object_id is None and not trusted:
        return "untrusted"
    value = meanings.value_of(event, meaning.signal)
    if value is None:
        return "no_value"
    event_id = safe_event_id(event.query_id)
    known = held[event.query_id]
    if known:
        chosen = choose(
            event.object_id, event.at, [Named(one.event_id, one.served_at, one.shown, None) for one in known]
        )
        if chosen.delay_s < -MAX_SKEW_S:
            return "too_early"
        event_id = chosen.event_id
    item = {"event_id": event_id, "signal": meaning.signal, "value": value, "at": event.at}
    return item | {"doc": event.object_id, "idempotency_key": f"ubi:{event_digest(event)}"}
