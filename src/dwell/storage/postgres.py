"""A store in a PostgreSQL database: one connection that writes, a bounded number that read."""

from __future__ import annotations

import contextlib
import logging
import os
import weakref
from collections.abc import Iterator
from typing import Any, Final

import psycopg

from dwell.errors import CorruptStoreError, SchemaVersionError, StorageError
from dwell.storage.door import Door
from dwell.storage.postgres_failures import is_connection_lost, told
from dwell.storage.postgres_migrations import STEPS
from dwell.storage.postgres_news import News
from dwell.storage.postgres_reader import Counters, PostgresReader, read_counters
from dwell.storage.postgres_schema import SCHEMA, VERSION
from dwell.storage.postgres_sessions import Connection, Sessions, is_up, take_lock
from dwell.storage.postgres_transaction import PostgresTransaction
from dwell.storage.protocol import Durability, Role

__all__ = ["PostgresStore", "stored_version"]

_WITH_LOCK: Final[tuple[Role, ...]] = ("owner", "serving", "learner")  # who stands in whose way: see `take_lock`
_MAKES_TABLES: Final[tuple[Role, ...]] = ("owner", "serving")
_MAKING_LOCK: Final = 0x6477_656D  # one process at a time makes the tables, or brings them up to date
_WITH_TEXT: Final = (
    "events", "event_ids", "activations", "outcomes", "signals", "orphans", "quarantine", "statistics", "answers",
)  # fmt: skip
_WITH_MAINTAIN: Final = 170_000  # PostgreSQL 17 lets others than the owner vacuum by a privilege of its own
_MIGRATION_WAITS_S: Final = 60  # for the transactions of processes that go on beside it; they wait meanwhile
_TABLES_THERE: Final = (
    "SELECT count(*) FILTER (WHERE tablename = 'store'), count(*) FROM pg_tables WHERE schemaname = 'dwell'"
)
_OWN_RETRIES: Final = 1  # a connection that was lost while it lay idle is no failure of the call that finds out

# Locks no row, and is refused where a transaction would be: to a user who may only read, and by a standby
_MAY_WRITE: Final = "SELECT 1 FROM tenants LIMIT 0 FOR UPDATE"
_NO_TABLES: Final = (
    "Check the name of the database. `dwell serve STORE --features NAMES` makes the tables, as dwell.open and "
    "`dwell db copy` do; who only reads makes none."
)

_log = logging.getLogger("dwell")


