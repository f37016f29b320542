"""The column ring of a loop: taken up or made again, what is learned is the same; and what it must never claim."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dwell.errors import StorageError
from dwell.loop import keep
from dwell.loop.entrance import open_loop
from dwell.loop.keep import ensure_rebuilt
from dwell.loop.replayed import Replayed

sys.path.insert(0, str(Path(__file__).parent))

from ringed import PEPPER, TAKEN_UP, Open, assert_same, copied, flip, late, lived, ring_of, seen, visits

# ---- taken up


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"capacity": 40},
        {"holdout": 0.0, "tenant": "one of several"},
        {"config": {"replay": {"embeddings": "float16", "strategy": "priority"}, "gate": {"min_events": 50}}},
        {"config": {"replay": {"embeddings": "float32"}}},
    ],
    ids=["plain", "evicting", "tenant", "float16", "float32"],
)
def test_what_is_taken_up_is_what_a_rebuild_makes(
    how: dict[str, Any], opened: Open, world: Any, tmp_path: Path
) -> None:
    loop = opened("a.dwell", **how)
    lived(loop, world, has_embeddings="config" in how)
    loop.close()
    assert_same(opened, world.now, tmp_path, report=TAKEN_UP, **how)


def test_a_ring_is_taken_up_again_and_again(opened: Open, world: Any, tmp_path: Path) -> None:
    for run in range(3):
        loop = opened("a.dwell", capacity=50)  # in the third run the segment of the first one is gone
        visits(loop, world, 20 if run < 2 else 60, segment=f"segment of run {run}")
        loop.train(now=world.now)
        late(loop, world, world.n - 10, world.n)
        loop.close()
    with opened("a.dwell", capacity=50) as idle:  # who looks only leaves it as it is
        idle.health(now=world.now)
    assert_same(opened, world.now, tmp_path, report=TAKEN_UP, capacity=50)


def test_events_without_rows_do_not_cost_the_ring(opened: Open, world: Any, tmp_path: Path) -> None:
    loop = opened("a.dwell")
    visits(loop, world, 20)
    loop.close_events(now=world.now)
    loop.close()
    loop = opened("a.dwell")
    loop.log_retrieval("no features", [{"id": "a"}, {"id": "b"}], event_id="bare", now=world.now)
    world.now += world.window_s + 1.0
    loop.close_events(now=world.now)
    loop.close()
    assert_same(opened, world.now, tmp_path, report=TAKEN_UP)


def test_tenants_of_one_file_have_rings_of_their_own(opened: Open, world: Any, tmp_path: Path) -> None:
    names = ("", "one", "two")
    for tenant in names:
        loop = opened("a.dwell", tenant=tenant)
        visits(loop, world, 20)
        loop.close_events(now=world.now)
        loop.close()
    rings = sorted(tmp_path.glob("a.dwell*.ring"))
    assert len(rings) == 3
    # equal epochs and lengths: swapped, each would pass for the other
    contents = [ring.read_bytes() for ring in rings]
    for ring, content in zip(rings, contents[1:] + contents[:1], strict=True):
        ring.write_bytes(content)
    for tenant in names:
        loop = opened("a.dwell", tenant=tenant)
        loop.close_events(now=world.now)
        assert "made from" in loop._state.replayed.ring_report
        loop.close()


# ---- refused by name, and made again


@pytest.fixture
def closed_store(opened: Open, world: Any, tmp_path: Path) -> Path:
    """Return the ring of a store that has learned and was closed."""
    loop = opened("a.dwell")
    lived(loop, world)
    loop.close()
    return ring_of(tmp_path)


def of_row_region(ring: Path) -> int:
    """Return where the features of a row stand."""
    written = ring.read_bytes()
    # float32 numbers in [0, 1) of eight documents of three features: the last non-zero bytes of the file
    return len(written.rstrip(b"\0")) - 40


@pytest.mark.parametrize("damage", ["missing", "truncated", "longer", "header", "index", "sums", "empty", "other"])
def test_a_damaged_ring_is_made_again(
    damage: str, closed_store: Path, opened: Open, world: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ring, size = closed_store, closed_store.stat().st_size
    event_id = ring.read_bytes().index(b"event-000")
    places = {"header": 40, "index": event_id, "sums": 4096}
    if damage == "missing":
        ring.unlink()
    elif damage in places:
        flip(ring, places[damage])
    elif damage == "other":
        ring.write_bytes(b"x" * size)
    else:
        os.truncate(ring, {"truncated": size - 4096, "longer": size + 4096, "empty": 0}[damage])
    due = {"missing": "no ring", "truncated": "bytes", "longer": "bytes", "empty": "ends", "other": "no column ring"}
    with caplog.at_level(logging.INFO, "dwell"):
        assert_same(opened, world.now, tmp_path, report="made from")
    assert f"{due.get(damage, 'damaged')}" in caplog.text


def test_damage_found_in_the_middle_of_train_changes_nothing(
    closed_store: Path, opened: Open, world: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = copied(tmp_path)
    loop, rebuilt = opened("a.dwell"), opened(copy)
    with loop._state.training:
        ensure_rebuilt(loop._state)  # reads the index, no row
    assert TAKEN_UP in loop._state.replayed.ring_report
    flip(closed_store, of_row_region(closed_store))
    with caplog.at_level(logging.WARNING, "dwell"):
        found, due = loop.train(now=world.now), rebuilt.train(now=world.now)
    assert "damaged" in caplog.text
    assert "made again" in loop._state.replayed.ring_report
    assert (repr(found.decision), repr(found.proposed), found.curves) == (
        repr(due.decision),
        repr(due.proposed),
        due.curves,
    )
    assert loop.health(now=world.now).to_dict() == rebuilt.health(now=world.now).to_dict()
    assert seen(loop._state.replayed) == seen(rebuilt._state.replayed)
    loop.close()
    rebuilt.close()
    assert_same(opened, world.now, tmp_path, report=TAKEN_UP)


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ({"capacity": 50}, "capacity"),
        ({"holdout": 0.5}, "settings"),
        ({"features": ("good", "bad", "noise", "fresh")}, "settings"),
        ({"features": ("good", "bad"), "drop_features": ("noise",)}, "settings"),
        ({"config": {"replay": {"embeddings": "none"}}}, "settings"),
        ({"capacity": 200_000}, None),
        ({"config": {"replay": {"half_life_s": 1e5, "alpha": 1.0}}}, None),
    ],
    ids=["smaller", "holdout", "more-features", "fewer-features", "embeddings", "larger", "laws"],
)
def test_other_settings_refuse_the_ring_by_name_or_take_it_up_rightly(
    how: dict[str, Any],
    word: str | None,
    closed_store: Path,
    opened: Open,
    world: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert closed_store.exists()
    with caplog.at_level(logging.INFO, "dwell"):
        assert_same(opened, world.now, tmp_path, report=TAKEN_UP if word is None else "made from", weights=None, **how)
    assert word is None or word in caplog.text


CHILD = """
import sys
import numpy as np
sys.path[:0] = [sys.argv[2], sys.argv[3]]
import dwell
from conftest import World, QUICK, PEPPER, WINDOW_S
from ringed import lived, visits
world = World()
loop = dwell.open(sys.argv[1], features=World.features, weights={"good": 0.1, "bad": 1.0, "noise": 0.5}, pepper=PEPPER,
    attribution_window_s=WINDOW_S, config=QUICK)
