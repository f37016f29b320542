"""What the pages of a Parquet file say of themselves: the footer may promise less than they make Parquet take.

Parquet makes room for what a page's own header names before it unfolds it, and reads it as that header says. So each
one is read here first, in Thrift's compact protocol, of which only what is needed is known.

Source: parquet.thrift (PageHeader, DataPageHeader), thrift-compact-protocol.md.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

__all__ = ["PageError", "PageSums", "page_sums"]

_MOST_HEADER_BYTES: Final = 4_096  # ours have 30: no statistics are written
_MOST_PAGES: Final = 10_000  # ours have one for a megabyte, of 128 at most
_MOST_NESTED: Final = 8
_DATA_PAGE: Final = 0  # of version 1, as we write them; a dictionary or an index has another number
_PLAIN_AND_RLE: Final = {0, 3}  # others take one value from the one before it: a little then unfolds into much
_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)
_WHOLE: Final = {_I16, _I32, _I64}

_Fields = dict[int, "int | _Fields | None"]


class PageError(Exception):
    """Pages are not such as we write; says why."""


class PageSums(NamedTuple):
    """What the pages of a column in a row group come to.

    Attributes:
        n_bytes: When unfolded.
        n_values: Values, those that are null included.
    """

    n_bytes: int
    n_values: int


def page_sums(descriptor: int, start: int, size: int) -> PageSums:
    """Return what the pages in a stretch of a file claim; they have to fill it.

    Args:
        descriptor: The file, open for reading; its position stays.
        start: Where the first page's header stands, >= 0.
        size: Bytes of all pages with their headers, >= 0.

    Raises:
        PageError: A header is none, of another kind or encoding, or claims what can not be.
    """
    at, end, n_bytes, n_values = start, start + size, 0, 0
    for _ in range(_MOST_PAGES):
        if at >= end:
            break
        reader = _Compact(os.pread(descriptor, min(_MOST_HEADER_BYTES, end - at), at))
        header = reader.struct()
        unfolded, folded = _number(header, 2), _number(header, 3)
        told = header.get(5)
        if _number(header, 1) != _DATA_PAGE or not isinstance(told, dict):
            raise PageError(f"a page is of kind {header.get(1)}")
        if not {_number(told, field) for field in (2, 3, 4)} <= _PLAIN_AND_RLE:
            raise PageError(f"a page is encoded as {[told.get(field) for field in (2, 3, 4)]}")
        n_bytes += unfolded
        n_values += _number(told, 1)
        at += reader.at + folded
    if at != end:
        raise PageError("its pages are too many, or do not end where they should")
    return PageSums(n_bytes, n_values)


def _number(fields: _Fields, field: int) -> int:
    found = fields.get(field)
    if not isinstance(found, int) or found < 0:
        raise PageError("the header of a page is damaged")
    return found


class _Compact:
    """Reads fields of Thrift's compact protocol: whole numbers and structs; whatever else there is is passed over."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.at = 0

    def struct(self, depth: int = 0) -> _Fields:
        """Return the fields of a struct by their numbers."""
        if depth > _MOST_NESTED:
            raise PageError("the header of a page is nested too deeply")
        fields: _Fields = {}
        number = 0
        while (head := self._byte()) != _STOP:
            step, kind = head >> 4, head & 15
            number = number + step if step else self._zigzag()
            if number in fields:  # another reader may believe the other one
                raise PageError("the header of a page says a thing twice")
            fields[number] = self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> int | _Fields | None:
        if kind in _WHOLE:
            return self._zigzag()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind == _BINARY:
            self._skip(self._varint())
        elif kind == _BYTE:
            self._skip(1)
        elif kind == _DOUBLE:
            self._skip(8)
        elif kind not in {_TRUE, _FALSE}:  # a page's header has no list, set or map
            raise PageError("the header of a page holds what none has")
        return None

    def _byte(self) -> int:
        self._skip(1)
        return self._raw[self.at - 1]

    def _skip(self, n: int) -> None:
        self.at += n
        if self.at > len(self._raw):
            raise PageError("the header of a page is cut off, or too large")

    def _varint(self) -> int:
        found = shift = 0
        while True:
            byte = self._byte()
            found |= (byte & 127) << shift
            if byte < 128:
                return found
            shift += 7
            if shift > 63:
                raise PageError("a number in the header of a page is too long")

    def _zigzag(self) -> int:
        found = self._varint()
        return (found >> 1) ^ -(found & 1)
