"""Writing to a store in memory: changes over the newest state, seen by nobody else until the commit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from dwell.records import GateDecision, Impression, Params, Signal
from dwell.storage import codec, protocol, rows
from dwell.storage.instants import bound_micros, micros, rounded
from dwell.storage.memory_reader import MemoryReader
from dwell.storage.pepper import user_mark
from dwell.storage.protocol import Answer, Outcome, PairStatistics, Quarantined, SignalStatus
from dwell.storage.rows import TraceRow, applied_changes, trace_rows
from dwell.storage.versions import Changes

__all__ = ["MemoryTransaction"]

# What a row takes in a file beside its body: its columns, its index entries and its share of half-filled pages.
# Measured on a SQLite store of 2,000 events of 4.2 KB with two signals each.
_EVENT_BYTES: Final = 600
_SIGNAL_BYTES: Final = 200
_TRACE_BYTES: Final = 74  # 283 of a row of 209: see tests/unit/storage/test_sqlite_traces.py


class MemoryTransaction(MemoryReader):
    """The one transaction that is open; see `protocol.Transaction`. It is a reader that sees its own writes.

    Args:
        changes: Over the newest committed state.
    """

    def __init__(self, changes: Changes) -> None:
        super().__init__(changes)
        self._changes = changes
        self._epoch_before = self.epoch()

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what was written inside the context if it is left by an exception."""
        mark = self._changes.mark()
        try:
            yield
        except BaseException:
            self._changes.undo_to(mark)
            raise

    def prefetch(self, event_ids: Sequence[str]) -> None:
        """Do nothing: everything is in memory already."""

    def _put(self, table: str, key: object, value: object) -> None:
        self._state()
        self._changes.put(table, key, value)

    def _remove(self, table: str, key: object) -> None:
        self._state()
        self._changes.remove(table, key)

    def _grow(self, n_bytes: int) -> None:
        self._put("counters", "size_bytes", max(0, self._counter("size_bytes") + n_bytes))

    def put_setting(self, key: str, value: bytes) -> None:
        """Set a setting of this tenant."""
        self._put("settings", ("tenant", key), bytes(value))

    def put_store_setting(self, key: str, value: bytes) -> None:
        """Set a setting of the whole store."""
        self._put("settings", ("store", key), bytes(value))

    # ------------------------------------------------------------ facts

    def add_impression(self, impression: Impression) -> int:
        """Store an impression with an outcome "open" (or "not_shown") and return its new seq."""
        row = rows.event_row(impression)
        if self._get("event_ids", row.event_id) is not None:
            raise rows.duplicate_event(row.event_id)
        seq = self.last_seq() + 1
        self._put("counters", "last_seq", seq)
        self._put("events", seq, row)
        self._put("event_ids", row.event_id, seq)
        self._put_row(seq, rows.OutcomeRow("open" if row.is_shown else "not_shown", 0, None, None, 1.0, None))
        self._grow(len(row.body) + _EVENT_BYTES)
        return seq

    def _put_row(self, seq: int, row: rows.OutcomeRow) -> None:
        self._put("outcomes", seq, row)
        if row.state == "open":
            self._put("open", seq, self._get("events", seq).served_at)
        elif self._get("open", seq) is not None:
            self._remove("open", seq)

    def add_activation(self, seq: int, *, shown: Sequence[str], is_altered: bool, at: float) -> None:
        """Record that a deferred event was shown; its state becomes "open"."""
        activation = rows.ActivationRow(rows.shown_text(shown), bool(is_altered), micros(at, "at"))
        outcome: rows.OutcomeRow | None = self._get("outcomes", seq)
        rows.check_deferred(seq, None if outcome is None else outcome.state)
        self._put("activations", seq, activation)
        if outcome is not None:
            self._put_row(seq, outcome._replace(state="open"))

    def add_signal(self, seq: int, signal: Signal, *, credited_at: float | None = None) -> SignalStatus:
        """Store a signal, unless it is there already or there are too many."""
        row = rows.signal_row(signal, credited_at)
        if self._get("events", seq) is None:
            raise rows.unknown_event(seq)
        return self._add_to("signals", seq, row)

    def add_orphan(self, signal: Signal) -> SignalStatus:
        """Park a signal whose event is not known, unless it is there already or there are too many."""
        is_full = self._counter("n_orphans") >= protocol.MAX_ORPHANS
        status = self._add_to("orphans", signal.event_id, rows.signal_row(signal), is_full=is_full)
        if status == "added":
            self._count_orphans(1)
        return status

    def _count_orphans(self, n: int) -> None:
        self._put("counters", "n_orphans", self._counter("n_orphans") + n)

    def _add_to(self, table: str, key: object, row: rows.SignalRow, *, is_full: bool = False) -> SignalStatus:
        kept: dict[str, rows.SignalRow] = self._get(table, key) or {}
        if row.dedupe in kept:
            return "duplicate" if kept[row.dedupe].digest == row.digest else "conflict"
        if len(kept) >= protocol.MAX_SIGNALS_PER_EVENT:
            return "too_many"
        if is_full:
            return "overloaded"
        self._put(table, key, {**kept, row.dedupe: row})
        self._grow(_SIGNAL_BYTES)
        return "added"

    def take_orphans(self, event_id: str) -> list[Signal]:
        """Return and remove the signals parked for an event."""
        found = self.orphans(event_id)
        self._remove_orphans([event_id])
        return found

    def _remove_orphans(self, event_ids: Iterable[str]) -> None:
        for event_id in event_ids:
            kept = self._get("orphans", event_id)
            if kept is not None:
                self._remove("orphans", event_id)
                self._count_orphans(-len(kept))
                self._grow(-_SIGNAL_BYTES * len(kept))

    def drop_orphans(self, received_before: float) -> int:
        """Remove parked signals that were received before an instant; return how many."""
        bound = bound_micros(received_before, "received_before")
        n = 0
        for event_id, kept in self._items("orphans"):
            left = {dedupe: row for dedupe, row in kept.items() if row.received_at >= bound}
            n += len(kept) - len(left)
            if not left:
                self._remove("orphans", event_id)
            elif len(left) < len(kept):
                self._put("orphans", event_id, left)
        self._count_orphans(-n)
        self._grow(-_SIGNAL_BYTES * n)
        return n

    def put_answer(self, answer: Answer) -> None:
        """Keep what a request was answered."""
        before = self._get("answers", answer.key)
        self._put("answers", answer.key, replace(answer, at=rounded(answer.at, "at")))
        self._grow(len(answer.body) - (0 if before is None else len(before.body)))

    def drop_answers(self, before: float) -> int:
        """Remove answers that were given before an instant; return how many."""
        bound = bound_micros(before, "before")
        gone = [answer for _, answer in self._items("answers") if micros(answer.at, "at") < bound]
        for answer in gone:
            self._remove("answers", answer.key)
            self._grow(-len(answer.body))
        return len(gone)

    def add_quarantined(self, quarantined: Quarantined) -> None:
        """Record an event that can not be learned from; the newest 100,000 are kept."""
        n = self._counter("n_quarantined") + 1
        self._put("counters", "n_quarantined", n)
        self._put(
            "quarantine",
            n,
            Quarantined(
                event_id=quarantined.event_id,
                reason=quarantined.reason,
                at=rounded(quarantined.at, "at"),
                user=quarantined.user,
            ),
        )
        if self._get("quarantine", n - rows.MAX_QUARANTINED) is not None:
            self._remove("quarantine", n - rows.MAX_QUARANTINED)

    # ------------------------------------------------------------ what changes

    def _note_change(self, n_changed: int) -> int:
        # one step per transaction, however much it changes; a savepoint that is undone takes the step back with it
        if n_changed:
            self._put("counters", "epoch", self._epoch_before + 1)
        return n_changed

    def put_outcome(self, outcome: Outcome, *, expected_version: int) -> bool:
        """Replace an event's outcome if its version is the expected one; return whether it was."""
        row = rows.outcome_row(outcome)
        kept: rows.OutcomeRow | None = self._get("outcomes", outcome.seq)
        if kept is None or kept.version != expected_version:
            return False
        self._put_row(outcome.seq, row)
        self._grow(len(row.details or b"") - len(kept.details or b""))
        self._note_change(1)
        return True

    def set_priorities(self, seqs: Sequence[int], priorities: Sequence[float]) -> int:
        """Set the priorities of events that are there; return how many were."""
        n = 0
        for seq, priority in rows.priorities_by_seq(seqs, priorities).items():
            kept: rows.OutcomeRow | None = self._get("outcomes", seq)
            if kept is not None:
                self._put("outcomes", seq, kept._replace(priority=priority))
                n += 1
        return self._note_change(n)

    def evict(self, seqs: Sequence[int]) -> int:
        """Mark events as evicted; return how many changed."""
        n = 0
        for seq in dict.fromkeys(map(int, seqs)):
            kept: rows.OutcomeRow | None = self._get("outcomes", seq)
            if kept is not None and kept.state != "evicted":
                self._put_row(seq, kept._replace(state="evicted"))
                n += 1
        return self._note_change(n)

    def delete_events(self, seqs: Sequence[int]) -> int:
        """Remove the facts of events for good; return how many were there."""
        n = 0
        for seq in dict.fromkeys(map(int, seqs)):
            row: rows.EventRow | None = self._get("events", seq)
            if row is None:
                continue
            n_signals = len(self._get("signals", seq) or ())
            details = self._get("outcomes", seq).details or b""
            self._grow(-(len(row.body) + _EVENT_BYTES + len(details) + n_signals * _SIGNAL_BYTES))
            for table in ("events", "activations", "outcomes", "open", "signals"):
                if self._get(table, seq) is not None:
                    self._remove(table, seq)
            self._remove("event_ids", row.event_id)
            n += 1
        return self._note_change(n)

    def drop_span(self, first: int, last: int) -> int | None:  # noqa: ARG002 - the protocol's
        """Return None: rows go one by one."""
        return None

    def erase_user(self, user: str, *, at: float) -> list[int]:
        """Remove every fact of a pseudonym, leave a tombstone, and return the seqs that went."""
        at_micros = micros(at, "at")
        seqs = sorted(seq for seq, row in self._items("events") if row.user == user)
        quarantined = self._items("quarantine")
        event_ids = {self._get("events", seq).event_id for seq in seqs}
        event_ids.update(found.event_id for _, found in quarantined if found.user == user)
        self._remove_orphans(event_ids)
        for n, found in quarantined:
            if found.event_id in event_ids:
                self._remove("quarantine", n)
        self.delete_events(seqs)
        mark = user_mark(user)
        for key, row in self._items("statistics"):
            if mark in row.users:
                self._remove("statistics", key)
        self._put("tombstones", user, at_micros)
        return seqs

    def merge_statistics(self, pairs: Sequence[PairStatistics], *, half_life_s: float, most: int) -> None:
        """Add sums of evicted events to what is kept; over `most` pairs, the least worth go."""
        for pair in pairs:
            key = (pair.query_hash, pair.segment, pair.doc)
            kept: rows.StatisticsRow | None = self._get("statistics", key)
            self._put("statistics", key, rows.merged(kept, rows.statistics_row(pair), half_life_s))
        sums = self._items("statistics")
        if len(sums) > most:
            sums.sort(key=lambda item: (len(item[1].users), item[1].at, item[0]))
            for key, _ in sums[: len(sums) - max(0, most)]:
                self._remove("statistics", key)

    # ------------------------------------------------------------ traces

    def add_trace_change(self, body: bytes) -> int:
        """Append a change that is not in the packed rows yet; return its n."""
        kept = rows.trace_body(body, "body")
        n = self._counter("last_trace_change") + 1
        self._put("counters", "last_trace_change", n)
        self._put("trace_changes", n, kept)
        self._grow(len(kept))
        return n

    def put_traces(
        self, rows: Sequence[tuple[str, bytes, int | None]], *, removed: Sequence[str] = (), applied: int = 0
    ) -> None:
        """Replace or add packed rows, remove others, and drop the changes that are in them now."""
        given, up_to = trace_rows(rows), applied_changes(applied)
        self._remove_traces(removed)
        n_bytes = 0
        for item, row in given.items():
            before: TraceRow | None = self._get("traces", item)
            n_bytes += len(row.packed) + _TRACE_BYTES if before is None else len(row.packed) - len(before.packed)
            self._put("traces", item, row)
        self._grow(n_bytes)
        self._remove_changes(up_to)

    def _remove_traces(self, items: Iterable[str]) -> None:
        n_bytes = 0
        for item in items:
            row: TraceRow | None = self._get("traces", item)
            if row is not None:
                self._remove("traces", item)
                n_bytes += len(row.packed) + _TRACE_BYTES
        self._grow(-n_bytes)

    def _remove_changes(self, up_to: int) -> None:
        gone = [(n, len(body)) for n, body in self._items("trace_changes") if n <= up_to]
        for n, _ in gone:
            self._remove("trace_changes", n)
        self._grow(-sum(n_bytes for _, n_bytes in gone))

    def drop_traces(self) -> None:
        """Remove all packed rows and all changes of this tenant."""
        self._remove_traces(item for item, _ in self._items("traces"))
        self._remove_changes(self._counter("last_trace_change"))

    # ------------------------------------------------------------ params and ledger

    def add_params(self, params: Params) -> None:
        """Store a new params version."""
        if self._get("params", params.version) is not None:
            raise rows.duplicate_version(params.version)
        self._put("params", params.version, codec.encode_params(params))

    def set_live(self, version: int) -> None:
        """Move the live pointer to a version that is there."""
        if self._get("params", version) is None:
            raise rows.unknown_version(version)
        self._put("counters", "live_version", version)

    def add_decision(self, decision: GateDecision) -> None:
        """Append a decision to the ledger."""
        n = self._counter("n_decisions") + 1
        self._put("counters", "n_decisions", n)
        self._put("decisions", n, codec.encode_decision(decision))
