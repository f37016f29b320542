"""Copy a store from one place to another, a file or a database, and prove that both are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import apsw
import msgspec

from dwell.errors import StorageError
from dwell.storage.copied_tables import TABLES, Rows, Side, Table
from dwell.storage.failures import told
from dwell.storage.opening import needed_driver, open_store
from dwell.storage.places import is_postgres, shown_place
from dwell.storage.sqlite_side import SqliteSide

__all__ = ["Copied", "copy_store"]

_encode = msgspec.msgpack.Encoder().encode


class Copied(NamedTuple):
    """What was copied.

    Attributes:
        n_rows: Rows by table, all tenants together.
        digests: A hash of each table's rows, the same in both places.
    """

    n_rows: dict[str, int]
    digests: dict[str, str]


class _Counted:
    """Rows on their way, counted and hashed."""

    def __init__(self) -> None:
        self.n = 0
        self._hash = hashlib.blake2b(digest_size=16)

    def of(self, rows: Rows) -> Iterator[tuple[Any, ...]]:
        for row in rows:
            self.n += 1
            self._hash.update(_encode(row))
            yield row

    def digest(self) -> str:
        return self._hash.hexdigest()


def copy_store(source: str, target: str) -> Copied:
    """Copy all facts and settings of all tenants into a new store, one that holds nothing, and compare both.

    The copy is of one committed state of the source, beside whoever writes to it: what is written meanwhile is not in
    it. The target gets all of it in one transaction, or nothing. Bit for bit the same: events keep their `seq`, params
    and ledger their bytes. The pepper is not in a store; the new one needs the same.

    Args:
        source: A file, or postgresql://...; of today's schema.
        target: The same; made where it is not there.

    Raises:
        StorageError: code `not_empty`: something stands in the target. code `copy_differs`: what was read back from the
            target is not what was written; the target is not to be used.
        StoreOwnedError: A process has the target open.
    """
    open_store(source, role="reader").close()  # is there, and of today's schema
    owner = open_store(target, role="owner")
    try:
        with _side(source, is_target=False) as read, _side(target, is_target=True) as written:
            if not written.is_empty():
                raise StorageError(
                    f"{shown_place(target)} holds something already",
                    code="not_empty",
                    hint="Give a file that does not exist yet, or a database of its own.",
                )
            sent = {table.name: _sent(table, read, written) for table in TABLES}
            written.commit()
        with _side(target, is_target=False) as again:
            for table in TABLES:
                found = _Counted()
                for _ in found.of(again.read(table)):
                    pass
                if (found.n, found.digest()) != (sent[table.name].n, sent[table.name].digest()):
                    raise StorageError(
                        f"{table.name} came back from {shown_place(target)} otherwise than it was written",
                        code="copy_differs",
                        hint="Do not use the copy; look for errors of its disk.",
                    )
    finally:
        owner.close()
    return Copied(
        {name: counted.n for name, counted in sent.items()}, {name: counted.digest() for name, counted in sent.items()}
    )


def _sent(table: Table, read: Side, written: Side) -> _Counted:
    counted = _Counted()
    written.write(table, counted.of(read.read(table)))
    return counted


@contextmanager
def _side(where: str, *, is_target: bool) -> Iterator[Side]:
    if is_postgres(where):
        with needed_driver(where):
            import psycopg

            from dwell.storage.postgres_failures import told as told_of_postgres
            from dwell.storage.postgres_side import PostgresSide
        failures: tuple[type[Exception], ...] = (psycopg.Error,)
    else:
        failures = (apsw.Error,)
    try:
        side: Side = (PostgresSide if is_postgres(where) else SqliteSide)(where, is_target=is_target)
        try:
            yield side
        finally:
            side.close()
    except failures as error:
        if isinstance(error, apsw.Error):
            raise told(error, where) from error
        raise told_of_postgres(error, shown_place(where)) from error  # type: ignore[arg-type]  # psycopg's, by its kind
