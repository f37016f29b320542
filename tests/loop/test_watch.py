"""Going back without anybody's hand: what the gate promoted gives way where later events show that it is worse."""

from collections.abc import Callable
from typing import Any

import pytest

import dwell

Open = Callable[..., dwell.Loop]
START = {"good": 0.1, "bad": 1.0, "noise": 0.5}


def turned(world: Any) -> None:
    """From here on readers want what they did not want before."""

    def clicks(shown: list[str], candidates: list[dict[str, Any]]) -> list[str]:
        bad = {c["id"]: c["bad"] for c in candidates}
        return [d for i, d in enumerate(shown) if world.rng.random() < max(bad[d] ** 2, 0.05) / (i + 1)]

    world.clicks = clicks


def until(loop: dwell.Loop, world: Any, kind: str, rounds: int = 12) -> dwell.GateDecision:
    for _ in range(rounds):
        world.visits(loop, 120)
        found = loop.train(now=world.now).decision
        if found.verdict == "promote" and found.kind == kind:
            return found
    pytest.fail(f"no decision of kind {kind}")


def test_a_change_of_taste_brings_the_params_back_that_suit_it(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere, temperature=1.0)
    promoted = until(loop, world, "judged")
    assert loop.params.version == promoted.proposed_version
    turned(world)
    back = until(loop, world, "rollback")
    assert (back.proposed_version, back.safe_version) == (promoted.safe_version, promoted.proposed_version)
    assert back.reasons[0].startswith("rollback: version")
    assert back.difference.low > 0.0
    assert loop.params.version == promoted.safe_version
    assert dict(loop.params.weights) == START
    assert loop.history()[-1] == back or back in loop.history()
    # what was taken back is not promoted again on the events that judged it
    with pytest.raises(dwell.PromotionRefused):
        loop.promote(loop.version(promoted.proposed_version), now=world.now)


def test_while_taste_stays_nothing_comes_back(opened: Open, world: Any) -> None:
    loop = opened(temperature=1.0)
    until(loop, world, "judged")
    for _ in range(6):
        world.visits(loop, 120)
        loop.train(now=world.now)
    assert not [d for d in loop.history() if d.kind == "rollback"]


def test_it_can_be_turned_off_and_a_forced_promotion_is_not_watched(opened: Open, world: Any) -> None:
    quick = {"gate": {"min_events": 50, "min_users": 5, "is_rolled_back": False}, "learner": {"step_size": 0.05}}
    loop = opened(temperature=1.0, config=quick)
    until(loop, world, "judged")
    assert loop._state.watched is None
    other = opened(temperature=1.0)
    world.visits(other, 60)
    other.close_events(now=world.now)
    other.promote(dwell.Params(version=7, weights={"good": 1.0, "bad": 0.0, "noise": 0.0}), force=True, now=world.now)
    assert other._state.watched is None


def test_what_is_watched_outlives_the_process(opened: Open, world: Any) -> None:
    loop = opened("a.dwell", temperature=1.0)
    promoted = until(loop, world, "judged")
    turned(world)
    world.visits(loop, 40)
    loop.train(now=world.now)
    seen = None if loop._state.watched is None else loop._state.watched.kept()
    assert seen is not None
    assert seen.first_seqs
    loop.close()
    again = opened("a.dwell", temperature=1.0, weights=None)
    assert again._state.watched is not None
    assert again._state.watched.proposal == seen
    back = until(again, world, "rollback")
    assert back.proposed_version == promoted.safe_version
    # the events of the first process count
    assert back.difference.n >= 40


def test_a_hand_that_moves_the_params_ends_the_watch(opened: Open, world: Any) -> None:
    loop = opened(temperature=1.0)
    until(loop, world, "judged")
    assert loop._state.watched is not None
    loop.rollback(now=world.now)
    assert loop._state.watched is None
    world.visits(loop, 60)
    loop.train(now=world.now)
    assert [d.kind for d in loop.history()].count("rollback") == 1


def test_erased_users_leave_what_is_watched(opened: Open, world: Any) -> None:
    loop = opened(temperature=1.0)
    until(loop, world, "judged")
    world.visits(loop, 60)
    loop.train(now=world.now)
    watched = loop._state.watched
    assert watched is not None
    assert watched.judgement is not None
    users = {e.seq: e.event_id for e in loop.experiences()}
    assert any(int(users[seq].removeprefix("event-")) % 60 == 3 for seq in watched.judgement.known)
    loop.erase("user-3", now=world.now)
    there = {e.seq for e in loop.experiences()}
    assert set(watched.judgement.known) <= there
