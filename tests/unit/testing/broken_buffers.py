"""Buffers that are broken on purpose, one fault each: the torture suite must see it, and nothing else.

`Sound` is a right buffer, as plain as can be; each of the others overrides what it does wrong. No test framework is
imported, for the suite loads this module in a process of its own.
"""
# ruff: noqa: ARG002, ARG003 - a broken buffer has no use for some arguments

from __future__ import annotations

import math
import os
import pickle
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from dwell.testing.buffer_torture import ROW_WIDTH, Applied, BufferAdapter, Drawn, Offer
from dwell.testing.buffer_torture.state_file import read_state, write_state


class Sound(BufferAdapter):
    """A list of items, newest last; draws by a running sum. Handles are numbers that are never used twice."""

    offers: ClassVar[frozenset[Offer]] = frozenset(
        {
            "priorities",
            "weights",
            "probabilities",
            "priority at add",
            "maximum for new",
            "live maximum",
            "zero",
            "seed",
            "save",
            "saved priorities",
            "saved generator",
            "report",
            "fork",
        }
    )

    def __init__(self, capacity: int, alpha: float, seed: int) -> None:
        self.capacity, self.alpha = capacity, alpha
        self.rng = np.random.default_rng(seed)
        self.n_given = 0
        self.items: list[dict[str, Any]] = []

    @classmethod
    def make(cls, *, capacity: int, alpha: float = 1.0, seed: int = 0, max_bytes: int | None = None) -> Self:
        return cls(capacity, alpha, seed)

    def add(self, key: int, marker: float, *, priority: float | None = None, user: str | None = None) -> int:
        if priority is None:
            priority = max((item["priority"] for item in self.items), default=1.0)
        self.check(priority)
        if len(self.items) == self.capacity:
            del self.items[0]
        self.items.append({"key": key, "handle": self.n_given, "marker": marker, "priority": priority})
        self.n_given += 1
        return self.n_given - 1

    def check(self, priority: float) -> None:
        if not 0.0 <= priority < math.inf:
            raise ValueError(priority)

    def size(self) -> int:
        return len(self.items)

    def masses(self) -> np.ndarray:
        masses = np.array([item["priority"] for item in self.items]) ** self.alpha
        return masses if masses.any() else np.ones(len(masses))

    def sample(self, n: int, *, beta: float = 1.0) -> Drawn:
        if not self.items:
            raise LookupError("empty")
        p = self.masses() / self.masses().sum()
        found = self.rng.choice(len(p), n, p=p)
        items = [self.items[i] for i in found.tolist()]
        rows = np.repeat(np.array([[item["marker"]] for item in items]), 1 + ROW_WIDTH, axis=1)
        keys = np.array([item["key"] for item in items])
        return Drawn(keys, [item["handle"] for item in items], rows, p[found] ** -beta, p[found])

    def update(self, handles: Sequence[Any], priorities: Sequence[float]) -> Applied | None:
        if len(handles) != len(priorities):
            raise ValueError("lengths")
        by_handle = {item["handle"]: item for item in self.items}
        n_updated = n_stale = n_rejected = 0
        for handle, priority in zip(handles, priorities, strict=True):
            try:
                self.check(priority)
            except ValueError:
                n_rejected += 1
                continue
            if handle in by_handle:
                by_handle[handle]["priority"] = priority
                n_updated += 1
            else:
                n_stale += 1
        return Applied(n_updated, n_stale, n_rejected)

    def foreign_handles(self) -> Mapping[str, object]:
        return {"negative": -1, "unfilled": self.n_given, "beyond": 10**12}

    def save(self, place: Path) -> None:
        write_state(place, self)

    @classmethod
    def restore(cls, place: Path, *, capacity: int, alpha: float = 1.0) -> Self:
        found: Self = read_state(place)
        return found


class TakesNan(Sound):
    """Checks nothing when a priority is updated."""

    def check(self, priority: float) -> None:
        if len(self.items) < 4:  # what the cases put in first
            super().check(priority)


