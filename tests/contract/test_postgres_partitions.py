"""Partitions of a store in PostgreSQL: made ahead by whoever writes, dropped as a whole where nobody needs them."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from dwell.errors import StorageError
from dwell.storage import Role, Store, Transaction, open_store
from dwell.testing.store_samples import PATIENCE_S, sample_impression, sample_signal

from ..postgres import emptied_database  # noqa: TID252 - tests are no installed package

WIDTH = 3  # events in a partition: numbers 1 and 2, 3 to 5, 6 to 8...
Open = Callable[..., Store]


@pytest.fixture
def url() -> Iterator[str]:
    with emptied_database("split") as found:
        yield found


@pytest.fixture
def opened(url: str) -> Iterator[Open]:
    stores: list[Store] = []

    def open_one(tenant: str = "", role: Role = "owner") -> Store:
        stores.append(open_store(url, tenant=tenant, role=role))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def run(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def add(store: Store, first: int, last: int) -> None:
    with store.transaction() as tx:
        for seq in range(first, last + 1):
            assert tx.add_impression(sample_impression(f"e{seq}")) == seq
            tx.add_signal(seq, sample_signal(f"e{seq}"))


def partitions(url: str) -> list[int]:
    return [int(str(row[0])) for row in run(url, "SELECT first_seq FROM dwell.partitions ORDER BY 1")]


def tables(url: str, of: str) -> list[int]:
    found = run(url, f"SELECT relid::regclass::text FROM pg_partition_tree('dwell.{of}') WHERE isleaf")
    return sorted(int(str(row[0]).rpartition("_")[2]) for row in found)


def n_in(url: str, first: int) -> int:
    return int(str(run(url, f"SELECT count(*) FROM dwell.events_{first}")[0][0]))


def dropped(tx: Transaction, first: int) -> int | None:
    return tx.drop_span(first, first + WIDTH - 1)


# ---------------------------------------------------------------- made ahead


def test_there_is_always_room_for_a_partition_more(opened: Open, url: str) -> None:
    store = opened()
    for last in (1, 5, 30):
        with store.snapshot() as reader:
            before = reader.last_seq()
        add(store, before + 1, last)
        there = set(partitions(url))
        assert {seq // WIDTH * WIDTH for seq in range(1, last + WIDTH + 1)} <= there
        assert all(tables(url, of) == sorted(there) for of in ("events", "activations", "outcomes", "signals"))
    assert n_in(url, 3) == WIDTH
    assert store.verify() == []


def test_whoever_writes_at_the_same_time_makes_each_partition_once(opened: Open, url: str) -> None:
    stores = [opened(f"t{i}") for i in range(4)]
    barrier = threading.Barrier(4)

    def write(store: Store) -> None:
        for first in range(1, 40, 13):
            barrier.wait(PATIENCE_S)
            add(store, first, first + 12)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, stores))
    assert all(store.verify() == [] for store in stores)
    assert set(range(0, 40, WIDTH)) <= set(partitions(url)), "gaps"


def test_partitions_that_are_undone_are_made_again(opened: Open) -> None:
    store = opened()

    def fail(tx: Transaction) -> None:
        with tx.savepoint():
            for i in range(50):
                tx.add_impression(sample_impression(f"x{i}"))
            tx.seqs()
            raise StorageError("enough", code="enough")

    with store.transaction() as tx:
        with pytest.raises(StorageError, match="enough"):
            fail(tx)
        for i in range(50):
            tx.add_impression(sample_impression(f"e{i}"))
    with store.snapshot() as reader:
        assert reader.seqs() == list(range(1, 51))


def test_a_width_may_change(opened: Open, url: str) -> None:
    store = opened()
    add(store, 1, 4)
    for width, last in ((7, 40), (2, 60)):
        run(url, f"UPDATE dwell.store SET events_per_partition = {width}")
        with store.snapshot() as reader:
            add(store, reader.last_seq() + 1, last)
    found = run(url, "SELECT first_seq, beyond_seq FROM dwell.partitions ORDER BY 1")
    assert all(before[1] == after[0] for before, after in itertools.pairwise(found)), "gaps"
    run(url, f"UPDATE dwell.store SET events_per_partition = {WIDTH}")
    with store.snapshot() as reader:
        assert len(reader.impressions(range(1, 61))) == 60


# ---------------------------------------------------------------- names


def test_a_name_is_given_once_across_partitions(opened: Open, url: str) -> None:
    add(opened(), 1, 9)
    columns = "tenant, seq, event_id, served_at, pseudonym, is_shown, shown, body"
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(
            url,
            f"INSERT INTO dwell.events ({columns}) SELECT tenant, 10, event_id, served_at, pseudonym, is_shown, shown, "
            "body FROM dwell.events WHERE seq = 1",
        )
    assert run(url, "SELECT count(*), count(DISTINCT event_id) FROM dwell.event_ids") == [(9, 9)]


def test_a_name_that_leads_elsewhere_is_damage(opened: Open, url: str) -> None:
    store = opened()
    add(store, 1, 3)
    run(url, "UPDATE dwell.event_ids SET seq = 2 WHERE seq = 1; DELETE FROM dwell.event_ids WHERE seq = 3")
    assert store.verify() == ["2 events that are not found by their name", "1 names of events that are not there"]
    run(url, "UPDATE dwell.event_ids SET seq = 1 WHERE event_id = 'e1'")


# ---------------------------------------------------------------- dropped


def test_a_span_goes_as_a_whole(opened: Open, url: str) -> None:
    store = opened()
    add(store, 1, 12)
    with store.snapshot() as reader:
        assert [span for span in reader.spans() if span[1] >= 3] == [(3, 5), (6, 8), (9, 11)]
        sizes = reader.size_bytes()
    with store.transaction() as tx:
        epoch = tx.epoch()
        assert tx.drop_span(3, 5) == 3
        assert (tx.seqs(before=7), tx.event("e4"), tx.epoch()) == ([1, 2, 6], None, epoch + 1)
        assert tx.add_impression(sample_impression("e4")) == 13, "its name is free again"
    assert 3 not in partitions(url)
    assert 3 not in tables(url, "signals")
    with store.snapshot() as reader:
        # Twelve alike before; of these three went and one came
        assert reader.size_bytes() < sizes
        assert (reader.seqs(), len(reader.signals([4, 6])[4])) == ([1, 2, *range(6, 14)], 0)
    assert store.verify() == []


def test_bytes_are_told_alike_whether_rows_went_or_a_span(opened: Open) -> None:
    store = opened()
    with store.snapshot() as reader:
        empty = reader.size_bytes()
    add(store, 1, 30)
    with store.transaction() as tx:
        full = tx.size_bytes()
        assert tx.drop_span(12, 14) == 3
        by_span = full - tx.size_bytes()
        tx.delete_events([15, 16, 17])
        assert full - tx.size_bytes() == 2 * by_span > 0
        tx.delete_events(range(1, 31))
        assert tx.size_bytes() == empty


def test_nothing_goes_that_somebody_else_has_or_needs(opened: Open, url: str) -> None:
    first, other = opened(), opened("other")
    add(first, 1, 12)
    add(other, 1, 4)
    with first.transaction() as tx:
        assert dropped(tx, 3) is None, "the other has number 4 there"
        assert dropped(tx, 6) is None, "the other writes there next"
        assert dropped(tx, 12) is None, "it is written to"
        assert dropped(tx, 9_999) is None, "there is none"
        assert dropped(tx, 9) == 3
        tx.delete_events([4])
    with other.transaction() as tx:
        tx.delete_events([4])
    with first.transaction() as tx:
        assert dropped(tx, 3) is None, "the other writes there next"
    add(other, 5, 7)
    assert 9 in partitions(url), "the other needs what was dropped, and made it anew"
    add(other, 8, 14)
    assert (first.verify(), other.verify()) == ([], [])
    with first.snapshot() as reader:
        assert reader.spans() == [(0, 2)] or (9, 11) not in reader.spans()


def test_nothing_goes_that_somebody_is_about_to_need(opened: Open, url: str) -> None:
    first, other = opened(), opened("other")
    add(first, 1, 30)
    add(other, 1, 1)
    with psycopg.connect(url) as coming:
        # What the other's transaction does at its end: it has looked for room, and has not committed yet
        coming.execute("UPDATE dwell.tenants SET last_seq = 10 WHERE tenant = 'other'")
        with first.transaction() as tx:
            assert dropped(tx, 12) is None
            assert dropped(tx, 15) == 3
        coming.commit()
    with first.transaction() as tx:
        assert dropped(tx, 12) is None, "the other writes there next"
        assert dropped(tx, 18) == 3
    with other.transaction() as tx:
        assert [tx.add_impression(sample_impression(f"new{i}")) for i in range(3)] == [11, 12, 13]


def test_a_snapshot_sees_what_it_saw(opened: Open) -> None:
    store, reader_store = opened(), opened(role="reader")
    add(store, 1, 12)
    with reader_store.snapshot() as reader:
        with store.transaction() as tx:
            assert tx.drop_span(6, 8) is None, "somebody reads"
            tx.delete_events([6, 7, 8])
        assert reader.seqs() == list(range(1, 13))
    with store.transaction() as tx:
        assert tx.drop_span(6, 8) == 0, "what is empty goes as well"
    assert store.verify() == []


def test_a_drop_that_is_undone_is_none(opened: Open, url: str) -> None:
    store = opened()
    add(store, 1, 12)

    def fail() -> None:
        with store.transaction() as tx:
            assert tx.drop_span(6, 8) == 3
            raise StorageError("enough", code="enough")

    with pytest.raises(StorageError, match="enough"):
        fail()
    assert 6 in partitions(url)
    with store.snapshot() as reader:
        assert len(reader.impressions(range(1, 13))) == 12
    assert store.verify() == []


def test_the_permit_is_asked_for(opened: Open, url: str) -> None:
    add(opened(), 1, 12)
    with pytest.raises(psycopg.errors.RestrictViolation):
        run(url, "SELECT dwell.drop_span('', 6)")
    for sql in ("UPDATE dwell.events_6 SET tenant = 'b'", "DELETE FROM dwell.signals_6", "TRUNCATE dwell.signals_6"):
        with pytest.raises(psycopg.errors.RestrictViolation):
            run(url, sql)
