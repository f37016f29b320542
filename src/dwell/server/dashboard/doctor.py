"""Doctor: what is wrong in order of harm, what to do, since when alerts fire, and what was looked at."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.responses import Response

from dwell.health import AlertState
from dwell.health.doctor import Diagnosis
from dwell.loop.alert_states import alert_states
from dwell.server.consulting import Consultation, Told
from dwell.server.dashboard.visit import Visit
from dwell.server.telling_diagnosis import told_diagnosis

__all__ = ["firing", "show", "tone_of"]


async def show(visit: Visit) -> Response:
    """Show what the doctor says."""
    asked = visit.house.consultations.setdefault(visit.tenant, Consultation())
    told = await asked.told(partial(told_diagnosis, visit.house, visit.tenant), time.monotonic())
    found = told.diagnosis
    seen = visit.house.alerts.get(visit.tenant, {})
    alerts = sorted((state.code, state.phase, state.severity, state.message) for state in seen.values())
    stamp = repr((None if found is None else found.at, told.is_looking and found is None, alerts))
    return await visit.show("doctor.html", partial(_context, visit, told), stamp=stamp)


def _context(visit: Visit, told: Told) -> Mapping[str, Any]:
    with visit.loop.facts() as reader:
        states = alert_states(reader)
        n_events = reader.last_seq()
    found = told.diagnosis
    return {
        "diagnosis": found,
        "tone": "" if found is None else tone_of(found),
        "n_events": n_events,
        "alerts": firing(states),
        "n_pending": sum(not state.is_firing for state in states.values()),
    }


def tone_of(diagnosis: Diagnosis) -> str:
    """Return how bad it is: "bad", "wait", "good", or "" where nothing was served that could be judged."""
    severities = {one.severity for one in diagnosis.findings}
    if "critical" in severities:
        return "bad"
    if "warning" in severities:
        return "wait"
    return "good" if diagnosis.n_events else ""


def firing(states: Mapping[str, AlertState]) -> list[AlertState]:
    """Return the alerts that were told of and are not over, critical ones first, then by how long they fire."""
    found = [state for state in states.values() if state.is_firing]
    return sorted(found, key=lambda state: (state.severity != "critical", state.since, state.code))
