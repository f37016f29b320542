"""The law of ranks: P in proportion to 1 / rank^alpha, rank 1 the highest priority.

An exact rank changes for everybody with each priority that moves. Here a priority is ranked against the priorities as
they were sorted last: a look-up, O(log n), and its mass goes into a tree. The order is made anew once a sixteenth of
the buffer has changed, and before every draw while the buffer is small. What is drawn, and so the probability that is
returned, is always exactly that of the tree.

Source: Schaul et al. 2015, "Prioritized Experience Replay", section 3.3, the rank-based variant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from dwell.records.arrays import FloatArray, IntArray
from dwell.replay.draws import Drawn, draw, draw_capped
from dwell.replay.ring import Ring
from dwell.replay.samplers import ExactTree, UniformSampler
from dwell.replay.stale import Stale

__all__ = ["RankSampler"]

EXACT_UP_TO: Final = 10_000  # sorting that many takes less than a millisecond: then the ranks are those of this instant
RESORT_SHARE: Final = 16  # beyond one change in 16 the order is made anew: 0.1 s at a million, every 62,500 changes
SUM_BITS: Final = 52  # whole units in the largest sum that can come up between two sorts


class RankSampler:
    """P in proportion to 1 / rank^alpha; equals share the mean of the masses of their ranks.

    A priority of 0 has no rank and is never drawn, unless all are 0: then P = 1/n. An outlier can not rule the
    batch, whatever its size.
    """

    __slots__ = ("_alpha", "_make_tree", "_n_changes", "_ring", "_sorted", "_stale", "_tree", "_unit", "_weight_of_top")

    def __init__(self, ring: Ring, alpha: float, make_tree: Callable[[int], ExactTree]) -> None:
        self._ring = ring
        self._alpha = alpha
        self._make_tree = make_tree
        self._tree = make_tree(ring.n_slots)
        self._stale = Stale()
        self._n_changes = 0
        self._sorted: FloatArray = np.zeros(0)  # priorities above 0 at the last sort, ascending
        self._weight_of_top: FloatArray = np.zeros(1)  # [k]: sum of 1 / rank^alpha over the first k ranks
        self._unit = 0.0

    def placed(self, slot: int) -> None:
        """Note that a slot holds another experience, or none."""
        self._n_changes += 1
        self._stale.add(slot, len(self._ring))

    def placed_many(self, slots: IntArray) -> None:
        """Note that slots hold other experiences."""
        self._n_changes += slots.size
        self._stale.add_many(slots, len(self._ring))

    def reprioritised(self, slots: IntArray) -> None:
        """Note that the priorities in these slots changed."""
        self.placed_many(slots)

    def cleared(self) -> None:
        """Note that every slot is vacant, or that the order is to be made anew."""
        self._stale.mark_whole()

    def draw(self, n_drawn: int, cap: int | None, rng: np.random.Generator) -> Drawn:
        """Return a batch by the law."""
        if not self._refreshed():
            return UniformSampler(self._ring).draw(n_drawn, cap, rng)
        return draw(self._tree, n_drawn, rng) if cap is None else draw_capped(self._tree, n_drawn, cap, rng)

    def masses(self) -> FloatArray:
        """Return a mass per slot, float64 (n,)."""
        n = len(self._ring)
        return self._tree.leaves(n).copy() if self._refreshed() else np.ones(n)

    def _refreshed(self) -> bool:
        n = len(self._ring)
        if self._tree.n_leaves < self._ring.n_slots:
            self._tree = self._make_tree(self._ring.n_slots)
            self._stale.mark_whole()
        if self._stale:
            is_due = n <= EXACT_UP_TO or self._n_changes * RESORT_SHARE > n
            if self._stale.is_whole or is_due:
                self._stale.taken()
                self._sort()
            else:
                slots = self._stale.taken()
                self._tree.set(slots, self._units(self._ring.values("priority", slots) * (slots < n)))
        return self._tree.total > 0.0

    def _sort(self) -> None:
        priorities = self._ring.priorities
        order = np.argsort(priorities)
        n_zero = int(priorities.size - np.count_nonzero(priorities))
        self._sorted = priorities[order[n_zero:]]
        self._n_changes = 0
        n = self._sorted.size
        if self._weight_of_top.size <= n + 1:
            # the sums for more ranks hold for fewer, too: doubled, they are rarely made again
            weights = np.arange(1, 2 * n + 2) ** -self._alpha
            self._weight_of_top = np.concatenate([[0.0], np.cumsum(weights)])
        # the sum now, and what a sixteenth that all moved to the top would add
        self._unit = 2.0 ** (SUM_BITS - int(np.ceil(np.log2(self._weight_of_top[n] + n / RESORT_SHARE + 1.0))))
        masses = np.zeros(priorities.size)
        masses[order[n_zero:]] = self._units(self._sorted)
        self._tree.fill(masses)

    def _units(self, priorities: FloatArray) -> FloatArray:
        """Return whole units of mass: those of the rank, or of the mean of the ranks that equals share."""
        n = self._sorted.size
        above = n - self._sorted.searchsorted(priorities, side="right")
        through = n - self._sorted.searchsorted(priorities, side="left")
        n_equal = np.maximum(through - above, 1)
        weights = (above + 1.0) ** -self._alpha
        is_shared = n_equal > 1
        if is_shared.any():
            sums = self._weight_of_top.take(through) - self._weight_of_top.take(above)
            weights = np.where(is_shared, sums / n_equal, weights)
        units: FloatArray = np.maximum(np.rint(weights * self._unit), 1.0)
        units *= priorities > 0.0
        return units
