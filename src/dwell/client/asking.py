"""What is asked for, as it travels: values are checked as the embedded loop checks them, then encoded.

JSON has neither NaN nor infinities, and the server's features are not known here: what travels is refused by the same
codes as in process, the rest is left to the server.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from dwell.errors import DwellError, RecordError
from dwell.records import Feedback, Params, Transform, checks

__all__ = [
    "MAX_ITEMS",
    "Request",
    "encoded",
    "feedback_item",
    "feedback_items",
    "params_body",
    "rank_body",
    "retrieval_body",
]

MAX_ITEMS: Final = 1_000  # reactions in one request, as the server takes them
_ITEM_KEYS: Final = frozenset({"event_id", "signal", "doc", "value", "at", "idempotency_key"})


class Request(NamedTuple):
    """One request, whole but for the key.

    Attributes:
        method: "GET" or "POST".
        path: Path with its query.
        body: JSON, or None.
        idempotency_key: Makes a repeated request one, where its body does not.
    """

    method: str
    path: str
    body: bytes | None = None
    idempotency_key: str | None = None


def _plain(value: object) -> object:
    """Return numpy's numbers and arrays, and any mapping or sequence, as JSON knows them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise RecordError(
        "a value can not be sent as JSON",
        code="type",
        field="body",
        value=type(value).__name__,
        hint="Pass numbers and text.",
    )


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return a body as JSON, without the names whose value is None.

    Raises:
        RecordError: code `type`.
    """
    told = {name: value for name, value in body.items() if value is not None}
    try:
        return msgspec.json.encode(told, enc_hook=_plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, DwellError):
            raise
        raise RecordError("a value can not be sent as JSON", code="type", hint="Pass numbers and text.") from error


def _number(value: object, name: str, path: str) -> float | int:
    """Return one feature, refused with its name in the code as the loop refuses it."""
    if type(value) is float and math.isfinite(value):
        return value
    try:
        return checks.finite(value, path)
    except RecordError as error:
        raise RecordError(
            error.message, code=f"{error.code}:{name}", field=path, value=value, hint=error.hint
        ) from error


def _documents(items: object, field: str) -> list[dict[str, Any]]:
    """Return mappings with an id, each number in them finite.

    Raises:
        RecordError: They are no such list.
    """
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Sequence) or not items:
        raise RecordError(
            f"{field} are a list of mappings, at least one",
            code="results_shape",
            field=field,
            value=type(items).__name__,
            hint="Pass [{'id': ..., 'bm25': ...}, ...].",
        )
    return [_document(item, f"{field}[{i}]") for i, item in enumerate(items)]


def _document(item: object, path: str) -> dict[str, Any]:
    if not isinstance(item, Mapping) or item.get("id", item.get("memory_id")) is None:
        raise RecordError(
            "a document is a mapping with 'id'",
            code="results_shape",
            field=path,
            value=item,
            hint="Pass [{'id': ..., 'bm25': ...}, ...].",
        )
    found: dict[str, Any] = {}
    for name, value in item.items():
        if name in {"id", "memory_id"}:
            found[name] = checks.identifier(value, f"{path}.{name}")
        elif not isinstance(name, str):
            raise RecordError("a feature's name is text", code="type", field=path, value=name, hint="Pass a str.")
        elif name == "rank":
            found[name] = checks.positive_integer(value, f"{path}.rank")
        elif name != "score" or value is not None:
            found[name] = _number(value, name, f"{path}.{name}")
    return found


def _matrix(ids: object, features: object) -> tuple[list[str], list[list[float]]]:
    """Return ids and their rows of features.

    Raises:
        RecordError: They are not equally many, or hold something else than finite numbers.
    """
    if isinstance(ids, str | bytes | Mapping) or not isinstance(ids, Sequence | np.ndarray):
        raise RecordError(
            "ids are a sequence of text", code="type", field="ids", value=type(ids).__name__, hint="Pass a list."
        )
    found = [checks.identifier(doc, f"ids[{i}].id") for i, doc in enumerate(ids)]
    try:
        matrix = np.asarray(features)
    except (TypeError, ValueError, OverflowError) as error:
        raise RecordError(
            "the features are no array",
            code="results_shape",
            field="features",
            value=type(features).__name__,
            hint="Pass rows of equal length, one number per feature.",
        ) from error
    if matrix.dtype.kind not in "fiu":
        raise RecordError(
            "features are numbers", code="type", field="features", value=str(matrix.dtype), hint="Pass a float array."
        )
    if matrix.ndim != 2 or len(matrix) != len(found):
        raise RecordError(
            f"features have shape {matrix.shape}, due are {len(found)} rows",
            code="feature_schema",
            field="features",
            value=matrix.shape,
            hint="One row per id, columns in the order of dwell.open(features=...).",
        )
    if not np.isfinite(matrix).all():
        i, j = (int(x) for x in np.argwhere(~np.isfinite(matrix))[0])
        raise RecordError(
            "the feature is not finite",
            code="non_finite",
            field=f"features[{i}][{j}]",
            value=float(matrix[i, j]),
            hint="Leave out documents that have no value, or give a finite default.",
        )
    return found, matrix.astype(np.float64).tolist()


def _request_of(
    query: object, *, user: object, segment: object, query_embedding: object, event_id: object
) -> dict[str, Any]:
    return {
        "query": checks.query_text(query),
        "user": checks.optional_identifier(user, "user"),
        "segment": checks.optional_identifier(segment, "segment"),
        "query_embedding": None if query_embedding is None else checks.embedding(query_embedding).tolist(),
        "event_id": checks.event_id(event_id),
    }


def rank_body(
    query: object,
    candidates: object,
    *,
    ids: object,
    features: object,
    k: int,
    user: object,
    segment: object,
    query_embedding: object,
    event_id: object,
    activate: object,
) -> bytes:
    """Return the body of a ranking call.

    Raises:
        RecordError: A malformed value, by the codes of `Loop.rank`.
    """
    body = _request_of(query, user=user, segment=segment, query_embedding=query_embedding, event_id=event_id)
    body["activate"] = checks.boolean(activate, "activate")
    if ids is None:
        body["candidates"] = _documents(candidates, "candidates")
        n = len(body["candidates"])
    else:
        body["ids"], body["features"] = _matrix(ids, features)
        n = len(body["ids"])
    body["k"] = min(k, max(n, 1))  # what lies beyond the candidates changes nothing, and the server bounds its integers
    return encoded(body)


def retrieval_body(
    query: object, results: object, *, user: object, segment: object, query_embedding: object, event_id: object
) -> bytes:
    """Return the body of a list that another ranker ordered.

    Raises:
        RecordError: A malformed value, by the codes of `Loop.log_retrieval`.
    """
    body = _request_of(query, user=user, segment=segment, query_embedding=query_embedding, event_id=event_id)
    body["results"] = _documents(results, "results")
    return encoded(body)


def feedback_item(
    event_id: object, signal: object, *, doc: object, value: object, at: object, idempotency_key: object
) -> bytes | Feedback:
    """Return one reaction as JSON, or the answer that refuses it; never raises on data."""
    try:
        return encoded(
            {
                "event_id": checks.event_id(event_id),
                "signal": checks.identifier(signal, "signal"),
                "doc": checks.optional_identifier(doc, "doc"),
                "value": checks.finite(value, "value"),
                "at": None if at is None else checks.timestamp(at, "at"),
                "idempotency_key": checks.optional_identifier(idempotency_key, "idempotency_key"),
            }
        )
    except DwellError as error:
        return Feedback("rejected", f"{error.code}: {error}")
    except Exception as error:  # noqa: BLE001 - whatever a hostile value does when it is looked at
        return Feedback("rejected", f"internal:{type(error).__name__}")


def feedback_items(items: object) -> list[bytes | Feedback]:
    """Return, per reaction, its JSON or the answer that refuses it.

    Raises:
        RecordError: `items` is no sequence: there is no number of answers to give.
    """
    if isinstance(items, str | bytes) or not isinstance(items, Sequence):
        raise RecordError(
            "reactions are a sequence of mappings",
            code="type",
            field="items",
            value=type(items).__name__,
            hint="Pass a list; of one reaction, a list of one.",
        )
    return [_item_of(item) for item in items]


def _item_of(item: object) -> bytes | Feedback:
    try:
        if not isinstance(item, Mapping) or not {"event_id", "signal"} <= item.keys() or item.keys() - _ITEM_KEYS:
            known = sorted(_ITEM_KEYS)
            return Feedback("rejected", f"type: an item is a mapping with event_id and signal, and of {known}")
        return feedback_item(
            item["event_id"],
            item["signal"],
            doc=item.get("doc"),
            value=item.get("value", 1.0),
            at=item.get("at"),
            idempotency_key=item.get("idempotency_key"),
        )
    except Exception as error:  # noqa: BLE001 - whatever a hostile item does when it is looked at
        return Feedback("rejected", f"internal:{type(error).__name__}")


def params_body(params: object, known: Mapping[int, Params]) -> dict[str, Any]:
    """Return how params are named to the server: by their version where it is the server's, else by their weights.

    Args:
        params: A `Params`, or the number of a stored version.
        known: Versions that the server sent.

    Raises:
        RecordError: They are none, or hold a transform that the server did not send: that does not travel.
    """
    if isinstance(params, int) and not isinstance(params, bool):
        return {"version": int(checks.within(params, "params", 0, 2**53))}
    if not isinstance(params, Params):
        raise RecordError(
            "Params are due here",
            code="type",
            field="params",
            value=type(params).__name__,
            hint="Pass Params, or the number of a stored version.",
        )
    theirs = known.get(params.version)
    if theirs is not None and _is_same(params, theirs):
        return {"version": params.version}
    if params.transform is None and params.raw_score is None:
        return {"weights": dict(params.weights)}
    raise RecordError(
        "these params hold a transform that this client was not sent, and transforms do not travel",
        code="params_unknown",
        field="params",
        value=params.version,
        hint="Pass the number of a stored version, or weights that act on raw feature values.",
    )


def _is_same(left: Params, right: Params) -> bool:
    """Return whether two versions are one policy: the same weights on the same map of the same features, bit by bit."""
    return (
        left.feature_names == right.feature_names
        and left.raw_score == right.raw_score
        and np.array_equal(left.vector, right.vector)
        and _is_same_transform(left.transform, right.transform)
    )


def _is_same_transform(left: Transform | None, right: Transform | None) -> bool:
    if left is None or right is None:
        return left is right
    return left.kind == right.kind and all(
        np.array_equal(a, b) for a, b in zip((*left.knots, *left.levels), (*right.knots, *right.levels), strict=True)
    )
