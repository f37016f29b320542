"""A checksum on every page of a SQLite file, by the `cksumvfs` extension that SQLite's authors wrote and apsw ships.

Without it a changed byte in a plain column (a signal's value, a reward, which version is live) reads as if it had been
written so: of 40 flipped bytes five went unnoticed, `PRAGMA integrity_check` included. With it a page that was changed
outside SQLite is refused when it is read.

A store is made with checksums where the extension is there; its first page says so (eight reserved bytes per page). It
can then be read by any SQLite, but must be written by one that keeps the checksums up to date.
"""

from __future__ import annotations

import threading
from typing import Final

import apsw

from dwell.errors import StorageError

__all__ = ["N_RESERVED", "check_may_write", "checking_vfs"]

N_RESERVED: Final = 8  # bytes at the end of each page: what the extension needs, and how it knows its files again

_NAME: Final = "cksmvfs"
_lock: Final = threading.Lock()
_is_tried = False


def checking_vfs() -> str | None:
    """Return the name of the file layer that keeps checksums, loaded at the first call; None where it is not there.

    Other connections of this process are not affected: the default stays what it was.
    """
    global _is_tried  # noqa: PLW0603 - SQLite keeps its file layers for the whole process
    with _lock:
        if not _is_tried:
            _is_tried = True
            _load()
        return _NAME if _NAME in apsw.vfs_names() else None


def _load() -> None:
    try:
        from apsw import sqlite_extra
    except ImportError:
        return  # an apsw that was built without its extras: stores are made without checksums
    default = apsw.vfs_names()[0]
    connection = apsw.Connection(":memory:")
    try:
        sqlite_extra.load(connection, "cksumvfs")
        apsw.set_default_vfs(default)
    except (LookupError, OSError, apsw.Error, sqlite_extra.NotAvailable):
        return
    finally:
        connection.close()


def check_may_write(connection: apsw.Connection, where: str) -> None:
    """Refuse to write a store that has checksums where nothing keeps them up to date.

    Raises:
        StorageError: code `no_checksums`.
    """
    if connection.reserve_bytes("main") == N_RESERVED and checking_vfs() is None:
        raise StorageError(
            f"{where} has a checksum on every page, and this apsw was built without the extension that keeps them",
            code="no_checksums",
            hint="Install apsw from its own wheel, or open the store for reading only.",
        )
