"""What broke other replay buffers: each case was seen to fail in at least one of them (replay study, section 3)."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from dwell.errors import RecordError, ReplayError
from dwell.records import ColumnSpec, Experience, UpdateResult
from dwell.replay import ReplayBuffer
from dwell.replay.prefix_tree import PrefixTree
from dwell.replay.samplers import PrioritySampler
from dwell.replay.sum_tree import SumTree

Make = Callable[..., Experience]
STRATEGIES = ("uniform", "priority", "rank", "recency", "stratified")


@pytest.fixture
def buffer(experience: Make) -> ReplayBuffer:
    made = ReplayBuffer(8, alpha=1.0, seed=0, half_life_s=3600.0)
    made.extend(experience(f"e{i}", priority=float(i + 1)) for i in range(8))
    for strategy in STRATEGIES:
        made.sample(1, strategy=strategy)  # type: ignore[arg-type]
    return made


def snapshot(buffer: ReplayBuffer) -> tuple[list[int], list[float], list[list[str]]]:
    batches = [
        buffer.sample(64, strategy=strategy, rng=np.random.default_rng(1)).event_ids  # type: ignore[arg-type]
        for strategy in STRATEGIES
    ]
    return buffer.seqs().tolist(), buffer.priorities().tolist(), batches


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), -1.0, -5e-324])
def test_a_bad_priority_never_enters(buffer: ReplayBuffer, experience: Make, bad: float) -> None:
    before = snapshot(buffer)
    assert buffer.update_priorities(["e0", "e1"], [bad, bad]) == UpdateResult(0, 0, 2)
    with pytest.raises(RecordError, match="priority"):
        experience("e9", priority=bad)
    mine = experience("e9")
    with pytest.raises(RecordError, match="priority"):
        mine.priority = bad
    assert snapshot(buffer) == before


def test_a_bad_item_leaves_the_good_ones_of_its_batch_alone(buffer: ReplayBuffer) -> None:
    result = buffer.update_priorities(["e0", "e1", "gone", "e2", "gone"], [9.0, float("nan"), 1.0, 0.0, -1.0])
    assert result == UpdateResult(updated=2, stale=1, rejected=2)
    assert buffer.priorities().tolist() == [9.0, 2.0, 0.0, 4.0, 5.0, 6.0, 7.0, 8.0]


@pytest.mark.parametrize(
    ("keys", "priorities"),
    [
        (["e0"], [1.0, 2.0]),
        (["e0", "e1"], [1.0]),
        (["e0"], 1.0),
        ("e0", [1.0, 2.0]),
        ([None], [1.0]),
        (["e0", 1], [1.0, 2.0]),
        ([True], [1.0]),
        ([1.0], [1.0]),
        (np.ones((1, 1), dtype=np.int64), [[1.0]]),
        (["e0"], ["high"]),
        (["e0"], [None]),
        (["e0"], [1j]),
        (["e0"], [[1.0]]),
        (None, [1.0]),
    ],
)
def test_a_malformed_update_changes_nothing(buffer: ReplayBuffer, keys: object, priorities: object) -> None:
    before = snapshot(buffer)
    with pytest.raises(ReplayError):
        buffer.update_priorities(keys, priorities)  # type: ignore[arg-type]
    assert snapshot(buffer) == before


@pytest.mark.parametrize(
    "keys",
    [
        [0],
        [-1],
        [9],
        [2**63 - 1],
        [2**70],
        [-(2**70)],
        np.array([9], dtype=np.int32),
        np.array([2**64 - 1], dtype=np.uint64),
        np.array([-1]),
        np.array(["e9"]),
        ["e9"],
        [""],
        ["e1\0"],
        ["x" * 600],
        ["ü"],
        ["\ud800"],
    ],
)
def test_a_stranger_is_stale_and_nobody_is_touched(buffer: ReplayBuffer, keys: object) -> None:
    before = snapshot(buffer)
    assert buffer.update_priorities(keys, [99.0]) == UpdateResult(0, 1, 0)  # type: ignore[arg-type]
    assert snapshot(buffer) == before


def test_an_empty_update_is_an_answer(buffer: ReplayBuffer) -> None:
    assert buffer.update_priorities([], []) == UpdateResult(0, 0, 0)
    assert buffer.update_priorities(np.zeros(0, dtype=np.int64), np.zeros(0)) == UpdateResult(0, 0, 0)


def test_of_duplicates_the_last_valid_one_holds(buffer: ReplayBuffer) -> None:
    assert buffer.update_priorities(["e0", "e1", "e0"], [3.0, 1.0, 9.0]) == UpdateResult(3, 0, 0)
    assert buffer.priorities().tolist()[:2] == [9.0, 1.0]
    assert buffer.update_priorities([1, 1, 1], [4.0, 5.0, float("nan")]) == UpdateResult(2, 0, 1)
    assert buffer.priorities().tolist()[:2] == [5.0, 1.0]
    law = {e.event_id: e.priority for e in buffer}
    batch = buffer.sample(100, strategy="priority")
    assert batch.sampling_probabilities == pytest.approx([law[name] / sum(law.values()) for name in batch.event_ids])


def test_a_priority_written_after_eviction_does_not_reach_the_successor(buffer: ReplayBuffer, experience: Make) -> None:
    batch = buffer.sample(8, replace=False)
    buffer.extend(experience(f"new{i}", priority=1.0) for i in range(8))
    assert buffer.update_priorities(batch.seqs, np.full(8, 1e9)) == UpdateResult(0, 8, 0)
    assert buffer.priorities().tolist() == [1.0] * 8


@pytest.mark.parametrize("capacity", [1, 2, 4, 8, 64, 1024, 2048])
def test_the_first_eviction_at_a_power_of_two(experience: Make, capacity: int) -> None:
    buffer = ReplayBuffer(capacity, seed=0, half_life_s=60.0)
    buffer.extend(experience(f"e{i}") for i in range(capacity))
    for strategy in STRATEGIES:
        buffer.sample(4, strategy=strategy)  # type: ignore[arg-type]
    assert buffer.extend([experience("more", priority=1e9)]) == [1]
    for strategy in STRATEGIES:
        assert len(buffer.sample(4, strategy=strategy).event_ids) == 4  # type: ignore[arg-type]
    assert buffer.sample(1, strategy="rank", replace=False, rng=np.random.default_rng(0)).event_ids


def test_one_outlier_that_left_does_not_rule_those_who_come_later(experience: Make) -> None:
    buffer = ReplayBuffer(4, alpha=1.0, seed=0)
    buffer.add(experience("outlier", priority=1e300))
    assert buffer.sample(1, strategy="priority").event_ids == ["outlier"]
    buffer.extend(experience(f"e{i}", priority=1.0) for i in range(4))
    batch = buffer.sample(64, strategy="priority")
    assert batch.sampling_probabilities == pytest.approx([0.25] * 64, rel=1e-12)


def test_a_collapse_of_scale_leaves_a_sound_tree(experience: Make) -> None:
    buffer = ReplayBuffer(64, alpha=1.0, seed=0)
    buffer.extend(experience(f"e{i}", priority=1e12 * (i + 1)) for i in range(64))
    buffer.sample(1, strategy="priority")
    buffer.update_priorities([f"e{i}" for i in range(64)], [1e-9 * (i + 1) for i in range(64)])
    batch = buffer.sample(1000, strategy="priority")
    expected = [(int(name[1:]) + 1) / (64 * 65 / 2) for name in batch.event_ids]
    assert batch.sampling_probabilities == pytest.approx(expected, rel=1e-12)


def test_after_ten_million_updates_over_twenty_orders_of_magnitude_nothing_has_drifted() -> None:
    # 2,500 batches of 4,096 through the buffer's own sampler; a mass is a whole number of units, so the sum is exact
    rng = np.random.default_rng(12)
    n = 100_000
    buffer = ReplayBuffer(n, alpha=1.0, seed=0, columns=ColumnSpec({"x": ((), np.dtype("f4"))}))
    names = np.array([f"e{i}" for i in range(n)], dtype="S8")
    buffer.extend_columns(names, timestamps=0.0, columns={"x": np.zeros(n, dtype="f4")})
    sampler = buffer._in.laws.sampler("priority")
    assert isinstance(sampler, PrioritySampler)
    pool = 10.0 ** rng.uniform(-10.0, 10.0, 1 << 20) * (rng.random(1 << 20) < 0.9)
    for turn in range(2500):
        if turn % 250 == 0:
            drawn = buffer.sample(64, strategy="priority", columns=["priority"])
            assert (drawn.columns["priority"] > 0.0).all()
        at = int(rng.integers(0, n - 4096))
        begin = int(rng.integers(0, pool.size - 4096))
        # a run of seqs and, each tenth time, one of a wholly other scale: outliers come and go
        scale = 1e12 if turn % 10 == 0 else 1.0
        result = buffer.update_priorities(np.arange(at + 1, at + 4097), pool[begin : begin + 4096] * scale)
        assert result.updated == 4096
    priorities = buffer.priorities()
    batch = buffer.sample(100_000, strategy="priority", columns=["priority"])
    assert (batch.columns["priority"] > 0.0).all()
    masses = sampler.masses()
    assert sampler._tree.total == math.fsum(masses)  # a drift of 0
    fresh = PrefixTree(n)
    fresh.fill(masses)
    assert fresh.total == sampler._tree.total
    # and the law is that of the priorities: each mass is rounded to a whole unit, a power of 2, and is at least one
    unit = 2.0 ** round(math.log2(math.fsum(masses) / math.fsum(priorities)))
    assert np.abs(masses - priorities * unit).max() <= 1.0
    assert ((masses > 0.0) == (priorities > 0.0)).all()


def test_drift_stays_below_1e_12_after_heavy_tailed_updates() -> None:
    # 2,000 batches of 32 over 8,192 leaves, spread over 40 orders of magnitude; the oracle is an exact sum
    rng = np.random.default_rng(11)
    n = 8192
    tree, masses = SumTree(n), np.zeros(n)
    for _ in range(2000):
        at = rng.integers(n, size=32)
        new = np.exp((rng.standard_t(2, size=32) * 8).clip(-46, 46))
        tree.set(at, new)
        masses[at] = new
    exact = math.fsum(masses)
    assert abs(tree.total - exact) / exact < 1e-12
    tree.set(np.arange(0, n, 2), np.zeros(n // 2))
    small = np.flatnonzero(np.arange(n) % 2)
    tree.set(small, np.full(small.size, 2.0**-40))
    assert tree.total == small.size * 2.0**-40


def test_zeros_among_heavy_tails_are_never_drawn(experience: Make) -> None:
    rng = np.random.default_rng(2)
    priorities = np.where(rng.random(500) < 0.5, 0.0, np.exp(rng.normal(size=500) * 20))
    buffer = ReplayBuffer(500, alpha=1.0, seed=3)
    buffer.extend(experience(f"e{i}", priority=float(p)) for i, p in enumerate(priorities))
    for strategy in ("priority", "rank"):
        columns = buffer.sample(100_000, strategy=strategy, columns=["priority"]).columns  # type: ignore[arg-type]
        assert (columns["priority"] > 0.0).all()


def test_priorities_of_any_numeric_kind_are_taken(buffer: ReplayBuffer) -> None:
    for values in (np.array([7], dtype=np.float32), np.array([7], dtype=np.int8), [7], (np.float64(7),), [np.int64(7)]):
        assert buffer.update_priorities(["e0"], values) == UpdateResult(1, 0, 0)
        assert buffer.priorities()[0] == 7.0


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), 1.0000001, -2, "good", None, True])
def test_a_bad_reward_is_rejected(buffer: ReplayBuffer, reward: object) -> None:
    before = snapshot(buffer)
    assert buffer.update_reward("e0", reward, version=5) == UpdateResult(0, 0, 1)  # type: ignore[arg-type]
    assert snapshot(buffer) == before


@pytest.mark.parametrize("version", [-1, 1.0, True, None, "2"])
def test_a_bad_version_is_refused(buffer: ReplayBuffer, version: object) -> None:
    with pytest.raises(ReplayError, match="version"):
        buffer.update_reward("e0", 0.5, version=version)  # type: ignore[arg-type]


def test_batches_are_copies(buffer: ReplayBuffer) -> None:
    before = snapshot(buffer)
    batch = buffer.sample(8, columns=["priority", "reward", "seq"], rng=np.random.default_rng(0))
    for array in (batch.seqs, *batch.columns.values()):
        array[:] = 0
    assert snapshot(buffer) == before
