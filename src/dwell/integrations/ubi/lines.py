"""Files and request bodies as decoded items: NDJSON, OpenSearch bulk lines, search hits a line, or one JSON array.

Whatever stands there is accounted for: every item comes out decoded, or as a refusal with its place.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from dwell.errors import ConfigError
from dwell.integrations.ubi.reading import kind_of
from dwell.integrations.ubi.records import Kind, Refusal

__all__ = ["Found", "decoded", "items_of_array", "items_of_lines", "opened_plain", "read_file"]

MAX_ITEM_BYTES: Final = 4_194_304  # an event of the sample has 800 bytes; 10,000 hits of 100 bytes are one megabyte
_CHUNK_CHARACTERS: Final = 65_536
_BLANKS: Final = re.compile(r"[ \t\r\n]*")
_ACTIONS: Final = frozenset({"index", "create"})  # bulk lines that announce a document
_REMOVALS: Final = frozenset({"delete", "update"})  # bulk lines that change one: facts do not change
# what begins with these is no text, whatever its name is: gzip, zip, zstandard, Parquet, SQLite, a pickle
_MAGIC: Final = (
    b"\x1f\x8b",
    b"PK\x03\x04",
    b"\x28\xb5\x2f\xfd",
    b"PAR1",
    b"SQLite format 3\0",
    *(bytes((0x80, protocol)) for protocol in range(2, 6)),
)


class Found(NamedTuple):
    """One item of a file or a body.

    Attributes:
        kind: What it is, as far as its place or its content tells; None otherwise.
        item: Decoded JSON, or why there is none.
        place: Where it stands, from 0; bulk lines that only announce are not counted.
    """

    kind: Kind | None
    item: object
    place: int


def decoded(text: bytes | str) -> object:
    """Return decoded JSON; NaN, infinities and numbers beyond a float are no JSON.

    Raises:
        ValueError: It is none, or nested too deep.
    """
    try:
        return msgspec.json.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _kind_of_index(name: object) -> Kind | None:
    if not isinstance(name, str):
        return None
    return "queries" if "quer" in name else "events" if "event" in name else None


def _found(item: object, kind: Kind | None, index: int) -> Found:
    """Return an item for what it is; a search hit is taken for the document in it."""
    if isinstance(item, Mapping) and isinstance(item.get("_source"), Mapping):
        kind = kind or _kind_of_index(item.get("_index"))
        item = item["_source"]
    return Found(kind_of(item) or kind if kind is None else kind, item, index)


def items_of_lines(file: BinaryIO, *, most_bytes: int = MAX_ITEM_BYTES) -> Iterator[Found]:
    """Yield the items of NDJSON or of OpenSearch bulk lines, one at a time; never raises on what they hold.

    Args:
        file: Open for reading bytes.
        most_bytes: A longer line is refused without being held.
    """
    index = 0
    announced: Mapping[str, Any] | None = None
    while line := file.readline(most_bytes + 1):
        is_long = len(line) > most_bytes
        while is_long and not line.endswith(b"\n") and (line := file.readline(most_bytes)):
            pass
        if is_long:
            yield Found(None, Refusal(index, "", f"too_long: a line has at most {most_bytes} bytes"), index)
            index, announced = index + 1, None
            continue
        if not line.strip():
            continue
        try:
            item = decoded(line.removeprefix(b"\xef\xbb\xbf") if index == 0 else line)
        except ValueError:
            yield Found(None, Refusal(index, "", "malformed_json: this line is no JSON"), index)
            index, announced = index + 1, None
            continue
        action = None if announced is not None else _action_of(item)
        if action is not None and action[0] in _ACTIONS:
            announced = action[1]
            continue
        if action is not None:
            reason = f"not_applied: facts are never changed, so no {action[0]} is"
            if action[0] == "update":
                file.readline(most_bytes)  # the change itself
            yield Found(None, Refusal(index, f"/{action[0]}", reason), index)
        else:
            yield _found(item, None if announced is None else _kind_of_index(announced.get("_index")), index)
        index, announced = index + 1, None


def _action_of(item: object) -> tuple[str, Mapping[str, Any]] | None:
    """Return verb and target of a line that announces what is done to a document, or None for any other."""
    if not isinstance(item, Mapping) or len(item) != 1:
        return None
    verb, target = next(iter(item.items()))
    return (verb, target) if verb in _ACTIONS | _REMOVALS and isinstance(target, Mapping) else None


def items_of_array(file: BinaryIO, *, chunk: int = _CHUNK_CHARACTERS) -> Iterator[Found]:
    """Yield the items of one JSON array, one at a time; never raises on what it holds.

    What follows a place where the array is broken can not be told apart: it is one refusal.

    Args:
        file: Open for reading bytes; its first character is the bracket.
        chunk: Characters to read at once.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace")
    try:
        yield from _items_of_text(text, chunk)
    finally:
        with contextlib.suppress(ValueError):  # closed before this was read to its end
            text.detach()  # the file is the caller's to close


