"""Archived events as columns of Parquet, format 1, and back, bit for bit.

What others filter and count by stands in columns of its own; `body` and `details` are the store's own blobs
(`storage.codec`), from which an event comes back with every bit. Where both say the same thing, they must agree.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from dwell.errors import ArchiveError, CorruptStoreError, MissingDependencyError, RecordError
from dwell.records import Impression, Signal
from dwell.storage import codec
from dwell.storage.archive_checks import check_archived
from dwell.storage.instants import micros, seconds
from dwell.storage.protocol import Outcome, Reader

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "COLUMNS",
    "FORMAT",
    "LEARNING_COLUMNS",
    "ArchivedEvent",
    "archived_events",
    "events_of",
    "needed_arrow",
    "schema",
    "table_of",
]

FORMAT: Final = "1"

COLUMNS: Final = (
    "seq", "event_id", "served_at", "user", "segment", "query", "served", "mode", "policy", "arm", "params_version",
    "activated_at", "state", "version", "closed_at", "reward", "priority", "document_rewards", "signals", "body",
    "details",
)  # fmt: skip
# what an event is made of but for its signals; the others among them are compared with what stands in the body
LEARNING_COLUMNS: Final = tuple(name for name in COLUMNS if name not in {"signals", "document_rewards"})


class ArchivedEvent(NamedTuple):
    """One event as it was when it was archived.

    Attributes:
        impression: What was served, as the store read it.
        outcome: What came of it.
        signals: What users did, in the store's order; empty where they were not asked for.
    """

    impression: Impression
    outcome: Outcome
    signals: tuple[Signal, ...] = ()


@contextlib.contextmanager
def needed_arrow() -> Iterator[None]:
    """Have an import within this context that fails for want of pyarrow say what to install.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("pyarrow"):
            raise
        raise MissingDependencyError(
            "archives are Parquet files, and pyarrow is not installed",
            field="archive",
            hint="Install it with: pip install 'dwell[arrow]'",
        ) from error


def archived_events(reader: Reader, seqs: Sequence[int]) -> list[ArchivedEvent]:
    """Return what is to be archived of events, in the order asked for; those that are gone are left out."""
    outcomes = {outcome.seq: outcome for outcome in reader.outcomes(seqs)}
    signals = reader.signals(seqs)
    return [
        ArchivedEvent(impression, outcomes[impression.seq], tuple(signals[impression.seq]))
        for impression in reader.impressions(seqs)
        if impression.seq in outcomes
    ]


def schema() -> pa.Schema:
    """Return the columns of format 1; instants are microseconds in UTC."""
    with needed_arrow():
        import pyarrow as pa
    instant = pa.timestamp("us", tz="UTC")

    def many(kind: pa.DataType) -> pa.DataType:
        return pa.list_(pa.field("element", kind, nullable=False))

    signal = pa.struct(
        [
            pa.field("name", pa.string(), nullable=False),
            pa.field("doc", pa.string()),
            pa.field("value", pa.float64(), nullable=False),
            pa.field("at", instant, nullable=False),
            pa.field("received_at", instant, nullable=False),
            pa.field("idempotency_key", pa.string()),
        ]
    )
    optional = {"user", "segment", "activated_at", "closed_at", "reward", "document_rewards", "details"}
    kinds = {
        "seq": pa.int64(),
        "served_at": instant,
        "served": many(pa.string()),
        "params_version": pa.int64(),
        "activated_at": instant,
        "version": pa.int64(),
        "closed_at": instant,
        "reward": pa.float64(),
        "priority": pa.float64(),
        "document_rewards": many(pa.float32()),
        "signals": many(signal),
        "body": pa.binary(),
        "details": pa.binary(),
    }
    return pa.schema([pa.field(name, kinds.get(name, pa.string()), nullable=name in optional) for name in COLUMNS])


def table_of(events: Sequence[ArchivedEvent]) -> pa.Table:
    """Return events as rows, in their order.

    Raises:
        RecordError: A value that no store takes.
    """
    columns = schema()
    with needed_arrow():
        import pyarrow as pa
    rows = [_row(event) for event in events]
    values = [pa.array([row[i] for row in rows], type=field.type) for i, field in enumerate(columns)]
    return pa.Table.from_arrays(values, schema=columns)


