"""The law of ranks beyond the size up to which it sorts before every draw."""

import numpy as np
import pytest
from scipy import stats

from dwell.replay.laws import Laws
from dwell.replay.rank_sampler import EXACT_UP_TO, RESORT_SHARE
from dwell.replay.ring import IndexBlock, Ring

N = EXACT_UP_TO + 6000
ALPHA = 0.7


def ring_of(priorities: np.ndarray) -> Ring:
    n = priorities.size
    ring = Ring(2 * n)
    ids = np.array([f"e{i}" for i in range(n)], dtype="S8")
    zeros, ones = np.zeros(n), np.ones(n, dtype=np.int64)
    ring.append_block(IndexBlock(ids, np.arange(1, n + 1), zeros, priorities, zeros, 0 * ones, None, None, ones))
    return ring


def exact_law(priorities: np.ndarray) -> np.ndarray:
    """P by definition: 1 / rank^alpha, equals share the mean of their ranks' masses, zeros have none."""
    first = stats.rankdata(-priorities, method="min").astype(int)
    last = stats.rankdata(-priorities, method="max").astype(int)
    running = np.concatenate([[0.0], np.cumsum(np.arange(1, priorities.size + 1) ** -ALPHA)])
    masses = (running[last] - running[first - 1]) / (last - first + 1) * (priorities > 0.0)
    return masses / masses.sum()


def changed(laws: Laws, ring: Ring, slots: np.ndarray, priorities: np.ndarray) -> None:
    ring.set_priorities(slots, priorities)
    laws.reprioritised(slots)


@pytest.mark.parametrize("ties", ["distinct", "tied"])
def test_right_after_a_sort_the_law_is_exact(ties: str) -> None:
    rng = np.random.default_rng(0)
    priorities = rng.random(N) if ties == "distinct" else rng.integers(0, 40, N).astype(float)
    laws = Laws(ring_of(priorities), alpha=ALPHA, half_life_s=None)
    masses = laws.sampler("rank").masses()
    np.testing.assert_allclose(masses / masses.sum(), exact_law(priorities), rtol=1e-9)


# a factor of e^(drift * normal) on each priority that is updated, 256 at a time, and the largest total variation
# distance to the exact law. Wild: half of the changed pass everybody else, and each is ranked first until the next sort
@pytest.mark.parametrize(
    ("drift", "most"), [(0.1, 0.01), (1.0, 0.06), (30.0, 0.3)], ids=["small steps", "new draws", "wild"]
)
def test_between_sorts_the_law_stays_near_the_exact_one_and_is_what_is_drawn(drift: float, most: float) -> None:
    rng = np.random.default_rng(1)
    priorities = np.exp(rng.normal(size=N))
    ring = ring_of(priorities)
    laws = Laws(ring, alpha=ALPHA, half_life_s=None)
    sampler = laws.sampler("rank")
    worst = 0.0
    for _ in range(60):
        slots = rng.integers(0, N, 256)
        new = ring.values("priority", slots) * np.exp(drift * rng.normal(size=256)) * (rng.random(256) > 0.05)
        changed(laws, ring, slots, new)
        drawn = sampler.draw(4096, None, rng)
        masses = sampler.masses()
        law = masses / masses.sum()
        np.testing.assert_allclose(drawn.probabilities, law[drawn.slots], rtol=1e-12)
        counts, shares = np.bincount(drawn.slots, minlength=N), 4096 * law
        assert (counts <= np.ceil(shares) + 1).all()
        assert (counts >= np.floor(shares) - 1).all()
        assert (ring.values("priority", drawn.slots) > 0.0).all()
        worst = max(worst, 0.5 * float(np.abs(law - exact_law(ring.priorities)).sum()))
    # of the masses at most a sixteenth is ranked against an order that has not been made anew, each of them by a
    # look-up: what it misses are the ranks that others won or lost since
    assert worst < most
    print(f"total variation distance to the exact law, at most: {worst:.4f}")


def test_all_who_move_to_the_top_share_its_mass_until_the_next_sort() -> None:
    ring = ring_of(np.arange(1.0, N + 1))
    laws = Laws(ring, alpha=ALPHA, half_life_s=None)
    sampler = laws.sampler("rank")
    sampler.masses()
    n_moved = N // RESORT_SHARE
    changed(laws, ring, np.arange(n_moved), np.full(n_moved, 1e300))
    masses = sampler.masses()
    assert set(masses[:n_moved]) == {masses[N - 1]}  # each ranked first, beside who was first
    changed(laws, ring, np.array([n_moved]), np.array([2e300]))  # one change more than a sixteenth: a new order
    masses = sampler.masses()
    np.testing.assert_allclose(masses / masses.sum(), exact_law(ring.priorities), rtol=1e-9)


def test_zeros_are_never_drawn_and_come_back_with_a_priority() -> None:
    rng = np.random.default_rng(3)
    ring = ring_of(np.where(np.arange(N) % 2, 1.0 + rng.random(N), 0.0))
    laws = Laws(ring, alpha=ALPHA, half_life_s=None)
    sampler = laws.sampler("rank")
    assert (sampler.draw(50_000, None, rng).slots % 2 == 1).all()
    changed(laws, ring, np.array([0, 1]), np.array([5.0, 0.0]))
    slots = sampler.draw(50_000, None, rng).slots
    assert 0 in slots
    assert 1 not in slots
    changed(laws, ring, np.arange(N), np.zeros(N))
    assert sampler.draw(10, None, rng).probabilities.tolist() == [1.0 / N] * 10
