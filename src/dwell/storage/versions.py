"""Tables in memory of which any number of readers see their own committed state, at no cost per snapshot.

Each key leads to a chain of (stamp, value, older); a reader follows it to the newest value not younger than itself.
Values that no reader can reach any more are cut off, so without long reads there is one value per key.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Iterator
from typing import Any, Final, TypeAlias

__all__ = ["Changes", "Versions", "View"]

_Node: TypeAlias = "tuple[int, Any, _Node | None]"
_GONE: Final = object()
_UNTOUCHED: Final = object()


class Versions:
    """The committed states of all tables.

    Args:
        tables: Names of the tables.
    """

    def __init__(self, tables: tuple[str, ...]) -> None:
        self._tables: dict[str, dict[Hashable, _Node]] = {name: {} for name in tables}
        self._stamp = 0
        self._readers: dict[int, int] = {}
        self._old: deque[tuple[int, str, Hashable]] = deque()
        self._mutex = threading.Lock()  # held for moments: to begin and end reading, to list, and to apply a commit

    def begin(self) -> int:
        """Return the stamp of the newest state, and keep that state until `end`."""
        with self._mutex:
            self._readers[self._stamp] = self._readers.get(self._stamp, 0) + 1
            return self._stamp

    def end(self, stamp: int) -> None:
        """Let go of a state."""
        with self._mutex:
            self._readers[stamp] -= 1
            if not self._readers[stamp]:
                del self._readers[stamp]
            self._cut()

    def get(self, table: str, key: Hashable, stamp: int) -> Any:  # noqa: ANN401 - tables hold values of any kind
        """Return a value as it was at a stamp, or None."""
        return _at(self._tables[table].get(key), stamp)

    def items(self, table: str, stamp: int) -> list[tuple[Any, Any]]:
        """Return all keys and values as they were at a stamp."""
        with self._mutex:
            nodes = list(self._tables[table].items())
        found = ((key, _at(node, stamp)) for key, node in nodes)
        return [(key, value) for key, value in found if value is not None]

    def commit(self, changes: dict[str, dict[Hashable, Any]]) -> None:
        """Make all changes visible at once."""
        with self._mutex:
            stamp = self._stamp + 1
            for table, changed in changes.items():
                nodes = self._tables[table]
                for key, value in changed.items():
                    older = nodes.get(key) if self._readers else None
                    if older is not None:
                        self._old.append((stamp, table, key))
                    if value is _GONE and older is None:
                        nodes.pop(key, None)
                    else:
                        nodes[key] = (stamp, value, older)
            self._stamp = stamp
            self._cut()

    def _cut(self) -> None:
        oldest = min(self._readers, default=self._stamp)
        while self._old and self._old[0][0] <= oldest:
            _, table, key = self._old.popleft()
            node = self._tables[table].get(key)
            if node is None:
                continue
            kept = _without_older(node, oldest)
            if kept[1] is _GONE and kept[2] is None:
                del self._tables[table][key]
            else:
                self._tables[table][key] = kept


def _at(node: _Node | None, stamp: int) -> Any:  # noqa: ANN401 - tables hold values of any kind
    while node is not None and node[0] > stamp:
        node = node[2]
    return None if node is None or node[1] is _GONE else node[1]


def _without_older(node: _Node, oldest: int) -> _Node:
    stamp, value, older = node
    if stamp <= oldest or older is None:
        return (stamp, value, None)
    return (stamp, value, _without_older(older, oldest))


class View:
    """One committed state.

    Args:
        versions: All states.
        stamp: Which of them.
    """

    def __init__(self, versions: Versions, stamp: int) -> None:
        self._versions = versions
        self._stamp = stamp

    def get(self, table: str, key: Hashable) -> Any:  # noqa: ANN401 - tables hold values of any kind
        """Return a value, or None."""
        return self._versions.get(table, key, self._stamp)

    def items(self, table: str) -> list[tuple[Any, Any]]:
        """Return all keys and values."""
        return self._versions.items(table, self._stamp)


class Changes:
    """One committed state with changes over it that nobody else sees yet.

    Args:
        view: The state beneath; it stays the newest one until `Versions.commit`.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._undo: list[tuple[str, Hashable, Any]] = []
        self.pending: dict[str, dict[Hashable, Any]] = {}

    def get(self, table: str, key: Hashable) -> Any:  # noqa: ANN401 - tables hold values of any kind
        """Return a value, or None."""
        value = self.pending.get(table, {}).get(key, _UNTOUCHED)
        if value is _UNTOUCHED:
            return self._view.get(table, key)
        return None if value is _GONE else value

    def items(self, table: str) -> list[tuple[Any, Any]]:
        """Return all keys and values."""
        return list(self._merged(table))

    def _merged(self, table: str) -> Iterator[tuple[Any, Any]]:
        changed = self.pending.get(table, {})
        for key, value in self._view.items(table):
            if key not in changed:
                yield key, value
        for key, value in changed.items():
            if value is not _GONE:
                yield key, value

    def put(self, table: str, key: Hashable, value: object) -> None:
        """Set a value."""
        changed = self.pending.setdefault(table, {})
        self._undo.append((table, key, changed.get(key, _UNTOUCHED)))
        changed[key] = value

    def remove(self, table: str, key: Hashable) -> None:
        """Remove a value."""
        self.put(table, key, _GONE)

    def mark(self) -> int:
        """Return where `undo_to` can return to."""
        return len(self._undo)

    def undo_to(self, mark: int) -> None:
        """Take back everything that was changed since."""
        while len(self._undo) > mark:
            table, key, before = self._undo.pop()
            if before is _UNTOUCHED:
                del self.pending[table][key]
            else:
                self.pending[table][key] = before
