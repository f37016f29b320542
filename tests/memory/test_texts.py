"""The file of texts: what is deleted, and what is refused."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path

import pytest

from dwell.errors import ConfigError, ForkedError, StorageError, StoreClosedError
from dwell.memory.texts import Row, Texts

N = 200
SEEDS = (0, 6)  # the first of them leaves some with SQLite 3.54


def row(number: int, text: str) -> Row:
    return Row(number, f"m{number}", text, f"l{number}{len(text)}", "", b"{}", 1.0, is_pinned=False)


def word(number: int) -> str:
    return f"zy{number:05d}q"


def left_in(path: Path, numbers: list[int]) -> list[int]:
    held = path.read_bytes() + Path(f"{path}-wal").read_bytes()
    return [number for number in numbers if word(number).encode() in held]


def test_a_scrub_leaves_nothing_where_deleting_alone_does(tmp_path: Path) -> None:
    """SQLite overwrites what is deleted, but leaves copies where rows were moved between pages."""
    n_left = 0
    for seed in SEEDS:
        path, rng = tmp_path / f"{seed}.texts", random.Random(seed)
        texts = Texts.open(str(path), mark="m", durability="relaxed")
        numbers = list(range(N))
        again = [number for _ in range(3) for number in rng.sample(numbers, N // 2)]
        for number in [*numbers, *again]:  # half of them once more, thrice, longer or shorter
            texts.put(row(number, f"{word(number)} {'pad ' * rng.randrange(1, 80)}"), f"{word(number)} pad")
        gone = rng.sample(numbers, N // 2)
        texts.remove([f"m{number}" for number in gone])
        texts._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        n_left += len(left_in(path, gone))
        texts.scrub()
        assert left_in(path, gone) == []
        assert len(texts.rows()) == N // 2
        texts.close()
    assert n_left > 0, "deleting alone left nothing: nothing was tested"


def test_deleting_alone_overwrites_rows_and_words(tmp_path: Path) -> None:
    path = tmp_path / "t"
    texts = Texts.open(str(path), mark="m", durability="full")
    for number in range(20):
        texts.put(row(number, f"{word(number)} told"), f"{word(number)} told")
    texts.remove([f"m{number}" for number in range(5, 15)])
    texts._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert left_in(path, list(range(5, 15))) == []
    assert left_in(path, [4, 15]) == [4, 15]
    texts.close()


def test_words_are_never_read_as_syntax() -> None:
    texts = Texts.open(":memory:", mark="m", durability="full")
    texts.put(row(0, "near"), "near")
    for hostile in ('"', "near OR", "NEAR(", "a*", "-x", "terms:near", "'; DROP TABLE texts"):
        texts.matches([hostile])
    assert texts.matches(["near"])[0].tolist() == [0]
    assert texts.matches([])[0].size == 0
    texts.close()


def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    other = tmp_path / "other"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(ConfigError, match="no memory of this version"):
        Texts.open(str(other), mark="m", durability="full")
    with sqlite3.connect(other) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]
    connection.close()
    with pytest.raises(StorageError, match="can not be opened"):
        Texts.open(str(tmp_path / "nowhere" / "t"), mark="m", durability="full")


def test_only_its_user_may_read_the_file(tmp_path: Path) -> None:
    texts = Texts.open(str(tmp_path / "t"), mark="m", durability="full")
    texts.put(row(0, "secret"), "secret")
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert modes == {"t": 0o600, "t-wal": 0o600, "t-shm": 0o600}
    texts.close()
    texts.close()
    with pytest.raises(StoreClosedError):
        texts.rows()


def test_a_forked_child_is_refused(tmp_path: Path) -> None:
    texts = Texts.open(str(tmp_path / "t"), mark="m", durability="full")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            texts.rows()
        except ForkedError:
            texts.close()  # nothing is touched
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert texts.rows() == []
    texts.close()


def test_what_is_removed_is_leaving_until_it_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "t")
    texts = Texts.open(path, mark="m", durability="full")
    texts.put(row(0, "one"), "one")
    texts.put(row(1, "two"), "two")
    texts.put(row(2, "three"), "three", leaving=["m0"])
    texts.remove(["m1"])
    texts.close()
    texts = Texts.open(path, mark="m", durability="full")
    assert texts.leaving() == ["m0", "m1"]
    texts.put(row(1, "two"), "two")  # it is back
    texts.left(["m0"])
    assert texts.leaving() == []
    assert [one.id for one in texts.rows()] == ["m1", "m2"]
    texts.close()
