"""What every store promises of events: identity, order, values, outcomes."""
# ruff: noqa: D102 - the test's name says what it shows

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dwell.errors import (
    RecordError,
    StorageError,
)
from dwell.storage.protocol import Outcome, Role, Store, Transaction
from dwell.testing.store_samples import (
    USERS,
    Refused,
    equal,
    opened,
    same_record,
    sample_impression,
    sample_signal,
    true,
)

__all__ = ["EventContract"]


class EventContract:
    """The part of `StoreContract` about events."""

    def open_store(self, place: Path, *, tenant: str = "", role: Role = "owner") -> Store:
        """Return the store of a place, opened as asked; each test has a place of its own."""
        raise NotImplementedError

    # ------------------------------------------------------------ order and values

    def test_seq_grows_by_one_and_is_never_used_twice(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                equal([tx.add_impression(sample_impression(name)) for name in "abc"], [1, 2, 3])
                equal(tx.delete_events([3, 2, 2, 9]), 2)
            with store.transaction() as tx:
                equal(tx.add_impression(sample_impression("c")), 4)
            with store.snapshot() as reader:
                equal(reader.last_seq(), 4)
                equal(reader.seqs(), [1, 4])

    def test_an_impression_comes_back_as_it_was_given(self, tmp_path: Path) -> None:
        given = [
            sample_impression("a"),
            sample_impression(
                "b",
                user=USERS[0],
                segment="faq",
                query="",
                arm="canary",
                policy="caller",
                mode="shadow",
                is_altered=True,
                is_deterministic=True,
                keep_probability=0.5,
                rest_logsumexp=1 / 9,
                query_embedding=np.array([0.1, -0.0, 5e-324, 1e-45], dtype=np.float32),
            ),
            sample_impression(
                "c",
                k=1,
                n=1,
                features=np.zeros((0, 0), dtype=np.float32),
                feature_names=(),
                query_embedding=np.zeros(0, dtype=np.float32),
            ),
        ]
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                for impression in given:
                    tx.add_impression(impression)
                within = tx.impressions([1, 2, 3])
            with store.snapshot() as reader:
                after = reader.impressions([1, 2, 3])
            for found in (within, after):
                equal([impression.seq for impression in found], [1, 2, 3])
                for a, b in zip(found, given, strict=True):
                    same_record(a, b, besides=("seq",))

    def test_arrays_are_copied_at_the_door(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            given = sample_impression("a")
            exposure = np.ones(6, dtype=np.float32)
            with store.transaction() as tx:
                tx.add_impression(given)
                tx.put_outcome(Outcome(seq=1, state="closed", version=1, exposure=exposure), expected_version=0)
                given.propensities[:] = 9.0
                given.features[:] = 9.0
                exposure[:] = 9.0
            with store.snapshot() as reader:
                same_record(reader.impressions([1])[0], sample_impression("a"), besides=("seq",))
                found = reader.outcomes([1])[0].exposure
                true(found is not None and bool((found == 1.0).all()), f"the outcome followed its input: {found!r}")

    def test_instants_are_whole_microseconds(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                tx.add_impression(sample_impression("a", served_at=12.0000014))
                tx.add_impression(sample_impression("b", served_at=0.0))
                tx.add_signal(1, sample_signal("a", at=1.9999996, received_at=3.0))
            with store.snapshot() as reader:
                equal([found.served_at for found in reader.impressions([1, 2])], [12.000001, 0.0])
                state = reader.event("a")
                equal(None if state is None else state.served_at, 12.000001)
                equal(reader.signals([1])[1][0].at, 2.0)

    def test_bad_numbers_are_refused(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store, store.transaction() as tx:
            tx.add_impression(sample_impression("a"))
            for bad in (-1.0, math.nan, math.inf, 1e12):
                with Refused(RecordError, "timestamp"):
                    tx.add_impression(sample_impression("b", served_at=bad))
                with Refused(RecordError, "timestamp"):
                    tx.add_signal(1, sample_signal("a", at=bad))
            with Refused(RecordError, "non_finite"):
                tx.add_signal(1, sample_signal("a", value=math.nan))
            with Refused(RecordError, "reward_range"):
                tx.put_outcome(Outcome(seq=1, state="closed", reward=1.5), expected_version=0)
            for priority in (-1.0, math.nan):
                with Refused(RecordError):
                    tx.set_priorities([1], [priority])
            with Refused(RecordError):
                tx.set_priorities([1], [])
            equal(tx.counts()["open"] + tx.counts()["signals"], 1)

    # ------------------------------------------------------------ events

    def test_an_event_is_found_by_its_id(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                tx.add_impression(sample_impression("a", user=USERS[0]))
                with Refused(StorageError, "duplicate_event"):
                    tx.add_impression(sample_impression("a"))
            with store.snapshot() as reader:
                found = reader.event("a")
                equal(reader.event("A"), None)
            if found is None:
                raise AssertionError("the event is not there")
            equal((found.seq, found.event_id, found.state, found.version), (1, "a", "open", 0))
            equal((found.closed_at, found.user, found.shown), (None, USERS[0], ("a/doc-0", "a/doc-1", "a/doc-2")))

    def test_an_activation_is_what_was_shown(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                tx.add_impression(sample_impression("a", is_shown=False))
                equal(tx.seqs(states=("not_shown",)), [1])
                equal(tx.due(2e9, limit=9), [])
                with Refused(StorageError, "unknown_event"):
                    tx.add_activation(2, shown=["x"], is_altered=False, at=1.0)
                tx.add_activation(1, shown=["a/doc-1"], is_altered=True, at=1.7e9)
                with Refused(StorageError, "not_deferred"):
                    tx.add_activation(1, shown=["a/doc-1"], is_altered=True, at=1.7e9)
            with store.snapshot() as reader:
                state, found = reader.event("a"), reader.impressions([1])[0]
                equal(None if state is None else (state.state, state.shown), ("open", ("a/doc-1",)))
                equal([due.seq for due in reader.due(2e9, limit=9)], [1])
            expected = sample_impression("a", served=("a/doc-1",), is_altered=True, is_shown=True, activated_at=1.7e9)
            same_record(found, expected, besides=("seq",))

    def test_an_activated_draft_keeps_the_teams_of_what_was_shown(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                for name in "ab":
                    tx.add_impression(sample_impression(name, arm="interleave", teams=(1, -1, 0), is_shown=False))
                tx.add_activation(1, shown=["x", "a/doc-1"], is_altered=True, at=1.7e9)
                tx.add_activation(2, shown=["b/doc-1", "b/doc-0"], is_altered=True, at=1.7e9)
            with store.snapshot() as reader:
                equal([found.teams for found in reader.impressions([1, 2])], [(0, -1), (0, 0)])

    def test_the_events_of_a_user_between_two_instants(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                for i, user in enumerate((USERS[0], USERS[1], USERS[0], None, USERS[0])):
                    impression = sample_impression(f"e{i}", user=user)
                    tx.add_impression(dataclasses.replace(impression, served_at=1_000.0 + i))
                inside = tx.events_of(USERS[0], since=1_000.0, until=1_004.0)
                equal([found.event_id for found in inside], ["e0", "e2"])
            with store.snapshot() as reader:
                equal(reader.events_of(USERS[0], since=1_000.0, until=1_004.0), inside)
                equal([e.event_id for e in reader.events_of(USERS[0], since=0.0, until=math.inf)], ["e0", "e2", "e4"])
                equal(reader.events_of(USERS[0], since=1_000.5, until=1_001.5), [])
                equal(reader.events_of("nobody", since=0.0, until=math.inf), [])

    def test_due_events_are_open_and_old_enough(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store, store.transaction() as tx:
            for name, served_at in (("a", 30.0), ("b", 10.0), ("c", 20.0), ("d", 10.0)):
                tx.add_impression(sample_impression(name, served_at=served_at))
            tx.put_outcome(Outcome(seq=4, state="closed", version=1), expected_version=0)
            equal([found.event_id for found in tx.due(20.0, limit=9)], ["b", "c"])
            equal([found.event_id for found in tx.due(math.inf, limit=2)], ["a", "b"])
            equal(tx.due(-5.0, limit=9), [])

    def test_seqs_are_filtered(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store, store.transaction() as tx:
            for i in range(6):
                tx.add_impression(sample_impression(f"e{i}", served_at=float(10 * i)))
            tx.put_outcome(Outcome(seq=2, state="closed", version=1), expected_version=0)
            tx.put_outcome(Outcome(seq=5, state="reopened", version=2), expected_version=0)
            equal(tx.evict([3, 3, 99]), 1)
            equal(tx.evict([3]), 0)
            equal(tx.seqs(), [1, 2, 3, 4, 5, 6])
            equal(tx.seqs(states=("closed", "reopened", "closed")), [2, 5])
            equal(tx.seqs(after=2, before=5), [3, 4])
            equal(tx.seqs(after=-7, before=0), [])
            equal(tx.seqs(since=20.0, until=50.0), [3, 4, 5])
            equal(tx.seqs(limit=2), [1, 2])
            equal(tx.seqs(limit=2, newest_first=True), [6, 5])
            equal(tx.seqs(states=("open", "evicted"), newest_first=True), [6, 4, 3, 1])
            equal(tx.seqs(limit=0), [])

    def test_reads_keep_the_order_asked_for(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store, store.transaction() as tx:
            for name in "abc":
                tx.add_impression(sample_impression(name))
            tx.delete_events([2])
            equal([found.event_id for found in tx.impressions([3, 2, 1, 3, -1, 0, 2**50])], ["c", "a", "c"])
            equal([found.seq for found in tx.outcomes([3, 2, 1, 3, -1, 0, 2**50])], [3, 1, 3])
            equal((tx.impressions([]), tx.outcomes([])), ([], []))

    def test_an_outcome_is_replaced_by_compare_and_set(self, tmp_path: Path) -> None:
        given = Outcome(
            seq=1,
            state="closed",
            version=1,
            closed_at=99.5,
            reward=-1 / 3,
            priority=1 / 7,
            document_rewards=np.array([-0.0, 1 / 3, 1.0], dtype=np.float32),
            reward_version="clicks@1",
            exposure=np.linspace(0, 1, 6, dtype=np.float32),
            exposure_se=np.zeros(0, dtype=np.float32),
            examination_version="log@1",
            predicted_reward=0.125,
        )
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                tx.add_impression(sample_impression("a"))
                same_record(tx.outcomes([1])[0], Outcome(seq=1, state="open"))
                true(not tx.put_outcome(given, expected_version=1), "another version was expected, yet it was put")
                true(tx.put_outcome(given, expected_version=0), "the expected version was there, yet it was not put")
                true(not tx.put_outcome(given, expected_version=0), "a stale write was put")
                true(not tx.put_outcome(dataclasses.replace(given, seq=5), expected_version=0), "put to nobody")
            with store.snapshot() as reader:
                same_record(reader.outcomes([1])[0], given)
                state = reader.event("a")
                equal(None if state is None else (state.state, state.version, state.closed_at), ("closed", 1, 99.5))

    def test_priorities_are_set_where_the_event_is(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store, store.transaction() as tx:
            for i in range(300):
                tx.add_impression(sample_impression(f"e{i}", k=1, n=1))
            tx.delete_events([7])
            wanted = {seq: seq / 3 for seq in (*range(1, 301), 999)}
            equal(tx.set_priorities(list(wanted), list(wanted.values())), 299)
            equal(tx.set_priorities([1, 1], [5.0, 6.0]), 1)
            equal([found.priority for found in tx.outcomes([1, 2, 300])], [6.0, 2 / 3, 100.0])

    def test_deleted_events_are_gone(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                for name in "ab":
                    seq = tx.add_impression(sample_impression(name, is_shown=False))
                    tx.add_activation(seq, shown=[f"{name}/doc-0"], is_altered=False, at=1.7e9)
                    tx.add_signal(seq, sample_signal(name))
                equal(tx.delete_events([1]), 1)
            with store.snapshot() as reader:
                equal((reader.event("a"), reader.signals([1]), reader.outcomes([1])), (None, {1: []}, []))
                equal((reader.counts()["open"], reader.counts()["signals"]), (1, 1))
                equal(len(reader.signals([2])[2]), 1)

    # ------------------------------------------------------------ the epoch

    def test_the_epoch_counts_transactions_that_changed_outcomes(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                equal(tx.epoch(), 0)
                for name in "abcd":
                    tx.add_impression(sample_impression(name, user=USERS[0] if name == "d" else None))
                tx.add_impression(sample_impression("deferred", is_shown=False))
                tx.add_activation(5, shown=["deferred/doc-1"], is_altered=False, at=2.0)
                tx.add_signal(1, sample_signal("a"))
                equal(tx.epoch(), 0)
            closed = Outcome(seq=1, state="closed", version=1, closed_at=9.0, reward=0.0)
            changes: tuple[Callable[[Transaction], object], ...] = (
                lambda tx: tx.put_outcome(closed, expected_version=0),
                lambda tx: tx.set_priorities([1, 2], [0.5, 0.5]),
                lambda tx: tx.evict([2]),
                lambda tx: tx.delete_events([3]),
                lambda tx: tx.erase_user(USERS[0], at=9.0),
            )
            for i, change in enumerate(changes):
                with store.transaction() as tx:
                    true(bool(change(tx)), f"change {i} found nothing to change")
                    equal(tx.epoch(), i + 1)
                with store.snapshot() as reader:
                    equal(reader.epoch(), i + 1)
            with store.transaction() as tx:  # each of them once more, with nothing left to change
                tx.put_outcome(closed, expected_version=0)
                tx.set_priorities([3, 9], [0.5, 0.5])
                tx.evict([2])
                tx.delete_events([3])
                tx.erase_user(USERS[0], at=9.0)
                tx.put_setting("k", b"v")
            with store.transaction() as tx:
                equal(tx.epoch(), 5)
                tx.evict([1])
                tx.set_priorities([1], [0.25])
                tx.delete_events([1, 2])
            with store.snapshot() as reader:
                equal(reader.epoch(), 6)

    def test_what_is_undone_does_not_count_for_the_epoch(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                tx.add_impression(sample_impression("a"))
            with Refused(ValueError), store.transaction() as tx:
                tx.evict([1])
                equal(tx.epoch(), 1)
                raise ValueError("on purpose")
            with store.transaction() as tx:
                with Refused(ValueError), tx.savepoint():
                    tx.evict([1])
                    raise ValueError("on purpose")
                equal(tx.epoch(), 0)
            with store.snapshot() as before, store.transaction() as tx:
                tx.set_priorities([1], [2.0])
                with Refused(ValueError), tx.savepoint():
                    tx.evict([1])
                    raise ValueError("on purpose")
                equal((before.epoch(), tx.epoch()), (0, 1))
            with store.snapshot() as reader:
                equal(reader.epoch(), 1)
