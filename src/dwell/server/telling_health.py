"""How a tenant's loop is, as the service tells it: the learner measures, and this process adds what it counted."""

from __future__ import annotations

import asyncio
from typing import Final

from dwell.errors import LearnerDown
from dwell.health import Alert, HealthReport, with_alert, with_counters
from dwell.server.house import House

__all__ = ["told_health"]

_NO_WORD_S: Final = 2.0  # what is waited for a first word; a learner that is learning answers later
_LAST_WORD_S: Final = 0.1  # with a last word at hand: a page is to be there within 300 ms
_STATES: Final = ("open", "closed", "reopened", "not_shown", "evicted")
_LEARNER_DOWN: Final = Alert(
    "learner_down",
    "warning",
    "The learner's process does not run; searches are served as before, and nothing is learned.",
    "It is started anew by itself; where it dies again and again, the log says why.",
)


async def told_health(house: House, tenant: str, *, patience_s: float = _LAST_WORD_S) -> HealthReport:
    """Return how a loop is: the learner's report, its last one where it is busy, with what this process counted.

    Args:
        house: The service.
        tenant: Whose loop.
        patience_s: How long a busy learner is waited for where it has told something before, > 0.

    Raises:
        StorageError: The loop can not be opened or read.
    """
    loop = house.loop(tenant)
    last = house.reports.get(tenant)
    try:
        report: HealthReport = await house.link.call(
            "health", tenant, {}, timeout_s=_NO_WORD_S if last is None else patience_s
        )
        house.reports[tenant] = report
    except LearnerDown:
        if last is None:
            counts = await asyncio.to_thread(loop.event_counts)
            n_events = sum(counts.get(name, 0) for name in _STATES)
            last = HealthReport("empty", [], {"n_events": n_events, "n_signals": counts.get("signals", 0)})
        report = last
    report = with_counters(report, loop.counts)
    return report if house.link.is_up else with_alert(report, _LEARNER_DOWN)