lived(loop, world)
while True:
    visits(loop, world, 5)
    loop.train(now=world.now)
    print(world.now, flush=True)
"""


@pytest.mark.crash
def test_a_process_killed_while_it_writes_leaves_a_ring_that_is_made_again(
    opened: Open, tmp_path: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loops = Path(__file__).parent
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "a.dwell"), str(root / "src"), str(loops)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    now = [float(child.stdout.readline()) for _ in range(3)][-1] + 1_000.0
    child.send_signal(signal.SIGKILL)
    child.stdout.close()
    child.wait(30)
    with caplog.at_level(logging.INFO, "dwell"):
        assert_same(opened, now, tmp_path, report="made from")


# ---- older, newer, and what only looks alike


def test_an_admin_who_erases_beside_no_owner_leaves_no_ring(
    closed_store: Path, opened: Open, world: Any, tmp_path: Path
) -> None:
    before = closed_store.read_bytes()
    with open_loop(tmp_path / "a.dwell", pepper=PEPPER, _role="admin") as admin:
        assert admin.erase("user-3", now=world.now) > 3
    assert not closed_store.exists()
    closed_store.write_bytes(before)  # as from a backup: it is older
    assert_same(opened, world.now, tmp_path, report="made from")


def test_a_restored_store_is_not_taken_for_the_one_that_its_ring_goes_with(
    closed_store: Path, opened: Open, world: Any, tmp_path: Path
) -> None:
    shutil.copytree(tmp_path, tmp_path / "backup")
    # the same number of steps on two ways, from the same beginning
    later = []
    for run in range(2):
        world.rng, start = np.random.default_rng(run), (world.n, world.now)
        loop = opened("a.dwell")
        visits(loop, world, 6)
        loop.close_events(now=world.now)
        with loop._state.store.snapshot() as reader:
            later.append((reader.epoch(), len(loop._state.replayed)))
        loop.close()
        world.n, end, world.now = start[0], world.now, start[1]
        if run == 0:
            newer = closed_store.read_bytes()
            for path in tmp_path.glob("a.dwell*"):
                path.unlink()
            shutil.copytree(tmp_path / "backup", tmp_path, dirs_exist_ok=True)
    assert later[0] == later[1]
    closed_store.write_bytes(newer)
    assert_same(opened, end, tmp_path, report="made from")


def test_a_backup_of_the_store_beside_its_newer_ring(
    closed_store: Path, opened: Open, world: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older = (tmp_path / "a.dwell").read_bytes()
    loop = opened("a.dwell")
    visits(loop, world, 10)
    loop.train(now=world.now)
    loop.close()
    assert closed_store.exists()
    (tmp_path / "a.dwell").write_bytes(older)
    with caplog.at_level(logging.INFO, "dwell"):
        assert_same(opened, world.now, tmp_path, report="made from")
    assert "in step with" in caplog.text


def test_feedback_while_the_loop_closes_is_never_lost_to_the_ring(
    opened: Open, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = opened("a.dwell", holdout=0.0)
    visits(loop, world, 30)
    loop.close_events(now=world.now)
    shown = {e.event_id: e.results_served[0]["id"] for e in loop.experiences()}
    writer, take_in = loop._state.writer, keep.take_in
    assert writer is not None
    at_worst = iter(["event-00003"])
    is_queued, is_committed, is_over = threading.Event(), threading.Event(), threading.Event()

    def slow(_: object) -> None:
        is_committed.set()
        is_over.wait(10)

    def and_feedback(state: Any) -> None:
        """Leave a late reward committed and not told yet: the callback of the same commit's first job is slow."""
        take_in(state)
        for name in at_worst:
            writer.submit(lambda _: is_queued.wait(10))
            writer.submit(lambda _: None).add_done_callback(slow)
            loop.submit_feedback(name, "click", doc=shown[name], idempotency_key="worst", now=world.now)
            is_queued.set()
            assert is_committed.wait(10)
            threading.Timer(0.2, is_over.set).start()

    monkeypatch.setattr(keep, "take_in", and_feedback)
    loop.close()
    monkeypatch.undo()
    assert_same(opened, world.now, tmp_path, report=TAKEN_UP, holdout=0.0)


