"""Candidates from a table of PostgreSQL whose vectors the extension `vector` compares."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from dwell.errors import ConfigError, MissingDependencyError, RecordError, StorageError
from dwell.records import checks
from dwell.retrieval.sources import (
    FEATURE_OF,
    Embed,
    Filters,
    Found,
    Space,
    best_first,
    checked_name,
    closed,
    nearness,
    read_request,
    vector_of,
)

if TYPE_CHECKING:
    import psycopg

__all__ = ["PgvectorSource"]

#: pgvector's operators: 1 - cosine, the negative inner product, and the two distances; an index serves one of them.
_OPERATORS: Final[Mapping[Space, str]] = {"cosine": "<=>", "dot": "<#>", "l2": "<->", "l1": "<+>"}


class PgvectorSource:
    """Documents of a table of PostgreSQL by their vectors; safe from several threads, each call has a connection.

    Connections are opened when they are needed, read only, and kept for later calls; one that failed is not used again.

    Args:
        url: postgresql://user@host:port/database.
        table: The table, with its schema where that is not on the path: "docs.pages".
        id_column: Column that holds the documents' ids.
        embedding_column: Column of type vector(d).
        space: How vectors are compared; the operator class of the table's index must be for it.
        text_column: Column for `Found.text`, or None.
        metadata_columns: Columns for `Found.metadata`; these can be filtered by.
        embed: Turns queries into vectors, for those who pass none.
        timeout_s: Longest time to connect, and of one query, s.
        name: What the source is called.
        feature: What its number is called; by the space when not given.

    Raises:
        MissingDependencyError: psycopg is not installed.
        ConfigError: No such table or column, the column holds no vectors of one dimension, or an unknown space.
        StorageError: PostgreSQL does not answer.
    """

    def __init__(
        self,
        url: str,
        table: str,
        *,
        id_column: str,
        embedding_column: str = "embedding",
        space: Space = "cosine",
        text_column: str | None = None,
        metadata_columns: Sequence[str] = (),
        embed: Embed | None = None,
        timeout_s: float = 5.0,
        name: str = "pgvector",
        feature: str | None = None,
    ) -> None:
        if space not in _OPERATORS:
            raise ConfigError("unknown space", field="space", value=space, hint=f"Use one of {list(_OPERATORS)}.")
        self._psycopg = _library()
        self._url, self._timeout_s = url, checks.within(timeout_s, "timeout_s", 1e-3, 3_600.0)
        self._space: Space = space
        self._metadata, self._embed = tuple(metadata_columns), embed
        self._name, self._features = checked_name(name), checks.feature_names([feature or FEATURE_OF[space]])
        self._lock = threading.Lock()
        self._idle: list[psycopg.Connection[Any]] = []
        self._is_closed = False
        sql = self._psycopg.sql
        self._table = sql.Identifier(*table.split("."))
        self._column, self._embedding = embedding_column, sql.Identifier(embedding_column)
        self._read = sql.SQL(", ").join(
            sql.SQL("NULL") if column is None else sql.Identifier(column)
            for column in (id_column, text_column, *self._metadata)
        )
        self._dim = self._described()

    @property
    def name(self) -> str:
        """What the source is called."""
        return self._name

    @property
    def features(self) -> tuple[str, ...]:
        """The name of its one number."""
        return self._features

    def search(
        self, query: str, *, query_embedding: object = None, k: int = 50, filters: Filters | None = None
    ) -> list[Found]:
        """Return the nearest documents; see `CandidateSource.search`. Filters name `metadata_columns`.

        A document whose vector has no distance to the query's, one of zeros by cosine, is not found.
        """
        asked = read_request(query, k, filters)
        if self._is_closed:
            raise closed(self._name)
        vector = vector_of(asked.query, query_embedding, space=self._space, embed=self._embed, dim=self._dim)
        text = "[" + ",".join(map(repr, vector)) + "]"
        tests, values = self._tests(asked.filters)
        sql = self._psycopg.sql
        # ordered by the distance alone, or no index of pgvector serves it
        statement = sql.SQL("SELECT {e} {op} %s::vector, {read} FROM {table} WHERE {tests} ORDER BY 1 LIMIT %s").format(
            e=self._embedding, op=sql.SQL(_OPERATORS[self._space]), read=self._read, table=self._table, tests=tests
        )
        rows = self._rows(statement, (text, *values, asked.k))
        found = [self._found(row) for row in rows if row[0] is not None and math.isfinite(row[0])]
        return best_first(found, asked.k, self._features)

    def close(self) -> None:
        """Close the connections that no call uses; one that is in use is closed when its call ends."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _tests(self, filters: Mapping[str, Sequence[Any]]) -> tuple[Any, list[Any]]:
        sql = self._psycopg.sql
        tests = [sql.SQL("{} IS NOT NULL").format(self._embedding)]
        for column in filters:
            if column not in self._metadata:
                raise ConfigError(
                    "the source has no such field to filter by",
                    field="filters",
                    value=column,
                    hint=f"metadata_columns= names {list(self._metadata)}.",
                )
            tests.append(sql.SQL("{} = ANY(%s)").format(sql.Identifier(column)))
        return sql.SQL(" AND ").join(tests), [list(values) for values in filters.values()]

    def _found(self, row: Sequence[Any]) -> Found:
        distance, doc, text, *rest = row
        if doc is None:
            raise StorageError("a document has no id", code="source_failed", hint="Check id_column=.")
        value = _value(self._space, float(distance))
        return Found(
            str(doc), {self._features[0]: value}, str(text or ""), dict(zip(self._metadata, rest, strict=True))
        )

    def _rows(self, statement: Any, values: Sequence[Any]) -> list[Any]:  # noqa: ANN401 - psycopg's composed statement
        try:
            with self._connection() as connection:
                return connection.execute(statement, values).fetchall()
        except (self._psycopg.errors.UndefinedTable, self._psycopg.errors.UndefinedColumn) as error:
            raise ConfigError(
                f"the table can not be read so: {error.diag.message_primary}",
                field="table",
                value=self._table.as_string(None),
                hint="Check the names of the table and its columns.",
            ) from error
        except (self._psycopg.DataError, self._psycopg.errors.UndefinedFunction) as error:
            raise RecordError(
                f"PostgreSQL refuses a value: {error.diag.message_primary}",
                code="type",
                field="filters",
                hint="Check it.",
            ) from error
        except self._psycopg.Error as error:
            raise StorageError(
                f"PostgreSQL could not be searched: {error.diag.message_primary or type(error).__name__}",
                code="source_failed",
                hint="Is it running, may the user read the table, and is the extension vector there?",
            ) from error

    @contextlib.contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend a connection that no other call has; it comes back unless the call failed or the source was closed."""
        with self._lock:
            lent = self._idle.pop() if self._idle else None
        connection = lent or self._psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=max(2, math.ceil(self._timeout_s)),  # libpq takes less than 2 for 2
            options=f"-c default_transaction_read_only=on -c statement_timeout={math.ceil(self._timeout_s * 1e3)}",
            application_name="dwell",
        )
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            is_kept = not self._is_closed
            if is_kept:
                self._idle.append(connection)
        if not is_kept:
            connection.close()

    def _described(self) -> int:
        """Return the dimension of the vectors, once every name is known to be one."""
        sql = self._psycopg.sql
        try:
            self._rows(sql.SQL("SELECT {read} FROM {table} LIMIT 0").format(read=self._read, table=self._table), ())
            rows = self._rows(
                sql.SQL(
                    "SELECT format_type(atttypid, NULL), atttypmod FROM pg_attribute "
                    "WHERE attrelid = %s::regclass AND attname = %s AND NOT attisdropped"
                ),
                (self._table.as_string(None), self._column),
            )
        except BaseException:
            self.close()
            raise
        if not rows or rows[0][0].split(".")[-1] != "vector" or rows[0][1] < 1:
            self.close()
            raise ConfigError(
                "the column does not hold vectors of one dimension",
                field="embedding_column",
                value=rows[0] if rows else None,
                hint="Declare it as vector(d).",
            )
        return int(rows[0][1])


def _value(space: Space, distance: float) -> float:
    """Return the number that is larger for what is nearer."""
    if space == "cosine":
        return 1.0 - distance
    return -distance if space == "dot" else nearness(distance)


def _library() -> Any:  # noqa: ANN401 - a module
    try:
        import psycopg
        from psycopg import sql  # noqa: F401 - psycopg.sql is an attribute once it was imported
    except ImportError as error:
        raise MissingDependencyError(
            "candidates from PostgreSQL need psycopg", hint="pip install 'dwell[postgres]'"
        ) from error
    return psycopg
