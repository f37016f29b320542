"""Other replay buffers as the torture suite sees them: each called by its documented interface, as its users do.

What a buffer does not document it is not asked for. Where it has an option against one of the faults tested (torchrl's
`max_priority_within_buffer`) the option is on; cpprb's `check_for_update` ignores updates of what was not sampled since
it was added, so cpprb stands in the table twice. The constants that some add to each priority are part of their
interface: those buffers do not offer that 0 means never.
"""
# ruff: noqa: ANN401, ARG002, ARG003 - a peer has no types that we know, and no use for some arguments

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np

from dwell.testing.buffer_torture import ROW_WIDTH, Applied, BufferAdapter, Drawn, NotOfferedError, Offer
from dwell.testing.buffer_torture.adapter import as_keys
from dwell.testing.buffer_torture.state_file import read_state, write_state

__all__ = ["PEERS"]

# name in the table: package and class
PEERS: Final[Mapping[str, tuple[str, str]]] = {
    "cpprb": ("cpprb", "Cpprb"),
    "cpprb, check_for_update": ("cpprb", "CpprbChecked"),
    "torchrl": ("torchrl", "Torchrl"),
    "tianshou": ("tianshou", "Tianshou"),
    "pfrl": ("pfrl", "Pfrl"),
    "ray": ("ray", "Ray"),
    "flashbax": ("flashbax", "Flashbax"),
    "stable-baselines3": ("stable_baselines3", "StableBaselines3"),
}

BY_SLOT: Final = {"negative": -1, "beyond": 1_000_000_000}  # an index before the first, and one far after the last


def _import(*names: str) -> None:
    for name in names:
        import_module(name)


def _row(marker: float) -> tuple[float, np.ndarray]:
    return float(marker), np.full(ROW_WIDTH, marker, dtype=np.float32)


def _rows(first: Any, second: Any) -> np.ndarray:
    n = len(second)
    return np.column_stack((np.asarray(first).reshape(n), np.asarray(second).reshape(n, ROW_WIDTH)))


class Cpprb(BufferAdapter):
    """`cpprb.PrioritizedReplayBuffer`. It adds 1e-4 to each priority, its maximum is historical, and it has no seed."""

    offers: ClassVar[frozenset[Offer]] = frozenset(
        {"priorities", "weights", "priority at add", "maximum for new", "save", "fork", "another capacity"}
    )

    checks: ClassVar[bool] = False

    def __init__(self, capacity: int, alpha: float) -> None:
        columns = {"key": {"dtype": np.int64}, "first": {}, "second": {"shape": ROW_WIDTH}}
        self._buffer = import_module("cpprb").PrioritizedReplayBuffer(
            capacity, columns, alpha=alpha, check_for_update=self.checks
        )

    @classmethod
    def load(cls) -> None:
        _import("cpprb")

    @classmethod
    def make(cls, *, capacity: int, alpha: float = 1.0, seed: int = 0, max_bytes: int | None = None) -> Self:
        return cls(capacity, alpha)

    def add(self, key: int, marker: float, *, priority: float | None = None, user: str | None = None) -> int:
        first, second = _row(marker)
        return int(self._buffer.add(key=key, first=first, second=second, priorities=priority))

    def size(self) -> int:
        return int(self._buffer.get_stored_size())

    def sample(self, n: int, *, beta: float = 1.0) -> Drawn:
        found = self._buffer.sample(n, beta=beta)
        rows = _rows(found["first"], found["second"])
        return Drawn(as_keys(found["key"]), found["indexes"], rows, np.asarray(found["weights"], dtype=np.float64))

    def update(self, handles: Sequence[Any], priorities: Sequence[float]) -> Applied | None:
        self._buffer.update_priorities(np.asarray(handles), np.asarray(priorities))
        return None

    def foreign_handles(self) -> Mapping[str, object]:
        return BY_SLOT | {"unfilled": self.size()}

    def save(self, place: Path) -> None:
        self._buffer.save_transitions(str(place / "transitions.npz"))

    @classmethod
    def restore(cls, place: Path, *, capacity: int, alpha: float = 1.0) -> Self:
        restored = cls(capacity, alpha)
        restored._buffer.load_transitions(str(place / "transitions.npz"))
        return restored


