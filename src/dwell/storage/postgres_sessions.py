"""Connections to a PostgreSQL store: how each is set up, a bounded set of those that read, and who is alone in it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from dwell.errors import ConfigError, StorageError, StoreBusyError, StoreOwnedError
from dwell.storage.places import shown_place
from dwell.storage.postgres_failures import is_connection_lost, told
from dwell.storage.protocol import Durability, Role

__all__ = ["LOCK_TIMEOUT_S", "Connection", "Sessions", "is_up", "take_lock"]

Connection = psycopg.Connection[tuple[Any, ...]]

LOCK_TIMEOUT_S: Final = 5.0  # reliability, row 20: other writers get a clear answer within 5 s
_CONNECT_TIMEOUT_S: Final = 5
_STATEMENT_TIMEOUT_S: Final = 300  # a choice: the longest statement of ours reads one tenant's index once
_IDLE_WRITER_S: Final = 300  # a choice: a process that is stopped within a transaction stops the whole tenant so long
_IDLE_READER_S: Final = 3_600  # a choice: a snapshot keeps old rows from being cleared away
_MOST_IDLE: Final = 8  # reader connections kept open, as in SQLite
_MOST_READERS: Final = 16  # at once: a server with the default of 100 connections bears five processes
_OLDEST_SERVER: Final = 130_000  # PostgreSQL 13: the oldest that got fixes when this was written
_AWAY_S: Final = 0.25  # a server that answers nothing costs a caller the time-out of connecting: not each of them
_PROBED_S: Final = 10.0  # since the last try of who has time: longer than one takes, and the pause behind it
_TAKEOVER_S: Final = 0.3  # how long a killed process's lock may live on before its session is cleared away
_POLL_S: Final = 0.02
_NAME_PARTS: Final = 3  # of a session's name: dwell, its role, its process
_LASTING: Final = ("authentication failed", "does not exist", "no pg_hba.conf entry", "not permitted to log in")

#: Set where the URL does not: a host that dies without a word frees its locks within half a minute
_KEEPALIVES: Final = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4}
_SERVER_KEEPALIVES: Final = (
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 4"
)

# An event's row is above 2 kB, where the server compresses: by its own way that is about half of its time for a COPY,
# by lz4 little of it, and rows are no larger (benchmarks/postgres.py). Left alone where the server does not know it
_COMPRESSION: Final = """SELECT set_config('default_toast_compression', 'lz4', false) FROM pg_settings
WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)"""


class Sessions:
    """The connections of one open store.

    Args:
        url: postgresql://user:password@host:port/database, or what else libpq takes as one.
        role: How the store was opened; it stands in the connections' names.
        durability: "relaxed" lets a commit return before it is on the database's disk.

    Raises:
        ConfigError: The URL is malformed.
    """

    def __init__(self, url: str, *, role: Role, durability: Durability) -> None:
        self.where = shown_place(url)
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            raise ConfigError(
                "the URL of the database is malformed",
                field="where",
                value=self.where,
                hint="Give postgresql://user@host:5432/database, the password percent-encoded.",
            ) from None  # libpq's own words quote the URL, and with it the password
        settings: dict[str, Any] = {
            "connect_timeout": _CONNECT_TIMEOUT_S, "application_name": f"dwell {role} {os.getpid()}",
            "client_encoding": "UTF8", **_KEEPALIVES, **given,
        }  # fmt: skip
        self._conninfo = make_conninfo(**settings)
        self._commit = "on" if durability == "full" else "off"
        self._idle: deque[Connection] = deque()
        self._places = threading.BoundedSemaphore(_MOST_READERS)
        self._is_closed = False
        self._away_until = 0.0
        self._is_away = False
        self._probed_at = -_PROBED_S

    def connect(self, *, is_reader: bool, is_probe: bool = False) -> Connection:
        """Return a new connection.

        Args:
            is_reader: Whether it only reads.
            is_probe: Whether the caller has time: while the database is away and one such caller tries again and again,
                nobody else waits for a server that answers nothing.

        Raises:
            StorageError: code `cannot_open`, or retryable as `unreachable` while the database is away.
        """
        now = time.monotonic()
        if is_probe:
            self._probed_at = now
        elif now < self._away_until or (self._is_away and now - self._probed_at < _PROBED_S):
            raise StoreBusyError(
                f"{self.where} did not answer a moment ago",
                code="unreachable",
                hint="Check that the database runs and can be reached; the store goes on by itself once it is back.",
            )
        try:
            connection = psycopg.connect(self._conninfo, autocommit=True)
        except psycopg.Error as error:
            told_error = self._told_of_opening(error)
            if told_error.code == "unreachable":
                self._is_away, self._away_until = True, time.monotonic() + _AWAY_S
            raise told_error from error
        self._is_away = False
        try:
            self._set_up(connection, is_reader=is_reader)
        except psycopg.Error as error:
            connection.close()
            raise told(error, self.where) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _told_of_opening(self, error: psycopg.Error) -> StorageError:
        words = str(error)
        if error.sqlstate is None and any(mark in words for mark in _LASTING):
            return StorageError(
                f"{self.where} can not be opened: {words.splitlines()[0]}",
                code="cannot_open",
                hint="Check the URL's user, password and database; the database itself is made by its administrator.",
            )
        return told(error, self.where)

    def _set_up(self, connection: Connection, *, is_reader: bool) -> None:
        if connection.info.server_version < _OLDEST_SERVER:
            raise StorageError(
                f"{self.where} is PostgreSQL {connection.info.server_version // 10_000}",
                code="cannot_open",
                hint="Use PostgreSQL 13 or newer.",
            )
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StorageError(
                f"the database {self.where} has the encoding {encoding}",
                code="cannot_open",
                hint="Make a database with ENCODING 'UTF8': not every text could be kept in this one.",
            )
        connection.adapters.register_dumper(int, Int8Dumper)
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        idle_s = _IDLE_READER_S if is_reader else _IDLE_WRITER_S
        settings = [
            "SET search_path = dwell",
            f"SET synchronous_commit = {self._commit}",
            f"SET lock_timeout = '{int(LOCK_TIMEOUT_S * 1000)}ms'",
            f"SET statement_timeout = '{_STATEMENT_TIMEOUT_S}s'",
            f"SET idle_in_transaction_session_timeout = '{idle_s}s'",
            _SERVER_KEEPALIVES,
        ]
        if is_reader:
            settings.append("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        else:
            settings.append(_COMPRESSION)
        connection.execute("; ".join(settings))

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that reads, from those that are idle, in no transaction.

        Raises:
            StoreBusyError: All were in use for 5 s.
            StorageError: The database can not be reached.
        """
        if not self._places.acquire(timeout=LOCK_TIMEOUT_S):
            raise StoreBusyError(
                f"{_MOST_READERS} snapshots of {self.where} are open in this process",
                code="too_many_connections",
                hint="Read shorter, or from fewer threads.",
            )
        try:
            connection = self._alive()
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._places.release()

    def _alive(self) -> Connection:
        # Newest first: while the load is low the others stay idle, and may be closed
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self.connect(is_reader=True)
            if is_up(connection):
                return connection
            connection.close()

    def _give_back(self, connection: Connection) -> None:
        if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            with contextlib.suppress(psycopg.Error):
                connection.execute("ROLLBACK")
        if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.close()
            return
        self._idle.append(connection)
        self._close_idle(0 if self._is_closed else _MOST_IDLE)

    def _close_idle(self, most: int) -> None:
        with contextlib.suppress(IndexError):
            while len(self._idle) > most:
                self._idle.popleft().close()

    def close(self) -> None:
        """Close what is idle, and what is in use as soon as it is given back."""
        self._is_closed = True
        self._close_idle(0)

    def handles(self) -> list[Any]:
        """Return the driver's own handles: in a forked child they must never be closed."""
        return [self._idle]


