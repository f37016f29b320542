"""The quick way to read a rank body says the same as the slow one, or nothing."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwell.errors import RecordError
from dwell.server.rank_body import read_ranked
from dwell.server.wire import RankBody, read_body

NAMES = ("bm25", "a name, with: signs", "type")


def body_of(rows: list[list[float]], **more: object) -> dict[str, object]:
    return {
        "query": "q",
        "candidates": [{"id": f"d{i}"} | dict(zip(NAMES, row, strict=True)) for i, row in enumerate(rows)],
    } | more


@given(
    rows=st.lists(
        st.lists(
            st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-5, 5)), min_size=3, max_size=3
        ),
        min_size=1,
        max_size=4,
    ),
    k=st.integers(1, 5),
    user=st.none() | st.text(min_size=1, max_size=5).filter(lambda t: t.isprintable()),
    indent=st.sampled_from([None, 1]),
)
def test_both_ways_read_the_same(rows: list[list[float]], k: int, user: str | None, indent: int | None) -> None:
    body = json.dumps(body_of(rows, k=k, user=user), indent=indent).encode()
    quick, slow = read_ranked(body, NAMES), read_body(body, RankBody)
    assert quick is not None
    assert slow.candidates is not None
    assert quick.ids == [one["id"] for one in slow.candidates]
    np.testing.assert_array_equal(quick.features, [[one[name] for name in NAMES] for one in slow.candidates])
    assert quick.features.flags.c_contiguous
    assert (quick.body.query, quick.body.k, quick.body.user) == (slow.query, slow.k, slow.user)


def test_columns_come_in_the_order_of_the_names() -> None:
    body = b'{"query":"","candidates":[{"b":2,"id":"x","a":1}]}'
    quick = read_ranked(body, ("a", "b"))
    assert quick is not None
    np.testing.assert_array_equal(quick.features, [[1.0, 2.0]])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"query":"q"}',
        b'{"query":"q","ids":["a"],"features":[[1,2,3]]}',
        b'{"query":"q","candidates":null}',
        b'{"query":"q","candidates":[]}',
        b'{"query":"q","candidates":[{"id":"a","x":1}],"nobody":1}',
        b'{"query":"q","candidates":[{"id":"a"}]}',
        b'{"query":"q","candidates":[{"id":"a","x":1,"y":1}]}',
        b'{"query":"q","candidates":[{"id":"a","x":"1"}]}',
        b'{"query":"q","candidates":[{"id":"a","x":true}]}',
        b'{"query":"q","candidates":[{"id":"a","x":null}]}',
        b'{"query":"q","candidates":[{"id":"a","x":1e999}]}',
        b'{"query":"q","candidates":[{"id":"a","x":NaN}]}',
        b'{"query":"q","candidates":[{"id":1,"x":1}]}',
        b'{"query":"q","candidates":[{"id":"a","x":1}],"k":0}',
        b'{"query":"q","candidates":[{"id":"a","x":1}],"k":"1"}',
        b'{"candidates":[{"id":"a","x":1}]}',
        b'{"query":"q","candidates":[{"id":"a","x":1,"x":2}]}',
        b'{"query":"q","query":"r","candidates":[{"id":"a","x":1}]}',
        b'{"query":"q","k" :1,"k":2,"candidates":[{"id":"a","x":1}]}',
        b'{"query":"\xff","candidates":[{"id":"a","x":1}]}',
        b'{"query":"q","candidates":' + b"[" * 100_000,
    ],
)
def test_what_is_not_just_so_is_left_to_the_slow_way(body: bytes) -> None:
    assert read_ranked(body, ("x",)) is None


def test_names_that_no_struct_can_have_are_left_to_the_slow_way() -> None:
    body = b'{"query":"q","candidates":[{"id":"a","x\\"":1}]}'
    assert read_body(body, RankBody).candidates == [{"id": "a", 'x"': 1.0}]
    assert read_ranked(body, ('x"',)) is None
    assert read_ranked(body, ()) is None
    with pytest.raises(RecordError):
        read_body(b'{"query":"q","candidates":[{"id":"a","x":true}]}', RankBody)
