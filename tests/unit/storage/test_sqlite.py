"""What only a file can do wrong: damage, full disks, strangers, and text that was to be erased."""

import random
import shutil
import subprocess
import threading
import time
from pathlib import Path

import apsw
import pytest

from dwell.errors import CorruptStoreError, StorageError, StoreBusyError
from dwell.records import GateDecision, Params
from dwell.records.decision import Estimate
from dwell.storage import Quarantined, open_store
from dwell.storage import sqlite as sqlite_module
from dwell.storage.schema import FACTS
from dwell.testing.store_samples import sample_impression, sample_signal


def raw(path: Path) -> bytes:
    """Return file and journal as they stand; not opened here, which would drop SQLite's locks."""
    return b"".join(
        subprocess.run(["cat", f"{path}{suffix}"], capture_output=True, check=False).stdout for suffix in ("", "-wal")
    )


def filled(path: Path, n: int = 1) -> None:
    store = open_store(str(path))
    with store.transaction() as tx:
        for i in range(1, n + 1):
            tx.add_impression(sample_impression(f"e{i}", is_shown=False, user="ab" * 16))
            tx.add_activation(i, shown=[f"e{i}/doc-0"], is_altered=False, at=1.0)
            tx.add_signal(i, sample_signal(f"e{i}"))
        tx.add_params(Params(version=0, weights={"x": 1.0}))
        tx.add_decision(GateDecision("hold", ["a: b"], Estimate(0, 0, 0, 0, 0)))
    store.close()


def test_facts_are_append_only(tmp_path: Path) -> None:
    filled(tmp_path / "s")
    stranger = apsw.Connection(str(tmp_path / "s"))
    for table in FACTS:
        column = "tenant"
        with pytest.raises(apsw.ConstraintError, match=f"{table} never change once written"):
            stranger.execute(f"UPDATE {table} SET {column} = 'x'")
        with pytest.raises(apsw.ConstraintError, match=f"{table} are deleted by erasure and retention only"):
            stranger.execute(f"DELETE FROM {table}")
        assert stranger.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)
    stranger.close()


def test_erasure_leaves_no_permit_behind(tmp_path: Path) -> None:
    filled(tmp_path / "s", 2)
    store = open_store(str(tmp_path / "s"))
    with store.transaction() as tx:
        assert tx.erase_user("ab" * 16, at=1.0) == [1, 2]
    with store.snapshot() as reader:
        assert reader._query("SELECT count(*) FROM deletion_permit") == [(0,)]
    store.close()


def test_tables_are_strict_and_carry_their_tenant(tmp_path: Path) -> None:
    filled(tmp_path / "s")
    connection = apsw.Connection(str(tmp_path / "s"))
    tables = connection.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'").fetchall()
    found = {name: strict for name, strict in tables if not name.startswith("sqlite_")}
    assert set(FACTS) < set(found)
    for name, strict in found.items():
        assert strict == 1, name
        columns = [row[0] for row in connection.execute("SELECT name FROM pragma_table_xinfo(?)", (name,))]
        assert "tenant" in columns, name
    connection.close()


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("relaxed", 1)])
def test_durability_is_what_was_asked_for(durability: str, level: int, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s"), durability=durability)
    assert store._writer.pragma("synchronous") == level
    assert store._writer.pragma("journal_mode") == "wal"
    assert store._writer.pragma("secure_delete") == 1
    assert store._writer.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, -1) == 0
    with store.snapshot() as reader:
        assert reader._query("PRAGMA wal_autocheckpoint") == [(0,)]
    store.close()


def test_text_to_be_erased_stands_nowhere(tmp_path: Path) -> None:
    rng = random.Random(7)
    path = tmp_path / "s"
    users = [f"{rng.getrandbits(128):032x}" for _ in range(60)]
    store = open_store(str(path))
    for start in range(0, 600, 100):
        with store.transaction() as tx:
            for i in range(start, start + 100):
                user = rng.choice(users)
                impression = sample_impression(
                    f"{rng.getrandbits(64):016x}-{user[:12]}", user=user, query=f"secret words of {user}"
                )
                tx.add_signal(tx.add_impression(impression), sample_signal(impression.event_id))
                if i % 10 == 0:
                    tx.add_quarantined(Quarantined(f"q{i}-{user[:12]}", f"bad {user}", 1.0, user))
                    tx.add_orphan(sample_signal(f"q{i}-{user[:12]}"))
    gone, stay = users[:30], users[30:]
    for user in gone:
        assert user.encode() in raw(path)
        with store.transaction() as tx:
            tx.erase_user(user, at=5.0)
    store.scrub()
    left = raw(path)
    for user in gone:
        assert left.count(user.encode()) == 1, "in its tombstone, and there alone"
        assert f"secret words of {user}".encode() not in left
        assert user[:12].encode() not in left.replace(user.encode(), b""), "ids of events and documents"
    assert all(f"secret words of {user}".encode() in left for user in stay)
    store.close()


