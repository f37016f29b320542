"""Rows of named columns: one row per event and document, or per reaction."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from dwell.errors import ConfigError
from dwell.integrations.importing import exported, jsonl
from dwell.integrations.importing.reading import (
    Format,
    Reading,
    digest_of,
    event_id_of,
    number,
    text,
    text_or_none,
    too_long,
)
from dwell.integrations.importing.records import Item, Told
from dwell.integrations.importing.sources import Line
from dwell.integrations.ubi.fields import UnreadableField
from dwell.integrations.ubi.lines import MAX_ITEM_BYTES
from dwell.integrations.ubi.records import Refusal
from dwell.loop.imported import DrawnElsewhere, ToldList, ToldReaction

__all__ = ["CSV", "FIELDS", "check_header", "checked_columns", "grouped", "read", "rows_of_csv"]

FIELDS: Final = (
    "event_id",
    "timestamp",
    "query",
    "user",
    "segment",
    "doc",
    "rank",
    "score",
    "shown",
    "propensity",
    "signal",
    "value",
    "key",
)
_SPELLINGS: Final[Mapping[str, Sequence[str]]] = {
    "doc": ("id", "document_id", "memory_id"),
    "user": ("user_id",),
    "key": ("idempotency_key",),
}
_MAX_NAMES: Final = 20  # of columns that nothing is read from; further ones are counted together
_MOST_ROWS: Final = 100_000  # of one event: as many candidates as one call may have
_MOST_BYTES: Final = 67_108_864  # of text of one event: so many candidates with 600 bytes each
_TRUTHS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": True}


def checked_columns(given: Mapping[str, str] | None) -> dict[str, str]:
    """Return a mapping {field, feature or signal: column}; other spellings of a field are that field.

    Raises:
        ConfigError: Something in it is no text, or a field is mapped twice.
    """
    fields = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}
    columns: dict[str, str] = {}
    for name, column in (given or {}).items():
        if not name or not isinstance(column, str):
            raise ConfigError(
                "a column has a name", field="columns", value=str(name), hint=f"Fields are {', '.join(FIELDS)}."
            )
        field = fields.get(name, name)
        if field in columns:
            raise ConfigError(
                f"two columns are given for {field!r}", field="columns", value=name, hint="Give the one to read."
            )
        columns[field] = column
    return columns


def check_header(names: Sequence[str], reading: Reading, *, needed: Sequence[str] = ("event_id",)) -> None:
    """Refuse a table that lacks what is needed, and a mapping of what nothing is read for.

    Raises:
        ConfigError: It has no column for one of these fields, or not one that the mapping names, or the mapping has a
            name that is no field, feature of the store or signal.
    """
    known = (*FIELDS, *reading.features, *reading.overrides, *reading.signals)
    strange = next((name for name in reading.columns if name not in known), None)
    if strange is not None:
        raise ConfigError(
            f"a column is given for {strange!r}, which is no field, feature of the store or signal",
            field="columns",
            value=strange,
            hint=f"Fields are {', '.join(FIELDS)}; features {', '.join(reading.features) or 'none'}; signals are those "
            "of the rewards.",
        )
    missing = sorted(column for column in reading.columns.values() if column not in names)
    missing += [name for name in needed if _column(name, names, reading) is None]
    if missing:
        raise ConfigError(
            f"the table has no column {missing[0]!r}",
            field="columns",
            value=", ".join(names)[:200],
            hint='Say which column is which: columns={"event_id": "request", "doc": "item", ...}.'
            + ("" if len(names) > 1 else " Columns are separated by commas."),
        )


def _column(name: str, names: Iterable[str], reading: Reading) -> str | None:
    if name in reading.columns:
        return reading.columns[name]
    return next((one for one in (name, *_SPELLINGS.get(name, ())) if one in names), None)


def rows_of_csv(lines: Iterable[Line], reading: Reading, *, needed: Sequence[str] = ("event_id",)) -> Iterator[Item]:
    """Yield rows as mappings, or why they can not be read.

    Args:
        lines: The first row names the columns.
        reading: The reading under way.
        needed: Fields that a column is due for.

    Raises:
        ConfigError: The first row has not the columns that are due.
    """
    source = _Lines(lines)
    rows = csv.reader(source, strict=True)
    header: list[str] | None = None
    while True:
        first, source.begin = source.number + 1, source.end
        try:
            row = next(rows)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as error:
            reason = "text: this is no UTF-8" if isinstance(error, UnicodeDecodeError) else f"malformed_csv: {error}"
            yield Item(first, source.end, source.mark, Refusal(first, "", reason))
            continue
        if source.is_long:
            source.is_long = False
            yield Item(first, source.end, source.mark, too_long(first))
        elif header is None:
            header = row
            check_header(header, reading, needed=needed)
        elif row and len(row) != len(header):
            reason = f"columns: {len(header)} fields are due here"
            yield Item(first, source.end, source.mark, Refusal(first, "", reason))
        elif row:
            yield Item(first, source.end, source.mark, dict(zip(header, row, strict=True)))


class _Lines:
    """Lines as text for the reader of CSV, which may take several for a row."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self.number = self.begin = self.end = self.mark = 0
        self.is_long = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number, self.end, self.mark = line.number, line.end, line.mark
        if line.end - self.begin > MAX_ITEM_BYTES and line.data is not None:
            raise csv.Error(f"too_long: a row has at most {MAX_ITEM_BYTES} bytes")
        if line.data is None:
            self.is_long = True
            return "-\n"
        return (line.data + (line.ending or b"\n")).decode()  # a text within quotes has its own line ends


