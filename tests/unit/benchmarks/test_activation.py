"""The cost benchmark runs, small, and judges against its own bars."""

import numpy as np
import pytest

import activation
from _activation_durable import ALONE, BARE, FACTS, bytes_in_store, durable
from _timing import verdict


def test_every_contestant_is_timed_and_told() -> None:
    said: list[str] = []
    seconds = activation.measured(2_000, 1, said.append)
    assert set(seconds) >= {activation.SCAN, activation.SOME, activation.SERVE, activation.THEIRS}
    lines = activation.table(seconds, 2_000)
    assert len(lines) == 2 + len(seconds)
    assert all("met" in line for line in lines if line.startswith(f"| {activation.SERVE} |"))
    assert "1,000,000" not in said[0]


def test_the_ratio_is_per_item() -> None:
    seconds = {activation.SCAN: np.full(9, 0.1), activation.THEIRS: np.full(9, 3e-3)}
    found = activation.against(seconds, 1_000_000)
    assert found is not None
    assert found.value == pytest.approx(3e-3 / 300 / 1e-7)
    assert verdict(found, activation.FASTER_BAR) == "met"
    assert activation.against({activation.SCAN: np.ones(1)}, 10) is None


def test_the_scan_has_a_bar_for_a_million_items_only() -> None:
    seconds = {activation.SCAN: np.full(9, 0.1)}
    assert "met" in activation.table(seconds, 1_000_000)[-1]
    assert "met" not in activation.table(seconds, 100_000)[-1]


def test_a_row_with_its_overhead_is_within_its_bar() -> None:
    assert activation.LADDER_12.size * 16 < activation.bytes_kept(2_000, activation.LADDER_12) <= activation.BYTES_BAR
    assert activation.bytes_kept(2_000, activation.LADDER_14) <= activation.BYTES_BAR_14


def test_serves_reach_a_disk_in_three_ways() -> None:
    found = durable(60, 1)
    assert list(found) == [ALONE, FACTS, BARE]
    assert all(rate.min() > 0.0 for rate in found.values())
    lines = activation.durable_table({ALONE: np.full(9, 6_000.0), BARE: np.full(9, 9_000.0)})
    assert ("met" in lines[2], "met" in lines[3]) == (True, False)


def test_an_item_in_a_store_is_larger_than_its_sums() -> None:
    assert 209 < bytes_in_store(2_000, 12) < bytes_in_store(2_000, 14) < 400