def test_scrubbing_waits_for_long_reads_and_then_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "BUSY_TIMEOUT_S", 0.05)
    filled(tmp_path / "s")
    store = open_store(str(tmp_path / "s"))
    with store.transaction() as tx:
        tx.put_setting("k", b"v")
    with store.snapshot(), pytest.raises(StoreBusyError, match="older state"):
        store.scrub()
    store.scrub()
    store.close()


def test_a_held_write_lock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "BUSY_TIMEOUT_S", 0.05)
    store = open_store(str(tmp_path / "s"))
    admin = open_store(str(tmp_path / "s"), role="admin")
    with admin.transaction(), pytest.raises(StoreBusyError), store.transaction():
        pass
    with store.transaction() as tx:
        tx.put_setting("k", b"v")
    admin.close()
    store.close()


def test_an_admin_gets_its_turn_beside_a_busy_owner(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s"))
    admin = open_store(str(tmp_path / "s"), role="admin")
    is_over = threading.Event()

    def write() -> None:
        n = 0
        while not is_over.is_set():
            with store.transaction() as tx:
                n += 1
                tx.put_setting("n", bytes(n % 100))
                time.sleep(0.005)

    thread = threading.Thread(target=write)
    thread.start()
    for i in range(3):
        with admin.transaction() as tx:
            tx.put_setting("admin", bytes([i]))
    is_over.set()
    thread.join()
    admin.close()
    store.close()


def test_a_full_disk_is_told_and_forgiven(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s"))
    with store.transaction() as tx:
        tx.add_impression(sample_impression("before"))
    n_pages = store._writer.pragma("page_count")
    store._writer.pragma("max_page_count", n_pages + 3)

    def add_many() -> None:
        with store.transaction() as tx:
            for i in range(300):
                tx.add_impression(sample_impression(f"e{i}", query="q" * 2000))

    with pytest.raises(StorageError) as failure:
        add_many()
    assert failure.value.code == "disk_full"
    assert not store._writer.in_transaction
    with store.snapshot() as reader:
        assert reader.seqs() == [1]
    store._writer.pragma("max_page_count", 1_000_000)
    with store.transaction() as tx:
        assert tx.add_impression(sample_impression("after")) == 2
    assert store.verify() == []
    store.close()


def test_a_lost_transaction_takes_nothing_more(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s"))

    def go_on_after_a_failure() -> None:
        with store.transaction() as tx:
            tx.add_impression(sample_impression("a"))
            tx.seqs()
            store._writer.execute("ROLLBACK")  # what SQLite does by itself when a disk fails
            with pytest.raises(StorageError):
                tx._execute("SELECT no_such_column")
            tx.put_setting("k", b"outside of any transaction")

    with pytest.raises(StorageError, match="undone by an earlier failure"):
        go_on_after_a_failure()
    with store.snapshot() as reader:
        assert (reader.seqs(), reader.setting("k")) == ([], None)
    store.close()


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    text, database = tmp_path / "notes.txt", tmp_path / "other.db"
    text.write_bytes(b"Dear diary, " * 500)
    other = apsw.Connection(str(database))
    other.execute("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    other.close()
    before = (text.read_bytes(), database.read_bytes())
    for role in ("owner", "admin", "reader"):
        with pytest.raises(CorruptStoreError, match=r"notes\.txt is no SQLite database"):
            open_store(str(text), role=role)
        with pytest.raises(StorageError, match="no dwell store") as refusal:
            open_store(str(database), role=role)
        assert refusal.value.code == "not_a_store"
    assert (text.read_bytes(), database.read_bytes()) == before


def test_a_missing_store_is_made_by_an_owner_only(tmp_path: Path) -> None:
    for role in ("admin", "reader"):
        with pytest.raises(StorageError, match="there is no store"):
            open_store(str(tmp_path / "s"), role=role)
    with pytest.raises(StorageError, match="can not be opened"):
        open_store(str(tmp_path / "no" / "folder"))
    assert not list(tmp_path.iterdir())


def test_a_truncated_copy_is_found(tmp_path: Path) -> None:
    filled(tmp_path / "s", 200)
    whole = (tmp_path / "s").read_bytes()
    for share in (0.3, 0.6, 0.95):
        (tmp_path / "torn").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(CorruptStoreError, match="torn"):
            open_store(str(tmp_path / "torn"))


def test_a_flipped_bit_in_a_body_names_the_event(tmp_path: Path) -> None:
    path = tmp_path / "s"
    store = open_store(str(path))
    with store.transaction() as tx:
        for name in ("first", "second"):
            tx.add_impression(sample_impression(name, query=f"words of the {name}"))
    store.close()
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"words of the second", b"words of the sec0nd"))
    store = open_store(str(path))
    with store.snapshot() as reader, pytest.raises(CorruptStoreError, match="does not agree with its checksum"):
        reader.impressions([1, 2])
    assert store.verify() == [
        f"{path} is damaged: a page does not agree with its checksum",
        "the stored impression of event 'second' is damaged",
    ]
    store.close()


def test_a_broken_page_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    filled(path, 50)
    whole = bytearray(path.read_bytes())
    root = apsw.Connection(str(path)).execute("SELECT rootpage FROM sqlite_schema WHERE name = 'outcomes'").fetchone()
    start = (root[0] - 1) * 4096
    whole[start + 8 : start + 200] = bytes(192)
    path.write_bytes(whole)
    store = open_store(str(path))
    try:
        found = store.verify()
    except CorruptStoreError as error:
        found = [str(error)]
    assert found
    store.close()


def test_two_names_of_a_file_are_one_store(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s"))
    (tmp_path / "link").symlink_to(tmp_path / "s")
    with pytest.raises(StorageError, match="is owned by process"):
        open_store(str(tmp_path / "link"))
    store.close()


def test_a_copy_of_a_closed_store_is_whole(tmp_path: Path) -> None:
    filled(tmp_path / "s", 3)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["s", "s.lock"]
    shutil.copy(tmp_path / "s", tmp_path / "copy")
    copy = open_store(str(tmp_path / "copy"), role="reader")
    with copy.snapshot() as reader:
        assert reader.seqs() == [1, 2, 3]
    copy.close()


def test_many_readers_at_a_time_leave_few_connections(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s"))
    barrier = threading.Barrier(20)

    def read() -> None:
        with store.snapshot() as reader:
            barrier.wait(10)
            reader.seqs()

    threads = [threading.Thread(target=read) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store._idle) <= 8
    store.close()
    assert not store._idle


def test_held_back_rows_are_complete_at_any_number(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s"))
    n = 0
    for size in (1, 3, 4, 255, 256, 257, 341, 600):
        with store.transaction() as tx:
            for i in range(size):
                with tx.savepoint():
                    seq = tx.add_impression(sample_impression(f"{size}-{i}", k=1, n=1))
                    tx.add_signal(seq, sample_signal(f"{size}-{i}"))
                    if i % 100 == 50:
                        assert len(tx.seqs()) == n + i + 1
        n += size
        with store.snapshot() as reader:
            assert reader.seqs() == list(range(1, n + 1))
            assert reader.counts()["signals"] == n
            assert len(reader.impressions(range(1, n + 1))) == n
    store.close()


def test_a_torn_journal_keeps_whole_transactions(tmp_path: Path) -> None:
    path = tmp_path / "s"
    store = open_store(str(path))
    for i in range(12):
        with store.transaction() as tx:
            for j in range(3):
                tx.add_impression(sample_impression(f"{i}-{j}"))
    whole = raw(tmp_path / "s")[path.stat().st_size :]
    main_file = raw(path)[: path.stat().st_size]
    store.close()
    n_found = set()
    for n_bytes in (*range(0, len(whole), 1777), len(whole)):
        copy = tmp_path / f"torn-{n_bytes}"
        copy.write_bytes(main_file)
        Path(f"{copy}-wal").write_bytes(whole[:n_bytes])
        torn = open_store(str(copy))
        assert torn.verify() == []
        with torn.snapshot() as reader:
            n_found.add(reader.last_seq())
            assert reader.seqs() == list(range(1, reader.last_seq() + 1))
        torn.close()
    assert n_found == {3 * i for i in range(13)}
