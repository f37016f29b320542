"""From an older schema to the one of today, on purpose: what `dwell db upgrade` does."""

from __future__ import annotations

import os
from typing import NamedTuple

import apsw

from dwell.storage.failures import told
from dwell.storage.opening import needed_driver, open_store
from dwell.storage.places import is_postgres
from dwell.storage.schema import VERSION

__all__ = ["Upgraded", "due_version", "stored_version", "upgrade"]


class Upgraded(NamedTuple):
    """What an upgrade did.

    Attributes:
        before: Schema version that the store had.
        after: The one that it has now.
    """

    before: int
    after: int


def due_version(where: str) -> int:
    """Return the schema version that this dwell needs of a store there."""
    if not is_postgres(where):
        return VERSION
    with needed_driver(where):
        from dwell.storage.postgres_schema import VERSION as POSTGRES_VERSION
    return POSTGRES_VERSION


def stored_version(where: str) -> int:
    """Return the schema version of a store, also where this dwell can not open it; nothing is written.

    Raises:
        StorageError: It can not be read.
    """
    if is_postgres(where):
        with needed_driver(where):
            from dwell.storage.postgres import stored_version as version_in_database
        return version_in_database(where)
    try:
        connection = apsw.Connection(os.path.realpath(where), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            return int(connection.pragma("user_version") or 0)
        finally:
            connection.close()
    except apsw.Error as error:
        raise told(error, where) from error


def upgrade(where: str) -> Upgraded:
    """Bring a store to the schema of today, in one transaction: it is done, or nothing has happened.

    Raises:
        StoreOwnedError: A process has it open.
        SchemaVersionError: It was written by a newer version.
        StorageError: It can not be opened or written.
    """
    before = stored_version(where)
    open_store(where, role="owner").close()
    return Upgraded(before, due_version(where))
