"""How often somebody may call: per key, per address and per subject, in a window that moves.

`limits` names the limits. Its windows are not used: its storage in memory starts a thread up to a hundred times a
second, which walks over every subject, and nothing bounds their number. This one starts no thread, forgets the subject
that was not seen for longest when it is full, and takes its clock as an argument.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from limits import RateLimitItem

__all__ = ["Limiter", "RateLimits", "Verdict"]

_WINDOW_S: Final = 60


class Verdict(NamedTuple):
    """Whether a call may go on.

    Attributes:
        allowed: Whether it may.
        retry_after_s: When trying again may work, in seconds; 0 where it may go on.
    """

    allowed: bool
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How much each may do in a minute. A call costs 1, a batch the number of its items.

    Attributes:
        per_key: For one public key: a busy site's readers together.
        per_address: For one network address: an office of hundreds behind one of them.
        per_subject: For one user: a person reacts a few times a minute, a program more often.
        max_subjects: How many keys, addresses and subjects are remembered, together; each takes about 1 KB.
    """

    per_key: int = 60_000
    per_address: int = 6_000
    per_subject: int = 600
    max_subjects: int = 50_000


class _Window:
    """What one subject did: (instant, amount), oldest first."""

    __slots__ = ("hits", "total")

    def __init__(self) -> None:
        self.hits: deque[tuple[float, int]] = deque()
        self.total = 0

    def drop_before(self, instant: float) -> None:
        while self.hits and self.hits[0][0] <= instant:
            self.total -= self.hits.popleft()[1]


class Limiter:
    """Counts what callers do. Safe from any thread.

    Args:
        settings: How much each may do.
        clock: Seconds that only grow, such as `time.monotonic`.
    """

    def __init__(self, settings: RateLimits, clock: Callable[[], float]) -> None:
        from limits import RateLimitItemPerSecond

        self._clock = clock
        self._max_subjects = settings.max_subjects
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._lock = threading.Lock()
        self._items: dict[str, RateLimitItem] = {
            name: RateLimitItemPerSecond(amount, _WINDOW_S, namespace=name)
            for name, amount in (
                ("key", settings.per_key),
                ("address", settings.per_address),
                ("subject", settings.per_subject),
            )
        }

    def __len__(self) -> int:
        return len(self._windows)

    def check(self, *, key: str = "", address: str = "", subject: str = "", cost: int = 1) -> Verdict:
        """Return whether a call may go on, and count it if so; what is refused costs nothing.

        Args:
            key: Id of the key; "" is not limited, as for the two below.
            address: Network address.
            subject: Pseudonym of the user.
            cost: Number of items, at least 1.
        """
        now = self._clock()
        asked = [
            (self._items[name], self._items[name].key_for(who))
            for name, who in (("key", key), ("address", address), ("subject", subject))
            if who
        ]
        with self._lock:
            waits = [self._wait_s(name, item.amount, cost, now) for item, name in asked]
            if any(waits):
                return Verdict(allowed=False, retry_after_s=max(waits))
            for _, name in asked:
                window = self._windows.setdefault(name, _Window())
                window.hits.append((now, cost))
                window.total += cost
                self._windows.move_to_end(name)
            while len(self._windows) > self._max_subjects:
                self._windows.popitem(last=False)
        return Verdict(allowed=True, retry_after_s=0.0)

    def _wait_s(self, name: str, amount: int, cost: int, now: float) -> float:
        """Return how long until there is room, 0 for at once."""
        if cost > amount:
            return float(_WINDOW_S)
        window = self._windows.get(name)
        if window is None:
            return 0.0
        window.drop_before(now - _WINDOW_S)
        too_many = window.total + cost - amount
        for at, spent in window.hits:
            if too_many <= 0:
                break
            too_many -= spent
            wait = at + _WINDOW_S - now
            if too_many <= 0:
                return math.nextafter(wait, math.inf) if wait > 0.0 else 0.0
        return 0.0
