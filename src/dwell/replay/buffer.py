"""`ReplayBuffer`: experience, kept within bounds, drawn by a stated law, addressed by identity."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from dwell.errors import ConfigError, ReplayError
from dwell.records import Batch, Columns, ColumnSpec, Experience, UpdateResult, checks
from dwell.records.arrays import FloatArray, IntArray
from dwell.replay import state
from dwell.replay.admission import check_admissible, check_block, checked_block, checked_row, ready_experience
from dwell.replay.arguments import (
    MAX_SEQ,
    as_generator,
    as_keys,
    as_priorities,
    real,
    whole,
)
from dwell.replay.bounds import Quotas, checked_bounds
from dwell.replay.changing import update_priorities
from dwell.replay.contents import Contents, packed_rows
from dwell.replay.drawing import Wish, draw_batch
from dwell.replay.engines import Engine, tree_maker
from dwell.replay.index_rows import SourceIndex
from dwell.replay.laws import Strategy
from dwell.replay.ring import GONE
from dwell.replay.stratified_sampler import Stratum
from dwell.replay.view import ExperienceView
from dwell.replay.weights import Normalisation

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
            each stratum. None: it aims at the uniform distribution.
        max_bytes: Most estimated memory (`n_bytes`), or None for no bound.
        seed: Of the buffer's own generator; None takes entropy from the system.
        columns: None keeps `Experience` objects of any shape; a `ColumnSpec` packs rows of numbers; a source of rows
            (`Columns`) means that rows are kept elsewhere and found by `seq`: the buffer holds the index only, and
            each experience brings its own `seq` >= 1, in any order. The source is read while the buffer's lock is
            held, so it must not call the buffer from another thread's lock.
        max_age_s: Experiences further behind the newest timestamp ever added leave; one that comes too late is not
            kept, and its own seq is among those that left. None for no bound.
        segment_quotas: Share of the capacity that a segment is sure of, {segment: share}, or "equal" for the same
            share each: who is within its quota loses nobody to another segment. None: the oldest leaves.
        engine: "numpy", or "numba" (extra `fast`): the same draws, sooner in small batches.

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
        max_age_s: float | None = None,
        segment_quotas: Quotas | None = None,
        engine: Engine = "numpy",
    ) -> None:
        bounds = checked_bounds(capacity, max_bytes, max_age_s, segment_quotas)
        self._alpha = real(alpha, "alpha", 0.0, MAX_ALPHA, error=ConfigError)
        self._half_life_s = (
            None
            if half_life_s is None
            else real(half_life_s, "half_life_s", MIN_HALF_LIFE_S, checks.MAX_TIMESTAMP_S, error=ConfigError)
        )
        entropy = None if seed is None else whole(seed, "seed", 0, 2**128, error=ConfigError)
        self._rng = np.random.Generator(np.random.PCG64(entropy))
        self._lock = threading.RLock()
        self._spec = columns if isinstance(columns, ColumnSpec) else None
        self._readers = (self._event_ids_of, self._experiences_of)
        self._in = Contents(
            bounds,
            alpha=self._alpha,
            half_life_s=self._half_life_s,
            columns=columns,
            make_tree=tree_maker(engine),
        )

    # ---- what it holds

    @property
    def capacity(self) -> int:
        """Most experiences kept."""
        return self._in.bounds.capacity

    @property
    def alpha(self) -> float:
        """Exponent of priorities and ranks; may be assigned, in [0, 16]: priorities are kept raw."""
        return self._alpha

    @alpha.setter
    def alpha(self, value: float) -> None:
        checked = real(value, "alpha", 0.0, MAX_ALPHA)
        with self._lock:
            self._alpha = checked
            self._in.laws.change_alpha(checked)

    @property
    def half_life_s(self) -> float | None:
        """Half-life of recency in seconds, or None."""
        return self._half_life_s

    @property
    def max_bytes(self) -> int | None:
        """Most estimated memory, or None."""
        return self._in.bounds.max_bytes

    @property
    def n_bytes(self) -> int:
        """Estimated memory of what is kept, as `size_estimate` counts it."""
        return self._in.ring.total_bytes

    def size(self) -> int:
        """Return the number of experiences kept."""
        return len(self)

    def __len__(self) -> int:
        return len(self._in.ring)

    def __contains__(self, event_id: object) -> bool:
        with self._lock:
            return isinstance(event_id, str) and self._slot(event_id) != GONE

    def __repr__(self) -> str:
        return f"ReplayBuffer({len(self)} of {self.capacity})"

    def __iter__(self) -> Iterator[Experience]:
        """Yield experiences, oldest first: those here when it begins, less those that have left when reached."""
        for seq in self.seqs().tolist():
            with self._lock:
                slot = self._in.ring.slot_of(seq)
                experience = None if slot == GONE else self._in.experience(slot)
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
            return None if slot == GONE else self._in.experience(slot)

    def seqs(self) -> IntArray:
        """Return the seqs of all experiences, oldest first, int64 (n,)."""
        with self._lock:
            return self._in.ring.in_order()

    def priorities(self) -> FloatArray:
        """Return all raw priorities, oldest first, float64 (n,)."""
        with self._lock:
            return self._in.ring.priorities[self._in.ring.slots_in_order()]

    def max_priority(self) -> float:
        """Return the highest raw priority of those that are here now, 1.0 where nobody is or all have 0."""
        with self._lock:
            return (self._in.ring.top_priority() if len(self) else 0.0) or 1.0

    def segment_counts(self) -> dict[str | None, int]:
        """Return the number of experiences per segment."""
        with self._lock:
            return self._in.ring.segments.counts()

    @contextmanager
    def held(self) -> Iterator[Self]:
        """Keep other threads from changing the buffer inside a `with` block: several calls see one state."""
        with self._lock:
            yield self

    # ---- adding

    def add(self, experience: Experience) -> None:
        """Keep a sealed copy of an experience, its priority exactly as it is.

        A known event id is replaced in place: it keeps its seq and its age. `extend` and `add_row` say who left.

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
        inside = self._in
        ready = [ready_experience(item, inside.rows, is_external=inside.is_external) for item in experiences]
        with self._lock:
            rows = [index for _, index in ready]
            check_admissible(inside.ring, rows, self.max_bytes, needs_seq=inside.is_external)
            return [seq for content, index in ready for seq in inside.insert(index, content)]

    def add_row(
        self,
        *,
        event_id: str,
        seq: int,
        timestamp: float,
        priority: float | None = 1.0,
        user: str | None = None,
        segment: str | None = None,
        reward: float = 0.0,
        version: int = 0,
    ) -> list[int]:
        """Index a row that is kept elsewhere, without building an Experience; return the seqs evicted for it.

        A `priority` of None is that of `max_priority`.

        Raises:
            ReplayError: The buffer keeps its rows itself, or the seq belongs to another event. Nothing has changed.
            RecordError: A value is malformed. Nothing has changed.
        """
        inside = self._in
        if not inside.is_external:
            raise ReplayError("this buffer keeps its own rows", field="columns", hint="Use add or add_packed.")
        index = checked_row(
            event_id,
            seq=seq,
            timestamp=timestamp,
            priority=priority,
            user=user,
            segment=segment,
            reward=reward,
            version=version,
            n_row_bytes=0,
        )
        whole(seq, "seq", 1, MAX_SEQ)
        with self._lock:
            if priority is None:
                index = index._replace(priority=self.max_priority())
            check_admissible(inside.ring, [index], self.max_bytes, needs_seq=True)
            return inside.insert(index, None)

    def add_packed(
        self,
        event_id: str,
        *,
        timestamp: float,
        columns: Mapping[str, npt.ArrayLike],
        priority: float | None = None,
        user: str | None = None,
        segment: str | None = None,
        reward: float = 0.0,
        version: int = 0,
    ) -> list[int]:
        """Add one packed row, without building an Experience; return the seqs evicted for it.

        Args:
            event_id: Identity; a known one is replaced in place.
            timestamp: UTC epoch seconds.
            columns: Exactly the columns of the `ColumnSpec` that the index does not hold, each in its shape.
            priority: Raw, finite, >= 0; None: that of `max_priority`.
            user: Pseudonym or None.
            segment: Group of queries, or None.
            reward: In [-1, 1].
            version: Of the reward, >= 0.

        Raises:
            ReplayError: The buffer has no `ColumnSpec`, or a column does not fit. Nothing has changed.
            RecordError: A value is malformed. Nothing has changed.
        """
        rows = packed_rows(self._in)
        inside = self._in
        with self._lock:
            worth = self.max_priority() if priority is None else priority
            index = checked_row(
                event_id,
                seq=0,
                timestamp=timestamp,
                priority=worth,
                user=user,
                segment=segment,
                reward=reward,
                version=version,
                n_row_bytes=rows.row_bytes,
            )
            if inside.bounds.max_bytes is not None:
                check_admissible(inside.ring, [index], inside.bounds.max_bytes, needs_seq=False)
            return inside.insert(index, rows.prepared_one(columns))

    def extend_columns(
        self,
        event_ids: Sequence[str] | npt.NDArray[Any],
        *,
        timestamps: npt.ArrayLike,
        columns: Mapping[str, npt.ArrayLike] | None = None,
        priorities: npt.ArrayLike | None = None,
        rewards: npt.ArrayLike = 0.0,
        versions: npt.ArrayLike = 0,
        users: Sequence[str | None] | None = None,
        segments: Sequence[str | None] | None = None,
        seqs: npt.ArrayLike | None = None,
    ) -> list[int]:
        """Add many rows at once, in order, and return the seqs that were evicted for them.

        Args:
            event_ids: n identities, as texts or as UTF-8 bytes (dtype "S").
            timestamps: (n,) UTC epoch seconds.
            columns: With a `ColumnSpec`: exactly its columns that the index does not hold, each (n, ...).
            priorities: (n,) raw, finite, >= 0; None: that of `max_priority` for all.
            rewards: (n,) or one number, in [-1, 1].
            versions: (n,) or one number, >= 0.
            users: n pseudonyms or None.
            segments: n segments or None.
            seqs: (n,) for rows that are kept elsewhere, >= 1 and never used before by another event.

        Raises:
            ReplayError: An argument has another length, a column does not fit, or the buffer keeps objects. Nothing
                has changed.
            RecordError: A value is malformed. Nothing has changed.
        """
        inside = self._in
        rows = None if inside.is_external else packed_rows(self._in)
        block = checked_block(
            event_ids,
            timestamps=timestamps,
            priorities=priorities,
            rewards=rewards,
            versions=versions,
            users=users,
            segments=segments,
            seqs=seqs,
            n_row_bytes=0 if rows is None else rows.row_bytes,
            needs_seq=inside.is_external,
        )
        if len(block.seqs) == 0:
            return []
        content = None if rows is None else rows.prepared_columns(columns or {}, len(block.seqs))
        with self._lock:
            if priorities is None:
                block.priorities.fill(self.max_priority())
            check_block(inside.ring, block, self.max_bytes, needs_seq=inside.is_external)
            return inside.insert_block(block, content)

    def adopt(self, index: SourceIndex) -> None:
        """Take over the index of a source of rows that was verified before; a million rows in a tenth of a second.

        That ids and seqs are all different is taken on trust.

        Raises:
            ReplayError: The buffer is not empty, keeps its own rows, has no room for it, or is bounded by bytes or age.
        """
        with self._lock:
            self._in.adopt(index)

    # ---- drawing

    def sample_uniform(self, batch_size: int) -> list[Experience]:
        """Return distinct experiences in random order, every set of that size as likely; all when there are fewer.

        Raises:
            ReplayError: `batch_size` is no int >= 0.
        """
        n_due = whole(batch_size, "batch_size", 0, 2**63)
        with self._lock:
            n_drawn = min(n_due, len(self))
            slots = self._rng.choice(len(self), n_drawn, replace=False) if n_drawn else np.zeros(0, np.int64)
            return [self._in.experience(slot) for slot in slots.tolist()]

    def sample_priority(self, batch_size: int) -> list[Experience]:
        """Return experiences drawn with replacement, P in proportion to priority^alpha; at most `size()` of them.

        Nothing here corrects for it: `sample` returns the weights that do.

        Raises:
            ReplayError: `batch_size` is no int >= 0.
        """
        n_due = whole(batch_size, "batch_size", 0, 2**63)
        with self._lock:
            n_drawn = min(n_due, len(self))
            if n_drawn == 0:
                return []
            drawn = self._in.laws.sampler("priority").draw(n_drawn, None, self._rng)
            return [self._in.experience(slot) for slot in drawn.slots.tolist()]

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
        max_repeats: int | None = None,
        normalisation: Normalisation = "batch_mean",
        stratify_by: Stratum = "segment",
        shares: Mapping[str | None, float] | None = None,
    ) -> Batch:
        """Return a batch with its sampling probabilities and the weights that correct for them.

        docs/samplers.md has a card for each law. "uniform" P = 1/n. "priority" P in proportion to priority^alpha; 0 is
        never drawn, unless all are 0: then uniform. "rank" P in proportion to 1/rank^alpha. "recency" P in proportion
        to 2^(timestamp / half_life_s). "stratified" every segment (or user) has its share; within it uniform, or by
        recency. The order of a batch has no meaning: shuffle it before splitting it.

        `sampling_weights` are (t_i / P_i)^beta with t uniform, or recency-weighted when the buffer has a `half_life_s`:
        a priority or a decay is corrected or applied once, whatever the strategy.

        With `replace=False` all are distinct; with `max_repeats` none stands in the batch more often. Either way the
        expected number of times is exact, and `sampling_probabilities` is that number divided by `batch_size`.

        Args:
            batch_size: 1 to 2**20; under a cap at most what can be drawn.
            strategy: The law.
            beta: Strength of the correction, in [0, 1].
            replace: Whether one experience may be drawn more than once.
            columns: Names to read into `Batch.columns`: attributes, columns of the spec or of the source, and always
                seq, timestamp, priority, reward and version. None: all of a `ColumnSpec`, otherwise nothing.
            now: Checked, and without effect on the draw: an exponential discount is memoryless.
            rng: Source of the draw; the buffer's own when not given.
            max_repeats: Most times that one experience may stand in the batch, >= 1; None for no cap.
            normalisation: What the weights are divided by: "batch_mean", "batch_max", "buffer_max" or "none".
            stratify_by: For "stratified": "segment" or "user".
            shares: For "stratified": relative share by name, 1 for those not named; None: all the same.

        Raises:
            NotEnoughExperienceError: The buffer is empty, or too few can be drawn under the cap.
            ReplayError: An argument is malformed, or "recency" is asked for without a `half_life_s`.
            RecordError: `now` is no instant.
        """
        return draw_batch(
            self._in,
            self._lock,
            Wish(batch_size, strategy, beta, replace, columns, now, max_repeats, normalisation, stratify_by, shares),
            rng=as_generator(rng, self._rng),
            readers=self._readers,
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
        return update_priorities(self._in, self._lock, keys, values)

    def update_reward(self, event_id: str | int, reward: float, *, version: int) -> UpdateResult:
        """Store a recomputed reward if its version is above the one held, else report it stale.

        The priority is left as it is.

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
            if slot == GONE or version <= int(self._in.ring.column("version")[slot]):
                return UpdateResult(0, 1, 0)
            self._in.ring.set_reward(slot, value, version)
        return UpdateResult(1, 0, 0)

    def remove(self, event_id: str | int) -> bool:
        """Take one experience out and return whether it was there, by event id or seq."""
        with self._lock:
            slot = self._slot(event_id)
            if slot != GONE:
                self._in.remove(slot)
            return slot != GONE

    def remove_user(self, user: str) -> int:
        """Take every experience of one user out and return their number; O(number log n).

        Raises:
            RecordError: `user` is no identifier.
        """
        name = checks.identifier(user, "user")
        with self._lock:
            return self._in.remove_user(name)

    def evict_before(self, timestamp: float) -> list[int]:
        """Take out every experience older than an instant, in any order of arrival, and return their seqs; O(n).

        Raises:
            RecordError: `timestamp` is no instant.
        """
        limit = checks.timestamp(timestamp, "timestamp")
        with self._lock:
            return self._in.evict_before(limit)

    def clear(self) -> None:
        """Take every experience out; seqs go on and are not used again."""
        with self._lock:
            self._in.clear()

    # ---- saving

    def to_state(self) -> dict[str, Any]:
        """Return everything but rows kept elsewhere as plain values, arrays and sealed experiences, for pickle too."""
        with self._lock:
            return state.taken(
                self._in, {"alpha": self._alpha, "half_life_s": self._half_life_s, "rng": self._rng.bit_generator.state}
            )

    @classmethod
    def from_state(
        cls,
        saved: Mapping[str, Any],
        *,
        columns: ColumnSpec | Columns | None = None,
        engine: Engine = "numpy",
    ) -> Self:
        """Return a buffer equal to the one that was saved: its next batches are the same, too.

        Args:
            saved: What `to_state` returned.
            columns: The same spec or source of rows that the saved buffer had.
            engine: As for the constructor: it changes no draw.

        Raises:
            ReplayError: The state is malformed or was saved with other columns; names what is wrong.
        """
        with state.sound():
            found = state.checked(saved)
            buffer = cls(**{name: found[name] for name in state.ARGUMENTS}, columns=columns, engine=engine)
            buffer._in = state.restored(
                found,
                buffer._in.bounds,
                alpha=buffer._alpha,
                half_life_s=buffer._half_life_s,
                columns=columns,
                make_tree=tree_maker(engine),
            )
            state.restore_generator(buffer._rng, found["rng"])
        return buffer

    def __reduce__(self) -> tuple[Any, ...]:
        """Let pickle and copy make a twin from `to_state`; refused where rows are kept elsewhere."""
        return state.reduced(self, self._spec, self._in.rows)

    # ---- inside, under the lock

    def _slot(self, key: str | int) -> int:
        if isinstance(key, str):
            return self._in.ring.slot_of(key)
        return self._in.ring.slot_of(whole(key, "event_id", 0, 2**63 - 1))

    def _event_ids_of(self, seqs: IntArray) -> list[str]:
        with self._lock:
            return self._in.ring.event_ids(self._in.live_slots(seqs))

    def _experiences_of(self, seqs: IntArray) -> list[Experience]:
        with self._lock:
            return [self._in.experience(slot) for slot in self._in.live_slots(seqs).tolist()]
