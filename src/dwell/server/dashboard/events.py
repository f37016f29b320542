"""Events: the newest lists, found by state, user or what was asked; and the way to one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from starlette.responses import Response

from dwell.server.dashboard.visit import Visit
from dwell.server.recent_lists import MOST_LISTS, RecentLists, Seen, seen_lists
from dwell.storage import Reader

__all__ = ["Asked", "chosen", "show"]

_A_PAGE: Final = 50
_STATES: Final = ("open", "closed", "reopened", "not_shown", "evicted")
_FAR: Final = 2**62


class Asked(NamedTuple):
    """Which lists are looked for; "" for any.

    Attributes:
        state: State of the event.
        user: Pseudonym.
        text: How the query begins, whatever its case.
        digest: Hash of the normalised query, in hex.
        segment: Segment of the query.
    """

    state: str = ""
    user: str = ""
    text: str = ""
    digest: str = ""
    segment: str = ""

    @property
    def reads_lists(self) -> bool:
        """Whether lists have to be read to be told apart."""
        return bool(self.user or self.text or self.digest or self.segment)

    @property
    def address(self) -> str:
        """The part of the address that asks for it."""
        return urlencode({name: value for name, value in self._asdict().items() if value})


async def show(visit: Visit) -> Response:
    """Show the newest lists, or lead to the one whose id was given."""
    wanted = visit.asked("id").strip()
    if wanted:
        return visit.go(f"/dashboard/events/{quote(wanted, safe='')}")
    before = visit.number("before", 0, low=0, high=_FAR)
    state = visit.asked("state")
    asked = Asked(
        state=state if state in _STATES else "",
        user=visit.asked("user").strip(),
        text=visit.asked("text").strip() if visit.may_read_text else "",  # what may not be read can not be found by
        digest=visit.asked("query"),
        segment=visit.asked("segment"),
    )
    recent = visit.house.recent.setdefault(visit.tenant, RecentLists.empty())
    return await visit.show(
        "events.html", partial(_context, visit, asked, before, recent), stamp=str(len(recent.known))
    )


def chosen(lists: Sequence[Seen], asked: Asked) -> list[Seen]:
    """Return the lists that are looked for, in their order."""
    begin = asked.text.casefold()
    return [
        seen
        for seen in lists
        if (not asked.state or seen.state == asked.state)
        and (not asked.user or seen.user == asked.user)
        and (not asked.digest or seen.digest == asked.digest)
        and (not asked.segment or seen.segment == asked.segment)
        and seen.query.casefold().startswith(begin)
    ]


def _context(visit: Visit, asked: Asked, before: int, recent: RecentLists) -> Mapping[str, Any]:
    loop = visit.loop
    with loop.facts() as reader:
        counts = reader.counts()
        if asked.reads_lists:
            looked = recent.look(reader, loop.rewards, loop._state.identity.naming_salt)  # noqa: SLF001 - names are told
            found = [seen for seen in chosen(looked.lists, asked) if not before or seen.seq < before]
            shown, n_left = found[: _A_PAGE + 1], looked.n_left
        else:
            shown, n_left = _newest(reader, visit, asked.state, before), 0
        unserved = {"quarantined": counts.get("quarantined", 0), "orphans": counts.get("orphans", 0)}
        quarantined = reader.quarantined(limit=10) if unserved["quarantined"] else []
    has_more, shown = len(shown) > _A_PAGE, shown[:_A_PAGE]
    return {
        "asked": asked,
        "lists": shown,
        "older": shown[-1].seq if has_more else None,
        "before": before,
        "n_by_state": {state: counts.get(state, 0) for state in _STATES},
        "n_all": sum(counts.get(state, 0) for state in _STATES),
        "n_signals": counts.get("signals", 0),
        "unserved": unserved,
        "quarantined": quarantined,
        "n_left": n_left,
        "most": MOST_LISTS,
    }


def _newest(reader: Reader, visit: Visit, state: str, before: int) -> list[Seen]:
    states = (state,) if state else ()
    seqs = reader.seqs(states=states, before=before or None, limit=_A_PAGE + 1, newest_first=True)
    return seen_lists(reader, seqs, visit.loop.rewards, visit.loop._state.identity.naming_salt)  # noqa: SLF001 - as above
