"""What watches the service: liveness, readiness, metrics, and the description of its API."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dwell import __version__
from dwell.server.caller import caller_of, house_of
from dwell.server.house import House

__all__ = ["live", "metrics", "ready"]


async def live(_request: Request) -> Response:
    """Tell that the process answers."""
    return JSONResponse({"status": "live"})


async def ready(request: Request) -> Response:
    """Tell whether requests can be served: the store writes, and it is not being shut down."""
    house = house_of(request)
    is_ready = not house.is_draining and house.loop("").is_recording
    body = {
        "status": "ready" if is_ready else "not_ready",
        "learner": "up" if house.link.is_up else "down",  # searches do not depend on it
        "version": __version__,
        "up_s": round(time.time() - house.started_at, 3),
    }
    return JSONResponse(body, status_code=200 if is_ready else 503, headers={} if is_ready else {"retry-after": "1"})


class _Collector:
    """Figures of one house, read when they are asked for: nothing is counted twice."""

    def __init__(self, house: House) -> None:
        self._house = house

    def collect(self) -> Iterator[Metric]:
        """Yield every metric. No label holds a query, a document or a user."""
        feedback = CounterMetricFamily("dwell_feedback", "Reactions by what became of them.", labels=["outcome"])
        clocks = CounterMetricFamily("dwell_feedback_clocks", "Reactions whose clock was off.", labels=["kind"])
        events = GaugeMetricFamily("dwell_events", "Events, parked and refused ones by state.", labels=["state"])
        retrievals = CounterMetricFamily("dwell_retrievals", "Lists recorded.")
        dropped = CounterMetricFamily("dwell_dropped", "Lists that were not recorded.", labels=["reason"])
        version = GaugeMetricFamily("dwell_active_version", "Params version in force.", labels=["tenant"])
        for tenant, loop in sorted(self._house.loops().items()):
            counted = loop.counts
            for outcome in ("joined", "late", "orphan", "duplicate", "rejected"):
                _add(feedback, [outcome], counted.get(f"feedback_{outcome}", 0))
            _add(retrievals, [], counted.get("impressions", 0))
            _add(dropped, ["queue_full"], counted.get("dropped_impressions", 0))
            _add(dropped, ["store"], counted.get("failed_impressions", 0))
            for name in ("skewed", "future"):
                _add(clocks, [name], counted.get(f"feedback_{name}", 0))
            for state, n in loop.event_counts().items():
                _add(events, [state], n)
            version.add_metric([tenant], loop.params.version)
        yield from (feedback, clocks, retrievals, dropped, events, version)
        yield GaugeMetricFamily("dwell_learner_up", "Whether the learner runs.", value=float(self._house.link.is_up))
        yield CounterMetricFamily("dwell_learner_starts", "Starts of the learner.", value=self._house.link.n_starts)
        yield GaugeMetricFamily("dwell_started_at_seconds", "Start, UTC epoch.", value=self._house.started_at)
        requests = CounterMetricFamily("dwell_http_requests", "Requests.", labels=["route", "status"])
        answers = self._house.requests.copy()
        for path, n in self._house.admission.n_refused.items():
            answers[path, 503] += n
        for (route, status), n in sorted(answers.items()):
            requests.add_metric([route, str(status)], n)
        yield requests
        yield InfoMetricFamily("dwell", "What runs.", value={"version": __version__})


def _add(family: CounterMetricFamily | GaugeMetricFamily, labels: list[str], n: float) -> None:
    """Add a count to a family; what several tenants count under the same labels is one figure."""
    for i, sample in enumerate(family.samples):
        if sample.labels == dict(zip(family._labelnames, labels, strict=True)):  # noqa: SLF001 - it offers no look-up
            family.samples[i] = sample._replace(value=sample.value + n)
            return
    family.add_metric(labels, n)


async def metrics(request: Request) -> Response:
    """Tell everything that is counted, for Prometheus."""
    house, _ = caller_of(request, "admin")
    registry = CollectorRegistry()
    registry.register(_Collector(house))
    return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")
