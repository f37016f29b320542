"""What an attacker found: each stands here so that it stays found."""

from collections.abc import Callable
from typing import Any

import numpy as np

import dwell
from dwell.reward.examination import PositionBased

Open = Callable[..., dwell.Loop]


def until_promoted(loop: dwell.Loop, world: Any) -> None:
    for _ in range(12):
        world.visits(loop, 120)
        if loop.train(now=world.now).decision.verdict == "promote":
            return


def test_praise_for_the_whole_list_is_no_measurement_of_who_looked(opened: Open, world: Any) -> None:
    """Readers look at all positions alike, and say of whole lists that the task was done."""
    loop = opened(temperature=1.0)
    for i in range(700):
        served = loop.rank(f"q {i % 9}", world.candidates(), k=5, user=f"u{i % 80}", now=world.now)
        if i % 2:
            loop.submit_feedback(served.event_id, "task_completed", now=world.now + 1.0)
        world.now += 1.0
    world.now += world.window_s + 1.0
    loop.train(now=world.now)
    assert loop._state.rules.examination == PositionBased(1.0)
    band = loop._state.band
    assert band is not None
    # assumed, and said to be: a band of no width would pass every question about it
    assert (band.high[1:5] > band.low[1:5] * 1.2).all()


def test_what_was_promoted_live_is_not_rolled_back_by_a_mode_that_serves_the_callers_order(
    opened: Open, world: Any
) -> None:
    loop = opened("a.dwell", temperature=1.0)
    until_promoted(loop, world)
    live = loop.params.version
    assert live > 0
    loop.close()
    shadow = opened("a.dwell", weights=None, mode="shadow")
    assert shadow._state.watched is not None
    assert shadow._state.standing is None  # it was made to be judged against the live params
    for _ in range(3):
        world.visits(shadow, 120)
        shadow.train(now=world.now)
    assert shadow.params.version == live


def test_a_feature_that_came_later_leaves_everything_to_be_judged(opened: Open, world: Any) -> None:
    loop = opened("a.dwell")
    world.visits(loop, 80)
    loop.train(now=world.now)
    loop.close()
    grown = opened("a.dwell", features=["good", "bad", "noise", "fresh"], weights=None)
    for i in range(60):
        found = [c | {"fresh": 0.5} for c in world.candidates()]
        grown.rank("q", found, k=5, user=f"u{i % 30}", now=world.now)
        world.now += 1.0
    world.now += world.window_s + 1.0
    grown.train(now=world.now)
    weights = {"good": 1.0, "bad": 0.0, "noise": 0.0, "fresh": 0.0}
    assert grown.evaluate(dwell.Params(version=9, weights=weights), now=world.now).difference.n > 0
    assert grown.promote(dwell.Params(version=9, weights=weights), force=True, now=world.now).weights["good"] == 1.0


def test_an_erased_user_does_not_take_the_proposal_along(opened: Open, world: Any) -> None:
    loop = opened("a.dwell", temperature=1.0, config={"gate": {"alpha": 1e-6}, "training": {"target_steps": 3}})
    world.visits(loop, 100)
    proposed = loop.train(now=world.now).proposed.version
    world.visits(loop, 100)
    loop.train(now=world.now)
    standing = loop._state.standing
    assert standing is not None
    first = set(standing.kept().first_seqs)
    gone = next(e for e in loop.experiences() if e.seq in first)
    loop.erase(f"user-{int(gone.event_id.removeprefix('event-')) % 60}", now=world.now)
    loop.close()
    again = opened("a.dwell", temperature=1.0, weights=None, config={"gate": {"alpha": 1e-6}})
    world.visits(again, 10)
    report = again.train(now=world.now)
    assert report.proposed.version == proposed
    assert "evidence_lost" not in " ".join(report.decision.reasons)


def test_a_cold_policy_is_no_suspicious_one(opened: Open, world: Any) -> None:
    loop = opened(temperature=0.002, config={"gate": {"alpha": 1e-6}, "training": {"target_steps": 3}})
    for _ in range(2):
        world.visits(loop, 150)
        decision = loop.train(now=world.now).decision
    assert decision.difference.n > 100
    found = {name: decision.diagnostics[name] for name in ("propensity_derived", "propensity_surprise", "mean_weight")}
    assert found["propensity_derived"] == 0.0
    assert np.abs([found["propensity_surprise"], found["mean_weight"]]).max() < 3.0


def test_a_list_that_is_activated_late_does_not_stand_before_what_was_bet_on(opened: Open, world: Any) -> None:
    loop = opened(temperature=1.0, holdout=0.0, config={"gate": {"alpha": 1e-6}, "training": {"target_steps": 3}})
    world.visits(loop, 60)
    loop.train(now=world.now)
    served = loop.rank("q", world.candidates(), k=5, user="late", event_id="late", activate=False, now=world.now)
    world.visits(loop, 60)
    loop.train(now=world.now)
    standing = loop._state.standing
    assert standing is not None
    assert standing.judgement is not None
    before = list(standing.judgement.known)
    loop.activate(served.event_id, now=world.now)
    world.now += world.window_s + 1.0
    world.visits(loop, 5)
    loop.train(now=world.now)
    assert list(standing.judgement.known)[: len(before)] == before
    assert len(standing.judgement.known) > len(before)
