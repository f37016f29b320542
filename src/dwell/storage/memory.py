"""A store in memory: the same answers as SQLite, through the same rows, and nothing left after the process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from dwell.storage.door import Door
from dwell.storage.memory_reader import TABLES, MemoryReader
from dwell.storage.memory_transaction import MemoryTransaction
from dwell.storage.news import looked_for
from dwell.storage.protocol import Role
from dwell.storage.versions import Changes, Versions, View

__all__ = ["MemoryStore"]


class MemoryStore:
    """A store that ends with its process; see `protocol.Store`. Safe from any thread.

    Args:
        tenant: Whose facts; there is no other tenant in it.
        role: As for a file, so that a reader is refused what it would be refused there.
    """

    def __init__(self, *, tenant: str = "", role: Role = "owner") -> None:
        self._tenant = tenant
        self._role = role
        self._door = Door(":memory:", role)
        self._versions = Versions(TABLES)
        self._news_version = 0

    @property
    def role(self) -> Role:
        """How this process opened it."""
        return self._role

    @property
    def where(self) -> str:
        """What it was opened with."""
        return ":memory:"

    @contextlib.contextmanager
    def transaction(self) -> Iterator[MemoryTransaction]:
        """Begin a transaction: commits when the context is left normally, else nothing has happened."""
        with self._door.writing():
            versions = self._versions
            stamp = versions.begin()
            changes = Changes(View(versions, stamp))
            transaction = MemoryTransaction(changes)
            try:
                yield transaction
            finally:
                transaction.end()
                versions.end(stamp)
            versions.commit(changes.pending)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[MemoryReader]:
        """Read one committed state, from any thread, without waiting for a transaction."""
        self._door.check()
        versions = self._versions  # a close meanwhile puts empty ones in its place
        stamp = versions.begin()
        reader = MemoryReader(View(versions, stamp))
        try:
            yield reader
        finally:
            reader.end()
            versions.end(stamp)

    def data_version(self) -> int:
        """Return always the same number: no other process sees this store."""
        self._door.check()
        return 0

    def n_takings(self) -> int:
        """Return 1: no other process sees this store."""
        with self._door.writing():
            return 1

    def wait_for_news(self, timeout_s: float) -> bool:
        """Return False after so long: no other process sees this store."""
        before = self._news_version
        self._news_version = looked_for(self.data_version, before, timeout_s)
        return self._news_version != before

    def verify(self) -> list[str]:
        """Return what is damaged: nothing, unless the memory itself is."""
        with self.snapshot() as reader:
            return reader.damages()

    def scrub(self) -> None:
        """Do nothing: what was deleted is gone with its commit, and nothing stands on a disk."""
        with self._door.writing():
            pass

    def close(self) -> None:
        """Release everything; closing twice is legal."""
        with self._door.closing() as is_first:
            if is_first:
                self._versions = Versions(TABLES)
