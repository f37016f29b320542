"""A sum tree of whole numbers: masses per index, total, and the index at a position of the running sum.

Masses are integers below 2^53 kept as float64, so every sum is exact in any order: the tree is a pure function of its
leaves whatever the history, a rebuild changes no bit, and no machine's rounding changes a draw. That is what allows the
sums to be made by matrix products, whose order of addition depends on the batch size and the processor: a visited node
costs one row of up to 16 children, its running sum one product with a triangle of ones. The top is one flat array of at
most 1,024 nodes, searched by its running sum.

Source: Schaul et al. 2015, appendix B.2.1, for the search by running sum; for the layout and why whole numbers:
docs/decisions/0008-exact-sums-and-wide-spans.md.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dwell.records.arrays import FloatArray, IntArray

__all__ = ["MAX_TOTAL", "PrefixTree", "fan_outs"]

MAX_TOTAL: Final = 2.0**53  # the integers below it are exact in float64, hence every partial sum is
TOP_NODES: Final = 512  # a running sum of 512 takes 2 us, less than one more level
FAN_OUT: Final = 16  # two cache lines of children; measured fastest beside 8
CHUNK_ROWS: Final = 1024  # products with more rows start BLAS threads: 4,096 rows took 36 times as long as 1,024
REBUILD_SHARE: Final = 8  # from a change of one leaf in eight on, one pass over all levels is the cheaper way


def fan_outs(n_leaves: int) -> tuple[int, ...]:
    """Return children per node, level by level from below the flat top to the leaves; none for up to 512 leaves."""
    levels: list[int] = []
    n_nodes = n_leaves
    while n_nodes > TOP_NODES:
        levels.append(FAN_OUT)
        n_nodes = -(-n_nodes // FAN_OUT)
    # a narrow node costs less: halve fan-outs from the top on while the top has room
    for i in range(len(levels) - 1, 0, -1):
        if 2 * n_nodes <= TOP_NODES:
            levels[i] //= 2
            n_nodes *= 2
    return tuple(reversed(levels))


class PrefixTree:
    """Masses of `n_leaves` indices, all 0 at first; the caller keeps their sum below 2^53.

    Args:
        n_leaves: Number of indices, >= 1; the surplus of the last nodes has mass 0.
    """

    __slots__ = ("_down", "_is_summed", "_leaves", "_nodes", "_offsets", "_sums", "_top", "_up", "n_leaves")

    def __init__(self, n_leaves: int) -> None:
        fans = fan_outs(n_leaves)
        n_top = n_leaves
        for fan in fans:
            n_top = -(-n_top // fan)
        self.n_leaves = n_leaves
        self._top = np.zeros(n_top)
        self._nodes: list[FloatArray] = []
        n = n_top
        for fan in fans:
            self._nodes.append(np.zeros((n, fan)))
            n *= fan
        flat = [self._top, *(nodes.reshape(-1) for nodes in self._nodes)]
        self._leaves = flat[-1]
        shifts = [fan.bit_length() - 1 for fan in fans]
        # from the leaves up: children, how far an index moves, what sums them, where the sum goes
        self._up = [(self._nodes[q], shifts[q], np.ones(fan), flat[q]) for q, fan in reversed(list(enumerate(fans)))]
        # from the top down: children, shift, a triangle whose product is the running sum from 0 on, its width
        self._down = [
            (nodes, shifts[q], np.concatenate([np.zeros((fan, 1)), np.triu(np.ones((fan, fan)))], axis=1), fan + 1)
            for q, (nodes, fan) in enumerate(zip(self._nodes, fans, strict=True))
        ]
        self._offsets: dict[int, list[IntArray]] = {}
        # the running sum of the top, 0 first: from [1:] what is searched, from [:-1] what stands before
        self._sums = np.zeros(n_top + 1)
        self._is_summed = True

    @property
    def total(self) -> float:
        """Sum of all masses, exact."""
        return float(self._summed()[-1])

    @property
    def n_bytes(self) -> int:
        """Memory of the masses and their sums."""
        return self._top.nbytes + sum(nodes.nbytes for nodes in self._nodes)

    def masses(self, indices: IntArray) -> FloatArray:
        """Return the masses of some indices, in their order."""
        return self._leaves.take(indices)

    def leaves(self, n: int) -> FloatArray:
        """Return the masses of the first n indices; a view, not to be written."""
        return self._leaves[:n]

    def set(self, indices: IntArray, masses: FloatArray) -> None:
        """Replace the masses of some indices; of an index given twice the last one holds.

        Args:
            indices: int64 (b,), each in [0, n_leaves).
            masses: float64 (b,), whole numbers >= 0.
        """
        self._leaves[indices] = masses
        self._is_summed = False
        if indices.size * REBUILD_SHARE >= self.n_leaves:
            self._recompute()
            return
        for start in range(0, indices.size, CHUNK_ROWS):
            at = indices if indices.size <= CHUNK_ROWS else indices[start : start + CHUNK_ROWS]
            for children, shift, ones, parents in self._up:
                at = at >> shift
                parents[at] = children.take(at, 0).dot(ones)

    def fill(self, masses: FloatArray) -> None:
        """Replace every mass: the first len(masses) indices take these, all others 0."""
        self._leaves[: masses.size] = masses
        self._leaves[masses.size :] = 0.0
        self._recompute()

    def find(self, positions: FloatArray) -> IntArray:
        """Return the index at each position of the running sum, int64 (b,); never one whose mass is 0.

        Args:
            positions: float64 (b,), each in [0, total), with total > 0.
        """
        if positions.size <= CHUNK_ROWS:
            return self._find(positions)
        parts = [self._find(positions[i : i + CHUNK_ROWS]) for i in range(0, positions.size, CHUNK_ROWS)]
        return np.concatenate(parts)

    def _find(self, positions: FloatArray) -> IntArray:
        sums = self._summed()
        at = sums[1:].searchsorted(positions, side="right")
        rest = positions - sums.take(at)
        last = len(self._down) - 1
        offsets = self._offsets_of(at.size)
        for q, (children, shift, triangle, _) in enumerate(self._down):
            before = children.take(at, 0).dot(triangle)
            # the first running sum beyond the position, less one: argmax stops at the first
            child = (before > rest[:, None]).argmax(1)
            child -= 1
            at <<= shift
            at += child
            if q < last:
                child += offsets[q]
                rest -= before.take(child)
        return at

    def _offsets_of(self, n: int) -> list[IntArray]:
        found = self._offsets.get(n)
        if found is None:
            if len(self._offsets) > 64:  # batch sizes are few; a caller who varies them must not fill the memory
                self._offsets.clear()
            found = self._offsets[n] = [np.arange(n) * width for _, _, _, width in self._down]
        return found

    def _recompute(self) -> None:
        for children, _, ones, parents in self._up:
            for start in range(0, len(children), CHUNK_ROWS):
                parents[start : start + CHUNK_ROWS] = children[start : start + CHUNK_ROWS].dot(ones)
        self._is_summed = False

    def _summed(self) -> FloatArray:
        if not self._is_summed:
            np.cumsum(self._top, out=self._sums[1:])
            self._is_summed = True
        return self._sums
