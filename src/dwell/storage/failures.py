"""What SQLite raised, said in the words of this project."""

from __future__ import annotations

import errno
from typing import Final, NamedTuple

import apsw

from dwell.errors import CorruptStoreError, StorageError, StoreBusyError, StoreClosedError

__all__ = ["told", "told_of_system"]


class _Telling(NamedTuple):
    """How one kind of failure is told; `{where}` and `{error}` are filled in."""

    causes: tuple[type[apsw.Error], ...]
    kind: type[StorageError]
    code: str | None
    message: str
    hint: str


_TELLINGS: Final = (
    _Telling((apsw.BusyError, apsw.LockedError), StoreBusyError, None, "another writer holds {where}", "Try again."),
    _Telling(
        (apsw.FullError,),
        StorageError,
        "disk_full",
        "no space is left for {where}",
        "Free space on the disk; the store goes on by itself, and nothing acknowledged is lost.",
    ),
    _Telling(
        (apsw.NotADBError,),
        CorruptStoreError,
        None,
        "{where} is no SQLite database, or its first page is destroyed; it was left as it is",
        "Check the path, or restore the file from a backup.",
    ),
    _Telling(
        (apsw.CorruptError,),
        CorruptStoreError,
        None,
        "{where} is damaged, or can not be read: {error}",
        # SQLite says the same of a page that the disk refused to read: a backup may not be needed
        "Look for errors of the disk in the kernel log and open it again; if it stays so, restore it from a backup.",
    ),
    _Telling(
        (apsw.IOError,),
        StorageError,
        "io",
        "the disk under {where} failed: {error}",
        "Check the disk and the kernel log, then open the store again.",
    ),
    _Telling(
        (apsw.CantOpenError, apsw.PermissionsError),
        StorageError,
        "cannot_open",
        "{where} can not be opened: {error}",
        "Check that the folder exists and that this user may write to it.",
    ),
    _Telling(
        (apsw.ReadOnlyError,),
        StorageError,
        "read_only",
        "{where} can not be written: {error}",
        "Check the file's permissions.",
    ),
    _Telling((apsw.ConnectionClosedError,), StoreClosedError, None, "{where} was closed", "Open it anew."),
    _Telling((apsw.ConstraintError,), StorageError, "constraint", "{where} refused a row: {error}", "Correct the row."),
    _Telling(
        (apsw.Error,),
        StorageError,
        None,
        "{where} could not do what was asked: {error}",
        "Open the store again; if it stays so, restore it from a backup.",
    ),
)


_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)


def told_of_system(error: OSError, where: str) -> StorageError:
    """Return the error to raise from one of the operating system's, with what to do about it.

    Args:
        error: What Python raised.
        where: The store, as it was opened.
    """
    reason = error.strerror or str(error)
    return told(apsw.FullError(reason) if error.errno in _NO_SPACE else apsw.IOError(reason), where)


def told(error: apsw.Error, where: str) -> StorageError:
    """Return the error to raise from one of SQLite's, with what to do about it.

    Args:
        error: What apsw raised.
        where: The store, as it was opened.
    """
    if getattr(error, "extendedresult", None) == apsw.SQLITE_IOERR_DATA:
        return CorruptStoreError(
            f"{where} is damaged: a page does not agree with its checksum",
            hint="Its bytes changed on the disk, or another program wrote it: restore it from a backup.",
        )
    telling = next(telling for telling in _TELLINGS if isinstance(error, telling.causes))
    return telling.kind(telling.message.format(where=where, error=error), code=telling.code, hint=telling.hint)
