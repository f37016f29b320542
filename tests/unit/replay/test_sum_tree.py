import numpy as np
import pytest

from dwell.replay.sum_tree import TOP_NODES, SumTree


def naive_find(masses: np.ndarray, position: float) -> int:
    """The definition: the first index whose running sum exceeds the position."""
    return int(np.flatnonzero(np.cumsum(masses) > position)[0])


# below, at and above the size at which the tree gets levels under its flat top
@pytest.mark.parametrize("n", [1, 2, 3, 5, 100, TOP_NODES, TOP_NODES + 1, 5000])
def test_every_position_finds_the_index_of_the_definition(n: int) -> None:
    rng = np.random.default_rng(n)
    masses = rng.integers(0, 5, n).astype(float)  # small integers: all sums are exact
    masses[n // 2] = 1.0
    tree = SumTree(n)
    tree.set(np.arange(n), masses)
    assert tree.total == masses.sum()
    positions = np.arange(masses.sum())
    assert tree.find(positions).tolist() == [naive_find(masses, x) for x in positions]


def test_a_sequence_of_single_updates_equals_one_fill() -> None:
    rng = np.random.default_rng(5)
    one_by_one, at_once = SumTree(4000), SumTree(4000)
    masses = np.exp(rng.normal(size=4000) * 5)
    for i in rng.permutation(4000):
        one_by_one.set(np.array([i]), masses[[i]])
    at_once.fill(masses)
    assert one_by_one.total == at_once.total
    positions = rng.random(1000) * at_once.total
    assert (one_by_one.find(positions) == at_once.find(positions)).all()


def test_of_an_index_given_twice_the_last_mass_holds() -> None:
    for n_leaves in (4, 5000):  # the small tree is rebuilt, in the large one the parents are followed
        tree = SumTree(n_leaves)
        tree.set(np.array([2, 2, 1]), np.array([9.0, 3.0, 1.0]))
        assert tree.masses(np.array([1, 2])).tolist() == [1.0, 3.0]
        assert tree.total == 4.0


def test_fill_forgets_what_was_beyond() -> None:
    tree = SumTree(8)
    tree.fill(np.ones(8))
    tree.fill(np.ones(3))
    assert tree.total == 3.0


def test_the_total_is_recomputed_so_a_collapse_of_scale_leaves_no_residue() -> None:
    tree = SumTree(3000)
    tree.fill(np.full(3000, 1e15))
    for i in range(3000):
        tree.set(np.array([i]), np.array([2.0**-30]))
    assert tree.total == 3000 * 2.0**-30  # exact: all partial sums have few bits


@pytest.mark.parametrize("n", [16, 4096])
def test_an_index_without_mass_is_never_found_even_at_the_borders(n: int) -> None:
    rng = np.random.default_rng(n)
    masses = np.where(rng.random(n) < 0.5, 0.0, np.exp(rng.normal(size=n) * 20))
    tree = SumTree(n)
    tree.fill(masses)
    borders = np.cumsum(masses)
    positions = np.concatenate([borders, np.nextafter(borders, 0.0), np.nextafter(borders, np.inf), [0.0, tree.total]])
    found = tree.find(np.minimum(positions, tree.total))
    assert (masses[found] > 0.0).all()


def test_subnormal_masses_are_found_within_the_tree() -> None:
    tree = SumTree(2)
    tree.fill(np.array([0.0, 5e-324]))
    assert tree.find(np.array([0.0, 5e-324])).tolist() == [1, 1]


def test_a_remainder_that_rounds_up_to_the_whole_node_stays_out_of_its_empty_half() -> None:
    # u is one unit in the last place of 1.5. The nodes hold 1.5 u and 1.5; their sum is rounded to 1.5 + 2 u, so that
    # 1.5 + u is within the tree, and its remainder 1.5 - u / 2 is rounded to 1.5: all of the second node
    u = 2.0**-52
    tree = SumTree(2 * TOP_NODES)
    tree.set(np.array([0, 2]), np.array([1.5 * u, 1.5]))
    assert tree.total == 1.5 + 2 * u
    assert (1.5 + u) - 1.5 * u == 1.5
    assert tree.find(np.array([1.5 + u])).tolist() == [2]
