"""What `dwell export` wrote as Parquet or CSV, read again: events with their lists and reactions.

Parquet is known by the number of its format, which stands in the file's metadata; CSV by its header, which is that of
no other table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dwell.errors import ConfigError
from dwell.integrations.importing.reading import Reading, digest_of, event_id_of, number
from dwell.integrations.importing.records import Told
from dwell.integrations.ubi.fields import UnreadableField
from dwell.loop.exports.arrow_rows import SCHEMA_VERSION, arrow_schema
from dwell.loop.exports.csv_rows import COLUMNS
from dwell.loop.exports.escapes import plain_cell, plain_word, safe_cell
from dwell.loop.imported import ToldList, ToldReaction

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "EVENT_FIELDS",
    "NEVER_SHOWN",
    "ExportedEvent",
    "aggregated",
    "is_exported_table",
    "is_header",
    "note_chances",
    "read_event",
    "read_rows",
]

NEVER_SHOWN: Final = "not_shown"  # state of an event of which nothing can be said: nobody saw it
#: Columns of an exported Parquet file that are read.
EVENT_FIELDS: Final = (
    "event_id", "served_at", "query", "query_embedding", "user", "segment", "state", "feature_names", "documents",
    "signals",
)  # fmt: skip
_FORMAT: Final = b"dwell.export"
_FEATURE: Final = "feature."


class ExportedEvent(NamedTuple):
    """A row of an exported Parquet file.

    Attributes:
        fields: {column: value}, those of `EVENT_FIELDS`.
    """

    fields: Mapping[str, Any]


def is_exported_table(schema: pa.Schema) -> bool:
    """Return whether a Parquet file says that it is an export.

    Raises:
        ConfigError: It is of another format than 1, or its columns are not those of its format any more.
    """
    told = (schema.metadata or {}).get(_FORMAT)
    if told is None:
        return False
    version, due = told.decode("utf-8", "replace"), arrow_schema()
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"this is an export of another format than {SCHEMA_VERSION}",
            field="path",
            value=version,
            hint="Read it with the dwell that wrote it, or a newer one.",
        )
    for name in EVENT_FIELDS:
        if name not in schema.names or schema.field(name) != due.field(name):
            raise ConfigError(
                f"this export has not the column {name!r} as it was written",
                field="path",
                value=name,
                hint="Import the file as `dwell export` wrote it.",
            )
    return True


def is_header(names: Iterable[object]) -> bool:
    """Return whether the columns of a table are those of an exported CSV."""
    found = tuple(names)
    n = len(COLUMNS)
    return found[:n] == COLUMNS and all(
        isinstance(name, str) and plain_cell(name).startswith(_FEATURE) for name in found[n:]
    )


def read_event(event: ExportedEvent, reading: Reading) -> Iterator[Told]:
    """Yield the list and every reaction, at the instant of each.

    Raises:
        UnreadableField: A value can not be read.
    """
    row = event.fields
    if row["state"] == NEVER_SHOWN:
        reading.left_out["never_shown"] += 1
        return
    shown = [one for one in row["documents"] if one["rank"] is not None]
    note_chances((one["propensity"] for one in shown), reading)
    listed = ToldList(
        event_id=event_id_of(row["event_id"], "/event_id"),
        at=reading.at(row["served_at"].isoformat(), "/served_at"),
        query=row["query"] or "",
        results=[_result(one, row["feature_names"]) for one in shown],
        user=row["user"],
        segment=row["segment"],
        query_embedding=row["query_embedding"] or None,
    )
    yield listed
    times: Counter[tuple[object, ...]] = Counter()
    for one in row["signals"]:
        name, doc, value, at = one["name"], one["doc"], one["value"], one["at"].isoformat()
        # the store has two that say the same only where their keys, which are not exported, differ: both count
        what = (listed.event_id, name, doc, value, at)
        times[what] += 1
        signal = reading.signal(name)
        if signal is not None:
            yield ToldReaction(
                event_id=listed.event_id,
                signal=signal,
                at=reading.at(at, "/signals"),
                key=f"export:{digest_of(*what, times[what])}",
                doc=doc,
                value=value,
                user=listed.user,
            )


def _result(document: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    told = {"score": document["score"], **dict(zip(names, document["features"], strict=False))}
    found = {name: value for name, value in told.items() if value is not None}
    return {**found, "id": document["id"], "rank": document["rank"]}


def note_chances(propensities: Iterable[float | None], reading: Reading) -> None:
    """Count a list that was drawn: here it is one that somebody else ordered."""
    if any(chance is not None and chance != 1.0 for chance in propensities):
        reading.left_out["propensities"] += 1


def read_rows(rows: Sequence[Mapping[str, object]], reading: Reading) -> Iterator[Told]:
    """Yield the list that rows of an exported CSV tell, and each aggregated signal at the instant of the list.

    Args:
        rows: Those of one event, in order.
        reading: The reading under way.

    Raises:
        UnreadableField: A cell can not be read; the pointer names its column.
    """
    first = rows[0]
    if first["state"] == NEVER_SHOWN:
        reading.left_out["never_shown"] += 1
        return
    note_chances((_number(row, "propensity") for row in rows), reading)
    features = {name: safe_cell(f"{_FEATURE}{name}") for name in reading.features}
    listed = ToldList(
        event_id=event_id_of(_text(first, "event_id"), "/event_id"),
        at=reading.at(first["served_at"], "/served_at"),
        query=_text(first, "query"),
        results=[_shown(row, features) for row in rows],
        user=_text(first, "user") or None,
        segment=_text(first, "segment") or None,
    )
    yield listed
    yield from aggregated(listed, _pairs(first, "list_signals"), None, reading)
    for row in rows:
        yield from aggregated(listed, _pairs(row, "signals"), _text(row, "doc"), reading)


def _text(row: Mapping[str, object], column: str) -> str:
    cell = row[column]
    if not isinstance(cell, str):  # a program may give rows of its own making
        raise UnreadableField(f"/{column}", "type: text is due here")
    return plain_cell(cell)


def _shown(row: Mapping[str, object], features: Mapping[str, str]) -> dict[str, Any]:
    rank = _number(row, "rank")
    told = {"rank": int(rank) if rank is not None and rank.is_integer() else rank, "score": _number(row, "score")}
    for name, column in features.items():
        told[name] = _number(row, column)
    return {**{name: value for name, value in told.items() if value is not None}, "id": _text(row, "doc")}


def _number(row: Mapping[str, object], column: str) -> float | None:
    cell = row.get(column, "")
    return None if cell == "" else number(cell, f"/{column}")


def _pairs(row: Mapping[str, object], column: str) -> dict[str, float]:
    found = {}
    for pair in _text(row, column).split():
        word, _, value = pair.partition("=")
        try:
            found[plain_word(word)] = number(value, f"/{column}")
        except UnicodeDecodeError as error:
            raise UnreadableField(f"/{column}", "text: this is no UTF-8") from error
    return found


def aggregated(
    listed: ToldList, signals: Mapping[str, Any], doc: str | None, reading: Reading
) -> Iterator[ToldReaction]:
    """Yield what an export tells of each signal of a document, None for the list, at the instant of the list.

    Raises:
        UnreadableField: A value is no number.
    """
    for name, value in signals.items():
        signal = reading.signal(name)
        if signal is not None:
            yield ToldReaction(
                event_id=listed.event_id,
                signal=signal,
                at=listed.at,
                key=f"export:{digest_of(listed.event_id, name, doc)}",
                doc=doc,
                value=number(value, f"/feedback_signals/{name}"),
                user=listed.user,
            )
