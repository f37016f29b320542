"""Hearing from PostgreSQL that another process put params in force, erased a user or changed what is of the store."""

from __future__ import annotations

import contextlib
import threading

import psycopg

from dwell.storage.news import CHANNEL
from dwell.storage.postgres_failures import told
from dwell.storage.postgres_sessions import Connection, Sessions

__all__ = ["News"]


class News:
    """A connection that listens, made at the first call and anew where it was lost. For one thread at a time.

    Args:
        sessions: The store's.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def wait(self, timeout_s: float) -> bool:
        """Return True as soon as there may be news, False where nothing came for so long.

        A connection that has just begun to listen may have missed something: then there may be news at once.

        Raises:
            StorageError: The database can not be reached, or was lost meanwhile; the next call listens anew.
        """
        with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = self._sessions.connect(is_reader=False, is_probe=True)
                self._heard(self._connection, None)
                return True
            return self._heard(self._connection, timeout_s)

    def _heard(self, connection: Connection, timeout_s: float | None) -> bool:
        try:
            if timeout_s is None:
                connection.execute(f"LISTEN {CHANNEL}")
                return True
            return any(True for _ in connection.notifies(timeout=timeout_s, stop_after=1))
        except psycopg.Error as error:
            with contextlib.suppress(psycopg.Error):
                connection.close()
            raise told(error, self._sessions.where) from error

    def close(self) -> None:
        """Hear no more, once whoever waits has heard or waited long enough."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def handles(self) -> list[object]:
        """Return the driver's own handle: in a forked child it must never be closed."""
        return [self._connection]
