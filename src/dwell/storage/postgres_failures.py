"""What PostgreSQL and its driver raised, said in the words of this project."""

from __future__ import annotations

from typing import Final, NamedTuple

import psycopg

from dwell.errors import CorruptStoreError, StorageError, StoreBusyError

__all__ = ["is_connection_lost", "told"]


class _Telling(NamedTuple):
    """How some kinds of failure are told, by the beginning of their SQLSTATE; `{where}` and `{error}` are filled in."""

    states: tuple[str, ...]
    kind: type[StorageError]
    code: str | None
    message: str
    hint: str


# https://www.postgresql.org/docs/current/errcodes-appendix.html
_TELLINGS: Final = (
    _Telling(
        ("55P03", "40001", "40P01", "40003"),
        StoreBusyError,
        None,
        "another writer holds {where}",
        "Try again; the transaction left nothing behind.",
    ),
    _Telling(
        ("57014", "25P03", "25P04"),
        StoreBusyError,
        "timeout",
        "{where} took too long, and the transaction was ended: {error}",
        "Try again; if it stays so, look at the load of the database and at its timeouts.",
    ),
    _Telling(
        ("53300",),
        StoreBusyError,
        "too_many_connections",
        "{where} has no connection left",
        "Raise max_connections of the database, or run fewer processes.",
    ),
    _Telling(
        ("53100",),
        StorageError,
        "disk_full",
        "no space is left for {where}",
        "Free space on the database's disk; the store goes on by itself, and nothing acknowledged is lost.",
    ),
    _Telling(
        ("28", "3D000", "3F000"),
        StorageError,
        "cannot_open",
        "{where} can not be opened: {error}",
        "Check the URL's user, password and database; the database itself is made by its administrator.",
    ),
    _Telling(
        ("42501",),
        StorageError,
        "not_permitted",
        "the database user of {where} may not do this: {error}",
        "Grant what docs/postgres.md lists for this role, or use another database user.",
    ),
    _Telling(
        ("42704",),
        StorageError,
        "unknown_object",
        "{where} knows of no such thing: {error}",
        "A role is made by the database's administrator first: CREATE ROLE name LOGIN PASSWORD '...'.",
    ),
    _Telling(
        ("25006",),
        StorageError,
        "read_only",
        "{where} can not be written: {error}",
        "Give the URL of the primary: a standby and a reader only read.",
    ),
    _Telling(
        ("XX001", "XX002"),
        CorruptStoreError,
        None,
        "{where} is damaged: {error}",
        "Look into the database's log, and restore it from a backup.",
    ),
    _Telling(
        ("58", "53200"),
        StorageError,
        "io",
        "the system under {where} failed: {error}",
        "Check the database's disk, memory and log.",
    ),
    _Telling(("23", "22", "P0"), StorageError, "constraint", "{where} refused a row: {error}", "Correct the row."),
    _Telling(
        ("42P01", "42703"),
        StorageError,
        "not_a_store",
        "{where} has not the tables that this dwell needs: {error}",
        "Open it once as its owner, or restore it.",
    ),
)

# 08: connection exceptions; 57P01 to 57P05: shut down, crashed, starting up, idle too long
_LOST: Final = ("08", "57P01", "57P02", "57P03", "57P05")


def is_connection_lost(error: psycopg.Error) -> bool:
    """Return whether an error means that there is no server to talk to any more, or not yet."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state.startswith(_LOST)


def told(error: psycopg.Error, where: str) -> StorageError:
    """Return the error to raise from one of psycopg's, with what to do about it.

    Args:
        error: What psycopg raised.
        where: The store as it may be shown: without a password.
    """
    words = _first_line(error)
    if is_connection_lost(error):
        return StoreBusyError(
            f"{where} does not answer: {words}",
            code="unreachable",
            hint="Check that the database runs and can be reached; the store goes on by itself once it is back.",
        )
    state = error.sqlstate or ""
    for telling in _TELLINGS:
        if state.startswith(telling.states):
            message = telling.message.format(where=where, error=words)
            return telling.kind(message, code=telling.code, hint=telling.hint)
    if isinstance(error, psycopg.DataError):
        return StorageError(f"{where} refused a row: {words}", code="constraint", hint="Correct the row.")
    return StorageError(
        f"{where} could not do what was asked: {words}", hint="Look into the database's log, then try again."
    )


def _first_line(error: psycopg.Error) -> str:
    # What follows the first line quotes rows: they hold what users asked for
    return (error.diag.message_primary or str(error) or type(error).__name__).splitlines()[0]
