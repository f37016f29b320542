"""`dwell.ReplayBuffer` as the torture suite sees it, with each of its three ways to keep rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Self, get_args

import numpy as np
import numpy.typing as npt

from dwell.errors import ReplayError
from dwell.records import Columns, ColumnSpec, Experience
from dwell.records.arrays import IntArray
from dwell.replay import ReplayBuffer
from dwell.testing.buffer_torture.adapter import ROW_WIDTH, Applied, BufferAdapter, Drawn, Offer, as_keys
from dwell.testing.buffer_torture.state_file import read_state, write_state

__all__ = ["ExternalRowsAdapter", "ObjectRowsAdapter", "PackedRowsAdapter"]

SERVED_AT: Final = 1_700_000_000.0  # any plausible instant

# the key stands in `params_version`, the marker in `temperature` and in every number of `query_embedding`
SPEC: Final = ColumnSpec(
    {
        "params_version": ((), np.dtype(np.int64)),
        "temperature": ((), np.dtype(np.float64)),
        "query_embedding": ((ROW_WIDTH,), np.dtype(np.float32)),
    }
)
NAMES: Final = tuple(SPEC.columns)


def _event_id(key: int) -> str:
    return f"e{key}"


def _experience(key: int, marker: float, *, priority: float, user: str | None, seq: int = 0) -> Experience:
    return Experience(
        event_id=_event_id(key),
        timestamp=SERVED_AT + key,
        query="",
        query_embedding=np.full(ROW_WIDTH, marker, dtype=np.float32),  # type: ignore[arg-type]  # an array of numbers is one
        results_served=[],
        ranking_params={},
        feedback_signals={},
        reward=0.0,
        priority=priority,
        params_version=key,
        temperature=marker,
        user=user,
        seq=seq,
    )


class ObjectRowsAdapter(BufferAdapter):
    """`ReplayBuffer(columns=None)`: experiences of any shape.

    Handles are event ids when an item is added and seqs when it is drawn: the buffer takes either. The buffer writes
    no file of its own; its state is a value, written by `state_file.write_state`. What a new item is worth is the
    caller's choice: here `max_priority()`.
    """

    offers: ClassVar[frozenset[Offer]] = frozenset(get_args(Offer))
    columns: ClassVar[ColumnSpec | None] = None

    def __init__(self, buffer: ReplayBuffer) -> None:
        self._buffer = buffer

    @classmethod
    def make(cls, *, capacity: int, alpha: float = 1.0, seed: int = 0, max_bytes: int | None = None) -> Self:
        """Return an empty buffer."""
        return cls(ReplayBuffer(capacity, alpha=alpha, seed=seed, max_bytes=max_bytes, columns=cls.columns))

    def add(self, key: int, marker: float, *, priority: float | None = None, user: str | None = None) -> str:
        """Add an experience and return its event id."""
        if priority is None:
            with self._buffer.held():  # nobody may take the highest out between the two calls
                self._buffer.add(_experience(key, marker, priority=self._buffer.max_priority(), user=user))
        else:
            self._buffer.add(_experience(key, marker, priority=priority, user=user))
        return _event_id(key)

    def size(self) -> int:
        """Return the number of experiences."""
        return self._buffer.size()

    def sample(self, n: int, *, beta: float = 1.0) -> Drawn:
        """Return a batch drawn by priority."""
        batch = self._buffer.sample(n, strategy="priority", beta=beta, columns=NAMES)
        columns = batch.columns
        rows = np.column_stack((columns["temperature"], columns["query_embedding"]))
        return Drawn(
            as_keys(columns["params_version"]), batch.seqs, rows, batch.sampling_weights, batch.sampling_probabilities
        )

    def update(self, handles: Sequence[Any], priorities: Sequence[float]) -> Applied:
        """Write priorities by event id or by seq."""
        result = self._buffer.update_priorities(handles, priorities)
        return Applied(result.updated, result.stale, result.rejected)

    def foreign_handles(self) -> Mapping[str, object]:
        """Return seqs that the buffer never gave."""
        return {"negative": -1, "unfilled": int(self._buffer.seqs().max()) + 1, "beyond": 2**62}

    def set_alpha(self, alpha: float) -> None:
        """Assign alpha."""
        self._buffer.alpha = alpha

    def save(self, place: Path) -> None:
        """Write the state."""
        write_state(place, self._buffer.to_state())

    @classmethod
    def restore(cls, place: Path, *, capacity: int, alpha: float = 1.0) -> Self:
        """Take up the state; into another capacity, by adding what was saved to a new buffer, oldest first."""
        saved = ReplayBuffer.from_state(read_state(place), columns=cls.columns)
        if saved.capacity == capacity:
            return cls(saved)
        other = ReplayBuffer(capacity, alpha=alpha, columns=cls.columns)
        other.extend(saved)
        return cls(other)

    def remove(self, handle: Any) -> bool:  # noqa: ANN401 - an event id or a seq
        """Remove by event id or seq."""
        return self._buffer.remove(handle)

    def remove_user(self, user: str) -> int:
        """Remove a user."""
        return self._buffer.remove_user(user)

    def update_reward(self, handle: Any, reward: float, version: int) -> bool:  # noqa: ANN401 - an event id or a seq
        """Write a reward by version."""
        return self._buffer.update_reward(handle, reward, version=version).updated == 1

    def reward(self, handle: Any) -> float:  # noqa: ANN401 - an event id or a seq
        """Return the reward held.

        Raises:
            ReplayError: The item is not there.
        """
        found = self._buffer.get(handle)
        if found is None:
            raise ReplayError("not there", field="handle", value=handle)
        return found.reward

    def n_bytes(self) -> int:
        """Return the estimated memory."""
        return self._buffer.n_bytes


class PackedRowsAdapter(ObjectRowsAdapter):
    """`ReplayBuffer(columns=ColumnSpec(...))`: rows of numbers, side by side in memory."""

    columns: ClassVar[ColumnSpec | None] = SPEC


class _Source(Columns):
    """Rows kept outside the buffer and found by seq, as a store keeps them."""

    names = NAMES

    def __init__(self) -> None:
        self.row_of: dict[int, tuple[int, float, str | None]] = {}
        self.next_seq = 1

    def read(self, seqs: IntArray, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Return the named columns of these rows."""
        keys, markers, _ = zip(*(self.row_of[seq] for seq in seqs.tolist()), strict=True)
        embeddings = np.repeat(np.array(markers, dtype=np.float32)[:, None], ROW_WIDTH, axis=1)
        found = {"params_version": np.array(keys), "temperature": np.array(markers), "query_embedding": embeddings}
        return {name: found[name] for name in names}

    def experience(self, seq: int) -> Experience:
        """Return the whole experience behind a row."""
        key, marker, user = self.row_of[seq]
        return _experience(key, marker, priority=1.0, user=user, seq=seq)


