"""What another process counted joins a report that was made without it."""

from dataclasses import replace

import numpy as np
from tests.unit.health.test_report import codes, snapshot

from dwell.health import Alert, HealthReport, report_health, with_alert, with_counters


def test_counts_of_two_processes_are_judged_as_those_of_one() -> None:
    here = {"impressions": 90, "fallback": 5, "feedback_joined": 3}
    there = {"impressions": 10, "fallback": 1, "dropped_impressions": 2}
    both = {"impressions": 100, "fallback": 6, "feedback_joined": 3, "dropped_impressions": 2}
    added = with_counters(report_health(snapshot(counters=here)), there)
    at_once = report_health(snapshot(counters=both))
    assert added.to_dict() == at_once.to_dict()
    assert codes(added) == ["dropped", "fallback"]


def test_the_report_itself_is_not_changed_so_that_counts_can_be_added_again() -> None:
    report = report_health(snapshot(counters={"impressions": 1}))
    first, second = (with_counters(report, {"impressions": n}) for n in (1, 2))
    assert (first.figures["impressions"], second.figures["impressions"]) == (2, 3)
    assert report.figures["impressions"] == 1


def test_other_alerts_stay_when_counts_are_added() -> None:
    report = report_health(snapshot(rewards=np.zeros(100)))
    assert codes(with_counters(report, {"failed_impressions": 1})) == ["failed", "no_feedback"]


def test_what_was_never_measured_is_not_called_healthy() -> None:
    bare = HealthReport("empty", [], {"n_events": 7})
    assert with_counters(bare, {"impressions": 7}).status == "empty"
    assert with_counters(replace(bare, at=1.0), {"impressions": 7}).status == "healthy"


def test_an_alert_from_outside_joins_and_makes_the_status() -> None:
    alert = Alert("learner_down", "warning", "It does not run.", "Look.")
    assert with_alert(report_health(snapshot()), alert).status == "warning"
    critical = with_alert(report_health(snapshot(rewards=np.zeros(100))), alert)
    assert (critical.status, codes(critical)) == ("critical", ["no_feedback", "learner_down"])
