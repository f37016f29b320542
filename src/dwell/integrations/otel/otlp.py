"""OTLP in JSON, as the collector's file exporter writes it a line and OTLP/HTTP sends it: into spans.

Source: opentelemetry-proto, docs/specification.md, "JSON Protobuf Encoding": names in lowerCamelCase, ids in hex,
64-bit integers as numbers or text. Only what concerns retrievals is decoded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dwell.errors import RecordError
from dwell.integrations.otel import names
from dwell.integrations.otel.reading import concerns
from dwell.integrations.otel.records import Span, SpanEvent
from dwell.integrations.ubi.fields import MAX_DEPTH, UnreadableField
from dwell.records import checks

__all__ = ["items_of"]

_HEX: Final = {32: re.compile(r"[0-9a-fA-F]{32}"), 16: re.compile(r"[0-9a-fA-F]{16}")}
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_NO_NUMBER: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_PLAIN: Final[Mapping[object, type]] = {"stringValue": str, "bytesValue": str, "boolValue": bool}
_MAX_LINKS: Final = 128  # as many as SDKs keep of a span by default
_KINDS: Final = (("resourceSpans", "scopeSpans", "spans"), ("resourceLogs", "scopeLogs", "logRecords"))
_OTHERS: Final = frozenset({"resourceMetrics", "resourceProfiles"})


def items_of(item: object) -> Iterator[Span | UnreadableField | None]:
    """Yield the spans and log records of one request or line; never raises on what it holds.

    A span that has nothing to do with retrievals is None. What can not be read is the error that says where and why.
    """
    if not isinstance(item, Mapping):
        yield UnreadableField("", "type: an object is due here")
        return
    if not any(outer in item for outer, _, _ in _KINDS):
        if not _OTHERS & item.keys():
            yield UnreadableField("", "kind: neither resourceSpans nor resourceLogs")
        return
    for outer, middle, inner in _KINDS:
        for told, where in _members({outer: item.get(outer)}, (outer, middle, inner)):
            if isinstance(told, UnreadableField):
                yield told
                continue
            try:
                yield _span(told, where) if inner == "spans" else _record(told, where)
            except UnreadableField as error:
                yield error


def _members(
    holder: Mapping[str, Any], path: tuple[str, ...], where: str = ""
) -> Iterator[tuple[Mapping[str, Any] | UnreadableField, str]]:
    """Yield the objects at the end of nested arrays, with their pointers."""
    name, rest = path[0], path[1:]
    members = holder.get(name)
    if members is None:
        return
    if not isinstance(members, list):
        yield UnreadableField(f"{where}/{name}", "type: an array is due here"), where
        return
    for i, member in enumerate(members):
        here = f"{where}/{name}/{i}"
        if not isinstance(member, Mapping):
            yield UnreadableField(here, "type: an object is due here"), here
        elif rest:
            yield from _members(member, rest, here)
        else:
            yield member, here


def _span(told: Mapping[str, Any], where: str) -> Span | None:
    attributes = _attributes(told, where)
    events = tuple(_events(told, where))
    if not attributes and not events:
        return None
    links = [_id(one, here) for one, here in _objects(told, "links", where)[:_MAX_LINKS]]
    parent = told.get("parentSpanId")
    return Span(
        id=_id(told, where),
        parent=None if parent in (None, "") else _id({**told, "spanId": parent}, where, "parentSpanId"),
        ended_at=_instant(told.get("endTimeUnixNano"), f"{where}/endTimeUnixNano"),
        attributes=attributes,
        events=events,
        links=tuple(links),
        n_dropped=_count(told.get("droppedAttributesCount")),
    )


def _record(told: Mapping[str, Any], where: str) -> Span | None:
    """Return a log record that is an evaluation, as an event of the span that it belongs to."""
    attributes = _attributes(told, where)
    if told.get("eventName") != names.EVALUATION:
        return None
    name = "timeUnixNano" if told.get("timeUnixNano") not in (None, 0, "0", "") else "observedTimeUnixNano"
    at = _instant(told.get(name), f"{where}/{name}")
    return Span(_id(told, where), None, at, {}, (SpanEvent(names.EVALUATION, at, attributes),))


def _events(told: Mapping[str, Any], where: str) -> Iterator[SpanEvent]:
    for one, here in _objects(told, "events", where):
        if one.get("name") == names.EVALUATION:
            at = _instant(one.get("timeUnixNano"), f"{here}/timeUnixNano")
            yield SpanEvent(names.EVALUATION, at, _attributes(one, here))


def _objects(told: Mapping[str, Any], name: str, where: str) -> list[tuple[Mapping[str, Any], str]]:
    given = told.get(name)
    if given is None:
        return []
    if not isinstance(given, list):
        raise UnreadableField(f"{where}/{name}", "type: an array is due here")
    found = [(one, f"{where}/{name}/{i}") for i, one in enumerate(given)]
    for one, here in found:
        if not isinstance(one, Mapping):
            raise UnreadableField(here, "type: an object is due here")
    return found


def _attributes(told: Mapping[str, Any], where: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for one, here in _objects(told, "attributes", where):
        key = one.get("key")
        if isinstance(key, str) and concerns(key):
            if key in found:
                raise UnreadableField(here, "duplicate_name: an attribute stands twice")
            found[key] = _value(one.get("value"), f"{here}/value", 0)
    return found


def _value(told: object, where: str, depth: int) -> object:
    """Return a value of OTLP as plain Python."""
    if depth > MAX_DEPTH:
        raise UnreadableField(where, f"depth: nested more than {MAX_DEPTH} deep")
    if told is None or told == {}:
        return None
    if not isinstance(told, Mapping) or len(told) != 1:
        raise UnreadableField(where, "type: an object of one value is due here")
    kind, value = next(iter(told.items()))
    if kind == "intValue":
        return _integer(value, where)
    if kind == "doubleValue":
        return _double(value, where)
    if kind in {"arrayValue", "kvlistValue"} and isinstance(value, Mapping):
        members = [
            (one, _value(one if kind == "arrayValue" else one.get("value"), here, depth + 1))
            for one, here in _objects(value, "values", where)
        ]
        return [v for _, v in members] if kind == "arrayValue" else {str(one.get("key")): v for one, v in members}
    if isinstance(value, _PLAIN.get(kind, ())):
        return value
    raise UnreadableField(where, "type: no value of OTLP")


def _integer(value: object, where: str) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise UnreadableField(where, "type: an integer of 64 bits is due here")
    return value


def _double(value: object, where: str) -> float:
    if isinstance(value, str) and value in _NO_NUMBER:
        return _NO_NUMBER[value]  # whoever reads it as a number refuses it by that name
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnreadableField(where, "type: a number is due here")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _id(told: Mapping[str, Any], where: str, name: str = "spanId") -> str:
    """Return `trace_id:span_id`."""
    trace, span = told.get("traceId"), told.get("spanId")
    for value, length, key in ((trace, 32, "traceId"), (span, 16, name)):
        if not isinstance(value, str) or _HEX[length].fullmatch(value) is None or set(value) == {"0"}:
            raise UnreadableField(f"{where}/{key}", f"id: {length} hexadecimal digits are due here, not all zero")
    return f"{trace}:{span}".lower()


def _instant(value: object, where: str) -> float:
    """Return nanoseconds as UTC epoch seconds."""
    try:
        nanoseconds = _integer(value, where)
        seconds = checks.timestamp(nanoseconds / 1e9, where)
    except (UnreadableField, RecordError) as error:
        raise UnreadableField(where, "timestamp: nanoseconds since 1970 are due here") from error
    if not nanoseconds:
        raise UnreadableField(where, "timestamp: the span has not ended")
    return seconds
