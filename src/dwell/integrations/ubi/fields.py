"""Single fields of foreign records: each is read as what it can only mean, or refused with the place where it stands.

Every reading that no schema allows is counted by name in `noted`. Nothing is guessed beyond that, and no clock is read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from dwell.errors import RecordError
from dwell.records import checks

__all__ = [
    "UnreadableField",
    "as_object",
    "epoch_seconds",
    "identifier_or_none",
    "mapping_or_empty",
    "object_id",
    "ordinal",
    "without_nulls",
]

MAX_ORDINAL: Final = 1_000_000  # a place in a list that somebody scrolled to; beyond it, it is another number
MAX_DEPTH: Final = 32  # the schemas are three deep; what is far deeper is an attack on whoever walks it
_MILLISECONDS: Final = checks.MAX_TIMESTAMP_S  # from here on it can not be seconds (year 5138)
_MICROSECONDS: Final = 1e14  # nor milliseconds, by the same year
_NANOSECONDS: Final = 1e17  # nor microseconds


class UnreadableField(Exception):  # noqa: N818 - a way out of the reader, never out of the room
    """A field can not be read.

    Args:
        pointer: JSON pointer of the field in its item.
        reason: A code, then words.
    """

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__(reason)
        self.pointer = pointer
        self.reason = reason


def without_nulls(value: object, noted: Counter[str], name: str = "", depth: int = 0) -> Any:  # noqa: ANN401 - JSON
    """Return decoded JSON without the keys whose value is null; each is counted under the outermost key that holds it.

    Raises:
        UnreadableField: It is deeper than 32.
    """
    if depth > MAX_DEPTH:
        raise UnreadableField(f"/{escaped(name)}", f"depth: nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        kept = {}
        for key, item in value.items():
            outer = name or str(key)
            if item is None:
                noted[f"null:{outer if outer in KNOWN_KEYS else 'other'}"] += 1
            else:
                kept[str(key)] = without_nulls(item, noted, outer, depth + 1)
        return kept
    if isinstance(value, list):
        return [without_nulls(item, noted, name, depth + 1) for item in value]
    return value


def as_object(item: object) -> Mapping[str, Any]:
    """Return an item that is an object.

    Raises:
        UnreadableField: It is anything else.
    """
    if not isinstance(item, Mapping):
        raise UnreadableField("", "type: an object is due here")
    return item


def escaped(key: str) -> str:
    """Return a key as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


# what the schemas 1.0 to 1.3 name; other keys are counted together, so that strangers can not fill a report
KNOWN_KEYS: Final = frozenset(
    {
        "action_name",
        "application",
        "client_id",
        "event_attributes",
        "message",
        "message_type",
        "object_id_field",
        "query",
        "query_attributes",
        "query_id",
        "query_response_hit_ids",
        "query_response_id",
        "query_response_object_ids",
        "session_id",
        "timestamp",
        "user_id",
        "user_query",
    }
)


def identifier_or_none(item: Mapping[str, Any], key: str, noted: Counter[str], pointer: str = "") -> str | None:
    """Return an id: text as it is, a whole number as text, None where it is missing or empty.

    Raises:
        UnreadableField: It is anything else, longer than 512 bytes, or holds control characters.
    """
    value = item.get(key)
    where = f"{pointer}/{key}"
    if value is None:
        return None
    if value == "":
        noted[f"empty:{key}"] += 1
        return None
    return _identifier(value, where, noted, f"number:{key}")


def _identifier(value: object, where: str, noted: Counter[str], name: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= 2**64:
            raise UnreadableField(where, "id: the number has more than 64 bits")
        noted[name] += 1
        return str(value)
    try:
        return checks.identifier(value, where)
    except RecordError as error:
        raise UnreadableField(where, f"{error.code}: {error.message}") from error


def object_id(value: object, where: str, noted: Counter[str]) -> str:
    """Return an object's id as text: the schemas allow text and whole numbers.

    Raises:
        UnreadableField: It is anything else, empty, longer than 512 bytes, or holds control characters.
    """
    return _identifier(value, where, noted, "number:object_id")


def mapping_or_empty(item: Mapping[str, Any], key: str, pointer: str = "") -> Mapping[str, Any]:
    """Return an object, empty where it is missing.

    Raises:
        UnreadableField: It is anything else.
    """
    value = item.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UnreadableField(f"{pointer}/{key}", "type: an object is due here")
    return value


def ordinal(value: object, where: str, noted: Counter[str]) -> int:
    """Return a place in a list: a whole number (1.3), {"index": number} (1.0 to 1.2), or a number that is whole.

    Raises:
        UnreadableField: It is anything else, negative, or above a million.
    """
    if isinstance(value, Mapping) and "index" in value:
        noted["ordinal_object"] += 1
        return (
            ordinal(value["index"], f"{where}/index", noted) if not isinstance(value["index"], Mapping) else _no(where)
        )
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(MAX_ORDINAL)):
        noted["ordinal_text"] += 1
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        noted["ordinal_float"] += 1
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_ORDINAL:
        return _no(where)
    return value


def _no(where: str) -> int:
    raise UnreadableField(where, f"range: an ordinal is a whole number from 0 to {MAX_ORDINAL}")


def epoch_seconds(value: object, where: str, noted: Counter[str]) -> float:
    """Return an instant as UTC epoch seconds.

    ISO 8601 is what the schemas ask for. Without a zone it is taken as UTC. Numbers, and text of digits, are seconds,
    milliseconds or microseconds by their size: below 1e11, 1e14 and 1e17.

    Raises:
        UnreadableField: It is none of these, or before 1970.
    """
    if isinstance(value, str):
        return _instant_of_text(value.strip(), where, noted)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _instant_of_number(value, where, noted)
    raise UnreadableField(where, "type: an instant is ISO 8601 text, or a number since 1970")


def _instant_of_number(value: float, where: str, noted: Counter[str]) -> float:
    if not (0 <= value < _NANOSECONDS) or not math.isfinite(value):
        raise UnreadableField(where, "timestamp: a number of seconds, milli- or microseconds since 1970 is due here")
    if value < _MILLISECONDS:
        noted["epoch_seconds"] += 1
        return float(value)
    if value < _MICROSECONDS:
        noted["epoch_milliseconds"] += 1
        return value / 1e3
    noted["epoch_microseconds"] += 1
    return value / 1e6


def _instant_of_text(text: str, where: str, noted: Counter[str]) -> float:
    whole, _, fraction = text.partition(".")
    if text.isascii() and whole.isdigit() and (not fraction or fraction.isdigit()) and 9 <= len(whole) <= 17:
        noted["epoch_text"] += 1
        return _instant_of_number(float(text), where, noted)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise UnreadableField(where, "timestamp: this is no ISO 8601 instant") from error
    if instant.tzinfo is None:
        noted["no_zone"] += 1
        instant = instant.replace(tzinfo=UTC)
    try:
        seconds = instant.timestamp()
    except (OverflowError, ValueError) as error:
        raise UnreadableField(where, "timestamp: the instant is out of range") from error
    if seconds < 0.0:
        raise UnreadableField(where, "timestamp: the instant is before 1970")
    return seconds
