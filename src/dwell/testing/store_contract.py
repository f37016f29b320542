"""What every store promises, as tests: whoever writes a store of his own runs these against it."""
# ruff: noqa: D102 - the test's name says what it shows

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

from dwell.errors import (
    ConfigError,
    ForkedError,
    StaleParamsError,
    StorageError,
    StoreClosedError,
    StoreOwnedError,
)
from dwell.records import Params
from dwell.storage.protocol import Outcome, Role, Store, Transaction
from dwell.testing.store_events import EventContract
from dwell.testing.store_facts import FactContract
from dwell.testing.store_samples import (
    PATIENCE_S,
    USERS,
    Refused,
    equal,
    opened,
    same_record,
    sample_impression,
    sample_signal,
    true,
)
from dwell.testing.store_traces import TraceContract

__all__ = ["StoreContract"]

_BESIDE: Final[tuple[Role, ...]] = ("admin", "reader")


class StoreContract(EventContract, FactContract, TraceContract):
    """Every sentence of `dwell.storage.protocol`, as tests for pytest.

    Derive a class whose name begins with Test and give it `open_store`.

    Attributes:
        keeps: Whether what was written is there when the store is opened again.
        is_shared: Whether several may open the same place at a time.
        serves_together: Whether several may ingest for one tenant at a time, in the role "serving".
    """

    keeps: ClassVar[bool] = True
    is_shared: ClassVar[bool] = True
    serves_together: ClassVar[bool] = False

    def open_store(self, place: Path, *, tenant: str = "", role: Role = "owner") -> Store:
        """Return the store of a place, opened as asked; each test has a place of its own."""
        raise NotImplementedError

    # ------------------------------------------------------------ transactions and snapshots

    def test_a_failed_transaction_leaves_nothing_behind(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with Refused(StaleParamsError), store.transaction() as tx:
                seq = tx.add_impression(sample_impression("a"))
                tx.add_signal(seq, sample_signal("a"))
                tx.add_orphan(sample_signal("b"))
                tx.add_params(Params(version=0, weights={"x": 1.0}))
                tx.set_live(0)
                tx.put_setting("k", b"v")
                tx.seqs()
                raise StaleParamsError("on purpose")
            with store.snapshot() as reader:
                equal(reader.last_seq(), 0)
                equal(sum(reader.counts().values()), 0)
                equal(reader.live_version(), None)
                equal(reader.setting("k"), None)
                equal(reader.params_versions(), [])

    def test_a_second_transaction_waits_for_the_first(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            order: list[str] = []

            def second() -> None:
                with store.transaction() as tx:
                    order.append(f"second sees {tx.last_seq()}")

            with store.transaction() as tx:
                thread = threading.Thread(target=second)
                thread.start()
                thread.join(0.05)
                tx.add_impression(sample_impression("a"))
                order.append("first")
            thread.join(PATIENCE_S)
            equal(order, ["first", "second sees 1"])

    def test_a_transaction_within_a_transaction_is_refused(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store, store.transaction(), Refused(StorageError, "nested"), store.transaction():
            pass

    def test_a_snapshot_is_one_state_and_waits_for_nobody(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                tx.add_impression(sample_impression("a", user=USERS[0]))
            with store.snapshot() as before:
                with store.transaction() as tx:
                    tx.add_impression(sample_impression("b"))
                    tx.evict([1])
                    tx.erase_user(USERS[0], at=1.0)
                    tx.put_setting("k", b"v")
                    with store.snapshot() as beside:
                        equal(beside.seqs(), [1])
                with store.snapshot() as after:
                    equal(after.seqs(), [2])
                    equal(after.event("a"), None)
                equal(before.seqs(), [1])
                equal(before.seqs(states=("open",)), [1])
                equal([found.event_id for found in before.impressions([1, 2])], ["a"])
                equal(before.setting("k"), None)
                equal(before.last_seq(), 1)
                equal(before.counts()["open"], 1)

    def test_threads_read_while_another_writes(self, tmp_path: Path) -> None:
        n_groups, group = 40, 5
        with opened(self, tmp_path) as store:
            torn: list[object] = []
            is_over = threading.Event()

            def read() -> None:
                while not is_over.is_set():
                    with store.snapshot() as reader:
                        seqs, counts = reader.seqs(), reader.counts()
                        found = reader.impressions(seqs)
                    if len(seqs) % group or counts["open"] != len(seqs) or len(found) != len(seqs):
                        torn.append((seqs, counts))

            threads = [threading.Thread(target=read) for _ in range(3)]
            for thread in threads:
                thread.start()
            for i in range(n_groups):
                with store.transaction() as tx:
                    for j in range(group):
                        tx.add_impression(sample_impression(f"{i}-{j}"))
            is_over.set()
            for thread in threads:
                thread.join(PATIENCE_S)
            equal(torn, [])

    def test_what_is_over_can_not_be_read(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.snapshot() as reader:
                pass
            with Refused(StoreClosedError):
                reader.seqs()
            with store.transaction() as tx:
                pass
            with Refused(StorageError):
                tx.add_impression(sample_impression("a"))
                tx.seqs()

    def test_a_savepoint_undoes_its_own_writes_only(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                tx.add_impression(sample_impression("a"))
                for is_read_between in (False, True):
                    with Refused(StaleParamsError), tx.savepoint():
                        seq = tx.add_impression(sample_impression("b"))
                        equal(seq, 2)
                        tx.add_signal(1, sample_signal("a"))
                        with tx.savepoint():
                            tx.put_setting("k", b"v")
                        if is_read_between:
                            equal(tx.seqs(), [1, 2])
                        raise StaleParamsError("on purpose")
                    equal(tx.event("b"), None)
                    equal(tx.setting("k"), None)
                    equal(tx.signals([1]), {1: []})
                with tx.savepoint():
                    equal(tx.add_impression(sample_impression("c")), 2)
                    with Refused(StaleParamsError), tx.savepoint():
                        tx.set_priorities([2], [7.0])
                        raise StaleParamsError("on purpose")
            with store.snapshot() as reader:
                equal(reader.seqs(), [1, 2])
                equal(reader.outcomes([2])[0].priority, 1.0)

    def test_prefetch_changes_no_answer(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                tx.add_impression(sample_impression("a"))
                tx.add_signal(1, sample_signal("a"))
                tx.add_orphan(sample_signal("b"))

            def answers(*, prefetched: bool) -> list[object]:
                found: list[object] = []
                with Refused(StaleParamsError), store.transaction() as tx:
                    if prefetched:
                        tx.prefetch(["a", "b", "c", "a"])
                    found += [tx.event("a"), tx.event("b"), tx.add_signal(1, sample_signal("a"))]
                    found += [tx.add_signal(1, sample_signal("a", value=2.0)), tx.signals([1])]
                    with Refused(StorageError, "duplicate_event"):
                        tx.add_impression(sample_impression("a"))
                    found += [tx.add_impression(sample_impression("b")), tx.take_orphans("b"), tx.take_orphans("c")]
                    found += [tx.add_orphan(sample_signal("c")), tx.take_orphans("c"), tx.event("a")]
                    found += [tx.put_outcome(Outcome(seq=1, state="closed", version=1), expected_version=0)]
                    found += [tx.event("a"), tx.evict([1]), tx.event("a"), tx.event("b"), tx.counts()]
                    found += [tx.delete_events([1]), tx.event("a"), tx.add_impression(sample_impression("a"))]
                    raise StaleParamsError("undo")
                return found

            equal(answers(prefetched=True), answers(prefetched=False))

    # ------------------------------------------------------------ who may do what

    def test_a_closed_store_says_so(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path / "store")
        store.close()
        store.close()
        for use in (store.transaction, store.snapshot):
            with Refused(StoreClosedError), use():
                pass
        with Refused(StoreClosedError):
            store.data_version()

    def test_a_forked_child_is_refused(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tested here
                child = os.fork()
            if child == 0:
                os._exit(0 if _is_refused_after_fork(store) else 1)
            equal(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
            with store.transaction() as tx:
                equal(tx.add_impression(sample_impression("a")), 1)

    def test_there_is_one_owner_and_others_beside_it(self, tmp_path: Path) -> None:
        if not self.is_shared:
            return
        place = tmp_path / "store"
        with opened(self, tmp_path) as store:
            equal(store.role, "owner")
            with Refused(StoreOwnedError):
                self.open_store(place)
            admin, reader = (self.open_store(place, role=role) for role in _BESIDE)
            before = store.data_version()
            with admin.transaction() as tx:
                tx.put_setting("k", b"v")
            true(store.data_version() != before, "the owner does not see that somebody committed")
            between = store.data_version()
            with store.transaction() as tx:
                equal(tx.setting("k"), b"v")
                tx.put_setting("l", b"v")
            equal(store.data_version(), between)
            with store.transaction() as tx:
                equal((tx.add_impression(sample_impression("a")), tx.epoch()), (1, 0))
            with admin.transaction() as tx:
                equal(tx.evict([1]), 1)
            with store.snapshot() as found:
                equal(found.epoch(), 1)
            with reader.snapshot() as found:
                equal(found.setting("l"), b"v")
            with Refused(StorageError, "read_only"), reader.transaction():
                pass
            with Refused(StorageError, "read_only"):
                reader.scrub()
            admin.close()
            reader.close()
        self.open_store(place).close()

    def test_a_store_with_one_owner_refuses_those_that_would_serve_together(self, tmp_path: Path) -> None:
        if self.serves_together:
            return
        with Refused(ConfigError):
            self.open_store(tmp_path / "store", role="serving")
        self.open_store(tmp_path / "store").close()

    def test_several_serve_and_no_owner_stands_beside_them(self, tmp_path: Path) -> None:
        if not self.serves_together:
            return
        place = tmp_path / "store"
        first, second = (self.open_store(place, role="serving") for _ in range(2))
        equal((first.role, second.role), ("serving", "serving"))
        with Refused(StoreOwnedError):
            self.open_store(place)
        beside = [self.open_store(place, role=role) for role in ("learner", *_BESIDE)]
        with Refused(StoreOwnedError):
            self.open_store(place, role="learner")
        before = second.data_version()
        with first.transaction() as tx:
            equal(tx.add_impression(sample_impression("a")), 1)
            tx.add_orphan(sample_signal("b"))
        true(second.data_version() != before, "one that serves does not see that another one committed")
        with second.transaction() as tx, Refused(StorageError, "duplicate_event"):
            tx.add_impression(sample_impression("a"))
        with second.transaction() as tx:
            equal(tx.add_signal(1, sample_signal("a")), "added")
            equal(tx.add_impression(sample_impression("b")), 2)
            equal(tx.take_orphans("b"), [sample_signal("b")])
        with first.transaction() as tx:
            equal((tx.add_impression(sample_impression("c")), tx.seqs()), (3, [1, 2, 3]))
            equal(tx.add_signal(1, sample_signal("a")), "duplicate")
        self.open_store(place, tenant="other").close()
        for store in (first, *beside):
            store.close()
        with Refused(StoreOwnedError):
            self.open_store(place)
        second.close()
        with opened(self, tmp_path), Refused(StoreOwnedError):
            self.open_store(place, role="serving")

    def test_who_waits_for_news_hears_of_it(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            while store.wait_for_news(0.0):
                pass
            true(not store.wait_for_news(0.05), "there is news of nothing")
            if not self.is_shared:
                return
            admin = self.open_store(tmp_path / "store", role="admin")
            with store.transaction() as tx:
                tx.add_impression(sample_impression("a", user=USERS[0]))
                tx.add_params(Params(version=0, weights={"x": 1.0}))
            jobs: list[Callable[[Transaction], object]] = [
                lambda tx: tx.set_live(0),
                lambda tx: tx.erase_user(USERS[0], at=1.0),
                lambda tx: tx.put_store_setting("k", b"v"),
            ]
            for news in jobs:
                while store.wait_for_news(0.0):
                    pass
                timer = threading.Timer(0.05, _commit, (admin, news))
                timer.start()
                true(store.wait_for_news(PATIENCE_S), "who waits does not hear of it")
                timer.join(PATIENCE_S)
            admin.close()
        with Refused(StoreClosedError):
            store.wait_for_news(0.0)

    def test_tenants_do_not_see_each_other(self, tmp_path: Path) -> None:
        if not (self.is_shared and self.keeps):
            return
        place = tmp_path / "store"
        for tenant in ("", "b", "c"):
            store = self.open_store(place, tenant=tenant)
            with store.transaction() as tx:
                equal(tx.last_seq(), 0)
                equal([tx.add_impression(sample_impression(name, user=USERS[0])) for name in "xy"], [1, 2])
                tx.add_signal(1, sample_signal("x"))
                tx.add_params(Params(version=0, weights={tenant or "none": 1.0}))
                tx.set_live(0)
                tx.put_setting("k", tenant.encode())
                tx.set_priorities([2], [0.5])
            store.close()
        store = self.open_store(place, tenant="b")
        with store.transaction() as tx:
            equal(tx.erase_user(USERS[0], at=1.0), [1, 2])
        store.close()
        for tenant, n_left in (("", 2), ("b", 0), ("c", 2)):
            store = self.open_store(place, tenant=tenant, role="reader")
            with store.snapshot() as reader:
                equal((len(reader.seqs()), reader.setting("k")), (n_left, tenant.encode()))
                equal(reader.epoch(), 1 if n_left else 2)
                equal((reader.is_erased(USERS[0]), reader.counts()["signals"]), (n_left == 0, n_left // 2))
                found = reader.params(0)
                equal(None if found is None else list(found.weights), [tenant or "none"])
            store.close()

    def test_what_was_committed_is_there_after_opening_again(self, tmp_path: Path) -> None:
        if not self.keeps:
            return
        with opened(self, tmp_path) as store, store.transaction() as tx:
            tx.add_impression(sample_impression("a"))
            tx.add_signal(1, sample_signal("a"))
            tx.add_params(Params(version=0, weights={"x": 1.0}))
            tx.set_live(0)
        with opened(self, tmp_path) as store, store.snapshot() as reader:
            same_record(reader.impressions([1])[0], sample_impression("a"), besides=("seq",))
            equal((reader.signals([1])[1], reader.live_version(), reader.last_seq()), ([sample_signal("a")], 0, 1))


def _is_refused_after_fork(store: Store) -> bool:
    for use in (store.transaction, store.snapshot):
        try:
            with use():
                return False
        except ForkedError:
            continue
    store.close()
    return True


def _commit(store: Store, job: Callable[[Transaction], object]) -> None:
    with store.transaction() as tx:
        job(tx)
