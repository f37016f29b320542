"""Shards of a store's experience on Ray: start them, look at them, change how many there are, and learn over them."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from dwell.cli.cluster_jobs import job
from dwell.cli.learning import say_report
from dwell.cli.options import rewards_option, settings_options, store_argument, tenant_option
from dwell.cli.printing import document, examples, json_option, plain, say, table
from dwell.cli.stores import admin_store, facts, owner_loop, reader_loop
from dwell.errors import ClusterError, DwellError

if TYPE_CHECKING:
    from dwell.cluster.members import Members
    from dwell.cluster.ray_scaling import Rescaled
    from dwell.cluster.ray_shards import RayShards
    from dwell.cluster.ray_status import ClusterStatus
    from dwell.loop import Loop, TrainReport

__all__ = ["cluster"]

F = TypeVar("F", bound=Callable[..., Any])

_LOOK_S: Final = 2.0  # between two looks of `up` at its shards: it notices who is gone
_N_CPUS: Final = 4  # what Ray may give away: a shard asks for a hundredth, a batch job for one
_DEADLINE_S: Final = 5.0  # for a status: whoever is busy longer is told as such


@click.group()
@examples(
    "dwell cluster up postgresql://dwell@db/search --shards 4",
    "dwell cluster status postgresql://dwell@db/search",
)
def cluster() -> None:
    """Keep a store's experience in shards on Ray.

    The store holds the truth; shards are made from it and may be lost at any time. Whoever joins needs the token of the
    cluster: RAY_AUTH_TOKEN, else the file .ray/auth_token in the home folder, which `up` makes.
    """


def _address_option(words: str) -> Callable[[F], F]:
    return click.option("--address", metavar="HOST:PORT", help=words)


class _Joined(NamedTuple):
    ray: Any
    recipe: Any
    namespace: str
    members: Members


@contextlib.contextmanager
def _joined(store: str, tenant: str, address: str | None) -> Iterator[_Joined]:
    """Give the cluster of a store, as the store says where it is."""
    from dwell.cluster.members import needed_members
    from dwell.cluster.ray_engine import joined, namespace_of
    from dwell.cluster.ray_status import known_recipe

    with facts(store, tenant) as reader:
        members = needed_members(reader)
    namespace = namespace_of(store, tenant)
    with joined(address or members.address) as ray:
        yield _Joined(ray, known_recipe(ray, namespace, members.shards), namespace, members)


@cluster.command()
@store_argument
@click.option("--shards", "n", type=click.IntRange(min=1), default=2, show_default=True, help="How many.")
@_address_option("Use this Ray, which runs already; without it one is started here and kept until the command ends.")
@click.option("--cpus", type=click.IntRange(min=1), default=_N_CPUS, show_default=True, help="Of a Ray started here.")
@click.option(
    "--reachable", is_flag=True, help="Other hosts may join a Ray started here; else it is on 127.0.0.1 alone."
)
@settings_options
@tenant_option
@examples(
    "dwell cluster up search.dwell --shards 2",
    "dwell cluster up postgresql://dwell@db/search --shards 8 --address 10.0.0.5:6379",
)
def up(store: str, n: int, address: str | None, cpus: int, tenant: str, *, reachable: bool, **given: object) -> None:
    """Start shards of a store.

    Without --address it starts Ray too, looks after the shards, and ends both when it is ended. With
    --address the shards stay with that Ray until `dwell cluster down`.
    """
    from dwell.cluster.members import Members, members_in, shard_names
    from dwell.cluster.ray_engine import answers, joined, namespace_of, started
    from dwell.cluster.ray_recipe import recipe_for
    from dwell.cluster.ray_scaling import raised

    names = shard_names(n)
    with facts(store, tenant) as reader:
        known = members_in(reader)
    if known is not None and answers(known.address):
        raise ClusterError(
            f"this store has a cluster already, at {known.address}",
            code="running",
            hint="Change it by `dwell cluster scale`, or end it by `dwell cluster down`.",
        )
    with reader_loop(store, tenant, given) as loop:
        recipe = recipe_for(loop, store, names)
    generation = 1 + (0 if known is None else known.generation)
    with contextlib.ExitStack() as stack:
        if address is None:
            ray, at = stack.enter_context(started(n_cpus=cpus, is_loopback=not reachable))
        else:
            ray, at = stack.enter_context(joined(address)), address
        with admin_store(store, tenant) as opened:
            raised(ray, opened, recipe, namespace_of(store, tenant), Members(generation, names, at))
        say(f"{len(names)} shards of {plain(store)} at {at}")
        if address is None:
            _keep(ray, recipe, namespace_of(store, tenant), store, tenant)


def _keep(ray: Any, recipe: Any, namespace: str, store: str, tenant: str) -> None:  # noqa: ANN401 - a module imported late
    """Keep the shards in step with the store until SIGINT or SIGTERM, or until somebody ends the cluster."""
    from dwell.cluster.ray_scaling import removed
    from dwell.cluster.ray_shards import RayShards

    ended = threading.Event()
    before = [(number, signal.signal(number, lambda *_: ended.set())) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        while not ended.wait(_LOOK_S):
            try:
                shards = RayShards(ray, recipe, namespace)
                shards.tend()
            except DwellError as error:
                if error.code == "no_cluster":
                    ended.wait(_LOOK_S)  # whoever ended it leaves first
                    say("the cluster was ended")
                    return
                say(f"dwell: {plain(error)}", err=True)
        with admin_store(store, tenant) as opened:
            removed(ray, opened, namespace, recipe.members()[1])
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@cluster.command()
@store_argument
@_address_option("Of its Ray. Default: as the store says.")
@tenant_option
@json_option
@examples("dwell cluster status search.dwell --json")
def status(store: str, address: str | None, tenant: str, *, as_json: bool) -> None:
    """Show the shards of a store, and how far they are behind it."""
    from dwell.cluster.ray_shards import RayShards
    from dwell.cluster.ray_status import status_of

    with _joined(store, tenant, address) as found, facts(store, tenant) as reader:
        shards = RayShards(found.ray, found.recipe, found.namespace, deadline_s=_DEADLINE_S, rebuild_s=_DEADLINE_S)
        told = status_of(found.ray, shards, reader)
    if as_json:
        document(
            told._asdict()
            | {"shards": [one._asdict() for one in told.shards], "nodes": [one._asdict() for one in told.nodes]}
        )
        return
    _say_status(told)


def _say_status(told: ClusterStatus) -> None:
    say(f"cluster at {told.address}, generation {told.generation}: {told.n_held} of {told.n_live} closed events")
    table(
        ("shard", "node", "pid", "learns from", "judges", "behind", "MB", "rebuilds", "state"),
        [
            (
                one.name, one.node[:8], one.pid or "-", *(("-" if n is None else n) for n in (one.n, one.n_held_out)),
                "-" if one.n_epochs_behind is None else one.n_epochs_behind,
                "-" if one.resident_bytes is None else round(one.resident_bytes / 1e6),
                "-" if one.n_rebuilds is None else one.n_rebuilds, "ready" if one.is_ready else "away",
            )
            for one in told.shards
        ],
        right=("pid", "learns from", "judges", "behind", "MB", "rebuilds"),
    )  # fmt: skip
    table(
        ("node", "address", "processors", "shards", "state"),
        [
            (one.node[:8], one.address, f"{one.n_cpus:g}", one.n_shards, "alive" if one.is_alive else "gone")
            for one in told.nodes
        ],
        right=("processors", "shards"),
    )


@cluster.command()
@store_argument
@click.option("--shards", "n", type=click.IntRange(min=1), required=True, help="How many there are to be.")
@_address_option("Of its Ray. Default: as the store says.")
@tenant_option
@json_option
@examples("dwell cluster scale search.dwell --shards 4")
def scale(store: str, n: int, address: str | None, tenant: str, *, as_json: bool) -> None:
    """Change how many shards there are.

    Only what changes its owner moves: from 3 to 4 shards, a quarter.
    """
    from dwell.cluster.ray_scaling import scaled

    with _joined(store, tenant, address) as found, admin_store(store, tenant) as opened:
        moved = scaled(found.ray, opened, found.recipe, found.namespace, n)
    _say_moved(moved, as_json=as_json)


def _say_moved(moved: Rescaled, *, as_json: bool) -> None:
    n_moved = sum(moved.gained.values())
    if as_json:
        shards, generation = list(moved.members.shards), moved.members.generation
        document({"shards": shards, "generation": generation, "n_moved": n_moved, "gained": moved.gained,
                  "n_before": moved.n_before, "n_after": moved.n_after})  # fmt: skip
        return
    say(f"{len(moved.members.shards)} shards; {n_moved} of {moved.n_after} experiences moved")


@cluster.command()
@store_argument
@click.option("--shard", metavar="NAME", help="End this shard: what it holds goes to the others.")
@click.option("--node", metavar="ID", help="Rebuild the shards of this machine on others.")
@_address_option("Of its Ray. Default: as the store says.")
@tenant_option
@json_option
@examples("dwell cluster drain search.dwell --shard shard-1", "dwell cluster drain search.dwell --node 5f3a90c1")
def drain(store: str, shard: str | None, node: str | None, address: str | None, tenant: str, *, as_json: bool) -> None:
    """Free a shard or a machine; nothing is lost, whoever trains meanwhile waits."""
    from dwell.cluster.ray_scaling import drained_node, drained_shard

    if (shard is None) == (node is None):
        raise click.UsageError("Give either --shard or --node.")
    with _joined(store, tenant, address) as found:
        if shard is not None:
            with admin_store(store, tenant) as opened:
                moved = drained_shard(found.ray, opened, found.recipe, found.namespace, shard)
            _say_moved(moved, as_json=as_json)
            return
        names = drained_node(found.ray, found.recipe, found.namespace, node or "")
    if as_json:
        document({"node": node, "rebuilt_elsewhere": list(names)})
    else:
        say(f"{len(names)} shards were rebuilt elsewhere: {', '.join(names) or 'none was there'}")


@cluster.command()
@store_argument
@_address_option("Of its Ray. Default: as the store says.")
@tenant_option
@json_option
@examples("dwell cluster down search.dwell")
def down(store: str, address: str | None, tenant: str, *, as_json: bool) -> None:
    """End the shards of a store; a Ray that `up` started ends with them."""
    from dwell.cluster.members import needed_members, put_members
    from dwell.cluster.ray_engine import answers, joined, namespace_of
    from dwell.cluster.ray_scaling import removed

    with facts(store, tenant) as reader:
        members = needed_members(reader)
    ended: tuple[str, ...] = ()
    if answers(address or members.address):
        with joined(address or members.address) as ray, admin_store(store, tenant) as opened:
            ended = removed(ray, opened, namespace_of(store, tenant), members.shards)
    else:
        with admin_store(store, tenant) as opened, opened.transaction() as tx:
            put_members(tx, None)
    if as_json:
        document({"ended": list(ended)})
    else:
        say(f"{len(ended)} shards ended" if ended else "no shard answered; the cluster is forgotten")


@cluster.command()
@store_argument
@click.option("--steps", type=click.IntRange(min=1), help="Learning steps. Default: one pass over unseen events.")
@rewards_option
@click.option(
    "--attribution-window", "attribution_window_s", type=float, metavar="SECONDS", help="As of `dwell train`."
)
@_address_option("Of its Ray. Default: as the store says.")
@settings_options
@tenant_option
@json_option
@examples("dwell cluster train search.dwell --json")
def train(store: str, steps: int | None, address: str | None, tenant: str, *, as_json: bool, **given: object) -> None:
    """Learn, judge and promote as `dwell train` does, over the shards of the store's cluster.

    This process closes events, decides and writes; it holds no experience. A shard that dies meanwhile is waited for;
    where shards are added or removed meanwhile, it begins again.
    """
    from dwell.cluster.ray_recipe import check_same
    from dwell.cluster.ray_shards import RayShards

    with owner_loop(store, tenant, given) as loop, _joined(store, tenant, address) as found:
        before = loop.params.version
        shards = RayShards(found.ray, found.recipe, found.namespace)
        shards.gather()
        check_same(loop, store, found.recipe)
        report = _trained(loop, shards, steps)
    say_report(report, before, as_json=as_json)


def _trained(loop: Loop, shards: RayShards, steps: int | None) -> TrainReport:
    from dwell.cluster.training import ShardTraining

    state = loop._state  # noqa: SLF001 - who trains for a loop may do what its own call does
    training = ShardTraining(state, shards)
    while True:
        try:
            with state.alone():
                return training.train(steps=steps, now=time.time(), clock=time.monotonic)
        except ClusterError as error:
            if error.code != "moved":
                raise
            shards.refresh()


cluster.add_command(job)
