"""Torture at the door: priorities that are none, handles that are nobody's, samples that can not be had."""

from __future__ import annotations

import math
from typing import Final

from dwell.testing.buffer_torture.adapter import BufferAdapter
from dwell.testing.buffer_torture.demands import (
    Buffer,
    Cases,
    demand,
    demand_law,
    demand_whole,
    filled,
    put,
    refused,
)

__all__ = ["AT_THE_DOOR"]

AT_THE_DOOR: Final = Cases("at the door")

MASSES: Final = {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0}
NEW_KEY: Final = 9
HIGH: Final = 1e6  # a priority that takes nearly all draws from the others wherever it lands


# ------------------------------------------------------------------------------ what is no priority


def _refuses_at_add(adapter: Buffer, bad: float) -> None:
    buffer, _ = filled(adapter, MASSES)
    demand(refused(lambda: buffer.add(NEW_KEY, 0.0, priority=bad)), f"the priority {bad} was taken without a word")
    demand(buffer.size() == len(MASSES), f"{buffer.size()} items after a refused one, {len(MASSES)} before")
    demand_law(buffer, MASSES)


def _refuses_at_update(adapter: Buffer, bad: float) -> None:
    buffer, handles = filled(adapter, MASSES)
    demand(_is_refused(buffer, handles[1], bad), f"the priority {bad} was taken without a word")
    demand_law(buffer, MASSES)


def _is_refused(buffer: BufferAdapter, handle: object, bad: float) -> bool:
    try:
        applied = buffer.update([handle], [bad])
    except Exception:  # noqa: BLE001 - which error a buffer refuses with is its own affair
        return True
    return applied is not None and applied.rejected == 1


@AT_THE_DOOR.case("reverb prioritized_test ReturnValueSantiyChecks", "priorities", "priority at add")
def nan_at_add(adapter: Buffer) -> None:
    """A new item whose priority is not a number is refused, and nothing has changed."""
    _refuses_at_add(adapter, math.nan)


@AT_THE_DOOR.case("reverb prioritized_test ReturnValueSantiyChecks, for infinity", "priorities", "priority at add")
def infinity_at_add(adapter: Buffer) -> None:
    """A new item whose priority is infinite is refused, and nothing has changed."""
    _refuses_at_add(adapter, math.inf)


@AT_THE_DOOR.case("reverb prioritized_test ReturnValueSantiyChecks", "priorities", "priority at add")
def negative_at_add(adapter: Buffer) -> None:
    """A new item whose priority is below 0 is refused, and nothing has changed."""
    _refuses_at_add(adapter, -1.0)


@AT_THE_DOOR.case("none checks this", "priorities")
def nan_at_update(adapter: Buffer) -> None:
    """An update to what is not a number is refused aloud, and nothing has changed."""
    _refuses_at_update(adapter, math.nan)


@AT_THE_DOOR.case("none checks this", "priorities")
def infinity_at_update(adapter: Buffer) -> None:
    """An update to infinity is refused aloud, and nothing has changed."""
    _refuses_at_update(adapter, math.inf)


@AT_THE_DOOR.case("reverb prioritized_test ReturnValueSantiyChecks", "priorities")
def negative_at_update(adapter: Buffer) -> None:
    """An update to a negative priority is refused aloud, and nothing has changed."""
    _refuses_at_update(adapter, -1.0)


@AT_THE_DOOR.case("reverb table_test UpdatesAreAppliedPartially", "priorities")
def one_bad_among_good(adapter: Buffer) -> None:
    """Of an update with one bad priority the good ones are all written or none is, and the bad one is not."""
    buffer, handles = filled(adapter, MASSES)
    refused(lambda: buffer.update([handles[0], handles[1], handles[2]], [5.0, math.nan, 6.0]))
    try:
        demand_law(buffer, {0: 5.0, 1: 2.0, 2: 6.0, 3: 4.0})
    except AssertionError:
        demand_law(buffer, MASSES)


