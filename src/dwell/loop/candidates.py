"""Read the candidates of one call into ids and a feature matrix, or say which value is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dwell.errors import FeatureSchemaError, RecordError
from dwell.records import checks
from dwell.records.arrays import Float32Array
from dwell.records.readable import MAX_CANDIDATES, Readable, readable_ids

__all__ = ["MAX_CANDIDATES", "Candidates", "Readable", "read_array", "read_dicts", "read_rows", "readable_ids"]


class Candidates(NamedTuple):
    """What can be served for one query, in the caller's own order.

    Attributes:
        ids: Document ids.
        features: float32 (n, f) in the loop's feature order; (n, 0) where none were given.
    """

    ids: list[str]
    features: Float32Array


def _check_ids(ids: Sequence[object], path: str) -> list[str]:
    if not 1 <= len(ids) <= MAX_CANDIDATES:
        raise RecordError(
            f"a list has 1 to {MAX_CANDIDATES} documents",
            code="results_shape",
            field=path,
            value=len(ids),
            hint="Call rank with the candidates that the retriever found; skip the call when it found none.",
        )
    found = checks.identifiers(ids, path)
    if len(set(found)) != len(found):
        seen: set[str] = set()
        twice = next(doc for doc in found if doc in seen or seen.add(doc))  # type: ignore[func-returns-value]
        raise RecordError(
            "a document stands twice in the list",
            code="results_shape",
            field=path,
            value=twice,
            hint="Deduplicate first.",
        )
    return found


def _as_float32(values: np.ndarray[Any, Any], names: Sequence[str], path: str) -> Float32Array:
    with np.errstate(over="ignore"):
        features = values.astype(np.float32)
    if not np.isfinite(features).all():
        i, j = (int(x) for x in np.argwhere(~np.isfinite(features))[0])
        raise RecordError(
            "the feature is not finite as float32",
            code=f"non_finite:{names[j]}",
            field=f"{path}[{i}].{names[j]}",
            value=float(values[i, j]),
            hint="Leave out documents that have no value, or give a finite default.",
        )
    return features


def read_dicts(candidates: object, names: tuple[str, ...], *, path: str = "candidates") -> Candidates:
    """Return candidates given as mappings with "id" and one number per feature.

    Raises:
        RecordError: A malformed id, a duplicate, an unknown or missing feature, a value that is no finite number.
    """
    if isinstance(candidates, str | bytes | Mapping) or not isinstance(candidates, Sequence):
        raise RecordError(
            "candidates are a list of mappings",
            code="type",
            field=path,
            value=type(candidates).__name__,
            hint="Pass [{'id': ..., 'bm25': ...}, ...].",
        )
    for i, candidate in enumerate(candidates):
        if not isinstance(candidate, Mapping) or "id" not in candidate:
            raise RecordError(
                "a candidate is a mapping with 'id'",
                code="results_shape",
                field=f"{path}[{i}]",
                value=candidate,
                hint="Pass [{'id': ..., 'bm25': ...}, ...].",
            )
    ids = _check_ids([candidate["id"] for candidate in candidates], path)
    expected = {*names, "id"}
    rows = []
    for i, candidate in enumerate(candidates):
        if candidate.keys() != expected:
            _refuse_names(candidate.keys() - {"id"}, names, f"{path}[{i}]")
        row = [candidate[name] for name in names]
        for name, value in zip(names, row, strict=True):
            if type(value) is not float:
                _check_feature(value, name, f"{path}[{i}].{name}")
        rows.append(row)
    return Candidates(ids, _as_float32(np.array(rows, dtype=np.float64), names, path))


def read_rows(
    ids: Sequence[object], rows: Sequence[Mapping[str, Any]], names: tuple[str, ...], path: str
) -> Candidates:
    """Return candidates whose features stand in mappings that may hold more; each of them has every name.

    Raises:
        RecordError: A malformed id, a duplicate, a value that is no finite number.
    """
    found = _check_ids(ids, path)
    values = [[row[name] for name in names] for row in rows]
    for i, row in enumerate(values):
        for name, value in zip(names, row, strict=True):
            if type(value) is not float:
                _check_feature(value, name, f"{path}[{i}].{name}")
    shape = (len(found), len(names))
    return Candidates(found, _as_float32(np.array(values, dtype=np.float64).reshape(shape), names, path))


def _check_feature(value: object, name: str, path: str) -> None:
    try:
        checks.finite(value, path)
    except RecordError as error:
        raise RecordError(
            error.message, code=f"{error.code}:{name}", field=path, value=value, hint=error.hint
        ) from error


def _refuse_names(given: object, names: tuple[str, ...], path: str) -> None:
    found = set(given)  # type: ignore[call-overload]
    missing, unknown = sorted(set(names) - found), sorted(map(str, found - set(names)))
    raise FeatureSchemaError(
        f"features differ from the registered ones: missing {missing}, unknown {unknown}",
        code=f"feature_schema:{(missing or unknown)[0]:.80}",
        field=path,
        value=sorted(map(str, found)),
        hint="Give every registered feature, or open the store with the additional names in features=[...].",
    )


def read_array(ids: Sequence[object], features: object, names: tuple[str, ...]) -> Candidates:
    """Return candidates given as ids and an (n, f) array whose columns follow `names`.

    Raises:
        RecordError: As `read_dicts`, or an array of another shape or of a type that holds no numbers.
    """
    found = _check_ids(list(ids), "ids")
    if features is None:
        raise RecordError(
            "features are missing", code="feature_schema", field="features", value=None, hint="Pass an (n, f) array."
        )
    matrix = _matrix(features)
    if matrix.dtype.kind not in "fiu":
        raise RecordError(
            "features are numbers", code="type", field="features", value=str(matrix.dtype), hint="Pass a float array."
        )
    if matrix.shape != (len(found), len(names)):
        raise FeatureSchemaError(
            f"features have shape {matrix.shape}, due is {(len(found), len(names))}",
            field="features",
            value=matrix.shape,
            hint=f"One row per id, columns in the order {list(names)}.",
        )
    return Candidates(found, _as_float32(matrix.astype(np.float64), names, "features"))


def _matrix(features: object) -> np.ndarray[Any, Any]:
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
    # numpy takes True among floats for 1.0: in an array its type tells, in lists every value must be looked at
    if not isinstance(features, np.ndarray) and any(
        isinstance(value, bool | np.bool_) for row in _rows_of(features) for value in _rows_of(row)
    ):
        raise RecordError(
            "features are numbers", code="type", field="features", value="bool", hint="Pass 0.0 and 1.0 for flags."
        )
    return matrix


def _rows_of(values: object) -> Sequence[object]:
    return values if isinstance(values, Sequence) and not isinstance(values, str | bytes) else ()
