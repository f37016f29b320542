"""What leaves a store is archived first, once, bit for bit; what can not be archived stays; erasure reaches it all."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dwell
from dwell.errors import ArchiveError, ConfigError
from dwell.loop.archiving import archives_of
from dwell.storage import pseudonym
from dwell.storage.archive import Archive
from dwell.storage.archive_places import archive_files, tenant_folder
from dwell.storage.archive_rows import ArchivedEvent

from ..postgres import emptied_database  # noqa: TID252 - tests are no installed package
from .archives import RETENTION_S, archived, differing, everything, searchable

Open = Callable[..., dwell.Loop]
PEPPER = b"a pepper of these tests"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def serve(loop: dwell.Loop, world: Any, n: int, *, user: str | None = None) -> None:
    for _ in range(n):
        world.visit(loop) if user is None else _visit(loop, world, user)


def _visit(loop: dwell.Loop, world: Any, user: str) -> None:
    name = f"event-{world.n:05d}"
    served = loop.rank(f"{user} asked {world.n}", world.candidates(), k=5, user=user, event_id=name, now=world.now)
    assert loop.feedback(name, "click", doc=served.ids[0], now=world.now + 1.0).status == "joined"
    world.n += 1
    world.now += 1.0


def aged(loop: dwell.Loop, world: Any) -> None:
    """Let everything become older than the retention, and have it removed."""
    world.now += RETENTION_S + world.window_s
    loop.close_events(now=world.now)


def test_aged_facts_come_back_from_the_archive_bit_for_bit(
    opened: Open, world: Any, anywhere: str, folder: Path
) -> None:
    loop = opened(anywhere, retention_s=RETENTION_S, archive=folder)
    serve(loop, world, 40)
    deferred = loop.rank(
        "later", world.candidates(), k=4, user="eve", event_id="deferred", activate=False, now=world.now
    )
    loop.activate("deferred", shown=[*deferred.ids[:2], "pinned"], now=world.now + 2.0)
    loop.rank("never", world.candidates(), event_id="unseen", activate=False, now=world.now)
    loop.log_retrieval(
        "elsewhere", [{"id": "a", "score": 2.0}, {"id": "b", "score": 1.0}], now=world.now, event_id="ext"
    )
    world.now += world.window_s + 1.0
    loop.close_events(now=world.now)
    loop.feedback("event-00003", "click", doc=None, now=world.now)
    before = everything(loop)
    assert {one.outcome.state for one in before} >= {"closed", "not_shown"}
    aged(loop, world)
    assert everything(loop) == []
    after = archived(folder)
    assert [one.impression.event_id for one in after] == [one.impression.event_id for one in before]
    assert [differing(a, b) for a, b in zip(before, after, strict=True)] == [[]] * len(before)
    assert sum(len(one.signals) for one in after) > 10
    assert loop.counts["archived"] == loop.counts["removed"] == len(before) == 43


def test_evicted_facts_are_archived_when_the_store_is_too_large(opened: Open, world: Any, folder: Path) -> None:
    loop = opened("a.dwell", capacity=10, holdout=0.0, max_store_bytes=1, archive=folder)
    serve(loop, world, 25)
    loop.close_events(now=world.now + world.window_s)
    assert [one.outcome.state for one in archived(folder)] == ["evicted"] * 15
    assert len(everything(loop)) == 10


def test_without_an_archive_nothing_is_written(opened: Open, world: Any, tmp_path: Path) -> None:
    loop = opened("a.dwell", retention_s=RETENTION_S)
    serve(loop, world, 3)
    aged(loop, world)
    assert everything(loop) == []
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    assert "archived" not in loop.counts


def test_parts_of_a_day_are_merged_as_they_come_and_days_stand_apart(opened: Open, world: Any, folder: Path) -> None:
    loop = opened(retention_s=RETENTION_S, archive=folder)
    world.now = 1_700_006_400.0 - 20.0  # 20 s before midnight: 19,676 days of 86,400 s
    serve(loop, world, 36)
    started_at = world.now - 36.0
    for i in range(1, 37):  # one event after the other leaves
        loop.close_events(now=started_at + i + RETENTION_S)
    files = archive_files(folder)
    assert sorted({path.parent.name for path in files}) == ["day=2023-11-14", "day=2023-11-15"]
    assert len(files) <= 2 * 5  # of 20 and of 16 events: a power of two each
    assert [one.impression.seq for one in archived(folder)] == list(range(1, 37))


def test_what_a_crash_left_in_both_is_archived_once(opened: Open, world: Any, folder: Path, tmp_path: Path) -> None:
    """The store of before is put back: as after a crash between writing and deleting, the archive is ahead of it."""
    loop = opened("a.dwell", retention_s=RETENTION_S, archive=folder)
    serve(loop, world, 3)
    aged(loop, world)
    serve(loop, world, 30)
    world.now += world.window_s + 1.0
    loop.close_events(now=world.now)
    loop.close()
    shutil.copy(tmp_path / "a.dwell", tmp_path / "before")
    loop = opened("a.dwell", retention_s=RETENTION_S, archive=folder)
    aged(loop, world)
    loop.close()
    files = archive_files(folder)
    shutil.copy(tmp_path / "before", tmp_path / "a.dwell")
    loop = opened("a.dwell", retention_s=RETENTION_S, archive=folder)
    assert len(everything(loop)) == 30
    loop.close_events(now=world.now)
    assert everything(loop) == []
    assert archive_files(folder) == files
    assert (loop.counts["archived"], loop.counts["removed"]) == (0, 30)


def test_a_seq_that_stands_there_as_another_event_is_refused(
    opened: Open, world: Any, folder: Path, tmp_path: Path
) -> None:
    """A backup of the store gives numbers again that the archive holds already: both can not be kept there."""
    loop = opened("a.dwell", retention_s=RETENTION_S, archive=folder)
    serve(loop, world, 3)
    aged(loop, world)
    loop.close()
    shutil.copy(tmp_path / "a.dwell", tmp_path / "before")
    for _ in range(2):
        loop = opened("a.dwell", retention_s=RETENTION_S, archive=folder)
        serve(loop, world, 3)
        aged(loop, world)
        n_left = len(everything(loop))
        loop.close()
        shutil.copy(tmp_path / "before", tmp_path / "a.dwell")
        world.now -= 2.0 * RETENTION_S  # on the same day
    assert n_left == 3
    assert len(archived(folder)) == 6


def test_the_same_events_are_written_once_and_newer_versions_replace_older(
    opened: Open, world: Any, folder: Path
) -> None:
    from dwell.loop.archiving import archive_first

    loop = opened(retention_s=RETENTION_S, archive=folder)
    serve(loop, world, 30)
    world.now += world.window_s + 1.0
    loop.close_events(now=world.now)
    state = loop._state
    seqs = [one.impression.seq for one in everything(loop)]
    assert len(archive_first(state, seqs[:20]) or {}) == 20  # and the process dies before it deletes
    files = archive_files(folder)
    archive_first(state, seqs[:20])
    assert archive_files(folder) == files
    late = everything(loop)[15].impression
    assert loop.feedback(late.event_id, "click", doc=late.served[-1], now=world.now).status == "late"
    archive_first(state, seqs[10:])
    after = archived(folder)
    assert [differing(a, b) for a, b in zip(everything(loop), after, strict=True)] == [[]] * 30
    assert after[15].outcome.state == "reopened"
    assert loop.counts["archived"] == 31  # one of them twice: its older version left


@pytest.mark.parametrize("how", ["gone", "no_space", "foreign", "damaged"])
def test_what_can_not_be_archived_is_not_deleted_and_is_told(
    opened: Open, world: Any, folder: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = opened("a.dwell", retention_s=RETENTION_S, archive=folder)
    serve(loop, world, 3)
    aged(loop, world)
    serve(loop, world, 60)
    root = tenant_folder(folder, "")
    if how == "gone":
        root.rename(folder / "unmounted")
    elif how == "foreign":
        (root / "_dwell.json").write_text('{"format":1,"store":"another"}')
    elif how == "damaged":
        path = archive_files(folder)[0]
        path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    else:

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
    state = loop._state
    world.now += RETENTION_S + world.window_s
    if how == "no_space":  # the store's own disk is another one: only the archive is asked
        from dwell.loop.archiving import archive_first

        with pytest.raises(ArchiveError) as caught:
            archive_first(state, [one.impression.seq for one in everything(loop)])
        assert (caught.value.code, "space" in str(caught.value)) == ("archive_unreachable", True)
        assert not list(folder.rglob(".tmp-*"))
        return
    loop.close_events(now=world.now)
    loop.close_events(now=world.now)
    assert len(everything(loop)) == 60
    report = loop.health(now=world.now)
    told = {alert.code: alert.message for alert in report.alerts}
    assert told["archive_failing"].startswith("2 attempts in a row")
    if how == "gone":
        (folder / "unmounted").rename(root)
        loop.close_events(now=world.now)
        assert everything(loop) == []
        assert "archive_failing" not in {alert.code for alert in loop.health(now=world.now).alerts}


@pytest.mark.parametrize("given", ["up/../../archive", "", 7, True, "a\0b"])
def test_a_path_that_is_none_is_refused_by_name(opened: Open, given: object) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(archive=given)
    assert caught.value.field == "archive"


# ---- erasure


def test_erasure_reaches_the_archive_and_no_byte_of_the_user_is_left(
    opened: Open, world: Any, anywhere: str, folder: Path
) -> None:
    loop = opened(anywhere, retention_s=RETENTION_S, archive=folder)
    for _ in range(10):
        serve(loop, world, 1, user="ada")
        serve(loop, world, 2, user="bob")
    who = pseudonym(PEPPER, "", "ada").encode()
    aged(loop, world)
    serve(loop, world, 1, user="ada")
    words = [who, b"ada asked", b"event-00000"]
    assert all(word in searchable(folder) for word in words)
    assert loop.erase("ada", now=world.now) == 11
    assert not any(word in searchable(folder) for word in words)
    assert {one.impression.query.split()[0] for one in archived(folder)} == {"bob"}
    assert len(archived(folder)) == 20
    assert not list(folder.rglob(".*"))
    assert loop.erase("ada", now=world.now) == 0


def test_uncompressed_bytes_of_the_user_are_gone_too(opened: Open, world: Any, folder: Path) -> None:
    """Compression hides text from a search of the raw bytes: here there is none."""
    from dataclasses import replace

    loop = opened()
    for _ in range(5):
        serve(loop, world, 1, user="ada")
        serve(loop, world, 1, user="bob")
    archive = replace(Archive.of(folder, tenant="", store="s", pepper=PEPPER), compression="none")
    archive.begin()

    def raw() -> bytes:
        return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())

    with archive.alone():
        archive.add(everything(loop))
        assert b"ada asked" in raw()
        assert archive.erase(pseudonym(PEPPER, "", "ada")) == 5
        assert b"ada asked" not in raw()
        assert pseudonym(PEPPER, "", "ada").encode() not in raw()
        assert b"bob asked" in raw()
        assert archive.erase(pseudonym(PEPPER, "", "bob")) == 5
    assert not list(folder.rglob("*.parquet"))


def test_what_a_crash_left_behind_is_erased_too(opened: Open, world: Any, folder: Path) -> None:
    loop = opened(retention_s=RETENTION_S, archive=folder)
    serve(loop, world, 3, user="ada")
    aged(loop, world)
    part = archive_files(folder)[0]
    for name in (".tmp-left", ".gone-left"):  # killed while writing, or between the renaming and the overwriting
        shutil.copy(part, part.with_name(name))
    assert loop.erase("ada", now=world.now) == 3
    assert not list(folder.rglob("*left")) + list(folder.rglob("*.parquet"))


def test_an_erasure_that_can_not_reach_the_archive_is_pending_until_it_can(
    opened: Open, world: Any, folder: Path
) -> None:
    loop = opened("a.dwell", retention_s=RETENTION_S, archive=folder)
    serve(loop, world, 3, user="ada")
    aged(loop, world)
    serve(loop, world, 3, user="ada")
    root, away = tenant_folder(folder, ""), folder / "away"
    root.rename(away)
    with pytest.raises(ArchiveError) as caught:
        loop.erase("ada", now=world.now)
    assert caught.value.code == "archive_unreachable"
    assert "pending" in caught.value.hint
    assert everything(loop) == []  # the facts are gone all the same
    assert loop.is_erased("ada")
    told = {alert.code: alert.severity for alert in loop.health(now=world.now).alerts}
    assert told["archive_erasures_pending"] == "critical"
    loop.close()
    loop = opened("a.dwell", retention_s=RETENTION_S)  # this process was not even told of the archive
    loop.close_events(now=world.now)
    assert loop.counts["archive_erasures_pending"] == 1
    root.mkdir()  # an empty mount point is not taken for the archive
    with pytest.raises(ArchiveError):
        loop.erase("ada", now=world.now)
    root.rmdir()
    away.rename(root)
    loop.close_events(now=world.now)
    assert archived(folder) == []
    assert loop.counts["archive_erasures_pending"] == 0


def test_only_parts_that_may_hold_the_user_are_written_anew(opened: Open, world: Any, folder: Path) -> None:
    loop = opened(retention_s=RETENTION_S, archive=folder)
    for day in range(4):
        world.now = 1_700_006_400.0 + day * 86_400.0
        serve(loop, world, 3, user="ada" if day == 2 else "bob")
    aged(loop, world)
    before = archive_files(folder)
    loop.erase("ada", now=world.now)
    assert archive_files(folder) == [path for i, path in enumerate(before) if i != 2]


def test_a_guests_erasure_reaches_what_an_application_archived(opened: Open, world: Any, folder: Path) -> None:
    """`dwell erase` opens the store beside a service, and is told nothing of its settings."""
    from dwell.loop.entrance import open_loop

    loop = opened("a.dwell", retention_s=RETENTION_S, archive=folder)
    serve(loop, world, 3, user="ada")
    aged(loop, world)
    with open_loop(loop._state.store.where, pepper=PEPPER, _role="admin") as admin:
        assert admin.erase("ada", now=world.now) == 3
    assert archived(folder) == []


def test_tenants_are_erased_apart(opened: Open, world: Any, folder: Path) -> None:
    for tenant in ("a/b", "../c"):
        loop = opened("a.dwell", tenant=tenant, retention_s=RETENTION_S, archive=folder)
        serve(loop, world, 3, user="ada")
        aged(loop, world)
        loop.close()
    loop = opened("a.dwell", tenant="a/b")
    assert loop.erase("ada", now=world.now) == 3
    assert [len(archived(folder, tenant)) for tenant in ("a/b", "../c")] == [0, 3]
    assert sorted(path.name for path in folder.iterdir()) == ["tenant=..%2Fc", "tenant=a%2Fb"]


# ---- elsewhere


def test_a_database_archives_and_erases_as_a_file_does(opened: Open, new_world: Any, tmp_path: Path) -> None:
    def life(where: str, folder: Path) -> list[ArchivedEvent]:
        loop, world = opened(where, retention_s=RETENTION_S, archive=folder, seed=3), new_world()
        for _ in range(8):
            serve(loop, world, 1, user="ada")
            serve(loop, world, 2, user="bob")
        aged(loop, world)
        assert everything(loop) == []
        assert loop.erase("ada", now=world.now) == 8
        assert pseudonym(PEPPER, "", "ada").encode() not in searchable(folder)
        return archived(folder)

    with emptied_database() as url:
        ours, theirs = life(url, tmp_path / "database"), life("a.dwell", tmp_path / "file")
    assert [differing(a, b) for a, b in zip(ours, theirs, strict=True)] == [[]] * 16


def test_the_learner_beside_a_service_archives_and_the_service_erases(world: Any, tmp_path: Path, folder: Path) -> None:
    from dwell.loop.entrance import open_loop

    how: dict[str, Any] = {"pepper": PEPPER, "attribution_window_s": 100.0, "retention_s": RETENTION_S}
    with (
        open_loop(tmp_path / "a.dwell", features=world.features, archive=folder, **how, _role="server") as serving,
        open_loop(tmp_path / "a.dwell", archive=folder, **how, _role="learner") as learning,
    ):
        serve(serving, world, 3, user="ada")
        serve(serving, world, 3, user="bob")
        aged(learning, world)
        assert learning.counts["archived"] == 6
        assert serving.erase("ada", now=world.now) == 3
        serve(serving, world, 1, user="bob")
        aged(learning, world)
    assert [one.impression.query.split()[0] for one in archived(folder)] == ["bob"] * 4


def test_what_changed_since_it_was_archived_is_not_deleted(opened: Open, world: Any, folder: Path) -> None:
    """A late reaction comes in between: the event stays, and goes once its newer version is in the archive."""
    loop = opened(retention_s=RETENTION_S, archive=folder, late_window_s=1e9)
    serve(loop, world, 4)
    world.now += world.window_s + 1.0
    loop.close_events(now=world.now)
    state = loop._state
    add, told = Archive.add, []

    def add_and_be_late(archive: Archive, events: list[ArchivedEvent]) -> int:
        n_added = add(archive, events)
        if not told:
            told.append(loop.feedback("event-00001", "click", doc=events[1].impression.served[-1], now=world.now))
        return n_added

    with pytest.MonkeyPatch.context() as patch:  # where the two processes meet can not be timed from outside
        patch.setattr(Archive, "add", add_and_be_late)
        world.now += RETENTION_S
        loop.close_events(now=world.now)
    assert told[0].status == "late"
    assert [one.impression.event_id for one in everything(loop)] == ["event-00001"]
    loop.close_events(now=world.now)
    assert everything(loop) == []
    assert [(one.outcome.state, one.outcome.version) for one in archived(folder)][1] == ("reopened", 2)
    assert len(archived(folder)) == 4
    assert state.counters["removed"] == 4


def test_a_reaction_to_what_was_not_shown_yet_is_not_lost_on_the_way_out(
    opened: Open, world: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It changes neither the event's state nor its version: so reactions are compared as well."""
    loop = opened(retention_s=RETENTION_S, archive=folder)
    served = loop.rank("q", world.candidates(), k=3, event_id="deferred", activate=False, now=world.now)
    add, told = Archive.add, []

    def add_and_hear(archive: Archive, events: list[ArchivedEvent]) -> int:
        n_added = add(archive, events)
        if not told:
            told.append(loop.feedback("deferred", "click", doc=served.ids[0], now=world.now))
        return n_added

    monkeypatch.setattr(Archive, "add", add_and_hear)  # where the two processes meet can not be timed from outside
    aged(loop, world)
    assert told[0].status == "joined"
    loop.close_events(now=world.now)
    assert everything(loop) == []
    (there,) = archived(folder)
    assert [signal.name for signal in there.signals] == ["click"]


