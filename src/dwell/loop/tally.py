"""What is counted for those who watch from outside, in bounded space: by policy, mode, declared signal and outcome."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

__all__ = ["JOIN_DELAY_EDGES_S", "OTHER", "OUTCOMES", "Histogram", "Tally"]

OUTCOMES: Final = ("joined", "late", "orphan", "duplicate", "rejected")
OTHER: Final = "other"  # a signal that is not declared: callers must not make up labels
# From a click to the end of `late_window_s`; half an hour is the attribution window
JOIN_DELAY_EDGES_S: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0)


@dataclass(slots=True, eq=False)
class Histogram:
    """How often a figure fell between edges.

    Attributes:
        edges: Ascending; a value belongs to the first edge that it does not exceed, or lies beyond the last one.
        counts: One per edge, and one for what lies beyond.
        total: Sum of the values.
    """

    edges: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.edges) + 1)

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.total += value


@dataclass(slots=True, eq=False)
class Tally:
    """Counts since a loop was opened; a few are lost where two threads count at one instant.

    Attributes:
        signals: The declared ones.
        retrievals: Lists recorded, by (policy, mode).
        feedback: Reactions, by (signal, outcome).
        join_delay_s: From when a list was served to the reactions that found it.
    """

    signals: frozenset[str]
    retrievals: Counter[tuple[str, str]] = field(default_factory=Counter)
    feedback: Counter[tuple[str, str]] = field(default_factory=Counter)
    join_delay_s: Histogram = field(default_factory=lambda: Histogram(JOIN_DELAY_EDGES_S))

    def reacted(self, signal: str, outcome: str, delay_s: float | None = None) -> None:
        """Count a reaction.

        Args:
            signal: Its name.
            outcome: One of `OUTCOMES`.
            delay_s: How long after the list was served, >= 0, where it found one.
        """
        self.feedback[signal if signal in self.signals else OTHER, outcome] += 1
        if delay_s is not None:
            self.join_delay_s.observe(delay_s)
