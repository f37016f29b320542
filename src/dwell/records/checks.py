"""One check per kind of bad input, so that every entry point answers the same.

Each function returns the value it was given in its canonical type, or raises `RecordError` with a code, the field,
the value and what to do. Nothing is ever adjusted: a value is taken as it is or refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Final, cast

import numpy as np

from dwell.errors import RecordError
from dwell.records.arrays import FloatArray

__all__ = [
    "MAX_EMBEDDING_DIM",
    "MAX_FEATURES",
    "MAX_ID_BYTES",
    "MAX_QUERY_BYTES",
    "MAX_TIMESTAMP_S",
    "boolean",
    "embedding",
    "event_id",
    "feature_names",
    "finite",
    "identifier",
    "identifiers",
    "optional_identifier",
    "positive_integer",
    "query_text",
    "timestamp",
    "valid_text",
    "within",
]

MAX_ID_BYTES: Final = 512  # public surface: document and user ids are 1 to 512 bytes
MAX_QUERY_BYTES: Final = 65_536  # 64 KB of query text: twenty bad inputs, number 13
MAX_EMBEDDING_DIM: Final = 8_192  # twenty bad inputs, number 5
MAX_FEATURES: Final = 1_024  # a learning row must stay a row; public LTR sets have 136 to 700 features
MAX_TIMESTAMP_S: Final = 1e11  # above it the value is in milliseconds or microseconds: year 5138 in seconds

_EVENT_ID = re.compile(r"[\w.:/@-]{1,128}")
# C0 and C1 controls, and the bidirectional overrides that make an id read as another one
_FORBIDDEN_IN_ID = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def finite(value: object, field: str) -> float:
    """Return a real number as float64; refuse NaN, infinities, booleans and text.

    Raises:
        RecordError: code `type` or `non_finite`.
    """
    if type(value) is float:
        number = value
    elif isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise RecordError(
            "a number is due here",
            code="type",
            field=field,
            value=value,
            hint="Pass an int or a float, not text or a bool.",
        )
    else:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    if not math.isfinite(number):
        raise RecordError(
            "the number is not finite",
            code="non_finite",
            field=field,
            value=value,
            hint="Pass a finite number or leave it out.",
        )
    return number


def within(value: object, field: str, low: float, high: float, *, code: str = "range") -> float:
    """Return a finite number in [low, high].

    Raises:
        RecordError: `type`, `non_finite`, or the given code when out of range.
    """
    number = finite(value, field)
    if not low <= number <= high:
        raise RecordError(
            f"the number is outside [{low:g}, {high:g}]",
            code=code,
            field=field,
            value=value,
            hint="Correct it at its source.",
        )
    return number


def positive_integer(value: object, field: str, *, most: int = 2**31) -> int:
    """Return an integer in [1, most]; booleans and floats are refused.

    Raises:
        RecordError: code `type` or `range`.
    """
    if type(value) is int and 1 <= value <= most:  # as nearly always: asking an abstract class costs ten times as much
        return value
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise RecordError("a whole number is due here", code="type", field=field, value=value, hint="Pass an int.")
    number = int(value)
    if not 1 <= number <= most:
        raise RecordError(
            f"the number is outside [1, {most}]",
            code="range",
            field=field,
            value=value,
            hint="Pass an int in that range.",
        )
    return number


def boolean(value: object, field: str) -> bool:
    """Return a bool; anything else, 0 and 1 included, is refused.

    Raises:
        RecordError: code `type`.
    """
    if not isinstance(value, bool):
        raise RecordError("True or False is due here", code="type", field=field, value=value, hint="Pass a bool.")
    return value


def timestamp(value: object, field: str) -> float:
    """Return an instant as UTC epoch seconds, finite and >= 0.

    Raises:
        RecordError: code `timestamp`: negative, not a number, or in milliseconds.
    """
    try:
        number = finite(value, field)
    except RecordError as error:
        raise RecordError(
            error.message,
            code="timestamp",
            field=field,
            value=value,
            hint="Pass UTC epoch seconds as a float; from a datetime use an aware one and its .timestamp().",
        ) from error
    if not 0.0 <= number <= MAX_TIMESTAMP_S:
        raise RecordError(
            "the instant is negative or not in seconds",
            code="timestamp",
            field=field,
            value=value,
            hint="Pass UTC epoch seconds; divide milliseconds by 1000.",
        )
    return number


def valid_text(value: object, field: str, most_bytes: int, code: str) -> str:
    """Return text without lone surrogates, of at most so many bytes in UTF-8, as a plain str.

    Raises:
        RecordError: code `type`, or the one given.
    """
    if type(value) is str:
        text = value
    elif isinstance(value, str):
        text = str.__str__(value)  # numpy's np.str_ among them: stores and encoders take the exact type only
    else:
        raise RecordError("text is due here", code="type", field=field, value=value, hint="Pass a str.")
    try:
        n_bytes = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise RecordError(
            "the text holds a lone surrogate",
            code=code,
            field=field,
            value=value,
            hint="Decode it with errors='strict'.",
        ) from error
    if n_bytes > most_bytes:
        raise RecordError(
            f"the text has {n_bytes} bytes, at most {most_bytes} are kept",
            code=code,
            field=field,
            value=value,
            hint="Shorten it.",
        )
    return text


def query_text(value: object, field: str = "query") -> str:
    """Return a query: valid text of at most 64 KB without NUL; the empty query is legal.

    Raises:
        RecordError: code `type` or `text`.
    """
    text = valid_text(value, field, MAX_QUERY_BYTES, "text")
    if "\x00" in text:
        raise RecordError(
            "the text holds NUL", code="text", field=field, value=value, hint="Remove the control character."
        )
    return text


def identifier(value: object, field: str) -> str:
    """Return a document, user or segment id: 1 to 512 bytes of valid text without control characters.

    Raises:
        RecordError: code `type` or `id`.
    """
    text = valid_text(value, field, MAX_ID_BYTES, "id")
    if not text or (not text.isalnum() and _FORBIDDEN_IN_ID.search(text)):
        raise RecordError(
            "an id is 1 to 512 bytes of text without control characters",
            code="id",
            field=field,
            value=value,
            hint="Clean the id at its source.",
        )
    return text


def identifiers(values: Sequence[object], field: str) -> list[str]:
    """Return documents' ids, each as `identifier` has it; good ones are looked at together.

    Raises:
        RecordError: code `type` or `id`; `field` is that of the first bad one, as candidates[3].id.
    """
    if set(map(type, values)) == {str} and _are_plain(cast("Sequence[str]", values)):
        return list(cast("Sequence[str]", values))
    return [identifier(value, f"{field}[{i}].id") for i, value in enumerate(values)]


def _are_plain(texts: Sequence[str]) -> bool:
    """Return True only for ids that nothing can be wrong with: printable ASCII of 1 to 512 characters."""
    joined = "".join(texts)
    return joined.isascii() and joined.isprintable() and "" not in texts and max(map(len, texts)) <= MAX_ID_BYTES


def optional_identifier(value: object, field: str) -> str | None:
    """Return an id, or None where none was given.

    Raises:
        RecordError: as `identifier`.
    """
    return None if value is None else identifier(value, field)


def event_id(value: object, field: str = "event_id") -> str:
    r"""Return an event id: it matches `[\w.:/@-]{1,128}`.

    Raises:
        RecordError: code `type` or `id`.
    """
    if not isinstance(value, str):
        raise RecordError("an event id is text", code="type", field=field, value=value, hint="Pass a str.")
    if _EVENT_ID.fullmatch(value) is None:
        raise RecordError(
            r"an event id matches [\w.:/@-]{1,128}",
            code="id",
            field=field,
            value=value,
            hint="Use a UUID, or leave it out.",
        )
    return valid_text(value, field, MAX_ID_BYTES, "id")


def embedding(value: object, field: str = "query_embedding", *, dim: int | None = None) -> FloatArray:
    """Return an embedding as float64 (d,), finite, 1 <= d <= 8192, of the registered dimension where there is one.

    Raises:
        RecordError: code `type`, `non_finite` or `embedding_dim`.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiu":
            raise RecordError("numbers are due here", code="type", field=field, value=value.dtype, hint="Pass floats.")
        vector = value.astype(np.float64)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        vector = np.array([finite(x, f"{field}[{i}]") for i, x in enumerate(value)], dtype=np.float64)
    else:
        raise RecordError(
            "a sequence of floats is due here", code="type", field=field, value=value, hint="Pass a list or an array."
        )
    if vector.ndim != 1 or not 1 <= vector.size <= MAX_EMBEDDING_DIM or (dim is not None and vector.size != dim):
        due = f"{dim}" if dim is not None else f"1 to {MAX_EMBEDDING_DIM}"
        raise RecordError(
            f"the embedding has shape {vector.shape}, due are {due} numbers",
            code="embedding_dim",
            field=field,
            value=vector.shape,
            hint="Use one embedding model per store.",
        )
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is what is asked
        is_finite = bool(np.isfinite(vector.astype(np.float32)).all())
    if not is_finite:
        raise RecordError(
            "the embedding is not finite as float32",
            code="non_finite",
            field=field,
            value=value,
            hint="Check the model.",
        )
    return vector


def feature_names(names: Iterable[object]) -> tuple[str, ...]:
    """Return feature names as given: 1 to 1,024 different ids, none of them the reserved word "id".

    Raises:
        RecordError: code `feature_schema`.
    """
    if isinstance(names, str):
        raise RecordError(
            "a list of names is due here", code="type", field="features", value=names, hint="Pass ['bm25', ...]."
        )
    found = tuple(identifier(name, f"features[{i}]") for i, name in enumerate(names))
    if not 1 <= len(found) <= MAX_FEATURES or len(set(found)) != len(found) or "id" in found:
        raise RecordError(
            f"feature names are 1 to {MAX_FEATURES} different words other than 'id'",
            code="feature_schema",
            field="features",
            value=found,
            hint="Name each feature once.",
        )
    return found
