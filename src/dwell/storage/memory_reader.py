"""Reading one committed state of a store in memory."""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, Final

from dwell.errors import CorruptStoreError, StoreClosedError
from dwell.records import GateDecision, Impression, Params, Signal
from dwell.storage import codec, rows
from dwell.storage.instants import bound_micros
from dwell.storage.protocol import Answer, EventState, Outcome, PairStatistics, Quarantined
from dwell.storage.versions import Changes, View

__all__ = ["TABLES", "MemoryReader"]

TABLES: Final = (
    "counters",  # name -> int
    "settings",  # (scope, key) -> bytes
    "events",  # seq -> EventRow
    "event_ids",  # event_id -> seq
    "activations",  # seq -> ActivationRow
    "outcomes",  # seq -> OutcomeRow
    "open",  # seq -> served_at, of open events only
    "signals",  # seq -> {dedupe: SignalRow}, replaced as a whole
    "orphans",  # event_id -> {dedupe: SignalRow}, replaced as a whole
    "answers",  # key -> Answer
    "quarantine",  # n -> Quarantined
    "params",  # version -> bytes
    "decisions",  # n -> bytes
    "tombstones",  # user -> at
    "traces",  # item -> TraceRow
    "trace_changes",  # n -> bytes
    "statistics",  # (query hash, segment, doc) -> StatisticsRow
)


