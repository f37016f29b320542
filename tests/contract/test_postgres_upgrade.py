"""Tables of an older version keep everything; code of the release before goes on beside the one that upgraded them."""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from dwell.errors import SchemaVersionError, StorageError
from dwell.storage import open_store, postgres_migrations
from dwell.storage.copied_tables import TABLES
from dwell.storage.postgres_schema import VERSION
from dwell.storage.postgres_side import PostgresSide, _column
from dwell.storage.upgrading import stored_version, upgrade
from dwell.testing.store_samples import sample_impression

from ..crash import store_target  # noqa: TID252 - tests are no installed package
from ..postgres import database, emptied_database, make_v1  # noqa: TID252

ROOT = Path(__file__).parents[2]
# The last commit whose tables were those of version 1
OLD_CODE = "96ac51330828aba19dec607f2d16ffe32b08a94f"
# Shapes of tables, partitions and indexes, constraints and triggers; without the names of indexes, which are free
SHAPE = (
    """SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    a.attcollation::regcollation::text, pg_get_expr(d.adbin, d.adrelid)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'dwell'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1, a.attnum""",
    """SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), c.reloptions FROM pg_class c
    WHERE c.relnamespace = 'dwell'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1""",
    """SELECT regexp_replace(indexdef, 'INDEX \\S+ ON', 'INDEX ON') FROM pg_indexes
    WHERE schemaname = 'dwell' AND indexname <> 'events_by_event_id' ORDER BY 1""",
    """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'dwell'::regnamespace AND contype NOT IN ('p', 'n') ORDER BY 1, 2""",
    """SELECT tgrelid::regclass::text, tgname, regexp_replace(pg_get_triggerdef(oid), '\\s+', ' ', 'g') FROM pg_trigger
    WHERE tgrelid::regclass::text LIKE 'dwell.%' AND NOT tgisinternal ORDER BY 1, 2""",
    "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'dwell'::regnamespace ORDER BY 1",
    "SELECT * FROM dwell.partitions ORDER BY 1",
    "SELECT * FROM dwell.event_ids ORDER BY 1, 2",
)


