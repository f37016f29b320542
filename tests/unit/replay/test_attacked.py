"""What an attacker found once: refused before anything changes, or harmless."""

import time
from collections import deque
from typing import Any

import numpy as np
import pytest

from dwell.errors import DwellError, ReplayError
from dwell.records import ColumnSpec, Experience
from dwell.replay import ReplayBuffer
from dwell.replay.index_rows import SourceIndex

SPEC = ColumnSpec({"x": ((2,), np.dtype("float32"))})


def filled(n: int = 5, **given: Any) -> ReplayBuffer:
    buffer = ReplayBuffer(**{"capacity": 10, "columns": SPEC, "seed": 0, **given})
    buffer.extend_columns(
        [f"e{i}" for i in range(n)], timestamps=np.arange(n), columns={"x": np.zeros((n, 2), "float32")}
    )
    return buffer


class Source:
    names = ()

    def read(self, _seqs: Any, _names: Any) -> dict[str, Any]:
        return {}

    def experience(self, seq: int) -> Experience:
        raise LookupError(seq)


@pytest.mark.parametrize(
    "given", ["12", {3.0: 1, 4.0: 1}, ["5", "6"], [b"7", b"8"], [True, False], np.array(["1", "2"])]
)
def test_priorities_that_are_no_numbers_are_refused(given: object) -> None:
    buffer = filled()
    with pytest.raises(ReplayError, match="numbers are due"):
        buffer.update_priorities(["e0", "e1"], given)  # type: ignore[arg-type]
    assert buffer.priorities().tolist() == [1.0] * 5


@pytest.mark.parametrize("names", [deque(["u", "v"]), {"u", "v"}, {"u": 1, "v": 2}, 5, (n for n in "uv")])
def test_names_that_are_no_list_are_refused_before_anything_changes(names: Any) -> None:
    buffer = filled(capacity=5)
    with pytest.raises(DwellError):
        buffer.extend_columns(
            ["n0", "n1"], timestamps=0.0, columns={"x": np.zeros((2, 2), "float32")}, users=names, priorities=[1.0, 1.0]
        )
    assert buffer.seqs().tolist() == [1, 2, 3, 4, 5]


def test_a_refused_sample_leaves_the_generator_where_it_was() -> None:
    buffer, twin = filled(), filled()
    with pytest.raises(ReplayError, match="no such column"):
        buffer.sample(4, columns=["nope"])
    assert buffer.sample(8).seqs.tolist() == twin.sample(8).seqs.tolist()


def test_the_highest_number_is_nobodys_seq() -> None:
    buffer = ReplayBuffer(10, columns=Source())
    with pytest.raises(ReplayError):
        buffer.add_row(event_id="last", seq=2**63 - 1, timestamp=0.0)
    buffer.add_row(event_id="last", seq=2**63 - 2, timestamp=0.0)
    assert buffer.update_priorities([0, -5, 2**63 - 1], [1.0] * 3).stale == 3
    assert buffer.update_priorities([2**63 - 2], [3.0]).updated == 1


def test_an_index_with_a_wrong_length_or_value_is_not_adopted() -> None:
    sound = SourceIndex(
        np.array([b"a", b"b"]), np.array([1, 2]), np.zeros(2), np.ones(2), np.zeros(2), np.zeros(2, np.int64),
        np.zeros(2, np.int64), [None],
    )  # fmt: skip
    for field, value in (
        ("priorities", np.ones(3)),
        ("priorities", np.array([1.0, np.nan])),
        ("seqs", np.array([0, 1])),
        ("segment_codes", np.array([0, 1])),
        ("timestamps", np.array([0.0, np.inf])),
    ):
        buffer = ReplayBuffer(10, columns=Source())
        with pytest.raises(ReplayError):
            buffer.adopt(sound._replace(**{field: value}))
        assert buffer.size() == 0
    buffer.adopt(sound)
    assert buffer.seqs().tolist() == [1, 2]


def test_a_key_of_megabytes_is_nobodys() -> None:
    buffer = filled()
    assert buffer.update_priorities(["a" * 10**6] + ["e0"] * 1_000, np.full(1_001, 2.0)).stale == 1


def test_adding_by_the_highest_priority_does_not_look_at_everybody() -> None:
    # a full buffer of equal priorities: the one that leaves has the highest, and so have all the others
    n = 200_000
    buffer = ReplayBuffer(n, columns=SPEC, seed=0)
    buffer.extend_columns(
        [f"e{i}" for i in range(n)], timestamps=np.zeros(n), columns={"x": np.zeros((n, 2), "float32")}
    )
    row = {"x": np.zeros(2, "float32")}
    buffer.add_packed("first", timestamp=0.0, columns=row)

    def seconds(n_calls: int, priority: float | None, name: str) -> float:
        began = time.process_time()
        for i in range(n_calls):
            buffer.add_packed(f"{name}{i}", timestamp=0.0, columns=row, priority=priority)
        return time.process_time() - began

    given, highest = seconds(500, 1.0, "given"), seconds(500, None, "highest")
    assert highest < 3 * given  # a scan of 200,000 takes five times as long as the rest of an add


def test_evicting_behind_one_that_stays_does_not_begin_anew_each_time() -> None:
    n = 4_000
    big = filled(n, capacity=n, max_bytes=10**9)
    bounded = ReplayBuffer(n, columns=SPEC, max_bytes=big.n_bytes)
    bounded.extend_columns(
        [f"e{i}" for i in range(n)], timestamps=np.zeros(n), columns={"x": np.zeros((n, 2), "float32")}
    )
    # the oldest is replaced in place and grows by its user's name: the others leave behind it, one after the other
    began = time.process_time()
    evicted = [
        seq
        for i in range(1, 300)
        for seq in bounded.add_packed("e0", timestamp=0.0, columns={"x": np.zeros(2, "float32")}, user="u" * i)
    ]
    assert evicted == list(range(2, 2 + len(evicted)))
    assert evicted
    assert time.process_time() - began < 2.0


def test_shares_beyond_measure_are_refused() -> None:
    for shares in ({"a": 1.7e308}, {"a": 10**400}, {"a": 5e-324}):
        with pytest.raises(ReplayError, match="shares"):
            filled().sample(4, strategy="stratified", shares=shares)


def test_a_sum_just_outside_the_range_does_not_fill_the_tree_at_every_draw() -> None:
    # 786,432 priorities of 1/49152 round to 2^46 - 262144 units
    n = 786_432
    buffer = ReplayBuffer(n, columns=Source(), alpha=1.0, seed=0)
    buffer.adopt(
        SourceIndex(
            np.array([b"%d" % i for i in range(n)]), np.arange(1, n + 1), np.zeros(n), np.full(n, 1 / 49152),
            np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.int64), [None],
        )
    )  # fmt: skip
    buffer.sample(64, strategy="priority")
    began = time.process_time()
    for _ in range(20):
        buffer.sample(64, strategy="priority")
    assert time.process_time() - began < 0.2  # filling takes 0.03 s each
