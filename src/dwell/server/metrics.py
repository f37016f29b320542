"""Everything that Prometheus is told: what was counted, and the last word of the learner, never waited for.

Where several processes serve, whichever is asked tells the sums of all, those that have ended included.

No label holds a query, a document or a user: those there are (tenant, feature, declared signal, code of an alert) are
chosen by the operator or by us.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from starlette.requests import Request
from starlette.responses import Response

from dwell import __version__
from dwell.health import HealthReport
from dwell.loop import Loop
from dwell.loop.tally import JOIN_DELAY_EDGES_S
from dwell.server.caller import caller_of
from dwell.server.counts import counts_of, histogram_of
from dwell.server.house import Counts, House
from dwell.server.ledgers import RESULTS

__all__ = ["exposition", "metrics"]

_SEVERITIES: Final = ("ok", "unknown", "warning", "critical")


async def metrics(request: Request) -> Response:
    """Tell everything that is counted, for Prometheus."""
    house, _ = caller_of(request, "admin")
    counts = await house.gather(counts_of(house))
    # the ledgers and the counts of events are on disk
    told = await asyncio.to_thread(exposition, house, time.time(), counts)
    return Response(told, media_type="text/plain; version=0.0.4; charset=utf-8")


def exposition(house: House, now: float, counts: Counts | None = None) -> bytes:
    """Return every metric in the text format of Prometheus.

    Args:
        house: Whose.
        now: UTC epoch seconds.
        counts: What was counted by all that serve; by this process alone where not given.
    """
    registry = CollectorRegistry()
    registry.register(_Collector(house, now, counts_of(house) if counts is None else counts))
    return generate_latest(registry)


class _Collector:
    """Figures of one house, read when they are asked for: nothing is counted twice."""

    def __init__(self, house: House, now: float, counts: Counts) -> None:
        self._house = house
        self._now = now
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        loops = sorted(self._house.loops().items())
        yield from _counted(self._counts)
        yield _events(loops)
        yield from _in_force(self._house, loops)
        yield from _told(self._house, self._now)
        yield from _service(self._house, self._counts)


_COUNTED: Final = {
    "feedback": ("dwell_feedback", "Reactions by declared signal and what became of them.", ("signal", "outcome")),
    "clocks": ("dwell_feedback_clocks", "Reactions whose clock was off.", ("kind",)),
    "retrievals": ("dwell_retrievals", "Lists recorded, by what ordered them and the mode.", ("policy", "mode")),
    "dropped": ("dwell_dropped", "Lists that were not recorded.", ("reason",)),
}


def _counted(counts: Counts) -> Iterator[Metric]:
    """Yield what the loops counted since they were opened, those of all tenants together."""
    for name in _COUNTED:
        yield _family(counts, name, *_COUNTED[name])
    yield _histogram(
        "dwell_feedback_join_delay_seconds", "From a list to a reaction to it.", JOIN_DELAY_EDGES_S, counts,
        "join_delay",
    )  # fmt: skip


def _family(counts: Counts, name: str, metric: str, words: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    family = CounterMetricFamily(metric, words, labels=labels)
    for told, n in sorted(counts.items()):
        if told[0] == name:
            family.add_metric(told[1:], n)
    return family


def _events(loops: list[tuple[str, Loop]]) -> Metric:
    """Return how many events are on disk by state, those of all tenants together."""
    found: Counter[str] = Counter()
    for _, loop in loops:
        found.update(loop.event_counts())
    events = GaugeMetricFamily("dwell_events", "Events, parked and refused ones by state.", labels=["state"])
    for state, n in found.items():
        events.add_metric([state], n)
    return events


def _in_force(house: House, loops: list[tuple[str, Loop]]) -> Iterator[Metric]:
    """Yield what serves, and what was decided."""
    version = GaugeMetricFamily("dwell_active_version", "Params version in force.", labels=["tenant"])
    info = GaugeMetricFamily(
        "dwell_active_version_info", "1 for the params version in force.", labels=["tenant", "version", "origin"]
    )
    weights = GaugeMetricFamily("dwell_param_value", "Weights in force, on raw values.", labels=["tenant", "name"])
    value = GaugeMetricFamily(
        "dwell_policy_value_estimate",
        "Reward per list that the newest decision expects the proposal to add to the safe policy.",
        labels=["tenant", "policy", "bound"],
    )
    promotions = CounterMetricFamily(
        "dwell_promotions", "Decisions in the ledger by what came of them.", labels=["tenant", "result"]
    )
    for tenant, loop in loops:
        live = loop.params
        version.add_metric([tenant], live.version)
        info.add_metric([tenant, str(live.version), live.origin], 1)
        for name, weight in live.weights.items():
            weights.add_metric([tenant, name], weight)
        newest, results = house.ledgers.read(tenant, loop)
        for result in RESULTS:
            promotions.add_metric([tenant, result], results[result])
        if newest is not None and newest.difference.n:
            found = newest.difference
            for bound, reward in (("lower", found.low), ("mean", found.value), ("upper", found.high)):
                value.add_metric([tenant, "proposal_minus_safe", bound], reward)
    yield from (version, info, weights, value, promotions)


_FIGURES: Final = {
    "dwell_buffer_items": ("size", "Closed events kept for learning.", 1.0),
    "dwell_buffer_utilization_ratio": ("capacity_pct", "Closed events kept, over the capacity.", 1.0),
    "dwell_buffer_oldest_age_seconds": ("oldest_hours", "Age of the oldest event kept.", 3_600.0),
    "dwell_rewarded_ratio": ("rewarded_share", "Closed events with a reward.", 1.0),
    "dwell_reward_mean": ("avg_reward", "Mean reward of the closed events kept.", 1.0),
}
_CHECKS: Final = {
    "dwell_stratum_share_max_ratio": ("dominant_segment", "Share of the largest segment.", 1.0),
    "dwell_user_share_max_ratio": ("dominant_user", "Share of the largest user.", 1.0),
    "dwell_param_step_norm": ("step_norm", "Length of the last step of the live params.", 1.0),
}


def _told(house: House, now: float) -> Iterator[Metric]:
    """Yield what the learner last said of each tenant, and which alerts fire."""
    families = {
        name: GaugeMetricFamily(name, words, labels=["tenant"]) for name, (_, words, _) in (_FIGURES | _CHECKS).items()
    }
    size = GaugeMetricFamily(
        "dwell_sample_effective_size_ratio", "Experiences that a draw is worth, over those kept.", labels=["tenant"]
    )
    age = GaugeMetricFamily(
        "dwell_health_age_seconds", "Age of the report that the figures of a buffer come from.", labels=["tenant"]
    )
    checks = GaugeMetricFamily("dwell_health_checks", "Checks by how they stand.", labels=["tenant", "severity"])
    firing = GaugeMetricFamily(
        "dwell_alerts_firing", "1 for each alert that fires.", labels=["tenant", "code", "severity"]
    )
    for tenant, report in sorted(dict(house.reports).items()):
        found = {name: report.figures.get(figure) for name, (figure, _, _) in _FIGURES.items()}
        found |= {name: _value(report, check) for name, (check, _, _) in _CHECKS.items()}
        for name, value in found.items():
            if isinstance(value, int | float):
                families[name].add_metric([tenant], value * (_FIGURES | _CHECKS)[name][2])
        effective, n = _value(report, "effective_experiences"), report.figures.get("size")
        if effective is not None and isinstance(n, int) and n:
            size.add_metric([tenant], effective / n)
        if report.at:
            age.add_metric([tenant], max(now - report.at, 0.0))
        stands = Counter(check.severity for section in report.sections for check in section.checks)
        for severity in _SEVERITIES:
            checks.add_metric([tenant, severity], stands[severity])
    for tenant, states in sorted(dict(house.alerts).items()):
        for code, state in sorted(states.items()):
            if state.is_firing:
                firing.add_metric([tenant, code, state.severity], 1)
    yield from families.values()
    yield from (size, age, checks, firing)


def _value(report: HealthReport, name: str) -> float | None:
    check = report.check(name)
    return None if check is None else check.value


def _service(house: House, counts: Counts) -> Iterator[Metric]:
    """Yield what the service itself is and did."""
    yield GaugeMetricFamily("dwell_learner_up", "Whether the learner runs.", value=float(house.link.is_up))
    yield CounterMetricFamily("dwell_learner_starts", "Starts of the learner.", value=house.link.n_starts)
    yield GaugeMetricFamily("dwell_started_at_seconds", "Start, UTC epoch.", value=house.started_at)
    edges = house.rank_duration_s.edges
    yield _histogram("dwell_rank_duration_seconds", "Time to order one list.", edges, counts, "rank_duration")
    yield _family(counts, "requests", "dwell_http_requests", "Requests.", ("route", "status"))
    yield InfoMetricFamily("dwell", "What runs.", value={"version": __version__})


def _histogram(name: str, words: str, edges: tuple[float, ...], counts: Counts, counted: str) -> HistogramMetricFamily:
    numbers, total = histogram_of(counts, counted, len(edges) + 1)
    family = HistogramMetricFamily(name, words)
    bounds = [*(f"{edge:g}" for edge in edges), "+Inf"]
    family.add_metric([], list(zip(bounds, accumulate(numbers), strict=True)), total)
    return family
