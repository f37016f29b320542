"""The table of seqs against a dict: dense, far apart, colliding."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dwell.records.seqs import GONE, SeqIndex

N_CELLS = 16  # of an index of 8 positions
# many that share a cell, some that do not, the ends of the range
SEQS = [*range(1, 12), *(3 + N_CELLS * k for k in range(1, 9)), *(2**40 + 5 + N_CELLS * k for k in range(6)), 2**63 - 1]


class AgainstADict(RuleBasedStateMachine):
    """Positions are dense, as in the buffer: who leaves is replaced by the last."""

    @initialize()
    def begin(self) -> None:
        self.take(8)

    def take(self, n: int) -> None:
        self.index = SeqIndex(n)
        self.column = np.zeros(n, dtype=np.int64)
        self.view = memoryview(self.column)
        self.live: list[int] = []

    def absent(self) -> list[int]:
        return [seq for seq in SEQS if seq not in self.live]

    @precondition(lambda self: len(self.live) < self.column.size)
    @rule(pick=st.integers(0, 100))
    def put(self, pick: int) -> None:
        absent = self.absent()
        seq = absent[pick % len(absent)]
        self.index.put(seq, len(self.live), self.view)
        self.view[len(self.live)] = seq
        self.live.append(seq)

    @precondition(lambda self: len(self.live) < self.column.size)
    @rule(data=st.data())
    def put_many(self, data: st.DataObject) -> None:
        room = self.column.size - len(self.live)
        new = data.draw(st.lists(st.sampled_from(self.absent()), unique=True, min_size=1, max_size=room))
        positions = np.arange(len(self.live), len(self.live) + len(new))
        self.index.put_many(np.array(new), positions, self.column)
        self.column[positions] = new
        self.live += new

    @precondition(lambda self: bool(self.live))
    @rule(pick=st.integers(0, 100))
    def remove(self, pick: int) -> None:
        at = pick % len(self.live)
        self.index.drop(self.live[at])
        self.view[at] = 0
        last = len(self.live) - 1
        if at != last:
            self.view[at], self.view[last] = self.live[last], 0
            self.live[at] = self.live[last]
            self.index.put(self.live[at], at, self.view)
        self.live.pop()

    @precondition(lambda self: bool(self.live))
    @rule(data=st.data())
    def take_over_many(self, data: st.DataObject) -> None:
        absent = self.absent()
        ranks = st.integers(0, len(self.live) - 1)
        positions = data.draw(st.lists(ranks, unique=True, min_size=1, max_size=len(absent)))
        new = data.draw(st.permutations(absent))[: len(positions)]
        at = np.array(positions)
        self.index.drop_many(self.column[at])
        self.column[at] = 0
        self.index.put_many(np.array(new), at, self.column)
        self.column[at] = new
        for position, seq in zip(positions, new, strict=True):
            self.live[position] = seq

    @rule()
    def clear(self) -> None:
        self.index.clear()
        self.column[:] = 0
        self.live = []

    @precondition(lambda self: self.column.size < 20)
    @rule(order=st.randoms(use_true_random=False))
    def make_anew(self, order: object) -> None:
        live = list(self.live)
        order.shuffle(live)  # type: ignore[attr-defined]
        self.take(self.column.size + 2)
        self.column[: len(live)] = live
        self.index.fill(self.column[: len(live)])
        self.live = live

    @invariant()
    def finds_who_is_here_and_nobody_else(self) -> None:
        if not hasattr(self, "live"):
            return
        expected = [self.live.index(seq) if seq in self.live else GONE for seq in SEQS]
        assert [self.index.one(seq, self.view) for seq in SEQS] == expected
        found, are_all_here = self.index.many(np.array(SEQS), self.column)
        assert (found.tolist(), are_all_here) == (expected, False)
        if self.live:
            found, are_all_here = self.index.many(np.array(self.live), self.column)
            assert (found.tolist(), are_all_here) == (list(range(len(self.live))), True)


TestAgainstADict = AgainstADict.TestCase
TestAgainstADict.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_dense_seqs_displace_nobody_while_they_run_on() -> None:
    n = 1000
    index, column = SeqIndex(n), np.zeros(n, dtype=np.int64)
    for seq in range(1, 50_001):
        at = (seq - 1) % n
        if column[at]:
            index.drop(int(column[at]))
        index.put(seq, at, memoryview(column))
        column[at] = seq
    assert index._displaced == {}
    assert index.many(np.arange(49_001, 50_001), column)[0].tolist() == [*range(n)]


@pytest.mark.parametrize("step", [1, 4096, 2**20])
def test_whatever_shares_a_cell_is_found_from_a_field_of_a_record(step: int) -> None:
    # the buffer's column of seqs is a field of a structured array: its stride is not its width
    n = 500
    record = np.zeros(n, dtype=[("seq", np.int64), ("other", np.float64)])
    index, seqs = SeqIndex(n), 1 + step * np.arange(n)
    index.put_many(seqs, np.arange(n), record["seq"])
    record["seq"] = seqs
    found, are_all_here = index.many(seqs[::-1].copy(), record["seq"])
    assert are_all_here
    assert found.tolist() == list(range(n))[::-1]
    assert index.many(seqs + 1, record["seq"])[0][-1] == GONE
    # at most 32 bytes a position, whatever the seqs
    assert index.n_bytes <= 32 * n + 32
