"""Writing to a PostgreSQL store: one transaction, alone in its tenant."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from dwell.records import GateDecision, Impression, Params, Signal
from dwell.storage import codec, postgres_traces, protocol, rows
from dwell.storage.instants import bound_micros, micros
from dwell.storage.known_events import KnownEvents
from dwell.storage.news import CHANNEL
from dwell.storage.pepper import user_mark
from dwell.storage.postgres_held_back import HeldBack
from dwell.storage.postgres_reader import ASKED, Counters, PostgresReader, of_asked
from dwell.storage.postgres_sessions import Connection
from dwell.storage.protocol import Answer, EventState, Outcome, PairStatistics, Quarantined, SignalStatus, chunks
from dwell.storage.rows import applied_changes, trace_rows

__all__ = ["EVENT_BYTES", "SIGNAL_BYTES", "PostgresTransaction"]

_WRITTEN_AT_ONCE: Final = 5_000  # rows of one statement
# What a row takes beside its contents: header, the columns of fixed width, index entries, and for an event its outcome.
# tests/contract/test_postgres.py holds their sum against the size of the tables
EVENT_BYTES: Final = 420
SIGNAL_BYTES: Final = 260
_STORE_LOCK: Final = 0x6477_656C  # "dwel": who reads or writes settings of the whole store in a transaction

_PUT_OUTCOME: Final = """
UPDATE outcomes o SET state = %s, version = %s, closed_at = %s, reward = %s, priority = %s, details = %s
FROM (SELECT coalesce(octet_length(details), 0) AS n_bytes FROM outcomes
      WHERE tenant = %s AND seq = %s AND version = %s) AS before
WHERE o.tenant = %s AND o.seq = %s RETURNING before.n_bytes"""

_KNOWN_SIGNALS: Final = f"""
SELECT e.seq, s.dedupe, s.digest FROM {ASKED} CROSS JOIN LATERAL {of_asked("events")} AS e
LEFT JOIN LATERAL {of_asked("signals", "event", "OFFSET 0")} AS s ON true"""

_STATE: Final = f"SELECT o.state FROM {ASKED} CROSS JOIN LATERAL {of_asked('outcomes')} AS o"

_WITH_ORPHANS: Final = "SELECT DISTINCT event_id FROM orphans WHERE tenant = %s AND event_id = ANY(%s)"

_SET_PRIORITIES: Final = """
UPDATE outcomes o SET priority = given.priority
FROM unnest(%s::bigint[], %s::float8[]) AS given (seq, priority)
WHERE o.tenant = %s AND o.seq = given.seq AND o.seq = ANY(%s)"""

_PERMIT: Final = "SET LOCAL dwell.deletion_permit = 'given'"
_NO_PERMIT: Final = "SET LOCAL dwell.deletion_permit = ''"

_OF_USER: Final = """
SELECT event_id FROM events WHERE tenant = %(tenant)s AND pseudonym = %(user)s
UNION SELECT event_id FROM quarantine WHERE tenant = %(tenant)s AND pseudonym = %(user)s"""

_DELETED_EVENTS: Final = """
WITH gone AS (DELETE FROM events WHERE tenant = %s AND seq = ANY(%s) RETURNING shown, body)
SELECT count(*), coalesce(sum(octet_length(shown) + octet_length(body)), 0)::bigint FROM gone"""

_DELETED_OUTCOMES: Final = """
WITH gone AS (DELETE FROM outcomes WHERE tenant = %s AND seq = ANY(%s) RETURNING details)
SELECT coalesce(sum(octet_length(details)), 0)::bigint FROM gone"""

_KEPT_STATISTICS: Final = """
SELECT s.query_hash, s.segment, s.doc, s.n, s.exposure, s.credit, s.users, s.at
FROM unnest(%s::bytea[], %s::text[], %s::text[]) AS given (query_hash, segment, doc)
JOIN statistics s USING (query_hash, segment, doc) WHERE s.tenant = %s"""

_PUT_STATISTICS: Final = """
INSERT INTO statistics (tenant, query_hash, segment, doc, n, exposure, credit, users, at)
SELECT %s, given.* FROM unnest(
  %s::bytea[], %s::text[], %s::text[], %s::float8[], %s::float8[], %s::float8[], %s::bytea[], %s::bigint[]) AS given
