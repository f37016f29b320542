"""Rows come back as they were given, by seq; what does not fit is refused, what was dropped leaves nothing."""

import os
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dwell.errors import ConfigError, ForkedError, ReplayError, StoreClosedError
from dwell.storage.column_ring import ColumnRing, RingColumn, RingSchema
from dwell.testing.store_rings import ring_contents, sample_columns, sample_ring_schema, sample_row

SCHEMA = sample_ring_schema()
F8, I8 = np.dtype(np.float64), np.dtype(np.int64)


@pytest.fixture(params=["file", "memory"])
def ring(request: pytest.FixtureRequest, tmp_path: Path) -> ColumnRing:
    return ColumnRing.create(str(tmp_path / "s.ring") if request.param == "file" else None, SCHEMA, 2000)


def same(ring: ColumnRing, seqs: list[int], mark: int) -> None:
    due = sample_columns(seqs, mark)
    found = ring.read(seqs, ring.names)
    assert set(found) == set(due)
    for name, column in due.items():
        assert found[name].dtype == next(c.dtype for c in SCHEMA.all_columns if c.name == name)
        assert np.array_equal(found[name], column), name
        assert found[name].flags.c_contiguous


# ---------------------------------------------------------------- rows


def test_a_row_comes_back_with_all_its_bits(ring: ColumnRing) -> None:
    values = sample_row(7, 1)
    values["features"] = np.array([[np.nan, -0.0, np.inf]] * 4, dtype=np.float32)
    values["event_id"] = "häß".encode()
    ring.put(7, values)
    found = ring.read([7], ["features", "event_id", "embedding", "seq"])
    assert found["features"].tobytes() == values["features"].tobytes()
    assert found["event_id"].tolist() == ["häß".encode()]
    assert found["embedding"].shape == (1, 6)
    assert found["seq"].tolist() == [7]
    assert len(ring) == 1


def test_rows_are_read_in_the_order_asked_for_repeats_included(ring: ColumnRing) -> None:
    ring.put_many(sample_columns(range(1, 6), 3))
    same(ring, [5, 1, 1, 4], 3)
    assert ring.read([], ["rewards"])["rewards"].shape == (0, 4)


def test_a_row_takes_the_place_of_an_older_one(ring: ColumnRing) -> None:
    ring.put_many(sample_columns(range(1, 6), 3))
    ring.put(2, sample_row(2, 9))
    ring.put_many(sample_columns([8, 4, 6], 10))
    assert len(ring) == 7
    same(ring, [1, 3, 5], 3)
    same(ring, [2], 9)
    same(ring, [4, 6, 8], 10)


def test_what_was_read_is_a_copy(ring: ColumnRing) -> None:
    ring.put_many(sample_columns([1, 2], 3))
    found = ring.read([1, 2], ring.names)
    live = ring.columns(["seq", "priority", "version", "event_id"])
    for column in (*found.values(), *live.values()):
        column[:] = column[::-1].copy() if column.dtype.kind == "S" else 0
    same(ring, [1, 2], 3)


def test_a_row_that_is_not_there_is_named(ring: ColumnRing) -> None:
    ring.put_many(sample_columns([1, 2, 3], 3))
    ring.drop([2])
    for seq in (2, 4, 0, -1, 2**40):
        with pytest.raises(ReplayError, match=str(seq)):
            ring.read([1, seq], ["rewards"])
        assert seq not in ring
    assert ring.there([3, 2, 1, -1]).tolist() == [True, False, True, False]
    assert 3 in ring


def test_index_columns_hold_all_live_rows(ring: ColumnRing) -> None:
    ring.put_many(sample_columns([1, 2, 3, 9], 3))
    ring.drop([2])
    found = ring.columns(["seq", "priority", "event_id"])
    assert sorted(found["seq"].tolist()) == [1, 3, 9]
    assert np.array_equal(found["priority"], found["seq"] + 3 / 4096)
    assert found["event_id"].tolist() == [f"e{seq}".encode() for seq in found["seq"].tolist()]
    assert ring.seqs().tolist() == found["seq"].tolist()
    assert ring.column("version").tolist() == [3, 3, 3]
    assert ring.last_seq == 9


def test_an_unknown_column_is_named(ring: ColumnRing) -> None:
    ring.put(1, sample_row(1, 1))
    refused = r"no such column.*'nothing'"
    with pytest.raises(ReplayError, match=refused):
        ring.read([1], ["seq", "nothing"])
    with pytest.raises(ReplayError, match=refused):
        ring.column("nothing")
    with pytest.raises(ReplayError, match=refused):
        ring.set([1], "nothing", [1])


