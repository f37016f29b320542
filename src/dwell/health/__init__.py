"""How a loop is: what it holds, whether users answer, whether it learns, and what to do about it."""

from dwell.health.alert_settings import AlertSettings
from dwell.health.alerting import AlertState, Change, Stepped, step
from dwell.health.report import Alert, HealthReport, report_health
from dwell.health.snapshot import ExaminationSeen, HealthSnapshot

__all__ = [
    "Alert",
    "AlertSettings",
    "AlertState",
    "Change",
    "ExaminationSeen",
    "HealthReport",
    "HealthSnapshot",
    "Stepped",
    "report_health",
    "step",
]
