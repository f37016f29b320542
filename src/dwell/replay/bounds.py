"""How much is kept, and who leaves when it is too much: by number, bytes, age and segment, never by reward."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from dwell.errors import ConfigError
from dwell.records import checks
from dwell.replay.arguments import MAX_CAPACITY, real, whole
from dwell.replay.ring import GONE, Ring

__all__ = ["Bounds", "Deadlines", "checked_bounds", "checked_quotas", "victim"]

_SPARE_DEADLINES: Final = 1024  # of those that left by other ways; beyond it, and as many as live, they are cleared out

Quotas = Mapping[str | None, float] | Literal["equal"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept.

    Attributes:
        capacity: Most experiences, 1 to 2**31.
        max_bytes: Most estimated memory, or None.
        max_age_s: Most seconds behind the newest timestamp that was ever added, or None.
        segment_quotas: Share of the capacity that each segment is sure of, or "equal": the same for all present; None:
            the oldest leaves, whoever it is.
    """

    capacity: int
    max_bytes: int | None = None
    max_age_s: float | None = None
    segment_quotas: Quotas | None = None

    @property
    def is_by_count_alone(self) -> bool:
        """Whether the oldest leave when the capacity is reached, and nobody else ever does."""
        return self.max_bytes is None and self.max_age_s is None and self.segment_quotas is None


def checked_bounds(capacity: object, max_bytes: object, max_age_s: object, segment_quotas: object) -> Bounds:
    """Return bounds, each value as it was given.

    Raises:
        ConfigError: One is out of range; names it.
    """
    return Bounds(
        whole(capacity, "capacity", 1, MAX_CAPACITY, error=ConfigError),
        None if max_bytes is None else whole(max_bytes, "max_bytes", 1, 2**63, error=ConfigError),
        None if max_age_s is None else real(max_age_s, "max_age_s", 0.0, checks.MAX_TIMESTAMP_S, error=ConfigError),
        checked_quotas(segment_quotas),
    )


def checked_quotas(quotas: object) -> Quotas | None:
    """Return quotas as they were given.

    Raises:
        ConfigError: They are no shares by segment, or sum to more than 1; names the segment.
    """
    if quotas is None or quotas == "equal":
        return None if quotas is None else "equal"
    if not isinstance(quotas, Mapping):
        raise ConfigError(
            "quotas are shares of the capacity by segment",
            field="segment_quotas",
            value=quotas,
            hint='Pass {"help": 0.2, None: 0.1}, "equal" or None.',
        )
    checked = {}
    for name, share in quotas.items():
        checks.optional_identifier(name, "segment_quotas")
        checked[name] = real(share, f"segment_quotas.{name}", 0.0, 1.0, error=ConfigError)
    if sum(checked.values()) > 1.0 + 1e-9:  # rounding of shares such as 0.1 * 3
        raise ConfigError(
            "quotas sum to at most 1",
            field="segment_quotas",
            value=sum(checked.values()),
            hint="Lower them: what is not promised goes to whoever comes.",
        )
    return checked


def victim(ring: Ring, bounds: Bounds, *, segment: str | None, but: int = 0) -> int:
    """Return the seq of who leaves next.

    Without quotas the oldest. With them the oldest of the segment that is furthest above its quota, so that a segment
    within its quota loses nobody to another; O(number of segments).

    Args:
        ring: The index, with at least one experience other than `but`.
        bounds: What is kept.
        segment: Of the experience that comes in, counted as if it were there; the segment of `but` is counted already.
        but: Seq of who has just come in and stays, or 0.
    """
    quotas = bounds.segment_quotas
    if quotas is None:
        return ring.oldest(but=but)
    counts = ring.segments.counts()
    coming = segment if but == 0 else None
    if but == 0:
        counts[coming] = counts.get(coming, 0) + 1
    equal = bounds.capacity / len(counts)

    def excess(name: str | None) -> float:
        return counts[name] - (equal if isinstance(quotas, str) else quotas.get(name, 0.0) * bounds.capacity)

    # most above the quota first; between equals the name decides, not the history of codes
    for name in sorted(counts, key=lambda name: (-excess(name), name is not None, name or "")):
        code = ring.segments.find(name)
        seq = 0 if code is None else ring.oldest_of_segment(code, but=but)
        if seq:
            return seq
    return ring.oldest(but=but)


class Deadlines:
    """Who is too old, by timestamp: a heap, so that the order of arrival plays no part.

    Args:
        max_age_s: Most seconds behind the newest timestamp.
    """

    __slots__ = ("_heap", "_max_age_s", "_newest")

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._heap: list[tuple[float, int]] = []
        self._newest = 0.0

    @property
    def newest(self) -> float:
        """The newest timestamp that was ever added, 0 before the first."""
        return self._newest

    def know(self, newest: float) -> None:
        """Take up a newest timestamp from a saved buffer, where its owner may have left."""
        self._newest = max(self._newest, newest)

    def add(self, timestamp: float, seq: int) -> None:
        """Note an experience."""
        heapq.heappush(self._heap, (timestamp, seq))
        self._newest = max(self._newest, timestamp)

    def is_past(self, timestamp: float) -> bool:
        """Return whether an experience of that time is too old already."""
        return timestamp < self._newest - self._max_age_s

    def due(self, ring: Ring) -> Iterator[int]:
        """Yield the slots of those that are too old; each must have been removed when the next one is asked for."""
        if len(self._heap) > 2 * len(ring) + _SPARE_DEADLINES:
            self._heap = list(zip(ring.timestamps.tolist(), ring.seqs.tolist(), strict=True))
            heapq.heapify(self._heap)
        limit = self._newest - self._max_age_s
        while self._heap and self._heap[0][0] < limit:
            timestamp, seq = heapq.heappop(self._heap)
            slot = ring.slot_of(seq)
            # replaced in place, it may be younger by now: then it stands in the heap once more
            if slot != GONE and float(ring.timestamps[slot]) == timestamp:
                yield slot
