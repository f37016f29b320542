"""Drawing from a line on which every experience is as long as its mass: one by one, or with a cap on repeats.

With a cap c, an experience stands in the batch at most c times, and how often it does so on average is exact:

    e_i = min(c, lambda * mass_i),  the e_i summing to the batch size

Those that reach the cap are certain to be drawn c times; they are taken out of the line, and equally spaced points with
one random start fall on what is left. A distance between the points is shorter than no interval that belongs in the
cap, so whoever must be certain is found by the points themselves: O(b log n), never a pass over all.

Source: Madow 1949, "On the Theory of Systematic Sampling, II"; taking out the certain ones: Hartley and Rao 1962,
"Sampling with Unequal Probabilities and without Replacement".
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from dwell.errors import NotEnoughExperienceError
from dwell.records.arrays import FloatArray, IntArray

__all__ = ["Drawn", "Line", "draw", "draw_capped", "not_enough", "positions_in_slices"]


class Drawn(NamedTuple):
    """Slots, and how likely each was.

    Attributes:
        slots: int64 (b,).
        probabilities: float64 (b,), expected share of the batch, in (0, 1].
        log2_masses: float64 (b,), log2 of the same up to a constant, exact where the probability is tiny; None where
            `probabilities` says it all.
    """

    slots: IntArray
    probabilities: FloatArray
    log2_masses: FloatArray | None = None


class Line(Protocol):
    """Masses side by side: a tree of them."""

    @property
    def total(self) -> float:
        """Sum of all masses."""
        ...

    def masses(self, indices: IntArray, /) -> FloatArray:
        """Return the masses of some indices."""
        ...

    def set(self, indices: IntArray, masses: FloatArray, /) -> None:
        """Replace the masses of some indices."""
        ...

    def find(self, positions: FloatArray, /) -> IntArray:
        """Return the index at each position in [0, total); never one without a mass."""
        ...


def draw(line: Line, n_drawn: int, rng: np.random.Generator) -> Drawn:
    """Return a batch from a line whose total is above 0, in the order of the line.

    One draw falls in each of `n_drawn` equal slices of the line, as in Schaul et al. 2015, appendix B.2.1: the expected
    share of each index is its mass over the total, as with independent draws, and the share itself varies less.
    A line that has `draw_slices` does the same arithmetic itself, compiled.

    Positions in ascending order are also found sooner: random ones cost half of the search in mispredicted branches.
    """
    in_one_go = getattr(line, "draw_slices", None)
    if in_one_go is not None:
        return Drawn(*in_one_go(rng.random(n_drawn)))
    total = line.total
    slots = line.find(positions_in_slices(total, n_drawn, rng))
    return Drawn(slots, line.masses(slots) / total)


def positions_in_slices(total: float, n_drawn: int, rng: np.random.Generator) -> FloatArray:
    """Return one position in each of `n_drawn` equal slices of a line of this length, ascending, each below it."""
    positions = rng.random(n_drawn)
    positions += _slices(n_drawn)
    positions *= total / n_drawn
    if positions[-1] >= total:
        positions[-1] = np.nextafter(total, 0.0)
    return positions


@lru_cache(maxsize=64)
def _slices(n: int) -> FloatArray:
    slices = np.arange(n, dtype=np.float64)
    slices.flags.writeable = False
    return slices


def draw_capped(line: Line, n_drawn: int, cap: int, rng: np.random.Generator) -> Drawn:
    """Return a batch in random order in which no index stands more than `cap` times.

    The line is the same afterwards, bit for bit.

    Raises:
        NotEnoughExperienceError: Too few have a mass.
    """
    certain = np.zeros(0, dtype=np.int64)
    kept = np.zeros(0)
    try:
        while True:
            # each certain one is longer than `cap` distances, so they never use up the batch
            n_open = n_drawn - cap * certain.size
            total = line.total
            # equal ones that are all due may each be a rounding error longer than a distance: then all are certain
            if n_open == 0:
                hits, masses, total = certain[:0], kept[:0], 1.0
                break
            if total <= 0.0:
                raise not_enough(cap * certain.size, n_drawn, cap)
            spacing = total / n_open
            points = np.minimum((rng.random() + np.arange(n_open)) * spacing, np.nextafter(total, 0.0))
            hits = line.find(points)
            masses = line.masses(hits)
            heavy = np.unique(hits[masses > cap * spacing])
            if heavy.size:
                certain = np.concatenate([certain, heavy])
                kept = np.concatenate([kept, line.masses(heavy)])
                line.set(heavy, np.zeros(heavy.size))
            # rounding at a border may add a point to an interval that holds as many as it may: then draw again
            elif hits.size <= cap or (hits[cap:] != hits[:-cap]).all():
                break
    finally:
        if certain.size:
            line.set(certain, kept)
    slots = np.concatenate([np.repeat(certain, cap), hits])
    certain_shares = np.full(slots.size - hits.size, cap / n_drawn)
    probabilities = np.concatenate([certain_shares, masses * (n_open / (n_drawn * total))])
    order = rng.permutation(slots.size)
    return Drawn(slots.take(order), probabilities.take(order))


def not_enough(n_possible: int, n_drawn: int, cap: int) -> NotEnoughExperienceError:
    """Return the error that says how many can be drawn."""
    return NotEnoughExperienceError(
        f"{n_possible} distinct experiences can be drawn"
        if cap == 1
        else f"{n_possible} can be drawn, each at most {cap} times",
        field="batch_size",
        value=n_drawn,
        hint="Ask for fewer, add more, or allow repeats (replace=True, max_repeats=None).",
    )
