"""A loop's events as a stream of Arrow, which pandas, polars, pyarrow and DuckDB take by themselves.

    polars.DataFrame(ExperienceTable(loop))          pandas.DataFrame.from_arrow(ExperienceTable(loop))
    pyarrow.table(ExperienceTable(loop))             duckdb.sql("select ... from events")

Source: the PyCapsule interface of Arrow, https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dwell.errors import RecordError
from dwell.loop import Loop
from dwell.loop.export import chosen_events
from dwell.loop.exports.arrow_rows import arrow_batches, arrow_schema, needed_pyarrow
from dwell.loop.recorded_events import check_limit

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ExperienceTable"]


@dataclass(frozen=True)
class ExperienceTable:
    """A row per event, columns as in the Parquet export; nothing is read before somebody takes it.

    Each taking reads the store anew, 128 events at a time: who reads batch by batch never holds more. Users are
    pseudonyms, as in the store.

    Attributes:
        loop: The loop; it has to be open while the table is read.
        since: Only events served at or after this instant, UTC epoch seconds.
        until: Only events served before this instant.
        limit: At most so many events, the newest ones, in the order served.
        has_text: Whether queries and their embeddings are told.

    Raises:
        MissingDependencyError: When it is read: pyarrow is not installed.
        RecordError: A limit that is no number of events, or `loop` is no open loop.
    """

    loop: Loop
    since: float | None = None
    until: float | None = None
    limit: int | None = None
    has_text: bool = True

    def __post_init__(self) -> None:
        if not hasattr(self.loop, "_state"):  # a client has none, and a path is not opened here
            raise RecordError(
                "an open dwell.Loop is due here",
                code="type",
                field="loop",
                value=type(self.loop).__name__,
                hint="Open one with dwell.open.",
            )
        check_limit(self.limit)

    @property
    def schema(self) -> pa.Schema:
        """The columns, with the versions of dwell and of the format as metadata."""
        return arrow_schema()

    def reader(self) -> pa.RecordBatchReader:
        """Return a reader of batches of at most 128 events, which reads the store as it is asked."""
        with needed_pyarrow():
            import pyarrow as pa
        events = chosen_events(
            self.loop._state,  # noqa: SLF001 - an export tells all that a loop holds
            since=self.since,
            until=self.until,
            limit=self.limit,
            has_text=self.has_text,
        )
        return pa.RecordBatchReader.from_batches(self.schema, arrow_batches(events, has_text=self.has_text))

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.reader().__arrow_c_stream__(requested_schema)
