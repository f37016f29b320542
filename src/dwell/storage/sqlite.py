"""A store in one SQLite file: one connection that writes, as many as are needed that read."""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import apsw

from dwell.errors import CorruptStoreError, SchemaVersionError, StorageError, StoreBusyError
from dwell.storage.checksums import N_RESERVED, check_may_write, checking_vfs
from dwell.storage.door import Door
from dwell.storage.failures import told, told_of_system
from dwell.storage.migrations import create, migrate, version_of
from dwell.storage.news import looked_for
from dwell.storage.ownership import Ownership
from dwell.storage.protocol import Durability, Role
from dwell.storage.schema import VERSION
from dwell.storage.sqlite_reader import SqliteReader
from dwell.storage.sqlite_transaction import SqliteTransaction

__all__ = ["BUSY_TIMEOUT_S", "SqliteStore"]

BUSY_TIMEOUT_S: Final = 5.0  # reliability, row 20: other writers get a clear answer within 5 s
_POLL_S: Final = 0.001  # SQLite's own handler sleeps up to 0.1 s: beside a busy owner it would hardly ever get its turn
_SIDE_FILES: Final[dict[Role, str]] = {"owner": ".lock", "learner": ".learner.lock"}  # who is alone in it
_MOST_IDLE: Final = 8  # reader connections kept open; more readers open and close their own


