"""Our side of the comparison: the only file that knows how `dwell.ReplayBuffer` is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

import dwell
from _replay_rows import Block, Layout
from _replay_systems import ALPHA, BETA, AbsentError, Drawn

Keys = Literal["seqs", "event_ids"]

OF_INDEX: Final = ("timestamp", "reward")  # every buffer's index holds them: no columns of the row, but read like any


def _buffer(layout: Layout, capacity: int, engine: str) -> Any:  # noqa: ANN401 - typed by the package, not by its benchmark
    spec = dwell.ColumnSpec(
        {name: (shape, np.dtype(kind)) for name, (shape, kind) in layout.columns.items() if name not in OF_INDEX}
    )
    try:
        return dwell.ReplayBuffer(capacity, alpha=ALPHA, columns=spec, engine=engine, seed=0)
    except (ImportError, dwell.DwellError) as error:
        raise AbsentError(f"dwell, engine {engine}: {error}") from error


class Ours:
    """A `ReplayBuffer` of packed rows; several views of one buffer may read other columns, or go by other keys.

    Args:
        layout: Columns of a row.
        capacity: Rows kept.
        engine: "numpy" or "numba".
    """

    def __init__(self, layout: Layout, capacity: int, engine: str = "numpy") -> None:
        self.layout = layout
        self.name = "dwell" if engine == "numpy" else "dwell, fast"
        self.buffer = _buffer(layout, capacity, engine)
        self._names = tuple(layout.columns)
        self._by: Keys = "seqs"

    def view(self, names: Sequence[str], by: Keys = "seqs") -> Ours:
        """Return the same buffer, read by these columns, updated by these keys."""
        twin = object.__new__(Ours)
        twin.layout = self.layout.only(names)
        twin.name = self.name
        twin.buffer = self.buffer
        twin._names = tuple(names)
        twin._by = by
        return twin

    @property
    def n_bytes(self) -> int:
        """What the buffer itself says that it holds."""
        return int(self.buffer.n_bytes)

    def prepared(self, block: Block, ids: Sequence[str], priorities: npt.NDArray[Any]) -> tuple[Any, ...]:
        """Return the arguments of `extend_columns`."""
        columns = {name: values for name, values in block.items() if name not in OF_INDEX}
        return list(ids), block["timestamp"], priorities, block["reward"], columns

    def prepared_each(self, block: Block, ids: Sequence[str], priorities: npt.NDArray[Any]) -> list[tuple[Any, ...]]:
        """Return the arguments of `add_packed`, row by row."""
        names = [name for name in block if name not in OF_INDEX]
        numbers = zip(block["timestamp"].tolist(), priorities.tolist(), block["reward"].tolist(), strict=True)
        return [(ids[i], *given, {name: block[name][i] for name in names}) for i, given in enumerate(numbers)]

    def add_many(self, prepared: tuple[Any, ...]) -> object:
        """Add rows in one call."""
        ids, timestamps, priorities, rewards, columns = prepared
        return self.buffer.extend_columns(
            ids, timestamps=timestamps, priorities=priorities, rewards=rewards, columns=columns
        )

    def add_one(self, prepared: tuple[Any, ...]) -> object:
        """Add one row, with its id."""
        event_id, timestamp, priority, reward, columns = prepared
        return self.buffer.add_packed(event_id, timestamp=timestamp, priority=priority, reward=reward, columns=columns)

    def draw(self, batch_size: int) -> Drawn:
        """Draw by priority and read this view's columns."""
        batch = self.buffer.sample(batch_size, strategy="priority", beta=BETA, columns=self._names)
        return Drawn(batch.seqs if self._by == "seqs" else batch.event_ids, batch.columns, batch.sampling_weights)

    def as_priorities(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return them as they are."""
        return values

    def keys_at(self, positions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the seqs of rows by age."""
        return self.buffer.seqs().take(positions)

    def random_keys(self, size: int, n_calls: int, rng: np.random.Generator) -> list[Any]:
        """Return seqs, or ids, of rows drawn uniformly."""
        batches = [self.buffer.sample(size, columns=("priority",), rng=rng) for _ in range(n_calls)]
        return [batch.seqs if self._by == "seqs" else batch.event_ids for batch in batches]

    def update(self, keys: Any, priorities: npt.NDArray[Any]) -> object:  # noqa: ANN401 - seqs or ids
        """Set new priorities."""
        return self.buffer.update_priorities(keys, priorities)


def whole_experiences(first: int, n: int, rng: np.random.Generator) -> list[dwell.Experience]:
    """Return experiences as a service makes them: text, embedding, ten results with their features, feedback."""
    return [
        dwell.Experience(
            event_id=f"whole-{first + i}",
            timestamp=1.7e9 + first + i,
            query=f"how do I reset the second factor of account {first + i}",
            query_embedding=rng.random(384, dtype=np.float32),
            results_served=[{"id": f"kb-{j}", "rank": j, "score": 1.0 / (1 + j)} for j in range(10)],
            ranking_params={f"feature_{j}": 0.125 for j in range(8)},
            feedback_signals={"click": 1.0},
            reward=0.5,
            priority=0.01 + rng.random(),
        )
        for i in range(n)
    ]


def object_buffer(capacity: int) -> Any:  # noqa: ANN401 - typed by the package, not by its benchmark
    """Return a buffer of whole `Experience` objects, as the founding document's code makes it."""
    return dwell.ReplayBuffer(capacity)
