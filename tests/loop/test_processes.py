"""Processes: one owner, admins beside it, what each sees of the other, and what a sudden death leaves."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dwell
from dwell.errors import StorageError, StoreOwnedError
from dwell.loop.entrance import open_loop

Open = Callable[..., dwell.Loop]

ADMIN = """
import sys
from dwell.loop.entrance import open_loop
with open_loop(sys.argv[1], pepper=b"a pepper of these tests", _role="admin") as loop:
    exec(sys.argv[2])
"""

VISITS = """
import sys
import dwell
loop = dwell.open(sys.argv[1], features=["good"], weights={"good": 1.0}, pepper=b"a pepper of these tests")
for i in range(10**6):
    name = f"{sys.argv[2]}-{i}"
    served = loop.rank("q", [{"id": "a", "good": 1.0}, {"id": "b", "good": 0.5}], event_id=name, now=1.7e9 + i)
    answer = loop.feedback(name, "click", doc=served.ids[0], now=1.7e9 + i)
    print(name, answer.status, flush=True)
"""


def environment(root: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(root / "src")}


def as_admin(root: Path, place: Path, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ADMIN, str(place), code],
        env=environment(root),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_an_admins_rollback_is_seen_within_a_second(opened: Open, world: Any, tmp_path: Path, root: Path) -> None:
    loop = opened("a.dwell")
    other = dwell.Params(version=9, weights={"good": 1.0, "bad": 0.0, "noise": 0.0})
    loop.promote(other, force=True, now=world.now)
    assert world.visit(loop).params_version == 1
    as_admin(root, tmp_path / "a.dwell", "loop.rollback()")
    time.sleep(1.0)
    assert world.visit(loop).params_version == 0
    assert [d.kind for d in loop.history()] == ["initial", "forced", "rollback"]


def test_a_rollback_before_the_owners_first_look_is_seen(opened: Open, world: Any, tmp_path: Path, root: Path) -> None:
    loop = opened("a.dwell")
    loop.promote(dwell.Params(version=9, weights={"good": 1.0, "bad": 0.0, "noise": 0.0}), force=True)
    loop.close()
    again = opened("a.dwell")
    as_admin(root, tmp_path / "a.dwell", "loop.rollback()")
    assert world.visit(again).params_version == 0


def test_train_judges_against_what_an_admin_made_live(opened: Open, world: Any, tmp_path: Path, root: Path) -> None:
    loop = opened("a.dwell", temperature=1.0)
    loop.promote(dwell.Params(version=9, weights={"good": 0.0, "bad": 1.0, "noise": 0.0}), force=True)
    world.visits(loop, 60)
    assert loop.train(now=world.now).live.version == 1
    as_admin(root, tmp_path / "a.dwell", "loop.rollback()")
    report = loop.train(now=world.now)  # at once, within the half second in which rank may not look
    assert (report.live.version, report.decision.safe_version) == (0, 0)
    assert report.proposed.version > 2  # what was learned from version 1 is not judged against version 0


def test_rows_that_another_process_erased_are_dropped_before_the_next_sample(
    opened: Open, world: Any, tmp_path: Path, root: Path
) -> None:
    loop = opened("a.dwell", holdout=0.0)
    world.visits(loop, 30, n_users=3)
    assert loop.close_events(now=world.now) == 30
    state = loop._state
    before = len(state.replayed)
    as_admin(root, tmp_path / "a.dwell", "print(loop.erase('user-1'))")
    loop.train(now=world.now)
    of_user = {f"event-{i:05d}" for i in range(1, 30, 3)}
    assert (before, len(state.replayed)) == (30, 20)
    assert not of_user & {row.event_id for row in state.replayed.rows.in_close_order()}
    assert len(state.replayed.buffer) == 20


def test_a_reader_reads_beside_the_owner_and_writes_nothing(opened: Open, world: Any, tmp_path: Path) -> None:
    loop = opened("a.dwell")
    served = world.visit(loop)
    loop.health()
    loop.close_events(now=world.now)
    with open_loop(tmp_path / "a.dwell", pepper=b"a pepper of these tests", _role="reader") as reader:
        assert [e.event_id for e in reader.experiences()] == [served.event_id]
        assert reader.params.weights == loop.params.weights
        assert reader.history()[0].kind == "initial"
        with pytest.raises(StorageError):
            reader.rollback(to=0) if reader.params.version else reader.erase("user-0")
        assert reader.rank("q", world.candidates()).fallback == "storage"
        assert reader.feedback(served.event_id, "click", doc=served.ids[0]).status == "rejected"


def test_another_process_can_not_own_what_is_owned(opened: Open, tmp_path: Path, root: Path) -> None:
    opened("a.dwell")
    done = subprocess.run(
        [sys.executable, "-c", VISITS, str(tmp_path / "a.dwell"), "x"],
        env=environment(root),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert StoreOwnedError.__name__ in done.stderr
    assert str(os.getpid()) in done.stderr


@pytest.mark.crash
def test_every_acknowledged_feedback_survives_kill_9(tmp_path: Path, root: Path) -> None:
    place = tmp_path / "a.dwell"
    acknowledged: list[str] = []
    for run in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", VISITS, str(place), f"run{run}"],
            env=environment(root),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for _ in range(20 + 17 * run):  # a different moment in each run
            name, status = child.stdout.readline().split()
            assert status == "joined"
            acknowledged.append(name)
        child.send_signal(signal.SIGKILL)
        lines = child.stdout.read().splitlines(keepends=True)
        acknowledged += [line.split()[0] for line in lines if line.endswith("\n")]
        child.stdout.close()
        child.wait(30)
        with dwell.open(place, pepper=b"a pepper of these tests") as loop:
            clicked = {e.event_id for e in loop.experiences() if e.feedback_signals == {"click": 1.0}}
            assert clicked.issuperset(acknowledged)
            assert loop._state.store.verify() == []
    assert len(acknowledged) >= 5 * 20
