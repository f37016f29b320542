"""More or fewer shards, and machines made free: what changes its owner moves, by way of the store, and nothing else.

First the new members are written, which makes calls for the old placement refuse themselves; then new shards are
filled and the others give up what is no longer theirs and read what is theirs now; last, shards without a part are
ended. Every step may be repeated: whoever finds shards on different generations finishes what somebody else began.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from dwell.cluster.members import Members, needed_members, put_members, shard_names
from dwell.cluster.ray_host import Recipe
from dwell.cluster.ray_shards import RayShards, host_of, remove_host
from dwell.errors import ClusterError, ConfigError
from dwell.storage import Store

__all__ = ["Rescaled", "drained_node", "drained_shard", "raised", "removed", "scaled"]


class Rescaled(NamedTuple):
    """What a change of the shards moved.

    Attributes:
        members: As they are now.
        gained: Experiences that each shard took in, by name; all that it has, of a new one.
        n_before: Experiences on all shards before.
        n_after: The same afterwards.
    """

    members: Members
    gained: Mapping[str, int]
    n_before: int
    n_after: int


def raised(ray: Any, store: Store, recipe: Recipe, namespace: str, members: Members) -> RayShards:  # noqa: ANN401 - a module imported late
    """Write the members of a new cluster, start its shards, and return them filled.

    Args:
        ray: The module, connected.
        store: Open for writing.
        recipe: How a shard is made.
        namespace: See `ray_engine.namespace_of`.
        members: Their generation is the first.

    Raises:
        ClusterError: A shard can not be started or filled.
    """
    with store.transaction() as tx:
        put_members(tx, members)
    shards = RayShards(ray, recipe, namespace)
    shards.gather()
    return shards


def scaled(ray: Any, store: Store, recipe: Recipe, namespace: str, n: int) -> Rescaled:  # noqa: ANN401 - as above
    """Return what moved to have n shards.

    Raises:
        ConfigError: n is out of range.
        ClusterError: There is no cluster, or a shard can not be started or filled; calling it again goes on.
    """
    shard_names(n)
    with store.snapshot() as reader:
        known = needed_members(reader)
    return _to(ray, store, recipe, namespace, known.scaled(n) if n != len(known.shards) else known)


def drained_shard(ray: Any, store: Store, recipe: Recipe, namespace: str, name: str) -> Rescaled:  # noqa: ANN401 - as above
    """Return what moved to do without a shard: what it held goes to the others.

    Raises:
        ConfigError: It is no shard of the cluster, or the last one.
        ClusterError: See `scaled`.
    """
    with store.snapshot() as reader:
        known = needed_members(reader)
    if name not in known.shards or len(known.shards) == 1:
        raise ConfigError(
            "no such shard can be drained", field="shard", value=name,
            hint=f"There are {list(known.shards)}; the last one is ended by `dwell cluster down`.",
        )  # fmt: skip
    rest = tuple(one for one in known.shards if one != name)
    return _to(
        ray, store, recipe, namespace, msgspec.structs.replace(known, generation=known.generation + 1, shards=rest)
    )


def _to(ray: Any, store: Store, recipe: Recipe, namespace: str, wanted: Members) -> Rescaled:  # noqa: ANN401 - as above
    before = RayShards(ray, recipe, namespace)
    before.gather()
    n_before = sum(_n_held(before).values())
    with store.transaction() as tx:
        found = needed_members(tx)
        if found.generation not in {before.generation, wanted.generation}:
            raise ClusterError(
                "somebody else changes the shards at this moment", code="moved", hint="Try it again afterwards."
            )
        put_members(tx, wanted)
    shards = RayShards(ray, recipe, namespace)
    gained = shards.gather()
    for name in set(before.names) - set(shards.names):
        remove_host(ray, name, namespace)
    held = _n_held(shards)
    gained |= {name: held[name] for name in shards.names if name not in before.names}
    return Rescaled(wanted, gained, n_before, sum(held.values()))


def drained_node(ray: Any, recipe: Recipe, namespace: str, node: str) -> tuple[str, ...]:  # noqa: ANN401 - as above
    """Rebuild the shards of one machine on others, one after the other, and return their names.

    The placement stays, so nothing else moves; whoever trains meanwhile waits for each as for one that died.

    Args:
        ray: The module, connected.
        recipe: How a shard is made.
        namespace: See `ray_engine.namespace_of`.
        node: Ray's id of the machine, or its beginning, as `dwell cluster status` shows it.

    Raises:
        ConfigError: No machine, or more than one, has such an id; or there is no other.
        ShardLost: A shard could not be rebuilt in time.
    """
    alive = [one["NodeID"] for one in ray.nodes() if one["Alive"]]
    meant = [one for one in alive if node and one.startswith(node)]
    if len(meant) != 1 or len(alive) == 1:
        raise ConfigError(
            "no such machine can be drained", field="node", value=node, hint=f"There are {[one[:8] for one in alive]}."
        )
    shards = RayShards(ray, recipe, namespace)
    there = [status.name for status in shards.statuses() if status.node == meant[0]]
    others = [one for one in alive if one != meant[0]]
    for i, name in enumerate(there):
        shards.end(name)
        host_of(ray, recipe, name, namespace, node=others[i % len(others)])
        shards.gather()
    return tuple(there)


def removed(ray: Any, store: Store, namespace: str, names: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ANN401 - as above
    """Forget the cluster, end its shards, and return the names of those that were there."""
    with store.transaction() as tx:
        put_members(tx, None)  # first: whoever keeps them up starts none of them anew
    return tuple(name for name in names if remove_host(ray, name, namespace))


def _n_held(shards: RayShards) -> dict[str, int]:
    return {name: facts.n + facts.n_held_out for name, facts in shards.ask_all("facts").items()}
