import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dwell.errors import ConfigError, NotEnoughExperienceError, RecordError, ReplayError
from dwell.records import ColumnSpec, Experience, UpdateResult
from dwell.replay import ReplayBuffer

Make = Callable[..., Experience]


class RowSource:
    """Rows kept elsewhere: experiences by seq, and one column."""

    def __init__(self, experiences: dict[int, Experience]) -> None:
        self.experiences = experiences

    @property
    def names(self) -> tuple[str, ...]:
        return ("double",)

    def read(self, seqs: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        return dict.fromkeys(names, 2 * seqs)

    def experience(self, seq: int) -> Experience:
        return self.experiences[seq]


def ids(buffer: ReplayBuffer) -> list[str]:
    return [item.event_id for item in buffer]


# ---- what is kept


def test_the_oldest_leaves_when_full(experience: Make) -> None:
    buffer = ReplayBuffer(3)
    for i in range(8):
        buffer.add(experience(f"e{i}"))
        assert buffer.size() == len(buffer) == min(i + 1, 3)
    assert ids(buffer) == ["e5", "e6", "e7"]
    assert buffer.capacity == 3
    assert "e5" in buffer
    assert "e4" not in buffer


def test_room_made_by_a_removal_is_used_before_anybody_is_evicted(experience: Make) -> None:
    buffer = ReplayBuffer(3)
    buffer.extend(experience(f"e{i}") for i in range(3))
    assert buffer.remove("e1") is True
    assert buffer.remove("e1") is False
    assert buffer.extend([experience("e3")]) == []
    assert ids(buffer) == ["e0", "e2", "e3"]
    assert buffer.extend([experience("e4")]) == [1]  # e0 was the first, its seq is 1


def test_extend_returns_who_left_even_of_those_it_brought(experience: Make) -> None:
    buffer = ReplayBuffer(2)
    assert buffer.extend(experience(f"e{i}") for i in range(5)) == [1, 2, 3]


def test_add_keeps_a_sealed_copy_with_the_priority_as_it_is(experience: Make) -> None:
    buffer = ReplayBuffer(2)
    mine = experience(priority=0.1 + 0.2)
    buffer.add(mine)
    mine.priority = 7.0
    kept = buffer.get("e1")
    assert kept is not None
    assert kept.priority == 0.1 + 0.2
    with pytest.raises(AttributeError, match="update_priorities"):
        kept.priority = 1.0
    assert kept == experience(priority=0.1 + 0.2)


def test_a_known_id_is_replaced_in_place(experience: Make) -> None:
    buffer = ReplayBuffer(2)
    buffer.extend([experience("e0"), experience("e1")])
    seqs = buffer.seqs().tolist()
    buffer.add(experience("e0", reward=-1.0, priority=9.0, user="u2", segment="s2"))
    assert ids(buffer) == ["e0", "e1"]
    assert buffer.seqs().tolist() == seqs
    kept = buffer.get("e0")
    assert kept is not None
    assert (kept.reward, kept.priority) == (-1.0, 9.0)
    assert buffer.remove_user("u2") == 1
    assert buffer.segment_counts() == {None: 1}


def test_get_knows_ids_and_seqs_and_answers_none_for_strangers(experience: Make) -> None:
    buffer = ReplayBuffer(2)
    buffer.add(experience())
    assert buffer.get("e1") == buffer.get(1) == experience()
    assert buffer.get("e2") is None
    assert buffer.get(2) is None


def test_a_seq_is_never_used_again(experience: Make) -> None:
    buffer = ReplayBuffer(2)
    buffer.add(experience("e0"))
    buffer.clear()
    assert (buffer.size(), list(buffer.buffer)) == (0, [])
    buffer.add(experience("e0"))
    assert buffer.seqs().tolist() == [2]


def test_remove_user_takes_all_of_one_user_and_nobody_else(experience: Make) -> None:
    buffer = ReplayBuffer(20)
    buffer.extend(experience(f"e{i}", user=["u0", "u1", None][i % 3]) for i in range(20))
    assert buffer.remove_user("u0") == 7
    assert ids(buffer) == [f"e{i}" for i in range(20) if i % 3]
    assert buffer.remove_user("u0") == 0


def test_bytes_are_bounded_and_exact_after_an_overwrite(experience: Make) -> None:
    one = ReplayBuffer(1)
    one.add(experience("e0"))
    size = one.n_bytes
    buffer = ReplayBuffer(100, max_bytes=3 * size)
    for i in range(9):
        buffer.add(experience(f"e{i}"))
        assert buffer.n_bytes == min(i + 1, 3) * size
    buffer.add(experience("e7", query="reset 2fa" + "x" * size))  # an overwrite that grows by exactly one size
    assert ids(buffer) == ["e7", "e8"]
    assert buffer.n_bytes == 3 * size
    buffer.add(experience("e7"))
    assert buffer.n_bytes == 2 * size
    buffer.clear()
    assert buffer.n_bytes == 0


def test_an_overwrite_that_needs_room_evicts_the_others_not_itself(experience: Make) -> None:
    size = _size_of(experience("e0"))
    buffer = ReplayBuffer(100, max_bytes=2 * size)
    buffer.extend([experience("e0"), experience("e1")])
    assert buffer.extend([experience("e0", query="reset 2fa" + "x" * size)]) == [2]
    assert ids(buffer) == ["e0"]


def _size_of(item: Experience) -> int:
    buffer = ReplayBuffer(1)
    buffer.add(item)
    return buffer.n_bytes


def test_what_is_larger_than_the_buffer_is_refused(experience: Make) -> None:
    size = _size_of(experience("e0"))
    buffer = ReplayBuffer(100, max_bytes=size)
    buffer.add(experience("e0"))
    with pytest.raises(ReplayError, match="max_bytes"):
        buffer.add(experience("e1", query="reset 2fa!"))
    assert ids(buffer) == ["e0"]


# ---- the seed's draws


def test_sample_uniform_is_distinct_and_at_most_all(experience: Make) -> None:
    buffer = ReplayBuffer(50, seed=0)
    buffer.extend(experience(f"e{i}") for i in range(10))
    drawn = [item.event_id for item in buffer.sample_uniform(7)]
    assert len(set(drawn)) == 7
    assert {item.event_id for item in buffer.sample_uniform(10**12)} == set(ids(buffer))


def test_sample_priority_repeats_and_is_at_most_as_many_as_kept(experience: Make) -> None:
    buffer = ReplayBuffer(50, seed=0)
    buffer.extend(experience(f"e{i}", priority=float(i == 3)) for i in range(10))
    assert [item.event_id for item in buffer.sample_priority(64)] == ["e3"] * 10


def test_the_seeds_draws_from_an_empty_buffer_are_empty() -> None:
    buffer = ReplayBuffer(5)
    assert buffer.sample_uniform(3) == buffer.sample_priority(3) == []
    assert buffer.sample_uniform(0) == []


# ---- batches


@pytest.mark.parametrize("strategy", ["uniform", "priority", "rank", "recency", "stratified"])
@pytest.mark.parametrize("repeats", ["repeats", "distinct"])
def test_a_batch_speaks_of_the_same_experiences_in_all_its_parts(experience: Make, strategy: str, repeats: str) -> None:
    replace_ = repeats == "repeats"
    buffer = ReplayBuffer(40, seed=1, half_life_s=60.0)
    for i in range(100):
        buffer.add(experience(f"e{i}", priority=1.0 + i % 5, timestamp=1e9 + i, segment=f"s{i % 4}", reward=i / 100))
    batch = buffer.sample(24, strategy=strategy, replace=replace_, columns=["reward", "seq", "query_embedding"])  # type: ignore[arg-type]
    assert len(batch) == 24
    assert batch.seqs.dtype == np.int64
    assert [item.event_id for item in batch.experiences] == batch.event_ids
    assert batch.columns["reward"].tolist() == [item.reward for item in batch.experiences]
    assert batch.columns["seq"].tolist() == batch.seqs.tolist()
    assert list(batch.columns) == ["reward", "seq", "query_embedding"]
    assert batch.columns["query_embedding"].shape == (24, 2)
    assert [buffer.get(seq).event_id for seq in batch.seqs.tolist()] == batch.event_ids  # type: ignore[union-attr]
    assert batch.sampling_weights.mean() == pytest.approx(1.0, rel=1e-12)
    assert (batch.sampling_probabilities > 0.0).all()
    assert (batch.sampling_probabilities <= 1.0).all()
    assert replace_ or len(set(batch.event_ids)) == 24


def test_the_weights_correct_priorities_towards_uniform(experience: Make) -> None:
    buffer = ReplayBuffer(10, alpha=1.0, seed=0)
    buffer.extend([experience("e0", priority=1.0), experience("e1", priority=3.0)])
    batch = buffer.sample(100, strategy="priority")
    p = np.array([0.25 if name == "e0" else 0.75 for name in batch.event_ids])
    assert batch.sampling_probabilities == pytest.approx(p, rel=1e-12)
    assert batch.sampling_weights == pytest.approx((1 / p) / (1 / p).mean(), rel=1e-12)
    assert buffer.sample(100, strategy="priority", beta=0.0).sampling_weights.tolist() == [1.0] * 100


def test_a_decay_is_applied_once_whatever_draws(experience: Make) -> None:
    half_life_s = 3600.0
    buffer = ReplayBuffer(10, half_life_s=half_life_s, seed=0)
    for i in range(4):
        buffer.add(experience(f"e{i}", timestamp=1e9 + i * half_life_s))
    target = {f"e{i}": 2.0**i / 15 for i in range(4)}
    by_law = buffer.sample(200, strategy="recency")
    assert by_law.sampling_probabilities == pytest.approx([target[name] for name in by_law.event_ids], rel=1e-9)
    assert by_law.sampling_weights.tolist() == [1.0] * 200
    for strategy in ("uniform", "priority", "stratified"):
        by_weight = buffer.sample(200, strategy=strategy)  # type: ignore[arg-type]
        ratio = np.array([target[name] for name in by_weight.event_ids]) / by_weight.sampling_probabilities
        assert by_weight.sampling_weights == pytest.approx(ratio / ratio.mean(), rel=1e-9)


def test_now_has_no_effect_but_is_checked(experience: Make) -> None:
    def drawn(now: float | None) -> list[str]:
        buffer = ReplayBuffer(10, half_life_s=60.0, seed=4)
        buffer.extend(experience(f"e{i}", timestamp=1e9 + 30 * i) for i in range(10))
        return buffer.sample(20, strategy="recency", now=now).event_ids

    assert drawn(None) == drawn(1e9) == drawn(5e9)
    with pytest.raises(RecordError, match="now"):
        drawn(float("nan"))


def test_the_seed_decides_and_a_callers_generator_leaves_it_alone(experience: Make) -> None:
    def made() -> ReplayBuffer:
        buffer = ReplayBuffer(10, seed=9)
        buffer.extend(experience(f"e{i}") for i in range(10))
        return buffer

    one, two = made(), made()
    one.sample(5, rng=np.random.default_rng(1))
    assert one.sample(50).event_ids == two.sample(50).event_ids
    left, right = (made().sample(50, rng=np.random.default_rng(3)).event_ids for _ in range(2))
    assert left == right


def test_an_experience_that_left_is_reported_when_a_batch_is_read(experience: Make) -> None:
    buffer = ReplayBuffer(1)
    buffer.add(experience("e0"))
    batch = buffer.sample(1)
    buffer.add(experience("e1"))
    for read in ("event_ids", "experiences"):
        with pytest.raises(ReplayError, match="has left"):
            getattr(batch, read)
    assert buffer.update_priorities(batch.seqs, [5.0]) == UpdateResult(0, 1, 0)
    assert buffer.get("e1").priority == 1.0  # type: ignore[union-attr]


# ---- changes


def test_a_changed_priority_is_stored_raw_and_seen_by_every_reader(experience: Make) -> None:
    buffer = ReplayBuffer(5, alpha=0.5, seed=0)
    buffer.extend(experience(f"e{i}") for i in range(3))
    buffer.sample(1, strategy="priority")
    assert buffer.update_priorities(["e0", "e2"], [0.0, 4.0]) == UpdateResult(2, 0, 0)
    assert [item.priority for item in buffer] == buffer.priorities().tolist() == [0.0, 1.0, 4.0]
    batch = buffer.sample(300, strategy="priority", columns=["priority"])
    assert batch.sampling_probabilities == pytest.approx(batch.columns["priority"] ** 0.5 / 3, rel=1e-12)
    assert set(batch.event_ids) == {"e1", "e2"}


def test_what_was_read_before_an_update_is_not_altered_by_it(experience: Make) -> None:
    buffer = ReplayBuffer(5)
    buffer.add(experience())
    before = buffer.get("e1")
    buffer.update_priorities(["e1"], [3.0])
    assert before is not None
    assert before.priority == 1.0


def test_a_reward_is_swapped_only_by_a_newer_version(experience: Make) -> None:
    buffer = ReplayBuffer(5)
    buffer.add(experience(version=2))
    for version, reward, expected in ((2, 0.1, (0, 1, 0)), (4, 0.4, (1, 0, 0)), (3, 0.3, (0, 1, 0))):
        assert buffer.update_reward("e1", reward, version=version) == UpdateResult(*expected)
    kept = buffer.get("e1")
    assert kept is not None
    assert (kept.reward, kept.version, kept.priority) == (0.4, 4, 1.0)
    assert buffer.update_reward("e1", 1.5, version=9) == UpdateResult(0, 0, 1)
    assert buffer.update_reward("gone", 0.5, version=9) == UpdateResult(0, 1, 0)
    assert buffer.update_reward(1, 0.5, version=9) == UpdateResult(1, 0, 0)


# ---- rows


def spec() -> ColumnSpec:
    return ColumnSpec({"query_embedding": ((3,), np.dtype(np.float32)), "reward": ((), np.dtype(np.float32))})


def test_packed_rows_pad_and_return_all_columns_unasked(experience: Make) -> None:
    buffer = ReplayBuffer(3, columns=spec(), seed=0)
    buffer.extend(experience(f"e{i}", query_embedding=[float(i), 0.5], reward=0.25, user="u1") for i in range(5))
    batch = buffer.sample(20)
    assert set(batch.columns) == {"query_embedding", "reward"}
    assert batch.columns["query_embedding"].dtype == batch.columns["reward"].dtype == np.float32
    expected = [[float(name[1:]), 0.5, 0.0] for name in batch.event_ids]
    assert batch.columns["query_embedding"].tolist() == expected
    buffer.update_reward("e4", -0.5, version=1)
    columns = buffer.sample(3, replace=False, columns=["reward", "seq"]).columns
    assert dict(zip(columns["seq"].tolist(), columns["reward"].tolist(), strict=True)) == {3: 0.25, 4: 0.25, 5: -0.5}
    kept = buffer.get("e3")
    assert kept is not None
    assert (kept.query_embedding, kept.reward, kept.user, kept.seq) == ([3.0, 0.5, 0.0], 0.25, "u1", 4)
    assert not kept.results_served


def test_packed_rows_survive_removals(experience: Make) -> None:
    buffer = ReplayBuffer(2000, columns=spec())
    buffer.extend(experience(f"e{i}", query_embedding=[float(i)]) for i in range(2000))
    for i in range(0, 2000, 3):
        buffer.remove(f"e{i}")
    batch = buffer.sample(1000, columns=["query_embedding"])
    assert batch.columns["query_embedding"][:, 0].tolist() == [float(name[1:]) for name in batch.event_ids]


def test_a_list_that_is_too_long_is_refused_by_name_and_changes_nothing(experience: Make) -> None:
    buffer = ReplayBuffer(3, columns=spec())
    with pytest.raises(ReplayError, match="query_embedding"):
        buffer.extend([experience("e0"), experience("e1", query_embedding=[1.0] * 4)])
    assert buffer.size() == 0


def test_rows_elsewhere_are_found_by_seq_in_any_order_of_seqs(experience: Make) -> None:
    stored = {seq: experience(f"e{seq}", seq=seq) for seq in (70, 3, 500, 9)}
    buffer = ReplayBuffer(3, columns=RowSource(stored), seed=0)
    for seq in (70, 3):
        buffer.add(stored[seq])
    assert buffer.add_row(event_id="e500", seq=500, timestamp=1e9, priority=2.0) == []
    assert buffer.add_row(event_id="e9", seq=9, timestamp=1e9, segment="s", user="u") == [70]
    assert buffer.seqs().tolist() == [3, 500, 9]
    batch = buffer.sample(30, columns=["double", "priority"])
    assert batch.columns["double"].tolist() == (2 * batch.seqs).tolist()
    assert batch.event_ids == [f"e{seq}" for seq in batch.seqs.tolist()]
    assert batch.columns["priority"].tolist() == [2.0 if seq == 500 else 1.0 for seq in batch.seqs.tolist()]
    assert buffer.get("e500") == replace(stored[500], priority=2.0, reward=0.0)
    assert buffer.update_priorities(np.array([70, 3]), [5.0, 6.0]) == UpdateResult(1, 1, 0)
    assert buffer.remove_user("u") == 1


def test_one_event_has_one_seq(experience: Make) -> None:
    buffer = ReplayBuffer(3, columns=RowSource({}))
    buffer.add_row(event_id="a", seq=1, timestamp=0.0)
    buffer.add_row(event_id="a", seq=1, timestamp=5.0)  # the same again: replaced
    for event_id, seq in (("a", 2), ("b", 1)):
        with pytest.raises(ReplayError, match="one seq"):
            buffer.add_row(event_id=event_id, seq=seq, timestamp=0.0)
    with pytest.raises(ReplayError, match="seq"):
        buffer.add(experience(seq=0))
    with pytest.raises(ReplayError, match="one seq"):
        buffer.extend([experience("c", seq=7), experience("d", seq=7)])
    assert buffer.seqs().tolist() == [1]


def test_only_rows_elsewhere_are_indexed_without_an_experience() -> None:
    with pytest.raises(ReplayError, match="own rows"):
        ReplayBuffer(3).add_row(event_id="a", seq=1, timestamp=0.0)


# ---- refusals


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("capacity", 0),
        ("capacity", -1),
        ("capacity", 2.0),
        ("capacity", True),
        ("capacity", 2**31 + 1),
        ("alpha", -0.1),
        ("alpha", float("nan")),
        ("alpha", 17),
        ("alpha", "0.6"),
        ("half_life_s", 0.0),
        ("half_life_s", -5.0),
        ("half_life_s", float("inf")),
        ("max_bytes", 0),
        ("max_bytes", 1.5),
        ("seed", -1),
        ("seed", 0.5),
        ("columns", {"reward": ((), "f8")}),
        ("columns", ColumnSpec({"non sense": ((), np.dtype("f8"))})),
        ("columns", ColumnSpec({"_hidden": ((), np.dtype("f8"))})),
        ("max_age_s", -1.0),
        ("max_age_s", float("nan")),
        ("segment_quotas", 0.5),
        ("segment_quotas", {"a": 1.5}),
        ("segment_quotas", {"a": 0.7, "b": 0.7}),
        ("engine", "magic"),
        ("columns", ColumnSpec({"user": ((), np.dtype("f8"))})),
        ("columns", ColumnSpec({"reward": ((2,), np.dtype("f8"))})),
        ("columns", ColumnSpec({"query_embedding": ((0,), np.dtype("f8"))})),
        ("columns", ColumnSpec({"query_embedding": ((2,), np.dtype("U4"))})),
    ],
)
def test_a_constructor_argument_out_of_range_is_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        ReplayBuffer(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("batch_size", -1),
        ("batch_size", 2**20 + 1),
        ("batch_size", 2.0),
        ("batch_size", True),
        ("strategy", "best"),
        ("strategy", "recency"),
        ("beta", -0.1),
        ("beta", 1.1),
        ("beta", float("nan")),
        ("columns", "reward"),
        ("columns", ["nonsense"]),
        ("columns", ["_is_sealed"]),
        ("rng", 7),
    ],
)
def test_a_malformed_draw_is_refused(experience: Make, name: str, value: object) -> None:
    buffer = ReplayBuffer(2)
    buffer.add(experience())
    with pytest.raises(ReplayError):
        buffer.sample(**{"batch_size": 1, name: value})  # type: ignore[arg-type]


