"""What was promised, what was measured, and the table of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from _timing import Interval, verdict

# {batch size: (against cpprb, against torchrl)}: their CPU time over ours, at least
Bars = dict[int, tuple[float, float]]
CYCLE: Final[Bars] = {64: (1.8, 6.0), 256: (3.5, 6.0), 1024: (4.5, 6.0)}
FAIR_CYCLE: Final[Bars] = {64: (1.3, 4.0), 256: (2.5, 4.0), 1024: (3.0, 4.0)}
WHOLE_CYCLE: Final[Bars] = {64: (1.5, 3.0), 256: (2.2, 3.5), 1024: (2.4, 4.0)}
FAST_CYCLE: Final[Bars] = {64: (2.5, 8.0)}
UPDATE: Final[Bars] = {256: (1.2, 2.5)}
ADD: Final[Bars] = {1: (3.0, 40.0), 256: (1.0, 3.5)}
OVER_SEED: Final = 400.0
OVER_PAYLOAD: Final = 1.08  # memory per record over its payload, at most
OF_BARE_INSERT: Final = 0.7  # throughput of durable ingest, at least
PEERS: Final = ("cpprb", "torchrl")


class Figure(NamedTuple):
    """One line of the table.

    Attributes:
        what: What was done, by whom.
        against: With whom it is compared.
        ours_us: Median CPU time of a call, microseconds.
        theirs_us: The same of the other one.
        ratio: Theirs over ours, round by round.
        bar: What was promised, or None.
        is_judged: Whether the run is long enough, and both systems sound.
    """

    what: str
    against: str
    ours_us: float
    theirs_us: float
    ratio: Interval
    bar: float | None
    is_judged: bool = True

    @property
    def verdict(self) -> str:
        """Whether the promise was met, or why that is not said; without one, whether it is a tie."""
        if self.bar is None:
            return "tie with it" if self.ratio.low <= 1.0 <= self.ratio.high else ""
        return verdict(self.ratio, self.bar) if self.is_judged else "not judged"


def bar_of(bars: Bars | None, size: int, against: str) -> float | None:
    """Return what is promised for this batch size against this peer, or None."""
    if bars is None or size not in bars or against not in PEERS:
        return None
    return bars[size][PEERS.index(against)]


def table(figures: Sequence[Figure]) -> list[str]:
    """Return figures as a Markdown table."""
    lines = [
        "| what | against | ours, us | theirs, us | times as fast (interval) | promised | |",
        "|---|---|---|---|---|---|---|",
    ]
    for figure in figures:
        bar = "" if figure.bar is None else f"{figure.bar:g}"
        times = f"{figure.ours_us:,.1f} | {figure.theirs_us:,.1f}"
        lines.append(f"| {figure.what} | {figure.against} | {times} | {figure.ratio} | {bar} | {figure.verdict} |")
    return lines


def as_values(figure: Figure) -> dict[str, Any]:
    """Return a figure as plain values, its verdict among them."""
    return figure._asdict() | {"ratio": figure.ratio._asdict(), "verdict": figure.verdict}


def tally(figures: Sequence[Figure]) -> str:
    """Return how many promises were met, not met, and tied."""
    verdicts = [figure.verdict for figure in figures if figure.bar is not None and figure.is_judged]
    n_met, n_missed = verdicts.count("met"), verdicts.count("**not met**")
    return f"{len(verdicts)} promises judged: {n_met} met, {n_missed} not met, {len(verdicts) - n_met - n_missed} tied."
