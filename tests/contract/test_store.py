"""Every store keeps the promises of the protocol."""
# ruff: noqa: ARG002, ARG005 - a fault takes what the right method takes, and a store in memory needs no place

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from dwell.errors import StorageError
from dwell.records import Impression
from dwell.storage import Outcome, Role, Store, open_store
from dwell.testing.store_contract import StoreContract

from ..postgres import emptied_database  # noqa: TID252 - tests are no installed package


class TestMemoryStore(StoreContract):
    keeps = False
    is_shared = False

    def open_store(self, place: Path, *, tenant: str = "", role: Role = "owner") -> Store:
        return open_store(":memory:", tenant=tenant, role=role)


class TestSqliteStore(StoreContract):
    def open_store(self, place: Path, *, tenant: str = "", role: Role = "owner") -> Store:
        place.parent.mkdir(parents=True, exist_ok=True)
        return open_store(str(place), tenant=tenant, role=role)


class TestRelaxedSqliteStore(StoreContract):
    def open_store(self, place: Path, *, tenant: str = "", role: Role = "owner") -> Store:
        place.parent.mkdir(parents=True, exist_ok=True)
        return open_store(str(place), tenant=tenant, role=role, durability="relaxed")


class TestPostgresStore(StoreContract):
    serves_together = True
    made = "today"

    @pytest.fixture(autouse=True)
    def _databases(self) -> Iterator[None]:
        self.urls: dict[Path, str] = {}
        with ExitStack() as self.lent:
            yield

    def open_store(self, place: Path, *, tenant: str = "", role: Role = "owner") -> Store:
        if place not in self.urls:
            self.urls[place] = self.lent.enter_context(emptied_database(self.made))
        return open_store(self.urls[place], tenant=tenant, role=role)


class TestSplitPostgresStore(TestPostgresStore):
    made = "split"  # three events in a partition
    test_size_follows_the_facts = None  # of hundreds of events, in as many tables
    test_trace_rows_are_put_replaced_and_removed = None  # of thousands of rows, in a table that is as it was


class TestUpgradedPostgresStore(TestPostgresStore):
    made = "upgraded"  # from version 1
    test_trace_rows_are_put_replaced_and_removed = None


class _Broken:
    """A store with one fault: the named method of its readers or transactions does something else."""

    def __init__(self, store: Store, method: str, fault: Callable[..., object]) -> None:
        self._store = store
        self._method = method
        self._fault = fault

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    @contextmanager
    def transaction(self) -> Iterator[object]:
        with self._store.transaction() as tx:
            yield self._with_fault(tx)

    @contextmanager
    def snapshot(self) -> Iterator[object]:
        with self._store.snapshot() as reader:
            yield self._with_fault(reader)

    def _with_fault(self, reader: object) -> object:
        right = getattr(reader, self._method, None)
        if right is not None:
            setattr(reader, self._method, partial(self._fault, right))
        return reader


def _ascending(right: Callable[..., list[Impression]], seqs: Sequence[int]) -> object:
    return right(sorted(seqs))


def _shared(right: Callable[..., list[Impression]], seqs: Sequence[int]) -> object:
    return [dataclasses.replace(found, features=found.features.copy()) for found in right(seqs)]


def _double(right: Callable[..., bool], outcome: Outcome, *, expected_version: int) -> object:
    with suppress(StorageError):
        right(outcome, expected_version=0)
    return right(outcome, expected_version=expected_version)


FAULTS: list[tuple[str, Callable[..., object], str]] = [
    ("impressions", _ascending, "test_reads_keep_the_order_asked_for"),
    ("impressions", _shared, "test_an_impression_comes_back_as_it_was_given"),
    ("put_outcome", _double, "test_an_outcome_is_replaced_by_compare_and_set"),
    ("add_signal", lambda right, seq, signal: (right(seq, signal), "added")[1], "test_a_signal_is_stored_once"),
    ("delete_events", lambda right, seqs: len(seqs), "test_deleted_events_are_gone"),
    ("take_orphans", lambda right, event_id: [], "test_orphans_are_parked_and_taken_once"),
    ("savepoint", lambda right: nullcontext(), "test_a_savepoint_undoes_its_own_writes_only"),
    ("is_erased", lambda right, user: False, "test_erasure_covers_everything_of_a_user"),
    ("statistics", lambda right, query_hash, segment="": [], "test_statistics_decay_and_need_five_users"),
    (
        "due",
        lambda right, served_before, limit: right(served_before, limit=limit)[::-1],
        "test_due_events_are_open_and_old_enough",
    ),
    ("epoch", lambda right: right() + 1, "test_the_epoch_counts_transactions_that_changed_outcomes"),
    ("drop_span", lambda right, first, last: 12, "test_a_span_goes_as_a_whole_or_not_at_all"),
    ("savepoint", lambda right: nullcontext(), "test_what_is_undone_does_not_count_for_the_epoch"),
    ("savepoint", lambda right: nullcontext(), "test_a_savepoint_undoes_traces_and_their_changes"),
    ("add_trace_change", lambda right, body: 1 + right(body), "test_trace_changes_are_numbered_once_and_for_ever"),
    (
        "forgettable",
        lambda right, before_us, limit: right(before_us, limit=limit)[::-1],
        "test_what_is_to_be_forgotten_comes_earliest_first",
    ),
    (
        "put_traces",
        lambda right, given, removed=(), applied=0: right(given, applied=applied),
        "test_trace_rows_are_put_replaced_and_removed",
    ),
    ("traces", lambda right, items=None: right(), "test_many_trace_rows_come_back_in_one_order"),
    ("erase_user", lambda right, user, at: [], "test_no_call_about_events_touches_traces"),
    ("last_seq", lambda right: right() + 1, "test_seq_grows_by_one_and_is_never_used_twice"),
]


@pytest.mark.parametrize(("method", "fault", "test"), FAULTS, ids=[f"{f[0]}-{f[2]}" for f in FAULTS])
def test_the_contract_sees_a_fault(method: str, fault: Callable[..., object], test: str, tmp_path: Path) -> None:
    class Faulty(StoreContract):
        keeps = False
        is_shared = False

        def open_store(self, place: Path, *, tenant: str = "", role: Role = "owner") -> Store:
            return cast("Store", _Broken(open_store(":memory:", tenant=tenant, role=role), method, fault))

    with pytest.raises(AssertionError):
        getattr(Faulty(), test)(tmp_path)
