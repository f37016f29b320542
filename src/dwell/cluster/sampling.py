"""Drawing over shards: in proportion to their mass, so that a batch has the distribution of one buffer's.

The shards' lines, put together in the order of taking up, are the line of one buffer that holds everything. Positions
on it are drawn exactly as a buffer draws them (`replay.draws`), and the same uniforms fall on the same events, however
many shards there are: `order="as_one"`. Fences, a place in each 64, say how much stands before each of them on all
shards; a position then costs each shard one stretch between two fences, and that is all that is asked of it per batch.

`order="by_shard"` lays the lines end to end instead: one question per batch to the shards that are hit, the same
probabilities, other events for the same uniforms.

What all have to agree on is found first, from one number of each shard: the newest instant, the largest priority, the
sum of powers. Sampling weights, (target / P)^beta, are divided by one number over the whole batch.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, cast

import numpy as np

from dwell.cluster.line import ENTRY, Entries, Keys, Law, Strategy, joined
from dwell.cluster.shard import ShardFacts
from dwell.cluster.transport import Shards
from dwell.errors import NotEnoughExperienceError, ReplayError
from dwell.records.arrays import FloatArray, IntArray
from dwell.replay.draws import Drawn, positions_in_slices
from dwell.replay.masses import PriorityUnit, priority_scale, priority_unit
from dwell.replay.weights import log2_recency, sampling_weights

__all__ = ["FENCE_EVERY", "STRATEGIES", "Order", "ShardBatch", "ShardSampler", "agreed_law", "check_strategy"]

Order = Literal["as_one", "by_shard"]

STRATEGIES: Final = ("uniform", "recency", "priority")
FENCE_EVERY: Final = 64  # a batch of 256 then moves 256 * 64 entries of 48 bytes, a million events 16,000 fences
_WHY_NOT: Final = {
    "rank": "a rank counts everybody with a higher priority on all shards, and changes with each of them",
    "stratified": "strata are laid out over one buffer",
}


class ShardBatch(NamedTuple):
    """What was drawn over all shards.

    Attributes:
        seqs: int64 (b,), in the order of the draw.
        owners: int64 (b,), number of each one's shard among the names.
        probabilities: float64 (b,), P of one draw over all shards.
        weights: float64 (b,), sampling weights, mean 1 over the whole batch.
        n_documents: int64 (b,), documents kept of each list.
        counts: float64 (b,), what each event counts in a step where users are capped, in (0, 1].
    """

    seqs: IntArray
    owners: IntArray
    probabilities: FloatArray
    weights: FloatArray
    n_documents: IntArray
    counts: FloatArray


def check_strategy(strategy: str) -> Strategy:
    """Return a strategy by which shards can be drawn from exactly as one buffer.

    Raises:
        ReplayError: It is another one; says why.
    """
    if strategy not in STRATEGIES:
        raise ReplayError(
            f"shards can not be drawn from like that: {_WHY_NOT.get(strategy, 'there is no such strategy')}",
            code="strategy",
            field="replay.strategy",
            value=strategy,
            hint=f"Use one of {', '.join(STRATEGIES)}.",
        )
    return cast("Strategy", strategy)


def agreed_law(shards: Shards, strategy: str, *, alpha: float, half_life_s: float | None) -> tuple[Law, int]:
    """Return the law with what all shards agree on, and how many experiences they hold.

    Raises:
        ReplayError: See `check_strategy`; or recency without a half-life.
    """
    name = check_strategy(strategy)
    facts: list[ShardFacts] = list(shards.ask_all("facts").values())
    n = sum(one.n for one in facts)
    largest = max((one.largest_priority for one in facts), default=0.0)
    if name == "recency":
        if half_life_s is None:
            raise ReplayError("sampling by recency needs a half-life", field="half_life_s", hint="Pass 604800.")
        newest = max((one.newest for one in facts), default=-np.inf)
        shift = int(newest // half_life_s) if np.isfinite(newest) else 0
        return Law("recency", half_life_s, shift), n
    if name == "uniform" or largest == 0.0:  # all priorities are 0: the priority law is the uniform one
        return Law(), n
    scale = priority_scale(largest, alpha)
    total = sum(shards.ask_all("power_sum", alpha, scale).values())
    return Law("priority", unit=PriorityUnit.of(alpha, scale, priority_unit(total))), n


class ShardSampler:
    """Draws batches over shards whose contents stay as they are.

    Args:
        shards: What is drawn from.
        strategy: "uniform", "recency" or "priority".
        alpha: Exponent of priorities.
        half_life_s: Half-life of recency, of the law and of the target that weights correct to; None: uniform.
        order: Whether the same uniforms give the events that one buffer would give, or the shards lie end to end.

    Raises:
        ReplayError: See `check_strategy`.
    """

    def __init__(
        self,
        shards: Shards,
        strategy: str = "recency",
        *,
        alpha: float = 0.6,
        half_life_s: float | None = 604_800.0,
        order: Order = "as_one",
    ) -> None:
        if order not in {"as_one", "by_shard"}:
            raise ReplayError("there is no such order", field="order", value=order, hint="Use 'as_one'.")
        self._shards = shards
        self._strategy = check_strategy(strategy)
        self._alpha, self._half_life_s, self._order = alpha, half_life_s, order
        self.refresh()

    def refresh(self) -> None:
        """Agree anew: due whenever experience came, left, or got other priorities."""
        self.law, self.n = agreed_law(self._shards, self._strategy, alpha=self._alpha, half_life_s=self._half_life_s)
        if self._order == "as_one":
            self._fence_in()
        totals = [mass for _, mass in self._shards.ask_all("mass", self.law).values()]
        # end to end: where each shard's line begins, and the end of all
        self._ends = np.concatenate([[0.0], np.cumsum(totals)])

    def _fence_in(self) -> None:
        parts: list[Keys] = list(self._shards.ask_all("fences", FENCE_EVERY).values())
        taken = np.concatenate([part.taken_up_us for part in parts])
        seqs = np.concatenate([part.seqs for part in parts])
        order = np.lexsort((seqs, taken))
        last = np.iinfo(np.int64).max  # behind everybody: what stands before it is all there is
        self._fences = Keys(np.append(taken[order], last), np.append(seqs[order], last))
        before = self._shards.ask_all("before", self.law, self._fences)
        # shards are added in one order, so that the same contents give the same sums
        self._before = np.sum([before[name] for name in self._shards.names], axis=0)

    @property
    def total(self) -> float:
        """Mass over all shards."""
        return float(self._before[-1] if self._order == "as_one" else self._ends[-1])

    def probabilities(self, masses: FloatArray) -> FloatArray:
        """Return P of one draw for experiences with these masses, float64 (n,)."""
        return masses / self.total

    def draw(self, n_drawn: int, *, beta: float, rng: np.random.Generator) -> ShardBatch:
        """Return a batch: positions as one buffer draws them, and weights over the whole batch.

        Args:
            n_drawn: Experiences, >= 1, repeats included.
            beta: Strength of the correction, in [0, 1].
            rng: Source of the draw.

        Raises:
            NotEnoughExperienceError: No shard holds anything.
        """
        if self.n == 0:
            raise NotEnoughExperienceError(
                "the shards are empty", field="n_drawn", value=n_drawn, hint="Close some events first."
            )
        if self.law.strategy == "uniform":
            positions = rng.integers(self.n, size=n_drawn).astype(np.float64)
        else:
            positions = positions_in_slices(self.total, n_drawn, rng)
        entries, owners = self.located(positions)
        probabilities = self.probabilities(entries["mass"])
        log2 = None
        if self._half_life_s is not None:
            log2 = log2_recency(entries["timestamp"], float(entries["timestamp"].max()), self._half_life_s)
        drawn = Drawn(entries["seq"], probabilities, log2 if self.law.strategy == "recency" else None)
        weights = sampling_weights(drawn, log2, beta=beta)
        return ShardBatch(
            entries["seq"].copy(),
            owners,
            probabilities,
            weights,
            entries["n_documents"].copy(),
            entries["count"].copy(),
        )

    def located(self, positions: FloatArray | IntArray) -> tuple[Entries, IntArray]:
        """Return who stands at each position of the line, int or float (m,) below `total`, and where each one lives."""
        if not len(positions):
            return np.zeros(0, dtype=ENTRY), np.zeros(0, dtype=np.int64)
        found = self._as_one if self._order == "as_one" else self._by_shard
        return found(positions.astype(np.float64))

    def _as_one(self, positions: FloatArray) -> tuple[Entries, IntArray]:
        """Return who stands at each position of the line of all shards, and where each one lives."""
        at = self._before[1:].searchsorted(positions, side="right")
        at = np.minimum(at, len(self._before) - 2)
        stretches, which = np.unique(at, return_inverse=True)
        low = Keys(self._fences.taken_up_us[stretches], self._fences.seqs[stretches])
        high = Keys(self._fences.taken_up_us[stretches + 1], self._fences.seqs[stretches + 1])
        found: dict[str, Any] = self._shards.ask_all("between", self.law, low, high)
        parts = [found[name] for name in self._shards.names]
        entries = np.concatenate([part for part, _ in parts])
        place = np.concatenate([np.repeat(np.arange(len(stretches)), n) for _, n in parts])
        owner = np.repeat(np.arange(len(parts)), [len(part) for part, _ in parts])
        order = np.lexsort((entries["seq"], entries["taken_up_us"], place))
        entries, owner, place = entries[order], owner[order], place[order]
        ends = place.searchsorted(np.arange(len(stretches) + 1))
        chosen = np.zeros(len(positions), dtype=np.int64)
        for i, stretch in enumerate(stretches.tolist()):
            asked = which == i
            masses = entries["mass"][ends[i] : ends[i + 1]]
            running = self._before[stretch] + np.cumsum(masses)
            last = int(np.flatnonzero(masses)[-1])  # a position that rounding put onto the end
            chosen[asked] = ends[i] + np.minimum(running.searchsorted(positions[asked], side="right"), last)
        return entries[chosen], owner[chosen]

    def _by_shard(self, positions: FloatArray) -> tuple[Entries, IntArray]:
        """Return who stands at each position of the lines laid end to end, and where each one lives."""
        owners = np.minimum(self._ends[1:].searchsorted(positions, side="right"), len(self._ends) - 2)
        names = self._shards.names
        asked = {names[i]: (self.law, positions[owners == i] - self._ends[i]) for i in np.unique(owners).tolist()}
        found = self._shards.ask_each("draw", asked)
        entries = np.zeros(len(positions), dtype=ENTRY)
        for name, part in found.items():
            entries[owners == names.index(name)] = part
        return entries, owners

    def pending(self, after: int) -> tuple[Entries, IntArray]:
        """Return what can be learned from and has a seq above `after`, in one order, and where each one lives."""
        found = self._shards.ask_all("pending", after)
        parts = [found[name] for name in self._shards.names]
        entries = joined(parts)
        owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        seqs = np.concatenate([part["seq"] for part in parts])
        by_seq = np.argsort(seqs)
        return entries, owner[by_seq[seqs.searchsorted(entries["seq"], sorter=by_seq)]]