class CpprbChecked(Cpprb):
    """The same with `check_for_update`: priorities of what was overwritten since the last sample are ignored."""

    checks: ClassVar[bool] = True


class Torchrl(BufferAdapter):
    """`torchrl.data.ReplayBuffer` over `LazyTensorStorage` with `PrioritizedSampler`, seeded by a generator."""

    offers: ClassVar[frozenset[Offer]] = frozenset(
        {
            "priorities",
            "weights",
            "maximum for new",
            "live maximum",
            "another alpha",
            "seed",
            "save",
            "fork",
            "saved priorities",
            "saved generator",
            "another capacity",
            "threads",
        }
    )

    def __init__(self, capacity: int, alpha: float, seed: int) -> None:
        torch, data = import_module("torch"), import_module("torchrl.data.replay_buffers")
        torch.set_num_threads(1)
        self._sampler = data.PrioritizedSampler(capacity, alpha, 1.0, max_priority_within_buffer=True)
        self._buffer = data.ReplayBuffer(
            storage=data.LazyTensorStorage(capacity),
            sampler=self._sampler,
            generator=torch.Generator().manual_seed(seed),
        )

    @classmethod
    def load(cls) -> None:
        _import("torch", "tensordict", "torchrl.data.replay_buffers")

    @classmethod
    def make(cls, *, capacity: int, alpha: float = 1.0, seed: int = 0, max_bytes: int | None = None) -> Self:
        return cls(capacity, alpha, seed)

    def add(self, key: int, marker: float, *, priority: float | None = None, user: str | None = None) -> int:
        torch, TensorDict = import_module("torch"), import_module("tensordict").TensorDict
        first, second = _row(marker)
        row = {"key": torch.tensor(key), "first": torch.tensor(first), "second": torch.from_numpy(second)}
        return int(self._buffer.add(TensorDict(row, [])))

    def size(self) -> int:
        return len(self._buffer)

    def sample(self, n: int, *, beta: float = 1.0) -> Drawn:
        self._sampler.beta = beta
        found, info = self._buffer.sample(n, return_info=True)
        weights = np.asarray(info["priority_weight"], dtype=np.float64)
        return Drawn(as_keys(found["key"]), np.asarray(info["index"]), _rows(found["first"], found["second"]), weights)

    def update(self, handles: Sequence[Any], priorities: Sequence[float]) -> Applied | None:
        torch = import_module("torch")
        self._buffer.update_priority(
            torch.as_tensor(np.asarray(handles)), torch.as_tensor(np.asarray(priorities, dtype=np.float32))
        )
        return None

    def foreign_handles(self) -> Mapping[str, object]:
        return BY_SLOT | {"unfilled": self.size()}

    def set_alpha(self, alpha: float) -> None:
        self._sampler.alpha = alpha

    def save(self, place: Path) -> None:
        self._buffer.dumps(place / "buffer")

    @classmethod
    def restore(cls, place: Path, *, capacity: int, alpha: float = 1.0) -> Self:
        restored = cls(capacity, alpha, 0)
        restored._buffer.loads(place / "buffer")
        return restored


