"""Instants on disk: whole microseconds since the epoch; in the API: UTC epoch seconds."""

from __future__ import annotations

import math
from typing import Final

from dwell.errors import RecordError
from dwell.records import checks

__all__ = ["bound_micros", "micros", "rounded", "seconds"]

_LIMIT: Final = 2**62  # beyond every instant that `checks.timestamp` lets in (1e17), within SQLite's integers


def _whole_micros(value: float) -> int:
    # The fraction of a float is exact, so the rounding happens once; value * 1e6 would round twice, and what was
    # rounded before would not stay as it is
    whole = math.floor(value)
    return whole * 1_000_000 + round((value - whole) * 1e6)


def micros(value: float, field: str) -> int:
    """Return an instant in whole microseconds.

    Raises:
        RecordError: code `timestamp`.
    """
    return _whole_micros(checks.timestamp(value, field))


def seconds(value: int) -> float:
    """Return UTC epoch seconds, the float nearest to the microseconds."""
    return value / 1_000_000


def rounded(value: float, field: str) -> float:
    """Return an instant as it will come back from a store.

    Raises:
        RecordError: code `timestamp`.
    """
    return seconds(micros(value, field))


def bound_micros(value: float | None, field: str, default: float = math.inf) -> int:
    """Return a bound to compare instants with, in microseconds: negative and infinite ones are legal.

    Args:
        value: UTC epoch seconds, or None for the default.
        field: Name of the argument, for messages.
        default: What None stands for.

    Raises:
        RecordError: code `timestamp`, for NaN.
    """
    if value is None:
        value = default
    if math.isnan(value):
        raise RecordError(
            "the instant is not a number", code="timestamp", field=field, value=value, hint="Pass UTC epoch seconds."
        )
    if abs(value) >= _LIMIT / 1e6:
        return _LIMIT if value > 0 else -_LIMIT
    return _whole_micros(value)
