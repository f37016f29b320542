"""The laws of one buffer: by name, made when first used, told of every change from then on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

import numpy as np

from dwell.errors import NotEnoughExperienceError, ReplayError
from dwell.records.arrays import FloatArray, IntArray
from dwell.replay.ordered_samplers import RankSampler, StratifiedSampler
from dwell.replay.ring import Ring
from dwell.replay.samplers import Drawn, PrioritySampler, RecencySampler, Sampler, UniformSampler
from dwell.replay.systematic import inclusion_probabilities, systematic_sample
from dwell.replay.weights import log2_recency

__all__ = ["STRATEGIES", "Laws", "Strategy"]

Strategy = Literal["uniform", "priority", "rank", "recency", "stratified"]
STRATEGIES: Final[tuple[str, ...]] = get_args(Strategy)


class Laws:
    """Draws from a ring.

    Args:
        ring: The index columns.
        alpha: Exponent of priorities and ranks.
        half_life_s: Half-life of recency, or None.
        scales: Of a saved buffer's trees, by strategy, see `scales`.
    """

    __slots__ = ("_alpha", "_half_life_s", "_restored", "_ring", "_samplers")

    def __init__(
        self, ring: Ring, *, alpha: float, half_life_s: float | None, scales: Mapping[str, float] | None = None
    ) -> None:
        self._ring = ring
        self._alpha = alpha
        self._half_life_s = half_life_s
        self._restored = dict(scales or {})
        self._samplers: dict[str, Sampler] = {}

    def placed(self, slot: int) -> None:
        """Note that a slot holds another experience, or none."""
        for sampler in self._samplers.values():
            sampler.placed(slot)

    def reprioritised(self, slots: IntArray) -> None:
        """Note that the priorities in these slots changed."""
        for sampler in self._samplers.values():
            sampler.reprioritised(slots)

    def cleared(self) -> None:
        """Note that every slot is vacant."""
        for sampler in self._samplers.values():
            sampler.cleared()

    def draw(self, strategy: str, n_drawn: int, rng: np.random.Generator) -> Drawn:
        """Return independent draws with replacement from a ring that is not empty.

        Raises:
            ReplayError: There is no such strategy, or it lacks its half-life.
        """
        return self._sampler(strategy).draw(n_drawn, rng)

    def draw_distinct(self, strategy: str, n_drawn: int, rng: np.random.Generator) -> Drawn:
        """Return distinct slots; the probabilities are those of inclusion, divided by `n_drawn`.

        Raises:
            NotEnoughExperienceError: Fewer can be drawn.
            ReplayError: There is no such strategy, or it lacks its half-life.
        """
        n = len(self._ring)
        sampler = self._sampler(strategy)
        masses = None if strategy == "uniform" else sampler.masses()
        n_possible = n if masses is None else int(np.count_nonzero(masses))
        if n_drawn > n_possible:
            raise NotEnoughExperienceError(
                f"{n_possible} distinct experiences can be drawn",
                field="batch_size",
                value=n_drawn,
                hint="Ask for fewer, add more, or pass replace=True.",
            )
        if masses is None:
            slots: IntArray = rng.choice(n, n_drawn, replace=False)
            return Drawn(slots, np.full(n_drawn, 1.0 / n), np.zeros(n_drawn))
        inclusion = inclusion_probabilities(masses, n_drawn)
        slots = systematic_sample(inclusion, n_drawn, rng)
        shares = inclusion.take(slots) / n_drawn
        return Drawn(slots, shares, np.log2(shares))

    def log2_target(self, slots: IntArray) -> FloatArray:
        """Return log2 of the target distribution at some slots, up to a constant, float64 (b,)."""
        if self._half_life_s is None:
            return np.zeros(slots.size)
        timestamps = self._ring.timestamps.take(slots)
        return log2_recency(timestamps, float(timestamps.max()), self._half_life_s)

    def scales(self) -> dict[str, float]:
        """Return the scale of each tree: the one thing in a sampler that the columns do not say."""
        scales = dict(self._restored)
        for name, sampler in self._samplers.items():
            if isinstance(sampler, PrioritySampler | RecencySampler):
                scales[name] = sampler.scale
        return scales

    def _sampler(self, strategy: str) -> Sampler:
        sampler = self._samplers.get(strategy)
        if sampler is None:
            sampler = self._samplers[strategy] = self._made(strategy)
        return sampler

    def _made(self, strategy: str) -> Sampler:
        scale = self._restored.get(strategy, 0)
        if strategy == "uniform":
            return UniformSampler(self._ring)
        if strategy == "priority":
            return PrioritySampler(self._ring, self._alpha, scale=int(scale))
        if strategy == "rank":
            return RankSampler(self._ring, self._alpha)
        if strategy == "stratified":
            return StratifiedSampler(self._ring, self._half_life_s)
        if strategy != "recency":
            raise ReplayError(
                "there is no such strategy", field="strategy", value=strategy, hint=f"One of {', '.join(STRATEGIES)}."
            )
        if self._half_life_s is None:
            raise ReplayError(
                "sampling by recency needs a half-life",
                field="half_life_s",
                value=None,
                hint="Make the buffer with half_life_s, for example 604800 for a week.",
            )
        return RecencySampler(self._ring, self._half_life_s, scale=scale)
