"""The life of an event's reward, through the public API."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dwell

Open = Callable[..., dwell.Loop]

WINDOW_S = 100.0
LATE_S = 604_800.0


def served_event(loop: dwell.Loop, name: str = "e", *, now: float = 1_000.0) -> list[str]:
    candidates = [{"id": d, "good": 1.0, "bad": 0.0, "noise": 0.0} for d in "abc"]
    return loop.rank("q", candidates, k=3, event_id=name, now=now).ids


def the_event(loop: dwell.Loop) -> dwell.Experience:
    return next(loop.experiences())


def test_open_closed_reopened(opened: Open, anywhere: str) -> None:
    loop = opened(anywhere, holdout=0.0)
    top = served_event(loop)[0]
    assert loop.feedback("e", "click", doc=top, now=1_010.0).status == "joined"
    assert (the_event(loop).state, the_event(loop).version) == ("open", 0)
    assert loop.close_events(now=1_000.0 + WINDOW_S) == 1
    closed = the_event(loop)
    assert (closed.state, closed.version, closed.reward) == ("closed", 1, 0.5)  # click: half of a full success
    # the seed's priority, |surprise| + .1 |reward| + .01, while nothing is expected
    assert closed.priority == pytest.approx(0.5 + 0.05 + 0.01)
    assert loop.feedback("e", "purchase", doc=top, now=2_000.0).status == "late"
    reopened = the_event(loop)
    assert (reopened.state, reopened.version, reopened.reward) == ("reopened", 2, 1.0)  # .5 + 1, clipped
    assert reopened.priority == pytest.approx(1.0 + 0.1 + 0.01)
    loop.close_events(now=2_000.0)
    (row,) = loop._state.replayed.rows.in_close_order()
    assert (row.rewards[0], row.version) == (1.0, 2)
    assert loop.feedback("e", "thumbs", doc=top, value=-1.0, now=2_001.0).status == "late"
    assert the_event(loop).reward == pytest.approx(0.5 + 1.0 - 0.8)
    assert (the_event(loop).state, the_event(loop).version) == ("reopened", 3)


def test_too_late(opened: Open, anywhere: str) -> None:
    loop = opened(anywhere)
    top = served_event(loop)[0]
    loop.close_events(now=1_000.0 + WINDOW_S)
    last = 1_000.0 + WINDOW_S + LATE_S
    assert loop.feedback("e", "click", doc=top, now=last).status == "late"
    answer = loop.feedback("e", "copy", doc=top, now=last + 1e-3)
    assert (answer.status, str(answer.reason).split(":")[0]) == ("rejected", "too_late")
    assert the_event(loop).reward == 0.5


def test_an_orphan_waits_for_its_event_for_a_day(opened: Open, anywhere: str) -> None:
    loop = opened(anywhere, temperature=0.0)
    assert loop.feedback("e", "click", doc="a", now=999.0).status == "orphan"
    assert loop.feedback("e", "click", doc="a", now=999.0).status == "duplicate"
    served_event(loop)
    assert the_event(loop).feedback_signals == {"click": 1.0}
    # received 24 h and a second before its event is served: nobody's any more
    loop.feedback("late", "click", doc="a", now=9_999.0)
    loop.feedback("just", "click", doc="a", now=10_000.0)
    served_event(loop, "late", now=10_000.0 + 86_400.0)
    served_event(loop, "just", now=10_000.0 + 86_400.0)
    found = {e.event_id: e.feedback_signals for e in loop.experiences()}
    assert (found["late"], found["just"]) == ({}, {"click": 1.0})


def test_parked_signals_are_dropped_after_a_day(opened: Open) -> None:
    loop = opened()
    loop.feedback("e", "click", doc="a", now=1_000.0)
    with loop._state.store.snapshot() as reader:
        assert reader.counts()["orphans"] == 1
    loop.close_events(now=1_000.0 + 86_401.0)
    with loop._state.store.snapshot() as reader:
        assert reader.counts()["orphans"] == 0


def test_a_signal_counts_once(opened: Open, anywhere: str) -> None:
    loop = opened(anywhere)
    top = served_event(loop)[0]
    for expected in ("joined", "duplicate", "duplicate"):
        assert loop.feedback("e", "dwell", doc=top, value=15.0, at=1_005.0, now=1_006.0).status == expected
    assert loop.feedback("e", "dwell", doc=top, value=15.0, at=1_020.0, now=1_021.0).status == "joined"
    loop.close_events(now=2_000.0)
    # 30 s of 60 s that earn full credit, of a weight of .3
    assert the_event(loop).reward == pytest.approx(0.3 * 30.0 / 60.0)
    assert loop.feedback("e", "dwell", doc=top, value=15.0, at=1_020.0, now=2_000.0).status == "duplicate"
    assert the_event(loop).version == 1


@pytest.mark.parametrize("default_reward", [0.0, -0.3])
def test_default_reward_explicit_zero_and_no_feedback(opened: Open, anywhere: str, default_reward: float) -> None:
    rewards = dwell_rewards(default_reward)
    loop = opened(anywhere, rewards=rewards)
    for name in ("silent", "zero", "clicked"):
        served_event(loop, name)
    loop.feedback("zero", "reward", value=0.0, now=1_001.0)
    loop.feedback("clicked", "click", doc="a", now=1_001.0)
    # while the window is open silence means nothing yet
    assert {e.event_id: e.reward for e in loop.experiences()} == {"silent": 0.0, "zero": 0.0, "clicked": 0.5}
    loop.close_events(now=2_000.0)
    found = {e.event_id: e for e in loop.experiences()}
    assert {name: e.reward for name, e in found.items()} == {"silent": default_reward, "zero": 0.0, "clicked": 0.5}
    # silence is shared among what was looked at: 1, 1/2 and 1/3 of their sum
    shares = np.array([1.0, 1 / 2, 1 / 3]) / (11 / 6)
    np.testing.assert_allclose(list(found["silent"].document_rewards.values()), default_reward * shares, rtol=1e-6)
    assert set(found["zero"].document_rewards.values()) == {0.0}
    assert found["zero"].feedback_signals == {"reward": 0.0}
    assert found["silent"].feedback_signals == {}


def dwell_rewards(default_reward: float) -> Any:
    from dwell.reward import custom

    return custom({"click": 0.5, "reward": 1.0}, default_reward=default_reward)


def test_credit_goes_to_the_document_that_was_clicked(opened: Open, anywhere: str) -> None:
    loop = opened(anywhere)
    ids = served_event(loop)
    loop.feedback("e", "click", doc=ids[2], now=1_001.0)
    loop.feedback("e", "abandoned", now=1_002.0)
    loop.close_events(now=2_000.0)
    found = the_event(loop)
    # the blame of the list goes to what was not praised, in proportion to examination 1 and 1/2
    expected = {ids[0]: -0.4 * 2 / 3, ids[1]: -0.4 / 3, ids[2]: 0.5}
    assert found.document_rewards == pytest.approx(expected, rel=1e-6)
    assert found.reward == pytest.approx(0.1)
    assert found.document_signals == {ids[2]: {"click": 1.0}}


def test_a_reward_says_which_function_made_it(opened: Open) -> None:
    loop = opened("a.dwell", rewards={"click": 0.25})
    top = served_event(loop)[0]
    loop.feedback("e", "click", doc=top, now=1_001.0)
    loop.close_events(now=2_000.0)
    made_by = the_event(loop).reward_version
    loop.close()
    again = opened("a.dwell", rewards={"click": 0.75})
    assert (the_event(again).reward, the_event(again).reward_version) == (0.25, made_by)
    # a late signal computes it anew, by the function that is in force then
    assert again.feedback("e", "click", doc=top, at=1_500.0, now=2_001.0).status == "late"
    assert (the_event(again).reward, the_event(again).reward_version == made_by) == (0.75, False)


def test_a_retry_with_a_future_instant_counts_once(opened: Open, anywhere: str) -> None:
    loop = opened(anywhere)
    top = served_event(loop)[0]
    how: dict[str, Any] = {"doc": top, "value": 15.0, "at": 9_000.0}
    # the same reaction, delivered three times: the sender's clock is ahead, the receiver's goes on
    found = [loop.feedback("e", "dwell", **how, now=now).status for now in (1_003.0, 1_005.0, 1_050.0)]
    assert found == ["joined", "duplicate", "duplicate"]
    loop.close_events(now=2_000.0)
    # 15 s of 60 s that earn full credit, of a weight of .3
    assert the_event(loop).reward == pytest.approx(0.3 * 15.0 / 60.0)
    with loop._state.store.snapshot() as reader:
        ((signal,),) = reader.signals(reader.seqs()).values()
    assert (signal.at, signal.received_at) == (1_003.0, 1_003.0)


def test_a_retry_of_a_parked_signal_with_a_future_instant_counts_once(opened: Open, anywhere: str) -> None:
    loop = opened(anywhere)
    how: dict[str, Any] = {"doc": "a", "value": 15.0, "at": 9_000.0}
    assert loop.feedback("e", "dwell", **how, now=1_003.0).status == "orphan"
    assert loop.feedback("e", "dwell", **how, now=1_004.0).status == "duplicate"
    served_event(loop)
    assert loop.feedback("e", "dwell", **how, now=1_005.0).status == "duplicate"
    assert the_event(loop).feedback_signals == {"dwell": 15.0}


def test_an_event_keeps_a_thousand_signals_and_is_reopened_once(opened: Open, anywhere: str) -> None:
    loop = opened(anywhere, holdout=0.0)
    top = served_event(loop)[0]
    loop.close_events(now=2_000.0)
    items = [{"event_id": "e", "signal": "dwell", "doc": top, "value": 0.01, "at": 1_000.0 + i} for i in range(1_001)]
    answers = loop.feedback_many(items, now=3_000.0)
    assert [a.status for a in answers] == ["late"] * 1_000 + ["rejected"]
    assert str(answers[-1].reason).startswith("too_many")
    # what is there already is still known
    assert loop.feedback_many(items[:1], now=3_000.0)[0].status == "duplicate"
    found = the_event(loop)
    # one version for the close and one for all that came together; 1,000 times .01 s of 60 s, of a weight of .3
    assert (found.version, found.state) == (2, "reopened")
    assert found.reward == pytest.approx(0.3 * 10.0 / 60.0)
