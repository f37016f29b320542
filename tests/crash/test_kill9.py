"""The process is killed at any moment: what was acknowledged is there, whole, and nothing is there in part."""

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dwell.errors import StoreOwnedError
from dwell.storage import Store, open_store
from dwell.testing.store_samples import sample_impression, sample_signal

pytestmark = pytest.mark.crash

N_KILLS = 30
CHILD = Path(__file__).parent / "ingest_child.py"
_spec = importlib.util.spec_from_file_location("ingest_child", CHILD)
assert _spec is not None
assert _spec.loader is not None
ingest_child = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(ingest_child)


def start(path: Path, run: int, root: Path) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(path), str(run)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"open\n"
    return child


def killed(child: subprocess.Popen[bytes]) -> list[list[str]]:
    """Kill a child and return what it had acknowledged, job by job."""
    child.send_signal(signal.SIGKILL)
    assert child.stdout is not None
    lines = child.stdout.read().decode("ascii").split("\n")
    child.stdout.close()
    assert child.wait(30) == -signal.SIGKILL
    assert lines[-1] == "", "a torn line would be no acknowledgement"
    return [line.split() for line in lines[:-1]]


def check_everything(store: Store, acknowledged: set[str]) -> int:
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
    assert acknowledged <= there
    for event_id in there:
        job, n = event_id.rsplit("-", 1)[0], 4 if int(event_id.split("-")[2]) % 3 == 2 else 1
        assert all(f"{job}-{j}" in there for j in range(n)), f"half of the group {job}"
    return len(there)


def test_thirty_kills_lose_nothing(tmp_path: Path, root: Path) -> None:
    rng = random.Random(20)
    path = tmp_path / "s"
    acknowledged: set[str] = set()
    n_there = n_unacknowledged = 0
    for run in range(N_KILLS):
        child = start(path, run, root)
        time.sleep(rng.uniform(0.0, 0.25))
        jobs = killed(child)
        acknowledged.update(event_id for job in jobs for event_id in job)
        # A reader leaves the journal to the next child, as a crash left it; every tenth time everything is compared
        store = open_store(str(path), role="owner" if run % 2 else "reader")
        with store.snapshot() as reader:
            seqs = reader.seqs(after=n_there)
            new = {impression.event_id for impression in reader.impressions(seqs)}
        assert {event_id for job in jobs for event_id in job} <= new
        n_unacknowledged += len(new) - sum(map(len, jobs))
        n_there += len(new)
        if run % 10 == 9:
            assert check_everything(store, acknowledged) == n_there
        store.close()
    assert len(acknowledged) > 20 * N_KILLS, "the kills came before anything was written: nothing was tested"
    print(f"\n{N_KILLS} kills, {len(acknowledged)} events acknowledged, {n_unacknowledged} more were durable, 0 lost")


def test_ownership_ends_with_the_process(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "s"
    child = start(path, 0, root)
    with pytest.raises(StoreOwnedError, match=f"owned by process {child.pid}"):
        open_store(str(path))
    admin = open_store(str(path), role="admin")
    with admin.transaction() as tx:
        tx.put_setting("by", b"admin")
    admin.close()
    killed(child)
    store = open_store(str(path))
    with store.snapshot() as reader:
        assert reader.setting("by") == b"admin"
    store.close()
