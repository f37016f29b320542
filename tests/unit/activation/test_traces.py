"""The arithmetic of traces, against sums over all events."""

import numpy as np
import pytest

from dwell.activation import LADDER_12, traces

S = 1_000_000


def summed(events: list[tuple[int, float]], as_of_us: int) -> np.ndarray:
    """Return the sums by their definition."""
    return sum(r * np.exp(-LADDER_12.rates * (as_of_us - at) / S) for at, r in events) + np.zeros(12)


def test_events_in_any_order_are_the_sum_over_all_of_them() -> None:
    events = [(500 * S, 1.0), (3 * S, 0.25), (90_000 * S, 0.5), (90_000 * S, 0.5)]
    state, last = np.zeros(12), np.int64(0)
    for at, amount in events:
        state, last = traces.added(state, last, at, amount, LADDER_12)
    assert last == 90_000 * S
    assert state == pytest.approx(summed(events, 90_000 * S), rel=1e-14)


def test_a_retraction_leaves_what_had_been_without_the_event() -> None:
    state, last = traces.added(np.zeros(12), 0, 10 * S, 1.0, LADDER_12)
    more, later = traces.added(state, last, 70_000 * S, 0.3, LADDER_12)
    left = traces.retracted(more, later, 10 * S, 1.0, LADDER_12)
    assert left == pytest.approx(summed([(70_000 * S, 0.3)], 70_000 * S), rel=1e-12)
    assert (traces.retracted(left, later, 70_000 * S, 0.3, LADDER_12) == 0.0).all()


def test_merging_is_concatenation() -> None:
    one, one_us = traces.added(np.zeros(12), 0, 40 * S, 1.0, LADDER_12)
    other, other_us = traces.added(np.zeros(12), 0, 7_000 * S, 0.5, LADDER_12)
    both, both_us = traces.merged(one, one_us, other, other_us, LADDER_12)
    assert both_us == 7_000 * S
    assert both == pytest.approx(summed([(40 * S, 1.0), (7_000 * S, 0.5)], 7_000 * S), rel=1e-14)


def test_many_items_and_channels_at_once() -> None:
    state, last = np.zeros((3, 2, 12)), np.zeros((3, 1), dtype=np.int64)
    at = np.array([[5 * S], [9 * S], [2 * S]])
    state, last = traces.added(state, last, at, np.array([[1.0, 2.0], [0.0, 1.0], [0.5, 0.5]]), LADDER_12)
    assert state.shape == (3, 2, 12)
    assert last.ravel().tolist() == [5 * S, 9 * S, 2 * S]
    found = traces.masses(state, 600 * S - last, 0.5, LADDER_12)
    kernel = np.exp(-np.outer((600 * S - at.ravel()) / S, LADDER_12.rates)) @ LADDER_12.weights(0.5)
    assert found == pytest.approx(kernel[:, None] * np.array([[1.0, 2.0], [0.0, 1.0], [0.5, 0.5]]), rel=1e-12)


def test_base_level_is_near_the_power_law_and_has_a_value_at_age_0() -> None:
    state, _ = traces.added(np.zeros(12), 0, 0, 1.0, LADDER_12)
    assert traces.base_level(state, 3_600 * S, 0.5, LADDER_12) == pytest.approx(-0.5 * np.log(3_600), abs=0.014)
    assert traces.base_level(state, 0, 0.5, LADDER_12) == pytest.approx(np.log(LADDER_12.weights(0.5).sum()))
    assert traces.base_level(state, -5, 0.5, LADDER_12) == traces.base_level(state, 0, 0.5, LADDER_12)
    assert traces.base_level(np.zeros(12), 0, 0.5, LADDER_12) == -np.inf
