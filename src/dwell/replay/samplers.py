"""The laws by which experiences are drawn, each an index derived from the ring's columns.

A sampler holds nothing that the columns do not say (but the scale of its tree, see `scale`): told which slots changed,
it recomputes their masses before the next draw. So adding costs one list append, and a restored buffer draws what
the saved one would have drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np

from dwell.records.arrays import FloatArray, IntArray
from dwell.replay.draws import Drawn, Line, draw, draw_capped, not_enough
from dwell.replay.masses import (
    LEAST_BITS,
    MOST_BITS,
    PriorityUnit,
    power_sum,
    priority_scale,
    priority_unit,
    recency_masses,
)
from dwell.replay.ring import Ring
from dwell.replay.stale import Stale
from dwell.replay.sum_tree import SumTree
from dwell.replay.weights import log2_recency

__all__ = ["ExactTree", "PrioritySampler", "RecencySampler", "Sampler", "UniformSampler"]

REBASE_HALF_LIVES: Final = 64  # design, section 4: t_ref is rebased beyond 64 half-lives


class ExactTree(Line, Protocol):
    """A sum tree of whole numbers: `PrefixTree`, or its compiled twin."""

    @property
    def n_leaves(self) -> int:
        """Number of indices."""
        ...

    def fill(self, masses: FloatArray, /) -> None:
        """Replace every mass."""
        ...

    def leaves(self, n: int, /) -> FloatArray:
        """Return the masses of the first n indices."""
        ...


class Sampler(Protocol):
    """One law over the live slots; the ring is never empty when a draw is asked for."""

    def placed(self, slot: int, /) -> None:
        """Note that a slot holds another experience, or none."""
        ...

    def placed_many(self, slots: IntArray, /) -> None:
        """Note that slots hold other experiences."""
        ...

    def reprioritised(self, slots: IntArray, /) -> None:
        """Note that the priorities in these slots changed."""
        ...

    def cleared(self) -> None:
        """Note that every slot is vacant."""
        ...

    def draw(self, n_drawn: int, cap: int | None, rng: np.random.Generator) -> Drawn:
        """Return a batch: independent draws, or with a cap on how often one slot may stand in it.

        Raises:
            NotEnoughExperienceError: Too few can be drawn under the cap.
        """
        ...

    def masses(self) -> FloatArray:
        """Return a mass per slot in proportion to its probability, float64 (n,), at least one above 0."""
        ...


class UniformSampler:
    """P = 1/n."""

    __slots__ = ("_ring",)

    def __init__(self, ring: Ring) -> None:
        self._ring = ring

    def placed(self, _slot: int) -> None:
        """Nothing depends on it."""

    def placed_many(self, _slots: IntArray) -> None:
        """Nothing depends on it."""

    def reprioritised(self, _slots: IntArray) -> None:
        """Nothing depends on it."""

    def cleared(self) -> None:
        """Nothing depends on it."""

    def draw(self, n_drawn: int, cap: int | None, rng: np.random.Generator) -> Drawn:
        """Return a batch in which everybody is as likely; with a cap, c tickets each are drawn without replacement."""
        n = len(self._ring)
        if cap is None:
            slots = rng.integers(n, size=n_drawn)
        elif n_drawn > n * cap:
            raise not_enough(n * cap, n_drawn, cap)
        else:
            slots = rng.choice(n * cap, n_drawn, replace=False)
            if cap > 1:
                slots %= n
        return Drawn(slots, np.full(n_drawn, 1.0 / n))

    def masses(self) -> FloatArray:
        """Return a mass per slot, float64 (n,)."""
        return np.ones(len(self._ring))


class PrioritySampler:
    """P in proportion to priority^alpha; a priority of 0 is never drawn, unless all are 0: then P = 1/n.

    The tree holds (priority / 2^scale)^alpha in whole units of 2^-unit, at least one unit where the priority is above
    0. The unit is the power of 64 with which the sum is in [2^46, 2^52) units: what is drawn differs from the law by at
    most a unit, 1.4e-14 of the whole, and the probabilities returned are those of what is drawn.
    """

    __slots__ = ("_alpha", "_filled", "_make_tree", "_ring", "_stale", "_tree", "_unit", "scale")

    def __init__(self, ring: Ring, alpha: float, make_tree: Callable[[int], ExactTree], *, scale: int = 0) -> None:
        self._ring = ring
        self._alpha = alpha
        self._make_tree = make_tree
        self._tree = make_tree(ring.n_slots)
        self._stale = Stale()
        self._filled = -1.0  # the sum after the last fill
        self.scale = scale
        self._unit = PriorityUnit.of(alpha, scale, 0)

    def placed(self, slot: int) -> None:
        """Note that a slot holds another experience, or none."""
        self._stale.add(slot, len(self._ring))

    def placed_many(self, slots: IntArray) -> None:
        """Note that slots hold other experiences."""
        self._stale.add_many(slots, len(self._ring))

    def reprioritised(self, slots: IntArray) -> None:
        """Note that the priorities in these slots changed."""
        if self._tree.n_leaves < self._ring.n_slots:
            self._stale.mark_whole()
        elif not self._stale.is_whole:
            self._tree.set(slots, self._unit.masses(self._ring.values("priority", slots)))

    def cleared(self) -> None:
        """Note that every slot is vacant."""
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
        """Bring the tree up to date and return whether anything has a mass."""
        if self._tree.n_leaves < self._ring.n_slots:
            self._tree = self._make_tree(self._ring.n_slots)
            self._stale.mark_whole()
        if self._stale and not self._stale.is_whole:
            slots = self._stale.taken()
            self._tree.set(slots, self._unit.masses(self._ring.values("priority", slots) * (slots < len(self._ring))))
        if self._stale.is_whole:
            self._stale.taken()
            self._fill()
        total = self._tree.total
        # rounding may leave the sum just outside; then nothing is gained by filling the tree again
        if (0.0 < total < 2.0**LEAST_BITS or total >= 2.0**MOST_BITS) and total != self._filled:
            self._fill()
            total = self._filled = self._tree.total
        return total > 0.0

    def _fill(self) -> None:
        priorities = self._ring.priorities
        largest = float(priorities.max(initial=0.0))
        unit = 0
        if largest > 0.0:
            # a function of the largest alone: a saved scale that no longer fits is not taken up
            self.scale = priority_scale(largest, self._alpha)
            unit = priority_unit(power_sum(priorities, self._alpha, self.scale))
        self._unit = PriorityUnit.of(self._alpha, self.scale, unit)
        self._tree.fill(self._unit.masses(priorities))


class RecencySampler:
    """P in proportion to 2^(timestamp / half_life): the memoryless discount, the same law at every later instant.

    The tree holds 2^(timestamp / half_life - shift) with a whole shift near the newest: no entry changes as time
    passes, and a rebase, which adds to the shift, multiplies every mass and every sum by the same power of two: not a
    bit of the law changes. Its sums are float64, added in one fixed order, because whole numbers span no more than 53
    half-lives and these span 1,022; further below the newest, a mass is 0: never drawn, where it would have been drawn
    once in 2^1022.
    """

    __slots__ = ("_half_life_s", "_ring", "_stale", "_tree", "scale")

    def __init__(self, ring: Ring, half_life_s: float, *, scale: int = 0) -> None:
        self._ring = ring
        self._half_life_s = half_life_s
        self._tree = SumTree(ring.n_slots)
        self._stale = Stale()
        self.scale = scale

    def placed(self, slot: int) -> None:
        """Note that a slot holds another experience, or none."""
        self._stale.add(slot, len(self._ring))

    def placed_many(self, slots: IntArray) -> None:
        """Note that slots hold other experiences."""
        self._stale.add_many(slots, len(self._ring))

    def reprioritised(self, _slots: IntArray) -> None:
        """Nothing depends on it."""

    def cleared(self) -> None:
        """Note that every slot is vacant."""
        self._stale.mark_whole()

    def draw(self, n_drawn: int, cap: int | None, rng: np.random.Generator) -> Drawn:
        """Return a batch by the law."""
        self.refresh()
        found = draw(self._tree, n_drawn, rng) if cap is None else draw_capped(self._tree, n_drawn, cap, rng)
        if cap is not None:
            return found
        timestamps = self._ring.values("timestamp", found.slots)
        return found._replace(log2_masses=log2_recency(timestamps, float(timestamps.max()), self._half_life_s))

    def masses(self) -> FloatArray:
        """Return a mass per slot, float64 (n,)."""
        self.refresh()
        return self._tree.masses(np.arange(len(self._ring)))

    def log2_probability_of_newest(self) -> float:
        """Return log2 of the probability that the law gives to the newest experience."""
        self.refresh()
        whole, rest = divmod(float(self._ring.timestamps.max()), self._half_life_s)
        return whole - self.scale + rest / self._half_life_s - float(np.log2(self._tree.total))

    def refresh(self) -> None:
        """Bring the tree up to date."""
        if self._tree.n_leaves < self._ring.n_slots:
            self._tree = SumTree(self._ring.n_slots)
            self._stale.mark_whole()
        if self._stale and not self._stale.is_whole:
            slots = self._stale.taken()
            is_live = slots < len(self._ring)
            timestamps = self._ring.values("timestamp", slots) * is_live
            if timestamps.max() / self._half_life_s - self.scale > REBASE_HALF_LIVES:
                self._stale.mark_whole()
            else:
                self._tree.set(slots, self._masses_of(timestamps) * is_live)
        # the newest ones left: what stays must not sink towards 0
        if self._stale.is_whole or self._tree.total < 2.0**-REBASE_HALF_LIVES:
            self._stale.taken()
            self._fill()

    def _masses_of(self, timestamps: FloatArray) -> FloatArray:
        return recency_masses(timestamps, self._half_life_s, self.scale)

    def _fill(self) -> None:
        timestamps = self._ring.timestamps
        newest = int(timestamps.max() // self._half_life_s)
        if abs(newest - self.scale) > REBASE_HALF_LIVES:
            self.scale = newest
        self._tree.fill(self._masses_of(timestamps))
