"""Reading one committed state of a PostgreSQL store."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import psycopg

from dwell.errors import StoreClosedError
from dwell.records import GateDecision, Impression, Params, Signal
from dwell.storage import codec, found_rows, postgres_traces, rows
from dwell.storage.instants import bound_micros
from dwell.storage.postgres_failures import told
from dwell.storage.postgres_sessions import Connection
from dwell.storage.protocol import Answer, EventState, Outcome, PairStatistics, Quarantined, chunks

__all__ = ["ASKED", "Counters", "PostgresReader", "of_asked", "read_counters"]

_MOST: Final = 2**62  # seqs, limits: everything above means all
_ASKED_OF_ALL: Final = 100  # seqs: from here on a statement per partition costs less than to look in each for all
_ASKED_AT_ONCE: Final = 20_000  # seqs in one statement: their answer stands in memory twice for a moment

ASKED: Final = "unnest(%(seqs)s::bigint[]) AS asked (seq)"


def of_asked(table: str, number: str = "seq", end: str = "LIMIT 1") -> str:
    """Return a subquery to join laterally to `ASKED`: the rows of a table that have a number which is asked for.

    It is a walk along the key for each number, whatever the database knows of the table: before its first ANALYZE it
    takes a tenant to be a small part of the table, and would read all of that (tests/contract/test_postgres_plans.py).
    The bounds tell which partitions to leave alone, and the end keeps it from being made into another join.
    """
    return f"""(SELECT * FROM {table} WHERE tenant = %(tenant)s AND {number} = asked.seq
    AND {number} BETWEEN %(first)s AND %(last)s {end})"""


_STATES: Final = f"""
SELECT e.event_id, e.seq, o.state, o.version, e.served_at, o.closed_at, e.pseudonym, coalesce(a.shown, e.shown)
FROM {ASKED} CROSS JOIN LATERAL {of_asked("events")} AS e CROSS JOIN LATERAL {of_asked("outcomes")} AS o
LEFT JOIN LATERAL {of_asked("activations")} AS a ON true ORDER BY e.seq"""

_SEQS_OF_IDS: Final = """
SELECT found.seq FROM (SELECT %s::text AS tenant) AS mine CROSS JOIN unnest(%s::text[]) AS asked (event_id)
CROSS JOIN LATERAL (
  SELECT seq FROM event_ids WHERE tenant = mine.tenant AND event_id = asked.event_id LIMIT 1) AS found"""

_IMPRESSIONS: Final = f"""
SELECT e.seq, e.event_id, e.body, a.shown, a.is_altered, a.at
FROM {ASKED} CROSS JOIN LATERAL {of_asked("events")} AS e LEFT JOIN LATERAL {of_asked("activations")} AS a ON true"""

_OUTCOMES: Final = f"""
SELECT o.seq, o.state, o.version, o.closed_at, o.reward, o.priority, o.details
FROM {ASKED} CROSS JOIN LATERAL {of_asked("outcomes")} AS o"""

_SIGNAL_COLUMNS: Final = "dedupe, digest, name, doc, value, at, received_at, idempotency_key"
_SIGNALS: Final = f"""
SELECT s.event, e.event_id, {", ".join("s." + name for name in _SIGNAL_COLUMNS.split(", "))}
FROM {ASKED} CROSS JOIN LATERAL {of_asked("events")} AS e
CROSS JOIN LATERAL {of_asked("signals", "event", "OFFSET 0")} AS s"""

# One walk along the index per state, each in order and ended early, then merged: no sort of a million rows
_WALK: Final = """
(SELECT seq FROM outcomes WHERE tenant = %(tenant)s AND state = '{state}' AND seq > %(first)s AND seq < %(last)s
AND served_at >= %(since)s AND served_at < %(until)s ORDER BY seq {order} LIMIT %(most)s)"""
_WALKED: Final = """
SELECT coalesce(array_agg(seq), '{{}}') FROM (
  SELECT seq FROM ({walks}) AS walks ORDER BY seq {order} LIMIT %(most)s) AS walked"""

# What contradicts itself although every row can be read
_LONELY: Final = (
    ("events without an outcome", "events e LEFT JOIN outcomes o USING (tenant, seq) WHERE o.seq IS NULL AND e.tenant"),
    ("outcomes without an event", "outcomes o LEFT JOIN events e USING (tenant, seq) WHERE e.seq IS NULL AND o.tenant"),
    (
        "signals without an event",
        "signals s LEFT JOIN events e ON e.tenant = s.tenant AND e.seq = s.event WHERE e.seq IS NULL AND s.tenant",
    ),
    (
        "events that are not found by their name",
        """events e LEFT JOIN event_ids i USING (tenant, event_id) WHERE i.seq IS DISTINCT FROM e.seq AND e.tenant""",
    ),
    (
        "names of events that are not there",
        """event_ids i LEFT JOIN events e ON e.tenant = i.tenant AND e.seq = i.seq
        WHERE e.event_id IS DISTINCT FROM i.event_id AND i.tenant""",
    ),
    ("events beyond the last number", "events e JOIN tenants t USING (tenant) WHERE e.seq > t.last_seq AND e.tenant"),
    (
        "live params that are not there",
        """tenants t LEFT JOIN params p ON p.tenant = t.tenant AND p.version = t.live_version
        WHERE t.live_version IS NOT NULL AND p.version IS NULL AND t.tenant""",
    ),
)


class Counters(NamedTuple):
    """What a tenant's own row says, and of the store: since which version code may use it, events per partition.

    Up to `room_until` there are partitions for numbers to come.
    """

    last_seq: int = 0
    live_version: int | None = None
    epoch: int = 0
    last_trace_change: int = 0
    n_commits: int = 0
    n_bytes: int = 0
    oldest_code: int = 0
    width: int = 1
    room_until: int = 0


def read_counters(connection: Connection, tenant: str, *, is_locked: bool = False) -> Counters | None:
    """Return a tenant's row, or None; being the first read, it also fixes what a snapshot sees.

    Args:
        connection: In a transaction.
        tenant: Whose.
        is_locked: Wait for whoever writes for this tenant, and let nobody else write before this transaction is over.
    """
    found = connection.execute(
        f"""SELECT last_seq, live_version, epoch, last_trace_change, n_commits, n_bytes,
        oldest_code, events_per_partition, last_seq + events_per_partition
        FROM tenants, store WHERE tenant = %s {"FOR NO KEY UPDATE OF tenants" if is_locked else ""}""",
        (tenant,),
    ).fetchone()
    return None if found is None else Counters(*found)


def _state(row: Sequence[Any]) -> EventState:
    event_id, seq, state, version, served_at, closed_at, user, shown = row
    return rows.event_state(
        seq, event_id, state=state, version=version, served_at=served_at, closed_at=closed_at, user=user, shown=shown
    )


class PostgresReader:
    """Everything that can be read from one committed state; see `protocol.Reader`.

    Args:
        connection: In a transaction, for as long as this reader is used.
        where: The store as it may be shown, for messages.
        tenant: Whose facts.
        counters: The tenant's row as this transaction sees it.
    """

    def __init__(self, connection: Connection, where: str, tenant: str, counters: Counters) -> None:
        self._connection: Connection | None = connection
        self._where = where
        self._tenant = tenant
        self._counters = counters

    def end(self) -> None:
        """Let go of the connection: it belongs to somebody else from now on."""
        self._connection = None

    def _query(self, sql: str, bindings: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        if self._connection is None:
            raise StoreClosedError(
                f"this snapshot or transaction of {self._where} is over", hint="Read inside its `with` block."
            )
        try:
            return self._connection.execute(sql, bindings, binary=True).fetchall()
        except psycopg.Error as error:
            raise told(error, self._where) from error

    def _of_seqs(self, sql: str, seqs: Iterable[int]) -> Iterator[tuple[Any, ...]]:
        wanted = sorted({seq for seq in map(int, seqs) if 0 < seq < _MOST})
        width = self._counters.width if len(wanted) > _ASKED_OF_ALL else _MOST
        for some in self._by_partition(wanted, width):
            bindings = {"tenant": self._tenant, "seqs": list(some), "first": some[0], "last": some[-1]}
            yield from self._query(sql, bindings)

    def _by_partition(self, wanted: Sequence[int], width: int) -> Iterator[Sequence[int]]:
        for _, group in groupby(wanted, key=lambda seq: seq // width):
            yield from chunks(list(group), _ASKED_AT_ONCE)

    def setting(self, key: str) -> bytes | None:
        """Return a setting of this tenant, or None."""
        return self._setting("tenant", self._tenant, key)

    def store_setting(self, key: str) -> bytes | None:
        """Return a setting of the whole store, or None."""
        return self._setting("store", "", key)

    def _setting(self, scope: str, tenant: str, key: str) -> bytes | None:
        found = self._query(
            "SELECT value FROM settings WHERE tenant = %s AND scope = %s AND key = %s", (tenant, scope, key)
        )
        return found[0][0] if found else None

    def last_seq(self) -> int:
        """Return the highest seq ever given, 0 for an empty store."""
        return self._counters.last_seq

    def epoch(self) -> int:
        """Return how many transactions of this tenant have changed outcomes."""
        return self._counters.epoch

    def live_version(self) -> int | None:
        """Return the version in force, or None before the first."""
        return self._counters.live_version

    def event(self, event_id: str) -> EventState | None:
        """Return an event's state, or None."""
        found = self._found_states([event_id])
        return found[0] if found else None

    def _found_states(self, event_ids: Sequence[str]) -> list[EventState]:
        # text that can not stand in a key is the name of nothing
        wanted = [event_id for event_id in event_ids if "\0" not in event_id]
        return self._states_of(_SEQS_OF_IDS, wanted)

    def _states_of(self, which: str, *bindings: object) -> list[EventState]:
        """Return the states of the events whose numbers a statement finds, in seq order."""
        seqs = sorted(row[0] for row in self._query(which, (self._tenant, *bindings)))
        return [_state(row) for row in self._of_seqs(_STATES, seqs)]

    def due(self, served_before: float, *, limit: int) -> list[EventState]:
        """Return open events served at or before an instant, in seq order."""
        return self._states_of(
            """SELECT seq FROM outcomes WHERE tenant = %s AND state = 'open' AND served_at <= %s
            ORDER BY seq LIMIT %s""",
            bound_micros(served_before, "served_before"),
            max(0, limit),
        )

    def events_of(self, user: str, *, since: float, until: float) -> list[EventState]:
        """Return the events of a pseudonym with since <= served_at < until, in seq order."""
        return self._states_of(
            "SELECT seq FROM events WHERE tenant = %s AND pseudonym = %s AND served_at >= %s AND served_at < %s",
            user,
            bound_micros(since, "since"),
            bound_micros(until, "until"),
        )

    def impressions(self, seqs: Sequence[int]) -> list[Impression]:
        """Return impressions in the order asked for; those that are gone are left out."""
        return found_rows.impressions(seqs, self._of_seqs(_IMPRESSIONS, seqs))

    def outcomes(self, seqs: Sequence[int]) -> list[Outcome]:
        """Return outcomes in the order asked for; those that are gone are left out."""
        return found_rows.outcomes(seqs, self._of_seqs(_OUTCOMES, seqs))

    def seqs(
        self,
        *,
        states: Sequence[str] = (),
        after: int = 0,
        before: int | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[int]:
        """Return seqs of events in these states (all where empty), after < seq < before, since <= served_at < until."""
        order = "DESC" if newest_first else "ASC"
        wanted = [state for state in rows.STATES if not states or state in states]
        if not wanted:
            return []
        walks = " UNION ALL ".join(_WALK.format(state=state, order=order) for state in wanted)
        found: list[int] = self._query(
            _WALKED.format(walks=walks, order=order),
            {
                "tenant": self._tenant,
                "first": min(max(0, after), _MOST),
                "last": _MOST if before is None else min(max(0, before), _MOST),
                "since": bound_micros(since, "since", -math.inf),
                "until": bound_micros(until, "until", math.inf),
                "most": _MOST if limit is None else min(max(0, limit), _MOST),
            },
        )[0][0]
        return found

    def signals(self, seqs: Sequence[int]) -> dict[int, list[Signal]]:
        """Return the signals of these events, each list in the order (at, name, doc, value)."""
        return found_rows.signals(seqs, lambda wanted: self._of_seqs(_SIGNALS, wanted))

    def orphans(self, event_id: str) -> list[Signal]:
        """Return signals parked for an event that is not known."""
        found = self._query(
            f"SELECT {_SIGNAL_COLUMNS} FROM orphans WHERE tenant = %s AND event_id = %s", (self._tenant, event_id)
        )
        return found_rows.signals_in_order(event_id, found)

    def answer(self, key: str) -> Answer | None:
        """Return what the request under a key was answered, or None."""
        found = self._query("SELECT digest, body, at FROM answers WHERE tenant = %s AND key = %s", (self._tenant, key))
        return found_rows.answer(key, found)

    def params(self, version: int) -> Params | None:
        """Return a params version, bit for bit as it was written, or None."""
        found = self._query("SELECT body FROM params WHERE tenant = %s AND version = %s", (self._tenant, version))
        return codec.decode_params(found[0][0], version=version) if found else None

    def params_versions(self) -> list[int]:
        """Return all versions, ascending."""
        found = self._query("SELECT version FROM params WHERE tenant = %s ORDER BY version", (self._tenant,))
        return [row[0] for row in found]

    def decisions(self, *, limit: int | None = None) -> list[GateDecision]:
        """Return the ledger, oldest first; with a limit the newest ones."""
        found = self._query(
            "SELECT n, body FROM decisions WHERE tenant = %s ORDER BY n DESC LIMIT %s",
            (self._tenant, _MOST if limit is None else max(0, limit)),
        )
        return found_rows.decisions(found)

    def quarantined(self, *, event_id: str | None = None, limit: int = 1000) -> list[Quarantined]:
        """Return quarantined events, newest first."""
        which = "" if event_id is None else "AND event_id = %s"
        bindings = (self._tenant,) if event_id is None else (self._tenant, event_id)
        found = self._query(
            f"""SELECT event_id, reason, at, pseudonym FROM quarantine
            WHERE tenant = %s {which} ORDER BY n DESC LIMIT %s""",
            (*bindings, max(0, limit)),
        )
        return found_rows.quarantined(found)

    def is_erased(self, user: str) -> bool:
        """Return whether this pseudonym has a tombstone."""
        return bool(self._query("SELECT 1 FROM tombstones WHERE tenant = %s AND pseudonym = %s", (self._tenant, user)))

    def counts(self) -> dict[str, int]:
        """Return the number of events per state, and "signals", "orphans", "quarantined", "erased_users"."""
        found = self._query("SELECT state, count(*) FROM outcomes WHERE tenant = %s GROUP BY state", (self._tenant,))
        counted = dict.fromkeys(rows.STATES, 0) | dict(found)
        tables = ("signals", "orphans", "quarantine", "tombstones")
        sql = "SELECT " + ", ".join(f"(SELECT count(*) FROM {table} WHERE tenant = %(tenant)s)" for table in tables)
        names = ("signals", "orphans", "quarantined", "erased_users")
        return counted | dict(zip(names, self._query(sql, {"tenant": self._tenant})[0], strict=True))

    def statistics(self, query_hash: bytes, segment: str = "") -> list[PairStatistics]:
        """Return what is kept of evicted events for a query; fewer than five distinct users are left out."""
        found = self._query(
            """SELECT doc, n, exposure, credit, users, at FROM statistics
            WHERE tenant = %s AND query_hash = %s AND segment = %s AND length(users) >= %s ORDER BY doc""",
            (self._tenant, query_hash, segment, 8 * rows.MOST_USERS),
        )
        return found_rows.statistics(query_hash, segment, found)

    def traces(self, *, items: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield (item, packed row) of all items, or of those of the given ones that are there."""
        if items is None:
            return postgres_traces.read_all(self._query, self._tenant)
        return postgres_traces.read_some(self._query, self._tenant, items)

    def n_traces(self) -> int:
        """Return how many items have a packed row."""
        return int(self._query("SELECT count(*) FROM traces WHERE tenant = %s", (self._tenant,))[0][0])

    def forgettable(self, before_us: int, *, limit: int) -> list[tuple[str, int]]:
        """Return (item, forget_at) of items to be forgotten from an instant on or earlier, earliest first."""
        return postgres_traces.forgettable(self._query, self._tenant, before_us, limit)

    def trace_changes(self, *, after: int = 0) -> list[tuple[int, bytes]]:
        """Return (n, body) of the changes that are not in the packed rows yet and have n > after."""
        return postgres_traces.changes_after(self._query, self._tenant, after)

    def size_bytes(self) -> int:
        """Return about the bytes that this tenant's facts take: counted as they come and go, by their contents.

        The files of the database are larger while rows that are gone wait for VACUUM, and are shared by all tenants.
        """
        return self._counters.n_bytes

    def spans(self) -> list[tuple[int, int]]:
        """Return the partitions that this tenant has passed and nobody else has anything in, as (first, last) seq."""
        return [(first, last) for first, last in self._query("SELECT * FROM spans(%s)", (self._tenant,))]

    def damages(self) -> list[str]:
        """Return what contradicts itself, and the records that do not decode."""
        found = []
        for what, which in _LONELY:
            n = self._query(f"SELECT count(*) FROM {which} = %s", (self._tenant,))[0][0]
            if n:
                found.append(f"{n} {what}")
        found.extend(found_rows.damages(self))
        return found