class Tianshou(BufferAdapter):
    """`tianshou.data.PrioritizedReplayBuffer`, saved by `save_hdf5`. It asserts that alpha is above 0."""

    offers: ClassVar[frozenset[Offer]] = frozenset(
        {"priorities", "weights", "maximum for new", "save", "fork", "saved priorities"}
    )

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer

    @classmethod
    def load(cls) -> None:
        _import("tianshou.data")
        import_module("tianshou.data").SegmentTree(4)  # numba compiles at the first use: once, not in every process

    @classmethod
    def make(cls, *, capacity: int, alpha: float = 1.0, seed: int = 0, max_bytes: int | None = None) -> Self:
        if alpha == 0.0:
            raise NotOfferedError("alpha 0")
        data = import_module("tianshou.data")
        # weights as they are: by default they are divided by the batch's maximum, a constant either way
        return cls(data.PrioritizedReplayBuffer(capacity, alpha=alpha, beta=1.0))

    def add(self, key: int, marker: float, *, priority: float | None = None, user: str | None = None) -> int:
        first, second = _row(marker)
        batch = import_module("tianshou.data").Batch(
            obs=second, act=key, rew=first, terminated=True, truncated=False, obs_next=second, info={}
        )
        return int(self._buffer.add(batch)[0][0])

    def size(self) -> int:
        return len(self._buffer)

    def sample(self, n: int, *, beta: float = 1.0) -> Drawn:
        self._buffer.set_beta(beta)
        found, indices = self._buffer.sample(n)
        weights = np.asarray(found.weight, dtype=np.float64)
        return Drawn(as_keys(found.act), indices, _rows(found.rew, found.obs), weights)

    def update(self, handles: Sequence[Any], priorities: Sequence[float]) -> Applied | None:
        self._buffer.update_weight(np.asarray(handles), np.asarray(priorities))
        return None

    def foreign_handles(self) -> Mapping[str, object]:
        return BY_SLOT | {"unfilled": self.size()}

    def save(self, place: Path) -> None:
        self._buffer.save_hdf5(str(place / "buffer.hdf5"))

    @classmethod
    def restore(cls, place: Path, *, capacity: int, alpha: float = 1.0) -> Self:
        return cls(import_module("tianshou.data").PrioritizedReplayBuffer.load_hdf5(str(place / "buffer.hdf5")))


class Pfrl(BufferAdapter):
    """`pfrl.replay_buffers.PrioritizedReplayBuffer`: a sample's items are distinct, and its priorities are due at once.

    Priorities can be written for the last sample only, so nothing that writes them to chosen items is asked of it.
    """

    offers: ClassVar[frozenset[Offer]] = frozenset({"weights", "save", "fork", "another capacity"})
    n_independent: ClassVar[int] = 1

    def __init__(self, capacity: int, alpha: float) -> None:
        self._buffer = import_module("pfrl.replay_buffers").PrioritizedReplayBuffer(
            capacity=capacity, alpha=alpha, beta0=1.0, betasteps=1
        )

    @classmethod
    def load(cls) -> None:
        _import("pfrl.replay_buffers")

    @classmethod
    def make(cls, *, capacity: int, alpha: float = 1.0, seed: int = 0, max_bytes: int | None = None) -> Self:
        return cls(capacity, alpha)

    def add(self, key: int, marker: float, *, priority: float | None = None, user: str | None = None) -> int:
        first, second = _row(marker)
        self._buffer.append(second, key, first)
        return key

    def size(self) -> int:
        return len(self._buffer)

    def sample(self, n: int, *, beta: float = 1.0) -> Drawn:
        found = [transition[0] for transition in self._buffer.sample(n)]
        # an error of 1 for all: every item keeps the priority of its neighbours, and the buffer lets us sample again
        self._buffer.update_errors([1.0] * len(found))
        keys = as_keys([item["action"] for item in found])
        rows = _rows([item["reward"] for item in found], [item["state"] for item in found])
        return Drawn(keys, keys.tolist(), rows)

    def save(self, place: Path) -> None:
        self._buffer.save(str(place / "buffer.pkl"))

    @classmethod
    def restore(cls, place: Path, *, capacity: int, alpha: float = 1.0) -> Self:
        restored = cls(capacity, alpha)
        restored._buffer.load(str(place / "buffer.pkl"))
        return restored


