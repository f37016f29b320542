"""One owner per store: an operating system lock on a side file, which death gives back."""

from __future__ import annotations

import contextlib
import fcntl
import os
import weakref

from dwell.errors import StorageError, StoreOwnedError

__all__ = ["Ownership"]


class Ownership:
    """The exclusive right to ingest into a store, held until `release` or the death of the process.

    The lock is `flock` on `<store>.lock`: unlike `fcntl` locks it also refuses a second owner within one process, and
    no other open file takes it away. A child made by fork gives its copy back at once, so that the right dies with the
    process that took it.

    Args:
        path: The store's file, links resolved; the lock stands beside it and stays there.

    Raises:
        StoreOwnedError: Somebody owns the store; says the process id.
        StorageError: code `cannot_open`.
    """

    def __init__(self, path: str) -> None:
        self._path = f"{path}.lock"
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(
                f"{self._path} can not be opened: {error.strerror}",
                code="cannot_open",
                hint="Check that the folder exists and that this user may write to it.",
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            self._descriptor = -1
            raise StoreOwnedError(
                f"{path} is owned by process {holder}",
                hint="Close it there first; `dwell inspect | health | promote | rollback | erase` work beside it.",
                field="pid",
                value=holder,
            ) from error
        # A store that nobody closed gives its right back when it is collected
        self._closes = weakref.finalize(self, os.close, self._descriptor)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        _held.add(self)

    def release(self) -> None:
        """Give the right back; doing so twice is legal."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            self._drop()

    def _drop(self) -> None:
        # Closing, not unlocking: LOCK_UN in a forked child would unlock the parent's file too
        self._closes()
        self._descriptor = -1


_held: weakref.WeakSet[Ownership] = weakref.WeakSet()


def _drop_in_child() -> None:
    for ownership in list(_held):
        ownership._drop()  # noqa: SLF001 - the fork hook belongs to the class


os.register_at_fork(after_in_child=_drop_in_child)
