"""Rows by `seq`: read, put, dropped, widened; a ring that fails is made again, on disk or in memory."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dwell.errors import ReplayError, RingUnusable, StorageError
from dwell.loop import event_rows
from dwell.loop.event_rows import EventRows
from dwell.loop.row_codec import LearningRow, RowShape
from dwell.records import Experience
from dwell.records.rows import EventRow


def no_experience(seq: int) -> Experience:
    raise ReplayError("not here", field="seq", value=seq)


def row(seq: int, *, length: int = 2, embedding: Any = None, **changed: Any) -> LearningRow:
    fields: dict[str, Any] = {
        "seq": seq,
        "event_id": f"e{seq}",
        "query_hash": 5,
        "user_hash": None,
        "served_at": float(seq),
        "features": np.full((length, 2), seq, dtype=np.float32),
        "inclusion": np.ones(length),
        "exposure": np.full(length, 0.5),
        "n_kept": 1,
        "n_shown": 1,
        "rewards": np.array([0.25]),
        "propensities": np.array([0.5]),
        "caller_rank": np.arange(length, dtype=np.float64),
        "params_version": 0,
        "temperature": 0.3,
        "is_held_out": False,
        "is_deterministic": False,
        "is_caller_ordered": False,
        "version": 1,
        "doc_hashes": np.array([seq], dtype=np.uint64),
    }
    vector = None if embedding is None else np.array(embedding, dtype=np.float32)
    return LearningRow(EventRow(**{**fields, **changed}), 0.25, 1.0, vector)


def event_rows_of(path: Path | None = None, **how: Any) -> EventRows:
    return EventRows(no_experience, n_features=2, path=None if path is None else str(path), **how)


def from_facts(kept: EventRows, rows: list[LearningRow]) -> None:
    """Let a ring be made again from these rows, as `Replayed` does from the store."""
    kept.recover = lambda: kept.put_many(rows)


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def test_rows_are_in_close_order_whatever_the_order_of_arrival() -> None:
    kept = event_rows_of()
    assert (len(kept), 1 in kept, kept.rows([1])) == (0, False, [])
    for seq, served_at in ((3, 1.0), (1, 2.0), (2, 1.0)):
        kept.put(row(seq, served_at=served_at, is_held_out=seq == 2))
    assert [r.seq for r in kept.in_close_order()] == [2, 3, 1]
    assert [r.seq for r in kept.in_close_order(after=1)] == [2, 3]
    assert [r.seq for r in kept.in_close_order(is_held_out=True)] == [2]
    assert [r.seq for r in kept.in_close_order(after=1, is_held_out=False)] == [3]
    assert [r.seq for r in kept.rows([1, 7, 1])] == [1, 1]
    kept.drop([1, 7])
    assert (len(kept), 1 in kept, 2 in kept) == (2, False, True)


def test_columns_are_read_by_name() -> None:
    kept = event_rows_of()
    kept.put(row(9))
    read = kept.read(np.array([9, 9]), ["rewards", "exposure"])
    assert list(read) == ["rewards", "exposure"]
    assert read["exposure"].tolist() == [[0.5, 0.5]] * 2
    for seqs, name in (([9], "colour"), ([8], "rewards"), ([9], "query_embedding")):
        with pytest.raises(ReplayError):
            kept.read(np.array(seqs), [name])
    with pytest.raises(ReplayError):
        kept.experience(9)


def test_a_newer_row_takes_the_place_of_the_one_that_was_read() -> None:
    kept = event_rows_of()
    kept.put(row(1))
    before = kept.rows([1])[0]
    kept.put(row(1, rewards=np.array([0.75]), version=2))
    after = kept.rows([1])[0]
    assert (before.rewards[0], before.version) == (0.25, 1)  # what was read stays what it was
    assert (after.rewards[0], after.version, len(kept)) == (0.75, 2, 1)


def test_a_longer_list_widens_the_ring_and_keeps_its_rows(tmp_path: Path) -> None:
    kept = event_rows_of(tmp_path / "r")
    kept.put(row(1))
    inode = (tmp_path / "r").stat().st_ino
    kept.put(row(2, length=17, event_id="ä" * 128))
    assert kept.shape == RowShape(2, n_documents=32, id_bytes=320)
    assert [(r.seq, len(r.inclusion), r.event_id) for r in kept.in_close_order()] == [(1, 2, "e1"), (2, 17, "ä" * 128)]
    assert (tmp_path / "r").stat().st_ino != inode
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r"]


@pytest.mark.parametrize(("kind", "due"), [("float16", np.float16), ("float32", np.float32)])
def test_the_first_embedding_adds_its_column(kind: Any, due: Any, tmp_path: Path) -> None:
    kept = event_rows_of(tmp_path / "r", embedding=kind)
    from_facts(kept, [row(1)])
    kept.put(row(1))
    assert "query_embedding" not in kept.names
    kept.put(row(2, embedding=[1.0, 2.0, 0.1]))
    assert kept.shape.embedding_dim == 3
    read = kept.read(np.array([2, 1]), ["query_embedding", "rewards"])
    assert read["query_embedding"].dtype == due
    assert read["query_embedding"].tolist() == [[1.0, 2.0, float(due(0.1))], [0.0] * 3]
    assert read["rewards"].shape == (2, 2)


def test_without_a_kind_embeddings_are_not_kept() -> None:
    kept = event_rows_of()
    kept.put(row(1, embedding=[1.0]))
    assert "query_embedding" not in kept.names


def test_more_rows_than_are_cached_are_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_rows, "CACHED_ROWS", 10)
    monkeypatch.setattr(event_rows, "_AT_ONCE", 7)
    kept = event_rows_of()
    kept.put_many([row(seq) for seq in range(1, 51)])
    for wanted in (range(1, 51), range(40, 0, -1), [3, 3, 50], range(1, 10), range(5, 14)):
        assert [(r.seq, r.features[0, 0]) for r in kept.rows(wanted)] == [(seq, float(seq)) for seq in wanted]
    assert len(kept._values) <= 10


def test_priorities_of_rows_that_are_there_are_noted() -> None:
    kept = event_rows_of()
    kept.put_many([row(1), row(2)])
    kept.set_priorities(np.array([2, 9]), np.array([4.0, 5.0]))
    kept.set_priorities(np.array([], dtype=np.int64), np.array([]))
    found = kept.index("seq", "priority")
    assert dict(zip(found["seq"].tolist(), found["priority"].tolist(), strict=True)) == {1: 1.0, 2: 4.0}


# ---- the file


def checkpointed(path: Path, rows: list[LearningRow], token: int = 77, **how: Any) -> RowShape:
    kept = event_rows_of(path, **how)
    kept.put_many(rows)
    kept.checkpoint(token)
    kept.close()
    return kept.shape


def test_a_file_is_taken_up_with_its_token_alone(tmp_path: Path) -> None:
    shape = checkpointed(tmp_path / "r", [row(1), row(2)])
    kept = event_rows_of(tmp_path / "r")
    with pytest.raises(RingUnusable) as caught:
        kept.reopen(78, shape)
    assert caught.value.code == "ring_older"
    kept.reopen(77, shape)
    assert (kept.has_file, kept.is_clean, [r.seq for r in kept.in_close_order()]) == (True, True, [1, 2])
    kept.put(row(3))
    assert not kept.is_clean


@pytest.mark.parametrize("how", [{"key": "other"}, {"embedding": "float16"}, {"is_owner": False}])
def test_other_settings_refuse_the_file(how: dict[str, Any], tmp_path: Path) -> None:
    shape = checkpointed(tmp_path / "r", [row(1)])
    before = (tmp_path / "r").read_bytes()
    kept = event_rows_of(tmp_path / "r", **how)
    with pytest.raises(RingUnusable) as caught:
        kept.reopen(77, shape)
    assert caught.value.code == ("ring_missing" if "is_owner" in how else "ring_schema")
    assert (tmp_path / "r").read_bytes() == before


def test_who_does_not_own_the_store_writes_no_file(tmp_path: Path) -> None:
    kept = event_rows_of(tmp_path / "r", is_owner=False)
    kept.put(row(1))
    assert (len(kept), kept.has_file, list(tmp_path.iterdir())) == (1, False, [])


def test_damage_at_a_read_makes_the_ring_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [row(seq) for seq in range(1, 31)]
    shape = checkpointed(tmp_path / "r", rows)
    kept = event_rows_of(tmp_path / "r")
    from_facts(kept, rows)
    kept.reopen(77, shape)
    at = (tmp_path / "r").read_bytes().rindex(np.full(2, 17, dtype=np.float32).tobytes())
    flip(tmp_path / "r", at)
    with caplog.at_level(logging.WARNING, "dwell"):
        assert [r.features[0, 0] for r in kept.in_close_order()] == [float(seq) for seq in range(1, 31)]
    assert "made again" in caplog.text
    assert "in memory" not in caplog.text
    kept.checkpoint(78)
    kept.close()
    again = event_rows_of(tmp_path / "r")
    again.reopen(78, kept.shape)
    assert len(again) == 30


def test_damage_at_a_widening_makes_the_ring_again_on_disk(tmp_path: Path) -> None:
    rows = [row(seq) for seq in range(1, 31)]
    shape = checkpointed(tmp_path / "r", rows)
    kept = event_rows_of(tmp_path / "r")
    from_facts(kept, rows)
    kept.reopen(77, shape)
    flip(tmp_path / "r", (tmp_path / "r").read_bytes().rindex(np.full(2, 17, dtype=np.float32).tobytes()))
    kept.put(row(31, length=20))
    assert kept.has_file
    assert [r.seq for r in kept.in_close_order()] == list(range(1, 32))


def test_a_recovery_that_ends_half_way_is_taken_up_again(tmp_path: Path) -> None:
    rows = [row(seq) for seq in range(1, 31)]
    shape = checkpointed(tmp_path / "r", rows)
    kept = event_rows_of(tmp_path / "r")
    fails = iter([True, True, False])

    def recover() -> None:
        kept.put_many(rows[:10])
        if next(fails):
            raise StorageError("the facts can not be read", code="io")
        kept.put_many(rows[10:])

    kept.recover = recover
    kept.reopen(77, shape)
    flip(tmp_path / "r", (tmp_path / "r").read_bytes().rindex(np.full(2, 17, dtype=np.float32).tobytes()))
    with pytest.raises(StorageError):
        kept.in_close_order()
    with pytest.raises(StorageError):  # ten rows are not all rows: they are not vouched for
        kept.checkpoint(78)
    assert len(kept.in_close_order()) == 30


def blocked(path: Path) -> None:
    """Put a folder where a file is due, which stops root as well."""
    path.mkdir()
    (path / "full").touch()


def test_a_file_that_can_not_be_made_leaves_the_rows_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked(tmp_path / "r")
    kept = event_rows_of(tmp_path / "r")
    with caplog.at_level(logging.WARNING, "dwell"):
        kept.put_many([row(1), row(2)])
    assert "in memory" in caplog.text
    assert (len(kept), kept.has_file) == (2, False)
    kept.discard()  # the folder is not ours
    assert (tmp_path / "r" / "full").exists()


@pytest.mark.parametrize("grows", ["rows", "width"])
def test_a_ring_that_can_not_grow_on_disk_goes_on_in_memory_and_leaves_no_file(
    grows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_rows, "FIRST_ROWS", 1024)
    kept = event_rows_of(tmp_path / "r")
    rows = [row(seq) for seq in range(1, 1001)]
    from_facts(kept, rows)
    kept.put_many(rows)
    blocked(tmp_path / "r.new")
    more = [row(2000, length=17)] if grows == "width" else [row(seq) for seq in range(2000, 2100)]
    with caplog.at_level(logging.WARNING, "dwell"):
        kept.put_many(more)
    assert "in memory" in caplog.text
    assert (len(kept), kept.has_file) == (1000 + len(more), False)
    assert not (tmp_path / "r").exists()  # an erasure would not reach it


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    shape = checkpointed(tmp_path / "r", [row(1)])
    (tmp_path / "r.new").write_bytes(b"rows of somebody")
    event_rows_of(tmp_path / "r").reopen(77, shape)
    assert not (tmp_path / "r.new").exists()
    (tmp_path / "r.new").write_bytes(b"rows of somebody")
    event_rows_of(tmp_path / "r").put(row(1))
    assert not (tmp_path / "r.new").exists()


def test_discarding_removes_both_files_and_says_where_it_can_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = event_rows_of(tmp_path / "r", is_owner=False)
    kept.discard()
    for name in ("r", "r.new"):
        (tmp_path / name).touch()
    kept.discard()
    assert list(tmp_path.iterdir()) == []
    nowhere = event_rows_of(tmp_path / ("n" * 300))  # a name that no file system takes
    with pytest.raises(StorageError):
        nowhere.discard()


def test_starting_over_forgets_rows_and_width(tmp_path: Path) -> None:
    kept = event_rows_of(tmp_path / "r")
    kept.put(row(1, length=20))
    kept.start_over()
    assert (len(kept), kept.shape, kept.rows([1])) == (0, RowShape(2), [])
    kept.put(row(2))
    assert [r.seq for r in kept.in_close_order()] == [2]


def test_nothing_is_left_in_the_file_of_what_was_dropped(tmp_path: Path) -> None:
    kept = event_rows_of(tmp_path / "r")
    kept.put_many([row(seq, event_id=f"event-of-user-{seq}") for seq in range(1, 11)])
    kept.drop([4, 10])
    written = (tmp_path / "r").read_bytes()
    for seq in range(1, 11):
        is_there = seq not in {4, 10}
        assert (f"event-of-user-{seq}\0".encode() in written) == is_there
        assert (np.full(2, seq, dtype=np.float32).tobytes() in written) == is_there
