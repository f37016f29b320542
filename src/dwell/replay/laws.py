"""The laws of one buffer: by name, made when first used, told of every change from then on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, get_args

import numpy as np

from dwell.errors import ReplayError
from dwell.records.arrays import FloatArray, IntArray
from dwell.replay.draws import Drawn
from dwell.replay.prefix_tree import PrefixTree
from dwell.replay.rank_sampler import RankSampler
from dwell.replay.ring import Ring
from dwell.replay.samplers import ExactTree, PrioritySampler, RecencySampler, Sampler, UniformSampler
from dwell.replay.stratified_sampler import StratifiedSampler, Stratum
from dwell.replay.weights import Normalisation, log2_recency, sampling_weights

__all__ = ["STRATEGIES", "Laws", "Strategy"]

Strategy = Literal["uniform", "priority", "rank", "recency", "stratified"]
STRATEGIES: Final[tuple[str, ...]] = get_args(Strategy)
MAX_STRATA_LAWS: Final = 8  # layouts of strata kept; each holds 40 bytes an experience


class Laws:
    """Draws from a ring.

    Args:
        ring: The index columns.
        alpha: Exponent of priorities and ranks.
        half_life_s: Half-life of recency, or None.
        make_tree: Makes a sum tree of whole numbers.
        scales: Of a saved buffer's trees, see `scales`.
    """

    __slots__ = ("_alpha", "_half_life_s", "_make_tree", "_restored", "_ring", "_samplers", "_strata")

    def __init__(
        self,
        ring: Ring,
        *,
        alpha: float,
        half_life_s: float | None,
        make_tree: Callable[[int], ExactTree] = PrefixTree,
        scales: Mapping[str, int] | None = None,
    ) -> None:
        self._ring = ring
        self._alpha = alpha
        self._half_life_s = half_life_s
        self._make_tree = make_tree
        self._restored = dict(scales or {})
        self._samplers: dict[str, Sampler] = {}
        self._strata: dict[tuple[object, ...], StratifiedSampler] = {}

    # ---- what changed

    def placed(self, slot: int) -> None:
        """Note that a slot holds another experience, or none."""
        for sampler in self._samplers.values():
            sampler.placed(slot)
        for sampler in self._strata.values():
            sampler.placed(slot)

    def placed_many(self, slots: IntArray) -> None:
        """Note that slots hold other experiences."""
        for sampler in (*self._samplers.values(), *self._strata.values()):
            sampler.placed_many(slots)

    def reprioritised(self, slots: IntArray) -> None:
        """Note that the priorities in these slots changed."""
        for sampler in self._samplers.values():
            sampler.reprioritised(slots)

    def cleared(self) -> None:
        """Note that every slot is vacant."""
        for sampler in (*self._samplers.values(), *self._strata.values()):
            sampler.cleared()

    def change_alpha(self, alpha: float) -> None:
        """Apply another exponent from now on: priorities are kept raw, so nothing else changes."""
        self._alpha = alpha
        for name in ("priority", "rank"):
            self._samplers.pop(name, None)
            self._restored.pop(name, None)

    # ---- drawing

    def sampler(
        self, strategy: str, *, by: Stratum = "segment", shares: Mapping[str | None, float] | None = None
    ) -> Sampler:
        """Return the law of that name; what makes a stratum, and the shares, matter to "stratified" alone.

        Raises:
            ReplayError: There is no such strategy, or it lacks its half-life.
        """
        if strategy == "stratified":
            return self._stratified(by, shares)
        sampler = self._samplers.get(strategy)
        if sampler is None:
            sampler = self._samplers[strategy] = self._made(strategy)
        return sampler

    def weights(self, sampler: Sampler, drawn: Drawn, *, beta: float, normalisation: Normalisation) -> FloatArray:
        """Return the sampling weights of a batch that this law drew, nothing having changed since."""
        target, log2_scale = self._log2_target(drawn.slots), 0.0
        if normalisation in {"none", "buffer_max"}:
            masses = sampler.masses() if normalisation == "buffer_max" else None
            log2_scale = self._log2_ratio_scale(drawn.slots, masses)
        return sampling_weights(drawn, target, beta=beta, normalisation=normalisation, log2_scale=log2_scale)

    def scales(self) -> dict[str, int]:
        """Return the exponents of each tree: the one thing in a sampler that the columns do not say.

        Orders are made anew afterwards, here as in what is restored from it.
        """
        scales = dict(self._restored)
        for name, sampler in self._samplers.items():
            if isinstance(sampler, PrioritySampler | RecencySampler):
                scales[name] = sampler.scale
            elif isinstance(sampler, RankSampler):
                sampler.cleared()
        return scales

    def _log2_target(self, slots: IntArray) -> FloatArray | None:
        if self._half_life_s is None:
            return None
        timestamps = self._ring.values("timestamp", slots)
        return log2_recency(timestamps, float(timestamps.max()), self._half_life_s)

    def _log2_ratio_scale(self, slots: IntArray, masses: FloatArray | None) -> float:
        """Return log2 of what turns the batch's t / P into the ratio itself, or into the ratio over its maximum.

        Args:
            slots: The batch.
            masses: Of everybody, where the ratio is to be over the maximum.
        """
        n = len(self._ring)
        log2_t = np.full(n, -np.log2(n))
        scale = float(np.log2(n))
        if self._half_life_s is not None:
            recency = self.sampler("recency")
            if not isinstance(recency, RecencySampler):
                raise TypeError(type(recency))
            timestamps = self._ring.timestamps
            log2_t = log2_recency(timestamps, float(timestamps.max()), self._half_life_s)
            log2_t += recency.log2_probability_of_newest()
            scale = -float(log2_t[slots].max())
        if masses is None:
            return scale
        can_be_drawn = masses > 0.0
        ratio = log2_t[can_be_drawn] - np.log2(masses[can_be_drawn] / masses.sum())
        return scale + float(ratio.max())

    def _stratified(self, by: Stratum, shares: Mapping[str | None, float] | None) -> StratifiedSampler:
        key = (by, *sorted((shares or {}).items(), key=lambda item: (item[0] is not None, item[0] or "")))
        found = self._strata.get(key)
        if found is None:
            while len(self._strata) >= MAX_STRATA_LAWS:
                del self._strata[next(iter(self._strata))]
            found = self._strata[key] = StratifiedSampler(self._ring, self._half_life_s, by=by, shares=shares)
        return found

    def _made(self, strategy: str) -> Sampler:
        if strategy == "uniform":
            return UniformSampler(self._ring)
        if strategy == "priority":
            scale = self._restored.get("priority", 0)
            return PrioritySampler(self._ring, self._alpha, self._make_tree, scale=scale)
        if strategy == "rank":
            return RankSampler(self._ring, self._alpha, self._make_tree)
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
        return RecencySampler(self._ring, self._half_life_s, scale=self._restored.get("recency", 0))
