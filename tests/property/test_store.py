"""Any sequence of calls: memory, SQLite, PostgreSQL and a naive model of dicts and lists give the same answers."""
# ruff: noqa: FBT001 - rules take what hypothesis drew

import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dwell.errors import StorageError
from dwell.records import Params, Signal
from dwell.records.experience import ExperienceState
from dwell.storage import Outcome, Quarantined, Reader, Store, Transaction, open_store
from dwell.testing.store_samples import sample_impression

from ..postgres import emptied_database  # noqa: TID252 - tests are no installed package

EVENTS = [f"e{i}" for i in range(4)]
USERS = [None, "ab" * 16, "cd" * 16]
STATES = ["open", "closed", "reopened", "not_shown", "evicted"]

event_ids = st.sampled_from(EVENTS)
# a grid: equal instants and values are what duplicates are made of
instants = st.integers(0, 4).map(lambda i: i * 0.25)
signals = st.builds(
    lambda event_id, name, doc, value, at, received_at, key: Signal(
        event_id=event_id, name=name, doc=doc, value=value, at=at, received_at=received_at, idempotency_key=key
    ),
    event_ids,
    st.sampled_from(["click", "dwell"]),
    st.sampled_from([None, "d1"]),
    st.sampled_from([0.0, 1.0]),
    instants,
    instants,
    st.sampled_from([None, None, "k1", "k2"]),
)


