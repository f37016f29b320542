"""What a refused request is told: one shape for every error, and nothing of our insides."""

from __future__ import annotations

import math
import re
from http import HTTPStatus
from typing import Final

import msgspec

from dwell.errors import (
    ConfigError,
    DwellError,
    EvaluationError,
    FeatureSchemaError,
    LearnerDown,
    LearningError,
    PromotionError,
    RecordError,
    ReplayError,
    RequestError,
    StorageError,
    UnknownEventError,
)
from dwell.server.wording import remedy_of

__all__ = ["MEDIA_TYPE", "Problem", "problem_of", "retry_after_of"]

MEDIA_TYPE: Final = "application/problem+json"  # RFC 9457, section 3

_STATUS: Final = {
    "unauthorized": 401,
    "forbidden": 403,
    "token_invalid": 403,
    "not_found": 404,
    "unknown_event": 404,
    "unknown_version": 404,
    "method_not_allowed": 405,
    "timeout": 408,
    "conflict": 409,
    "idempotency_conflict": 409,
    "duplicate_event": 409,
    "promotion_refused": 409,
    "stale_params": 409,
    "nothing_to_roll_back": 409,
    "too_large": 413,
    "unsupported_media_type": 415,
    "too_many_requests": 429,
    "headers_too_large": 431,
    "overloaded": 503,
    "learner_down": 503,
    "store_busy": 503,
    "disk_full": 503,
}
_BY_CLASS: Final[tuple[tuple[type[Exception], int], ...]] = (
    (UnknownEventError, 404),
    (PromotionError, 409),
    (StorageError, 503),
    (RequestError, 400),
    (FeatureSchemaError, 400),
    (RecordError, 400),
    (ConfigError, 400),
    (ReplayError, 409),
    (LearningError, 409),
    (EvaluationError, 409),
)
_RETRY_S: Final = 1.0  # a queue of the writer drains within a second
_STEP: Final = re.compile(r"[^.\[\]]+")


class Problem(msgspec.Struct, frozen=True, omit_defaults=False):
    """An error as RFC 9457 wants it, with what a program and a person need beyond that.

    Attributes:
        type: Where the code is explained: `about:blank#<code>`.
        title: The status in words.
        status: The HTTP status.
        code: Short stable identifier, as in `dwell.errors`.
        detail: What happened.
        path: JSON pointer, or name of the parameter, that it is about; "" for the whole request.
        remedy: What to do about it.
        request_id: The id in the log and in `X-Request-Id`.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    path: str = ""
    remedy: str = ""
    request_id: str = ""


def problem_of(error: Exception, *, request_id: str = "") -> Problem:
    """Return what the caller is told about an error.

    Offending values are never repeated, faults of the store are told without its paths, and of errors that are not ours
    nothing is told at all.

    Args:
        error: What was raised.
        request_id: The request's id.
    """
    if isinstance(error, msgspec.ValidationError):
        found = re.search(r" - at `\$?(.*?)`$", str(error))
        said = str(error)[: found.start()] if found else str(error)
        return _problem(
            400, "type", said, _pointer(found[1]) if found else "", "Send what /docs describes.", request_id
        )
    if isinstance(error, msgspec.DecodeError | UnicodeDecodeError):
        return _problem(400, "malformed_json", "the body is not valid JSON", "", "Send UTF-8 JSON.", request_id)
    if not isinstance(error, DwellError) or _status_of(error) == 500:
        said = "something went wrong on our side"
        return _problem(
            500, "internal", said, "", "Try again; the log has the cause under this request id.", request_id
        )
    status = _status_of(error)
    if isinstance(error, StorageError) and status == 503 and not isinstance(error, LearnerDown):
        code = error.code if error.code in _STATUS else "storage"
        return _problem(503, code, "the store can not do that now", "", "Try again in a moment.", request_id)
    remedy = remedy_of(error.code, error.hint)
    return _problem(status, error.code, error.message, _pointer(error.field or ""), remedy, request_id)


def retry_after_of(error: Exception) -> int | None:
    """Return the whole seconds for `Retry-After`, at least 1, or None where trying again does not help."""
    seconds = error.retry_after_s if isinstance(error, RequestError) else None
    if seconds is None:
        is_worth_it = isinstance(error, DwellError) and _status_of(error) in {429, 503}
        return math.ceil(_RETRY_S) if is_worth_it else None
    return max(1, math.ceil(seconds))


def _status_of(error: DwellError) -> int:
    status = _STATUS.get(error.code)
    if status is not None:
        return status
    return next((status for kind, status in _BY_CLASS if isinstance(error, kind)), 500)


def _problem(status: int, code: str, detail: str, path: str, remedy: str, request_id: str) -> Problem:
    title = HTTPStatus(status).phrase
    return Problem(f"about:blank#{code}", title, status, code, detail, path, remedy, request_id)


def _pointer(field: str) -> str:
    """Return a field as a JSON pointer: candidates[3].bm25 is /candidates/3/bm25 (RFC 6901)."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in _STEP.findall(field))
