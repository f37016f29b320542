"""Calls to shards in other processes: pipelined, with deadlines, few in flight, made again once a lost shard is back.

A shard that dies is waited for, not left out: what the others answered is kept, and only its own calls are made again
once it is rebuilt. So a batch has the same distribution, and a step the same sums, as if nothing had happened. Calls
are safe to repeat because shards change nothing but from the store, or by compare-and-set. What all shards were told
last, a lesson or another examination, is told again to the one that is new.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from dwell.cluster.ray_host import HostStatus, Recipe, ShardHost
from dwell.errors import ClusterError, ConfigError, DwellError, ShardLost, StorageError

__all__ = ["Call", "RayShards", "Rebuilt"]

DEADLINE_S: Final = 60.0  # a call answers in milliseconds; a gradient over a whole shard may take seconds
REBUILD_S: Final = 600.0  # a million experiences are read from the store in about a minute, see docs/cluster.md
IDLE_S: Final = REBUILD_S + DEADLINE_S  # who learns may wait so long for another shard between two calls to one
MOST_IN_FLIGHT: Final = 4  # one is worked on, one is on its way each way, one waits
SHARE_OF_CPU: Final = 0.01  # what Ray counts a shard as: its steps come one after the other with the learner's own
_RETRY_S: Final = 0.05
_TOLD: Final = ("stand_on", "prepare")  # what a shard has to know that the store does not say, in this order

_log = logging.getLogger("dwell")


class Call(NamedTuple):
    """One call to one shard.

    Attributes:
        shard: Its name.
        method: Of the shard.
        arguments: By place.
        named: By name.
    """

    shard: str
    method: str
    arguments: tuple[Any, ...] = ()
    named: Mapping[str, Any] = {}


class Rebuilt(NamedTuple):
    """A shard that was lost and is back.

    Attributes:
        shard: Its name.
        waited_s: Seconds from the failed call until it was filled again.
        pid: Its new process.
    """

    shard: str
    waited_s: float
    pid: int


@dataclass(slots=True)
class _Pending:
    call: Call
    ref: Any
    ends_at: float


class RayShards:
    """The shards of a cluster, as its callers see them.

    Satisfies `transport.Shards`. For one thread. A driver that dies leaves them as they are.

    Args:
        ray: The module, connected; see `ray_engine.joined`.
        recipe: How a shard is made anew.
        namespace: In which they have their names, see `ray_engine.namespace_of`.
        deadline_s: Most seconds for a call.
        rebuild_s: Most seconds that a lost shard is waited for.
        most_in_flight: Most calls to one shard that have not been answered.
        clock: Monotonic seconds.
        sleep: Waits.

    Attributes:
        rebuilt: Shards that were lost and came back, oldest first.
        most_seen_in_flight: Most unanswered calls to one shard that there were at a time.

    Raises:
        ConfigError: A bound is not positive.
        ClusterError: The store has no cluster.
    """

    def __init__(
        self,
        ray: Any,  # noqa: ANN401 - a module that is imported late
        recipe: Recipe,
        namespace: str,
        *,
        deadline_s: float = DEADLINE_S,
        rebuild_s: float = REBUILD_S,
        most_in_flight: int = MOST_IN_FLIGHT,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        for field, value in (("deadline_s", deadline_s), ("rebuild_s", rebuild_s), ("most_in_flight", most_in_flight)):
            if isinstance(value, bool) or not 0 < value < float("inf"):
                raise ConfigError(f"{field} is a positive number", field=field, value=value, hint="Correct it.")
        self._ray = ray
        self._recipe = recipe
        self._namespace = namespace
        self._deadline_s = deadline_s
        self._rebuild_s = rebuild_s
        self._most = most_in_flight
        self._clock = clock
        self._sleep = sleep
        self._hosts: dict[str, Any] = {}
        self._pids: dict[str, int] = {}
        self._told: dict[str, tuple[tuple[Any, ...], Mapping[str, Any]]] = {}
        self.rebuilt: list[Rebuilt] = []
        self.most_seen_in_flight = 0
        self.generation, self.names = recipe.members()

    # ---- members

    def refresh(self) -> None:
        """Read the members anew, after a call said that the placement is another one (code `moved`)."""
        self.generation, self.names = self._recipe.members()
        self._hosts = {name: host for name, host in self._hosts.items() if name in self.names}
        self.gather()

    def gather(self) -> dict[str, int]:
        """Make the shards that are not there, and return when all are filled and on the placement in force.

        Returns:
            How many experiences shards took in that stood on another placement, by name.

        Raises:
            ShardLost: One was not ready in time.
            StorageError: The store can not be read.
        """
        refs = [(name, self._host(name).ready.remote()) for name in self.names]
        behind = []
        for name, ref in refs:
            try:
                generation = self._ray.get(ref, timeout=self._rebuild_s)
            except self._ray.exceptions.RayError as error:
                self._rethrow_if_told(error)
                generation = self._revive(name)
            if generation != self.generation:
                behind.append(name)
        moving = [(name, self._host(name).move.remote()) for name in behind]
        gained = {name: self._moved(name, ref) for name, ref in moving}
        self._pids = {status.name: status.pid for status in self.statuses()}
        return gained

    def _moved(self, name: str, ref: Any) -> int:  # noqa: ANN401 - Ray's reference
        """Return how many experiences a shard took in; one that died of it comes up on the placement in force."""
        try:
            return int(self._ray.get(ref, timeout=self._rebuild_s)["gained"])
        except self._ray.exceptions.RayError as error:
            self._rethrow_if_told(error)
            self._revive(name)
            return 0

    def tend(self) -> None:
        """Make the shards that are not there, and bring those into step with the store that nobody asks anything.

        Raises:
            StorageError: The store can not be read.
            ShardLost: One was not ready in time.
        """
        self.gather()
        for ref in [self._host(name).tend.remote(IDLE_S) for name in self.names]:
            try:
                self._ray.get(ref, timeout=self._rebuild_s)
            except self._ray.exceptions.RayError as error:
                self._rethrow_if_told(error)  # else it was lost just now: the next look makes it anew

    def end(self, name: str) -> None:
        """End a shard's process and wait until its name is free."""
        ends_at = self._clock() + self._deadline_s
        self._hosts.pop(name, None)
        while remove_host(self._ray, name, self._namespace) and self._clock() < ends_at:
            self._sleep(_RETRY_S)

    def _host(self, name: str) -> Any:  # noqa: ANN401 - Ray's handle
        if name not in self._hosts:
            self._hosts[name] = host_of(self._ray, self._recipe, name, self._namespace)
        return self._hosts[name]

    def statuses(self, *, deadline_s: float = 10.0) -> list[HostStatus]:
        """Return what each process says of itself, in the order of names; one that does not answer is left out."""
        refs = []
        for name in self.names:
            try:
                refs.append(self._host(name).status.options(concurrency_group="look").remote())
            except self._ray.exceptions.RayError:
                continue
        found, ends_at = [], self._clock() + deadline_s
        for ref in refs:
            try:
                found.append(self._ray.get(ref, timeout=max(ends_at - self._clock(), 0.01)))
            except self._ray.exceptions.RayError:
                continue
        return found

    # ---- calls

    def ask(self, name: str, method: str, /, *args: Any, **more: Any) -> Any:  # noqa: ANN401 - as the shard
        """Return what one shard answers.

        Raises:
            ShardLost: It died and did not come back in time.
            ClusterError: code `deadline`: no answer in time; code `moved`: the placement is another one.
            ConfigError: There is no such shard.
            DwellError: What the shard raises.
        """
        if name not in self.names:
            raise ConfigError("there is no such shard", field="name", value=name, hint=f"There are {list(self.names)}.")
        return next(self.pipelined([Call(name, method, args, more)]))

    def ask_all(self, method: str, /, *args: Any, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - as the shard
        """Return what every shard answers to the same question, by name; all work at the same time.

        Raises:
            ClusterError: See `ask`.
        """
        if method in _TOLD:
            self._told[method] = args, more
        calls = [Call(name, method, args, more) for name in self.names]
        return dict(zip(self.names, self.pipelined(calls), strict=True))

    def ask_each(self, method: str, args: Mapping[str, tuple[Any, ...]], /) -> dict[str, Any]:
        """Return what the shards named answer, each to arguments of its own; all work at the same time.

        Raises:
            ClusterError: See `ask`.
        """
        calls = [Call(name, method, args[name]) for name in self.names if name in args]
        return dict(zip((call.shard for call in calls), self.pipelined(calls), strict=True))

    def pipelined(self, calls: Iterable[Call]) -> Iterator[Any]:
        """Yield what calls return, in their order, while later ones are under way.

        The next call is taken only once its shard has room: a slow shard slows down whoever makes the calls, and no
        more than `most_in_flight` answers per shard wait in memory.

        Args:
            calls: As many as one likes; they are taken one after the other.

        Raises:
            ClusterError: See `ask`; calls that were under way are given up.
        """
        waiting: deque[_Pending] = deque()
        n_waiting: Counter[str] = Counter()
        for call in calls:
            while n_waiting[call.shard] >= self._most:
                n_waiting[waiting[0].call.shard] -= 1
                yield self._answer(waiting.popleft())
            waiting.append(self._sent(call))
            n_waiting[call.shard] += 1
            self.most_seen_in_flight = max(self.most_seen_in_flight, n_waiting[call.shard])
        while waiting:
            yield self._answer(waiting.popleft())

    def _sent(self, call: Call) -> _Pending:
        host = self._host(call.shard)
        ref = host.call.remote(self.generation, call.method, call.arguments, call.named)
        return _Pending(call, ref, self._clock() + self._deadline_s)

    def _answer(self, pending: _Pending) -> Any:  # noqa: ANN401 - as the shard
        failures = self._ray.exceptions
        while True:
            try:
                return self._ray.get(pending.ref, timeout=max(pending.ends_at - self._clock(), 0.001))
            except failures.GetTimeoutError as error:
                raise ClusterError(
                    f"{pending.call.shard} did not answer {pending.call.method} within {self._deadline_s:g} s",
                    code="deadline",
                    hint="It may be overloaded, or its machine away: see `dwell cluster status`.",
                ) from error
            except failures.RayError as error:
                self._rethrow_if_told(error)
                self._revive(pending.call.shard)
                pending = self._sent(pending.call)

    def _rethrow_if_told(self, error: Exception) -> None:
        """Raise what the shard itself raised; a process that died, or came up empty, said nothing."""
        if not isinstance(error, self._ray.exceptions.RayTaskError):
            return
        cause = error.cause
        code = cause.code if isinstance(cause, DwellError) else ""
        if code == "not_ready" or (code == "unprepared" and "prepare" in self._told):
            return  # it came up empty, or somebody else had it filled, who knows of no lesson
        raise cause if isinstance(cause, Exception) else error

    def _revive(self, name: str) -> int:
        """Wait until a shard is filled again and knows what the others were told, and return its generation.

        Raises:
            ShardLost: Not in time.
        """
        begun, last, said = self._clock(), "no answer", ""
        while (left_s := begun + self._rebuild_s - self._clock()) > 0.0:
            try:
                generation = int(self._ray.get(self._host(name).ready.remote(), timeout=left_s))
                for method in _TOLD:
                    if method in self._told:
                        told = self._host(name).call.remote(generation, method, *self._told[method])
                        self._ray.get(told, timeout=left_s)
                status = self._ray.get(self._host(name).status.remote(), timeout=left_s)
            except self._ray.exceptions.RayTaskError as error:
                if not isinstance(error.cause, StorageError):  # the store is away: it may come back
                    self._rethrow_if_told(error)
                said = str(error.cause)
            except self._ray.exceptions.RayError as error:
                last = type(error).__name__
                self._hosts.pop(name, None)
            else:
                self._note(name, status, self._clock() - begun)
                return generation
            self._sleep(_RETRY_S)
        raise ShardLost(
            # what a shard said tells more than that its last call was cut off when the time was over
            f"{name} did not come back within {self._rebuild_s:g} s: {said or last}",
            hint="See `dwell cluster status` for the machines there are, and whether the store can be reached.",
        )

    def _note(self, name: str, status: HostStatus, waited_s: float) -> None:
        if self._pids.get(name) not in {None, status.pid}:
            self.rebuilt.append(Rebuilt(name, waited_s, status.pid))
            _log.warning("%s was lost, and rebuilt from the store in %.2f s", name, waited_s)
        self._pids[name] = status.pid


def host_of(ray: Any, recipe: Recipe, name: str, namespace: str, *, node: str | None = None) -> Any:  # noqa: ANN401 - Ray's handle
    """Return a shard's process, started where there is none; it stays when this process ends, and Ray restarts it.

    Args:
        ray: The module, connected.
        recipe: How the shard is made.
        name: Of the shard.
        namespace: Of the store and tenant.
        node: Ray's id of the machine on which to start it, or None to spread them.

    Raises:
        ClusterError: Ray can not start it.
    """
    strategy: Any = "SPREAD"
    if node is not None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        strategy = NodeAffinitySchedulingStrategy(node, soft=True)
    made = ray.remote(concurrency_groups={"look": 1})(ShardHost).options(
        name=name,
        namespace=namespace,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_task_retries=0,  # whether a call is made again is decided here, not by Ray
        num_cpus=SHARE_OF_CPU,
        scheduling_strategy=strategy,
    )
    try:
        return made.remote(recipe, name)
    except (ray.exceptions.RayError, ValueError) as error:
        raise ClusterError(f"{name} can not be started: {error}", code="not_started", hint="See ray's logs.") from error


def remove_host(ray: Any, name: str, namespace: str) -> bool:  # noqa: ANN401 - a module that is imported late
    """End a shard's process for good; return whether there was one."""
    try:
        host = ray.get_actor(name, namespace=namespace)
    except ValueError:
        return False
    ray.kill(host, no_restart=True)
    return True
