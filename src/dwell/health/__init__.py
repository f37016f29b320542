"""How a loop is: what it holds, whether users answer, whether it learns, and what to do about it."""

from dwell.health.report import Alert, HealthReport, report_health
from dwell.health.snapshot import ExaminationSeen, HealthSnapshot

__all__ = ["Alert", "ExaminationSeen", "HealthReport", "HealthSnapshot", "report_health"]
