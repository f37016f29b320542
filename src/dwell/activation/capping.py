"""Which events count: of one item in one session the first n, by served time and event id.

One reader who asks the same ten times is one reader. The rule is on the SET of events, not on the order in which they
arrived, therefore a late event takes the place of a later one, a retraction gives the place to the next, and shards
that are merged agree with the log read from its beginning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from dwell.records import checks

__all__ = ["DEFAULT_CAP", "MAX_CAP", "CapKey", "counted"]

# A choice, not a measurement: a searcher who comes back to an item twice in a session still says something.
DEFAULT_CAP: Final = 3
MAX_CAP: Final = 1_000_000


class CapKey(NamedTuple):
    """What decides whether an event counts for an item.

    Attributes:
        item: The item that was served.
        session: The session; None stands for a session of its own, which no cap holds.
        served_us: When, microseconds UTC.
        event_id: Which, unique.
    """

    item: str
    session: str | None
    served_us: int
    event_id: str


def counted(events: Iterable[CapKey], cap: int = DEFAULT_CAP) -> set[tuple[str, str]]:
    """Return the (event id, item) that count; the same set for any order of the events, repeats included.

    Args:
        events: All events of the sessions in question: what a store asks from its log.
        cap: Most that count per (item, session), >= 1.

    Raises:
        RecordError: The cap is not an int in [1, 10^6].
    """
    most = checks.positive_integer(cap, "cap", most=MAX_CAP)
    free: set[tuple[str, str]] = set()
    held: dict[tuple[str, str], set[tuple[int, str]]] = {}
    for event in events:
        if event.session is None:
            free.add((event.event_id, event.item))
        else:
            held.setdefault((event.item, event.session), set()).add((event.served_us, event.event_id))
    for (item, _), places in held.items():
        free.update((event_id, item) for _, event_id in sorted(places)[:most])
    return free
