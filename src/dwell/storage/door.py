"""Who may come in: the process that opened the store, before it is closed, and one writer at a time."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from dwell.errors import ForkedError, StorageError, StoreClosedError
from dwell.storage.protocol import Role

__all__ = ["Door"]


class Door:
    """The checks that every call on a store begins with.

    Args:
        where: The store, for messages.
        role: How it was opened.
    """

    def __init__(self, where: str, role: Role) -> None:
        self._where = where
        self._role = role
        self._pid = os.getpid()
        self._is_closed = False
        self._lock = threading.Lock()
        self._thread: int | None = None

    @property
    def is_closed(self) -> bool:
        """Whether nobody may come in any more."""
        return self._is_closed

    @property
    def is_inherited(self) -> bool:
        """Whether this process got the store through fork."""
        return self._pid != os.getpid()

    def check(self) -> None:
        """Refuse a forked child and a closed store.

        Raises:
            ForkedError: The store was opened by the parent of this process.
            StoreClosedError: It was closed.
        """
        if self.is_inherited:
            raise ForkedError(
                f"{self._where} was opened by process {self._pid} and inherited through fork",
                hint="Open the store anew in the child, as admin or reader.",
            )
        if self._is_closed:
            raise StoreClosedError(f"{self._where} was closed", hint="Open it anew.")

    @contextlib.contextmanager
    def at_once(self) -> Iterator[bool]:
        """Come in if nobody writes; whether that is so. Waits for nobody.

        Raises:
            StorageError: As `check`.
        """
        self.check()
        is_in = self._lock.acquire(blocking=False)
        try:
            if is_in:
                self.check()
            yield is_in
        finally:
            if is_in:
                self._lock.release()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Wait for the turn to write.

        Raises:
            StorageError: As `check`; code `read_only` or `nested`.
        """
        self.check()
        if self._role == "reader":
            raise StorageError(
                f"{self._where} was opened to be read only", code="read_only", hint="Open it as admin or owner."
            )
        if self._thread == threading.get_ident():
            raise StorageError(
                "this thread has a transaction open already", code="nested", hint="Use tx.savepoint() within it."
            )
        with self._lock:
            self.check()
            self._thread = threading.get_ident()
            try:
                yield
            finally:
                self._thread = None

    @contextlib.contextmanager
    def closing(self) -> Iterator[bool]:
        """Wait for the writer, then let nobody in; whether there is something left to close.

        A forked child closes nothing: what it inherited belongs to its parent.
        """
        if self.is_inherited or self._is_closed:
            yield False
            return
        with self._lock:
            is_first, self._is_closed = not self._is_closed, True
            yield is_first
