"""The rows of a store as they are copied: tables, their columns in words that both databases share, and their order.

A row is a tuple of plain values, the tenant's name first and `seq` as the store gives it, in the order of the table's
key. So the same facts are the same rows wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, Protocol

__all__ = ["TABLES", "Rows", "Side", "Table"]

Rows = Iterable[tuple[Any, ...]]


class Table(NamedTuple):
    """One table.

    Attributes:
        name: What both databases call it.
        columns: The columns but the tenant; "seq" is the number of an event, or of a change of traces, in its tenant.
        key: How many of them, with the tenant, order the rows.
    """

    name: str
    columns: tuple[str, ...]
    key: int


_SIGNAL: Final = ("dedupe", "digest", "name", "doc", "value", "at", "received_at", "idempotency_key")

#: In the order in which they can be written: a row refers to those before it
TABLES: Final = (
    Table("tenants", ("last_seq", "live_version", "epoch", "last_trace_change"), 1),
    Table("settings", ("scope", "key", "value"), 3),
    Table("events", ("seq", "event_id", "served_at", "user", "is_shown", "shown", "body"), 2),
    Table("activations", ("seq", "shown", "is_altered", "at"), 2),
    Table("outcomes", ("seq", "state", "version", "closed_at", "reward", "priority", "details", "served_at"), 2),
    Table("signals", ("seq", *_SIGNAL), 3),
    Table("orphans", ("event_id", *_SIGNAL), 3),
    Table("quarantine", ("n", "event_id", "reason", "at", "user"), 2),
    Table("params", ("version", "body"), 2),
    Table("decisions", ("n", "body"), 2),
    Table("tombstones", ("user", "at"), 2),
    Table("statistics", ("query_hash", "segment", "doc", "n", "exposure", "credit", "users", "at"), 4),
    Table("answers", ("key", "digest", "body", "at"), 2),
    Table("traces", ("item", "packed", "forget_at"), 2),
    Table("trace_changes", ("seq", "body"), 2),
)


class Side(Protocol):
    """A store that is copied from or to, in one transaction."""

    def is_empty(self) -> bool:
        """Return whether nothing stands in it."""
        ...

    def read(self, table: Table) -> Iterator[tuple[Any, ...]]:
        """Yield all rows of a table, all tenants together, in the order of its key."""
        ...

    def write(self, table: Table, rows: Rows) -> None:
        """Add rows to an empty table."""
        ...

    def commit(self) -> None:
        """Make what was written durable."""
        ...

    def close(self) -> None:
        """Undo what was not committed, and let go."""
        ...
