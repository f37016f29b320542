"""A share of users is served the standing proposal, and what they do has a say."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import dwell

Open = Callable[..., dwell.Loop]
MANY: dict[str, Any] = {
    "gate": {"min_events": 50, "min_users": 5, "alpha": 0.05, "kind": "block", "block_events": 100_000},
    "learner": {"step_size": 0.05},
    "training": {"target_steps": 20, "max_seconds": 60.0},
}


def rows_by_arm(loop: dwell.Loop) -> Counter[int]:
    return Counter(row.params_version for row in loop._state.replayed.rows.in_close_order())


def test_the_canary_is_a_stable_share_of_users_and_is_told_in_the_decision(opened: Open, world: Any) -> None:
    loop = opened(mode="canary", canary_share=0.4, temperature=1.0, config=MANY)
    world.visits(loop, 120, n_users=200)
    proposed = loop.train(now=world.now).proposed
    for _ in range(3):
        world.visits(loop, 200, n_users=200)
        report = loop.train(now=world.now)
        assert report.proposed.version == proposed.version
    found = rows_by_arm(loop)
    assert found[proposed.version] > 0
    arms: dict[str | None, set[int]] = {}
    for e in loop.experiences():
        if e.params_version in {proposed.version, 0} and e.arm == "canary":
            arms.setdefault(e.user, set()).add(e.params_version)
    assert all(versions == {proposed.version} for versions in arms.values())
    canary = report.decision.estimates["canary"]
    # every user counts once, however often he came
    assert canary.n <= 200
    assert canary.low <= canary.value <= canary.high


def test_users_who_are_served_worse_reject_what_was_estimated_to_be_better(opened: Open, world: Any) -> None:
    """The canary users react badly to what the proposal shows them, which no estimate from other lists can see."""
    loop = opened(mode="canary", canary_share=0.5, temperature=1.0, holdout=0.0, config=MANY)
    world.visits(loop, 150, n_users=2_000)
    proposed = loop.train(now=world.now).proposed
    decision = None
    for _ in range(12):
        for _ in range(250):
            candidates = world.candidates()
            served = loop.rank(
                f"query {world.n % 11}",
                candidates,
                k=5,
                user=f"user-{world.n}",
                event_id=f"event-{world.n:05d}",
                now=world.now,
            )
            if served.params_version == proposed.version:
                loop.submit_feedback(served.event_id, "reward", doc=served.ids[0], value=-1.0, now=world.now + 1.0)
            else:
                loop.submit_feedback(served.event_id, "reward", doc=served.ids[0], value=1.0, now=world.now + 1.0)
            world.n += 1
            world.now += 1.0
        world.now += world.window_s + 1.0
        decision = loop.train(now=world.now).decision
        if decision.verdict != "hold":
            break
    assert decision is not None
    assert decision.verdict == "reject"
    assert decision.reasons[0].startswith("canary_worse: ")
    assert decision.estimates["canary"].high < 0.0
    assert loop.params.version == 0


@pytest.mark.parametrize("how", [{"mode": "live"}, {"mode": "canary", "canary_share": 0.0}])
def test_without_a_canary_nobody_is_asked(opened: Open, world: Any, how: dict[str, Any]) -> None:
    loop = opened(temperature=1.0, config=MANY, **how)
    for _ in range(2):
        world.visits(loop, 100)
        decision = loop.train(now=world.now).decision
    assert "canary" not in decision.estimates
