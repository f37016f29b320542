"""A learner beside the process that serves: who does what, and how each follows the other."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dwell
from dwell.errors import StorageError, StoreOwnedError
from dwell.loop.entrance import open_loop

from .conftest import PEPPER, QUICK, START, WINDOW_S, World


def arguments(**more: Any) -> dict[str, Any]:
    return {"pepper": PEPPER, "attribution_window_s": WINDOW_S, "config": QUICK, **more}


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[dwell.Loop]:
    weights = {"good": 0.1, "bad": 1.0, "noise": 0.5}
    loop = open_loop(
        tmp_path / "a.dwell",
        **arguments(features=World.features, weights=weights, mode="canary", canary_share=0.5),
        _role="server",
    )
    yield loop
    loop.close()


@pytest.fixture
def learning(serving: dwell.Loop, tmp_path: Path) -> Iterator[dwell.Loop]:
    loop = open_loop(tmp_path / "a.dwell", **arguments(mode="canary", canary_share=0.5), _role="learner")
    yield loop
    loop.close()


def followed(loop: dwell.Loop, wanted: Any) -> bool:
    """Serve nothing of weight until what is wanted holds, at most three seconds."""
    until = time.monotonic() + 3.0
    while not wanted() and time.monotonic() < until:
        loop.rank("poll", [{"id": "a", "good": 1.0, "bad": 0.0, "noise": 0.0}], now=START)
        time.sleep(0.05)
    return bool(wanted())


def test_the_learner_learns_and_the_server_follows(serving: dwell.Loop, learning: dwell.Loop, world: World) -> None:
    world.visits(serving, 400)
    serving._state.writer.flush()  # type: ignore[union-attr]
    report = learning.train(now=world.now)
    assert report.n_closed == 400
    assert learning.proposed is not None
    proposed = learning.proposed.version
    assert followed(serving, lambda: serving.proposed is not None and serving.proposed.version == proposed)
    arms = {world.visit(serving).params_version for _ in range(60)}
    assert arms == {0, proposed}, "a share of the users is served the learner's proposal"
    for _ in range(4):
        world.visits(serving, 400)
        serving._state.writer.flush()  # type: ignore[union-attr]
        report = learning.train(now=world.now)
        if report.decision.verdict == "promote":
            break
    assert learning.params.version > 0, report.decision.reasons
    assert followed(serving, lambda: serving.params.version == learning.params.version)
    assert [d.verdict for d in serving.history()] == [d.verdict for d in learning.history()]


def test_the_learner_hears_of_late_signals_and_of_erasures(
    serving: dwell.Loop, learning: dwell.Loop, world: World
) -> None:
    world.visits(serving, 30)
    serving._state.writer.flush()  # type: ignore[union-attr]
    assert learning.close_events(now=world.now) == 30
    event = "event-00003"
    shown = next(e for e in serving.experiences() if e.event_id == event).results_served
    before = learning._state.replayed.rows.index("seq", "version", "row_reward")
    doc = shown[-1]["id"] if isinstance(shown[-1], dict) else shown[-1]
    assert serving.feedback(event, "thumbs_up", doc=doc, now=world.now).status == "late"
    learning.close_events(now=world.now)
    after = learning._state.replayed.rows.index("seq", "version", "row_reward")
    changed = after["version"] != before["version"]
    assert changed.sum() == 1
    assert after["seq"][changed].tolist() == [4]
    n_before = len(learning._state.replayed)
    assert serving.erase("user-5") == 1
    learning.close_events(now=world.now)
    assert len(learning._state.replayed) == n_before - 1


def test_the_one_that_serves_neither_closes_nor_learns(serving: dwell.Loop, world: World) -> None:
    world.visits(serving, 3)
    for refused in (serving.train, serving.close_events):
        with pytest.raises(StorageError) as refusal:
            refused(now=world.now)
        assert refusal.value.code == "not_owner"


def test_there_is_one_learner(serving: dwell.Loop, learning: dwell.Loop, tmp_path: Path) -> None:
    with pytest.raises(StoreOwnedError):
        open_loop(tmp_path / "a.dwell", **arguments(), _role="learner")
    learning.close()
    open_loop(tmp_path / "a.dwell", **arguments(), _role="learner").close()


def test_a_rollback_by_the_one_that_serves_moves_the_learner(
    serving: dwell.Loop, learning: dwell.Loop, world: World
) -> None:
    world.visits(serving, 20)
    serving._state.writer.flush()  # type: ignore[union-attr]
    other = dwell.Params(version=9, weights={"good": 1.0, "bad": 0.0, "noise": 0.0})
    promoted = learning.promote(other, force=True, now=world.now)
    assert followed(serving, lambda: serving.params.version == promoted.version)
    assert serving.rollback(now=world.now).version == 0
    learning.close_events(now=world.now)
    assert learning.params.version == 0


def test_one_process_serves_several_tenants_of_one_store(tmp_path: Path) -> None:
    both = [
        open_loop(
            tmp_path / "a.dwell",
            **arguments(features=["x"], weights={"x": 1.0}, tenant=tenant),
            _role="server",
        )
        for tenant in ("one", "two")
    ]
    with pytest.raises(StoreOwnedError):
        open_loop(tmp_path / "a.dwell", **arguments(tenant="two"))
    for i in range(20):
        for loop in both:
            loop.rank("q", [{"id": "a", "x": 1.0}], event_id=f"e{i}", now=START + i)
    assert [loop.feedback("e3", "click", doc="a", now=START + 30).status for loop in both] == ["joined"] * 2
    both[0].close()
    assert both[1].feedback("e4", "click", doc="a", now=START + 30).status == "joined"
    assert both[1].feedback("other", "click", doc="a", now=START + 30).status == "orphan"
    both[1].close()
    open_loop(tmp_path / "a.dwell", **arguments(tenant="two")).close()
