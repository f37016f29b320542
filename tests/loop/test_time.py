"""Time: `now` is taken as given, nothing happens between calls, and windows are measured from the served time."""

from collections.abc import Callable
from typing import Any

import pytest

import dwell

Open = Callable[..., dwell.Loop]


def serve(loop: dwell.Loop, world: Any, now: float, name: str = "e") -> dwell.Served:
    return loop.rank("q", world.candidates(), k=3, event_id=name, now=now)


def counts(loop: dwell.Loop) -> dict[str, int]:
    loop.health()
    with loop._state.store.snapshot() as reader:
        return reader.counts()


def signal_at(loop: dwell.Loop) -> list[float]:
    with loop._state.store.snapshot() as reader:
        return [signal.at for signals in reader.signals(reader.seqs()).values() for signal in signals]


@pytest.mark.parametrize("now", [0, 0.0, 1e-6, 1.5, 4e9, 1e11])
def test_now_may_be_any_finite_value_from_0(opened: Open, world: Any, anywhere: str, now: float) -> None:
    loop = opened(anywhere)
    served = serve(loop, world, now)
    assert served.fallback is None
    assert loop.feedback("e", "click", doc=served.ids[0], now=now).status == "joined"
    assert loop.close_events(now=now) == 0
    assert next(loop.experiences()).timestamp == now


@pytest.mark.parametrize("now", [-1.0, float("nan"), float("inf"), 1.7e12, True, "2024-01-01"])
def test_other_values_are_refused(opened: Open, world: Any, now: Any) -> None:
    loop = opened()
    assert serve(loop, world, now).fallback == "timestamp"
    assert loop.feedback("e", "click", doc="d0", now=now).status == "rejected"
    for call in (loop.close_events, loop.train, loop.health):
        with pytest.raises(dwell.RecordError) as error:
            call(now=now)
        assert error.value.code == "timestamp"
    with pytest.raises(dwell.RecordError):
        loop.log_retrieval("q", [{"id": "a"}], now=now)


def test_now_may_go_backwards(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere)
    for i, now in enumerate((2_000.0, 500.0, 1_000.0)):
        served = serve(loop, world, now, f"e{i}")
        assert loop.feedback(served.event_id, "click", doc=served.ids[0], now=now).status == "joined"
    assert loop.close_events(now=600.0) == 1
    assert loop.close_events(now=550.0) == 0
    assert loop.close_events(now=2_100.0) == 2
    assert [row.event_id for row in loop._state.replayed.rows.in_close_order()] == ["e1", "e2", "e0"]
    assert loop.train(now=100.0).n_closed == 0


def test_nothing_closes_except_in_a_call(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, retention_s=1.0, attribution_window_s=0.001)
    serve(loop, world, 0.0, "e0")
    serve(loop, world, 1e9, "e1")
    loop.feedback("e1", "click", doc="d0", now=1e9)
    assert loop.health(now=2e9).figures["n_open"] == 2
    assert counts(loop) == {**counts(loop), "open": 2}
    assert loop.close_events(now=2e9) == 2


def test_a_window_is_measured_from_the_events_own_served_time(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, attribution_window_s=10.0)
    serve(loop, world, 1_000.0, "e0")
    serve(loop, world, 1_005.0, "e1")
    assert loop.close_events(now=1_009.999999) == 0
    assert loop.close_events(now=1_010.0) == 1  # the end belongs to what is over
    assert loop.close_events(now=1_014.999999) == 0
    assert loop.close_events(now=1_015.0) == 1
    with loop._state.store.snapshot() as reader:
        # closed when the window ended, not when somebody looked: lateness is measured from there
        assert [o.closed_at for o in reader.outcomes(reader.seqs())] == [1_010.0, 1_015.0]


def test_lateness_is_measured_from_the_end_of_the_window(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, attribution_window_s=10.0, late_window_s=100.0)
    served = serve(loop, world, 1_000.0)
    loop.close_events(now=5_000.0)
    assert loop.feedback("e", "click", doc=served.ids[0], now=1_110.0).status == "late"
    answer = loop.feedback("e", "copy", doc=served.ids[0], now=1_110.000001)
    assert (answer.status, str(answer.reason).split(":")[0]) == ("rejected", "too_late")


def test_at_before_the_served_time_is_stored_counted_as_skewed_and_credited_at_the_served_time(
    opened: Open, world: Any, anywhere: str
) -> None:
    loop = opened(anywhere)
    served = serve(loop, world, 1_000.0)
    assert loop.feedback("e", "click", doc=served.ids[0], at=400.0, now=1_001.0).status == "joined"
    assert signal_at(loop) == [1_000.0]
    assert loop.health(now=1_001.0).figures["feedback_skewed"] == 1


def test_at_in_the_future_is_clamped_and_counted(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere)
    served = serve(loop, world, 1_000.0)
    assert loop.feedback("e", "click", doc=served.ids[0], at=9_000.0, now=1_003.0).status == "joined"
    assert signal_at(loop) == [1_003.0]
    assert loop.health(now=1_003.0).figures["feedback_future"] == 1


def test_the_wall_clock_of_the_call_is_the_default(opened: Open, world: Any) -> None:
    import time

    loop = opened()
    before = time.time()
    served = loop.rank("q", world.candidates())
    loop.feedback(served.event_id, "click", doc=served.ids[0])
    after = time.time()
    found = next(loop.experiences())
    # whole microseconds are kept
    assert before - 1e-6 <= found.timestamp <= after + 1e-6
    assert before - 1e-6 <= signal_at(loop)[0] <= after + 1e-6
