"""What waits: any sequence of puts and takes against a plain list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwell.client.asking import MAX_ITEMS
from dwell.client.buffering import MAX_REQUEST_BYTES, Buffer, Waiting, checked_capacity
from dwell.errors import ConfigError


@given(st.lists(st.none() | st.integers(1, 30_000), max_size=80))
def test_order_is_kept_and_every_request_is_bounded(operations: list[int | None]) -> None:
    buffer: Buffer[int] = Buffer(20)
    model: list[Waiting[int]] = []
    for i, size in enumerate(operations):
        if size is not None:
            one = Waiting(b"x" * size, i)
            assert buffer.add(one) == (len(model) < 20)
            model += [one] if len(model) < 20 else []
        else:
            part = buffer.take()
            assert part == model[: len(part)]
            assert bool(part) == bool(model)
            model = model[len(part) :]
            body = b"[" + b",".join(one.body for one in part) + b"]"
            assert len(body) <= MAX_REQUEST_BYTES
            # greedy: one more would not have fitted
            assert not model or len(body) + 1 + len(model[0].body) >= MAX_REQUEST_BYTES
        assert len(buffer) == len(model)
        assert buffer.is_due == (sum(len(one.body) + 1 for one in model) >= MAX_REQUEST_BYTES)
    assert buffer.take_all() == model
    assert (len(buffer), buffer.is_due, buffer.take()) == (0, False, [])


def test_a_request_has_at_most_a_thousand() -> None:
    buffer: Buffer[None] = Buffer(10_000)
    for _ in range(MAX_ITEMS - 1):
        buffer.add(Waiting(b"x", None))
    assert not buffer.is_due
    buffer.add(Waiting(b"x", None))
    assert buffer.is_due
    buffer.add(Waiting(b"x", None))
    assert (len(buffer.take()), len(buffer.take())) == (MAX_ITEMS, 1)


def test_what_was_taken_weighs_nothing_any_more() -> None:
    buffer: Buffer[None] = Buffer(10)
    for _ in range(50):
        buffer.add(Waiting(b"x", None))
        assert len(buffer.take()) == 1
    buffer.add(Waiting(b"x" * (MAX_REQUEST_BYTES - 2), None))
    assert not buffer.is_due
    buffer.take()
    buffer.add(Waiting(b"x" * (MAX_REQUEST_BYTES - 1), None))
    assert buffer.is_due


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "9", 10**7])
def test_a_capacity_is_a_whole_number_above_zero(value: object) -> None:
    with pytest.raises(ConfigError):
        checked_capacity(value)
