"""Where each `seq` stands: identity in, position out, for one or for many at once.

A table of guesses, checked on every use against the seqs that really stand at the positions. While the seqs in use
span less than the table, as those of a store do, no two of them want the same cell and every guess about a live seq
is right; the few that lost their cell to another are kept by name. So a look-up costs three reads, a seq that has
left is found out, and nothing is kept per seq but 16 to 32 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from dwell.records.arrays import IntArray, one_by_one

__all__ = ["GONE", "SeqIndex"]

GONE: Final = -1  # the position of a seq that is not there


class SeqIndex:
    """Positions of seqs; the caller keeps the column of seqs by position, 0 where nobody stands, and passes it in.

    Args:
        n_positions: Positions 0 to n_positions - 1 can be held.
    """

    __slots__ = ("_cells", "_displaced", "_guess")

    def __init__(self, n_positions: int) -> None:
        # twice as many cells as positions: gaps of the size of the live span are tolerated without a collision
        size = 2 << max(n_positions - 1, 1).bit_length()
        # eight bytes a cell: what is read from it is an index as it is
        self._guess = np.zeros(size, dtype=np.int64)
        self._cells = one_by_one(self._guess)
        self._displaced: dict[int, int] = {}

    @property
    def n_bytes(self) -> int:
        """Memory of the table."""
        return self._guess.nbytes

    def put(self, seq: int, position: int, seqs: Sequence[int] | memoryview) -> None:
        """Note that a seq stands at a position.

        Args:
            seq: >= 1, new or moved.
            position: Where it stands from now on.
            seqs: The column by position, in which the other entries are right already.
        """
        cell = seq & (len(self._cells) - 1)
        held = self._cells[cell]
        if held != position and held < len(seqs):
            other = seqs[held]
            if other != seq and other >= 1 and (other & (len(self._cells) - 1)) == cell:
                self._displaced[other] = held
        self._cells[cell] = position
        if self._displaced:
            self._displaced.pop(seq, None)

    def put_many(self, new: IntArray, positions: IntArray, seqs: IntArray) -> None:
        """Note where seqs stand, as `put` does for one; all of them are new and different."""
        cells = new & (self._guess.size - 1)
        held = self._guess.take(cells)
        others = seqs[held]
        is_live = (others >= 1) & (held != positions) & ((others & (self._guess.size - 1)) == cells)
        for position, other in zip(held[is_live].tolist(), others[is_live].tolist(), strict=True):
            self._displaced[other] = position
        self._guess[cells] = positions
        for i in np.flatnonzero(self._guess.take(cells) != positions).tolist():
            self._displaced[int(new[i])] = int(positions[i])

    def drop_many(self, gone: IntArray) -> None:
        """Forget seqs that left."""
        if self._displaced:
            for seq in gone.tolist():
                self._displaced.pop(seq, None)

    def drop(self, seq: int) -> None:
        """Forget a seq that left; the caller has changed the column by then, or will before the next look-up."""
        if self._displaced:
            self._displaced.pop(seq, None)

    def clear(self) -> None:
        """Forget every seq."""
        self._displaced.clear()

    def fill(self, seqs: IntArray) -> None:
        """Take over a whole column: `seqs[i]` stands at i, all different."""
        self._displaced.clear()
        cells = seqs & (self._guess.size - 1)
        positions = np.arange(seqs.size)
        self._guess[cells] = positions
        for i in np.flatnonzero(self._guess.take(cells) != positions).tolist():
            self._displaced[int(seqs[i])] = i

    def one(self, seq: int, seqs: Sequence[int] | memoryview) -> int:
        """Return the position of a seq in the column, or `GONE`."""
        position: int = self._cells[seq & (len(self._cells) - 1)]
        if position < len(seqs) and seqs[position] == seq:
            return position
        return self._displaced.get(seq, GONE) if self._displaced else GONE

    def many(self, wanted: IntArray, seqs: IntArray) -> tuple[IntArray, bool]:
        """Return the positions of seqs, int64 (b,), `GONE` for those not there, and whether all of them are.

        Args:
            wanted: int64 (b,), >= 1.
            seqs: The column by position, 0 where nobody stands, as long as there are positions.
        """
        positions = self._guess.take(wanted & (self._guess.size - 1))
        is_right = seqs[positions] == wanted  # indexed, not taken: the column may be a field of a record
        if is_right.all():
            return positions, True
        wrong = np.flatnonzero(~is_right)
        find = self._displaced.get
        if not self._displaced:
            positions[wrong] = GONE
            return positions, False
        found = [find(seq, GONE) for seq in wanted[wrong].tolist()]
        positions[wrong] = found
        return positions, GONE not in found
