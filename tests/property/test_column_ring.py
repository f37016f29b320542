"""Whatever is put, set and dropped, in whatever order, and however often the file is opened anew: a ring is a dict."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dwell.errors import RingUnusable
from dwell.storage.column_ring import ColumnRing
from dwell.testing.store_rings import ring_contents, sample_columns, sample_ring_schema, sample_row

# few seqs, so that they meet again; some far apart, some that share the low bits by which the index finds them
SEQS = st.one_of(st.integers(1, 30), st.integers(0, 8).map(lambda i: 5 + (i << 11)), st.integers(2**39, 2**39 + 5))
MARKS = st.integers(0, 2047)
Row = dict[str, bytes]


def rows_of(seqs: list[int], mark: int, d: int) -> dict[int, Row]:
    """Return what a ring should hold of rows, as bytes by column."""
    schema = sample_ring_schema(d=d)
    columns = sample_columns(seqs, mark, d=d)
    cast = {c.name: columns[c.name].astype(c.dtype) for c in schema.all_columns}
    return {seq: {name: column[i].tobytes() for name, column in cast.items()} for i, seq in enumerate(seqs)}


class RingMachine(RuleBasedStateMachine):
    @initialize(is_file=st.booleans())
    def begin(self, *, is_file: bool) -> None:
        self.folder = Path(tempfile.mkdtemp()) if is_file else None
        self.path = None if self.folder is None else str(self.folder / "s.ring")
        self.d = 4
        self.epoch = 0
        self.model: dict[int, Row] = {}
        self.ring = ColumnRing.create(self.path, sample_ring_schema(), 1)

    def teardown(self) -> None:
        self.ring.close()
        if self.folder is not None:
            shutil.rmtree(self.folder)

    @rule(seq=SEQS, mark=MARKS)
    def put(self, seq: int, mark: int) -> None:
        self.ring.put(max(seq, 1), sample_row(max(seq, 1), mark, d=self.d))
        self.model.update(rows_of([max(seq, 1)], mark, self.d))

    @rule(seqs=st.lists(SEQS, unique=True, max_size=20), mark=MARKS)
    def put_many(self, seqs: list[int], mark: int) -> None:
        self.ring.put_many(sample_columns(seqs, mark, d=self.d))
        self.model.update(rows_of(seqs, mark, self.d))

    @rule(first=st.integers(100, 3000), n=st.integers(1, 1100), mark=MARKS)
    def put_a_run(self, first: int, n: int, mark: int) -> None:
        seqs = list(range(first, first + n))
        self.ring.put_many(sample_columns(seqs, mark, d=self.d))
        self.model.update(rows_of(seqs, mark, self.d))

    @rule(seqs=st.lists(SEQS, max_size=20))
    def drop(self, seqs: list[int]) -> None:
        there = set(seqs) & set(self.model)
        assert self.ring.drop(seqs) == len(there)
        for seq in there:
            del self.model[seq]

    @rule(first=st.integers(1, 4000), n=st.integers(1, 3000))
    def drop_a_run(self, first: int, n: int) -> None:
        there = set(range(first, first + n)) & set(self.model)
        assert self.ring.drop(range(first, first + n)) == len(there)
        for seq in there:
            del self.model[seq]

    @rule(seqs=st.lists(SEQS, max_size=20), value=st.floats(allow_nan=False))
    def set(self, seqs: list[int], value: float) -> None:
        values = [value + i if np.isfinite(value) else value for i in range(len(seqs))]
        assert self.ring.set(seqs, "priority", values) == sum(seq in self.model for seq in seqs)
        for seq, given in zip(seqs, values, strict=True):
            if seq in self.model:
                self.model[seq]["priority"] = np.float64(given).tobytes()

    @precondition(lambda self: self.path is not None)
    @rule(step=st.integers(0, 3))
    def open_again(self, step: int) -> None:
        assert self.path is not None
        self.epoch += step
        self.ring.checkpoint(self.epoch)
        self.ring.close()
        self.ring = ColumnRing.open(self.path, sample_ring_schema(d=self.d), self.epoch)
        assert self.ring.is_clean

    @precondition(lambda self: self.path is not None and not self.ring.is_clean)
    @rule()
    def open_without_a_checkpoint(self) -> None:
        assert self.path is not None
        with pytest.raises(RingUnusable) as caught:
            ColumnRing.open(self.path, sample_ring_schema(d=self.d), self.epoch)
        assert caught.value.code == "ring_dirty"

    @precondition(lambda self: self.d < 6)
    @rule()
    def widen(self) -> None:
        self.ring = self.ring.widened(sample_ring_schema(d=self.d + 1))
        for row in self.model.values():
            row["features"] += bytes(3 * 4)  # three float32 of one more document
            row["rewards"] += bytes(8)
        self.d += 1

    @rule(seqs=st.lists(SEQS, max_size=20))
    def look(self, seqs: list[int]) -> None:
        assert self.ring.there(seqs).tolist() == [seq in self.model for seq in seqs]
        there = [seq for seq in seqs if seq in self.model]
        found = self.ring.read(there, ["rewards", "seq", "embedding"])
        for i, seq in enumerate(there):
            for name, column in found.items():
                assert column[i].tobytes() == self.model[seq][name]

    @invariant()
    def it_counts_and_lists_its_rows(self) -> None:
        assert len(self.ring) == len(self.model)
        assert sorted(self.ring.seqs().tolist()) == sorted(self.model)
        assert self.ring.last_seq == max(self.model, default=0)

    @rule()
    def it_holds_what_was_put(self) -> None:
        assert ring_contents(self.ring) == self.model


TestRing = RingMachine.TestCase
TestRing.settings = settings(max_examples=40, stateful_step_count=30)
