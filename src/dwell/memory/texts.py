"""The texts of a memory and their full-text index, in one SQLite file beside the loop's store.

What is deleted is overwritten: `secure_delete` for rows, FTS5's own option of that name for terms. An FTS5 index
without content keeps deleted terms in spite of it, so this one has content.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import apsw
import numpy as np

from dwell.errors import ConfigError, ForkedError, StorageError, StoreClosedError
from dwell.records.arrays import Float32Array, FloatArray, IntArray
from dwell.storage.failures import told

__all__ = ["Row", "Texts"]

_APPLICATION_ID: Final = 0x44574C4D  # "DWLM"
_FORMAT_VERSION: Final = 1
_US_PER_S: Final = 1_000_000
_BUSY_MS: Final = 5_000  # as long as the loop's store waits for whoever copies the file

_SCHEMA: Final = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_FORMAT_VERSION};
CREATE TABLE facts (name TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE texts (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, text TEXT NOT NULL, likeness TEXT NOT NULL,
    owner TEXT NOT NULL, metadata BLOB NOT NULL, added_us INTEGER NOT NULL, is_pinned INTEGER NOT NULL, vector BLOB
) STRICT;
CREATE INDEX texts_by_likeness ON texts (likeness);
CREATE INDEX texts_by_owner ON texts (owner) WHERE owner <> '';
CREATE TABLE leaving (id TEXT PRIMARY KEY) STRICT;
CREATE VIRTUAL TABLE words USING fts5(terms, tokenize = 'unicode61 remove_diacritics 0');
INSERT INTO words (words, rank) VALUES ('secure-delete', 1);
"""

_COLUMNS: Final = "number, id, text, likeness, owner, metadata, added_us, is_pinned, vector"


class Row(NamedTuple):
    """One memory, as the file has it.

    Attributes:
        number: Its row, >= 0, that of its words too.
        id: Its id.
        text: What it says.
        likeness: The same for the same text of the same owner.
        owner: Pseudonym of whose it is; "" for everybody's.
        metadata: JSON.
        added_at: UTC epoch seconds.
        is_pinned: Whether it is pinned.
        vector: float32 (d,) where the caller's own embedding made one.
    """

    number: int
    id: str
    text: str
    likeness: str
    owner: str
    metadata: bytes
    added_at: float
    is_pinned: bool
    vector: Float32Array | None = None


