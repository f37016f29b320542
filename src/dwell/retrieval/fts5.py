"""Candidates from a table of your own that SQLite's FTS5 indexes: read only, and nothing that is typed can break it."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import apsw

from dwell.errors import ConfigError, RecordError, StorageError
from dwell.records import checks
from dwell.retrieval.sources import Filters, Found, best_first, checked_name, closed, read_request

__all__ = ["Fts5Source"]

#: What is looked up: runs of letters, digits and underscores. FTS5 takes each through the table's own tokenizer.
_WORD: Final = re.compile(r"\w+")
_BUSY_MS: Final = 5_000  # as long as a writer of the same file is waited for; SQLite's own tools wait as long


class Fts5Source:
    """Documents of an FTS5 table by BM25, larger is better. Safe from several threads: calls take turns.

    Args:
        path: The SQLite file; opened for reading only.
        table: The FTS5 table.
        id_column: Column that holds the documents' ids.
        content: The table that an external-content FTS5 table indexes; every other column is then read from it.
        content_rowid: Its column that FTS5 knows a document by, as in `content_rowid=`.
        text_column: Column for `Found.text`, or None.
        metadata_columns: Columns for `Found.metadata`; these can be filtered by.
        weights: {column of the FTS5 table: weight in BM25}; columns that are left out weigh 1.
        match: Whether a document must hold "any" of the query's words or "all".
        name: What the source is called.
        feature: What its number is called.

    Raises:
        ConfigError: No such file, table or column, or the table is none of FTS5.
    """

    def __init__(
        self,
        path: str | Path,
        table: str,
        *,
        id_column: str,
        content: str | None = None,
        content_rowid: str = "rowid",
        text_column: str | None = None,
        metadata_columns: Sequence[str] = (),
        weights: Mapping[str, float] | None = None,
        match: Literal["any", "all"] = "any",
        name: str = "fts5",
        feature: str = "bm25",
    ) -> None:
        if match not in {"any", "all"}:
            raise ConfigError("words match any or all", field="match", value=match, hint="Use 'any' or 'all'.")
        self._name = checked_name(name)
        self._features = checks.feature_names([feature])
        self._glue = " OR " if match == "any" else " AND "
        self._metadata = tuple(metadata_columns)
        self._lock = threading.Lock()
        self._connection: apsw.Connection | None = _opened(path, table)
        try:
            self._sql, self._held_in = _select(
                self._connection,
                table,
                columns=(id_column, text_column, *self._metadata),
                content=None if content is None else (content, content_rowid),
                weights=dict(weights or {}),
            )
        except ConfigError:
            self.close()
            raise

    @property
    def name(self) -> str:
        """What the source is called."""
        return self._name

    @property
    def features(self) -> tuple[str, ...]:
        """The name of its one number: BM25 with FTS5's k1 1.2 and b 0.75."""
        return self._features

    def search(
        self,
        query: str,
        *,
        query_embedding: object = None,  # noqa: ARG002 - the protocol's; words need none
        k: int = 50,
        filters: Filters | None = None,
    ) -> list[Found]:
        """Return the best documents that hold words of the query; see `CandidateSource.search`."""
        asked = read_request(query, k, filters)
        words = dict.fromkeys(_WORD.findall(asked.query))
        # each word stands quoted: an operator of FTS5's language among them is a word like any other
        expression = self._glue.join(f'"{word}"' for word in words)
        tests: list[str] = []
        values: list[str | int] = []
        for column, wanted in asked.filters.items():
            if column not in self._metadata:
                raise ConfigError(
                    "the source has no such field to filter by",
                    field="filters",
                    value=column,
                    hint=f"metadata_columns= names {list(self._metadata)}.",
                )
            tests.append(f"AND {self._held_in}.{_quoted(column)} IN ({', '.join('?' * len(wanted))})")
            values += wanted
        with self._lock:
            if self._connection is None:
                raise closed(self._name)
            if not words:
                return []
            try:
                rows: list[Any] = self._connection.execute(
                    f"{self._sql} {' '.join(tests)} ORDER BY 1 LIMIT ?", (expression, *values, asked.k)
                ).fetchall()
            except apsw.Error as error:
                raise StorageError(
                    f"SQLite could not search: {error}",
                    code="source_failed",
                    hint="Is the table being changed or rebuilt?",
                ) from error
        return best_first(map(self._found, rows), asked.k, self._features)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _found(self, row: Sequence[Any]) -> Found:
        rank, doc_id, text, *rest = row
        if doc_id is None:
            raise StorageError("a document has no id", code="source_failed", hint="A contentless table needs content=.")
        # FTS5's bm25() is smaller for better matches
        return Found(
            str(doc_id), {self._features[0]: -rank}, str(text or ""), dict(zip(self._metadata, rest, strict=True))
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _opened(path: str | Path, table: str) -> apsw.Connection:
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(_BUSY_MS)
        sql: Any = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).get
    except apsw.Error as error:
        raise ConfigError(
            f"there is no such file to search: {error}", field="path", value=str(path), hint="Build the index first."
        ) from error
    if sql is None or not re.search(r"using\s+fts5\b", sql, re.IGNORECASE):
        connection.close()
        raise ConfigError(
            "this is no table of FTS5",
            field="table",
            value=table,
            hint="Make it by CREATE VIRTUAL TABLE ... USING fts5(...).",
        )
    return connection


def _select(
    connection: apsw.Connection,
    table: str,
    *,
    columns: Sequence[str | None],
    content: tuple[str, str] | None,
    weights: Mapping[str, float],
) -> tuple[str, str]:
    """Return the query up to its filters, once SQLite has read it, and the name of the table that holds its columns."""
    fts = _quoted(table)
    own: list[Any] = connection.execute(f"SELECT name FROM pragma_table_info({_literal(table)})").fetchall()
    names = [name for (name,) in own]
    for column, weight in weights.items():
        if column not in names:
            raise ConfigError("no such column to weigh", field="weights", value=column, hint=f"There are {names}.")
        try:
            checks.within(weight, f"weights.{column}", 0.0, 1e6)
        except RecordError as error:
            raise ConfigError(error.message, field=error.field, value=weight, hint="Weights are at least 0.") from error
    weighed = "".join(f", {float(weights.get(name, 1.0))!r}" for name in names)
    held_in = "d" if content else fts
    read = ", ".join("NULL" if column is None else f"{held_in}.{_quoted(column)}" for column in columns)
    joined = ""
    if content:
        rowid = "rowid" if content[1] == "rowid" else _quoted(content[1])
        joined = f"JOIN {_quoted(content[0])} AS d ON d.{rowid} = {fts}.rowid"
    sql = f"SELECT bm25({fts}{weighed}), {read} FROM {fts} {joined} WHERE {fts} MATCH ?"
    missing = _missing(connection, columns, content[0] if content else table)
    if missing is not None:
        raise ConfigError("no such column", field="columns", value=missing, hint="Name columns of the table.")
    try:
        connection.execute(f"{sql} LIMIT 0", ('"a"',)).fetchall()
    except apsw.Error as error:
        raise ConfigError(
            f"the table can not be read so: {error}", field="table", value=table, hint="Check content= and its columns."
        ) from error
    return sql, held_in


def _missing(connection: apsw.Connection, columns: Sequence[str | None], table: str) -> str | None:
    """Return a column that is not there: SQLite reads a quoted name of no column as text, and never complains."""
    rows: list[Any] = connection.execute(f"SELECT name FROM pragma_table_info({_literal(table)})").fetchall()
    known = {name for (name,) in rows}
    return next((column for column in columns if column is not None and column not in known), None)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
