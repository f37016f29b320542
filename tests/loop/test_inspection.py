"""One event, whole: why each document stood where it did, what it earned for what, and what became of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.errors import UnknownEventError

Open = Callable[..., dwell.Loop]


def test_parts_say_the_order_and_add_up_to_how_far_a_score_lies_above_the_mean(opened: Open, world: Any) -> None:
    loop = opened(weights={"good": 2.0, "bad": 0.0, "noise": -1.0})
    served = world.visit(loop)
    assert loop.when_recorded(served.event_id).result()
    found = loop.inspect(served.event_id)
    assert found.served_by is not None
    assert found.served_by.weights == {"good": 2.0, "bad": 0.0, "noise": -1.0}
    assert [doc.doc for doc in found.documents[:5]] == served.ids
    assert [doc.place for doc in found.documents] == [1, 2, 3, 4, 5, None, None, None]
    told = [*found.story["served"], *found.story["unserved"]]
    scores = np.array([2.0 * doc["features"]["good"] - doc["features"]["noise"] for doc in told])
    lifted = np.array([sum(doc.parts.values()) for doc in found.documents])
    assert lifted == pytest.approx((scores - scores.mean()) / scores.std(), abs=1e-5)
    # the live params are the same ones, and draw nothing here: places by falling score
    assert [doc.live_place for doc in found.documents] == (np.argsort(np.argsort(-scores)) + 1).tolist()
    # the world names its documents in the caller's order
    assert [doc.callers_place for doc in found.documents] == [int(doc.doc[1:]) + 1 for doc in found.documents]


def test_what_it_earned_is_told_by_signal_and_what_is_open_may_change(opened: Open, world: Any) -> None:
    loop = opened()
    served = world.visit(loop)
    loop.feedback(served.event_id, "thumbs_up", doc=served.ids[4], now=world.now)
    open_yet = loop.inspect(served.event_id)
    assert open_yet.story["state"] == "open"
    assert open_yet.fate is not None
    assert open_yet.fate.obstacle == "its attribution window is not over yet"
    assert open_yet.rewards is not None
    weight = loop.rewards.signals["thumbs_up"].weight
    assert open_yet.rewards.documents[4].by_signal["thumbs_up"] == weight
    world.now += world.window_s
    loop.close_events(now=world.now)
    closed = loop.inspect(served.event_id)
    assert closed.rewards is not None
    assert closed.rewards.reward == pytest.approx(closed.story["reward"])
    assert closed.fate is not None
    assert closed.fate.obstacle == ""


def test_versions_had_an_event_before_them_or_were_judged_by_it_never_both(opened: Open, world: Any) -> None:
    loop = opened()
    world.visits(loop, 250)
    report = loop.train(now=world.now)
    version = report.proposed.version
    assert report.n_steps > 0
    world.visits(loop, 60)
    loop.train(now=world.now)
    held_out = {row.event_id for row in loop._state.replayed.held_out()}
    early = [loop.inspect(f"event-{i:05d}") for i in range(40)]
    late = [loop.inspect(f"event-{i:05d}") for i in range(255, 295)]
    for found in [*early, *late]:
        assert found.fate is not None
        assert found.fate.is_held_out == (found.story["event_id"] in held_out)
        assert not set(found.fate.learned_by) & set(found.fate.judged)
    assert any(not found.fate.is_held_out for found in early if found.fate)
    assert {version in f.fate.learned_by for f in early if f.fate and not f.fate.is_held_out} == {True}
    assert {f.fate.learned_by for f in early if f.fate and f.fate.is_held_out} == {()}
    assert {version in f.fate.judged for f in late if f.fate} == {True}
    assert {version in f.fate.learned_by for f in late if f.fate} == {False}
    assert all(f.fate is not None and set(f.fate.pull or {}) >= {"good", "bad", "noise"} for f in late)


def test_an_order_that_somebody_else_made_is_told_by_the_live_params(opened: Open, world: Any) -> None:
    loop = opened(weights={"good": 1.0, "bad": 0.0, "noise": 0.0})
    loop.log_retrieval("q", world.candidates(), user="u", event_id="logged", now=world.now)
    assert loop.when_recorded("logged").result()
    found = loop.inspect("logged")
    assert found.served_by is None
    assert found.live is not None
    assert found.documents[0].parts == {}
    assert set(found.documents[0].live_parts) == {"good", "bad", "noise"}
    loop.log_retrieval("q", [{"id": "a"}, {"id": "b"}], user="u", event_id="bare", now=world.now)
    assert loop.when_recorded("bare").result()
    bare = loop.inspect("bare")
    assert (bare.served_by, bare.live) == (None, None)
    assert bare.fate is not None
    assert bare.fate.obstacle.startswith("it was logged without features")


def test_what_was_never_recorded_is_told_as_far_as_it_is_known(opened: Open, world: Any) -> None:
    loop = opened()
    broken = [{**candidate, "good": float("nan")} for candidate in world.candidates()]
    loop.rank("q", broken, user="u", event_id="broken", now=world.now)
    loop.feedback("nobody-served-it", "click", doc="d1", now=world.now)
    loop.close_events(now=world.now)
    assert loop.inspect("broken").story["state"] == "quarantined"
    assert loop.inspect("broken").fate is None
    assert loop.inspect("nobody-served-it").story["state"] == "orphan"
    with pytest.raises(UnknownEventError):
        loop.inspect("unknown")
