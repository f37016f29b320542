"""Parts of an archive as files: written whole or not at all, and read only after everything about them was checked.

A part comes from a folder that others may have written to. Before Parquet is asked for a single value, the file's
digest, the size of its footer, its columns, its encodings and what each row group claims to take are held against what
`written` makes; so a file of somebody else's is refused by name, whatever is in it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NamedTuple

import numpy as np

from dwell.errors import ArchiveError
from dwell.storage.archive_pages import PageError, page_sums
from dwell.storage.archive_places import Part, part_of, unreachable
from dwell.storage.archive_rows import FORMAT, needed_arrow, schema
from dwell.storage.pepper import user_mark

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["PartFile", "destroyed", "opened_part", "synced", "user_index", "written"]

GROUP_ROWS: Final = 500  # read at once: 5 MB at 64 documents of 20 features
_GROUP_BYTES: Final = 16_000_000  # of bodies; with one more event, of at most 5 MB, still below what is read at once
_MOST_GROUP_ROWS: Final = 1_000
_MOST_GROUP_BYTES: Final = 128_000_000  # as claimed, and as found
_MOST_GROUP_VALUES: Final = 16_000_000  # of a column: their levels take 4 bytes each, and little on the disk
_MOST_FOOTER_BYTES: Final = 4_000_000  # ours have 30 KB: the users of 5,000 rows and ten row groups of 30 columns
_MOST_FILE_BYTES: Final = 1_000_000_000
_ENCODINGS: Final = {"PLAIN", "RLE", "BIT_PACKED"}  # a dictionary lets a small file hold a large text many times
_CODECS: Final = {"ZSTD", "UNCOMPRESSED"}
_AT_ONCE: Final = 1 << 20
_MARK: Final = np.dtype("<u4")

_FORMAT_KEY: Final = b"dwell.format"
_STORE_KEY: Final = b"dwell.store"
_PEPPER_KEY: Final = b"dwell.pepper"
_USERS_KEY: Final = b"dwell.users"


class PartFile(NamedTuple):
    """An open part, checked.

    Attributes:
        part: What its path tells.
        n_rows: Rows.
        n_groups: Row groups: what is read at once.
        n_bytes: Bytes of the file.
        store: Token of the store that archived it.
        pepper: Hex digits of the fingerprint of the pepper behind its pseudonyms.
        users: uint32, sorted: a mark of each pseudonym in it; those of others collide once in 2^32.
        file: The Parquet file.
        descriptor: The same as the system knows it.
    """

    part: Part
    n_rows: int
    n_groups: int
    n_bytes: int
    store: str
    pepper: str
    users: np.ndarray[tuple[int], np.dtype[np.uint32]]
    file: pq.ParquetFile
    descriptor: int

    def may_hold(self, user: str) -> bool:
        """Return whether a pseudonym may stand in it; False is certain."""
        at = int(np.searchsorted(self.users, _mark(user)))
        return at < len(self.users) and int(self.users[at]) == _mark(user)

    def group(self, i: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a row group, all columns where none are named.

        Raises:
            ArchiveError: code `archive_too_large`, `archive_schema` or `archive_digest`.
        """
        _check_pages(self.part.path, self.file.metadata.row_group(i), self.descriptor, columns)
        with _told(self.part.path):
            found = self.file.read_row_group(i, columns=None if columns is None else list(columns), use_threads=False)
        if found.nbytes > _MOST_GROUP_BYTES:
            raise _too_large(self.part.path, "a row group", found.nbytes)
        return found

    def table(self) -> pa.Table:
        """Return all rows."""
        with needed_arrow():
            import pyarrow as pa
        return pa.concat_tables([self.group(i) for i in range(self.n_groups)])


def user_index(users: Sequence[str | None]) -> bytes:
    """Return the marks of the pseudonyms among these, each once, ascending, as little-endian uint32, and their CRC-32.

    By it the marks are believed without the digest of the whole file, which an erasure has no time to read.
    """
    marks = np.unique(np.array([_mark(user) for user in users if user is not None], dtype=_MARK)).tobytes()
    return marks + zlib.crc32(marks).to_bytes(4, "little")


def _mark(user: str) -> int:
    return int.from_bytes(user_mark(user)[:4], "little")


