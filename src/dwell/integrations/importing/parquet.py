"""Tables of Parquet, a row group's batch of rows at a time."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dwell.errors import ConfigError, MissingDependencyError, RecordError
from dwell.integrations.importing import exported
from dwell.integrations.importing.reading import Format, Reading
from dwell.integrations.importing.records import Item, Told
from dwell.integrations.importing.tables import check_header, grouped, read
from dwell.integrations.ubi.lines import opened_plain
from dwell.integrations.ubi.records import Refusal

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["PARQUET", "items_of_file", "mark_of"]

_AT_ONCE: Final = 2_000  # rows decoded together: 5 MB with 100 columns of text
_WHOLE_AT_ONCE: Final = 128  # of rows that hold a whole list each: as many as an export has in a batch
_CHUNK: Final = 1_048_576
_NESTED: Final = ("results", "results_served")  # columns that hold a whole list
# Parquet repeats a value, or nothing, for a few bits: what a file may unfold to is asked before anything is unfolded
_MOST_RATIO: Final = 200  # as of a packed text
_FREE_BYTES: Final = 67_108_864
_FREE_VALUES: Final = 4_000_000  # 30 MB of numbers
_MOST_VALUES: Final = 100_000_000  # of a column in a row group: 0.8 GB of numbers, a million lists of a hundred
_MOST_RESULTS: Final = 100_000  # of one list: as many candidates as one call may have
_HELD_RESULTS: Final = 200_000  # of lists that are told together: 100 MB of mappings


def _arrow() -> Any:  # noqa: ANN401 - a module
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingDependencyError(
            "Parquet is read with pyarrow, which is not installed",
            field="format",
            hint="Install it with: pip install 'dwell[arrow]'",
        ) from error
    return pq


def mark_of(path: Path) -> int:
    """Return the CRC-32 of a file.

    Raises:
        ConfigError: It can not be read.
    """
    found = 0
    with opened_plain(path) as file:
        while piece := file.read(_CHUNK):
            found = zlib.crc32(piece, found)
    return found


def items_of_file(path: Path, reading: Reading) -> Iterator[Item]:
    """Yield the items of a table: rows of one event together, or each row that holds a whole list.

    Raises:
        ConfigError: The file can not be read, is no Parquet, names no event, or is an export of an unknown format.
        RecordError: code `bomb`: it would unfold to far more than a log does.
        MissingDependencyError: pyarrow is not installed.
    """
    arrow = _arrow()
    import pyarrow as pa

    with opened_plain(path) as raw:
        try:
            schema: pa.Schema = arrow.ParquetFile(raw).schema_arrow
            # a text that stands in a million rows is held once
            file: pq.ParquetFile = arrow.ParquetFile(raw, read_dictionary=_texts_of(schema))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ConfigError(
                f"{path} is no Parquet file that can be read", field="path", value=path.name, hint="Check the file."
            ) from error
        _check_size(file, path)
        mark = mark_of(path)
        if not reading.columns and exported.is_exported_table(schema):
            rows = _rows(file, path, mark, _WHOLE_AT_ONCE, exported.EVENT_FIELDS)
            yield from map(_exported, rows)
        elif any(name in schema.names for name in _NESTED):
            yield from _rows(file, path, mark, _WHOLE_AT_ONCE)
        else:
            check_header(schema.names, reading)
            yield from grouped(_rows(file, path, mark, _AT_ONCE), reading)


def _exported(row: Item) -> Item:
    return row if isinstance(row.value, Refusal) else row._replace(value=exported.ExportedEvent(row.value))


def _texts_of(schema: pa.Schema) -> list[str]:
    """Return the columns of a table that are texts."""
    import pyarrow as pa

    text_types = {pa.string(), pa.large_string()}
    return [field.name for field in schema if field.type in text_types]


def _check_size(file: pq.ParquetFile, path: Path) -> None:
    """Refuse a file that says of itself that a little of it becomes a lot.

    Raises:
        RecordError: code `bomb`.
    """
    about = file.metadata
    n_bytes = path.stat().st_size
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(about.num_columns)]
    unfolded = sum(one.total_uncompressed_size for one in columns)
    n_values = sum(one.num_values for one in columns)
    most = max((one.num_values for one in columns), default=0)
    is_bomb = unfolded > max(_FREE_BYTES, _MOST_RATIO * n_bytes) or n_values > max(_FREE_VALUES, _MOST_RATIO * n_bytes)
    if is_bomb or most > _MOST_VALUES:
        raise RecordError(
            "the file unfolds to far more than its size, or a row group to more than is held",
            code="bomb",
            field="path",
            value=path.name,
            hint="Write it anew with smaller row groups if you trust it.",
        )


def _rows(
    file: pq.ParquetFile, path: Path, mark: int, at_once: int, columns: Sequence[str] | None = None
) -> Iterator[Item]:
    import pyarrow as pa

    n = 0
    try:
        for batch in file.iter_batches(batch_size=at_once, columns=columns):
            for row in _told(batch):
                n += 1
                yield Item(n, n, mark, Refusal(n, "", row) if isinstance(row, str) else row)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # these of instants beyond the year 9999
        raise ConfigError(
            f"{path} is damaged after row {n}", field="path", value=path.name, hint="Fetch it again."
        ) from error


def _told(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | str]:
    """Yield rows as mappings, or why one is refused; equal texts of a column are one text, however often they stand."""
    n_results = [0] * batch.num_rows
    for column in batch.columns:
        if hasattr(column, "value_lengths"):
            n_results = [max(n, m or 0) for n, m in zip(n_results, column.value_lengths().to_pylist(), strict=True)]
    at_once = max(1, min(batch.num_rows, _HELD_RESULTS // max(1, *n_results)))
    for start in range(0, batch.num_rows, at_once):
        part = batch.slice(start, at_once)
        if max(n_results[start : start + at_once]) > _MOST_RESULTS:  # then it stands alone
            yield f"results_shape: a list has at most {_MOST_RESULTS} results"
            continue
        cells = [_cells(column) for column in part.columns]
        for row in zip(*cells, strict=True):
            yield dict(zip(part.schema.names, row, strict=True))


def _cells(column: pa.Array) -> list[Any]:
    if not hasattr(column, "dictionary"):
        return list(column.to_pylist())
    texts = column.dictionary.to_pylist()
    return [None if i is None else texts[i] for i in column.indices.to_pylist()]


def _read(item: Item, reading: Reading) -> Iterator[Told]:
    if isinstance(item.value, exported.ExportedEvent):
        yield from exported.read_event(item.value, reading)
    else:
        yield from read(item, reading)


def _no_lines(*_: object) -> Iterator[Item]:
    raise ConfigError("Parquet is read from a file", field="source", value="lines", hint="Give the path of a file.")


PARQUET: Final = Format(_no_lines, _read, has_rows=True)