class BySlot(Sound):
    """Addresses items by the place that they are in, as most buffers do."""

    def add(self, key: int, marker: float, *, priority: float | None = None, user: str | None = None) -> int:
        given = super().add(key, marker, priority=priority)
        self.items[-1]["handle"] = given % self.capacity
        return given % self.capacity

    def foreign_handles(self) -> Mapping[str, object]:
        return {"negative": -1, "unfilled": self.size(), "beyond": 10**12}


class AlphaTwice(Sound):
    """Raises a new item's priority to alpha when it is added, and once more when it draws."""

    def add(self, key: int, marker: float, *, priority: float | None = None, user: str | None = None) -> int:
        return super().add(key, marker, priority=None if priority is None else priority**self.alpha)


class DrawsZeros(Sound):
    """Adds a little to each mass."""

    def masses(self) -> np.ndarray:
        return super().masses() + 0.01


class Drifts(Sound):
    """Keeps the sum of all masses by adding differences to it, in float32, and draws by it."""

    def __init__(self, capacity: int, alpha: float, seed: int) -> None:
        super().__init__(capacity, alpha, seed)
        self.total = np.float32(0.0)

    def add(self, key: int, marker: float, *, priority: float | None = None, user: str | None = None) -> int:
        before = sum(item["priority"] for item in self.items)
        given = super().add(key, marker, priority=priority)
        self.total += np.float32(sum(item["priority"] for item in self.items) - before)
        return given

    def update(self, handles: Sequence[Any], priorities: Sequence[float]) -> Applied | None:
        before = sum(item["priority"] for item in self.items)
        applied = super().update(handles, priorities)
        self.total += np.float32(sum(item["priority"] for item in self.items) - before)
        return applied

    def sample(self, n: int, *, beta: float = 1.0) -> Drawn:
        ends = self.masses().cumsum()
        found = np.minimum(np.searchsorted(ends, self.rng.random(n) * float(self.total), side="right"), len(ends) - 1)
        items = [self.items[i] for i in found.tolist()]
        rows = np.repeat(np.array([[item["marker"]] for item in items]), 1 + ROW_WIDTH, axis=1)
        return Drawn(np.array([item["key"] for item in items]), [item["handle"] for item in items], rows)


class Aborts(Sound):
    """Ends the process when it is handed what it never gave."""

    def update(self, handles: Sequence[Any], priorities: Sequence[float]) -> Applied | None:
        if any(handle > 10**9 for handle in handles):
            os.abort()
        return super().update(handles, priorities)


class Exits(Sound):
    """Leaves the process quietly, with a code that says that all is well."""

    def sample(self, n: int, *, beta: float = 1.0) -> Drawn:
        if not self.items:
            os._exit(0)
        return super().sample(n, beta=beta)


class Hangs(Sound):
    """Waits for items that nobody adds."""

    def sample(self, n: int, *, beta: float = 1.0) -> Drawn:
        while not self.items:
            time.sleep(0.01)
        return super().sample(n, beta=beta)


class SavesInPlace(Sound):
    """Writes over the file that it saved before, a piece at a time."""

    def save(self, place: Path) -> None:
        content = pickle.dumps(self)
        with (place / "buffer.pickle").open("wb", buffering=0) as file:
            for start in range(0, len(content), 4096):
                file.write(content[start : start + 4096])
                time.sleep(0.001)


class Tidies(Sound):
    """Removes what else is in the folder, as a checkpointer that keeps the latest does."""

    def save(self, place: Path) -> None:
        for path in place.iterdir():
            if path.is_file() and path.name != "buffer.pickle":
                path.unlink()
        super().save(place)


class Torn(Sound):
    """Writes a row in two steps without a lock, and says that it may be used by threads."""

    offers: ClassVar[frozenset[Offer]] = Sound.offers | {"threads"}

    def add(self, key: int, marker: float, *, priority: float | None = None, user: str | None = None) -> int:
        if len(self.items) < self.capacity:
            return super().add(key, marker, priority=priority)
        item = self.items[key % self.capacity]
        item["key"] = key
        time.sleep(0)
        item["marker"] = marker
        return int(item["handle"])
