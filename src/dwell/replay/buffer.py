"""`ReplayBuffer`: experience, kept within bounds, drawn by a stated law, addressed by identity."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from dwell.errors import ConfigError, NotEnoughExperienceError, ReplayError
from dwell.records import Batch, Columns, ColumnSpec, Experience, UpdateResult, checks
from dwell.records.arrays import FloatArray, IntArray
from dwell.replay import state
from dwell.replay.admission import check_admissible
from dwell.replay.arguments import (
    MAX_BATCH,
    MAX_CAPACITY,
    as_generator,
    as_keys,
    as_priorities,
    checked_names,
    real,
    row_source,
    whole,
)
from dwell.replay.laws import Laws, Strategy
from dwell.replay.ring import GONE, IndexRow, Ring
from dwell.replay.rows import INDEX_COLUMNS, ExternalRows, ObjectRows, PackedRows, Rows
from dwell.replay.size_estimate import index_bytes
from dwell.replay.view import ExperienceView
from dwell.replay.weights import sampling_weights

__all__ = ["ReplayBuffer", "Strategy"]

MAX_ALPHA: Final = 16.0  # beyond it the law is "the largest only", and float64 ends
MIN_HALF_LIFE_S: Final = 1e-3  # epoch seconds have a resolution of about a microsecond in float64


class ReplayBuffer:
    """A bounded store of experience; when it is full, the oldest inserted leaves.

    Safe from any thread: one lock makes every call atomic, and no sample is torn. Everything is addressed by event id
    or by `seq`, a number that is never used twice, so a late reward or a stale priority can not land on a neighbour.

    Args:
        capacity: Most experiences kept, 1 to 2**31.
        alpha: Exponent of priorities in "priority" and of ranks in "rank", in [0, 16]; applied there and nowhere else.
        half_life_s: Half-life of recency in seconds, >= 0.001. Training then aims at the recency-weighted
            distribution: every strategy's sampling weights do; "recency" draws from it, "stratified" does so within
            each segment. None: it aims at the uniform distribution.
        max_bytes: Most estimated memory (`n_bytes`), or None for no bound.
        seed: Of the buffer's own generator; None takes entropy from the system.
        columns: None keeps `Experience` objects of any shape; a `ColumnSpec` packs rows of numbers; a source of rows
            (`Columns`) means that rows are kept elsewhere and found by `seq`: the buffer holds the index only, and
            each experience brings its own `seq` >= 1, in any order. The source is read while the buffer's lock is
            held, so it must not call the buffer from another thread's lock.

    Raises:
        ConfigError: An argument is out of range.
    """

    def __init__(
        self,
        capacity: int = 10_000,
        *,
        alpha: float = 0.6,
        half_life_s: float | None = None,
        max_bytes: int | None = None,
        seed: int | None = None,
        columns: ColumnSpec | Columns | None = None,
    ) -> None:
        self._capacity = whole(capacity, "capacity", 1, MAX_CAPACITY, error=ConfigError)
        self._alpha = real(alpha, "alpha", 0.0, MAX_ALPHA, error=ConfigError)
        self._half_life_s = (
            None
            if half_life_s is None
            else real(half_life_s, "half_life_s", MIN_HALF_LIFE_S, checks.MAX_TIMESTAMP_S, error=ConfigError)
        )
        self._max_bytes = None if max_bytes is None else whole(max_bytes, "max_bytes", 1, 2**63, error=ConfigError)
        checked_seed = None if seed is None else whole(seed, "seed", 0, 2**128, error=ConfigError)
        self._rng = np.random.Generator(np.random.PCG64(checked_seed))
        self._lock = threading.RLock()
        self._ring = Ring(self._capacity)
        self._rows = _rows_for(columns)
        self._spec = columns if isinstance(columns, ColumnSpec) else None
        self._next_seq = 1
        self._laws = Laws(self._ring, alpha=self._alpha, half_life_s=self._half_life_s)

    # ---- what it holds

    @property
    def capacity(self) -> int:
        """Most experiences kept."""
        return self._capacity

    @property
    def alpha(self) -> float:
        """Exponent of priorities and ranks."""
        return self._alpha

    @property
    def half_life_s(self) -> float | None:
        """Half-life of recency in seconds, or None."""
        return self._half_life_s

    @property
    def max_bytes(self) -> int | None:
        """Most estimated memory, or None."""
        return self._max_bytes

    @property
    def n_bytes(self) -> int:
        """Estimated memory of what is kept, as `size_estimate` counts it."""
        return self._ring.total_bytes

    def size(self) -> int:
        """Return the number of experiences kept."""
        return len(self._ring)

    def __len__(self) -> int:
        return len(self._ring)

    def __contains__(self, event_id: object) -> bool:
        with self._lock:
            return isinstance(event_id, str) and self._ring.slot_of(event_id) != GONE

    def __repr__(self) -> str:
        return f"ReplayBuffer({len(self._ring)} of {self._capacity})"

    def __iter__(self) -> Iterator[Experience]:
        """Yield experiences, oldest first: those here when it begins, less those that have left when reached."""
        with self._lock:
            seqs = self._ring.in_order().tolist()
        for seq in seqs:
            with self._lock:
                slot = self._ring.slot_of(seq)
                experience = None if slot == GONE else self._experience(slot)
            if experience is not None:
                yield experience

    @property
    def buffer(self) -> ExperienceView:
        """A read-only sequence of the experiences, oldest first, that follows the buffer."""
        return ExperienceView(self)

    def get(self, event_id: str | int) -> Experience | None:
        """Return one experience with its current priority and reward, by event id or seq, or None."""
        with self._lock:
            slot = self._slot(event_id)
            return None if slot == GONE else self._experience(slot)

    def seqs(self) -> IntArray:
        """Return the seqs of all experiences, oldest first, int64 (n,)."""
        with self._lock:
            return self._ring.in_order()

    def priorities(self) -> FloatArray:
        """Return all raw priorities, oldest first, float64 (n,)."""
        with self._lock:
            return self._ring.priorities.take(self._ring.slots_of_seqs(self._ring.in_order()))

    def segment_counts(self) -> dict[str | None, int]:
        """Return the number of experiences per segment."""
        with self._lock:
            return self._ring.segments.counts()

    @contextmanager
    def held(self) -> Iterator[Self]:
        """Keep other threads from changing the buffer inside a `with` block: several calls see one state."""
        with self._lock:
            yield self

    # ---- adding

    def add(self, experience: Experience) -> None:
        """Keep a sealed copy of an experience, its priority exactly as it is.

        A known event id is replaced in place: it keeps its seq and its age. Beyond the capacity the oldest leave;
        use `extend` or `add_row` to learn which.

        Raises:
            ReplayError: It is no Experience, does not fit the columns, is larger than `max_bytes`, or lacks the seq
                that rows kept elsewhere need. Nothing has changed.
            RecordError: Its user or segment is no identifier. Nothing has changed.
        """
        self.extend((experience,))

    def extend(self, experiences: Iterable[Experience]) -> list[int]:
        """Add experiences in order and return the seqs of those that were evicted for it.

        Raises:
            ReplayError: One of them can not be added, as in `add`. Nothing has changed.
        """
        given = list(experiences)
        for experience in given:
            if not isinstance(experience, Experience):
                raise ReplayError(
                    "an Experience is due here",
                    field="experience",
                    value=type(experience).__name__,
                    hint="Build one with dwell.Experience(...).",
                )
        is_external = isinstance(self._rows, ExternalRows)
        ready = [
            (
                self._rows.prepared(item),
                IndexRow(
                    event_id=item.event_id,
                    seq=whole(item.seq, "seq", 0, 2**63 - 1) if is_external else 0,
                    timestamp=float(item.timestamp),
                    priority=float(item.priority),
                    reward=float(item.reward),
                    version=whole(item.version, "version", 0, 2**63 - 1),
                    user=checks.optional_identifier(item.user, "user"),
                    segment=checks.optional_identifier(item.segment, "segment"),
                    size_bytes=self._rows.size_bytes(item),
                ),
            )
            for item in given
        ]
        with self._lock:
            check_admissible(self._ring, [index for _, index in ready], self._max_bytes, needs_seq=is_external)
            return [seq for row, index in ready for seq in self._insert(index, row)]

    def add_row(
        self,
        *,
        event_id: str,
        seq: int,
        timestamp: float,
        priority: float = 1.0,
        user: str | None = None,
        segment: str | None = None,
        reward: float = 0.0,
        version: int = 0,
    ) -> list[int]:
        """Index a row that is kept elsewhere, without building an Experience; return the seqs evicted for it.

        Raises:
            ReplayError: The buffer keeps its rows itself, or the seq belongs to another event. Nothing has changed.
            RecordError: A value is malformed. Nothing has changed.
        """
        if not isinstance(self._rows, ExternalRows):
            raise ReplayError(
                "this buffer keeps its own rows",
                field="columns",
                value=type(self._rows).__name__,
                hint="Use add, or give the constructor a source of rows as columns.",
            )
        index = IndexRow(
            event_id=checks.event_id(event_id),
            seq=whole(seq, "seq", 1, 2**63 - 1),
            timestamp=checks.timestamp(timestamp, "timestamp"),
            priority=checks.within(priority, "priority", 0.0, np.finfo(np.float64).max, code="priority"),
            reward=checks.within(reward, "reward", -1.0, 1.0, code="reward_range"),
            version=whole(version, "version", 0, 2**63 - 1),
            user=checks.optional_identifier(user, "user"),
            segment=checks.optional_identifier(segment, "segment"),
            size_bytes=index_bytes(event_id, user, segment),
        )
        with self._lock:
            check_admissible(self._ring, [index], self._max_bytes, needs_seq=True)
            return self._insert(index, None)

    # ---- drawing

    def sample_uniform(self, batch_size: int) -> list[Experience]:
        """Return distinct experiences in random order, every set of that size as likely; all when there are fewer.

        Raises:
            ReplayError: `batch_size` is no int >= 0.
        """
        n_due = whole(batch_size, "batch_size", 0, 2**63)
        with self._lock:
            n_drawn = min(n_due, len(self._ring))
            slots = self._rng.choice(len(self._ring), n_drawn, replace=False) if n_drawn else np.zeros(0, np.int64)
            return [self._experience(slot) for slot in slots.tolist()]

    def sample_priority(self, batch_size: int) -> list[Experience]:
        """Return experiences drawn with replacement, P in proportion to priority^alpha; at most `size()` of them.

        The draw favours high priorities and nothing here corrects for it: `sample` returns the weights that do.

        Raises:
            ReplayError: `batch_size` is no int >= 0.
        """
        n_due = whole(batch_size, "batch_size", 0, 2**63)
        with self._lock:
            n_drawn = min(n_due, len(self._ring))
            if n_drawn == 0:
                return []
            drawn = self._laws.draw("priority", n_drawn, self._rng)
            return [self._experience(slot) for slot in drawn.slots.tolist()]

    def sample(
        self,
        batch_size: int,
        *,
        strategy: Strategy = "uniform",
        beta: float = 1.0,
        replace: bool = True,
        columns: Sequence[str] | None = None,
        now: float | None = None,
        rng: np.random.Generator | None = None,
    ) -> Batch:
        """Return a batch with its sampling probabilities and the weights that correct for them.

        "uniform" P = 1/n. "priority" P in proportion to priority^alpha; 0 is never drawn, unless all are 0: then
        uniform. "rank" P in proportion to 1/rank^alpha. "recency" P in proportion to 2^(timestamp / half_life_s).
        "stratified" every segment has the same share, None being one of them; within it uniform, or by recency.

        `sampling_weights` are (t_i / P_i)^beta with mean 1 in the batch. t is uniform, or recency-weighted when the
        buffer has a `half_life_s`; so a priority or a decay is corrected or applied once, whatever the strategy.

        With `replace=False` all are distinct, and the probability of being in the batch is exact: an experience whose
        share exceeds 1 is certain to be drawn. `sampling_probabilities` is then that probability divided by
        `batch_size`: the expected share of the batch, as it is with replacement.

        Args:
            batch_size: 1 to 2**20; without replacement at most the number of experiences that can be drawn.
            strategy: The law.
            beta: Strength of the correction, in [0, 1].
            replace: Whether one experience may be drawn more than once.
            columns: Names to read into `Batch.columns`: attributes, columns of the spec or of the source, and always
                seq, timestamp, priority, reward and version. None: all of a `ColumnSpec`, otherwise nothing.
            now: Checked, and without effect on the draw: an exponential discount is memoryless.
            rng: Source of the draw; the buffer's own when not given.

        Raises:
            NotEnoughExperienceError: The buffer is empty, or has fewer than `batch_size` distinct experiences.
            ReplayError: An argument is malformed, or "recency" is asked for without a `half_life_s`.
            RecordError: `now` is no instant.
        """
        n_drawn = whole(batch_size, "batch_size", 1, MAX_BATCH)
        beta = real(beta, "beta", 0.0, 1.0)
        if now is not None:
            checks.timestamp(now, "now")
        generator = as_generator(rng, self._rng)
        names = checked_names(columns, self._rows.default_columns)
        with self._lock:
            if len(self._ring) == 0:
                raise NotEnoughExperienceError(
                    "the buffer is empty", field="batch_size", value=batch_size, hint="Add experiences first."
                )
            draw = self._laws.draw if replace else self._laws.draw_distinct
            drawn = draw(strategy, n_drawn, generator)
            slots = drawn.slots
            seqs = self._ring.seqs.take(slots)
            return Batch(
                seqs=seqs,
                sampling_probabilities=drawn.probabilities,
                sampling_weights=sampling_weights(self._laws.log2_target(slots), drawn.log2_masses, beta=beta),
                columns=self._read(slots, seqs, names),
                _read_event_ids=self._event_ids_of,
                _read_experiences=self._experiences_of,
            )

    # ---- changing

    def update_priorities(
        self, event_ids: Sequence[str] | Sequence[int] | IntArray, priorities: npt.ArrayLike
    ) -> UpdateResult:
        """Store new raw priorities, by event id or by `Batch.seqs`, and return what became of each item.

        A priority that is negative or not finite is rejected, an event that has left is stale; both leave everything
        as it was. All other items are updated; of an event given twice the last valid priority holds.

        Raises:
            ReplayError: The arguments differ in length or are no ids and numbers. Nothing has changed.
        """
        keys = as_keys(event_ids)
        values = as_priorities(priorities, len(keys))
        is_valid = (values >= 0.0) & (values < np.inf)
        with self._lock:
            slots = self._ring.slots_of_ids(keys) if isinstance(keys, list) else self._ring.slots_of_seqs(keys)
            is_applied = is_valid & (slots != GONE)
            slots, values = slots[is_applied], values[is_applied]
            if slots.size:
                self._ring.set_priorities(slots, values)
                self._laws.reprioritised(slots)
        n_rejected = int(np.count_nonzero(~is_valid))
        return UpdateResult(slots.size, is_valid.size - n_rejected - slots.size, n_rejected)

    def update_reward(self, event_id: str | int, reward: float, *, version: int) -> UpdateResult:
        """Store a recomputed reward if its version is above the one held, else report it stale.

        So whichever order late rewards arrive in, the newest stays. The priority is left as it is.

        Args:
            event_id: The event, or its seq.
            reward: In [-1, 1]; anything else is rejected.
            version: Version of the reward, >= 0.

        Raises:
            ReplayError: `event_id` or `version` is malformed.
        """
        version = whole(version, "version", 0, 2**63 - 1)
        try:
            value = checks.within(reward, "reward", -1.0, 1.0)
        except ValueError:
            return UpdateResult(0, 0, 1)
        with self._lock:
            slot = self._slot(event_id)
            if slot == GONE or version <= int(self._ring.column("version")[slot]):
                return UpdateResult(0, 1, 0)
            self._ring.set_reward(slot, value, version)
        return UpdateResult(1, 0, 0)

    def remove(self, event_id: str | int) -> bool:
        """Take one experience out and return whether it was there, by event id or seq."""
        with self._lock:
            slot = self._slot(event_id)
            if slot != GONE:
                self._remove(slot)
            return slot != GONE

    def remove_user(self, user: str) -> int:
        """Take every experience of one user out and return their number.

        Raises:
            RecordError: `user` is no identifier.
        """
        name = checks.identifier(user, "user")
        with self._lock:
            # from the top: what moves into a vacant slot is never one still to be removed
            slots = sorted(self._ring.slots_of_user(name), reverse=True)
            for slot in slots:
                self._remove(slot)
            return len(slots)

    def clear(self) -> None:
        """Take every experience out; seqs go on and are not used again."""
        with self._lock:
            self._ring.clear()
            self._rows.clear()
            self._laws.cleared()

    # ---- saving

    def to_state(self) -> dict[str, Any]:
        """Return everything as plain values, arrays and sealed experiences; it can be pickled.

        Rows kept elsewhere are not in it.
        """
        with self._lock:
            settings = {
                "capacity": self._capacity,
                "alpha": self._alpha,
                "half_life_s": self._half_life_s,
                "max_bytes": self._max_bytes,
                "next_seq": self._next_seq,
                "rng": self._rng.bit_generator.state,
                "scales": self._laws.scales(),
            }
            return state.taken(self._ring, self._rows, self._saved_rows(), settings)

    @classmethod
    def from_state(cls, saved: Mapping[str, Any], *, columns: ColumnSpec | Columns | None = None) -> Self:
        """Return a buffer equal to the one that was saved: its next batches are the same, too.

        Args:
            saved: What `to_state` returned.
            columns: The same spec or source of rows that the saved buffer had.

        Raises:
            ReplayError: The state is malformed or was saved with other columns; names what is wrong.
        """
        with state.sound():
            found = state.checked(saved)
            buffer = cls(
                found["capacity"],
                alpha=found["alpha"],
                half_life_s=found["half_life_s"],
                max_bytes=found["max_bytes"],
                columns=columns,
            )
            buffer._rows = state.restored_rows(found, buffer._rows)
            buffer._ring = state.restored_ring(found)
            buffer._next_seq = int(found["next_seq"])
            buffer._laws = Laws(
                buffer._ring, alpha=buffer._alpha, half_life_s=buffer._half_life_s, scales=found["scales"]
            )
            state.restore_generator(buffer._rng, found["rng"])
        return buffer

    def __reduce__(self) -> tuple[Any, ...]:
        """Let pickle and copy make a twin from `to_state`; refused where rows are kept elsewhere."""
        return state.reduced(self, self._spec, self._rows)

    def _saved_rows(self) -> object:
        n = len(self._ring)
        if isinstance(self._rows, ObjectRows):
            return [self._experience(slot) for slot in range(n)]
        return self._rows.saved(n) if isinstance(self._rows, PackedRows) else None

    # ---- inside, under the lock

    def _slot(self, key: str | int) -> int:
        if isinstance(key, str):
            return self._ring.slot_of(key)
        return self._ring.slot_of(whole(key, "event_id", 0, 2**63 - 1))

    def _experience(self, slot: int) -> Experience:
        return self._rows.experience(slot, self._ring.row(slot))

    def _insert(self, row: IndexRow, content: object) -> list[int]:
        """Put an admissible experience in and return the seqs that left for it."""
        ring = self._ring
        slot = ring.slot_of(row.event_id)
        if slot != GONE:
            seq = int(ring.column("seq")[slot])
            ring.replace(slot, row._replace(seq=seq))
            self._rows.store(slot, content)
            self._laws.placed(slot)
            return self._evicted(but=seq)
        if not isinstance(self._rows, ExternalRows):
            row = row._replace(seq=self._next_seq)
            self._next_seq += 1
        if len(ring) < self._capacity:
            slot, evicted = ring.append(row), []
        else:
            evicted = [ring.oldest()]
            slot = ring.slot_of(evicted[0])
            ring.take_over(slot, row)
        self._rows.store(slot, content)
        self._laws.placed(slot)
        return evicted + self._evicted(but=row.seq)

    def _evicted(self, *, but: int) -> list[int]:
        """Evict the oldest until the bytes are within bounds, and return their seqs."""
        evicted: list[int] = []
        while self._max_bytes is not None and self._ring.total_bytes > self._max_bytes:
            evicted.append(self._ring.oldest(but=but))
            self._remove(self._ring.slot_of(evicted[-1]))
        return evicted

    def _remove(self, slot: int) -> None:
        vacant = self._ring.remove(slot)
        self._rows.move(vacant, slot)
        self._laws.placed(slot)
        self._laws.placed(vacant)

    def _read(self, slots: IntArray, seqs: IntArray, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        columns = self._rows.read(slots, seqs, [name for name in names if name not in INDEX_COLUMNS])
        dtypes = self._rows.index_dtypes
        for name in names:
            if name in INDEX_COLUMNS:
                values = self._ring.column(name).take(slots)
                columns[name] = values.astype(dtypes.get(name, values.dtype), copy=False)
        return {name: columns[name] for name in names}

    def _event_ids_of(self, seqs: IntArray) -> list[str]:
        with self._lock:
            return [self._ring.event_id(slot) for slot in self._live_slots(seqs)]

    def _experiences_of(self, seqs: IntArray) -> list[Experience]:
        with self._lock:
            return [self._experience(slot) for slot in self._live_slots(seqs)]

    def _live_slots(self, seqs: IntArray) -> list[int]:
        slots = self._ring.slots_of_seqs(seqs)
        gone = np.flatnonzero(slots == GONE)
        if gone.size:
            raise ReplayError(
                "an experience of this batch has left the buffer since",
                code="gone",
                field="seqs",
                value=int(seqs[gone[0]]),
                hint="Read the batch before adding more, or ask for columns when sampling.",
            )
        result: list[int] = slots.tolist()
        return result


def _rows_for(columns: ColumnSpec | Columns | None) -> Rows:
    source = row_source(columns)
    if source is None:
        return ObjectRows()
    return PackedRows(source) if isinstance(source, ColumnSpec) else ExternalRows(source)
