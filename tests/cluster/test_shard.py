"""A shard is made from the store and kept up by it: whatever happens, shards together hold what the store does."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import dwell
from dwell.cluster import Checksum, LocalShards, Placement, Shard
from dwell.cluster.sampling import ShardSampler
from dwell.errors import ConfigError, ReplayError
from dwell.loop.keep import evict as leave

from ..loop.conftest import World  # noqa: TID252 - tests are no installed package
from .worlds import SALT, opened, shards_of, spec_of, visited

Life = tuple[dwell.Loop, World]


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    loop, world = opened(tmp_path / "a.dwell"), World()
    visited(loop, world, 120)
    yield loop, world
    loop.close()


def whole(shards: LocalShards) -> Checksum:
    return sum(shards.ask_all("checksum").values(), Checksum(0, 0))


def expected(loop: dwell.Loop) -> Checksum:
    """Return the checksum of one shard that reads everything there is, now."""
    with shards_of(loop, 1) as one:
        return whole(one)


def seqs(loop: dwell.Loop) -> list[int]:
    return sorted(loop._state.replayed.rows.index("seq")["seq"].tolist())


def test_every_event_is_on_one_shard_and_those_of_a_user_on_the_same(life: Life) -> None:
    loop, _ = life
    with shards_of(loop, 4) as shards:
        parts = [shard.replayed.rows.index("seq", "user_hash") for shard in shards.shards.values()]
        assert sorted(seq for part in parts for seq in part["seq"].tolist()) == seqs(loop)
        users = [set(part["user_hash"].tolist()) for part in parts]
        assert sum(map(len, users)) == len(set().union(*users))
        assert min(len(part["seq"]) for part in parts) > 0
        assert whole(shards) == expected(loop)
        facts = shards.ask_all("facts").values()
        assert sum(one.n for one in facts) == len(loop._state.replayed.buffer)
        assert sum(one.n + one.n_held_out for one in facts) == 120


def test_queries_place_what_has_no_user(tmp_path: Path) -> None:
    with opened(tmp_path / "a.dwell") as loop:
        world = World()
        for i in range(60):
            loop.rank(f"query {i % 15}", world.candidates(), k=5, event_id=f"e{i}", now=world.now + i)
        loop.close_events(now=world.now + 1_000.0)
        with shards_of(loop, 3) as shards:
            found = [set(s.replayed.rows.index("query_hash")["query_hash"].tolist()) for s in shards.shards.values()]
            assert sum(map(len, found)) == 15
            assert sum(one.n + one.n_held_out for one in shards.ask_all("facts").values()) == 60


def close_more(loop: dwell.Loop, world: World) -> None:
    visited(loop, world, 40)


def reward_late(loop: dwell.Loop, world: World) -> None:
    for i in (3, 50):
        event = next(e for e in loop.experiences() if e.event_id == f"event-{i:05d}")
        shown = event.results_served[-1]["id"]
        assert loop.feedback(event.event_id, "purchase", doc=shown, now=world.now).status == "late"
    loop.close_events(now=world.now)


def erase(loop: dwell.Loop, _: World) -> None:
    assert loop.erase("user-7") > 0


def evict(loop: dwell.Loop, _: World) -> None:
    leave(loop._state, seqs(loop)[:9])
    loop._state.replayed.drop(seqs(loop)[:9])


def retain(loop: dwell.Loop, _: World) -> None:
    with loop._state.store.snapshot() as reader:
        old = reader.seqs(limit=11)
    loop._state.write(lambda tx: tx.delete_events(old))
    loop._state.replayed.drop(old)


@pytest.mark.parametrize("happens", [close_more, reward_late, erase, evict, retain])
def test_what_happens_to_the_store_happens_to_its_shards(
    life: Life, happens: Callable[[dwell.Loop, World], None]
) -> None:
    loop, world = life
    with shards_of(loop, 3) as shards:
        before = whole(shards)
        happens(loop, world)
        found = shards.ask_all("follow").values()
        assert any(one.n_added or one.n_changed or one.n_removed for one in found)
        assert whole(shards) == expected(loop) != before
        assert all(one == (0, 0, 0, one.epoch) for one in shards.ask_all("follow").values())
        parts = [shard.replayed.rows.index("seq")["seq"].tolist() for shard in shards.shards.values()]
        assert sorted(seq for part in parts for seq in part) == seqs(loop)


def test_an_event_that_closes_late_is_followed_although_newer_ones_were_seen(tmp_path: Path) -> None:
    with opened(tmp_path / "a.dwell") as loop:
        world = World()
        loop.rank("q", world.candidates(), event_id="late", user="u", now=world.now, activate=False)
        loop.rank("q", world.candidates(), event_id="open", user="u", now=world.now + 500.0)
        visited(loop, world, 10)
        with shards_of(loop, 2) as shards:
            loop.activate("late", now=world.now)
            loop.close_events(now=world.now + 5_000.0)
            assert sum(one.n_added for one in shards.ask_all("follow").values()) == 2
            assert whole(shards) == expected(loop)


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 2), (1, 4)])
def test_another_placement_moves_what_has_to_move_and_loses_nothing(life: Life, before: int, after: int) -> None:
    loop, _ = life
    store = loop._state.store
    old, new = spec_of(loop, before), spec_of(loop, after)
    with shards_of(loop, before) as shards:
        held = {name: set(s.replayed.rows.index("seq")["seq"].tolist()) for name, s in shards.shards.items()}
        staying = {name: s for name, s in shards.shards.items() if name in new.placement.shards}
        moved = {name: shard.reshape(new.placement) for name, shard in staying.items()}
        with LocalShards.made(new, store=store) as fresh:
            for name, shard in staying.items():
                assert shard.checksum() == fresh.shards[name].checksum()
                now = set(shard.replayed.rows.index("seq")["seq"].tolist())
                assert moved[name] == (len(held[name] - now), len(now - held[name]))
                # who stays loses nothing when shards go, and gains nothing when shards come
                assert not (held[name] - now if after < before else now - held[name])
            assert whole(fresh) == expected(loop)
    assert old.placement.shards != new.placement.shards


def test_priorities_are_compared_and_set_by_seq(life: Life) -> None:
    loop, _ = life
    with shards_of(loop, 1) as shards:
        shard = shards.shards["shard-0"]
        some = shard.index().seqs[:4]
        versions = shard.index().versions[:4].copy()
        versions[1] += 1
        given = np.array([*some, 10**9]), np.array([5.0, 6.0, np.nan, 8.0, 9.0]), np.array([*versions, 1])
        assert shards.ask("shard-0", "write_back", *given) == dwell.UpdateResult(2, 2, 1)
        assert shard.index().priorities[[0, 3]].tolist() == [5.0, 8.0]
        assert shard.index().priorities[1] != 6.0
        assert shard.facts().largest_priority == 8.0
        with pytest.raises(ReplayError, match="one priority per seq"):
            shard.write_back(some, np.ones(3))


def test_a_shard_that_lost_everything_is_as_good_as_new(life: Life) -> None:
    loop, _ = life
    with shards_of(loop, 3) as shards:
        before, sampler = whole(shards), ShardSampler(shards)
        drawn = sampler.draw(64, beta=1.0, rng=np.random.default_rng(5))
        shards.ask("shard-1", "hydrate")
        sampler.refresh()
        again = sampler.draw(64, beta=1.0, rng=np.random.default_rng(5))
        assert whole(shards) == before
        assert (drawn.seqs == again.seqs).all()
        assert (drawn.weights == again.weights).all()


def test_a_shard_reads_a_file_that_another_owns_and_needs_no_pepper(life: Life) -> None:
    loop, world = life
    loop._state.writer.flush()  # type: ignore[union-attr]
    with Shard(spec_of(loop, 1)) as shard:
        assert shard.store.role == "reader"
        shard.hydrate()
        assert shard.checksum() == expected(loop)
        visited(loop, world, 5)
        assert shard.follow().n_added == 5


def test_a_shard_that_the_placement_does_not_know_is_refused(life: Life) -> None:
    loop, _ = life
    spec = spec_of(loop, 2)
    with pytest.raises(ConfigError, match="no such shard"):
        Shard(type(spec)(name="other", placement=Placement(("a",), SALT), where=":memory:"))
    with shards_of(loop, 2) as shards, pytest.raises(ConfigError, match="no such shard"):
        shards.ask("shard-9", "facts")
