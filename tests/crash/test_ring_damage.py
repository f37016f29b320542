"""A ring that is damaged, cut short or left in the middle of a write is told by name, or right to the last bit."""

import importlib.util
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dwell.errors import RingUnusable
from dwell.storage.column_ring import ColumnRing
from dwell.testing.store_rings import ring_contents, sample_columns, sample_ring_schema, sample_row

pytestmark = pytest.mark.crash

SCHEMA = sample_ring_schema()
N_FLIPS = int(os.environ.get("DWELL_FLIPS", "60"))  # read here: the variable is gone when a test runs
N_KILLS = 10
EPOCH = 7
CHILD = Path(__file__).parent / "ring_child.py"
_spec = importlib.util.spec_from_file_location("ring_child", CHILD)
assert _spec is not None
assert _spec.loader is not None
ring_child = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(ring_child)


def made(path: Path) -> tuple[bytearray, dict[int, dict[str, bytes]]]:
    """Return the bytes of a ring of 700 rows in a file, and what it holds."""
    ring = ColumnRing.create(str(path), SCHEMA, 1024)
    ring.put_many(sample_columns(range(1, 801), 3))
    ring.drop(range(100, 200))
    for seq in range(1, 801, 7):
        if seq in ring:
            ring.put(seq, sample_row(seq, seq))
    ring.checkpoint(EPOCH)
    contents = ring_contents(ring)
    ring.close()
    return bytearray(path.read_bytes()), contents


def outcome(path: Path, due: dict[int, dict[str, bytes]]) -> str:
    """Return how a ring of some bytes fares: a code where it is refused, "sound" where everything is as it was."""
    try:
        ring = ColumnRing.open(str(path), SCHEMA, EPOCH)
    except RingUnusable as error:
        return f"at opening: {error.code}"
    try:
        assert ring_contents(ring) == due
    except RingUnusable as error:
        return f"at a read: {error.code}"
    finally:
        ring.close()
    return "sound"


def test_a_flipped_byte_is_told_by_name_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "s.ring"
    text, contents = made(path)
    rng = random.Random(20_260_101)
    live = [i for i in range(len(text)) if text[i]]
    counts: dict[str, int] = {}
    n_sound = 0
    for i in range(N_FLIPS):
        # bytes that say something, bytes anywhere, and bytes of the header by turns
        at = (rng.choice(live), rng.randrange(len(text)), rng.randrange(72))[i % 3]
        flip = rng.randrange(1, 256)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes([text[at] ^ flip]))
        found = outcome(path, contents)
        counts[found] = counts.get(found, 0) + 1
        if found == "sound":
            n_sound += 1
            assert text[at] == 0, f"byte {at} said something, and nobody missed it"
        path.write_bytes(text)
    print(f"\n{N_FLIPS} flipped bytes: {dict(sorted(counts.items()))}")
    assert n_sound < N_FLIPS / 2
    assert counts["at opening: ring_damaged"] > 0
    assert counts["at a read: ring_damaged"] > 0
    assert outcome(path, contents) == "sound"


def test_a_file_cut_short_is_told_by_name(tmp_path: Path) -> None:
    path = tmp_path / "s.ring"
    text, contents = made(path)
    rng = random.Random(20_260_102)
    for i in range(N_FLIPS):
        n_left = rng.randrange(len(text)) if i % 2 else rng.randrange(6000)
        path.write_bytes(text[:n_left])
        assert outcome(path, contents) == "at opening: ring_truncated"
        # the same, filled up with zeros, as a file system may leave it
        path.write_bytes(text[:n_left].ljust(len(text), b"\0"))
        if any(text[n_left:]):
            assert outcome(path, contents).endswith(("ring_damaged", "ring_format", "ring_schema", "ring_dirty"))
        else:
            assert outcome(path, contents) == "sound"


def test_a_killed_writer_leaves_a_ring_that_is_refused_or_right(tmp_path: Path, root: Path) -> None:
    rng = random.Random(20_260_103)
    codes: dict[str, int] = {}
    for run in range(N_KILLS):
        path = tmp_path / f"{run}.ring"
        with subprocess.Popen(
            [sys.executable, str(CHILD), str(path), str(run)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(root / "src")},
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"3\n"
            time.sleep(rng.random() * 0.15)
            child.send_signal(signal.SIGKILL)
            lines = child.stdout.read().decode("ascii").split()
        last = int(lines[-1]) if lines else 3
        found = [opened_at(path, epoch, run) for epoch in range(last, last + 4)]
        assert set(found) <= {"ring_dirty", "ring_older", "right"}
        assert found.count("right") <= 1
        code = "right" if "right" in found else "ring_dirty"
        assert code in found
        codes[code] = codes.get(code, 0) + 1
    print(f"\n{N_KILLS} kills: {codes}")
    assert codes["ring_dirty"] > 0


def opened_at(path: Path, epoch: int, seed: int) -> str:
    try:
        ring = ColumnRing.open(str(path), SCHEMA, epoch)
    except RingUnusable as error:
        return error.code
    due = ColumnRing.create(None, SCHEMA, ring_child.CAPACITY)
    for step in range(epoch):
        ring_child.play(due, seed, step)
    assert ring_contents(ring) == ring_contents(due)
    return "right"


N_ROWS = 400


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_batch_is_never_torn_by_a_writer(kind: str, tmp_path: Path) -> None:
    ring = ColumnRing.create(str(tmp_path / "s.ring") if kind == "file" else None, SCHEMA, 100)
    ring.put_many(sample_columns(range(1, N_ROWS + 1), 0))
    is_over = threading.Event()
    n_written = 0

    def write() -> None:
        nonlocal n_written
        mark = 0
        while not is_over.is_set():
            mark = (mark + 1) % 2048
            ring.put_many(sample_columns(range(1, N_ROWS + 1), mark))
            ring.put(1 + mark % N_ROWS, sample_row(1 + mark % N_ROWS, mark))
            # rows move: the last one into the place of one that goes, which comes back at the end
            ring.drop([2 + mark % 50])
            ring.put(2 + mark % 50, sample_row(2 + mark % 50, mark))
            if mark % 100 == 0:
                ring.checkpoint(mark)
            n_written += 1

    thread = threading.Thread(target=write)
    thread.start()
    rng = np.random.default_rng(4)
    ends_at = time.monotonic() + 3.0
    n_read, marks_seen = 0, set()
    try:
        while time.monotonic() < ends_at:
            # the rows that are never dropped are all written at once: a batch of them has one mark
            seqs = rng.integers(60, N_ROWS + 1, 256)
            found = ring.read(seqs, ring.names)
            mark = int(found["version"][0])
            due = sample_columns(seqs.tolist(), mark)
            for name, column in due.items():
                assert np.array_equal(found[name], column), name
            live = ring.columns(["seq", "priority", "version"])
            assert np.array_equal(live["priority"], live["seq"] + live["version"] / 4096)
            n_read += 1
            marks_seen.add(mark)
    finally:
        is_over.set()
        thread.join(30)
    print(f"\n{kind}: {n_read} batches of 256 beside {n_written} rounds of a writer, {len(marks_seen)} marks seen")
    assert n_read > 20
    assert n_written > 20
    assert len(marks_seen) > 5
