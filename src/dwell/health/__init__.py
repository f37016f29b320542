"""How a loop is: what it holds, whether users answer, whether it learns, and what to do about it."""

from dwell.health.alert_settings import AlertSettings
from dwell.health.alerting import AlertState, Change, Stepped, step
from dwell.health.counted import with_alert, with_counters
from dwell.health.report import Alert, Check, Distribution, HealthReport, Section, Share, Timeline
from dwell.health.sections import report_health
from dwell.health.snapshot import ExaminationSeen, HealthSnapshot

__all__ = [
    "Alert",
    "AlertSettings",
    "AlertState",
    "Change",
    "Check",
    "Distribution",
    "ExaminationSeen",
    "HealthReport",
    "HealthSnapshot",
    "Section",
    "Share",
    "Stepped",
    "Timeline",
    "report_health",
    "step",
    "with_alert",
    "with_counters",
]
