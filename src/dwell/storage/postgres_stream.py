"""A COPY into one table that stays open: the database reads rows while the next ones are still being made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from dwell.storage.postgres_sessions import Connection

__all__ = ["RowStream"]


class RowStream:
    """An open COPY. Until it is finished or abandoned its connection can do nothing else: whoever tries waits for ever.

    Args:
        connection: In a transaction.
        table: Where to.
        columns: In the order of the rows' values.
        types: Of the columns, as PostgreSQL calls them.

    Raises:
        psycopg.Error: The database refused.
    """

    def __init__(self, connection: Connection, table: str, columns: Sequence[str], types: Sequence[str]) -> None:
        self._open = contextlib.ExitStack()
        cursor = self._open.enter_context(connection.cursor())
        sql = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
        self._copy = self._open.enter_context(cursor.copy(sql))
        self._copy.set_types(types)

    def write(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Send rows; some may wait here until there are more.

        Raises:
            psycopg.Error: The connection is lost, or a value is not of its column's type. What the database itself
                refuses is told by `finish`.
        """
        write_row = self._copy.write_row
        for row in rows:
            write_row(row)

    def finish(self) -> None:
        """Return when the database has taken all rows.

        Raises:
            psycopg.Error: It refused one of them.
        """
        self._open.close()

    def abandon(self) -> None:
        """Let the database refuse all rows; the transaction is then to be rolled back."""
        end = psycopg.OperationalError("the rows are not wanted any more")
        with contextlib.suppress(psycopg.Error):
            self._open.__exit__(type(end), end, None)
