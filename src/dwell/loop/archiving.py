"""Facts on their way out of a store: into the archive first, and out of it again when their user is erased.

Both fail closed. What can not be archived is not deleted; an erasure that can not reach an archive is kept pending with
the facts, reported, and done before anything else is archived.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from dwell.errors import ArchiveError, ConfigError, DwellError, MissingDependencyError, StorageError
from dwell.loop.state import LoopState
from dwell.storage import Reader, Transaction
from dwell.storage.archive import PART_ROWS, Archive
from dwell.storage.archive_places import archive_folder
from dwell.storage.archive_rows import archived_events, needed_arrow

__all__ = [
    "FAILING",
    "PART_ROWS",
    "Archived",
    "archive_first",
    "archives_of",
    "checked_archive",
    "erase_from_archives",
    "forget_archive",
    "pending_erasures",
    "put_pending",
    "retry_erasures",
    "told_failing",
    "unchanged",
]

_log = logging.getLogger("dwell")

# settings of the tenant: every folder that was ever archived to, and who is still to be erased there
_ARCHIVES: Final = "archives"
_PENDING: Final = "archive_erasures"
FAILING: Final = "archive_failing"  # counters: attempts in a row that failed, and pseudonyms that wait
PENDING: Final = "archive_erasures_pending"


class Archived(NamedTuple):
    """An event as it stands in the archive: it may be deleted as long as it is still so.

    Attributes:
        state: Its state.
        version: Version of its outcome.
        n_signals: Reactions to it: of an event that is not closed, more of them change nothing else.
    """

    state: str
    version: int
    n_signals: int


class _Known(NamedTuple):
    """An archive that a store writes to, or has written to."""

    folder: str
    token: str


def checked_archive(folder: object) -> Path | None:
    """Return the absolute path of an archive that could be written, or None; its disk is looked for when it is written.

    Raises:
        ConfigError: The path can be no archive's.
        MissingDependencyError: pyarrow is not installed.
    """
    if folder is None:
        return None
    with needed_arrow():
        import pyarrow.parquet  # noqa: F401 - told when the store is opened, not a month later
    return archive_folder(folder)


def archives_of(reader: Reader) -> list[tuple[str, str]]:
    """Return (folder, token) of every archive that a tenant's events went to."""
    body = reader.setting(_ARCHIVES)
    return [] if body is None else [(one.folder, one.token) for one in msgspec.msgpack.decode(body, type=list[_Known])]


def pending_erasures(reader: Reader) -> list[str]:
    """Return the pseudonyms that are erased here, and not yet in every archive."""
    body = reader.setting(_PENDING)
    return [] if body is None else msgspec.msgpack.decode(body, type=list[str])


def put_pending(tx: Transaction, user: str) -> None:
    """Note that a pseudonym is to be erased from the archives, where there are any."""
    if archives_of(tx):
        tx.put_setting(_PENDING, msgspec.msgpack.encode(sorted({*pending_erasures(tx), user})))


def archive_first(state: LoopState, seqs: Sequence[int]) -> dict[int, Archived] | None:
    """Archive events that are about to be deleted, and return how they stand there; None where nothing is archived.

    Args:
        state: The loop; its training lock is held.
        seqs: At most `PART_ROWS`; those that are gone are left out.

    Raises:
        ArchiveError: They are not all on the archive's disk.
    """
    if state.limits.archive is None or not seqs:
        return None
    archive = _attached(state, Path(state.limits.archive))
    with archive.alone():
        with state.store.snapshot() as reader:
            events = archived_events(reader, seqs)
        state.counters["archived"] += archive.add(events)
    return {one.outcome.seq: Archived(one.outcome.state, one.outcome.version, len(one.signals)) for one in events}


def unchanged(reader: Reader, seqs: Sequence[int], archived: Mapping[int, Archived]) -> list[int]:
    """Return those of the seqs that still are as they stand in the archive."""
    signals = reader.signals(seqs)
    return [
        one.seq
        for one in reader.outcomes(seqs)
        if archived.get(one.seq) == Archived(one.state, one.version, len(signals[one.seq]))
    ]


def _attached(state: LoopState, folder: Path) -> Archive:
    """Return the archive in a folder, begun, and known to the store before the first event goes there."""
    with state.store.snapshot() as reader:
        known = dict(archives_of(reader))
    token = known.get(str(folder))
    if token is not None:
        archive = _archive(state, str(folder), token)
        archive.check()
        return archive

    token = next(iter(known.values()), secrets.token_hex(16))
    archive = _archive(state, str(folder), token)
    archive.begin()

    def job(tx: Transaction) -> None:
        tx.put_setting(_ARCHIVES, msgspec.msgpack.encode([*archives_of(tx), _Known(str(folder), token)]))

    state.write(job)
    return archive


def _archive(state: LoopState, folder: str, token: str) -> Archive:
    return Archive.of(folder, tenant=state.identity.tenant, store=token, pepper=state.identity.pepper)


def erase_from_archives(state: LoopState) -> int:
    """Erase whoever waits for it from every archive, and return how many events went.

    Raises:
        ArchiveError: An archive could not be reached; everybody still waits.
        MissingDependencyError: pyarrow is not installed.
    """
    with state.store.snapshot() as reader:
        users, known = pending_erasures(reader), archives_of(reader)
    n_gone = 0
    try:
        for folder, token in known if users else ():
            archive = _archive(state, folder, token)
            with archive.alone():
                n_gone += sum(archive.erase(user) for user in users)
    except (ArchiveError, ConfigError, MissingDependencyError) as error:
        state.counters[PENDING] = len(users)
        if isinstance(error, MissingDependencyError):
            raise
        raise ArchiveError(
            f"the facts are erased, the archive is not: {error.message}",
            code=error.code if isinstance(error, ArchiveError) else "archive_unreachable",
            field="archive",
            value=error.value,
            hint="It is kept pending. Have the archive reachable and call erase again, or, where it is gone for good, "
            "say so: dwell archive forget.",
        ) from error
    if users:
        state.write(lambda tx: _settle(tx, users))
    if state.counters[PENDING]:
        state.counters[PENDING] = 0
    return n_gone


def _settle(tx: Transaction, users: Sequence[str]) -> None:
    left = [user for user in pending_erasures(tx) if user not in users]
    tx.put_setting(_PENDING, msgspec.msgpack.encode(left))


def retry_erasures(state: LoopState) -> None:
    """Do what is pending, before anything else is archived.

    Raises:
        ArchiveError: It could not be done.
    """
    with state.store.snapshot() as reader:
        is_due = bool(pending_erasures(reader))
    if is_due or state.counters[PENDING]:
        erase_from_archives(state)


def told_failing(state: LoopState, error: DwellError) -> None:
    """Count and say that facts stay because they could not be archived."""
    state.counters[FAILING] += 1
    _log.warning("nothing is deleted, because it can not be archived: %s", error)


def forget_archive(tx: Transaction, folder: str) -> None:
    """Forget an archive that is gone for good: erasures no longer look for it.

    Raises:
        StorageError: code `no_archive`: the store never archived there.
    """
    known = archives_of(tx)
    left = [_Known(*one) for one in known if one[0] != folder]
    if len(left) == len(known):
        raise StorageError(
            "this store never archived there",
            code="no_archive",
            field="archive",
            value=folder,
            hint=f"It knows {[one[0] for one in known]}.",
        )
    tx.put_setting(_ARCHIVES, msgspec.msgpack.encode(left))
    if not left:
        tx.put_setting(_PENDING, msgspec.msgpack.encode([]))
