"""The laws by which experiences are drawn, each an index derived from the ring's columns.

A sampler holds nothing that the columns do not say (but the scale of its tree, see `scale`): told which slots changed,
it recomputes their masses before the next draw. So adding costs one list append, and a restored buffer draws what
the saved one would have drawn.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np

from dwell.records.arrays import FloatArray, IntArray
from dwell.replay.ring import Ring
from dwell.replay.sum_tree import SumTree
from dwell.replay.weights import log2_recency

__all__ = ["Drawn", "PrioritySampler", "RecencySampler", "Sampler", "UniformSampler"]

MAX_EXPONENT: Final = 512  # half of float64's range: sums of 2^31 such masses stay finite, and so do their parents
REBASE_HALF_LIVES: Final = 64.0  # design, section 4: t_ref is rebased beyond 64 half-lives


class Drawn(NamedTuple):
    """Slots drawn with replacement, and how likely each was.

    Attributes:
        slots: int64 (b,).
        probabilities: float64 (b,), P of one draw, in (0, 1].
        log2_masses: float64 (b,), log2 of the same up to a constant, exact where the probability is tiny.
    """

    slots: IntArray
    probabilities: FloatArray
    log2_masses: FloatArray


class Sampler(Protocol):
    """One law over the live slots; the ring is never empty when a draw is asked for."""

    def placed(self, slot: int, /) -> None:
        """Note that a slot holds another experience, or none."""
        ...

    def reprioritised(self, slots: IntArray, /) -> None:
        """Note that the priorities in these slots changed."""
        ...

    def cleared(self) -> None:
        """Note that every slot is vacant."""
        ...

    def draw(self, n_drawn: int, rng: np.random.Generator) -> Drawn:
        """Return independent draws with replacement."""
        ...

    def masses(self) -> FloatArray:
        """Return a mass per slot in proportion to its probability, float64 (n,), at least one above 0."""
        ...

    def log2_masses(self, slots: IntArray) -> FloatArray:
        """Return log2 of the masses of slots that can be drawn, up to a constant, float64 (b,)."""
        ...


class UniformSampler:
    """P = 1/n."""

    __slots__ = ("_ring",)

    def __init__(self, ring: Ring) -> None:
        self._ring = ring

    def placed(self, _slot: int) -> None:
        """Nothing depends on it."""

    def reprioritised(self, _slots: IntArray) -> None:
        """Nothing depends on it."""

    def cleared(self) -> None:
        """Nothing depends on it."""

    def draw(self, n_drawn: int, rng: np.random.Generator) -> Drawn:
        """Return independent draws with replacement."""
        n = len(self._ring)
        slots = rng.integers(n, size=n_drawn)
        return Drawn(slots, np.full(n_drawn, 1.0 / n), np.zeros(n_drawn))

    def masses(self) -> FloatArray:
        """Return a mass per slot, float64 (n,)."""
        return np.ones(len(self._ring))

    def log2_masses(self, slots: IntArray) -> FloatArray:
        """Return log2 of the masses, float64 (b,)."""
        return np.zeros(slots.size)


class _Stale:
    """Slots whose masses are to be recomputed before the next draw."""

    __slots__ = ("is_whole", "slots")

    def __init__(self) -> None:
        self.slots: list[int] = []
        self.is_whole = True

    def add(self, slot: int, n: int) -> None:
        # beyond n entries one pass over everything is cheaper, and a buffer that nobody samples must not grow a list
        if self.is_whole or len(self.slots) > n:
            self.mark_whole()
        else:
            self.slots.append(slot)

    def mark_whole(self) -> None:
        self.slots.clear()
        self.is_whole = True

    def settle(self) -> None:
        self.slots.clear()
        self.is_whole = False


class PrioritySampler:
    """P in proportion to priority^alpha; a priority of 0 is never drawn, unless all are 0: then P = 1/n.

    The tree holds (priority / 2^scale)^alpha. The scale is 0 unless priorities leave the range in which their sum is
    sound; then it follows the largest live one.
    """

    __slots__ = ("_alpha", "_ring", "_stale", "_tree", "scale")

    def __init__(self, ring: Ring, alpha: float, *, scale: int = 0) -> None:
        self._ring = ring
        self._alpha = alpha
        self._tree = SumTree(ring.n_slots)
        self._stale = _Stale()
        self.scale = scale

    def placed(self, slot: int) -> None:
        """Note that a slot holds another experience, or none."""
        self._stale.add(slot, len(self._ring))

    def reprioritised(self, slots: IntArray) -> None:
        """Note that the priorities in these slots changed."""
        if self._tree.n_leaves < self._ring.n_slots:
            self._stale.mark_whole()
        elif not self._stale.is_whole:
            self._set(slots)

    def cleared(self) -> None:
        """Note that every slot is vacant."""
        self._stale.mark_whole()

    def draw(self, n_drawn: int, rng: np.random.Generator) -> Drawn:
        """Return independent draws with replacement."""
        self._refresh()
        total = self._tree.total
        if total == 0.0:
            return UniformSampler(self._ring).draw(n_drawn, rng)
        slots = self._tree.find(rng.random(n_drawn) * total)
        return Drawn(slots, self._tree.masses(slots) / total, self.log2_masses(slots))

    def masses(self) -> FloatArray:
        """Return a mass per slot, float64 (n,)."""
        self._refresh()
        n = len(self._ring)
        return self._tree.masses(np.arange(n)) if self._tree.total > 0.0 else np.ones(n)

    def log2_masses(self, slots: IntArray) -> FloatArray:
        """Return log2 of the masses, float64 (b,)."""
        priorities = self._ring.priorities.take(slots)
        is_positive = priorities > 0.0
        # all zero: the fallback to uniform, every mass the same
        return self._alpha * np.log2(priorities, out=np.zeros(slots.size), where=is_positive)

    def _masses_of(self, priorities: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            powers: FloatArray = np.power(np.ldexp(priorities, -self.scale), self._alpha)
        # 0 ** 0 is 1 in floating point; a zero priority stays out at every alpha
        return np.where(priorities > 0.0, powers, 0.0)

    def _set(self, slots: IntArray) -> None:
        n = len(self._ring)
        is_live = slots < n
        priorities = np.zeros(slots.size)
        priorities[is_live] = self._ring.priorities.take(slots[is_live])
        masses = self._masses_of(priorities)
        if slots.size and masses.max() > 2.0**MAX_EXPONENT:
            self._stale.mark_whole()
        else:
            self._tree.set(slots, masses)

    def _refresh(self) -> None:
        if self._tree.n_leaves < self._ring.n_slots:
            self._tree = SumTree(self._ring.n_slots)
            self._stale.mark_whole()
        if not self._stale.is_whole and self._stale.slots:
            slots = np.array(self._stale.slots, dtype=np.int64)
            self._stale.settle()
            self._set(slots)
        if self._stale.is_whole:
            self._stale.settle()
            self._fill()
        if self._tree.total < 2.0**-MAX_EXPONENT:
            self._fill()

    def _fill(self) -> None:
        priorities = self._ring.priorities
        largest = float(priorities.max(initial=0.0))
        if largest > 0.0 and abs(self._alpha * (np.log2(largest) - self.scale)) > MAX_EXPONENT:
            self.scale = int(np.frexp(largest)[1])
        self._tree.fill(self._masses_of(priorities))


class RecencySampler:
    """P in proportion to 2^(timestamp / half_life): the memoryless discount, the same law at every later instant.

    The tree holds 2^((timestamp - t_ref) / half_life), with t_ref the newest live timestamp at the last rebase: no
    entry changes as time passes. Beyond 1,022 half-lives below t_ref a mass underflows to 0: never drawn, where it
    would have been drawn once in 2^1022.
    """

    __slots__ = ("_half_life_s", "_ring", "_stale", "_tree", "scale")

    def __init__(self, ring: Ring, half_life_s: float, *, scale: float = 0.0) -> None:
        self._ring = ring
        self._half_life_s = half_life_s
        self._tree = SumTree(ring.n_slots)
        self._stale = _Stale()
        self.scale = scale

    def placed(self, slot: int) -> None:
        """Note that a slot holds another experience, or none."""
        self._stale.add(slot, len(self._ring))

    def reprioritised(self, _slots: IntArray) -> None:
        """Nothing depends on it."""

    def cleared(self) -> None:
        """Note that every slot is vacant."""
        self._stale.mark_whole()

    def draw(self, n_drawn: int, rng: np.random.Generator) -> Drawn:
        """Return independent draws with replacement."""
        self._refresh()
        total = self._tree.total
        slots = self._tree.find(rng.random(n_drawn) * total)
        return Drawn(slots, self._tree.masses(slots) / total, self.log2_masses(slots))

    def masses(self) -> FloatArray:
        """Return a mass per slot, float64 (n,)."""
        self._refresh()
        return self._tree.masses(np.arange(len(self._ring)))

    def log2_masses(self, slots: IntArray) -> FloatArray:
        """Return log2 of the masses, float64 (b,)."""
        timestamps = self._ring.timestamps.take(slots)
        return log2_recency(timestamps, float(timestamps.max()), self._half_life_s)

    def _refresh(self) -> None:
        if self._tree.n_leaves < self._ring.n_slots:
            self._tree = SumTree(self._ring.n_slots)
            self._stale.mark_whole()
        if not self._stale.is_whole and self._stale.slots:
            slots = np.array(self._stale.slots, dtype=np.int64)
            is_live = slots < len(self._ring)
            exponents = np.full(slots.size, -np.inf)
            exponents[is_live] = self._exponents(self._ring.timestamps.take(slots[is_live]))
            if exponents.max() > REBASE_HALF_LIVES:
                self._stale.mark_whole()
            else:
                self._tree.set(slots, np.exp2(exponents))
                self._stale.settle()
        # the newest ones left: what stays must not sink towards 0
        if self._stale.is_whole or self._tree.total < 2.0**-REBASE_HALF_LIVES:
            self._fill()

    def _exponents(self, timestamps: FloatArray) -> FloatArray:
        return log2_recency(timestamps, self.scale, self._half_life_s)

    def _fill(self) -> None:
        timestamps = self._ring.timestamps
        newest = float(timestamps.max())
        if abs(newest - self.scale) > REBASE_HALF_LIVES * self._half_life_s:
            self.scale = newest
        self._stale.settle()
        self._tree.fill(np.exp2(self._exponents(timestamps)))