class MemoryReader:
    """Everything that can be read from one committed state; see `protocol.Reader`.

    Args:
        view: The state.
    """

    def __init__(self, view: View | Changes) -> None:
        self._view: View | Changes | None = view

    def end(self) -> None:
        """Let go of the state."""
        self._view = None

    def _state(self) -> View | Changes:
        if self._view is None:
            raise StoreClosedError(
                "this snapshot or transaction of :memory: is over", hint="Read inside its `with` block."
            )
        return self._view

    def _get(self, table: str, key: Hashable) -> Any:  # noqa: ANN401 - tables hold values of any kind
        return self._state().get(table, key)

    def _items(self, table: str) -> list[tuple[Any, Any]]:
        return self._state().items(table)

    def _counter(self, name: str) -> int:
        return self._get("counters", name) or 0

    def setting(self, key: str) -> bytes | None:
        """Return a setting of this tenant, or None."""
        found: bytes | None = self._get("settings", ("tenant", key))
        return found

    def store_setting(self, key: str) -> bytes | None:
        """Return a setting of the whole store, or None."""
        found: bytes | None = self._get("settings", ("store", key))
        return found

    def last_seq(self) -> int:
        """Return the highest seq ever given, 0 for an empty store."""
        return self._counter("last_seq")

    def epoch(self) -> int:
        """Return how many transactions have changed outcomes."""
        return self._counter("epoch")

    def live_version(self) -> int | None:
        """Return the version in force, or None before the first."""
        found: int | None = self._get("counters", "live_version")
        return found

    def event(self, event_id: str) -> EventState | None:
        """Return an event's state, or None."""
        seq = self._get("event_ids", event_id)
        return None if seq is None else self._event_state(seq)

    def _event_state(self, seq: int) -> EventState:
        row: rows.EventRow = self._get("events", seq)
        outcome: rows.OutcomeRow = self._get("outcomes", seq)
        activation: rows.ActivationRow | None = self._get("activations", seq)
        return rows.event_state(
            seq,
            row.event_id,
            state=outcome.state,
            version=outcome.version,
            served_at=row.served_at,
            closed_at=outcome.closed_at,
            user=row.user,
            shown=row.shown if activation is None else activation.shown,
        )

    def due(self, served_before: float, *, limit: int) -> list[EventState]:
        """Return open events served at or before an instant, in seq order."""
        bound = bound_micros(served_before, "served_before")
        due = sorted(seq for seq, served_at in self._items("open") if served_at <= bound)
        return [self._event_state(seq) for seq in due[: max(0, limit)]]

    def events_of(self, user: str, *, since: float, until: float) -> list[EventState]:
        """Return the events of a pseudonym with since <= served_at < until, in seq order."""
        first, end = bound_micros(since, "since"), bound_micros(until, "until")
        seqs = (seq for seq, row in self._items("events") if row.user == user and first <= row.served_at < end)
        return [self._event_state(seq) for seq in sorted(seqs)]

    def impressions(self, seqs: Sequence[int]) -> list[Impression]:
        """Return impressions in the order asked for; those that are gone are left out."""
        found = []
        for seq in map(int, seqs):
            row: rows.EventRow | None = self._get("events", seq)
            if row is not None:
                found.append(rows.impression(seq, row.event_id, row.body, self._get("activations", seq)))
        return found

    def outcomes(self, seqs: Sequence[int]) -> list[Outcome]:
        """Return outcomes in the order asked for; those that are gone are left out."""
        found = ((seq, self._get("outcomes", seq)) for seq in map(int, seqs))
        return [rows.outcome(seq, row) for seq, row in found if row is not None]

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
        wanted = frozenset(states or rows.STATES)
        last_seq = self.last_seq()
        first, end = max(0, after) + 1, last_seq + 1 if before is None else min(before, last_seq + 1)
        earliest, latest = bound_micros(since, "since", -math.inf), bound_micros(until, "until", math.inf)
        most = last_seq if limit is None else max(0, limit)
        found: list[int] = []
        walk: Iterable[int] = range(end - 1, first - 1, -1) if newest_first else range(first, end)
        for seq in walk:
            if len(found) >= most:
                break
            row: rows.OutcomeRow | None = self._get("outcomes", seq)
            if row is None or row.state not in wanted:
                continue
            if earliest <= self._get("events", seq).served_at < latest:
                found.append(seq)
        return found

    def signals(self, seqs: Sequence[int]) -> dict[int, list[Signal]]:
        """Return the signals of these events, each list in the order (at, name, doc, value)."""
        found = {}
        for seq in map(int, seqs):
            kept = self._get("signals", seq)
            found[seq] = [] if not kept else _in_order(self._get("events", seq).event_id, kept.values())
        return found

    def orphans(self, event_id: str) -> list[Signal]:
        """Return signals parked for an event that is not known."""
        return _in_order(event_id, (self._get("orphans", event_id) or {}).values())

    def answer(self, key: str) -> Answer | None:
        """Return what the request under a key was answered, or None."""
        found: Answer | None = self._get("answers", key)
        return found

    def params(self, version: int) -> Params | None:
        """Return a params version, bit for bit as it was written, or None."""
        body = self._get("params", version)
        return None if body is None else codec.decode_params(body, version=version)

    def params_versions(self) -> list[int]:
        """Return all versions, ascending."""
        return sorted(version for version, _ in self._items("params"))

    def decisions(self, *, limit: int | None = None) -> list[GateDecision]:
        """Return the ledger, oldest first; with a limit the newest ones."""
        n_decisions = self._counter("n_decisions")
        first = 0 if limit is None else max(0, n_decisions - max(0, limit))
        return [codec.decode_decision(self._get("decisions", n), number=n) for n in range(first + 1, n_decisions + 1)]

    def quarantined(self, *, event_id: str | None = None, limit: int = 1000) -> list[Quarantined]:
        """Return quarantined events, newest first."""
        found = [
            (n, quarantined)
            for n, quarantined in self._items("quarantine")
            if event_id is None or quarantined.event_id == event_id
        ]
        found.sort(key=lambda pair: -int(pair[0]))
        return [quarantined for _, quarantined in found[: max(0, limit)]]

    def is_erased(self, user: str) -> bool:
        """Return whether this pseudonym has a tombstone."""
        return self._get("tombstones", user) is not None

    def counts(self) -> dict[str, int]:
        """Return the number of events per state, and "signals", "orphans", "quarantined", "erased_users"."""
        counted = dict.fromkeys(rows.STATES, 0)
        for _, row in self._items("outcomes"):
            counted[row.state] += 1
        for name, table in (("signals", "signals"), ("orphans", "orphans")):
            counted[name] = sum(len(kept) for _, kept in self._items(table))
        for name, table in (("quarantined", "quarantine"), ("erased_users", "tombstones")):
            counted[name] = len(self._items(table))
        return counted

    def statistics(self, query_hash: bytes, segment: str = "") -> list[PairStatistics]:
        """Return what is kept of evicted events for a query; fewer than five distinct users are left out."""
        found = sorted(
            (doc, row)
            for (kept_hash, kept_segment, doc), row in self._items("statistics")
            if (kept_hash, kept_segment) == (query_hash, segment) and len(row.users) >= 8 * rows.MOST_USERS
        )
        return [rows.pair_statistics(query_hash, segment, doc, row) for doc, row in found]

    def traces(self, *, items: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield (item, packed row) of all items, or of those of the given ones that are there."""
        found = (
            self._items("traces")
            if items is None
            else [(item, row) for item in dict.fromkeys(items) if (row := self._get("traces", item)) is not None]
        )
        return ((item, row.packed) for item, row in found)

    def n_traces(self) -> int:
        """Return how many items have a packed row."""
        return len(self._items("traces"))

    def forgettable(self, before_us: int, *, limit: int) -> list[tuple[str, int]]:
        """Return (item, forget_at) of items to be forgotten from an instant on or earlier, earliest first."""
        due = (
            (row.forget_at, item)
            for item, row in self._items("traces")
            if row.forget_at is not None and row.forget_at <= before_us
        )
        return [(item, at) for at, item in heapq.nsmallest(max(0, limit), due)]

    def trace_changes(self, *, after: int = 0) -> list[tuple[int, bytes]]:
        """Return (n, body) of the changes that are not in the packed rows yet and have n > after."""
        return sorted((n, body) for n, body in self._items("trace_changes") if n > after)

    def size_bytes(self) -> int:
        """Return about the bytes that the same facts would take in a file."""
        return self._counter("size_bytes")

    def spans(self) -> list[tuple[int, int]]:
        """Return the ranges of seq that can be removed as a whole: none, rows go one by one."""
        return []

    def damages(self) -> list[str]:
        """Return a line for everything that can not be decoded any more."""
        found = []
        for seq, _ in self._items("events"):
            try:
                self.impressions([seq])
                self.outcomes([seq])
            except CorruptStoreError as error:
                found.append(error.message)
        return found


def _in_order(event_id: str, kept: Iterable[rows.SignalRow]) -> list[Signal]:
    return [rows.signal(event_id, row) for row in sorted(kept, key=rows.signal_order)]
