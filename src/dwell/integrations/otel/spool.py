"""Lists and evaluations of one import on disk: read in any order, taken by time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import apsw
import msgspec

from dwell.integrations.otel.records import SpanEvaluation, SpanRetrieval

__all__ = ["Spool"]

_CACHE_KB: Final = 32_768  # as for User Behavior Insights: what an import may hold in memory of its records
_SCHEMA: Final = """
CREATE TABLE lists (event_id TEXT PRIMARY KEY, at REAL NOT NULL, is_left_out INT NOT NULL DEFAULT 0, body BLOB NOT NULL)
  WITHOUT ROWID;
CREATE TABLE own (span_id TEXT PRIMARY KEY, event_id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE evaluations (n INTEGER PRIMARY KEY, at REAL NOT NULL, signal TEXT NOT NULL, body BLOB NOT NULL);
"""


class Spool:
    """A private database that is in memory until its cache is full, then in a file without a name. For one thread."""

    def __init__(self) -> None:
        self._connection = apsw.Connection("")
        self._run(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{_CACHE_KB}")
        self._run(_SCHEMA)
        self._run("BEGIN")

    def add_list(self, one: SpanRetrieval) -> bool:
        """Keep a list; False where one of that name is kept already."""
        self._run(
            "INSERT INTO lists (event_id, at, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (one.event_id, one.at, msgspec.json.encode(one)),
        )
        return bool(self._connection.changes())

    def add_own(self, span_id: str, event_id: str) -> None:
        """Keep which event a span of a traced loop was about."""
        self._run("INSERT INTO own VALUES (?, ?) ON CONFLICT DO NOTHING", (span_id, event_id))

    def add_evaluation(self, one: SpanEvaluation, signal: str) -> None:
        """Keep an evaluation and the signal that it is."""
        self._run(
            "INSERT INTO evaluations (at, signal, body) VALUES (?, ?, ?)", (one.at, signal, msgspec.json.encode(one))
        )

    def lists(self) -> Iterator[SpanRetrieval]:
        """Yield lists in time order."""
        ids = self._connection.execute("SELECT event_id FROM lists ORDER BY at, event_id")
        for (event_id,) in list(ids):  # lists are marked while they are gone through
            (body,) = self._rows("SELECT body FROM lists WHERE event_id = ?", (event_id,))[0]
            yield msgspec.json.decode(body, type=SpanRetrieval)

    def leave_out(self, event_id: str) -> None:
        """Note that a list is not recorded."""
        self._run("UPDATE lists SET is_left_out = 1 WHERE event_id = ?", (event_id,))

    def served_at(self, event_id: str) -> tuple[float, bool] | None:
        """Return when a list that was kept was served, and whether it is left out; None where it is not here."""
        found = self._rows("SELECT at, is_left_out FROM lists WHERE event_id = ?", (event_id,))
        return (float(found[0][0]), bool(found[0][1])) if found else None

    def own_event(self, span_id: str) -> str | None:
        """Return the event that a span of a traced loop was about."""
        found = self._rows("SELECT event_id FROM own WHERE span_id = ?", (span_id,))
        return str(found[0][0]) if found else None

    def evaluations(self, size: int) -> Iterator[list[tuple[str, SpanEvaluation]]]:
        """Yield signals and evaluations in time order, in batches."""
        batch: list[tuple[str, SpanEvaluation]] = []
        for signal, body in self._connection.execute("SELECT signal, body FROM evaluations ORDER BY at, n"):
            batch.append((str(signal), msgspec.json.decode(body, type=SpanEvaluation)))
            if len(batch) >= size:
                yield batch
                batch = []
        if batch:
            yield batch

    def close(self) -> None:
        """Free the disk; closing twice is legal."""
        self._connection.close()

    def _run(self, sql: str, values: Sequence[Any] = ()) -> None:
        self._connection.execute(sql, values)

    def _rows(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return list(self._connection.execute(sql, values))
