"""What a cluster is made of and how far it is behind the store, for people and programs."""

from __future__ import annotations

from typing import Any, NamedTuple

from dwell.cluster.members import needed_members
from dwell.cluster.ray_host import HostStatus
from dwell.cluster.ray_shards import RayShards
from dwell.errors import ClusterError, DwellError
from dwell.storage import Reader

__all__ = ["ClusterStatus", "NodeStatus", "ShardStatus", "known_recipe", "status_of"]


class ShardStatus(NamedTuple):
    """One shard.

    Attributes:
        name: Its name.
        node: Ray's id of its machine; "" where the shard gave no answer.
        pid: Its process, 0 where it gave no answer.
        is_ready: Whether it is filled and answers.
        n: Experiences that can be learned from; None where it gave no answer, as below.
        n_held_out: Those that only judge.
        n_epochs_behind: Commits to the store that it has not taken over: 0 is in step.
        n_seqs_behind: Events that were served since it last looked, closed or not.
        n_bytes: Estimated memory of what it holds.
        resident_bytes: Memory of its process.
        n_rebuilds: Times that Ray started it anew; None where this version of Ray does not tell.
        filled_s: Seconds that filling it took.
    """

    name: str
    node: str = ""
    pid: int = 0
    is_ready: bool = False
    n: int | None = None
    n_held_out: int | None = None
    n_epochs_behind: int | None = None
    n_seqs_behind: int | None = None
    n_bytes: int | None = None
    resident_bytes: int | None = None
    n_rebuilds: int | None = None
    filled_s: float | None = None


class NodeStatus(NamedTuple):
    """One machine: Ray's id, its address, whether it is there, its processors as Ray counts them, and its shards."""

    node: str
    address: str
    is_alive: bool
    n_cpus: float
    n_shards: int


class ClusterStatus(NamedTuple):
    """A cluster.

    Attributes:
        address: Ray's.
        generation: Of the placement.
        shards: In order of their names.
        nodes: Those that are there first.
        n_held: Experiences on all shards that answer.
        n_live: Closed events of the store.
        is_whole: Whether every shard answers and is in step with the store.
    """

    address: str
    generation: int
    shards: tuple[ShardStatus, ...]
    nodes: tuple[NodeStatus, ...]
    n_held: int
    n_live: int
    is_whole: bool


def known_recipe(ray: Any, namespace: str, names: tuple[str, ...], *, deadline_s: float = 60.0) -> Any:  # noqa: ANN401 - of whoever made them
    """Return how the shards are made, from the first of them that says so.

    Raises:
        ClusterError: code `no_cluster`: none answers.
    """
    for name in names:
        try:
            host = ray.get_actor(name, namespace=namespace)
            return ray.get(host.recipe.options(concurrency_group="look").remote(), timeout=deadline_s)
        except (ValueError, ray.exceptions.RayError):
            continue
    raise ClusterError("no shard of this store answers", code="no_cluster", hint="Run `dwell cluster up` anew.")


def status_of(ray: Any, shards: RayShards, reader: Reader) -> ClusterStatus:  # noqa: ANN401 - a module imported late
    """Return how a cluster is; a shard that does not answer is told, not waited for.

    Args:
        ray: The module, connected.
        shards: With a short `deadline_s`: it bounds how long each one is waited for.
        reader: The store.
    """
    members = needed_members(reader)
    hosts = {status.name: status for status in shards.statuses()}
    epoch, last_seq = reader.epoch(), reader.last_seq()
    rows = []
    for name in shards.names:
        known = hosts.get(name)
        row = ShardStatus(name)
        if known is not None:
            row = _told(shards, known, row._replace(n_rebuilds=_n_rebuilds(ray, known.actor)), epoch, last_seq)
        rows.append(row)
    counts = reader.counts()
    nodes = sorted((_node(one, rows) for one in ray.nodes()), key=lambda node: (not node.is_alive, node.node))
    return ClusterStatus(
        address=members.address,
        generation=members.generation,
        shards=tuple(rows),
        nodes=tuple(nodes),
        n_held=sum((row.n or 0) + (row.n_held_out or 0) for row in rows),
        n_live=counts.get("closed", 0) + counts.get("reopened", 0),
        is_whole=all(row.is_ready and row.n_epochs_behind == 0 for row in rows),
    )


def _told(shards: RayShards, known: HostStatus, row: ShardStatus, epoch: int, last_seq: int) -> ShardStatus:
    row = row._replace(
        node=known.node, pid=known.pid, is_ready=known.is_ready, resident_bytes=known.resident_bytes,
        filled_s=known.filled_s,
    )  # fmt: skip
    if not known.is_ready:
        return row
    try:
        facts = shards.ask(known.name, "facts")
    except DwellError:
        return row._replace(is_ready=False)
    return row._replace(
        n=facts.n, n_held_out=facts.n_held_out, n_bytes=facts.n_bytes, n_epochs_behind=epoch - facts.epoch,
        n_seqs_behind=last_seq - facts.last_seq,
    )  # fmt: skip


def _n_rebuilds(ray: Any, actor: str) -> int | None:  # noqa: ANN401 - as above
    """Return how often Ray started a shard anew, None where this version does not tell it."""
    try:
        return int(ray._private.state.actors(actor)["NumRestarts"])  # noqa: SLF001 - only its dashboard has a public call
    except Exception:  # noqa: BLE001 - whatever another version makes of it, the rest of the status is told
        return None


def _node(one: dict[str, Any], rows: list[ShardStatus]) -> NodeStatus:
    node = str(one["NodeID"])
    return NodeStatus(
        node,
        str(one.get("NodeManagerAddress", "")),
        bool(one["Alive"]),
        float(one.get("Resources", {}).get("CPU", 0.0)),
        sum(row.node == node for row in rows),
    )
