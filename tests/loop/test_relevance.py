"""Which estimate of relevance the loop learns from, and dislikes as a channel of their own."""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest

import dwell
from dwell.learning.estimates import RelevanceKind

Open = Callable[..., dwell.Loop]


def visited(opened: Open, world: Any, n: int = 80, **learner: object) -> dwell.Loop:
    """Return a loop with closed events: readers click what is good, and dislike whatever has much `noise`."""
    loop = opened(
        temperature=1.0,
        config={"learner": {"step_size": 0.01, **learner}, "training": {"target_steps": 8, "max_seconds": 60.0}},
    )
    for _ in range(n):
        candidates = world.candidates()
        served = loop.rank(
            f"query {world.n % 11}",
            candidates,
            k=5,
            user=f"user-{world.n % 60}",
            event_id=f"event-{world.n:05d}",
            now=world.now,
        )
        noise = {c["id"]: c["noise"] for c in candidates}
        for doc in world.clicks(served.ids, candidates):
            loop.submit_feedback(served.event_id, "click", doc=doc, now=world.now + 1.0)
        for doc in served.ids:
            if noise[doc] > 0.7 and world.rng.random() < 0.5:
                loop.submit_feedback(served.event_id, "thumbs_down", doc=doc, now=world.now + 1.0)
        world.n += 1
        world.now += 1.0
    world.now += world.window_s + 1.0
    return loop


def learned(opened: Open, new_world: Callable[[], Any], **learner: object) -> dwell.TrainReport:
    world = new_world()
    return visited(opened, world, **learner).train(now=world.now)


def test_every_estimate_learns_and_each_says_another_thing(opened: Open, new_world: Callable[[], Any]) -> None:
    kinds = get_args(RelevanceKind)
    ends = {kind: learned(opened, new_world, relevance=kind).proposed.vector for kind in kinds}
    assert np.isfinite(np.array(list(ends.values()))).all()
    assert len({vector.tobytes() for vector in ends.values()}) == len(kinds) == 6
    assert learned(opened, new_world).proposed.vector.tobytes() == ends["doubly_robust"].tobytes()


def test_a_dislike_lowers_what_it_is_about(opened: Open, new_world: Callable[[], Any]) -> None:
    def noise(**learner: object) -> float:
        report = learned(opened, new_world, **learner)
        assert report.left_out == {}
        return report.proposed.weights["noise"]

    ignored, counted, dear = (noise(negative_weight=weight) for weight in (0.0, 1.0, 5.0))
    assert ignored > counted > dear
    shown = {how: noise(negative_weight=5.0, negative_examination=how) for how in ("clicks", "shown")}
    assert shown["clicks"] == dear
    assert shown["shown"] != dear
    assert shown["shown"] < ignored


def test_trust_is_corrected_for_and_no_event_is_lost(opened: Open, new_world: Callable[[], Any]) -> None:
    report = learned(opened, new_world, trust_bias=True)
    plain = learned(opened, new_world)
    assert report.proposed.vector.tobytes() != plain.proposed.vector.tobytes()
    assert (report.left_out, report.n_learned_from, report.n_steps) == ({}, plain.n_learned_from, plain.n_steps)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"relevance": "unbiased"}, "learner.relevance"),
        ({"negative_weight": -1.0}, "learner.negative_weight"),
        ({"trust_irrelevant": 0.99}, "learner.trust_irrelevant"),
        ({"negative_examination": "nobody"}, "learner.negative_examination"),
    ],
)
def test_a_wrong_setting_is_named_with_its_section(opened: Open, given: dict[str, object], field: str) -> None:
    with pytest.raises(dwell.ConfigError) as caught:
        opened(config={"learner": given})
    assert caught.value.field == field
    assert caught.value.hint