@pytest.mark.parametrize("name", ["features", "embedding"])
def test_only_the_index_is_read_for_all_rows(ring: ColumnRing, name: str) -> None:
    with pytest.raises(ReplayError, match="not in the index"):
        ring.column(name)


# ---------------------------------------------------------------- what does not fit

BAD: list[tuple[str, Any]] = [
    ("features", np.zeros((4, 2), np.float32)),
    ("features", np.float32(1)),
    ("rewards", [1.0] * 5),
    ("rewards", [[1.0], [1.0, 2.0]]),
    ("rewards", ["a"] * 4),
    ("n_kept", 1.5),
    ("n_kept", 2**15),
    ("n_kept", -(2**15) - 1),
    ("version", 2**63),
    ("version", None),
    ("event_id", "text"),
    ("event_id", b"x" * 17),
    ("event_id", b"ends in zero\0"),
    ("embedding", [70_000.0] * 6),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=[f"{name}-{i}" for i, (name, _) in enumerate(BAD)])
def test_a_value_that_does_not_fit_changes_nothing(ring: ColumnRing, name: str, value: object) -> None:
    ring.put_many(sample_columns([1, 2], 3))
    with pytest.raises(ReplayError, match=f"columns.{name}"):
        ring.put(1, {**sample_row(1, 4), name: value})
    with pytest.raises(ReplayError, match=f"columns.{name}"):
        ring.put(3, {**sample_row(3, 4), name: value})
    columns: dict[str, Any] = dict(sample_columns([1, 3], 4))
    with pytest.raises(ReplayError, match=f"columns.{name}"):
        ring.put_many({**columns, name: [value, columns[name][1]]})
    assert len(ring) == 2
    same(ring, [1, 2], 3)


def test_values_at_the_limits_fit(ring: ColumnRing) -> None:
    limits = {"event_id": b"x" * 16, "n_kept": -(2**15), "version": 2**63 - 1, "embedding": [65_504.0] * 6}
    ring.put(1, {**sample_row(1, 1), **limits})
    found = ring.read([1], list(limits))
    assert {name: column[0].tolist() for name, column in found.items()} == limits


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_a_row_has_each_column_and_no_other(ring: ColumnRing, change: str) -> None:
    row: dict[str, Any] = sample_row(1, 1)
    columns: dict[str, Any] = dict(sample_columns([1], 1))
    for given in (row, columns):
        if change == "missing":
            del given["rewards"]
        else:
            given["spare"] = 1
    wrong = "rewards" if change == "missing" else "spare"
    with pytest.raises(ReplayError, match=wrong):
        ring.put(1, row)
    with pytest.raises(ReplayError, match=wrong):
        ring.put_many(columns)
    assert len(ring) == 0


@pytest.mark.parametrize("seqs", [[1, 0], [1, -5], [4, 4]], ids=["zero", "negative", "twice"])
def test_a_seq_is_positive_and_given_once(ring: ColumnRing, seqs: list[int]) -> None:
    with pytest.raises(ReplayError, match="seq"):
        ring.put_many(sample_columns(seqs, 1))
    with pytest.raises(ReplayError, match="seq"):
        ring.put(min(seqs[1], 0), sample_row(1, 1))
    assert len(ring) == 0


def test_no_rows_are_no_change(ring: ColumnRing) -> None:
    ring.checkpoint(1)
    ring.put_many(sample_columns([], 1))
    assert ring.drop([]) == 0
    assert ring.drop([5]) == 0
    assert ring.set([5], "version", [1]) == 0
    assert ring.is_clean


# ---------------------------------------------------------------- changing and dropping


def test_a_column_is_set_where_the_row_is(ring: ColumnRing) -> None:
    ring.put_many(sample_columns([1, 2, 3], 3))
    assert ring.set([3, 9, 1], "priority", [0.5, 7.0, 0.25]) == 2
    assert ring.set([2, 2], "version", [5, 6]) == 2
    assert ring.set([2], "rewards", [[1.0, 2.0, 3.0, 4.0]]) == 1
    found = ring.read([1, 2, 3], ["priority", "version", "rewards"])
    assert found["priority"].tolist() == [0.25, 2 + 3 / 4096, 0.5]
    assert found["version"].tolist() == [3, 6, 3]
    assert found["rewards"][1].tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("name", ["seq", "event_id"])
def test_the_identity_of_a_row_never_changes(ring: ColumnRing, name: str) -> None:
    ring.put(1, sample_row(1, 1))
    with pytest.raises(ReplayError, match="identity"):
        ring.set([1], name, [1])


def test_a_value_that_does_not_fit_is_not_set(ring: ColumnRing) -> None:
    ring.put(1, sample_row(1, 1))
    for values in ([1.5], [1, 2], 3):
        with pytest.raises(ReplayError, match="version"):
            ring.set([1], "version", values)
    same(ring, [1], 1)


