import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from dwell.health import ExaminationSeen, HealthReport, HealthSnapshot, report_health
from dwell.health.shares import effective_by_largest, effective_number

NOW = 1_000_000.0


def snapshot(n: int = 100, **changed: object) -> HealthSnapshot:
    """Return a sound loop: n closed events of as many users and queries, half of them with a reward."""
    fields: dict[str, Any] = {
        "now": NOW,
        "capacity": 400,
        "states": {"closed": n} if n else {},
        "served_at": NOW - 3_600.0 * np.arange(n, 0.0, -1.0),
        "rewards": np.tile([0.0, 0.5], n // 2 + 1)[:n],
        "user_hashes": np.arange(n, dtype=np.uint64),
        "has_user": np.ones(n, dtype=bool),
        "query_hashes": np.arange(n, dtype=np.uint64),
        "segment_codes": np.arange(n) % 2,
        "segments": {0: "a", 1: "b"},
        "is_held_out": np.zeros(n, dtype=bool),
        "priorities": np.ones(n),
        "counters": {"impressions": n},
        "n_signals": n,
        "live_version": 3,
        "n_promotions": 2,
        "last_verdict": "hold: not_yet",
    }
    return HealthSnapshot(**{**fields, **changed})


def codes(report: HealthReport) -> list[str]:
    return [alert.code for alert in report.alerts]


def test_a_loop_without_events_is_empty() -> None:
    report = report_health(snapshot(0))
    assert (report.status, report.alerts, report.figures["n_events"]) == ("empty", [], 0)


def test_a_sound_loop_is_healthy() -> None:
    report = report_health(snapshot())
    assert (report.status, report.alerts) == ("healthy", [])


def test_figures_by_hand() -> None:
    report = report_health(snapshot(4, states={"closed": 3, "open": 2}, rewards=np.array([0.0, 0.5, 1.0, -1.0])))
    figures = report.figures
    assert (figures["n_events"], figures["size"], figures["n_closed"], figures["n_open"]) == (5, 4, 3, 2)
    assert figures["capacity_pct"] == 4 / 400
    assert figures["avg_reward"] == pytest.approx(0.125)
    assert figures["reward_std"] == pytest.approx(math.sqrt((0.125**2 + 0.375**2 + 0.875**2 + 1.125**2) / 3))
    assert figures["rewarded_share"] == 0.75
    assert (figures["oldest_hours"], figures["newest_hours"], figures["avg_age_hours"]) == (4.0, 1.0, 2.5)
    assert (figures["unique_contexts"], figures["live_version"], figures["n_promotions"]) == (4, 3, 2)


def test_the_effective_number_is_the_exponential_of_the_entropy() -> None:
    assert effective_number([]) == 0.0
    assert effective_number([0, 7]) == pytest.approx(1.0)
    assert effective_number([5, 5, 5, 5]) == pytest.approx(4.0)
    assert effective_number([3, 1]) == pytest.approx(math.exp(0.75 * math.log(4 / 3) + 0.25 * math.log(4)))
    assert effective_by_largest([]) == 0.0
    assert effective_by_largest([3, 1]) == pytest.approx(4 / 3)


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("code", ["dropped", "failed"])
def test_lost_lists_are_critical_however_few(n: int, code: str) -> None:
    report = report_health(snapshot(n, counters={"impressions": 1, f"{code}_impressions": 1}))
    assert (report.status, codes(report)) == ("critical", [code])
    assert report.alerts[0].message.startswith("1 served")
    assert f"{code}_impressions" in report.alerts[0].remedy


def test_what_was_dropped_and_what_the_store_refused_are_told_apart() -> None:
    counters = {"impressions": 9, "dropped_impressions": 2, "failed_impressions": 5}
    assert [alert.message[:1] for alert in report_health(snapshot(4, counters=counters)).alerts] == ["2", "5"]


def test_a_loop_that_keeps_nothing_because_every_call_fails_is_not_empty() -> None:
    report = report_health(snapshot(0, counters={"fallback": 3}))
    assert (report.status, codes(report)) == ("warning", ["fallback"])
    assert report.alerts[0].message.startswith("3 of 3 calls")
    # 1 of 101 calls is less than a hundredth, 2 of 101 are more
    assert report_health(snapshot(0, counters={"impressions": 100, "fallback": 1})).status == "empty"
    assert report_health(snapshot(0, counters={"impressions": 99, "fallback": 2})).status == "warning"


@pytest.mark.parametrize(("n_fallbacks", "is_alert"), [(1, False), (2, True)])
def test_more_than_a_hundredth_of_fallbacks_is_a_warning(n_fallbacks: int, is_alert: bool) -> None:  # noqa: FBT001 - a parameter of the test
    # of 100 calls: 1 is not more than 1 %, 2 are
    counters = {"impressions": 100 - n_fallbacks, "fallback": n_fallbacks}
    report = report_health(snapshot(counters=counters))
    assert (codes(report) == ["fallback"]) == is_alert
    assert (report.status == "warning") == is_alert


def test_no_reward_at_all_is_critical_and_hardly_any_is_a_warning() -> None:
    assert codes(report_health(snapshot(rewards=np.zeros(100)))) == ["no_feedback"]
    one_in_200 = np.zeros(200)
    one_in_200[0] = -1.0
    assert codes(report_health(snapshot(200, rewards=one_in_200))) == ["little_feedback"]
    two_in_200 = one_in_200.copy()
    two_in_200[1] = 1.0
    assert codes(report_health(snapshot(200, rewards=two_in_200))) == []


def test_below_fifty_events_shares_are_chance() -> None:
    assert codes(report_health(snapshot(49, rewards=np.zeros(49)))) == []
    assert codes(report_health(snapshot(50, rewards=np.zeros(50)))) == ["no_feedback"]


@pytest.mark.parametrize(
    ("kind", "column", "name"),
    [("segment", "segment_codes", "'a'"), ("query", "query_hashes", "0000"), ("user", "user_hashes", "0000")],
)
def test_a_group_that_outweighs_all_others_is_a_warning(kind: str, column: str, name: str) -> None:
    half, more, alone = (np.repeat([0, 1], [n, 100 - n]).astype(np.uint64) for n in (50, 51, 100))
    assert codes(report_health(snapshot(**{column: half}))) == []
    report = report_health(snapshot(**{column: more}))
    assert codes(report) == [f"dominant_{kind}"]
    assert name in report.alerts[0].message
    assert "51%" in report.alerts[0].message
    assert codes(report_health(snapshot(**{column: alone}))) == []  # nothing to be compared with


def test_unknown_users_are_a_warning() -> None:
    report = report_health(snapshot(has_user=np.zeros(100, dtype=bool)))
    assert codes(report) == ["users_unknown"]
    assert report.figures["unique_contexts"] == 0


def test_the_worst_alert_comes_first_and_is_the_status() -> None:
    report = report_health(
        snapshot(
            has_user=np.zeros(100, dtype=bool), counters={"impressions": 10, "dropped_impressions": 2, "fallback": 90}
        )
    )
    assert report.status == "critical"
    assert codes(report) == ["dropped", "fallback", "users_unknown"]
    assert all(alert.remedy and alert.message for alert in report.alerts)


def test_it_leaves_as_json() -> None:
    report = report_health(snapshot(has_user=np.zeros(100, dtype=bool)))
    told = json.loads(json.dumps(report.to_dict()))
    assert told["status"] == "warning"
    assert told["alerts"][0]["code"] == "users_unknown"
    assert told["n_events"] == 100


SEEN = ExaminationSeen(
    source="swaps",
    version="fitted/0",
    values=(1.0, 0.5),
    is_monotone=True,
    measured="swaps",
    reasons=(),
    low=(1.0, 0.4),
    high=(1.0, 0.6),
    calibration=(1.0, None),
)


def test_the_examination_in_force_is_told_with_how_often_one_was_measured() -> None:
    report = report_health(snapshot(examination=SEEN))
    assert report.status == "healthy"
    assert (report.figures["examination_source"], report.figures["examinations_measured"]) == ("swaps", 0)
    told = report_health(snapshot(examination=SEEN, counters={"examinations_measured": 2})).to_dict()
    assert told["examinations_measured"] == 2
    assert json.loads(json.dumps(told, allow_nan=False))["examination"]["calibration"] == [1.0, None]
    assert "examination" not in report_health(snapshot()).to_dict()


def test_a_lower_position_that_is_looked_at_more_is_an_alert_with_its_remedy() -> None:
    rising = dataclasses.replace(SEEN, rises=("position 2 is looked at more", "position 4 too"), remedy="Look.")
    (alert,) = report_health(snapshot(examination=rising)).alerts
    assert (alert.code, alert.severity, alert.remedy) == ("examination_rises", "warning", "Look.")
    assert alert.message == "position 2 is looked at more, and 1 more"
