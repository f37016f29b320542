"""The law of strata: every segment, or every user, has its share of the batch, however many experiences it has.

The layout is made again before the first draw after a change, O(n); draws between changes cost O(log n) each. It is a
pure function of the ring's columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

import numpy as np

from dwell.errors import ReplayError
from dwell.records.arrays import FloatArray, IntArray
from dwell.replay.draws import Drawn, draw_capped
from dwell.replay.ring import NO_USER, Ring

__all__ = ["STRATA", "StratifiedSampler", "Stratum", "check_shares"]

Stratum = Literal["segment", "user"]
STRATA: Final[tuple[str, ...]] = get_args(Stratum)
_RADIX_CODES: Final = 2**16  # numpy sorts 16-bit integers by radix, eight times faster than wider ones


class StratifiedSampler:
    """Every stratum present has its share; within it P is uniform, or recency-weighted with a half-life.

    The experiences without a segment (or user) are a stratum of their own. So a head segment can not crowd out the
    tail.

    Args:
        ring: The index columns.
        half_life_s: Half-life of recency within a stratum, or None.
        by: What makes a stratum.
        shares: Relative share per name, in [1e-9, 1e9]; 1 for those not named. None: all the same.
    """

    __slots__ = (
        "_by",
        "_ends",
        "_half_life_s",
        "_is_stale",
        "_log2_mass",
        "_order",
        "_ring",
        "_running",
        "_shares",
        "_starts",
        "_steps",
    )

    def __init__(
        self,
        ring: Ring,
        half_life_s: float | None,
        *,
        by: Stratum = "segment",
        shares: Mapping[str | None, float] | None = None,
    ) -> None:
        self._ring = ring
        self._half_life_s = half_life_s
        self._by = by
        self._shares = dict(shares or {})
        self._is_stale = True
        self._order: IntArray = np.zeros(0, dtype=np.int64)  # slots, stratum by stratum
        self._starts: IntArray = np.zeros(0, dtype=np.int64)  # where each stratum begins in that order
        self._ends: IntArray = np.zeros(0, dtype=np.int64)
        self._steps: FloatArray = np.zeros(0)  # running sum of the strata's shares, the last one 1
        self._running: FloatArray = np.zeros(0)  # 0, then the running sum of masses within strata, in that order
        self._log2_mass: FloatArray = np.zeros(0)  # log2 of P(experience), in that order

    def placed(self, _slot: int) -> None:
        """Note that a slot holds another experience, or none."""
        self._is_stale = True

    def placed_many(self, _slots: IntArray) -> None:
        """Note that slots hold other experiences."""
        self._is_stale = True

    def reprioritised(self, _slots: IntArray) -> None:
        """Nothing depends on it."""

    def cleared(self) -> None:
        """Note that every slot is vacant."""
        self._is_stale = True

    def draw(self, n_drawn: int, cap: int | None, rng: np.random.Generator) -> Drawn:
        """Return a batch by the law; with a cap in O(n)."""
        self._refresh()
        if cap is not None:
            return draw_capped(_RunningLine(self.masses()), n_drawn, cap, rng)
        strata = self._steps.searchsorted(rng.random(n_drawn), side="right")
        starts, ends = self._starts.take(strata), self._ends.take(strata)
        low, high = self._running.take(starts), self._running.take(ends)
        # a position that rounding put onto the border belongs to the stratum before it
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

    def _refresh(self) -> None:
        if not self._is_stale:
            return
        codes, names = self._codes()
        # by name, not by code: codes depend on history, and a restored buffer must lay out the same
        by_name = sorted(names, key=lambda code: (names[code] is not None, names[code] or ""))
        place = np.zeros(max(by_name) + 1, dtype=np.int64)
        place[by_name] = np.arange(len(by_name))
        places = place.take(codes)
        sortable = places.astype(np.uint16) if len(by_name) <= _RADIX_CODES else places
        self._order = np.argsort(sortable, kind="stable")
        n_of = np.bincount(places, minlength=len(by_name))
        self._ends = np.cumsum(n_of)
        self._starts = self._ends - n_of
        shares = np.array([self._shares.get(names[code], 1.0) for code in by_name])
        shares /= shares.sum()
        self._steps = np.cumsum(shares)
        self._steps[-1] = 1.0
        stratum_of = np.repeat(np.arange(n_of.size), n_of)
        log2_mass = np.zeros(self._order.size)
        if self._half_life_s is not None:
            timestamps = self._ring.values("timestamp", self._order)
            newest = np.maximum.reduceat(timestamps, self._starts)
            # against the newest of the own stratum: an old one's masses must not vanish beside a young one's
            log2_mass = (timestamps - newest.take(stratum_of)) / self._half_life_s
        masses = np.exp2(log2_mass)
        self._running = np.concatenate([[0.0], np.cumsum(masses)])
        in_stratum = np.add.reduceat(masses, self._starts)
        self._log2_mass = log2_mass + np.log2(shares / in_stratum).take(stratum_of)
        self._is_stale = False

    def _codes(self) -> tuple[IntArray, dict[int, str | None]]:
        """Return the code of each slot's stratum, and the name of each code."""
        if self._by == "segment":
            names = {code: name for name, code in self._ring.segments.codes().items()}
            return self._ring.column("segment_code").astype(np.int64), names
        # those without a user stand below the first code: one up, they are code 0
        codes = self._ring.column("user_code") - np.int64(NO_USER)
        named = {code - NO_USER: name for name, code in self._ring.users.codes().items()}
        if (codes == 0).any():
            named[0] = None
        return codes, named


class _RunningLine:
    """A line that is searched by its running sum, for the few draws that have no tree."""

    def __init__(self, masses: FloatArray) -> None:
        self._masses = masses
        self._running = np.cumsum(masses)

    @property
    def total(self) -> float:
        """Sum of all masses."""
        return float(self._running[-1])

    def masses(self, indices: IntArray) -> FloatArray:
        """Return the masses of some indices."""
        return self._masses.take(indices)

    def set(self, indices: IntArray, masses: FloatArray) -> None:
        """Replace the masses of some indices."""
        self._masses[indices] = masses
        self._running = np.cumsum(self._masses)

    def find(self, positions: FloatArray) -> IntArray:
        """Return the index at each position; where rounding leaves it beyond the end, the last one with a mass."""
        found = self._running.searchsorted(positions, side="right")
        last = int(np.flatnonzero(self._masses)[-1])
        return np.minimum(found, last)


def check_shares(shares: object) -> dict[str | None, float] | None:
    """Return relative shares per name, or None.

    Raises:
        ReplayError: They are no mapping from names to finite numbers above 0.
    """
    if shares is None:
        return None
    if isinstance(shares, Mapping) and all(
        (name is None or isinstance(name, str))
        and not isinstance(share, bool)
        and isinstance(share, int | float)
        and 1e-9 <= share <= 1e9
        for name, share in shares.items()
    ):
        return {name: float(share) for name, share in shares.items()}
    raise ReplayError(
        "shares are numbers in [1e-9, 1e9] by name",
        field="shares",
        value=shares,
        hint='Pass for example {"help": 2.0}.',
    )
