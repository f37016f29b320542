import json
import math

import pytest

from dwell.server.dashboard.charts import Chart, Line, Mark, whisker


def test_an_interval_lies_where_its_numbers_say() -> None:
    found = whisker(1.0, -1.0, 2.0, 4.0)
    assert (found.low, found.value, found.high, found.zero) == (37.5, 62.5, 75.0, 50.0)  # 50 + 50 x / 4
    assert not found.is_cut_low
    assert not found.is_cut_high


@pytest.mark.parametrize("span", [0.0, -1.0, math.nan, math.inf])
def test_an_axis_of_no_width_is_one_of_width_one(span: float) -> None:
    assert whisker(0.5, -0.5, 1.0, span) == whisker(0.5, -0.5, 1.0, 1.0)


def test_what_reaches_beyond_the_axis_is_cut_and_says_so() -> None:
    found = whisker(0.0, -math.inf, 9.0, 3.0)
    assert (found.low, found.high, found.is_cut_low, found.is_cut_high) == (0.0, 100.0, True, True)


def test_a_chart_travels_without_what_json_has_not() -> None:
    chart = Chart("t", "s", [1.0, 2.0, 3.0], [Line("a", [1.0, math.nan, None])], marks=[Mark(2.0, "promote", "v1")])
    told = json.loads(chart.json)
    assert told["x"] == [1.0, 2.0, 3.0]
    assert told["lines"] == [{"name": "a", "values": [1.0, None, None], "is_stepped": False}]
    assert told["marks"] == [{"x": 2.0, "kind": "promote", "name": "v1"}]
    assert chart.is_drawn


def test_one_point_or_none_is_not_drawn() -> None:
    assert not Chart("t", "s", [1.0], [Line("a", [1.0])]).is_drawn
    assert not Chart("t", "s", [1.0, 2.0], [Line("a", [None, None])]).is_drawn
    assert not Chart("t", "s", [], []).is_drawn


@pytest.mark.parametrize("n", [1, 59, 60, 61, 1_000])
def test_the_table_of_a_chart_has_at_most_sixty_rows_and_begins_with_the_first_point(n: int) -> None:
    rows = Chart("t", "s", list(map(float, range(n))), [Line("a", list(map(float, range(n))))]).rows
    assert len(rows) <= 60
    assert len(rows) >= min(n, 30)
    assert rows[0] == (0.0, [0.0])
    assert all(x == values[0] for x, values in rows)