class ExternalRowsAdapter(ObjectRowsAdapter):
    """`ReplayBuffer(columns=source)`: the index alone, its rows in a source that reads them by seq.

    Source and buffer change together under the buffer's lock, and are saved together.
    """

    def __init__(self, buffer: ReplayBuffer, source: _Source) -> None:
        super().__init__(buffer)
        self._source = source

    @classmethod
    def make(cls, *, capacity: int, alpha: float = 1.0, seed: int = 0, max_bytes: int | None = None) -> Self:
        """Return an empty buffer over an empty source."""
        source = _Source()
        return cls(ReplayBuffer(capacity, alpha=alpha, seed=seed, max_bytes=max_bytes, columns=source), source)

    def add(self, key: int, marker: float, *, priority: float | None = None, user: str | None = None) -> str:
        """Put a row in the source and its entry in the index, and return its event id."""
        event_id, source = _event_id(key), self._source
        with self._buffer.held():
            known = self._buffer.get(event_id)
            seq = source.next_seq if known is None else known.seq
            evicted = self._buffer.add_row(
                event_id=event_id, seq=seq, timestamp=SERVED_AT + key, priority=priority, user=user
            )
            source.row_of[seq] = (key, marker, user)
            source.next_seq = max(source.next_seq, seq + 1)
            for gone in evicted:
                del source.row_of[gone]
        return event_id

    def save(self, place: Path) -> None:
        """Write index and rows in one."""
        with self._buffer.held():
            write_state(place, (self._buffer.to_state(), self._source))

    @classmethod
    def restore(cls, place: Path, *, capacity: int, alpha: float = 1.0) -> Self:
        """Take up index and rows."""
        state, source = read_state(place)
        saved = ReplayBuffer.from_state(state, columns=source)
        if saved.capacity == capacity:
            return cls(saved, source)
        other = ReplayBuffer(capacity, alpha=alpha, columns=source)
        other.extend(saved)
        return cls(other, source)
