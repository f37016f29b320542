"""What one process has counted, as numbers by name that may be added to those of others."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from dwell.loop.tally import OTHER, OUTCOMES, Histogram, Tally
from dwell.server.house import Counts, House

__all__ = ["added", "counts_of", "histogram_of"]

_POLICIES: Final = ("caller", "external", "params")  # of an impression
_CLOCKS: Final = ("skewed", "future")


def counts_of(house: House) -> Counts:
    """Return what a house has counted since it was opened, the tenants together.

    What was never seen stands there as 0: a counter that begins at 1 hides its first event.
    """
    found: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for _, loop in sorted(house.loops().items()):
        counted, tally = loop.counts, loop._state.tally  # noqa: SLF001 - what is counted is no call of a loop
        for signal, outcome in _feedback_labels(tally):
            found["feedback", signal, outcome] += tally.feedback[signal, outcome]
        for policy in _POLICIES:
            found["retrievals", policy, loop.mode] += 0
        for (policy, mode), n in dict(tally.retrievals).items():
            found["retrievals", policy, mode] += n
        found["dropped", "queue_full"] += counted.get("dropped_impressions", 0)
        found["dropped", "store"] += counted.get("failed_impressions", 0)
        for name in _CLOCKS:
            found["clocks", name] += counted.get(f"feedback_{name}", 0)
        _count_histogram(found, "join_delay", tally.join_delay_s)
    _count_histogram(found, "rank_duration", house.rank_duration_s)
    for (route, status), n in house.requests.copy().items():
        found["requests", route, str(status)] += n
    for path, n in dict(house.admission.n_refused).items():
        found["requests", path, "503"] += n
    return dict(found)


def added(*parts: Counts) -> Counts:
    """Return the sums of what several have counted."""
    found: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for part in parts:
        for name, n in part.items():
            found[name] += n
    return dict(found)


def histogram_of(counts: Counts, name: str, n_buckets: int) -> tuple[list[int], float]:
    """Return the numbers in a histogram's buckets, not added up yet, and the sum of all that was observed.

    Args:
        counts: What was counted.
        name: "join_delay" or "rank_duration".
        n_buckets: Of them, the one beyond the last edge included.
    """
    return [int(counts.get((name, str(i)), 0)) for i in range(n_buckets)], counts.get((name, "total"), 0.0)


def _feedback_labels(tally: Tally) -> list[tuple[str, str]]:
    return [(signal, outcome) for signal in (*sorted(tally.signals), OTHER) for outcome in OUTCOMES]


def _count_histogram(found: defaultdict[tuple[str, ...], float], name: str, part: Histogram) -> None:
    for i, n in enumerate(part.counts):
        found[name, str(i)] += n
    found[name, "total"] += part.total
