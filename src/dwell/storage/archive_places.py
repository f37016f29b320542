"""Where archived events stand: folders by tenant and day, parts named after what is in them, and nothing else.

    <folder>/tenant=<tenant, percent-encoded>/day=YYYY-MM-DD/part-<first seq>-<last seq>-<digest>.parquet

The day is that of `served_at` in UTC. The digest is that of the file's bytes. What begins with a dot or an underscore
is no part: readers of Parquet folders pass over it, and so does this one.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from dwell.errors import ArchiveError, ConfigError

__all__ = [
    "Days",
    "Part",
    "archive_files",
    "archive_folder",
    "days_between",
    "part_of",
    "parts_of",
    "tenant_folder",
    "unreachable",
    "utc_day",
]

Days = tuple[date, date]  # the first and the last day, both meant

_MOST_NAME_BYTES: Final = 200  # of 255 that file systems take: an id of 512 bytes is three times as long when encoded
_PART: Final = re.compile(r"part-([1-9][0-9]{0,18})-([1-9][0-9]{0,18})-([0-9a-f]{32})\.parquet")
_DAY: Final = re.compile(r"day=([0-9]{4}-[0-9]{2}-[0-9]{2})")
_EPOCH: Final = date(1970, 1, 1)


class Part(NamedTuple):
    """One file of an archive, as its path tells it.

    Attributes:
        path: Where it stands.
        day: The UTC day on which its events were served.
        first_seq: Lowest seq in it, >= 1.
        last_seq: Highest seq in it.
        digest: 32 hex digits of BLAKE2b over the file's bytes.
    """

    path: Path
    day: date
    first_seq: int
    last_seq: int
    digest: str


def archive_folder(given: object, field: str = "archive") -> Path:
    """Return the absolute path of a folder that archives may stand in; it need not be there yet.

    Raises:
        ConfigError: No path, one with "..", a link, or something else than a folder.
    """
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else ""
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigError("an archive is the path of a folder", field=field, value=given, hint="Give an absolute path.")
    if ".." in Path(text).parts:
        raise ConfigError(
            "the path of an archive leads upwards", field=field, value=text, hint='Write it without "..".'
        )
    path = Path(os.path.abspath(text))  # noqa: PTH100 - resolve() would follow the link that is refused below
    if path.is_symlink():
        raise ConfigError(
            "an archive is no link: what is erased must be known to be gone",
            field=field,
            value=text,
            hint="Give the folder that it leads to.",
        )
    if path.exists() and not path.is_dir():
        raise ConfigError("an archive is a folder", field=field, value=text, hint="Give another path.")
    return path


def tenant_folder(folder: Path, tenant: str) -> Path:
    """Return where a tenant's parts stand, one level below the archive whatever the tenant is called."""
    name = quote(tenant, safe="").replace("~", "%7E")  # a tilde marks names that were cut, and no others
    if len(name) > _MOST_NAME_BYTES:
        digest = blake2b(tenant.encode(), digest_size=16).hexdigest()
        name = f"{name[: _MOST_NAME_BYTES - 33].rsplit('%', 1)[0]}~{digest}"
    return folder / f"tenant={name}"


def utc_day(served_at: float) -> date:
    """Return the UTC day of an instant, UTC epoch seconds in [0, 1e11]."""
    return _EPOCH + timedelta(days=int(served_at // 86_400.0))


def days_between(text: str) -> Days:
    """Return the days of "2026-01-31..2026-02-28", both included; one day alone is both.

    Raises:
        ConfigError: No days, or the last before the first.
    """
    first, dots, last = text.partition("..")
    try:
        found = date.fromisoformat(first), date.fromisoformat(last if dots else first)
    except ValueError as error:
        raise ConfigError(
            "days are written as A..B", field="days", value=text, hint="Write 2026-01-31..2026-02-28."
        ) from error
    if found[1] < found[0]:
        raise ConfigError("the last day is before the first", field="days", value=text, hint="Exchange them.")
    return found


def part_of(path: Path) -> Part:
    """Return what a part's path tells.

    Raises:
        ArchiveError: code `archive_name`: it is no part's.
    """
    name, day = _PART.fullmatch(path.name), _DAY.fullmatch(path.parent.name)
    if name is not None and day is not None:
        first, last = int(name[1]), int(name[2])
        try:
            when = datetime.strptime(day[1], "%Y-%m-%d").replace(tzinfo=UTC).date()
        except ValueError:
            when = None
        if when is not None and first <= last < 2**63:
            return Part(path, when, first, last, name[3])
    raise ArchiveError(
        "this is no part of an archive",
        code="archive_name",
        field="path",
        value=f"{path.parent.name}/{path.name}",
        hint="Move it elsewhere: nothing else may stand among the parts.",
    )


def parts_of(folder: Path, tenant: str = "", days: Days | None = None) -> list[Part]:
    """Return a tenant's parts by day, within a day by first and last seq; none where nothing was archived.

    Args:
        folder: The archive.
        tenant: Whose.
        days: Only these.

    Raises:
        ArchiveError: code `archive_link`, where a folder or a part is a link or something else than it should be;
            `archive_name`, where something else stands among the parts; `archive_unreachable`, where it can not be
            listed.
    """
    root = tenant_folder(folder, tenant)
    found = []
    for day in _entries(root):
        if not stat.S_ISDIR(_kind(day)):
            raise _not_ours(day)
        for file in _entries(day):
            if not stat.S_ISREG(_kind(file)):
                raise _not_ours(file)
            part = part_of(file)
            if days is None or days[0] <= part.day <= days[1]:
                found.append(part)
    return sorted(found, key=lambda part: (part.day, part.first_seq, part.last_seq, part.digest))


def archive_files(folder: str | Path, *, tenant: str = "", days: Days | None = None) -> list[Path]:
    """Return the files of a tenant's archive, in the order of `parts_of`.

    Raises:
        ConfigError: The folder is none.
        ArchiveError: See `parts_of`.
    """
    return [part.path for part in parts_of(archive_folder(folder), tenant, days)]


def _entries(folder: Path) -> Iterator[Path]:
    try:
        if folder.is_symlink():
            raise _not_ours(folder)
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names, without an object for each
    except FileNotFoundError:
        return
    except OSError as error:
        raise unreachable(folder, error) from error
    yield from (folder / name for name in names if not name.startswith((".", "_")))


def _kind(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except FileNotFoundError:  # it was written anew under another name this very moment
        return stat.S_IFREG
    except OSError as error:
        raise unreachable(path, error) from error


def _not_ours(path: Path) -> ArchiveError:
    return ArchiveError(
        "a link, or what is neither folder nor file, stands in the archive",
        code="archive_link",
        field="path",
        value=str(path),
        hint="Remove it: parts are plain files in plain folders.",
    )


def unreachable(path: Path, error: OSError) -> ArchiveError:
    """Return the error for an archive that the system does not let be read or written."""
    return ArchiveError(
        f"the archive can not be reached: {error.strerror or error}",
        code="archive_unreachable",
        field="path",
        value=str(path),
        hint="Check that its disk is mounted, has space, and that this user may read and write there.",
    )
