"""Draw `docs/forgetting.svg`: what an access is worth as it ages, by a power law, by traces, and by half-lives.

    python scripts/forgetting_plot.py

Both axes are logarithmic, worth is relative to an access of an hour ago. `tests/unit/activation/test_plot.py` demands
that the file in the repository is what this draws.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dwell.activation import LADDER_12
from dwell.records.arrays import FloatArray

FILE = Path("docs/forgetting.svg")

WIDTH, HEIGHT = 760, 430
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 24, 58
DECAY = 0.5
HOUR_S, DAY_S, YEAR_S = 3_600.0, 86_400.0, 31_557_600.0
AGES = {
    "1 minute": 60.0,
    "1 hour": HOUR_S,
    "1 day": DAY_S,
    "1 week": 7.0 * DAY_S,
    "30 days": 30.0 * DAY_S,
    "1 year": YEAR_S,
    "10 years": 10.0 * YEAR_S,
}
LEAST, MOST = 1e-5, 10.0


class Curve(NamedTuple):
    """A line of the plot.

    Attributes:
        name: Written where it ends.
        colour: Readable on white.
        dashes: As in SVG; "" for a solid line.
        width: In pixels.
        worth: Relative to an access of an hour ago, per age.
        label_at: (x, y) of its name in pixels.
    """

    name: str
    colour: str
    dashes: str
    width: float
    worth: FloatArray
    label_at: tuple[float, float]


def curves(ages_s: FloatArray) -> list[Curve]:
    """Return what is drawn."""
    kernel = np.exp(-np.outer(np.append(ages_s, HOUR_S), LADDER_12.rates)) @ LADDER_12.weights(DECAY)
    beyond = WIDTH - RIGHT + 8.0
    return [
        Curve("power law, d = 0.5", "#9ecae1", "", 7.0, (ages_s / HOUR_S) ** -DECAY, (beyond, 262.0)),
        Curve("12 exponentials on one ladder", "#08306b", "2 5", 2.5, kernel[:-1] / kernel[-1], (beyond, 280.0)),
        Curve("half-life of a week", "#b3400a", "", 2.0, np.exp2(-(ages_s - HOUR_S) / (7 * DAY_S)), (beyond, 330.0)),
        Curve("half-life of 30 days", "#5b7f00", "", 2.0, np.exp2(-(ages_s - HOUR_S) / (30 * DAY_S)), (beyond, 348.0)),
    ]


def across(age_s: float) -> float:
    """Return where an age stands, in pixels from the left."""
    ages = list(AGES.values())
    share = np.log(age_s / ages[0]) / np.log(ages[-1] / ages[0])
    return float(LEFT + share * (WIDTH - LEFT - RIGHT))


def down(worth: float) -> float:
    """Return where a worth stands, in pixels from the top."""
    share = np.log(MOST / worth) / np.log(MOST / LEAST)
    return float(TOP + share * (HEIGHT - TOP - BOTTOM))


def path(ages_s: FloatArray, worth: FloatArray) -> str:
    """Return a line as far as it stays within the plot."""
    is_inside = worth >= LEAST
    points = [f"{across(a):.1f},{down(w):.1f}" for a, w in zip(ages_s[is_inside], worth[is_inside], strict=True)]
    return "M" + " L".join(points)


def text(x: float, y: float, words: str, more: str = "") -> str:
    """Return words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{words}</text>'


def drawing() -> str:
    """Return the plot as SVG."""
    ages_s = np.geomspace(60.0, 10.0 * YEAR_S, 241)
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            'aria-labelledby="title" font-family="sans-serif" font-size="12" fill="#222">'
        ),
        (
            '<title id="title">What an access is worth as it ages, relative to one of an hour ago: a power law, 12 '
            "exponentials that lie on it, and two half-lives that do not</title>"
        ),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for words, age in AGES.items():
        x = across(age)
        lines += [
            f'<path d="M{x:.1f},{TOP} V{floor}" stroke="#ddd"/>',
            text(x, floor + 18, words, ' text-anchor="middle"'),
        ]
    for power in range(-5, 2):
        y = down(10.0**power)
        label = f"{10.0**power:.5f}".rstrip("0").rstrip(".")
        lines += [
            f'<path d="M{LEFT},{y:.1f} H{right}" stroke="#ddd"/>',
            text(LEFT - 8, y + 4, label, ' text-anchor="end"'),
        ]
    for curve in curves(ages_s):
        dashes = f' stroke-dasharray="{curve.dashes}"' if curve.dashes else ""
        lines += [
            (
                f'<path d="{path(ages_s, curve.worth)}" fill="none" stroke="{curve.colour}" '
                f'stroke-width="{curve.width:g}"{dashes}/>'
            ),
            (
                f'<path d="M{curve.label_at[0]:g},{curve.label_at[1] - 4:g} h18" stroke="{curve.colour}" '
                f'stroke-width="{curve.width:g}"{dashes}/>'
            ),
            text(curve.label_at[0] + 24, curve.label_at[1], curve.name, ' font-size="11"'),
        ]
    lines += [
        text((LEFT + right) / 2, HEIGHT - 16, "age of the access", ' text-anchor="middle"'),
        text(16, TOP + (floor - TOP) / 2, "worth", f' transform="rotate(-90 16 {TOP + (floor - TOP) / 2:g})"'),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def main(given: Sequence[str]) -> int:
    """Write the file under the root named on the command line (default: this one)."""
    root = Path(given[0]) if given else Path()
    (root / FILE).write_text(drawing(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