def test_the_largest_batch_is_legal(experience: Make) -> None:
    buffer = ReplayBuffer(2)
    buffer.add(experience())
    batch = buffer.sample(2**20, strategy="priority")
    assert len(batch) == 2**20
    assert batch.sampling_weights.sum() == pytest.approx(2**20)


@pytest.mark.parametrize("size", [-1, 1.0, True, "3", None])
def test_the_seeds_draws_refuse_what_is_no_size(size: object) -> None:
    for draw in (ReplayBuffer(2).sample_uniform, ReplayBuffer(2).sample_priority):
        with pytest.raises(ReplayError, match="batch_size"):
            draw(size)  # type: ignore[arg-type]


def test_an_empty_buffer_and_too_many_distinct_are_refused(experience: Make) -> None:
    buffer = ReplayBuffer(5)
    with pytest.raises(NotEnoughExperienceError, match="empty"):
        buffer.sample(1)
    buffer.add(experience())
    with pytest.raises(NotEnoughExperienceError, match="1 distinct"):
        buffer.sample(2, replace=False)


@pytest.mark.parametrize("bad", [{"user": 5}, {"segment": ""}, {"segment": 3}, {"user": "a\x00b"}])
def test_an_experience_with_a_malformed_index_is_refused(experience: Make, bad: dict[str, object]) -> None:
    buffer = ReplayBuffer(5)
    with pytest.raises(RecordError):
        buffer.extend([experience("e0"), experience("e1", **bad)])
    assert buffer.size() == 0


