"""What is particular to a store in PostgreSQL: order across processes, lost connections, rights, and its tables."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from dwell.errors import SchemaVersionError, StorageError, StoreBusyError, StoreOwnedError
from dwell.records import Params
from dwell.storage import Role, Store, Transaction, open_store, postgres, postgres_sessions, store_secret
from dwell.storage.postgres_schema import SCHEMA, VERSION
from dwell.storage.postgres_sessions import Sessions
from dwell.storage.schema import FACTS
from dwell.testing.store_samples import PATIENCE_S, USERS, sample_impression, sample_signal

from ..postgres import database, emptied_database, server  # noqa: TID252 - tests are no installed package

Open = Callable[..., Store]


@pytest.fixture
def url() -> Iterator[str]:
    with emptied_database() as found:
        yield found


@pytest.fixture
def opened(url: str) -> Iterator[Open]:
    stores: list[Store] = []

    def open_one(role: Role = "owner", tenant: str = "", where: str = "") -> Store:
        stores.append(open_store(where or url, tenant=tenant, role=role))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def run(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def break_off(url: str) -> None:
    """End all sessions of a database, as a restart of the server does."""
    run(
        url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def test_seq_is_given_in_the_order_of_commits(opened: Open) -> None:
    first, second, reader = opened(), opened("admin"), opened("reader")
    seen: list[list[int]] = []

    def see() -> None:
        with reader.snapshot() as found:
            seen.append(found.seqs())

    def later() -> None:
        with second.transaction() as tx:
            assert tx.add_impression(sample_impression("b")) == 2
        see()

    with ThreadPoolExecutor(1) as threads:
        with first.transaction() as tx:
            assert tx.add_impression(sample_impression("a")) == 1
            waits = threads.submit(later)
            with pytest.raises(TimeoutError):
                waits.result(0.2)
            see()
        waits.result(PATIENCE_S)
    assert seen == [[], [1, 2]], "a number was seen before a smaller one"


def test_tenants_do_not_wait_for_each_other(opened: Open) -> None:
    with opened(tenant="a").transaction() as tx, opened(tenant="b").transaction() as other:
        assert tx.add_impression(sample_impression("x")) == other.add_impression(sample_impression("x")) == 1


def test_who_waits_too_long_is_told_to_try_again(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened()
    monkeypatch.setattr(postgres_sessions, "LOCK_TIMEOUT_S", 0.1)
    second = opened("admin")
    with first.transaction(), pytest.raises(StoreBusyError, match="another writer") as refusal, second.transaction():
        pass
    assert refusal.value.retryable
    with second.transaction() as tx:
        assert tx.add_impression(sample_impression("a")) == 1


def test_the_secret_of_a_store_is_made_once(opened: Open) -> None:
    stores = [opened(tenant=f"t{i}") for i in range(4)]
    barrier = threading.Barrier(4)

    def secret(store: Store) -> bytes:
        barrier.wait(PATIENCE_S)
        return store_secret(store)

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(secret, stores))) == 1


def test_the_tables_are_made_once_however_many_begin(opened: Open) -> None:
    url = database()
    barrier = threading.Barrier(4)

    def open_tenant(i: int) -> Store:
        barrier.wait(PATIENCE_S)
        return opened(tenant=f"t{i}", where=url)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(open_tenant, range(4)))
    assert run(url, "SELECT schema_version FROM dwell.store") == [(VERSION,)]


class MadeMeanwhile:
    """A connection to an empty database, in which another process makes the tables after the first look."""

    def __init__(self, connection: psycopg.Connection, url: str) -> None:
        self._connection = connection
        self._url: str | None = url

    def execute(self, sql: Any) -> Any:
        found = self._connection.execute(sql)
        if self._url is not None:
            url, self._url = self._url, None
            run(url, SCHEMA)
        return found


def test_tables_that_are_made_between_two_looks_are_nobody_elses() -> None:
    url = database()
    with psycopg.connect(url, autocommit=True) as connection:
        looking: Any = MadeMeanwhile(connection, url)
        assert postgres._version_of(looking, url) in {None, VERSION}
        assert postgres._version_of(looking, url) == VERSION


def test_who_makes_the_tables_is_waited_for_longer_than_a_lock(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_sessions, "LOCK_TIMEOUT_S", 0.1)
    url = database()
    with psycopg.connect(url, autocommit=True) as maker, ThreadPoolExecutor(1) as threads:
        maker.execute("SELECT pg_advisory_lock(%s)", (postgres._MAKING_LOCK,))
        opening = threads.submit(opened, where=url)
        with pytest.raises(TimeoutError):
            opening.result(0.5)
        maker.execute("SELECT pg_advisory_unlock(%s)", (postgres._MAKING_LOCK,))
        opening.result(PATIENCE_S)
    assert run(url, "SELECT schema_version FROM dwell.store") == [(VERSION,)]


def test_a_change_by_another_tenant_of_what_is_of_the_whole_store_is_seen(opened: Open) -> None:
    mine, other = opened(), opened(tenant="other")
    before = mine.data_version()
    with other.transaction() as tx:
        tx.add_impression(sample_impression("a"))
    assert mine.data_version() == before
    with other.transaction() as tx:
        tx.put_store_setting("keys", b"new")
    assert mine.data_version() != before
    between = mine.data_version()
    with mine.transaction() as tx:
        tx.put_store_setting("keys", b"newer")
    assert mine.data_version() == between


# ---------------------------------------------------------------- lost connections


def test_a_connection_lost_while_idle_fails_nobody(opened: Open, url: str) -> None:
    store = opened()
    with store.transaction() as tx:
        tx.add_impression(sample_impression("a"))
    with store.snapshot():
        pass
    for _ in range(2):
        break_off(url)
        with store.snapshot() as reader:
            assert reader.last_seq() == 1
        break_off(url)
        version = store.data_version()
        break_off(url)
        with store.transaction() as tx:
            tx.put_setting("k", b"v")
        assert store.data_version() == version
    with pytest.raises(StoreOwnedError):
        opened()


def test_a_connection_lost_within_a_transaction_leaves_nothing_behind(opened: Open, url: str) -> None:
    store = opened()

    def write() -> None:
        with store.transaction() as tx:
            tx.add_impression(sample_impression("a"))
            tx.seqs()
            break_off(url)
            tx.add_impression(sample_impression("b"))

    def read() -> None:
        with store.snapshot() as reader:
            break_off(url)
            reader.seqs()

    for use in (write, read):
        with pytest.raises(StoreBusyError, match="does not answer") as refusal:
            use()
        assert (refusal.value.code, refusal.value.retryable) == ("unreachable", True)
    with store.transaction() as tx:
        assert tx.add_impression(sample_impression("b")) == 1


def test_a_failure_that_is_caught_does_not_commit_the_rest(opened: Open, url: str) -> None:
    store = opened()

    def put_all(tx: Transaction, *keys: str) -> None:
        for key in keys:
            tx.put_setting(key, b"v")

    def write() -> None:
        with store.transaction() as tx:
            with pytest.raises(StorageError, match="NUL"):
                put_all(tx, "k", "a\0key")
            put_all(tx, "l")

    with pytest.raises(StorageError) as refusal:
        write()
    assert refusal.value.code == "transaction_lost"
    with store.transaction() as tx:
        put_all(tx, "k")
        with pytest.raises(StorageError, match="NUL"), tx.savepoint():
            put_all(tx, "l", "a\0key")
        put_all(tx, "m")
    with store.snapshot() as reader:
        assert [reader.setting(key) for key in "klm"] == [b"v", None, b"v"]


def test_whoever_lost_its_lock_does_not_write_beside_the_next_owner(opened: Open, url: str) -> None:
    first = opened()
    break_off(url)
    second = opened()
    with pytest.raises(StoreOwnedError), first.transaction():
        pass
    with second.transaction() as tx:
        assert tx.add_impression(sample_impression("a")) == 1
    second.close()
    with first.transaction() as tx:  # and goes on where the other has gone
        assert tx.add_impression(sample_impression("b")) == 2


@pytest.mark.parametrize("how", ["SIGINT", "SIGQUIT"])
def test_a_restart_of_the_server_loses_nothing_that_was_committed(opened: Open, how: str) -> None:
    store = opened()
    with store.transaction() as tx:
        tx.add_impression(sample_impression("a"))
    server().stop(signal.Signals[how])
    try:
        for use in (store.transaction, store.snapshot):
            with pytest.raises(StoreBusyError) as refusal, use():
                pass
            assert refusal.value.code == "unreachable"
    finally:
        server().start()
    time.sleep(postgres_sessions._AWAY_S)
    with store.transaction() as tx:
        assert tx.add_impression(sample_impression("b")) == 2
    with store.snapshot() as reader:
        assert reader.seqs() == [1, 2]


# ---------------------------------------------------------------- tables and rights


@pytest.mark.parametrize("table", FACTS)
def test_facts_never_change(opened: Open, url: str, table: str) -> None:
    with opened().transaction() as tx:
        tx.add_impression(sample_impression("a", is_shown=False))
        tx.add_activation(1, shown=["x"], is_altered=True, at=1.0)
        tx.add_signal(1, sample_signal("a"))
        tx.add_params(Params(version=0, weights={"x": 1.0}))
    for sql in (
        f"UPDATE dwell.{table} SET tenant = 'b'",
        f"DELETE FROM dwell.{table}",
        f"TRUNCATE dwell.{table} CASCADE",
    ):
        with pytest.raises(psycopg.errors.RestrictViolation):
            run(url, sql)


def test_a_reader_is_refused_by_the_database_as_well(opened: Open) -> None:
    opened()
    with opened("reader").snapshot() as reader, pytest.raises(StorageError) as refusal:
        reader._query("INSERT INTO tenants (tenant) VALUES ('x') RETURNING 1")  # type: ignore[attr-defined]
    assert refusal.value.code == "read_only"


def test_what_is_no_store_of_ours_is_left_as_it_is(opened: Open) -> None:
    foreign = database()
    run(foreign, "CREATE SCHEMA dwell; CREATE TABLE dwell.mine (x int)")
    with pytest.raises(StorageError) as refusal:
        opened(where=foreign)
    assert refusal.value.code == "not_a_store"
    assert run(foreign, "SELECT tablename FROM pg_tables WHERE schemaname = 'dwell'") == [("mine",)]
    with pytest.raises(StorageError, match="there is no store") as refusal:
        opened("reader", where=server().url("postgres"))
    assert refusal.value.code == "cannot_open"


def test_a_newer_store_is_refused_and_an_older_one_by_others_than_its_owner(opened: Open, url: str) -> None:
    try:
        run(url, f"UPDATE dwell.store SET schema_version = {VERSION + 1}, oldest_code = {VERSION + 1}")
        for role in ("owner", "reader"):
            with pytest.raises(SchemaVersionError, match="Upgrade dwell"):
                opened(role)
        run(url, "UPDATE dwell.store SET schema_version = 0, oldest_code = 1")
        for role, told in (("owner", "older than any"), ("reader", "as its owner")):
            with pytest.raises(SchemaVersionError, match=told):
                opened(role)
    finally:
        run(url, f"UPDATE dwell.store SET schema_version = {VERSION}, oldest_code = 1")


def test_another_encoding_is_refused(opened: Open) -> None:
    server().do("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    with pytest.raises(StorageError, match="LATIN1"):
        opened(where=server().url("latin"))


def test_a_user_without_the_tables_works_and_says_what_it_may_not(opened: Open, url: str) -> None:
    opened().close()
    name, password = "app", "a password of the app in these tests"
    run(url, f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    run(url, f"GRANT USAGE ON SCHEMA dwell TO {name}")
    run(url, f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA dwell TO {name}")
    try:
        store = opened(where=server().url(str(run(url, "SELECT current_database()")[0][0]), name, password))
        with store.transaction() as tx:
            tx.add_impression(sample_impression("a", user=USERS[0]))
            tx.add_params(Params(version=0, weights={"x": 1.0}))
        with store.transaction() as tx:
            assert tx.erase_user(USERS[0], at=1.0) == [1]
        with pytest.raises(StorageError) as refusal:
            store.scrub()
        assert refusal.value.code == "not_permitted"
        store.close()
    finally:
        run(url, f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_the_size_that_is_told_is_about_that_of_the_tables(opened: Open, url: str) -> None:
    store = opened()
    with store.transaction() as tx:
        for i in range(2_000):
            seq = tx.add_impression(sample_impression(f"event-{i:05d}", user=USERS[i % 8], k=10, n=20, f=8))
            tx.add_signal(seq, sample_signal(f"event-{i:05d}"))
    store.scrub()
    on_disk = run(
        url,
        "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c "
        "WHERE relkind = 'r' AND relname IN ('events_0', 'event_ids', 'outcomes_0', 'signals_0')",
    )[0][0]
    with store.snapshot() as reader:
        told = reader.size_bytes()
    assert 0.7 < told / int(str(on_disk)) < 1.4, f"{told} told, {on_disk} on disk"


def test_damage_is_found(opened: Open, url: str) -> None:
    store = opened()
    with store.transaction() as tx:
        for name in "abc":
            tx.add_impression(sample_impression(name))
    assert store.verify() == []
    run(
        url,
        "SET session_replication_role = replica; UPDATE dwell.events SET body = 'x' WHERE seq = 2; "
        "DELETE FROM dwell.outcomes WHERE seq = 3; UPDATE dwell.tenants SET live_version = 7",
    )
    found = store.verify()
    assert [line for line in found if line.startswith("1 ")] == [
        "1 events without an outcome",
        "1 live params that are not there",
    ]
    assert len(found) == 3
    assert "'b' is damaged" in found[2]


def test_nobody_waits_for_a_server_that_answers_nothing_while_somebody_with_time_tries() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and says nothing
        where = f"postgresql://dwell@127.0.0.1:{silent.getsockname()[1]}/d?connect_timeout=2"
        sessions = Sessions(where, role="reader", durability="full")

        def refused(*, is_probe: bool) -> float:
            began = time.monotonic()
            with pytest.raises(StorageError) as refusal:
                sessions.connect(is_reader=True, is_probe=is_probe)
            assert refusal.value.code == "unreachable"
            return time.monotonic() - began

        assert refused(is_probe=True) > 1.0
        time.sleep(0.3)  # longer than anybody is kept from trying by the last failure alone
        with ThreadPoolExecutor(1) as threads:
            probing = threads.submit(refused, is_probe=True)
            assert refused(is_probe=False) < 1.0
            assert probing.result(PATIENCE_S) > 1.0
