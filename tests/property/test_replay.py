"""The buffer against a list: whatever is done to it, in whatever order, both say the same."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dwell.records import Experience, UpdateResult
from dwell.replay import ReplayBuffer, Strategy
from dwell.replay.size_estimate import experience_bytes
from dwell.replay.sum_tree import SumTree
from dwell.replay.systematic import inclusion_probabilities, systematic_sample

NAMES = [f"e{i}" for i in range(12)]
STRATEGIES = ("uniform", "priority", "rank", "recency", "stratified")
HALF_LIFE_S = 50.0

priorities = st.one_of(st.just(0.0), st.floats(0.0, 10.0), st.floats(1e-300, 1e300))
bad_priorities = st.sampled_from([float("nan"), float("inf"), -1.0])


def made(name: str, priority: float, timestamp: float, segment: str | None, user: str | None, query: str) -> Experience:
    return Experience(name, timestamp, query, [], [], {}, {}, 0.25, priority, segment=segment, user=user)


experiences = st.builds(
    made,
    st.sampled_from(NAMES),
    priorities,
    st.floats(0.0, 1e5),
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, "u1", "u2"]),
    st.sampled_from(["", "x" * 300]),
)


class AgainstAList(RuleBasedStateMachine):
    """The model is a list of (seq, experience), oldest first."""

    @initialize(
        capacity=st.integers(1, 9),
        max_bytes=st.sampled_from([None, 3000, 9000]),
        alpha=st.sampled_from([0.0, 0.6, 1.0]),
    )
    def begin(self, capacity: int, max_bytes: int | None, alpha: float) -> None:
        self.buffer = ReplayBuffer(capacity, alpha=alpha, half_life_s=HALF_LIFE_S, max_bytes=max_bytes, seed=0)
        self.model: list[tuple[int, Experience]] = []
        self.next_seq = 1
        self.departed: list[int] = []

    def position(self, name: str) -> int | None:
        return next((i for i, (_, item) in enumerate(self.model) if item.event_id == name), None)

    def change(self, i: int, **changed: object) -> None:
        seq, item = self.model[i]
        self.model[i] = (seq, replace(item, **changed))  # type: ignore[arg-type]

    @rule(item=experiences)
    def add(self, item: Experience) -> None:
        at = self.position(item.event_id)
        evicted: list[int] = []
        if at is None:
            if len(self.model) == self.buffer.capacity:
                evicted.append(self.model.pop(0)[0])
            seq = self.next_seq
            self.next_seq += 1
            self.model.append((seq, item))
        else:
            seq = self.model[at][0]
            self.model[at] = (seq, item)
        limit = self.buffer.max_bytes
        while limit is not None and sum(experience_bytes(kept) for _, kept in self.model) > limit:
            oldest = next(i for i, (other, _) in enumerate(self.model) if other != seq)
            evicted.append(self.model.pop(oldest)[0])
        assert self.buffer.extend([item]) == evicted
        self.departed += evicted

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        at = self.position(name)
        assert self.buffer.remove(name) == (at is not None)
        if at is not None:
            self.departed.append(self.model.pop(at)[0])

    @rule(user=st.sampled_from(["u1", "u2", "u3"]))
    def remove_user(self, user: str) -> None:
        gone = [seq for seq, item in self.model if item.user == user]
        assert self.buffer.remove_user(user) == len(gone)
        self.model = [(seq, item) for seq, item in self.model if seq not in gone]
        self.departed += gone

    @rule()
    def clear(self) -> None:
        self.buffer.clear()
        self.departed += [seq for seq, _ in self.model]
        self.model = []

    @rule(changes=st.lists(st.tuples(st.sampled_from(NAMES), st.one_of(priorities, bad_priorities)), max_size=6))
    def update_by_id(self, changes: list[tuple[str, float]]) -> None:
        counts = {"updated": 0, "stale": 0, "rejected": 0}
        for name, priority in changes:
            at = self.position(name)
            if not 0.0 <= priority < float("inf"):
                counts["rejected"] += 1
            elif at is None:
                counts["stale"] += 1
            else:
                counts["updated"] += 1
                self.change(at, priority=priority)
        result = self.buffer.update_priorities([name for name, _ in changes], [p for _, p in changes])
        assert result == UpdateResult(**counts)

    @rule(pick=st.integers(0, 30), priority=priorities)
    def update_by_seq(self, pick: int, priority: float) -> None:
        live = [seq for seq, _ in self.model]
        seqs = [*live, *self.departed[-20:], self.next_seq]
        seq = seqs[pick % len(seqs)]
        is_live = seq in live
        assert self.buffer.update_priorities(np.array([seq]), [priority]) == UpdateResult(is_live, not is_live, 0)
        if is_live:
            self.change(live.index(seq), priority=priority)

    @rule(name=st.sampled_from(NAMES), reward=st.floats(-1, 1), version=st.integers(0, 5))
    def update_reward(self, name: str, reward: float, version: int) -> None:
        at = self.position(name)
        is_newer = at is not None and version > self.model[at][1].version
        assert self.buffer.update_reward(name, reward, version=version) == UpdateResult(is_newer, not is_newer, 0)
        if at is not None and is_newer:
            self.change(at, reward=reward, version=version)

    @rule()
    def save_and_restore(self) -> None:
        self.buffer = ReplayBuffer.from_state(self.buffer.to_state())

    @precondition(lambda self: bool(self.model))
    @rule(strategy=st.sampled_from(STRATEGIES), n_drawn=st.integers(1, 20))
    def sample(self, strategy: Strategy, n_drawn: int) -> None:
        batch = self.buffer.sample(n_drawn, strategy=strategy, columns=["priority"])
        live = dict(self.model)
        assert [live[seq] for seq in batch.seqs.tolist()] == batch.experiences
        law = self.law(strategy)
        expected = [law[seq] for seq in batch.seqs.tolist()]
        assert batch.sampling_probabilities == pytest.approx(expected, rel=1e-9)
        assert batch.sampling_weights.mean() == pytest.approx(1.0)

    def law(self, strategy: str) -> dict[int, float]:
        """P by definition, from the model alone."""
        seqs = [seq for seq, _ in self.model]
        newest = max(item.timestamp for _, item in self.model)
        recency = np.array([2.0 ** ((item.timestamp - newest) / HALF_LIFE_S) for _, item in self.model])
        raw = np.array([item.priority for _, item in self.model])
        if strategy == "recency":
            masses = recency
        elif strategy == "priority" and raw.any():
            masses = np.where(raw > 0, (raw / raw.max()) ** self.buffer.alpha, 0.0)
        elif strategy == "rank" and raw.any():
            # among equal priorities the order is the buffer's own business: compare those with one rank only
            law = self.buffer._laws._sampler("rank").masses()
            masses = np.array([law[self.buffer._ring.slot_of(seq)] for seq in seqs])
            ranks = np.arange(1, np.count_nonzero(raw) + 1) ** -self.buffer.alpha
            assert sorted(masses[masses > 0], reverse=True) == pytest.approx(ranks)
            assert all(masses[i] >= masses[j] for i in range(raw.size) for j in range(raw.size) if raw[i] > raw[j])
        elif strategy == "stratified":
            segments = [item.segment for _, item in self.model]
            masses = np.zeros(len(seqs))
            for segment in set(segments):
                inside = np.array([name == segment for name in segments])
                young = max(item.timestamp for _, item in self.model if item.segment == segment)
                within = np.array([2.0 ** ((item.timestamp - young) / HALF_LIFE_S) for _, item in self.model]) * inside
                masses += within / within.sum()
        else:
            masses = np.ones(len(seqs))
        return dict(zip(seqs, (masses / masses.sum()).tolist(), strict=True))

    @invariant()
    def says_the_same_as_the_list(self) -> None:
        if not hasattr(self, "model"):
            return
        assert self.buffer.seqs().tolist() == [seq for seq, _ in self.model]
        assert list(self.buffer) == [item for _, item in self.model]
        assert self.buffer.n_bytes == sum(experience_bytes(item) for _, item in self.model)
        assert self.buffer.size() <= self.buffer.capacity


TestAgainstAList = AgainstAList.TestCase
TestAgainstAList.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(
    masses=st.lists(st.one_of(st.just(0.0), st.floats(0.0, 1e200)), min_size=1, max_size=60).filter(any),
    updates=st.lists(st.tuples(st.integers(0, 59), st.floats(0.0, 1e200)), max_size=30),
    shares=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20),
)
def test_a_tree_never_finds_what_has_no_mass(
    masses: list[float], updates: list[tuple[int, float]], shares: list[float]
) -> None:
    tree = SumTree(60)
    current = np.zeros(60)
    current[: len(masses)] = masses
    tree.fill(current)
    for i, mass in updates:
        current[i] = mass
        tree.set(np.array([i]), np.array([mass]))
    fresh = SumTree(60)
    fresh.fill(current)
    assert tree.total == fresh.total
    if tree.total > 0.0:
        found = tree.find(np.array(shares) * tree.total)
        assert (current[found] > 0.0).all()


@given(
    masses=st.lists(st.one_of(st.just(0.0), st.floats(1e-100, 1e100)), min_size=1, max_size=50).filter(any),
    share=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**32),
)
def test_a_systematic_sample_is_distinct_and_of_its_size(masses: list[float], share: float, seed: int) -> None:
    array = np.array(masses)
    n_drawn = max(1, round(share * np.count_nonzero(array)))
    inclusion = inclusion_probabilities(array, n_drawn)
    assert inclusion.sum() == pytest.approx(n_drawn, rel=1e-9)
    drawn = systematic_sample(inclusion, n_drawn, np.random.default_rng(seed))
    assert np.unique(drawn).size == drawn.size == n_drawn
    assert (array[drawn] > 0.0).all()
