"""PDGD in the loop: from what the live params drew alone, each event once, and through the same gate."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.loop.caps import Caps
from dwell.loop.online import _capped, own_events
from dwell.records import Params
from dwell.records.rows import EventRow

Open = Callable[..., dwell.Loop]
ONLINE: dict[str, Any] = {
    "gate": {"min_events": 50, "min_users": 5},
    "learner": {"objective": "pdgd", "step_size": 0.01},
}


def expected_clicks(new_world: Callable[..., Any], params: dwell.Params, loop: dwell.Loop) -> float:
    """Return the expected clicks of lists in the order of the params, users looking as those of the world do."""
    world = new_world(99)
    total = 0.0
    for _ in range(100):
        candidates = world.candidates()
        x = np.array([[c[name] for name in loop.params.feature_names] for c in candidates], dtype=np.float32)
        best = np.argsort(-params.score(x))[:5]
        total += sum(max(candidates[d]["good"] ** 2, 0.05) / (i + 1) for i, d in enumerate(best))
    return total / 100


def test_it_improves_and_only_the_gate_lets_it_go_live(opened: Open, world: Any, new_world: Callable[..., Any]) -> None:
    loop = opened(temperature=1.0, config=ONLINE)
    before = loop.params
    world.visits(loop, 240)
    first = loop.train(now=world.now)
    assert first.decision.verdict == "hold"  # not live before it was judged on later events
    assert (first.n_steps, first.n_replayed, first.left_out) == (1, 0, {})
    assert 0.0 < first.step_norm <= 1.0
    reports = [first]
    while reports[-1].decision.verdict == "hold" and len(reports) < 6:
        world.visits(loop, 120)
        reports.append(loop.train(now=world.now))
    last = reports[-1]
    assert last.decision.verdict == "promote"
    assert [d.verdict for d in loop.history()][-len(reports) :] == [r.decision.verdict for r in reports]
    assert bits(loop.params) == bits(first.proposed)
    value = [expected_clicks(new_world, params, loop) for params in (before, loop.params)]
    assert value[1] > value[0] + 0.1
    # what the version before served teaches the new one nothing, and of its own there is none yet
    assert (last.n_steps, set(last.left_out)) == (0, {"another_version"})
    held = loop.train(now=world.now)
    assert held.decision.reasons[0].startswith("on_policy_only: no closed event was drawn by the live version")
    assert held.proposed.version == held.live.version
    world.visits(loop, 40)
    again = loop.train(now=world.now)
    assert (again.n_steps, again.left_out) == (1, last.left_out)
    assert again.proposed.parent == loop.params.version


def bits(params: dwell.Params) -> object:
    return params.version, dict(params.weights), params.raw_score


def test_each_event_is_used_once(opened: Open, world: Any) -> None:
    # steps too small to be told apart: after 100 judged events a proposal gives way, and the live params stay
    config = {"gate": {"max_judged_events": 100}, "learner": {"objective": "pdgd", "online_step_size": 1e-6}}
    loop = opened(temperature=1.0, config=config)
    world.visits(loop, 100)
    first = loop.train(now=world.now)
    assert first.left_out == {}
    assert first.n_learned_from > 0
    world.visits(loop, 110)
    second = loop.train(now=world.now)
    assert second.decision.verdict == "reject"
    assert second.proposed.version == first.proposed.version + 1
    assert second.left_out == {"used_before": first.n_learned_from}
    assert second.n_learned_from > 0


LIVE = Params(version=3, weights={"x": 1.0}, temperature=0.5)


def event(seq: int, **changed: object) -> EventRow:
    """Return a list of two documents that LIVE drew."""
    first = 1.0 / (1.0 + np.exp(-1.0 / (0.5 * 0.5)))  # scores 1 and 0: their spread is .5
    fields: dict[str, Any] = {
        "seq": seq,
        "event_id": f"e{seq}",
        "query_hash": seq,
        "user_hash": None,
        "served_at": 0.0,
        "features": np.array([[1.0], [0.0]], dtype=np.float32),
        "inclusion": np.ones(2),
        "exposure": np.full(2, 0.5),
        "n_kept": 2,
        "n_shown": 2,
        "rewards": np.array([1.0, 0.0]),
        "propensities": np.array([first, 1.0]),
        "caller_rank": np.arange(2.0),
        "params_version": 3,
        "temperature": 0.5,
        "is_held_out": False,
        "is_deterministic": False,
        "is_caller_ordered": False,
        "version": 1,
    }
    return EventRow(**{**fields, **changed})


def test_what_others_served_is_counted_by_its_reason() -> None:
    rows = [
        event(1),
        event(5),
        event(6, params_version=2),
        event(7, params_version=4),
        event(8, is_caller_ordered=True, is_deterministic=True, params_version=0),
        event(9, is_deterministic=True),
        event(10, temperature=0.3),
        event(11, propensities=np.array([0.5, 1.0])),
        event(12),
        event(13, swap_pair=1),
    ]
    rng = np.random.default_rng(0)
    found = own_events(LIVE, rows, after=1, rng=rng)
    assert [row.seq for row in found.rows] == [5, 12]
    assert found.left_out == {
        "used_before": 1,
        "another_version": 2,
        "caller_ordered": 1,
        "not_drawn": 1,
        "another_temperature": 1,
        "pair_swapped": 1,
        "propensities": 1,
    }
    assert "2 another_version" in found.refusal(LIVE)
    by_caller = replace(LIVE, origin="caller-order")
    assert own_events(by_caller, rows, after=0, rng=rng).left_out == {"caller_ordered": 10}


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_a_user_counts_as_far_as_the_caps_allow(weight: float) -> None:
    # the gradient is linear in rewards: an event that counts a quarter has a quarter of them
    row = event(1, rewards=np.array([0.8, -0.4]))
    capped = _capped(row, Caps({1: weight}, {1: np.array([0.5, 0.5])}))
    assert capped.rewards.tolist() == [0.8 * weight * 0.5, -0.4 * weight]


def test_a_log_of_others_is_refused_by_name(opened: Open, world: Any) -> None:
    loop = opened(config=ONLINE)  # weights, but the caller orders
    for i in range(30):
        candidates = world.candidates()
        loop.log_retrieval(f"query {i}", candidates, user=f"user-{i}", event_id=f"logged-{i}", now=world.now)
        loop.submit_feedback(f"logged-{i}", "click", doc=candidates[0]["id"], now=world.now + 1.0)
        world.now += 1.0
    world.now += world.window_s + 1.0
    report = loop.train(now=world.now)
    assert report.decision.verdict == "hold"
    assert report.decision.reasons[0].startswith("on_policy_only: no closed event was drawn by the live version")
    assert set(report.left_out) == {"caller_ordered"}
    assert sum(report.left_out.values()) > 0
    assert report.n_steps == 0
