"""Writing to a SQLite store: one transaction, its savepoints, and rows held back until many go at once.

Impressions, signals and changes of traces wait in memory until somebody reads what they could change, or until the
commit, and are then written by one statement for up to 256 rows. Why: each step of a statement gives the interpreter
lock away, and beside a thread that computes without pause it comes back five milliseconds later. Measured with one such
thread: 4,770 us per impression with a statement each, 58 us with 256 rows a statement.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import apsw
import msgspec

from dwell.errors import StorageError
from dwell.records import GateDecision, Impression, Params, Signal
from dwell.storage import codec, protocol, rows, sqlite_traces
from dwell.storage.failures import told
from dwell.storage.instants import bound_micros, micros
from dwell.storage.known_events import KnownEvents
from dwell.storage.pepper import user_mark
from dwell.storage.protocol import Answer, EventState, Outcome, PairStatistics, Quarantined, SignalStatus, chunks
from dwell.storage.rows import applied_changes, trace_rows
from dwell.storage.schema import SEQ_BITS
from dwell.storage.sqlite_reader import SqliteReader, Tenant, json_text

__all__ = ["SqliteTransaction"]

_SIZES: Final = (256, 64, 16, 4, 1)  # rows per statement: few texts, so that all of them stay prepared

_EVENT_COLUMNS: Final = "id, tenant, event_id, served_at, user, is_shown, shown, body"
_SIGNAL_COLUMNS: Final = "tenant, event, dedupe, digest, name, doc, value, at, received_at, idempotency_key"
_ORPHAN_COLUMNS: Final = "tenant, event_id, dedupe, digest, name, doc, value, at, received_at, idempotency_key"
_CHANGE_COLUMNS: Final = "id, body"
_STATISTICS_COLUMNS: Final = "tenant, query_hash, segment, doc, n, exposure, credit, users, at"

_OPEN_OUTCOMES: Final = """
INSERT INTO outcomes (id, tenant, state, served_at)
SELECT id, tenant, iif(is_shown, 'open', 'not_shown'), served_at FROM events WHERE id BETWEEN ? AND ?"""

_PUT_OUTCOME: Final = """
UPDATE outcomes SET state = ?, version = ?, closed_at = ?, reward = ?, priority = ?, details = ?
WHERE id = ? AND version = ?"""

_KNOWN_SIGNALS: Final = """
SELECT json_group_array(json_array(e.id, s.dedupe, s.digest))
FROM json_each(?) j CROSS JOIN events e ON e.id = j.value LEFT JOIN signals s ON s.event = e.id"""

_WITH_ORPHANS: Final = """
SELECT json_group_array(j.value) FROM json_each(?2) j
WHERE EXISTS (SELECT 1 FROM orphans o WHERE o.tenant = ?1 AND o.event_id = j.value)"""

_N_ORPHANS_OF_EVENT: Final = "SELECT count(*) FROM orphans WHERE tenant = ? AND event_id = ?"

_OF_USER: Final = """
SELECT event_id FROM events WHERE tenant = ?1 AND user = ?2
UNION SELECT event_id FROM quarantine WHERE tenant = ?1 AND user = ?2"""

_DROP_LEAST: Final = """
DELETE FROM statistics WHERE tenant = ?1 AND (query_hash, segment, doc) IN (
  SELECT query_hash, segment, doc FROM statistics WHERE tenant = ?1
  ORDER BY length(users), at, query_hash, segment, doc
  LIMIT max(0, (SELECT count(*) FROM statistics WHERE tenant = ?1) - ?2))"""

_decode_known = msgspec.json.Decoder(list[tuple[int, str | None, str | None]]).decode
_decode_texts = msgspec.json.Decoder(list[str]).decode
_decode_ids = msgspec.json.Decoder(list[int]).decode


@lru_cache(maxsize=64)
def _values(n_columns: int, n_rows: int) -> str:
    row = "(" + ", ".join("?" * n_columns) + ")"
    return "VALUES " + ", ".join([row] * n_rows)


def _batches(many: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    start = 0
    for size in _SIZES:
        while len(many) - start >= size:
            yield many[start : start + size]
            start += size


@dataclass(slots=True)
class _Savepoint:
    """Where to return to: rows held back by then, the counters, and whether SQLite knows of it."""

    n_events: int
    n_signals: int
    n_changes: int
    tenant: Tenant
    is_in_file: bool = False


class SqliteTransaction(SqliteReader):
    """The one transaction that is open; see `protocol.Transaction`. It is a reader that sees its own writes.

    Args:
        connection: With a write transaction begun.
        where: The store, for messages.
        name: The tenant; its row is made where it is missing.
    """

    def __init__(self, connection: apsw.Connection, where: str, name: str) -> None:
        super().__init__(connection, where, name)
        if self._tenant.low < 0:
            connection.execute(
                "INSERT INTO tenants (tenant, n) SELECT ?, coalesce(max(n) + 1, 0) FROM tenants", (name,)
            )
            super().__init__(connection, where, name)
        self._counters_in_file = _counters(self._tenant)
        self._is_lost = False
        self._savepoints: list[_Savepoint] = []
        self._events: list[tuple[Any, ...]] = []
        self._signals: list[tuple[Any, ...]] = []
        self._changes: list[tuple[Any, ...]] = []
        self._n_events_gone = 0  # events written to the file so far; positions in `_Savepoint` count from the start
        self._n_signals_gone = 0
        self._n_changes_gone = 0
        self._known = KnownEvents()

    # ------------------------------------------------------------ statements

    def _execute(self, sql: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        connection = self._alive()
        try:
            return connection.execute(sql, bindings).fetchall()
        except apsw.Error as error:
            # A full or failing disk may have undone everything: what came next would stand outside a transaction
            self._is_lost = not connection.in_transaction
            raise told(error, self._where) from error

    def _alive(self) -> apsw.Connection:
        if self._is_lost or self._connection is None:
            raise StorageError(
                f"this transaction of {self._where} is over, or was undone by an earlier failure",
                code="transaction_lost",
                hint="Begin a new one.",
            )
        return self._connection

    def _query(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        if self._events or self._signals or self._changes:
            self._write_held_back()
        return self._execute(sql, bindings)

    def _write(self, sql: str, bindings: Sequence[Any] = ()) -> int:
        self._write_held_back()
        self._execute(sql, bindings)
        return self._alive().changes()

    def _write_many(self, before: str, many: list[tuple[Any, ...]], after: str = "") -> int:
        n = 0
        for batch in _batches(many):
            sql = f"{before}{_values(len(batch[0]), len(batch))}{after}"
            self._execute(sql, [value for row in batch for value in row])
            n += self._alive().changes()
        return n

    def _write_held_back(self) -> None:
        for depth, savepoint in enumerate(self._savepoints):
            if not savepoint.is_in_file:
                self._insert_up_to(savepoint.n_events, savepoint.n_signals, savepoint.n_changes)
                self._execute(f"SAVEPOINT level_{depth}")
                savepoint.is_in_file = True
        self._insert_up_to(*self._positions())

    def _positions(self) -> tuple[int, int, int]:
        return (
            self._n_events_gone + len(self._events),
            self._n_signals_gone + len(self._signals),
            self._n_changes_gone + len(self._changes),
        )

    def _insert_up_to(self, n_events: int, n_signals: int, n_changes: int) -> None:
        events, self._events = _split(self._events, n_events - self._n_events_gone)
        signals, self._signals = _split(self._signals, n_signals - self._n_signals_gone)
        changes, self._changes = _split(self._changes, n_changes - self._n_changes_gone)
        if events:
            self._write_many(f"INSERT INTO events ({_EVENT_COLUMNS}) ", events)
            self._execute(_OPEN_OUTCOMES, (events[0][0], events[-1][0]))
        if signals:
            self._write_many(f"INSERT INTO signals ({_SIGNAL_COLUMNS}) ", signals)
        if changes:
            self._write_many(f"INSERT INTO trace_changes ({_CHANGE_COLUMNS}) ", changes)
        self._n_events_gone += len(events)
        self._n_signals_gone += len(signals)
        self._n_changes_gone += len(changes)

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what was written inside the context if it is left by an exception."""
        savepoint = _Savepoint(*self._positions(), self._tenant)
        self._savepoints.append(savepoint)
        try:
            yield
        except BaseException:
            self._savepoints.pop()
            self._return_to(savepoint)
            raise
        self._savepoints.pop()
        if savepoint.is_in_file:
            self._execute(f"RELEASE level_{len(self._savepoints)}")

    def _return_to(self, savepoint: _Savepoint) -> None:
        self._tenant = savepoint.tenant
        self._known.forget()
        if not savepoint.is_in_file:
            del self._events[savepoint.n_events - self._n_events_gone :]
            del self._signals[savepoint.n_signals - self._n_signals_gone :]
            del self._changes[savepoint.n_changes - self._n_changes_gone :]
            return
        # What stood before it was written when SQLite was told of it: all that is held back came later
        self._events.clear()
        self._signals.clear()
        self._changes.clear()
        if not self._is_lost:
            name = f"level_{len(self._savepoints)}"
            self._execute(f"ROLLBACK TO {name}")
            self._execute(f"RELEASE {name}")

    def finish(self) -> None:
        """Write everything that was held back; the caller commits.

        Raises:
            StorageError: Also where an earlier failure, caught by the caller, undid the transaction.
        """
        self._alive()
        self._write_held_back()
        counters = _counters(self._tenant)
        if counters != self._counters_in_file:
            self._write(
                "UPDATE tenants SET last_seq = ?, epoch = ?, last_trace_change = ? WHERE tenant = ?",
                (*counters, self._tenant.name),
            )

    # ------------------------------------------------------------ what is known of events

    def prefetch(self, event_ids: Sequence[str]) -> None:
        """Read what is known of these events at once."""
        self._known.prefetch(
            event_ids, find=self._found_states, find_signals=self._signals_of, find_orphaned=self._orphaned_among
        )

    def _signals_of(self, seqs: Sequence[int]) -> Iterator[tuple[int, str | None, str | None]]:
        low = self._tenant.low
        found = self._query(_KNOWN_SIGNALS, (json_text(self._ids(seqs)),))[0][0]
        return ((row_id - low, dedupe, digest) for row_id, dedupe, digest in _decode_known(found))

    def _orphaned_among(self, event_ids: Sequence[str]) -> list[str]:
        return _decode_texts(self._query(_WITH_ORPHANS, (self._tenant.name, json_text(event_ids)))[0][0])

    def event(self, event_id: str) -> EventState | None:
        """Return an event's state, or None."""
        return self._known.state(event_id, super().event)

    # ------------------------------------------------------------ settings

    def put_setting(self, key: str, value: bytes) -> None:
        """Set a setting of this tenant."""
        self._put_setting("tenant", self._tenant.name, key, value)

    def put_store_setting(self, key: str, value: bytes) -> None:
        """Set a setting of the whole store."""
        self._put_setting("store", "", key, value)

    def _put_setting(self, scope: str, tenant: str, key: str, value: bytes) -> None:
        self._write(
            "INSERT OR REPLACE INTO settings (scope, tenant, key, value) VALUES (?, ?, ?, ?)",
            (scope, tenant, key, bytes(value)),
        )

    # ------------------------------------------------------------ facts

    def add_impression(self, impression: Impression) -> int:
        """Store an impression with an outcome "open" (or "not_shown") and return its new seq."""
        row = rows.event_row(impression)
        if self.event(row.event_id) is not None:
            raise rows.duplicate_event(row.event_id)
        seq = self._tenant.last_seq + 1
        self._tenant = self._tenant._replace(last_seq=seq)
        self._events.append((self._tenant.low + seq, self._tenant.name, *row))
        self._known.add(rows.new_state(seq, row, impression.served))
        if len(self._events) >= _SIZES[0]:
            self._write_held_back()
        return seq

    def add_activation(self, seq: int, *, shown: Sequence[str], is_altered: bool, at: float) -> None:
        """Record that a deferred event was shown; its state becomes "open"."""
        at_micros = micros(at, "at")
        text = rows.shown_text(shown)
        ids = self._ids([seq])
        found = self._query("SELECT state FROM outcomes WHERE id = ?", (ids[0],)) if ids else []
        rows.check_deferred(seq, found[0][0] if found else None)
        self._write(
            "INSERT INTO activations (id, tenant, shown, is_altered, at) VALUES (?, ?, ?, ?, ?)",
            (ids[0], self._tenant.name, text, int(is_altered), at_micros),
        )
        self._write("UPDATE outcomes SET state = 'open' WHERE id = ?", (ids[0],))
        self._known.forget_states([seq])

    def add_signal(self, seq: int, signal: Signal, *, credited_at: float | None = None) -> SignalStatus:
        """Store a signal, unless it is there already or there are too many."""
        row = rows.signal_row(signal, credited_at)
        status = self._known.note_signal(seq, row, self._signals_of)
        if status != "added":
            return status
        self._signals.append((self._tenant.name, self._tenant.low + seq, *row))
        if len(self._signals) >= _SIZES[0]:
            self._write_held_back()
        return "added"

    def add_orphan(self, signal: Signal) -> SignalStatus:
        """Park a signal whose event is not known, unless it is there already or there are too many."""
        row = rows.signal_row(signal)
        found = self._query(
            "SELECT digest FROM orphans WHERE tenant = ? AND event_id = ? AND dedupe = ?",
            (self._tenant.name, signal.event_id, row.dedupe),
        )
        if found:
            return "duplicate" if found[0][0] == row.digest else "conflict"
        name = self._tenant.name
        if self._query(_N_ORPHANS_OF_EVENT, (name, signal.event_id))[0][0] >= protocol.MAX_SIGNALS_PER_EVENT:
            return "too_many"
        if self._known.n_orphans is None:
            self._known.n_orphans = int(self._query("SELECT count(*) FROM orphans WHERE tenant = ?", (name,))[0][0])
        if self._known.n_orphans >= protocol.MAX_ORPHANS:
            return "overloaded"
        self._known.n_orphans += 1
        self._write_held_back()
        self._write_many(f"INSERT INTO orphans ({_ORPHAN_COLUMNS}) ", [(self._tenant.name, signal.event_id, *row)])
        self._known.note_orphan(signal.event_id)
        return "added"

    def take_orphans(self, event_id: str) -> list[Signal]:
        """Return and remove the signals parked for an event."""
        if self._known.has_no_orphans(event_id):
            return []
        found = self.orphans(event_id)
        if found:
            self._known.n_orphans = None if self._known.n_orphans is None else self._known.n_orphans - len(found)
            self._write("DELETE FROM orphans WHERE tenant = ? AND event_id = ?", (self._tenant.name, event_id))
        return found

    def drop_orphans(self, received_before: float) -> int:
        """Remove parked signals that were received before an instant; return how many."""
        bound = bound_micros(received_before, "received_before")
        self._known.n_orphans = None
        return self._write("DELETE FROM orphans WHERE tenant = ? AND received_at < ?", (self._tenant.name, bound))

    def put_answer(self, answer: Answer) -> None:
        """Keep what a request was answered."""
        self._write(
            "INSERT OR REPLACE INTO answers (tenant, key, digest, body, at) VALUES (?, ?, ?, ?, ?)",
            (self._tenant.name, answer.key, answer.digest, answer.body, micros(answer.at, "at")),
        )

    def drop_answers(self, before: float) -> int:
        """Remove answers that were given before an instant; return how many."""
        bound = bound_micros(before, "before")
        return self._write("DELETE FROM answers WHERE tenant = ? AND at < ?", (self._tenant.name, bound))

    def add_quarantined(self, quarantined: Quarantined) -> None:
        """Record an event that can not be learned from; the newest 100,000 are kept."""
        name = self._tenant.name
        n = self._query("SELECT coalesce(max(n), 0) + 1 FROM quarantine WHERE tenant = ?", (name,))[0][0]
        self._write(
            "INSERT INTO quarantine (tenant, n, event_id, reason, at, user) VALUES (?, ?, ?, ?, ?, ?)",
            (name, n, quarantined.event_id, quarantined.reason, micros(quarantined.at, "at"), quarantined.user),
        )
        if n > rows.MAX_QUARANTINED:
            self._write("DELETE FROM quarantine WHERE tenant = ? AND n <= ?", (name, n - rows.MAX_QUARANTINED))

    # ------------------------------------------------------------ what changes

    def _note_change(self, n_changed: int) -> int:
        # one step per transaction, however much it changes; a savepoint that is undone takes the step back with it
        if n_changed:
            self._tenant = self._tenant._replace(epoch=self._counters_in_file[1] + 1)
        return n_changed

    def put_outcome(self, outcome: Outcome, *, expected_version: int) -> bool:
        """Replace an event's outcome if its version is the expected one; return whether it was."""
        row = rows.outcome_row(outcome)
        ids = self._ids([outcome.seq])
        is_put = bool(ids) and self._write(_PUT_OUTCOME, (*row, ids[0], expected_version)) > 0
        if is_put:
            self._note_change(1)
            self._known.forget_states([outcome.seq])
        return is_put

    def set_priorities(self, seqs: Sequence[int], priorities: Sequence[float]) -> int:
        """Set the priorities of events that are there; return how many were."""
        wanted = rows.priorities_by_seq(seqs, priorities)
        low = self._tenant.low
        self._write_held_back()
        return self._note_change(
            self._write_many(
                "UPDATE outcomes SET priority = v.column2 FROM (",
                [(low + seq, priority) for seq, priority in wanted.items() if 0 < seq < 1 << SEQ_BITS],
                ") AS v WHERE outcomes.id = v.column1",
            )
        )

    def evict(self, seqs: Sequence[int]) -> int:
        """Mark events as evicted; return how many changed."""
        self._known.forget_states(seqs)
        return self._note_change(
            self._write(
                """UPDATE outcomes SET state = 'evicted'
                WHERE id IN (SELECT value FROM json_each(?)) AND state <> 'evicted'""",
                (json_text(self._ids(seqs)),),
            )
        )

    def delete_events(self, seqs: Sequence[int]) -> int:
        """Remove the facts of events for good; return how many were there."""
        self._write_held_back()
        self._known.forget()
        ids = json_text(self._ids(seqs))
        self._write("INSERT INTO deletion_permit (n, tenant) VALUES (1, ?)", (self._tenant.name,))
        for table, column in (("signals", "event"), ("activations", "id"), ("outcomes", "id")):
            self._write(f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))", (ids,))
        n = self._write("DELETE FROM events WHERE id IN (SELECT value FROM json_each(?))", (ids,))
        self._write("DELETE FROM deletion_permit")
        return self._note_change(n)

    def drop_span(self, first: int, last: int) -> int | None:  # noqa: ARG002 - the protocol's
        """Return None: rows go one by one."""
        return None

    def erase_user(self, user: str, *, at: float) -> list[int]:
        """Remove every fact of a pseudonym, leave a tombstone, and return the seqs that went."""
        name, at_micros = self._tenant.name, micros(at, "at")
        found = self._query("SELECT json_group_array(id) FROM events WHERE tenant = ? AND user = ?", (name, user))
        seqs = sorted(row_id - self._tenant.low for row_id in _decode_ids(found[0][0]))
        of_user = json_text(row[0] for row in self._query(_OF_USER, (name, user)))
        for table in ("orphans", "quarantine"):
            self._write(
                f"DELETE FROM {table} WHERE tenant = ? AND event_id IN (SELECT value FROM json_each(?))",
                (name, of_user),
            )
        self.delete_events(seqs)
        self._write("DELETE FROM statistics WHERE tenant = ? AND instr(users, ?) > 0", (name, user_mark(user)))
        self._write("INSERT OR REPLACE INTO tombstones (tenant, user, at) VALUES (?, ?, ?)", (name, user, at_micros))
        return seqs

    def merge_statistics(self, pairs: Sequence[PairStatistics], *, half_life_s: float, most: int) -> None:
        """Add sums of evicted events to what is kept; over `most` pairs, the least worth go."""
        name = self._tenant.name
        for some in chunks(pairs, _SIZES[0]):
            sums = self._kept({(pair.query_hash, pair.segment, pair.doc) for pair in some})
            for pair in some:
                key = (pair.query_hash, pair.segment, pair.doc)
                sums[key] = rows.merged(sums.get(key), rows.statistics_row(pair), half_life_s)
            self._write_held_back()
            self._write_many(
                f"INSERT OR REPLACE INTO statistics ({_STATISTICS_COLUMNS}) ",
                [(name, *key, *row) for key, row in sums.items()],
            )
        self._write(_DROP_LEAST, (name, most))

    def _kept(self, keys: Iterable[tuple[bytes, str, str]]) -> dict[tuple[bytes, str, str], rows.StatisticsRow]:
        wanted = sorted(keys)
        self._write_held_back()
        found = {}
        for batch in _batches(list(wanted)):
            for row in self._execute(
                f"""SELECT s.query_hash, s.segment, s.doc, s.n, s.exposure, s.credit, s.users, s.at
                FROM ({_values(3, len(batch))}) AS v CROSS JOIN statistics s ON s.tenant = ?
                AND s.query_hash = v.column1 AND s.segment = v.column2 AND s.doc = v.column3""",
                [*(value for key in batch for value in key), self._tenant.name],
            ):
                found[row[0], row[1], row[2]] = rows.StatisticsRow(*row[3:])
        return found

    # ------------------------------------------------------------ traces

    def add_trace_change(self, body: bytes) -> int:
        """Append a change that is not in the packed rows yet; return its n."""
        kept = rows.trace_body(body, "body")
        n = self._tenant.last_trace_change + 1
        self._tenant = self._tenant._replace(last_trace_change=n)
        self._changes.append((self._tenant.low + n, kept))
        if len(self._changes) >= _SIZES[0]:
            self._write_held_back()
        return n

    def put_traces(
        self, rows: Sequence[tuple[str, bytes, int | None]], *, removed: Sequence[str] = (), applied: int = 0
    ) -> None:
        """Replace or add packed rows, remove others, and drop the changes that are in them now."""
        given, up_to = trace_rows(rows), applied_changes(applied)
        self._write_held_back()
        sqlite_traces.put(self._execute, self._write_many, self._tenant.low, given, removed=removed, applied=up_to)

    def drop_traces(self) -> None:
        """Remove all packed rows and all changes of this tenant."""
        self._write_held_back()
        sqlite_traces.drop(self._execute, self._tenant.low)

    # ------------------------------------------------------------ params and ledger

    def add_params(self, params: Params) -> None:
        """Store a new params version."""
        if self._query("SELECT 1 FROM params WHERE tenant = ? AND version = ?", (self._tenant.name, params.version)):
            raise rows.duplicate_version(params.version)
        self._write(
            "INSERT INTO params (tenant, version, body) VALUES (?, ?, ?)",
            (self._tenant.name, params.version, codec.encode_params(params)),
        )

    def set_live(self, version: int) -> None:
        """Move the live pointer to a version that is there."""
        if not self._query("SELECT 1 FROM params WHERE tenant = ? AND version = ?", (self._tenant.name, version)):
            raise rows.unknown_version(version)
        self._write("UPDATE tenants SET live_version = ? WHERE tenant = ?", (version, self._tenant.name))
        self._tenant = self._tenant._replace(live_version=version)

    def add_decision(self, decision: GateDecision) -> None:
        """Append a decision to the ledger."""
        self._write(
            """INSERT INTO decisions (tenant, n, body)
            SELECT ?1, coalesce(max(n), 0) + 1, ?2 FROM decisions WHERE tenant = ?1""",
            (self._tenant.name, codec.encode_decision(decision)),
        )


def _counters(tenant: Tenant) -> tuple[int, int, int]:
    return (tenant.last_seq, tenant.epoch, tenant.last_trace_change)


def _split(many: list[tuple[Any, ...]], n: int) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    return many[:n], many[n:]