class PostgresStore:
    """A store in a database that several hosts share; see `protocol.Store`. Safe from any thread.

    One transaction of a tenant at a time, across all processes: each begins by locking the tenant's row, which gives
    `seq` in the order of the commits and lets no reader see a gap that is filled later. That costs one statement and
    one row version per transaction, and makes the database's time for a commit the limit of commits per tenant;
    `Writer` puts many jobs into each of them. Tenants do not wait for each other.

    Args:
        url: postgresql://user:password@host:port/database.
        tenant: Whose facts.
        durability: "full": a commit returns once it is on the database's disk; "relaxed": sooner.
        role: "owner" and "serving" make the tables where there are none, and bring older ones up to date. Owner and
            learner are alone, and those that serve are many, by a lock that their session holds: it ends with the
            process, and a session that was lost takes it anew before it writes again.

    Raises:
        ConfigError: The URL is malformed.
        StoreOwnedError: Another process owns it for this tenant, serves it where this one would own it, or learns.
        SchemaVersionError: A newer store, or an older one opened by somebody else than an owner.
        StorageError: code `not_a_store` or `cannot_open`; `not_permitted` or `read_only` where a role that writes may
            only read; while the database is away `unreachable`, which is retryable.
    """

    def __init__(self, url: str, *, tenant: str, durability: Durability, role: Role) -> None:
        self._sessions = Sessions(url, role=role, durability=durability)
        self._where = self._sessions.where
        self._news = News(self._sessions)
        self._tenant = tenant
        self._role = role
        self._durability = durability
        self._door = Door(self._where, role)
        self._n_takings = 0
        self._n_own_commits = 0
        self._data_version = 0
        self._writer: Connection | None = None
        self._writer = self._connected(is_first=True)
        if role == "reader":
            self._writer.close()
            self._writer = None
        _open_stores.add(self)

    def _connected(self, *, is_first: bool = False) -> Connection:
        """Return a connection that may write, with the lock of its role."""
        connection = self._sessions.connect(is_reader=False)
        try:
            if self._role in _WITH_LOCK:
                take_lock(connection, self._role, self._tenant, self._where)
            if is_first:
                self._bring_up_to_date(connection)
        except psycopg.Error as error:
            connection.close()
            raise told(error, self._where) from error
        except BaseException:
            connection.close()
            raise
        self._n_takings += 1
        return connection

    def _bring_up_to_date(self, connection: Connection) -> None:
        version = _known_version(connection, self._where)
        if version is not None and version >= VERSION:
            if self._role != "reader":
                connection.execute(_MAY_WRITE)
            self._warn_of_fsync(connection)
            return
        if self._role not in _MAKES_TABLES:
            if version is None:
                raise StorageError(f"there is no store at {self._where}", code="cannot_open", hint=_NO_TABLES)
            raise SchemaVersionError(
                f"{self._where} has schema version {version}, this dwell needs {VERSION}",
                hint="Open it once as its owner, or run dwell db upgrade.",
            )
        # A lock of the session: within a transaction that began before it, tables made meanwhile may not be known yet
        with connection.transaction():  # for the wait alone: whoever makes or migrates them may take longer than a lock
            connection.execute("SET LOCAL statement_timeout = 0")
            connection.execute(f"SET LOCAL lock_timeout = '{_MIGRATION_WAITS_S}s'")
            connection.execute("SELECT pg_advisory_lock(%s)", (_MAKING_LOCK,))
        try:
            with connection.transaction():
                self._make_or_migrate(connection)
        finally:
            if not connection.closed:
                connection.execute("SELECT pg_advisory_unlock(%s)", (_MAKING_LOCK,))
        self._warn_of_fsync(connection)

    def _make_or_migrate(self, connection: Connection) -> None:
        version = _known_version(connection, self._where)
        if version is None:
            connection.execute(SCHEMA)
            return
        connection.execute("SET LOCAL statement_timeout = 0")
        connection.execute(f"SET LOCAL lock_timeout = '{_MIGRATION_WAITS_S}s'")
        for step in range(version, VERSION):
            if step not in STEPS:
                raise SchemaVersionError(
                    f"schema version {version} is older than any that this dwell can read",
                    hint="Open it with an earlier dwell first.",
                )
            connection.execute(STEPS[step])
        connection.execute("UPDATE dwell.store SET schema_version = %s", (VERSION,))

    def _warn_of_fsync(self, connection: Connection) -> None:
        if self._durability == "full" and connection.execute("SHOW fsync").fetchall()[0][0] != "on":
            _log.warning(
                "%s runs with fsync off: a power cut may take what was acknowledged, or all of it", self._where
            )

    @property
    def role(self) -> Role:
        """How this process opened it."""
        return self._role

    @property
    def where(self) -> str:
        """What it was opened with, without its password."""
        return self._where

    def _begun(self) -> tuple[Connection, Counters]:
        """Return the writing connection with a transaction begun and the tenant's row locked."""
        for attempt in range(_OWN_RETRIES + 1):
            connection = self._writer
            if connection is None or connection.closed:
                connection = self._writer = self._connected()
            try:
                connection.execute("BEGIN")
                counters = read_counters(connection, self._tenant, is_locked=True)
                if counters is None:
                    connection.execute(
                        "INSERT INTO tenants (tenant) VALUES (%s) ON CONFLICT (tenant) DO NOTHING", (self._tenant,)
                    )
                    counters = read_counters(connection, self._tenant, is_locked=True) or Counters()
                _check_code(counters, self._where)
                self._note_data_version(connection)
            except SchemaVersionError:
                _roll_back(connection)
                raise
            except psycopg.Error as error:
                if attempt < _OWN_RETRIES and is_connection_lost(error) and connection.closed:
                    continue
                _roll_back(connection)
                raise told(error, self._where) from error
            return connection, counters
        raise AssertionError("unreachable")  # pragma: no cover - the loop returns or raises

    @contextlib.contextmanager
    def transaction(self) -> Iterator[PostgresTransaction]:
        """Begin a transaction: commits when the context is left normally, else nothing has happened.

        Raises:
            StoreBusyError: Another process held the tenant for 5 s; `unreachable`: the database is away. Lost on the
                way of its commit, a transaction may be there or not: what is sent again under the same ids has its
                effect once.
        """
        with self._door.writing():
            connection, counters = self._begun()
            transaction = PostgresTransaction(connection, self._where, self._tenant, counters)
            try:
                try:
                    yield transaction
                    has_changed = transaction.finish()
                finally:
                    transaction.end()
                connection.execute("COMMIT")
                # Settings of the whole store are counted beside the tenant's commits
                self._n_own_commits += has_changed + transaction.has_changed_store
            except psycopg.Error as error:
                raise told(error, self._where) from error
            finally:
                _roll_back(connection)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[PostgresReader]:
        """Read one committed state, from any thread, without waiting for a transaction."""
        self._door.check()
        with self._sessions.reading() as connection:
            try:
                # Before the first read, which fixes what this snapshot sees: no partition is dropped beneath it
                connection.execute("BEGIN; LOCK TABLE snapshots IN ACCESS SHARE MODE")
                counters = read_counters(connection, self._tenant) or Counters()
            except psycopg.Error as error:
                raise told(error, self._where) from error
            _check_code(counters, self._where)
            reader = PostgresReader(connection, self._where, self._tenant, counters)
            try:
                yield reader
            finally:
                reader.end()

    def data_version(self) -> int:
        """Return a number that changes when another process has committed; waits for nobody.

        While a transaction runs it is the number of the state that the transaction began with.
        """
        with self._door.at_once() as nobody_writes:
            if nobody_writes:
                with self._sessions.reading() as connection:
                    try:
                        self._note_data_version(connection)
                    except psycopg.Error as error:
                        raise told(error, self._where) from error
        return self._data_version

    def _note_data_version(self, connection: Connection) -> None:
        found = connection.execute(
            "SELECT n_changes + coalesce((SELECT n_commits FROM tenants WHERE tenant = %s), 0) FROM store",
            (self._tenant,),
        )
        self._data_version = found.fetchall()[0][0] - self._n_own_commits

    def n_takings(self) -> int:
        """Return how often this process took the right of its role, taking it again where its session was lost.

        Raises:
            StoreOwnedError: Another process has it.
        """
        with self._door.writing():
            if self._writer is None or self._writer.closed or not is_up(self._writer):
                self._writer = self._connected()
            return self._n_takings

    def wait_for_news(self, timeout_s: float) -> bool:
        """Return True as soon as the database told of news of any tenant, False where it told nothing for so long.

        Raises:
            StorageError: The database is away.
        """
        self._door.check()
        return self._news.wait(timeout_s)

    def verify(self) -> list[str]:
        """Return what is damaged of this tenant, one line each; empty for a sound store. Reads all of it."""
        try:
            with self.snapshot() as reader:
                return reader.damages()
        except CorruptStoreError as error:
            return [error.message]

    def scrub(self) -> None:
        """Write the tables that hold text anew, so that what was erased stands in none of their files.

        Takes their size in free space meanwhile, and locks each of them for as long. What the database has written
        ahead (WAL), its backups and standbys keep the text until they are recycled: that is the administrator's.

        Raises:
            StoreBusyError: Somebody read an older state for 5 s.
            StorageError: code `not_permitted`: this database user does not own the tables.
        """
        with self._door.writing():
            if self._writer is None or self._writer.closed:
                self._writer = self._connected()
            try:
                _check_may_scrub(self._writer, self._where)
                self._writer.execute("SET statement_timeout = 0")
                for table in _WITH_TEXT:
                    self._writer.execute(f"VACUUM (FULL, ANALYZE) {table}")
            except psycopg.Error as error:
                raise told(error, self._where) from error
            finally:
                with contextlib.suppress(psycopg.Error):
                    self._writer.execute("RESET statement_timeout")

    def close(self) -> None:
        """Release everything; closing twice is legal. In a forked child nothing is touched."""
        with self._door.closing() as is_first:
            if is_first:
                self._news.close()
                self._sessions.close()
                if self._writer is not None:
                    self._writer.close()

    def handles(self) -> list[Any]:
        """Return the driver's own handles: in a forked child they must never be closed."""
        return [*self._sessions.handles(), *self._news.handles(), self._writer]


