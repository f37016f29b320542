"""Rows of fixed width: one at a time, in blocks, evicted, refused, saved."""

import threading
from typing import Any

import numpy as np
import pytest

from dwell.errors import RecordError, ReplayError
from dwell.records import ColumnSpec, Experience
from dwell.replay import ReplayBuffer
from dwell.replay.packed_rows import OWN_REGION_BYTES

# narrow columns of two kinds, a wide one with a region of its own, a half-precision one, one that the index holds
SPEC = ColumnSpec(
    {
        "features": ((2, 3), np.dtype("f4")),
        "clicks": ((4,), np.dtype("i2")),
        "embedding": ((OWN_REGION_BYTES // 4,), np.dtype("f4")),
        "half": ((700,), np.dtype("f2")),
        "reward": ((), np.dtype("f4")),
    }
)
ONE_KIND = ColumnSpec({"features": ((3,), np.dtype("f4")), "exposure": ((), np.dtype("f4"))})


def row(i: int, spec: ColumnSpec = SPEC) -> dict[str, np.ndarray]:
    return {
        name: np.full(shape, i % 1000).astype(dtype)
        for name, (shape, dtype) in spec.columns.items()
        if name != "reward"
    }


def block(numbers: list[int], spec: ColumnSpec = SPEC) -> dict[str, np.ndarray]:
    rows = [row(i, spec) for i in numbers]
    return {name: np.array([one[name] for one in rows]) for name in row(0, spec)}


def names_of(numbers: list[int]) -> list[str]:
    return [f"e{i}" for i in numbers]


def snapshot(buffer: ReplayBuffer) -> list[Any]:
    state = buffer.to_state()
    rows = {name: values.tobytes() for name, values in state["rows"].items()}
    return [buffer.seqs().tolist(), buffer.n_bytes, rows, state["index"]["event_id"].tolist(), state["next_seq"]]


def assert_rows_are_their_own(buffer: ReplayBuffer, spec: ColumnSpec = SPEC) -> None:
    names = [name for name in spec.columns if name != "reward"]
    batch = buffer.sample(len(buffer), replace=False, columns=[*names, "timestamp"])
    for name in names:
        numbers = batch.columns[name].reshape(len(batch), -1).astype(float)
        expected = np.array([int(event_id[1:]) % 1000 for event_id in batch.event_ids])
        assert (numbers == expected[:, None]).all(), name
        assert batch.columns[name].dtype == spec.columns[name][1]


def test_rows_come_one_by_one_and_in_blocks_and_each_is_found_again() -> None:
    buffer = ReplayBuffer(500, columns=SPEC, seed=0)
    buffer.add_packed("e0", timestamp=0.0, columns=row(0), user="u", segment="s", reward=0.25, version=2, priority=3.0)
    assert (
        buffer.extend_columns(
            names_of([*range(1, 400)]), timestamps=np.arange(1.0, 400.0), columns=block([*range(1, 400)])
        )
        == []
    )
    assert_rows_are_their_own(buffer)
    kept = buffer.get("e0")
    assert kept is not None
    assert (kept.user, kept.segment, kept.reward, kept.version, kept.priority) == ("u", "s", 0.25, 2, 3.0)
    assert buffer.get("e7").priority == 3.0  # type: ignore[union-attr]  # unknown worth: that of the highest
    for i in range(0, 400, 3):
        buffer.remove(f"e{i}")
    assert_rows_are_their_own(buffer)
    assert buffer.sample(3).columns["reward"].dtype == np.float32
    assert set(buffer.sample(3).columns) == set(SPEC.columns)


def test_a_full_buffer_reports_who_left_for_a_block() -> None:
    buffer = ReplayBuffer(10, columns=SPEC, seed=0)
    assert buffer.extend_columns(names_of([*range(8)]), timestamps=0.0, columns=block([*range(8)])) == []
    assert buffer.remove("e3")
    # room for three, the other four take over the slots of the oldest
    assert buffer.extend_columns(names_of([*range(20, 27)]), timestamps=0.0, columns=block([*range(20, 27)])) == [
        1,
        2,
        3,
        5,
    ]
    assert [item.event_id for item in buffer] == names_of([5, 6, 7, *range(20, 27)])
    assert_rows_are_their_own(buffer)
    # larger than the buffer: it evicts its own first ones, too; seqs 16 to 50 are its
    gone = buffer.extend_columns(names_of([*range(100, 135)]), timestamps=0.0, columns=block([*range(100, 135)]))
    assert gone == [6, 7, 8, *range(9, 16), *range(16, 41)]
    assert [item.event_id for item in buffer] == names_of([*range(125, 135)])
    assert_rows_are_their_own(buffer)


def test_a_block_evicts_those_of_segments_and_users_in_order() -> None:
    buffer = ReplayBuffer(6, columns=SPEC, seed=0)
    for begin in range(0, 40, 4):
        numbers = [*range(begin, begin + 4)]
        buffer.extend_columns(
            names_of(numbers),
            timestamps=0.0,
            columns=block(numbers),
            users=[None, "u1", "u2", "u1"],
            segments=["a", None, "b", "a"] if begin % 8 else None,
        )
        assert_rows_are_their_own(buffer)
    assert [item.event_id for item in buffer] == names_of([*range(34, 40)])
    assert buffer.segment_counts() == {None: 3, "a": 2, "b": 1}
    assert buffer.remove_user("u1") == 3
    assert [item.event_id for item in buffer] == ["e34", "e36", "e38"]
    assert_rows_are_their_own(buffer)


def test_a_known_or_repeated_id_in_a_block_is_replaced_in_place() -> None:
    buffer = ReplayBuffer(10, columns=ONE_KIND, seed=0)
    buffer.extend_columns(names_of([0, 1, 2]), timestamps=0.0, columns=block([0, 1, 2], ONE_KIND))
    columns = block([1, 5, 5, 6], ONE_KIND)
    columns["features"][:] = [[10.0] * 3, [50.0] * 3, [51.0] * 3, [60.0] * 3]
    assert buffer.extend_columns(["e1", "e5", "e5", "e6"], timestamps=[1.0, 2.0, 3.0, 4.0], columns=columns) == []
    assert [item.event_id for item in buffer] == names_of([0, 1, 2, 5, 6])
    assert buffer.seqs().tolist() == [1, 2, 3, 4, 5]
    found = buffer.sample(5, replace=False, columns=["features", "seq", "timestamp"]).columns
    by_seq = dict(zip(found["seq"].tolist(), found["features"][:, 0].tolist(), strict=True))
    assert by_seq == {1: 0.0, 2: 10.0, 3: 2.0, 4: 51.0, 5: 60.0}
    assert dict(zip(found["seq"].tolist(), found["timestamp"].tolist(), strict=True))[4] == 3.0


def test_ids_may_be_padded_bytes_and_grow_wider() -> None:
    buffer = ReplayBuffer(50, columns=ONE_KIND, seed=0)
    buffer.extend_columns(np.array([b"e1", b"e2"], dtype="S30"), timestamps=0.0, columns=block([1, 2], ONE_KIND))
    wide = ["e3-" + "x" * 125, "e4-ü"]
    buffer.extend_columns(wide, timestamps=0.0, columns=block([3, 4], ONE_KIND))
    buffer.add_packed("e5", timestamp=0.0, columns=row(5, ONE_KIND))
    assert [item.event_id for item in buffer] == ["e1", "e2", *wide, "e5"]
    assert all(name in buffer for name in ["e1", "e2", *wide, "e5"])
    assert buffer.update_priorities(["e1", wide[0], wide[1], "e9"], [2.0] * 4).updated == 3


def test_the_bytes_are_the_same_whichever_way_a_row_came() -> None:
    one, many = (ReplayBuffer(50, columns=ONE_KIND) for _ in range(2))
    users, segments = ["u" * 40, None, "ü"], [None, "s", "s"]
    names = ["e1", "e2-long-name", "e3-ü"]
    for i, name in enumerate(names):
        one.add_packed(name, timestamp=0.0, columns=row(i, ONE_KIND), user=users[i], segment=segments[i])
    many.extend_columns(names, timestamps=0.0, columns=block([0, 1, 2], ONE_KIND), users=users, segments=segments)
    assert one.n_bytes == many.n_bytes
    limited = ReplayBuffer(50, columns=ONE_KIND, max_bytes=one.n_bytes)
    assert (
        limited.extend_columns(
            names, timestamps=0.0, columns=block([0, 1, 2], ONE_KIND), users=users, segments=segments
        )
        == []
    )
    assert limited.extend_columns(["e9"], timestamps=0.0, columns=block([9], ONE_KIND)) == [1]


BAD_BLOCKS: list[tuple[str, dict[str, Any]]] = [
    ("a timestamp", {"timestamps": [1.0, float("nan")]}),
    ("a negative timestamp", {"timestamps": [1.0, -1.0]}),
    ("too few timestamps", {"timestamps": [1.0]}),
    ("a priority", {"priorities": [1.0, -1.0]}),
    ("an infinite priority", {"priorities": [1.0, float("inf")]}),
    ("a reward", {"rewards": [0.0, 1.5]}),
    ("a version", {"versions": [0, -1]}),
    ("a fraction of a version", {"versions": [0.5, 1.0]}),
    ("a user", {"users": ["u", ""]}),
    ("too few users", {"users": ["u"]}),
    ("a segment", {"segments": ["s", "a\x00b"]}),
    ("an id", {"event_ids": ["e8", "not an id"]}),
    ("an empty id", {"event_ids": ["e8", ""]}),
    ("an id with a zero at its end", {"event_ids": ["e8", "e9\0"]}),
    ("an id with a zero inside", {"event_ids": np.array([b"e8", b"e\0 9"])}),
    ("an id that is too long", {"event_ids": ["e8", "x" * 129]}),
    ("no texts", {"event_ids": [8, 9]}),
    ("one text", {"event_ids": "e8"}),
    ("seqs", {"seqs": [8, 9]}),
    ("no columns", {"columns": None}),
    ("another column", {"columns": block([1, 2], ONE_KIND) | {"more": np.zeros(2)}}),
    ("a column missing", {"columns": {"features": np.zeros((2, 3))}}),
    ("another shape", {"columns": block([1, 2], ONE_KIND) | {"features": np.zeros((2, 4))}}),
    ("too few rows", {"columns": block([1], ONE_KIND)}),
    ("a NaN", {"columns": block([1, 2], ONE_KIND) | {"exposure": np.array([1.0, np.nan], "f4")}}),
    ("an infinity", {"columns": block([1, 2], ONE_KIND) | {"exposure": np.array([np.inf, -np.inf], "f4")}}),
    ("more than a float32", {"columns": block([1, 2], ONE_KIND) | {"exposure": [1.0, 1e39]}}),
    ("texts in a column", {"columns": block([1, 2], ONE_KIND) | {"exposure": np.array(["1", "2"])}}),
    ("complex numbers", {"columns": block([1, 2], ONE_KIND) | {"exposure": np.array([1j, 2.0])}}),
]


@pytest.mark.parametrize(("name", "bad"), BAD_BLOCKS, ids=[name for name, _ in BAD_BLOCKS])
def test_a_block_with_one_bad_row_is_refused_whole(name: str, bad: dict[str, Any]) -> None:
    buffer = ReplayBuffer(5, columns=ONE_KIND, seed=0)
    buffer.extend_columns(names_of([1, 2, 3, 4]), timestamps=0.0, columns=block([1, 2, 3, 4], ONE_KIND))
    before = snapshot(buffer)
    good = {"event_ids": ["e8", "e9"], "timestamps": [1.0, 2.0], "columns": block([8, 9], ONE_KIND)}
    with pytest.raises((ReplayError, RecordError)):
        buffer.extend_columns(**{**good, **bad})
    assert snapshot(buffer) == before


@pytest.mark.parametrize("value", [[1.0, np.nan, 1.0], [1.0, np.inf, -np.inf], np.zeros(4), ["a", "b", "c"], None])
def test_one_bad_row_is_refused(value: Any) -> None:
    buffer = ReplayBuffer(5, columns=ONE_KIND)
    buffer.add_packed("e1", timestamp=0.0, columns=row(1, ONE_KIND))
    before = snapshot(buffer)
    for features in (value, np.array(value, dtype="f4") if isinstance(value, list) and value[0] == 1.0 else value):
        with pytest.raises(ReplayError, match="features"):
            buffer.add_packed("e2", timestamp=0.0, columns=row(2, ONE_KIND) | {"features": features})
    with pytest.raises(RecordError):
        buffer.add_packed("not an id", timestamp=0.0, columns=row(2, ONE_KIND))
    assert snapshot(buffer) == before


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("n", [3, 5000])
def test_the_largest_finite_numbers_are_kept_without_a_warning(dtype: str, n: int) -> None:
    buffer = ReplayBuffer(5, columns=ColumnSpec({"x": ((n,), np.dtype(dtype))}), seed=0)
    largest = np.full(n, np.finfo(dtype).max, dtype=dtype)
    buffer.add_packed("e1", timestamp=0.0, columns={"x": largest})
    buffer.extend_columns(["e2", "e3"], timestamps=0.0, columns={"x": np.stack([largest, -largest])})
    assert np.isfinite(buffer.sample(3, replace=False).columns["x"]).all()
    assert buffer.update_priorities(["e1"], [1.7e308]).updated == 1


def test_a_column_that_is_no_attribute_is_filled_by_packed_rows_alone() -> None:
    buffer = ReplayBuffer(5, columns=ONE_KIND)
    item = Experience("e1", 0.0, "", [], [], {}, {}, 0.0)
    with pytest.raises(ReplayError, match="features"):
        buffer.add(item)
    assert buffer.size() == 0
    buffer.add_packed("e1", timestamp=0.0, columns=row(1, ONE_KIND))
    assert buffer.get("e1") == Experience("e1", 0.0, "", (), (), {}, {}, 0.0, seq=1).sealed()  # type: ignore[arg-type]


def test_only_packed_rows_are_added_as_columns() -> None:
    for call in (
        lambda: ReplayBuffer(3).add_packed("e1", timestamp=0.0, columns={}),
        lambda: ReplayBuffer(3).extend_columns(["e1"], timestamps=0.0),
    ):
        with pytest.raises(ReplayError, match="packs no rows"):
            call()


@pytest.mark.parametrize("ids", [[], np.zeros(0, dtype="S8")], ids=["texts", "bytes"])
def test_an_empty_block_is_no_change(ids: Any) -> None:
    buffer = ReplayBuffer(3, columns=ONE_KIND)
    assert buffer.extend_columns(ids, timestamps=[], columns=block([], ONE_KIND) and None) == []


@pytest.mark.parametrize("capacity", [1, 2])
def test_the_smallest_buffers_take_everything(capacity: int) -> None:
    buffer = ReplayBuffer(capacity, columns=SPEC, seed=0, half_life_s=60.0)
    for i in range(12):
        if i % 3:
            buffer.add_packed(f"e{i}", timestamp=float(i), columns=row(i))
        else:
            buffer.extend_columns([f"e{i}"], timestamps=[float(i)], columns=block([i]))
        assert_rows_are_their_own(buffer)
        for strategy in ("uniform", "priority", "rank", "recency", "stratified"):
            drawn = buffer.sample(5, strategy=strategy).seqs  # type: ignore[arg-type]
            assert set(drawn.tolist()) <= {i + 1 - age for age in range(capacity)}
    assert buffer.remove("e11")
    assert len(buffer) == capacity - 1


def test_no_row_is_torn_while_another_thread_writes_blocks() -> None:
    # every row carries its number in each of its columns, in its id and in its timestamp
    buffer = ReplayBuffer(200, columns=SPEC, seed=0)
    buffer.extend_columns(names_of([*range(200)]), timestamps=np.arange(200.0), columns=block([*range(200)]))
    torn: list[str] = []
    done = threading.Event()
    parts = ["features", "clicks", "embedding", "half"]

    def write() -> None:
        for begin in range(200, 5000, 40):
            numbers = [*range(begin, begin + 30)]
            buffer.extend_columns(names_of(numbers), timestamps=np.array(numbers, dtype=float), columns=block(numbers))
            for i in range(begin + 30, begin + 40):
                buffer.add_packed(f"e{i}", timestamp=float(i), columns=row(i))
            buffer.remove(f"e{begin + 5}")
        done.set()

    def read() -> None:
        while not done.is_set():
            with buffer.held():
                batch = buffer.sample(64, strategy="priority", columns=[*parts, "timestamp"])
                names = batch.event_ids
            number = batch.columns["timestamp"] % 1000
            wide = {name: batch.columns[name].reshape(64, -1).astype(float) for name in parts}
            torn.extend(name for name in parts if not (wide[name] == number[:, None]).all())
            torn.extend(
                name for name, at in zip(names, batch.columns["timestamp"], strict=True) if name != f"e{at:.0f}"
            )
            buffer.update_priorities(batch.seqs, np.ones(64))

    threads = [threading.Thread(target=work) for work in (write, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done.is_set()
    assert torn == []
    assert_rows_are_their_own(buffer)


@pytest.mark.parametrize(
    "spec", [SPEC, ONE_KIND, ColumnSpec({"reward": ((), np.dtype("f4"))})], ids=["mixed", "one", "index"]
)
def test_packed_rows_are_restored_and_go_on_alike(spec: ColumnSpec) -> None:
    buffer = ReplayBuffer(30, columns=spec, seed=1, half_life_s=50.0)
    buffer.extend_columns(names_of([*range(50)]), timestamps=np.arange(50.0), columns=block([*range(50)], spec))
    buffer.remove("e33")
    saved = buffer.to_state()
    twins = [buffer, ReplayBuffer.from_state(saved, columns=spec), ReplayBuffer.from_state(saved, columns=spec)]
    for begin in (100, 120):
        numbers = [*range(begin, begin + 7)]
        seqs = set()
        for twin in twins[:2]:
            twin.extend_columns(names_of(numbers), timestamps=float(begin), columns=block(numbers, spec))
            twin.add_packed(f"e{begin + 9}", timestamp=0.0, columns=row(begin + 9, spec))
            seqs.add(tuple(twin.sample(20, strategy="recency").seqs.tolist()))
            assert_rows_are_their_own(twin, spec)
        assert len(seqs) == 1
    # what was restored shares nothing with the saved state, nor with another that was restored from it
    third = twins[2]
    assert third.seqs().tolist() == [*range(21, 34), *range(35, 51)]
    assert_rows_are_their_own(third, spec)