def operation(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


HELD_BACK = st.one_of(
    operation(
        "add_impressions",
        wanted=st.lists(st.tuples(event_ids, st.sampled_from(USERS), st.booleans(), instants), min_size=1, max_size=4),
    ),
    operation("add_signals", wanted=st.lists(signals, min_size=1, max_size=5)),
    operation("add_trace_changes", bodies=st.lists(st.binary(max_size=2), min_size=1, max_size=3)),
)
OPERATIONS = st.one_of(
    HELD_BACK,
    operation("prefetch", ids=st.lists(event_ids, max_size=4), is_read=st.booleans()),
    operation("read_events"),
    operation("activate", event_id=event_ids),
    operation("add_orphan", signal=signals, is_prefetched=st.booleans(), is_taken=st.booleans()),
    operation("drop_orphans", bound=instants),
    operation(
        "put_outcome",
        event_id=event_ids,
        state=st.sampled_from(STATES),
        expected=st.integers(0, 2),
        reward=st.sampled_from([None, -1.0, 0.25]),
        priority=st.floats(0.0, 1e300),
    ),
    operation("set_priorities", wanted=st.dictionaries(event_ids, st.floats(0.0, 1e300), max_size=5)),
    operation("evict", event_ids=st.lists(event_ids, max_size=3)),
    operation("quarantine", event_id=event_ids, user=st.sampled_from(USERS)),
    operation("remove", event_id=event_ids, user=st.none() | st.sampled_from(USERS)),
    operation("add_params", version=st.integers(0, 2), is_live=st.booleans()),
    operation(
        "put_traces",
        wanted=st.lists(st.tuples(event_ids, st.binary(max_size=3), st.none() | st.integers(0, 3)), max_size=4),
        removed=st.lists(event_ids, max_size=2),
        applied=st.integers(0, 6),
    ),
    operation("drop_traces"),
    operation("read"),
    operation(
        "read_seqs",
        since=instants,
        until=instants,
        event_id=event_ids,
        limit=st.none() | st.integers(0, 3),
        newest=st.booleans(),
    ),
    operation("read_due", bound=instants, limit=st.integers(0, 3)),
)


class Model:
    """What a store promises, said as simply as possible."""

    def __init__(self) -> None:
        self.last_seq = 0
        self.events: dict[int, dict[str, Any]] = {}
        self.orphans: list[Signal] = []
        self.quarantined: list[Quarantined] = []
        self.params: set[int] = set()
        self.live: int | None = None
        self.erased: set[str] = set()
        self.traces: dict[str, tuple[bytes, int | None]] = {}
        self.changes: list[tuple[int, bytes]] = []
        self.last_change = 0

    def seq_of(self, event_id: str) -> int | None:
        return next((seq for seq, event in self.events.items() if event["id"] == event_id), None)

    def seq(self, event_id: str) -> int:
        return self.seq_of(event_id) or self.last_seq + 2

    @staticmethod
    def status(kept: list[Signal], signal: Signal) -> str:
        body = (signal.name, signal.doc, signal.value)
        for other in kept:
            if other.idempotency_key != signal.idempotency_key:
                continue
            is_same = (other.name, other.doc, other.value) == body
            if signal.idempotency_key is not None:
                return "duplicate" if is_same else "conflict"
            if is_same and other.at == signal.at:
                return "duplicate"
        kept.append(signal)
        return "added"

    def erase(self, user: str) -> list[int]:
        gone = [seq for seq, event in self.events.items() if event["user"] == user]
        ids = {self.events[seq]["id"] for seq in gone} | {q.event_id for q in self.quarantined if q.user == user}
        self.orphans = [signal for signal in self.orphans if signal.event_id not in ids]
        self.quarantined = [q for q in self.quarantined if q.event_id not in ids]
        for seq in gone:
            del self.events[seq]
        self.erased.add(user)
        return gone


def in_order(found: list[Signal]) -> list[tuple[object, ...]]:
    return [(s.at, s.name, s.doc or "", s.value) for s in found]


class StoreMachine(RuleBasedStateMachine):
    """Drives both stores through transactions of one to many calls, with reads and savepoints between."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.stores: list[Store] = []
        self.contexts: list[AbstractContextManager[Transaction]] = []
        self.txs: list[Transaction] = []
        self.savepoints: list[list[AbstractContextManager[None]]] = []
        self.model = Model()
        self.before: list[Model] = []

    @initialize()
    def open(self) -> None:
        self.stores = [open_store(":memory:"), self.second()]
        self.begin()

    def second(self) -> Store:
        """Open the store that is compared with the one in memory."""
        return open_store(str(self.folder / "s"), durability="relaxed")

    def begin(self) -> None:
        self.contexts = [store.transaction() for store in self.stores]
        self.txs = [context.__enter__() for context in self.contexts]
        self.before = [self.copied()]

    def copied(self) -> Model:
        made = Model()
        made.__dict__.update(
            {
                name: value.copy() if isinstance(value, list | set | dict) else value
                for name, value in vars(self.model).items()
            }
        )
        made.events = {seq: {**event, "signals": list(event["signals"])} for seq, event in self.model.events.items()}
        return made

    def teardown(self) -> None:
        self.leave_savepoints()
        for context in self.contexts:
            context.__exit__(None, None, None)
        for store in self.stores:
            store.close()
        shutil.rmtree(self.folder)

    def both(self, call: Callable[[Any], object]) -> object:
        """Return the one answer of both stores, an error as its code."""
        answers = []
        for tx in self.txs:
            try:
                answers.append(call(tx))
            except StorageError as error:
                answers.append(error.code)
        assert answers[0] == answers[1]
        return answers[0]

    # ------------------------------------------------------------ boundaries

    def leave_savepoints(self) -> None:
        while self.savepoints:
            for savepoint in self.savepoints.pop():
                savepoint.__exit__(None, None, None)
            self.before.pop()

    @rule(how=st.sampled_from(["commit", "commit", "fail", "reopen"]))
    def end(self, how: str) -> None:
        self.leave_savepoints()
        error = KeyError("on purpose") if how == "fail" else None
        for context in self.contexts:
            assert not context.__exit__(None if error is None else KeyError, error, None)
        if how == "fail":
            self.model = self.before[0]
        if how == "reopen":
            self.stores[1].scrub()
            self.stores[1].close()
            self.stores[1] = self.second()
        self.agree_on_snapshots()
        self.begin()

    @rule(
        fresh=st.lists(st.tuples(event_ids, st.none(), st.just(True), instants), max_size=3),
        operations=st.lists(OPERATIONS, min_size=1, max_size=12) | st.lists(HELD_BACK, min_size=1, max_size=3),
        how=st.sampled_from(["plain", "savepoint", "undone", "nested"]),
    )
    def work(self, fresh: list[tuple[str, None, bool, float]], operations: list[tuple[str, Any]], how: str) -> None:
        """Much in little: what is held back, remembered and undone meets in one savepoint or two."""
        self.add_impressions(fresh)
        if how != "plain":
            self.begin_savepoint()
        for i, (name, arguments) in enumerate(operations):
            if how == "nested" and i == len(operations) // 2:
                self.begin_savepoint()
            getattr(self, name)(**arguments)
        if how == "nested":
            self.end_savepoint(is_undone=True)
        if how != "plain":
            self.end_savepoint(is_undone=how == "undone")

    def begin_savepoint(self) -> None:
        opened = [tx.savepoint() for tx in self.txs]
        for savepoint in opened:
            savepoint.__enter__()
        self.savepoints.append(opened)
        self.before.append(self.copied())

    def end_savepoint(self, *, is_undone: bool) -> None:
        before = self.before.pop()
        error = KeyError("on purpose")
        for savepoint in self.savepoints.pop():
            if is_undone:
                assert not savepoint.__exit__(KeyError, error, None)
            else:
                savepoint.__exit__(None, None, None)
        if is_undone:
            self.model = before

    def prefetch(self, ids: list[str], is_read: bool) -> None:
        self.both(lambda tx: tx.prefetch(ids))
        if is_read:
            self.read_events()

    def read_events(self) -> None:
        for tx in self.txs:
            self.agree_on_events(tx)

    # ------------------------------------------------------------ writes

    def add_impressions(self, wanted: list[tuple[str, str | None, bool, float]]) -> None:
        for event_id, user, is_shown, served_at in wanted:
            given = sample_impression(event_id, user=user, is_shown=is_shown, served_at=served_at)
            found = self.both(lambda tx, given=given: tx.add_impression(given))
            if self.model.seq_of(event_id) is not None:
                assert found == "duplicate_event"
                continue
            self.model.last_seq += 1
            assert found == self.model.last_seq
            self.model.events[self.model.last_seq] = {
                "id": event_id,
                "user": user,
                "state": "open" if is_shown else "not_shown",
                "version": 0,
                "served_at": served_at,
                "priority": 1.0,
                "reward": None,
                "signals": [],
            }

    def activate(self, event_id: str) -> None:
        seq = self.model.seq(event_id)
        found = self.both(lambda tx: tx.add_activation(seq, shown=["x"], is_altered=True, at=1.0))
        event = self.model.events.get(seq)
        if event is None:
            assert found == "unknown_event"
        elif event["state"] != "not_shown":
            assert found == "not_deferred"
        else:
            assert found is None
            event["state"] = "open"

    def add_signals(self, wanted: list[Signal]) -> None:
        for given in wanted:
            seq = self.model.seq(given.event_id)
            event = self.model.events.get(seq)
            expected = "unknown_event" if event is None else Model.status(event["signals"], given)
            assert self.both(lambda tx, given=given, seq=seq: tx.add_signal(seq, given)) == expected

    def add_orphan(self, signal: Signal, is_prefetched: bool, is_taken: bool) -> None:
        if is_prefetched:
            self.both(lambda tx: tx.prefetch([signal.event_id]))
        kept = [other for other in self.model.orphans if other.event_id == signal.event_id]
        expected = Model.status(kept, signal)
        if expected == "added":
            self.model.orphans.append(signal)
        assert self.both(lambda tx: tx.add_orphan(signal)) == expected
        if is_taken:
            self.take_orphans(signal.event_id)

    def take_orphans(self, event_id: str) -> None:
        taken = [signal for signal in self.model.orphans if signal.event_id == event_id]
        self.model.orphans = [signal for signal in self.model.orphans if signal.event_id != event_id]
        found = self.both(lambda tx: tx.take_orphans(event_id))
        assert set(found) == set(taken)
        assert len(found) == len(taken)

    def drop_orphans(self, bound: float) -> None:
        kept = [signal for signal in self.model.orphans if signal.received_at >= bound]
        assert self.both(lambda tx: tx.drop_orphans(bound)) == len(self.model.orphans) - len(kept)
        self.model.orphans = kept

    def put_outcome(
        self, event_id: str, state: ExperienceState, expected: int, reward: float | None, priority: float
    ) -> None:
        seq = self.model.seq(event_id)
        given = Outcome(
            seq=seq,
            state=state,
            version=expected + 1,
            reward=reward,
            priority=priority,
            exposure=np.full(3, priority, dtype=np.float64).clip(0, 1).astype(np.float32),
            closed_at=1.5,
        )
        event = self.model.events.get(seq)
        is_put = event is not None and event["version"] == expected
        assert self.both(lambda tx: tx.put_outcome(given, expected_version=expected)) == is_put
        if event is not None and is_put:
            event.update(state=state, version=expected + 1, reward=reward, priority=priority)

    def set_priorities(self, wanted: dict[str, float]) -> None:
        changes = {self.model.seq(event_id): priority for event_id, priority in wanted.items()}
        there = [seq for seq in changes if seq in self.model.events]
        assert self.both(lambda tx: tx.set_priorities(list(changes), list(changes.values()))) == len(there)
        for seq in there:
            self.model.events[seq]["priority"] = changes[seq]

    def evict(self, event_ids: list[str]) -> None:
        wanted = [self.model.seq(event_id) for event_id in event_ids]
        changed = {s for s in wanted if s in self.model.events and self.model.events[s]["state"] != "evicted"}
        assert self.both(lambda tx: tx.evict(wanted)) == len(changed)
        for seq in changed:
            self.model.events[seq]["state"] = "evicted"

    def quarantine(self, event_id: str, user: str | None) -> None:
        given = Quarantined(event_id, "storage", 1.0, user)
        self.both(lambda tx: tx.add_quarantined(given))
        self.model.quarantined.append(given)

    def remove(self, event_id: str, user: str | None) -> None:
        if user is not None:
            assert self.both(lambda tx: tx.erase_user(user, at=2.0)) == self.model.erase(user)
            return
        seq = self.model.seq(event_id)
        assert self.both(lambda tx: tx.delete_events([seq, seq])) == (seq in self.model.events)
        self.model.events.pop(seq, None)

    def add_params(self, version: int, is_live: bool) -> None:
        if is_live:
            found = self.both(lambda tx: tx.set_live(version))
            assert (found == "unknown_version") == (version not in self.model.params)
            self.model.live = version if version in self.model.params else self.model.live
        else:
            found = self.both(lambda tx: tx.add_params(Params(version, {"x": version + 1 / 3})))
            assert (found == "duplicate_version") == (version in self.model.params)
            self.model.params.add(version)

    def add_trace_changes(self, bodies: list[bytes]) -> None:
        for body in bodies:
            self.model.last_change += 1
            assert self.both(lambda tx, body=body: tx.add_trace_change(body)) == self.model.last_change
            self.model.changes.append((self.model.last_change, body))

    def put_traces(self, wanted: list[tuple[str, bytes, int | None]], removed: list[str], applied: int) -> None:
        self.both(lambda tx: tx.put_traces(wanted, removed=removed, applied=applied))
        for item in removed:
            self.model.traces.pop(item, None)
        self.model.traces.update({item: (packed, forget_at) for item, packed, forget_at in wanted})
        self.model.changes = [change for change in self.model.changes if change[0] > applied]

    def drop_traces(self) -> None:
        self.both(lambda tx: tx.drop_traces())
        self.model.traces, self.model.changes = {}, []

    # ------------------------------------------------------------ reads

    def read(self) -> None:
        for tx in self.txs:
            self.agree(tx)

    def read_seqs(self, since: float, until: float, event_id: str, limit: int | None, newest: bool) -> None:
        after = self.model.seq(event_id)
        expected = sorted(
            (s for s, e in self.model.events.items() if s > after and since <= e["served_at"] < until), reverse=newest
        )
        found = self.both(lambda tx: tx.seqs(since=since, until=until, after=after, limit=limit, newest_first=newest))
        assert found == expected[:limit]

    def read_due(self, bound: float, limit: int) -> None:
        due = [s for s, e in sorted(self.model.events.items()) if e["state"] == "open" and e["served_at"] <= bound]
        found = self.both(lambda tx: tx.due(bound, limit=limit))
        assert [state.seq for state in found] == due[:limit]

    def agree_on_snapshots(self) -> None:
        for store in self.stores:
            with store.snapshot() as reader:
                self.agree(reader)
                assert store.verify() == []

    def agree_on_events(self, reader: Reader) -> None:
        for event_id in EVENTS:
            state, seq = reader.event(event_id), self.model.seq_of(event_id)
            assert (state is None) == (seq is None)
            if state is not None and seq is not None:
                event = self.model.events[seq]
                assert (state.seq, state.state, state.version) == (seq, event["state"], event["version"])

    def agree(self, reader: Reader) -> None:
        self.agree_on_events(reader)
        model = self.model
        assert reader.last_seq() == model.last_seq
        assert reader.live_version() == model.live
        assert reader.params_versions() == sorted(model.params)
        everything = range(model.last_seq + 3)
        found = {outcome.seq: outcome for outcome in reader.outcomes(everything)}
        assert sorted(found) == reader.seqs() == sorted(model.events)
        assert [impression.seq for impression in reader.impressions(everything)] == sorted(model.events)
        for state in STATES:
            assert reader.seqs(states=(state,)) == sorted(s for s, e in model.events.items() if e["state"] == state)
        signals_found = reader.signals(everything)
        for seq, event in model.events.items():
            outcome = found[seq]
            assert (outcome.state, outcome.version, outcome.reward, outcome.priority) == tuple(
                event[name] for name in ("state", "version", "reward", "priority")
            )
            assert set(signals_found[seq]) == set(event["signals"])
            assert in_order(signals_found[seq]) == sorted(in_order(event["signals"]))
        for event_id in EVENTS:
            parked = [signal for signal in model.orphans if signal.event_id == event_id]
            assert in_order(reader.orphans(event_id)) == sorted(in_order(parked))
        assert reader.quarantined() == model.quarantined[::-1]
        assert [reader.is_erased(user) for user in USERS[1:]] == [user in model.erased for user in USERS[1:]]
        assert dict(reader.traces()) == {item: packed for item, (packed, _) in model.traces.items()}
        assert list(reader.traces(items=EVENTS)) == [(i, model.traces[i][0]) for i in EVENTS if i in model.traces]
        due = sorted((at, item) for item, (_, at) in model.traces.items() if at is not None and at <= 2)
        assert reader.forgettable(2, limit=2) == [(item, at) for at, item in due[:2]]
        assert reader.trace_changes() == model.changes
        counts = reader.counts()
        assert counts["signals"] == sum(len(event["signals"]) for event in model.events.values())
        assert counts["orphans"] == len(model.orphans)
        assert sum(counts[state] for state in STATES) == len(model.events)

    @invariant()
    def live_is_there(self) -> None:
        if self.txs:
            assert self.both(lambda tx: tx.live_version()) == self.model.live


TestStores = StoreMachine.TestCase
TestStores.settings = settings(max_examples=50, stateful_step_count=20)


class PostgresMachine(StoreMachine):
    """The same with a store in PostgreSQL."""

    def __init__(self) -> None:
        super().__init__()
        self.lent = ExitStack()
        self.url = self.lent.enter_context(emptied_database())

    def second(self) -> Store:
        return open_store(self.url, durability="relaxed")

    def teardown(self) -> None:
        super().teardown()
        self.lent.close()


TestPostgres = PostgresMachine.TestCase
# each call is a round trip, and each end a commit: six take as long as fifty with SQLite
TestPostgres.settings = settings(max_examples=6, stateful_step_count=20)
