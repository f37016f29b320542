"""Instants: exact from datetimes, refused where they say too little."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from dwell.activation import as_us
from dwell.errors import RecordError


@pytest.mark.parametrize("year", [1970, 2026, 2300, 4999])
def test_a_datetime_is_exact_to_the_microsecond(year: int) -> None:
    for zone in (UTC, timezone(timedelta(hours=-9, minutes=-30)), timezone(timedelta(hours=14, seconds=7))):
        when = datetime(year, 12, 31, 23, 59, 58, 999_999, zone)
        expected = (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        assert as_us(when, "at") == expected


def test_numpy_integers_are_integers() -> None:
    found = as_us(np.int64(5), "at")
    assert (found, type(found)) == (5, int)


@pytest.mark.parametrize(
    "value", [datetime(2026, 1, 1), 1.5, "now", None, True, np.bool_(0), -1, 10**17 + 1, np.float64(3.0)]
)
def test_what_is_no_instant_is_refused(value: Any) -> None:
    with pytest.raises(RecordError) as refused:
        as_us(value, "now")
    assert (refused.value.code, refused.value.field) == ("timestamp", "now")
