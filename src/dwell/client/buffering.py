"""Reactions that wait to be sent together: bounded, in order. Holds no lock and reads no clock."""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, NamedTuple, TypeVar

from dwell.client.asking import MAX_ITEMS
from dwell.client.retrying import Patience
from dwell.errors import ConfigError

__all__ = ["MAX_REQUEST_BYTES", "PATIENCE", "Buffer", "Waiting", "checked_capacity"]

A = TypeVar("A")

MAX_REQUEST_BYTES: Final = 64_000  # what `navigator.sendBeacon` may carry: one size for every sender of reactions
_MAX_BYTES: Final = 16_000_000  # 10,000 reactions of ordinary ids have 2 MB

# Nobody waits: a server that restarts within half a minute loses nothing.
PATIENCE: Final = Patience(budget_s=30.0, attempts=12, base_s=0.2, cap_s=5.0)


class Waiting(NamedTuple, Generic[A]):
    """One reaction as JSON, and where its answer goes."""

    body: bytes
    answer: A


class Buffer(Generic[A]):
    """Reactions in the order given, at most so many.

    Args:
        capacity: Most reactions, >= 1.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: deque[Waiting[A]] = deque()
        self._n_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_due(self) -> bool:
        """Whether what waits fills a request."""
        return len(self._waiting) >= MAX_ITEMS or self._n_bytes >= MAX_REQUEST_BYTES

    def add(self, one: Waiting[A]) -> bool:
        """Take one more; return False where there is no room, and it is not taken."""
        if len(self._waiting) >= self._capacity or self._n_bytes + len(one.body) > _MAX_BYTES:
            return False
        self._waiting.append(one)
        self._n_bytes += len(one.body) + 1
        return True

    def take(self) -> list[Waiting[A]]:
        """Return the oldest ones, as many as fit into one request and at least one where any waits; they are out."""
        found: list[Waiting[A]] = []
        n_bytes = 2
        while self._waiting and len(found) < MAX_ITEMS:
            size = len(self._waiting[0].body) + 1
            if found and n_bytes + size > MAX_REQUEST_BYTES:
                break
            found.append(self._waiting.popleft())
            n_bytes += size
        self._n_bytes -= n_bytes - 2
        return found

    def take_all(self) -> list[Waiting[A]]:
        """Return everything that waits; nothing is left."""
        found = list(self._waiting)
        self._waiting.clear()
        self._n_bytes = 0
        return found


def checked_capacity(value: object) -> int:
    """Return how many reactions may wait.

    Raises:
        ConfigError: It is no whole number from 1 to a million.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
        raise ConfigError(
            "the number of reactions that may wait is a whole number from 1 to 1000000",
            field="max_buffered",
            value=value,
            hint="Pass an int in that range.",
        )
    return value
