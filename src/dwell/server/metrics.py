"""Everything that Prometheus is told: counts of this process, and the last word of the learner, never waited for.

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
from dwell.loop.tally import JOIN_DELAY_EDGES_S, OTHER, OUTCOMES, Histogram, Tally
from dwell.server.caller import caller_of
from dwell.server.house import House
from dwell.server.ledgers import RESULTS

__all__ = ["exposition", "metrics"]

_POLICIES: Final = ("caller", "external", "params")  # of an impression
_SEVERITIES: Final = ("ok", "unknown", "warning", "critical")


async def metrics(request: Request) -> Response:
    """Tell everything that is counted, for Prometheus."""
    house, _ = caller_of(request, "admin")
    told = await asyncio.to_thread(exposition, house, time.time())  # the ledgers and the counts of events are on disk
    return Response(told, media_type="text/plain; version=0.0.4; charset=utf-8")


def exposition(house: House, now: float) -> bytes:
    """Return every metric in the text format of Prometheus.

    Args:
        house: Whose.
        now: UTC epoch seconds.
    """
    registry = CollectorRegistry()
    registry.register(_Collector(house, now))
    return generate_latest(registry)


class _Collector:
    """Figures of one house, read when they are asked for: nothing is counted twice."""

    def __init__(self, house: House, now: float) -> None:
        self._house = house
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        loops = sorted(self._house.loops().items())
        yield from _counted(loops)
        yield from _in_force(self._house, loops)
        yield from _told(self._house, self._now)
        yield from _service(self._house)


def _counted(loops: list[tuple[str, Loop]]) -> Iterator[Metric]:
    """Yield what the loops counted since they were opened, those of all tenants together."""
    feedback = CounterMetricFamily(
        "dwell_feedback", "Reactions by declared signal and what became of them.", labels=["signal", "outcome"]
    )
    clocks = CounterMetricFamily("dwell_feedback_clocks", "Reactions whose clock was off.", labels=["kind"])
    retrievals = CounterMetricFamily(
        "dwell_retrievals", "Lists recorded, by what ordered them and the mode.", labels=["policy", "mode"]
    )
    dropped = CounterMetricFamily("dwell_dropped", "Lists that were not recorded.", labels=["reason"])
    events = GaugeMetricFamily("dwell_events", "Events, parked and refused ones by state.", labels=["state"])
    delays: list[Histogram] = []
    for _, loop in loops:
        counted, tally = loop.counts, loop._state.tally  # noqa: SLF001 - what is counted is no call of a loop
        for signal, outcome in _feedback_labels(tally):
            _add(feedback, [signal, outcome], tally.feedback[signal, outcome])
        for policy in _POLICIES:
            _add(retrievals, [policy, loop.mode], 0)
        for (policy, mode), n in sorted(dict(tally.retrievals).items()):
            _add(retrievals, [policy, mode], n)
        _add(dropped, ["queue_full"], counted.get("dropped_impressions", 0))
        _add(dropped, ["store"], counted.get("failed_impressions", 0))
        for name in ("skewed", "future"):
            _add(clocks, [name], counted.get(f"feedback_{name}", 0))
        for state, n in loop.event_counts().items():
            _add(events, [state], n)
        delays.append(tally.join_delay_s)
    yield from (feedback, clocks, retrievals, dropped, events)
    yield _histogram(
        "dwell_feedback_join_delay_seconds", "From a list to a reaction to it.", JOIN_DELAY_EDGES_S, delays
    )


def _feedback_labels(tally: Tally) -> list[tuple[str, str]]:
    """Return the labels that are there before anything happens: a counter that begins at 1 hides its first event."""
    return [(signal, outcome) for signal in (*sorted(tally.signals), OTHER) for outcome in OUTCOMES]


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


def _service(house: House) -> Iterator[Metric]:
    """Yield what the service itself is and did."""
    yield GaugeMetricFamily("dwell_learner_up", "Whether the learner runs.", value=float(house.link.is_up))
    yield CounterMetricFamily("dwell_learner_starts", "Starts of the learner.", value=house.link.n_starts)
    yield GaugeMetricFamily("dwell_started_at_seconds", "Start, UTC epoch.", value=house.started_at)
    ranked = house.rank_duration_s
    yield _histogram("dwell_rank_duration_seconds", "Time to order one list.", ranked.edges, [ranked])
    requests = CounterMetricFamily("dwell_http_requests", "Requests.", labels=["route", "status"])
    answers = house.requests.copy()
    for path, n in dict(house.admission.n_refused).items():
        answers[path, 503] += n
    for (route, status), n in sorted(answers.items()):
        requests.add_metric([route, str(status)], n)
    yield requests
    yield InfoMetricFamily("dwell", "What runs.", value={"version": __version__})


def _histogram(name: str, words: str, edges: tuple[float, ...], parts: list[Histogram]) -> HistogramMetricFamily:
    """Return several histograms with the same edges as one."""
    counts = [sum(column) for column in zip(*(part.counts for part in parts), strict=True)] or [0] * (len(edges) + 1)
    family = HistogramMetricFamily(name, words)
    bounds = [*(f"{edge:g}" for edge in edges), "+Inf"]
    family.add_metric([], list(zip(bounds, accumulate(counts), strict=True)), sum(part.total for part in parts))
    return family


def _add(family: CounterMetricFamily | GaugeMetricFamily, labels: list[str], n: float) -> None:
    """Add a count to a family; what several tenants count under the same labels is one figure."""
    for i, sample in enumerate(family.samples):
        if sample.labels == dict(zip(family._labelnames, labels, strict=True)):  # noqa: SLF001 - it offers no look-up
            family.samples[i] = sample._replace(value=sample.value + n)
            return
    family.add_metric(labels, n)
