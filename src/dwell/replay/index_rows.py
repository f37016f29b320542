"""What the buffer knows of an experience without reading its row: of one, or of many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.errors import ReplayError
from dwell.records.arrays import FloatArray, IntArray
from dwell.replay.size_estimate import INDEX_BYTES, TEXT_BYTES

__all__ = ["IndexBlock", "IndexRow", "SourceIndex"]


class IndexRow(NamedTuple):
    """What the buffer knows of one experience without reading its row.

    Attributes:
        event_id: Identity.
        seq: Identity as a number, >= 1.
        timestamp: UTC epoch seconds.
        priority: Raw priority, finite, >= 0.
        reward: Reward of the list.
        version: Counts recomputations of the reward, >= 0.
        user: Pseudonym or None.
        segment: Group of queries, or None.
        size_bytes: Estimated memory, >= 0.
    """

    event_id: str
    seq: int
    timestamp: float
    priority: float
    reward: float
    version: int
    user: str | None
    segment: str | None
    size_bytes: int


class IndexBlock(NamedTuple):
    """What the buffer knows of many experiences at once, each (n,).

    Attributes:
        event_ids: dtype "S", all different.
        seqs: int64, all different.
        timestamps: float64.
        priorities: float64.
        rewards: float64.
        versions: int64.
        users: One each, or None where nobody has one.
        segments: One each, or None where nobody has one.
        sizes_bytes: int64.
        hashes: Of the ids, as `Ring.hashed_block` fills them in.
    """

    event_ids: npt.NDArray[Any]
    seqs: IntArray
    timestamps: FloatArray
    priorities: FloatArray
    rewards: FloatArray
    versions: IntArray
    users: Sequence[str | None] | None
    segments: Sequence[str | None] | None
    sizes_bytes: IntArray
    hashes: npt.NDArray[np.uint64] | None = None

    def row(self, i: int) -> IndexRow:
        """Return one of them."""
        return IndexRow(
            event_id=self.event_ids[i].decode("utf-8", "surrogatepass"),
            seq=int(self.seqs[i]),
            timestamp=float(self.timestamps[i]),
            priority=float(self.priorities[i]),
            reward=float(self.rewards[i]),
            version=int(self.versions[i]),
            user=None if self.users is None else self.users[i],
            segment=None if self.segments is None else self.segments[i],
            size_bytes=int(self.sizes_bytes[i]),
        )


class SourceIndex(NamedTuple):
    """The index of a source of rows that was verified before, as a column ring's: each (n,), oldest first.

    Who takes it over may keep the arrays: give away copies.

    Attributes:
        event_ids: dtype "S", all different.
        seqs: int64, >= 1, all different.
        timestamps: float64.
        priorities: float64, finite, >= 0.
        rewards: float64.
        versions: int64.
        segment_codes: int64, index of each row's segment into the names.
        segment_names: All different.
    """

    event_ids: npt.NDArray[Any]
    seqs: IntArray
    timestamps: FloatArray
    priorities: FloatArray
    rewards: FloatArray
    versions: IntArray
    segment_codes: IntArray
    segment_names: Sequence[str | None]

    def check(self) -> None:
        """Refuse what no buffer could work with; that ids and seqs are all different is taken on trust.

        Raises:
            ReplayError: A column has another length, or values out of range; names it.
        """
        n = len(self.seqs)
        for name, values in zip(self._fields[:7], self[:7], strict=True):
            if len(values) != n:
                raise ReplayError(f"{n} values are due", field=name, value=len(values), hint="Pass one per row.")
        sound = {
            "seqs": n == 0 or bool(self.seqs.min() >= 1),
            "timestamps": bool(np.isfinite(self.timestamps).all()),
            "priorities": n == 0 or bool(self.priorities.min() >= 0.0 and self.priorities.max() < np.inf),
            "rewards": bool(np.isfinite(self.rewards).all()),
            "segment_codes": n == 0
            or bool(self.segment_codes.min() >= 0 and self.segment_codes.max() < len(self.segment_names)),
        }
        for name, is_sound in sound.items():
            if not is_sound:
                raise ReplayError("a value is out of range", field=name, code="range", hint="Make the index anew.")

    def block(self) -> IndexBlock:
        """Return the same without users and segments."""
        size_bytes = INDEX_BYTES + TEXT_BYTES + self.event_ids.itemsize
        return IndexBlock(*self[:6], None, None, np.full(len(self.seqs), size_bytes))
