"""Who leaves, and who does not: quotas, bytes, ages."""

from collections.abc import Callable

import numpy as np
import pytest

from dwell.records import ColumnSpec, Experience
from dwell.replay import ReplayBuffer

Make = Callable[..., Experience]


def ids(buffer: ReplayBuffer) -> list[str]:
    return [item.event_id for item in buffer]


def test_a_tail_within_its_quota_loses_nobody_while_the_head_floods(experience: Make) -> None:
    buffer = ReplayBuffer(20, segment_quotas={"tail": 0.25})
    buffer.extend(experience(f"t{i}", segment="tail") for i in range(5))  # exactly its quota, and the oldest of all
    evicted = buffer.extend(experience(f"h{i}", segment="head") for i in range(100))
    assert buffer.segment_counts() == {"tail": 5, "head": 15}
    # the head loses its own oldest: seqs 6 to 105 came, the last 15 stay
    assert evicted == list(range(6, 91))
    # beyond its quota the tail competes: the sixth of it makes it one above, the head is 15 above
    assert buffer.extend([experience("t5", segment="tail")]) == [91]


def test_within_the_segment_that_loses_it_is_the_oldest_whatever_was_replaced_or_restored(experience: Make) -> None:
    buffer = ReplayBuffer(6, segment_quotas={"b": 0.5})
    buffer.extend(experience(f"e{i}", segment="ab"[i % 2], user="u") for i in range(6))
    buffer.add(experience("e0", segment="a", priority=2.0, user="u"))  # in place: still the oldest of its segment
    buffer.add(experience("e3", segment="a", user="u"))  # now of the other segment, where two are older or younger
    buffer.remove("e1")
    buffer.add(experience("e6", segment="a", user="v"))  # its slot is that of e1, or of who moved there
    twin = ReplayBuffer.from_state(buffer.to_state())
    for one in (buffer, twin):
        left = [one.extend([experience(f"n{i}", segment="a")]) for i in range(5)]
        # ages: e0 (seq 1), e2 (3), e3 (4), e4 (5), e5 (6, segment b), e6 (7)
        assert left == [[1], [3], [4], [5], [7]]
        assert one.segment_counts() == {"a": 5, "b": 1}


def test_equal_quotas_follow_the_segments_present(experience: Make) -> None:
    buffer = ReplayBuffer(12, segment_quotas="equal")
    buffer.extend(experience(f"a{i}", segment="a") for i in range(12))
    buffer.extend(experience(f"b{i}", segment="b") for i in range(12))
    assert buffer.segment_counts() == {"a": 6, "b": 6}
    buffer.extend(experience(f"n{i}") for i in range(12))
    assert buffer.segment_counts() == {"a": 4, "b": 4, None: 4}
    buffer.extend(experience(f"c{i}", segment="a") for i in range(50))
    assert buffer.segment_counts() == {"a": 4, "b": 4, None: 4}
    assert ids(buffer)[-4:] == ["c46", "c47", "c48", "c49"]


def test_quotas_hold_for_blocks_too() -> None:
    spec = ColumnSpec({"x": ((), np.dtype("f8"))})
    buffer = ReplayBuffer(10, segment_quotas={"tail": 0.3}, columns=spec)
    for begin, segment, n in ((0, "tail", 3), (100, "head", 40)):
        names = [f"e{begin + i}" for i in range(n)]
        buffer.extend_columns(names, timestamps=0.0, columns={"x": np.arange(n)}, segments=[segment] * n)
    assert buffer.segment_counts() == {"tail": 3, "head": 7}


def test_quotas_and_bytes_spare_the_tail_and_the_newest(experience: Make) -> None:
    one = ReplayBuffer(1)
    one.add(experience("t0", segment="tail"))
    size = one.n_bytes
    buffer = ReplayBuffer(10, max_bytes=6 * size, segment_quotas={"tail": 0.2})
    buffer.extend(experience(f"t{i}", segment="tail") for i in range(2))
    buffer.extend(experience(f"h{i}", segment="head") for i in range(9))
    assert buffer.segment_counts() == {"tail": 2, "head": 4}
    assert buffer.n_bytes <= 6 * size
    # as large as four: the head's three other than it leave, then it is the tail's turn
    evicted = buffer.extend([experience("h8", segment="head", query="reset 2fa" + "x" * (4 * size))])
    assert ids(buffer) == ["t1", "h8"]
    assert len(evicted) == 4
    assert evicted[-1] == 1


