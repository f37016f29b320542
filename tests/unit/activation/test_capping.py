"""The rule on the set of events."""

import itertools

import pytest

from dwell.activation import CapKey, counted
from dwell.errors import RecordError

EVENTS = [
    CapKey("a", "s", 30, "e3"),
    CapKey("a", "s", 10, "e9"),
    CapKey("a", "s", 10, "e2"),
    CapKey("b", "s", 90, "e3"),
    CapKey("a", "t", 99, "e8"),
    CapKey("a", None, 5, "e5"),
    CapKey("a", None, 6, "e6"),
]


def test_the_first_by_served_time_and_id_count_whatever_the_order() -> None:
    expected = {("e2", "a"), ("e9", "a"), ("e3", "b"), ("e8", "a"), ("e5", "a"), ("e6", "a")}
    for order in itertools.permutations(EVENTS, len(EVENTS)):
        assert counted(order, cap=2) == expected


def test_repeats_of_an_event_are_one() -> None:
    assert counted([EVENTS[1], EVENTS[1], EVENTS[0]], cap=2) == {("e9", "a"), ("e3", "a")}


def test_retraction_restores_the_next() -> None:
    assert ("e3", "a") not in counted(EVENTS, cap=2)
    assert ("e3", "a") in counted([e for e in EVENTS if e.event_id != "e2"], cap=2)


def test_no_events_count_where_there_are_none() -> None:
    assert counted([]) == set()


@pytest.mark.parametrize("cap", [0, -1, 1.5, True])
def test_a_cap_is_a_whole_number(cap: int) -> None:
    with pytest.raises(RecordError):
        counted(EVENTS, cap)
