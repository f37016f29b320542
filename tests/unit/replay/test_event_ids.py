"""The table of event ids against a dict."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dwell.replay.event_ids import GONE, EventIds, as_id_array

IDS = [
    *(f"e{i}" for i in range(12)),
    *(f"query-{i:032d}" for i in range(8)),
    "ü",
    "日本語-1",
    "日本語-2",
    "x" * 127,
    "x" * 128,
    "\U00020000" * 128,  # the longest of all: 512 bytes
    "12345678",
    "1234567",
    "123456789",
]
STRANGERS = ["stranger", "e", "x" * 129, "x" * 600, "", "e1\0", "\ud800"]


class AgainstADict(RuleBasedStateMachine):
    """Slots are dense, as in the buffer; the model is a list of ids by slot."""

    @initialize(n_slots=st.sampled_from([1, 2, 8, 20]), do_collide=st.booleans())
    def begin(self, n_slots: int, do_collide: bool) -> None:  # noqa: FBT001 - drawn by name
        self.table = EventIds(n_slots)
        if do_collide:  # all ids have the same hash: each hit must be told apart by the id itself
            self.table._keys = [0] * len(self.table._keys)
            self.table._keys_array[:] = 0
        self.n_slots = n_slots
        self.live: list[str] = []

    def absent(self) -> list[str]:
        return [name for name in IDS if name not in self.live]

    def make_room(self, n_more: int) -> None:
        if not self.table.has_room(n_more):
            self.table.rebuild(np.arange(len(self.live)), self.n_slots)
            assert self.table.has_room(n_more)

    @precondition(lambda self: len(self.live) < min(self.n_slots, len(IDS)))
    @rule(pick=st.integers(0, 100))
    def put(self, pick: int) -> None:
        absent = self.absent()
        name = absent[pick % len(absent)]
        self.make_room(1)
        self.table.put(len(self.live), name, self.table.hashed(name))
        self.live.append(name)

    @precondition(lambda self: len(self.live) < min(self.n_slots, len(IDS)))
    @rule(data=st.data(), is_run=st.booleans())
    def enter_many(self, data: st.DataObject, is_run: bool) -> None:  # noqa: FBT001 - drawn by name
        room = self.n_slots - len(self.live)
        new = data.draw(st.lists(st.sampled_from(self.absent()), unique=True, min_size=1, max_size=room))
        slots = np.arange(len(self.live), len(self.live) + len(new))
        ids = as_id_array(new)
        self.table.find_many(ids)  # as the buffer does before it enters a block
        self.make_room(len(new))
        where = slice(len(self.live), len(self.live) + len(new)) if is_run else slots
        self.table.write(where, ids, self.table.hashes_of(ids))
        self.table.enter_many(slots)
        self.live += new

    @precondition(lambda self: bool(self.live))
    @rule(pick=st.integers(0, 100))
    def remove(self, pick: int) -> None:
        slot = pick % len(self.live)
        self.table.drop(slot)
        last = len(self.live) - 1
        if slot != last:
            self.table.move(last, slot)
            self.live[slot] = self.live[last]
        self.live.pop()

    @precondition(lambda self: 0 < len(self.live) < len(IDS))
    @rule(data=st.data())
    def take_over_many(self, data: st.DataObject) -> None:
        absent = self.absent()
        ranks = st.integers(0, len(self.live) - 1)
        slots = data.draw(st.lists(ranks, unique=True, min_size=1, max_size=len(absent)))
        new = data.draw(st.permutations(absent))[: len(slots)]
        ids, at = as_id_array(new), np.array(slots)
        self.table.drop_many(at)
        if not self.table.has_room(len(new)):
            kept = [slot for slot in range(len(self.live)) if slot not in slots]
            self.table.rebuild(np.array(kept, dtype=np.int64), self.n_slots)
        self.table.write(at, ids, self.table.hashes_of(ids))
        self.table.enter_many(at)
        for slot, name in zip(slots, new, strict=True):
            self.live[slot] = name

    @precondition(lambda self: self.n_slots < len(IDS))
    @rule()
    def grow(self) -> None:
        self.n_slots = min(2 * self.n_slots, len(IDS))
        self.table.rebuild(np.arange(len(self.live)), self.n_slots)

    @rule()
    def clear(self) -> None:
        self.table.clear()
        self.live = []

    @invariant()
    def finds_who_is_here_and_nobody_else(self) -> None:
        if not hasattr(self, "live"):
            return
        asked = [*IDS, *STRANGERS]
        expected = [self.live.index(name) if name in self.live else GONE for name in asked]
        assert [self.table.find(name, self.table.hashed(name)) for name in asked] == expected
        known = [name for name in asked if not name.endswith("\0")]  # an array can not hold that one
        assert self.table.find_many(as_id_array(known)).tolist() == [expected[asked.index(name)] for name in known]
        n = len(self.live)
        assert self.table.texts(np.arange(n)) == [self.table.text(slot) for slot in range(n)] == self.live
        assert [raw.decode() for raw in self.table.array(n)] == self.live


TestAgainstADict = AgainstADict.TestCase
TestAgainstADict.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


def test_one_by_one_and_all_at_once_have_the_same_hash_whatever_the_width() -> None:
    table = EventIds(4)
    names = [name for name in (*IDS, *STRANGERS) if "\0" not in name]
    for width in (0, 24, 700):
        ids = as_id_array(names)
        wide = ids.astype(f"S{max(ids.itemsize, -(-width // 8) * 8)}")
        assert table.hashes_of(wide).tolist() == [table.hashed(name) for name in names]
    assert as_id_array(["a", "ü"]).tolist() == [b"a", "ü".encode()]


def test_a_table_full_of_vacated_cells_is_made_anew_and_stays_small() -> None:
    n = 500
    table = EventIds(n)
    n_cells = table._cells.size
    n_rebuilt = 0
    for i in range(20 * n):
        slot = i % n
        if i >= n:
            table.drop(slot)
        if not table.has_room(1):
            n_rebuilt += 1
            live = np.array([other for other in range(n) if other != slot and i >= n])
            table.rebuild(live, n)
        table.put(slot, f"id-{i}", table.hashed(f"id-{i}"))
    assert n_rebuilt > 5
    assert table._cells.size == n_cells
    assert [table.find(f"id-{i}", table.hashed(f"id-{i}")) % n for i in range(19 * n, 20 * n)] == list(range(n))
    assert table.find("id-0", table.hashed("id-0")) == GONE


def test_many_are_entered_at_once_and_dropped_at_once() -> None:
    n = 5000
    table = EventIds(n)
    ids = as_id_array([f"id-{i}" for i in range(n)])
    table.write(slice(0, n), ids, table.hashes_of(ids))
    table.enter_many(np.arange(n))
    assert table.find_many(ids).tolist() == list(range(n))
    table.drop_many(np.arange(0, n, 2))
    assert table.find_many(ids).tolist() == [i if i % 2 else GONE for i in range(n)]
    assert table._n_filled == np.count_nonzero(table._cells != GONE) == n


def test_who_chooses_ids_does_not_know_the_multipliers(tmp_path: Path) -> None:
    # they hang on the interpreter's secret: under another one the same id has another hash
    code = "from dwell.replay.event_ids import EventIds; print(EventIds(4).hashed('e1'))"
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    found = {
        subprocess.check_output([sys.executable, "-c", code], env=paths | {"PYTHONHASHSEED": secret}, cwd=tmp_path)
        for secret in ("1", "2", "2")
    }
    assert len(found) == 2


def test_ids_that_were_taken_over_are_found_and_added_to() -> None:
    names = [f"query-{i}" for i in range(40)]
    for n_slots in (40, 100):
        table = EventIds(n_slots)
        table.adopt(as_id_array(names), n_slots)
        assert [raw.decode() for raw in table.array(40)] == names
        assert table.find_many(as_id_array([*names[::-1], "none"])).tolist() == [*range(39, -1, -1), GONE]
        table = EventIds(n_slots)
        table.adopt(as_id_array(names), n_slots)
        table.drop(0)
        table.move(39, 0)
        table.put(39, "new", table.hashed("new"))
        assert [table.find(name, table.hashed(name)) for name in ("query-0", "query-39", "new")] == [GONE, 0, 39]


@pytest.mark.parametrize("ids", [["a", "bb"], np.array([b"a", b"bb"])], ids=["texts", "bytes"])
def test_ids_become_bytes_of_whole_words(ids: object) -> None:
    found = as_id_array(ids)  # type: ignore[arg-type]
    assert found.dtype == np.dtype("S8")
    assert found.flags.c_contiguous
    assert found.tolist() == [b"a", b"bb"]
