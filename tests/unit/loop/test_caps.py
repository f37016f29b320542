"""What one account, or one document, may teach."""

from typing import Any

import numpy as np
import pytest

from dwell.loop.caps import caps_of
from dwell.records.rows import EventRow


def event(seq: int, user: int | None, docs: tuple[int, ...] = (1, 2), rewards: tuple[float, ...] = (1.0, 0.0)) -> Any:
    n = len(docs)
    return EventRow(
        seq=seq,
        event_id=f"e{seq}",
        query_hash=seq,
        user_hash=user,
        served_at=float(seq),
        features=np.zeros((n, 2), dtype=np.float32),
        inclusion=np.ones(n),
        exposure=np.full(n, 0.5),
        n_kept=n,
        n_shown=n,
        rewards=np.array(rewards),
        propensities=np.full(n, 0.5),
        caller_rank=np.arange(n, dtype=np.float64),
        params_version=0,
        temperature=0.3,
        is_held_out=False,
        is_deterministic=False,
        is_caller_ordered=False,
        version=1,
        doc_hashes=np.array(docs, dtype=np.uint64),
    )


def test_half_of_all_traffic_counts_as_three_average_users() -> None:
    rows = [event(i, 0) for i in range(100)] + [event(100 + i, 1 + i % 20, (i, 1_000 + i)) for i in range(100)]
    caps = caps_of(rows)
    heavy = sum(caps.event(row) for row in rows[:100])
    others = [sum(caps.event(row) for row in rows if row.user_hash == user) for user in range(1, 21)]
    assert others == [5.0] * 20
    # the level C solves C = 3 (100 + C) / 21
    assert heavy == pytest.approx(300.0 / 18.0)


def test_events_that_name_nobody_count_together_no_more_than_those_that_do() -> None:
    rows = [event(i, None) for i in range(50)] + [event(50 + i, i) for i in range(10)]
    caps = caps_of(rows)
    assert {caps.event(row) for row in rows[50:]} == {1.0}
    assert {caps.event(row) for row in rows[:50]} == {10.0 / 50.0}
    # a few among many named ones, and a log that names nobody at all, count whole
    assert {caps_of(rows[45:]).event(row) for row in rows[45:]} == {1.0}
    assert {caps_of(rows[:50]).event(row) for row in rows[:50]} == {1.0}


def test_praise_of_one_document_is_cut_and_its_blame_is_not() -> None:
    # 200 documents praised once each, and one praised 200 times: its share may be .05, or three average documents
    rows = [event(i, i, (7, 1_000 + i), (1.0, -0.5)) for i in range(200)]
    rows += [event(200 + i, 200 + i, (2_000 + i,), (1.0,)) for i in range(200)]
    caps = caps_of(rows)
    praised = caps.praised(rows[:200], 3)
    assert praised.shape == (200, 3)
    kept = praised[:, 0].sum()
    assert kept / (kept + 200.0) == pytest.approx(0.05)
    assert (praised[:, 1:] == 1.0).all()


def test_nothing_is_cut_where_nobody_stands_out() -> None:
    rows = [event(i, i % 30, (i % 40, 100 + i % 40)) for i in range(600)]
    caps = caps_of(rows)
    assert not caps.praise
    assert set(caps.events.values()) == {1.0}
    assert caps_of([]).events == {}
