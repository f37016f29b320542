"""A store is copied between files and databases, bit for bit, or not at all."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import dwell
from dwell.errors import StorageError, StoreOwnedError
from dwell.records import Params
from dwell.storage import Answer, open_store
from dwell.storage.copied_tables import TABLES
from dwell.storage.copying import Copied, copy_store
from dwell.storage.postgres_side import PostgresSide
from dwell.testing.store_samples import USERS, sample_impression, sample_signal

from ..crash import store_target  # noqa: TID252 - tests are no installed package
from ..postgres import database, emptied_database  # noqa: TID252 - tests are no installed package


@pytest.fixture
def url() -> Iterator[str]:
    with emptied_database() as found:
        yield found


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a file with something in every table, and a second tenant with gaps in its numbers."""
    folder = tmp_path_factory.mktemp("rich")
    store_target.make(folder)
    path = str(folder / store_target.FILE)
    store = open_store(path, tenant="b")
    with store.transaction() as tx:
        for i in range(40):
            tx.add_impression(sample_impression(f"e{i}", user=USERS[i % 8], is_shown=i % 5 != 0))
        for seq in (2, 3, 40):
            tx.add_signal(seq, sample_signal(f"e{seq - 1}"))
        tx.delete_events([10, 40])
        tx.erase_user(USERS[0], at=5.0)
        tx.add_params(Params(version=0, weights={"x": 1.0}))
        tx.set_live(0)
        tx.add_trace_change(b"of b")
        tx.add_trace_change(b"of b again")
        tx.put_traces([("item", b"row", 4), ("\N{KEY}", b"", None)], applied=1)
        tx.put_setting("key", b"of b")
        tx.put_answer(Answer("request", b"digest", b"body", 7.0))
    store.close()
    return path


def facts(where: str) -> list[object]:
    found: list[object] = []
    for tenant in ("", "b"):
        store = open_store(where, tenant=tenant, role="reader")
        with store.snapshot() as reader:
            found += [store_target.facts(reader), reader.setting("key"), reader.epoch(), reader.last_seq()]
            found.append(reader.answer("request"))
        store.close()
    return found


def test_a_copy_there_and_back_is_the_same(rich: str, url: str, tmp_path: Path) -> None:
    there = copy_store(rich, url)
    back = copy_store(url, str(tmp_path / "back"))
    assert there == back
    assert all(there.n_rows.values()), "every table is tried"
    with contextlib.closing(open_store(rich, role="reader")) as store, store.snapshot() as reader:
        assert there.n_rows["decisions"] == len(reader.decisions())
    assert facts(rich) == facts(url) == facts(str(tmp_path / "back"))
    store = open_store(str(tmp_path / "back"), role="reader")
    assert store.verify() == []
    store.close()
    other = copy_store(str(tmp_path / "back"), str(tmp_path / "beside"))
    assert other == there


def test_a_copy_goes_on_as_the_original_would(rich: str, url: str, tmp_path: Path) -> None:
    copy_store(rich, url)
    copy_store(rich, str(tmp_path / "twin"))
    seen = []
    for where in (url, str(tmp_path / "twin")):
        with dwell.open(where, pepper=b"a pepper of these tests", temperature=1.0) as loop:
            candidates = [{"id": f"d{i}", "bm25": i / 3, "cosine": 1 / (i + 1), "recency": 0.5} for i in range(6)]
            served = loop.rank("q", candidates, event_id="new", user="user-1", now=1_700_009_999.0)
            late = loop.feedback("event-00001", "purchase", doc=None, now=1_700_001_000.0)
            seen.append((served.ids, served.scores.tobytes(), served.params_version, late.status, len(loop.history())))
    assert seen[0] == seen[1]
    store = open_store(url, tenant="b")
    with store.transaction() as tx:
        assert tx.add_impression(sample_impression("next")) == 41, "a number was given again"
        assert tx.add_trace_change(b"next") == 3
        assert tx.size_bytes() > 0
    store.close()


def test_the_size_of_a_copy_is_that_of_a_store_filled_event_by_event(url: str, tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    for where in (path, url):
        store = open_store(where)
        with store.transaction() as tx:
            for i in range(20):
                tx.add_signal(tx.add_impression(sample_impression(f"e{i}")), sample_signal(f"e{i}"))
            tx.put_traces([("item", b"row", 4)])
            tx.add_trace_change(b"change")
            tx.add_orphan(sample_signal("unknown"))
            expected = tx.size_bytes()  # of the last one, which counts as it goes
        store.close()
    other = database()
    copy_store(path, other)
    with contextlib.closing(open_store(other, role="reader")) as store, store.snapshot() as reader:
        assert reader.size_bytes() == expected


def test_only_an_empty_place_is_copied_to(rich: str, url: str, tmp_path: Path) -> None:
    copy_store(rich, url)
    before = facts(url)
    with pytest.raises(StorageError) as refusal:
        copy_store(rich, url)
    assert refusal.value.code == "not_empty"
    assert "@/" in str(refusal.value)
    assert facts(url) == before
    with pytest.raises(StorageError):
        copy_store(str(tmp_path / "nothing"), str(tmp_path / "new"))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_in_use_is_not_copied_to(rich: str, url: str) -> None:
    store = open_store(url)
    with pytest.raises(StoreOwnedError):
        copy_store(rich, url)
    store.close()


def test_a_copy_that_fails_leaves_nothing(rich: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write = PostgresSide.write

    def fails_late(self: PostgresSide, table: object, rows: object) -> None:
        write(self, table, rows)  # type: ignore[arg-type]
        if table == TABLES[-1]:
            raise psycopg.OperationalError("the disk is gone")

    monkeypatch.setattr(PostgresSide, "write", fails_late)
    with pytest.raises(StorageError):
        copy_store(rich, url)
    monkeypatch.undo()
    assert isinstance(copy_store(rich, url), Copied)


def test_what_comes_back_otherwise_is_told(rich: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = PostgresSide.commit

    def loses_a_row(self: PostgresSide) -> None:
        self._connection.execute("DELETE FROM orphans")
        commit(self)

    monkeypatch.setattr(PostgresSide, "commit", loses_a_row)
    with pytest.raises(StorageError, match="orphans") as refusal:
        copy_store(rich, url)
    assert refusal.value.code == "copy_differs"
