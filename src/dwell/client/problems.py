"""Answers that are refusals: a problem document becomes the error that the same call raises when embedded."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dwell import errors
from dwell.client.wire import DecisionOnWire, decision_of
from dwell.errors import (
    AuthenticationError,
    DwellError,
    PromotionRefused,
    QueueFull,
    RecordError,
    RequestError,
    ServiceError,
    ServiceUnreachableError,
)

__all__ = ["Problem", "error_of", "field_of_pointer", "read_problem"]

_MOST_TEXT: Final = 2_000  # of a message: what answered may be anything, and is shown to people

# Refusals of the service itself, which an embedded loop can not give: see `RequestError`.
_OF_REQUESTS: Final = frozenset(
    {"conflict", "idempotency_conflict", "malformed_json", "not_found", "too_large", "unsupported_media_type"}
)
# What has a class of its own in the error tree is raised as that class.
_CLASSES: Final[dict[str, type[DwellError]]] = {
    kind.code: kind
    for kind in (getattr(errors, name) for name in errors.__all__)
    if kind is not PromotionRefused and not issubclass(kind, ServiceError | errors.MissingDependencyError)
}


class Problem(msgspec.Struct, frozen=True):
    """A problem document.

    Attributes:
        title: What kind of problem it is.
        status: The HTTP status.
        code: Short stable identifier, as `DwellError.code`.
        detail: What happened.
        path: JSON pointer to the offending value, or the name of a parameter.
        remedy: What to do.
        request_id: The request, in the server's log.
        decision: The gate's decision, of a promotion that was refused.

    Source:
        RFC 9457, "Problem Details for HTTP APIs".
    """

    title: str = ""
    status: int = 0
    code: str = ""
    detail: str = ""
    path: str | None = None
    remedy: str = ""
    request_id: str | None = None
    decision: DecisionOnWire | None = None


def read_problem(status: int, body: bytes) -> Problem:
    """Return the problem that an answer tells, whatever stands in its body: a proxy's page is none of ours."""
    try:
        found = msgspec.json.decode(body, type=Problem)
    except msgspec.MsgspecError:
        return Problem(title=f"HTTP status {status}", status=status)
    return msgspec.structs.replace(found, status=status)


def error_of(problem: Problem, sent: bytes | None = None) -> DwellError:
    """Return the error to raise for a refusal.

    Args:
        problem: The refusal.
        sent: The body of the request, from which the offending value is read.
    """
    message = (problem.detail or problem.title or "the server refused")[:_MOST_TEXT]
    field = None if problem.path is None else field_of_pointer(problem.path)
    value = None if problem.path is None or sent is None else _value_at(sent, problem.path)
    error = _kind_of(problem)(
        message,
        code=problem.code or None,
        hint=problem.remedy[:_MOST_TEXT],
        field=field,
        value=value,
    )
    if problem.code == PromotionRefused.code:
        decision = None if problem.decision is None else decision_of(problem.decision)
        error = PromotionRefused(message, decision=decision, hint=problem.remedy[:_MOST_TEXT])
    if problem.request_id:
        error.add_note(f"request {problem.request_id[:128]!r} in the server's log")
    return error


def _kind_of(problem: Problem) -> type[DwellError]:
    if problem.status in {401, 403}:
        return AuthenticationError
    if problem.code in _OF_REQUESTS:
        return RequestError
    found = _CLASSES.get(problem.code.partition(":")[0])
    if found is not None and found is not QueueFull:  # of the caller's own queue; a full one elsewhere is a busy server
        return found
    if problem.status in {408, 425, 429} or problem.status >= 500:
        return ServiceUnreachableError
    return RecordError if 400 <= problem.status < 500 and problem.code else ServiceError


def field_of_pointer(pointer: str) -> str:
    """Return a JSON pointer as errors name fields: "/candidates/0/bm25" as "candidates[0].bm25"; a name as it is.

    Source:
        RFC 6901, "JavaScript Object Notation (JSON) Pointer".
    """
    if not pointer.startswith("/"):
        return pointer
    field = ""
    for step in _steps(pointer):
        field += f"[{step}]" if step.isdigit() and step.isascii() else f".{step}" if field else step
    return field


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/")]


def _value_at(sent: bytes, pointer: str) -> object:
    """Return what was sent at a pointer; None where nothing was."""
    try:
        found: Any = msgspec.json.decode(sent)
        for step in _steps(pointer) if pointer.startswith("/") else [pointer]:
            found = found[int(step) if isinstance(found, list) else step]
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError):
        return None
    return found
