"""A ring is opened where it is in step with its store, and refused by name everywhere else."""

import errno
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dwell.errors import RingUnusable, StorageError
from dwell.storage.column_ring import ColumnRing
from dwell.storage.ring_file import RingFile
from dwell.testing.store_rings import ring_contents, sample_columns, sample_ring_schema, sample_row

SCHEMA = sample_ring_schema()
EPOCH = 41
HEADER_BYTES = 8 + 4 + 16 + 4 * 8 + 2 * 4 + 4  # magic, layout, schema, four numbers, two flags, its own checksum
ROW_BYTES = 8 + 16 + 8 + 8 + 88 + 12  # seq, event id, priority, version, record, embedding


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return the path of a ring of 300 rows that was closed in step with an epoch."""
    place = str(tmp_path / "s.ring")
    ring = ColumnRing.create(place, SCHEMA, 100)
    ring.put_many(sample_columns(range(1, 401), 3))
    ring.drop(range(50, 150))
    ring.checkpoint(EPOCH)
    ring.close()
    return place


def refusal(path: str, *, epoch: int = EPOCH, schema: object = SCHEMA) -> str:
    with pytest.raises(RingUnusable) as caught:
        ColumnRing.open(path, schema, epoch)  # type: ignore[arg-type]
    assert "anew" in caught.value.hint
    return caught.value.code


def overwrite(path: str, offset: int, text: bytes) -> None:
    with Path(path).open("r+b") as file:
        file.seek(offset)
        file.write(text)


# ---------------------------------------------------------------- opened


def test_what_was_checkpointed_is_there_after_opening(path: str) -> None:
    ring = ColumnRing.open(path, SCHEMA, EPOCH)
    assert (len(ring), ring.epoch, ring.is_clean, ring.last_seq) == (300, EPOCH, True, 400)
    due = sample_columns([400, 1, 150], 3)
    found = ring.read([400, 1, 150], ring.names)
    assert all(np.array_equal(found[name], due[name]) for name in due)
    assert sorted(ring.seqs().tolist()) == [*range(1, 50), *range(150, 401)]


def test_reading_leaves_it_clean(path: str) -> None:
    before = Path(path).read_bytes()
    ring = ColumnRing.open(path, SCHEMA, EPOCH)
    ring_contents(ring)
    ring.close()
    assert Path(path).read_bytes() == before
    ColumnRing.open(path, SCHEMA, EPOCH).close()


def test_a_checkpoint_after_changes_holds_them(path: str) -> None:
    ring = ColumnRing.open(path, SCHEMA, EPOCH)
    ring.put(1000, sample_row(1000, 5))
    ring.set([1], "priority", [9.0])
    ring.drop([400, 2])
    ring.put_many(sample_columns([3, 4, 2000], 6))
    ring.checkpoint(EPOCH + 3)
    due = ring_contents(ring)
    ring.close()
    again = ColumnRing.open(path, SCHEMA, EPOCH + 3)
    assert ring_contents(again) == due
    assert again.read([1], ["priority"])["priority"].tolist() == [9.0]


def test_another_epoch_can_be_noted_without_a_change(path: str) -> None:
    ring = ColumnRing.open(path, SCHEMA, EPOCH)
    ring.checkpoint(EPOCH + 1)
    ring.close()
    assert refusal(path) == "ring_older"
    ColumnRing.open(path, SCHEMA, EPOCH + 1).close()


def test_an_empty_ring_is_opened(tmp_path: Path) -> None:
    place = str(tmp_path / "s.ring")
    ring = ColumnRing.create(place, SCHEMA, 1)
    ring.checkpoint(0)
    ring.close()
    ring = ColumnRing.open(place, SCHEMA, 0)
    assert len(ring) == 0
    ring.put(1, sample_row(1, 1))
    assert ring.seqs().tolist() == [1]


def test_the_file_is_for_its_owner_alone(path: str) -> None:
    assert Path(path).stat().st_mode & 0o777 == 0o600


def test_an_empty_ring_takes_little_space_whatever_it_has_room_for(tmp_path: Path) -> None:
    place = tmp_path / "s.ring"
    ring = ColumnRing.create(str(place), SCHEMA, 1_000_000)
    ring.put(1, sample_row(1, 1))
    status = place.stat()
    assert status.st_size > 100_000_000
    # 1,024 rows of 140 bytes, and the checksums: 4 bytes for each of 977 + 15,632 + 1,954 segments
    assert status.st_blocks * 512 < 400_000


def test_a_new_ring_takes_the_place_of_whatever_stood_there(path: str) -> None:
    old = ColumnRing.open(path, SCHEMA, EPOCH)
    new = ColumnRing.create(path, SCHEMA, 100)
    new.put_many(sample_columns(range(1, 2000), 5))
    assert len(ring_contents(old)) == 300  # whoever still holds the old one reads what it held
    assert np.array_equal(old.read([1], ["rewards"])["rewards"], sample_columns([1], 3)["rewards"])


# ---------------------------------------------------------------- refused


def test_a_missing_file(tmp_path: Path) -> None:
    assert refusal(str(tmp_path / "nothing")) == "ring_missing"


@pytest.mark.parametrize("epoch", [0, EPOCH - 1, EPOCH + 1])
def test_a_store_at_another_epoch(path: str, epoch: int) -> None:
    assert refusal(path, epoch=epoch) == "ring_older"


@pytest.mark.parametrize(
    "schema",
    [sample_ring_schema(d=5), sample_ring_schema(key="other salt"), sample_ring_schema(event_id_bytes=24)],
    ids=["longer", "key", "wider"],
)
def test_another_schema(path: str, schema: object) -> None:
    assert refusal(path, schema=schema) == "ring_schema"


CHANGES: dict[str, Callable[[ColumnRing], object]] = {
    "put": lambda ring: ring.put(1, sample_row(1, 1)),
    "put_many": lambda ring: ring.put_many(sample_columns([7], 1)),
    "set": lambda ring: ring.set([1], "priority", [1.0]),
    "drop": lambda ring: ring.drop([1]),
    "mark_dirty": lambda ring: ring.mark_dirty(),
    "widened": lambda ring: ring.widened(SCHEMA),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_ring_that_was_written_to_since(path: str, change: str) -> None:
    ring = ColumnRing.open(path, SCHEMA, EPOCH)
    CHANGES[change](ring)
    ring.close()
    assert refusal(path) == "ring_dirty"


def test_a_ring_that_was_never_checkpointed(tmp_path: Path) -> None:
    place = str(tmp_path / "s.ring")
    ColumnRing.create(place, SCHEMA, 10).close()
    assert refusal(place, epoch=0) == "ring_dirty"


@pytest.mark.parametrize("text", [b"", b"dwel", b"x" * 5000, b"SQLite format 3\0" + b"\0" * 5000, b"\0" * 9000])
def test_another_file(tmp_path: Path, text: bytes) -> None:
    place = tmp_path / "s.ring"
    place.write_bytes(text)
    assert refusal(str(place)) == ("ring_truncated" if len(text) < HEADER_BYTES else "ring_format")
    assert place.read_bytes() == text


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        ColumnRing.open(str(tmp_path), SCHEMA, 0)
    assert caught.value.code == "cannot_open"


def test_another_layout(path: str) -> None:
    # a header of a later version: its version field changed, its own checksum right
    header = bytearray(Path(path).read_bytes()[:HEADER_BYTES])
    header[8:12] = struct.pack("<I", 2)
    header[-4:] = struct.pack("<I", zlib.crc32(header[:-4]))
    overwrite(path, 0, bytes(header))
    assert refusal(path) == "ring_format"


@pytest.mark.parametrize(
    "n_bytes", [HEADER_BYTES - 1, HEADER_BYTES, 5000, -1], ids=["header", "after it", "checksums", "one byte"]
)
def test_a_shorter_file(path: str, n_bytes: int) -> None:
    size = Path(path).stat().st_size
    os.truncate(path, n_bytes % size)
    assert refusal(path) == "ring_truncated"


def test_a_longer_file(path: str) -> None:
    os.truncate(path, Path(path).stat().st_size + 1)
    assert refusal(path) == "ring_damaged"


def test_a_torn_header(path: str) -> None:
    # the first half of one checkpoint's header, the second half of another's
    first = Path(path).read_bytes()[:HEADER_BYTES]
    ring = ColumnRing.open(path, SCHEMA, EPOCH)
    ring.put(5000, sample_row(5000, 1))
    ring.checkpoint(EPOCH + 1)
    ring.close()
    second = Path(path).read_bytes()[:HEADER_BYTES]
    n_torn = 0
    for cut in range(1, HEADER_BYTES):
        torn = second[:cut] + first[cut:]
        if torn not in {first, second}:
            overwrite(path, 0, torn)
            assert refusal(path, epoch=EPOCH + 1) == "ring_damaged"
            n_torn += 1
    assert n_torn > 20


# ---------------------------------------------------------------- damage found later


def place_of(path: str, column: str, position: int) -> int:
    """Return the offset in the file of a row's bytes."""
    file, _ = RingFile.open(path, SCHEMA)
    places = {array.name: array for region in file._layout.regions for array in region.arrays}
    file.close()
    array = places[column]
    return array.offset + position * array.row_bytes


