"""A clock that stands still until it is moved."""

from __future__ import annotations

from typing import Final

from dwell.records import checks

__all__ = ["START_AT", "ManualClock"]

START_AT: Final = 1_700_000_000.0  # any plausible instant: 2023-11-14T22:13:20Z


class ManualClock:
    """A clock for tests and simulations: call it for the time, move it by hand.

    Args:
        start_at: First reading, UTC epoch seconds, >= 0.

    Raises:
        RecordError: start_at is no instant.
    """

    def __init__(self, start_at: float = START_AT) -> None:
        self._now = checks.timestamp(start_at, "start_at")

    def __call__(self) -> float:
        """Return the current reading, UTC epoch seconds."""
        return self._now

    def __repr__(self) -> str:
        return f"ManualClock({self._now!r})"

    def advance(self, seconds: float) -> float:
        """Move by that many seconds and return the new reading; a negative number moves back, as real clocks do.

        Raises:
            RecordError: The new reading is no instant; the clock stays where it was.
        """
        self._now = checks.timestamp(self._now + checks.finite(seconds, "seconds"), "now")
        return self._now

    def move_to(self, at: float) -> float:
        """Move to an instant, earlier or later, and return it.

        Raises:
            RecordError: `at` is no instant; the clock stays where it was.
        """
        self._now = checks.timestamp(at, "at")
        return self._now
