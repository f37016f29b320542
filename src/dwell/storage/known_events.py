"""What a transaction knows of events without asking again: their states, their signals, who has orphans.

An import looks at each event several times, and a look at the database costs more than all else that it does. So what
was read, and what this transaction wrote itself, is remembered; what could have changed is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from dwell.storage import protocol, rows
from dwell.storage.protocol import EventState, SignalStatus
from dwell.storage.rows import SignalRow

__all__ = ["KnownEvents"]

_MOST: Final = 20_000  # events remembered within one transaction: an import of millions must not grow

_Find: TypeAlias = Callable[[Sequence[str]], list[EventState]]
_FindSignals: TypeAlias = Callable[[Sequence[int]], Iterable[tuple[int, str | None, str | None]]]
_FindOrphaned: TypeAlias = Callable[[Sequence[str]], Iterable[str]]


class KnownEvents:
    """What one transaction knows; used by it alone.

    What asks the database is given with each call. `find_signals` returns (seq, dedupe, digest) of every signal of the
    given events, and (seq, None, None) for an event without any.

    Attributes:
        n_orphans: Parked signals of the tenant, or None before they were counted: a hundred thousand take milliseconds.
        has_forgotten: Whether events that this transaction stored may be unknown here. Who has brought them to the
            database, where they are found again, sets it back to False.
    """

    def __init__(self) -> None:
        self._states: dict[str, EventState | None] = {}
        self._event_ids: dict[int, str] = {}
        self._signals: dict[int, dict[str, str]] = {}
        self._without_orphans: set[str] = set()
        self.n_orphans: int | None = None
        self.has_forgotten = False

    def forget(self) -> None:
        """Forget everything."""
        self._states.clear()
        self._event_ids.clear()
        self._signals.clear()
        self._without_orphans.clear()
        self.n_orphans = None
        self.has_forgotten = True

    def forget_states(self, seqs: Iterable[int]) -> None:
        """Forget the states of events that change; what is known of their signals stays."""
        for seq in seqs:
            self._states.pop(self._event_ids.pop(seq, ""), None)

    def _remember(self, event_id: str, state: EventState | None) -> None:
        if len(self._states) >= _MOST:
            self.forget()
        self._states[event_id] = state
        if state is not None:
            self._event_ids[state.seq] = event_id

    def add(self, state: EventState) -> None:
        """Remember an event that this transaction stored, with no signals yet."""
        self._remember(state.event_id, state)
        self._signals[state.seq] = {}

    def prefetch(
        self, event_ids: Sequence[str], *, find: _Find, find_signals: _FindSignals, find_orphaned: _FindOrphaned
    ) -> None:
        """Read what is not known of these events at once.

        Args:
            event_ids: Of any events, known or not.
            find: Returns the states of those of the given events that are there.
            find_signals: See the class.
            find_orphaned: Returns those of the given event ids that have parked signals.
        """
        wanted = [event_id for event_id in dict.fromkeys(event_ids) if event_id not in self._states]
        if not wanted:
            return
        if len(self._states) + len(wanted) > _MOST:
            self.forget()
        found = find(wanted)
        self._states.update(dict.fromkeys(wanted))
        for state in found:
            self._remember(state.event_id, state)
        self._load_signals([state.seq for state in found], find_signals)
        self._without_orphans.update(set(wanted).difference(find_orphaned(wanted)))

    def state(self, event_id: str, read: Callable[[str], EventState | None]) -> EventState | None:
        """Return an event's state, or None; `read` is asked where it is not known."""
        if event_id in self._states:
            return self._states[event_id]
        state = read(event_id)
        self._remember(event_id, state)
        return state

    def _load_signals(self, seqs: Sequence[int], find_signals: _FindSignals) -> None:
        if not seqs:
            return
        if len(self._signals) + len(seqs) > _MOST:
            self._signals.clear()
        for seq, dedupe, digest in find_signals(seqs):
            known = self._signals.setdefault(seq, {})
            if dedupe is not None and digest is not None:
                known[dedupe] = digest

    def note_signal(self, seq: int, row: SignalRow, find_signals: _FindSignals) -> SignalStatus:
        """Return what becomes of a signal, and remember it where it is "added": then the caller stores it.

        Raises:
            StorageError: code `unknown_event`.
        """
        if seq not in self._signals:
            self._load_signals([seq], find_signals)
        if seq not in self._signals:
            raise rows.unknown_event(seq)
        known = self._signals[seq]
        if row.dedupe in known:
            return "duplicate" if known[row.dedupe] == row.digest else "conflict"
        if len(known) >= protocol.MAX_SIGNALS_PER_EVENT:
            return "too_many"
        known[row.dedupe] = row.digest
        return "added"

    def has_no_orphans(self, event_id: str) -> bool:
        """Return whether it is known that no signals are parked for an event."""
        return event_id in self._without_orphans

    def note_orphan(self, event_id: str) -> None:
        """Remember that a signal was parked for an event."""
        self._without_orphans.discard(event_id)
