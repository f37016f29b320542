"""The other side: cpprb, torchrl, Stable-Baselines3 and the founding document's own code, each as its papers say.

Settings: alpha 0.6 and beta 0.4 everywhere (cpprb's own defaults), each peer's own epsilon, one thread, no prefetch, no
transforms. torchrl: `ReplayBuffer` with `PrioritizedSampler` and `LazyTensorStorage`, which took three quarters of the
time of `TensorDictPrioritizedReplayBuffer` in a look beforehand. Tensors and tensordicts are made outside the timing.
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import numpy.typing as npt

from _replay_rows import Block, Layout
from _replay_systems import ALPHA, BETA, AbsentError, Drawn


def versions() -> str:
    """Return the versions of what the comparison may use, or that it is absent."""
    found = []
    for name in ("numpy", "numba", "cpprb", "torch", "torchrl", "stable-baselines3"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


class Cpprb:
    """`cpprb.PrioritizedReplayBuffer`."""

    name = "cpprb"

    def __init__(self, layout: Layout, capacity: int) -> None:
        try:
            import cpprb
        except ImportError as error:
            raise AbsentError(f"cpprb: {error}") from error
        self.layout = layout
        # its shape of one number is 1: it has no ()
        spec = {name: {"shape": shape or 1, "dtype": np.dtype(kind)} for name, (shape, kind) in layout.columns.items()}
        self._buffer = cpprb.PrioritizedReplayBuffer(capacity, spec, alpha=ALPHA)

    def prepared(self, block: Block, _ids: Sequence[str], priorities: npt.NDArray[Any]) -> dict[str, Any]:
        """Return the arguments of `add`; there is no place for ids."""
        return {name: block[name] for name in self.layout.columns} | {"priorities": priorities}

    def prepared_each(self, block: Block, _ids: Sequence[str], priorities: npt.NDArray[Any]) -> list[dict[str, Any]]:
        """Return the arguments of `add`, row by row."""
        names = tuple(self.layout.columns)
        return [
            {name: block[name][i] for name in names} | {"priorities": priorities[i]} for i in range(priorities.size)
        ]

    def add_many(self, prepared: dict[str, Any]) -> object:
        """Add rows in one call."""
        return self._buffer.add(**prepared)

    def add_one(self, prepared: dict[str, Any]) -> object:
        """Add one row."""
        return self._buffer.add(**prepared)

    def draw(self, batch_size: int) -> Drawn:
        """Draw and gather everything that it stores: it can not do less."""
        columns = self._buffer.sample(batch_size, beta=BETA)
        return Drawn(columns["indexes"], columns, columns["weights"])

    def as_priorities(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return them as they are."""
        return values

    def keys_at(self, positions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return slots."""
        return positions

    def random_keys(self, size: int, n_calls: int, rng: np.random.Generator) -> list[npt.NDArray[Any]]:
        """Return slots drawn uniformly."""
        return list(rng.integers(0, self._buffer.get_stored_size(), (n_calls, size)))

    def update(self, keys: Any, priorities: Any) -> object:  # noqa: ANN401 - the protocol's
        """Set new priorities."""
        return self._buffer.update_priorities(keys, priorities)


class Torchrl:
    """`torchrl.data.ReplayBuffer` with a `PrioritizedSampler` over a `LazyTensorStorage`."""

    name = "torchrl"

    def __init__(self, layout: Layout, capacity: int) -> None:
        os.environ.setdefault("RL_LOGGING_LEVEL", "ERROR")
        try:
            import torch
            from tensordict import TensorDict
            from torchrl.data import LazyTensorStorage, PrioritizedSampler, ReplayBuffer
        except (ImportError, OSError) as error:
            raise AbsentError(f"torchrl: {error}") from error
        torch.set_num_threads(1)
        self.layout = layout
        self._torch, self._tensordict = torch, TensorDict
        sampler = PrioritizedSampler(capacity, alpha=ALPHA, beta=BETA)
        self._buffer = ReplayBuffer(storage=LazyTensorStorage(capacity), sampler=sampler)

    def _tensors(self, block: Block) -> dict[str, Any]:
        # torch takes no unsigned numbers of 32 and 64 bits in all of its kernels: the same bits, signed
        signed = {"u4": np.int32, "u8": np.int64}
        return {
            name: self._torch.from_numpy(np.ascontiguousarray(block[name].view(signed.get(kind, block[name].dtype))))
            for name, (_, kind) in self.layout.columns.items()
        }

    def prepared(self, block: Block, _ids: Sequence[str], priorities: npt.NDArray[Any]) -> tuple[Any, Any]:
        """Return the argument of `extend`, and the priorities."""
        return self._tensordict(self._tensors(block), batch_size=[priorities.size]), self.as_priorities(priorities)

    def prepared_each(self, block: Block, _ids: Sequence[str], priorities: npt.NDArray[Any]) -> list[tuple[Any, Any]]:
        """Return the argument of `add`, and the priority, row by row."""
        tensors, values = self._tensors(block), self.as_priorities(priorities)
        return [
            (self._tensordict({name: column[i] for name, column in tensors.items()}, batch_size=[]), values[i])
            for i in range(priorities.size)
        ]

    def add_many(self, prepared: tuple[Any, Any]) -> object:
        """Add rows in one call, then set their priorities: `extend` takes none."""
        content, priorities = prepared
        return self._buffer.update_priority(self._buffer.extend(content), priorities)

    def add_one(self, prepared: tuple[Any, Any]) -> object:
        """Add one row, then set its priority: `add` takes none."""
        content, priority = prepared
        return self._buffer.update_priority(self._buffer.add(content), priority)

    def add_one_unprioritised(self, prepared: tuple[Any, Any]) -> object:
        """Add one row and leave it the largest priority so far."""
        return self._buffer.add(prepared[0])

    def draw(self, batch_size: int) -> Drawn:
        """Draw and gather everything that it stores."""
        columns, info = self._buffer.sample(batch_size, return_info=True)
        return Drawn(info["index"], columns, info["priority_weight"])

    def as_priorities(self, values: npt.NDArray[Any]) -> Any:  # noqa: ANN401 - a tensor
        """Return a float32 tensor: what its trees hold."""
        return self._torch.from_numpy(values.astype(np.float32))

    def keys_at(self, positions: npt.NDArray[Any]) -> Any:  # noqa: ANN401 - a tensor
        """Return slots."""
        return self._torch.from_numpy(positions)

    def random_keys(self, size: int, n_calls: int, rng: np.random.Generator) -> list[Any]:
        """Return slots drawn uniformly."""
        return list(self._torch.from_numpy(rng.integers(0, len(self._buffer), (n_calls, size))))

    def update(self, keys: Any, priorities: Any) -> object:  # noqa: ANN401 - the protocol's
        """Set new priorities."""
        return self._buffer.update_priority(keys, priorities)


class StableBaselines:
    """`stable_baselines3.common.buffers.ReplayBuffer`: no priorities, so it can only be asked to add."""

    name = "SB3"

    def __init__(self, layout: Layout, capacity: int) -> None:
        try:
            from gymnasium.spaces import Box
            from stable_baselines3.common.buffers import ReplayBuffer
        except ImportError as error:
            raise AbsentError(f"Stable-Baselines3: {error}") from error
        n_numbers = layout.n_bytes() // 4
        self._row = np.zeros((1, n_numbers), dtype=np.float32)
        self._buffer = ReplayBuffer(
            capacity,
            Box(-1.0, 1.0, (n_numbers,), np.float32),
            Box(-1.0, 1.0, (1,), np.float32),
            device="cpu",
            optimize_memory_usage=True,  # else every row is stored twice
            handle_timeout_termination=False,
        )

    def add_one(self, number: int) -> object:
        """Add one row of as many bytes, without id or priority."""
        self._row[0, 0] = number
        return self._buffer.add(self._row, self._row, _ACTION, _NOTHING, _NOTHING, [{}])


_ACTION = np.zeros((1, 1), dtype=np.float32)
_NOTHING = np.zeros(1, dtype=np.float32)


@dataclass
class _SeedExperience:
    event_id: str
    timestamp: float
    query: str
    query_embedding: list[float]
    results_served: list[dict[str, Any]]
    ranking_params: dict[str, float]
    feedback_signals: dict[str, float]
    reward: float
    priority: float = 1.0


class Seed:
    """The founding document's buffer, re-expressed: a deque, and weights summed anew for every batch.

    Payloads are shared between experiences, which keeps a million of them within memory and makes it faster than it is.
    """

    name = "the founding document's code"

    def __init__(self, ids: Sequence[str], priorities: npt.NDArray[Any]) -> None:
        self.buffer = deque(maxlen=len(ids))
        shared: tuple[Any, ...] = ("a query", [0.0] * 384, [{"id": "kb-1"}], {"bm25": 1.0}, {"click": 1.0}, 0.5)
        for i, (event_id, priority) in enumerate(zip(ids, priorities.tolist(), strict=True)):
            self.buffer.append(_SeedExperience(event_id, float(i), *shared, priority))

    def sample_priority(self, batch_size: int) -> list[_SeedExperience]:
        """Return a batch as the founding document draws it."""
        batch_size = min(batch_size, len(self.buffer))
        weights = [experience.priority for experience in self.buffer]
        total = sum(weights)
        probabilities = [weight / total for weight in weights]
        chosen = random.choices(range(len(self.buffer)), weights=probabilities, k=batch_size)  # noqa: S311, TID251 - as it stands there
        return [self.buffer[i] for i in chosen]

    def cycle(self, priorities: Sequence[float]) -> None:
        """Draw a batch and assign new priorities: no columns are gathered, no weights computed."""
        for experience, priority in zip(self.sample_priority(len(priorities)), priorities, strict=True):
            experience.priority = priority
