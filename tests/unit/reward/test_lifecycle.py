import itertools
from typing import get_args

import pytest

from dwell.errors import RecordError
from dwell.records.experience import ExperienceState
from dwell.reward.lifecycle import (
    LATE_WINDOW_S,
    CreditedAt,
    StateChange,
    credited_at,
    is_due,
    join_status,
    next_state,
    window_end,
)

HALF_HOUR_S = 1800.0


def test_a_window_is_measured_from_the_served_time_and_its_end_is_over() -> None:
    assert window_end(1000.0, HALF_HOUR_S) == 2800.0
    assert not is_due(1000.0, HALF_HOUR_S, 2799.999)
    assert is_due(1000.0, HALF_HOUR_S, 2800.0)
    assert is_due(1000.0, 0.0, 1000.0)


@pytest.mark.parametrize(
    ("at", "served_at", "now", "due"),
    [
        (150.0, 100.0, 200.0, CreditedAt(150.0, is_skewed=False, is_future=False)),
        (100.0, 100.0, 200.0, CreditedAt(100.0, is_skewed=False, is_future=False)),
        (200.0, 100.0, 200.0, CreditedAt(200.0, is_skewed=False, is_future=False)),
        (99.0, 100.0, 200.0, CreditedAt(100.0, is_skewed=True, is_future=False)),
        (201.0, 100.0, 200.0, CreditedAt(200.0, is_skewed=False, is_future=True)),
        (95.0, 100.0, 90.0, CreditedAt(100.0, is_skewed=True, is_future=True)),  # the receiver's clock went back
    ],
)
def test_a_signal_counts_between_served_time_and_now(at: float, served_at: float, now: float, due: CreditedAt) -> None:
    assert credited_at(at, served_at, now) == due


def test_late_signals_reopen_for_seven_days_after_the_close() -> None:
    assert LATE_WINDOW_S == 7 * 24 * 3600
    closed_at = 5000.0
    for state in ("closed", "reopened"):
        assert join_status(state, closed_at, closed_at).status == "late"
        assert join_status(state, closed_at, closed_at + LATE_WINDOW_S).status == "late"
        refused = join_status(state, closed_at, closed_at + LATE_WINDOW_S + 1.0)
        assert refused.status == "rejected"
        assert refused.reason.startswith("too_late")
        assert join_status(state, closed_at, closed_at - 60.0).status == "late"  # the clock went back
        assert join_status(state, closed_at, closed_at + 11.0, late_window_s=10.0).status == "rejected"


def test_open_events_take_signals_and_evicted_ones_do_not() -> None:
    assert join_status("open", None, 1e9).status == "joined"
    waiting = join_status("not_shown", None, 10.0)
    assert (waiting.status, waiting.reason.split(":")[0]) == ("joined", "not_shown")
    gone = join_status("evicted", 10.0, 11.0)
    assert (gone.status, gone.reason.split(":")[0]) == ("rejected", "evicted")


def test_a_closed_event_without_its_close_is_refused() -> None:
    with pytest.raises(RecordError) as caught:
        join_status("closed", None, 10.0)
    assert caught.value.code == "state"


def test_the_life_of_an_event() -> None:
    assert next_state("open", "close") == "closed"
    assert next_state("closed", "late_signal") == "reopened"
    assert next_state("reopened", "late_signal") == "reopened"
    assert next_state("open", "close", is_shown=False) == "not_shown"
    assert next_state("not_shown", "activate") == "open"
    assert next_state("open", "activate") == "open"


def test_every_other_change_is_refused_by_name() -> None:
    legal = {
        ("open", "close"),
        ("open", "activate"),
        ("open", "evict"),
        ("closed", "late_signal"),
        ("closed", "evict"),
        ("reopened", "late_signal"),
        ("reopened", "evict"),
        ("not_shown", "activate"),
        ("not_shown", "evict"),
    }
    for state, change in itertools.product(get_args(ExperienceState), get_args(StateChange)):
        if (state, change) in legal:
            assert next_state(state, change) in get_args(ExperienceState)
            continue
        with pytest.raises(RecordError) as caught:
            next_state(state, change)
        assert caught.value.code == "state"
        assert caught.value.value == state
