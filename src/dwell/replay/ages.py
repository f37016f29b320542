"""The order in which experiences came in: who is the oldest, and all of them by age.

Slots stand in a line in the order of their arrival; one that leaves leaves a gap. The line is closed up when it is
full, which costs a pass over it once in half a buffer of arrivals.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dwell.records.arrays import IntArray, one_by_one

__all__ = ["Ages"]

_GAP: Final = -1
_STRIDE: Final = 256  # places looked at together where many gaps may follow each other


class Ages:
    """Slots by age.

    Args:
        n_slots: Slots 0 to n_slots - 1 can stand in line.
    """

    __slots__ = ("_head", "_line", "_line_view", "_place", "_place_view", "_second", "_tail")

    def __init__(self, n_slots: int) -> None:
        kind = np.int32 if n_slots < 2**30 else np.int64
        self._line = np.full(n_slots + n_slots // 2 + 16, _GAP, dtype=kind)
        self._place = np.zeros(n_slots, dtype=kind)
        self._head = self._tail = self._second = 0
        self._view()

    def _view(self) -> None:
        self._line_view = one_by_one(self._line)
        self._place_view = one_by_one(self._place)

    @property
    def n_bytes(self) -> int:
        """Memory of the line."""
        return self._line.nbytes + self._place.nbytes

    def append(self, slot: int) -> None:
        """Note the newest."""
        if self._tail == self._line.size:
            self._close_up()
        self._line_view[self._tail] = slot
        self._place_view[slot] = self._tail
        self._tail += 1

    def append_many(self, slots: IntArray) -> None:
        """Note newest ones, in order."""
        if self._tail + slots.size > self._line.size:
            self._close_up()
        end = self._tail + slots.size
        self._line[self._tail : end] = slots
        self._place[slots] = np.arange(self._tail, end)
        self._tail = end

    def drop(self, slot: int) -> None:
        """Forget a slot."""
        self._line_view[self._place_view[slot]] = _GAP

    def drop_many(self, slots: IntArray) -> None:
        """Forget some slots."""
        self._line[self._place.take(slots)] = _GAP

    def move(self, source: int, target: int) -> None:
        """Note that who stood in one slot stands in another; the one that stood there was dropped."""
        place = self._place_view[source]
        self._line_view[place] = target
        self._place_view[target] = place

    def place(self, slot: int) -> int:
        """Return a number that is smaller the older a slot is, until the next change."""
        found: int = self._place_view[slot]
        return found

    def oldest(self, *, but: int = _GAP) -> int:
        """Return the slot of the oldest other than `but`; at least one such is there."""
        line = self._line_view
        while line[self._head] == _GAP:
            self._head += 1
        at = self._head
        if line[at] != but:
            slot: int = line[at]
            return slot
        # places behind the head only ever become gaps: the search goes on where it ended last
        self._second = max(self._second, at + 1)
        while line[self._second] == _GAP:
            self._second += 1
        other: int = line[self._second]
        return other

    def oldest_many(self, n: int) -> IntArray:
        """Return the slots of the n oldest, oldest first; that many are there."""
        while not (is_live := self._line[self._head : self._head + _STRIDE] != _GAP).any():
            self._head += _STRIDE
        self._head += int(is_live.argmax())
        end = self._head + n
        found = self._line[self._head : end]
        while (n_live := int(np.count_nonzero(found != _GAP))) < n:
            end = min(end + max(n - n_live, _STRIDE), self._tail)
            found = self._line[self._head : end]
        oldest: IntArray = found[found != _GAP][:n].astype(np.int64)
        return oldest

    def in_order(self) -> IntArray:
        """Return all slots, oldest first, int64 (n,)."""
        line = self._line[self._head : self._tail]
        slots: IntArray = line[line != _GAP].astype(np.int64)
        return slots

    def fill(self, slots: IntArray) -> None:
        """Take over a whole order, oldest first."""
        self.clear()
        self.append_many(slots)

    def clear(self) -> None:
        """Forget every slot."""
        self._line.fill(_GAP)
        self._head = self._tail = self._second = 0

    def grow(self, n_slots: int) -> None:
        """Make room for more slots."""
        slots = self.in_order()
        self.__init__(n_slots)  # type: ignore[misc]  # all state is made anew
        self.append_many(slots)

    def _close_up(self) -> None:
        slots = self.in_order()
        self._line[: slots.size] = slots
        self._line[slots.size :] = _GAP
        self._place[slots] = np.arange(slots.size)
        self._head, self._tail, self._second = 0, slots.size, 0
