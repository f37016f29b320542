"""Slots whose masses are to be computed anew before the next draw."""

from __future__ import annotations

import numpy as np

from dwell.records.arrays import IntArray

__all__ = ["Stale"]


class Stale:
    """A list of changes that costs one append per change and never grows beyond the buffer; everything at first."""

    __slots__ = ("_blocks", "_n_in_blocks", "_slots", "is_whole")

    def __init__(self) -> None:
        self._slots: list[int] = []
        self._blocks: list[IntArray] = []
        self._n_in_blocks = 0
        self.is_whole = True

    def __bool__(self) -> bool:
        return self.is_whole or bool(self._slots) or bool(self._blocks)

    def add(self, slot: int, n: int) -> None:
        """Note one slot of a buffer of n."""
        # beyond n entries one pass over everything is cheaper, and a buffer that nobody samples must not grow a list
        if self.is_whole or len(self._slots) > n:
            self.mark_whole()
        else:
            self._slots.append(slot)

    def add_many(self, slots: IntArray, n: int) -> None:
        """Note many slots of a buffer of n."""
        if self.is_whole or self._n_in_blocks + slots.size > n:
            self.mark_whole()
        else:
            self._blocks.append(slots)
            self._n_in_blocks += slots.size

    def mark_whole(self) -> None:
        """Note that everything is to be computed anew."""
        self._slots.clear()
        self._blocks.clear()
        self._n_in_blocks = 0
        self.is_whole = True

    def taken(self) -> IntArray:
        """Return the slots noted, int64 (n,), and forget them."""
        slots = np.array(self._slots, dtype=np.int64)
        if self._blocks:
            slots = np.concatenate([slots, *self._blocks])
        self._slots.clear()
        self._blocks.clear()
        self._n_in_blocks = 0
        self.is_whole = False
        return slots
