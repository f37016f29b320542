"""What is in a buffer: index, rows and laws, changed together; no lock, no check of what callers pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dwell.errors import ReplayError
from dwell.records import Columns, ColumnSpec, Experience
from dwell.records.arrays import IntArray
from dwell.replay.arguments import row_source
from dwell.replay.bounds import Bounds, Deadlines, victim
from dwell.replay.external_rows import ExternalRows
from dwell.replay.index_rows import IndexBlock, IndexRow, SourceIndex
from dwell.replay.laws import Laws
from dwell.replay.object_rows import ObjectRows
from dwell.replay.packed_rows import PackedRows
from dwell.replay.ring import FIRST_SLOTS, GONE, Ring
from dwell.replay.rows import INDEX_COLUMNS, Rows
from dwell.replay.samplers import ExactTree

__all__ = ["Contents", "packed_rows"]

# columns of the rows; of the index as they stand there; of the index otherwise, with their dtype; whether that is the
# order asked for
Plan = tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, np.dtype[Any] | None], ...], bool]
MOST_PLANS: Final = 64  # sets of columns remembered


class Contents:
    """Experiences within bounds.

    Args:
        bounds: How much is kept.
        alpha: Exponent of priorities and ranks.
        half_life_s: Half-life of recency, or None.
        columns: See `ReplayBuffer`.
        make_tree: Makes a sum tree of whole numbers.
        n_slots: Slots allocated at first.
        scales: Of a saved buffer's trees.
    """

    __slots__ = ("_deadlines", "_plans", "bounds", "is_external", "laws", "next_seq", "ring", "rows")

    def __init__(
        self,
        bounds: Bounds,
        *,
        alpha: float,
        half_life_s: float | None,
        columns: ColumnSpec | Columns | None,
        make_tree: Callable[[int], ExactTree],
        n_slots: int = FIRST_SLOTS,
        scales: Mapping[str, int] | None = None,
    ) -> None:
        self.bounds = bounds
        self.ring = Ring(bounds.capacity, n_slots=n_slots, has_segment_chains=bounds.segment_quotas is not None)
        self.rows: Rows = _rows_for(columns, bounds.capacity)
        self.is_external = isinstance(self.rows, ExternalRows)  # whether somebody else keeps the rows
        self.laws = Laws(self.ring, alpha=alpha, half_life_s=half_life_s, make_tree=make_tree, scales=scales)
        self.next_seq = 1
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._deadlines = None if bounds.max_age_s is None else Deadlines(bounds.max_age_s)

    # ---- adding

    def insert(self, row: IndexRow, content: object) -> list[int]:
        """Put an admissible experience in, or in place of its older self; return the seqs that left for it."""
        ring = self.ring
        hashed = ring.hashed(row.event_id)
        slot = ring.slot_of_hashed(row.event_id, hashed)
        evicted = []
        if slot != GONE:
            seq = ring.seq(slot)
            ring.replace(slot, row)
        else:
            seq = row.seq
            if not self.is_external:
                seq = self.next_seq
                self.next_seq += 1
            if self._deadlines is not None and self._deadlines.is_past(row.timestamp):
                return [seq]  # nobody makes room for who would leave at once
            if len(ring) < self.bounds.capacity:
                self.rows.reserve(len(ring) + 1)  # first: where memory ends, nothing has changed
                slot = ring.append(row, seq, hashed)
            else:
                evicted = [victim(ring, self.bounds, segment=row.segment)]
                slot = ring.slot_of(evicted[0])
                ring.take_over(slot, row, seq, hashed)
        self.rows.store(slot, content)
        self.laws.placed(slot)
        return evicted if self.bounds.is_by_count_alone else evicted + self._trimmed(row, seq)

    def insert_block(self, block: IndexBlock, columns: Mapping[str, npt.NDArray[Any]] | None) -> list[int]:
        """Put admissible experiences in, in order, and return the seqs that left for them.

        Args:
            block: Index columns; for rows of our own the seqs are given here, whatever they are.
            columns: Rows of our own, or None where they are kept elsewhere.
        """
        ring, n = self.ring, len(block.seqs)
        block = ring.hashed_block(block)
        if not (self.bounds.is_by_count_alone and n <= self.bounds.capacity and ring.are_new(block)):
            return self._insert_one_by_one(block, columns)
        if not self.is_external:
            block = block._replace(seqs=np.arange(self.next_seq, self.next_seq + n))
            self.next_seq += n
        n_room = min(self.bounds.capacity - len(ring), n)
        slots, evicted = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        if n_room:
            self.rows.reserve(len(ring) + n_room)
            slots = ring.append_block(block if n_room == n else _part(block, 0, n_room))
        if n_room < n:
            more, evicted = ring.take_over_block(block if n_room == 0 else _part(block, n_room, n))
            slots = np.concatenate([slots, more]) if n_room else more
        if columns is not None and isinstance(self.rows, PackedRows):
            self.rows.store_many(slots, columns)
        self.laws.placed_many(slots)
        return evicted.tolist()

    def adopt(self, index: SourceIndex) -> None:
        """Take over a whole index into contents that are empty.

        Raises:
            ReplayError: They are not empty, keep their own rows, have no room for it, or are bounded by bytes or age.
        """
        n, bounds = len(index.seqs), self.bounds
        is_fit = self.is_external and n <= bounds.capacity and bounds.max_bytes is None and bounds.max_age_s is None
        if len(self.ring) or not is_fit:
            raise ReplayError(
                "an index is taken over by an empty buffer with room for it, whose rows are kept elsewhere",
                field="seqs",
                value=n,
                hint="Use extend_columns.",
            )
        index.check()
        self.ring.adopt(index.block(), index.segment_codes, index.segment_names)
        self.laws.cleared()

    def _insert_one_by_one(self, block: IndexBlock, columns: Mapping[str, npt.NDArray[Any]] | None) -> list[int]:
        evicted = []
        for i in range(len(block.seqs)):
            content = None if columns is None else {name: values[i] for name, values in columns.items()}
            evicted += self.insert(block.row(i), content)
        return evicted

    def _trimmed(self, newest: IndexRow, seq: int) -> list[int]:
        """Evict until bytes and ages are within bounds, and return who left; for the bytes the newest stays."""
        evicted: list[int] = []
        if self._deadlines is not None:
            self._deadlines.add(newest.timestamp, seq)
            for slot in self._deadlines.due(self.ring):
                evicted.append(self.ring.seq(slot))
                self.remove(slot)
        max_bytes = self.bounds.max_bytes
        while max_bytes is not None and self.ring.total_bytes > max_bytes:
            evicted.append(victim(self.ring, self.bounds, segment=newest.segment, but=seq))
            self.remove(self.ring.slot_of(evicted[-1]))
        return evicted

    # ---- removing

    def remove(self, slot: int) -> None:
        """Take one experience out."""
        vacant = self.ring.remove(slot)
        self.rows.move(vacant, slot)
        self.laws.placed(slot)
        self.laws.placed(vacant)

    def remove_user(self, user: str) -> int:
        """Take every experience of one user out and return their number."""
        # from the top: what moves into a vacant slot is never one still to be removed
        slots = sorted(self.ring.slots_of_user(user), reverse=True)
        for slot in slots:
            self.remove(slot)
        return len(slots)

    def evict_before(self, timestamp: float) -> list[int]:
        """Take out every experience older than an instant and return their seqs."""
        ring = self.ring
        seqs: list[int] = ring.seqs[ring.timestamps < timestamp].tolist()
        for seq in seqs:
            self.remove(ring.slot_of(seq))
        return seqs

    def clear(self) -> None:
        """Take every experience out; seqs go on."""
        self.ring.clear()
        self.rows.clear()
        self.laws.cleared()
        if self.bounds.max_age_s is not None:
            self._deadlines = Deadlines(self.bounds.max_age_s)

    @property
    def newest(self) -> float:
        """The newest timestamp ever added, where ages are bounded; its owner may have left."""
        return 0.0 if self._deadlines is None else self._deadlines.newest

    def restored(self, newest: float) -> None:
        """Take up what was put into the ring behind the back of this object, and the newest timestamp ever added."""
        self.laws.cleared()
        if self._deadlines is not None:
            for timestamp, seq in zip(self.ring.timestamps.tolist(), self.ring.seqs.tolist(), strict=True):
                self._deadlines.add(timestamp, seq)
            self._deadlines.know(newest)

    # ---- reading

    def experience(self, slot: int) -> Experience:
        """Return the experience in a slot."""
        return self.rows.experience(slot, self.ring.row(slot))

    def live_slots(self, seqs: IntArray) -> IntArray:
        """Return the slots of seqs that are all here.

        Raises:
            ReplayError: code `gone`: one is not.
        """
        slots = self.ring.slots_of_seqs(seqs)
        gone = np.flatnonzero(slots == GONE)
        if gone.size:
            raise ReplayError(
                "an experience of this batch has left the buffer since",
                code="gone",
                field="seqs",
                value=int(seqs[gone[0]]),
                hint="Read the batch before adding more, or ask for columns when sampling.",
            )
        return slots

    def read(self, slots: IntArray, seqs: IntArray, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Return columns of some slots, in the order of the names."""
        return self.read_beside(slots, self.ring.hot(slots), seqs, names)

    def read_beside(
        self, slots: IntArray, hot: npt.NDArray[Any], seqs: IntArray, names: Sequence[str]
    ) -> dict[str, npt.NDArray[Any]]:
        """Return columns of some slots whose hot part has been read."""
        plan = self.planned(names)
        of_rows, of_hot, others, is_in_order = plan
        columns = self.rows.read(slots, seqs, of_rows) if of_rows else {}
        for name in of_hot:
            columns[name] = hot[name]
        for name, dtype in others:
            values = self.ring.values(name, slots) if name == "version" else seqs if name == "seq" else hot[name]
            columns[name] = values if dtype is None else values.astype(dtype, copy=False)
        return columns if is_in_order else {name: columns[name] for name in names}

    def planned(self, names: Sequence[str]) -> Plan:
        """Return where each of these columns is read: a learner asks for the same ones at every step.

        Raises:
            ReplayError: There is no such column.
        """
        names = tuple(names)
        found = self._plans.get(names)
        if found is not None:
            return found
        dtypes = self.rows.index_dtypes
        of_index = [name for name in names if name in INDEX_COLUMNS]
        of_hot = tuple(name for name in of_index if name not in dtypes and name not in {"version", "seq"})
        others = tuple((name, dtypes.get(name)) for name in of_index if name not in of_hot)
        of_rows = tuple(name for name in names if name not in INDEX_COLUMNS)
        self.rows.check_names(of_rows)
        is_in_order = (*of_rows, *of_hot, *(name for name, _ in others)) == names
        plan = (of_rows, of_hot, others, is_in_order)
        if len(self._plans) < MOST_PLANS:
            self._plans[names] = plan
        return plan


def _rows_for(columns: ColumnSpec | Columns | None, capacity: int) -> Rows:
    source = row_source(columns)
    if source is None:
        return ObjectRows()
    return PackedRows(source, capacity=capacity) if isinstance(source, ColumnSpec) else ExternalRows(source)


def packed_rows(contents: Contents) -> PackedRows:
    """Return the rows of contents that pack them.

    Raises:
        ReplayError: They do not.
    """
    if not isinstance(contents.rows, PackedRows):
        raise ReplayError(
            "this buffer packs no rows",
            field="columns",
            value=type(contents.rows).__name__,
            hint="Use add or extend, or give the constructor a ColumnSpec.",
        )
    return contents.rows


def _part(block: IndexBlock, start: int, end: int) -> IndexBlock:
    part: Any = (None if values is None else values[start:end] for values in block)
    return IndexBlock(*part)