@AT_THE_DOOR.case("none checks this", "priorities")
def repaired_after_nan(adapter: Buffer) -> None:
    """Whatever an update to not-a-number did, a good priority written afterwards puts everything right."""
    buffer, handles = filled(adapter, MASSES)
    refused(lambda: buffer.update([handles[1]], [math.nan]))
    buffer.update([handles[1]], [8.0])
    demand_law(buffer, MASSES | {1: 8.0})


@AT_THE_DOOR.case("none checks this", "priorities")
def lengths_differ(adapter: Buffer) -> None:
    """An update with fewer priorities than items is refused, and nothing has changed."""
    buffer, handles = filled(adapter, MASSES)
    demand(refused(lambda: buffer.update([handles[0], handles[1], handles[2]], [HIGH, HIGH])), "it was taken")
    demand_law(buffer, MASSES)


# ------------------------------------------------------------------------------ handles that are nobody's


def _touches_nobody(adapter: Buffer, kind: str) -> None:
    buffer, handles = filled(adapter, MASSES)
    stranger = buffer.foreign_handles()[kind]
    refused(lambda: buffer.update([stranger], [HIGH]))
    demand_law(buffer, MASSES)
    # where the stranger is a place that is filled later, what was written there must not wait for its owner
    put(buffer, NEW_KEY, 5.0)
    buffer.update([handles[0]], [2.0])
    demand_law(buffer, MASSES | {0: 2.0, NEW_KEY: 5.0})


@AT_THE_DOOR.case("none checks this", "priorities")
def negative_handle(adapter: Buffer) -> None:
    """An update by a handle below all touches nobody."""
    _touches_nobody(adapter, "negative")


@AT_THE_DOOR.case("none checks this", "priorities")
def handle_not_given_yet(adapter: Buffer) -> None:
    """An update by the handle that the next item will have touches nobody, now or later."""
    _touches_nobody(adapter, "unfilled")


@AT_THE_DOOR.case("none checks this", "priorities")
def handle_far_beyond(adapter: Buffer) -> None:
    """An update by a handle far above all touches nobody and ends no process."""
    _touches_nobody(adapter, "beyond")


# ------------------------------------------------------------------------------ samples that can not be had


@AT_THE_DOOR.case("reverb table_test SampleFailsOnEmptyTable, as an error that can be seen")
def sample_of_an_empty_buffer(adapter: Buffer) -> None:
    """A sample of an empty buffer is refused, or empty; no item is made up."""
    buffer = adapter.make(capacity=8)
    demand(refused(lambda: _demand_empty(buffer, 3)), "items were drawn from an empty buffer")
    put(buffer, 1)
    demand_whole([buffer.sample(1)])


def _demand_empty(buffer: BufferAdapter, n: int) -> None:
    if len(buffer.sample(n).keys) == 0:
        raise LookupError


@AT_THE_DOOR.case("cpprb test_PyReplayBuffer, larger batches")
def sample_larger_than_the_buffer(adapter: Buffer) -> None:
    """A sample larger than the buffer repeats items, is smaller or is refused; none of its items is made up."""
    buffer = adapter.make(capacity=8)
    for key in range(1, 4):
        put(buffer, key)
    for n in (4, 64):
        if not refused(lambda n=n: buffer.sample(n)):  # type: ignore[misc]  # bound in the loop on purpose
            drawn = buffer.sample(n)
            demand(len(drawn.keys) <= n, f"{len(drawn.keys)} items of {n}")
            demand(set(drawn.keys.tolist()) <= {1, 2, 3}, f"drawn though never added: {drawn.keys.tolist()}")
            demand_whole([drawn])


@AT_THE_DOOR.case("none checks this")
def sample_of_less_than_nothing(adapter: Buffer) -> None:
    """A sample of -1 items is refused, or empty, and the buffer goes on."""
    buffer = adapter.make(capacity=8)
    put(buffer, 1)
    demand(refused(lambda: _demand_empty(buffer, -1)), "-1 items were drawn")
    demand_whole([buffer.sample(1)])
