"""Activation traces in SQLite: one row per item, read and written many at a time.

A row has 209 bytes of content for twelve timescales of two channels. The table is one of ids given in the order of
arrival, with an index from item to id, because rows in the order of their items would be put between others: pages are
then 7/8 full, and those of an id table full. Ids of rows that are gone are given again, or their room would stay empty.
Measured in `tests/unit/storage/test_sqlite_traces.py`.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from dwell.storage import rows
from dwell.storage.protocol import chunks
from dwell.storage.schema import SEQ_BITS

__all__ = ["FORGETTABLE", "changes_after", "drop", "forgettable", "number", "put", "read_all", "read_some"]

Query: TypeAlias = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]
WriteMany: TypeAlias = Callable[[str, list[tuple[Any, ...]], str], int]

_READ_AT_ONCE: Final = 512  # rows: about a hundred kilobytes, and few enough statements that their cost does not count
_LOOKED_AT: Final = 16  # ids for each that is free: where fewer are, looking is dearer than the room that they take
_LOOKED_AT_FIRST: Final = 2_048  # ids, before that is judged
_MOST_INTEGER: Final = 2**63 - 1

_ALL: Final = "SELECT id, item, packed FROM traces WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
_SOME: Final = """
SELECT t.item, t.packed FROM json_each(?2) j CROSS JOIN traces t ON t.tenant = ?1 AND t.item = j.value"""
_KNOWN: Final = """
SELECT json_group_array(json_array(t.item, t.id))
FROM json_each(?2) j CROSS JOIN traces t ON t.tenant = ?1 AND t.item = j.value"""
_TAKEN: Final = "SELECT json_group_array(id) FROM traces WHERE id > ? AND id <= ?"
_NEWEST: Final = "SELECT id FROM traces WHERE id > ? AND id < ? ORDER BY id DESC LIMIT 1"
_REMOVE: Final = "DELETE FROM traces WHERE tenant = ?1 AND item IN (SELECT value FROM json_each(?2))"
_REPLACED: Final = " ON CONFLICT (id) DO UPDATE SET packed = excluded.packed, forget_at = excluded.forget_at"

FORGETTABLE: Final = """
SELECT item, forget_at FROM traces WHERE tenant = ? AND forget_at <= ? ORDER BY forget_at, item LIMIT ?"""

_encode_json = msgspec.json.Encoder().encode
_decode_ids = msgspec.json.Decoder(list[int]).decode
_decode_known = msgspec.json.Decoder(list[tuple[str, int]]).decode


def _json(items: Sequence[str]) -> str:
    return _encode_json(items).decode()


def number(low: int) -> int:
    """Return the number of the tenant whose ids begin above `low`; negative for one that is not there."""
    return low >> SEQ_BITS


def read_all(query: Query, low: int) -> Iterator[tuple[str, bytes]]:
    """Yield all (item, packed) of a tenant, in the order of their ids."""
    last, end = low, low + (1 << SEQ_BITS)
    while found := query(_ALL, (last, end, _READ_AT_ONCE)):
        last = found[-1][0]
        for _, item, packed in found:
            yield item, packed


def read_some(query: Query, low: int, items: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (item, packed) of those of these items that are there, in their order."""
    for some in chunks(list(dict.fromkeys(items)), _READ_AT_ONCE):
        yield from query(_SOME, (number(low), _json(some)))


def forgettable(query: Query, low: int, before_us: int, limit: int) -> list[tuple[str, int]]:
    """Return (item, forget_at) with forget_at <= before_us, earliest first."""
    bound = max(-1, min(before_us, _MOST_INTEGER))
    return [(item, at) for item, at in query(FORGETTABLE, (number(low), bound, max(0, limit)))]


def changes_after(query: Query, low: int, after: int) -> list[tuple[int, bytes]]:
    """Return (n, body) of changes with n > after, ascending."""
    span = (low + min(max(0, after), 1 << SEQ_BITS), low + (1 << SEQ_BITS))
    found = query("SELECT id, body FROM trace_changes WHERE id > ? AND id < ? ORDER BY id", span)
    return [(row_id - low, body) for row_id, body in found]


def put(
    query: Query,
    write_many: WriteMany,
    low: int,
    given: Mapping[str, rows.TraceRow],
    *,
    removed: Sequence[str],
    applied: int,
) -> None:
    """Remove items, then replace or add rows, then drop the changes up to `applied`.

    An item that is there keeps its id, so that its row stays in its place; a new one gets a free id.
    """
    tenant = number(low)
    for some in chunks(removed, _READ_AT_ONCE):
        query(_REMOVE, (tenant, _json(some)))
    free = _free_ids(query, low, next(iter(given), ""))
    for some in chunks(list(given), _READ_AT_ONCE):
        ids = dict(_decode_known(query(_KNOWN, (tenant, _json(some)))[0][0]))
        new = [item for item in some if item not in ids]
        ids.update(zip(new, free, strict=False))
        write_many(
            "INSERT INTO traces (id, item, packed, forget_at) ",
            [(ids[item], item, *given[item]) for item in some],
            _REPLACED,
        )
    if applied:
        query("DELETE FROM trace_changes WHERE id > ? AND id <= ?", (low, low + min(applied, 1 << SEQ_BITS)))


def _free_ids(query: Query, low: int, mark: str) -> Iterator[int]:
    """Yield ids for new items: those of rows that are gone while they are easily found, then those after the highest.

    Args:
        query: Asked while ids are taken: only what was yielded may be written meanwhile.
        low: The tenant's.
        mark: Where the search begins follows from it: anywhere, but at the same place when the same is done again.
    """
    newest = query(_NEWEST, (low, low + (1 << SEQ_BITS)))
    n = newest[0][0] - low if newest else 0
    start = zlib.crc32(mark.encode()) % max(1, n)
    n_seen = n_free = 0
    for first, end in ((start, n), (0, start)):
        for at in range(first, end, _READ_AT_ONCE):
            if n_seen > _LOOKED_AT * n_free + _LOOKED_AT_FIRST:
                break
            last = min(at + _READ_AT_ONCE, end)
            taken = set(_decode_ids(query(_TAKEN, (low + at, low + last))[0][0]))
            free = [row_id for row_id in range(low + at + 1, low + last + 1) if row_id not in taken]
            n_seen, n_free = n_seen + last - at, n_free + len(free)
            yield from free
    yield from itertools.count(low + n + 1)


def drop(query: Query, low: int) -> None:
    """Remove everything of a tenant."""
    for table in ("traces", "trace_changes"):
        query(f"DELETE FROM {table} WHERE id > ? AND id < ?", (low, low + (1 << SEQ_BITS)))
