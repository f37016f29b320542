"""A sharded batch has the distribution of an unsharded one: the same P, the same events for the same uniforms."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.cluster import LocalShards, ShardSampler
from dwell.cluster.sampling import Order
from dwell.errors import NotEnoughExperienceError, ReplayError
from dwell.replay import ReplayBuffer

from ..loop.conftest import World  # noqa: TID252 - tests are no installed package
from .worlds import opened, shards_of, visited

STRATEGIES = ("uniform", "recency", "priority")
HALF_LIFE_S = 90.0  # the events of these tests are served over 500 s: what is drawn depends on it


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dwell.Loop]:
    where = tmp_path_factory.mktemp("sampling") / "a.dwell"
    loop = opened(where, config={"replay": {"half_life_s": HALF_LIFE_S}})
    visited(loop, World(), 500)
    state = loop._state
    seqs = state.replayed.buffer.seqs()
    priorities = np.random.default_rng(8).exponential(size=len(seqs)) ** 2
    priorities[::7] = 0.0  # never drawn
    state.write(lambda tx: tx.set_priorities(seqs.tolist(), priorities.tolist()))
    state.replayed.prioritise(seqs.tolist(), priorities.tolist())
    yield loop
    loop.close()


@pytest.fixture(scope="module", params=[1, 4])
def shards(loop: dwell.Loop, request: pytest.FixtureRequest) -> Iterator[LocalShards]:
    with shards_of(loop, request.param) as found:
        yield found


def sampler_of(shards: LocalShards, strategy: str, order: Order = "as_one") -> ShardSampler:
    return ShardSampler(shards, strategy, alpha=0.6, half_life_s=HALF_LIFE_S, order=order)


def one_buffer(loop: dwell.Loop) -> ReplayBuffer:
    return loop._state.replayed.buffer


def law_of(buffer: ReplayBuffer, strategy: str) -> dict[int, float]:
    """Return P of every experience in one buffer, by seq."""
    masses = buffer._in.laws.sampler(strategy).masses()
    return dict(zip(buffer._in.ring.seqs.tolist(), (masses / masses.sum()).tolist(), strict=True))


@pytest.mark.parametrize("order", ["as_one", "by_shard"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_inclusion_probabilities_are_those_of_one_buffer(
    loop: dwell.Loop, shards: LocalShards, strategy: str, order: Order
) -> None:
    sampler, expected = sampler_of(shards, strategy, order), law_of(one_buffer(loop), strategy)
    found: dict[int, float] = {}
    for shard in shards.shards.values():
        index, masses = shard.index(), shard.line(sampler.law).masses
        found |= dict(zip(index.seqs.tolist(), sampler.probabilities(masses).tolist(), strict=True))
    assert found.keys() == expected.keys()
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-12)
    for seq, p in expected.items():
        assert found[seq] == pytest.approx(p, rel=1e-12, abs=1e-13)
    if strategy == "priority":
        assert sum(p == 0.0 for p in found.values()) == sum(p == 0.0 for p in expected.values()) > 0


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_the_same_uniforms_fall_on_the_same_events_with_the_same_weights(
    loop: dwell.Loop, shards: LocalShards, strategy: Any, beta: float
) -> None:
    sampler, buffer = sampler_of(shards, strategy), one_buffer(loop)
    for seed in range(5):
        one = buffer.sample(97, strategy=strategy, beta=beta, rng=np.random.default_rng(seed))
        many = sampler.draw(97, beta=beta, rng=np.random.default_rng(seed))
        assert many.seqs.tolist() == one.seqs.tolist()
        np.testing.assert_allclose(many.probabilities, one.sampling_probabilities, rtol=1e-12)
        np.testing.assert_allclose(many.weights, one.sampling_weights, rtol=1e-12)
        for i, owner in enumerate(many.owners.tolist()):
            assert many.seqs[i] in shards.shards[shards.names[owner]].replayed.rows


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_shards_end_to_end_draw_by_the_same_law(loop: dwell.Loop, shards: LocalShards, strategy: str) -> None:
    # false alarm at most 1e-4, fixed seed: counts of draws in slices vary no more than those of independent draws
    sampler, expected = sampler_of(shards, strategy, "by_shard"), law_of(one_buffer(loop), strategy)
    rng, n = np.random.default_rng(17), 6_000
    counts = dict.fromkeys(expected, 0)
    for _ in range(12):
        for seq in sampler.draw(n // 12, beta=1.0, rng=rng).seqs.tolist():
            counts[seq] += 1
    assert all(counts[seq] == 0 for seq, p in expected.items() if p == 0.0)
    # cells with fewer than five expected draws are put together, largest first
    ordered = sorted(((p, counts[seq]) for seq, p in expected.items() if p > 0.0), reverse=True)
    cells, p_sum, seen = [], 0.0, 0
    for p, count in ordered:
        p_sum, seen = p_sum + p, seen + count
        if n * p_sum >= 5.0:
            cells.append((n * p_sum, seen))
            p_sum, seen = 0.0, 0
    cells[-1] = (cells[-1][0] + n * p_sum, cells[-1][1] + seen)
    statistic, degrees = sum((o - e) ** 2 / e for e, o in cells), len(cells) - 1
    # Wilson and Hilferty 1931: (X / k)^(1/3) is normal, mean 1 - 2/9k, variance 2/9k; 3.719 is the .9999 quantile
    spread = 2.0 / (9.0 * degrees)
    assert ((statistic / degrees) ** (1.0 / 3.0) - (1.0 - spread)) / np.sqrt(spread) < 3.719


def test_a_priority_of_0_everywhere_is_uniform(tmp_path: Path) -> None:
    with opened(tmp_path / "a.dwell") as loop:
        visited(loop, World(), 20)
        with shards_of(loop, 2) as shards:
            for shard in shards.shards.values():
                shard.write_back(shard.index().seqs, np.zeros(len(shard.index().seqs)))
            sampler = ShardSampler(shards, "priority")
            assert sampler.law.strategy == "uniform"
            batch = sampler.draw(50, beta=1.0, rng=np.random.default_rng(1))
            assert (batch.probabilities == 1.0 / sampler.n).all()


def test_an_old_shard_beside_a_young_one_keeps_its_tiny_probability(tmp_path: Path) -> None:
    with opened(tmp_path / "a.dwell", config={"replay": {"half_life_s": 10.0}}) as loop:
        world = World()
        visited(loop, world, 30)
        world.now += 500.0  # 50 half-lives on
        visited(loop, world, 30)
        expected = law_of(loop._state.replayed.buffer, "recency")
        with shards_of(loop, 3) as shards:
            sampler = ShardSampler(shards, "recency", half_life_s=10.0)
            for shard in shards.shards.values():
                p = sampler.probabilities(shard.line(sampler.law).masses)
                for seq, one in zip(shard.index().seqs.tolist(), p.tolist(), strict=True):
                    assert one == pytest.approx(expected[seq], rel=1e-12)


@pytest.mark.parametrize("strategy", ["rank", "stratified", "other"])
def test_what_can_not_be_drawn_exactly_is_refused_by_name(shards: LocalShards, strategy: str) -> None:
    with pytest.raises(ReplayError, match="shards can not be drawn from like that") as refusal:
        ShardSampler(shards, strategy)
    assert refusal.value.value == strategy


def test_nothing_to_draw_and_nothing_to_agree_on(tmp_path: Path) -> None:
    with opened(tmp_path / "a.dwell") as loop, shards_of(loop, 2) as shards:
        for order in ("as_one", "by_shard"):
            for strategy in STRATEGIES:
                with pytest.raises(NotEnoughExperienceError):
                    ShardSampler(shards, strategy, order=order).draw(3, beta=1.0, rng=np.random.default_rng(1))
