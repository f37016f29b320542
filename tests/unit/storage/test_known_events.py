"""What a transaction remembers of events, against a database that counts how often it is asked."""

from collections.abc import Sequence

import pytest

from dwell.errors import StorageError
from dwell.records import Signal
from dwell.storage import known_events, protocol, rows
from dwell.storage.known_events import KnownEvents
from dwell.storage.protocol import EventState

AT = 1_700_000_000.0


def state(seq: int) -> EventState:
    return EventState(
        seq=seq, event_id=f"e{seq}", state="open", version=0, served_at=AT, closed_at=None, user=None, shown=("a",)
    )


def signal(event_id: str, name: str = "click", value: float = 1.0, key: str | None = None) -> rows.SignalRow:
    return rows.signal_row(
        Signal(event_id=event_id, name=name, doc="a", value=value, at=AT, received_at=AT, idempotency_key=key)
    )


class Database:
    """Three events; the first has a signal, and "new" has an orphan."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[object]]] = []
        self.signals = {1: {"old": "digest"}, 2: {}, 3: {}}

    def find(self, event_ids: Sequence[str]) -> list[EventState]:
        self.asked.append(("find", list(event_ids)))
        return [state(seq) for seq in self.signals if f"e{seq}" in event_ids]

    def find_signals(self, seqs: Sequence[int]) -> list[tuple[int, str | None, str | None]]:
        self.asked.append(("signals", list(seqs)))
        found: list[tuple[int, str | None, str | None]] = []
        for seq in seqs:
            if seq in self.signals:
                found += [(seq, *pair) for pair in self.signals[seq].items()] or [(seq, None, None)]
        return found

    def find_orphaned(self, event_ids: Sequence[str]) -> list[str]:
        self.asked.append(("orphaned", list(event_ids)))
        return [event_id for event_id in event_ids if event_id == "new"]

    def read(self, event_id: str) -> EventState | None:
        return next(iter(self.find([event_id])), None)

    def prefetch(self, known: KnownEvents, *event_ids: str) -> None:
        known.prefetch(event_ids, find=self.find, find_signals=self.find_signals, find_orphaned=self.find_orphaned)


def test_what_was_fetched_is_not_asked_for_again() -> None:
    database, known = Database(), KnownEvents()
    database.prefetch(known, "e1", "e2", "e1", "new")
    assert database.asked == [
        ("find", ["e1", "e2", "new"]), ("signals", [1, 2]), ("orphaned", ["e1", "e2", "new"]),
    ]  # fmt: skip
    database.asked.clear()
    database.prefetch(known, "e2", "new")
    assert known.state("e1", database.read) == state(1)
    assert known.state("new", database.read) is None
    assert (known.has_no_orphans("e1"), known.has_no_orphans("new")) == (True, False)
    assert known.note_signal(2, signal("e2"), database.find_signals) == "added"
    assert database.asked == []
    database.prefetch(known, "e3", "e2")
    assert database.asked[0] == ("find", ["e3"])


def test_a_signal_is_told_from_those_that_are_known() -> None:
    database, known = Database(), KnownEvents()
    assert known.note_signal(1, signal("e1", key="k"), database.find_signals) == "added"
    assert known.note_signal(1, signal("e1", key="k"), database.find_signals) == "duplicate"
    assert known.note_signal(1, signal("e1", key="k", value=2.0), database.find_signals) == "conflict"
    assert database.asked == [("signals", [1])]
    with pytest.raises(StorageError, match="there is no event number 9") as told:
        known.note_signal(9, signal("e9"), database.find_signals)
    assert told.value.code == "unknown_event"


def test_signals_of_the_database_count_as_those_of_this_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_SIGNALS_PER_EVENT", 2)
    database, known = Database(), KnownEvents()
    statuses = [known.note_signal(1, signal("e1", name), database.find_signals) for name in ("click", "purchase")]
    assert statuses == ["added", "too_many"]  # "old" is there


def test_what_changed_is_asked_for_again_and_what_did_not_is_not() -> None:
    database, known = Database(), KnownEvents()
    database.prefetch(known, "e1", "e2")
    known.forget_states([2, 77])
    database.asked.clear()
    known.state("e1", database.read)
    assert database.asked == []
    known.state("e2", database.read)
    assert database.asked == [("find", ["e2"])]
    known.note_signal(2, signal("e2"), database.find_signals)
    assert database.asked == [("find", ["e2"])], "signals do not change with the state"


def test_an_event_of_this_transaction_is_known_until_all_is_forgotten() -> None:
    database, known = Database(), KnownEvents()
    known.add(state(50))
    assert known.state("e50", database.read) == state(50)
    assert known.note_signal(50, signal("e50"), database.find_signals) == "added"
    assert (database.asked, known.has_forgotten) == ([], False)
    known.n_orphans = 3
    known.forget()
    assert (known.has_forgotten, known.n_orphans) == (True, None)
    assert known.state("e50", database.read) is None, "who held it back has to bring it to the database first"


def test_what_is_remembered_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_events, "_MOST", 10)
    database, known = Database(), KnownEvents()
    for seq in range(100, 125):
        known.add(state(seq))
        assert len(known._states) <= 10
        assert known.state(f"e{seq}", database.read) == state(seq)
    assert known.has_forgotten
    database.prefetch(known, *(f"other-{i}" for i in range(9)))
    assert len(known._states) <= 10
    database.signals = {seq: {} for seq in range(1, 30)}
    for seq in database.signals:
        assert known.note_signal(seq, signal(f"e{seq}"), database.find_signals) == "added"
        assert len(known._signals) <= 10


def test_a_parked_signal_is_looked_for() -> None:
    database, known = Database(), KnownEvents()
    database.prefetch(known, "later")
    assert known.has_no_orphans("later")
    known.note_orphan("later")
    assert not known.has_no_orphans("later")