class SqliteStore:
    """A store in a file; see `protocol.Store`. Safe from any thread.

    Args:
        where: Path of the file.
        tenant: Whose facts.
        durability: "full" syncs every commit; "relaxed" leaves it to the system: a power cut may take the last commits.
        role: "owner" makes the file where there is none, and brings an older one up to date.

    Raises:
        StoreOwnedError: Another process owns it, or this one does for the same tenant; for a learner, another learner.
        SchemaVersionError: A newer file, or an older one opened by somebody else than an owner.
        CorruptStoreError: The file is no database, or a damaged one.
        StorageError: code `not_a_store` or `cannot_open`.
    """

    def __init__(self, where: str, *, tenant: str, durability: Durability, role: Role) -> None:
        self._where = where
        self._tenant = tenant
        self._role = role
        self._path = os.path.realpath(where)
        self._synchronous = "FULL" if durability == "full" else "NORMAL"
        self._door = Door(where, role)
        self._idle: deque[apsw.Connection] = deque()
        self._data_version = 0
        self._news_version = -1  # of the last wait for news
        self._ownership: Ownership | None = None
        if role in _SIDE_FILES:
            try:
                self._ownership = Ownership(self._path, tenant, suffix=_SIDE_FILES[role])
            except OSError as error:
                raise told_of_system(error, where) from error
        try:
            self._writer = self._opened()
        except BaseException:
            self._let_go()
            raise
        _open_stores.add(self)

    def _opened(self) -> apsw.Connection:
        may_create = self._role == "owner"
        if not may_create and not os.path.exists(self._path):  # noqa: PTH110 - a plain path, as SQLite takes it
            raise StorageError(
                f"there is no store at {self._where}",
                code="cannot_open",
                hint="Check the path; an owner makes the file.",
            )
        try:
            self._refuse_foreign()
            connection = self._connection(is_reader=self._role == "reader")
        except apsw.Error as error:
            raise told(error, self._where) from error
        try:
            self._bring_up_to_date(connection)
        except apsw.Error as error:
            connection.close()
            raise told(error, self._where) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _refuse_foreign(self) -> None:
        # Before anything is opened for writing: a file of somebody else stays as it is
        if not os.path.exists(self._path):  # noqa: PTH110 - a plain path, as SQLite takes it
            return
        try:
            self._probe(self._path, apsw.SQLITE_OPEN_READONLY)
        except apsw.ReadOnlyError:
            # It was being made, and its maker died: whoever opens it for writing takes that back. Until then only its
            # first page can be looked at, without the journal beside it, and even that may have been half written
            with contextlib.suppress(apsw.NotADBError, apsw.CorruptError):
                as_it_is = f"{Path(self._path).as_uri()}?immutable=1"
                self._probe(as_it_is, apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)

    def _probe(self, path: str, flags: int) -> None:
        probe = apsw.Connection(path, flags=flags)
        try:
            probe.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            probe.set_busy_timeout(int(BUSY_TIMEOUT_S * 1000))
            version_of(probe, self._where)
        finally:
            probe.close()

    def _bring_up_to_date(self, connection: apsw.Connection) -> None:
        version = version_of(connection, self._where)
        if version != VERSION and self._role != "owner":
            raise SchemaVersionError(
                f"{self._where} has schema version {version}, this dwell needs {VERSION}",
                hint="Open it once as its owner: that upgrades it.",
            )
        if version != VERSION:
            connection.execute("BEGIN EXCLUSIVE")
            try:
                if version == 0:
                    create(connection)
                else:
                    migrate(connection, version)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        if self._role == "owner":
            # After the tables: a crash between leaves a store in another journal mode, not a file without an identity
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        if self._role != "reader":
            check_may_write(connection, self._where)
            self._refuse_read_only(connection)

    def _refuse_read_only(self, connection: apsw.Connection) -> None:
        # Where a file can not be opened for writing SQLite opens it for reading, and it stays so: rather no store than
        # one that refuses every write although the reason has gone
        is_read_only = connection.readonly("main")
        if not is_read_only and self._role == "owner":
            try:
                connection.execute("BEGIN IMMEDIATE; ROLLBACK")  # the journal may be open for reading only as well
            except apsw.BusyError:
                return
        if is_read_only:
            raise apsw.ReadOnlyError("it could be opened for reading only")

    def _connection(self, *, is_reader: bool) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READWRITE
        if self._role == "owner" and not is_reader:
            flags |= apsw.SQLITE_OPEN_CREATE
        connection = apsw.Connection(self._path, flags=flags, vfs=checking_vfs())
        if flags & apsw.SQLITE_OPEN_CREATE and checking_vfs() is not None:
            connection.reserve_bytes("main", N_RESERVED)  # of a new file; one with content stays as it is
        connection.set_busy_handler(_patience())
        for switch, value in (
            (apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0),
            (apsw.SQLITE_DBCONFIG_DEFENSIVE, 1),
            (apsw.SQLITE_DBCONFIG_DQS_DML, 0),
            (apsw.SQLITE_DBCONFIG_DQS_DDL, 0),
            (apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 1),
            (apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(is_reader)),
        ):
            connection.config(switch, value)
        for pragma in (
            f"synchronous = {self._synchronous}",
            "secure_delete = ON",
            "cell_size_check = ON",
            "cache_size = -16000",  # 16 MB: the indexes of a few hundred thousand events
            "journal_size_limit = 67108864",  # a journal that a slow reader made long shrinks to 64 MB afterwards
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        if is_reader:
            connection.execute("PRAGMA query_only = ON; PRAGMA wal_autocheckpoint = 0").fetchall()
        return connection

    @property
    def role(self) -> Role:
        """How this process opened it."""
        return self._role

    @property
    def where(self) -> str:
        """What it was opened with."""
        return self._where

    @contextlib.contextmanager
    def transaction(self) -> Iterator[SqliteTransaction]:
        """Begin a transaction: commits when the context is left normally, else nothing has happened."""
        with self._door.writing():
            connection = self._writer
            try:
                connection.execute("BEGIN IMMEDIATE")
                self._check_version(connection)
                self._note_data_version()
                transaction = SqliteTransaction(connection, self._where, self._tenant)
                try:
                    yield transaction
                    transaction.finish()
                finally:
                    transaction.end()
                connection.execute("COMMIT")
            except apsw.Error as error:
                raise told(error, self._where) from error
            finally:
                # A full disk may have rolled back by itself: a second ROLLBACK would hide the reason
                if connection.in_transaction:
                    with contextlib.suppress(apsw.Error):
                        connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[SqliteReader]:
        """Read one committed state, from any thread, without waiting for a transaction."""
        self._door.check()
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connection(is_reader=True)
            connection.execute("BEGIN")
            reader = SqliteReader(connection, self._where, self._tenant)
        except apsw.Error as error:
            raise told(error, self._where) from error
        try:
            self._check_version(connection)
            yield reader
        finally:
            reader.end()
            self._give_back(connection)

    def _check_version(self, connection: apsw.Connection) -> None:
        # An owner upgrades a file, and there is one owner: beside it only can a file change beneath a process
        if self._role != "owner" and connection.pragma("user_version") != VERSION:
            raise SchemaVersionError(
                f"{self._where} was upgraded while this process had it open: this dwell knows schema version {VERSION}",
                hint="Upgrade dwell, and start this process anew.",
            )

    def _give_back(self, connection: apsw.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except apsw.Error:
            connection.close()
            return
        self._idle.append(connection)
        self._close_idle(0 if self._door.is_closed else _MOST_IDLE)

    def _close_idle(self, most: int) -> None:
        with contextlib.suppress(IndexError):
            while len(self._idle) > most:
                self._idle.popleft().close()

    def data_version(self) -> int:
        """Return a number that changes when another process has committed; waits for nobody.

        While a transaction runs it is the number of the state that the transaction began with.
        """
        with self._door.at_once() as nobody_writes:
            if nobody_writes:
                self._note_data_version()
        return self._data_version

    def _note_data_version(self) -> None:
        try:
            self._data_version = int(self._writer.pragma("data_version") or 0)
        except apsw.Error as error:
            raise told(error, self._where) from error

    def n_takings(self) -> int:
        """Return 1: a file's lock is held until the store is closed."""
        with self._door.writing():
            return 1

    def wait_for_news(self, timeout_s: float) -> bool:
        """Return True as soon as another process has committed anything, False where none has for so long."""
        before = self._news_version
        self._news_version = looked_for(self.data_version, before, timeout_s)
        return self._news_version != before

    def verify(self) -> list[str]:
        """Return what is damaged, one line each; empty for a sound file. Reads all of it: seconds per gigabyte."""
        try:
            with self.snapshot() as reader:
                return reader.damages()
        except CorruptStoreError as error:
            return [error.message, *self._damaged_records()]

    def _damaged_records(self) -> list[str]:
        """Return which records are damaged, read past the checksums of their pages, as far as they can be read."""
        connection = self._connection(is_reader=True)
        try:
            connection.execute("PRAGMA checksum_verification = OFF; BEGIN").fetchall()
            return SqliteReader(connection, self._where, self._tenant).damages()
        except (apsw.Error, StorageError):
            return []
        finally:
            connection.close()

    def scrub(self) -> None:
        """Overwrite what was deleted and fold the journal into the file, so that erased text stands nowhere on disk.

        `secure_delete` overwrites deleted rows, but SQLite leaves copies behind where it moved rows between pages
        (measured: the pseudonyms of 9 of 1,500 deleted users remained). So the file is written anew, which takes its
        size in free space meanwhile.

        Raises:
            StoreBusyError: A reader held an older state for 5 s.
        """
        with self._door.writing():
            try:
                self._writer.execute("VACUUM")
                is_busy = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]
            except apsw.Error as error:
                raise told(error, self._where) from error
        if is_busy:
            raise StoreBusyError(
                f"a reader of {self._where} holds an older state, so the journal still has the erased text",
                hint="Scrub again when long reads are over.",
            )

    def close(self) -> None:
        """Release everything; closing twice is legal. In a forked child nothing is touched."""
        with self._door.closing() as is_first:
            if not is_first:
                return
            self._close_idle(0)
            try:
                self._writer.close()
            except apsw.Error as error:
                raise told(error, self._where) from error
            finally:
                self._let_go()

    def _let_go(self) -> None:
        if self._ownership is not None:
            self._ownership.release()
            self._ownership = None

    def handles(self) -> list[Any]:
        """Return SQLite's own handles: in a forked child they must never be closed."""
        return [self._idle, self._writer]


def _patience() -> Callable[[int], bool]:
    began = 0.0

    def wait(n_tries: int) -> bool:
        nonlocal began
        now = time.monotonic()
        if n_tries == 0:
            began = now
        elif now - began >= BUSY_TIMEOUT_S:
            return False
        time.sleep(_POLL_S)
        return True

    return wait


_open_stores: weakref.WeakSet[SqliteStore] = weakref.WeakSet()
_inherited: list[Any] = []


def _keep_in_child() -> None:
    # Closing an inherited connection would run SQLite's clean-up on the parent's file
    _inherited.extend(store.handles() for store in list(_open_stores))


os.register_at_fork(after_in_child=_keep_in_child)