@pytest.mark.parametrize("gone", [[1], [6], [5, 6], [1, 6], [1, 2, 3, 4, 5, 6], [2, 4, 99, 2]], ids=str)
def test_dropped_rows_are_gone_and_the_others_stay(ring: ColumnRing, gone: list[int]) -> None:
    ring.put_many(sample_columns(range(1, 7), 3))
    left = [seq for seq in range(1, 7) if seq not in gone]
    assert ring.drop(gone) == 6 - len(left)
    assert sorted(ring.seqs().tolist()) == left
    same(ring, left, 3)
    ring.put_many(sample_columns([7, 8], 4))
    same(ring, [8, 7], 4)
    same(ring, left, 3)


def test_what_was_dropped_leaves_no_bytes(tmp_path: Path) -> None:
    path = tmp_path / "s.ring"
    ring = ColumnRing.create(str(path), SCHEMA, 100)
    ring.put_many(sample_columns(range(1, 51), 3))
    traces = {"event_id": b"secret-person", "priority": 1 / 7, "rewards": [1 / 9] * 4, "embedding": [1 / 3] * 6}
    for seq in (1, 25, 50):
        ring.put(seq, {**sample_row(seq, 3), **traces})
    ring.checkpoint(1)
    needles = (
        b"secret-person",
        np.float64(1 / 7).tobytes(),
        np.float64(1 / 9).tobytes(),
        np.float16(1 / 3).tobytes() * 6,
    )
    before = path.read_bytes()
    assert all(before.count(needle) >= 3 for needle in needles)
    ring.drop([1, 25, 50])
    ring.checkpoint(2)
    after = path.read_bytes()
    assert [after.count(needle) for needle in needles] == [0, 0, 0, 0]
    same(ring, [49, 2, 30], 3)
    assert ring.drop(ring.seqs()) == 47
    ring.checkpoint(3)
    assert not any(path.read_bytes()[ring._rows.file._layout.n_before :])  # nothing but header and checksums


# ---------------------------------------------------------------- room


def test_it_grows_beyond_its_room(ring: ColumnRing) -> None:
    assert ring.n_rows == 2048  # whole segments of the index
    ring.put_many(sample_columns(range(1, 2049), 3))
    assert ring.n_rows == 2048
    ring.put(5000, sample_row(5000, 4))
    assert ring.n_rows == 4096
    ring.put_many(sample_columns(range(10_000, 19_000), 5))
    assert ring.n_rows == 11_264  # 2,049 + 9,000 rows in whole segments of 1,024
    same(ring, list(range(1, 2049)), 3)
    same(ring, [5000], 4)
    same(ring, list(range(10_000, 19_000)), 5)
    if ring.path is not None:
        assert os.listdir(os.path.dirname(ring.path)) == ["s.ring"]  # noqa: PTH120, PTH208 - names, as the system has them
        ring.checkpoint(8)
        contents = ring_contents(ring)
        ring.close()
        assert ring_contents(ColumnRing.open(ring.path, SCHEMA, 8)) == contents


def test_a_wider_ring_has_the_same_rows_with_zeros_added(ring: ColumnRing) -> None:
    ring.put_many(sample_columns(range(1, 2000), 3))
    ring.drop([4])
    wide = ring.widened(sample_ring_schema(d=6, event_id_bytes=24))
    with pytest.raises(StoreClosedError):
        ring.read([1], ["seq"])
    found = wide.read([9, 1], wide.names)
    due = sample_columns([9, 1], 3)
    for name, column in found.items():
        if name in {"features", "rewards"}:
            assert np.array_equal(column[:, :4], due[name])
            assert not column[:, 4:].any()
        else:
            assert column.tolist() == due[name].tolist()
    assert found["event_id"].dtype == np.dtype("S24")
    assert len(wide) == 1998
    wide.put(4, {**sample_row(4, 5, d=6), "event_id": b"x" * 24})
    assert wide.read([4], ["event_id"])["event_id"].tolist() == [b"x" * 24]
    if wide.path is not None:
        wide.checkpoint(3)
        wide.close()
        assert len(ColumnRing.open(wide.path, sample_ring_schema(d=6, event_id_bytes=24), 3)) == 1999


@pytest.mark.parametrize(
    "schema",
    [sample_ring_schema(d=3), sample_ring_schema(key="other"), RingSchema(SCHEMA.columns[:-1], 16, "sample")],
    ids=["shorter", "another key", "other columns"],
)
def test_other_columns_are_no_widening(ring: ColumnRing, schema: RingSchema) -> None:
    ring.put(1, sample_row(1, 3))
    with pytest.raises(ReplayError, match="widened"):
        ring.widened(schema)
    same(ring, [1], 3)


