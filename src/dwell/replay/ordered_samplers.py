"""Laws that need an order of the experiences: by rank of their priority, and by segment.

The order is made again before the first draw after a change that it depends on, O(n log n); draws between changes
cost O(log n) each. It is a pure function of the ring's columns.
"""

from __future__ import annotations

import numpy as np

from dwell.records.arrays import FloatArray, IntArray
from dwell.replay.ring import Ring
from dwell.replay.samplers import Drawn, UniformSampler

__all__ = ["RankSampler", "StratifiedSampler"]


class RankSampler:
    """P in proportion to 1 / rank^alpha, rank 1 the highest priority; among equals the lower slot comes first.

    A priority of 0 has no rank and is never drawn, unless all are 0: then P = 1/n. An outlier can not rule the
    batch, whatever its size.

    Source: Schaul et al. 2015, section 3.3, the rank-based variant.
    """

    __slots__ = ("_alpha", "_is_stale", "_order", "_ring", "_running")

    def __init__(self, ring: Ring, alpha: float) -> None:
        self._ring = ring
        self._alpha = alpha
        self._order: IntArray = np.zeros(0, dtype=np.int64)
        self._running: FloatArray = np.zeros(0)
        self._is_stale = True

    def placed(self, _slot: int) -> None:
        """Note that a slot holds another experience, or none."""
        self._is_stale = True

    def reprioritised(self, _slots: IntArray) -> None:
        """Note that the priorities in these slots changed."""
        self._is_stale = True

    def cleared(self) -> None:
        """Note that every slot is vacant."""
        self._is_stale = True

    def draw(self, n_drawn: int, rng: np.random.Generator) -> Drawn:
        """Return independent draws with replacement."""
        order = self._refreshed()
        if order.size == 0:
            return UniformSampler(self._ring).draw(n_drawn, rng)
        total = self._running[order.size - 1]
        ranks = self._running[: order.size].searchsorted(rng.random(n_drawn) * total, side="right")
        log2_masses = -self._alpha * np.log2(ranks + 1.0)
        return Drawn(order.take(ranks), np.exp2(log2_masses) / total, log2_masses)

    def masses(self) -> FloatArray:
        """Return a mass per slot, float64 (n,)."""
        order = self._refreshed()
        if order.size == 0:
            return np.ones(len(self._ring))
        masses = np.zeros(len(self._ring))
        masses[order] = np.arange(1, order.size + 1) ** -self._alpha
        return masses

    def log2_masses(self, slots: IntArray) -> FloatArray:
        """Return log2 of the masses, float64 (b,)."""
        return np.log2(self.masses().take(slots))

    def _refreshed(self) -> IntArray:
        if self._is_stale:
            priorities = self._ring.priorities
            n_ranked = int(np.count_nonzero(priorities))
            self._order = np.argsort(-priorities, kind="stable")[:n_ranked]
            if self._running.size < n_ranked:
                # the sums for more ranks hold for fewer, too: doubled, they are rarely made again
                self._running = np.cumsum(np.arange(1, 2 * n_ranked + 1) ** -self._alpha)
            self._is_stale = False
        return self._order


class StratifiedSampler:
    """Every segment present has the same share; within it P is uniform, or recency-weighted with a half-life.

    The experiences without a segment are a segment of their own. So a head segment can not crowd out the tail.
    """

    __slots__ = ("_ends", "_half_life_s", "_is_stale", "_log2_mass", "_order", "_ring", "_running", "_starts")

    def __init__(self, ring: Ring, half_life_s: float | None) -> None:
        self._ring = ring
        self._half_life_s = half_life_s
        self._is_stale = True
        self._order: IntArray = np.zeros(0, dtype=np.int64)  # slots, segment by segment
        self._starts: IntArray = np.zeros(0, dtype=np.int64)  # where each segment begins in that order
        self._ends: IntArray = np.zeros(0, dtype=np.int64)
        self._running: FloatArray = np.zeros(0)  # 0, then the running sum of masses within segments, in that order
        self._log2_mass: FloatArray = np.zeros(0)  # log2 of P(experience), in that order

    def placed(self, _slot: int) -> None:
        """Note that a slot holds another experience, or none."""
        self._is_stale = True

    def reprioritised(self, _slots: IntArray) -> None:
        """Nothing depends on it."""

    def cleared(self) -> None:
        """Note that every slot is vacant."""
        self._is_stale = True

    def draw(self, n_drawn: int, rng: np.random.Generator) -> Drawn:
        """Return independent draws with replacement."""
        self._refresh()
        segments = rng.integers(self._starts.size, size=n_drawn)
        starts, ends = self._starts.take(segments), self._ends.take(segments)
        low, high = self._running.take(starts), self._running.take(ends)
        # a position that rounding put onto the border belongs to the segment before it
        positions = np.minimum(low + rng.random(n_drawn) * (high - low), np.nextafter(high, 0.0))
        at = self._running.searchsorted(positions, side="right") - 1
        log2_masses = self._log2_mass.take(at)
        return Drawn(self._order.take(at), np.exp2(log2_masses), log2_masses)

    def masses(self) -> FloatArray:
        """Return a mass per slot, float64 (n,)."""
        self._refresh()
        masses = np.zeros(self._order.size)
        masses[self._order] = np.exp2(self._log2_mass)
        return masses

    def log2_masses(self, slots: IntArray) -> FloatArray:
        """Return log2 of the masses, float64 (b,)."""
        self._refresh()
        by_slot = np.empty(self._order.size)
        by_slot[self._order] = self._log2_mass
        return by_slot.take(slots)

    def _refresh(self) -> None:
        if not self._is_stale:
            return
        codes = self._ring.column("segment_code")
        present = np.unique(codes)
        # by name, not by code: codes depend on history, and a restored buffer must lay out the same
        names = [self._ring.segments.name(code) for code in present.tolist()]
        by_name = sorted(range(present.size), key=lambda i: (names[i] is not None, names[i] or ""))
        place = np.empty(int(present.max()) + 1, dtype=np.int64)
        place[present[by_name]] = np.arange(present.size)
        places = place.take(codes)
        self._order = np.argsort(places, kind="stable")
        n_of = np.bincount(places)
        self._ends = np.cumsum(n_of)
        self._starts = self._ends - n_of
        segment_of = np.repeat(np.arange(n_of.size), n_of)
        log2_mass = np.zeros(self._order.size)
        if self._half_life_s is not None:
            timestamps = self._ring.timestamps.take(self._order)
            newest = np.maximum.reduceat(timestamps, self._starts)
            # against the newest of the own segment: an old segment's masses must not vanish beside a young one's
            log2_mass = (timestamps - newest.take(segment_of)) / self._half_life_s
        masses = np.exp2(log2_mass)
        self._running = np.concatenate([[0.0], np.cumsum(masses)])
        in_segment = np.add.reduceat(masses, self._starts)
        self._log2_mass = log2_mass - np.log2(in_segment * n_of.size).take(segment_of)
        self._is_stale = False
