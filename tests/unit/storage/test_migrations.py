"""Older files are brought up to date in one transaction; newer ones are refused."""

from pathlib import Path

import apsw
import pytest

from dwell.errors import SchemaVersionError
from dwell.storage import Answer, migrations, open_store
from dwell.storage.schema import APPLICATION_ID, SCHEMA, VERSION
from dwell.testing.store_samples import sample_impression, sample_signal

# Tables as the version in their name wrote them: every later dwell must read them for ever
V1_OUTCOMES = """
CREATE TABLE outcomes (
  id INTEGER PRIMARY KEY REFERENCES events (id),
  tenant TEXT NOT NULL DEFAULT '',
  state TEXT NOT NULL CHECK (state IN ('open', 'closed', 'reopened', 'not_shown', 'evicted')),
  version INTEGER NOT NULL DEFAULT 0 CHECK (version >= 0),
  closed_at INTEGER CHECK (closed_at >= 0),
  reward REAL CHECK (reward BETWEEN -1 AND 1),
  priority REAL NOT NULL DEFAULT 1 CHECK (priority >= 0),
  details BLOB
) STRICT;
CREATE INDEX outcomes_by_state ON outcomes (state, id);
"""


V2_TENANTS = """
CREATE TABLE tenants (
  tenant TEXT NOT NULL PRIMARY KEY,
  n INTEGER NOT NULL UNIQUE CHECK (n >= 0),
  last_seq INTEGER NOT NULL DEFAULT 0 CHECK (last_seq >= 0),
  live_version INTEGER
) STRICT, WITHOUT ROWID;
"""


V3_TENANTS = V2_TENANTS.replace(
    "live_version INTEGER", "live_version INTEGER, epoch INTEGER NOT NULL DEFAULT 0 CHECK (epoch >= 0)"
)
SINCE = {"answers": 4, "traces": 5, "trace_changes": 5}  # tables that were not there from the first


def old_schema(version: int) -> str:
    """Return the tables of an older version: those of today but for the ones that changed since."""
    today = SCHEMA[SCHEMA.index("CREATE TABLE settings") :]
    if version == 1:
        start, end = today.index("CREATE TABLE outcomes"), today.index("CREATE TABLE signals")
        today = today[:start] + V1_OUTCOMES + today[end:]
    start = today.index("CREATE TABLE traces" if version >= SINCE["answers"] else "CREATE TABLE answers")
    today = today[:start] + today[today.index("CREATE TABLE deletion_permit") :]
    return (V2_TENANTS if version <= 2 else V3_TENANTS) + today


def old_file(path: Path, version: int = 1) -> None:
    """Write a file of an older version that holds what a store of today wrote."""
    today = path.with_name("today")
    store = open_store(str(today))
    with store.transaction() as tx:
        for i in range(5):
            seq = tx.add_impression(sample_impression(f"e{i}", served_at=100.0 * (5 - i)))
            tx.add_signal(seq, sample_signal(f"e{i}"))
        tx.evict([4])
        tx.put_setting("k", b"v")
        tx.put_answer(Answer("key", b"d", b"body", 3.0))
    store.close()
    old = apsw.Connection(str(path))
    old.execute(old_schema(version))
    old.execute("ATTACH ? AS today", (str(today),))
    for (table,) in old.execute(
        "SELECT name FROM today.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall():
        if SINCE.get(table, 1) > version:
            continue
        columns = ", ".join(row[0] for row in old.execute("SELECT name FROM pragma_table_info(?, 'main')", (table,)))
        old.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM today.{table}")
    old.execute(f"DETACH today; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}")
    old.close()


def shape(path: Path) -> list[tuple[object, ...]]:
    connection = apsw.Connection(str(path))
    found = [
        (name, *row)
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
        ).fetchall()
        for row in connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,)).fetchall()
    ]
    found += connection.execute(
        "SELECT type, name, tbl_name, iif(type = 'table', '', sql) FROM sqlite_schema ORDER BY name"
    ).fetchall()
    connection.close()
    return found


