import numpy as np
import pytest

from dwell.replay.ring import FIRST_SLOTS, GONE, IndexRow, Ring


def row(seq: int, **changed: object) -> IndexRow:
    fields = {
        "event_id": f"e{seq}",
        "seq": seq,
        "timestamp": float(seq),
        "priority": 1.0,
        "reward": 0.0,
        "version": 0,
        "user": None,
        "segment": None,
        "size_bytes": 10,
    }
    return IndexRow(**{**fields, **changed})  # type: ignore[arg-type]


def test_what_leaves_is_replaced_by_the_last_and_everybody_is_found_again() -> None:
    ring = Ring(10)
    for seq in (5, 3, 9, 7):
        ring.append(row(seq, segment=f"s{seq}", user=f"u{seq}"))
    assert ring.remove(ring.slot_of(3)) == 3
    assert len(ring) == 3
    for seq in (5, 9, 7):
        slot = ring.slot_of(seq)
        assert ring.slot_of(f"e{seq}") == slot
        assert ring.row(slot) == row(seq, segment=f"s{seq}", user=f"u{seq}")
    assert ring.slot_of(3) == ring.slot_of("e3") == GONE
    assert ring.in_order().tolist() == [5, 9, 7]
    assert ring.total_bytes == 30
    assert ring.segments.counts() == {"s5": 1, "s9": 1, "s7": 1}


def test_seqs_are_found_together_whether_dense_or_far_apart() -> None:
    ring = Ring(5000)
    seqs = np.concatenate([np.arange(1, 2500), 10**12 + 2**20 * np.arange(1000)])  # these share their hint
    for seq in seqs.tolist():
        ring.append(row(seq))
    asked = np.concatenate([seqs, [0, -1, 2500, 10**12 + 1, 2**63 - 1]])
    expected = np.concatenate([np.arange(seqs.size), np.full(5, GONE)])
    assert ring.slots_of_seqs(asked).tolist() == expected.tolist()


def test_a_seq_that_left_is_not_found_through_an_old_hint() -> None:
    ring = Ring(4)
    ring.append(row(1))
    ring.append(row(2))
    ring.remove(ring.slot_of(2))
    assert ring.slots_of_seqs(np.array([1, 2])).tolist() == [0, GONE]
    ring.clear()
    assert ring.slots_of_seqs(np.array([1, 2])).tolist() == [GONE, GONE]


def test_the_successor_of_the_oldest_takes_its_slot() -> None:
    ring = Ring(2)
    ring.append(row(1))
    ring.append(row(2))
    ring.take_over(ring.slot_of(ring.oldest()), row(3))
    assert ring.in_order().tolist() == [2, 3]
    assert ring.slot_of(3) == 0
    assert ring.oldest() == 2
    assert ring.oldest(but=2) == 3


def test_columns_grow_with_use_not_with_capacity() -> None:
    ring = Ring(2**31)
    assert ring.n_slots == FIRST_SLOTS
    for seq in range(1, FIRST_SLOTS + 2):
        ring.append(row(seq))
    assert ring.n_slots == 2 * FIRST_SLOTS
    assert ring.seqs.tolist() == list(range(1, FIRST_SLOTS + 2))
    assert ring.slots_of_seqs(ring.seqs).tolist() == list(range(FIRST_SLOTS + 1))


def test_the_code_of_a_segment_that_emptied_is_used_again() -> None:
    ring = Ring(1)
    ring.append(row(1, segment="s1"))
    for seq in range(2, 1000):
        ring.take_over(0, row(seq, segment=f"s{seq}"))
    assert ring.column("segment_code").tolist() == [0]
    assert ring.segments.name(0) == "s999"


def test_a_replacement_keeps_its_age_and_counts_its_bytes_once() -> None:
    ring = Ring(4)
    ring.append(row(1))
    ring.append(row(2))
    ring.replace(0, row(1, size_bytes=25, segment="new"))
    assert ring.in_order().tolist() == [1, 2]
    assert ring.total_bytes == 35
    assert ring.segments.counts() == {None: 1, "new": 1}


@pytest.mark.parametrize("capacity", [1, 3, FIRST_SLOTS, FIRST_SLOTS + 7])
def test_the_allocation_never_exceeds_the_capacity(capacity: int) -> None:
    ring = Ring(capacity)
    for seq in range(1, capacity + 1):
        ring.append(row(seq))
    assert ring.n_slots == capacity
