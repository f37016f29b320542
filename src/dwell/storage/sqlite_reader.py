"""Reading one committed state of a SQLite store.

Python gives its interpreter lock away at every step of a statement, and may get it back five milliseconds later while
another thread computes. So what can be many rows of small columns comes back as one row of JSON.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from dwell.errors import StoreClosedError
from dwell.records import GateDecision, Impression, Params, Signal
from dwell.storage import codec, found_rows, rows, sqlite_traces
from dwell.storage.failures import told
from dwell.storage.instants import bound_micros
from dwell.storage.protocol import Answer, EventState, Outcome, PairStatistics, Quarantined
from dwell.storage.schema import SEQ_BITS

__all__ = ["SqliteReader", "Tenant", "json_text", "read_tenant"]

_MOST_ROWS: Final = 2**62

_STATE_COLUMNS: Final = """e.event_id, e.id, o.state, o.version, e.served_at, o.closed_at, e.user,
  json(coalesce(a.shown, e.shown))"""
_STATE_SOURCE: Final = "JOIN outcomes o ON o.id = e.id LEFT JOIN activations a ON a.id = e.id"

_FIND_STATES: Final = f"""
SELECT json_group_array(json_array({_STATE_COLUMNS}))
FROM json_each(?2) j CROSS JOIN events e ON e.tenant = ?1 AND e.event_id = j.value {_STATE_SOURCE}"""

_FIND_STATE: Final = f"""
SELECT json_array({_STATE_COLUMNS}) FROM events e {_STATE_SOURCE} WHERE e.tenant = ? AND e.event_id = ?"""

_DUE: Final = f"""
SELECT json_group_array(json_array({_STATE_COLUMNS}))
FROM (SELECT id FROM outcomes
      WHERE state = 'open' AND id > ? AND id < ? AND served_at <= ? ORDER BY id LIMIT ?) d
CROSS JOIN events e ON e.id = d.id {_STATE_SOURCE}"""

_EVENTS_OF: Final = f"""
SELECT json_group_array(json_array({_STATE_COLUMNS}))
FROM events e INDEXED BY events_by_user {_STATE_SOURCE}
WHERE e.tenant = ? AND e.user = ? AND e.served_at >= ? AND e.served_at < ?"""

_IMPRESSIONS: Final = """
SELECT e.id, e.event_id, e.body, a.shown, a.is_altered, a.at
FROM json_each(?) j CROSS JOIN events e ON e.id = j.value LEFT JOIN activations a ON a.id = e.id"""

_OUTCOMES: Final = """
SELECT o.id, o.state, o.version, o.closed_at, o.reward, o.priority, o.details
FROM json_each(?) j CROSS JOIN outcomes o ON o.id = j.value"""

_SIGNAL_COLUMNS: Final = "dedupe, digest, name, doc, value, at, received_at, idempotency_key"
_SIGNALS: Final = f"""
SELECT s.event, e.event_id, {", ".join("s." + name for name in _SIGNAL_COLUMNS.split(", "))}
FROM json_each(?) j CROSS JOIN events e ON e.id = j.value CROSS JOIN signals s ON s.event = e.id"""

_StateJson = tuple[str, int, str, int, int, int | None, str | None, msgspec.Raw]
_decode_states = msgspec.json.Decoder(list[_StateJson]).decode
_decode_state = msgspec.json.Decoder(_StateJson).decode
_decode_ids = msgspec.json.Decoder(list[int]).decode
_encode_json = msgspec.json.Encoder().encode


class Tenant(NamedTuple):
    """Where the rows of a tenant stand, and its counters: `low` < id <= `low` + 2^40."""

    name: str
    low: int
    last_seq: int
    live_version: int | None
    epoch: int
    last_trace_change: int


_NOWHERE: Final = -(2 ** (SEQ_BITS + 1))  # ids are positive: a tenant that is not there has no rows


def read_tenant(connection: apsw.Connection, name: str) -> Tenant | None:
    """Return a tenant's row, or None; being the first read, it also fixes what a snapshot sees."""
    found = connection.execute(
        "SELECT n, last_seq, live_version, epoch, last_trace_change FROM tenants WHERE tenant = ?", (name,)
    ).fetchone()
    return None if found is None else Tenant(name, found[0] << SEQ_BITS, *found[1:])


