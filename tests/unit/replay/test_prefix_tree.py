"""The tree of whole numbers against sums and searches in Python's integers."""

import math
from bisect import bisect_right
from fractions import Fraction
from itertools import accumulate

import numpy as np
import pytest

from dwell.replay.prefix_tree import CHUNK_ROWS, FAN_OUT, MAX_TOTAL, TOP_NODES, PrefixTree, fan_outs

# around every size at which the shape changes: a flat top, one level of each width, two levels
SIZES = [1, 2, 3, 100, TOP_NODES - 1, TOP_NODES, TOP_NODES + 1, 1024, 1025, 4000, TOP_NODES * FAN_OUT + 1, 70_000]


def sums_of(tree: PrefixTree) -> list[bytes]:
    """Every number that the tree holds."""
    assert tree.total >= 0.0
    return [tree._top.tobytes(), tree._sums.tobytes(), *(nodes.tobytes() for nodes in tree._nodes)]


@pytest.mark.parametrize("n", SIZES)
def test_every_border_and_its_neighbours_find_the_index_of_an_exact_search(n: int) -> None:
    rng = np.random.default_rng(n)
    masses = [int(mass) for mass in np.rint(np.exp2(rng.uniform(0, 30, n))) * (rng.random(n) < 0.5)]
    masses[n // 2] = 3
    tree = PrefixTree(n)
    tree.fill(np.array(masses, dtype=np.float64))
    running = list(accumulate(masses))
    assert tree.total == running[-1]
    at = rng.integers(0, n, 600)
    borders = np.array([0.0, *(float(running[i]) for i in at)])
    positions = np.concatenate(
        [borders, np.nextafter(borders, 0.0), np.nextafter(borders, np.inf), rng.random(500) * tree.total]
    )
    positions = positions[positions < tree.total]
    expected = [bisect_right(running, Fraction(x)) for x in positions.tolist()]
    found = tree.find(positions)
    assert found.tolist() == expected
    assert (tree.masses(found) > 0.0).all()


def test_the_largest_total_is_still_searched_exactly() -> None:
    n = 3000
    masses = np.zeros(n)
    masses[[0, 1, 1500, n - 1]] = [2.0**52, 1.0, 2.0**51, 2.0**51 - 2.0]
    tree = PrefixTree(n)
    tree.fill(masses)
    assert tree.total == MAX_TOTAL - 1.0
    positions = np.array([2.0**52 - 0.5, 2.0**52, 2.0**52 + 1.0, 2.0**52 + 2.0**51, MAX_TOTAL - 2.0])
    assert tree.find(positions).tolist() == [0, 1, 1500, 1500, n - 1]


@pytest.mark.parametrize("n", SIZES)
def test_after_thousands_of_updates_of_any_size_every_sum_equals_a_rebuild(n: int) -> None:
    rng = np.random.default_rng(n)
    tree, masses = PrefixTree(n), np.zeros(n)
    for turn in range(2000 if n < 10_000 else 500):
        size = min(n, int(rng.choice([1, 2, 30, 200])) if turn % 100 else n // 7 + 1)
        at = rng.integers(0, n, size)
        new = np.rint(np.exp2(rng.uniform(0, 36, size))) * (rng.random(size) < 0.7)
        tree.set(at, new)
        masses[at] = new
        if turn % 50 == 0:
            assert tree.total == math.fsum(masses)
    fresh = PrefixTree(n)
    fresh.fill(masses)
    assert tree.leaves(n).tobytes() == masses.tobytes()
    assert sums_of(tree) == sums_of(fresh)


def test_more_updates_and_positions_than_one_product_takes() -> None:
    n = 200_000
    tree = PrefixTree(n)
    at = np.random.default_rng(0).permutation(n)[: 3 * CHUNK_ROWS + 7]  # fewer than an eighth: no rebuild
    tree.set(at, np.arange(1.0, at.size + 1))
    masses = np.zeros(n)
    masses[at] = np.arange(1.0, at.size + 1)
    running = np.cumsum(masses)
    positions = np.arange(0.0, tree.total, tree.total / 5000)
    assert tree.total == running[-1]
    assert tree.find(positions).tolist() == running.searchsorted(positions, side="right").tolist()


@pytest.mark.parametrize("n", [4, 5000])
def test_of_an_index_given_twice_the_last_mass_holds(n: int) -> None:
    tree = PrefixTree(n)
    tree.set(np.array([2, 2, 1]), np.array([9.0, 3.0, 1.0]))
    assert tree.masses(np.array([1, 2])).tolist() == [1.0, 3.0]
    assert tree.total == 4.0


def test_an_empty_update_changes_nothing_and_fill_forgets_what_was_beyond() -> None:
    tree = PrefixTree(600)
    tree.fill(np.ones(600))
    tree.set(np.zeros(0, dtype=np.int64), np.zeros(0))
    assert tree.total == 600.0
    tree.fill(np.ones(3))
    assert tree.total == 3.0


def test_many_batch_sizes_do_not_fill_the_memory() -> None:
    tree = PrefixTree(5000)
    tree.fill(np.ones(5000))
    for n in range(1, 400):
        assert tree.find(np.arange(n, dtype=np.float64)).tolist() == list(range(n))
    assert len(tree._offsets) <= 66


@pytest.mark.parametrize("n", SIZES)
def test_the_shape_has_room_for_all_and_a_small_top(n: int) -> None:
    fans = fan_outs(n)
    n_top = n
    for fan in fans:
        assert fan in {2, 4, 8, 16}
        n_top = -(-n_top // fan)
    assert n_top <= 2 * TOP_NODES
    assert (fans == ()) == (n <= TOP_NODES)
    assert PrefixTree(n).n_leaves == n
