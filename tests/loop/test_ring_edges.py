"""The column ring where the disk is full, the process only reads, a user is erased, threads race or a child forks."""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.errors import ForkedError
from dwell.loop import keep
from dwell.loop.entrance import open_loop
from dwell.storage import pseudonym

sys.path.insert(0, str(Path(__file__).parent))

from ringed import PEPPER, TAKEN_UP, Open, assert_same, copied, late, lived, ring_of, seen, visits


@pytest.fixture
def closed_store(opened: Open, world: Any, tmp_path: Path) -> Path:
    """Return the ring of a store that has learned and was closed."""
    loop = opened("a.dwell")
    lived(loop, world)
    loop.close()
    return ring_of(tmp_path)


# ---- no disk, no owner


def test_a_loop_without_room_for_its_ring_goes_on_in_memory(
    opened: Open, world: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.dwell.ring").mkdir()
    loop = opened("a.dwell")
    with caplog.at_level(logging.WARNING, "dwell"):
        lived(loop, world)  # an erasure included
    assert "kept in memory" in caplog.text
    loop.close()
    (tmp_path / "a.dwell.ring").rmdir()
    loop = opened("a.dwell")
    loop.close_events(now=world.now)
    loop.close()
    assert_same(opened, world.now, tmp_path, report=TAKEN_UP)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte, where this user may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("no mount")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("only root can mount")
    yield place
    subprocess.run([umount, "-l", str(place)], check=True)


@pytest.mark.parametrize("at_once", [10, 1_000])
def test_a_full_disk_sends_the_ring_to_memory_in_the_middle_of_a_rebuild(
    at_once: int,
    small_disk: Path,
    opened: Open,
    world: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = opened("a.dwell", max_candidates=64)
    wide = [{"id": f"d{i}", "good": i / 64, "bad": 0.0, "noise": 0.0} for i in range(64)]
    for i in range(1_100):  # the rows of 1,024 fill the first room, wide ones more than the disk
        loop.rank(f"q{i}", wide if i > 500 else wide[:3], user=f"u{i}", event_id=f"e{i}", now=world.now)
    loop.close_events(now=world.now + world.window_s)
    loop.close()
    ring_of(tmp_path).unlink()
    monkeypatch.setattr("dwell.loop.replayed._READ_AT_ONCE", at_once)
    monkeypatch.setattr("dwell.loop.opening.ring_path", lambda *_: str(small_disk / "a.ring"))
    with caplog.at_level(logging.WARNING, "dwell"):
        loop = opened("a.dwell")
        assert loop.close_events(now=world.now) == 0
    assert "memory" in caplog.text
    assert not loop._state.replayed.rows.has_file
    assert list(small_disk.iterdir()) == []
    monkeypatch.undo()
    with opened(copied(tmp_path)) as rebuilt:
        rebuilt.close_events(now=world.now)
        assert len(rebuilt._state.replayed) == 1_100
        assert seen(loop._state.replayed) == seen(rebuilt._state.replayed)


def test_the_first_embedding_late_in_a_rebuild_costs_no_row(
    opened: Open, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dwell.loop.replayed._READ_AT_ONCE", 10)
    loop = opened("a.dwell", holdout=0.0)
    visits(loop, world, 35)
    visits(loop, world, 10, has_embeddings=True)
    n_closed = loop.close_events(now=world.now)
    n_known = len(loop._state.replayed)
    assert n_closed - 3 <= n_known  # but for those that were shown in another order
    loop.close()
    ring_of(tmp_path).unlink()
    again = opened("a.dwell", holdout=0.0)
    again.close_events(now=world.now)
    assert len(again._state.replayed) == n_known


def test_a_reader_neither_opens_nor_writes_a_ring(closed_store: Path, opened: Open, world: Any, tmp_path: Path) -> None:
    before = (closed_store.read_bytes(), closed_store.stat().st_mtime_ns)
    touched: list[str] = []
    is_watched = threading.Event()  # a hook can not be taken away again

    def watch(name: str, args: tuple[Any, ...]) -> None:
        if name == "open" and is_watched.is_set():
            touched.append(str(args[0]))

    sys.addaudithook(watch)
    is_watched.set()
    try:
        with open_loop(
            tmp_path / "a.dwell", pepper=PEPPER, attribution_window_s=100.0, _role="reader"
        ) as reader:  # how long lists wait is no fact of the store
            health = reader.health(now=world.now)
            assert len(reader._state.replayed) > 50
            assert not reader._state.replayed.rows.has_file
        Path(os.devnull).read_bytes()
    finally:
        is_watched.clear()
    assert touched[-1] == os.devnull  # the hook does see what is opened
    assert not [path for path in touched if path.endswith(".ring")]
    assert (closed_store.read_bytes(), closed_store.stat().st_mtime_ns) == before
    loop = opened("a.dwell")
    assert repr(loop.health(now=world.now)) == repr(health)
    assert TAKEN_UP in loop._state.replayed.ring_report


# ---- erasure


def traces(ring: Path, loop: dwell.Loop, user: str) -> list[bytes]:
    """Return what only this user's events can leave in a ring: ids, hashes of queries, features."""
    who = pseudonym(PEPPER, "", user)
    found = []
    for experience in loop.experiences():
        if experience.user == who:
            found.append(experience.event_id.encode())
            found += [np.float32(result["noise"]).tobytes() for result in experience.results_served]
    assert len(found) > 20
    assert all(text in ring.read_bytes() for text in found[:1])
    return found


def left(tmp_path: Path, texts: list[bytes]) -> list[bytes]:
    rings = b"".join(path.read_bytes() for path in tmp_path.rglob("*.ring*"))
    return [text for text in texts if text in rings]


@pytest.mark.parametrize("who", ["open", "unopened", "admin-alone", "admin-beside"])
def test_no_byte_of_an_erased_user_is_left_in_the_ring(who: str, opened: Open, world: Any, tmp_path: Path) -> None:
    owner = opened("a.dwell", holdout=0.0)
    lived(owner, world)
    texts = traces(ring_of(tmp_path), owner, "user-3")
    if who in {"unopened", "admin-alone"}:
        owner.close()
        assert left(tmp_path, texts)
    if who == "unopened":
        owner = opened("a.dwell", holdout=0.0)
    if who in {"open", "unopened"}:
        owner.erase("user-3", now=world.now)
        # what was dropped stands on the disk as zeros, not in memory alone
        assert owner._state.replayed.rows.is_clean == (who == "open")
    else:
        with open_loop(tmp_path / "a.dwell", pepper=PEPPER, _role="admin") as admin:
            admin.erase("user-3", now=world.now)
    assert left(tmp_path, texts) == []
    if who == "admin-alone":
        owner = opened("a.dwell", holdout=0.0)
    visits(owner, world, 20, n_users=2)
    owner.train(now=world.now)
    assert left(tmp_path, texts) == []
    owner.close()
    assert left(tmp_path, texts) == []
    assert_same(opened, world.now, tmp_path, report="made from" if who == "admin-beside" else TAKEN_UP, holdout=0.0)
    assert left(tmp_path, texts) == []


def test_a_user_who_comes_back_is_erased_again_by_an_admin(opened: Open, world: Any, tmp_path: Path) -> None:
    owner = opened("a.dwell", holdout=0.0)
    for _ in range(2):
        visits(owner, world, 24, n_users=6)
        owner.close_events(now=world.now)
        before = len(owner._state.replayed)
        with open_loop(tmp_path / "a.dwell", pepper=PEPPER, _role="admin") as admin:
            n_erased = admin.erase("user-3", now=world.now)
        assert n_erased >= 3
        owner.close_events(now=world.now)
        assert len(owner._state.replayed) < before
        known = {row.seq for row in owner._state.replayed.rows.in_close_order()}
        with owner._state.store.snapshot() as reader:
            assert known <= set(reader.seqs())
    owner.close()
    assert_same(opened, world.now, tmp_path, report="made from", holdout=0.0)


def test_an_admin_who_erases_while_the_owner_closes_leaves_nothing_in_step(
    opened: Open, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = opened("a.dwell", holdout=0.0)
    visits(owner, world, 60)
    owner.close_events(now=world.now)
    texts = traces(ring_of(tmp_path), owner, "user-3")
    take_in = keep.take_in
    at_worst = iter(["user-3"])

    def and_erased(state: Any) -> None:
        take_in(state)
        for user in at_worst:
            with open_loop(tmp_path / "a.dwell", pepper=PEPPER, _role="admin") as admin:
                monkeypatch.setattr(keep, "take_in", take_in)
                admin.erase(user, now=world.now)

    monkeypatch.setattr(keep, "take_in", and_erased)
    ring = ring_of(tmp_path)
    (tmp_path / "kept").hardlink_to(ring)
    owner.close()
    assert not ring.exists()
    (tmp_path / "kept").rename(ring)  # were it there still, it would hold nothing either
    assert left(tmp_path, texts) == []
    assert_same(opened, world.now, tmp_path, report=TAKEN_UP, holdout=0.0)


# ---- threads and forks


def test_rows_are_never_torn_beside_other_threads(opened: Open, world: Any) -> None:
    loop = opened("a.dwell", capacity=60)
    visits(loop, world, 60)
    loop.train(now=world.now)
    state, is_over = loop._state, threading.Event()
    found: list[BaseException] = []
    known: dict[int, tuple[str, bytes]] = {}

    def read() -> None:
        while not is_over.is_set():
            for row in state.replayed.trainable():
                np.testing.assert_allclose(row.features[:, 0] + row.features[:, 1], 1.0, atol=1e-6)
                assert known.setdefault(row.seq, (row.event_id, row.features.tobytes())) == (
                    row.event_id,
                    row.features.tobytes(),
                )
                assert len(row.rewards) == row.n_kept <= len(row.inclusion)
            loop.health(now=world.now)
            loop.rank("q", world_of_readers.candidates(), now=world.now, activate=False)

    def guarded() -> None:
        try:
            read()
        except BaseException as error:  # noqa: BLE001 - told below
            found.append(error)

    world_of_readers = type(world)(seed=1)
    threads = [threading.Thread(target=guarded) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            visits(loop, world, 20)
            loop.train(now=world.now)
            late(loop, world, world.n - 10, world.n)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert found == []


def test_a_forked_child_does_not_touch_the_ring(opened: Open, world: Any, tmp_path: Path) -> None:
    loop = opened("a.dwell")
    visits(loop, world, 20)
    loop.close_events(now=world.now)
    state, ring = loop._state, ring_of(tmp_path)
    before = ring.read_bytes()
    is_held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with state.replayed.rows._lock:
            is_held.set()
            is_over.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_held.wait(5)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(10)  # a lock that nobody will give back
            for call in (lambda: loop.erase("user-3", now=world.now), lambda: loop.train(now=world.now)):
                with contextlib.suppress(ForkedError):
                    call()
                    os._exit(2)
            loop.close()
            code = 0
        finally:
            os._exit(code)
    is_over.set()
    holder.join()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert ring.read_bytes() == before
    loop.close()
    assert_same(opened, world.now, tmp_path, report=TAKEN_UP)
