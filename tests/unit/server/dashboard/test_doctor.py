import pytest

from dwell.health import AlertState
from dwell.health.doctor import Diagnosis, finding
from dwell.server.dashboard.doctor import firing, tone_of


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
