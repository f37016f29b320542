"""Checksums of a ring's regions, segment by segment: what is read is what was written, or an error names the place.

A segment is verified before its first read, and before its first change too: otherwise the checksum that is taken of
it later would vouch for the damage.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dwell.errors import RingUnusable
from dwell.records.arrays import IntArray

__all__ = ["INDEX_SHIFT", "SegmentChecks", "segment_shift"]

# Bytes of a segment of records. Its first read costs a checksum of all of it: of 256 rows drawn at random, 0.9 ms at
# 8 KiB, 6.8 ms at 64 KiB, 112 ms at 1 MiB, while the throughput (2.2, 2.5 and 2.4 GB/s) hardly grows. At 8 KiB the
# checksums take 0.05 % of the space.
_SEGMENT_BYTES: Final = 8192
# Rows of a segment of the index: all of it is verified at opening, so its segments are as large as is fast (1,024
# numbers of 8 bytes), and small enough that one changed priority costs a checksum of some 100 KB.
INDEX_SHIFT: Final = 10


def segment_shift(row_bytes: int) -> int:
    """Return the binary logarithm of the number of rows in a segment; at most that of the index."""
    return min(INDEX_SHIFT, max(0, (_SEGMENT_BYTES // max(row_bytes, 1)).bit_length() - 1))


class SegmentChecks:
    """The checksums of one region: CRC-32 of each segment of 2^shift rows. Not safe from several threads.

    Args:
        region: Its name, for messages.
        arrays: What it consists of, each with rows as its first dimension; one checksum covers the same rows of all.
        shift: Binary logarithm of the rows per segment.
        sums: uint32, one per segment: where the checksums are kept.
    """

    def __init__(
        self, region: str, arrays: Sequence[npt.NDArray[Any]], shift: int, sums: npt.NDArray[np.uint32]
    ) -> None:
        self._region = region
        self.shift = shift
        self._sums = sums
        self._parts = [(array.reshape(-1).view(np.uint8).data, array.nbytes // len(array)) for array in arrays]
        self._is_doubted = np.zeros(len(sums), dtype=bool)
        self._is_changed = np.zeros(len(sums), dtype=bool)
        self._n_doubted = 0

    def let_go(self) -> None:
        """Release the memory behind it."""
        for part, _ in self._parts:
            part.release()
        self._parts = []
        self._sums = np.zeros(0, dtype=np.uint32)

    @property
    def is_all_verified(self) -> bool:
        """Whether nothing is left to verify."""
        return not self._n_doubted

    def doubt(self, n_rows: int) -> None:
        """Trust no segment with any of the first rows until it is verified; the others hold nothing."""
        self._is_doubted[: self._segments(n_rows)] = True
        self._n_doubted = int(self._is_doubted.sum())

    def _segments(self, n_rows: int) -> int:
        return (n_rows + (1 << self.shift) - 1) >> self.shift

    def verify(self, positions: IntArray) -> None:
        """Verify the segments in which these rows stand, where that has not been done.

        Raises:
            RingUnusable: code `ring_damaged`; names region and segment.
        """
        if self._n_doubted:
            segments = positions >> self.shift
            self._verify_segments(np.unique(segments[self._is_doubted.take(segments)]))

    def verify_span(self, start: int, stop: int) -> None:
        """Verify the segments of the rows from start to stop - 1, as `verify`."""
        if self._n_doubted and stop > start:
            first = start >> self.shift
            doubted = self._is_doubted[first : ((stop - 1) >> self.shift) + 1]
            self._verify_segments(np.flatnonzero(doubted) + first)

    def _verify_segments(self, segments: IntArray) -> None:
        for segment, due in zip(segments.tolist(), self._sums.take(segments).tolist(), strict=True):
            if self._sum(segment) != due:
                raise RingUnusable(
                    f"segment {segment} of the ring's region {self._region!r} is damaged",
                    code="ring_damaged",
                    hint="Make the ring anew from the database: nothing is lost.",
                    field=f"{self._region}.segment",
                    value=segment,
                )
        self._is_doubted[segments] = False
        self._n_doubted -= len(segments)

    def _sum(self, segment: int) -> int:
        start, stop = segment << self.shift, (segment + 1) << self.shift
        found = 0
        for part, n_bytes in self._parts:
            found = zlib.crc32(part[start * n_bytes : stop * n_bytes], found)
        return found

    def change(self, position: int) -> None:
        """Note that a row was changed; its segment was verified before."""
        self._is_changed[position >> self.shift] = True

    def change_many(self, positions: IntArray) -> None:
        """Note that rows were changed; their segments were verified before."""
        self._is_changed[positions >> self.shift] = True

    def settle(self) -> None:
        """Take the checksums of what was changed since the last time."""
        segments = np.flatnonzero(self._is_changed)
        for segment in segments.tolist():
            self._sums[segment] = self._sum(segment)
        self._is_changed[segments] = False
