"""What is in an archive, and whether all of it is as it was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dwell.errors import ArchiveError
from dwell.storage.archive_parts import PartFile, opened_part, user_index
from dwell.storage.archive_places import Days, archive_files, archive_folder, parts_of, utc_day
from dwell.storage.archive_rows import events_of

__all__ = ["ListedPart", "list_archive", "verify_archive"]


class ListedPart(NamedTuple):
    """One part, as a person is told of it.

    Attributes:
        path: Below the archive's folder.
        day: UTC day on which its events were served.
        first_seq: Lowest seq.
        last_seq: Highest seq.
        n_rows: Events.
        n_bytes: Bytes of the file.
        n_users: Users in it, by their marks.
    """

    path: str
    day: str
    first_seq: int
    last_seq: int
    n_rows: int
    n_bytes: int
    n_users: int


def list_archive(folder: str | Path, *, tenant: str = "", days: Days | None = None) -> Iterator[ListedPart]:
    """Yield the parts of a tenant's archive; of each the footer is read, and its digest is left to `verify_archive`.

    Raises:
        ConfigError: The folder can be no archive's.
        ArchiveError: Something there is no part.
    """
    root = archive_folder(folder)
    for path in archive_files(root, tenant=tenant, days=days):
        with opened_part(path, is_known=True) as file:
            part = file.part
            yield ListedPart(
                path.relative_to(root).as_posix(), part.day.isoformat(), part.first_seq, part.last_seq, file.n_rows,
                file.n_bytes, len(file.users),
            )  # fmt: skip


def verify_archive(folder: str | Path, *, tenant: str = "") -> list[str]:
    """Return what is wrong with a tenant's archive, one line each, empty where nothing is; reads everything.

    Raises:
        ConfigError: The folder can be no archive's.
    """
    root = archive_folder(folder)
    try:
        parts = parts_of(root, tenant)
    except ArchiveError as error:
        return [str(error)]
    found: list[str] = []
    seen: dict[int, str] = {}
    stores: dict[str, str] = {}
    for part in parts:
        name = part.path.relative_to(root).as_posix()
        try:
            with opened_part(part.path) as file:
                stores.setdefault(file.store, name)
                seqs = _checked_rows(file)
        except ArchiveError as error:
            found.append(f"{name}: {error}")
        else:
            twice = [seq for seq in seqs if seq in seen]
            if twice:
                found.append(f"{name}: event number {twice[0]} stands in {seen[twice[0]]} as well")
            seen.update(dict.fromkeys(seqs, name))
    if len(stores) > 1:
        found.append(f"parts of {len(stores)} stores: {', '.join(stores.values())}")
    return found


def _checked_rows(file: PartFile) -> list[int]:
    """Return the seqs of a part whose every row is checked, and is where its name says.

    Raises:
        ArchiveError: One is not.
    """
    seqs: list[int] = []
    users: list[str | None] = []
    for i in range(file.n_groups):
        for event in events_of(file.group(i)):
            if utc_day(event.impression.served_at) != file.part.day:
                raise _misplaced(file, f"event number {event.impression.seq} is of another day")
            seqs.append(event.impression.seq)
            users.append(event.impression.user)
    if seqs != sorted(set(seqs)) or (seqs[:1], seqs[-1:]) != ([file.part.first_seq], [file.part.last_seq]):
        raise _misplaced(file, "its events are not those that its name tells of")
    if user_index(users)[:-4] != file.users.tobytes():
        raise _misplaced(file, "it does not tell of all users in it: erasure would pass it over")
    return seqs


def _misplaced(file: PartFile, why: str) -> ArchiveError:
    return ArchiveError(
        f"a part is not what it says: {why}",
        code="archive_values",
        field="path",
        value=file.part.path.name,
        hint="Restore it from a backup, or remove it.",
    )
