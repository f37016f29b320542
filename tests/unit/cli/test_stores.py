import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwell.cli.stores import room_for


@given(st.integers(0, 10_000_000), st.floats(0.0, 0.9))
def test_nothing_is_evicted_however_the_hold_out_splits(n: int, holdout: float) -> None:
    """All n events may fall on either side: round(capacity * holdout) have room on one, the rest on the other."""
    capacity = room_for(n, holdout)
    if capacity == 100_000_000:
        return  # the most that a loop takes
    held = round(capacity * holdout)
    assert capacity - held >= n
    assert held >= n or holdout == 0.0


@pytest.mark.parametrize("n", [0, 1, 70_000])
def test_a_small_store_gets_the_usual_room(n: int) -> None:
    assert room_for(n, 0.0) == 100_000
