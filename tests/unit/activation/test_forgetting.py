"""Dates of forgetting against closed forms, bounds, and what an access is worth."""

import math

import numpy as np
import pytest

from dwell.activation import NEVER_US, bounded, first_below, worth
from dwell.errors import RecordError

S = 1_000_000


def test_the_date_of_a_power_law_is_its_inverse_to_the_microsecond() -> None:
    begin = np.array([0, 7 * S, 10**15])

    def level(at_us: np.ndarray) -> np.ndarray:
        return -0.5 * np.log(np.maximum((at_us - begin) / S, 1e-6))

    found = first_below(level, begin, -5.0, is_falling=True)
    # -0.5 ln(t) < -5 for t > e^10
    assert found - begin == pytest.approx(np.full(3, math.exp(10.0) * S), abs=1.5)
    assert (level(found) < -5.0).all()
    assert (level(found - 1) >= -5.0).all()


def test_what_is_below_already_is_dated_at_its_beginning_and_what_stays_above_never() -> None:
    begin = np.array([50, 60])
    found = first_below(lambda at: np.where(begin == 50, -9.0, 0.0) + 0.0 * at, begin, -5.0, is_falling=True)
    assert found.tolist() == [50, NEVER_US]


def test_a_curve_that_rises_again_is_dated_at_its_first_fall() -> None:
    begin = np.array([0])

    def dip(at_us: np.ndarray) -> np.ndarray:
        seconds = at_us / S
        return np.where((seconds >= 1_000.0) & (seconds < 100_000.0), -6.0, 0.0)

    assert first_below(dip, begin, -5.0, is_falling=False).tolist() == [1_000 * S]
    assert first_below(dip, begin, -7.0, is_falling=False).tolist() == [NEVER_US]


def test_nothing_is_dated_where_there_are_no_items() -> None:
    empty = np.zeros(0, dtype=np.int64)
    for is_falling in (True, False):
        assert first_below(lambda at: at.astype(float), empty, 0.0, is_falling=is_falling).size == 0


def test_decay_is_shown_as_what_an_access_is_worth() -> None:
    assert worth(0.5) == pytest.approx((60.0**-0.5, 1_440.0**-0.5, (365.25 * 1_440.0) ** -0.5))
    with pytest.raises(RecordError):
        worth(0.95)


def test_a_bounded_contribution_says_what_it_held_back() -> None:
    found = bounded(np.array([-9.0, -2.5, 4.0, -np.inf]), centre=-2.0, limit=3.0)
    assert found.values.tolist() == [-5.0, -2.5, 1.0, -5.0]
    assert found.n_clipped == 3
    assert found.held_back.tolist() == [-4.0, 0.0, 3.0, -np.inf]
    for centre, limit, field in ((math.nan, 1.0, "centre"), (0.0, 0.0, "limit")):
        with pytest.raises(RecordError) as refused:
            bounded(np.zeros(1), centre=centre, limit=limit)
        assert refused.value.field == field