def _items_of_text(text: io.TextIOWrapper, chunk: int) -> Iterator[Found]:
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    buffer, at, n = text.read(chunk), 0, 0
    is_over = not buffer
    while True:
        found = _next(decoder, buffer, at, is_first=n == 0)
        if found is not None and found.end < 0:
            return
        # "1" may go on as "1.5" in the next chunk: an item is whole once a comma or the end follows it
        if found is not None and buffer.startswith((",", "]"), _after_blanks(buffer, found.end)):
            yield _found(found.item, None, n)
            at, n = found.end, n + 1
            continue
        if is_over or len(buffer) - at > MAX_ITEM_BYTES:
            yield Found(None, Refusal(n, "", "malformed_json: the array is broken from here on"), n)
            return
        more = text.read(max(chunk, len(buffer) - at))  # doubling: an item is looked at O(log n) times
        buffer, at, is_over = buffer[at:] + more, 0, not more


class _Item(NamedTuple):
    item: object
    end: int


def _next(decoder: json.JSONDecoder, buffer: str, at: int, *, is_first: bool) -> _Item | None:
    """Return the item after a bracket or comma and where it ends, -1 for the end of the array, None for neither."""
    at = _after_blanks(buffer, at)
    if not is_first and buffer.startswith("]", at):
        return _Item(None, -1)
    if not buffer.startswith("[" if is_first else ",", at):
        return None
    at = _after_blanks(buffer, at + 1)
    if is_first and buffer.startswith("]", at):
        return _Item(None, -1)
    try:
        return _Item(*decoder.raw_decode(buffer, at))
    except (ValueError, RecursionError):
        return None


def _after_blanks(buffer: str, at: int) -> int:
    blanks = _BLANKS.match(buffer, at)
    return at if blanks is None else blanks.end()


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def read_file(path: Path, *, most_bytes: int = MAX_ITEM_BYTES) -> Iterator[Found]:
    """Yield the items of a file, one at a time, an array where it begins with a bracket, lines otherwise.

    Args:
        path: A plain file.
        most_bytes: A longer line is refused.

    Raises:
        ConfigError: It can not be read, or is no plain file, or no text by its first bytes, whatever its name.
    """
    with opened_plain(path) as file:
        head = file.read(64)
        if head.startswith(_MAGIC):
            raise ConfigError(
                f"{path} is no text",
                field="path",
                value=path.name,
                hint="Give JSON lines, OpenSearch bulk lines or a JSON array; unpack it first.",
            )
        file.seek(0)
        is_array = head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
        yield from items_of_array(file) if is_array else items_of_lines(file, most_bytes=most_bytes)


def opened_plain(path: Path) -> BinaryIO:
    """Open a plain file: no link, device, pipe or folder, which may hang, never end, or be another file by now."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        is_link = path.is_symlink()
        raise ConfigError(
            f"{path} is a symbolic link" if is_link else f"{path} can not be read",
            field="path",
            value=str(path),
            hint="Give the file itself." if is_link else "Check the path and its permissions.",
        ) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ConfigError(f"{path} is no plain file", field="path", value=str(path), hint="Give a file.")
    return os.fdopen(handle, "rb")
