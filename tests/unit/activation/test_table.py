"""Columns: growth, repeats, removal, what a row holds and what a store is told."""

import numpy as np
import pytest

from dwell.activation import LADDER_12, LADDER_14, TraceTable
from dwell.errors import RecordError

S = 1_000_000
BOTH = np.array([1.0, 1.0])


def kernel(ages_s: np.ndarray, decay: float = 0.5) -> np.ndarray:
    return np.exp(-np.outer(ages_s, LADDER_12.rates)) @ LADDER_12.weights(decay)


def filled(n: int, seed: int = 0) -> tuple[TraceTable, list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    table, items = TraceTable(LADDER_12), [f"item-{i}" for i in range(n)]
    at = rng.integers(0, 10**13, n)
    table.add(items, at, np.column_stack([np.full(n, 0.5), np.ones(n)]))
    return table, items, at


def test_it_grows_and_a_scan_says_what_a_question_says() -> None:
    table, items, at = filled(5_000)
    expected = kernel((10**13 - at) / S)[:, None] * np.array([0.5, 1.0])
    assert table.items() == items
    assert table.masses(None, 10**13, 0.5) == pytest.approx(expected, rel=1e-12)
    assert table.masses(items[::-7], 10**13, 0.5) == pytest.approx(expected[::-7], rel=1e-12)
    assert table.masses(["new", items[3], "new"], 10**13, 0.5)[:, 1].tolist()[::2] == [0.0, 0.0]


def test_an_instant_per_item() -> None:
    table, items, at = filled(50)
    found = table.masses(items, at + 3_600 * S, 0.5)
    assert found[:, 1] == pytest.approx(np.full(50, kernel(np.array([3_600.0]))[0]), rel=1e-12)


def test_repeats_in_one_call_are_calls_one_by_one() -> None:
    rng = np.random.default_rng(4)
    items = [f"item-{i}" for i in rng.integers(0, 5, 200)]
    at, amounts = rng.integers(0, 10**12, 200), rng.random((200, 2))
    at_once, one_by_one = TraceTable(LADDER_12), TraceTable(LADDER_12)
    at_once.add(items, at, amounts)
    for item, instant, amount in zip(items, at.tolist(), amounts, strict=True):
        one_by_one.add([item], instant, amount[None])
    names = sorted(set(items))
    assert at_once.masses(names, 10**12, 0.3) == pytest.approx(one_by_one.masses(names, 10**12, 0.3), rel=1e-11)
    at_once.add(items, at, -amounts)
    assert (at_once.masses(names, 10**12, 0.3) == 0.0).all()


def test_what_is_removed_leaves_nothing_to_who_takes_its_row() -> None:
    table, items, _ = filled(100)
    table.pin(items[7], -1.0)
    assert table.remove([items[7], "unknown"]) == 1
    assert items[7] not in table
    assert len(table) == 99
    assert table.masses(None, 10**13, 0.5).shape == (99, 2)
    table.add(["heir"], 5, np.array([[0.0, 1.0]]))
    assert table.masses(["heir"], 5, 0.5)[0, 0] == 0.0
    assert table.pins == {}
    assert len(table.items()) == 100


def test_a_store_is_told_each_change_once() -> None:
    table, items, at = filled(10)
    assert [item for item, _ in table.take_changes().rows] == sorted(items)
    assert table.take_changes() == ([], [])
    table.add([items[4]], int(at[4]) + 1, BOTH[None])
    table.pin("pinned")
    table.remove([items[9]])
    changes = table.take_changes()
    assert [item for item, _ in changes.rows] == sorted([items[4], "pinned"])
    assert changes.removed == [items[9]]
    assert not table.unpin(items[0])
    assert table.take_changes() == ([], [])


def test_rows_come_back_bit_for_bit() -> None:
    table, items, _ = filled(3_000)
    table.pin(items[5], -2.5)
    table.pin(items[6])
    copy = TraceTable(LADDER_12)
    assert copy.load(table.rows()) == 3_000
    assert dict(copy.rows()) == dict(table.rows())
    assert copy.pins == table.pins == {items[5]: -2.5, items[6]: -np.inf}
    assert copy.take_changes() == ([], [])
    assert copy.load(table.rows([items[1]])) == 1


def test_a_row_is_small_whatever_its_history() -> None:
    for ladder, n_bytes in ((LADDER_12, 209), (LADDER_14, 241)):
        table = TraceTable(ladder)
        for i in range(1_000):
            table.add(["one"], i * S, BOTH[None])
        ((_, row),) = table.rows()
        assert len(row) == table.n_bytes_per_row == n_bytes


@pytest.mark.parametrize("place", [0, 8, 9, 17, 200])
def test_a_damaged_row_is_refused(place: int) -> None:
    table, items, _ = filled(3)
    item, row = next(table.rows([items[1]]))
    damaged = row[:place] + b"\xff" * 8 + row[place + 8 :]
    with pytest.raises(RecordError) as refused:
        table.load([(item, damaged)])
    assert (refused.value.code, refused.value.field) == ("corrupt", item)


def test_tables_on_two_ladders_are_not_merged() -> None:
    with pytest.raises(RecordError, match="two ladders"):
        TraceTable(LADDER_12).merge(TraceTable(LADDER_14))


def test_merging_keeps_the_higher_floor() -> None:
    one, other = TraceTable(LADDER_12), TraceTable(LADDER_12)
    one.pin("a", -3.0)
    other.pin("a", -2.0)
    other.pin("b")
    one.merge(other)
    assert one.pins == {"a": -2.0, "b": -np.inf}
