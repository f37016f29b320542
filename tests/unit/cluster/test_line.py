"""The line of a shard: places, masses before them, and who stands at an offset."""

import numpy as np

from dwell.cluster.line import Keys, Law, Line, ShardIndex, joined, places_of
from dwell.replay.masses import PriorityUnit


def index_of(taken: list[int], seqs: list[int], priorities: list[float]) -> ShardIndex:
    n = len(seqs)
    return ShardIndex(
        seqs=np.array(seqs, dtype=np.int64),
        taken_up_us=np.array(taken, dtype=np.int64),
        timestamps=np.array(taken, dtype=np.float64),
        priorities=np.array(priorities),
        versions=np.ones(n, dtype=np.int64),
        n_documents=np.arange(n, dtype=np.int64) + 3,
        params_versions=np.zeros(n, dtype=np.int64),
        has_user=np.ones(n, dtype=bool),
        users=np.zeros(n, dtype=np.uint64),
        queries=np.zeros(n, dtype=np.uint64),
        rewards=np.zeros(n),
        counts=np.ones(n),
    )


def keys(*pairs: tuple[int, int]) -> Keys:
    return Keys(np.array([t for t, _ in pairs], np.int64), np.array([s for _, s in pairs], np.int64))


def test_places_are_those_of_sorted_pairs() -> None:
    rng = np.random.default_rng(3)
    pairs = sorted({(int(t), int(s)) for t, s in rng.integers(0, 9, (40, 2))})
    wanted = [(int(t), int(s)) for t, s in rng.integers(-1, 10, (60, 2))]
    expected = [sum(pair < one for pair in pairs) for one in wanted]
    assert places_of(keys(*pairs), keys(*wanted)).tolist() == expected
    assert places_of(keys(), keys(*wanted)).tolist() == [0] * 60


def test_offsets_find_whoever_covers_them_and_nobody_without_a_mass() -> None:
    # priorities 0, 1, 0, 2, 1, 0 with unit 1 are the masses themselves
    index = index_of([1, 2, 3, 4, 5, 6], [10, 20, 30, 40, 50, 60], [0.0, 1.0, 0.0, 2.0, 1.0, 0.0])
    line = Line(index, Law("priority", unit=PriorityUnit.of(1.0, 0, 0)))
    assert line.total == 4.0
    at = line.at(np.array([0.0, 0.999, 1.0, 2.5, 3.0, 3.999, 4.0]))
    assert at["seq"].tolist() == [20, 20, 40, 40, 50, 50, 50]
    assert at["mass"].tolist() == [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 1.0]
    assert at["n_documents"].tolist() == [4, 4, 6, 6, 7, 7, 7]
    assert line.before(keys((1, 10), (4, 40), (4, 41), (9, 0))).tolist() == [0.0, 1.0, 3.0, 4.0]


def test_stretches_hold_what_stands_between_their_ends() -> None:
    line = Line(index_of([1, 1, 2, 5], [7, 9, 3, 1], [1.0] * 4), Law())
    found, n = line.between(keys((1, 8), (3, 0), (0, 0)), keys((2, 4), (5, 1), (9, 9)))
    assert n.tolist() == [2, 0, 4]
    assert found["seq"].tolist() == [9, 3, 7, 9, 3, 1]


def test_parts_come_together_in_one_order() -> None:
    line = Line(index_of([1, 1, 2, 5], [7, 9, 3, 1], [1.0] * 4), Law())
    whole = line.at(np.arange(4.0))
    assert joined([whole[[1, 3]], whole[[0, 2]]])["seq"].tolist() == [7, 9, 3, 1]
    assert joined([]).size == 0
