"""The full-text side: documents and their FTS5 index in one SQLite file. Nothing that a searcher types can break it."""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import numpy as np
from numpy.typing import NDArray

from dwell.errors import ConfigError, StorageError

_APPLICATION_ID = 0x44574C52  # "DWLR", so that another program's file is not mistaken for an index
_FORMAT_VERSION = 1

_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_FORMAT_VERSION};
CREATE TABLE documents (
    number INTEGER PRIMARY KEY, doc_id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, body TEXT NOT NULL,
    links TEXT NOT NULL, modified_at REAL
) STRICT;
CREATE VIRTUAL TABLE terms USING fts5(title, body, content='', tokenize='unicode61 remove_diacritics 0');
"""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as the index keeps it; what is given to `Retriever.build` need only have the same attributes."""

    doc_id: str
    title: str
    body: str
    links: tuple[str, ...] = ()
    modified_at: float | None = None


@dataclass(frozen=True, slots=True)
class Matches:
    """Every document that holds a term of the query.

    Attributes:
        numbers: (m,) int64, ascending.
        bm25: (m,) float64, BM25 of the body, larger is better, 0 where only the title matches.
        bm25_title: (m,) float64, the same of the title.
    """

    numbers: NDArray[np.int64]
    bm25: NDArray[np.float64]
    bm25_title: NDArray[np.float64]


class FullTextIndex:
    """Documents and their terms in a SQLite file or in memory. Safe to use from several threads: calls take turns."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def create(cls, path: str | Path) -> "FullTextIndex":
        """An empty index.

        Raises:
            ConfigError: the file is there already and is not empty.
            StorageError: the file can not be made.
        """
        if str(path) != ":memory:" and Path(path).exists() and Path(path).stat().st_size:
            raise ConfigError(
                "the file for the index is there already",
                hint="open it with Retriever.open, or remove it first",
                field="path",
                value=str(path),
            )
        try:
            connection = apsw.Connection(str(path))
            connection.execute(_SCHEMA)
        except apsw.Error as error:
            raise StorageError(
                f"the index can not be made: {error}",
                hint="is the folder there, and writable?",
                field="path",
                value=str(path),
            ) from error
        return cls(connection)

    @classmethod
    def open(cls, path: str | Path) -> "FullTextIndex":
        """An index made before, for reading.

        Raises:
            ConfigError: there is no such file, or it is no index of ours, or one of another version.
        """
        try:
            connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            application, version = connection.pragma("application_id"), connection.pragma("user_version")
        except apsw.Error as error:
            raise ConfigError(
                f"there is no index to open: {error}", hint="build one first", field="path", value=str(path)
            ) from error
        if (application, version) != (_APPLICATION_ID, _FORMAT_VERSION):
            connection.close()
            raise ConfigError(
                "the file is no retrieval index of this version", hint="build it anew", field="path", value=str(path)
            )
        return cls(connection)

    def fill(self, documents: Sequence[StoredDocument], terms: Sequence[tuple[str, str]]) -> None:
        """Write documents and, for each, the terms of its title and of its body, in one transaction.

        Raises:
            StorageError: SQLite could not write; nothing was kept.
        """
        rows = [
            (number, entry.doc_id, entry.title, entry.body, json.dumps(entry.links), entry.modified_at)
            for number, entry in enumerate(documents)
        ]
        try:
            with self._lock, self._connection:
                self._connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)", rows)
                self._connection.executemany(
                    "INSERT INTO terms(rowid, title, body) VALUES (?, ?, ?)",
                    [(number, title, body) for number, (title, body) in enumerate(terms)],
                )
        except apsw.Error as error:
            raise StorageError(f"the index could not be written: {error}", hint="is there room on the disk?") from error

    def documents(self) -> list[StoredDocument]:
        """All documents, in the order in which they were given."""
        with self._lock:
            rows: list[Any] = self._connection.execute(
                "SELECT doc_id, title, body, links, modified_at FROM documents ORDER BY number"
            ).fetchall()
        return [_stored(row) for row in rows]

    def document(self, doc_id: str) -> StoredDocument | None:
        """One document, or None."""
        with self._lock:
            row: Any = self._connection.execute(
                "SELECT doc_id, title, body, links, modified_at FROM documents WHERE doc_id = ?", (doc_id,)
            ).fetchone()
        return None if row is None else _stored(row)

    def matches(self, query_terms: Sequence[str]) -> Matches:
        """Every document that holds any of the terms, in its title or its body. No terms: none.

        Terms stand quoted in the FTS5 expression, so none of them is ever read as its syntax.
        """
        if not query_terms:
            return Matches(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
        expression = " OR ".join('"' + term.replace('"', '""') + '"' for term in dict.fromkeys(query_terms))
        with self._lock:
            rows = self._connection.execute(
                # FTS5's bm25() is smaller for better matches; its weights are those of the columns, in order.
                "SELECT rowid, -bm25(terms, 0.0, 1.0), -bm25(terms, 1.0, 0.0) FROM terms WHERE terms MATCH ? "
                "ORDER BY rowid",
                (expression,),
            ).fetchall()
        found = np.array(rows, dtype=np.float64).reshape(-1, 3)
        return Matches(found[:, 0].astype(np.int64), found[:, 1], found[:, 2])

    def close(self) -> None:
        """Close the file; the index can not be used afterwards."""
        with self._lock:
            self._connection.close()


def _stored(row: tuple[str, str, str, str, float | None]) -> StoredDocument:
    doc_id, title, body, links, modified_at = row
    return StoredDocument(doc_id, title, body, tuple(json.loads(links)), modified_at)
