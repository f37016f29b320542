"""Torture of the draw: the law, its weights, and what ten thousand updates leave of them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Final

import numpy as np

from dwell.testing.buffer_torture.adapter import BufferAdapter
from dwell.testing.buffer_torture.demands import (
    Buffer,
    Cases,
    demand,
    demand_law,
    demand_weights,
    draw,
    drawn_keys,
    filled,
    put,
)

__all__ = ["THE_DRAW"]

THE_DRAW: Final = Cases("the draw")

EXACT: Final = 1e-12  # float64 summed over a tree of 2^20 leaves is within 20 * 1.1e-16, float32 is off by 1e-7
SEVERAL: Final = 64
UNIT_FLOOR: Final = 1.0  # priorities at and above it drown the constants that some buffers add to each


@THE_DRAW.case("reverb prioritized_test SampledDistributionMatchesProbabilities", "priorities")
def in_proportion(adapter: Buffer) -> None:
    """Items are drawn in proportion to their priorities."""
    masses = {key: float(key) for key in range(1, 9)}
    demand_law(filled(adapter, masses)[0], masses)


@THE_DRAW.case("ray prioritized_replay_buffer test_update_priorities", "priorities")
def ratios_after_updates(adapter: Buffer) -> None:
    """Two items are drawn 1:1, and after updates 1:2, 1:4 and 1:9."""
    buffer, handles = filled(adapter, {1: 1.0, 2: 1.0})
    demand_law(buffer, {1: 1.0, 2: 1.0})
    for ratio in (2.0, 4.0, 9.0):
        buffer.update([handles[2]], [ratio])
        demand_law(buffer, {1: 1.0, 2: ratio})


@THE_DRAW.case("tianshou test_buffer test_segtree, sizes around powers of two", "priorities")
def every_size_of_tree(adapter: Buffer) -> None:
    """Whatever the number of items, each is drawn in proportion and nothing beyond the last one is."""
    rng = np.random.default_rng(7)
    for n, capacity in ((1, 1), (2, 3), (5, 5), (8, 9), (9, 16), (17, 31)):
        masses = dict(enumerate(rng.integers(1, 9, n).astype(float).tolist()))
        demand_law(filled(adapter, masses, capacity=capacity)[0], masses)


@THE_DRAW.case("torchrl test_prioritized test_prb_new_item_gets_max_priority", "priorities")
def alpha_is_applied_once(adapter: Buffer) -> None:
    """With alpha = 0.5 new and updated items are drawn in proportion to the root of their priority, not to its root."""
    masses = {key: 4.0 ** (key + 1) for key in range(4)}
    buffer, handles = filled(adapter, masses, alpha=0.5)
    demand_law(buffer, {key: mass**0.5 for key, mass in masses.items()})
    buffer.update([handles[0], handles[3]], [256.0, 4.0])
    demand_law(buffer, {key: mass**0.5 for key, mass in (masses | {0: 256.0, 3: 4.0}).items()})


@THE_DRAW.case("torchrl test_prioritized alpha_zero_keeps_raw_max", "priorities")
def alpha_zero_is_uniform(adapter: Buffer) -> None:
    """With alpha = 0 all items are drawn alike, whatever their priorities."""
    masses = {key: 10.0**key for key in range(4)}
    demand_law(filled(adapter, masses, alpha=0.0)[0], dict.fromkeys(masses, 1.0))


@THE_DRAW.case("torchrl test_prioritized alpha_change_retransforms_trees", "priorities", "another alpha")
def alpha_can_be_changed(adapter: Buffer) -> None:
    """A changed alpha holds for the priorities that are there, from and to 0 as well."""
    masses = {key: 4.0 ** (key + 1) for key in range(4)}
    buffer, _ = filled(adapter, masses, alpha=0.5)
    for alpha in (1.0, 0.0, 0.5):
        buffer.set_alpha(alpha)
        demand_law(buffer, {key: mass**alpha for key, mass in masses.items()})


@THE_DRAW.case("reverb prioritized_test AllZeroPrioritiesResultsInUniformSampling", "priorities")
def all_zero_is_uniform(adapter: Buffer) -> None:
    """When every priority is 0 all items are drawn alike."""
    zeros = dict.fromkeys(range(5), 0.0)
    buffer, handles = filled(adapter, dict.fromkeys(zeros, 3.0))
    buffer.update(list(handles.values()), list(zeros.values()))
    demand_law(buffer, dict.fromkeys(zeros, 1.0))


@THE_DRAW.case("tianshou test_buffer test_segtree, the corner case 0.1 0 0.1", "priorities", "zero")
def zero_is_never_drawn(adapter: Buffer) -> None:
    """An item of priority 0 is never drawn while another has more."""
    for pattern in ((1.0, 0.0, 1.0), (0.0, 0.0, 2.0, 0.0), (0.0, 1.0, 0.0, 0.0, 3.0, 0.0, 0.0)):
        masses = dict(enumerate(pattern))
        demand_law(filled(adapter, masses)[0], masses)


@THE_DRAW.case("torchrl test_prioritized within_buffer_max_priority_stays_raw", "priorities", "maximum for new")
def new_items_get_the_highest_that_is_there(adapter: Buffer) -> None:
    """An item added without a priority gets the highest priority of the items that are there."""
    buffer, _ = filled(adapter, {1: 2.0, 2: 5.0, 3: 3.0}, alpha=0.5)
    put(buffer, 4)
    demand_law(buffer, {1: 2.0**0.5, 2: 5.0**0.5, 3: 3.0**0.5, 4: 5.0**0.5})


@THE_DRAW.case("torchrl test_prioritized, after the highest has left", "priorities", "maximum for new", "live maximum")
def an_outlier_that_left_is_forgotten(adapter: Buffer) -> None:
    """Once an item of priority 1e9 was evicted or brought down, new items are like the rest again."""
    buffer, handles = filled(adapter, {0: 1e9, 1: 2.0, 2: 2.0}, capacity=3)
    put(buffer, 3, 2.0)  # evicts the outlier
    put(buffer, 4)
    demand_law(buffer, {2: 2.0, 3: 2.0, 4: 2.0})
    buffer.update([handles[2]], [1e9])
    buffer.update([handles[2]], [2.0])
    put(buffer, 5)  # evicts key 2
    demand_law(buffer, {3: 2.0, 4: 2.0, 5: 2.0})


@THE_DRAW.case("pfrl test_replay_buffer test_normalize_by_max", "priorities", "weights")
def weights_undo_the_draw(adapter: Buffer) -> None:
    """Weights are in proportion to (1 / P)^beta, for beta = 0, 0.4 and 1, with the same alpha as the draw."""
    masses = {key: 2.0**key for key in range(8)}
    buffer, _ = filled(adapter, masses, alpha=0.5)
    for beta in (0.0, 0.4, 1.0):
        n = 64
        drawn = buffer.sample(min(n, len(masses)) if buffer.n_independent == 1 else n, beta=beta)
        demand(drawn.weights is not None and drawn.weights.max() > 0.0, "no weights, or all of them 0")
        demand_weights([drawn], {key: mass**0.5 for key, mass in masses.items()}, beta=beta)


@THE_DRAW.case("none checks this", "priorities", "probabilities")
def probabilities_are_exact(adapter: Buffer) -> None:
    """The probability given with a draw is priority^alpha over the sum of them, to 12 decimals."""
    masses = {key: 10.0 ** (key / 7) for key in range(61)}
    buffer, _ = filled(adapter, masses, capacity=64, alpha=0.6)
    total = math.fsum(mass**0.6 for mass in masses.values())
    for drawn in draw(buffer, 1024):
        demand(drawn.probabilities is not None, "no probabilities")
        due = np.array([masses[key] ** 0.6 / total for key in drawn.keys.tolist()])
        worst = float(np.abs(np.asarray(drawn.probabilities) - due).max())
        demand(worst <= EXACT, f"off by {worst:.2g}")


# ------------------------------------------------------------------------------ what many updates leave


@THE_DRAW.case("reverb prioritized_test RoundingErrors", "priorities", "removal", "priority at add")
def rounding_errors(adapter: Buffer) -> None:
    """After 2,000 items of 0.3 have come and gone, one of 1e-15 is all there is, and is drawn."""
    buffer, _ = filled(adapter, {1: 1e-15}, capacity=64)
    for turn in range(200):
        handles = [put(buffer, 2 + 10 * turn + i, 0.3) for i in range(10)]
        buffer.sample(1)
        for handle in handles:
            buffer.remove(handle)
    demand(buffer.size() == 1, f"{buffer.size()} items")
    demand_law(buffer, {1: 1e-15})


def _walk(buffer: BufferAdapter, handles: dict[int, Any], n_turns: int, decades: float) -> None:
    """Overwrite all priorities, turn by turn, with numbers spread evenly over that many powers of ten from 1."""
    rng = np.random.default_rng(11)
    listed = list(handles.values())
    for _ in range(n_turns):
        order = rng.permutation(len(listed))
        exponents = rng.uniform(0.0, decades, len(listed))
        buffer.update([listed[i] for i in order.tolist()], (UNIT_FLOOR * 10.0**exponents).tolist())


@THE_DRAW.case("none checks this", "priorities")
def drift_over_20_orders_of_magnitude(adapter: Buffer) -> None:
    """After 128,000 updates between 1 and 1e20 the law is that of the last priorities, whatever came before."""
    buffer, handles = filled(adapter, dict.fromkeys(range(SEVERAL), 1.0), capacity=SEVERAL)
    _walk(buffer, handles, 2000, 20.0)
    masses = {key: float(1 + key % 8) for key in handles}
    buffer.update(list(handles.values()), list(masses.values()))
    demand_law(buffer, masses, n_draws=8192)


@THE_DRAW.case("none checks this", "priorities", "probabilities")
def drift_below_12_digits(adapter: Buffer) -> None:
    """After the same updates probabilities are those of the last priorities, relative to each other to 12 digits."""
    buffer, handles = filled(adapter, dict.fromkeys(range(SEVERAL), 1.0), capacity=SEVERAL)
    _walk(buffer, handles, 500, 20.0)
    masses = {key: float(1 + key % 8) for key in handles}
    buffer.update(list(handles.values()), list(masses.values()))
    total = math.fsum(masses.values())
    for drawn in draw(buffer, 1024):
        due = np.array([masses[key] / total for key in drawn.keys.tolist()])
        worst = float(np.abs(np.asarray(drawn.probabilities) / due - 1.0).max())
        demand(worst <= EXACT, f"off by {worst:.2g} of itself")


@THE_DRAW.case("none checks this", "priorities")
def drift_one_by_one(adapter: Buffer) -> None:
    """The same when each item comes down by itself: sums hold no trace of the large priorities that were in them."""
    buffer, handles = filled(adapter, dict.fromkeys(range(SEVERAL), 1e20), capacity=SEVERAL)
    masses = {key: float(1 + key % 4) for key in handles}
    for key, handle in handles.items():
        buffer.update([handle], [masses[key]])
        buffer.sample(1)
    demand_law(buffer, masses, n_draws=8192)


@THE_DRAW.case("none checks this", "priorities")
def collapse_of_scale(adapter: Buffer) -> None:
    """When all priorities fall from 1e15 to between 1 and 8, in ten rounds, the draw follows and leaves nobody out."""
    masses = {key: float(1 + key % 8) for key in range(SEVERAL)}
    buffer, handles = filled(adapter, {key: 1e15 * mass for key, mass in masses.items()}, capacity=SEVERAL)
    scales = np.geomspace(1e15, 1.0, 11).tolist()
    for _, scale in pairwise(scales):
        for key, handle in handles.items():
            buffer.update([handle], [scale * masses[key]])
        demand_law(buffer, masses, n_draws=1024)
    demand_law(buffer, masses, n_draws=8192)


@THE_DRAW.case("pfrl collections test_prioritized_buffer_convergence", "priorities")
def priorities_of_what_was_drawn(adapter: Buffer) -> None:
    """A learner that writes back a priority for all it drew ends at the law of those priorities."""
    masses = {key: float(1 + key % 5) for key in range(32)}
    buffer, _ = filled(adapter, dict.fromkeys(masses, 5.0), capacity=32)
    visited = set[int]()
    for _ in range(200):
        drawn = buffer.sample(16)
        keys = drawn.keys.tolist()
        buffer.update(list(drawn.handles), [masses[key] for key in keys])
        visited.update(keys)
    # a key is missed by 200 samples of 16 with probability below 32 * (1 - 1/160)^3200 = 6e-8
    demand(visited == set(masses), f"never drawn: {sorted(set(masses) - visited)}")
    demand_law(buffer, masses)


@THE_DRAW.case("pfrl collections test_prioritized_buffer_flood", "priorities")
def a_flood(adapter: Buffer) -> None:
    """Twenty times the capacity flows through while items are drawn and updated; the law is that of what is there."""
    buffer = adapter.make(capacity=24)
    masses = {key: float(1 + key % 3) for key in range(480)}
    for key, mass in masses.items():
        put(buffer, key, mass)
        drawn = buffer.sample(1)
        buffer.update(list(drawn.handles), [masses[int(drawn.keys[0])]])
        demand(buffer.size() == min(key + 1, 24), f"{buffer.size()} items after {key + 1} into 24")
    demand_law(buffer, {key: masses[key] for key in range(456, 480)})


# ------------------------------------------------------------------------------ seeds


@THE_DRAW.case("reverb prioritized_test InstancesSeeded", "seed")
def the_same_seed_draws_the_same(adapter: Buffer) -> None:
    """Two buffers of one seed and one history draw the same, and one of another seed draws otherwise."""
    one, same, other = (adapter.make(capacity=16, seed=seed) for seed in (3, 3, 4))
    for buffer in (one, same, other):
        for key in range(16):
            put(buffer, key)
    drawn = drawn_keys(one)
    demand(drawn == drawn_keys(same), "the same seed draws otherwise")
    demand(drawn != drawn_keys(other), "another seed draws the same")