def _row(event: ArchivedEvent) -> tuple[Any, ...]:
    impression, outcome = event.impression, event.outcome
    rewards = outcome.document_rewards
    return (
        impression.seq,
        impression.event_id,
        micros(impression.served_at, "served_at"),
        impression.user,
        impression.segment,
        impression.query,
        list(impression.served),
        impression.mode,
        impression.policy,
        impression.arm,
        impression.params_version,
        None if impression.activated_at is None else micros(impression.activated_at, "activated_at"),
        outcome.state,
        outcome.version,
        None if outcome.closed_at is None else micros(outcome.closed_at, "closed_at"),
        outcome.reward,
        outcome.priority,
        None if rewards is None else rewards.tolist(),
        [_signal_row(signal) for signal in event.signals],
        codec.encode_impression(impression),
        codec.encode_details(outcome),
    )


def _signal_row(signal: Signal) -> dict[str, Any]:
    return {
        "name": signal.name,
        "doc": signal.doc,
        "value": signal.value,
        "at": micros(signal.at, "at"),
        "received_at": micros(signal.received_at, "received_at"),
        "idempotency_key": signal.idempotency_key,
    }


def events_of(table: pa.Table, *, is_known: bool = False) -> Iterator[ArchivedEvent]:
    """Yield the events of rows with at least `LEARNING_COLUMNS`, each checked.

    Args:
        table: The rows.
        is_known: Whether these very rows were checked before, a moment ago.

    Raises:
        ArchiveError: code `archive_values`: a row holds what no event can have, or says two things at once.
    """
    with needed_arrow():
        import pyarrow as pa
    names = [name for name in COLUMNS if name in table.column_names]
    columns = [_plain(table.column(name), pa) for name in names]
    for values in zip(*columns, strict=True):
        yield _event(dict(zip(names, values, strict=True)), is_known=is_known)


def _plain(column: pa.ChunkedArray, pa: Any) -> list[Any]:  # noqa: ANN401 - the module itself
    """Return a column as Python values, instants as whole microseconds."""
    if pa.types.is_timestamp(column.type):
        found: list[Any] = column.cast(pa.int64()).to_pylist()
        return found
    if pa.types.is_list(column.type) and pa.types.is_struct(column.type.value_type):
        instant = pa.int64()
        fields = [
            pa.field(one.name, instant if pa.types.is_timestamp(one.type) else one.type)
            for one in column.type.value_type
        ]
        column = column.cast(pa.list_(pa.field("element", pa.struct(fields), nullable=False)))
    plain: list[Any] = column.to_pylist()
    return plain


def _event(row: dict[str, Any], *, is_known: bool) -> ArchivedEvent:
    seq, event_id = row["seq"], row["event_id"]
    try:
        impression = codec.decode_impression(row["body"], event_id=event_id, seq=seq)
        details = codec.decode_details(row["details"], seq=seq)
        if row["activated_at"] is not None:
            impression = dataclasses.replace(impression, activated_at=seconds(row["activated_at"]))
        outcome = Outcome(
            seq=seq,
            state=row["state"],
            version=row["version"],
            closed_at=None if row["closed_at"] is None else seconds(row["closed_at"]),
            reward=row["reward"],
            priority=row["priority"],
            **details._asdict(),
        )
        event = ArchivedEvent(impression, outcome, tuple(_signal(event_id, one) for one in row.get("signals", ())))
        if not is_known:
            check_archived(*event)
            _check_agrees(row, impression)
    except (CorruptStoreError, RecordError, msgspec.DecodeError, ValueError, TypeError, OverflowError) as error:
        field = error.field if isinstance(error, RecordError) else "body"
        raise ArchiveError(
            f"an archived row holds what no event can have: {getattr(error, 'message', error)}",
            code="archive_values",
            field=field,
            value=event_id,
            hint="Remove the file, or restore it from a backup.",
        ) from error
    return event


def _signal(event_id: str, given: dict[str, Any]) -> Signal:
    at, received_at = seconds(given["at"]), seconds(given["received_at"])
    return Signal(event_id=event_id, **{**given, "at": at, "received_at": received_at})


def _check_agrees(row: dict[str, Any], impression: Impression) -> None:
    """Refuse a row whose columns say something else than its body: erasure goes by the columns.

    Raises:
        RecordError: They differ; names the column.
    """
    told = {
        "event_id": impression.event_id,
        "served_at": micros(impression.served_at, "served_at"),
        "user": impression.user,
        "segment": impression.segment,
        "query": impression.query,
        "served": list(impression.served),
        "mode": impression.mode,
        "policy": impression.policy,
        "arm": impression.arm,
        "params_version": impression.params_version,
    }
    for name, value in told.items():
        if row[name] != value:
            raise RecordError("a column and the body say two things", field=name, value=row[name])
