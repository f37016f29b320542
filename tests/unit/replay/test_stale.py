import time

import numpy as np

from dwell.replay.stale import Stale


def test_all_is_stale_at_first_and_nothing_once_taken() -> None:
    stale = Stale()
    assert stale
    assert stale.is_whole
    stale.taken()
    assert not stale
    stale.add(3, 10)
    stale.add_many(np.array([5, 6]), 10)
    stale.add(3, 10)
    assert stale
    assert not stale.is_whole
    assert sorted(stale.taken().tolist()) == [3, 3, 5, 6]
    assert not stale
    assert stale.taken().tolist() == []


def test_the_list_never_grows_beyond_the_buffer() -> None:
    for add in (lambda s: s.add(1, 100), lambda s: s.add_many(np.array([1, 2, 3]), 100)):
        stale = Stale()
        stale.taken()
        for _ in range(1000):
            add(stale)
        assert stale.is_whole
        assert stale.taken().size == 0
        add(stale)
        assert not stale.is_whole


def test_marking_everything_forgets_the_list() -> None:
    stale = Stale()
    stale.taken()
    stale.add(1, 10)
    stale.add_many(np.array([2]), 10)
    stale.mark_whole()
    stale.add(7, 10)
    assert stale.is_whole
    assert stale.taken().size == 0
    stale.add_many(np.arange(10), 10)  # what was counted before was forgotten, too
    assert not stale.is_whole


def test_blocks_of_one_cost_the_same_each_however_many_wait() -> None:
    def seconds(n: int) -> float:
        stale = Stale()
        stale.taken()
        one = np.array([1])
        begin = time.process_time()
        for _ in range(n):
            stale.add_many(one, 10**9)
        return time.process_time() - begin

    # in proportion: 10 times as long for 10 times as many; a pass over all that wait made it 100 times
    assert min(seconds(20_000) for _ in range(3)) < 40 * min(seconds(2_000) for _ in range(3))
