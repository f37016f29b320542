"""A tenant's archive: events go in before they leave the store, erased users leave it, and whoever learns reads it.

One process at a time changes it, by a lock on a side file that death gives back. Whatever a crash leaves, the store
still holds what it had not yet deleted: writing it again puts each event there once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from dwell.errors import ArchiveError
from dwell.storage.archive_parts import destroyed, opened_part, synced, written
from dwell.storage.archive_places import Days, Part, archive_folder, parts_of, tenant_folder, unreachable, utc_day
from dwell.storage.archive_rows import ArchivedEvent, needed_arrow, table_of
from dwell.storage.pepper import fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PART_ROWS", "Archive", "read_archive"]

PART_ROWS: Final = 5_000  # 4 to 50 MB, so that erasure writes little anew, and a day of a million has 200 files
_LOOKED_AT: Final = 8  # newest parts of a day among which small ones are looked for: each is half as large as the next
_WAIT_S: Final = 30.0  # as long as erasure waits for readers of the store
_RETRY_S: Final = 0.05
_MARKER: Final = "_dwell.json"
_LOCK: Final = "_dwell.lock"


class _Marker(msgspec.Struct, frozen=True):
    """What stands in a tenant's folder: a disk that is not mounted has none, and another store's is another."""

    format: int
    store: str


@dataclass(frozen=True, slots=True)
class Archive:
    """Where a tenant's events go.

    Attributes:
        folder: The archive's folder, absolute.
        tenant: Whose events.
        store: Token by which the store and this archive know each other.
        pepper: Hex digits of the fingerprint of the store's pepper.
        compression: Of what is written: "zstd" or "none".
    """

    folder: Path
    tenant: str
    store: str
    pepper: str
    compression: str = "zstd"

    @classmethod
    def of(cls, folder: str | Path, *, tenant: str, store: str, pepper: bytes) -> Archive:
        """Return the archive in a folder; nothing is made or read yet.

        Raises:
            ConfigError: The folder can be none.
        """
        return cls(archive_folder(folder), tenant, store, fingerprint(pepper).hex())

    @property
    def root(self) -> Path:
        """The folder of the tenant."""
        return tenant_folder(self.folder, self.tenant)

    def begin(self) -> None:
        """Make the tenant's folder with its marker where it is not there, and fetch what writes to it.

        Raises:
            ArchiveError: code `archive_foreign` or `archive_unreachable`.
            MissingDependencyError: pyarrow is not installed.
        """
        with needed_arrow():
            import pyarrow as pa  # noqa: F401 - told now, not when the first event is to go
        marker = self.root / _MARKER
        try:
            if not self.root.is_symlink() and not marker.exists():
                self.root.mkdir(parents=True, exist_ok=True)
                part = self.root / f".{_MARKER}.{os.getpid()}"
                part.write_bytes(msgspec.json.encode(_Marker(1, self.store)))
                with part.open("rb") as file:
                    os.fsync(file.fileno())
                with contextlib.suppress(FileExistsError):
                    os.link(part, marker)  # of two that begin at once the first one stays
                part.unlink()
                synced(self.root)
        except OSError as error:
            raise unreachable(self.root, error) from error
        self.check()

    def check(self) -> None:
        """Return where the archive is there and this store's.

        Raises:
            ArchiveError: code `archive_unreachable`: there is no marker, as where its disk is not mounted;
                `archive_foreign`: another store's stands there.
        """
        marker = self.root / _MARKER
        try:
            if self.root.is_symlink() or marker.is_symlink():
                raise OSError("a link stands in its place")  # noqa: TRY301 - told below as what it is
            found = msgspec.json.decode(marker.read_bytes(), type=_Marker)
        except (OSError, msgspec.DecodeError) as error:
            told = error if isinstance(error, OSError) else OSError(f"its marker is damaged: {error}")
            raise unreachable(marker, told) from error
        if found.store != self.store:
            raise ArchiveError(
                "another store archives its events there",
                code="archive_foreign",
                field="archive",
                value=str(self.root),
                hint="Give each store, and each copy of one, a folder of its own.",
            )

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the right to change the archive; what is to be written is read from the store inside, not before.

        So nobody writes what was erased between reading and writing.

        Raises:
            ArchiveError: code `archive_busy`: another process held it for half a minute; or see `check`.
        """
        self.check()
        try:
            descriptor = os.open(
                self.root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600
            )
        except OSError as error:
            raise unreachable(self.root / _LOCK, error) from error
        try:
            _locked(descriptor, self.root)
            yield
        finally:
            os.close(descriptor)

    def parts(self, days: Days | None = None) -> list[Part]:
        """Return the parts, see `archive_places.parts_of`."""
        return parts_of(self.folder, self.tenant, days)

    def add(self, events: Sequence[ArchivedEvent]) -> int:
        """Write events, each once whatever was written before; return how many are in the archive that were not.

        What is there in an older version is replaced. On return all of them are on the disk. Call it inside `alone`.

        Raises:
            ArchiveError: They are not all there; nothing that was there is lost.
        """
        n_added = 0
        in_order = sorted(events, key=lambda one: (utc_day(one.impression.served_at), one.impression.seq))
        for day, some in groupby(in_order, key=lambda one: utc_day(one.impression.served_at)):
            folder = self.root / f"day={day.isoformat()}"
            parts = self._tidied(self.parts((day, day)))
            fresh = self._without_known(parts, list(some))
            n_added += len(fresh)
            for start in range(0, len(fresh), PART_ROWS):
                self._put(folder, day, table_of(fresh[start : start + PART_ROWS]))
        return n_added

    def erase(self, user: str) -> int:
        """Write every part that holds a pseudonym anew without it, and overwrite the old; return how many events went.

        Call it inside `alone`.

        Raises:
            ArchiveError: Not all of them are gone; call it again.
        """
        n_gone = 0
        self._sweep()
        with needed_arrow():
            import pyarrow.compute as pc
        for part in self.parts():
            with opened_part(part.path, is_known=True) as file:  # the footer has a checksum of its own for this
                if not file.may_hold(user):
                    continue
            with opened_part(part.path) as file:
                table = file.table()
            is_kept = pc.fill_null(pc.not_equal(table.column("user"), user), fill_value=True)
            left = table.filter(is_kept)
            n_here = table.num_rows - left.num_rows
            if n_here:
                self._replace([part], left)
                n_gone += n_here
        return n_gone

    # ---- inside, under the lock

    def _put(self, folder: Path, day: date, table: pa.Table) -> None:
        """Write new rows, together with small parts of the day, so that a few events a minute are not a file each."""
        with needed_arrow():
            import pyarrow as pa
        small, n_rows = [], table.num_rows
        for part in sorted(self.parts((day, day)), key=lambda one: one.last_seq)[: -_LOOKED_AT - 1 : -1]:
            with opened_part(part.path) as file:
                if file.n_rows <= n_rows and file.n_rows + n_rows <= PART_ROWS:
                    table = pa.concat_tables([table, file.table()])
                    small.append(part)
                    n_rows += file.n_rows
        self._replace(small, table.sort_by("seq") if small else table, folder=folder)

    def _replace(self, old: Sequence[Part], table: pa.Table, *, folder: Path | None = None) -> None:
        """Write rows, then remove the parts that they came from; a crash in between leaves them there twice."""
        new = None
        if table.num_rows:
            day = old[0].path.parent if folder is None else folder
            new = written(day, table, store=self.store, pepper=self.pepper, compression=self.compression)
        for part in old:
            if new is None or part.path != new.path:
                destroyed(part.path)
        if new is None and old:
            with contextlib.suppress(OSError):
                old[0].path.parent.rmdir()  # the last of its day

    def _tidied(self, parts: Sequence[Part]) -> list[Part]:
        """Return the parts of a day without those whose rows all stand in another, which a crash left there twice."""
        kept = list(parts)
        for part in parts:
            around = [one for one in kept if one is not part and one.first_seq <= part.first_seq]
            for other in around:
                if part.last_seq <= other.last_seq and set(_column(part, "seq")) <= set(_column(other, "seq")):
                    destroyed(part.path)
                    kept.remove(part)
                    break
        return kept

    def _without_known(self, parts: Sequence[Part], events: list[ArchivedEvent]) -> list[ArchivedEvent]:
        """Return the events that no part holds as they are; what one holds in another version leaves that part."""
        first, last = events[0].impression.seq, events[-1].impression.seq
        by_seq = {event.impression.seq: event for event in events}
        for part in parts:
            if part.last_seq < first or part.first_seq > last:
                continue
            names = ("seq", "event_id", "state", "version", "signals")
            superseded = set()
            for seq, event_id, state, version, signals in zip(*(_column(part, name) for name in names), strict=True):
                event = by_seq.get(seq)
                if event is None:
                    continue
                if event.impression.event_id != event_id:
                    raise ArchiveError(
                        f"event number {seq} stands there as another one",
                        code="archive_foreign",
                        field="event_id",
                        value=event_id,
                        hint="Another store wrote there: give each store a folder of its own.",
                    )
                # of an event that is not closed, reactions are all that changes
                ours = (event.outcome.state, event.outcome.version, len(event.signals))
                if ours == (state, version, len(signals)):
                    del by_seq[seq]
                else:
                    superseded.add(seq)
            if superseded:
                self._drop(part, superseded)
        return list(by_seq.values())

    def _drop(self, part: Part, seqs: set[int]) -> None:
        """Write a part anew without some rows. The store still holds these: nothing is deleted before all is there."""
        with opened_part(part.path) as file:
            table = file.table()
        is_kept = np.array([seq not in seqs for seq in table.column("seq").to_pylist()])
        self._replace([part], table.filter(is_kept))

    def _sweep(self) -> None:
        """Remove what a crash left half written or half removed: it may hold what is to be erased."""
        try:
            days = [entry for entry in self.root.iterdir() if entry.name.startswith("day=") and not entry.is_symlink()]
            for day in days:
                for file in day.iterdir():
                    if file.name.startswith((".tmp-", ".gone-")) and not file.is_symlink():
                        destroyed(file)
        except OSError as error:
            raise unreachable(self.root, error) from error


