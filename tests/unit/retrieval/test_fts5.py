"""A table of somebody else's, searched by words."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest

from dwell.errors import ConfigError, StorageError
from dwell.retrieval import Fts5Source

ROWS = (
    ("kb-1", "Reset", "reset a token and a token"),
    ("kb-2", "Token", "mail"),
    ("kb-3", "Export", "export all the invoices of one year"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    connection = apsw.Connection(str(tmp_path / "kb.db"))
    connection.pragma("synchronous", 0)
    connection.execute("CREATE VIRTUAL TABLE kb USING fts5(doc UNINDEXED, title, body)")
    connection.executemany("INSERT INTO kb VALUES (?, ?, ?)", ROWS)
    connection.execute("CREATE TABLE plain (doc TEXT)")
    connection.execute("CREATE VIRTUAL TABLE bare USING fts5(body, content='')")
    connection.execute("INSERT INTO bare VALUES ('token')")
    connection.execute('CREATE TABLE "odd ""name" (doc TEXT)')
    connection.close()
    return tmp_path / "kb.db"


def bm25(query: Sequence[str], doc: str, weights: tuple[float, float, float]) -> float:
    """Score as the documentation of FTS5 has it: k1 1.2, b 0.75, the length that of all columns."""
    texts = {row[0]: [column.casefold().split() for column in row] for row in ROWS}
    lengths = {key: sum(len(column) for column in columns[1:]) for key, columns in texts.items()}
    mean = sum(lengths.values()) / len(ROWS)
    total = 0.0
    for word in query:
        n = sum(any(word in column for column in columns[1:]) for columns in texts.values())
        idf = max(math.log((len(ROWS) - n + 0.5) / (n + 0.5)), 1e-6)
        f = sum(weight * column.count(word) for weight, column in zip(weights, texts[doc], strict=True))
        total += idf * f * 2.2 / (f + 1.2 * (0.25 + 0.75 * lengths[doc] / mean))
    return total


@pytest.mark.parametrize("weights", [{}, {"title": 5.0}, {"title": 0.0, "body": 2.0}])
def test_the_number_is_bm25(path: Path, weights: dict[str, float]) -> None:
    source = Fts5Source(path, "kb", id_column="doc", weights=weights)
    by_column = (1.0, weights.get("title", 1.0), weights.get("body", 1.0))
    found = {one.id: one.features["bm25"] for one in source.search("invoices year reset")}
    assert found == pytest.approx({doc: bm25(["invoices", "year", "reset"], doc, by_column) for doc in found})
    assert set(found) == {"kb-1", "kb-3"}
    source.close()


def test_all_words_may_be_demanded(path: Path) -> None:
    with_any, with_all = (
        Fts5Source(path, "kb", id_column="doc", match=match, name=match, feature=f"bm25_{match}")
        for match in ("any", "all")
    )
    assert {one.id for one in with_any.search("reset export")} == {"kb-1", "kb-3"}
    assert with_all.search("reset export") == []
    [found] = with_all.search("token RESET")
    assert (found.id, set(found.features), with_all.name) == ("kb-1", {"bm25_all"}, "all")


def test_a_long_query_is_searched_whole(path: Path) -> None:
    source = Fts5Source(path, "kb", id_column="doc")
    query = " ".join(f"w{i}" for i in range(2_000)) + " invoices"
    assert [one.id for one in source.search(query)] == ["kb-3"]


def test_nothing_is_written(path: Path) -> None:
    before = path.read_bytes()
    source = Fts5Source(path, "kb", id_column="doc")
    source.search("token'; DELETE FROM kb; --")
    source.close()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"table": "plain"},
        {"table": "nowhere"},
        {"table": "kb'; --"},
        {"id_column": "nothing"},
        {"id_column": 'doc" --'},
        {"text_column": "nothing"},
        {"metadata_columns": ["nothing"]},
        {"weights": {"nothing": 1.0}},
        {"weights": {"body": -1.0}},
        {"weights": {"body": math.nan}},
        {"match": "some"},
        {"name": ""},
        {"content": "nowhere"},
        {"content": "plain", "content_rowid": "nothing"},
    ],
)
def test_what_does_not_fit_is_refused_at_once(path: Path, wrong: dict[str, Any]) -> None:
    arguments = {"table": "kb", "id_column": "doc", **wrong}
    with pytest.raises(ConfigError):
        Fts5Source(path, arguments.pop("table"), **arguments)


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        Fts5Source(tmp_path / "none.db", "kb", id_column="doc")
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("no database " * 100)
    with pytest.raises(ConfigError):
        Fts5Source(tmp_path / "text.db", "kb", id_column="doc")


def test_a_table_that_holds_no_ids_says_so(path: Path) -> None:
    with pytest.raises(StorageError, match="contentless"):
        Fts5Source(path, "bare", id_column="body").search("token")


def test_a_table_that_vanishes_is_an_error_of_the_store(path: Path) -> None:
    source = Fts5Source(path, "kb", id_column="doc")
    connection = apsw.Connection(str(path))
    connection.execute("DROP TABLE kb")
    with pytest.raises(StorageError, match="SQLite"):
        source.search("token")
