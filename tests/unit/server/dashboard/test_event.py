import pytest

import dwell
from dwell.loop.why import RankedDocument
from dwell.server.dashboard.event import leans_of, place_of, reasons_of, shown_of


def test_the_strongest_reasons_come_first_and_what_hardly_counts_is_left_out() -> None:
    found = reasons_of({"a": 0.2, "b": -1.0, "c": 0.04, "d": 0.9, "e": 0.3, "f": 0.4, "g": -0.049})
    assert found.held_up == [("d", 0.9), ("f", 0.4), ("e", 0.3)]
    assert found.held_down == [("b", -1.0)]


def test_bars_lean_from_the_middle_as_far_as_their_numbers_say() -> None:
    up, down, none = leans_of({"up": 1.0, "down": -0.5, "none": 0.0}, 2.0)
    assert (up.start, up.width) == (50.0, 25.0)
    assert (down.start, down.width) == (37.5, 12.5)
    assert (none.start, none.width) == (50.0, 0.0)
    assert leans_of({"far": -7.0}, 2.0)[0][2:] == (0.0, 50.0)  # cut at the end of the axis


def test_without_a_span_the_longest_bar_fills_its_half() -> None:
    assert [bar.width for bar in leans_of({"a": -4.0, "b": 1.0})] == [50.0, 12.5]
    assert [bar.width for bar in leans_of({"a": 0.0})] == [0.0]


@pytest.mark.parametrize(
    ("place", "live", "move"), [(5, 2, 3), (2, 5, -3), (1, 1, 0), (None, 3, None), (3, None, None)]
)
def test_a_move_is_upwards_where_the_place_falls(place: int | None, live: int | None, move: int | None) -> None:
    ranked = RankedDocument("d", place, 1, live, 0.5, {}, {"x": 1.0})
    assert place_of(ranked, {}, 1.0).move == move
    assert [bar.name for bar in place_of(ranked, {}, 1.0).bars] == ["x"]  # no params served it: the live ones tell


def test_of_many_features_the_strongest_are_drawn_in_their_order() -> None:
    parts = {f"f{i}": 0.001 * ((7 * i) % 1_000) for i in range(1_000)}  # each of 0, 0.001, ... 0.999 once
    told = place_of(RankedDocument("d", 1, 1, 1, 0.5, parts, {}), {}, 1.0)
    assert [bar.name for bar in told.bars] == [name for name, value in parts.items() if value > 0.9595]
    assert (len(told.bars), told.n_features) == (40, 1_000)


def test_of_a_long_list_the_first_hundred_places_are_told() -> None:
    with dwell.open(":memory:", features=["x"], weights={"x": 1.0}, pepper=b"p" * 32) as loop:
        loop.rank("q", [{"id": f"d{i}", "x": 1.0} for i in range(250)], k=200, event_id="e", now=1.0)
        assert loop.feedback("e", "click", doc="d0", now=2.0).status == "joined"
        told = shown_of(loop.inspect("e"))
    assert [place.ranked.place for place in told["places"]] == list(range(1, 101))
    assert told["n_served"] == 200
    assert len(told["credited"]) <= 100
