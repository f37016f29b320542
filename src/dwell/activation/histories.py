"""What the meanings "exact" and "petrov" keep: instants of accesses, as many as there were, or the latest k.

They answer the same questions as `TraceTable`. Ages below 50 ms count as 50 ms: a power law has no value at age 0, and
an item that was accessed now must have one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Final

import numpy as np

from dwell.activation import arguments
from dwell.activation.instants import US_PER_S
from dwell.activation.petrov import hybrid_base_level
from dwell.errors import RecordError
from dwell.records.arrays import FloatArray, IntArray

__all__ = ["MIN_AGE_S", "ExactHistories", "LatestAccesses"]

MIN_AGE_S: Final = 0.05  # ACT-R's time of one production: no two events are nearer
_ROUNDING: Final = 1e-12  # an amount below it is the rest of a subtraction
_NO_FLOOR: Final = -np.inf


def _ages_s(instants_us: IntArray, now_us: int) -> FloatArray:
    return np.asarray(np.maximum((now_us - instants_us) / US_PER_S, MIN_AGE_S))


class ExactHistories:
    """Every event of every item, for the exact sums; memory grows with the number of events.

    Attributes:
        pins: Pinned items, with their floors in nats.
    """

    def __init__(self) -> None:
        self.pins: dict[str, float] = {}
        # amounts of one instant are one entry: what is taken away meets what was added
        self._events: dict[str, dict[int, tuple[float, float]]] = {}
        self._last_us: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._events)

    def __contains__(self, item: object) -> bool:
        return item in self._events

    @property
    def known(self) -> Container[str]:
        """The items, to look one up."""
        return self._events

    def items(self) -> list[str]:
        """Return the items, in the order of `masses` without items."""
        return list(self._events)

    def add(self, items: Sequence[str], at_us: IntArray | int, amounts: FloatArray) -> None:
        """Add events, or take them away by negative amounts at the same instant; as `TraceTable.add`."""
        instants = np.broadcast_to(np.asarray(at_us, dtype=np.int64), (len(items),)).tolist()
        for item, at, (reward, exposure) in zip(items, instants, amounts.tolist(), strict=True):
            events = self._events.setdefault(item, {})
            had = events.get(at, (0.0, 0.0))
            now = tuple(0.0 if abs(x + y) < _ROUNDING else x + y for x, y in zip(had, (reward, exposure), strict=True))
            if any(now):
                events[at] = (now[0], now[1])
            else:
                events.pop(at, None)
            self._last_us[item] = max(self._last_us.get(item, 0), at)

    def masses(self, items: Sequence[str] | None, now_us: int | IntArray, decay: float) -> FloatArray:
        """Return P and E, (n, 2), by the power law itself; 0 without events."""
        chosen = self.items() if items is None else arguments.checked_ids(items)
        found = np.zeros((len(chosen), 2))
        instants_us = np.broadcast_to(np.asarray(now_us, dtype=np.int64), (len(chosen),)).tolist()
        for place, (item, at_us) in enumerate(zip(chosen, instants_us, strict=True)):
            events = self._events.get(item)
            if events:
                instants = np.fromiter(events, dtype=np.int64, count=len(events))
                found[place] = _ages_s(instants, at_us) ** -decay @ np.array(list(events.values()))
        return found

    def last_us(self, items: Sequence[str]) -> IntArray:
        """Return the latest instant at which something was added, (n,); 0 without one."""
        return np.array([self._last_us.get(item, 0) for item in items], dtype=np.int64)

    def remove(self, items: Iterable[str]) -> int:
        """Forget items, pins included; return how many there were."""
        chosen = [item for item in items if item in self._events]
        for item in chosen:
            del self._events[item]
            self._last_us.pop(item, None)
            self.pins.pop(item, None)
        return len(chosen)

    def pin(self, item: str, floor: float = _NO_FLOOR) -> None:
        """Keep an item from being forgotten."""
        self._events.setdefault(item, {})
        self.pins[item] = floor

    def unpin(self, item: str) -> bool:
        """Let an item be forgotten again; return whether it was pinned."""
        return self.pins.pop(item, None) is not None

    def merge(self, other: ExactHistories) -> None:
        """Add the events of others; of two floors the higher."""
        for item, events in other._events.items():
            self._events.setdefault(item, {})
            if events:
                self.add([item] * len(events), np.array(list(events)), np.array(list(events.values())))
        for item, floor in other.pins.items():
            self.pins[item] = max(floor, self.pins.get(item, _NO_FLOOR))


class LatestAccesses:
    """The k latest accesses of each item, their number and the first one: Petrov's hybrid.

    What it keeps can be added to and nothing else: retraction, merging and weights other than 1 need what it threw
    away.

    Args:
        n_recent: k >= 1.

    Attributes:
        pins: Pinned items, with their floors in nats.
    """

    def __init__(self, n_recent: int) -> None:
        self.pins: dict[str, float] = {}
        self._n_recent = n_recent
        self._kept: dict[str, tuple[list[int], int, int]] = {}  # latest first, number, first

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, item: object) -> bool:
        return item in self._kept

    @property
    def known(self) -> Container[str]:
        """The items, to look one up."""
        return self._kept

    def items(self) -> list[str]:
        """Return the items, in the order of `masses` without items."""
        return list(self._kept)

    def add(self, items: Sequence[str], at_us: IntArray | int, amounts: FloatArray) -> None:
        """Add whole accesses, in any order; exposure is not kept.

        Raises:
            RecordError: A reward is neither 0 nor 1.
        """
        rewards = amounts[:, 0]
        if ((rewards != 0.0) & (rewards != 1.0)).any():
            raise RecordError(
                "the hybrid counts whole accesses: it can not take one away, nor a part of one",
                code="meaning",
                field="reward",
                value=rewards.tolist(),
                hint='Take meaning="traces" or "exact".',
            )
        instants = np.broadcast_to(np.asarray(at_us, dtype=np.int64), (len(items),)).tolist()
        for item, at, reward in zip(items, instants, rewards.tolist(), strict=True):
            latest, n, first = self._kept.get(item, ([], 0, at))
            if reward:
                latest = sorted([*latest, at], reverse=True)[: self._n_recent]
                self._kept[item] = (latest, n + 1, min(first, at) if n else at)
            else:
                self._kept.setdefault(item, (latest, n, first))

    def masses(self, items: Sequence[str] | None, now_us: int | IntArray, decay: float) -> FloatArray:
        """Return P by the hybrid formula and 0 for E, (n, 2)."""
        chosen = self.items() if items is None else arguments.checked_ids(items)
        found = np.zeros((len(chosen), 2))
        instants_us = np.broadcast_to(np.asarray(now_us, dtype=np.int64), (len(chosen),)).tolist()
        for place, (item, at_us) in enumerate(zip(chosen, instants_us, strict=True)):
            latest, n, first = self._kept.get(item, ([], 0, 0))
            if n:
                ages = _ages_s(np.array(latest), at_us)
                lifetime = float(_ages_s(np.array([first]), at_us)[0])
                found[place, 0] = np.exp(hybrid_base_level(ages, n, lifetime, decay))
        return found

    def last_us(self, items: Sequence[str]) -> IntArray:
        """Return the latest instant at which something was added, (n,); 0 without one."""
        kept = (self._kept.get(item, ([], 0, 0)) for item in items)
        return np.array([latest[0] if latest else 0 for latest, _, _ in kept], dtype=np.int64)

    def remove(self, items: Iterable[str]) -> int:
        """Forget items, pins included; return how many there were."""
        chosen = [item for item in items if item in self._kept]
        for item in chosen:
            del self._kept[item]
            self.pins.pop(item, None)
        return len(chosen)

    def pin(self, item: str, floor: float = _NO_FLOOR) -> None:
        """Keep an item from being forgotten."""
        self._kept.setdefault(item, ([], 0, 0))
        self.pins[item] = floor

    def unpin(self, item: str) -> bool:
        """Let an item be forgotten again; return whether it was pinned."""
        return self.pins.pop(item, None) is not None

    def merge(self, other: LatestAccesses) -> None:
        """Refuse: two hybrids hold too little to make one of them.

        Raises:
            RecordError: Always.
        """
        raise RecordError(
            "hybrids can not be merged: the older accesses are not known any more",
            code="meaning",
            field="other",
            value=other,
            hint='Take meaning="traces" or "exact".',
        )
