"""The doctor on files: what stands in the way of opening them, the side file of columns, and whoever has them open."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

import dwell
from dwell.cli import main
from dwell.health.doctor import Diagnosis
from dwell.loop import open_loop
from dwell.storage import ownership
from dwell.storage.checksums import checking_vfs
from dwell.storage.schema import VERSION

PEPPER = b"a pepper of these tests"
SETTINGS: dict[str, Any] = {
    "features": ["good", "bad", "noise"],
    "weights": {"good": 0.1, "bad": 1.0, "noise": 0.5},
    "temperature": 1.0,
    "attribution_window_s": 100.0,
}
Doctor = Callable[[Path], tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, new_world: Any) -> Path:
    """Make a healthy store that nobody has open."""
    path = tmp_path_factory.mktemp("made") / "s.dwell"
    world = new_world()
    with dwell.open(path, **SETTINGS) as loop:
        for _ in range(2):
            world.visits(loop, 80)
            loop.train(now=world.now)
    return path


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Path:
    for beside in template.parent.iterdir():
        shutil.copy(beside, tmp_path / beside.name)
    return tmp_path / template.name


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Ask as a monitor does: the exit code, and what was printed."""

    def ask(path: Path) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = main(["doctor", str(path), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return ask


def first(told: dict[str, Any]) -> str:
    return str(told["findings"][0]["code"])


def looked(told: dict[str, Any], name: str) -> str:
    return str(next(one["sentence"] for one in told["looked_at"] if one["name"] == name))


def test_a_healthy_file_exits_0(store: Path, doctor: Doctor, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = doctor(store)
    assert (code, told["findings"], told["is_healthy"]) == (0, [], True)
    assert looked(told, "ring") == "it holds 160 events, as the store does"
    assert main(["doctor", str(store)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"WELL  {store}\n  Is it learning? Yes")
    assert "Do rewards arrive? " in said


def test_nothing_is_written_and_whoever_has_it_open_is_not_disturbed(store: Path, doctor: Doctor) -> None:
    before = {path.name: path.read_bytes() for path in store.parent.iterdir()}
    doctor(store)
    after = {path.name: path.read_bytes() for path in store.parent.iterdir()}
    assert {name: after[name] for name in before} == before
    with dwell.open(store, **SETTINGS) as loop:
        code, told = doctor(store)
        assert (code, told["findings"]) == (0, [])
        assert looked(told, "ring") == f"process {os.getpid()} has the store open and writes to it"
        assert loop.rank("q", [{"id": "a", "good": 1.0, "bad": 0.0, "noise": 0.0}]).fallback is None


# ---- what stands in the way of opening


def on_file(path: Path, statements: str) -> None:
    connection = apsw.Connection(str(path), vfs=checking_vfs())
    connection.execute(statements).fetchall()
    connection.close()


AS_4 = """
PRAGMA journal_mode = DELETE;
DROP TABLE traces;
DROP TABLE trace_changes;
ALTER TABLE tenants DROP COLUMN last_trace_change;
PRAGMA user_version = 4;
"""


def test_an_older_file_needs_an_upgrade_and_is_well_after_it(
    store: Path, doctor: Doctor, capsys: pytest.CaptureFixture[str]
) -> None:
    on_file(store, AS_4)
    code, told = doctor(store)
    assert (code, first(told), len(told["findings"])) == (1, "needs_upgrade", 1)
    remedy = told["findings"][0]["remedy"]
    assert f"`dwell db upgrade {store}`" in remedy
    capsys.readouterr()
    assert main(["db", "upgrade", str(store)]) == 0
    assert capsys.readouterr().out == f"{store}: schema version 4 -> {VERSION}\n"
    assert doctor(store)[0] == 0
    capsys.readouterr()
    assert main(["db", "upgrade", str(store), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"store": str(store), "schema_version_before": VERSION, "schema_version": VERSION}


def test_an_upgrade_waits_for_nobody_and_makes_nothing(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with dwell.open(store, **SETTINGS):
        assert main(["db", "upgrade", str(store)]) == 1
        assert str(os.getpid()) in capsys.readouterr().err
    assert main(["db", "upgrade", str(store.with_name("other"))]) == 1
    assert not store.with_name("other").exists()


def test_a_newer_file_asks_for_a_newer_dwell(store: Path, doctor: Doctor) -> None:
    on_file(store, f"PRAGMA user_version = {VERSION + 1}")
    code, told = doctor(store)
    assert (code, first(told)) == (1, "schema_newer")
    assert "pip install --upgrade dwell" in told["findings"][0]["remedy"]


def test_a_missing_pepper_is_named(store: Path, doctor: Doctor) -> None:
    pepper = store.with_name(f"{store.name}.pepper")
    pepper.chmod(0o644)
    code, told = doctor(store)
    assert (code, first(told)) == (1, "pepper_missing")
    assert told["findings"][0]["remedy"] == f"Run: chmod 600 {pepper}"
    pepper.unlink()
    code, told = doctor(store)
    assert (code, first(told)) == (1, "pepper_missing")
    assert "DWELL_PEPPER" in told["findings"][0]["remedy"]


@pytest.mark.parametrize("at", [0, 18, 0.5])
def test_a_damaged_file_is_named(store: Path, doctor: Doctor, at: float) -> None:
    content = bytearray(store.read_bytes())
    if at == 0.5:  # every page of the second half
        start = len(content) // 8192 * 4096
        content[start:] = bytes(255 - byte for byte in content[start:])
    else:
        content[int(at) : int(at) + 16] = b"\xff" * 16
    store.write_bytes(content)
    code, told = doctor(store)
    assert (code, first(told)) == (1, "store_damaged")
    assert "backup" in told["findings"][0]["remedy"]
    assert told["answer"].startswith("No")


def test_a_wrong_path_is_no_sick_store(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(store.with_name("other"))]) == 1
    assert "there is no store at" in capsys.readouterr().err
    assert main(["doctor", str(store), "--tenant", "nobody"]) == 1
    assert "holds nothing of" in capsys.readouterr().err


@pytest.mark.parametrize(("age_s", "is_named"), [(7_200.0, False), (3 * 86_400.0, True)])
def test_before_anything_was_closed_a_window_may_be_a_day(
    tmp_path: Path, new_world: Any, doctor: Doctor, age_s: float, *, is_named: bool
) -> None:
    world, path = new_world(), tmp_path / "new.dwell"
    world.now = time.time() - age_s
    with dwell.open(path, **SETTINGS) as loop:
        for _ in range(60):
            world.visit(loop)
        # who has opened it knows its window
        assert [one.code for one in loop.doctor().findings] == ["learner_idle"]
    code, told = doctor(path)
    assert (code, [one["code"] for one in told["findings"]]) == (int(is_named), ["learner_idle"] * is_named)


# ---- the side file of columns


def test_a_ring_that_the_store_left_behind_is_named_and_costs_no_alarm(store: Path, doctor: Doctor) -> None:
    with dwell.open(store, **SETTINGS) as loop:
        event = next(iter(loop.experiences(limit=1)))
        late = loop.feedback(event.event_id, "click", doc=event.results_served[0]["id"], now=event.timestamp + 200.0)
        assert late.status == "late"  # its reward is another now, and nobody told the ring
    code, told = doctor(store)
    assert (code, [one["code"] for one in told["findings"]]) == (0, ["ring_stale"])
    assert told["findings"][0]["severity"] == "notice"
    assert main(["train", str(store)]) == 0
    assert doctor(store)[1]["findings"] == []


def test_a_ring_of_another_moment_is_named(store: Path, doctor: Doctor) -> None:
    ring = store.with_name(f"{store.name}.ring")
    older = ring.read_bytes()
    with dwell.open(store, **SETTINGS) as loop:
        loop.rank("q", [{"id": "a", "good": 1.0, "bad": 0.0, "noise": 0.0}], now=1.0)
        loop.close_events(now=1_800_000_000.0)
    assert doctor(store)[1]["findings"] == []
    ring.write_bytes(older)
    assert first(doctor(store)[1]) == "ring_stale"


@pytest.mark.parametrize(("at", "state"), [(20, "damaged"), (0, "damaged"), (None, "stale")])
def test_a_damaged_ring_is_named(store: Path, doctor: Doctor, at: int | None, state: str) -> None:
    ring = store.with_name(f"{store.name}.ring")
    content = bytearray(ring.read_bytes())
    if at is None:  # its writer died: as it looks while somebody has it open
        with dwell.open(store, **SETTINGS) as loop:
            loop.rank("q", [{"id": "a", "good": 1.0, "bad": 0.0, "noise": 0.0}], now=1.0)
            loop.close_events(now=1_800_000_000.0)
            content = bytearray(ring.read_bytes())
    else:
        content[at] ^= 1
    ring.write_bytes(content)
    code, told = doctor(store)
    assert (code, first(told), told["findings"][0]["figures"]) == (0, "ring_stale", {"state": state})


@pytest.mark.parametrize("suffix", [".ring", ".lock"])
def test_a_pipe_in_place_of_a_side_file_is_not_waited_for(store: Path, suffix: str) -> None:
    beside = store.with_name(store.name + suffix)
    beside.unlink(missing_ok=True)
    os.mkfifo(beside)
    command = [sys.executable, "-m", "dwell", "doctor", str(store), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode in {0, 1}
    assert "answer" in json.loads(done.stdout)


def test_no_ring_is_no_fault(store: Path, doctor: Doctor) -> None:
    store.with_name(f"{store.name}.ring").unlink()
    code, told = doctor(store)
    assert (code, told["findings"]) == (0, [])
    assert looked(told, "ring") == "there is none; the first training makes it"


# ---- remedies that are lines of code


def test_a_feature_is_retired_by_the_line_that_is_given(tmp_path: Path, new_world: Any, doctor: Doctor) -> None:
    world, path = new_world(), tmp_path / "flat.dwell"
    how = SETTINGS | {"features": [*SETTINGS["features"], "flat"], "weights": {**SETTINGS["weights"], "flat": 0.0}}

    def visits(loop: dwell.Loop, **more: float) -> None:
        for _ in range(60):
            found = [c | more for c in world.candidates()]
            served = loop.rank("q", found, k=3, user=f"u{world.n}", now=world.now)
            loop.submit_feedback(served.event_id, "click", doc=served.ids[0], now=world.now + 1.0)
            world.n, world.now = world.n + 1, world.now + 1.0
        world.now += 101.0
        loop.train(now=world.now)

    with dwell.open(path, **how) as loop:
        visits(loop, flat=1.0)
    told = doctor(path)[1]
    assert [one["code"] for one in told["findings"]] == ["feature_constant"]
    assert "dwell.open(..., drop_features=['flat'])" in told["findings"][0]["remedy"]
    with dwell.open(path, drop_features=["flat"], temperature=1.0, attribution_window_s=100.0) as loop:
        visits(loop)
    code, told = doctor(path)
    assert (code, told["findings"]) == (0, [])
    assert next(one for one in told["looked_at"] if one["name"] == "features")["is_judged"]


# ---- who holds it


def test_the_holder_of_a_store_is_told_and_forgotten_when_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert ownership.holder(str(path)) is None
    held = ownership.Ownership(str(path))
    assert ownership.holder(str(path)) == os.getpid()
    held.release()
    assert ownership.holder(str(path)) is None
    for text in ("4194305", "0", "-1", "no number", str(2**70)):  # the first is above the most that Linux gives
        path.with_name("s.lock").write_text(text)
        assert ownership.holder(str(path)) is None


def test_a_loop_says_the_same_in_every_role(store: Path) -> None:
    def asked(**how: Any) -> Diagnosis:
        with open_loop(store, **how) as loop:
            return loop.doctor(now=1_800_000_000.0)

    pepper = store.with_name(f"{store.name}.pepper").read_bytes()
    owner, reader = asked(pepper=pepper), asked(pepper=pepper, _role="reader")
    without_ring = [one for one in owner.looked_at if one.name != "ring"]
    assert without_ring == [one for one in reader.looked_at if one.name != "ring"]
    assert owner.findings == reader.findings == ()