def is_up(connection: Connection) -> bool:
    """Return whether the database still knows a connection."""
    # An empty statement: a round trip of some 30 us, so that a database that was restarted fails nobody's snapshot
    try:
        connection.execute("")
    except psycopg.Error as error:
        if is_connection_lost(error) or connection.closed:
            return False
        raise
    return True


def take_lock(connection: Connection, role: Role, tenant: str, where: str) -> None:
    """Have a session hold its role for a tenant, until it ends: by its close or its process's death.

    An owner and a learner are alone. Those that serve share the owner's lock: they are many, or there is an owner.

    Raises:
        StoreOwnedError: Another session stands in the way; says what it is and its process id, where it tells.
    """
    is_shared = role == "serving"
    name = "owner" if is_shared else role
    key = int.from_bytes(hashlib.blake2b(f"dwell {name}\0{tenant}".encode(), digest_size=8).digest(), signed=True)
    take = "SELECT pg_try_advisory_lock_shared(%s)" if is_shared else "SELECT pg_try_advisory_lock(%s)"
    ends_at = time.monotonic() + _TAKEOVER_S
    while not connection.execute(take, (key,)).fetchall()[0][0]:
        if time.monotonic() >= ends_at:
            what, holder = _holder(connection, key)
            raise StoreOwnedError(
                f"{where} is served by process {holder}"
                if what == "serving"
                else f"{where} has its {what or name} already: process {holder}",
                hint="Close it there first; `dwell inspect | health | promote | rollback | erase` work beside it.",
                field="pid",
                value=holder,
            )
        time.sleep(_POLL_S)


def _holder(connection: Connection, key: int) -> tuple[str, str]:
    """Return the role and the process id of a session that holds a lock, as its name tells them."""
    found = connection.execute(
        """SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
        AND (l.classid::bigint << 32 | l.objid::bigint) = %s
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())""",
        (key,),
    ).fetchall()
    told = str(found[0][0]).split() if found else []
    is_ours = len(told) == _NAME_PARTS and told[0] == "dwell"  # a URL may have given the session another name
    return (told[1], told[2]) if is_ours else ("", "unknown")