@pytest.mark.parametrize("column", ["row", "embedding"])
@pytest.mark.parametrize("use", ["read", "put", "put_many", "set", "drop", "widened"])
def test_damage_is_found_before_its_segment_is_used(path: str, column: str, use: str) -> None:
    ring = ColumnRing.open(path, SCHEMA, EPOCH)
    position = ring.seqs().tolist().index(200)
    ring.close()
    overwrite(path, place_of(path, column, position), b"\x5a")
    ring = ColumnRing.open(path, SCHEMA, EPOCH)
    uses: dict[str, Callable[[], object]] = {
        "read": lambda: ring.read([200], ["rewards", "embedding"]),
        "put": lambda: ring.put(200, sample_row(200, 1)),
        "put_many": lambda: ring.put_many(sample_columns([200, 9000], 1)),
        "set": lambda: ring.set(
            [200], "rewards" if column == "row" else "embedding", [[1.0] * (4 if column == "row" else 6)]
        ),
        "drop": lambda: ring.drop([200]),
        "widened": lambda: ring.widened(sample_ring_schema(d=9)),
    }
    with pytest.raises(RingUnusable, match=f"segment [0-9]+ of the ring's region '{column}' is damaged") as caught:
        uses[use]()
    assert caught.value.code == "ring_damaged"
    assert not ring.is_usable
    with pytest.raises(RingUnusable, match="is damaged"):
        ring.seqs()
    with pytest.raises(RingUnusable, match="is damaged"):
        ring.checkpoint(EPOCH)
    ring.close()
    assert refusal(path) == "ring_dirty"


