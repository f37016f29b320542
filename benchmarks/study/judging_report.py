"""How often something happened, with an exact interval, and whether that is what was promised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from scipy.special import betaincinv

__all__ = ["Count", "as_values", "exact_interval", "table"]

_LEVEL: Final = 0.95


class Count(NamedTuple):
    """How many of how many.

    Attributes:
        what: What was counted.
        hits: How often it happened.
        n: Out of how many.
        at_most: Largest share that is promised, or None.
        at_least: Smallest share that is promised, or None.
        note: What else to say.
    """

    what: str
    hits: int
    n: int
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the promise was met by the share itself; empty where nothing is promised, or nothing was counted."""
        if self.at_most is None and self.at_least is None:
            return ""
        if not self.n:
            return "not judged"
        share = self.hits / self.n
        is_met = (self.at_most is None or share <= self.at_most) and (self.at_least is None or share >= self.at_least)
        return "met" if is_met else "**not met**"

    @property
    def bar(self) -> str:
        """What is promised, as it is printed."""
        if self.at_most is not None:
            return f"at most {self.at_most:.0%}" if self.at_most else "none"
        return "" if self.at_least is None else f"at least {self.at_least:.0%}"


def exact_interval(hits: int, n: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share; (0, 1) where nothing was counted.

    Source: Clopper and Pearson 1934.
    """
    tail = (1.0 - _LEVEL) / 2.0
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1.0 - tail)) if hits < n else 1.0
    return low, high


def table(counts: Sequence[Count], *, is_judged: bool = True) -> list[str]:
    """Return Markdown lines, one per count; a run that is too short judges nothing."""
    lines = ["| what | how often | share, exact 95 % | promised | | |", "|---|---|---|---|---|---|"]
    for one in counts:
        low, high = exact_interval(one.hits, one.n)
        share = f"{one.hits / one.n:.3f} ({low:.3f} to {high:.3f})" if one.n else ""
        verdict = one.verdict if is_judged or not one.verdict else "not judged"
        lines.append(f"| {one.what} | {one.hits} of {one.n} | {share} | {one.bar} | {verdict} | {one.note} |")
    return lines


def as_values(counts: Sequence[Count]) -> list[dict[str, Any]]:
    """Return the same as plain values."""
    return [
        {**one._asdict(), "interval": exact_interval(one.hits, one.n), "verdict": one.verdict.strip("*")}
        for one in counts
    ]
