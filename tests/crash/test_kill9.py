"""The process is killed at any moment: what was acknowledged is there, whole, and nothing is there in part.

A kill takes the process, not the machine: what was written and not synced survives it, so this says nothing of power
cuts; `test_power_cut.py` does. `DWELL_KILLS=200` kills that often.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import ingest_child
import pytest
from children import Nursery
from ledger import Ledger

import dwell
from dwell.errors import StoreOwnedError
from dwell.storage import Reader, Store, open_store
from dwell.testing.store_samples import sample_impression, sample_signal

pytestmark = pytest.mark.crash

N_KILLS = int(os.environ.get("DWELL_KILLS", "30"))
N_BELOW = max(8, N_KILLS // 4)  # kills of the layer below, and of processes that make their store


def check_traces(reader: Reader, there: set[str]) -> None:
    """Demand that every event is in one change or in one row, as its transaction left it."""
    changes, rows = reader.trace_changes(), dict(reader.traces())
    assert all(packed.decode("ascii") == item for item, packed in rows.items())
    waiting = [event_id for _, body in changes for event_id in body.decode("ascii").split()]
    assert len(waiting) < 4 * ingest_child.FOLDED
    assert sorted([*waiting, *rows]) == sorted(there), "a change or a row without its events, or events without them"
    if changes:
        first = changes[0][0]
        assert first % ingest_child.FOLDED == 1
        assert [n for n, _ in changes] == list(range(first, first + len(changes)))


def check_jobs(store: Store, acknowledged: set[str]) -> int:
    """Demand that nothing acknowledged is missing and nothing that is there is torn; return how many events are."""
    assert store.verify() == []
    with store.snapshot() as reader:
        seqs = reader.seqs()
        assert seqs == list(range(1, reader.last_seq() + 1)), "no seq is missing, none is left over"
        there = set()
        signals = reader.signals(seqs)
        for impression in reader.impressions(seqs):
            assert impression.query == ingest_child.check_value(impression.event_id)
            assert impression.features.tobytes() == sample_impression(impression.event_id).features.tobytes()
            assert signals[impression.seq] == [sample_signal(impression.event_id)]
            there.add(impression.event_id)
        assert len(reader.outcomes(seqs)) == len(there) == len(seqs)
        check_traces(reader, there)
    assert acknowledged <= there
    for event_id in there:
        job, n = event_id.rsplit("-", 1)[0], 4 if int(event_id.split("-")[2]) % 3 == 2 else 1
        assert all(f"{job}-{j}" in there for j in range(n)), f"half of the group {job}"
    return len(there)


def test_kill9_of_a_loop_loses_nothing(tmp_path: Path, nursery: Callable[..., Nursery]) -> None:
    rng = random.Random(20)
    path = tmp_path / "s"
    ledger = Ledger()
    born = nursery()
    for run in range(N_KILLS):
        child = born.start("loop_child", path, run)
        assert child.line() == "open"
        ledger.took(child.killed_after(rng, 0.25))
        # A reader leaves the journal to the next child, as the crash left it
        store = open_store(str(path), role="owner" if run % 2 else "reader")
        ledger.check(store, everything=run in {N_KILLS // 2, N_KILLS - 1})
        store.close()
    print(ledger.told("kills of a loop"))
    ledger.demand_nothing_wrong()
    assert ledger.n_lost == 0
    assert ledger.n_acknowledged > 10 * N_KILLS, "the kills came before anything was written: nothing was tested"
    with dwell.open(path) as loop:
        assert sum(1 for _ in loop.experiences()) >= len(ledger.acknowledged)
        served = loop.rank("after", [{"id": "a", "bm25": 1.0, "cosine": 0.5}])
        assert loop.feedback(served.event_id, "click", doc="a").status == "joined"


def test_kill9_in_groups_of_jobs_leaves_no_half(tmp_path: Path, nursery: Callable[..., Nursery]) -> None:
    rng = random.Random(21)
    path = tmp_path / "s"
    acknowledged: set[str] = set()
    born = nursery()
    for run in range(N_BELOW):
        child = born.start("ingest_child", path, run)
        assert child.line() == "open"
        acknowledged.update(event_id for line in child.killed_after(rng, 0.25) for event_id in line.split())
        store = open_store(str(path), role="owner" if run % 2 else "reader")
        with store.snapshot() as reader:
            assert reader.last_seq() >= len(acknowledged)
        if run == N_BELOW - 1:
            n_there = check_jobs(store, acknowledged)
        store.close()
    print(f"\n{N_BELOW} kills of a writer: {len(acknowledged)} events acknowledged, {n_there} durable, 0 lost, 0 half")
    assert len(acknowledged) > 20 * N_BELOW, "the kills came before anything was written: nothing was tested"


def test_kill9_while_a_store_is_made_leaves_nothing_in_the_way(tmp_path: Path, nursery: Callable[..., Nursery]) -> None:
    rng = random.Random(22)
    n_unopened = 0
    born = nursery()
    for run in range(N_BELOW):
        path = tmp_path / f"new-{run}"
        ledger = Ledger()
        child = born.start("loop_child", path, run)
        lines = (
            child.until_open() if run % 4 == 3 else []
        )  # the others are rarely that far, and on a busy machine never
        lines += child.killed_after(rng, 0.06)
        n_unopened += not lines
        ledger.took(lines)
        dwell.open(path, features=("bm25", "cosine")).close()
        store = open_store(str(path), role="reader")
        ledger.check(store, everything=True)
        store.close()
        ledger.demand_nothing_wrong()
        assert ledger.n_lost == 0
    print(f"\n{N_BELOW} kills of new stores, {n_unopened} before they were open: all were opened again")
    assert n_unopened > 0, "no kill came while a store was made: nothing was tested"


def test_ownership_ends_with_the_process(tmp_path: Path, nursery: Callable[..., Nursery]) -> None:
    path = tmp_path / "s"
    child = nursery().start("ingest_child", path, 0)
    assert child.line() == "open"
    with pytest.raises(StoreOwnedError, match=f"owned by process {child.pid}"):
        open_store(str(path))
    admin = open_store(str(path), role="admin")
    with admin.transaction() as tx:
        tx.put_setting("by", b"admin")
    admin.close()
    child.ended()
    store = open_store(str(path))
    with store.snapshot() as reader:
        assert reader.setting("by") == b"admin"
    store.close()
