"""Event ids by slot, and the slot of an event id: a table of 64-bit hashes, every hit verified against the id itself.

A Python dict of a million ids takes 144 bytes each beside the text; here the text stands in one array of fixed width
and its index takes 24 to 40 bytes. Many ids are looked up at once with a few array operations: a cell holds 31 bits of
the hash beside the slot, and eight neighbouring cells, one line of cache, are looked at together.

The hash is multilinear over 64-bit words with odd multipliers drawn per process, then mixed; zero words count for
nothing, so the width of the array plays no part. Who chooses event ids does not know the multipliers, and can not
make ids collide.

Source: Lemire and Kaser 2014, "Strongly universal string hashing is fast", with one round of a multiplicative
finaliser, because the low bits choose the cell. Probing is linear: Knuth, The Art of Computer Programming 3, section
6.4, algorithm L.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dwell.records.arrays import IntArray, one_by_one

__all__ = ["GONE", "EventIds", "as_id_array"]

GONE: Final = -1  # the slot of an event id that is not here
_VACATED: Final = -2  # a cell whose entry left: a search goes on past it
_WORD_BYTES: Final = 8
_MOST_WORDS: Final = 64  # 128 characters of up to 4 bytes
_MASK: Final = 2**64 - 1
_MIX: Final = 0xBF58476D1CE4E5B9  # the first multiplier of Stafford's Mix13
_FEW: Final = 32  # entries that are placed one by one sooner than all at once
_SLOT_BITS: Final = 2**32 - 1
_FORMATS: Final = tuple(f"<{n}Q" for n in range(_MOST_WORDS + 1))
_FULL_SHARE: Final = 0.6  # of cells not empty: 3.6 are read on the way to "not here"; beyond it the table is made anew
_WINDOW: Final = np.arange(8)  # cells looked at together: 64 bytes, and with six in ten filled 98 of 100 searches end

Ids = npt.NDArray[Any]  # dtype "S": ids padded with zero bytes


def as_id_array(event_ids: Sequence[str] | Ids) -> Ids:
    """Return ids as an array of bytes of one width, a multiple of 8, (n,)."""
    if isinstance(event_ids, np.ndarray) and event_ids.dtype.kind == "S":
        return np.ascontiguousarray(_widened(event_ids, event_ids.itemsize))
    try:
        found = np.array(event_ids, dtype="S")
    except UnicodeEncodeError:
        found = np.array([event_id.encode("utf-8", "surrogatepass") for event_id in event_ids], dtype="S")
    return _widened(found, found.itemsize)


def _widened(ids: Ids, n_bytes: int) -> Ids:
    width = max(-(-n_bytes // _WORD_BYTES) * _WORD_BYTES, _WORD_BYTES)
    return ids if ids.itemsize == width else ids.astype(f"S{width}")


class EventIds:
    """Ids by slot and slots by id.

    Args:
        n_slots: Slots allocated at first, below 2^32.
    """

    __slots__ = (
        "_cell_view",
        "_cells",
        "_hash_view",
        "_hashes",
        "_ids",
        "_keys",
        "_keys_array",
        "_n_filled",
        "_n_waiting",
    )

    def __init__(self, n_slots: int) -> None:
        # the interpreter's own hash is keyed by a secret of the process
        self._keys = [hash(f"event ids, word {k}") & _MASK | 1 for k in range(_MOST_WORDS)]
        self._keys_array = np.array(self._keys, dtype=np.uint64)
        self._ids: Ids = np.zeros(n_slots, dtype="S8")
        self._hashes = np.zeros(n_slots, dtype=np.uint64)
        self._n_waiting = 0  # ids taken over whose hashes nobody has asked for yet
        self._reset(n_slots)

    def adopt(self, ids: Ids, n_slots: int) -> None:
        """Take over the ids of the first slots, all different, in place of all others; the array may be kept.

        Hashes and cells are made when an id is first looked up, added or dropped: reading by seq needs neither.
        """
        n, ids = ids.size, _widened(ids, ids.itemsize)
        if n != n_slots:
            taken = np.zeros(n_slots, ids.dtype)
            taken[:n] = ids
            ids = taken
        self._ids = ids
        self._hashes = np.zeros(n_slots, dtype=np.uint64)
        self._n_waiting = n
        if n == 0:
            self._reset(n_slots)

    def _settle(self) -> None:
        n, self._n_waiting = self._n_waiting, 0
        self._reset(self._ids.size)
        self._hashes[:n] = self.hashes_of(self._ids[:n])
        self.enter_many(np.arange(n))

    def _reset(self, n_slots: int) -> None:
        # a cell: 31 bits of the hash, then 32 of the slot; negative where it holds nobody
        self._cells = np.full(2 << max(n_slots - 1, 1).bit_length(), GONE, dtype=np.int64)
        self._cell_view = one_by_one(self._cells)
        self._hash_view = one_by_one(self._hashes)
        self._n_filled = 0  # cells that are not empty: entries and those vacated

    @property
    def n_bytes(self) -> int:
        """Memory of ids and index."""
        return self._ids.nbytes + self._hashes.nbytes + self._cells.nbytes

    def text(self, slot: int) -> str:
        """Return the id in a slot."""
        found: bytes = self._ids[slot]
        return found.decode("utf-8", "surrogatepass")

    def texts(self, slots: IntArray) -> list[str]:
        """Return the ids in some slots, in their order."""
        return [found.decode("utf-8", "surrogatepass") for found in self._ids.take(slots).tolist()]

    def array(self, n: int) -> Ids:
        """Return the first n ids, dtype "S"; a copy."""
        return self._ids[:n].copy()

    # ---- finding

    def hashed(self, event_id: str) -> int:
        """Return the hash of an id, for `find` and `put`."""
        return self._hash(event_id.encode("utf-8", "surrogatepass"))

    def find(self, event_id: str, hashed: int) -> int:
        """Return the slot of an id, or `GONE`.

        Args:
            event_id: The id.
            hashed: Its hash, as `hashed` returns it.
        """
        if self._n_waiting:
            self._settle()
        cells = self._cell_view
        mask = len(cells) - 1
        at = hashed & mask
        mark = hashed >> 33
        while (cell := cells[at]) != GONE:
            if cell >> 32 == mark and self.text(cell & _SLOT_BITS) == event_id:
                found: int = cell & _SLOT_BITS
                return found
            at = (at + 1) & mask
        return GONE

    def hashes_of(self, ids: Ids) -> npt.NDArray[np.uint64]:
        """Return the hashes of ids whose width is a multiple of 8, uint64 (b,)."""
        words = ids.view("<u8").reshape(ids.size, -1)
        mixed: npt.NDArray[np.uint64] = words[:, 0] * self._keys_array[0]
        for k in range(1, min(words.shape[1], _MOST_WORDS)):
            mixed += words[:, k] * self._keys_array[k]
        mixed ^= mixed >> np.uint64(32)
        mixed *= np.uint64(_MIX)
        mixed ^= mixed >> np.uint64(29)
        return mixed

    def find_many(self, ids: Ids, hashes: npt.NDArray[np.uint64] | None = None) -> IntArray:
        """Return the slots of ids, `GONE` for those not here, int64 (b,)."""
        if self._n_waiting:
            self._settle()
        wanted = self.hashes_of(ids) if hashes is None else hashes
        found = np.full(ids.size, GONE, dtype=np.int64)
        mask = self._cells.size - 1
        at = (wanted & np.uint64(mask)).astype(np.int64)
        # most that are not here end at their first cell, and most that are, are found there
        rows = np.flatnonzero(self._cells.take(at) != GONE)
        at, marks = at.take(rows), (wanted.take(rows) >> np.uint64(33)).astype(np.int64)
        while rows.size:
            cells = self._cells.take((at[:, None] + _WINDOW) & mask)
            hits, places = np.nonzero((cells >> 32) == marks[:, None])
            for i, cell in zip(hits.tolist(), cells[hits, places].tolist(), strict=True):
                slot = cell & _SLOT_BITS
                if self._ids[slot] == ids[rows[i]]:
                    found[rows[i]] = slot
            goes_on = (found.take(rows) == GONE) & (cells != GONE).all(1)
            if not goes_on.any():
                break
            rows, marks, at = rows[goes_on], marks[goes_on], at[goes_on] + _WINDOW.size
        return found

    # ---- changing

    def put(self, slot: int, event_id: str, hashed: int) -> None:
        """Note that a new id, with its hash, stands in a slot; nobody else is there."""
        if self._n_waiting:
            self._settle()
        raw = event_id.encode("utf-8", "surrogatepass")
        if len(raw) > self._ids.itemsize:
            self._ids = _widened(self._ids, len(raw))
        self._ids[slot] = raw
        self._hash_view[slot] = hashed
        self._fill(hashed & (len(self._cells) - 1), (hashed >> 33) << 32 | slot)

    def write(self, where: slice | IntArray, ids: Ids, hashes: npt.NDArray[np.uint64]) -> None:
        """Store ids in some slots, without entering them into the table."""
        if ids.itemsize > self._ids.itemsize:
            self._ids = _widened(self._ids, ids.itemsize)
        self._ids[where] = ids
        self._hashes[where] = hashes

    def enter_many(self, slots: IntArray) -> None:
        """Enter the ids that stand in these slots into the table; it has room."""
        hashes = self._hashes.take(slots)
        mask = self._cells.size - 1
        at = (hashes & np.uint64(mask)).astype(np.int64)
        entries = (hashes >> np.uint64(33)).astype(np.int64) << 32 | slots
        while entries.size > _FEW:
            held = self._cells.take(at)
            is_free = held < 0
            self._cells[at[is_free]] = entries[is_free]
            has_lost = self._cells.take(at) != entries
            # of several that wanted one empty cell one has it: each winner fills one
            self._n_filled += int(np.count_nonzero((held == GONE) & ~has_lost))
            entries, at = entries[has_lost], (at[has_lost] + 1) & mask
        for entry, cell in zip(entries.tolist(), at.tolist(), strict=True):
            self._fill(cell, entry)

    def _fill(self, at: int, entry: int) -> None:
        cells = self._cell_view
        mask = len(cells) - 1
        while cells[at] >= 0:
            at = (at + 1) & mask
        if cells[at] == GONE:
            self._n_filled += 1
        cells[at] = entry

    def drop(self, slot: int) -> None:
        """Forget the id in a slot."""
        if self._n_waiting:
            self._settle()
        self._cell_view[self._cell_of(slot)] = _VACATED

    def drop_many(self, slots: IntArray) -> None:
        """Forget the ids in some slots, all different."""
        if self._n_waiting:
            self._settle()
        hashes = self._hashes.take(slots)
        mask = self._cells.size - 1
        at = (hashes & np.uint64(mask)).astype(np.int64)
        entries = (hashes >> np.uint64(33)).astype(np.int64) << 32 | slots
        while entries.size:
            cells = self._cells.take((at[:, None] + _WINDOW) & mask) == entries[:, None]
            place = cells.argmax(1)
            is_found = cells[np.arange(place.size), place]
            self._cells[(at[is_found] + place[is_found]) & mask] = _VACATED
            if is_found.all():
                return
            entries, at = entries[~is_found], at[~is_found] + _WINDOW.size

    def move(self, source: int, target: int) -> None:
        """Note that the id of one slot stands in another from now on; the one that stood there was dropped."""
        if self._n_waiting:
            self._settle()
        at = self._cell_of(source)
        self._cell_view[at] = (self._hash_view[source] >> 33) << 32 | target
        self._ids[target] = self._ids[source]
        self._hash_view[target] = self._hash_view[source]

    def clear(self) -> None:
        """Forget every id; the allocation stays."""
        self._n_waiting = 0
        self._cells.fill(GONE)
        self._n_filled = 0

    def has_room(self, n_more: int) -> bool:
        """Return whether that many can be entered before the table is to be made anew."""
        return self._n_filled + n_more <= _FULL_SHARE * self._cells.size

    def rebuild(self, live: IntArray, n_slots: int) -> None:
        """Make room for `n_slots` slots and enter the live ones anew."""
        if self._n_waiting:
            self._settle()
        for name in ("_ids", "_hashes"):
            column = getattr(self, name)
            if column.size != n_slots:
                grown = np.zeros(n_slots, column.dtype)
                grown[: column.size] = column
                setattr(self, name, grown)
        self._reset(n_slots)
        self.enter_many(live)

    # ---- inside

    def _cell_of(self, slot: int) -> int:
        cells = self._cell_view
        mask = len(cells) - 1
        hashed = self._hash_view[slot]
        entry = (hashed >> 33) << 32 | slot
        at: int = hashed & mask
        while cells[at] != entry:
            at = (at + 1) & mask
        return at

    def _hash(self, raw: bytes) -> int:
        raw = raw[: _MOST_WORDS * _WORD_BYTES]  # somebody may ask for what no id can be
        n_words = -(-len(raw) // _WORD_BYTES)
        words = struct.unpack(_FORMATS[n_words], raw.ljust(n_words * _WORD_BYTES, b"\0"))
        mixed = sum(map(operator.mul, words, self._keys)) & _MASK
        mixed = ((mixed ^ mixed >> 32) * _MIX) & _MASK
        hashed: int = mixed ^ mixed >> 29
        return hashed