def json_text(values: Iterable[Any]) -> str:
    """Return a list as JSON text, to be bound as one value."""
    return _encode_json(list(values)).decode()


def _state(low: int, row: _StateJson) -> EventState:
    event_id, row_id, state, version, served_at, closed_at, user, shown = row
    return rows.event_state(
        row_id - low,
        event_id,
        state=state,
        version=version,
        served_at=served_at,
        closed_at=closed_at,
        user=user,
        shown=bytes(shown).decode(),
    )


class SqliteReader:
    """Everything that can be read from one committed state; see `protocol.Reader`.

    Args:
        connection: In a transaction, for as long as this reader is used.
        where: The store, for messages.
        name: The tenant.
    """

    def __init__(self, connection: apsw.Connection, where: str, name: str) -> None:
        self._connection: apsw.Connection | None = connection
        self._where = where
        self._tenant = read_tenant(connection, name) or Tenant(name, _NOWHERE, 0, None, 0, 0)

    def end(self) -> None:
        """Let go of the connection: it belongs to somebody else from now on."""
        self._connection = None

    def _query(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        if self._connection is None:
            raise StoreClosedError(
                f"this snapshot or transaction of {self._where} is over", hint="Read inside its `with` block."
            )
        try:
            return self._connection.execute(sql, bindings).fetchall()
        except apsw.Error as error:
            raise told(error, self._where) from error

    def _ids(self, seqs: Iterable[int]) -> list[int]:
        low = self._tenant.low
        # A seq outside its 40 bits would be an event of another tenant
        return [low + int(seq) for seq in seqs if 0 < seq < 1 << SEQ_BITS]

    def setting(self, key: str) -> bytes | None:
        """Return a setting of this tenant, or None."""
        return self._setting("tenant", self._tenant.name, key)

    def store_setting(self, key: str) -> bytes | None:
        """Return a setting of the whole store, or None."""
        return self._setting("store", "", key)

    def _setting(self, scope: str, tenant: str, key: str) -> bytes | None:
        found = self._query(
            "SELECT value FROM settings WHERE scope = ? AND tenant = ? AND key = ?", (scope, tenant, key)
        )
        return found[0][0] if found else None

    def last_seq(self) -> int:
        """Return the highest seq ever given, 0 for an empty store."""
        return self._tenant.last_seq

    def epoch(self) -> int:
        """Return how many transactions of this tenant have changed outcomes."""
        return self._tenant.epoch

    def live_version(self) -> int | None:
        """Return the version in force, or None before the first."""
        return self._tenant.live_version

    def event(self, event_id: str) -> EventState | None:
        """Return an event's state, or None."""
        found = self._query(_FIND_STATE, (self._tenant.name, event_id))
        return _state(self._tenant.low, _decode_state(found[0][0])) if found else None

    def _found_states(self, event_ids: Sequence[str]) -> list[EventState]:
        text = self._query(_FIND_STATES, (self._tenant.name, json_text(event_ids)))[0][0]
        return [_state(self._tenant.low, row) for row in _decode_states(text)]

    def due(self, served_before: float, *, limit: int) -> list[EventState]:
        """Return open events served at or before an instant, in seq order."""
        low = self._tenant.low
        bound = bound_micros(served_before, "served_before")
        found = self._query(_DUE, (low, low + (1 << SEQ_BITS), bound, limit))
        return sorted((_state(low, row) for row in _decode_states(found[0][0])), key=lambda state: state.seq)

    def events_of(self, user: str, *, since: float, until: float) -> list[EventState]:
        """Return the events of a pseudonym with since <= served_at < until, in seq order."""
        low = self._tenant.low
        bounds = (bound_micros(since, "since"), bound_micros(until, "until"))
        found = self._query(_EVENTS_OF, (self._tenant.name, user, *bounds))
        return sorted((_state(low, row) for row in _decode_states(found[0][0])), key=lambda state: state.seq)

    def impressions(self, seqs: Sequence[int]) -> list[Impression]:
        """Return impressions in the order asked for; those that are gone are left out."""
        low = self._tenant.low
        found = self._query(_IMPRESSIONS, (json_text(self._ids(seqs)),))
        return found_rows.impressions(seqs, ((row[0] - low, *row[1:]) for row in found))

    def outcomes(self, seqs: Sequence[int]) -> list[Outcome]:
        """Return outcomes in the order asked for; those that are gone are left out."""
        low = self._tenant.low
        found = self._query(_OUTCOMES, (json_text(self._ids(seqs)),))
        return found_rows.outcomes(seqs, ((row[0] - low, *row[1:]) for row in found))

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
        most = _MOST_ROWS if limit is None else max(0, limit)
        low = self._tenant.low
        order = "DESC" if newest_first else "ASC"
        first = low + max(0, after)
        last = low + min(1 << SEQ_BITS, 1 << SEQ_BITS if before is None else max(0, before))
        served = (bound_micros(since, "since", -math.inf), bound_micros(until, "until", math.inf))
        # One walk along the index per state, each in order, then merged: no sort of a million rows for the newest ten
        walks = [
            sorted(
                _decode_ids(
                    self._query(
                        f"""SELECT json_group_array(id) FROM (SELECT id FROM outcomes WHERE state = ? AND id > ?
                        AND id < ? AND served_at >= ? AND served_at < ? ORDER BY id {order} LIMIT ?)""",
                        (state, first, last, *served, most),
                    )[0][0]
                ),
                reverse=newest_first,
            )
            for state in dict.fromkeys(states or rows.STATES)
        ]
        merged = list(heapq.merge(*walks, reverse=newest_first))
        return [row_id - low for row_id in (merged if limit is None else merged[:most])]

    def signals(self, seqs: Sequence[int]) -> dict[int, list[Signal]]:
        """Return the signals of these events, each list in the order (at, name, doc, value)."""
        return found_rows.signals(seqs, self._found_signals)

    def _found_signals(self, seqs: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        low = self._tenant.low
        return ((row[0] - low, *row[1:]) for row in self._query(_SIGNALS, (json_text(self._ids(seqs)),)))

    def orphans(self, event_id: str) -> list[Signal]:
        """Return signals parked for an event that is not known."""
        found = self._query(
            f"SELECT {_SIGNAL_COLUMNS} FROM orphans WHERE tenant = ? AND event_id = ?", (self._tenant.name, event_id)
        )
        return found_rows.signals_in_order(event_id, found)

    def answer(self, key: str) -> Answer | None:
        """Return what the request under a key was answered, or None."""
        found = self._query(
            "SELECT digest, body, at FROM answers WHERE tenant = ? AND key = ?", (self._tenant.name, key)
        )
        return found_rows.answer(key, found)

    def params(self, version: int) -> Params | None:
        """Return a params version, bit for bit as it was written, or None."""
        found = self._query("SELECT body FROM params WHERE tenant = ? AND version = ?", (self._tenant.name, version))
        return codec.decode_params(found[0][0], version=version) if found else None

    def params_versions(self) -> list[int]:
        """Return all versions, ascending."""
        found = self._query("SELECT version FROM params WHERE tenant = ? ORDER BY version", (self._tenant.name,))
        return [row[0] for row in found]

    def decisions(self, *, limit: int | None = None) -> list[GateDecision]:
        """Return the ledger, oldest first; with a limit the newest ones."""
        found = self._query(
            "SELECT n, body FROM decisions WHERE tenant = ? ORDER BY n DESC LIMIT ?",
            (self._tenant.name, _MOST_ROWS if limit is None else max(0, limit)),
        )
        return found_rows.decisions(found)

    def quarantined(self, *, event_id: str | None = None, limit: int = 1000) -> list[Quarantined]:
        """Return quarantined events, newest first."""
        which = "" if event_id is None else "AND event_id = ?"
        bindings = (self._tenant.name,) if event_id is None else (self._tenant.name, event_id)
        found = self._query(
            f"SELECT event_id, reason, at, user FROM quarantine WHERE tenant = ? {which} ORDER BY n DESC LIMIT ?",
            (*bindings, max(0, limit)),
        )
        return found_rows.quarantined(found)

    def is_erased(self, user: str) -> bool:
        """Return whether this pseudonym has a tombstone."""
        return bool(self._query("SELECT 1 FROM tombstones WHERE tenant = ? AND user = ?", (self._tenant.name, user)))

    def counts(self) -> dict[str, int]:
        """Return the number of events per state, and "signals", "orphans", "quarantined", "erased_users"."""
        name, low = self._tenant.name, self._tenant.low
        span = (low, low + (1 << SEQ_BITS))
        counted = {
            state: self._count("outcomes WHERE state = ? AND id > ? AND id < ?", (state, *span))
            for state in rows.STATES
        }
        counted["signals"] = self._count("signals WHERE event > ? AND event < ?", span)
        counted["orphans"] = self._count("orphans WHERE tenant = ?", (name,))
        counted["quarantined"] = self._count("quarantine WHERE tenant = ?", (name,))
        counted["erased_users"] = self._count("tombstones WHERE tenant = ?", (name,))
        return counted

    def _count(self, what: str, bindings: tuple[Any, ...]) -> int:
        return int(self._query(f"SELECT count(*) FROM {what}", bindings)[0][0])

    def statistics(self, query_hash: bytes, segment: str = "") -> list[PairStatistics]:
        """Return what is kept of evicted events for a query; fewer than five distinct users are left out."""
        found = self._query(
            """SELECT doc, n, exposure, credit, users, at FROM statistics
            WHERE tenant = ? AND query_hash = ? AND segment = ? AND length(users) >= ? ORDER BY doc""",
            (self._tenant.name, query_hash, segment, 8 * rows.MOST_USERS),
        )
        return found_rows.statistics(query_hash, segment, found)

    def traces(self, *, items: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield (item, packed row) of all items, or of those of the given ones that are there."""
        low = self._tenant.low
        if items is None:
            return sqlite_traces.read_all(self._query, low)
        return sqlite_traces.read_some(self._query, low, items)

    def n_traces(self) -> int:
        """Return how many items have a packed row."""
        return self._count("traces WHERE tenant = ?", (sqlite_traces.number(self._tenant.low),))

    def forgettable(self, before_us: int, *, limit: int) -> list[tuple[str, int]]:
        """Return (item, forget_at) of items to be forgotten from an instant on or earlier, earliest first."""
        return sqlite_traces.forgettable(self._query, self._tenant.low, before_us, limit)

    def trace_changes(self, *, after: int = 0) -> list[tuple[int, bytes]]:
        """Return (n, body) of the changes that are not in the packed rows yet and have n > after."""
        return sqlite_traces.changes_after(self._query, self._tenant.low, after)

    def size_bytes(self) -> int:
        """Return the bytes in use by the file, all tenants together, free pages not counted."""
        pages = self._query("PRAGMA page_count")[0][0] - self._query("PRAGMA freelist_count")[0][0]
        return int(pages * self._query("PRAGMA page_size")[0][0])

    def spans(self) -> list[tuple[int, int]]:
        """Return the ranges of seq that can be removed as a whole: none, rows go one by one."""
        return []

    def damages(self) -> list[str]:
        """Return what SQLite finds damaged, all tenants together, and the records of this one that do not decode."""
        found = [str(row[0]) for row in self._query("PRAGMA integrity_check") if row[0] != "ok"]
        found.extend(found_rows.damages(self))
        return found
