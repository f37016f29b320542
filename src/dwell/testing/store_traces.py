"""What every store promises of activation traces: packed rows per item, and changes that are not in them yet."""
# ruff: noqa: D102 - the test's name says what it shows

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, ClassVar, Final

from dwell.errors import RecordError, StaleParamsError, StorageError, StoreClosedError
from dwell.storage.protocol import Reader, Role, Store
from dwell.testing.store_samples import USERS, Refused, equal, opened, sample_impression, sample_signal, true

__all__ = ["TraceContract"]

_N_MANY: Final = 1_500  # more than any store reads or writes at once


def _row(mark: int) -> bytes:
    return bytes([mark % 256]) * 209  # as large as a row of twelve timescales and two channels


def _all(reader: Reader) -> dict[str, bytes]:
    found = list(reader.traces())
    equal(len(dict(found)), len(found))
    equal(reader.n_traces(), len(found))
    return dict(found)


def _nothing(reader: Reader) -> None:
    equal((_all(reader), reader.trace_changes(), reader.forgettable(2**62, limit=9)), ({}, [], []))


class TraceContract:
    """The part of `StoreContract` about activation traces."""

    keeps: ClassVar[bool] = True
    is_shared: ClassVar[bool] = True

    def open_store(self, place: Path, *, tenant: str = "", role: Role = "owner") -> Store:
        """Return the store of a place, opened as asked; each test has a place of its own."""
        raise NotImplementedError

    def test_trace_rows_are_put_replaced_and_removed(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.snapshot() as reader:
                _nothing(reader)
            with store.transaction() as tx:
                tx.put_traces([("a", _row(1), None), ("b", _row(2), 7), ("\N{SNOWMAN}", b"", 0), ("a", _row(3), None)])
                equal(_all(tx), {"a": _row(3), "b": _row(2), "\N{SNOWMAN}": b""})
                tx.put_traces([("b", b"longer than before" * 20, None)], removed=["\N{SNOWMAN}", "nobody's"])
            with store.snapshot() as reader:
                equal(_all(reader), {"a": _row(3), "b": b"longer than before" * 20})
                equal(
                    list(reader.traces(items=["b", "x", "a", "b"])), [("b", b"longer than before" * 20), ("a", _row(3))]
                )
                equal(list(reader.traces(items=[])), [])
                equal(reader.forgettable(2**62, limit=9), [])
            with store.transaction() as tx:
                tx.put_traces([("a", _row(4), 1)], removed=["a", "b"])
                equal((_all(tx), tx.forgettable(1, limit=9)), ({"a": _row(4)}, [("a", 1)]))

    def test_many_trace_rows_come_back_in_one_order(self, tmp_path: Path) -> None:
        items = [f"item {i}" for i in range(_N_MANY)]
        random.Random(5).shuffle(items)  # noqa: S311 - an order, not a secret
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                tx.put_traces([(item, item.encode(), i) for i, item in enumerate(items)])
            with store.transaction() as tx:
                tx.put_traces([(item, item.encode() * 2, i) for i, item in enumerate(items) if i % 3 == 0])
                tx.put_traces([], removed=items[1::3])
            kept = {item: item.encode() * (1 + (i % 3 == 0)) for i, item in enumerate(items) if i % 3 != 1}
            with store.snapshot() as reader:
                equal(_all(reader), kept)
                equal(list(reader.traces()), list(reader.traces()))
                equal(list(reader.traces(items=sorted(items))), sorted(kept.items()))
                equal(
                    [at for _, at in reader.forgettable(_N_MANY, limit=_N_MANY)],
                    [i for i in range(_N_MANY) if i % 3 != 1],
                )

    def test_what_is_to_be_forgotten_comes_earliest_first(self, tmp_path: Path) -> None:
        given: list[tuple[str, int | None]] = [("late", 2**63 - 1), ("b", 50), ("never", None), ("a", 50), ("c", 49)]
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                tx.put_traces([(item, _row(0), at) for item, at in given])
                due = [("c", 49), ("a", 50), ("b", 50), ("late", 2**63 - 1)]
                equal([tx.forgettable(at, limit=9) for at in (-1, 48, 49, 50)], [[], [], due[:1], due[:3]])
                equal([tx.forgettable(2**64, limit=n) for n in (-1, 0, 2, 9)], [[], [], due[:2], due])
                tx.put_traces([("c", _row(1), None), ("never", _row(1), 10)])
            with store.snapshot() as reader:
                equal(reader.forgettable(50, limit=9), [("never", 10), *due[1:3]])

    def test_trace_changes_are_numbered_once_and_for_ever(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                equal([tx.add_trace_change(body) for body in (b"one", b"", b"three")], [1, 2, 3])
                equal(tx.trace_changes(after=1), [(2, b""), (3, b"three")])
                tx.put_traces([("a", _row(1), None)], applied=2)
                equal(tx.trace_changes(), [(3, b"three")])
                tx.put_traces([], applied=2**62)
                equal((tx.trace_changes(), tx.add_trace_change(b"four")), ([], 4))
                tx.put_traces([], applied=0)
            with Refused(StaleParamsError), store.transaction() as tx:
                equal(tx.add_trace_change(b"undone"), 5)
                raise StaleParamsError("on purpose")
            with store.transaction() as tx:
                tx.drop_traces()
                _nothing(tx)
                equal(tx.add_trace_change(b"five"), 5)
            with store.transaction() as tx:
                tx.drop_traces()
            with store.transaction() as tx:
                equal([tx.add_trace_change(b"%d" % i) for i in range(600)], list(range(6, 606)))
            with store.snapshot() as reader:
                equal(reader.trace_changes(after=-1), [(i + 6, b"%d" % i) for i in range(600)])
                equal((reader.trace_changes(after=604), reader.trace_changes(after=605)), ([(605, b"599")], []))
                equal(reader.trace_changes(after=2**50), [])

    def test_a_savepoint_undoes_traces_and_their_changes(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                tx.put_traces([("a", _row(1), 5)])
                equal(tx.add_trace_change(b"kept"), 1)
                for is_read_between in (False, True):
                    with Refused(StaleParamsError), tx.savepoint():
                        equal(tx.add_trace_change(b"undone"), 2)
                        with tx.savepoint():
                            equal(tx.add_trace_change(b"undone as well"), 3)
                        if is_read_between:
                            equal(len(tx.trace_changes()), 3)
                            tx.put_traces([("a", _row(2), None), ("b", _row(2), 1)], applied=2)
                            tx.drop_traces()
                        equal(tx.add_trace_change(b"undone in the end"), 4)
                        raise StaleParamsError("on purpose")
                    equal(tx.trace_changes(), [(1, b"kept")])
                    equal((_all(tx), tx.forgettable(9, limit=9)), ({"a": _row(1)}, [("a", 5)]))
                with tx.savepoint():
                    equal(tx.add_trace_change(b"kept as well"), 2)
            with store.snapshot() as reader:
                equal(reader.trace_changes(), [(1, b"kept"), (2, b"kept as well")])

    def test_traces_commit_with_the_facts_or_not_at_all(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with Refused(StaleParamsError), store.transaction() as tx:
                tx.add_impression(sample_impression("x"))
                tx.add_trace_change(b"x")
                tx.put_traces([("a", _row(1), 1)])
                tx.add_trace_change(b"x")
                raise StaleParamsError("on purpose")
            with store.snapshot() as before:
                _nothing(before)
                with store.transaction() as tx:
                    tx.add_signal(tx.add_impression(sample_impression("x")), sample_signal("x"))
                    equal(tx.add_trace_change(b"x"), 1)
                    tx.put_traces([("a", _row(1), 1)])
                with store.snapshot() as after:
                    equal((after.last_seq(), after.trace_changes(), _all(after)), (1, [(1, b"x")], {"a": _row(1)}))
                _nothing(before)
            with Refused(StoreClosedError):
                list(before.traces())
            with Refused(StorageError):
                tx.add_trace_change(b"y")
                tx.trace_changes()

    def test_no_call_about_events_touches_traces(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                for name in "xy":
                    tx.add_impression(sample_impression(name, user=USERS[0]))
                tx.put_traces([("x/doc-0", _row(1), 1)])
                tx.add_trace_change(b"of x")
                counts, epoch = tx.counts(), tx.epoch()
                tx.put_traces([("x/doc-1", _row(1), 1)], removed=["x/doc-0"])
                tx.drop_traces()
                equal((tx.counts(), tx.epoch()), (counts, epoch))
                tx.put_traces([("x/doc-0", _row(1), 1)])
                tx.add_trace_change(b"of y")
            with store.transaction() as tx:
                tx.delete_events([2])
                equal(tx.erase_user(USERS[0], at=1.0), [1])
                equal((_all(tx), tx.trace_changes()), ({"x/doc-0": _row(1)}, [(2, b"of y")]))
            store.scrub()
            equal(store.verify(), [])
            with store.snapshot() as reader:
                equal((_all(reader), reader.trace_changes()), ({"x/doc-0": _row(1)}, [(2, b"of y")]))

    def test_trace_rows_that_can_not_be_kept_are_refused(self, tmp_path: Path) -> None:
        bad: list[tuple[Any, Any, Any]] = [
            ("", b"", None), (3, b"", None), ("b", "text", None), ("b", None, None), ("b", b"", -1), ("b", b"", 2**63),
            ("b", b"", True), ("b", b"", 1.5), ("b", b"", float("nan")),
        ]  # fmt: skip
        with opened(self, tmp_path) as store, store.transaction() as tx:
            for row in bad:
                with Refused(RecordError):
                    tx.put_traces([("a", b"", None), row])
            for applied in (-1, True, 0.5, 2**63):
                with Refused(RecordError):
                    tx.put_traces([("a", b"", None)], applied=applied)  # type: ignore[arg-type]
            with Refused(RecordError):
                tx.add_trace_change("text")  # type: ignore[arg-type]
            _nothing(tx)
            equal(tx.add_trace_change(b"first"), 1)

    def test_size_follows_the_traces(self, tmp_path: Path) -> None:
        def size() -> int:
            with store.snapshot() as reader:
                return reader.size_bytes()

        with opened(self, tmp_path) as store:
            empty = size()
            with store.transaction() as tx:
                tx.put_traces([(f"item-{i:05d}", _row(i), 10**15 + i) for i in range(_N_MANY)])
                tx.put_traces([(f"item-{i:05d}", _row(i + 1), 10**15 + i) for i in range(_N_MANY)])
            full = size()
            with store.transaction() as tx:
                tx.add_trace_change(bytes(4_000))
                tx.drop_traces()
            store.scrub()
            left = size()
        true(0.8 * 283 < (full - empty) / _N_MANY < 1.2 * 283, f"{(full - empty) / _N_MANY} bytes a row")
        true(left - empty < 0.05 * (full - empty), f"{left} bytes are left of {full}, an empty store has {empty}")

    def test_tenants_have_traces_of_their_own(self, tmp_path: Path) -> None:
        if not (self.is_shared and self.keeps):
            return
        place, tenants = tmp_path / "store", ("", "b", "c")
        for tenant in tenants:
            store = self.open_store(place, tenant=tenant)
            with store.transaction() as tx:
                _nothing(tx)
                equal([tx.add_trace_change(f"{tenant} {i}".encode()) for i in range(3)], [1, 2, 3])
                tx.put_traces([("a", tenant.encode(), 5), ("gone", b"", 4)], applied=1)
                tx.put_traces([], removed=["gone"])
            store.close()
        store = self.open_store(place, tenant="b")
        with store.transaction() as tx:
            tx.drop_traces()
        store.close()
        for tenant in tenants:
            store = self.open_store(place, tenant=tenant, role="reader")
            with store.snapshot() as reader:
                if tenant == "b":
                    _nothing(reader)
                else:
                    equal((_all(reader), reader.forgettable(9, limit=9)), ({"a": tenant.encode()}, [("a", 5)]))
                    equal(reader.trace_changes(), [(i + 1, f"{tenant} {i}".encode()) for i in (1, 2)])
                    equal(list(reader.traces(items=["a", "gone"])), [("a", tenant.encode())])
            store.close()
        store = self.open_store(place, tenant="b")
        with store.transaction() as tx:
            equal(tx.add_trace_change(b"after all were dropped and the store was closed"), 4)
        store.close()

    def test_traces_are_there_after_opening_again(self, tmp_path: Path) -> None:
        if not self.keeps:
            return
        with opened(self, tmp_path) as store, store.transaction() as tx:
            tx.put_traces([("a", _row(1), 5)])
            equal(tx.add_trace_change(b"one"), 1)
        with opened(self, tmp_path) as store, store.transaction() as tx:
            equal(
                (_all(tx), tx.trace_changes(), tx.forgettable(5, limit=1)), ({"a": _row(1)}, [(1, b"one")], [("a", 5)])
            )
            equal(tx.add_trace_change(b"two"), 2)
