"""Records on disk between reading and importing: read in any order, taken by query id and by time.

A private database of SQLite's own making: it lives in memory until its cache is full, then in a file that has no name
and dies with the process. So what an import holds in memory does not grow with what is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from dwell.integrations.ubi.lists import SEGMENT, UbiList, segment_of
from dwell.integrations.ubi.reading import event_digest
from dwell.integrations.ubi.records import UbiEvent, UbiQuery

__all__ = ["Reaction", "Spool"]

_CACHE_KB: Final = 32_768  # what an import may hold in memory of its records
MAX_QUERIES_PER_ID: Final = 10_000  # read of one query id; lists beyond the hundredth have no name anyway
MAX_IMPRESSIONS_PER_ID: Final = 10_000  # as many as the longest list of hits

_SCHEMA: Final = """
CREATE TABLE queries (n INTEGER PRIMARY KEY, id TEXT NOT NULL, at REAL, body BLOB NOT NULL);
CREATE TABLE events (n INTEGER PRIMARY KEY, id TEXT, at REAL NOT NULL, is_shown INT NOT NULL, place INT,
  application TEXT NOT NULL, digest TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE lists (n INTEGER PRIMARY KEY, event_id TEXT NOT NULL, at REAL NOT NULL, body BLOB NOT NULL);
CREATE TABLE reactions (n INTEGER PRIMARY KEY, at REAL NOT NULL, body BLOB NOT NULL);
"""
_INDEXES: Final = """
CREATE INDEX queries_by_id ON queries (id, at, n);
CREATE INDEX events_by_id ON events (id, is_shown, at, n);
CREATE INDEX events_by_digest ON events (digest);
"""


class Reaction(NamedTuple):
    """What goes to `Loop.feedback`.

    Attributes:
        event_id: The list.
        signal: Name of the signal.
        doc: The document, or None.
        value: Its value.
        at: When, by the sender's clock.
        received_at: When it counts as received: never before its list.
        key: What it is known by when it comes again.
    """

    event_id: str
    signal: str
    doc: str | None
    value: float
    at: float
    received_at: float
    key: str


class Spool:
    """Queries and events of one import, on disk. Not safe from several threads; `close` frees the disk."""

    def __init__(self) -> None:
        self._connection = apsw.Connection("")
        self._run(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{_CACHE_KB}")
        self._run(_SCHEMA)
        self._run("BEGIN")

    def add_query(self, query: UbiQuery, query_id: str) -> None:
        """Keep a query under its id."""
        body = msgspec.json.encode(
            (query.user_query, query.query_id, query.at, query.user, query.hits, segment_of(query))
        )
        self._run("INSERT INTO queries (id, at, body) VALUES (?, ?, ?)", (query_id, query.at, body))

    def add_event(self, event: UbiEvent, *, is_shown: bool, signal: str, value: float | None) -> None:
        """Keep an event under its query id; with a signal it is a reaction, else it only counts."""
        body = msgspec.json.encode((event.object_id, event.ordinal, event.user, signal, value))
        row = (event.query_id, event.at, is_shown, event.ordinal, event.application or "", event_digest(event), body)
        self._run(
            "INSERT INTO events (id, at, is_shown, place, application, digest, body) VALUES (?, ?, ?, ?, ?, ?, ?)", row
        )

    def index(self) -> None:
        """Make what was added fast to read; nothing is added after it."""
        self._run(_INDEXES)

    def number(self, sql: str) -> int:
        """Return the one number that a query of this module's own words gives."""
        return int(self._rows(sql)[0][0])

    def n_duplicates(self) -> int:
        """Return how many events repeat one before them."""
        return self.number("SELECT count(*) - count(DISTINCT digest) FROM events")

    def n_repeated_ids(self) -> int:
        """Return how many query ids stand in more than one query."""
        return self.number("SELECT count(*) FROM (SELECT 1 FROM queries GROUP BY id HAVING count(*) > 1)")

    def lowest_places(self) -> Iterator[tuple[str, int]]:
        """Yield, per query id with impressions that tell their place, the application and the lowest place."""
        sql = (
            "SELECT min(application), min(place) FROM events WHERE is_shown AND place IS NOT NULL AND id IS NOT NULL "
            "GROUP BY id"
        )
        yield from ((str(application), int(place)) for application, place in self._connection.execute(sql))

    def ids(self, size: int) -> Iterator[list[str]]:
        """Yield the query ids of queries and events, in batches."""
        last = ""
        while True:
            found = self._rows(
                "SELECT id FROM (SELECT id FROM queries UNION SELECT id FROM events WHERE id IS NOT NULL) "
                "WHERE id > ? ORDER BY id LIMIT ?",
                (last, size),
            )
            if not found:
                return
            last = str(found[-1][0])
            yield [str(row[0]) for row in found]

    def queries(self, query_id: str) -> list[UbiQuery]:
        """Return the queries of an id in time order, those without an instant first."""
        rows = self._rows(
            "SELECT body FROM queries WHERE id = ? ORDER BY at, n LIMIT ?", (query_id, MAX_QUERIES_PER_ID)
        )
        found = []
        for (body,) in rows:
            text, told_id, at, user, hits, segment = msgspec.json.decode(body)
            attributes = {} if segment is None else {SEGMENT: segment}
            found.append(
                UbiQuery(
                    user_query=text, query_id=told_id, at=at, client_id=user, hits=tuple(hits), attributes=attributes
                )
            )
        return found

    def impressions(self, query_id: str) -> list[UbiEvent]:
        """Return the impressions of an id in time order."""
        rows = self._rows(
            "SELECT at, application, body FROM events WHERE id = ? AND is_shown ORDER BY at, n LIMIT ?",
            (query_id, MAX_IMPRESSIONS_PER_ID),
        )
        found = []
        for at, application, body in rows:
            object_id, ordinal, user, _, _ = msgspec.json.decode(body)
            found.append(
                UbiEvent(
                    action_name="impression",
                    at=at,
                    query_id=query_id,
                    application=str(application) or None,
                    client_id=user,
                    object_id=object_id,
                    ordinal=ordinal,
                )
            )
        return found

    def reactions(self, query_id: str) -> Iterator[tuple[str | None, float, str | None, str, float | None, str]]:
        """Yield object, instant, user, signal ("" for none), value and digest of what else happened to an id."""
        sql = "SELECT at, body, digest FROM events WHERE id = ? AND NOT is_shown ORDER BY at, n"
        for at, body, digest in self._connection.execute(sql, (query_id,)):
            object_id, _, user, signal, value = msgspec.json.decode(body)
            yield object_id, at, user, signal, value, str(digest)

    def n_events_of(self, query_id: str) -> int:
        """Return how many events name this id."""
        return int(self._rows("SELECT count(*) FROM events WHERE id = ?", (query_id,))[0][0])

    def add_list(self, event_id: str, at: float, new: UbiList) -> None:
        """Keep a list to record."""
        body = msgspec.json.encode((new.query, new.user, new.documents, new.segment))
        self._run("INSERT INTO lists (event_id, at, body) VALUES (?, ?, ?)", (event_id, at, body))

    def add_reaction(self, reaction: Reaction) -> None:
        """Keep a reaction to send."""
        self._run(
            "INSERT INTO reactions (at, body) VALUES (?, ?)", (reaction.received_at, msgspec.json.encode(reaction))
        )

    def lists(self) -> Iterator[tuple[str, float, UbiList]]:
        """Yield event id, instant and content of the lists to record, in time order."""
        for event_id, at, body in self._connection.execute("SELECT event_id, at, body FROM lists ORDER BY at, n"):
            query, user, documents, segment = msgspec.json.decode(body)
            yield str(event_id), at, UbiList(query=query, user=user, at=at, documents=tuple(documents), segment=segment)

    def reactions_to_send(self) -> Iterator[Reaction]:
        """Yield reactions in time order."""
        for (body,) in self._connection.execute("SELECT body FROM reactions ORDER BY at, n"):
            yield msgspec.json.decode(body, type=Reaction)

    def close(self) -> None:
        """Free the disk; closing twice is legal."""
        self._connection.close()

    def _run(self, sql: str, values: Sequence[Any] = ()) -> None:
        self._connection.execute(sql, values)

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        found: Iterable[tuple[Any, ...]] = self._connection.execute(sql, values)
        return list(found)
