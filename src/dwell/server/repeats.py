"""Names that stand twice in one JSON object: every parser keeps one of them silently, so such a body is refused."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from dwell.errors import RecordError

__all__ = ["could_repeat", "refuse_repeats"]

_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_objects: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_BLANK_COLONS: Final = (b" :", b"\t:", b"\n:", b"\r:")


def could_repeat(body: bytes, n_distinct: int) -> bool:
    """Return False only where no object of a body names something twice.

    Args:
        body: JSON that was decoded without complaint.
        n_distinct: How many names it was decoded to, over all of its objects.
    """
    # A colon behind a quote ends a name, or stands in a string behind an escaped quote. So this is at least the number
    # of names, where none is followed by a blank; and if it is the number of distinct ones, nothing stands twice.
    if body.count(b'":') != n_distinct:
        return True
    # Where every colon stands behind a quote, none stands behind a blank: one look in place of four
    return body.count(b":") != n_distinct and any(blank in body for blank in _BLANK_COLONS)


def refuse_repeats(body: bytes, value: object) -> None:
    """Return where no object of a body names something twice.

    Args:
        body: JSON that was decoded without complaint.
        value: What it was decoded to: a struct, or a list of structs.

    Raises:
        RecordError: code `duplicate_name`; `field` names it.
    """
    if not could_repeat(body, _n_names(body, value)):
        return
    found = _first_repeat(json.loads(body, object_pairs_hook=_pairs))
    if found is not None:
        raise RecordError(
            "a name stands twice in one object",
            code="duplicate_name",
            field=found,
            value="(see the body)",
            hint="Send each name once.",
        )


def _n_names(body: bytes, value: object) -> int:
    if isinstance(value, list):
        return sum(map(len, _objects(body)))
    n_names = len(_object(body))
    for name in value.__struct_fields__:  # type: ignore[attr-defined]
        inside = getattr(value, name)
        if isinstance(inside, dict):
            n_names += len(inside)
        elif isinstance(inside, list) and inside and isinstance(inside[0], dict):
            n_names += sum(map(len, inside))
        elif isinstance(inside, list) and inside and isinstance(inside[0], msgspec.Struct):
            n_names += sum(map(len, _objects(_object(body)[name])))
    return n_names


class _Repeating(dict[str, Any]):
    """An object in which a name stood twice."""

    name = ""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    marked = _Repeating(found)
    marked.name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    return marked


def _first_repeat(document: object) -> str | None:
    left: list[tuple[str, object]] = [("", document)]
    while left:
        path, value = left.pop()
        if isinstance(value, _Repeating):
            return f"{path}.{value.name}".removeprefix(".")
        if isinstance(value, dict):
            left += [(f"{path}.{name}", one) for name, one in value.items()]
        elif isinstance(value, list):
            left += [(f"{path}[{i}]", one) for i, one in enumerate(value) if isinstance(one, dict | list)]
    return None
