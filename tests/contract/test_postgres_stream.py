"""Events that the database reads while the next ones are made: what is undone, refused or lost on the way."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from dwell.errors import StorageError, StoreBusyError
from dwell.storage import Store, Transaction, open_store
from dwell.testing.store_samples import sample_impression, sample_signal

from ..postgres import emptied_database  # noqa: TID252 - tests are no installed package

N = 150  # more than are held back, fewer than a COPY takes


@pytest.fixture
def url() -> Iterator[str]:
    with emptied_database() as found:
        yield found


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = open_store(url)
    yield store
    store.close()


def add(tx: Transaction, first: int, n: int = N) -> list[int]:
    ids = [f"event-{i}" for i in range(first, first + n)]
    tx.prefetch(ids)
    return [tx.add_impression(sample_impression(event_id)) for event_id in ids]


def transact(store: Store, work: Callable[[Transaction], object]) -> None:
    with store.transaction() as tx:
        work(tx)


def seqs(store: Store) -> list[int]:
    with store.snapshot() as found:
        assert sum(found.counts().values()) == len(found.seqs()) + found.counts()["signals"]
        return found.seqs()


def sessions(url: str, sql: str) -> list[str]:
    """Return what the statement tells of the sessions that run a COPY."""
    which = "datname = current_database() AND state = 'active' AND query LIKE 'COPY events%'"
    with psycopg.connect(url, autocommit=True) as connection:
        return [row[0] for row in connection.execute(f"SELECT {sql} FROM pg_stat_activity WHERE {which}")]


def test_the_database_works_before_the_transaction_ends(store: Store, url: str) -> None:
    with store.transaction() as tx:
        add(tx, 0, 20)
        assert sessions(url, "query") == [], "few rows wait for the end"
        add(tx, 20)
        assert len(sessions(url, "query")) == 1
        assert len(tx.impressions(range(1, 171))) == 170
        assert sessions(url, "query") == []
        add(tx, 170)
    assert seqs(store) == list(range(1, 321))
    assert store.verify() == []


def test_many_times_as_many_as_are_held_back(store: Store) -> None:
    with store.transaction() as tx:
        add(tx, 0, 1_200)
        tx.add_signal(1_100, sample_signal("event-1099"))
    assert seqs(store) == list(range(1, 1_201))
    assert store.verify() == []


def test_what_is_undone_on_its_way_leaves_nothing_and_the_next_one_works(store: Store, url: str) -> None:
    def interrupted(tx: Transaction) -> None:
        add(tx, 0)
        assert len(sessions(url, "query")) == 1
        raise KeyError

    with pytest.raises(KeyError):
        transact(store, interrupted)
    assert (seqs(store), sessions(url, "query")) == ([], [])
    transact(store, lambda tx: add(tx, 0))
    assert seqs(store) == list(range(1, N + 1))


@pytest.mark.parametrize("is_read_within", [False, True])
def test_a_savepoint_takes_back_what_came_in_it_alone(store: Store, *, is_read_within: bool) -> None:
    def interrupted(tx: Transaction) -> None:
        with tx.savepoint():
            add(tx, 1_000)
            if is_read_within:
                assert len(tx.seqs()) == 2 * N
            raise KeyError

    with store.transaction() as tx:
        tx.prefetch([f"event-{i}" for i in range(1_000, 1_000 + N)])  # or to look them up brings all to the database
        add(tx, 0)
        with pytest.raises(KeyError):
            interrupted(tx)
        assert add(tx, 2_000)[0] == N + 1
        with tx.savepoint():
            add(tx, 3_000)
    assert seqs(store) == list(range(1, 3 * N + 1))
    with store.snapshot() as found:
        ids = [one.event_id for one in found.impressions(found.seqs())]
    assert ids == [f"event-{first + i}" for first in (0, 2_000, 3_000) for i in range(N)]


def test_jobs_each_in_its_savepoint_are_sent_as_well(store: Store, url: str) -> None:
    with store.transaction() as tx:
        tx.prefetch([f"event-{i}" for i in range(N)])
        for i in range(N):
            with tx.savepoint():
                tx.add_impression(sample_impression(f"event-{i}"))
        assert len(sessions(url, "query")) == 1
    assert len(seqs(store)) == N


def test_a_row_that_the_database_refuses_undoes_all(store: Store, url: str) -> None:
    def refused(tx: Transaction) -> None:
        tx.prefetch([f"event-{i}" for i in range(N)])
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(
                "INSERT INTO dwell.events (tenant, seq, event_id, served_at, is_shown, shown, body) "
                "VALUES ('', 99999, 'event-99', 0, true, '[]', '')"
            )
        add(tx, 0)

    with pytest.raises(StorageError, match="refused a row") as refusal:
        transact(store, refused)
    assert refusal.value.code == "constraint"
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT seq FROM dwell.events").fetchall() == [(99999,)]
    with store.transaction() as tx:
        assert add(tx, 1_000)[0] == 1


def test_a_failure_that_is_caught_does_not_commit_the_rest(store: Store) -> None:
    def goes_on(tx: Transaction) -> None:
        add(tx, 0)
        tx.add_impression(sample_impression("no\0text"))
        with pytest.raises(StorageError, match="refused a row"):
            tx.seqs()
        add(tx, 1_000, 1)

    with pytest.raises(StorageError, match="undone by an earlier failure"):
        transact(store, goes_on)
    assert seqs(store) == []


def test_a_connection_lost_on_the_way_is_told_and_made_anew(store: Store, url: str) -> None:
    def cut_off(tx: Transaction) -> None:
        add(tx, 0)
        assert len(sessions(url, "pg_terminate_backend(pid, 5000)")) == 1
        add(tx, 1_000)

    with pytest.raises(StoreBusyError) as refusal:
        transact(store, cut_off)
    assert refusal.value.code == "unreachable"
    with store.transaction() as tx:
        assert add(tx, 0)[0] == 1
    assert len(seqs(store)) == N
