"""From reports to alerts that do not flap: an alert fires late, is over later, and is told of once each time.

    ok -> pending -> firing -> resolving -> ok
             |          ^          |
             v ok       +----------+

`ok` is the absence of a state. Between two times that one alert fires lie at least `clear_after_s` and
`clear_after_reports` reports, whatever the reports say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from dwell.health.alert_settings import AlertSettings
from dwell.health.report import Alert, HealthReport

__all__ = ["AlertState", "Change", "Stepped", "step"]

Phase = Literal["pending", "firing", "resolving"]
Kind = Literal["fired", "escalated", "resolved"]


@dataclass(frozen=True, slots=True)
class AlertState:
    """Where one alert stands.

    Attributes:
        code: Which alert.
        phase: "pending" (seen, not told of yet), "firing", or "resolving" (told of, and not seen any more).
        severity: The worst that was seen since it began.
        since: When it was first seen while "pending", else when it fired; UTC epoch seconds.
        began_at: When the run of reports began that leads to the next phase.
        n_reports: How many there are in that run.
        message: What was seen last, with its figure.
        remedy: What to do.
        low: Smallest value of its figure at which it was bad, None where it has none.
        high: Largest such value.
    """

    code: str
    phase: Phase
    severity: str
    since: float
    began_at: float
    n_reports: int
    message: str
    remedy: str
    low: float | None = None
    high: float | None = None

    @property
    def is_firing(self) -> bool:
        """Whether it was told of and is not over."""
        return self.phase != "pending"


@dataclass(frozen=True, slots=True)
class Change:
    """Something to tell of, once.

    Attributes:
        id: The same whenever the same change is told of again: receivers know a repetition by it.
        kind: "fired", "escalated" (it was a warning and is critical now), or "resolved".
        code: Which alert.
        severity: "warning" or "critical".
        message: What was seen.
        remedy: What to do.
        at: When it changed, UTC epoch seconds.
        since: When the alert fired.
    """

    id: str
    kind: Kind
    code: str
    severity: str
    message: str
    remedy: str
    at: float
    since: float


class Stepped(NamedTuple):
    """What one report did.

    Attributes:
        states: Every alert that is not ok, by its code.
        changes: What to tell of, in the order of the codes.
    """

    states: dict[str, AlertState]
    changes: tuple[Change, ...]


class _Figures(NamedTuple):
    values: dict[str, float]
    unknown: frozenset[str]


def step(states: Mapping[str, AlertState], report: HealthReport, now: float, rules: AlertSettings) -> Stepped:
    """Return where every alert stands after a report, and what is to be told of.

    An alert whose figure can not be measured at the moment stays as it is: not to know is no recovery.

    Args:
        states: Those before it; empty at the first.
        report: How the loop is.
        now: When it was made, UTC epoch seconds; where it goes backwards, runs of reports begin anew.
        rules: When an alert fires and when it is over.
    """
    bad: dict[str, Alert] = {}
    for alert in report.alerts:
        if alert.code not in bad or alert.severity == "critical":
            bad[alert.code] = alert
    figures = _figures_of(report)
    after: dict[str, AlertState] = {}
    changes: list[Change] = []
    for code in sorted({*states, *bad}):
        known = states.get(code)
        if known is not None and now < known.began_at:
            known = replace(known, began_at=now)
        if code in bad:
            found: AlertState | None = _seen(known, bad[code], figures.values.get(code), now, rules)
        elif known is None or code in figures.unknown:
            found = known
        else:
            found = _not_seen(known, figures.values.get(code), now, rules)
        if found is not None:
            after[code] = found
        changes += _changes(known, found, now)
    return Stepped(after, tuple(changes))


def _figures_of(report: HealthReport) -> _Figures:
    checks = [check for section in report.sections for check in section.checks]
    values = {c.name: float(c.value) for c in checks if c.value is not None and math.isfinite(c.value)}
    return _Figures(values, frozenset(c.name for c in checks if c.severity == "unknown"))


def _seen(known: AlertState | None, alert: Alert, value: float | None, now: float, rules: AlertSettings) -> AlertState:
    if known is None:
        known = AlertState(alert.code, "pending", alert.severity, now, now, 0, alert.message, alert.remedy)
    severity = "critical" if "critical" in {known.severity, alert.severity} else alert.severity
    known = replace(
        known,
        severity=severity,
        message=alert.message,
        remedy=alert.remedy,
        low=_outermost(min, known.low, value),
        high=_outermost(max, known.high, value),
    )
    if known.phase == "firing":
        return known
    if known.phase == "resolving":
        return replace(known, phase="firing", n_reports=0, began_at=now)
    n = known.n_reports + 1
    if n >= rules.raise_after_reports or now - known.began_at >= rules.raise_after_s:
        return replace(known, phase="firing", since=now, began_at=now, n_reports=0)
    return replace(known, n_reports=n)


def _not_seen(known: AlertState, value: float | None, now: float, rules: AlertSettings) -> AlertState | None:
    if known.phase == "pending":
        return None
    if not _is_beyond(known, value, rules.margin):
        return replace(known, phase="firing", n_reports=0, began_at=now)
    if known.phase == "firing":
        known = replace(known, phase="resolving", n_reports=0, began_at=now)
    n = known.n_reports + 1
    is_over = n >= rules.clear_after_reports and now - known.began_at >= rules.clear_after_s
    return None if is_over else replace(known, n_reports=n)


def _is_beyond(known: AlertState, value: float | None, margin: float) -> bool:
    """Return whether a good value is far enough from the bad ones: the threshold lies between them."""
    if value is None or known.low is None or known.high is None:
        return True
    if value < known.low:
        return known.low - value >= margin * abs(known.low)
    if value > known.high:
        return value - known.high >= margin * abs(known.high)
    return True  # good among bad ones: it is not the figure alone that is judged


def _outermost(which: Callable[[float, float], float], known: float | None, value: float | None) -> float | None:
    return known if value is None else value if known is None else which(known, value)


def _changes(before: AlertState | None, after: AlertState | None, now: float) -> Iterator[Change]:
    was, is_now = before is not None and before.is_firing, after is not None and after.is_firing
    if after is not None and is_now and not was:
        yield _change("fired", after, now)
    elif before is not None and was and not is_now:
        yield _change("resolved", before, now)
    elif before is not None and after is not None and was and before.severity != after.severity:
        yield _change("escalated", after, now)


def _change(kind: Kind, of: AlertState, now: float) -> Change:
    name = f"{of.code}-{round(of.since * 1e6)}-{kind}"
    return Change(name, kind, of.code, of.severity, of.message, of.remedy, now, of.since)
