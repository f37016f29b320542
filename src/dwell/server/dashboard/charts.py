"""Charts as plain numbers: what a browser draws, and the same figures as a table for who does not see it drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

__all__ = ["Chart", "Line", "Mark", "Whisker", "whisker"]


class Line(msgspec.Struct, frozen=True):
    """One line of a chart.

    Attributes:
        name: What it shows.
        values: One number per point of the chart's x, None where there is none.
        is_stepped: Whether it stays as it is until the next point.
    """

    name: str
    values: Sequence[float | None]
    is_stepped: bool = False


class Mark(msgspec.Struct, frozen=True):
    """An instant that a chart marks.

    Attributes:
        x: Where.
        kind: What happened, which chooses its colour.
        name: What stands beside it.
    """

    x: float
    kind: Literal["promote", "rollback", "forced", "start", "now"]
    name: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over one x.

    Attributes:
        title: What it shows, as a heading.
        says: What is to be seen in it, in a sentence: the text for those who do not see it.
        x: Where the points lie, ascending; UTC epoch seconds where `is_time`.
        lines: What is drawn.
        unit: What y is, as "reward per list".
        marks: Instants to mark.
        is_time: Whether x is time.
        x_name: What x is.
    """

    title: str
    says: str
    x: Sequence[float]
    lines: Sequence[Line]
    unit: str = ""
    marks: Sequence[Mark] = ()
    is_time: bool = True
    x_name: str = "time"

    @property
    def is_drawn(self) -> bool:
        """Whether there are enough points to draw."""
        return len(self.x) > 1 and any(value is not None for line in self.lines for value in line.values)

    @property
    def json(self) -> str:
        """What the browser draws."""
        lines = [Line(line.name, [_finite(value) for value in line.values], line.is_stepped) for line in self.lines]
        plain = {
            "x": list(self.x), "lines": lines, "unit": self.unit, "marks": list(self.marks), "isTime": self.is_time,
        }  # fmt: skip
        return msgspec.json.encode(plain).decode()

    @property
    def rows(self) -> list[tuple[float, list[float | None]]]:
        """The figures, at most 60 points of them, evenly chosen."""
        every = max(1, math.ceil(len(self.x) / 60))
        return [(x, [line.values[i] for line in self.lines]) for i, x in enumerate(self.x) if i % every == 0]


class Whisker(msgspec.Struct, frozen=True):
    """An interval as it is drawn on an axis that holds 0, in per cent of the axis' width.

    Attributes:
        low: Left end.
        high: Right end.
        value: The estimate.
        zero: Where 0 lies.
        is_cut_low: Whether it goes on to the left.
        is_cut_high: Whether it goes on to the right.
    """

    low: float
    high: float
    value: float
    zero: float
    is_cut_low: bool
    is_cut_high: bool


def whisker(value: float, low: float, high: float, span: float) -> Whisker:
    """Return an interval on the axis from -span to span, cut at its ends; an infinite end is cut too."""
    if span <= 0.0 or not math.isfinite(span):
        span = 1.0

    def at(x: float) -> float:
        return round(50.0 + 50.0 * min(max(x / span, -1.0), 1.0), 2)

    return Whisker(at(low), at(high), at(value), 50.0, low < -span, high > span)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
