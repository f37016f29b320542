"""Who is in the buffer: index columns per slot, addressed from outside by event id and `seq` only.

Slots are dense: the n live experiences occupy slots 0 to n - 1, so that a uniform draw is one integer and a scan one
slice. A slot is nobody's identity: when an experience leaves, the last one moves into its place. Age is the order of
insertion, kept apart from the slots.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dwell.records.arrays import FloatArray, IntArray, one_by_one
from dwell.records.seqs import GONE, SeqIndex
from dwell.replay.ages import Ages
from dwell.replay.chains import Chains
from dwell.replay.codes import NameCodes
from dwell.replay.event_ids import EventIds, as_id_array
from dwell.replay.index_rows import IndexBlock, IndexRow
from dwell.replay.top_priority import TopPriority

__all__ = ["GONE", "IndexBlock", "IndexRow", "Ring"]

FIRST_SLOTS: Final = 1024  # columns start at this size and double, so that a huge capacity costs nothing until used
NO_USER: Final = -1  # the user code of an experience without a user

# what every draw and every update reads stands together, two to a line of cache: one miss where there were four
HOT: Final = np.dtype([("seq", np.int64), ("timestamp", np.float64), ("priority", np.float64), ("reward", np.float64)])
_COLUMNS: Final = {
    "version": np.int64,
    "size_bytes": np.int64,
    "segment_code": np.int32,
    "user_code": np.int32,
}


class Ring:
    """Index columns of at most `capacity` experiences; no locking, no validation, no rows.

    Args:
        capacity: Most experiences.
        n_slots: Slots allocated at first.
        has_segment_chains: Whether the oldest of each segment is asked for.
    """

    __slots__ = (
        "_ages",
        "_chains",
        "_columns",
        "_hot",
        "_hot_void",
        "_ids",
        "_n",
        "_seq_index",
        "_top",
        "_views",
        "capacity",
        "segments",
        "total_bytes",
        "users",
    )

    def __init__(self, capacity: int, *, n_slots: int = FIRST_SLOTS, has_segment_chains: bool = False) -> None:
        size = min(capacity, n_slots)
        self.capacity = capacity
        self.segments = NameCodes()
        self.users = NameCodes()
        self.total_bytes = 0
        self._n = 0
        self._ages = Ages(size)
        # of segments only for who asks; of users from the first user on
        self._chains: dict[str, Chains] = {"segment_code": Chains(size)} if has_segment_chains else {}
        self._ids = EventIds(size)
        self._seq_index = SeqIndex(size)
        self._top = TopPriority()
        self._take(np.zeros(size, HOT), {name: np.zeros(size, dtype) for name, dtype in _COLUMNS.items()})

    def _take(self, hot: npt.NDArray[Any], columns: dict[str, npt.NDArray[Any]]) -> None:
        self._hot = hot
        # numpy copies an opaque record in one go, and a structured one field by field
        self._hot_void = hot.view(f"V{HOT.itemsize}")
        self._columns = {name: hot[name] for name in HOT.names or ()} | columns
        # one number at a time costs half through a memoryview
        self._views = {name: one_by_one(column) for name, column in self._columns.items()}

    # ---- reading

    def __len__(self) -> int:
        return self._n

    @property
    def n_slots(self) -> int:
        """Number of slots allocated so far, <= capacity."""
        return self._hot.size

    @property
    def n_bytes(self) -> int:
        """Memory of the columns and of everything that finds a slot, event ids included."""
        columns = sum(column.nbytes for column in self._columns.values())
        chains = sum(chain.n_bytes for chain in self._chains.values())
        return columns + chains + self._ages.n_bytes + self._ids.n_bytes + self._seq_index.n_bytes

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return an index column of the live experiences by slot, (n,); a view, valid until the next change."""
        return self._columns[name][: self._n]

    @property
    def timestamps(self) -> FloatArray:
        """When each experience was served, float64 (n,) by slot."""
        return self._columns["timestamp"][: self._n]

    @property
    def priorities(self) -> FloatArray:
        """Raw priority of each experience, float64 (n,) by slot."""
        return self._columns["priority"][: self._n]

    @property
    def seqs(self) -> IntArray:
        """Identity of each experience, int64 (n,) by slot."""
        return self._columns["seq"][: self._n]

    def event_id(self, slot: int) -> str:
        """Return the event id in a slot."""
        return self._ids.text(slot)

    def event_ids(self, slots: IntArray) -> list[str]:
        """Return the event ids in some slots."""
        return self._ids.texts(slots)

    def id_array(self) -> npt.NDArray[Any]:
        """Return all event ids by slot, dtype "S" (n,); a copy."""
        return self._ids.array(self._n)

    def seq(self, slot: int) -> int:
        """Return the seq in a slot."""
        found: int = self._views["seq"][slot]
        return found

    def slot_of(self, key: str | int) -> int:
        """Return the slot of an event id or a seq, or `GONE`."""
        if isinstance(key, str):
            return self._ids.find(key, self._ids.hashed(key))
        return self._seq_index.one(key, self._views["seq"]) if key else GONE

    def hashed(self, event_id: str) -> int:
        """Return the hash by which this index knows an event id."""
        return self._ids.hashed(event_id)

    def slot_of_hashed(self, event_id: str, hashed: int) -> int:
        """Return the slot of an event id whose hash is known, or `GONE`."""
        return self._ids.find(event_id, hashed)

    def slots_of_ids(self, event_ids: Sequence[str]) -> IntArray:
        """Return the slots of event ids, `GONE` for those not here, int64 (b,)."""
        if not len(event_ids):
            return np.zeros(0, dtype=np.int64)
        # no event id has more characters: such a text is nobody's, and must not set the width of an array
        sought = [text if len(text) <= 128 else "" for text in event_ids]
        slots = self._ids.find_many(as_id_array(sought))
        # an array can not tell trailing zero bytes from its padding, and no id holds one
        if "\0" in "".join(sought):
            slots[["\0" in event_id for event_id in sought]] = GONE
        return slots

    def hashed_block(self, block: IndexBlock) -> IndexBlock:
        """Return a block with the hashes of its ids."""
        return block._replace(hashes=self._ids.hashes_of(block.event_ids))

    def are_new(self, block: IndexBlock) -> bool:
        """Return whether no event id of a hashed block is here, and none stands in it twice."""
        hashes = self._hashes_of(block)
        ordered = np.sort(hashes)
        # equal hashes of different ids are one in 2^64: taking them for equal costs time, not truth
        if (ordered[1:] == ordered[:-1]).any():
            return False
        return self._n == 0 or bool((self._ids.find_many(block.event_ids, hashes) == GONE).all())

    def slots_of_seqs(self, seqs: IntArray) -> IntArray:
        """Return the slots of seqs >= 1, `GONE` for those not here, int64 (b,)."""
        return self._seq_index.many(seqs, self._columns["seq"])[0]

    def found_seqs(self, seqs: IntArray) -> tuple[IntArray, bool]:
        """Return the slots of seqs >= 1, and whether all of them are here."""
        return self._seq_index.many(seqs, self._columns["seq"])

    def hot(self, slots: IntArray) -> npt.NDArray[Any]:
        """Return seq, timestamp, priority and reward of some slots, dtype `HOT` (b,); a copy."""
        return self._hot_void.take(slots).view(HOT)

    def values(self, name: str, slots: IntArray) -> npt.NDArray[Any]:
        """Return an index column at some slots, vacant ones included."""
        return self._columns[name][slots]

    def oldest(self, *, but: int = 0) -> int:
        """Return the seq of the oldest experience other than `but`; at least one such is there."""
        return self.seq(self._ages.oldest(but=self.slot_of(but) if but else GONE))

    def oldest_of_segment(self, code: int, *, but: int = 0) -> int:
        """Return the seq of the oldest experience of a segment other than `but`, or 0 where there is none."""
        chain = self._chains["segment_code"]
        slot = chain.first(code)
        if self.seq(slot) == but:
            slot = chain.second(code)
        return self.seq(slot) if slot != GONE else 0

    def in_order(self) -> IntArray:
        """Return all seqs, oldest first, int64 (n,)."""
        return self.seqs[self._ages.in_order()]

    def slots_in_order(self) -> IntArray:
        """Return all slots, oldest first, int64 (n,)."""
        return self._ages.in_order()

    def slots_of_user(self, user: str) -> list[int]:
        """Return the slots of one user's experiences, oldest first."""
        code = self.users.find(user)
        return [] if code is None else list(self._chains["user_code"].members(code))

    def top_priority(self) -> float:
        """Return the highest priority of a live experience; there is one."""
        return self._top.of(self.priorities)

    def row(self, slot: int) -> IndexRow:
        """Return all that is known of the experience in a slot."""
        views = self._views
        code = views["user_code"][slot]
        return IndexRow(
            event_id=self._ids.text(slot),
            seq=views["seq"][slot],
            timestamp=views["timestamp"][slot],
            priority=views["priority"][slot],
            reward=views["reward"][slot],
            version=views["version"][slot],
            user=None if code == NO_USER else self.users.name(code),
            segment=self.segments.name(views["segment_code"][slot]),
            size_bytes=views["size_bytes"][slot],
        )

    # ---- writing one

    def append(self, row: IndexRow, seq: int | None = None, hashed: int | None = None) -> int:
        """Put an experience in the next slot and return that; there is room, and its id and seq are new.

        Args:
            row: What is known of it.
            seq: Its identity as a number, where it is not that of the row.
            hashed: What `hashed` returned for its event id, where that is known.
        """
        slot = self._n
        if slot == self.n_slots:
            self._grow(slot + 1)
        self._n += 1
        self._arrive(slot, row, seq, hashed)
        return slot

    def replace(self, slot: int, row: IndexRow) -> None:
        """Put the newer content of the same event in its slot; its age stays."""
        before = {
            name: (self._views[name][slot], chain.neighbours(slot)[1])
            for name, chain in self._chains.items()
            if self._views[name][slot] != NO_USER
        }
        self._forget(slot)
        self._write(slot, row, self.seq(slot))
        # written, it stands at the end of its lists: back to its age
        for name, chain in self._chains.items():
            code = self._views[name][slot]
            if code == NO_USER:
                continue
            old_code, after = before.get(name, (NO_USER, GONE))
            if code != old_code:
                # O(those younger in the list): a segment or user that changes is rare
                after, age = GONE, self._ages.place(slot)
                while (younger := chain.neighbours(slot if after == GONE else after)[0]) != GONE:
                    if self._ages.place(younger) < age:
                        break
                    after = younger
            chain.put_before(slot, after, code)

    def take_over(self, slot: int, row: IndexRow, seq: int | None = None, hashed: int | None = None) -> None:
        """Put a new experience in the slot of one that leaves: an eviction and an append without a move."""
        self._leave(slot)
        self._arrive(slot, row, seq, hashed)

    def remove(self, slot: int) -> int:
        """Take an experience out and return the slot that is now vacant: its successor there moved to `slot`."""
        self._leave(slot)
        last = self._n - 1
        if slot != last:
            for view in self._views.values():
                view[slot] = view[last]
            self._ids.move(last, slot)
            self._ages.move(last, slot)
            for name, chain in self._chains.items():
                code = self._views[name][slot]
                if code != NO_USER:
                    chain.move(last, slot, code)
            self._views["seq"][last] = 0
            self._seq_index.put(self.seq(slot), slot, self._views["seq"])
        self._n = last
        return last

    def clear(self) -> None:
        """Take every experience out; the allocation stays."""
        self._n = 0
        self._columns["seq"].fill(0)
        self._ages.clear()
        self._ids.clear()
        self._seq_index.clear()
        for chain in self._chains.values():
            chain.clear()
        self.segments, self.users = NameCodes(), NameCodes()
        self.total_bytes = 0
        self._top.forget()

    def reorder(self, seqs: Iterable[int]) -> None:
        """Set the ages: all live seqs, oldest first."""
        slots = self.slots_of_seqs(np.fromiter(seqs, dtype=np.int64))
        self._ages.fill(slots)
        for name, chain in self._chains.items():
            chain.clear()
            for slot, code in zip(slots.tolist(), self._columns[name][slots].tolist(), strict=True):
                if code != NO_USER:
                    chain.append(slot, code)

    def set_priorities(self, slots: IntArray, priorities: FloatArray) -> None:
        """Store raw priorities; of a slot given twice the last one holds."""
        column = self._columns["priority"]
        if self._top.is_known:
            self._top.change(column[slots], priorities)
        column[slots] = priorities

    def set_reward(self, slot: int, reward: float, version: int) -> None:
        """Store a recomputed reward with its version."""
        self._views["reward"][slot] = reward
        self._views["version"][slot] = version

    # ---- writing many

    def append_block(self, block: IndexBlock) -> IntArray:
        """Put new experiences in the next slots and return those; there is room, and ids and seqs are new."""
        first, n = self._n, len(block.seqs)
        if first + n > self.n_slots:
            self._grow(first + n)
        self._n += n
        slots = np.arange(first, first + n)
        self._arrive_many(slots, slice(first, first + n), block)
        return slots

    def adopt(self, block: IndexBlock, segment_codes: IntArray, segment_names: Sequence[str | None]) -> None:
        """Take over a whole index into an empty one, oldest first: slot i is row i.

        Args:
            block: Ids and seqs are all different, which is taken on trust; its own users and segments are not read.
            segment_codes: int64 (n,), index of each row's segment into the names.
            segment_names: Names, all different.
        """
        n = len(block.seqs)
        if n > self.n_slots:
            self._grow(n, has_ids=False)
        n_of = np.bincount(segment_codes, minlength=len(segment_names))
        present = np.flatnonzero(n_of)
        code_of = np.zeros(len(segment_names), dtype=np.int32)
        code_of[present] = np.arange(present.size)
        self.segments = NameCodes.of({segment_names[i]: int(n_of[i]) for i in present.tolist()})
        self._n = n
        columns = self._columns
        for name, values in (
            ("seq", block.seqs),
            ("timestamp", block.timestamps),
            ("priority", block.priorities),
            ("reward", block.rewards),
            ("version", block.versions),
            ("size_bytes", block.sizes_bytes),
            ("segment_code", code_of.take(segment_codes)),
        ):
            columns[name][:n] = values
        columns["user_code"][:n] = NO_USER
        self._ids.adopt(block.event_ids, self.n_slots)
        self._seq_index.fill(self.seqs)
        slots = np.arange(n)
        self._ages.fill(slots)
        self.total_bytes = int(block.sizes_bytes.sum())
        self._top.forget()
        for chain in self._chains.values():
            for slot, code in enumerate(columns["segment_code"][:n].tolist()):
                chain.append(slot, code)

    def take_over_block(self, block: IndexBlock) -> tuple[IntArray, IntArray]:
        """Put new experiences in the slots of the oldest; return the slots and the seqs that left."""
        slots = self._ages.oldest_many(len(block.seqs))
        first, n = int(slots[0]), slots.size
        is_run = int(slots[-1]) - first == n - 1 and bool((np.diff(slots) == 1).all())
        where: slice | IntArray = slice(first, first + n) if is_run else slots
        gone = self._columns["seq"][where].copy()
        self._leave_many(slots, where)
        self._arrive_many(slots, where, block)
        return slots, gone

    # ---- inside

    def _arrive(self, slot: int, row: IndexRow, seq: int | None, hashed: int | None) -> None:
        if not self._ids.has_room(1):
            self._rebuild_ids()
        self._ids.put(slot, row.event_id, self._ids.hashed(row.event_id) if hashed is None else hashed)
        self._ages.append(slot)
        self._write(slot, row, row.seq if seq is None else seq)

    def _leave(self, slot: int) -> None:
        self._ids.drop(slot)
        self._ages.drop(slot)
        self._seq_index.drop(self.seq(slot))
        self._forget(slot)
        self._views["seq"][slot] = 0

    def _write(self, slot: int, row: IndexRow, seq: int) -> None:
        views = self._views
        views["timestamp"][slot] = row.timestamp
        views["priority"][slot] = row.priority
        views["reward"][slot] = row.reward
        views["version"][slot] = row.version
        views["size_bytes"][slot] = row.size_bytes
        segment = self.segments.enter(row.segment)
        views["segment_code"][slot] = segment
        user = NO_USER if row.user is None else self._enter_user(row.user)
        views["user_code"][slot] = user
        if self._chains:
            self._link(slot, segment, user)
        self._seq_index.put(seq, slot, views["seq"])
        views["seq"][slot] = seq
        self.total_bytes += row.size_bytes
        self._top.arrive(row.priority)

    def _forget(self, slot: int) -> None:
        views = self._views
        segment, user = views["segment_code"][slot], views["user_code"][slot]
        self.segments.leave(segment)
        if user != NO_USER:
            self.users.leave(user)
            self._chains["user_code"].drop(slot, user)
        if "segment_code" in self._chains:
            self._chains["segment_code"].drop(slot, segment)
        self.total_bytes -= views["size_bytes"][slot]
        self._top.leave(views["priority"][slot])

    def _enter_user(self, user: str) -> int:
        if "user_code" not in self._chains:
            self._chains["user_code"] = Chains(self.n_slots)
        return self.users.enter(user)

    def _link(self, slot: int, segment: int, user: int) -> None:
        if user != NO_USER:
            self._chains["user_code"].append(slot, user)
        if "segment_code" in self._chains:
            self._chains["segment_code"].append(slot, segment)

    def _arrive_many(self, slots: IntArray, where: slice | IntArray, block: IndexBlock) -> None:
        if not self._ids.has_room(slots.size):
            self._rebuild_ids()
        n = slots.size
        self._ids.write(where, block.event_ids, self._hashes_of(block))
        self._ids.enter_many(slots)
        self._ages.append_many(slots)
        columns = self._columns
        columns["timestamp"][where] = block.timestamps
        columns["priority"][where] = block.priorities
        columns["reward"][where] = block.rewards
        columns["version"][where] = block.versions
        columns["size_bytes"][where] = block.sizes_bytes
        segments: Any = (
            self.segments.enter(None, n)
            if block.segments is None
            else [self.segments.enter(name) for name in block.segments]
        )
        users: Any = (
            NO_USER
            if block.users is None
            else [NO_USER if name is None else self._enter_user(name) for name in block.users]
        )
        columns["segment_code"][where] = segments
        columns["user_code"][where] = users
        if self._chains:
            for slot in slots.tolist():
                self._link(slot, self._views["segment_code"][slot], self._views["user_code"][slot])
        self._seq_index.put_many(block.seqs, slots, columns["seq"])
        columns["seq"][where] = block.seqs
        self.total_bytes += int(block.sizes_bytes.sum())
        self._top.arrive_many(block.priorities)

    def _leave_many(self, slots: IntArray, where: slice | IntArray) -> None:
        self._ids.drop_many(slots)
        self._ages.drop_many(slots)
        columns = self._columns
        self._seq_index.drop_many(columns["seq"][where])
        is_plain = not self._chains and len(self.segments) == 1
        if is_plain:
            self.segments.leave(int(columns["segment_code"][slots[0]]), slots.size)
            self.total_bytes -= int(columns["size_bytes"][where].sum())
            self._top.leave_many(columns["priority"][where])
        else:
            for slot in slots.tolist():
                self._forget(slot)
        columns["seq"][where] = 0

    def _hashes_of(self, block: IndexBlock) -> npt.NDArray[np.uint64]:
        return self._ids.hashes_of(block.event_ids) if block.hashes is None else block.hashes

    def _rebuild_ids(self) -> None:
        """Make the table of ids anew, while slots that are about to be filled have the seq 0."""
        self._ids.rebuild(np.flatnonzero(self.seqs), self.n_slots)

    def _grow(self, n_needed: int, *, has_ids: bool = True) -> None:
        size = min(self.capacity, max(2 * self.n_slots, n_needed))
        hot = np.zeros(size, HOT)
        hot[: self._hot.size] = self._hot
        columns = {}
        for name, dtype in _COLUMNS.items():
            columns[name] = np.zeros(size, dtype)
            columns[name][: self._hot.size] = self._columns[name]
        self._take(hot, columns)
        self._ages.grow(size)
        for chain in self._chains.values():
            chain.grow(size)
        if has_ids:
            self._ids.rebuild(np.arange(self._n), size)
        self._seq_index = SeqIndex(size)
        if self._n:
            self._seq_index.fill(self.seqs)
