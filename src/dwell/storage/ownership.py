"""One owner per store: an operating system lock on a side file, which death gives back."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import weakref
from dataclasses import dataclass, field
from typing import Final

from dwell.errors import StorageError, StoreOwnedError

__all__ = ["Ownership", "holder"]


@dataclass(slots=True)
class _Lock:
    """The lock of one file, held by this process for some tenants."""

    descriptor: int
    tenants: set[str] = field(default_factory=set)


# The lock belongs to the process: it holds a store for one tenant or for several, each of them once.
_locks: Final[dict[str, _Lock]] = {}
_registry: Final = threading.RLock()  # a finaliser may run in whichever thread holds it


class Ownership:
    """The exclusive right to ingest into a store, held until `release` or the death of the process.

    The lock is `flock` on a side file: unlike `fcntl` locks no other open file takes it away. One process may hold a
    store for several tenants, each of them once. A child made by fork gives its copy back at once, so that the right
    dies with the process that took it.

    Args:
        path: The store's file, links resolved; the lock stands beside it and stays there.
        tenant: For whose facts.
        suffix: What the side file is called after the store's name: ".lock" is the owner's.

    Raises:
        StoreOwnedError: Somebody holds it; says the process id.
        StorageError: code `cannot_open`.
    """

    def __init__(self, path: str, tenant: str = "", *, suffix: str = ".lock") -> None:
        self._path = f"{path}{suffix}"
        self._tenant = tenant
        with _registry:
            lock = _locks.get(self._path)
            if lock is None:
                lock = _locks[self._path] = _Lock(_locked(self._path, path))
            elif tenant in lock.tenants:
                raise _owned(path, str(os.getpid()))
            lock.tenants.add(tenant)
        # A store that nobody closed gives its right back when it is collected
        self._gives_back = weakref.finalize(self, _give_back, self._path, tenant, os.getpid())

    def release(self) -> None:
        """Give the right back; doing so twice is legal."""
        self._gives_back()


def holder(path: str, *, suffix: str = ".lock") -> int | None:
    """Return the process that holds a store, None where nobody does; the lock is not touched.

    What stands in the side file is believed as long as such a process is alive: one that was killed leaves its number
    there, and another process may have got it since.

    Args:
        path: The store's file.
        suffix: As `Ownership`.
    """
    try:
        # not waiting: a pipe of that name has no writer
        descriptor = os.open(f"{os.path.realpath(path)}{suffix}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as side_file:
            pid = int(side_file.read(32))
    except (OSError, ValueError):
        return None
    try:
        os.kill(pid, 0)
    except PermissionError:
        return pid  # it is alive, and somebody else's
    except (OSError, OverflowError):
        return None
    return pid if pid > 0 else None


def _locked(side_file: str, path: str) -> int:
    """Return the descriptor of a side file that this process has locked."""
    try:
        descriptor = os.open(side_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(
            f"{side_file} can not be opened: {error.strerror}",
            code="cannot_open",
            hint="Check that the folder exists and that this user may write to it.",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise _owned(path, holder) from error
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
    except OSError:
        os.close(descriptor)  # a lock that nobody holds on to would refuse everybody
        raise
    return descriptor


def _owned(path: str, holder: str) -> StoreOwnedError:
    return StoreOwnedError(
        f"{path} is owned by process {holder}",
        hint="Close it there first; `dwell inspect | health | promote | rollback | erase` work beside it.",
        field="pid",
        value=holder,
    )


def _give_back(side_file: str, tenant: str, pid: int) -> None:
    if pid != os.getpid():
        return  # a forked child gave its copy back at once
    with _registry:
        lock = _locks.get(side_file)
        if lock is None:
            return
        lock.tenants.discard(tenant)
        if lock.tenants:
            return
        del _locks[side_file]
        with contextlib.suppress(OSError):
            os.ftruncate(lock.descriptor, 0)
        # Closing, not unlocking: LOCK_UN in a forked child would unlock the parent's file too
        os.close(lock.descriptor)


def _drop_in_child() -> None:
    for lock in _locks.values():
        os.close(lock.descriptor)
    _locks.clear()


os.register_at_fork(after_in_child=_drop_in_child)