def run(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def facts(url: str) -> object:
    with closing(open_store(url, role="reader")) as store, store.snapshot() as reader:
        return store_target.facts(reader)


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[str]:
    """Give a database of today's version with something in every table."""
    from dwell.storage.copying import copy_store

    store_target.make(tmp_path)
    with emptied_database() as url:
        copy_store(str(tmp_path / store_target.FILE), url)
        yield url


def old_twin(filled: str) -> str:
    """Return a database of version 1 that holds the same."""
    url = database()
    make_v1(url)
    with closing(PostgresSide(filled, is_target=False)) as side, psycopg.connect(url) as connection:
        for table in TABLES:
            columns = ["tenant", *(_column(table, name) for name in table.columns)]
            values = ", ".join(["%s"] * len(columns))
            connection.cursor().executemany(
                f"INSERT INTO dwell.{table.name} ({', '.join(columns)}) VALUES ({values})", list(side.read(table))
            )
    return url


def test_an_older_store_keeps_everything(filled: str) -> None:
    url = old_twin(filled)
    with pytest.raises(SchemaVersionError, match=f"has schema version 1, this dwell needs {VERSION}"):
        open_store(url, role="admin")
    assert upgrade(url) == (1, VERSION)
    assert facts(url) == facts(filled)
    store = open_store(url)
    assert store.verify() == []
    with store.transaction() as tx:
        assert tx.add_impression(sample_impression("a new one")) == tx.last_seq()
    store.close()
    assert upgrade(url) == (VERSION, VERSION)


def test_upgraded_tables_have_the_shape_of_new_ones(filled: str) -> None:
    url = old_twin(filled)
    open_store(url).close()
    for sql in SHAPE:
        assert run(url, sql) == run(filled, sql)


def test_a_failed_upgrade_changes_nothing(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = old_twin(filled)
    monkeypatch.setitem(postgres_migrations.STEPS, 1, postgres_migrations.STEPS[1] + "; SELECT no_such_function()")
    before = [run(url, sql) for sql in SHAPE[:6]]
    with pytest.raises(StorageError, match="no_such_function"):
        open_store(url)
    assert [run(url, sql) for sql in SHAPE[:6]] == before
    monkeypatch.undo()
    assert upgrade(url) == (1, VERSION)
    assert facts(url) == facts(filled)


def test_an_upgrade_waits_for_who_writes_and_who_writes_goes_on(filled: str) -> None:
    url = old_twin(filled)
    with psycopg.connect(url) as old, psycopg.connect(url, autocommit=True) as other:
        old.execute("SET search_path = dwell")
        old.execute("SELECT last_seq FROM tenants WHERE tenant = '' FOR NO KEY UPDATE")
        old.execute("INSERT INTO orphans VALUES ('', 'e', 'd', 'x', 'click', NULL, 1, 1, 1, NULL)")
        child = subprocess.Popen(
            [sys.executable, "-c", f"from dwell.storage.upgrading import upgrade; upgrade({url!r})"],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while child.poll() is None and not other.execute(waiting).fetchall()[0][0]:
            pass
        old.commit()
        assert child.wait(60) == 0
        assert other.execute("SELECT count(*) FROM dwell.orphans WHERE event_id = 'e'").fetchall() == [(1,)]


def test_every_version_has_its_step() -> None:
    assert sorted(postgres_migrations.STEPS) == list(range(1, VERSION))


# ---------------------------------------------------------------- two releases at once


def test_tables_of_a_later_release_are_used_as_long_as_they_allow_it() -> None:
    with emptied_database() as url:
        running = open_store(url)
        with running.transaction() as tx:
            tx.add_impression(sample_impression("a"))
        try:
            run(url, f"UPDATE dwell.store SET schema_version = {VERSION + 1}, oldest_code = {VERSION}")
            with closing(open_store(url, role="admin")) as store, store.transaction() as tx:
                tx.add_impression(sample_impression("b"))
            assert stored_version(url) == VERSION + 1
            run(url, f"UPDATE dwell.store SET oldest_code = {VERSION + 1}")
            for use in (running.transaction, running.snapshot):
                with pytest.raises(SchemaVersionError, match="was upgraded while this process had it open"), use():
                    pass
            with pytest.raises(SchemaVersionError, match="Upgrade dwell"):
                open_store(url, role="admin")
            assert run(url, "SELECT count(*) FROM dwell.events") == [(2,)]
        finally:
            run(url, f"UPDATE dwell.store SET schema_version = {VERSION}, oldest_code = 1")
        with running.transaction() as tx:
            assert tx.add_impression(sample_impression("c")) == 3
        running.close()


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the package as it was when the tables were those of version 1."""
    packed = subprocess.run(
        ["git", "archive", "--format=tar", OLD_CODE, "src/dwell"], cwd=ROOT, capture_output=True, check=False
    )
    if packed.returncode:
        pytest.skip("the history of this project is not here: the release before can not be tried")
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


def by_old_code(old_code: Path, url: str, script: str) -> None:
    """Run a script of the release before, in a process that was running when the tables were upgraded."""
    running = "from dwell.storage import postgres, open_store\nassert postgres.VERSION == 1\npostgres.VERSION = 2\n"
    child = subprocess.run(
        [sys.executable, "-c", running + f"url = {url!r}\n" + script],
        env={**os.environ, "PYTHONPATH": str(old_code)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-3_000:]


def test_code_of_the_release_before_is_refused_when_it_opens(old_code: Path) -> None:
    with emptied_database() as url:
        child = subprocess.run(
            [sys.executable, "-c", f"from dwell.storage import open_store; open_store({url!r})"],
            env={**os.environ, "PYTHONPATH": str(old_code)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "has schema version 2, this dwell knows up to 1" in child.stderr


CONTRACT = """
import tempfile
from pathlib import Path
from dwell.testing.store_contract import StoreContract
places = {}
class Old(StoreContract):
    serves_together = True
    def open_store(self, place, *, tenant="", role="owner"):
        n = places.setdefault(str(place), len(places))
        return open_store(url, tenant=f"{n} {tenant}", role=role)
tests = sorted(name for name in dir(Old) if name.startswith("test_"))
for name in tests:
    with tempfile.TemporaryDirectory() as folder:
        getattr(Old(), name)(Path(folder))
assert len(tests) > 40
"""


def test_code_of_the_release_before_that_was_running_keeps_the_contract(old_code: Path) -> None:
    with emptied_database() as url:
        by_old_code(old_code, url, CONTRACT)


MIXED = """
from dwell.testing.store_samples import sample_impression, sample_signal
store = open_store(url, role="admin")
for part in range(5):
    with store.transaction() as tx:
        first = tx.last_seq() + 1
        for seq in range(first, first + 20):
            assert tx.add_impression(sample_impression(f"old-{seq}")) == seq
            assert tx.add_signal(seq, sample_signal(f"old-{seq}")) == "added"
        assert tx.event("new-1").seq == 1 and tx.event(f"old-{first}").seq == first
        tx.evict([first]); tx.delete_events([first + 1])
"""


def test_both_write_to_the_same_tenant_across_partitions(old_code: Path) -> None:
    with emptied_database("upgraded") as url:
        run(url, "UPDATE dwell.store SET events_per_partition = 30")
        store = open_store(url)
        with store.transaction() as tx:
            tx.add_impression(sample_impression("new-1"))
        by_old_code(old_code, url, MIXED)
        with store.transaction() as tx:
            assert tx.last_seq() == 101
            assert tx.event("old-2") is not None
            assert tx.event("old-3") is None
            assert tx.add_impression(sample_impression("new-2")) == 102
            assert len(tx.seqs()) == 102 - 5
        assert store.verify() == []
        store.close()
        run(url, "UPDATE dwell.store SET events_per_partition = 131072")