def grouped(rows: Iterable[Item], reading: Reading) -> Iterator[Item]:
    """Yield rows of one event that follow each other as one item, and each reaction as its own."""
    held: list[Item] = []
    held_id: object = None
    for row in rows:
        if isinstance(row.value, Refusal):
            yield from _whole(held)
            held = []
            yield row
            continue
        event_id = _value(row.value, "event_id", reading)
        is_list = not _value(row.value, "signal", reading)
        is_much = bool(held) and (len(held) >= _MOST_ROWS or row.end - held[0].end > _MOST_BYTES)
        if held and (not is_list or event_id != held_id or is_much):
            yield from _whole(held)
            held = []
        if is_list:
            held_id = event_id
            held.append(row)
        else:
            yield row._replace(value=[row.value])
    yield from _whole(held)


def _whole(held: Sequence[Item]) -> Iterator[Item]:
    if held:
        yield Item(held[0].line, held[-1].end, held[-1].mark, [one.value for one in held])


def _value(row: Mapping[str, Any], name: str, reading: Reading) -> Any:  # noqa: ANN401 - what stands in a cell
    column = _column(name, row, reading)
    return None if column is None else row.get(column)


def read(item: Item, reading: Reading) -> Iterator[Told]:
    """Yield what rows of one event tell; a row with nested results is read as an object of JSON lines.

    Where no column is mapped and they are those of an exported CSV, it is read as one.

    Raises:
        UnreadableField: A cell can not be read; the pointer names its column.
    """
    rows = item.value
    if isinstance(rows, Mapping):
        yield from jsonl.read(item, reading)
        return
    if not reading.columns and exported.is_header(rows[0]):
        yield from exported.read_rows(rows, reading)
        return
    if _value(rows[0], "signal", reading):
        yield from _reaction(rows[0], reading)
        return
    yield _list(rows, reading)
    named = _signals_named(rows[0], reading)
    for row in rows:
        yield from _signals_beside(row, named, reading)


def _pointer(name: str, reading: Reading) -> str:
    return f"/{reading.columns.get(name, name)}"


def _at(row: Mapping[str, Any], reading: Reading) -> float:
    value = _value(row, "timestamp", reading)
    if hasattr(value, "timestamp"):  # what Parquet has for an instant
        value = value.isoformat()
    return reading.at(value, _pointer("timestamp", reading))


def _text(row: Mapping[str, Any], name: str, reading: Reading) -> str | None:
    return text_or_none(_value(row, name, reading), _pointer(name, reading))


def _event_id(row: Mapping[str, Any], reading: Reading) -> str:
    return event_id_of(_value(row, "event_id", reading), _pointer("event_id", reading))


