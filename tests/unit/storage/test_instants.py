"""Instants are rounded once, and what was rounded stays."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwell.errors import RecordError
from dwell.storage.instants import bound_micros, micros, rounded, seconds


@given(st.floats(0.0, 1e11))
def test_rounding_is_exact_and_idempotent(value: float) -> None:
    found = micros(value, "at")
    assert abs(Fraction(value) * 10**6 - found) <= Fraction(1, 2) + Fraction(1, 10**9)
    assert rounded(seconds(found), "at") == seconds(found)


@given(st.integers(0, 8 * 10**15))
def test_microseconds_survive_the_way_through_floats(value: int) -> None:
    # up to the year 2223 a float is finer than a microsecond
    assert micros(seconds(value), "at") == value


def test_bounds_may_be_anything_but_nan() -> None:
    assert bound_micros(-1.5, "since") == -1_500_000
    assert bound_micros(-math.inf, "since") < -(10**18) < 10**18 < bound_micros(math.inf, "since")
    assert bound_micros(None, "since") == bound_micros(math.inf, "since")
    with pytest.raises(RecordError):
        bound_micros(math.nan, "since")
