"""Torture of saving: what was saved is restored, whole, whatever happens while it is saved."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from dwell.testing.buffer_torture.adapter import BufferAdapter
from dwell.testing.buffer_torture.demands import (
    Buffer,
    Cases,
    demand,
    demand_law,
    demand_whole,
    draw,
    drawn_keys,
    filled,
    put,
    refused,
)
from dwell.testing.buffer_torture.processes import Saver, in_another_process, started, wait_for

__all__ = ["PROCESSES", "SAVING"]

SAVING: Final = Cases("saving")
PROCESSES: Final = Cases("two processes")

N_SAVED: Final = 1000  # rows: 260 kB and more, so that a kill can fall into the middle of them
N_KILLS: Final = 8
N_SAVES_EACH: Final = 6


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        yield Path(name)


def _marked(adapter: Buffer, marker: float, n: int = N_SAVED) -> BufferAdapter:
    """Return a buffer whose every row is full of one number."""
    buffer = adapter.make(capacity=n)
    for key in range(n):
        put(buffer, key, marker=marker)
    return buffer


def _marker(buffer: BufferAdapter, n: int = N_SAVED) -> float:
    """Return the number that every row is full of.

    Raises:
        WrongAnswerError: There are several, or rows are missing.
    """
    demand(buffer.size() == n, f"{buffer.size()} items restored, {n} due")
    rows = np.concatenate([np.asarray(drawn.rows, dtype=np.float64) for drawn in draw(buffer, 2048)])
    n_torn = int((rows != rows[:, :1]).any(axis=1).sum())
    demand(n_torn == 0, f"{n_torn} of 2048 rows hold fields of two savings")
    found = np.unique(rows[:, 0]).tolist()
    demand(len(found) == 1, f"rows of several savings: {found[:5]}")
    return float(found[0])


@SAVING.case("reverb tfrecord_checkpointer_test SaveAndLoad; cpprb test_save_load", "save")
def what_is_saved_is_restored(adapter: Buffer) -> None:
    """A restored buffer holds the same items, each with its own row, and goes on as a buffer."""
    buffer = adapter.make(capacity=12)
    for key in range(20):
        put(buffer, key)
    with _folder() as place:
        buffer.save(place)
        restored = adapter.restore(place, capacity=12)
    demand(restored.size() == 12, f"{restored.size()} items, 12 due")
    samples = draw(restored, 1024)
    demand_whole(samples)
    found = {key for drawn in samples for key in drawn.keys.tolist()}
    demand(found == set(range(8, 20)), f"restored: {sorted(found)}")
    for key in range(20, 32):
        put(restored, key)
    demand_law(restored, dict.fromkeys(range(20, 32), 1.0))


@SAVING.case("ray prioritized_replay_buffer test_update_priorities", "save", "priorities", "saved priorities")
def priorities_are_restored(adapter: Buffer) -> None:
    """A restored buffer draws by the priorities that were saved, and takes updates."""
    masses = {key: float(1 + key) for key in range(8)}
    buffer, _ = filled(adapter, masses)
    with _folder() as place:
        buffer.save(place)
        restored = adapter.restore(place, capacity=16)
    demand_law(restored, masses)
    drawn = restored.sample(4)
    restored.update(list(drawn.handles), [9.0] * len(drawn.keys))
    demand_law(restored, masses | dict.fromkeys(drawn.keys.tolist(), 9.0))


@SAVING.case("dopamine replay_buffer, which fails here", "save", "priorities", "saved priorities", "maximum for new")
def the_highest_is_restored(adapter: Buffer) -> None:
    """An item added after a restore gets the highest priority that was saved."""
    masses = {1: 2.0, 2: 7.0, 3: 3.0}
    buffer, _ = filled(adapter, masses)
    with _folder() as place:
        buffer.save(place)
        restored = adapter.restore(place, capacity=16)
    put(restored, 4)
    demand_law(restored, masses | {4: 7.0})


@SAVING.case("none checks this", "save", "priorities", "saved priorities")
def nan_update_then_restore(adapter: Buffer) -> None:
    """After an update to what is not a number the buffer can be saved and restored, and the law is the old one."""
    masses = {1: 1.0, 2: 2.0, 3: 3.0}
    buffer, handles = filled(adapter, masses)
    refused(lambda: buffer.update([handles[2]], [math.nan]))
    with _folder() as place:
        buffer.save(place)
        restored = adapter.restore(place, capacity=16)
    demand_law(restored, masses)


@SAVING.case(
    "reverb prioritized_test ControlledRNGs; dopamine samplers_test test_serializes", "save", "saved generator"
)
def the_generator_is_restored(adapter: Buffer) -> None:
    """A restored buffer draws what the saved one goes on to draw."""
    buffer = adapter.make(capacity=16, seed=5)
    for key in range(16):
        put(buffer, key)
    draw(buffer, 301)
    with _folder() as place:
        buffer.save(place)
        restored = adapter.restore(place, capacity=16)
    demand(drawn_keys(buffer) == drawn_keys(restored), "other draws after the restore")


@SAVING.case("torchrl test_rb_core TestBufferStats, for saving", "save", "seed")
def saving_changes_nothing(adapter: Buffer) -> None:
    """A buffer that was saved draws as if it had not been."""
    saved, left_alone = (adapter.make(capacity=16, seed=5) for _ in range(2))
    for key in range(16):
        put(saved, key)
        put(left_alone, key)
    with _folder() as place:
        saved.save(place)
    demand(drawn_keys(saved) == drawn_keys(left_alone), "other draws after the save")


@SAVING.case("reverb tfrecord_checkpointer_test SaveDeletesOldData", "save")
def the_newest_save_is_restored(adapter: Buffer) -> None:
    """Of two savings to one place, a large and then a small one, the second is restored, and nothing of the first."""
    with _folder() as place:
        _marked(adapter, 1.0, 200).save(place)
        _marked(adapter, 2.0, 50).save(place)
        marker = _marker(adapter.restore(place, capacity=50), 50)
    demand(marker == 2.0, f"saving {marker:.0f} was restored")


@SAVING.case("pfrl collections test_recovery", "save")
def saved_and_restored_many_times(adapter: Buffer) -> None:
    """A buffer that is restored, filled on and saved a dozen times is the one that it would be without."""
    buffer = adapter.make(capacity=10)
    with _folder() as place:
        for turn in range(12):
            for key in range(3 * turn, 3 * turn + 3):
                put(buffer, key)
            buffer.save(place)
            buffer = adapter.restore(place, capacity=10)
            n_due = min(10, 3 * turn + 3)
            demand(buffer.size() == n_due, f"{buffer.size()} items, {n_due} due")
    demand_law(buffer, dict.fromkeys(range(26, 36), 1.0))


@SAVING.case("cpprb test_save_load, into a smaller buffer", "save", "another capacity")
def restored_into_a_smaller_buffer(adapter: Buffer) -> None:
    """Twelve saved items are refused by a buffer of five, or five of them are kept whole and the buffer goes on."""
    buffer = adapter.make(capacity=12)
    for key in range(12):
        put(buffer, key)
    with _folder() as place:
        buffer.save(place)
        try:
            restored = adapter.restore(place, capacity=5)
        except Exception:  # noqa: BLE001 - to refuse is right
            return
    demand(restored.size() == 5, f"{restored.size()} items in a buffer of 5")
    demand_whole(draw(restored, 512))
    for key in range(12, 20):
        put(restored, key)
    demand_law(restored, dict.fromkeys(range(15, 20), 1.0))


@SAVING.case("cpprb test_save_load, into a larger buffer", "save", "another capacity")
def restored_into_a_larger_buffer(adapter: Buffer) -> None:
    """Items saved from a full ring are refused by a larger buffer, or all are kept and the oldest leave first."""
    buffer = adapter.make(capacity=6)
    for key in range(9):
        put(buffer, key)
    with _folder() as place:
        buffer.save(place)
        try:
            restored = adapter.restore(place, capacity=8)
        except Exception:  # noqa: BLE001 - to refuse is right
            return
    demand(restored.size() == 6, f"{restored.size()} items, 6 due")
    for key in (9, 10, 11):
        put(restored, key)
    demand_law(restored, dict.fromkeys(range(4, 12), 1.0))


@SAVING.case("reverb tfrecord_checkpointer_test LoadFallbackCheckpoint; pfrl persistent, which fails here", "save")
def a_save_cut_short(adapter: Buffer) -> None:
    """Of files cut to half their length nothing is restored but what was saved: it is refused, or it is all there."""
    with _folder() as place:
        _marked(adapter, 3.0, 300).save(place)
        files = [path for path in place.rglob("*") if path.is_file()]
        demand(bool(files), "nothing was written")
        for path in files:
            whole = path.read_bytes()
            if len(whole) > 1:
                path.write_bytes(whole[: len(whole) // 2])
                _demand_refused_or_whole(adapter, place, path)
                path.write_bytes(whole)
        demand(_marker(adapter.restore(place, capacity=300), 300) == 3.0, "the repaired save is another one")


def _demand_refused_or_whole(adapter: Buffer, place: Path, cut: Path) -> None:
    try:
        restored = adapter.restore(place, capacity=300)
    except Exception:  # noqa: BLE001 - to refuse is right
        return
    demand(_marker(restored, 300) == 3.0, f"restored with {cut.name} cut short")


@SAVING.case("none checks this (reverb's checkpointer deletes them)", "save")
def files_of_others_survive(adapter: Buffer) -> None:
    """Files and folders beside the save are there afterwards, unchanged, and do not keep it from being restored."""
    others = {"README.txt": b"mine", "0-first": b"", "models/weights.bin": bytes(range(256)), "zz.old": b"newer"}
    with _folder() as place:
        for name, content in others.items():
            path = place / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        for marker in (1.0, 2.0, 3.0):
            _marked(adapter, marker, 20).save(place)
        for name, content in others.items():
            path = place / name
            demand(path.is_file() and path.read_bytes() == content, f"{name} is gone or changed")
        demand(_marker(adapter.restore(place, capacity=20), 20) == 3.0, "another save was restored")


@SAVING.case("none checks this", "save", "fork")
def killed_while_saving(adapter: Buffer) -> None:
    """A process killed with -9 at any point of a save over an older one leaves one of the two, whole."""
    buffers = [_marked(adapter, marker) for marker in (1.0, 2.0)]
    with _folder() as place:
        buffers[1].save(place)
        saver = _saver(buffers, place)
        takes_s = saver.time_of_one_save_s()
        for turn in range(N_KILLS):
            saver.kill(after_s=takes_s * (turn + 0.5) / N_KILLS)
            marker = _marker(adapter.restore(place, capacity=N_SAVED))
            # the saver writes 1, 2, 1, 2 ... over a 2
            allowed = {2.0 - n % 2 for n in range(saver.n_done, saver.n_begun + 1)}
            demand(marker in allowed, f"saving {marker:.0f} was restored, {saver.n_done} were done")
            buffers[1].save(place)
            if turn < N_KILLS - 1:
                saver = _saver(buffers, place)


def _saver(buffers: list[BufferAdapter], place: Path) -> Saver:
    one, two = buffers
    return Saver(lambda: one.save(place), lambda: two.save(place))


# ------------------------------------------------------------------------------ two processes


@PROCESSES.case("none checks this", "save", "fork")
def a_second_process_goes_on(adapter: Buffer) -> None:
    """What one process saved another restores, fills on and saves; the first restores that, its own untouched."""
    buffer = adapter.make(capacity=6)
    for key in range(6):
        put(buffer, key)

    def go_on() -> None:
        other = adapter.restore(first, capacity=6)
        for key in (6, 7):
            put(other, key)
        demand_law(other, dict.fromkeys(range(2, 8), 1.0))
        other.save(second)

    with _folder() as first, _folder() as second:
        buffer.save(first)
        in_another_process(go_on)
        demand_law(adapter.restore(second, capacity=6), dict.fromkeys(range(2, 8), 1.0))
    demand_law(buffer, dict.fromkeys(range(6), 1.0))


@PROCESSES.case("none checks this", "save", "fork")
def two_processes_save_at_once(adapter: Buffer) -> None:
    """Two processes that save to one place at the same time leave the save of one of them, whole."""
    buffers = [_marked(adapter, marker) for marker in (1.0, 2.0)]
    with _folder() as place:

        def save_often(buffer: BufferAdapter) -> None:
            for _ in range(N_SAVES_EACH):
                refused(lambda: buffer.save(place))  # to find the place taken, and to say so, is right

        children = [started(lambda buffer=buffer: save_often(buffer)) for buffer in buffers]  # type: ignore[misc]  # bound in the loop on purpose
        for child in children:
            wait_for(child)
        marker = _marker(adapter.restore(place, capacity=N_SAVED))
    demand(marker in {1.0, 2.0}, f"marker {marker}")


@PROCESSES.case("none checks this", "seed", "fork")
def two_processes_draw_alike(adapter: Buffer) -> None:
    """A seeded buffer built in another process draws the same: nothing depends on the process."""

    def drawn() -> list[int]:
        buffer = adapter.make(capacity=16, seed=9)
        for key in range(16):
            put(buffer, key)
        return drawn_keys(buffer)

    own = drawn()
    other_pid = os.getpid()

    def compare() -> None:
        demand(os.getpid() != other_pid, "no other process")
        demand(drawn() == own, "the same seed draws otherwise in another process")

    in_another_process(compare)
