"""What readers share: instants, event ids among what is told, and windows of time where a source has no pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

from dwell.errors import ConfigError, ServiceError

__all__ = ["EVENT_KEY", "WEEK_S", "distinct", "instant", "mapping", "moment", "text", "windows"]

EVENT_KEY: Final = "event_id"  # in metadata: where the adapters of this package write it
WEEK_S: Final = 604_800.0  # `late_window_s`: what is thought of a list later than that is refused anyway
_WINDOW_S: Final = 86_400.0  # a day at once, less where a day holds too much
_SHORTEST_S: Final = 1.0
T = TypeVar("T")


def moment(at: float) -> datetime:
    """Return an instant as other people's clients take it."""
    return datetime.fromtimestamp(at, UTC)


def instant(value: object) -> float:
    """Return UTC epoch seconds of an instant, or of ISO 8601 text; without a zone it is UTC, which all three send.

    Raises:
        ValueError: It is none.
    """
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(found, datetime):
        raise ValueError("no instant")  # noqa: TRY004 - text that is no instant is a ValueError too
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def mapping(value: object) -> Mapping[str, object]:
    """Return an object, also where it is told as JSON text; nothing for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, Mapping) else {}


def text(value: object) -> str | None:
    """Return text that is not empty, a whole number as text, or None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def distinct(values: Iterable[object]) -> tuple[str, ...]:
    """Return texts, each once, in their order."""
    return tuple(dict.fromkeys(found for value in values if (found := text(value)) is not None))


def windows(
    since: float | None,
    until: float,
    following: str | None,
    fetch: Callable[[float, float, int], Sequence[T]],
    most: int,
) -> Iterator[tuple[Sequence[T], str | None]]:
    """Yield what happened, a window of time at once, and where the next window begins; None after the last.

    Args:
        since: Where to begin, UTC epoch seconds.
        until: Where to end.
        following: Where to go on from, as it was yielded; it counts before `since`.
        fetch: (from, to, at most so many) -> what happened in between.
        most: What a window may hold; one that holds more is halved.

    Raises:
        ConfigError: There is no beginning.
        ServiceError: code `too_many`: a second holds more.
    """
    if following is None and since is None:
        raise ConfigError(
            "this source is read from an instant on",
            field="since",
            value=None,
            hint="Pass since=, UTC epoch seconds: when the first list was served.",
        )
    start = float(following) if following is not None else float(since or 0.0)
    width = _WINDOW_S
    while start < until:
        end = min(start + width, until)
        found = fetch(start, end, most + 1)
        if len(found) <= most:
            yield found, None if end >= until else repr(end)
            start = end
        elif end - start <= _SHORTEST_S:
            raise ServiceError(
                f"a second holds more than {most} traces", code="too_many", hint="Raise most_at_once= of the reader."
            )
        else:
            width = (end - start) / 2
