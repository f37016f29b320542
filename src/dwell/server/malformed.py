"""Where a body is wrong: the field by name, also where a strict decoder only says that something is."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from dwell.errors import RecordError

__all__ = ["told"]

_AT: Final = re.compile(r" - at `(?:key in )?\$(.*)`$")
_NAMED: Final = re.compile(r"^Object (?:contains unknown|missing required) field `(.*)`$", re.DOTALL)
_GOT: Final = re.compile(r", got `(\w+)`$")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_NOT_FINITE: Final = re.compile(rb"NaN|Infinity|\d[eE]\+?\d{3}|\d{300}")  # what such a number can look like
_MOST_EXPLAINED: Final = 262_144  # bytes; a longer body is refused without being read twice, for that takes seconds
_REMEDY: Final = "Correct this field; GET /openapi.json describes every body."
_KINDS: Final[dict[str, tuple[type, ...]]] = {  # as the decoder calls what it got
    "null": (type(None),), "bool": (bool,), "int": (int,), "float": (float,),
    "str": (str,), "array": (list,), "object": (dict,),
}  # fmt: skip


def told(body: bytes, error: Exception) -> RecordError:
    """Return the error that names code, field and remedy of a body that could not be read.

    Args:
        body: The body; looked at a second time, slowly, only because it is refused.
        error: What the strict decoder said.
    """
    found = _not_finite(body)
    if found is not None:
        return RecordError(
            "a number is not finite", code="non_finite", field=found, value="not finite", hint="Send finite numbers."
        )
    if isinstance(error, RecursionError):
        return _malformed("it is nested too deeply", "Nest at most 64 deep.")
    if not isinstance(error, msgspec.ValidationError):
        at_text = _not_text(body)
        if at_text is not None:
            words = "the text holds a lone surrogate, or bytes that are no UTF-8"
            return RecordError(words, code="text", field=at_text, value="(not shown)", hint="Send whole characters.")
        return _malformed(_words_of(error), "Send one JSON document in UTF-8.")
    words = str(error)
    at = _AT.search(words)
    message = words[: at.start()] if at else words
    steps: list[str | int] = []
    for name, index in _STEP.findall(at[1]) if at else []:
        steps.append(name or (int(index) if index.isdigit() else index))
    named = _NAMED.search(message)
    if named is not None:
        steps.append(named[1])
    code = "unknown_field" if "unknown field" in message else "type"
    if "out of range" in message:
        code = "non_finite"
    got = _GOT.search(message)
    return RecordError(
        f"the body does not fit: {message}",
        code=code,
        field=_named(body, steps, _KINDS.get(got[1], ()) if got else ()),
        value="(see detail)",
        hint=_REMEDY,
    )


def _words_of(error: Exception) -> str:
    """Return what a decoder says, without the words of the language that it is written in."""
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _malformed(words: str, hint: str) -> RecordError:
    return RecordError(f"the body is no JSON: {words}", code="malformed_json", field="", value="(body)", hint=hint)


def _not_finite(body: bytes) -> str | None:
    """Return the name of the first number that is not finite, or None where there is none or the body is too long."""
    if len(body) > _MOST_EXPLAINED or _NOT_FINITE.search(body) is None:
        return None
    return _first(body, lambda value: isinstance(value, float) and not math.isfinite(value))


def _not_text(body: bytes) -> str | None:
    """Return the name of the first text that is no valid one, or None where there is none or the body is too long."""
    if len(body) > _MOST_EXPLAINED:
        return None
    return _first(body, lambda value: isinstance(value, str) and _SURROGATE.search(value) is not None)


def _loaded(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return what a lenient parser makes of a body: NaN and 1e999 are floats, what is no UTF-8 is a lone surrogate."""
    # Digits beyond those of a float are infinite, and spare Python's limit on the length of integers
    return json.loads(
        body.decode("utf-8", "surrogateescape"), parse_int=lambda text: int(text) if len(text) < 300 else float(text)
    )


def _first(body: bytes, is_wrong: Callable[[object], bool]) -> str | None:
    """Return the name of the first value that is wrong, in the order in which they stand."""
    try:
        document = _loaded(body)
    except (ValueError, RecursionError):
        return None
    left: list[tuple[tuple[str | int, ...], object]] = [((), document)]
    while left:
        path, value = left.pop()
        if is_wrong(value):
            return _text(path)
        inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        left += reversed([((*path, step), one) for step, one in inside])
    return None


def _named(body: bytes, steps: list[str | int], kinds: tuple[type, ...]) -> str:
    """Return a path in words; "..." stands for a key that the decoder does not name, and is looked for.

    Args:
        body: The body.
        steps: The path as the decoder tells it.
        kinds: What stands there, where the decoder says so.
    """
    if "..." not in steps or len(body) > _MOST_EXPLAINED:
        return _text(tuple(step for step in steps if step != "..."))
    at = steps.index("...")
    try:
        inside: Any = _loaded(body)
        for step in steps[:at]:
            inside = inside[step]
        wrong = [name for name, value in inside.items() if type(value) in kinds]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        wrong = []
    return _text((*steps[:at], *wrong[:1]))


def _text(path: tuple[str | int, ...]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")
