"""Events as batches of Arrow, a row each: what Parquet, pandas, polars and DuckDB take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.errors import MissingDependencyError
from dwell.loop.recorded_events import RecordedEvent
from dwell.records import Impression
from dwell.storage.instants import micros

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SCHEMA_VERSION", "arrow_batches", "arrow_schema", "needed_pyarrow"]

SCHEMA_VERSION: Final = "1"
_ROWS: Final = 128  # of a batch: 1 MB of the lists of every day, 16 MB with queries of 64 KB
_REQUIRED: Final = {
    "event_id", "seq", "served_at", "mode", "policy", "arm", "params_version", "temperature", "is_deterministic",
    "is_altered", "state", "priority", "keep_probability", "n_candidates", "feature_names", "documents", "signals",
}  # fmt: skip


@contextlib.contextmanager
def needed_pyarrow() -> Iterator[None]:
    """Have an import within this context that fails for want of pyarrow say what to install.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pyarrow":
            raise
        raise MissingDependencyError("Arrow and Parquet need pyarrow", hint="pip install 'dwell[arrow]'") from error


def arrow_schema() -> pa.Schema:
    """Return the columns, format 1, with the versions of dwell and of the format as metadata."""
    with needed_pyarrow():
        import pyarrow as pa
    instant = pa.timestamp("us", tz="UTC")
    columns = {
        "event_id": pa.string(),
        "seq": pa.int64(),
        "served_at": instant,
        "query": pa.string(),
        "query_embedding": _many(pa, pa.float32()),
        "user": pa.string(),
        "segment": pa.string(),
        "mode": pa.string(),
        "policy": pa.string(),
        "arm": pa.string(),
        "params_version": pa.int64(),
        "temperature": pa.float64(),
        "is_deterministic": pa.bool_(),
        "is_altered": pa.bool_(),
        "state": pa.string(),
        "closed_at": instant,
        "reward": pa.float64(),
        "reward_version": pa.string(),
        "priority": pa.float64(),
        "predicted_reward": pa.float64(),
        "keep_probability": pa.float64(),
        "n_candidates": pa.int64(),
        "feature_names": _many(pa, pa.string()),
        "documents": _many(pa, pa.struct(_document_fields(pa))),
        "signals": _many(pa, pa.struct(_signal_fields(pa))),
    }
    told = {"dwell.version": _version(), "dwell.export": SCHEMA_VERSION}
    return pa.schema([pa.field(name, kind, nullable=name not in _REQUIRED) for name, kind in columns.items()], told)


def _version() -> str:
    try:
        return metadata.version("dwell")
    except metadata.PackageNotFoundError:
        return "unknown"  # it runs from a folder that was never installed


def _many(pa: Any, kind: Any, *, has_null: bool = False) -> Any:  # noqa: ANN401 - the module itself and its types
    return pa.list_(pa.field("element", kind, nullable=has_null))


def _document_fields(pa: Any) -> list[Any]:  # noqa: ANN401 - as above
    return [
        pa.field("id", pa.string(), nullable=False),
        pa.field("rank", pa.int32()),
        pa.field("score", pa.float32()),
        pa.field("propensity", pa.float64()),
        pa.field("inclusion", pa.float64()),
        pa.field("exposure", pa.float32()),
        pa.field("reward", pa.float32()),
        pa.field("features", _many(pa, pa.float32(), has_null=True), nullable=False),
    ]


def _signal_fields(pa: Any) -> list[Any]:  # noqa: ANN401 - as above
    instant = pa.timestamp("us", tz="UTC")
    return [
        pa.field("name", pa.string(), nullable=False),
        pa.field("doc", pa.string()),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("at", instant, nullable=False),
        pa.field("received_at", instant, nullable=False),
    ]


def arrow_batches(events: Iterable[RecordedEvent], *, has_text: bool) -> Iterator[pa.RecordBatch]:
    """Yield batches of at most 128 rows in the order of the events.

    Args:
        events: What was recorded.
        has_text: False has the column `query` hold null rather than "", which was asked as well.
    """
    columns = arrow_schema()
    with needed_pyarrow():
        import pyarrow as pa
    left = iter(events)
    while some := list(islice(left, _ROWS)):
        values = _columns(pa, some, has_text=has_text)
        yield pa.RecordBatch.from_arrays(
            [values[f.name] if f.name in values else pa.array(_plain(some, f.name), f.type) for f in columns],
            schema=columns,
        )


def _plain(events: Sequence[RecordedEvent], name: str) -> list[Any]:
    """Return a column whose values stand under its name in the outcome, or else in the impression."""
    if hasattr(events[0].outcome, name):
        return [getattr(event.outcome, name) for event in events]
    return [getattr(event.impression, name) for event in events]


def _columns(pa: Any, events: Sequence[RecordedEvent], *, has_text: bool) -> dict[str, Any]:  # noqa: ANN401 - as above
    instant = pa.timestamp("us", tz="UTC")
    embeddings = [event.impression.query_embedding for event in events]
    closed = [event.outcome.closed_at for event in events]
    return {
        "served_at": pa.array([micros(event.impression.served_at, "served_at") for event in events], instant),
        "query": pa.array([event.impression.query if has_text else None for event in events], pa.string()),
        "query_embedding": _embeddings(pa, embeddings),
        "closed_at": pa.array([None if at is None else micros(at, "closed_at") for at in closed], instant),
        "reward_version": pa.array([event.outcome.reward_version or None for event in events], pa.string()),
        "feature_names": pa.array(
            [event.impression.feature_names if event.impression.has_features else () for event in events],
            _many(pa, pa.string()),
        ),
        "documents": _documents(pa, events),
        "signals": _signals(pa, events),
    }


