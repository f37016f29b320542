"""Activation traces in PostgreSQL: one row per item, read and written many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from dwell.storage import rows
from dwell.storage.protocol import chunks

__all__ = ["ROW_BYTES", "changes_after", "drop", "forgettable", "put", "read_all", "read_some"]

Query: TypeAlias = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]

_READ_AT_ONCE: Final = 512  # rows: about a hundred kilobytes, and few enough statements that their cost does not count
_MOST_INTEGER: Final = 2**63 - 1
# Headers, the tenant and two index entries beside the item and its row, as counted by the contract's test of sizes
ROW_BYTES: Final = 54

_SIZE: Final = f"coalesce(sum(octet_length(packed) + 2 * octet_length(item) + {ROW_BYTES}), 0)::bigint"
_ALL: Final = "SELECT item, packed FROM traces WHERE tenant = %s AND item > %s ORDER BY item LIMIT %s"
_SOME: Final = "SELECT item, packed FROM traces WHERE tenant = %s AND item = ANY(%s)"
_PUT: Final = """
INSERT INTO traces (tenant, item, packed, forget_at)
SELECT %s, item, packed, forget_at FROM unnest(%s::text[], %s::bytea[], %s::bigint[]) AS given (item, packed, forget_at)
ON CONFLICT (tenant, item) DO UPDATE SET packed = excluded.packed, forget_at = excluded.forget_at
RETURNING 1"""
_REMOVE: Final = f"""
WITH gone AS (DELETE FROM traces WHERE tenant = %s AND item = ANY(%s) RETURNING item, packed)
SELECT {_SIZE} FROM gone"""
_DROP: Final = f"""
WITH gone AS (DELETE FROM traces WHERE tenant = %s RETURNING item, packed) SELECT {_SIZE} FROM gone"""
_APPLY: Final = """
WITH gone AS (DELETE FROM trace_changes WHERE tenant = %s AND n <= %s RETURNING body)
SELECT coalesce(sum(octet_length(body)), 0)::bigint FROM gone"""


def read_all(query: Query, tenant: str) -> Iterator[tuple[str, bytes]]:
    """Yield all (item, packed) of a tenant, in the order of the items' code points."""
    last = ""  # no item is empty
    while found := query(_ALL, (tenant, last, _READ_AT_ONCE)):
        last = found[-1][0]
        yield from found


def read_some(query: Query, tenant: str, items: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (item, packed) of those of these items that are there, in their order."""
    for some in chunks(list(dict.fromkeys(items)), _READ_AT_ONCE):
        found: dict[str, bytes] = dict(query(_SOME, (tenant, list(some))))
        for item in some:
            if item in found:
                yield item, found[item]


def forgettable(query: Query, tenant: str, before_us: int, limit: int) -> list[tuple[str, int]]:
    """Return (item, forget_at) with forget_at <= before_us, earliest first."""
    bound = max(-1, min(before_us, _MOST_INTEGER))
    found = query(
        "SELECT item, forget_at FROM traces WHERE tenant = %s AND forget_at <= %s ORDER BY forget_at, item LIMIT %s",
        (tenant, bound, min(max(0, limit), _MOST_INTEGER)),
    )
    return [(item, at) for item, at in found]


def changes_after(query: Query, tenant: str, after: int) -> list[tuple[int, bytes]]:
    """Return (n, body) of changes with n > after, ascending."""
    found = query(
        "SELECT n, body FROM trace_changes WHERE tenant = %s AND n > %s ORDER BY n",
        (tenant, min(max(0, after), _MOST_INTEGER)),
    )
    return [(n, body) for n, body in found]


def put(query: Query, tenant: str, given: Mapping[str, rows.TraceRow], *, removed: Sequence[str], applied: int) -> int:
    """Remove items, then replace or add rows, then drop the changes up to `applied`; return the bytes gained."""
    n_bytes = 0
    for some in chunks(list(dict.fromkeys(removed)), _READ_AT_ONCE):
        n_bytes -= query(_REMOVE, (tenant, list(some)))[0][0]
    for some in chunks(list(given), _READ_AT_ONCE):
        items = list(some)
        n_bytes -= query(f"SELECT {_SIZE} FROM traces WHERE tenant = %s AND item = ANY(%s)", (tenant, items))[0][0]
        found = [given[item] for item in items]
        query(_PUT, (tenant, items, [row.packed for row in found], [row.forget_at for row in found]))
        n_bytes += sum(len(given[item].packed) + 2 * len(item.encode()) + ROW_BYTES for item in items)
    if applied:
        n_bytes -= query(_APPLY, (tenant, applied))[0][0]
    return n_bytes


def drop(query: Query, tenant: str) -> int:
    """Remove everything of a tenant; return the bytes that it took."""
    return int(query(_DROP, (tenant,))[0][0] + query(_APPLY, (tenant, _MOST_INTEGER))[0][0])