class Ray(BufferAdapter):
    """`ray.rllib.utils.replay_buffers.PrioritizedReplayBuffer`; its state is a value, written as ours is.

    It asserts that alpha and every priority are above 0: what needs a 0 of it is not offered.
    """

    offers: ClassVar[frozenset[Offer]] = frozenset(
        {
            "priorities",
            "weights",
            "priority at add",
            "maximum for new",
            "save",
            "fork",
            "saved priorities",
            "another capacity",
        }
    )

    def __init__(self, capacity: int, alpha: float) -> None:
        module = import_module("ray.rllib.utils.replay_buffers.prioritized_replay_buffer")
        self._buffer = module.PrioritizedReplayBuffer(capacity, "timesteps", alpha=alpha)

    @classmethod
    def load(cls) -> None:
        _import("ray.rllib.utils.replay_buffers.prioritized_replay_buffer", "ray.rllib.policy.sample_batch")

    @classmethod
    def make(cls, *, capacity: int, alpha: float = 1.0, seed: int = 0, max_bytes: int | None = None) -> Self:
        if alpha == 0.0:
            raise NotOfferedError("alpha 0")
        return cls(capacity, alpha)

    def add(self, key: int, marker: float, *, priority: float | None = None, user: str | None = None) -> int:
        first, second = _row(marker)
        batch = import_module("ray.rllib.policy.sample_batch").SampleBatch(
            {"key": np.array([key]), "first": np.array([first]), "second": second[None]}
        )
        slot = self._buffer._next_idx  # noqa: SLF001 - it returns nothing, and tells the index in a sample only
        self._buffer.add(batch) if priority is None else self._buffer.add(batch, weight=priority)
        return int(slot)

    def size(self) -> int:
        return len(self._buffer)

    def sample(self, n: int, *, beta: float = 1.0) -> Drawn:
        found = self._buffer.sample(n, beta=beta)
        weights = np.asarray(found["weights"], dtype=np.float64)
        return Drawn(as_keys(found["key"]), found["batch_indexes"], _rows(found["first"], found["second"]), weights)

    def update(self, handles: Sequence[Any], priorities: Sequence[float]) -> Applied | None:
        if 0.0 in priorities:
            raise NotOfferedError("priority 0")
        self._buffer.update_priorities(np.asarray(handles), np.asarray(priorities))
        return None

    def foreign_handles(self) -> Mapping[str, object]:
        return BY_SLOT | {"unfilled": self.size()}

    def save(self, place: Path) -> None:
        write_state(place, self._buffer.get_state())

    @classmethod
    def restore(cls, place: Path, *, capacity: int, alpha: float = 1.0) -> Self:
        restored = cls(capacity, alpha)
        restored._buffer.set_state(read_state(place))
        return restored


