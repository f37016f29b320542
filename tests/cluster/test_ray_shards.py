"""Calls to shards in other processes: in order, bounded, with deadlines, and made again once a killed shard is back."""

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import simple
from engines import Engine

from dwell.cluster.ray_shards import Call, RayShards, remove_host
from dwell.errors import ClusterError, ReplayError, ShardLost


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the members of the cluster of this module."""
    path = tmp_path_factory.mktemp("numbers") / "members"
    path.write_text(json.dumps({"generation": 1, "shards": ["shard-0", "shard-1"]}))
    return path


@pytest.fixture(scope="module")
def connected(engine: Engine, store: Path) -> Iterator[Callable[..., RayShards]]:
    """Return what connects to the shards of numbers, which are started once: each is a process."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(simple)
    namespace = f"test-numbers-{os.getpid()}"
    recipe = simple.NumbersRecipe(str(store))

    def connect(**bounds: Any) -> RayShards:
        RayShards(engine.ray, recipe, namespace).gather()
        return RayShards(engine.ray, recipe, namespace, **bounds)

    yield connect
    for i in range(3):
        remove_host(engine.ray, f"shard-{i}", namespace)
    cloudpickle.unregister_pickle_by_value(simple)


def pid_of(shards: RayShards, name: str) -> int | None:
    """Return a shard's process, None while it gives no answer."""
    return next((status.pid for status in shards.statuses() if status.name == name), None)


def kill(shards: RayShards, name: str) -> int:
    """Kill a shard's process and return its id."""
    pid = pid_of(shards, name)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def test_calls_reach_their_shards_and_answers_keep_their_order(connected: Callable[..., RayShards]) -> None:
    shards = connected()
    odd, even = sum(range(1, 100, 2)), sum(range(0, 100, 2))
    assert shards.ask("shard-1", "total", factor=3) == 3 * odd
    assert shards.ask_all("total") == {"shard-0": even, "shard-1": odd}
    assert shards.ask_each("total", {"shard-1": (2,)}) == {"shard-1": 2 * odd}
    calls = [Call(f"shard-{i % 2}", "slow", (i, 0.02 * (i % 2))) for i in range(20)]  # every second one is slow
    assert list(shards.pipelined(calls)) == list(range(20))
    with pytest.raises(ReplayError, match="nothing to draw") as told:
        shards.ask("shard-0", "refuse")
    assert (told.value.field, told.value.hint) == ("n", "Add some.")
    with pytest.raises(ZeroDivisionError):
        shards.ask("shard-0", "fail")


def test_a_slow_shard_slows_the_caller_and_fills_nothing(connected: Callable[..., RayShards]) -> None:
    shards = connected(most_in_flight=3)
    taken: list[int] = []

    def endless() -> Iterator[Call]:
        for i in itertools.count():
            taken.append(i)
            yield Call("shard-0", "slow", (i, 0.05))

    begun = time.monotonic()
    for n, answer in enumerate(shards.pipelined(endless())):
        assert answer == n
        assert len(taken) <= n + 1 + 3 + 1  # answered, under way, and the one in the caller's hand
        if n == 19:
            break
    assert time.monotonic() - begun >= 20 * 0.05
    assert shards.most_seen_in_flight == 3


def test_a_call_has_a_deadline(connected: Callable[..., RayShards]) -> None:
    shards = connected(deadline_s=0.2)
    with pytest.raises(ClusterError, match=r"shard-1 did not answer slow within 0\.2 s") as told:
        shards.ask("shard-1", "slow", 0, 1.0)
    assert told.value.code == "deadline"


def test_a_killed_shard_comes_back_and_only_its_calls_are_made_again(connected: Callable[..., RayShards]) -> None:
    shards = connected()
    shards.gather()
    total = shards.ask_all("total")
    before = {status.name: status for status in shards.statuses()}
    calls = [Call(f"shard-{i % 2}", "slow", (i, 0.02)) for i in range(30)]
    answers = []
    for i, answer in enumerate(shards.pipelined(calls)):
        answers.append(answer)
        if i == 9:
            kill(shards, "shard-1")
    assert answers == list(range(30))
    assert [one.shard for one in shards.rebuilt] == ["shard-1"]
    after = {status.name: status for status in shards.statuses()}
    assert after["shard-0"].pid == before["shard-0"].pid
    assert after["shard-1"].pid != before["shard-1"].pid
    assert (after["shard-0"].is_rebuilt, after["shard-1"].is_rebuilt) == (False, True)
    assert shards.ask_all("total") == total


def test_a_store_that_is_away_is_waited_for_and_no_longer_than_said(
    connected: Callable[..., RayShards], store: Path
) -> None:
    shards = connected(rebuild_s=10.0)  # long enough for a new process to say once what it lacks
    pid = kill(shards, "shard-0")
    store.rename(store.with_name("away"))
    try:
        while pid_of(shards, "shard-0") in {None, pid}:
            time.sleep(0.05)  # until Ray has started another process
        with pytest.raises(ShardLost, match=r"shard-0 did not come back within 10 s: the store is away"):
            shards.ask("shard-0", "total")
    finally:
        store.with_name("away").rename(store)
    assert shards.ask("shard-0", "total") == sum(range(0, 100, 2))


def test_a_call_for_another_placement_is_refused(connected: Callable[..., RayShards], store: Path) -> None:
    shards = connected()
    store.write_text(json.dumps({"generation": 2, "shards": ["shard-0", "shard-1", "shard-2"]}))
    scaled = connected()  # fills the third, and moves the other two
    assert sum(scaled.ask_all("total").values()) == sum(range(100))
    with pytest.raises(ClusterError, match="stands on generation 2") as told:
        shards.ask("shard-0", "total")
    assert told.value.code == "moved"
    shards.refresh()
    assert shards.ask_all("total") == scaled.ask_all("total")