def test_only_experiences_are_added() -> None:
    with pytest.raises(ReplayError, match="Experience"):
        ReplayBuffer(5).add({"event_id": "e1"})  # type: ignore[arg-type]


def test_values_of_different_lengths_have_no_column(experience: Make) -> None:
    buffer = ReplayBuffer(5)
    buffer.extend([experience("e0", query_embedding=[1.0]), experience("e1", query_embedding=[1.0, 2.0])])
    with pytest.raises(ReplayError, match="ColumnSpec"):
        buffer.sample(2, replace=False, columns=["query_embedding"])


# ---- threads


def test_held_keeps_others_out(experience: Make) -> None:
    buffer = ReplayBuffer(1)
    buffer.add(experience("e0"))
    with buffer.held():
        thread = threading.Thread(target=buffer.add, args=(experience("e1"),))
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
        assert ids(buffer) == ["e0"]
    thread.join(5)
    assert ids(buffer) == ["e1"]


def torn_parts(buffer: ReplayBuffer) -> list[str]:
    """Sample once, write priorities back, iterate once; return what did not fit together."""
    with buffer.held():
        batch = buffer.sample(32, strategy="priority", columns=["query_embedding", "timestamp"])
        names = batch.event_ids
    numbers = batch.columns["timestamp"]
    torn = [] if (batch.columns["query_embedding"] == numbers[:, None]).all() else ["columns"]
    torn += [name for name, number in zip(names, numbers, strict=True) if name != f"e{number:.0f}"]
    buffer.update_priorities(batch.seqs, numbers + 1.0)
    return torn + [item.event_id for item in buffer if item.event_id != f"e{item.timestamp:.0f}"]


@pytest.mark.parametrize(
    "columns", [None, ColumnSpec({"query_embedding": ((8,), np.dtype(np.float64))})], ids=["objects", "packed"]
)
def test_no_batch_is_torn_while_others_add_update_and_remove(experience: Make, columns: ColumnSpec | None) -> None:
    # every row carries its number three times: in its id, its embedding and its timestamp
    buffer = ReplayBuffer(64, seed=0, columns=columns)
    items = [experience(f"e{i}", query_embedding=[float(i)] * 8, timestamp=float(i)) for i in range(3000)]
    buffer.extend(items[:64])
    torn: list[str] = []
    n_rounds: list[int] = []
    done = threading.Event()

    def write() -> None:
        for i, item in enumerate(items[64:]):
            buffer.add(item)
            if i % 7 == 0:
                buffer.remove(f"e{i + 40}")
        done.set()

    def read() -> None:
        while not done.is_set():
            torn.extend(torn_parts(buffer))
            n_rounds.append(1)

    threads = [threading.Thread(target=work) for work in (write, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done.is_set()
    assert torn == []
    assert len(n_rounds) > 10
    # a priority that was written is that of its own experience, never of a neighbour
    assert all(item.priority in {1.0, item.timestamp + 1.0} for item in buffer)