# ---------------------------------------------------------------- schemas


@pytest.mark.parametrize(
    "make",
    [
        lambda: RingColumn("a b", F8),
        lambda: RingColumn("a", np.dtype(object)),
        lambda: RingColumn("a", np.dtype("U4")),
        lambda: RingColumn("a", np.dtype(">f8")),
        lambda: RingColumn("a", np.dtype("S0")),
        lambda: RingColumn("a", F8, (0,)),
        lambda: RingColumn("a", F8, region="elsewhere"),  # type: ignore[arg-type]
        lambda: RingSchema((), event_id_bytes=12),
        lambda: RingSchema((), event_id_bytes=0),
        lambda: RingSchema((RingColumn("a", F8), RingColumn("a", I8))),
        lambda: RingSchema((RingColumn("seq", I8),)),
    ],
    ids=["name", "object", "text", "swapped", "empty", "length", "region", "width", "no width", "twice", "seq"],
)
def test_a_schema_that_can_not_be_kept_is_refused(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


def test_every_difference_shows_in_the_digest() -> None:
    column = RingColumn("a", F8, (2,), "row")
    variants = [
        RingSchema((column,)),
        RingSchema((column,), key="k"),
        RingSchema((column,), event_id_bytes=48),
        RingSchema((RingColumn("b", F8, (2,), "row"),)),
        RingSchema((RingColumn("a", I8, (2,), "row"),)),
        RingSchema((RingColumn("a", F8, (3,), "row"),)),
        RingSchema((RingColumn("a", F8, (2,), "own"),)),
        RingSchema((column, RingColumn("b", F8))),
        RingSchema((RingColumn("b", F8), column)),
        RingSchema(()),
    ]
    assert len({schema.digest for schema in variants}) == len(variants)
    assert RingSchema((RingColumn("a", F8, (2,)),)).digest == variants[0].digest


def test_a_record_holds_each_number_at_a_multiple_of_its_width() -> None:
    dtype = RingSchema(
        (
            RingColumn("a", np.dtype(np.int8), (3,)),
            RingColumn("b", F8),
            RingColumn("c", np.dtype("S5")),
            RingColumn("d", np.dtype(np.float32), (3,)),
        )
    ).row_dtype
    assert dtype.fields is not None
    for name, size in (("b", 8), ("d", 4)):
        assert dtype.fields[name][1] % size == 0
    assert dtype.itemsize == 32  # 8 + 12 + 3 + 5 = 28 bytes, to the next multiple of 8


def test_a_ring_of_identities_alone_is_legal() -> None:
    ring = ColumnRing.create(None, RingSchema(()), 1)
    ring.put(3, {"event_id": b"three"})
    assert ring.read([3], ["event_id", "seq"])["event_id"].tolist() == [b"three"]


# ---------------------------------------------------------------- who may use it


def test_a_closed_ring_says_so(ring: ColumnRing) -> None:
    ring.put(1, sample_row(1, 1))
    mapping = ring._rows.file._map
    ring.close()
    ring.close()
    assert mapping.closed
    assert not ring.is_usable
    for use in (
        lambda: ring.read([1], ["seq"]),
        ring.seqs,
        lambda: ring.put(1, sample_row(1, 1)),
        lambda: ring.drop([1]),
        lambda: ring.checkpoint(1),
        ring.mark_dirty,
    ):
        with pytest.raises(StoreClosedError):
            use()


def test_a_forked_child_is_refused_even_while_the_parent_writes(ring: ColumnRing) -> None:
    ring.put(1, sample_row(1, 1))
    with ring._writing, ring._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if child == 0:
            refused = 0
            for use in (lambda: ring.read([1], ["seq"]), lambda: ring.drop([1]), lambda: ring.checkpoint(2)):
                try:
                    use()
                except ForkedError:
                    refused += 1
            ring.close()
            os._exit(0 if refused == 3 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    same(ring, [1], 1)


def test_readers_go_on_while_a_checkpoint_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = ColumnRing.create(str(tmp_path / "s.ring"), SCHEMA, 100)
    ring.put_many(sample_columns(range(1, 51), 3))
    is_syncing, may_go_on = threading.Event(), threading.Event()
    real = os.fsync

    def slow(descriptor: int) -> None:
        is_syncing.set()
        assert may_go_on.wait(10)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    thread = threading.Thread(target=ring.checkpoint, args=(1,))
    thread.start()
    assert is_syncing.wait(10)
    same(ring, [1, 50], 3)
    assert ring.epoch == 0
    may_go_on.set()
    thread.join(10)
    assert (ring.is_clean, ring.epoch) == (True, 1)
