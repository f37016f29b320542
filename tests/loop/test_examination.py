"""Which examination is in force: assumed until the loop's own draws say otherwise, and then everywhere."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.reward.examination import Fitted, PositionBased

Open = Callable[..., dwell.Loop]


def looks_everywhere(world: Any) -> None:
    """From here on readers look at every position alike."""

    def clicks(shown: list[str], candidates: list[dict[str, Any]]) -> list[str]:
        good = {c["id"]: c["good"] for c in candidates}
        return [d for d in shown if world.rng.random() < max(good[d] ** 2, 0.05)]

    world.clicks = clicks


def test_readers_who_look_as_assumed_change_nothing(opened: Open, world: Any) -> None:
    loop = opened(temperature=1.0)
    for _ in range(3):
        world.visits(loop, 300)
        loop.train(now=world.now)
    assert loop._state.rules.examination == PositionBased(1.0)
    assert loop._state.band is not None


def test_readers_who_look_everywhere_are_noticed_and_every_exposure_follows(
    opened: Open, world: Any, anywhere: str
) -> None:
    looks_everywhere(world)
    loop = opened(anywhere, temperature=1.0)
    world.visits(loop, 900)
    loop.train(now=world.now)
    found = loop._state.rules.examination
    assert isinstance(found, Fitted)
    theta = found.theta(5)
    # 1/k would be .5, .33, .25, .2; readers look at all five alike
    assert np.abs(theta - 1.0).max() < 0.35
    rows = loop._state.replayed.rows.in_close_order()
    assert len(rows) == 900
    for row in rows[::100]:
        # whatever is drawn, the exposures of a list sum to the examination of its positions
        assert row.exposure.sum() == pytest.approx(theta.sum(), rel=1e-4)
    if anywhere == ":memory:":
        return
    before = [(row.event_id, row.exposure.tobytes()) for row in rows]
    loop.close()
    again = opened(anywhere, temperature=1.0, weights=None)
    again.close_events(now=world.now)
    assert again._state.rules.examination == found
    assert "taken up" in again._state.replayed.ring_report
    after = again._state.replayed.rows.in_close_order()
    assert [(row.event_id, row.exposure.tobytes()) for row in after] == before
    again.close()
    # another setting discards nothing: the same events, with the exposure that the assumption gives
    assumed = {"training": {"examination": "assumed", "target_steps": 5}}
    other = opened(anywhere, temperature=1.0, weights=None, config=assumed)
    other.close_events(now=world.now)
    rows = other._state.replayed.rows.in_close_order()
    assert [row.event_id for row in rows] == [event for event, _ in before]
    assert rows[0].exposure.sum() == pytest.approx((1.0 / np.arange(1.0, 6.0)).sum(), rel=1e-4)


def test_it_may_be_assumed_for_good(opened: Open, world: Any) -> None:
    looks_everywhere(world)
    assumed = {"training": {"examination": "assumed", "examination_eta": 0.5, "target_steps": 5}}
    loop = opened(temperature=1.0, config=assumed)
    world.visits(loop, 600)
    loop.train(now=world.now)
    assert loop._state.rules.examination == PositionBased(0.5)
    with pytest.raises(dwell.DwellError, match="examination"):
        opened(config={"training": {"examination": "guessed"}})


def test_one_account_does_not_set_the_examination(opened: Open, world: Any) -> None:
    """Half of all lists are one reader's, who clicks on whatever stands last."""
    loop = opened(temperature=1.0)
    as_before = world.clicks
    for i in range(1_200):
        candidates = world.candidates()
        is_hostile = i % 2 == 0
        served = loop.rank(
            f"query {i % 11}",
            candidates,
            k=5,
            user="account" if is_hostile else f"user-{i % 240}",
            event_id=f"event-{i:05d}",
            now=world.now,
        )
        for doc in [served.ids[-1]] if is_hostile else as_before(served.ids, candidates):
            loop.submit_feedback(served.event_id, "click", doc=doc, now=world.now + 1.0)
        world.now += 1.0
    world.now += world.window_s + 1.0
    loop.train(now=world.now)
    assert loop._state.rules.examination == PositionBased(1.0)
