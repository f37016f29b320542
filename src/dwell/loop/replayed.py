"""Closed events: the rows that are learned from, those that only judge, and the buffer that samples them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from dwell.errors import RingUnusable, StorageError
from dwell.loop.event_rows import EventRows
from dwell.loop.row_codec import EmbeddingKind, LearningRow, RowShape
from dwell.loop.rows import event_row
from dwell.records import Experience, Impression
from dwell.records.rows import EventRow
from dwell.replay import ReplayBuffer
from dwell.replay.index_rows import SourceIndex
from dwell.storage import Outcome, Reader
from dwell.storage.protocol import chunks

__all__ = ["Notes", "Replayed"]

_READ_AT_ONCE: Final = 1_000
_REPORT_EVERY: Final = 100_000  # events between two lines of the progress report
_INDEX: Final = ("event_id", "seq", "served_at", "priority", "reward", "version", "segment_code", "is_held_out")

_log = logging.getLogger("dwell")


class Notes(msgspec.Struct, frozen=True):
    """What is kept in the store beside the ring's file, and has to agree with it.

    Attributes:
        epoch: The store's, at the ring's last checkpoint.
        shape: How wide the rows are.
        segments: Names by code.
        n_without_features: Closed events that could not be learned from for want of features.
    """

    epoch: int
    shape: list[int]
    segments: list[str | None]
    n_without_features: int


class Replayed:
    """A bounded cache of closed events, made from the facts and never the only copy of anything.

    Held-out events stand beside the buffer, not in it: no sampler can draw them. Both leave oldest first, whatever
    their reward, so that clicks and exposures leave together. Safe from any thread.

    Args:
        capacity: Most closed events, learned from and held out together.
        holdout: Share of users whose events only judge, in [0, 1).
        salt: Salt of the split.
        half_life_s: Age at which an experience counts half.
        alpha: Exponent of priorities.
        read_experience: Reads a whole experience from the facts.
        feature_names: Features of the loop.
        path: File of the column ring, or None for memory.
        embedding: How query embeddings are kept, if they are.
        is_owner: Whether this process owns the store.
        snapshot: Opens the facts for reading, to make a damaged ring again.
    """

    def __init__(
        self,
        *,
        capacity: int,
        holdout: float,
        salt: bytes,
        half_life_s: float,
        alpha: float,
        read_experience: Callable[[int], Experience],
        feature_names: tuple[str, ...] = (),
        path: str | None = None,
        embedding: EmbeddingKind = "none",
        is_owner: bool = True,
        snapshot: Callable[[], AbstractContextManager[Reader]] | None = None,
    ) -> None:
        key = f"{feature_names!r}|{holdout!r}|{salt.hex()}"
        self.rows = EventRows(
            read_experience,
            n_features=max(len(feature_names), 1),
            key=key,
            path=path,
            most=capacity,
            embedding=embedding,
            is_owner=is_owner,
        )
        self.rows.recover = self._recover
        held = round(capacity * holdout)
        self.buffer = ReplayBuffer(
            max(capacity - held, 1), alpha=alpha, half_life_s=half_life_s, seed=0, columns=self.rows
        )
        self._held_out = ReplayBuffer(max(held, 1), seed=0, columns=self.rows)
        self._holdout = holdout
        self._salt = salt
        self._feature_names = feature_names
        self._snapshot = snapshot
        self._segments: dict[str | None, int] = {}
        self._lock = threading.RLock()
        self.n_without_features = 0
        self.n_taken_in = 0  # events that could be replayed, those found at opening included
        self.ring_report = ""  # how the ring came about, in words

    def __len__(self) -> int:
        return len(self.rows)

    # ---- one event after the other

    def admit(self, impression: Impression, outcome: Outcome, feature_names: tuple[str, ...]) -> list[int]:
        """Take in a closed event, or its newer version; return the seqs that left for it."""
        return self.admit_many([(impression, outcome)], feature_names)

    def admit_many(self, events: Iterable[tuple[Impression, Outcome]], feature_names: tuple[str, ...]) -> list[int]:
        """Take in closed events, or their newer versions, in order; return the seqs that left for them."""
        gone: list[int] = []
        with self._lock:
            found = list(self._rows_of(events, feature_names))
            self.rows.put_many([row for _, row in found])
            for impression, row in found:
                keeper = self._held_out if row.event.is_held_out else self.buffer
                n_before = len(keeper)
                left = keeper.add_row(
                    event_id=impression.event_id,
                    seq=row.event.seq,
                    timestamp=impression.served_at,
                    priority=row.priority,
                    segment=impression.segment,
                    reward=row.reward,
                    version=row.event.version,
                )
                gone += left
                if keeper is self.buffer:
                    self.n_taken_in += len(keeper) - n_before + len(left)  # 0 for a newer version of a known one
            self.rows.drop(gone)
        return gone

    def _rows_of(
        self, events: Iterable[tuple[Impression, Outcome]], feature_names: tuple[str, ...]
    ) -> Iterator[tuple[Impression, LearningRow]]:
        for impression, outcome in events:
            row = event_row(impression, outcome, feature_names=feature_names, salt=self._salt, holdout=self._holdout)
            if row is None:
                self.n_without_features += not impression.has_features
                continue
            code = self._segments.setdefault(impression.segment, len(self._segments))
            yield (
                impression,
                LearningRow(row, outcome.reward or 0.0, outcome.priority, code, impression.query_embedding),
            )

    def drop(self, seqs: Iterable[int]) -> None:
        """Forget events, because they were erased or removed."""
        gone = list(seqs)
        with self._lock:
            for seq in gone:
                if not self.buffer.remove(seq):
                    self._held_out.remove(seq)
            self.rows.drop(gone)

    def prioritise(self, seqs: Sequence[int], priorities: Sequence[float]) -> None:
        """Take over new priorities; events that left meanwhile are passed over."""
        which, values = np.array(seqs, dtype=np.int64), np.array(priorities, dtype=np.float64)
        with self._lock:
            self.buffer.update_priorities(which, values)
            self.rows.set_priorities(which, values)

    # ---- all at once

    def rebuild(self, reader: Reader, feature_names: tuple[str, ...]) -> list[int]:
        """Fill from the facts what is not there yet; return the seqs that found no room, oldest window first."""
        started = time.monotonic()
        with self._lock:
            seqs = [s for s in reader.seqs(states=("closed", "reopened")) if s not in self.rows]
            n_done = 0
            for part in chunks(seqs, _READ_AT_ONCE):
                outcomes = {outcome.seq: outcome for outcome in reader.outcomes(part)}
                found = [(i, outcomes[i.seq]) for i in reader.impressions(part) if i.seq in outcomes]
                self.rows.put_many([row for _, row in self._rows_of(found, feature_names)])
                n_done += len(part)
                if n_done // _REPORT_EVERY != (n_done - len(part)) // _REPORT_EVERY:
                    rate = n_done / max(time.monotonic() - started, 1e-9)
                    _log.info("column ring: %d of %d events read, %.0f a second", n_done, len(seqs), rate)
            self.ring_report = f"made from {len(seqs)} closed events in {time.monotonic() - started:.1f} s"
            return self._take_index(list(self._segments))

    def reopen(self, notes: Notes, epoch: int) -> None:
        """Take up the ring's file, which holds what `rebuild` would make.

        Raises:
            RingUnusable: It can not be used; says why.
            StorageError: It can not be read.
        """
        if notes.epoch != epoch:
            raise RingUnusable(
                f"the ring was in step with epoch {notes.epoch} of the store, which is at {epoch}",
                code="ring_older",
                hint="It is made again.",
            )
        with self._lock:
            self.rows.reopen(epoch, RowShape(*notes.shape))
            if self._take_index(notes.segments):
                raise RingUnusable(
                    "the ring holds more than the capacity", code="ring_schema", hint="It is made again."
                )
            self._segments = {name: code for code, name in enumerate(notes.segments)}
            self.n_without_features = notes.n_without_features
            self.ring_report = f"taken up from its file: {len(self.rows)} events"

    def _take_index(self, segments: list[str | None]) -> list[int]:
        """Fill the buffers from the ring's index, oldest window first; return the seqs that found no room."""
        columns = self.rows.index(*_INDEX)
        seqs, served_at = columns["seq"], columns["served_at"]
        if (np.diff(served_at) < 0).any() or (np.diff(seqs) < 0).any():
            order = np.lexsort((seqs, served_at))
            columns = {name: values[order] for name, values in columns.items()}
        is_held_out = columns["is_held_out"].astype(bool)
        gone: list[int] = []
        for keeper, is_kept in ((self.buffer, ~is_held_out), (self._held_out, is_held_out)):
            part = columns if is_kept.all() else {name: values[is_kept] for name, values in columns.items()}
            n_over = max(len(part["seq"]) - keeper.capacity, 0)
            gone += part["seq"][:n_over].tolist()
            _adopt(keeper, {name: values[n_over:] for name, values in part.items()}, segments)
        self.rows.drop(gone)
        self.n_taken_in = len(self.buffer)
        return gone

    def notes(self, epoch: int) -> Notes:
        """Return what has to stand in the store beside the ring of this moment."""
        return Notes(epoch, list(self.rows.shape), list(self._segments), self.n_without_features)

    def _recover(self) -> None:
        """Put the rows of all events that are known here once more, from the facts."""
        if self._snapshot is None:
            raise StorageError("there are no facts to make the ring from", code="ring_missing", hint="Open it anew.")
        seqs = np.concatenate([self.buffer.seqs(), self._held_out.seqs()]).tolist()
        n_before = self.n_without_features
        with self._snapshot() as reader:
            for part in chunks(seqs, _READ_AT_ONCE):
                outcomes = {outcome.seq: outcome for outcome in reader.outcomes(part)}
                found = [(i, outcomes[i.seq]) for i in reader.impressions(part) if i.seq in outcomes]
                self.rows.put_many([row for _, row in self._rows_of(found, self._feature_names)])
        self.n_without_features = n_before
        self.ring_report = f"made again from {len(seqs)} closed events"

    # ---- reading

    def trainable(self, *, after: int = 0) -> list[EventRow]:
        """Return rows that may be learned from, in close order."""
        return self.rows.in_close_order(after=after, is_held_out=False)

    def held_out(self) -> list[EventRow]:
        """Return rows that only judge, in close order."""
        return self.rows.in_close_order(is_held_out=True)


def _adopt(keeper: ReplayBuffer, columns: Mapping[str, npt.NDArray[Any]], segments: list[str | None]) -> None:
    keeper.clear()
    keeper.adopt(
        SourceIndex(
            columns["event_id"],
            columns["seq"],
            columns["served_at"],
            columns["priority"],
            columns["reward"],
            columns["version"],
            columns["segment_code"].astype(np.int64),
            segments or [None],
        )
    )