def _embeddings(pa: Any, embeddings: Sequence[npt.NDArray[np.float32] | None]) -> Any:  # noqa: ANN401 - as above
    sizes = [0 if one is None else len(one) for one in embeddings]
    values = _joined([one for one in embeddings if one is not None], np.float32)
    return _lists(pa, sizes, pa.array(values), pa.float32(), is_null=[one is None for one in embeddings])


def _lists(
    pa: Any,  # noqa: ANN401 - as above
    sizes: Sequence[int],
    values: Any,  # noqa: ANN401 - as above
    kind: Any,  # noqa: ANN401 - as above
    *,
    is_null: Sequence[bool] | None = None,
    has_null: bool = False,
) -> Any:  # noqa: ANN401 - as above
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    mask = None if is_null is None else pa.array(is_null)
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=_many(pa, kind, has_null=has_null), mask=mask)


def _joined(arrays: Sequence[npt.NDArray[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, kind), *arrays]).astype(kind, copy=False)


class _Told(NamedTuple):
    """What is told of the documents of one event, an entry each; NaN where nothing is."""

    ids: Sequence[str]
    ranks: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    propensities: npt.NDArray[np.float64]
    inclusion: npt.NDArray[np.float64]
    exposure: npt.NDArray[np.float64]
    rewards: npt.NDArray[np.float64]
    features: npt.NDArray[np.float32]
    n_features: int


def _documents(pa: Any, events: Sequence[RecordedEvent]) -> Any:  # noqa: ANN401 - as above
    found = [_told(event) for event in events]

    def numbers(name: str, kind: Any) -> Any:  # noqa: ANN401 - as above
        values = _joined([getattr(one, name) for one in found], np.float64)
        return pa.array(values, mask=np.isnan(values)).cast(kind)

    flat = _joined([one.features.reshape(-1) for one in found], np.float32)
    sizes = [one.n_features for one in found for _ in one.ids]
    features = _lists(pa, sizes, pa.array(flat, mask=np.isnan(flat)), pa.float32(), has_null=True)
    fields = _document_fields(pa)
    table = pa.StructArray.from_arrays(
        [
            pa.array([doc for one in found for doc in one.ids], pa.string()),
            numbers("ranks", pa.int32()),
            numbers("scores", pa.float32()),
            numbers("propensities", pa.float64()),
            numbers("inclusion", pa.float64()),
            numbers("exposure", pa.float32()),
            numbers("rewards", pa.float32()),
            features,
        ],
        fields=fields,
    )
    return _lists(pa, [len(one.ids) for one in found], table, pa.struct(fields))


def _told(event: RecordedEvent) -> _Told:
    """Return what is known of the documents shown, in order, then of the others that were kept."""
    impression, outcome = event.impression, event.outcome
    ids, at = _places(impression)
    n, is_kept = len(ids), at >= 0

    def kept(values: npt.NDArray[Any] | None) -> npt.NDArray[np.float64]:
        found = np.full(n, np.nan)
        if values is not None and len(values):
            found[is_kept] = values[at[is_kept]]
        return found

    def shown(values: npt.NDArray[Any] | None) -> npt.NDArray[np.float64]:
        found = np.full(n, np.nan)
        some = np.asarray([] if values is None else values)[: impression.n_served]
        found[: len(some)] = some
        return found

    n_features = impression.features.shape[1] if impression.has_features else 0
    features = np.full((n, n_features), np.nan, np.float32)
    if n_features:
        features[is_kept] = impression.features[at[is_kept]]
    return _Told(
        ids,
        shown(np.arange(1, impression.n_served + 1)),
        kept(impression.scores[impression.document_scores]),
        shown(impression.propensities),
        kept(impression.inclusion),
        kept(outcome.exposure),
        shown(outcome.document_rewards),
        features,
        n_features,
    )


def _places(impression: Impression) -> tuple[Sequence[str], npt.NDArray[np.int64]]:
    """Return the ids of all documents told of, and where each stands among those kept; -1 where its features do not."""
    served, documents = impression.served, impression.documents
    if documents[: len(served)] == served:
        return documents, np.arange(len(documents))
    place, is_served = {doc: i for i, doc in enumerate(documents)}, set(served)
    ids = [*served, *(doc for doc in documents if doc not in is_served)]
    return ids, np.array([place.get(doc, -1) for doc in ids], dtype=np.int64)


def _signals(pa: Any, events: Sequence[RecordedEvent]) -> Any:  # noqa: ANN401 - as above
    signals = [signal for event in events for signal in event.signals]
    instant, fields = pa.timestamp("us", tz="UTC"), _signal_fields(pa)
    table = pa.StructArray.from_arrays(
        [
            pa.array([signal.name for signal in signals], pa.string()),
            pa.array([signal.doc for signal in signals], pa.string()),
            pa.array([signal.value for signal in signals], pa.float64()),
            pa.array([micros(signal.at, "at") for signal in signals], instant),
            pa.array([micros(signal.received_at, "received_at") for signal in signals], instant),
        ],
        fields=fields,
    )
    return _lists(pa, [len(event.signals) for event in events], table, pa.struct(fields))
