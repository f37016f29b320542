"""A shard's experience in one order, side by side on the line that is drawn from.

The order is that in which events were taken up, ties by `seq`: the same on every shard, in one buffer that was filled
from the store, and after a rebuild. So a position on the line of all shards together means the same event however many
shards there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.records.arrays import FloatArray, IntArray
from dwell.replay.masses import PriorityUnit, recency_masses

__all__ = ["ENTRY", "Entries", "Keys", "Law", "Line", "ShardIndex", "Strategy", "joined", "places_of"]

Strategy = Literal["uniform", "recency", "priority"]
Entries = npt.NDArray[Any]  # of dtype ENTRY

# what is told of an event that was drawn: who it is, how likely it was, how much it weighs in a step
ENTRY: Final = np.dtype(
    [
        ("taken_up_us", np.int64),
        ("seq", np.int64),
        ("timestamp", np.float64),
        ("mass", np.float64),
        ("count", np.float64),
        ("n_documents", np.int64),
    ]
)
_NO_UNIT: Final = PriorityUnit.of(0.0, 0, 0)


class Keys(NamedTuple):
    """Places in the order, each before the event that it names.

    Attributes:
        taken_up_us: int64 (n,).
        seqs: int64 (n,).
    """

    taken_up_us: IntArray
    seqs: IntArray


class Law(NamedTuple):
    """A law, with what all who share the line have to agree on.

    Attributes:
        strategy: "uniform", "recency" or "priority".
        half_life_s: Of "recency", > 0.
        shift: Of "recency": masses are 2^(timestamp / half_life_s - shift).
        unit: Of "priority": in what masses are measured.
    """

    strategy: Strategy = "uniform"
    half_life_s: float = 1.0
    shift: int = 0
    unit: PriorityUnit = _NO_UNIT

    def masses(self, timestamps: FloatArray, priorities: FloatArray) -> FloatArray:
        """Return a mass per experience, float64 (n,), >= 0."""
        if self.strategy == "recency":
            return recency_masses(timestamps, self.half_life_s, self.shift)
        return np.ones(len(timestamps)) if self.strategy == "uniform" else self.unit.masses(priorities)


@dataclass(frozen=True, slots=True, eq=False)
class ShardIndex:
    """What is known of every experience without reading its row, each (n,), in the order of taking up.

    Attributes:
        seqs: int64.
        taken_up_us: int64, UTC epoch microseconds.
        timestamps: float64, when it was served.
        priorities: float64, raw.
        versions: int64, of the reward.
        n_documents: int64, documents kept of the list.
        params_versions: int64, version that served.
        has_user: bool.
        users: uint64, hash of the pseudonym, 0 where there is none.
        queries: uint64, hash of the query.
        rewards: float64, of the list.
        counts: float64, what each event counts in a step, in (0, 1].
    """

    seqs: IntArray
    taken_up_us: IntArray
    timestamps: FloatArray
    priorities: FloatArray
    versions: IntArray
    n_documents: IntArray
    params_versions: IntArray
    has_user: npt.NDArray[np.bool_]
    users: npt.NDArray[np.uint64]
    queries: npt.NDArray[np.uint64]
    rewards: FloatArray
    counts: FloatArray

    @property
    def keys(self) -> Keys:
        """Where each one stands."""
        return Keys(self.taken_up_us, self.seqs)

    def entries(self, at: IntArray, masses: FloatArray) -> Entries:
        """Return what is told of some of them, with their masses (m,)."""
        found = np.zeros(len(at), dtype=ENTRY)
        found["taken_up_us"], found["seq"] = self.taken_up_us.take(at), self.seqs.take(at)
        found["timestamp"], found["mass"] = self.timestamps.take(at), masses
        found["count"], found["n_documents"] = self.counts.take(at), self.n_documents.take(at)
        return found


class Line:
    """Experiences side by side, each as long as its mass.

    Args:
        index: In their order.
        law: By which they are drawn.
    """

    __slots__ = ("_index", "_running", "masses")

    def __init__(self, index: ShardIndex, law: Law) -> None:
        self._index = index
        self.masses = law.masses(index.timestamps, index.priorities)
        self._running = np.concatenate([[0.0], np.cumsum(self.masses)])

    @property
    def total(self) -> float:
        """Sum of all masses."""
        return float(self._running[-1])

    def before(self, keys: Keys) -> FloatArray:
        """Return the mass that stands before each place, float64 (m,)."""
        return self._running.take(places_of(self._index.keys, keys))

    def at(self, offsets: FloatArray) -> Entries:
        """Return who stands at each offset in [0, total); never one without a mass."""
        found = self._running[1:].searchsorted(offsets, side="right")
        last = int(np.flatnonzero(self.masses)[-1])  # a position that rounding put onto the total
        at = np.minimum(found, last)
        return self._index.entries(at, self.masses.take(at))

    def between(self, low: Keys, high: Keys) -> tuple[Entries, IntArray]:
        """Return who stands in each of m stretches from one place up to another, and how many in each, int64 (m,)."""
        first, end = places_of(self._index.keys, low), places_of(self._index.keys, high)
        n = np.maximum(end - first, 0)
        at = np.repeat(first - np.cumsum(n) + n, n) + np.arange(int(n.sum()))
        return self._index.entries(at, self.masses.take(at)), n


def places_of(keys: Keys, wanted: Keys) -> IntArray:
    """Return how many of the keys, which are in order, stand before each wanted one, int64 (m,)."""
    low = np.zeros(len(wanted.seqs), dtype=np.int64)
    high = np.full(len(wanted.seqs), len(keys.seqs), dtype=np.int64)
    # by halves over both numbers at once: numpy searches no pairs, and one number has no room for both
    for _ in range(len(keys.seqs).bit_length()):
        is_open = low < high
        middle = np.where(is_open, (low + high) >> 1, 0)
        times, seqs = keys.taken_up_us.take(middle), keys.seqs.take(middle)
        is_before = (times < wanted.taken_up_us) | ((times == wanted.taken_up_us) & (seqs < wanted.seqs))
        low = np.where(is_open & is_before, middle + 1, low)
        high = np.where(is_open & ~is_before, middle, high)
    return low


def joined(parts: list[Entries]) -> Entries:
    """Return entries of several shards in one order."""
    if not parts:
        return np.zeros(0, dtype=ENTRY)
    entries = np.concatenate(parts)
    return entries[np.lexsort((entries["seq"], entries["taken_up_us"]))]
