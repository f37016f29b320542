"""What items of a log tell for others, on disk, so that memory does not grow with the log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import apsw
import msgspec

__all__ = ["Shelf"]

_CACHE_KB: Final = 16_384
_MOST: Final = 10_000  # decoded values kept at hand: the items that are shown most


class Shelf:
    """Mappings by name, in a private database that has no name and dies with the process.

    Not safe from several threads; `close` frees the disk.
    """

    def __init__(self) -> None:
        self._connection = apsw.Connection("")
        self._connection.execute(
            f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{_CACHE_KB}"
        )
        self._connection.execute("CREATE TABLE shelf (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID")
        self._connection.execute("BEGIN")
        self._near: OrderedDict[str, Mapping[str, Any]] = OrderedDict()

    def put(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep a mapping, in place of the one that is there."""
        body = msgspec.msgpack.encode(value)
        self._connection.execute("INSERT OR REPLACE INTO shelf (name, body) VALUES (?, ?)", (name, body))
        self._remember(name, value)

    def get(self, name: str) -> Mapping[str, Any]:
        """Return a mapping, empty where there is none."""
        found = self._near.get(name)
        if found is None:
            rows = list(self._connection.execute("SELECT body FROM shelf WHERE name = ?", (name,)))
            found = msgspec.msgpack.decode(rows[0][0]) if rows else {}
            self._remember(name, found)
        else:
            self._near.move_to_end(name)
        return found

    def close(self) -> None:
        """Free the disk; closing twice is legal."""
        self._connection.close()

    def _remember(self, name: str, value: Mapping[str, Any]) -> None:
        self._near[name] = value
        self._near.move_to_end(name)
        if len(self._near) > _MOST:
            self._near.popitem(last=False)
