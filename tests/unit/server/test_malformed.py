import time

import pytest

from dwell.errors import RecordError
from dwell.server.guard import is_too_deep
from dwell.server.wire import EvaluateBody, Item, RankBody, read_body


@pytest.mark.parametrize(
    "hostile",
    [
        b"[" * 65 + b'"' + b'\\"' * 900_000,  # a string without end, full of what looks like beginnings
        b"[" * 65 + b'"' * 1_900_000,
        b"[]" * 950_000,
        b"[" * 60 + b"0," * 900_000 + b"0" + b"]" * 60,
        b"[" * 60 + b"NaN," * 450_000 + b"0" + b"]" * 60,
        b'{"weights": {"a": true, ' + b'"b": 1, ' * 230_000 + b'"c": 1}}',
    ],
)
def test_two_megabytes_of_malice_cost_less_than_a_second_of_arithmetic(hostile: bytes) -> None:
    began = time.process_time()
    if not is_too_deep(hostile, 64):
        with pytest.raises(RecordError):
            read_body(hostile, EvaluateBody)
    assert time.process_time() - began < 1.0


def test_what_strings_hold_is_no_depth_and_what_they_hide_the_decoder_finds() -> None:
    assert not is_too_deep(b'["' + b"[" * 500 + b'"]', 64)
    hidden = b'["]",' * 5_000 + b"1" + b"]" * 5_000
    assert not is_too_deep(hidden, 64)
    with pytest.raises(RecordError):
        read_body(hidden, Item)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (
            b'{"query": "q", "candidates": [{"id": "a", "x": 1}, {"id": "b", "x": NaN}]}',
            "non_finite",
            "candidates[1].x",
        ),
        (b'{"query": "q", "candidates": [{"id": "a", "x": -1e999}]}', "non_finite", "candidates[0].x"),
        (b'{"query": "q", "candidates": [{"id": "a", "x": 1, "y": true}]}', "type", "candidates[0].y"),
        (b'{"query": "q", "k": 10001}', "type", "k"),
    ],
)
def test_the_field_is_named(body: bytes, code: str, field: str) -> None:
    with pytest.raises(RecordError) as refused:
        read_body(body, RankBody)
    assert (refused.value.code, refused.value.field) == (code, field)