@pytest.mark.parametrize("order", [range(8), [7, 3, 0, 5, 1, 6, 2, 4]], ids=["in order", "out of order"])
def test_an_age_counts_from_the_newest_timestamp_in_any_order_of_arrival(experience: Make, order: list[int]) -> None:
    buffer = ReplayBuffer(100, max_age_s=30.0)
    gone = [seq for i in order for seq in buffer.extend([experience(f"e{i}", timestamp=1000.0 + 10 * i)])]
    assert {item.event_id for item in buffer} == {"e4", "e5", "e6", "e7"}  # exactly 30 s behind is young enough
    assert len(gone) == len(set(gone)) == 4
    # far in the past: it comes and goes, and is named
    assert buffer.extend([experience("late", timestamp=5.0)]) == [9]
    assert buffer.extend([experience("far", timestamp=9000.0)]) == sorted(
        buffer_seq for buffer_seq in range(1, 9) if buffer_seq not in gone
    ) or set(ids(buffer)) == {"far"}


def test_who_was_replaced_by_a_younger_self_has_its_age(experience: Make) -> None:
    buffer = ReplayBuffer(100, max_age_s=30.0)
    buffer.add(experience("e0", timestamp=1000.0))
    buffer.add(experience("e1", timestamp=1001.0))
    buffer.add(experience("e0", timestamp=1025.0))
    assert buffer.extend([experience("e2", timestamp=1040.0)]) == [2]
    assert buffer.extend([experience("e3", timestamp=1055.0)]) == []
    assert buffer.extend([experience("e4", timestamp=1055.5)]) == [1]


def test_an_age_of_zero_keeps_the_newest_instant_alone(experience: Make) -> None:
    buffer = ReplayBuffer(100, max_age_s=0.0)
    buffer.extend(experience(f"e{i}", timestamp=float(i // 3)) for i in range(8))
    assert ids(buffer) == ["e6", "e7"]


def test_deadlines_of_those_that_left_otherwise_are_forgotten(experience: Make) -> None:
    buffer = ReplayBuffer(10, max_age_s=1e9)
    buffer.extend(experience(f"e{i}", timestamp=float(i)) for i in range(5000))
    heap = buffer._in._deadlines._heap  # type: ignore[union-attr]
    assert len(heap) < 2000
    assert {seq for _, seq in heap} >= set(buffer.seqs().tolist())
    # those who stay while another is replaced again and again keep theirs
    steady = ReplayBuffer(10, max_age_s=100.0)
    steady.extend(experience(f"e{i}", timestamp=1.0) for i in range(10))
    steady.extend(experience("e0", timestamp=50.0 + i / 1e3) for i in range(3000))
    assert sorted(steady.extend([experience("e0", timestamp=102.0)])) == [*range(2, 11)]


def test_the_newest_timestamp_is_part_of_the_state(experience: Make) -> None:
    buffer = ReplayBuffer(10, max_age_s=30.0)
    buffer.extend([experience("e0", timestamp=1000.0), experience("e1", timestamp=1020.0)])
    buffer.remove("e1")
    twin = ReplayBuffer.from_state(buffer.to_state())
    for one in (buffer, twin):
        assert one.extend([experience("old", timestamp=985.0)]) == [3]


def test_evict_before_takes_the_old_in_any_order_and_names_them(experience: Make) -> None:
    buffer = ReplayBuffer(10, segment_quotas="equal")
    for i in (3, 0, 7, 5, 1):
        buffer.add(experience(f"e{i}", timestamp=float(i), user=f"u{i}", segment="ab"[i % 2]))
    assert sorted(buffer.evict_before(3.5)) == [1, 2, 5]
    assert ids(buffer) == ["e7", "e5"]
    assert buffer.evict_before(5.0) == []
    assert buffer.evict_before(1e9) == [3, 4] or buffer.size() == 0
    assert buffer.segment_counts() == {}
    assert buffer.remove_user("u7") == 0