def _column(part: Part, name: str) -> list[Any]:
    with opened_part(part.path, is_known=True) as file:
        return [value for i in range(file.n_groups) for value in file.group(i, [name]).column(name).to_pylist()]


def _locked(descriptor: int, root: Path) -> None:
    until = time.monotonic() + _WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise ArchiveError(
                    "another process writes to the archive",
                    code="archive_busy",
                    field="archive",
                    value=str(root),
                    hint="Try again once it is done.",
                ) from None
            time.sleep(_RETRY_S)
        except OSError as error:
            raise unreachable(root, error) from error
        else:
            return


def read_archive(
    folder: str | Path, *, tenant: str = "", days: Days | None = None, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Yield a tenant's archive, a row group of at most 1,000 events at a time, in the order of `archive_files`.

    Args:
        folder: The archive.
        tenant: Whose.
        days: Only these.
        columns: Names among `archive_rows.COLUMNS`; all where None.

    Raises:
        ConfigError: The folder can be no archive's.
        ArchiveError: Something there is not to be used; what came before it was yielded.
        MissingDependencyError: pyarrow is not installed.
    """
    for part in parts_of(archive_folder(folder), tenant, days):
        with opened_part(part.path) as file:
            for i in range(file.n_groups):
                yield file.group(i, columns)
