"""How a tenant's loop is, as the service tells it: the learner measures, and this process adds what it counted."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Final

from dwell.errors import LearnerDown
from dwell.health import Alert, HealthReport, with_alert, with_counters
from dwell.server.house import House

__all__ = ["PAGE_S", "told_health"]

#: What a page waits for a first word: it is to be there within 300 ms, says that there is none yet, and asks again.
PAGE_S: Final = 0.1

_NO_WORD_S: Final = 2.0  # what is waited for a first word; a learner that is learning answers later
_LAST_WORD_S: Final = 0.1  # with a last word at hand: a page is to be there within 300 ms
_STATES: Final = ("open", "closed", "reopened", "not_shown", "evicted")
_LEARNER_DOWN: Final = Alert(
    "learner_down",
    "warning",
    "The learner's process does not run; searches are served as before, and nothing is learned.",
    "It is started anew by itself; where it dies again and again, the log says why.",
)


async def told_health(
    house: House, tenant: str, *, patience_s: float = _LAST_WORD_S, first_s: float = _NO_WORD_S
) -> HealthReport:
    """Return how a loop is: the learner's report, its last one where it is busy, with what this process counted.

    Args:
        house: The service.
        tenant: Whose loop.
        patience_s: How long a busy learner is waited for where it has told something before, > 0.
        first_s: How long where it has not, > 0.

    Raises:
        StorageError: The loop can not be opened or read.
    """
    loop = house.loop(tenant)
    last = house.reports.get(tenant)
    # whoever stops waiting takes the question from nobody: it is running, and its answer is kept however late it comes
    asked = asyncio.wrap_future(_asked(house, tenant))
    try:
        report: HealthReport = await asyncio.wait_for(asked, first_s if last is None else patience_s)
    except (LearnerDown, TimeoutError):
        if last is None:
            counts = await asyncio.to_thread(loop.event_counts)
            n_events = sum(counts.get(name, 0) for name in _STATES)
            last = HealthReport("empty", [], {"n_events": n_events, "n_signals": counts.get("signals", 0)})
        report = last
    report = with_counters(report, loop.counts)
    return report if house.link.is_up else with_alert(report, _LEARNER_DOWN)


def _asked(house: House, tenant: str) -> Future[HealthReport]:
    """Return the learner's answer to come: one question of a tenant is out at a time, however many ask.

    A learner at work keeps so many calls and no more: pages that ask every few seconds must not take up the room.
    """
    found = house.asked.get(tenant)
    if found is not None and not found.done():
        return found
    asked: Future[HealthReport] = house.link.submit("health", tenant, {})
    house.asked[tenant] = asked

    def keep(answered: Future[HealthReport]) -> None:
        if answered.exception() is None:
            house.reports[tenant] = answered.result()

    asked.add_done_callback(keep)
    return asked