@contextlib.contextmanager
def opened_part(path: Path, *, is_known: bool = False) -> Iterator[PartFile]:
    """Open a part for reading.

    Args:
        path: Its path.
        is_known: Whether its digest was checked already, a moment ago: then its bytes are not read for it again.

    Raises:
        ArchiveError: It is not to be used; says why.
    """
    with needed_arrow():
        import pyarrow.parquet as pq
    part = part_of(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreachable(path, error) from error
    with os.fdopen(descriptor, "rb") as file:
        n_bytes = _checked_size(path, file)
        if not is_known and _digest_of(file) != part.digest:
            raise ArchiveError(
                "the bytes of a part are not those that were written",
                code="archive_digest",
                field="path",
                value=path.name,
                hint="Restore it from a backup, or remove it.",
            )
        with _told(path):
            parquet = pq.ParquetFile(
                file, thrift_string_size_limit=_MOST_FOOTER_BYTES, thrift_container_size_limit=_MOST_GROUP_ROWS
            )
        _check_columns(path, parquet)
        told = parquet.metadata.metadata or {}
        yield PartFile(
            part=part,
            n_rows=parquet.metadata.num_rows,
            n_groups=parquet.metadata.num_row_groups,
            n_bytes=n_bytes,
            store=told.get(_STORE_KEY, b"").decode("ascii", "replace"),
            pepper=told.get(_PEPPER_KEY, b"").decode("ascii", "replace"),
            users=np.frombuffer(_marks(path, told), _MARK),
            file=parquet,
            descriptor=file.fileno(),
        )


def _checked_size(path: Path, file: IO[bytes]) -> int:
    """Return a file's bytes, once they and those of its footer are such as we write."""
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
        raise ArchiveError("a part is a plain file", code="archive_link", field="path", value=path.name)
    if found.st_size > _MOST_FILE_BYTES:
        raise _too_large(path, "a part", found.st_size)
    tail = b""
    if found.st_size >= 12:
        file.seek(-8, os.SEEK_END)
        tail = file.read(8)
    if tail[4:] != b"PAR1":
        raise _other(path, "it is no Parquet file")
    n_footer = int.from_bytes(tail[:4], "little")
    if n_footer > min(_MOST_FOOTER_BYTES, found.st_size):
        raise _too_large(path, "a footer", n_footer)
    return found.st_size


def _digest_of(file: IO[bytes]) -> str:
    file.seek(0)
    found = blake2b(digest_size=16)
    while piece := file.read(_AT_ONCE):
        found.update(piece)
    return found.hexdigest()


def _check_columns(path: Path, parquet: pq.ParquetFile) -> None:
    """Refuse a file whose footer tells of anything that we do not write."""
    told = parquet.metadata.metadata or {}
    if told.get(_FORMAT_KEY) != FORMAT.encode():
        raise _other(path, f"its format is {told.get(_FORMAT_KEY)!r}, known is {FORMAT}")
    if not parquet.schema_arrow.remove_metadata().equals(schema()):
        raise _other(path, "its columns are not those of an archive")
    _marks(path, told)
    for i in range(parquet.metadata.num_row_groups):
        _check_group(path, parquet.metadata.row_group(i))


def _marks(path: Path, told: Mapping[bytes, bytes]) -> bytes:
    """Return the marks of the users in a part, by which erasure finds it.

    Raises:
        ArchiveError: code `archive_schema`: they are not there, or not as they were written.
    """
    try:
        found = bytes.fromhex(told.get(_USERS_KEY, b"").decode("ascii", "replace"))
    except ValueError:
        found = b""
    marks = found[:-4]
    if len(found) < 4 or len(marks) % _MARK.itemsize or zlib.crc32(marks).to_bytes(4, "little") != found[-4:]:
        raise _other(path, "it does not tell whose events are in it")
    return marks


def _check_group(path: Path, group: pq.RowGroupMetaData) -> None:
    """Refuse a row group that claims to be larger, or otherwise encoded, than ours."""
    columns = [group.column(j) for j in range(group.num_columns)]
    for column in columns:
        if column.has_dictionary_page or not set(column.encodings) <= _ENCODINGS:
            raise _other(path, f"column {column.path_in_schema} is encoded as {list(column.encodings)}")
        if column.compression not in _CODECS:
            raise _other(path, f"column {column.path_in_schema} is compressed by {column.compression}")
    n_bytes = sum(max(column.total_uncompressed_size, 0) for column in columns)
    if not 1 <= group.num_rows <= _MOST_GROUP_ROWS or n_bytes > _MOST_GROUP_BYTES:
        raise _too_large(path, f"a row group of {group.num_rows} rows", n_bytes)


def _check_pages(path: Path, group: pq.RowGroupMetaData, descriptor: int, columns: Sequence[str] | None) -> None:
    """Refuse a row group whose pages would make Parquet take more than ours do, whatever its footer says."""
    n_bytes = 0
    for column in (group.column(j) for j in range(group.num_columns)):
        name = column.path_in_schema
        if columns is not None and name.partition(".")[0] not in columns:
            continue
        try:
            sums = page_sums(descriptor, max(column.data_page_offset, 0), max(column.total_compressed_size, 0))
        except PageError as error:
            raise _other(path, f"column {name}: {error}") from error
        n_bytes += sums.n_bytes
        if sums.n_values > _MOST_GROUP_VALUES or n_bytes > _MOST_GROUP_BYTES:
            raise _too_large(path, f"column {name}, of {sums.n_values} values", n_bytes)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say of what Parquet finds wrong that the part is damaged."""
    with needed_arrow():
        import pyarrow as pa
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ArchiveError(
            f"a part can not be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            code="archive_schema",
            field="path",
            value=path.name,
            hint="Restore it from a backup, or remove it.",
        ) from error


def _other(path: Path, why: str) -> ArchiveError:
    return ArchiveError(
        f"this is no part that was archived here: {why}",
        code="archive_schema",
        field="path",
        value=path.name,
        hint="Move it elsewhere.",
    )


def _too_large(path: Path, what: str, size: int) -> ArchiveError:
    return ArchiveError(
        f"{what}, of {size} bytes, is larger than any that is written here",
        code="archive_too_large",
        field="path",
        value=path.name,
        hint="Move the file elsewhere.",
    )


def written(day: Path, table: pa.Table, *, store: str, pepper: str, compression: str = "zstd") -> Part:
    """Write rows as a part and return it once it is on the disk; where anything fails, nothing of it stays.

    The same rows make the same bytes, and so the same name, under the same version of pyarrow.

    Args:
        day: Folder of the part; made where it is not there.
        table: At least one row, ascending by seq, of the columns of `archive_rows.schema`.
        store: Token of the store.
        pepper: Hex digits of the pepper's fingerprint.
        compression: "zstd" or "none".

    Raises:
        ArchiveError: code `archive_unreachable`: the folder can not be written, or no space is left.
    """
    with needed_arrow():
        import pyarrow as pa
        import pyarrow.parquet as pq
    temporary = day / f".tmp-{secrets.token_hex(8)}"
    try:
        day.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                with pq.ParquetWriter(
                    file, schema(), compression=compression, use_dictionary=False, write_statistics=False,
                    store_schema=False,
                ) as writer:  # fmt: skip
                    for start, end in _groups(table):
                        writer.write_table(table.slice(start, end - start))
                    users = table.column("user").to_pylist()
                    told = {_STORE_KEY: store.encode(), _PEPPER_KEY: pepper.encode(), _FORMAT_KEY: FORMAT.encode()}
                    writer.add_key_value_metadata({**told, _USERS_KEY: user_index(users).hex().encode()})
                file.flush()
                os.fsync(file.fileno())
            with temporary.open("rb") as file:
                digest = _digest_of(file)
            seqs = table.column("seq")
            path = day / f"part-{seqs[0].as_py()}-{seqs[-1].as_py()}-{digest}.parquet"
            temporary.replace(path)
            synced(day)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except (OSError, pa.ArrowException) as error:
        raise unreachable(day, error if isinstance(error, OSError) else OSError(str(error))) from error
    return part_of(path)


def _groups(table: pa.Table) -> Iterator[tuple[int, int]]:
    """Yield where row groups begin and end: a bounded number of rows and of bytes each."""
    with needed_arrow():
        import pyarrow.compute as pc
    sizes = np.asarray(pc.binary_length(table.column("body")).to_numpy(), dtype=np.int64)
    start = n_bytes = 0
    for i, size in enumerate(sizes.tolist()):
        if i > start and (i - start >= GROUP_ROWS or n_bytes + size > _GROUP_BYTES):
            yield start, i
            start, n_bytes = i, 0
        n_bytes += size
    yield start, len(sizes)


def destroyed(path: Path) -> None:
    """Remove a file whose bytes must not be found again: they are overwritten first, as far as the disk does that.

    Raises:
        ArchiveError: code `archive_unreachable`.
    """
    gone = path if path.name.startswith(".gone-") else path.with_name(f".gone-{secrets.token_hex(8)}")
    try:
        path.replace(gone)  # whoever finds it half overwritten knows that it is no part
        descriptor = os.open(gone, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            left = os.fstat(descriptor).st_size
            while left > 0:
                left -= file.write(bytes(min(left, _AT_ONCE)))
            file.flush()
            os.fsync(descriptor)
        gone.unlink()
        synced(path.parent)
    except OSError as error:
        raise unreachable(path, error) from error


def synced(folder: Path) -> None:
    """Have what was renamed in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
