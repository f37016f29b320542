"""What runs in a shard's process: the shard, made from the store, behind one door that knows the generation.

A process that was killed is started anew by Ray with the same arguments, and comes up empty: `ready` fills it from the
store. Nothing is done when it starts, so that a store that is away at that moment ends no process.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from dwell.errors import ClusterError

__all__ = ["HostStatus", "Recipe", "ShardHost"]

PAGE_BYTES = resource.getpagesize()


class Recipe(Protocol):
    """How a shard is made; it is pickled to the process in which it is."""

    def members(self) -> tuple[int, tuple[str, ...]]:
        """Return the generation in force and its shards, from the store."""
        ...

    def shard(self, name: str, shards: tuple[str, ...]) -> Any:  # noqa: ANN401 - whatever its callers call
        """Return a shard filled from the store."""
        ...

    def moved(self, shard: Any, name: str, shards: tuple[str, ...]) -> Mapping[str, int]:  # noqa: ANN401 - as above
        """Give a shard another placement; return how many experiences it took in and gave up: "gained", "lost"."""
        ...


class HostStatus(NamedTuple):
    """What a shard's process says of itself without asking the shard, which may be busy.

    Attributes:
        name: Of the shard.
        pid: Its process.
        node: Ray's id of the machine.
        actor: Ray's id of the shard, the same after a rebuild.
        generation: Placement that it stands on; 0 before it was filled.
        is_ready: Whether it was filled.
        is_rebuilt: Whether Ray started this process in place of one that died.
        filled_s: Seconds that filling it took.
        up_s: Seconds since the process started.
        n_calls: Calls answered.
        resident_bytes: Memory of the process.
    """

    name: str
    pid: int
    node: str
    actor: str
    generation: int
    is_ready: bool
    is_rebuilt: bool
    filled_s: float
    up_s: float
    n_calls: int
    resident_bytes: int


class ShardHost:
    """One shard and its door.

    Args:
        recipe: How the shard is made.
        name: Of the shard.
        clock: Monotonic seconds.
    """

    def __init__(self, recipe: Recipe, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._recipe = recipe
        self._name = name
        self._clock = clock
        self._started = clock()
        self._shard: Any = None
        self._generation = 0
        self._filled_s = 0.0
        self._n_calls = 0
        self._called = self._started
        self._lock = threading.Lock()  # one call at a time, whatever Ray is told of concurrency

    def ready(self) -> int:
        """Fill the shard from the store where that was not done yet, and return its generation.

        Raises:
            DwellError: The store can not be read, or names this shard no more (code `moved`).
        """
        with self._lock:
            if self._shard is None:
                begun = self._clock()
                generation, shards = self._recipe.members()
                self._refuse_stranger(shards)
                self._shard = self._recipe.shard(self._name, shards)
                self._generation, self._filled_s = generation, self._clock() - begun
            return self._generation

    def _refuse_stranger(self, shards: tuple[str, ...]) -> None:
        if self._name not in shards:
            raise ClusterError(
                f"{self._name} is no part of the cluster any more", code="moved", hint="Read the members anew."
            )

    def move(self) -> Mapping[str, int]:
        """Take up the placement that the store has now; return how many experiences came and went.

        Called again it does nothing, so whoever was interrupted may begin anew.

        Raises:
            DwellError: The store can not be read, or names this shard no more (code `moved`).
        """
        with self._lock:
            generation, shards = self._recipe.members()
            self._refuse_stranger(shards)
            if self._shard is None or generation == self._generation:
                return {"gained": 0, "lost": 0}
            counts = self._recipe.moved(self._shard, self._name, shards)
            self._generation = generation
            return counts

    def call(self, generation: int, method: str, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:  # noqa: ANN401 - what the shard returns
        """Return what a method of the shard returns.

        Args:
            generation: Placement that the caller knows.
            method: Its name.
            arguments: By place.
            named: By name.

        Raises:
            ClusterError: code `not_ready`: `ready` comes first; code `moved`: the placement is another one.
            DwellError: What the shard raises.
        """
        with self._lock:
            if self._shard is None:
                raise ClusterError(f"{self._name} is not filled yet", code="not_ready", hint="Call ready().")
            if generation != self._generation:
                raise ClusterError(
                    f"{self._name} stands on generation {self._generation}, the caller on {generation}",
                    code="moved",
                    hint="Read the members anew, and begin the batch again.",
                )
            self._n_calls += 1
            self._called = self._clock()
            return getattr(self._shard, method)(*arguments, **named)

    def tend(self, idle_s: float) -> bool:
        """Bring the shard into step with the store where nobody has called it for `idle_s`; return whether it did.

        Who learns relies on shards that stay as they are, and brings them into step itself before it begins.

        Raises:
            StorageError: The store can not be read.
        """
        with self._lock:
            is_idle = self._shard is not None and self._clock() - self._called > idle_s
            if is_idle:
                self._shard.follow()
            return is_idle

    def recipe(self) -> Recipe:
        """Return how the shard is made, for those who make more of them."""
        return self._recipe

    def status(self) -> HostStatus:
        """Return what is known without waiting for the shard."""
        import ray

        context = ray.get_runtime_context()
        return HostStatus(
            name=self._name,
            pid=os.getpid(),
            node=context.get_node_id(),
            actor=str(context.get_actor_id()),
            generation=self._generation,
            is_ready=self._shard is not None,
            is_rebuilt=bool(context.was_current_actor_reconstructed),
            filled_s=self._filled_s,
            up_s=self._clock() - self._started,
            n_calls=self._n_calls,
            resident_bytes=_resident_bytes(),
        )


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - a file of the kernel, no path of ours
            return int(file.read().split()[1]) * PAGE_BYTES
    except OSError:
        return 0  # no Linux
