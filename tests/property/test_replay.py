"""The buffer against a list: whatever is done to it, in whatever order, both say the same."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dwell.records import ColumnSpec, Experience, UpdateResult
from dwell.replay import ReplayBuffer, Strategy
from dwell.replay.bounds import Quotas
from dwell.replay.draws import draw_capped
from dwell.replay.size_estimate import experience_bytes, index_bytes
from dwell.replay.sum_tree import SumTree

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


SPEC = ColumnSpec({"mark": ((2,), np.dtype("f4"))})


def mark_of(item: Experience) -> np.ndarray:
    """What the packed row of an experience holds: its timestamp and the length of its query."""
    return np.array([item.timestamp, len(item.query)], dtype=np.float32)


def index_of(item: Experience) -> dict[str, Any]:
    names = ("event_id", "timestamp", "priority", "reward", "user", "segment")
    return {name: getattr(item, name) for name in names}


def seen(item: Experience) -> tuple[object, ...]:
    """What the buffer knows of an experience, whatever keeps its row."""
    return (*index_of(item).values(), item.version)


def capped(law: dict[int, float], n_drawn: int, cap: int) -> dict[int, float]:
    """Expected number of times in the batch: min(cap, lambda * p)."""
    certain: set[int] = set()
    while True:
        rest = sum(p for seq, p in law.items() if seq not in certain)
        n_open = n_drawn - cap * len(certain)
        counts = {seq: float(cap) if seq in certain else n_open * p / rest if rest else 0.0 for seq, p in law.items()}
        more = {seq for seq, count in counts.items() if count > cap * (1 + 1e-12)}
        if not more:
            return counts
        certain |= more


class AgainstAList(RuleBasedStateMachine):
    """The model is a list of (seq, experience), oldest first."""

    @initialize(
        capacity=st.integers(1, 9),
        max_bytes=st.sampled_from([None, 3000, 9000]),
        alpha=st.sampled_from([0.0, 0.6, 1.0]),
        quotas=st.sampled_from([None, None, "equal", {"a": 0.4, None: 0.3}]),
        max_age_s=st.sampled_from([None, None, 3e4]),
        is_packed=st.booleans(),
    )
    def begin(
        self,
        capacity: int,
        max_bytes: int | None,
        alpha: float,
        quotas: Quotas | None,
        max_age_s: float | None,
        is_packed: bool,  # noqa: FBT001 - drawn by name
    ) -> None:
        self.spec = SPEC if is_packed else None
        self.quotas, self.max_age_s = quotas, max_age_s
        self.newest = 0.0
        self.buffer = ReplayBuffer(
            capacity,
            alpha=alpha,
            half_life_s=HALF_LIFE_S,
            max_bytes=max_bytes,
            seed=0,
            segment_quotas=quotas,
            max_age_s=max_age_s,
            columns=self.spec,
        )
        self.model: list[tuple[int, Experience]] = []
        self.next_seq = 1
        self.departed: list[int] = []

    def position(self, name: str) -> int | None:
        return next((i for i, (_, item) in enumerate(self.model) if item.event_id == name), None)

    def change(self, i: int, **changed: object) -> None:
        seq, item = self.model[i]
        self.model[i] = (seq, replace(item, **changed))  # type: ignore[arg-type]

    def n_bytes_of(self, item: Experience) -> int:
        if self.spec is None:
            return experience_bytes(item)
        return index_bytes(item.event_id, item.user, item.segment) + 8  # two float32

    def victim(self, segment: str | None, but: int | None) -> int:
        """The place of who leaves next: the oldest of the segment furthest above its quota."""
        others = [i for i, (seq, _) in enumerate(self.model) if seq != but]
        if self.quotas is None:
            return others[0]
        counts = Counter(item.segment for _, item in self.model)
        if but is None:
            counts[segment] += 1
        quotas = self.quotas
        share = {name: 1 / len(counts) if isinstance(quotas, str) else quotas.get(name, 0.0) for name in counts}
        excess = {name: counts[name] - share[name] * self.buffer.capacity for name in counts}
        # rounding of a share does not decide between equals: the name does
        order = sorted(counts, key=lambda name: (-round(excess[name], 9), name is not None, name or ""))
        return next(i for name in order for i in others if self.model[i][1].segment == name)

    def model_add(self, item: Experience) -> list[int]:
        at = self.position(item.event_id)
        evicted: list[int] = []
        if at is None and self.max_age_s is not None and item.timestamp < self.newest - self.max_age_s:
            self.next_seq += 1
            self.departed.append(self.next_seq - 1)
            return [self.next_seq - 1]
        if at is None:
            if len(self.model) == self.buffer.capacity:
                evicted.append(self.model.pop(self.victim(item.segment, None))[0])
            seq = self.next_seq
            self.next_seq += 1
            self.model.append((seq, item))
        else:
            seq = self.model[at][0]
            self.model[at] = (seq, item)
        if self.max_age_s is not None:
            self.newest = max(self.newest, item.timestamp)
            old = [(kept.timestamp, i) for i, kept in self.model if kept.timestamp < self.newest - self.max_age_s]
            evicted += [i for _, i in sorted(old)]
            self.model = [(i, kept) for i, kept in self.model if i not in evicted]
        limit = self.buffer.max_bytes
        while limit is not None and sum(self.n_bytes_of(kept) for _, kept in self.model) > limit:
            evicted.append(self.model.pop(self.victim(item.segment, seq))[0])
        self.departed += evicted
        return evicted

    @rule(item=experiences)
    def add(self, item: Experience) -> None:
        expected = self.model_add(item)
        if self.spec is None:
            assert self.buffer.extend([item]) == expected
        else:
            assert self.buffer.add_packed(columns={"mark": mark_of(item)}, **index_of(item)) == expected

    @rule(items=st.lists(experiences, min_size=1, max_size=14))
    def add_many(self, items: list[Experience]) -> None:
        expected = [seq for item in items for seq in self.model_add(item)]
        if self.spec is None:
            assert self.buffer.extend(items) == expected
            return
        rows = [index_of(item) for item in items]
        found = self.buffer.extend_columns(
            [row["event_id"] for row in rows],
            timestamps=[row["timestamp"] for row in rows],
            columns={"mark": np.array([mark_of(item) for item in items])},
            priorities=[row["priority"] for row in rows],
            rewards=0.25,
            users=None if all(row["user"] is None for row in rows) else [row["user"] for row in rows],
            segments=None if all(row["segment"] is None for row in rows) else [row["segment"] for row in rows],
        )
        assert found == expected

    @rule(limit=st.floats(0.0, 1e5))
    def evict_before(self, limit: float) -> None:
        gone = [seq for seq, item in self.model if item.timestamp < limit]
        assert sorted(self.buffer.evict_before(limit)) == gone
        self.model = [(seq, item) for seq, item in self.model if seq not in gone]
        self.departed += gone

    @rule(alpha=st.sampled_from([0.0, 0.6, 1.0]))
    def change_alpha(self, alpha: float) -> None:
        self.buffer.alpha = alpha

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
        self.newest = 0.0

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
        self.buffer = ReplayBuffer.from_state(self.buffer.to_state(), columns=self.spec)

    @precondition(lambda self: bool(self.model))
    @rule(strategy=st.sampled_from(STRATEGIES), n_drawn=st.integers(1, 20))
    def sample(self, strategy: Strategy, n_drawn: int) -> None:
        batch = self.buffer.sample(n_drawn, strategy=strategy, columns=["priority"])
        live = dict(self.model)
        assert [seen(live[seq]) for seq in batch.seqs.tolist()] == [seen(item) for item in batch.experiences]
        assert batch.columns["priority"].tolist() == [live[seq].priority for seq in batch.seqs.tolist()]
        law = self.law(strategy)
        expected = [law[seq] for seq in batch.seqs.tolist()]
        assert batch.sampling_probabilities == pytest.approx(expected, rel=1e-9)
        assert batch.sampling_weights.mean() == pytest.approx(1.0)

    @precondition(lambda self: bool(self.model))
    @rule(strategy=st.sampled_from(STRATEGIES), n_drawn=st.integers(1, 20), cap=st.integers(1, 3))
    def sample_capped(self, strategy: Strategy, n_drawn: int, cap: int) -> None:
        law = self.law(strategy)
        # an experience 1,022 half-lives older than the newest has no mass that a float64 could hold
        n_possible = cap * sum(p > 1e-290 for p in law.values())
        if n_drawn > n_possible:
            return
        batch = self.buffer.sample(n_drawn, strategy=strategy, max_repeats=cap)
        counts = Counter(batch.seqs.tolist())
        assert sum(counts.values()) == n_drawn
        assert max(counts.values()) <= cap
        expected = capped(law, n_drawn, cap)
        shares = [expected[seq] / n_drawn for seq in batch.seqs.tolist()]
        assert batch.sampling_probabilities == pytest.approx(shares, rel=1e-9)

    @rule()
    def highest(self) -> None:
        assert self.buffer.max_priority() == (max((item.priority for _, item in self.model), default=0.0) or 1.0)
        assert self.buffer.segment_counts() == Counter(item.segment for _, item in self.model)

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
            # equals share the mean of the masses of their ranks
            masses = np.zeros(raw.size)
            for i, priority in enumerate(raw):
                first = 1 + np.count_nonzero(raw > priority)
                ranks = np.arange(first, first + np.count_nonzero(raw == priority))
                masses[i] = (ranks**-self.buffer.alpha).mean() * (priority > 0.0)
        elif strategy == "stratified":
            segments = [item.segment for _, item in self.model]
            masses = np.zeros(len(seqs))
            for segment in set(segments):
                inside = np.array([name == segment for name in segments])
                young = max(item.timestamp for _, item in self.model if item.segment == segment)
                ages = [
                    min(item.timestamp - young, 0.0) for _, item in self.model
                ]  # younger ones are of other segments
                within = 2.0 ** (np.array(ages) / HALF_LIFE_S) * inside
                masses += within / within.sum()
        else:
            masses = np.ones(len(seqs))
        return dict(zip(seqs, (masses / masses.sum()).tolist(), strict=True))

    @invariant()
    def says_the_same_as_the_list(self) -> None:
        if not hasattr(self, "model"):
            return
        assert self.buffer.seqs().tolist() == [seq for seq, _ in self.model]
        assert [seen(item) for item in self.buffer] == [seen(item) for _, item in self.model]
        if self.spec is None:
            assert list(self.buffer) == [item for _, item in self.model]
        elif self.model:
            batch = self.buffer.sample(len(self.model), replace=False, columns=["mark"], rng=np.random.default_rng(0))
            live = dict(self.model)
            assert batch.columns["mark"].tolist() == [mark_of(live[seq]).tolist() for seq in batch.seqs.tolist()]
        assert self.buffer.n_bytes == sum(self.n_bytes_of(item) for _, item in self.model)
        assert self.buffer.size() <= self.buffer.capacity


TestAgainstAList = AgainstAList.TestCase
TestAgainstAList.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


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
    cap=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_a_capped_draw_is_of_its_size_and_leaves_the_line_as_it_was(
    masses: list[float], share: float, cap: int, seed: int
) -> None:
    array = np.array(masses)
    tree = SumTree(array.size)
    tree.fill(array)
    n_drawn = max(1, round(share * cap * np.count_nonzero(array)))
    drawn = draw_capped(tree, n_drawn, cap, np.random.default_rng(seed))
    counts = np.bincount(drawn.slots, minlength=array.size)
    assert counts.sum() == n_drawn
    assert counts.max() <= cap
    assert (array[drawn.slots] > 0.0).all()
    assert tree.masses(np.arange(array.size)).tobytes() == array.tobytes()
