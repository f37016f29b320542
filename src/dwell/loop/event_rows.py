"""What the learner reads, by `seq`, in a column ring: a cache that can be made again from the facts at any time."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from dwell.errors import ConfigError, ReplayError, RingUnusable, StorageError
from dwell.loop.row_codec import EmbeddingKind, LearningRow, RowShape, packed, row_schema, taken_up_us, unpacked
from dwell.records import Experience
from dwell.records.arrays import FloatArray, IntArray
from dwell.records.rows import EventRow, stack_rows
from dwell.storage.column_ring import ColumnRing

__all__ = ["EventRows"]

T = TypeVar("T")

_PADDED: Final = ("features", "exposure", "rewards", "position", "propensities", "caller_rank", "n_kept", "n_shown")
_EMBEDDING: Final = "query_embedding"
FIRST_ROWS: Final = 4096  # rows of a new ring; it doubles: a small store's file stays small
CACHED_ROWS: Final = 20_000  # events kept as values as well: what the gate judges by at most, 50 MB at 64 documents
_AT_ONCE: Final = 2_000  # rows decoded together: 5 MB at 64 documents
_REFUSED_BY_DISK: Final = {"disk_full", "io", "cannot_open"}  # what memory does not refuse

_log = logging.getLogger("dwell")


class EventRows:
    """Rows by `seq`; satisfies `records.Columns`, so that a `ReplayBuffer` can read them. Safe from any thread.

    Args:
        read_experience: Reads a whole experience from the facts.
        n_features: Features per document.
        key: Whatever else makes an older ring unusable, see `RingSchema`.
        path: File of the ring, or None for memory.
        most: Rows that are there at most.
        embedding: How query embeddings are kept, if they are.
        is_owner: Whether this process owns the store; nobody else opens the file.
    """

    def __init__(
        self,
        read_experience: Callable[[int], Experience],
        *,
        n_features: int,
        key: str = "",
        path: str | None = None,
        most: int = 2**31,
        embedding: EmbeddingKind = "none",
        is_owner: bool = True,
    ) -> None:
        self._read_experience = read_experience
        self._key = key
        self._path = path if is_owner else None
        self._file = path
        self._n_rows = min(most + 1, FIRST_ROWS)
        self._embedding = embedding
        self._shape = RowShape(n_features)
        self._ring: ColumnRing | None = None
        self._values: dict[int, EventRow] = {}
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._is_short = False  # a recovery ended half way: rows are missing, and nothing else would tell
        self._is_recovering = False
        self.recover: Callable[[], None] | None = None  # puts everything again, from the facts
        self.segments: dict[int, str | None] = {}  # names of segments by code, kept by whoever gives the codes
        self._has_embeddings = False  # whether rows are read with the embeddings of their queries

    # ---- the file

    def reopen(self, token: int, shape: RowShape) -> None:
        """Take up the rows of the file.

        Args:
            token: That of its last checkpoint.
            shape: How wide its rows are.

        Raises:
            RingUnusable: It can not be used; says why.
            StorageError: The file can not be read.
        """
        if self._path is None:
            raise RingUnusable("a ring in memory ends with its process", code="ring_missing", hint="It is made again.")
        schema = row_schema(shape, key=self._key, embedding=self._embedding)
        with self._lock:
            self._unlink(f"{self._path}.new")
            self._ring = ColumnRing.open(self._path, schema, token)
            self._shape = shape

    @property
    def shape(self) -> RowShape:
        """How wide rows are at present."""
        return self._shape

    @property
    def row_bytes(self) -> int:
        """Memory of one row."""
        schema = row_schema(self._shape, key=self._key, embedding=self._embedding)
        return sum(column.n_bytes for column in schema.all_columns)

    def checkpoint(self, token: int) -> None:
        """Bring all rows to disk.

        Args:
            token: Whoever opens the file has to know it.

        Raises:
            StorageError: It could not; the facts are not concerned.
            RingUnusable: The ring is damaged.
        """
        with self._lock:
            self._live_ring().checkpoint(token)

    @property
    def has_file(self) -> bool:
        """Whether rows are kept in a file that is open here."""
        return self._ring is not None and self._ring.path is not None

    @property
    def is_clean(self) -> bool:
        """Whether nothing was changed since the last checkpoint."""
        return self._ring is not None and self._ring.is_clean

    def close(self) -> None:
        """Let go of the file; what was read stays readable. In a forked child nothing is touched."""
        if self._pid != os.getpid():  # before the lock: a child may have inherited it held
            return
        with self._lock, contextlib.suppress(StorageError):
            if self._ring is not None:
                self._ring.close()

    def start_over(self) -> None:
        """Forget all rows; the next one begins a new file."""
        with self._lock:
            if self._ring is not None:
                self._ring.close()
            self._ring, self._shape, self._is_short = None, RowShape(self._shape.n_features), False
            self._values.clear()

    def leave_file(self) -> None:
        """Go on without a file, in memory; the one that may be there is left as it is."""
        self._path = None

    def discard(self) -> None:
        """Remove the file, which is not open here; whoever has it open goes on with it until he closes it.

        Raises:
            StorageError: It stands where it was.
        """
        if self._file is None:
            return
        for path in (self._file, f"{self._file}.new"):
            try:
                self._unlink(path)
            except OSError as error:
                raise StorageError(
                    f"the column ring {path} can not be removed: {error.strerror}",
                    code="cannot_open",
                    hint="Remove it by hand: it is made again from the store.",
                ) from error

    @staticmethod
    def _unlink(path: str) -> None:
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):  # a folder in its place is not ours
            os.unlink(path)  # noqa: PTH108 - a plain path, as the store takes it

    # ---- Columns

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that `read` returns: lists are padded over the rows asked for."""
        return (*_PADDED, _EMBEDDING) if self._shape.embedding_dim else _PADDED

    def read(self, seqs: IntArray, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Return columns for these rows.

        Raises:
            ReplayError: A name or a seq is unknown.
        """
        for name in names:
            if name not in self.names:
                raise ReplayError("no such column", field="columns", value=name, hint=f"There are {list(self.names)}.")
        found: dict[str, npt.NDArray[Any]] = {}
        if _EMBEDDING in names:
            found = self._from_ring(lambda ring: ring.read(seqs, [_EMBEDDING]))
        if set(names) - {_EMBEDDING}:
            rows = self.rows(seqs.tolist())
            if len(rows) != len(seqs) or not rows:
                raise ReplayError(
                    "an event is no longer there", field="seqs", value=len(seqs) - len(rows), hint="Sample again."
                )
            batch = stack_rows(rows)
            found |= {name: getattr(batch, name) for name in names if name != _EMBEDDING}
        return {name: found[name] for name in names}

    def experience(self, seq: int) -> Experience:
        """Return the whole experience behind a row, read from the facts.

        Raises:
            ReplayError: The seq is unknown.
        """
        return self._read_experience(seq)

    # ---- reading

    @property
    def key(self) -> str:
        """What makes an older ring unusable."""
        return self._key

    def raw(self, seqs: IntArray, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Return columns of the ring as they stand there, padded to its width, each (b, ...).

        Raises:
            ReplayError: A name or a seq is unknown.
        """
        return self._from_ring(lambda ring: ring.read(seqs, names))

    def __len__(self) -> int:
        return 0 if self._ring is None else len(self._ring)

    def __contains__(self, seq: int) -> bool:
        return self._ring is not None and seq in self._ring

    def rows(self, seqs: Iterable[int]) -> list[EventRow]:
        """Return the rows that are there, in the order asked for, repeats included."""
        wanted = list(seqs)
        with self._lock:
            if self._ring is None:
                return []
            found: dict[int, EventRow] = {}
            missing = []
            for seq in wanted:
                value = self._values.get(seq)
                if value is None:
                    missing.append(seq)
                else:
                    found[seq] = value
            if missing:
                found |= self._decoded(np.unique(np.array(missing, dtype=np.int64)))
        return [found[seq] for seq in wanted if seq in found]

    def index(self, *names: str) -> dict[str, npt.NDArray[Any]]:
        """Return index columns of all rows, each (n,), in one order."""
        return self._from_ring(lambda ring: ring.columns(names))

    def seqs_in_close_order(
        self, *, after: int = 0, is_held_out: bool | None = None, is_swapped: bool | None = None
    ) -> IntArray:
        """Return seqs > after in the order in which windows ended, of both kinds or of one, int64 (n,).

        One that was activated after its window's end stands where it could first be taken up.
        """
        columns = self.index("seq", "served_at", "late_us", "is_held_out", "swap_pair")
        is_wanted = columns["seq"] > after
        if is_held_out is not None:
            is_wanted &= columns["is_held_out"] == is_held_out
        if is_swapped is not None:
            is_wanted &= (columns["swap_pair"] > 0) == is_swapped
        seqs: IntArray = columns["seq"][is_wanted].astype(np.int64)
        return seqs[np.lexsort((seqs, taken_up_us(columns)[is_wanted]))]

    def in_close_order(
        self, *, after: int = 0, is_held_out: bool | None = None, is_swapped: bool | None = None
    ) -> list[EventRow]:
        """Return rows with seq > after in the order in which their windows ended."""
        seqs = self.seqs_in_close_order(after=after, is_held_out=is_held_out, is_swapped=is_swapped)
        return self.rows(seqs.tolist())

    @property
    def has_embeddings(self) -> bool:
        """Whether rows come with the embeddings of their queries, as far as these are kept."""
        return self._has_embeddings

    def read_embeddings(self) -> None:
        """Read rows with the embeddings of their queries from now on: they are as many bytes again, or more.

        Raises:
            ConfigError: They are not kept.
        """
        if self._embedding == "none":
            raise ConfigError(
                "weights by query need the embeddings, which are not kept",
                field="replay.embeddings",
                value="none",
                hint='Use "float32" or "float16", or params without by_query.',
            )
        with self._lock:
            if not self._has_embeddings:
                self._has_embeddings = True
                self._values.clear()

    # ---- changing

    def put(self, row: LearningRow) -> None:
        """Keep a row, replacing an older one of the same event."""
        self.put_many([row])

    def put_many(self, rows: Sequence[LearningRow]) -> None:
        """Keep rows of different events, each in place of an older one."""
        if not rows:
            return
        with self._lock:
            shape = self._shape
            for row in rows:
                shape = shape.holding(row, self._embedding)
                self._values.pop(row.event.seq, None)
            self._widen(shape)
            self._change(lambda ring: ring.put_many(packed(rows, ring.schema)))

    def drop(self, seqs: Iterable[int]) -> None:
        """Forget rows; unknown ones are ignored."""
        gone = list(seqs)
        with self._lock:
            for seq in gone:
                self._values.pop(seq, None)
            if self._ring is not None and gone:
                self._change(lambda ring: ring.drop(gone))

    def set_priorities(self, seqs: IntArray, priorities: FloatArray) -> None:
        """Note new priorities of rows that are there."""
        with self._lock:
            if self._ring is not None and len(seqs):
                self._change(lambda ring: ring.set(seqs, "priority", priorities))

    # ---- inside, under the lock

    def _decoded(self, seqs: IntArray) -> dict[int, EventRow]:
        found: dict[int, EventRow] = {}
        there = self._from_ring(lambda ring: seqs[ring.there(seqs)])
        for start in range(0, len(there), _AT_ONCE):
            part = there[start : start + _AT_ONCE]
            names = [name for name in self._live_ring().names if self._has_embeddings or name != _EMBEDDING]
            columns = self._from_ring(lambda ring, part=part, names=names: ring.read(part, names))  # type: ignore[misc]
            found.update((row.seq, row) for row in unpacked(columns, self.segments))
        while len(self._values) + len(found) > CACHED_ROWS and self._values:
            del self._values[next(iter(self._values))]
        if len(found) <= CACHED_ROWS:
            self._values |= found
        return found

    def _from_ring(self, read: Callable[[ColumnRing], T]) -> T:
        """Return what is read from the ring; a damaged one is made again from the facts first."""
        with self._lock:
            try:
                return read(self._live_ring())
            except RingUnusable as error:
                self._make_again(error)
            return read(self._live_ring())

    def _change(self, write: Callable[[ColumnRing], object]) -> None:
        """Change the ring; a damaged one is made again first, and one without a disk goes on in memory."""
        try:
            write(self._live_ring())
        except RingUnusable as error:
            self._make_again(error)
        except StorageError as error:
            if error.code not in _REFUSED_BY_DISK:
                raise
            self._leave_disk()
            self._make_again(error)
        else:
            return
        write(self._live_ring())

    def _leave_disk(self) -> None:
        """Go on in memory, and leave nothing behind that an erasure would not reach."""
        self._path = None
        with contextlib.suppress(StorageError):  # erasure tries again, and tells
            self.discard()

    def _make_again(self, error: StorageError) -> None:
        if self.recover is None:
            raise error
        _log.warning("the column ring is made again%s: %s", " in memory" if self._path is None else "", error)
        self._refill()

    def _refill(self) -> None:
        if self._ring is not None:
            self._ring.close()
        self._values.clear()
        self._ring = self._created()
        if self.recover is None:
            return
        self._is_short, was_recovering, self._is_recovering = True, self._is_recovering, True
        try:
            self.recover()
        finally:
            self._is_recovering = was_recovering
        self._is_short = False

    def _live_ring(self) -> ColumnRing:
        if self._is_short and not self._is_recovering:
            self._refill()
        if self._ring is None:
            self._ring = self._created()
        return self._ring

    def _created(self) -> ColumnRing:
        schema = row_schema(self._shape, key=self._key, embedding=self._embedding)
        try:
            if self._path is not None:
                self.discard()
            return ColumnRing.create(self._path, schema, self._n_rows)
        except StorageError as error:
            _log.warning("the column ring is kept in memory: %s", error)
            self._leave_disk()
            return ColumnRing.create(None, schema, self._n_rows)

    def _widen(self, shape: RowShape) -> None:
        if shape == self._shape:
            return
        had_embeddings, self._shape = self._shape.embedding_dim == shape.embedding_dim, shape
        if self._ring is None:
            return
        if had_embeddings:
            ring = self._ring
            schema = row_schema(shape, key=self._key, embedding=self._embedding)
            try:
                self._ring = ring.widened(schema)
            except RingUnusable as error:
                self._make_again(error)
            except StorageError as error:
                if error.code not in _REFUSED_BY_DISK:
                    raise
                self._leave_disk()
                self._make_again(error)
        else:
            self._refill()  # the first embedding of a store is a column more
