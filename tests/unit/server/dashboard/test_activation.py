import math

from dwell.activation import Activation
from dwell.server.dashboard.activation import fading, rungs_of

DAY_US = 86_400_000_000
START_US = 1_700_000_000_000_000


def test_timescales_come_fastest_first_and_those_that_hold_nothing_are_left_out() -> None:
    memory = Activation()
    memory.access(["a"], START_US)
    explained = memory.explain("a", START_US + 30 * DAY_US)
    found = rungs_of(explained)
    assert [rung.half_life_s for rung in found] == sorted(rung.half_life_s for rung in found)
    assert math.isinf(found[-1].half_life_s)
    # of one access a month ago, nothing is left in scales of minutes
    assert found[0].half_life_s > 3_600.0
    assert len(found) < len(explained.timescales)
    assert sum(rung.reward for rung in found) > 0.99
    assert rungs_of(memory.explain("nobody", START_US)) == []


def test_what_becomes_of_an_item_is_drawn_with_the_threshold_where_there_is_one() -> None:
    chart = fading([1.0, 2.0, 3.0], [-2.0, -2.1, -2.2], [-1.0, -3.0, -4.0], -3.5)
    assert [(line.name, list(line.values)) for line in chart.lines] == [
        ("base level", [-1.0, -3.0, -4.0]), ("activation", [-2.0, -2.1, -2.2]), ("threshold", [-3.5] * 3),
    ]  # fmt: skip
    assert "falls from -1.00 now to -4.00" in chart.says
    assert len(fading([1.0, 2.0], [0.0, 0.0], [-1.0, -2.0], None).lines) == 2


def test_what_nobody_liked_has_no_base_level_to_speak_of() -> None:
    chart = fading([1.0, 2.0], [-2.0, -2.1], [-math.inf, -math.inf], None)
    assert chart.says.startswith("Nobody ever liked it.")
    assert "inf" not in chart.json
