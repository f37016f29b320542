"""Buffer: what learning draws from, whom it is from, how it is spread, and every figure that health judges."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from starlette.responses import Response

from dwell.health import HealthReport
from dwell.server.dashboard.spreads import groups_of_shares, most_harmful_first, spread_of, tally
from dwell.server.dashboard.visit import Visit
from dwell.server.recent_lists import RecentLists
from dwell.server.telling_health import PAGE_S, told_health

__all__ = ["show"]

_SPREADS: Final = (
    ("age_hours", "Ages", "since they were served"),
    ("reward", "Rewards", "of a list"),
    ("priority", "Priorities", "how much a replay of each is worth, as the store keeps it"),
    ("params_version", "Params versions", "that served the newest lists"),
)
_MOST_GROUPS: Final = 10


async def show(visit: Visit) -> Response:
    """Show the buffer."""
    report = await told_health(visit.house, visit.tenant, first_s=PAGE_S)
    recent = visit.house.recent.setdefault(visit.tenant, RecentLists.empty())
    checks = [(c.name, c.severity, c.value) for section in report.sections for c in section.checks]
    stamp = repr((report.at, checks, len(recent.known)))
    return await visit.show("buffer.html", partial(_context, visit, report, recent), stamp=stamp)


def _context(visit: Visit, report: HealthReport, recent: RecentLists) -> Mapping[str, Any]:
    loop = visit.loop
    lists = []
    if report.shares.get("query") or report.shares.get("user"):
        with loop.facts() as reader:
            lists = recent.look(reader, loop.rewards, loop._state.identity.naming_salt).lists  # noqa: SLF001 - as below
    spreads = [
        (title, words, spread_of(report.distributions[name]))
        for name, title, words in _SPREADS
        if name in report.distributions
    ]
    groups = groups_of_shares(report.shares, lists, loop._state.identity.naming_salt)  # noqa: SLF001 - only its names are told
    return {
        "report": report,
        "figures": report.figures,
        "check": report.check,
        "groups": {kind: found[:_MOST_GROUPS] for kind, found in groups.items()},
        "spreads": [(title, words, spread) for title, words, spread in spreads if spread is not None],
        "sections": [(section, most_harmful_first(section)) for section in report.sections if section.checks],
        "tally": tally(report),
    }
