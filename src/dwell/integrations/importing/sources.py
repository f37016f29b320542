"""Logs as lines of bounded length: a plain file, a packed one, standard input, or lines that a program has.

Each line comes with how far it ends and a checksum of all bytes up to there, so that whoever goes on later can tell
whether it is still the same log.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from dwell.errors import ConfigError, RecordError
from dwell.integrations.ubi.lines import MAX_ITEM_BYTES, opened_plain

__all__ = ["Line", "is_same_so_far", "lines_of", "lines_of_file", "opened"]

_GZIP: Final = b"\x1f\x8b"
# A log of JSON packs 5 to 50 to 1 and DEFLATE never beyond 1032 to 1: what unpacks to more than this is a bomb
_MOST_RATIO: Final = 200
_FREE_BYTES: Final = 67_108_864  # what any packed file may hold, however well it packs: 64 MB are read in a second
_CHUNK: Final = 1_048_576
# what begins with these is no text, whatever its name is: zip, zstandard, SQLite, a pickle, Parquet
_MAGIC: Final = (b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"SQLite format 3\0", b"\x80\x04", b"\x80\x05", b"PAR1")


class Line(NamedTuple):
    """One line.

    Attributes:
        number: From 1.
        end: Bytes of the log up to its end.
        mark: CRC-32 of these bytes.
        data: Without its line break; None where it is longer than allowed.
        ending: Its line break.
    """

    number: int
    end: int
    mark: int
    data: bytes | None
    ending: bytes = b""


@contextlib.contextmanager
def opened(source: Path | str | BinaryIO) -> Iterator[BinaryIO]:
    """Open a log for reading bytes, unpacked where it is gzip, whatever its name.

    Args:
        source: A plain file, "-" for standard input, or what is open already, which stays open.

    Raises:
        ConfigError: It can not be read, is no plain file, or no text by its first bytes.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(source, Path | str) and str(source) != "-":
            raw = stack.enter_context(opened_plain(Path(source)))
        else:
            raw = sys.stdin.buffer if isinstance(source, Path | str) else source
        buffered = cast("io.BufferedReader", raw)
        if not hasattr(raw, "peek"):
            buffered = io.BufferedReader(cast("io.RawIOBase", raw))
            stack.callback(buffered.detach)  # what the caller opened is his to close
        head = buffered.peek(16)[:16]
        if head.startswith(_GZIP):
            yield io.BufferedReader(_Unpacked(buffered), _CHUNK)
            return
        if head.startswith(_MAGIC):
            raise ConfigError(
                "this is no text", field="path", value=str(source), hint="Give text, or text packed with gzip."
            )
        yield buffered


class _Unpacked(io.RawIOBase):
    """What is packed with gzip, refused where it unpacks to far more than a log ever does."""

    def __init__(self, file: BinaryIO) -> None:
        self._counted = _Counted(file)
        self._file = gzip.GzipFile(fileobj=self._counted, mode="rb")
        self._n = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            found = self._file.read1(min(len(buffer), _CHUNK))
        except (OSError, EOFError, zlib.error) as error:
            raise RecordError(
                "the packed file is damaged or cut off",
                code="damaged",
                field="path",
                hint="Fetch it again; what was read before it is in the store.",
            ) from error
        self._n += len(found)
        if self._n > max(_FREE_BYTES, _MOST_RATIO * self._counted.n):
            raise RecordError(
                f"the packed file unpacks to more than {_MOST_RATIO} times its size",
                code="bomb",
                field="path",
                hint="Unpack it yourself if you trust it, and import the text.",
            )
        buffer[: len(found)] = found
        return len(found)


class _Counted:
    """A file that counts what was read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.n = 0

    def read(self, size: int = -1) -> bytes:
        found = self._file.read(size)
        self.n += len(found)
        return found

    def seek(self, offset: int, /) -> int:
        """Refuse to go back: nothing here does."""
        raise OSError(f"can not go to {offset}")


def lines_of(given: Iterable[str | bytes], *, most_bytes: int = MAX_ITEM_BYTES) -> Iterator[Line]:
    """Yield lines that a program has."""
    end = mark = 0
    for number, text in enumerate(given, 1):
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
        end, mark = end + len(data), zlib.crc32(data, mark)
        bare = data.rstrip(b"\r\n")
        yield Line(number, end, mark, None if len(data) > most_bytes else bare, data[len(bare) :])


def lines_of_file(file: BinaryIO, *, most_bytes: int = MAX_ITEM_BYTES) -> Iterator[Line]:
    """Yield the lines of an open file; a longer one is passed over without being held.

    A byte order mark before the first line is dropped.
    """
    end = mark = number = 0
    while data := file.readline(most_bytes + 2):
        number += 1
        end, mark = end + len(data), zlib.crc32(data, mark)
        is_long = len(data.rstrip(b"\r\n")) > most_bytes
        while is_long and not data.endswith(b"\n") and (data := file.readline(_CHUNK)):
            end, mark = end + len(data), zlib.crc32(data, mark)
        if number == 1 and not is_long:
            data = data.removeprefix(b"\xef\xbb\xbf")
        bare = data.rstrip(b"\r\n")
        yield Line(number, end, mark, None if is_long else bare, data[len(bare) :])


def is_same_so_far(file: BinaryIO, end: int, mark: int) -> bool:
    """Return whether the first `end` bytes of a log have this checksum."""
    found = n = 0
    while n < end and (piece := file.read(min(_CHUNK, end - n))):
        found, n = zlib.crc32(piece, found), n + len(piece)
    return n == end and found == mark
