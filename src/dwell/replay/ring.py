"""Who is in the buffer: index columns per slot, addressed from outside by event id and `seq` only.

Slots are dense: the n live experiences occupy slots 0 to n - 1, so that a uniform draw is one integer and a scan one
slice. A slot is nobody's identity: when an experience leaves, the last one moves into its place. Age is the order of
insertion, kept apart from the slots.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.records.arrays import FloatArray, IntArray

__all__ = ["GONE", "IndexRow", "Ring"]

GONE: Final = -1  # the slot of who is not in the buffer
FIRST_SLOTS: Final = 1024  # columns start at this size and double, so that a huge capacity costs nothing until used

_COLUMNS: Final = {
    "seq": np.int64,
    "timestamp": np.float64,
    "priority": np.float64,
    "reward": np.float64,
    "version": np.int64,
    "size_bytes": np.int64,
    "segment_code": np.int64,
}


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


class SegmentCodes:
    """Small integers for the segments that are present; a code is free again once its last experience left."""

    __slots__ = ("_code_of", "_free", "_n_of", "_names")

    def __init__(self) -> None:
        self._code_of: dict[str | None, int] = {}
        self._names: list[str | None] = []
        self._n_of: list[int] = []
        self._free: list[int] = []

    def enter(self, segment: str | None) -> int:
        """Return the code of a segment that gains one experience."""
        code = self._code_of.get(segment)
        if code is None:
            if self._free:
                code = self._free.pop()
                self._names[code] = segment
            else:
                code = len(self._names)
                self._names.append(segment)
                self._n_of.append(0)
            self._code_of[segment] = code
        self._n_of[code] += 1
        return code

    def leave(self, code: int) -> None:
        """Forget one experience of a segment."""
        self._n_of[code] -= 1
        if self._n_of[code] == 0:
            del self._code_of[self._names[code]]
            self._free.append(code)

    def name(self, code: int) -> str | None:
        """Return the segment behind a code that is in use."""
        return self._names[code]

    def counts(self) -> dict[str | None, int]:
        """Return the number of experiences per segment present."""
        return {name: self._n_of[code] for name, code in self._code_of.items()}


class Ring:
    """Index columns of at most `capacity` experiences; no locking, no validation, no rows."""

    __slots__ = (
        "_columns",
        "_events",
        "_hint",
        "_slot_by_id",
        "_slot_by_seq",
        "_users",
        "capacity",
        "segments",
        "total_bytes",
    )

    def __init__(self, capacity: int, *, n_slots: int = FIRST_SLOTS) -> None:
        self.capacity = capacity
        self.segments = SegmentCodes()
        self.total_bytes = 0
        self._events: list[str] = []
        self._users: list[str | None] = []
        self._slot_by_id: dict[str, int] = {}
        # insertion order is age: its first key is the next to be evicted
        self._slot_by_seq: OrderedDict[int, int] = OrderedDict()
        size = min(capacity, n_slots)
        self._columns: dict[str, npt.NDArray[Any]] = {name: np.zeros(size, dtype) for name, dtype in _COLUMNS.items()}
        self._hint = self._fresh_hint(size)

    # ---- reading

    def __len__(self) -> int:
        return len(self._events)

    @property
    def n_slots(self) -> int:
        """Number of slots allocated so far, <= capacity."""
        return self._columns["seq"].size

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return an index column of the live experiences by slot, (n,); a view, valid until the next change."""
        return self._columns[name][: len(self._events)]

    @property
    def timestamps(self) -> FloatArray:
        """When each experience was served, float64 (n,) by slot."""
        return self.column("timestamp")

    @property
    def priorities(self) -> FloatArray:
        """Raw priority of each experience, float64 (n,) by slot."""
        return self.column("priority")

    @property
    def seqs(self) -> IntArray:
        """Identity of each experience, int64 (n,) by slot."""
        return self.column("seq")

    def event_id(self, slot: int) -> str:
        """Return the event id in a slot."""
        return self._events[slot]

    def slot_of(self, key: str | int) -> int:
        """Return the slot of an event id or a seq, or `GONE`."""
        return self._slot_by_id.get(key, GONE) if isinstance(key, str) else self._slot_by_seq.get(key, GONE)

    def slots_of_ids(self, event_ids: Iterable[str]) -> IntArray:
        """Return the slots of event ids, `GONE` for those not here, int64 (b,)."""
        find = self._slot_by_id.get
        return np.array([find(event_id, GONE) for event_id in event_ids], dtype=np.int64)

    def slots_of_seqs(self, seqs: IntArray) -> IntArray:
        """Return the slots of seqs, `GONE` for those not here, int64 (b,)."""
        slots = self._hint.take(seqs & (self._hint.size - 1))
        is_right = self._columns["seq"].take(slots) == seqs
        is_right &= slots < len(self._events)
        if not is_right.all():
            find = self._slot_by_seq.get
            for i in np.flatnonzero(~is_right).tolist():
                slots[i] = find(int(seqs[i]), GONE)
        return slots

    def oldest(self, *, but: int = 0) -> int:
        """Return the seq of the oldest experience other than `but`; at least one such is there."""
        return next(seq for seq in islice(self._slot_by_seq, 2) if seq != but)

    def in_order(self) -> IntArray:
        """Return all seqs, oldest first, int64 (n,)."""
        return np.fromiter(self._slot_by_seq, dtype=np.int64, count=len(self._slot_by_seq))

    def slots_of_user(self, user: str) -> list[int]:
        """Return the slots of one user's experiences."""
        return [slot for slot, name in enumerate(self._users) if name == user]

    def row(self, slot: int) -> IndexRow:
        """Return all that is known of the experience in a slot."""
        columns = self._columns
        return IndexRow(
            event_id=self._events[slot],
            seq=int(columns["seq"][slot]),
            timestamp=float(columns["timestamp"][slot]),
            priority=float(columns["priority"][slot]),
            reward=float(columns["reward"][slot]),
            version=int(columns["version"][slot]),
            user=self._users[slot],
            segment=self.segments.name(int(columns["segment_code"][slot])),
            size_bytes=int(columns["size_bytes"][slot]),
        )

    # ---- writing

    def append(self, row: IndexRow) -> int:
        """Put an experience in the next slot and return that; there is room, and its id and seq are new."""
        slot = len(self._events)
        if slot == self.n_slots:
            self._grow()
        self._events.append(row.event_id)
        self._users.append(row.user)
        self._slot_by_id[row.event_id] = slot
        self._slot_by_seq[row.seq] = slot
        self._write(slot, row)
        return slot

    def replace(self, slot: int, row: IndexRow) -> None:
        """Put the newer content of the same event in its slot; its age stays."""
        self._forget(slot)
        self._users[slot] = row.user
        self._write(slot, row)

    def take_over(self, slot: int, row: IndexRow) -> None:
        """Put a new experience in the slot of one that leaves: an eviction and an append without a move."""
        del self._slot_by_id[self._events[slot]]
        del self._slot_by_seq[int(self._columns["seq"][slot])]
        self._forget(slot)
        self._events[slot] = row.event_id
        self._users[slot] = row.user
        self._slot_by_id[row.event_id] = slot
        self._slot_by_seq[row.seq] = slot
        self._write(slot, row)

    def remove(self, slot: int) -> int:
        """Take an experience out and return the slot that is now vacant: its successor there moved to `slot`."""
        del self._slot_by_id[self._events[slot]]
        del self._slot_by_seq[int(self._columns["seq"][slot])]
        self._forget(slot)
        last = len(self._events) - 1
        if slot != last:
            for column in self._columns.values():
                column[slot] = column[last]
            self._events[slot], self._users[slot] = self._events[last], self._users[last]
            seq = int(self._columns["seq"][slot])
            self._slot_by_id[self._events[slot]] = slot
            self._slot_by_seq[seq] = slot
            self._hint[seq & (self._hint.size - 1)] = slot
        self._events.pop()
        self._users.pop()
        return last

    def clear(self) -> None:
        """Take every experience out; the allocation stays."""
        self._events.clear()
        self._users.clear()
        self._slot_by_id.clear()
        self._slot_by_seq.clear()
        self.segments = SegmentCodes()
        self.total_bytes = 0

    def reorder(self, seqs: Iterable[int]) -> None:
        """Set the ages: all live seqs, oldest first."""
        for seq in seqs:
            self._slot_by_seq.move_to_end(seq)

    def set_priorities(self, slots: IntArray, priorities: FloatArray) -> None:
        """Store raw priorities; of a slot given twice the last one holds."""
        self._columns["priority"][slots] = priorities

    def set_reward(self, slot: int, reward: float, version: int) -> None:
        """Store a recomputed reward with its version."""
        self._columns["reward"][slot] = reward
        self._columns["version"][slot] = version

    def _write(self, slot: int, row: IndexRow) -> None:
        columns = self._columns
        columns["seq"][slot] = row.seq
        columns["timestamp"][slot] = row.timestamp
        columns["priority"][slot] = row.priority
        columns["reward"][slot] = row.reward
        columns["version"][slot] = row.version
        columns["size_bytes"][slot] = row.size_bytes
        columns["segment_code"][slot] = self.segments.enter(row.segment)
        self._hint[row.seq & (self._hint.size - 1)] = slot
        self.total_bytes += row.size_bytes

    def _forget(self, slot: int) -> None:
        self.segments.leave(int(self._columns["segment_code"][slot]))
        self.total_bytes -= int(self._columns["size_bytes"][slot])

    def _grow(self) -> None:
        size = min(self.capacity, 2 * self.n_slots)
        for name, column in self._columns.items():
            grown = np.zeros(size, column.dtype)
            grown[: column.size] = column
            self._columns[name] = grown
        self._hint = self._fresh_hint(size)
        mask = self._hint.size - 1
        n = len(self._slot_by_seq)
        self._hint[self.seqs[:n] & mask] = np.arange(n)

    @staticmethod
    def _fresh_hint(n_slots: int) -> IntArray:
        # where a seq probably is: right for all while seqs are dense, checked on each use, the dict knows for sure
        return np.zeros(2 << max(n_slots - 1, 1).bit_length(), dtype=np.int64)
