"""The one way to open a store refuses what it can not open, by name."""

import sqlite3
import sys
from pathlib import Path

import pytest

from dwell.errors import ConfigError, MissingDependencyError, StorageError, StoreBusyError
from dwell.storage import open_store


@pytest.mark.parametrize("where", ["postgresql://u:pass@127.0.0.1:1/db", "postgres://u:pass@127.0.0.1:1/db"])
def test_a_database_that_is_away_is_told_without_the_password(where: str) -> None:
    with pytest.raises(StoreBusyError, match=r"u@127.0.0.1:1/db does not answer") as refusal:
        open_store(where)
    assert (refusal.value.code, refusal.value.retryable) == ("unreachable", True)
    assert "pass" not in str(refusal.value), "a connection string may hold a password"


def test_postgresql_without_its_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "dwell.storage.postgres", raising=False)
    for name in [name for name in sys.modules if name.split(".")[0].startswith("psycopg")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dwell\[postgres\]'"):
        open_store("postgresql://u:pass@127.0.0.1:1/db")


@pytest.mark.parametrize(
    "arguments", [{"role": "boss"}, {"durability": "none"}, {"where": ""}, {"where": "a\0b"}], ids=str
)
def test_what_does_not_exist_is_refused(arguments: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        open_store(**{"where": ":memory:", **arguments})


def test_a_folder_is_no_place_for_a_store(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    with pytest.raises(ConfigError, match="folder") as refusal:
        open_store(str(tmp_path / "inner"))
    assert refusal.value.field == "where"
    assert [found.name for found in tmp_path.iterdir()] == ["inner"]


@pytest.mark.parametrize("kind", ["text", "foreign"])
def test_nothing_is_left_beside_a_file_that_is_no_store(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a file"
    if kind == "text":
        path.write_text("dear diary\n" * 1_000, encoding="utf-8")
    else:
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE mine (x)")
        database.close()
    before = path.read_bytes()
    with pytest.raises(StorageError):
        open_store(str(path))
    assert [found.name for found in tmp_path.iterdir()] == ["a file"]
    assert path.read_bytes() == before


def test_a_store_that_was_damaged_keeps_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "s.dwell"
    open_store(str(path)).close()
    path.write_text("dear diary\n" * 1_000, encoding="utf-8")
    with pytest.raises(StorageError):
        open_store(str(path))
    assert (tmp_path / "s.dwell.lock").exists()


def test_memory_is_told_by_its_name() -> None:
    store = open_store(":memory:")
    assert (store.where, store.role, store.verify(), store.data_version()) == (":memory:", "owner", [], 0)
    store.close()
