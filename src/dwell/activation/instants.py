"""Instants as integer microseconds UTC, from ints or aware datetimes; nothing else is taken.

A wall clock without a zone is off by hours for half of the world: eight hours on an item that is ten minutes old are
two nats. Integers keep order and differences exact, so that a retraction takes away what was added.
"""

from __future__ import annotations

from typing import Final, Protocol, TypeAlias, runtime_checkable

import numpy as np

from dwell.errors import RecordError

__all__ = ["MAX_US", "NEVER_US", "US_PER_S", "AwareDatetime", "Instant", "as_us"]

US_PER_S: Final = 1_000_000
MAX_US: Final = 10**17  # year 5138, as `dwell.records.checks.MAX_TIMESTAMP_S`: above it the value is in nanoseconds
NEVER_US: Final = 2**63 - 1  # later than every instant: what is never forgotten sorts last in an index

_EPOCH_ORDINAL: Final = 719_163  # date(1970, 1, 1).toordinal()


class _Offset(Protocol):
    """What a `timedelta` says."""

    @property
    def days(self) -> int: ...
    @property
    def seconds(self) -> int: ...
    @property
    def microseconds(self) -> int: ...


@runtime_checkable
class AwareDatetime(Protocol):
    """What is asked of a `datetime`; the class itself is not imported, because with it comes a clock."""

    @property
    def hour(self) -> int: ...  # noqa: D102 - as in `datetime`
    @property
    def minute(self) -> int: ...  # noqa: D102 - as in `datetime`
    @property
    def second(self) -> int: ...  # noqa: D102 - as in `datetime`
    @property
    def microsecond(self) -> int: ...  # noqa: D102 - as in `datetime`
    def toordinal(self) -> int: ...  # noqa: D102 - as in `datetime`
    def utcoffset(self) -> _Offset | None: ...  # noqa: D102 - as in `datetime`


Instant: TypeAlias = int | AwareDatetime


def as_us(value: object, field: str) -> int:
    """Return an instant as integer microseconds since 1970 UTC, in [0, 10^17].

    Args:
        value: An int in microseconds, or an aware datetime.
        field: Name of the argument.

    Raises:
        RecordError: code `timestamp`: a float, a naive datetime, negative, or not in microseconds.
    """
    if type(value) is int:
        found = value
    elif isinstance(value, AwareDatetime):
        found = _from_datetime(value, field)
    elif isinstance(value, np.integer):
        found = int(value)
    else:
        raise RecordError(
            "an instant is an int in microseconds UTC, or an aware datetime",
            code="timestamp",
            field=field,
            value=value,
            hint="From epoch seconds take round(seconds * 1_000_000).",
        )
    if not 0 <= found <= MAX_US:
        raise RecordError(
            "the instant is negative or not in microseconds",
            code="timestamp",
            field=field,
            value=value,
            hint="Pass microseconds since 1970 UTC; divide nanoseconds by 1000.",
        )
    return found


def _from_datetime(value: AwareDatetime, field: str) -> int:
    offset = value.utcoffset()
    if offset is None:
        raise RecordError(
            "the datetime is naive: it does not say which zone its clock is in",
            code="timestamp",
            field=field,
            value=value,
            hint="Take datetime.now(timezone.utc), or .replace(tzinfo=...) with the zone it was taken in.",
        )
    # by calendar and not by .timestamp(), whose float is off by a microsecond from the year 2242 on
    day_s = (value.toordinal() - _EPOCH_ORDINAL) * 86_400 + value.hour * 3_600 + value.minute * 60 + value.second
    offset_us = (offset.days * 86_400 + offset.seconds) * US_PER_S + offset.microseconds
    return day_s * US_PER_S + value.microsecond - offset_us
