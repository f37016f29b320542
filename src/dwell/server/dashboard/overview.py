"""Overview: is it better than before, by how much, since when; does it learn; what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from starlette.responses import Response

from dwell.health import HealthReport, Timeline
from dwell.loop.alert_states import alert_states
from dwell.records import GateDecision
from dwell.server.dashboard.answers import is_it_better, is_it_learning
from dwell.server.dashboard.charts import Chart, Line, whisker
from dwell.server.dashboard.doctor import firing
from dwell.server.dashboard.ledger import marks_of, standing_of
from dwell.server.dashboard.visit import Visit
from dwell.server.telling_health import PAGE_S, told_health

__all__ = ["reward_chart", "show"]


async def show(visit: Visit) -> Response:
    """Show the overview."""
    report = await told_health(visit.house, visit.tenant, first_s=PAGE_S)
    seen = [(alert.code, alert.severity, alert.message) for alert in report.alerts]
    since = {code: state.since for code, state in visit.house.alerts.get(visit.tenant, {}).items() if state.is_firing}
    return await visit.show("overview.html", partial(_context, visit, report), stamp=repr((seen, report.status, since)))


def _context(visit: Visit, report: HealthReport) -> Mapping[str, Any]:
    loop = visit.loop
    loop.refresh()
    history, live = loop.history(), loop.params
    with loop.facts() as reader:
        states = alert_states(reader)
    standing = standing_of(live.version, history)
    decision = standing.decision
    difference = None if decision is None or not decision.difference.n else decision.difference
    return {
        "report": report,
        "lingering": [state for state in firing(states) if state.code not in {alert.code for alert in report.alerts}],
        "since": {code: state.since for code, state in states.items() if state.is_firing},
        "figures": report.figures,
        "standing": standing,
        "mode": loop.mode,
        "better": is_it_better(standing, loop.mode, _earned(report)),
        "learning": is_it_learning(report, history, loop.mode, has_features=bool(loop.features)),
        "interval": None
        if difference is None
        else whisker(difference.value, difference.low, difference.high, max(abs(difference.low), abs(difference.high))),
        "difference": difference,
        "chart": None if report.timeline is None else reward_chart(report.timeline, history),
        "proposed": loop.proposed,
    }


def _earned(report: HealthReport) -> float | None:
    found = report.figures.get("avg_reward")
    return float(found) if isinstance(found, int | float) else None


def reward_chart(timeline: Timeline, history: Sequence[GateDecision]) -> Chart:
    """Return what lists earned over time, with the moves of the live params marked."""
    edges = timeline.edges_s
    middles = [(a + b) / 2.0 for a, b in pairwise(edges)]
    marks = marks_of(history, edges[0], edges[-1]) if edges else []
    known = [(n, r) for n, r in zip(timeline.n_lists, timeline.mean_reward, strict=True) if r is not None]
    says = "No list is over yet."
    if known:
        total = sum(n for n, _ in known)
        mean = sum(n * r for n, r in known) / total if total else 0.0
        says = (
            f"{total:,} closed lists earned {mean:.3f} on average; the newest {known[-1][0]:,} earned "
            f"{known[-1][1]:.3f}. A line marks each change of the live params."
        )
    lines = [Line("mean reward", timeline.mean_reward), Line("share with any reward", timeline.rewarded_share)]
    return Chart("What lists earn", says, middles, lines, "reward per list", marks)
