"""Tables of Parquet, a row group's batch of rows at a time."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dwell.errors import ConfigError, MissingDependencyError
from dwell.integrations.importing.reading import Format, Reading
from dwell.integrations.importing.records import Item
from dwell.integrations.importing.tables import check_header, grouped, read
from dwell.integrations.ubi.lines import opened_plain

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["PARQUET", "items_of_file", "mark_of"]

_AT_ONCE: Final = 2_000  # rows decoded together: 5 MB with 100 columns of text
_CHUNK: Final = 1_048_576
_NESTED: Final = ("results", "results_served")  # columns that hold a whole list


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
        ConfigError: The file can not be read, is no Parquet, or names no event.
        MissingDependencyError: pyarrow is not installed.
    """
    arrow = _arrow()
    import pyarrow as pa

    with opened_plain(path) as raw:
        try:
            file: pq.ParquetFile = arrow.ParquetFile(raw)
            names = file.schema_arrow.names
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ConfigError(
                f"{path} is no Parquet file that can be read", field="path", value=path.name, hint="Check the file."
            ) from error
        mark = mark_of(path)
        is_nested = any(name in names for name in _NESTED)
        if not is_nested:
            check_header(names, reading)
        rows = _rows(file, path, mark)
        yield from rows if is_nested else grouped(rows, reading)


def _rows(file: pq.ParquetFile, path: Path, mark: int) -> Iterator[Item]:
    import pyarrow as pa

    n = 0
    try:
        for batch in file.iter_batches(batch_size=_AT_ONCE):
            for row in batch.to_pylist():
                n += 1
                yield Item(n, n, mark, row)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(
            f"{path} is damaged after row {n}", field="path", value=path.name, hint="Fetch it again."
        ) from error


def _no_lines(*_: object) -> Iterator[Item]:
    raise ConfigError("Parquet is read from a file", field="source", value="lines", hint="Give the path of a file.")


PARQUET: Final = Format(_no_lines, read)
