"""Plots as inline SVG that keep their text readable at any width: lines stretch, words do not.

The drawing is stretched over its box (no fixed aspect, strokes of fixed width), and words are HTML placed over it. So a
plot is as wide as the page, and its text as large as the page's, on a phone and on a screen.
"""

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

__all__ = ["Band", "Frame", "Line", "Mark", "bars", "plot", "ticks_between"]

_MARK_PX: Final = 9


class Frame(NamedTuple):
    """What a plot spans.

    Attributes:
        x: (least, most).
        y: (least, most).
        x_words: What runs along.
        y_words: What goes up.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    x_words: str
    y_words: str

    def left(self, x: float) -> float:
        """Place along, in percent of the box."""
        return 100.0 * (x - self.x[0]) / max(self.x[1] - self.x[0], 1e-12)

    def top(self, y: float) -> float:
        """Place from the top, in percent of the box."""
        return 100.0 * (self.y[1] - y) / max(self.y[1] - self.y[0], 1e-12)


class Line(NamedTuple):
    """A line through points.

    Attributes:
        name: Class of its colour.
        points: (x, y) in order.
        is_stepped: Whether each value holds until the next point.
    """

    name: str
    points: Sequence[tuple[float, float]]
    is_stepped: bool = False


class Band(NamedTuple):
    """What a line is uncertain by.

    Attributes:
        name: Class of its colour.
        points: (x, low, high) in order.
        is_stepped: Whether each value holds until the next point.
    """

    name: str
    points: Sequence[tuple[float, float, float]]
    is_stepped: bool = False


class Mark(NamedTuple):
    """Something that happened.

    Attributes:
        name: Class of its colour.
        x: Where.
        y: How high; None for a line over the whole height.
        words: What it was.
    """

    name: str
    x: float
    y: float | None
    words: str


def ticks_between(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers in [low, high], evenly spaced, at most so many and at least two."""
    span = max(high - low, 1e-12)
    power = 10.0 ** np.floor(np.log10(span / most))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            break
    found = [float(n * step) + 0.0 for n in np.arange(first, last + 1)]  # + 0.0: no minus before a zero
    return found if len(found) > 1 else [low, high]


def _n(value: float) -> str:
    return f"{value + 0.0:.2f}".rstrip("0").rstrip(".")


def _steps(points: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """The corners of a staircase: every value holds until the next point."""
    corners = [points[0]]
    for before, after in pairwise(points):
        corners += [(after[0], *before[1:]), after]
    return corners


def _path(frame: Frame, points: Sequence[tuple[float, ...]]) -> str:
    return "M" + "L".join(f"{_n(frame.left(x))} {_n(frame.top(y))}" for x, y, *_ in points)


def _line(frame: Frame, line: Line) -> str:
    points = _steps(line.points) if line.is_stepped else line.points
    return f'<path class="line {line.name}" d="{_path(frame, points)}"/>'


def _band(frame: Frame, band: Band) -> str:
    points = _steps(band.points) if band.is_stepped else band.points
    there = [(x, high) for x, _, high in points]
    back = [(x, low) for x, low, _ in reversed(points)]
    return f'<path class="band {band.name}" d="{_path(frame, [*there, *back])}Z"/>'


def _mark(frame: Frame, mark: Mark) -> str:
    words = f"<title>{escape(mark.words)}</title>"
    left = _n(frame.left(mark.x))
    if mark.y is None:
        return f'<path class="rule {mark.name}" d="M{left} 0V100">{words}</path>'
    # a line of no length with a round end is a dot that does not stretch
    return (
        f'<path class="dot {mark.name}" d="M{left} {_n(frame.top(mark.y))}h0" stroke-width="{_MARK_PX}">{words}</path>'
    )


def plot(
    frame: Frame,
    *,
    title: str,
    lines: Sequence[Line] = (),
    bands: Sequence[Band] = (),
    marks: Sequence[Mark] = (),
    has_zero: bool = False,
) -> str:
    """Return a plot as HTML: an SVG with words around it.

    Args:
        frame: What it spans.
        title: What it shows, for those who can not see it.
        lines: Drawn above the bands.
        bands: Drawn first.
        marks: Drawn last, each with its words when pointed at.
        has_zero: Whether zero is drawn as a line of its own.
    """
    ups, alongs = ticks_between(*frame.y), ticks_between(*frame.x, most=5)
    grid = "".join(f'<path class="grid" d="M0 {_n(frame.top(y))}H100"/>' for y in ups)
    zero = f'<path class="zero" d="M0 {_n(frame.top(0.0))}H100"/>' if has_zero else ""
    drawn = "".join(
        [
            *(_band(frame, band) for band in bands if band.points),
            *(_line(frame, line) for line in lines if line.points),
            *(_mark(frame, mark) for mark in marks),
        ]
    )
    digits = 2 if frame.y[1] - frame.y[0] > 0.05 else 3
    sign = "+" if has_zero else ""
    words = "".join(f'<span class="y-tick" style="top:{_n(frame.top(y))}%">{y:{sign}.{digits}f}</span>' for y in ups)
    words += "".join(f'<span class="x-tick" style="left:{_n(frame.left(x))}%">{x:,.0f}</span>' for x in alongs)
    return (
        f'<div class="plot"><p class="axis">{escape(frame.y_words)}</p><div class="box">'
        f'<svg role="img" viewBox="0 0 100 100" preserveAspectRatio="none"><title>{escape(title)}</title>'
        f"{grid}{zero}{drawn}</svg>{words}</div>"
        f'<p class="axis right">{escape(frame.x_words)}</p></div>'
    )


def bars(values: Sequence[float], labels: Sequence[str], most: float, *, title: str) -> str:
    """Return one bar per value, up or down from a middle line, as an SVG; each says its label and value.

    Args:
        values: Heights.
        labels: What each is of.
        most: The height that fills the box.
        title: What it shows, for those who can not see it.
    """
    width = 100.0 / max(len(values), 1)
    drawn = ""
    for i, (value, label) in enumerate(zip(values, labels, strict=True)):
        height = 50.0 * min(abs(value) / max(most, 1e-12), 1.0)
        top = 50.0 - height if value > 0.0 else 50.0
        name = "up" if value > 0.0 else "down"
        drawn += (
            f'<rect class="{name}" x="{_n(i * width + 0.15 * width)}" y="{_n(top)}" width="{_n(0.7 * width)}" '
            f'height="{_n(max(height, 0.5))}"><title>{escape(label)}: {value:+.3f}</title></rect>'
        )
    return (
        f'<svg class="bars" role="img" viewBox="0 0 100 100" preserveAspectRatio="none"><title>{escape(title)}</title>'
        f'<path class="zero" d="M0 50H100"/>{drawn}</svg>'
    )
