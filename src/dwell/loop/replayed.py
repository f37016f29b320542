"""Closed events: the rows that are learned from, those that only judge, and the buffer that samples them."""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from dwell.errors import ReplayError, RingUnusable, StorageError
from dwell.loop.close import exposed_under
from dwell.loop.event_rows import EventRows
from dwell.loop.row_codec import EmbeddingKind, LearningRow, RowShape, taken_up_us
from dwell.loop.rows import event_row
from dwell.records import Experience, Impression
from dwell.records.rows import EventRow
from dwell.replay import ReplayBuffer
from dwell.replay.bounds import Quotas
from dwell.replay.index_rows import SourceIndex
from dwell.reward.examination import Examination
from dwell.storage import Outcome, Reader
from dwell.storage.protocol import chunks

__all__ = ["Change", "Notes", "Replayed", "closed_events"]

_READ_AT_ONCE: Final = 1_000
_REPORT_EVERY: Final = 100_000  # events between two lines of the progress report
_INDEX: Final = (
    "event_id", "seq", "served_at", "late_us", "priority", "reward", "version", "segment_code", "is_held_out",
)  # fmt: skip

_log = logging.getLogger("dwell")


class Notes(msgspec.Struct, frozen=True):
    """What is kept in the store beside the ring's file, and has to agree with it.

    Attributes:
        epoch: The store's, at the ring's last checkpoint.
        token: Stands in the file as well, and in no other: two copies of a store, or one and its backup, may reach the
            same epoch on different ways.
        shape: How wide the rows are, see `RowShape`.
        segments: Names by code, of the events that are there alone.
        n_without_features: Closed events that could not be learned from for want of features.
        examination: Version of the examination that the rows' exposures stand on.
    """

    epoch: int
    token: int
    shape: tuple[int, int, int, int, int]
    segments: dict[int, str | None]
    n_without_features: int
    examination: str = ""