ON CONFLICT (tenant, query_hash, segment, doc) DO UPDATE SET n = excluded.n, exposure = excluded.exposure,
  credit = excluded.credit, users = excluded.users, at = excluded.at"""

_DROP_LEAST: Final = """
DELETE FROM statistics WHERE tenant = %(tenant)s AND (query_hash, segment, doc) IN (
  SELECT query_hash, segment, doc FROM statistics WHERE tenant = %(tenant)s
  ORDER BY length(users), at, query_hash, segment, doc
  LIMIT greatest(0, (SELECT count(*) FROM statistics WHERE tenant = %(tenant)s) - %(most)s))"""


class PostgresTransaction(PostgresReader):
    """The one open transaction of a tenant; see `protocol.Transaction`. It is a reader that sees its own writes.

    Args:
        connection: With a transaction begun, in which the tenant's row is locked.
        where: The store as it may be shown, for messages.
        tenant: Whose facts.
        counters: The tenant's row.
    """

    def __init__(self, connection: Connection, where: str, tenant: str, counters: Counters) -> None:
        super().__init__(connection, where, tenant, counters)
        self._held = HeldBack(connection, where)
        self._counters_before = counters
        self._has_store_lock = False
        self.has_changed_store = False
        self._has_news = False  # for those who wait to hear of it, once this is committed
        self._known = KnownEvents()

    def end(self) -> None:
        """Let go of the connection."""
        super().end()
        self._held.end()

    def _query(self, sql: str, bindings: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        return self._held.read(sql, bindings)

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what was written inside the context if it is left by an exception."""
        counters = self._counters
        try:
            with self._held.savepoint():
                yield
        except BaseException:
            self._counters = counters
            self._known.forget()
            raise

    def finish(self) -> bool:
        """Write everything that was held back; return whether anything was written. The caller commits.

        Raises:
            StorageError: Also where an earlier failure, caught by the caller, undid the transaction.
        """
        self._held.check()
        self._held.write_all()
        if not self._held.has_changed:
            return False
        now = self._counters
        self._held.write(
            """UPDATE tenants SET last_seq = %s, epoch = %s, last_trace_change = %s, live_version = %s, n_bytes = %s,
            n_commits = n_commits + 1 WHERE tenant = %s""",
            (now.last_seq, now.epoch, now.last_trace_change, now.live_version, max(0, now.n_bytes), self._tenant),
        )
        if self.has_changed_store:
            self._held.write("UPDATE store SET n_changes = n_changes + 1")
        if self.has_changed_store or self._has_news:
            self._held.write("SELECT pg_notify(%s, %s)", (CHANNEL, ""))
        return True

    def _grow(self, n_bytes: int) -> None:
        self._counters = self._counters._replace(n_bytes=self._counters.n_bytes + n_bytes)

    # ------------------------------------------------------------ what is known of events

    def prefetch(self, event_ids: Sequence[str]) -> None:
        """Read what is known of these events at once."""
        self._known.prefetch(
            event_ids, find=self._found_states, find_signals=self._signals_of, find_orphaned=self._orphaned_among
        )

    def _signals_of(self, seqs: Sequence[int]) -> Iterator[tuple[int, str | None, str | None]]:
        return ((seq, dedupe, digest) for seq, dedupe, digest in self._of_seqs(_KNOWN_SIGNALS, seqs))

    def _orphaned_among(self, event_ids: Sequence[str]) -> list[str]:
        found = self._query(_WITH_ORPHANS, (self._tenant, event_ids))
        return [row[0] for row in found]

    def event(self, event_id: str) -> EventState | None:
        """Return an event's state, or None."""
        return self._known.state(event_id, super().event)

    def _found_states(self, event_ids: Sequence[str]) -> list[EventState]:
        # Events that are held back are remembered, so that asking for others need not write them first
        if self._known.has_forgotten:
            self._held.write_all()
            self._known.has_forgotten = False
        with self._held.as_it_is():
            return super()._found_states(event_ids)

    # ------------------------------------------------------------ settings

    def store_setting(self, key: str) -> bytes | None:
        """Return a setting of the whole store, which nobody else changes until this transaction is over."""
        self._lock_store()
        return super().store_setting(key)

    def put_setting(self, key: str, value: bytes) -> None:
        """Set a setting of this tenant."""
        self._put_setting("tenant", self._tenant, key, value)

    def put_store_setting(self, key: str, value: bytes) -> None:
        """Set a setting of the whole store."""
        self._lock_store()
        self.has_changed_store = True
        self._put_setting("store", "", key, value)

    def _lock_store(self) -> None:
        # Tenants write side by side, and each could make the one secret of the store
        if not self._has_store_lock:
            self._query("SELECT pg_advisory_xact_lock(%s)", (_STORE_LOCK,))
            self._has_store_lock = True

    def _put_setting(self, scope: str, tenant: str, key: str, value: bytes) -> None:
        self._held.write(
            """INSERT INTO settings (scope, tenant, key, value) VALUES (%s, %s, %s, %s)
            ON CONFLICT (tenant, scope, key) DO UPDATE SET value = excluded.value""",
            (scope, tenant, key, bytes(value)),
        )

    # ------------------------------------------------------------ facts

    def add_impression(self, impression: Impression) -> int:
        """Store an impression with an outcome "open" (or "not_shown") and return its new seq."""
        row = rows.event_row(impression)
        if self.event(row.event_id) is not None:
            raise rows.duplicate_event(row.event_id)
        seq = self._counters.last_seq + 1
        if seq > self._counters.room_until:  # partitions are made ahead, but not for any number in one transaction
            self._counters = self._counters._replace(room_until=self._made_room(seq))
        n_bytes = self._counters.n_bytes + len(row.body) + len(row.shown) + EVENT_BYTES
        self._counters = self._counters._replace(last_seq=seq, n_bytes=n_bytes)
        state = rows.new_state(seq, row, impression.served)
        self._held.add("events", (self._tenant, seq, *row))
        self._held.add("outcomes", (self._tenant, seq, state.state, row.served_at))
        self._known.add(state)
        return seq

    def _made_room(self, seq: int) -> int:
        return int(self._held.change("SELECT make_room(%s) - 1", (seq,))[0][0])

    def add_activation(self, seq: int, *, shown: Sequence[str], is_altered: bool, at: float) -> None:
        """Record that a deferred event was shown; its state becomes "open"."""
        at_micros = micros(at, "at")
        text = rows.shown_text(shown)
        found = list(self._of_seqs(_STATE, [seq]))
        rows.check_deferred(seq, found[0][0] if found else None)
        self._held.write(
            "INSERT INTO activations (tenant, seq, shown, is_altered, at) VALUES (%s, %s, %s, %s, %s)",
            (self._tenant, seq, text, bool(is_altered), at_micros),
        )
        self._held.write("UPDATE outcomes SET state = 'open' WHERE tenant = %s AND seq = %s", (self._tenant, seq))
        self._known.forget_states([seq])

    def add_signal(self, seq: int, signal: Signal, *, credited_at: float | None = None) -> SignalStatus:
        """Store a signal, unless it is there already or there are too many."""
        row = rows.signal_row(signal, credited_at)
        status = self._known.note_signal(seq, row, self._signals_of)
        if status != "added":
            return status
        self._held.add("signals", (self._tenant, seq, *row))
        self._grow(SIGNAL_BYTES)
        return "added"

    def add_orphan(self, signal: Signal) -> SignalStatus:
        """Park a signal whose event is not known, unless it is there already or there are too many."""
        row = rows.signal_row(signal)
        found = self._query(
            """SELECT (SELECT digest FROM orphans WHERE tenant = %(tenant)s AND event_id = %(id)s AND dedupe = %(key)s),
            (SELECT count(*) FROM orphans WHERE tenant = %(tenant)s AND event_id = %(id)s)""",
            {"tenant": self._tenant, "id": signal.event_id, "key": row.dedupe},
        )
        digest, n_of_event = found[0]
        if digest is not None:
            return "duplicate" if digest == row.digest else "conflict"
        if n_of_event >= protocol.MAX_SIGNALS_PER_EVENT:
            return "too_many"
        if self._known.n_orphans is None:
            counted = self._query("SELECT count(*) FROM orphans WHERE tenant = %s", (self._tenant,))
            self._known.n_orphans = int(counted[0][0])
        if self._known.n_orphans >= protocol.MAX_ORPHANS:
            return "overloaded"
        self._known.n_orphans += 1
        self._held.add("orphans", (self._tenant, signal.event_id, *row))
        self._grow(SIGNAL_BYTES)
        self._known.note_orphan(signal.event_id)
        return "added"

    def take_orphans(self, event_id: str) -> list[Signal]:
        """Return and remove the signals parked for an event."""
        if self._known.has_no_orphans(event_id):
            return []
        found = self.orphans(event_id)
        if found:
            self._drop_orphans("event_id = %s", event_id)
        return found

    def _drop_orphans(self, which: str, value: object) -> int:
        self._known.n_orphans = None
        n = self._held.write(f"DELETE FROM orphans WHERE tenant = %s AND {which}", (self._tenant, value))
        self._grow(-n * SIGNAL_BYTES)
        return n

    def drop_orphans(self, received_before: float) -> int:
        """Remove parked signals that were received before an instant; return how many."""
        return self._drop_orphans("received_at < %s", bound_micros(received_before, "received_before"))

    def put_answer(self, answer: Answer) -> None:
        """Keep what a request was answered."""
        self._held.write(
            """INSERT INTO answers (tenant, key, digest, body, at) VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (tenant, key) DO UPDATE SET digest = excluded.digest, body = excluded.body, at = excluded.at""",
            (self._tenant, answer.key, answer.digest, answer.body, micros(answer.at, "at")),
        )

    def drop_answers(self, before: float) -> int:
        """Remove answers that were given before an instant; return how many."""
        bound = bound_micros(before, "before")
        return self._held.write("DELETE FROM answers WHERE tenant = %s AND at < %s", (self._tenant, bound))

    def add_quarantined(self, quarantined: Quarantined) -> None:
        """Record an event that can not be learned from; the newest 100,000 are kept."""
        n = self._held.change(
            """INSERT INTO quarantine (tenant, n, event_id, reason, at, pseudonym)
            VALUES (%s, (SELECT coalesce(max(n), 0) + 1 FROM quarantine WHERE tenant = %s), %s, %s, %s, %s)
            RETURNING n""",
            (
                *(self._tenant, self._tenant, quarantined.event_id, quarantined.reason),
                *(micros(quarantined.at, "at"), quarantined.user),
            ),
        )[0][0]
        if n > rows.MAX_QUARANTINED:
            oldest = n - rows.MAX_QUARANTINED
            self._held.write("DELETE FROM quarantine WHERE tenant = %s AND n <= %s", (self._tenant, oldest))

    # ------------------------------------------------------------ what changes

    def _note_change(self, n_changed: int) -> int:
        # one step per transaction, however much it changes; a savepoint that is undone takes the step back with it
        if n_changed:
            self._counters = self._counters._replace(epoch=self._counters_before.epoch + 1)
        return n_changed

    def put_outcome(self, outcome: Outcome, *, expected_version: int) -> bool:
        """Replace an event's outcome if its version is the expected one; return whether it was."""
        row = rows.outcome_row(outcome)
        which = (self._tenant, int(outcome.seq))
        found = self._held.change(_PUT_OUTCOME, (*row, *which, expected_version, *which))
        if found:
            self._grow(len(row.details or b"") - found[0][0])
            self._note_change(1)
            self._known.forget_states([outcome.seq])
        return bool(found)

    def set_priorities(self, seqs: Sequence[int], priorities: Sequence[float]) -> int:
        """Set the priorities of events that are there; return how many were."""
        wanted = rows.priorities_by_seq(seqs, priorities)
        n = 0
        for some in chunks([seq for seq in wanted if 0 < seq < 2**63], _WRITTEN_AT_ONCE):
            values = [wanted[seq] for seq in some]
            n += self._held.write(_SET_PRIORITIES, (list(some), values, self._tenant, list(some)))
        return self._note_change(n)

    def evict(self, seqs: Sequence[int]) -> int:
        """Mark events as evicted; return how many changed."""
        self._known.forget_states(seqs)
        wanted = [seq for seq in map(int, seqs) if 0 < seq < 2**63]
        return self._note_change(
            self._held.write(
                "UPDATE outcomes SET state = 'evicted' WHERE tenant = %s AND seq = ANY(%s) AND state <> 'evicted'",
                (self._tenant, wanted),
            )
        )

    def delete_events(self, seqs: Sequence[int]) -> int:
        """Remove the facts of events for good; return how many were there."""
        self._held.write_all()
        self._known.forget()
        which = (self._tenant, [seq for seq in map(int, seqs) if 0 < seq < 2**63])
        self._held.write(_PERMIT)
        n_signals = self._held.write("DELETE FROM signals WHERE tenant = %s AND event = ANY(%s)", which)
        self._held.write("DELETE FROM activations WHERE tenant = %s AND seq = ANY(%s)", which)
        n_details = self._held.change(_DELETED_OUTCOMES, which)[0][0]
        n, n_bytes = self._held.change(_DELETED_EVENTS, which)[0]
        self._held.write(_NO_PERMIT)
        self._shrink(n, n_bytes, n_details, n_signals)
        return self._note_change(n)

    def drop_span(self, first: int, last: int) -> int | None:  # noqa: ARG002 - a partition is known by its first number
        """Remove all events of a partition for good; return how many, or None where it can not go now."""
        self._held.write_all()
        self._held.write(_PERMIT)
        went = self._held.change("SELECT drop_span(%s, %s)", (self._tenant, int(first)))[0][0]
        self._held.write(_NO_PERMIT)
        if went is None:
            return None
        self._known.forget()
        self._shrink(*went)
        self._note_change(went[0])
        return int(went[0])

    def _shrink(self, n: int, n_bytes: int, n_details: int, n_signals: int) -> None:
        self._grow(-(n_bytes + n * EVENT_BYTES + n_details + n_signals * SIGNAL_BYTES))

    def erase_user(self, user: str, *, at: float) -> list[int]:
        """Remove every fact of a pseudonym, leave a tombstone, and return the seqs that went."""
        tenant, at_micros = self._tenant, micros(at, "at")
        self._has_news = True
        found = self._query("SELECT seq FROM events WHERE tenant = %s AND pseudonym = %s ORDER BY seq", (tenant, user))
        seqs = [row[0] for row in found]
        of_user = [row[0] for row in self._query(_OF_USER, {"tenant": tenant, "user": user})]
        self._drop_orphans("event_id = ANY(%s)", of_user)
        self._held.write("DELETE FROM quarantine WHERE tenant = %s AND event_id = ANY(%s)", (tenant, of_user))
        self.delete_events(seqs)
        self._held.write(
            "DELETE FROM statistics WHERE tenant = %s AND position(%s::bytea IN users) > 0", (tenant, user_mark(user))
        )
        self._held.write(
            """INSERT INTO tombstones (tenant, pseudonym, at) VALUES (%s, %s, %s)
            ON CONFLICT (tenant, pseudonym) DO UPDATE SET at = excluded.at""",
            (tenant, user, at_micros),
        )
        return seqs

    def merge_statistics(self, pairs: Sequence[PairStatistics], *, half_life_s: float, most: int) -> None:
        """Add sums of evicted events to what is kept; over `most` pairs, the least worth go."""
        for some in chunks(pairs, _WRITTEN_AT_ONCE):
            sums = self._kept({(pair.query_hash, pair.segment, pair.doc) for pair in some})
            for pair in some:
                key = (pair.query_hash, pair.segment, pair.doc)
                sums[key] = rows.merged(sums.get(key), rows.statistics_row(pair), half_life_s)
            columns = zip(*((*key, *row) for key, row in sums.items()), strict=True)
            self._held.write(_PUT_STATISTICS, (self._tenant, *map(list, columns)))
        self._held.change(_DROP_LEAST + " RETURNING 1", {"tenant": self._tenant, "most": most})

    def _kept(self, keys: Iterable[tuple[bytes, str, str]]) -> dict[tuple[bytes, str, str], rows.StatisticsRow]:
        columns = [list(column) for column in zip(*sorted(keys), strict=True)]
        found = self._query(_KEPT_STATISTICS, (*columns, self._tenant))
        return {(row[0], row[1], row[2]): rows.StatisticsRow(*row[3:]) for row in found}

    # ------------------------------------------------------------ traces

    def add_trace_change(self, body: bytes) -> int:
        """Append a change that is not in the packed rows yet; return its n."""
        kept = rows.trace_body(body, "body")
        n = self._counters.last_trace_change + 1
        self._counters = self._counters._replace(last_trace_change=n)
        self._held.add("trace_changes", (self._tenant, n, kept))
        self._grow(len(kept))
        return n

    def put_traces(
        self, rows: Sequence[tuple[str, bytes, int | None]], *, removed: Sequence[str] = (), applied: int = 0
    ) -> None:
        """Replace or add packed rows, remove others, and drop the changes that are in them now."""
        given, up_to = trace_rows(rows), applied_changes(applied)
        self._grow(postgres_traces.put(self._held.change, self._tenant, given, removed=removed, applied=up_to))

    def drop_traces(self) -> None:
        """Remove all packed rows and all changes of this tenant."""
        self._grow(-postgres_traces.drop(self._held.change, self._tenant))

    # ------------------------------------------------------------ params and ledger

    def add_params(self, params: Params) -> None:
        """Store a new params version."""
        which = (self._tenant, params.version)
        if self._query("SELECT 1 FROM params WHERE tenant = %s AND version = %s", which):
            raise rows.duplicate_version(params.version)
        self._held.write(
            "INSERT INTO params (tenant, version, body) VALUES (%s, %s, %s)", (*which, codec.encode_params(params))
        )

    def set_live(self, version: int) -> None:
        """Move the live pointer to a version that is there."""
        if not self._query("SELECT 1 FROM params WHERE tenant = %s AND version = %s", (self._tenant, version)):
            raise rows.unknown_version(version)
        self._counters = self._counters._replace(live_version=version)
        self._has_news = True
        self._held.has_changed = True

    def add_decision(self, decision: GateDecision) -> None:
        """Append a decision to the ledger."""
        self._held.write(
            """INSERT INTO decisions (tenant, n, body)
            VALUES (%s, (SELECT coalesce(max(n), 0) + 1 FROM decisions WHERE tenant = %s), %s)""",
            (self._tenant, self._tenant, codec.encode_decision(decision)),
        )
