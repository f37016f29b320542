"""The statements of one PostgreSQL transaction: its savepoints, and rows held back until many go at once.

A statement is a round trip: some 50 us to a server on the same host, ten times that through a network. So rows that
nobody reads yet wait in memory and travel together: by COPY where they are many, pipelined otherwise. A savepoint that
only ever saw such rows costs no round trip at all. Events are most of the bytes: where they are many and no savepoint
could take them back, their COPY begins early, and the database works on them while the next ones are encoded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import psycopg

from dwell.errors import StorageError
from dwell.storage.postgres_failures import told
from dwell.storage.postgres_sessions import Connection
from dwell.storage.postgres_stream import RowStream

__all__ = ["HeldBack"]

Row = tuple[Any, ...]

_COPIED_FROM: Final = 4  # rows: from here on COPY is the cheaper way (benchmarks/postgres.py)
_MOST_HELD: Final = 1_000  # rows of a table: a megabyte or two of events
_STREAMED: Final = "events"  # the first of all tables, so that nothing has to be written before it
_STREAMED_FROM: Final = 64  # rows: a transaction of fewer sends them at its end, in the cheaper way

_SIGNAL_TYPES: Final = ("text", "text", "text", "text", "float8", "int8", "int8", "text")


class _Table(NamedTuple):
    columns: tuple[str, ...]
    types: tuple[str, ...]


#: In the order in which they must be written: a row refers to those before it
_TABLES: Final = {
    "events": _Table(
        ("tenant", "seq", "event_id", "served_at", "pseudonym", "is_shown", "shown", "body"),
        ("text", "int8", "text", "int8", "text", "bool", "text", "bytea"),
    ),
    "outcomes": _Table(("tenant", "seq", "state", "served_at"), ("text", "int8", "text", "int8")),
    "signals": _Table(
        ("tenant", "event", "dedupe", "digest", "name", "doc", "value", "at", "received_at", "idempotency_key"),
        ("text", "int8", *_SIGNAL_TYPES),
    ),
    "orphans": _Table(
        ("tenant", "event_id", "dedupe", "digest", "name", "doc", "value", "at", "received_at", "idempotency_key"),
        ("text", "text", *_SIGNAL_TYPES),
    ),
    "trace_changes": _Table(("tenant", "n", "body"), ("text", "int8", "bytea")),
}


@dataclass(slots=True)
class _Savepoint:
    """Where to return to: how many rows of each table were held back by then, and whether the server knows of it."""

    n_rows: dict[str, int]
    is_at_server: bool = False


class HeldBack:
    """A transaction's way to the server.

    Args:
        connection: With a transaction begun.
        where: The store as it may be shown, for messages.
    """

    def __init__(self, connection: Connection, where: str) -> None:
        self._connection: Connection | None = connection
        self._where = where
        self._is_lost = False
        self._savepoints: list[_Savepoint] = []
        self._rows: dict[str, list[Row]] = {table: [] for table in _TABLES}
        self._n_gone = dict.fromkeys(_TABLES, 0)  # rows written so far; a savepoint counts from the start
        self._stream: RowStream | None = None
        self._is_read_as_it_is = False
        self.has_changed = False

    def end(self) -> None:
        """Let go of the connection; what was not written by then is not wanted any more."""
        self._abandon()
        self._connection = None

    def _abandon(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abandon()

    def _at_rest(self) -> Connection:
        """Return the connection, ready for a statement."""
        connection = self.check()
        stream, self._stream = self._stream, None
        if stream is not None:
            with self._told():
                stream.finish()
        return connection

    def check(self) -> Connection:
        """Return the connection of a transaction that goes on.

        Raises:
            StorageError: code `transaction_lost`.
        """
        if self._is_lost or self._connection is None:
            raise StorageError(
                f"this transaction of {self._where} is over, or was undone by an earlier failure",
                code="transaction_lost",
                hint="Begin a new one.",
            )
        return self._connection

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            # A statement that failed ends the transaction, or what was done since the last savepoint the server knows
            self._is_lost = True
            self._abandon()
            if isinstance(error, psycopg.Error):
                raise told(error, self._where) from error
            raise

    def read(self, sql: str, bindings: Sequence[Any] | dict[str, Any] = ()) -> list[Row]:
        """Write what was held back, then return the rows of a statement."""
        if any(self._rows.values()) and not self._is_read_as_it_is:
            self.write_all()
        connection = self._at_rest()
        with self._told():
            return connection.execute(sql, bindings, binary=True).fetchall()

    @contextlib.contextmanager
    def as_it_is(self) -> Iterator[None]:
        """Read without writing what was held back: the caller knows that it can not change the answer."""
        self._is_read_as_it_is = True
        try:
            yield
        finally:
            self._is_read_as_it_is = False

    def write(self, sql: str, bindings: Sequence[Any] = ()) -> int:
        """Write what was held back, then return how many rows a statement changed."""
        self.write_all()
        return self._run(sql, bindings)

    def change(self, sql: str, bindings: Sequence[Any] | dict[str, Any] = ()) -> list[Row]:
        """Write what was held back, then return the rows that a statement which writes tells of."""
        self.write_all()
        self.has_changed = True
        return self.read(sql, bindings)

    def _run(self, sql: str, bindings: Sequence[Any] = ()) -> int:
        connection = self._at_rest()
        self.has_changed = True
        with self._told():
            return connection.execute(sql, bindings or None).rowcount

    def add(self, table: str, row: Row) -> None:
        """Hold a new row back."""
        self.check()
        held = self._rows[table]
        held.append(row)
        if len(held) >= _MOST_HELD:
            self.write_all()
        elif table == _STREAMED:
            self._send_early()

    def _send_early(self) -> None:
        held = self._rows[_STREAMED]
        if len(held) >= _STREAMED_FROM and not self._savepoints:
            self._send(_STREAMED, held)
            self._n_gone[_STREAMED] += len(held)
            held.clear()

    def write_all(self) -> None:
        """Write what was held back, each savepoint between what came before and after it."""
        for depth, savepoint in enumerate(self._savepoints):
            if not savepoint.is_at_server:
                self._insert_up_to(savepoint.n_rows)
                self._run(f"SAVEPOINT level_{depth}")
                savepoint.is_at_server = True
        self._insert_up_to(self._positions())
        self._at_rest()

    def _positions(self) -> dict[str, int]:
        return {table: self._n_gone[table] + len(held) for table, held in self._rows.items()}

    def _insert_up_to(self, positions: dict[str, int]) -> None:
        for table, position in positions.items():
            n = position - self._n_gone[table]
            if n > 0:
                held = self._rows[table]
                self._insert(table, held[:n])
                self._rows[table] = held[n:]
                self._n_gone[table] = position

    def _insert(self, table: str, many: list[Row]) -> None:
        if len(many) >= _COPIED_FROM or (table == _STREAMED and self._stream is not None):
            self._send(table, many)
            return
        connection = self._at_rest()
        self.has_changed = True
        columns, _ = _TABLES[table]
        places = ", ".join(["%s"] * len(columns))
        with self._told(), connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", many)

    def _send(self, table: str, many: list[Row]) -> None:
        """Begin a COPY, or go on with that of events, which is the only one that is ever left open."""
        connection = self.check() if table == _STREAMED else self._at_rest()
        self.has_changed = True
        with self._told():
            if self._stream is None:
                self._stream = RowStream(connection, table, *_TABLES[table])
            self._stream.write(many)
        if table != _STREAMED:
            self._at_rest()

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what was written inside the context if it is left by an exception."""
        savepoint = _Savepoint(self._positions())
        self._savepoints.append(savepoint)
        try:
            yield
        except BaseException:
            self._savepoints.pop()
            self._return_to(savepoint)
            raise
        self._savepoints.pop()
        if savepoint.is_at_server:
            self._run(f"RELEASE SAVEPOINT level_{len(self._savepoints)}")
        self._send_early()

    def _return_to(self, savepoint: _Savepoint) -> None:
        for table, n in savepoint.n_rows.items():
            # What stood before it was written when the server was told of it: all that is held back came later
            del self._rows[table][0 if savepoint.is_at_server else n - self._n_gone[table] :]
        if savepoint.is_at_server and self._connection is not None and not self._connection.broken:
            self._is_lost = False
            name = f"level_{len(self._savepoints)}"
            self._run(f"ROLLBACK TO SAVEPOINT {name}")
            self._run(f"RELEASE SAVEPOINT {name}")
