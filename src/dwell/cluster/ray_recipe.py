"""How a shard of a store is made in whatever process it comes up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from dwell.cluster.members import needed_members
from dwell.cluster.placement import Placement
from dwell.cluster.shard import Shard, ShardSpec
from dwell.cluster.training import spec_for
from dwell.errors import ClusterError, ConfigError
from dwell.loop import Loop
from dwell.storage import has_side_files, open_store

__all__ = ["StoreRecipe", "check_same", "recipe_for"]


@dataclass(frozen=True, slots=True)
class StoreRecipe:
    """Everything of a shard but its name and the placement in force, which stand in the store.

    Its repr shows neither the salt nor the store's place: the URL of a database may hold a password. It is sent to the
    machines of the cluster as it is, which is one reason why only holders of its token may join.

    Attributes:
        spec: Of any shard.
    """

    spec: ShardSpec = field(repr=False)

    @classmethod
    def of(cls, spec: ShardSpec) -> Self:
        """Return the recipe by which the shard of this spec is made, and all others."""
        return cls(replace(spec, name=spec.placement.shards[0]))

    def members(self) -> tuple[int, tuple[str, ...]]:
        """Return the generation in force and its shards.

        Raises:
            ClusterError: code `no_cluster`: there is none any more.
            StorageError: The store can not be read.
        """
        store = open_store(self.spec.where, tenant=self.spec.tenant, role="reader")
        try:
            with store.snapshot() as reader:
                found = needed_members(reader)
        finally:
            store.close()
        return found.generation, found.shards

    def placement(self, shards: tuple[str, ...]) -> Placement:
        """Return where everything lives with these shards."""
        return self.spec.placement.with_shards(*shards)

    def shard(self, name: str, shards: tuple[str, ...]) -> Shard:
        """Return a shard filled from the store.

        Raises:
            StorageError: The store can not be read.
        """
        shard = Shard(replace(self.spec, name=name, placement=self.placement(shards)))
        try:
            shard.hydrate()
        except BaseException:
            shard.close()
            raise
        return shard

    def moved(self, shard: Any, name: str, shards: tuple[str, ...]) -> Mapping[str, int]:  # noqa: ANN401 - see Recipe
        """Give a shard another placement, and return how many experiences came and went."""
        if name != shard.spec.name:
            raise ClusterError("a shard keeps its name", code="moved", field="name", value=name)
        found = shard.reshape(self.placement(shards))
        return {"gained": found.n_added, "lost": found.n_dropped}


def recipe_for(loop: Loop, where: str, names: tuple[str, ...]) -> StoreRecipe:
    """Return how the shards of an open loop's store are made, wherever they come up.

    Args:
        loop: Opened as the application opens it: hold-out and examination have to be its own.
        where: What it was opened with, as every machine of the cluster can open it: a URL with its password.
        names: Of the shards, at least one.
    """
    spec = spec_for(loop._state, names)  # noqa: SLF001 - who makes shards for a loop may look at all of it
    return StoreRecipe.of(replace(spec, where=os.path.realpath(where) if has_side_files(where) else where))


def check_same(loop: Loop, where: str, recipe: StoreRecipe) -> None:
    """Return where shards were made as a loop is opened; the examination may differ, they are told it.

    Raises:
        ConfigError: Another hold-out, half-life, exponent or features, by name.
    """
    wanted = recipe_for(loop, where, recipe.spec.placement.shards).spec
    for name in ("feature_names", "holdout", "salt", "half_life_s", "alpha"):
        theirs, ours = getattr(recipe.spec, name), getattr(wanted, name)
        if theirs != ours:
            raise ConfigError(
                f"the shards were made with another {name}", field=name, value="-" if name == "salt" else ours,
                hint="Run `dwell cluster down`, then `up` with the settings of the application.",
            )  # fmt: skip