class Interrupted(BaseException):
    """Stands for Ctrl-C."""


@pytest.mark.parametrize("where", ["admit_many", "admit", "drop", "evict"])
def test_a_call_that_is_interrupted_leaves_no_ring_that_claims_to_be_in_step(
    where: str, opened: Open, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capacity = 30 if where == "evict" else 1000
    loop = opened("a.dwell", holdout=0.0, capacity=capacity)
    visits(loop, world, 30)
    loop.close_events(now=world.now)
    visits(loop, world, 10)
    late(loop, world, 20, 25)

    def interrupt(*_: Any, **__: Any) -> None:
        raise Interrupted

    target: Any = keep if where == "evict" else Replayed
    call = (lambda: loop.erase("user-3", now=world.now)) if where == "drop" else (lambda: loop.close_events(world.now))
    with monkeypatch.context() as patched:
        patched.setattr(target, where, interrupt)
        with pytest.raises(Interrupted):
            call()
    if where == "admit":  # and where it goes on in the same process, it learns from what the facts say
        loop.close_events(now=world.now)
        with opened(copied(tmp_path), holdout=0.0, capacity=capacity) as rebuilt:
            rebuilt.close_events(now=world.now)
            assert seen(loop._state.replayed) == seen(rebuilt._state.replayed)
    loop.close()
    report = TAKEN_UP if where == "admit" else "made from"
    assert_same(opened, world.now, tmp_path, report=report, holdout=0.0, capacity=capacity)


def test_an_admin_does_not_close_events_behind_the_owners_back(opened: Open, world: Any, tmp_path: Path) -> None:
    loop = opened("a.dwell")
    visits(loop, world, 10)
    with open_loop(tmp_path / "a.dwell", pepper=PEPPER, _role="admin") as admin:
        for call in (admin.close_events, admin.train):
            with pytest.raises(StorageError) as caught:
                call(now=world.now)
            assert caught.value.code == "not_owner"
    assert loop.close_events(now=world.now) > 5
