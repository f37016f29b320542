"""A PostgreSQL store, read or written row by row for a copy."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

from dwell.storage.copied_tables import Rows, Table
from dwell.storage.postgres_sessions import Sessions
from dwell.storage.postgres_traces import ROW_BYTES
from dwell.storage.postgres_transaction import EVENT_BYTES, SIGNAL_BYTES

__all__ = ["PostgresSide"]

_READ_AT_ONCE: Final = 2_000  # rows: some megabytes of events
_NAMES: Final = {"user": "pseudonym"}
_WHOLE: Final = (
    "last_seq", "live_version", "epoch", "last_trace_change", "seq", "n", "served_at", "closed_at", "at", "received_at",
    "version", "forget_at",
)  # fmt: skip
_TYPES: Final = {
    **dict.fromkeys(_WHOLE, "int8"),
    **dict.fromkeys(("is_shown", "is_altered"), "bool"),
    **dict.fromkeys(("reward", "priority", "exposure", "credit"), "float8"),
    **dict.fromkeys(("body", "details", "query_hash", "users", "packed"), "bytea"),
}
_OWN_TYPES: Final = {
    ("signals", "value"): "float8", ("orphans", "value"): "float8", ("settings", "value"): "bytea",
    ("answers", "digest"): "bytea", ("statistics", "n"): "float8",
}  # fmt: skip

# What `Reader.size_bytes` tells is counted while rows come one by one: here it is counted at the end
_COUNT_BYTES: Final = f"""
UPDATE tenants t SET n_bytes =
  (SELECT coalesce(sum(octet_length(shown) + octet_length(body) + {EVENT_BYTES}), 0) FROM events
   WHERE tenant = t.tenant)
  + (SELECT coalesce(sum(octet_length(details)), 0) FROM outcomes WHERE tenant = t.tenant)
  + {SIGNAL_BYTES} * (SELECT count(*) FROM signals WHERE tenant = t.tenant)
  + {SIGNAL_BYTES} * (SELECT count(*) FROM orphans WHERE tenant = t.tenant)
  + (SELECT coalesce(sum(octet_length(packed) + 2 * octet_length(item) + {ROW_BYTES}), 0) FROM traces
     WHERE tenant = t.tenant)
  + (SELECT coalesce(sum(octet_length(body)), 0) FROM trace_changes WHERE tenant = t.tenant)"""


def _column(table: Table, name: str) -> str:
    if name == "seq":
        return {"signals": "event", "trace_changes": "n"}.get(table.name, "seq")
    return _NAMES.get(name, name)


def _type(table: Table, name: str) -> str:
    return _OWN_TYPES.get((table.name, name)) or _TYPES.get(name, "text")


class PostgresSide:
    """The facts of a database; see `copied_tables.Side`.

    Args:
        where: Its URL; it holds a store of today's schema.
        is_target: Whether it is written to.
    """

    def __init__(self, where: str, *, is_target: bool) -> None:
        self._sessions = Sessions(where, role="admin" if is_target else "reader", durability="full")
        self._connection = self._sessions.connect(is_reader=not is_target)
        self._connection.execute("SET statement_timeout = 0")
        self._connection.execute("BEGIN")
        if is_target:
            self._connection.execute("LOCK TABLE tenants, settings IN EXCLUSIVE MODE")

    def is_empty(self) -> bool:
        """Return whether nothing stands in it."""
        found = self._connection.execute("SELECT (SELECT count(*) FROM tenants) + (SELECT count(*) FROM settings)")
        return bool(found.fetchall()[0][0] == 0)

    def read(self, table: Table) -> Iterator[tuple[Any, ...]]:
        """Yield all rows of a table, all tenants together, in the order of its key."""
        columns = ["tenant", *(_column(table, name) for name in table.columns)]
        with self._connection.cursor(f"copied_{table.name}", binary=True) as cursor:
            cursor.itersize = _READ_AT_ONCE
            order = ", ".join(columns[: table.key])
            cursor.execute(f"SELECT {', '.join(columns)} FROM {table.name} ORDER BY {order}")
            yield from cursor

    def write(self, table: Table, rows: Rows) -> None:
        """Add rows to an empty table."""
        if table.name != "events":
            self._copy(table, rows)
            return
        # Partitions are made between two COPYs, not within one
        width = self._connection.execute("SELECT events_per_partition FROM store").fetchall()[0][0]
        for place, part in groupby(rows, key=lambda row: row[1] // width):
            self._connection.execute("SELECT make_room(%s)", (max(1, place * width),))
            self._copy(table, part)

    def _copy(self, table: Table, rows: Rows) -> None:
        columns = ["tenant", *(_column(table, name) for name in table.columns)]
        with (
            self._connection.cursor() as cursor,
            cursor.copy(f"COPY {table.name} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(["text", *(_type(table, name) for name in table.columns)])
            for row in rows:
                copy.write_row(row)

    def commit(self) -> None:
        """Make what was written durable."""
        self._connection.execute(_COUNT_BYTES)
        self._connection.execute("UPDATE store SET n_changes = n_changes + 1")
        self._connection.execute("COMMIT")
        self._connection.execute("ANALYZE")

    def close(self) -> None:
        """Undo what was not committed, and let go."""
        self._connection.close()
        self._sessions.close()
