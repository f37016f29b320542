"""The order of harm, and what a diagnosis says of itself."""

import json
import re
from pathlib import Path

import pytest

from dwell.health.doctor import BY_HARM, Diagnosis, diagnose, finding, unopened, with_counted, with_finding
from dwell.health.doctor.diagnosis import by_harm, harm_of
from dwell.health.doctor.evidence import Evidence
from dwell.health.report import Alert, HealthReport
from dwell.health.thresholds import RULES
from dwell.records import Params

ROOT = Path(__file__).parents[4]
CODE = sorted((ROOT / "src" / "dwell" / "health" / "doctor").glob("*.py"))
NOTHING = HealthReport("healthy", [], {})


def evidence(**how: object) -> Evidence:
    given = {
        "now": 1e9,
        "mode": "live",
        "events": (),
        "counts": {"open": 1},
        "feature_names": ("a",),
        "live": Params(version=0, weights={"a": 1.0}),
        "attribution_window_s": 60.0,
    }
    return Evidence(**{**given, **how})  # type: ignore[arg-type]


def test_findings_are_told_by_harm_and_each_code_once() -> None:
    given = [finding(code, "warning", "m", "r") for code in reversed(BY_HARM)]
    told = by_harm([*given, finding(BY_HARM[0], "critical", "again", "r"), finding("unheard", "warning", "m", "r")])
    assert [one.code for one in told] == [*BY_HARM, "unheard"]
    assert [one.harm for one in told] == list(range(1, len(BY_HARM) + 2))
    assert told[0].message == "m"


@pytest.mark.parametrize(
    ("severities", "is_healthy"),
    [([], True), (["notice"], True), (["notice", "warning"], False), (["critical"], False)],
)
def test_what_costs_time_alone_is_no_illness(severities: list[str], *, is_healthy: bool) -> None:
    found = tuple(finding(f"c{i}", one, "m", "r") for i, one in enumerate(severities))  # type: ignore[arg-type]
    diagnosis = Diagnosis(found, (), "", 0, 0.0)
    assert diagnosis.is_healthy is is_healthy
    assert json.loads(json.dumps(diagnosis.to_dict()))["is_healthy"] is is_healthy


def test_one_more_finding_stands_in_its_place() -> None:
    before = Diagnosis((finding("ring_stale", "notice", "m", "r"),), (), "", 0, 0.0)
    after = with_finding(before, finding("learner_down", "warning", "m", "r"))
    assert [one.code for one in after.findings] == ["learner_down", "ring_stale"]
    assert len(before.findings) == 1


def test_alerts_of_the_health_report_are_told_as_they_are_but_for_what_is_said_here() -> None:
    alerts = [
        Alert("no_feedback", "critical", "said here", "r"),
        Alert("dropped", "critical", "3 served lists were not recorded", "the disk"),
        Alert("tomorrow", "warning", "an alert of a later version", "r"),
    ]
    found = diagnose(evidence(), HealthReport("critical", alerts, {}))
    assert [(one.code, one.message, one.remedy) for one in found.findings] == [
        ("dropped", "3 served lists were not recorded", "the disk"),
        ("tomorrow", "an alert of a later version", "r"),
    ]


def test_every_alert_of_the_health_report_has_a_place() -> None:
    """A rule that can alert, under a new name, has to be put where its harm is."""
    alerting = {name for name, rule in RULES.items() if rule.side != "shown"}
    assert alerting - set(BY_HARM) <= {"no_feedback", "fallback", "orphan_ratio", "order_tau", "constant_features"}


def test_what_the_serving_process_counts_is_told_with_what_the_learner_sees() -> None:
    seen = diagnose(evidence(), NOTHING)
    told = with_counted(seen, {"dropped_impressions": 3, "fallback": 50, "feedback_orphan": 50, "feedback_joined": 50})
    assert [(one.code, one.severity) for one in told.findings] == [("dropped", "critical")]  # the others are said here
    assert "3 served lists were not recorded" in told.findings[0].message
    assert with_counted(seen, {"feedback_joined": 90, "impressions": 100}) == seen


@pytest.mark.parametrize(
    ("counters", "is_named"), [({"feedback_future": 9}, False), ({"feedback_future": 10}, True), ({}, False)]
)
def test_reactions_from_the_future_are_known_by_what_was_counted(counters: dict[str, int], *, is_named: bool) -> None:
    found = diagnose(evidence(), HealthReport("healthy", [], dict(counters)))
    assert ("clock_skew" in [one.code for one in found.findings]) is is_named


def test_an_empty_store_is_told_how_to_begin() -> None:
    found = diagnose(evidence(counts={}), NOTHING)
    assert (found.findings, found.is_healthy) == ((), True)
    assert found.answer.startswith("Nothing was served yet. Call served = loop.rank(")


def test_nothing_but_calls_put_aside_is_no_empty_store() -> None:
    found = diagnose(evidence(counts={"quarantined": 12}, quarantine_reasons={"non_finite:a": 12}), NOTHING)
    assert [one.code for one in found.findings] == ["quarantined"]
    assert (found.findings[0].severity, "non_finite:a" in found.findings[0].message) == ("critical", True)


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("corrupt", "store_damaged"),
        ("schema_older", "needs_upgrade"),
        ("schema_newer", "schema_newer"),
        ("pepper_mismatch", "pepper_missing"),
        ("io", "store_unusable"),
    ],
)
def test_what_can_not_be_opened_has_one_finding(code: str, named: str) -> None:
    found = unopened(code, "what was said", "what to do", now=5.0)
    assert [one.code for one in found.findings] == [named]
    assert found.findings[0].severity == "critical"
    assert (found.findings[0].remedy == "what to do") is (code == "io")
    assert (found.is_healthy, found.n_events, found.at) == (False, 0, 5.0)


def test_the_page_has_a_row_for_every_code_in_their_order() -> None:
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    told = [code for row in rows for code in re.findall(r"`(\w+)`", row)]
    # the page on health has the others that stand between "ess_low" and "feature_constant"
    assert told == [code for code in BY_HARM if code in told]
    ours = set(re.findall(r'finding\(\s*"(\w+)"', "".join(path.read_text(encoding="utf-8") for path in CODE)))
    assert len(ours) > 20
    assert ours <= set(told)
    assert harm_of("unheard") == len(BY_HARM) + 1
