"""The file behind a ring: where each region stands, the header that vouches for them, and the mapping.

    header, one page | checksums | index columns, one after the other | packed records | regions of their own

The file is sparse: it has its full length from the start, and blocks only for the rows that were reserved. So it grows
without being copied or mapped anew, and a full disk is an error at `reserve`, not a signal at a later write to memory.
(A file system that copies on write may still run out at that write: nothing that maps files can help it.)
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import struct
import weakref
import zlib
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.errors import RingUnusable, StorageError
from dwell.storage.ring_checks import INDEX_SHIFT, SegmentChecks, segment_shift
from dwell.storage.ring_schema import RingSchema

__all__ = ["FORMAT_VERSION", "Header", "RingFile", "read_header"]

FORMAT_VERSION: Final = 1
_MAGIC: Final = b"dwelring"
_PAGE: Final = 4096  # regions begin at pages: what is written back of one never holds a part of another
_FIELDS: Final = struct.Struct("<8sI16sQQQQII")
_CHECKSUM: Final = struct.Struct("<I")
_HEADER_BYTES: Final = _FIELDS.size + _CHECKSUM.size
_INDEX: Final = "index"
_ROWS: Final = "row"


class Header(NamedTuple):
    """What a file says of itself; see `ColumnRing`."""

    digest: bytes
    n_rows: int
    n_live: int = 0
    last_seq: int = 0
    epoch: int = 0
    is_clean: int = 0
    sums_checksum: int = 0

    def packed(self) -> bytes:
        """Return it as bytes, with a checksum of its own."""
        fields = _FIELDS.pack(_MAGIC, FORMAT_VERSION, *self)
        return fields + _CHECKSUM.pack(zlib.crc32(fields))

    @classmethod
    def read(cls, text: bytes, where: str) -> Header:
        """Return it from the first bytes of a file.

        Raises:
            RingUnusable: code `ring_truncated`, `ring_format` or `ring_damaged`.
        """
        if len(text) < _HEADER_BYTES:
            raise unusable("ring_truncated", f"{where} ends within its header")
        magic, version, *fields = _FIELDS.unpack_from(text)
        if magic != _MAGIC:
            raise unusable("ring_format", f"{where} is no column ring")
        if zlib.crc32(text[: _FIELDS.size]) != _CHECKSUM.unpack_from(text, _FIELDS.size)[0]:
            raise unusable("ring_damaged", f"the header of {where} is damaged")
        if version != FORMAT_VERSION:
            raise unusable("ring_format", f"{where} has layout {version}, this dwell knows {FORMAT_VERSION}")
        return cls(*fields)


def read_header(path: str) -> Header:
    """Return what a ring's file says of itself; nothing is mapped, and nothing written.

    Raises:
        RingUnusable: code `ring_missing`, `ring_truncated`, `ring_format` or `ring_damaged`.
        StorageError: code `cannot_open` or `io`.
    """
    try:
        # a pipe of that name has no writer: whoever waits for one waits for ever
        with open(path, "rb", opener=_at_once) as file:
            return Header.read(file.read(_HEADER_BYTES), path)
    except FileNotFoundError as error:
        raise unusable("ring_missing", f"there is no ring at {path}") from error
    except OSError as error:
        raise failed(error, path) from error


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def unusable(code: str, message: str) -> RingUnusable:
    """Return the error for a ring that has to be made anew."""
    return RingUnusable(message, code=code, hint="Make the ring anew from the database: nothing is lost.")


class _Array(NamedTuple):
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]  # of one row
    offset: int

    @property
    def n_numbers(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * self.n_numbers


class _Region(NamedTuple):
    name: str
    shift: int
    arrays: tuple[_Array, ...]


class _Layout:
    """Where everything stands in a file of a schema with room for n_rows rows, a multiple of 1,024."""

    def __init__(self, schema: RingSchema, n_rows: int) -> None:
        columns = [(c.name, c.dtype, c.shape) for c in schema.placed("index")]
        parts = [(_INDEX, INDEX_SHIFT, columns)]
        row_bytes = schema.row_dtype.itemsize
        if row_bytes:
            parts.append((_ROWS, segment_shift(row_bytes), [(_ROWS, np.dtype((np.void, row_bytes)), ())]))
        parts += [(c.name, segment_shift(c.n_bytes), [(c.name, c.dtype, c.shape)]) for c in schema.placed("own")]
        self.n_sums = sum(n_rows >> shift for _, shift, _ in parts)
        self.n_before = self.n_bytes = _PAGE + _whole_pages(4 * self.n_sums)  # header and checksums
        self.regions: list[_Region] = []
        for name, shift, items in parts:
            arrays = []
            for item in items:
                arrays.append(_Array(*item, self.n_bytes))
                self.n_bytes += _whole_pages(n_rows * arrays[-1].row_bytes)
            self.regions.append(_Region(name, shift, tuple(arrays)))


class RingFile:
    """A mapped file, or memory of the same layout. Not safe from several threads.

    Attributes:
        n_rows: Rows that it has room for, a multiple of 1,024.
        columns: Each column by name, (n_rows, *shape), mapped.
        records: The packed rows, void (n_rows,), or None where no column is packed.
        raw: Everything that belongs to a row, as uint8 (n_rows, bytes).
        region_of: The region of each column by name.
        checks: Checksums by region.

    Args:
        path: The file, empty or of the right length; None for memory.
        schema: Its columns.
        n_rows: Rows to have room for.
        descriptor: Of the open file, which then belongs to this object; -1 for memory.
    """

    def __init__(self, path: str | None, schema: RingSchema, n_rows: int, descriptor: int) -> None:
        self.path = path
        self.schema = schema
        self.n_rows = rounded(n_rows)
        self._descriptor = descriptor
        self._closes = weakref.finalize(self, os.close, descriptor) if descriptor >= 0 else None
        self._n_reserved = 0
        self._layout = _Layout(schema, self.n_rows)
        self.n_bytes = self._layout.n_bytes
        self._map = self._mapped()
        self._sums: npt.NDArray[np.uint32] = np.frombuffer(self._map, np.uint32, self._layout.n_sums, _PAGE)
        self._lay_out()

    def _mapped(self) -> mmap.mmap:
        try:
            if self._descriptor < 0:
                # private: a child made by fork must not write into the parent's rows
                return mmap.mmap(-1, self.n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            if os.fstat(self._descriptor).st_size == 0:
                os.ftruncate(self._descriptor, self.n_bytes)
                os.posix_fallocate(self._descriptor, 0, self._layout.n_before)
            return mmap.mmap(self._descriptor, self.n_bytes)
        except OSError as error:
            raise failed(error, self.path or ":memory:") from error

    def _lay_out(self) -> None:
        self.columns: dict[str, npt.NDArray[Any]] = {}
        self.records: npt.NDArray[np.void] | None = None
        self.raw: list[npt.NDArray[np.uint8]] = []
        self.region_of: dict[str, str] = {}
        self.checks: dict[str, SegmentChecks] = {}
        first = 0
        for region in self._layout.regions:
            arrays = []
            for place in region.arrays:
                array = np.frombuffer(self._map, place.dtype, self.n_rows * place.n_numbers, place.offset)
                self.raw.append(array.view(np.uint8).reshape(self.n_rows, -1))
                arrays.append(array.reshape((self.n_rows, *place.shape)))
                if region.name != _ROWS:
                    self.columns[place.name] = arrays[-1]
                    self.region_of[place.name] = region.name
            stop = first + (self.n_rows >> region.shift)
            self.checks[region.name] = SegmentChecks(region.name, arrays, region.shift, self._sums[first:stop])
            first = stop
            if region.name == _ROWS:
                self.records = arrays[0]
                fields = arrays[0].view(self.schema.row_dtype)
                for name in self.schema.row_dtype.names or ():
                    self.columns[name] = fields[name]
                    self.region_of[name] = _ROWS

    @classmethod
    def create(cls, path: str | None, schema: RingSchema, n_rows: int) -> RingFile:
        """Return an empty file, marked unclean; what stood at the path before is removed.

        Raises:
            StorageError: code `disk_full`, `cannot_open` or `io`.
        """
        if path is None:
            return cls(None, schema, n_rows, -1)
        try:
            # never in place: a ring of this process that nobody closed may still be mapped
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108 - a plain path, as the store takes it
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise failed(error, path) from error
        try:
            made = cls(path, schema, n_rows, descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - a plain path, as the store takes it
            raise
        made.write_header(Header(schema.digest, made.n_rows))
        return made

    @classmethod
    def open(cls, path: str, schema: RingSchema) -> tuple[RingFile, Header]:
        """Return a file that is there, with its header; what it holds is not verified yet, but for the checksums.

        Raises:
            RingUnusable: code `ring_missing`, `ring_format`, `ring_schema`, `ring_dirty`, `ring_truncated` or
                `ring_damaged`.
            StorageError: code `cannot_open` or `io`.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise unusable("ring_missing", f"there is no ring at {path}") from error
        except OSError as error:
            raise failed(error, path) from error
        try:
            header = _checked_header(descriptor, path, schema)
        except BaseException:
            os.close(descriptor)
            raise
        made = cls(path, schema, header.n_rows, descriptor)
        if header.n_live > made.n_rows or zlib.crc32(made._sums.data) != header.sums_checksum:
            made.close()
            raise unusable("ring_damaged", f"the checksums of {path} are damaged")
        return made, header

    def reserve(self, n_rows: int) -> None:
        """Give blocks on disk to the first rows, some more than asked for, so that writing to them can not fail.

        Raises:
            StorageError: code `disk_full` or `io`; nothing has changed.
        """
        if n_rows <= self._n_reserved:
            return
        # a quarter more each time: few calls, and little space that nobody uses
        n_reserved = min(self.n_rows, rounded(max(n_rows, self._n_reserved + self._n_reserved // 4)))
        if self._descriptor >= 0:
            try:
                for place in (array for region in self._layout.regions for array in region.arrays):
                    start = place.offset + self._n_reserved * place.row_bytes
                    os.posix_fallocate(self._descriptor, start, (n_reserved - self._n_reserved) * place.row_bytes)
            except OSError as error:
                raise failed(error, self.path or "") from error
        self._n_reserved = n_reserved

    def settle(self) -> int:
        """Take the checksums of everything that changed, and return the checksum of the checksums."""
        for checks in self.checks.values():
            checks.settle()
        return zlib.crc32(self._sums.data)

    def write_header(self, header: Header) -> None:
        """Write the header to the mapping; `sync` brings it to disk."""
        if self._descriptor >= 0:
            self._map[:_HEADER_BYTES] = header.packed()

    def sync(self) -> None:
        """Return once everything written so far is on disk.

        Raises:
            StorageError: code `io` or `disk_full`.
        """
        if self._descriptor < 0:
            return
        try:
            # fsync lets other threads run, flush would hold the interpreter for as long as the disk takes; on Linux it
            # covers mapped pages too, elsewhere flush does the work that is left
            os.fsync(self._descriptor)
            self._map.flush()
        except OSError as error:
            raise failed(error, self.path or "") from error

    def replace(self, path: str) -> None:
        """Move the file to another path, in place of what stands there.

        Raises:
            StorageError: code `io` or `cannot_open`.
        """
        try:
            # whichever of the two a power cut leaves, it is marked unclean: their rows need no sync
            os.replace(self.path or "", path)  # noqa: PTH105 - a plain path, as the store takes it
            sync_folder(path)
        except OSError as error:
            raise failed(error, path) from error
        self.path = path

    def remove(self) -> None:
        """Let go of the file and delete it."""
        self.close()
        if self.path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.path)  # noqa: PTH108 - a plain path, as the store takes it

    def close(self) -> None:
        """Let go of file and memory; doing so twice is legal."""
        for checks in self.checks.values():
            checks.let_go()
        self.columns, self.raw, self.records, self.checks = {}, [], None, {}
        self._sums = np.zeros(0, dtype=np.uint32)
        with contextlib.suppress(BufferError):  # an array that somebody still holds keeps its memory
            self._map.close()
        if self._closes is not None:
            self._closes()
            self._descriptor = -1


def _checked_header(descriptor: int, path: str, schema: RingSchema) -> Header:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise unusable("ring_format", f"{path} is no file")
    header = Header.read(os.pread(descriptor, _HEADER_BYTES, 0), path)
    if header.digest != schema.digest:
        raise unusable("ring_schema", f"{path} was made for other columns or settings")
    if not header.is_clean:
        raise unusable("ring_dirty", f"the process that wrote {path} ended in the middle of it")
    n_due = _Layout(schema, header.n_rows).n_bytes
    if status.st_size != n_due:
        code = "ring_truncated" if status.st_size < n_due else "ring_damaged"
        raise unusable(code, f"{path} has {status.st_size} bytes, {n_due} are due")
    return header


def rounded(n_rows: int) -> int:
    """Return a number of rows that fills whole segments of every region."""
    return max(1, -(-n_rows >> INDEX_SHIFT)) << INDEX_SHIFT


def sync_folder(path: str) -> None:
    """Return once the name of a file is on disk."""
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_CLOEXEC)  # noqa: PTH120 - a plain path
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _whole_pages(n_bytes: int) -> int:
    return -(-n_bytes // _PAGE) * _PAGE


def failed(error: OSError, where: str) -> StorageError:
    """Return the error to raise from one of the system's."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return StorageError(
            f"no space is left for {where}",
            code="disk_full",
            hint="Free space on the disk; until then the ring can be kept in memory.",
        )
    code = "io" if error.errno in {errno.EIO, None} else "cannot_open"
    return StorageError(
        f"{where} can not be used: {error.strerror or error}",
        code=code,
        hint="Check that the folder exists and that this user may write to it, and the kernel log for a failing disk.",
    )