@pytest.mark.parametrize("version", range(1, VERSION))
def test_an_older_file_keeps_everything(tmp_path: Path, version: int) -> None:
    old_file(tmp_path / "s", version)
    store = open_store(str(tmp_path / "s"))
    with store.transaction() as tx:
        assert tx.seqs() == [1, 2, 3, 4, 5]
        assert tx.seqs(since=200.0, until=500.0) == [2, 3, 4]
        assert [found.seq for found in tx.due(300.0, limit=9)] == [3, 5]
        assert [found.event_id for found in tx.impressions([1, 5])] == ["e0", "e4"]
        assert tx.signals([2])[2] == [sample_signal("e1")]
        assert tx.setting("k") == b"v"
        assert (tx.answer("key") is not None) == (version >= SINCE["answers"])
        assert (list(tx.traces()), tx.trace_changes()) == ([], [])
        assert tx.add_trace_change(b"one") == 1
        tx.put_traces([("a", b"packed", 7)])
        assert (list(tx.traces()), tx.forgettable(7, limit=1)) == ([("a", b"packed")], [("a", 7)])
        before = 0 if version <= 2 else 1  # since 3 it is counted
        assert tx.epoch() == before
        assert tx.evict([1]) == 1
        assert tx.epoch() == before + 1
        assert tx.add_impression(sample_impression("new")) == 6
    assert store.verify() == []
    store.close()


@pytest.mark.parametrize("version", range(1, VERSION))
def test_a_migrated_file_has_the_shape_of_a_new_one(tmp_path: Path, version: int) -> None:
    old_file(tmp_path / "s", version)
    open_store(str(tmp_path / "s")).close()
    open_store(str(tmp_path / "new")).close()
    assert shape(tmp_path / "s") == shape(tmp_path / "new")


def test_a_failed_migration_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_file(tmp_path / "s")
    before = shape(tmp_path / "s")
    monkeypatch.setitem(migrations.STEPS, 1, migrations.STEPS[1] + "; SELECT no_such_function()")
    with pytest.raises(Exception, match="no_such_function"):
        open_store(str(tmp_path / "s"))
    assert shape(tmp_path / "s") == before
    monkeypatch.undo()
    open_store(str(tmp_path / "s")).close()
    assert shape(tmp_path / "s") != before


def test_only_an_owner_migrates(tmp_path: Path) -> None:
    old_file(tmp_path / "s")
    for role in ("admin", "reader"):
        with pytest.raises(SchemaVersionError, match=f"has schema version 1, this dwell needs {VERSION}"):
            open_store(str(tmp_path / "s"), role=role)


def test_a_newer_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    open_store(str(tmp_path / "s")).close()
    connection = apsw.Connection(str(tmp_path / "s"))
    connection.execute(f"PRAGMA user_version = {VERSION + 7}")
    connection.close()
    before = (tmp_path / "s").read_bytes()
    for role in ("owner", "admin", "reader"):
        with pytest.raises(SchemaVersionError, match=f"has schema version {VERSION + 7}.*knows up to {VERSION}"):
            open_store(str(tmp_path / "s"), role=role)
    assert (tmp_path / "s").read_bytes() == before


def test_who_has_a_file_open_that_is_upgraded_stops_before_it_writes(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    open_store(path).close()
    running = {role: open_store(path, role=role) for role in ("learner", "admin", "reader")}
    with running["admin"].transaction() as tx:
        tx.put_setting("k", b"before")
    connection = apsw.Connection(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    for role, store in running.items():
        for use in (store.snapshot, store.transaction)[: 1 if role == "reader" else 2]:
            with pytest.raises(SchemaVersionError, match="was upgraded while this process had it open"), use() as tx:
                tx.put_setting("k", b"after")  # type: ignore[union-attr]
    assert connection.execute("SELECT value FROM settings WHERE key = 'k'").fetchall() == [(b"before",)]
    connection.execute(f"PRAGMA user_version = {VERSION}")  # as a backup that was restored
    with running["admin"].transaction() as tx:
        tx.put_setting("k", b"after")
    connection.close()
    for store in running.values():
        store.close()


def test_there_is_a_step_from_every_version() -> None:
    assert sorted(migrations.STEPS) == list(range(1, VERSION))


def test_a_version_without_a_step_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_file(tmp_path / "s")
    monkeypatch.delitem(migrations.STEPS, 1)
    with pytest.raises(SchemaVersionError, match="older than any"):
        open_store(str(tmp_path / "s"))


def test_a_file_that_was_only_created_is_finished(tmp_path: Path) -> None:
    (tmp_path / "s").touch()
    store = open_store(str(tmp_path / "s"))
    with store.transaction() as tx:
        assert tx.add_impression(sample_impression("a")) == 1
    store.close()
