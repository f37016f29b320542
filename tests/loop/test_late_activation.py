"""A deferred list that is activated after its window: it judges and is replayed where it could first be taken up."""

from collections.abc import Callable
from typing import Any

import pytest

import dwell

Open = Callable[..., dwell.Loop]
MANY: dict[str, Any] = {
    "gate": {"min_events": 100_000, "min_users": 5},  # a decision is not what is looked at: the sequence is
    "learner": {"step_size": 0.05},
    "training": {"target_steps": 20, "max_seconds": 60.0},
}


def serve(loop: dwell.Loop, world: Any, *, activate: bool = True) -> str:
    candidates = world.candidates()
    event_id = f"event-{world.n:05d}"
    served = loop.rank(
        f"query {world.n % 11}", candidates, k=5, user=f"user-{world.n % 60}", event_id=event_id, activate=activate,
        now=world.now,
    )  # fmt: skip
    for doc in world.clicks(served.ids, candidates):
        loop.submit_feedback(event_id, "click", doc=doc, now=world.now + 1.0)
    world.n += 1
    world.now += 1.0
    return event_id


def order_of(loop: dwell.Loop) -> tuple[list[int], list[int]]:
    standing = loop._state.standing
    assert standing is not None
    assert standing.judgement is not None
    return list(standing.judgement.known), loop._state.replayed.buffer.seqs().tolist()


def told(decision: dwell.GateDecision) -> tuple[Any, ...]:
    return (
        decision.verdict, decision.reasons, decision.difference, decision.estimates, decision.diagnostics,
    )  # fmt: skip


@pytest.mark.parametrize("is_ring_lost", [False, True])
def test_who_opens_the_store_again_sees_what_was_seen(
    opened: Open, world: Any, tmp_path: Any, *, is_ring_lost: bool
) -> None:
    """Half of the lists are deferred; they are activated out of order, after their windows."""
    loop = opened("a.dwell", temperature=1.0, config=MANY)
    world.visits(loop, 80)
    loop.train(now=world.now)
    waiting: list[str] = []
    for look in range(4):
        waiting += [serve(loop, world, activate=False) for _ in range(20)]
        for i in range(40):
            serve(loop, world)
            if i % 5 == 0 and len(waiting) > 20:  # in the middle of others' windows, and not in their own order
                loop.activate(waiting.pop(i % 3), now=world.now)
        world.now += world.window_s + 1.0 if look % 2 else 37.0
        loop.train(now=world.now)
    first, replayed = order_of(loop)
    decision = loop.train(now=world.now).decision
    assert decision.verdict == "hold"
    assert first != sorted(first)  # some came late
    loop.close()
    if is_ring_lost:
        (tmp_path / "a.dwell.ring").unlink()
    again = opened("a.dwell", temperature=1.0, weights=None, config=MANY)
    after = again.train(now=world.now).decision
    assert order_of(again) == (first, replayed)
    assert told(after) == told(decision)
    # what still waits is neither judged, nor checked, nor replayed
    states = {e.seq: e.state for e in again.experiences()}
    held = [row.seq for row in again._state.replayed.held_out()]
    assert {states[seq] for seq in (*first, *replayed, *held)} == {"closed"}
    assert sum(state == "not_shown" for state in states.values()) == len(waiting) > 0


def test_many_late_ones_take_their_turns(opened: Open, world: Any) -> None:
    """More than a commit's worth of late lists in front of those that are on time."""
    loop = opened("a.dwell", temperature=1.0, config=MANY, holdout=0.0)
    waiting = [serve(loop, world, activate=False) for _ in range(230)]
    on_time = [serve(loop, world) for _ in range(10)]
    world.now += 2.0 * world.window_s
    for event_id in reversed(waiting):
        loop.activate(event_id, now=world.now)
    on_time += [serve(loop, world) for _ in range(10)]
    world.now += world.window_s + 1.0
    assert loop.close_events(now=world.now) == 250
    seqs = loop._state.replayed.buffer.seqs().tolist()
    found = {e.seq: e.event_id for e in loop.experiences()}
    order = [found[seq] for seq in seqs]
    # activated together: by seq, between what was served a window before and a window after that
    assert order == [*on_time[:10], *waiting, *on_time[10:]]