class Texts:
    """Memories in a file or, as ":memory:", in this process. Safe from several threads: calls take turns.

    Whoever opens it holds the loop's store beside it, so that there is one process at a time.
    """

    def __init__(self, where: str, connection: apsw.Connection) -> None:
        self._where = where
        self._connection = connection
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._is_closed = False

    @classmethod
    def open(cls, where: str, *, mark: str, durability: str) -> Texts:
        """Return the texts in a file, made where there are none.

        Args:
            where: The file, or ":memory:".
            mark: Of the loop's store that they belong to.
            durability: "full" or "relaxed", as the loop's.

        Raises:
            ConfigError: The file is something else's.
            StorageError: It can not be opened, is damaged, or belongs to another store.
        """
        if where != ":memory:":
            with contextlib.suppress(OSError):  # what can not be made can not be opened, below
                # they are what users said, word for word; the journal gets the mode of the file
                os.close(os.open(where, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        try:
            connection = apsw.Connection(where)
            connection.set_busy_timeout(_BUSY_MS)
            synchronous = "FULL" if durability == "full" else "NORMAL"
            connection.execute(
                f"PRAGMA secure_delete = ON; PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};"
                "PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF"
            ).fetchall()
            texts = cls(where, connection)
            texts._begin(mark)
        except apsw.Error as error:
            raise told(error, where) from error
        _open_texts.append(connection)
        return texts

    def _begin(self, mark: str) -> None:
        connection = self._connection
        with connection:
            if not connection.pragma("application_id") and not connection.pragma("schema_version"):
                connection.execute(_SCHEMA)
                connection.execute("INSERT INTO facts VALUES ('mark', ?)", (mark.encode(),))
        found = (connection.pragma("application_id"), connection.pragma("user_version"))
        if found != (_APPLICATION_ID, _FORMAT_VERSION):
            connection.close()
            raise ConfigError(
                "the file holds no memory of this version",
                field="where",
                value=self._where,
                hint="Give another path; this file was left as it is.",
            )
        if self.fact("mark") != mark.encode():
            connection.close()
            raise StorageError(
                f"{self._where} belongs to another store",
                code="not_in_step",
                hint="Put the two files of one memory side by side, as they were when they were copied.",
            )

    @contextlib.contextmanager
    def _turn(self) -> Iterator[apsw.Connection]:
        if self._pid != os.getpid():
            raise ForkedError("this memory was opened before the fork", hint="Open it in the child.")
        with self._lock:
            if self._is_closed:
                raise StoreClosedError(f"{self._where} is closed", hint="Open it again.")
            try:
                yield self._connection
            except apsw.Error as error:
                raise told(error, self._where) from error

    def fact(self, name: str) -> bytes | None:
        """Return what is known by a name, or None."""
        with self._turn() as connection:
            found: Any = connection.execute("SELECT body FROM facts WHERE name = ?", (name,)).fetchone()
        return None if found is None else found[0]

    def put_fact(self, name: str, body: bytes) -> None:
        """Keep something by a name."""
        with self._turn() as connection:
            connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, body))

    def put(self, row: Row, words: str, *, leaving: Sequence[str] = ()) -> None:
        """Write a memory, in place of the one of its number, and remove others, in one commit.

        Args:
            row: The memory.
            words: Its analysed words, spaces between them.
            leaving: Ids of memories that make room for it; see `remove`.
        """
        vector = None if row.vector is None else row.vector.tobytes()
        added_us = round(row.added_at * _US_PER_S)
        values = (*row[:6], added_us, int(row.is_pinned), vector)
        with self._turn() as connection, connection:
            _remove(connection, leaving)
            # a memory that comes back is not leaving any more
            connection.execute("DELETE FROM leaving WHERE id = ?", (row.id,))
            connection.execute("DELETE FROM words WHERE rowid = ?", (row.number,))
            connection.execute(f"INSERT OR REPLACE INTO texts ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)", values)
            connection.execute("INSERT INTO words (rowid, terms) VALUES (?, ?)", (row.number, words))

    def put_vectors(self, vectors: Iterable[tuple[int, Float32Array]]) -> None:
        """Keep vectors of memories by their numbers."""
        with self._turn() as connection, connection:
            connection.executemany(
                "UPDATE texts SET vector = ? WHERE number = ?",
                [(vector.tobytes(), number) for number, vector in vectors],
            )

    def put_metadata(self, item: str, metadata: bytes) -> None:
        """Replace what is kept beside a text."""
        with self._turn() as connection:
            connection.execute("UPDATE texts SET metadata = ? WHERE id = ?", (metadata, item))

    def pin(self, item: str, *, is_pinned: bool) -> None:
        """Set whether a memory is pinned."""
        with self._turn() as connection:
            connection.execute("UPDATE texts SET is_pinned = ? WHERE id = ?", (int(is_pinned), item))

    def remove(self, items: Sequence[str]) -> None:
        """Remove memories, and note that they are leaving until `left` is told, in one commit."""
        with self._turn() as connection, connection:
            _remove(connection, items)

    def leaving(self) -> list[str]:
        """Return the ids of memories that are removed here, and perhaps not everywhere yet."""
        with self._turn() as connection:
            return _ids(connection.execute("SELECT id FROM leaving ORDER BY id"))

    def left(self, items: Sequence[str]) -> None:
        """Take note that nothing of these is left anywhere."""
        with self._turn() as connection, connection:
            connection.executemany("DELETE FROM leaving WHERE id = ?", [(item,) for item in items])

    def row(self, item: str) -> Row | None:
        """Return one memory, or None."""
        return self._first("id = ?", item)

    def like(self, likeness: str) -> Row | None:
        """Return the memory of that likeness, or None."""
        return self._first("likeness = ?", likeness)

    def _first(self, condition: str, value: str) -> Row | None:
        with self._turn() as connection:
            found = connection.execute(f"SELECT {_COLUMNS} FROM texts WHERE {condition}", (value,)).fetchone()
        return None if found is None else _row(found)

    def owned(self, owner: str) -> list[str]:
        """Return the ids of the memories that belong to somebody."""
        with self._turn() as connection:
            query = "SELECT id FROM texts WHERE owner = ? AND owner <> ''"
            return _ids(connection.execute(query, (owner,)))

    def pinned(self) -> list[str]:
        """Return the ids of pinned memories."""
        with self._turn() as connection:
            return _ids(connection.execute("SELECT id FROM texts WHERE is_pinned"))

    def rows(self) -> list[Row]:
        """Return all memories by number."""
        with self._turn() as connection:
            found = connection.execute(f"SELECT {_COLUMNS} FROM texts ORDER BY number").fetchall()
        return [_row(one) for one in found]

    def matches(self, words: Sequence[str]) -> tuple[IntArray, FloatArray]:
        """Return the numbers of all memories that hold any of the words, int64 (m,), and their BM25, larger is better.

        Words stand quoted in the FTS5 expression, so none of them is ever read as its syntax.
        """
        if not words:
            return np.zeros(0, np.int64), np.zeros(0)
        expression = " OR ".join('"' + word.replace('"', '""') + '"' for word in dict.fromkeys(words))
        with self._turn() as connection:
            found: list[Any] = connection.execute(
                "SELECT rowid, -bm25(words) FROM words WHERE words MATCH ?", (expression,)
            ).fetchall()
        both = np.fromiter(chain.from_iterable(found), np.float64, 2 * len(found)).reshape(-1, 2)
        return both[:, 0].astype(np.int64), both[:, 1]

    def scrub(self) -> None:
        """Write the file anew, so that what was deleted stands nowhere in it; takes its size in free space meanwhile.

        `secure_delete` overwrites deleted rows, but SQLite leaves copies where it moved rows between pages.

        Raises:
            StoreBusyError: Somebody reads the file.
        """
        with self._turn() as connection:
            connection.execute("VACUUM")
            if self._where == ":memory:":
                return
            is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]
            if is_busy:
                raise told(apsw.BusyError(), self._where)

    def close(self) -> None:
        """Release the file; closing twice is legal. In a forked child nothing is touched."""
        if self._pid != os.getpid():
            return
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                _open_texts.remove(self._connection)
                self._connection.close()


def _remove(connection: apsw.Connection, items: Sequence[str]) -> None:
    for item in items:
        connection.execute("DELETE FROM words WHERE rowid = (SELECT number FROM texts WHERE id = ?)", (item,))
        connection.execute("DELETE FROM texts WHERE id = ?", (item,))
        connection.execute("INSERT OR IGNORE INTO leaving VALUES (?)", (item,))


def _ids(found: Iterable[Any]) -> list[str]:
    return [item for (item,) in found]


def _row(found: Sequence[Any]) -> Row:
    number, item, text, likeness, owner, metadata, added_us, is_pinned, vector = found
    array = None if vector is None else np.frombuffer(vector, dtype=np.float32)
    return Row(number, item, text, likeness, owner, metadata, added_us / _US_PER_S, bool(is_pinned), array)


# closing an inherited connection would run SQLite's clean-up on the parent's file: a child holds on to them
_open_texts: list[apsw.Connection] = []