def _list(rows: Sequence[Mapping[str, Any]], reading: Reading) -> ToldList:
    first = rows[0]
    results = [_result(row, reading) for row in rows]
    shown = [row for row in rows if _is_shown(row, reading)]
    drawn = None
    chances = [_number(row, "propensity", reading) for row in rows]
    if any(chance is not None for chance in chances):
        if len(shown) == 1:
            drawn = DrawnElsewhere(_doc(shown[0], reading), chances)
        else:
            reading.left_out["propensities"] += 1
    if drawn is None and len(shown) != len(rows):
        reading.left_out["candidates"] += 1
        results = [_result(row, reading) for row in shown]
    return ToldList(
        event_id=_event_id(first, reading),
        at=_at(first, reading),
        query=_text(first, "query", reading) or "",
        results=results,
        user=_text(first, "user", reading),
        segment=_text(first, "segment", reading),
        drawn=drawn,
    )


def _doc(row: Mapping[str, Any], reading: Reading) -> str:
    return text(_value(row, "doc", reading), _pointer("doc", reading))


def _is_shown(row: Mapping[str, Any], reading: Reading) -> bool:
    value = _value(row, "shown", reading)
    if value is None:
        return True
    found = _TRUTHS.get(str(value).strip().lower())
    if found is None:
        raise UnreadableField(_pointer("shown", reading), "type: 1 or 0 is due here")
    return found


def _number(row: Mapping[str, Any], name: str, reading: Reading) -> float | None:
    value = _value(row, name, reading)
    return None if value is None or value == "" else number(value, _pointer(name, reading))


def _result(row: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    found: dict[str, Any] = {"id": _doc(row, reading)}
    rank, score = _number(row, "rank", reading), _number(row, "score", reading)
    if rank is not None:
        found["rank"] = int(rank) if rank.is_integer() else rank
    if score is not None:
        found["score"] = score
    for feature in reading.features:
        value = row.get(reading.columns.get(feature, feature))
        if value is not None and value != "":
            found[feature] = number(value, _pointer(feature, reading))
    return found


def _reaction(row: Mapping[str, Any], reading: Reading) -> Iterator[ToldReaction]:
    event_id, at = _event_id(row, reading), _at(row, reading)
    signal = reading.signal(text(_value(row, "signal", reading), _pointer("signal", reading)))
    if signal is None:
        return
    doc, value = _text(row, "doc", reading), _number(row, "value", reading)
    value = 1.0 if value is None else value
    when = _value(row, "timestamp", reading)
    key = _text(row, "key", reading) or f"log:{digest_of(event_id, signal, doc, value, when)}"
    yield ToldReaction(
        event_id=event_id, signal=signal, at=at, key=key, doc=doc, value=value, user=_text(row, "user", reading)
    )


def _signals_named(row: Mapping[str, Any], reading: Reading) -> dict[str, str]:
    """Return {column: what its reactions are called}; columns that nothing is read from are counted as left out."""
    reads = {*FIELDS, *(one for spellings in _SPELLINGS.values() for one in spellings), *reading.features}
    named = {
        column: name
        for name, column in reading.columns.items()
        if name not in reads and (name in reading.overrides or name in reading.signals)
    }
    mapped = set(reading.columns.values())
    for column in row:
        if column in reading.overrides or (column in reading.signals and column not in {*reads, *mapped}):
            named.setdefault(column, column)
        elif column not in reads and column not in mapped:
            what = f"column {column}"
            n_known = sum(one.startswith("column ") for one in reading.left_out)
            reading.left_out[what if what in reading.left_out or n_known < _MAX_NAMES else "other columns"] += 1
    return named


def _signals_beside(row: Mapping[str, Any], named: Mapping[str, str], reading: Reading) -> Iterator[ToldReaction]:
    """Yield reactions that stand in columns of their own, named as a signal or mapped to one."""
    for column, name in named.items():
        given = row.get(column)
        if given is None or given == "":
            continue
        signal, value = reading.signal(name), number(given, f"/{column}")
        if signal is not None and value != 0.0:
            event_id, doc = _event_id(row, reading), _doc(row, reading)
            key = f"log:{digest_of(event_id, signal, doc, column)}"
            yield ToldReaction(event_id=event_id, signal=signal, at=_at(row, reading), key=key, doc=doc, value=value)


def _items(lines: Iterable[Line], reading: Reading) -> Iterator[Item]:
    return grouped(rows_of_csv(lines, reading), reading)


CSV: Final = Format(_items, read, has_rows=True)
