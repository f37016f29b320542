"""Checks of what processes count while they run; another process's counts can be added to a report later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, cast

from dwell.health.report import Alert, Check, HealthReport, Section, Severity, Status
from dwell.health.thresholds import MIN_JUDGED, SECTIONS, judged, section_of, shown

__all__ = ["counted_checks", "counted_figures", "made", "with_alert", "with_counters"]


_NO_SIGNAL: Final = "no signal was counted since the start"
_OUTCOMES: Final = {
    "late": "{} of {} signals came after their list was closed",
    "orphan": "{} of {} signals were for lists that nobody knows, yet",
    "duplicate": "{} of {} signals had been told before",
    "rejected": "{} of {} signals were refused",
}
_ARCHIVE: Final = {
    "archive_failing": "{} attempts in a row to archive facts failed; they are kept",
    "archive_erasures_pending": "{} erased users still stand in an archive that can not be reached",
}


def counted_checks(counters: Mapping[str, int]) -> list[Check]:
    """Return the checks that stand on counters alone."""
    dropped, failed = counters.get("dropped_impressions", 0), counters.get("failed_impressions", 0)
    served, fallbacks = counters.get("impressions", 0), counters.get("fallback", 0)
    archive = {name: counters.get(name, 0) for name in _ARCHIVE}
    n_calls = served + fallbacks
    lost = "served lists were not recorded"
    signals = {name: counters.get(f"feedback_{name}", 0) for name in ("joined", *_OUTCOMES)}
    n_signals = sum(signals.values())
    return [
        *(
            judged(
                f"{name}_ratio",
                signals[name] / n_signals if n_signals >= MIN_JUDGED else None,
                words.format(shown(signals[name] / n_signals, "ratio"), f"{n_signals:,}") if n_signals else _NO_SIGNAL,
            )
            for name, words in _OUTCOMES.items()
        ),
        judged("dropped", dropped, f"{dropped} {lost}: the queue of writes was full" if dropped else "none was lost"),
        judged("failed", failed, f"{failed} {lost}: the store refused them" if failed else "none was refused"),
        *(judged(name, n, (_ARCHIVE[name] if n else "{} failed").format(n or "none")) for name, n in archive.items()),
        judged(
            "fallback",
            fallbacks / n_calls if n_calls else None,
            f"{fallbacks} of {n_calls} calls were served the caller's order" if n_calls else "no call was counted",
        ),
    ]


def counted_figures(counters: Mapping[str, int]) -> dict[str, float | int | str]:
    """Return what is told of counters: all but those that only size what was looked at."""
    return {name: count for name, count in sorted(counters.items()) if not name.endswith("_seen")}


def made(checks: Iterable[Check], report: HealthReport) -> HealthReport:
    """Return a report with these checks in their sections, and the status and alerts that follow from them."""
    found = list(checks)
    sections = tuple(
        Section(name, title, tuple(check for check in found if section_of(check.name) == name))
        for name, title in SECTIONS.items()
    )
    failed = [check for check in found if check.severity in {"warning", "critical"}]
    alerts = [Alert(c.name, cast("Severity", c.severity), c.sentence, c.remedy) for c in failed]
    return _with_alerts(replace(report, sections=sections), alerts)


def _with_alerts(report: HealthReport, alerts: Iterable[Alert]) -> HealthReport:
    found = sorted(alerts, key=lambda alert: alert.severity != "critical")
    # what was never measured is not called healthy
    status: Status = "healthy" if report.figures.get("n_events") and report.at else "empty"
    # first the alerts: a loop that keeps nothing because every call fails is not merely empty
    return replace(report, alerts=found, status=found[0].severity if found else status)


def with_alert(report: HealthReport, alert: Alert) -> HealthReport:
    """Return a report with one alert more."""
    return _with_alerts(report, [*report.alerts, alert])


def with_counters(report: HealthReport, counters: Mapping[str, int]) -> HealthReport:
    """Return a report to whose counts those of another process of the same loop are added.

    Args:
        report: As `report_health` made it: with the counts of the process that measured.
        counters: What the other process counted, by name.
    """
    counted = dict(report.counters)
    for name, n in counters.items():
        counted[name] = counted.get(name, 0) + n
    again = {check.name: check for check in counted_checks(counted)}
    others = [check for section in report.sections for check in section.checks if check.name not in again]
    return made([*again.values(), *others], replace(report, figures=report.figures | counted_figures(counted)))
