"""Events as a Parquet file, a row each, in row groups of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from dwell.loop.exports.arrow_rows import arrow_batches, arrow_schema, needed_pyarrow
from dwell.loop.exports.pieces import Piece, StoreNames
from dwell.loop.recorded_events import RecordedEvent

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["parquet"]

# of a row group, whichever is first: what writer and reader hold at once. With 64 documents of 16 features an event has
# some 9 KB, so bytes decide; a group of many small events stays worth reading column by column
_GROUP_ROWS: Final = 10_000
_GROUP_BYTES: Final = 16_000_000


def parquet(events: Iterable[RecordedEvent], names: StoreNames) -> Iterator[Piece]:
    """Yield the file a row group at a time.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    columns = arrow_schema()
    with needed_pyarrow():
        import pyarrow as pa
        import pyarrow.parquet as pq
    sink = _Sink()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), columns, compression="zstd") as writer:
        for group in _groups(arrow_batches(events, has_text=names.has_text)):
            writer.write_table(pa.Table.from_batches(group, columns))
            yield Piece(sink.taken(), sum(batch.num_rows for batch in group))
    yield Piece(sink.taken())


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[Any]]:
    group: list[Any] = []
    n_rows = n_bytes = 0
    for batch in batches:
        if group and (n_rows + batch.num_rows > _GROUP_ROWS or n_bytes + batch.nbytes > _GROUP_BYTES):
            yield group
            group, n_rows, n_bytes = [], 0, 0
        group.append(batch)
        n_rows += batch.num_rows
        n_bytes += batch.nbytes
    if group:
        yield group


class _Sink:
    """A file that gives away what was written to it."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: Any) -> int:  # noqa: ANN401 - pyarrow's buffer, or bytes
        body = bytes(piece)
        self._pieces.append(body)
        return len(body)

    def flush(self) -> None:
        """Do nothing: who writes the file flushes it."""

    def close(self) -> None:
        """Do nothing: the file is not written here."""

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        found = b"".join(self._pieces)
        self._pieces.clear()
        return found
