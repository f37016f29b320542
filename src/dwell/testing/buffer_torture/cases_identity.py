"""Torture of identity and bounds: what is written for one item reaches that one or nobody, and the oldest leave."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dwell.testing.buffer_torture.adapter import Applied, BufferAdapter
from dwell.testing.buffer_torture.demands import (
    Buffer,
    Cases,
    demand,
    demand_law,
    demand_whole,
    draw,
    filled,
    put,
    refused,
)

__all__ = ["BOUNDS", "IDENTITY"]

IDENTITY: Final = Cases("identity")
BOUNDS: Final = Cases("bounds")

HIGH: Final = 1e6  # a priority that takes nearly all draws wherever it lands


# ------------------------------------------------------------------------------ identity


@IDENTITY.case("flashbax sum_tree_test test_set_batch_clashing_values; dopamine test_set_with_duplicates", "priorities")
def of_duplicates_the_last_holds(adapter: Buffer) -> None:
    """Of an item that stands twice in one update the last priority holds."""
    masses = {1: 1.0, 2: 2.0, 3: 3.0}
    buffer, handles = filled(adapter, masses)
    buffer.update([handles[1], handles[2], handles[1], handles[1]], [9.0, 4.0, 7.0, 5.0])
    demand_law(buffer, {1: 5.0, 2: 4.0, 3: 3.0})


def _write_back_late(adapter: Buffer, *, samples_between: int) -> None:
    n = 8
    buffer, _ = filled(adapter, dict.fromkeys(range(n), 1.0), capacity=n)
    late = buffer.sample(n)
    masses = {key: float(1 + key % 3) for key in range(n, 2 * n)}
    for key, mass in masses.items():
        put(buffer, key, mass)
    for _ in range(samples_between):
        buffer.sample(n)
    refused(lambda: buffer.update(list(late.handles), [HIGH] * len(late.handles)))
    demand_law(buffer, masses)


@IDENTITY.case("none checks this through the priority call (torchrl TestUpdateIfPresent)", "priorities")
def late_priority_after_eviction(adapter: Buffer) -> None:
    """A priority written back after its item was evicted touches nobody."""
    _write_back_late(adapter, samples_between=0)


@IDENTITY.case("none checks this through the priority call (torchrl TestUpdateIfPresent)", "priorities")
def late_priority_of_a_second_learner(adapter: Buffer) -> None:
    """The same when another learner drew in between."""
    _write_back_late(adapter, samples_between=1)


@IDENTITY.case("torchrl test_writers wraparound_race_detectable", "priorities")
def late_priority_after_exactly_one_round(adapter: Buffer) -> None:
    """A handle kept for one, two or three whole rounds of the ring reaches nobody."""
    n = 4
    for n_rounds in (1, 2, 3):
        buffer, handles = filled(adapter, dict.fromkeys(range(n), 1.0), capacity=n)
        for key in range(n, n * (n_rounds + 1)):
            put(buffer, key, 1.0)
        refused(lambda handles=handles, buffer=buffer: buffer.update(list(handles.values()), [HIGH, 1.0, 1.0, 1.0]))  # type: ignore[misc]  # bound in the loop on purpose
        demand_law(buffer, dict.fromkeys(range(n * n_rounds, n * (n_rounds + 1)), 1.0))


@IDENTITY.case("torchrl test_writers partial_reuse_detectable", "priorities")
def late_and_live_in_one_update(adapter: Buffer) -> None:
    """Of an update in which half of the items were evicted, the other half is written or the whole is refused."""
    buffer, handles = filled(adapter, dict.fromkeys(range(4), 1.0), capacity=4)
    for key in (4, 5):
        put(buffer, key, 1.0)
    is_refused = refused(lambda: buffer.update([handles[key] for key in range(4)], [HIGH, HIGH, 3.0, 5.0]))
    masses = {2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0}
    demand_law(buffer, masses if is_refused else masses | {2: 3.0, 3: 5.0})


@IDENTITY.case("torchrl test_rb_core TestUpdateIfPresent", "priorities", "report")
def the_report_adds_up(adapter: Buffer) -> None:
    """An update says how many items it changed, how many had left and how many it refused: each item once."""
    buffer, handles = filled(adapter, dict.fromkeys(range(4), 1.0), capacity=4)
    put(buffer, 4, 1.0)
    applied = buffer.update([handles[key] for key in range(4)], [2.0, 2.0, float("nan"), 3.0])
    demand(applied == Applied(updated=2, stale=1, rejected=1), f"it says {applied}")


@IDENTITY.case("torchrl test_writers empty_is_monotonic", "priorities", "removal")
def late_priority_after_removal(adapter: Buffer) -> None:
    """The handle of a removed item reaches nobody, not even the same key added again."""
    buffer, handles = filled(adapter, {1: 1.0, 2: 2.0, 3: 3.0})
    late = buffer.sample(16)
    for handle in handles.values():
        buffer.remove(handle)
    again = {3: 2.0, 2: 1.0, 1: 1.0}
    for key, mass in again.items():
        put(buffer, key, mass)
    refused(lambda: buffer.update(list(late.handles), [HIGH] * len(late.handles)))
    demand_law(buffer, again)


@IDENTITY.case("dopamine samplers_test test_removal_wont_sample_removed_index", "priorities", "removal")
def removed_items_are_gone(adapter: Buffer) -> None:
    """A removed item is not drawn again, its neighbours keep row and priority, and a second removal finds nothing."""
    masses = {key: float(key) for key in range(1, 9)}
    buffer, handles = filled(adapter, masses)
    for key in (8, 1, 4):
        demand(buffer.remove(handles[key]), f"key {key} was not found")
        demand(not _removed_again(buffer, handles[key]), f"key {key} was removed twice")
        del masses[key]
        demand(buffer.size() == len(masses), f"{buffer.size()} items, {len(masses)} due")
        demand_law(buffer, masses)


def _removed_again(buffer: BufferAdapter, handle: object) -> bool:
    try:
        return buffer.remove(handle)
    except Exception:  # noqa: BLE001 - to refuse is to say that it is not there
        return False


@IDENTITY.case("none checks this", "removal by user")
def a_user_is_removed_entirely(adapter: Buffer) -> None:
    """Of a user whose items were removed none is drawn again, and nobody else is touched."""
    buffer = adapter.make(capacity=32)
    for key in range(24):
        put(buffer, key, 1.0 + key % 2, user=f"u{key % 3}")
    n_removed = buffer.remove_user("u1")
    demand(n_removed == 8, f"{n_removed} removed, 8 due")
    demand(buffer.remove_user("u1") == 0, "some were left")
    demand_law(buffer, {key: 1.0 + key % 2 for key in range(24) if key % 3 != 1})


@IDENTITY.case("reverb table_test InsertOrAssignOverwrites", "one item per key", "priorities")
def a_key_is_there_once(adapter: Buffer) -> None:
    """An item added again under its key replaces the first one: row, priority and count."""
    buffer = adapter.make(capacity=4)
    for key, marker, priority in ((1, 1.0, 9.0), (2, 2.0, 2.0), (1, 101.0, 1.0), (1, 201.0, 3.0)):
        put(buffer, key, priority, marker=marker)
    demand(buffer.size() == 2, f"{buffer.size()} items, 2 due")
    samples = draw(buffer, 512)
    demand_whole(samples, {1: 201.0, 2: 2.0})
    share = float(np.mean([key == 1 for drawn in samples for key in drawn.keys.tolist()]))
    # 512 draws: five standard errors of a share of 3/5
    demand(abs(share - 0.6) <= 5 * (0.24 / 512) ** 0.5, f"share {share:.3f}, 0.6 due")


def _rewarded(buffer: BufferAdapter, handle: Any, reward: float, version: int) -> bool:  # noqa: ANN401 - a handle is whatever the buffer makes it
    try:
        return buffer.update_reward(handle, reward, version)
    except Exception:  # noqa: BLE001 - to refuse is not to write
        return False


@IDENTITY.case("torchrl test_rb_core TestUpdateIfPresentVersioned", "versioned reward")
def the_newest_reward_stays(adapter: Buffer) -> None:
    """Rewards that arrive late or twice are written only if their version is newer, in whatever order they come."""
    buffer = adapter.make(capacity=2)
    handles = {key: put(buffer, key) for key in (1, 2)}
    for reward, version, is_written in ((0.5, 2, True), (0.1, 1, False), (0.9, 2, False), (-0.25, 7, True)):
        demand(_rewarded(buffer, handles[1], reward, version) == is_written, f"version {version}: not {is_written}")
    demand(not _rewarded(buffer, handles[1], float("nan"), 8), "a reward that is not a number was written")
    demand(buffer.reward(handles[1]) == -0.25, f"reward {buffer.reward(handles[1])}, -0.25 due")
    demand(buffer.reward(handles[2]) == 0.0, "the neighbour was touched")
    put(buffer, 3)  # evicts key 1
    demand(not _rewarded(buffer, handles[1], 1.0, 99), "a reward was written to an item that had left")


# ------------------------------------------------------------------------------ bounds


def _demand_newest(buffer: BufferAdapter, n_added: int, n_kept: int) -> None:
    demand(buffer.size() == n_kept, f"{buffer.size()} items of {n_added}, {n_kept} due")
    demand_law(buffer, dict.fromkeys(range(n_added - n_kept, n_added), 1.0))


@BOUNDS.case("dopamine replay_buffer, which fails here: the first eviction at a power of two")
def first_eviction_at_a_power_of_two(adapter: Buffer) -> None:
    """A buffer of 1, 2, 4, 8 or 64 items takes one more, and the oldest leaves."""
    for capacity in (1, 2, 4, 8, 64):
        buffer = adapter.make(capacity=capacity)
        for key in range(capacity):
            put(buffer, key)
        _demand_newest(buffer, capacity, capacity)
        put(buffer, capacity)
        _demand_newest(buffer, capacity + 1, capacity)


@BOUNDS.case("reverb table_test InsertDeletesWhenOverflowing; cpprb test_PyReplayBuffer")
def rounds_of_the_ring(adapter: Buffer) -> None:
    """After any number of rounds the newest are there, each with its own row."""
    buffer = adapter.make(capacity=7)
    for key in range(40):
        put(buffer, key)
        if key % 9 == 8:
            _demand_newest(buffer, key + 1, 7)


@BOUNDS.case("flashbax prioritised_trajectory_buffer_test, items that were overwritten", "priorities")
def an_eviction_takes_the_priority_along(adapter: Buffer) -> None:
    """The priority of an evicted item leaves with it, be it the highest or 0 beside higher ones."""
    buffer, _ = filled(adapter, {0: HIGH, 1: 1.0, 2: 1.0, 3: 2.0}, capacity=4)
    masses = {1: 1.0, 2: 1.0, 3: 2.0, 4: 3.0}
    put(buffer, 4, 3.0)
    demand_law(buffer, masses)
    put(buffer, 5, 1.0)
    demand_law(buffer, {2: 1.0, 3: 2.0, 4: 3.0, 5: 1.0})


@BOUNDS.case("none checks this (ray 4498, 10530, 15226: memory that grows after the buffer is full)", "bytes")
def the_memory_is_bounded(adapter: Buffer) -> None:
    """With a bound on bytes the oldest leave in time, and the bytes counted are never above it."""
    one = adapter.make(capacity=1000)
    put(one, 0)
    bound = 10 * one.n_bytes()
    buffer = adapter.make(capacity=1000, max_bytes=bound)
    for key in range(200):
        put(buffer, key)
        demand(buffer.n_bytes() <= bound, f"{buffer.n_bytes()} bytes of {bound}")
    n_kept = buffer.size()
    demand(8 <= n_kept <= 12, f"{n_kept} items where about 10 fit")
    _demand_newest(buffer, 200, n_kept)
    demand(refused(lambda: adapter.make(capacity=10, max_bytes=1).add(0, 0.0)), "an item larger than the bound got in")
