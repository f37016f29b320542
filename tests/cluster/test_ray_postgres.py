"""Shards on Ray over a database: each reads it by its URL, whose password nobody else is told."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

import filled
import numpy as np
import psycopg
import pytest
from engines import Engine
from psycopg.conninfo import conninfo_to_dict

import dwell
from dwell.cluster import Checksum, LocalShards, ShardSampler
from dwell.cluster.members import Members, shard_names
from dwell.cluster.ray_engine import namespace_of
from dwell.cluster.ray_recipe import recipe_for
from dwell.cluster.ray_scaling import raised, removed
from dwell.cluster.ray_shards import RayShards
from dwell.cluster.ray_status import status_of
from dwell.storage import open_store

from ..postgres import emptied_database  # noqa: TID252 - tests are no installed package

N_EVENTS = 60
N_MORE = 20
HALF_LIFE_S = 3_600.0


@pytest.fixture
def url() -> Iterator[str]:
    with emptied_database() as found:
        yield found


def told(shards: RayShards | LocalShards) -> tuple[Checksum, list[int]]:
    """What shards hold, and a batch over them."""
    sampler = ShardSampler(shards, "recency", half_life_s=HALF_LIFE_S)
    batch = sampler.draw(32, beta=0.4, rng=np.random.default_rng(1))
    return sum(shards.ask_all("checksum").values(), start=Checksum(0, 0)), batch.seqs.tolist()


def test_shards_of_a_database_are_those_of_one_process_and_follow_it(engine: Engine, url: str) -> None:
    filled.fill(url, N_EVENTS)
    names, namespace = shard_names(2), namespace_of(url, "")
    with dwell.open(url, pepper=filled.PEPPER, config={"replay": {"half_life_s": HALF_LIFE_S}}) as loop:
        recipe = recipe_for(loop, url, names)
    store = open_store(url, role="admin")
    raised(engine.ray, store, recipe, namespace, Members(1, names, engine.address))
    try:
        with LocalShards.made(replace(recipe.spec, placement=recipe.placement(("shard-0",)))) as one:
            shards = RayShards(engine.ray, recipe, namespace)
            shards.gather()
            whole = told(one)
            assert whole[0].n == N_EVENTS
            assert told(shards) == whole

            filled.fill(url, N_MORE, first=N_EVENTS)
            for all_of_them in (one, shards):
                all_of_them.ask_all("follow")
            more = told(one)
            assert more[0].n == N_EVENTS + N_MORE
            assert told(shards) == more

            with store.snapshot() as reader:
                status = status_of(engine.ray, shards, reader)
            said = [repr(shards), repr(recipe), repr(status), namespace, *map(str, shards.statuses())]
            with psycopg.connect(url) as connection:  # nor does the store hold its own password
                bodies = connection.execute("SELECT value FROM dwell.settings").fetchall()
            said += [bytes(body).decode("latin-1") for (body,) in bodies]
            password = conninfo_to_dict(url)["password"]
            secrets = (str(password), quote(str(password), safe=""), filled.PEPPER.decode())
            assert not [text for text, secret in itertools.product(said, secrets) if secret in text]
    finally:
        removed(engine.ray, store, namespace, names)
        store.close()