def test_damage_elsewhere_does_not_hinder_what_is_sound(path: str) -> None:
    ring = ColumnRing.open(path, SCHEMA, EPOCH)
    seqs = ring.seqs().tolist()
    ring.close()
    overwrite(path, place_of(path, "row", 299), b"\x5a")
    ring = ColumnRing.open(path, SCHEMA, EPOCH)
    assert ring.read(seqs[:1], ["rewards"])["rewards"].shape == (1, 4)
    assert ring.read(seqs[-1:], ["embedding", "priority"])["embedding"].shape == (1, 6)
    with pytest.raises(RingUnusable):
        ring.read(seqs[-1:], ["rewards"])


@pytest.mark.parametrize("column", ["seq", "event_id", "priority", "version"])
def test_damage_of_the_index_is_found_at_opening(path: str, column: str) -> None:
    overwrite(path, place_of(path, column, 7), b"\x5a")
    assert refusal(path) == "ring_damaged"


@pytest.mark.parametrize("segment", [0, 1, 5], ids=["index", "first of the records", "another"])
def test_damage_of_the_checksums_is_found_at_opening(path: str, segment: int) -> None:
    overwrite(path, 4096 + 4 * segment, b"\x5a\x5b\x5c")
    assert refusal(path) == "ring_damaged"


# ---------------------------------------------------------------- the disk


def test_a_full_disk_is_told_before_anything_changes(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = ColumnRing.open(path, SCHEMA, EPOCH)
    ring.put_many(sample_columns(range(1000, 1500), 4))
    before = ring_contents(ring)

    def full(descriptor: int, offset: int, n_bytes: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    columns = sample_columns(range(2000, 3000), 4)
    for use in (lambda: ring.put_many(columns), lambda: ring.widened(sample_ring_schema(d=9))):
        with pytest.raises(StorageError) as caught:
            use()
        assert caught.value.code == "disk_full"
        assert "memory" in caught.value.hint
        assert ring_contents(ring) == before
    assert sorted(os.listdir(Path(path).parent)) == ["s.ring"]  # noqa: PTH208 - names, as the system has them
    with pytest.raises(StorageError):
        ColumnRing.create(f"{path}2", SCHEMA, 10)
    assert not Path(f"{path}2").exists()
    monkeypatch.undo()
    ring.put_many(columns)
    assert len(ring) == 1800


def test_a_failed_sync_spoils_the_ring(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = ColumnRing.open(path, SCHEMA, EPOCH)
    ring.put(1, sample_row(1, 9))

    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StorageError) as caught:
        ring.checkpoint(EPOCH + 1)
    assert caught.value.code == "io"
    monkeypatch.undo()
    with pytest.raises(RingUnusable):
        ring.checkpoint(EPOCH + 1)
    ring.close()
    assert refusal(path, epoch=EPOCH + 1) == "ring_dirty"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        ColumnRing.create(str(tmp_path / "no" / "s.ring"), SCHEMA, 10)
    assert caught.value.code == "cannot_open"


def test_blocks_that_a_copy_dropped_are_taken_back_before_the_first_write(path: str, tmp_path: Path) -> None:
    # a sparse copy keeps zeros as holes: the first checkpointed rows here are zeros throughout
    ring = ColumnRing.open(path, SCHEMA, EPOCH)
    ring.set(ring.seqs(), "priority", np.zeros(300))
    ring.checkpoint(EPOCH)
    ring.close()
    text = Path(path).read_bytes()
    copy = tmp_path / "copy.ring"
    with copy.open("wb") as file:
        file.truncate(len(text))
        for start in range(0, len(text), 4096):
            if any(text[start : start + 4096]):
                file.seek(start)
                file.write(text[start : start + 4096])
    before = copy.stat().st_blocks
    ring = ColumnRing.open(str(copy), SCHEMA, EPOCH)
    ring.set([1], "priority", [1.0])
    # 1,024 rows of each array are reserved at least
    assert copy.stat().st_blocks >= max(before, 1024 * ROW_BYTES // 512)
