from types import SimpleNamespace

import pytest

from dwell.health import AlertState
from dwell.health.doctor import Diagnosis, Looked, finding
from dwell.server.dashboard.doctor import firing, tone_of
from dwell.server.dashboard.rendering import rendered


def state(code: str, phase: str, severity: str, since: float) -> AlertState:
    return AlertState(code, phase, severity, since, since, 0, "seen", "do")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("severities", "n_events", "tone"),
    [
        ([], 100, "good"),
        ([], 0, ""),  # a store where nothing was served is neither well nor ill
        (["notice"], 100, "good"),
        (["notice", "warning"], 100, "wait"),
        (["warning", "critical"], 100, "bad"),
        (["critical"], 0, "bad"),
    ],
)
def test_the_worst_finding_is_the_tone(severities: list[str], n_events: int, tone: str) -> None:
    found = tuple(finding(f"c{i}", severity, "seen", "do") for i, severity in enumerate(severities))  # type: ignore[arg-type]
    assert tone_of(Diagnosis(found, (), "", n_events, 1.0)) == tone


def test_alerts_that_were_told_of_are_shown_critical_ones_first_then_the_longest() -> None:
    states = [
        state("young", "firing", "warning", 9.0),
        state("seen", "pending", "critical", 1.0),
        state("old", "resolving", "warning", 2.0),
        state("grave", "firing", "critical", 10.0),
    ]
    assert [one.code for one in firing({one.code: one for one in states})] == ["grave", "old", "young"]


def page(found: Diagnosis | None, alerts: list[AlertState]) -> str:
    context = {
        "visit": SimpleNamespace(base=""), "here": "/dashboard/doctor", "stamp": "s",
        "diagnosis": found, "tone": "", "n_events": 5, "alerts": alerts, "n_pending": 0,
    }  # fmt: skip
    return rendered("doctor.html", context, block="live")


def test_findings_stand_in_their_order_with_what_to_do_and_foreign_text_is_inert() -> None:
    findings = (
        finding("rewards_missing", "critical", "none of <b>9</b> has one", "Send \u202ethem.", {"n_lists": 9}),
        finding("ring_stale", "notice", "it is behind", "Open it once."),
    )
    shown = page(Diagnosis(findings, (Looked("x", "Do they?", "No.", is_judged=False),), "No: <i>", 9, 1.0), [])
    words = ["No: &lt;i&gt;", "2 findings", "&lt;b&gt;9&lt;/b&gt;", "Send \N{REPLACEMENT CHARACTER}them.", "n_lists 9"]
    places = [shown.index(word) for word in [*words, "it is behind", "Open it once.", "None fires", "Do they?"]]
    assert places == sorted(places)
    assert "too little to tell" in shown


def test_alerts_say_since_when_and_a_page_without_a_word_asks_again_in_a_second() -> None:
    shown = page(None, [state("orphans", "firing", "warning", 0.0)])
    assert "1970-01-01T00:00:00Z" in shown
    assert 'hx-trigger="every 1s"' in shown
    assert "What is found appears here by itself" in shown
    assert 'hx-trigger="every 5s"' in page(Diagnosis((), (), "yes", 9, 1.0), [])
