"""Eviction depends on age, segment or bytes, never on reward; the facts stay until they are too old or too many."""

from collections.abc import Callable
from typing import Any

import numpy as np

import dwell
from dwell.loop.rows import query_digest

Open = Callable[..., dwell.Loop]
MONTH_S = 2_592_000.0


def states(loop: dwell.Loop) -> dict[str, str]:
    return {e.event_id: e.state for e in loop.experiences()}


def serve(loop: dwell.Loop, world: Any, n: int, *, clicked: Callable[[int], bool], query: str = "q") -> None:
    for i in range(n):
        name = f"e{world.n:03d}"
        served = loop.rank(query, world.candidates(), k=3, event_id=name, user=f"u{i}", segment="s", now=world.now)
        if clicked(world.n):
            assert loop.feedback(name, "click", doc=served.ids[0], now=world.now).status == "joined"
        world.n += 1
        world.now += 1.0


def test_the_oldest_leave_when_capacity_is_reached_and_their_facts_stay(
    opened: Open, world: Any, anywhere: str
) -> None:
    loop = opened(anywhere, capacity=10, holdout=0.0)
    serve(loop, world, 15, clicked=lambda i: i % 2 == 0)
    assert loop.close_events(now=world.now + world.window_s) == 15
    expected = {f"e{i:03d}": "evicted" if i < 5 else "closed" for i in range(15)}
    assert states(loop) == expected
    report = loop.health(now=world.now)
    assert (report.figures["size"], report.figures["evicted"], report.figures["n_evicted"]) == (10, 5, 5)


def test_what_leaves_does_not_depend_on_reward(opened: Open, new_world: Any) -> None:
    def evicted(clicked: Callable[[int], bool]) -> set[str]:
        loop, world = opened(capacity=12, holdout=0.25), new_world()
        serve(loop, world, 30, clicked=clicked)
        loop.close_events(now=world.now + world.window_s)
        return {name for name, state in states(loop).items() if state == "evicted"}

    nothing = evicted(lambda _: False)
    assert len(nothing) >= 30 - 12
    assert nothing == evicted(lambda _: True) == evicted(lambda i: i < 10)


def test_an_evicted_event_takes_no_more_signals(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, capacity=10, holdout=0.0)
    serve(loop, world, 11, clicked=lambda _: False)
    loop.close_events(now=world.now + world.window_s)
    shown = next(loop.experiences()).results_served[0]["id"]
    answer = loop.feedback("e000", "click", doc=shown, now=world.now + world.window_s)
    assert (answer.status, str(answer.reason).split(":")[0]) == ("rejected", "evicted")


def test_statistics_of_evicted_events_are_kept_for_five_users_or_more(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, capacity=10, holdout=0.0)
    started_at = world.now
    serve(loop, world, 6, clicked=lambda i: i < 2, query="Asked  Often")
    serve(loop, world, 4, clicked=lambda _: False, query="asked rarely")
    loop.close_events(now=world.now + world.window_s)
    before = {e.event_id: e for e in loop.experiences()}
    serve(loop, world, 10, clicked=lambda _: False, query="later")
    loop.close_events(now=world.now + world.window_s)
    assert sum(state == "evicted" for state in states(loop).values()) == 10
    with loop._state.store.snapshot() as reader:
        kept = reader.statistics(query_digest("asked often"), "s")
        rarely = reader.statistics(query_digest("asked rarely"), "s")
    # e000 to e005 were served one second apart: each counts 2^(-age / 30 days) at the time of the last
    decay = 2.0 ** (-np.arange(5, -1, -1.0) / MONTH_S)
    assert len(kept) == 8
    assert {p.at for p in kept} == {started_at + 5.0}
    np.testing.assert_allclose([p.n for p in kept], decay.sum(), rtol=1e-9)
    for doc in {p.doc for p in kept}:
        credit = sum(d * before[f"e{i:03d}"].document_rewards.get(doc, 0.0) for i, d in enumerate(decay.tolist()))
        np.testing.assert_allclose(next(p.credit for p in kept if p.doc == doc), credit, rtol=1e-6, atol=1e-9)
    # three positions were looked at with 1, 1/2 and 1/3, whoever stood there
    np.testing.assert_allclose(sum(p.exposure for p in kept), (11.0 / 6.0) * decay.sum(), rtol=1e-6)
    assert rarely == []  # four users: too few to be shown


def test_facts_stay_until_retention(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, retention_s=1_000.0)
    serve(loop, world, 4, clicked=lambda _: True)
    loop.close_events(now=world.now + 990.0)
    assert len(states(loop)) == 4
    # e000 was served 4 s before `now`, e003 one second before: after 998.5 s more the first three are past 1,000 s
    loop.close_events(now=world.now + 998.5)
    assert list(states(loop)) == ["e003"]
    assert [row.event_id for row in loop._state.replayed.rows.in_close_order()] == ["e003"]
    assert loop.health(now=world.now).figures["removed"] == 3


def test_retention_by_age_is_off_by_default(opened: Open, world: Any) -> None:
    loop = opened()
    serve(loop, world, 2, clicked=lambda _: True)
    loop.close_events(now=world.now + 1e9)
    assert len(states(loop)) == 2


def test_evicted_facts_go_when_the_store_is_too_large(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, capacity=10, holdout=0.0, max_store_bytes=1)
    serve(loop, world, 14, clicked=lambda _: True)
    loop.close_events(now=world.now + world.window_s)
    assert states(loop) == {
        f"e{i:03d}": "closed" for i in range(4, 14)
    }  # what is learned from stays, whatever its size
    assert loop.health(now=world.now).figures["removed"] == 4
    assert loop.params.version == 0
    assert len(loop.history()) == 1  # params and ledger stay for ever


def test_a_smaller_capacity_evicts_at_the_next_look(opened: Open, world: Any) -> None:
    loop = opened("a.dwell", capacity=20, holdout=0.0)
    serve(loop, world, 15, clicked=lambda _: False)
    loop.close_events(now=world.now + world.window_s)
    loop.close()
    smaller = opened("a.dwell", capacity=10, holdout=0.0)
    smaller.close_events(now=world.now + world.window_s)
    assert states(smaller) == {f"e{i:03d}": "evicted" if i < 5 else "closed" for i in range(15)}


def test_a_replaced_reward_evicts_nobody(opened: Open, world: Any) -> None:
    loop = opened(capacity=10, holdout=0.0)
    serve(loop, world, 10, clicked=lambda _: False)
    now = world.now + world.window_s
    loop.close_events(now=now)
    shown = next(loop.experiences()).results_served[0]["id"]
    assert loop.feedback("e000", "click", doc=shown, now=now).status == "late"
    loop.close_events(now=now)
    assert states(loop) == {f"e{i:03d}": "reopened" if i == 0 else "closed" for i in range(10)}