def stored_version(url: str) -> int:
    """Return the schema version of a store, also where this dwell can not open it; nothing is written.

    Raises:
        StorageError: There is none, or it can not be read.
    """
    sessions = Sessions(url, role="reader", durability="full")
    with contextlib.closing(sessions), sessions.reading() as connection:
        try:
            version = _version_of(connection, sessions.where)
        except psycopg.Error as error:
            raise told(error, sessions.where) from error
    if version is None:
        raise StorageError(f"there is no store at {sessions.where}", code="cannot_open", hint=_NO_TABLES)
    return version


def _known_version(connection: Connection, where: str) -> int | None:
    """Return the schema version that stands there, or None where there are no tables.

    Raises:
        SchemaVersionError: It is of a newer dwell, and code of this one may not use it.
    """
    version = _version_of(connection, where)
    if version is not None and version > VERSION:
        oldest = int(connection.execute("SELECT oldest_code FROM dwell.store").fetchall()[0][0])
        if oldest > VERSION:
            raise SchemaVersionError(
                f"{where} has schema version {version}, this dwell knows up to {VERSION}", hint="Upgrade dwell."
            )
    return version


def _check_code(counters: Counters, where: str) -> None:
    # Comes with the tenant's row, so that a process that was running while the tables were upgraded stops at once
    if counters.oldest_code > VERSION:
        raise SchemaVersionError(
            f"{where} was upgraded while this process had it open: it needs code of schema version "
            f"{counters.oldest_code} or newer, this dwell knows {VERSION}",
            hint="Upgrade dwell, and start this process anew.",
        )


