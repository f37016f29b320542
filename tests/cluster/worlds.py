"""A store with experience in it, and shards over that store."""

from pathlib import Path
from typing import Any

import dwell
from dwell.cluster import LocalShards, Placement, ShardSpec
from dwell.loop.keep import take_in

from ..loop.conftest import PEPPER, QUICK, WINDOW_S, World  # noqa: TID252 - tests are no installed package

__all__ = ["SALT", "opened", "shards_of", "spec_of", "visited"]

SALT = b"a salt of these tests"


def opened(where: str | Path, **how: Any) -> dwell.Loop:
    """Return a loop with the settings of these tests."""
    settings: dict[str, Any] = {
        "features": World.features,
        "weights": {"good": 0.1, "bad": 1.0, "noise": 0.5},
        "pepper": PEPPER,
        "attribution_window_s": WINDOW_S,
        "temperature": 1.0,
        "config": QUICK,
    }
    return dwell.open(where, **{**settings, **how})


def visited(loop: dwell.Loop, world: World, n: int, **how: Any) -> None:
    """Serve lists, let their windows pass, close them, and give each a priority of its own."""
    world.visits(loop, n, **how)
    loop.close_events(now=world.now)
    take_in(loop._state)


def spec_of(loop: dwell.Loop, n_shards: int) -> ShardSpec:
    """Return the spec of the first of so many shards over a loop's store."""
    state = loop._state
    names = tuple(f"shard-{i}" for i in range(n_shards))
    return ShardSpec(
        name=names[0],
        placement=Placement(names, SALT),
        where=state.store.where,
        feature_names=state.feature_names,
        holdout=state.limits.holdout,
        salt=state.identity.salt,
        half_life_s=state.config.replay.half_life_s,
        alpha=state.config.replay.alpha,
        examination=state.rules.examination,
    )


def shards_of(loop: dwell.Loop, n_shards: int) -> LocalShards:
    """Return hydrated shards in this process, their answers pickled as they would be on their way."""
    return LocalShards.made(spec_of(loop, n_shards), store=loop._state.store, are_pickled=True)
