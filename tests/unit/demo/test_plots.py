"""Plots: where things are placed, and that no text breaks out of them."""

import re
from xml.etree import ElementTree as ET

import pytest

from dwell.demo.plots import Band, Frame, Line, Mark, bars, plot, ticks_between

FRAME = Frame((0.0, 200.0), (-1.0, 1.0), "along <", "up &")


def tree(html: str) -> ET.Element:
    """Parse it as XML: what is not closed or not escaped does not parse."""
    return ET.fromstring(f"<body>{html}</body>")  # noqa: S314 - our own output is what is tested


def paths(html: str, name: str) -> list[str]:
    return [found.attrib["d"] for found in tree(html).iter("path") if name in found.attrib["class"].split()]


def test_places_are_shares_of_the_frame() -> None:
    assert (FRAME.left(0.0), FRAME.left(50.0), FRAME.left(200.0)) == (0.0, 25.0, 100.0)
    assert (FRAME.top(1.0), FRAME.top(0.0), FRAME.top(-1.0)) == (0.0, 50.0, 100.0)


def test_lines_bands_and_marks_stand_where_they_belong() -> None:
    html = plot(
        FRAME,
        title="x < y & z",
        lines=[Line("live", [(0, 1.0), (200, -1.0)]), Line("start", [(0, 0.0), (100, 1.0)], is_stepped=True)],
        bands=[Band("live", [(0, -1.0, 1.0), (200, -0.5, 0.5)])],
        marks=[Mark("good", 100, 0.0, "it's <b>"), Mark("turn", 50, None, "turn")],
        has_zero=True,
    )
    assert paths(html, "line") == ["M0 0L100 100", "M0 50L50 50L50 0"]
    assert paths(html, "band") == ["M0 0L100 25L100 75L0 100Z"]
    assert paths(html, "dot") == ["M50 50h0"]
    assert paths(html, "rule") == ["M25 0V100"]
    assert paths(html, "zero") == ["M0 50H100"]
    titles = [found.text for found in tree(html).iter("title")]
    assert {"x < y & z", "it's <b>", "turn"} <= set(titles)


@pytest.mark.parametrize(("low", "high"), [(0.0, 8000.0), (-0.013, 0.09), (0.2301, 0.2302), (0.0, 0.0), (-5.0, 5e6)])
def test_ticks_are_round_few_and_inside(low: float, high: float) -> None:
    found = ticks_between(low, high)
    assert 2 <= len(found) <= 6
    assert found == sorted(found)
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)
    assert not re.search(r"-0\b", " ".join(f"{tick:g}" for tick in found if tick == 0.0))


def test_bars_go_up_and_down_from_the_middle() -> None:
    drawn = list(tree(bars([1.0, -0.5], ["version 1", "version <2>"], 1.0, title="t")).iter("rect"))
    assert [(rect.attrib["class"], float(rect.attrib["y"]), float(rect.attrib["height"])) for rect in drawn] == [
        ("up", 0.0, 50.0),
        ("down", 50.0, 25.0),
    ]
    assert drawn[1][0].text == "version <2>: -0.500"