def _version_of(connection: Connection, where: str) -> int | None:
    # In one statement: between two of them another process makes the tables, which then are taken for somebody else's
    ours, n_tables = connection.execute(_TABLES_THERE).fetchall()[0]
    if ours:
        return int(connection.execute("SELECT schema_version FROM dwell.store").fetchall()[0][0])
    if n_tables:
        raise StorageError(
            f"the schema dwell of {where} holds somebody else's tables; it was left as it is",
            code="not_a_store",
            hint="Give a store a database of its own.",
        )
    return None


def _check_may_scrub(connection: Connection, where: str) -> None:
    # VACUUM passes over tables of somebody else with a warning only
    may = "pg_has_role(relowner, 'USAGE')"
    if connection.info.server_version >= _WITH_MAINTAIN:
        may = f"{may} OR has_table_privilege(oid, 'MAINTAIN')"
    found = connection.execute(f"SELECT bool_and({may}) FROM pg_class WHERE oid = 'dwell.events'::regclass")
    if not found.fetchall()[0][0]:
        raise StorageError(
            f"the database user of {where} may not write the tables anew: what was erased is gone for every reader, "
            "but its bytes may still stand in their files",
            code="not_permitted",
            hint="Run VACUUM FULL on the tables of the schema dwell as their owner, or grant MAINTAIN on them.",
        )


def _roll_back(connection: Connection) -> None:
    if connection.info.transaction_status not in {
        psycopg.pq.TransactionStatus.IDLE,
        psycopg.pq.TransactionStatus.UNKNOWN,
    }:
        with contextlib.suppress(psycopg.Error):
            connection.execute("ROLLBACK")


_open_stores: weakref.WeakSet[PostgresStore] = weakref.WeakSet()
_inherited: list[Any] = []


def _keep_in_child() -> None:
    # Closing an inherited connection would end the parent's session
    _inherited.extend(store.handles() for store in list(_open_stores))


os.register_at_fork(after_in_child=_keep_in_child)