class Flashbax(BufferAdapter):
    """`flashbax.make_prioritised_trajectory_buffer` with sequences of one step; its state is a value.

    JAX says that a process that uses it is not to be forked.
    """

    offers: ClassVar[frozenset[Offer]] = frozenset(
        {"priorities", "probabilities", "maximum for new", "seed", "save", "saved priorities"}
    )
    n_independent: ClassVar[int] = 64

    def __init__(self, capacity: int, alpha: float, seed: int) -> None:
        jax = import_module("jax")
        self._alpha, self._capacity = alpha, capacity
        self._key = jax.random.PRNGKey(seed)
        self._samples: dict[int, Any] = {}
        self._any = self._made(self.n_independent)
        self._add, self._set = jax.jit(self._any.add), jax.jit(self._any.set_priorities)
        self._n_added = 0
        row = {"key": np.int32(0), "first": np.float32(0), "second": np.zeros(ROW_WIDTH, np.float32)}
        self._state = self._any.init(jax.tree.map(jax.numpy.asarray, row))

    def _made(self, n: int) -> Any:
        """Return the functions of a buffer with samples of n, which take the state of any other."""
        return import_module("flashbax").make_prioritised_trajectory_buffer(
            add_batch_size=1,
            sample_batch_size=n,
            sample_sequence_length=1,
            period=1,
            min_length_time_axis=1,
            max_size=self._capacity,
            priority_exponent=self._alpha,
        )

    @classmethod
    def load(cls) -> None:
        _import("jax", "flashbax")
        # every case is a process: what one compiled the next one reads
        config = import_module("jax").config
        config.update("jax_compilation_cache_dir", str(Path(tempfile.gettempdir()) / "torture-jax-cache"))
        config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

    @classmethod
    def make(cls, *, capacity: int, alpha: float = 1.0, seed: int = 0, max_bytes: int | None = None) -> Self:
        return cls(capacity, alpha, seed)

    def add(self, key: int, marker: float, *, priority: float | None = None, user: str | None = None) -> int:
        first, second = _row(marker)
        row = {"key": np.full((1, 1), key, np.int32), "first": np.full((1, 1), first, np.float32)}
        self._state = self._add(self._state, row | {"second": second[None, None]})
        self._n_added += 1
        return (self._n_added - 1) % self._capacity

    def size(self) -> int:
        return int(np.where(self._state.is_full, self._capacity, self._state.current_index))

    def sample(self, n: int, *, beta: float = 1.0) -> Drawn:
        jax = import_module("jax")
        if not bool(self._any.can_sample(self._state)):
            raise LookupError("can_sample says no")
        if n not in self._samples:
            self._samples[n] = jax.jit(self._made(n).sample)
        self._key, one = jax.random.split(self._key)
        found = self._samples[n](self._state, one)
        experience = found.experience
        rows = _rows(experience["first"], experience["second"])
        probabilities = np.asarray(found.probabilities, dtype=np.float64)
        return Drawn(as_keys(experience["key"]), np.asarray(found.indices), rows, None, probabilities)

    def update(self, handles: Sequence[Any], priorities: Sequence[float]) -> Applied | None:
        if 0.0 in priorities:
            raise NotOfferedError("priority 0")  # it marks what is not there
        self._state = self._set(self._state, np.asarray(handles, np.int32), np.asarray(priorities, np.float32))
        return None

    def foreign_handles(self) -> Mapping[str, object]:
        return BY_SLOT | {"unfilled": self.size()}

    def save(self, place: Path) -> None:
        jax = import_module("jax")
        write_state(place, (jax.tree.map(np.asarray, self._state), self._n_added))

    @classmethod
    def restore(cls, place: Path, *, capacity: int, alpha: float = 1.0) -> Self:
        jax = import_module("jax")
        restored = cls(capacity, alpha, 0)
        state, restored._n_added = read_state(place)
        restored._state = jax.tree.map(jax.numpy.asarray, state)
        return restored


class StableBaselines3(BufferAdapter):
    """`stable_baselines3.common.buffers.ReplayBuffer`, which draws uniformly; saved by its `save_to_pkl`."""

    offers: ClassVar[frozenset[Offer]] = frozenset({"save", "fork"})

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer

    @classmethod
    def load(cls) -> None:
        _import("gymnasium", "stable_baselines3.common.buffers", "stable_baselines3.common.save_util")

    @classmethod
    def make(cls, *, capacity: int, alpha: float = 1.0, seed: int = 0, max_bytes: int | None = None) -> Self:
        box = import_module("gymnasium.spaces").Box
        module = import_module("stable_baselines3.common.buffers")
        one, many = box(-np.inf, np.inf, (1,)), box(-np.inf, np.inf, (ROW_WIDTH,))
        return cls(module.ReplayBuffer(capacity, many, one, device="cpu"))

    def add(self, key: int, marker: float, *, priority: float | None = None, user: str | None = None) -> int:
        first, second = _row(marker)
        slot = int(self._buffer.pos)
        self._buffer.add(second[None], second[None], np.array([[key]]), np.array([first]), np.array([False]), [{}])
        return slot

    def size(self) -> int:
        return int(self._buffer.size())

    def sample(self, n: int, *, beta: float = 1.0) -> Drawn:
        found = self._buffer.sample(n)
        keys = as_keys(found.actions)
        return Drawn(keys, keys.tolist(), _rows(found.rewards, found.observations))

    def save(self, place: Path) -> None:
        import_module("stable_baselines3.common.save_util").save_to_pkl(str(place / "buffer"), self._buffer)

    @classmethod
    def restore(cls, place: Path, *, capacity: int, alpha: float = 1.0) -> Self:
        load = import_module("stable_baselines3.common.save_util").load_from_pkl
        return cls(load(str(place / "buffer")))
