import math

import pytest

from dwell.errors import RecordError
from dwell.testing.clock import START_AT, ManualClock


def test_it_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(100.0)
    assert [clock(), clock()] == [100.0, 100.0]
    assert clock.advance(5.5) == 105.5
    assert clock() == 105.5
    assert clock.advance(-10.0) == 95.5
    assert clock.move_to(7.0) == clock() == 7.0


def test_it_starts_at_a_plausible_instant() -> None:
    assert ManualClock()() == START_AT == 1_700_000_000.0


@pytest.mark.parametrize("start_at", [-1.0, math.nan, 1.7e12, True, "0"])
def test_it_does_not_start_at_what_is_no_instant(start_at: object) -> None:
    with pytest.raises(RecordError) as caught:
        ManualClock(start_at)
    assert caught.value.code == "timestamp"


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -101.0, 1e12, True])
def test_a_refused_move_leaves_it_where_it_was(seconds: float) -> None:
    clock = ManualClock(100.0)
    with pytest.raises(RecordError):
        clock.advance(seconds)
    assert clock() == 100.0
    with pytest.raises(RecordError):
        clock.move_to(-1.0)
    assert clock() == 100.0