@dataclass(slots=True)
class Change:
    """One change of facts and rows together, on its way; see `Replayed.changing`."""

    is_written: bool


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
        examination: What exposures stand on; those computed under another one are computed anew. None takes them as
            they are.
        segment_quotas: Of the buffer, see `ReplayBuffer`; held-out events leave oldest first all the same.
        are_ours: Says of events, one by one, which are kept here at all; None keeps all. The others are passed over.
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
        examination: Examination | None = None,
        segment_quotas: Quotas | None = None,
        are_ours: Callable[[Sequence[Impression]], Sequence[bool]] | None = None,
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
            max(capacity - held, 1),
            alpha=alpha,
            half_life_s=half_life_s,
            seed=0,
            columns=self.rows,
            segment_quotas=segment_quotas,
        )
        self._held_out = ReplayBuffer(max(held, 1), seed=0, columns=self.rows)
        self._holdout = holdout
        self._salt = salt
        self._feature_names = feature_names
        self._snapshot = snapshot
        self.are_ours = are_ours
        self._examination = examination
        self._segments: dict[str | None, int] = {}
        self._next_code = 0
        self._filling: list[int] = []  # what a rebuild has put, and no buffer knows yet
        self._lock = threading.RLock()
        self.epoch: int | None = None  # the store's at the last checkpoint of these rows, or None
        self.n_erasures = 0  # erasures in the store that these rows know of
        self.is_doubtful = False  # whether facts may have changed without these rows
        self.n_without_features = 0
        self.n_taken_in = 0  # events that could be replayed, those found at opening included
        self.ring_report = ""  # how the ring came about, in words

    def __len__(self) -> int:
        return len(self.rows)

    @contextmanager
    def changing(self, *, is_written: bool = True) -> Iterator[Change]:
        """Hold what changes facts and rows together: left by an error, an interrupt too, the rows are doubtful.

        Args:
            is_written: Whether facts have changed already. Until they have, a `StorageError` changed nothing.
        """
        change = Change(is_written)
        try:
            yield change
        except BaseException as error:
            if change.is_written or not isinstance(error, StorageError):
                self.is_doubtful = True
            raise

    # ---- one event after the other

    def admit(self, impression: Impression, outcome: Outcome, feature_names: tuple[str, ...]) -> list[int]:
        """Take in a closed event, or its newer version; return the seqs that left for it."""
        return self.admit_many([(impression, outcome)], feature_names)

    def admit_many(self, events: Iterable[tuple[Impression, Outcome]], feature_names: tuple[str, ...]) -> list[int]:
        """Take in closed events, or their newer versions, in order; return the seqs that left for them."""
        gone: list[int] = []
        with self._lock:
            given = self._ours(list(events))
            found = list(self._rows_of(given, feature_names))
            self.rows.put_many([row for _, row in found])
            # a newer version was counted when it was closed
            self.n_without_features += sum(not i.has_features and outcome.state == "closed" for i, outcome in given)
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

    def _ours(self, events: list[tuple[Impression, Outcome]]) -> list[tuple[Impression, Outcome]]:
        """Return the events that are kept here, in their order."""
        if self.are_ours is None or not events:
            return events
        return list(itertools.compress(events, self.are_ours([impression for impression, _ in events])))

    def _rows_of(
        self, events: Iterable[tuple[Impression, Outcome]], feature_names: tuple[str, ...]
    ) -> Iterator[tuple[Impression, LearningRow]]:
        for impression, given in events:
            outcome = exposed_under(impression, given, self._examination)
            row = event_row(impression, outcome, feature_names=feature_names, salt=self._salt, holdout=self._holdout)
            if row is None:
                continue
            code = self._segments.get(impression.segment)
            if code is None:
                code = self._segments[impression.segment] = self._next_code
                self.rows.segments[code] = impression.segment
                self._next_code += 1
            yield (
                impression,
                LearningRow(
                    replace(row, segment_code=code), outcome.reward or 0.0, outcome.priority, impression.query_embedding
                ),
            )

    def expose_anew(self, examination: Examination) -> None:
        """Compute the exposure of every event in memory under another examination, from the facts."""
        with self._lock:
            self._examination = examination
            if self._snapshot is None:
                return
            seqs = [*self.buffer.seqs().tolist(), *self._held_out.seqs().tolist()]
            with self._snapshot() as reader:
                for part in chunks(seqs, _READ_AT_ONCE):
                    self.rows.put_many(
                        [row for _, row in self._rows_of(closed_events(reader, part), self._feature_names)]
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
        is_valid = (values >= 0.0) & (values < np.inf)  # what the buffer refuses must not stand in the ring either
        which, values = which[is_valid], values[is_valid]
        with self._lock:
            self.buffer.update_priorities(which, values)
            self.rows.set_priorities(which, values)

    # ---- all at once

    def start_over(self) -> None:
        """Forget everything: it is taken from the facts again."""
        with self._lock:
            self.buffer.clear()
            self._held_out.clear()
            self.rows.start_over()
            self._segments, self._next_code, self._filling = {}, 0, []
            self.rows.segments = {}
            self.epoch, self.is_doubtful, self.n_without_features = None, False, 0

    def keep_nothing(self) -> None:
        """Keep no event from now on, since others hold them; a ring's file is left as it is, to be made again."""
        with self._lock:
            self.are_ours = _nobodys
            self.rows.leave_file()
            self.start_over()

    def rebuild(self, reader: Reader, feature_names: tuple[str, ...]) -> list[int]:
        """Fill from the facts, whatever was there; return the seqs that found no room, oldest window first."""
        started = time.monotonic()
        with self._lock:
            self.start_over()
            seqs = reader.seqs(states=("closed", "reopened"))
            n_done = 0
            for part in chunks(seqs, _READ_AT_ONCE):
                found = self._ours(closed_events(reader, part))
                self.rows.put_many([row for _, row in self._rows_of(found, feature_names)])
                self._filling += [impression.seq for impression, _ in found]
                self.n_without_features += sum(not impression.has_features for impression, _ in found)
                n_done += len(part)
                if n_done // _REPORT_EVERY != (n_done - len(part)) // _REPORT_EVERY:
                    rate = n_done / max(time.monotonic() - started, 1e-9)
                    _log.info("column ring: %d of %d events read, %.0f a second", n_done, len(seqs), rate)
            self.ring_report = f"made from {len(seqs)} closed events in {time.monotonic() - started:.1f} s"
            gone = self._take_index({code: name for name, code in self._segments.items()})
            self._filling = []
            return gone

    def reopen(self, notes: Notes, epoch: int) -> None:
        """Take up the ring's file, which holds what `rebuild` would make.

        Raises:
            RingUnusable: It can not be used; says why.
            StorageError: It can not be read.
        """
        if notes.examination != self._examination_version:
            raise RingUnusable(
                f"the ring's exposures stand on {notes.examination}, in force is {self._examination_version}",
                code="ring_older",
                hint="It is made again.",
            )
        if notes.epoch != epoch:
            raise RingUnusable(
                f"the ring was in step with epoch {notes.epoch} of the store, which is at {epoch}",
                code="ring_older",
                hint="It is made again.",
            )
        with self._lock:
            self.rows.reopen(notes.token, RowShape(*notes.shape))
            n_held_out = int(np.count_nonzero(self.rows.index("is_held_out")["is_held_out"]))
            if len(self.rows) - n_held_out > self.buffer.capacity or n_held_out > self._held_out.capacity:
                raise RingUnusable(
                    "the ring holds more than the capacity", code="ring_schema", hint="It is made again."
                )
            self._take_index(notes.segments)
            # the codes of the file go on: whoever is gone leaves a gap, and a new name comes after the last
            self._segments = {name: code for code, name in notes.segments.items()}
            self.rows.segments = dict(notes.segments)
            self._next_code = 1 + max(notes.segments, default=-1)
            self.n_without_features = notes.n_without_features
            self.epoch = notes.epoch
            self.ring_report = f"taken up from its file: {len(self.rows)} events"

    def _take_index(self, segments: Mapping[int, str | None]) -> list[int]:
        """Fill the buffers from the ring's index, oldest window first; return the seqs that found no room."""
        columns = self.rows.index(*_INDEX)
        seqs, taken_up = columns["seq"], taken_up_us(columns)
        if (np.diff(taken_up) < 0).any() or (np.diff(seqs) < 0).any():
            order = np.lexsort((seqs, taken_up))
            columns = {name: values[order] for name, values in columns.items()}
        columns["segment_code"], names = _in_order_of_age(columns["segment_code"], segments)
        is_held_out = columns["is_held_out"].astype(bool)
        gone: list[int] = []
        for keeper, is_kept in ((self.buffer, ~is_held_out), (self._held_out, is_held_out)):
            part = columns if is_kept.all() else {name: values[is_kept] for name, values in columns.items()}
            n_over = max(len(part["seq"]) - keeper.capacity, 0)
            gone += part["seq"][:n_over].tolist()
            _adopt(keeper, {name: values[n_over:] for name, values in part.items()}, names)
        self.rows.drop(gone)
        self.n_taken_in = max(self.n_taken_in, len(self.buffer))
        return gone

    def notes(self, epoch: int) -> Notes:
        """Return what has to stand in the store beside the ring of this moment."""
        codes = set(np.unique(self.rows.index("segment_code")["segment_code"]).tolist())
        segments = {code: name for name, code in self._segments.items() if code in codes}
        token = secrets.randbits(63)
        return Notes(
            epoch, token, self.rows.shape, segments, self.n_without_features, examination=self._examination_version
        )

    @property
    def _examination_version(self) -> str:
        return "" if self._examination is None else self._examination.version

    def checkpoint(self, notes: Notes) -> None:
        """Bring the rows to disk, once these notes are in the store.

        Raises:
            StorageError: They were not; the next opening makes them again.
        """
        self.rows.checkpoint(notes.token)
        self.epoch = notes.epoch

    def _recover(self) -> None:
        """Put the rows of all events that are known here once more, from the facts."""
        if self._snapshot is None:
            raise StorageError("there are no facts to make the ring from", code="ring_missing", hint="Open it anew.")
        seqs = [*self.buffer.seqs().tolist(), *self._held_out.seqs().tolist(), *self._filling]
        with self._snapshot() as reader:
            for part in chunks(seqs, _READ_AT_ONCE):
                self.rows.put_many([row for _, row in self._rows_of(closed_events(reader, part), self._feature_names)])
        self.ring_report = f"made again from {len(seqs)} closed events"

    # ---- reading

    def segment_names(self) -> dict[int, str | None]:
        """Return names of segments by code."""
        with self._lock:
            return {code: name for name, code in self._segments.items()}

    def trainable(self, *, after: int = 0) -> list[EventRow]:
        """Return rows that may be learned from, in close order."""
        return self.rows.in_close_order(after=after, is_held_out=False)

    def judging(self, *, after: int = 0) -> list[EventRow]:
        """Return rows that may judge what was made before them, in close order: all but those with a drawn pair."""
        return self.rows.in_close_order(after=after, is_swapped=False)

    def held_out(self) -> list[EventRow]:
        """Return rows that only judge, in close order."""
        return self.rows.in_close_order(is_held_out=True, is_swapped=False)


def _nobodys(impressions: Sequence[Impression]) -> list[bool]:
    return [False] * len(impressions)


def closed_events(reader: Reader, seqs: Sequence[int]) -> list[tuple[Impression, Outcome]]:
    """Return events with what came of them, in the order asked for; those that are gone are left out."""
    outcomes = {outcome.seq: outcome for outcome in reader.outcomes(seqs)}
    return [(i, outcomes[i.seq]) for i in reader.impressions(seqs) if i.seq in outcomes]


def _in_order_of_age(
    codes: npt.NDArray[Any], segments: Mapping[int, str | None]
) -> tuple[npt.NDArray[Any], list[str | None]]:
    """Return codes that count segments as they first come, oldest row first, and their names.

    So the order of segments, which decides ties in the report of health, is not that of an earlier process's codes.

    Raises:
        RingUnusable: A code has no name.
    """
    highest = int(codes.max(initial=-1))
    if highest > max(segments, default=-1) or int(codes.min(initial=0)) < 0:
        raise RingUnusable(f"no segment has the code {highest}", code="ring_damaged", hint="It is made again.")
    first = np.full(int(codes.max(initial=-1)) + 1, len(codes))
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # the last to be written is the oldest
    present = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(codes))]
    nameless = [code for code in present.tolist() if code not in segments]
    if nameless:
        raise RingUnusable(f"no segment has the codes {nameless}", code="ring_damaged", hint="It is made again.")
    place = np.zeros(first.size, dtype=np.int64)
    place[present] = np.arange(present.size)
    return place[codes], [segments[code] for code in present.tolist()]


def _adopt(keeper: ReplayBuffer, columns: Mapping[str, npt.NDArray[Any]], segments: list[str | None]) -> None:
    keeper.clear()
    try:
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
    except ReplayError as error:
        raise RingUnusable(
            f"the ring's index holds what no event can have: {error}", code="ring_damaged", hint="It is made again."
        ) from error
