"""What the headers of Parquet's pages say, read from bytes that are put together here by Thrift's own rules."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dwell.storage.archive_pages import PageError, PageSums, page_sums

I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12


def varint(value: int) -> bytes:
    low, high = value & 127, value >> 7
    return bytes([low | 128]) + varint(high) if high else bytes([low])


def whole(value: int, step: int = 1) -> bytes:
    return bytes([step << 4 | I32]) + varint(2 * value if value >= 0 else -2 * value - 1)


def page(
    n_unfolded: int, body: bytes, n_values: int = 1, *, kind: int = 0, encoding: int = 0, more: bytes = b"", at: int = 2
) -> bytes:
    """Return a page: its kind, sizes and, two numbers on, what a page of data has; then what it holds."""
    data = whole(n_values) + whole(encoding) + whole(3) + whole(3) + b"\0"
    return whole(kind) + whole(n_unfolded) + whole(len(body)) + bytes([at << 4 | STRUCT]) + data + more + b"\0" + body


@pytest.fixture
def sums(tmp_path: Path) -> Callable[[bytes, int | None], PageSums]:
    def found(raw: bytes, size: int | None = None) -> PageSums:
        (tmp_path / "pages").write_bytes(b"PAR1" + raw)
        descriptor = os.open(tmp_path / "pages", os.O_RDONLY)
        try:
            return page_sums(descriptor, 4, len(raw) if size is None else size)
        finally:
            os.close(descriptor)

    return found


Sums = Callable[..., PageSums]


def test_sizes_and_values_add_up(sums: Sums) -> None:
    assert sums(b"") == (0, 0)
    assert sums(page(100, b"x" * 7, 3) + page(2**31 - 1, b"", 2**31 - 1, encoding=3)) == (2**31 + 99, 2**31 + 2)
    # a checksum before, and a text and a truth behind what is needed, are passed over
    assert sums(page(5, b"ab", more=bytes([1 << 4 | BINARY]) + varint(3) + b"abc" + bytes([1 << 4 | 1]))) == (5, 1)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (page(1, b"", kind=2), "kind 2"),
        (page(1, b"", at=5), "kind 0"),  # a page of version 2
        (page(1, b"", encoding=7), r"encoded as \[7, 3, 3\]"),
        (page(-1, b""), "damaged"),
        (page(1, b"abc")[:-1], "do not end"),
        (page(1, b"")[:-2], "cut off"),
        (b"\xff" * 60, "damaged|too long|none has|cut off"),
        (whole(0) + b"\x05" + varint(2) + whole(0), "twice"),  # field 1 again, by its own number
        (bytes([1 << 4 | LIST]) + b"\0", "none has"),
        (bytes([1 << 4 | STRUCT]) * 4_000, "nested"),
        (bytes([1 << 4 | BINARY]) + varint(2**40), "cut off"),
        (page(1, b"") * 10_001, "too many"),
    ],
)
def test_what_is_no_page_of_ours_is_refused(sums: Sums, raw: bytes, why: str) -> None:
    with pytest.raises(PageError, match=why):
        sums(raw)


def test_pages_fill_their_place(sums: Sums) -> None:
    with pytest.raises(PageError):
        sums(page(1, b"abc"), len(page(1, b"abc")) - 1)
