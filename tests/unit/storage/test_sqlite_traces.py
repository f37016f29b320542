"""What traces take in a file, and by which way they are found there."""

import os
import random
from pathlib import Path

import apsw

from dwell.storage import open_store
from dwell.storage.sqlite_traces import FORGETTABLE

N_ITEMS = int(os.environ.get("DWELL_TRACES", "20000"))
# Twelve timescales of two channels take 209 bytes. A page of 4,096 holds 17 such rows, so that each takes 241; the
# entry of the item takes 22 and that of `forget_at` 20, in pages that are 9/10 full.
PACKED_BYTES, ITEM_BYTES = 209, 10
MOST_BYTES = {True: 285.0, False: 265.0}  # an item, with and without an instant to be forgotten at


def written_in_random_order(path: Path, *, is_forgotten: bool) -> list[float]:
    """Return the bytes an item after all were put, and again after all were replaced, each in an order of its own."""
    rng = random.Random(3)
    items = [f"item{i:0{ITEM_BYTES - 4}d}" for i in range(N_ITEMS)]
    store = open_store(str(path), durability="relaxed")
    with store.snapshot() as reader:
        empty = reader.size_bytes()
    sizes = []
    for _ in range(2):
        rng.shuffle(items)
        for start in range(0, N_ITEMS, 5_000):
            with store.transaction() as tx:
                tx.put_traces(
                    [
                        (item, rng.randbytes(PACKED_BYTES), 10**15 + rng.randrange(10**15) if is_forgotten else None)
                        for item in items[start : start + 5_000]
                    ]
                )
        with store.snapshot() as reader:
            sizes.append((reader.size_bytes() - empty) / N_ITEMS)
            assert reader.n_traces() == N_ITEMS
    store.close()
    return sizes


def test_an_item_takes_what_is_said(tmp_path: Path) -> None:
    for is_forgotten, most in MOST_BYTES.items():
        sizes = written_in_random_order(tmp_path / str(is_forgotten), is_forgotten=is_forgotten)
        words = "with" if is_forgotten else "without"
        print(
            f"\n{N_ITEMS} items {words} forget_at: {sizes[0]:.1f} bytes an item, {sizes[1]:.1f} when all were replaced"
        )
        assert max(sizes) < most
        assert sizes[1] < 1.02 * sizes[0], "replacing makes rows move"


def test_seventeen_rows_fill_a_page_when_ids_are_long(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s"))
    with store.snapshot() as reader:
        empty = reader.size_bytes()
    with store.transaction() as tx:
        tx.put_traces([(f"item{i:06d}", bytes(PACKED_BYTES), 10**15 + i) for i in range(5_000)])
        tx._execute("UPDATE traces SET id = id + 1000000")
    store.scrub()
    with store.snapshot() as reader:
        # 4,096 / 17 = 241, and 39 for both indexes in full pages; with 16 rows a page it were 295
        assert (reader.size_bytes() - empty) / 5_000 < 283
    store.close()


def test_the_room_of_items_that_went_is_used_again(tmp_path: Path) -> None:
    n, rng = 4_000, random.Random(4)
    store = open_store(str(tmp_path / "s"), durability="relaxed")
    items = [f"item{i:06d}" for i in range(n)]
    with store.transaction() as tx:
        tx.put_traces([(item, item.encode(), 1) for item in items])
    for i in range(10):
        rng.shuffle(items)
        new = [f"item{(i + 1) * n + j:06d}" for j in range(n // 10)]
        gone, items[: n // 10] = items[: n // 10], new
        with store.transaction() as tx:
            tx.put_traces([(item, item.encode(), 1) for item in items[: n // 4]], removed=gone)
            assert dict(tx.traces()) == {item: item.encode() for item in items}
            assert tx._query("SELECT max(id) FROM traces")[0][0] <= n
    store.close()


def test_what_is_to_be_forgotten_is_found_by_a_range_scan(tmp_path: Path) -> None:
    open_store(str(tmp_path / "s")).close()
    connection = apsw.Connection(str(tmp_path / "s"))
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {FORGETTABLE}", (0, 5, 5))]
    connection.close()
    assert plan[0] == "SEARCH traces USING INDEX traces_by_forgetting (tenant=? AND forget_at<?)"
    # of equal instants alone: a sort of everything would say FOR ORDER BY
    assert plan[1:] == ["USE TEMP B-TREE FOR LAST TERM OF ORDER BY"]


def test_a_replaced_row_stays_where_it_was(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s"))
    with store.transaction() as tx:
        tx.put_traces([(item, b"old", 1) for item in "abc"])
        before = tx._query("SELECT item, id FROM traces")
        tx.put_traces([("d", b"new", None), ("b", b"new", 2), ("a", b"new", None)])
        assert tx._query("SELECT item, id FROM traces") == [*before, ("d", 4)]
    store.close()


def test_changes_are_written_by_few_statements(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s"))
    statements: list[str] = []
    store._writer.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: statements.append(event["sql"]), id=statements)
    with store.transaction() as tx:
        for i in range(300):
            tx.add_trace_change(b"%d" % i)
    assert sum("INSERT INTO trace_changes" in sql for sql in statements) < 10
    store.close()