def test_a_reaction_after_a_crash_between_archiving_and_deleting_is_archived(
    opened: Open, world: Any, folder: Path, tmp_path: Path
) -> None:
    """The store of before is put back, and hears of a reaction before the event leaves it again."""
    loop = opened("a.dwell", retention_s=RETENTION_S, archive=folder)
    serve(loop, world, 1, user="ada")
    aged(loop, world)
    served = loop.rank("q", world.candidates(), k=3, event_id="deferred", activate=False, now=world.now)
    loop.close()
    shutil.copy(tmp_path / "a.dwell", tmp_path / "before")
    with opened("a.dwell", retention_s=RETENTION_S, archive=folder) as loop:
        aged(loop, world)
    shutil.copy(tmp_path / "before", tmp_path / "a.dwell")
    loop = opened("a.dwell", retention_s=RETENTION_S, archive=folder)
    assert loop.feedback("deferred", "click", doc=served.ids[0], now=world.now).status == "joined"
    loop.close_events(now=world.now)
    assert everything(loop) == []
    assert [len(one.signals) for one in archived(folder)] == [1, 1]


def test_a_second_process_waits_for_the_archive_and_gives_up_by_name(
    opened: Open, world: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = opened(retention_s=RETENTION_S, archive=folder)
    serve(loop, world, 2)
    aged(loop, world)
    monkeypatch.setattr("dwell.storage.archive._WAIT_S", 0.1)
    token = dict(archives_of_loop(loop))[str(folder)]
    archive = Archive.of(folder, tenant="", store=token, pepper=PEPPER)
    with archive.alone(), pytest.raises(ArchiveError) as caught, archive.alone():
        pass
    assert caught.value.code == "archive_busy"
    with archive.alone():
        pass


def archives_of_loop(loop: dwell.Loop) -> list[tuple[str, str]]:
    with loop.facts() as reader:
        return archives_of(reader)
