"""Which slots belong to one name, oldest first: a doubly linked list per name through two columns.

So all of a user's experiences are found in as many steps as there are, and the oldest of a segment in one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from dwell.records.arrays import one_by_one

__all__ = ["Chains"]

_END: Final = -1


class Chains:
    """Lists of slots by code, each in the order in which they were appended.

    Args:
        n_slots: Slots 0 to n_slots - 1 can be held.
    """

    __slots__ = ("_before", "_first", "_last", "_next")

    def __init__(self, n_slots: int) -> None:
        self._before: Any = one_by_one(np.full(n_slots, _END, dtype=np.int32 if n_slots < 2**31 else np.int64))
        self._next: Any = one_by_one(np.full(n_slots, _END, dtype=np.int32 if n_slots < 2**31 else np.int64))
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}

    @property
    def n_bytes(self) -> int:
        """Memory of the links."""
        n_bytes: int = self._before.nbytes + self._next.nbytes
        return n_bytes

    def append(self, slot: int, code: int) -> None:
        """Put a slot at the end of a list."""
        last = self._last.get(code, _END)
        self._before[slot], self._next[slot] = last, _END
        if last == _END:
            self._first[code] = slot
        else:
            self._next[last] = slot
        self._last[code] = slot

    def drop(self, slot: int, code: int) -> None:
        """Take a slot out of its list."""
        before, after = self._before[slot], self._next[slot]
        if before == _END and after == _END:
            del self._first[code], self._last[code]
        elif before == _END:
            self._first[code] = after
            self._before[after] = _END
        elif after == _END:
            self._last[code] = before
            self._next[before] = _END
        else:
            self._next[before], self._before[after] = after, before

    def move(self, source: int, target: int, code: int) -> None:
        """Note that who stood in one slot stands in another; the one that stood there was dropped."""
        before, after = self._before[source], self._next[source]
        self._before[target], self._next[target] = before, after
        if before == _END:
            self._first[code] = target
        else:
            self._next[before] = target
        if after == _END:
            self._last[code] = target
        else:
            self._before[after] = target

    def neighbours(self, slot: int) -> tuple[int, int]:
        """Return the slots before and after one in its list, -1 where there is none."""
        return self._before[slot], self._next[slot]

    def put_before(self, slot: int, after: int, code: int) -> None:
        """Move a slot to where it stands before another of its list; -1 for the end."""
        if self._next[slot] == after:
            return
        self.drop(slot, code)
        if after == _END:
            self.append(slot, code)
            return
        before = self._before[after]
        self._before[slot], self._next[slot], self._before[after] = before, after, slot
        if before == _END:
            self._first[code] = slot
        else:
            self._next[before] = slot

    def first(self, code: int) -> int:
        """Return the oldest slot of a list that is not empty."""
        return self._first[code]

    def second(self, code: int) -> int:
        """Return the slot after the oldest, or -1."""
        after: int = self._next[self._first[code]]
        return after

    def members(self, code: int) -> Iterator[int]:
        """Yield the slots of a list, oldest first; it must not change meanwhile."""
        slot = self._first.get(code, _END)
        while slot != _END:
            yield slot
            slot = self._next[slot]

    def clear(self) -> None:
        """Empty every list."""
        self._first.clear()
        self._last.clear()

    def grow(self, n_slots: int) -> None:
        """Make room for more slots."""
        for name in ("_before", "_next"):
            old = np.asarray(getattr(self, name))
            grown = np.full(n_slots, _END, dtype=old.dtype if n_slots < 2**31 else np.int64)
            grown[: old.size] = old
            setattr(self, name, one_by_one(grown))
