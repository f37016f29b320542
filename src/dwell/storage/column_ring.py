"""Fixed-width rows in a memory-mapped file beside the database: what learning reads, in the order in which it reads it.

A ring is derived from the store and never the only copy of anything: whenever it can not be used, `RingUnusable` says
why, and it is made again. Rows are addressed by `seq`, never by position.

One lock is held around each read and each write: `take` gives the interpreter lock away, and without it a row could be
read half before and half after a change.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dwell.errors import ForkedError, ReplayError, RingUnusable, StorageError, StoreClosedError
from dwell.records.arrays import BoolArray, IntArray
from dwell.records.seqs import GONE
from dwell.storage.ring_file import Header, RingFile, unusable
from dwell.storage.ring_rows import RingRows
from dwell.storage.ring_schema import RingColumn, RingSchema
from dwell.storage.ring_values import cast_many, cast_one, cast_values

__all__ = ["ColumnRing", "RingColumn", "RingSchema"]


class ColumnRing:
    """Rows of fixed width by `seq`, made by `create` or `open`. Safe from any thread; every read returns copies.

    Only the process that owns the store opens its ring. A store's epoch tells whether a ring is in step with it: it is
    noted at each `checkpoint`, and a ring that was written to since is not opened again.

    Damage found at a read or a write raises `RingUnusable` (code `ring_damaged`), then and at every later call.
    """

    def __init__(self, file: RingFile, header: Header) -> None:
        self._rows = RingRows(file, header.n_live, self._mark_dirty)
        self._epoch = header.epoch
        self._is_clean = bool(header.is_clean)
        self._pid = os.getpid()
        self._is_closed = False
        self._damage: RingUnusable | None = None
        self._writing = threading.Lock()  # one writer or checkpoint at a time; taken before the other
        self._lock = threading.Lock()  # held while rows are read or changed

    @classmethod
    def create(cls, path: str | None, schema: RingSchema, n_rows: int) -> ColumnRing:
        """Return an empty ring in place of whatever stood at the path.

        Args:
            path: The file, or None for memory: all the same, and nothing left after the process.
            schema: What it holds.
            n_rows: Rows to have room for. Space is taken as rows come; beyond it the file is written anew, twice as
                large.

        Raises:
            StorageError: code `disk_full`, `cannot_open` or `io`.
        """
        file = RingFile.create(path, schema, n_rows)
        return cls(file, Header(schema.digest, file.n_rows))

    @classmethod
    def open(cls, path: str, schema: RingSchema, epoch: int) -> ColumnRing:
        """Return the ring of a file that is in step with the store.

        The index is verified wholly; the rest segment by segment, each before it is first read or changed.

        Args:
            path: The file.
            schema: What it has to hold.
            epoch: The store's, which has to be that of the ring's last checkpoint.

        Raises:
            RingUnusable: With the code that says why.
            StorageError: code `cannot_open` or `io`.
        """
        file, header = RingFile.open(path, schema)
        try:
            if header.epoch != epoch:
                raise unusable(
                    "ring_older", f"{path} is in step with epoch {header.epoch} of the store, which is at {epoch}"
                )
            for checks in file.checks.values():
                checks.doubt(header.n_live)
            file.checks["index"].verify_span(0, header.n_live)
        except RingUnusable:
            file.close()
            raise
        return cls(file, header)

    # ------------------------------------------------------------ what it is

    @property
    def path(self) -> str | None:
        """The file, or None for memory."""
        return self._rows.file.path

    @property
    def schema(self) -> RingSchema:
        """What it holds."""
        return self._rows.file.schema

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that `read` can return."""
        return self._rows.file.schema.names

    @property
    def n_rows(self) -> int:
        """Rows that it has room for as it is."""
        return self._rows.file.n_rows

    @property
    def epoch(self) -> int:
        """The store's epoch at the last checkpoint, 0 before the first."""
        return self._epoch

    @property
    def is_clean(self) -> bool:
        """Whether nothing was written since the last checkpoint."""
        return self._is_clean

    @property
    def is_usable(self) -> bool:
        """Whether it can be read and written: not closed, and no damage was found."""
        return self._damage is None and not self._is_closed

    @property
    def last_seq(self) -> int:
        """The highest seq that is there, 0 where there is none."""
        with self._reading() as rows:
            return rows.last_seq()

    def __len__(self) -> int:
        return self._rows.n

    def __contains__(self, seq: int) -> bool:
        with self._reading() as rows:
            return rows.position(seq) != GONE

    # ------------------------------------------------------------ whose turn it is

    @contextlib.contextmanager
    def _reading(self) -> Iterator[RingRows]:
        self._check_not_forked()  # before the lock: a child may have inherited it held
        with self._lock:
            self._check_usable()
            try:
                yield self._rows
            except RingUnusable as error:
                self._spoil(error)
                raise

    @contextlib.contextmanager
    def _changing(self) -> Iterator[RingRows]:
        self._check_not_forked()
        with self._writing, self._reading() as rows:
            yield rows

    def _check_not_forked(self) -> None:
        if self._pid != os.getpid():
            raise ForkedError(
                f"the ring was opened by process {self._pid} and inherited through fork",
                hint="Only the owner of a store uses its ring.",
            )

    def _check_usable(self) -> None:
        if self._is_closed:
            raise StoreClosedError("the ring was closed", hint="Open it anew.")
        if self._damage is not None:
            found = self._damage
            raise RingUnusable(found.message, code=found.code, hint=found.hint, field=found.field, value=found.value)

    def _spoil(self, error: RingUnusable) -> None:
        # the file must not be opened again either: its header says so from now on
        self._damage = error
        self._is_clean = False
        self._rows.file.write_header(self._header())

    def _header(self, sums_checksum: int = 0) -> Header:
        rows = self._rows
        file = rows.file
        return Header(
            digest=file.schema.digest,
            n_rows=file.n_rows,
            n_live=rows.n,
            last_seq=rows.last_seq(),
            epoch=self._epoch,
            is_clean=int(self._is_clean),
            sums_checksum=sums_checksum,
        )

    # ------------------------------------------------------------ reading

    def read(self, seqs: IntArray | Sequence[int], names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Return the named columns of these rows, repeats included, each (b, *shape); all of one moment.

        Raises:
            ReplayError: A name or a seq is unknown.
            RingUnusable: code `ring_damaged`.
        """
        self._check_names(names)
        wanted = np.asarray(seqs, dtype=np.int64)
        with self._reading() as rows:
            found, records = rows.gathered(wanted, names)
        if records is not None:
            found.update((name, np.ascontiguousarray(records[name])) for name in names if name not in found)
        return found

    def there(self, seqs: IntArray | Sequence[int]) -> BoolArray:
        """Return which of these rows are there, bool (b,)."""
        with self._reading() as rows:
            is_there: BoolArray = rows.found(np.asarray(seqs, dtype=np.int64)) != GONE
        return is_there

    def columns(self, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Return index columns of all live rows, each (n, *shape), all of one moment and in one order.

        Raises:
            ReplayError: There is no such column in the index.
        """
        self._check_names(names)
        placing = {column.name: column.region for column in self.schema.all_columns}
        for name in names:
            if placing[name] != "index":
                raise ReplayError(
                    "this column is not in the index", field="columns", value=name, hint="Read the rows that you need."
                )
        with self._reading() as rows:
            return {name: rows.live(name) for name in names}

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return an index column of all live rows, (n, *shape), in the order of `seqs` while nobody writes.

        Raises:
            ReplayError: There is no such column in the index.
        """
        return self.columns([name])[name]

    def seqs(self) -> IntArray:
        """Return the seqs of all live rows, int64 (n,), in no order."""
        return self.column("seq")

    def _check_names(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.schema.name_set:
                raise ReplayError("no such column", field="columns", value=name, hint=f"There are {list(self.names)}.")

    # ------------------------------------------------------------ writing

    def mark_dirty(self) -> None:
        """Note on disk that rows are about to change; the first write after a checkpoint does so by itself.

        Raises:
            StorageError: code `io` or `disk_full`.
        """
        with self._changing():
            self._mark_dirty()

    def _mark_dirty(self) -> None:
        if self._is_clean:
            rows = self._rows
            rows.file.reserve(rows.n)  # a copy of a sparse file may have lost blocks that held zeros
            self._is_clean = False
            rows.file.write_header(self._header())
            rows.file.sync()  # once per checkpoint: rows reach the disk when the system likes, this word before them

    def put(self, seq: int, values: Mapping[str, Any]) -> None:
        """Keep a row, in place of an older one of the same seq.

        Args:
            seq: >= 1.
            values: Every column but `seq`, each of exactly the column's shape; event ids as UTF-8 bytes.

        Raises:
            ReplayError: A column is missing, unknown or does not fit; nothing was changed.
            StorageError: code `disk_full`, with nothing changed, or `io`.
            RingUnusable: code `ring_damaged`.
        """
        row = cast_one(self.schema, seq, values)
        with self._changing() as rows:
            rows.put(seq, row)

    def put_many(self, columns: Mapping[str, Any]) -> None:
        """Keep many rows, each in place of an older one of the same seq; where one does not fit, none is kept.

        Args:
            columns: Every column, `seq` included, each (b, *shape).

        Raises:
            ReplayError: As `put`; also for a seq given twice.
            StorageError: As `put`.
            RingUnusable: code `ring_damaged`.
        """
        cast = cast_many(self.schema, columns)
        if cast["seq"].size:
            with self._changing() as rows:
                rows.put_many(cast)

    def set(self, seqs: IntArray | Sequence[int], name: str, values: Any) -> int:  # noqa: ANN401 - numbers of any kind
        """Set one column of rows that are there, and return how many were; of a repeated seq the last value stays.

        Raises:
            ReplayError: There is no such column, it is the identity of a row, or a value does not fit.
            StorageError: code `io`.
            RingUnusable: code `ring_damaged`.
        """
        self._check_names([name])
        if name in {"seq", "event_id"}:
            raise ReplayError("the identity of a row never changes", field="columns", value=name, hint="Put the row.")
        wanted = np.asarray(seqs, dtype=np.int64)
        column = next(column for column in self.schema.columns if column.name == name)
        cast = cast_values(column, values, wanted.shape)
        with self._changing() as rows:
            return rows.set(wanted, name, cast)

    def drop(self, seqs: IntArray | Iterable[int]) -> int:
        """Remove rows, leaving zeros where they stood, and return how many were there; unknown seqs are ignored.

        The bytes have left the disk, too, with the next checkpoint.

        Raises:
            StorageError: code `io`.
            RingUnusable: code `ring_damaged`.
        """
        wanted = np.unique(np.asarray(seqs if isinstance(seqs, np.ndarray) else list(seqs), dtype=np.int64))
        with self._changing() as rows:
            return rows.drop(wanted)

    def widened(self, schema: RingSchema) -> ColumnRing:
        """Return a ring of a wider schema with the same rows, zeros added, in place of this one, which is closed.

        Raises:
            ReplayError: The schema has other columns, a shorter one, or another key: make the ring anew.
            StorageError: As `create`; this ring keeps its rows.
            RingUnusable: code `ring_damaged`.
        """
        if not schema.widens(self.schema):
            raise ReplayError(
                "a ring is widened by longer lists and event ids alone",
                field="schema",
                value=schema,
                hint="Make the ring anew from the database.",
            )
        with self._changing() as rows:
            rows.move_to(schema, rows.file.n_rows)
            self._is_closed = True
            return ColumnRing(rows.file, self._header())

    # ------------------------------------------------------------ agreement with the store

    def checkpoint(self, epoch: int) -> None:
        """Bring everything to disk and note that it is in step with an epoch of the store; readers go on meanwhile.

        Args:
            epoch: Of the committed state of the store that these rows agree with.

        Raises:
            StorageError: code `io` or `disk_full`: what is on disk is not known, and the ring not to be used again.
            RingUnusable: Damage was found before.
        """
        self._check_not_forked()
        with self._writing:
            with self._reading():
                if self._is_clean and epoch == self._epoch:
                    return
                self._mark_dirty()
            try:
                # nobody writes meanwhile: what the checksums are taken of is what the header will vouch for
                sums_checksum = self._rows.file.settle()
                self._rows.file.sync()
                with self._reading():
                    self._epoch, self._is_clean = epoch, True
                    self._rows.file.write_header(self._header(sums_checksum))
                self._rows.file.sync()
            except StorageError as error:
                with self._lock:
                    if self.is_usable:
                        self._spoil(unusable("ring_damaged", error.message))
                raise

    def close(self) -> None:
        """Let go of the file as it is; closing twice is legal. In a forked child nothing is touched."""
        if self._pid != os.getpid():
            return
        with self._writing, self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._rows.file.close()
