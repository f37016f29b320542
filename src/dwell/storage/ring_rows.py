"""The rows of a ring: found by `seq`, read, put, changed and dropped. Whoever calls holds the lock.

Rows stand densely: the last one moves into a vacancy. So an index column of all live rows is one piece of memory, the
file needs no map of its gaps, and what was dropped leaves no bytes behind, at the price of one copied row per drop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dwell.errors import ReplayError
from dwell.records.arrays import IntArray
from dwell.records.seqs import GONE, SeqIndex
from dwell.storage.ring_file import RingFile
from dwell.storage.ring_schema import RingSchema

__all__ = ["RingRows"]

# A moved row noted by itself costs about 0.6 us, the whole column noted anew about 0.02 us a row
_FILL_FROM: Final = 32


class RingRows:
    """The live rows of a file. Not safe from several threads.

    Attributes:
        file: Where they are.
        n: How many there are; they stand at positions 0 to n - 1.

    Args:
        file: Where they are.
        n: How many there are.
        before_change: Called before bytes change, once everything that can fail has gone well.
    """

    def __init__(self, file: RingFile, n: int, before_change: Callable[[], None]) -> None:
        self.file = file
        self.n = n
        self._before_change = before_change
        self._index = SeqIndex(file.n_rows)
        self._index.fill(self._seqs[:n])

    @property
    def _seqs(self) -> IntArray:
        return self.file.columns["seq"]

    def last_seq(self) -> int:
        """Return the highest seq that is there, 0 where there is none."""
        return int(self._seqs[: self.n].max(initial=0))

    def found(self, seqs: IntArray) -> IntArray:
        """Return the positions of rows, `GONE` for those that are not there, int64 (b,)."""
        if not self.n or not seqs.size:
            return np.full(seqs.shape, GONE)
        positions, _ = self._index.many(seqs, self._seqs)
        if seqs.min() < 1:
            positions[seqs < 1] = GONE  # to the index, 0 stands wherever nobody does
        return positions

    def position(self, seq: int) -> int:
        """Return the position of a row, or `GONE`."""
        return self._index.one(seq, self._seqs.data) if seq >= 1 and self.n else GONE

    # ------------------------------------------------------------ reading

    def gathered(
        self, seqs: IntArray, names: Sequence[str]
    ) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[Any] | None]:
        """Return columns that stand by themselves, and the records (b,) that hold the packed ones; copies.

        Raises:
            ReplayError: A seq is not there.
            RingUnusable: code `ring_damaged`.
        """
        positions = self.found(seqs)
        if positions.size and positions.min() == GONE:
            raise ReplayError(
                "an event is no longer there", field="seqs", value=seqs[positions == GONE], hint="Sample again."
            )
        file = self.file
        regions = {file.region_of[name] for name in names}
        for region in regions:
            file.checks[region].verify(positions)
        alone = {n: file.columns[n].take(positions, axis=0) for n in names if file.region_of[n] != "row"}
        if file.records is None or "row" not in regions:
            return alone, None
        return alone, file.records.take(positions).view(file.schema.row_dtype)

    def live(self, name: str) -> npt.NDArray[Any]:
        """Return a copy of an index column of all live rows."""
        return self.file.columns[name][: self.n].copy()

    # ------------------------------------------------------------ writing

    def _begin(self, positions: IntArray) -> None:
        for checks in self.file.checks.values():
            checks.verify(positions)
        self._before_change()

    def _note_changed(self, positions: IntArray) -> None:
        for checks in self.file.checks.values():
            checks.change_many(positions)

    def put(self, seq: int, row: Sequence[tuple[str, npt.NDArray[Any]]]) -> None:
        """Keep a row of all columns, in place of an older one."""
        position = self.position(seq)
        is_new = position == GONE
        if is_new:
            position = self.n
            self.reserve(position + 1)
        if not all(checks.is_all_verified for checks in self.file.checks.values()):
            for checks in self.file.checks.values():
                checks.verify_span(position, position + 1)
        self._before_change()
        columns = self.file.columns
        for name, value in row:
            columns[name][position] = value
        for checks in self.file.checks.values():
            checks.change(position)
        if is_new:
            self.n += 1
            self._index.put(seq, position, self._seqs.data)

    def put_many(self, rows: dict[str, npt.NDArray[Any]]) -> None:
        """Keep rows of all columns, seqs all different, in place of older ones."""
        seqs = rows["seq"]
        positions = self.found(seqs)
        new = np.flatnonzero(positions == GONE)
        self.reserve(self.n + new.size)
        positions[new] = np.arange(self.n, self.n + new.size)
        self._begin(positions)
        # one piece of memory where all are new, as in a rebuild
        where = slice(self.n, self.n + new.size) if new.size == seqs.size else positions
        for name, values in rows.items():
            self.file.columns[name][where] = values
        self._note_changed(positions)
        self.n += new.size
        self._index.put_many(seqs[new], positions[new], self._seqs)

    def set(self, seqs: IntArray, name: str, values: npt.NDArray[Any]) -> int:
        """Set one column of rows that are there; return how many were."""
        positions = self.found(seqs)
        is_there = positions != GONE
        if not is_there.any():
            return 0
        positions = positions[is_there]
        checks = self.file.checks[self.file.region_of[name]]
        checks.verify(positions)
        self._before_change()
        self.file.columns[name][positions] = values[is_there]
        checks.change_many(positions)
        return int(positions.size)

    def drop(self, seqs: IntArray) -> int:
        """Remove rows, seqs all different, leaving zeros where they stood; return how many were there."""
        positions = self.found(seqs)
        gone, positions = seqs[positions != GONE], positions[positions != GONE]
        if not positions.size:
            return 0
        n_left = self.n - positions.size
        tail = np.arange(n_left, self.n)
        holes = positions[positions < n_left]
        movers = np.setdiff1d(tail, positions, assume_unique=True)
        touched = np.concatenate([holes, tail])
        self._begin(touched)
        for raw in self.file.raw:
            raw[holes] = raw[movers]
            raw[n_left : self.n] = 0
        self._note_changed(touched)
        self.n = n_left
        self._index.drop_many(gone)
        if holes.size * _FILL_FROM > self.n:
            self._index.fill(self._seqs[: self.n])
        else:
            moved = self._seqs.data
            for position in holes.tolist():
                self._index.put(moved[position], position, moved)
        return int(gone.size)

    # ------------------------------------------------------------ room

    def reserve(self, n_rows: int) -> None:
        """Have room for so many rows; beyond the file's own the rows move to one twice as large."""
        if n_rows > self.file.n_rows:
            self.move_to(self.file.schema, max(n_rows, 2 * self.file.n_rows))
        self.file.reserve(n_rows)

    def move_to(self, schema: RingSchema, n_rows: int) -> None:
        """Write all rows to a new file, unclean, that takes the place of this one; zeros stand where it is wider.

        Raises:
            StorageError: As `RingFile.create`; the rows stay where they are.
            RingUnusable: code `ring_damaged`.
        """
        old, n = self.file, self.n
        for checks in old.checks.values():
            checks.verify_span(0, n)  # a checksum of the copy must not vouch for damage
        self._before_change()
        new = RingFile.create(None if old.path is None else f"{old.path}.new", schema, n_rows)
        try:
            new.reserve(n)
            if schema == old.schema:
                for source, target in zip(old.raw, new.raw, strict=True):
                    target[:n] = source[:n]
            else:
                for name, column in old.columns.items():
                    new.columns[name][(slice(n), *map(slice, column.shape[1:]))] = column[:n]
            if old.path is not None:
                new.replace(old.path)
        except BaseException:
            new.remove()
            raise
        self.file = new
        self._note_changed(np.arange(n))
        self._index = SeqIndex(new.n_rows)
        self._index.fill(self._seqs[:n])
        old.close()
