"""A user sees in the gate's reasons that the log does not fit what judges it; nothing is held for it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.records import Params

Open = Callable[..., dwell.Loop]


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_users_who_look_otherwise_than_assumed_are_told_of(opened: Open, world: Any, power: float) -> None:
    loop = opened(temperature=1.0, config={"training": {"examination": "assumed"}, "gate": {"min_events": 50}})
    for i in range(400):
        candidates = world.candidates()
        served = loop.rank(f"query {i}", candidates, k=5, user=f"user-{i % 80}", event_id=f"e{i}", now=world.now)
        good = {c["id"]: c["good"] for c in candidates}
        for place, doc in enumerate(served.ids, 1):
            if world.rng.random() < good[doc] / place**power:
                loop.submit_feedback(served.event_id, "click", doc=doc, now=world.now + 1.0)
        world.now += 1.0
    world.now += world.window_s + 1.0
    loop.close_events(now=world.now)
    better = Params(version=9, weights={"good": 1.0, "bad": 0.0, "noise": 0.0}, temperature=1.0)
    decision = loop.evaluate(better, now=world.now)
    told = [reason for reason in decision.reasons if reason.startswith(("click_fit: rank", "split_half"))]
    assert {"click_fit", "split_half"} <= set(decision.diagnostics)
    assert np.isfinite([decision.diagnostics["click_fit"], decision.diagnostics["split_half"]]).all()
    assert len(told) == (1 if power == 3.0 else 0)
    if power == 1.0:
        assert decision.verdict == "promote"
