"""A SQLite store, read or written row by row for a copy."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any, Final

import apsw

from dwell.storage.checksums import checking_vfs
from dwell.storage.copied_tables import Rows, Table
from dwell.storage.schema import SEQ_BITS

__all__ = ["SqliteSide"]

_BUSY_MS: Final = 5_000  # as everywhere: who waits is answered within 5 s
_MASK: Final = (1 << SEQ_BITS) - 1
_FLAGS: Final = ("is_shown", "is_altered")
_NUMBERED: Final = {"events": "id", "activations": "id", "outcomes": "id", "signals": "event", "trace_changes": "id"}


class SqliteSide:
    """The facts of a file; see `copied_tables.Side`.

    Args:
        where: The file, which is a store of today's schema.
        is_target: Whether it is written to.
    """

    def __init__(self, where: str, *, is_target: bool) -> None:
        flags = apsw.SQLITE_OPEN_READWRITE if is_target else apsw.SQLITE_OPEN_READONLY
        # with the checksums of pages, read and written
        self._connection = apsw.Connection(os.path.realpath(where), flags=flags, vfs=checking_vfs())
        self._connection.set_busy_timeout(_BUSY_MS)
        self._connection.execute("PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL").fetchall()
        self._connection.execute("BEGIN IMMEDIATE" if is_target else "BEGIN")
        self._numbers: dict[str, int] = dict(self._connection.execute("SELECT tenant, n FROM tenants"))

    def is_empty(self) -> bool:
        """Return whether nothing stands in it."""
        found = self._connection.execute("SELECT count(*) FROM tenants").fetchall()
        settings = self._connection.execute("SELECT count(*) FROM settings").fetchall()
        return bool(found[0][0] == 0 and settings[0][0] == 0)

    def read(self, table: Table) -> Iterator[tuple[Any, ...]]:
        """Yield all rows of a table, all tenants together, in the order of its key."""
        flags = [i + 1 for i, name in enumerate(table.columns) if name in _FLAGS]
        for row in self._read(table):
            yield tuple(bool(value) if i in flags else value for i, value in enumerate(row)) if flags else row

    def _read(self, table: Table) -> Iterator[tuple[Any, ...]]:
        number = _NUMBERED.get(table.name)
        columns = [f"{number} & {_MASK}" if name == "seq" else name for name in table.columns]
        if number is None and table.name != "traces":
            order = ", ".join(("tenant", *columns)[: table.key])
            yield from self._connection.execute(
                f"SELECT tenant, {', '.join(columns)} FROM {table.name} ORDER BY {order}"
            )
            return
        # One tenant after the other, along an index: nothing has to be sorted
        which = "tenant = ?3" if number is None else f"{number} > ?1 AND {number} < ?2"
        order = "item" if number is None else f"{number}, dedupe" if table.name == "signals" else number
        sql = f"SELECT ?4, {', '.join(columns)} FROM {table.name} WHERE {which} ORDER BY {order}"
        for tenant, n in sorted(self._numbers.items(), key=lambda pair: pair[0].encode()):
            low = n << SEQ_BITS
            yield from self._connection.execute(sql, (low, low + (1 << SEQ_BITS), n, tenant))

    def write(self, table: Table, rows: Rows) -> None:
        """Add rows to an empty table."""
        places = ", ".join("?" * (len(table.columns) + 1))
        if table.name == "tenants":
            numbered = self._given_numbers(rows)
            sql = f"INSERT INTO tenants (tenant, {', '.join(table.columns)}, n) VALUES ({places}, ?)"
            self._connection.executemany(sql, numbered)
        elif table.name == "traces":
            sql = f"INSERT INTO traces (id, {', '.join(table.columns)}) VALUES ({places})"
            self._connection.executemany(sql, self._given_ids(rows))
        elif table.name == "trace_changes":
            sql = "INSERT INTO trace_changes (id, body) VALUES (?, ?)"
            self._connection.executemany(sql, (((self._low(row[0]) + row[1]), row[2]) for row in rows))
        elif table.name in _NUMBERED:
            columns = ["tenant", *(_NUMBERED[table.name] if name == "seq" else name for name in table.columns)]
            sql = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({places})"
            self._connection.executemany(sql, ((row[0], self._low(row[0]) + row[1], *row[2:]) for row in rows))
        else:
            sql = f"INSERT INTO {table.name} (tenant, {', '.join(table.columns)}) VALUES ({places})"
            self._connection.executemany(sql, rows)

    def _low(self, tenant: str) -> int:
        return self._numbers[tenant] << SEQ_BITS

    def _given_numbers(self, rows: Rows) -> Iterator[tuple[Any, ...]]:
        for number, row in enumerate(rows):
            self._numbers[row[0]] = number
            yield (*row, number)

    def _given_ids(self, rows: Rows) -> Iterator[tuple[Any, ...]]:
        for tenant, of_tenant in itertools.groupby(rows, key=lambda row: row[0]):
            low = self._low(tenant)
            for i, row in enumerate(of_tenant, start=1):
                yield (low + i, *row[1:])

    def commit(self) -> None:
        """Make what was written durable."""
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Undo what was not committed, and let go."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._connection.close()
