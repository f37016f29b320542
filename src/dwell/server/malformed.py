"""Where a body is wrong: the field by name, also where a strict decoder only says that something is."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import msgspec

from dwell.errors import RecordError

__all__ = ["told"]

_AT: Final = re.compile(r" - at `(?:key in )?\$(.*)`$")
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_NOT_FINITE: Final = re.compile(rb"NaN|Infinity|\d[eE]\+?\d{3}|\d{300}")  # what such a number can look like
_MOST_EXPLAINED: Final = 262_144  # bytes; a longer body is refused without being read twice, for that takes seconds
_REMEDY: Final = "Correct this field; GET /openapi.json describes every body."


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
        return _malformed(str(error), "Send one JSON document in UTF-8.")
    words = str(error)
    at = _AT.search(words)
    message = words[: at.start()] if at else words
    steps: list[str | int] = []
    for name, index in _STEP.findall(at[1]) if at else []:
        steps.append(name or (int(index) if index.isdigit() else index))
    code = "unknown_field" if "unknown field" in message else "type"
    if "out of range" in message:
        code = "non_finite"
    return RecordError(
        f"the body does not fit: {message}", code=code, field=_named(body, steps), value="(see detail)", hint=_REMEDY
    )


def _malformed(words: str, hint: str) -> RecordError:
    return RecordError(f"the body is no JSON: {words}", code="malformed_json", field="", value="(body)", hint=hint)


def _not_finite(body: bytes) -> str | None:
    """Return the name of the first number that is not finite, or None where there is none or the body is too long."""
    if len(body) > _MOST_EXPLAINED or _NOT_FINITE.search(body) is None:
        return None
    try:
        document = json.loads(body)  # takes NaN, Infinity and 1e999, which no strict decoder does
    except (ValueError, RecursionError):
        return None
    left: list[tuple[tuple[str | int, ...], object]] = [((), document)]
    while left:
        path, value = left.pop()
        if isinstance(value, float) and not math.isfinite(value):
            return _text(path)
        inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        left += reversed([((*path, step), one) for step, one in inside])
    return None


def _named(body: bytes, steps: list[str | int]) -> str:
    """Return a path in words; "..." stands for a key that the decoder does not name, and is looked for."""
    if "..." not in steps or len(body) > _MOST_EXPLAINED:
        return _text(tuple(step for step in steps if step != "..."))
    at = steps.index("...")
    try:
        inside: Any = json.loads(body)
        for step in steps[:at]:
            inside = inside[step]
        fits = (str, int, float, type(None))
        wrong = [k for k, v in inside.items() if isinstance(v, bool) or not isinstance(v, fits)]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        wrong = []
    return _text((*steps[:at], *wrong[:1]))


def _text(path: tuple[str | int, ...]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")
