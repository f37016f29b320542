from typing import Any

import pytest

from dwell.errors import ConfigError
from dwell.health import Alert, AlertSettings, AlertState, Change, Check, HealthReport, Section, step

RULES = AlertSettings(raise_after_reports=3, raise_after_s=120.0, clear_after_reports=3, clear_after_s=600.0)
SECRET = "s" * 32


def figure(name: str, value: float | None, severity: Any = "ok") -> Check:
    return Check(name, "Title", value, "ratio", "at most 1", severity, "seen")


def bad(severity: str = "warning", code: str = "dominant_user", message: str = "seen") -> Alert:
    return Alert(code, severity, message, "do this")


def told(*alerts: Alert, checks: tuple[Check, ...] = ()) -> HealthReport:
    return HealthReport("warning", list(alerts), {}, sections=(Section("buffer", "Buffer", checks),))


class Watched:
    """A row of reports, a minute apart where nothing else is said."""

    def __init__(self, rules: AlertSettings = RULES) -> None:
        self.rules = rules
        self.states: dict[str, AlertState] = {}
        self.now = 1_000_000.0

    def see(self, report: HealthReport, after_s: float = 60.0) -> list[str]:
        return [change.kind for change in self.changes(report, after_s)]

    def changes(self, report: HealthReport, after_s: float = 60.0) -> tuple[Change, ...]:
        self.now += after_s
        self.states, changes = step(self.states, report, self.now, self.rules)
        return changes

    @property
    def phase(self) -> str:
        found = self.states.get("dominant_user")
        return "ok" if found is None else found.phase

    def fire(self, report: HealthReport | None = None) -> None:
        for _ in range(self.rules.raise_after_reports):
            self.see(report or told(bad()))
        assert self.phase == "firing"


def test_it_fires_at_the_third_report_in_a_row_and_tells_it_once() -> None:
    watched = Watched()
    assert [watched.see(told(bad()), after_s=10.0) for _ in range(5)] == [[], [], ["fired"], [], []]
    fired = watched.states["dominant_user"]
    assert (fired.phase, fired.since) == ("firing", 1_000_030.0)


def test_or_after_the_time_for_those_who_look_rarely() -> None:
    watched = Watched()
    assert watched.see(told(bad())) == []
    assert watched.see(told(bad()), after_s=119.0) == []
    watched = Watched()
    watched.see(told(bad()))
    assert watched.see(told(bad()), after_s=120.0) == ["fired"]


def test_two_of_three_are_no_three_in_a_row() -> None:
    watched = Watched()
    for _ in range(10):
        assert watched.see(told(bad())) == []
        assert watched.phase == "pending"
        assert watched.see(told()) == []
        assert watched.phase == "ok"


def test_it_is_over_once_both_the_reports_and_the_time_have_passed() -> None:
    watched = Watched()
    watched.fire()
    assert watched.see(told()) == []
    assert watched.phase == "resolving"
    assert watched.see(told(), after_s=599.0) == []  # two reports, 599 s
    assert watched.see(told(), after_s=0.5) == []  # three, 599.5 s
    assert watched.see(told(), after_s=0.5) == ["resolved"]
    assert watched.phase == "ok"
    watched.fire()
    assert watched.see(told()) == []
    assert watched.see(told(), after_s=10_000.0) == []  # the time, and two reports
    assert watched.see(told()) == ["resolved"]


def test_one_bad_report_while_it_resolves_begins_the_wait_anew_and_tells_nothing() -> None:
    watched = Watched()
    watched.fire()
    since = watched.states["dominant_user"].since
    for _ in range(20):
        assert watched.see(told(), after_s=500.0) == []
        assert watched.see(told(bad())) == []
    assert (watched.phase, watched.states["dominant_user"].since) == ("firing", since)


@pytest.mark.parametrize(("worst", "nearly", "clearly"), [(0.52, 0.50, 0.49), (10.0, 10.4, 10.5), (-2.0, -1.95, -1.9)])
def test_a_figure_must_be_clearly_good_again(worst: float, nearly: float, clearly: float) -> None:
    """With a margin of a twentieth: of 0.52 it is 0.026, of 10 it is 0.5, of -2 it is 0.1."""
    watched = Watched()
    watched.fire(told(bad(), checks=(figure("dominant_user", worst, "warning"),)))
    for _ in range(10):
        assert watched.see(told(checks=(figure("dominant_user", nearly),)), after_s=700.0) == []
        assert watched.phase == "firing"
    seen = [watched.see(told(checks=(figure("dominant_user", clearly),)), after_s=700.0) for _ in range(3)]
    assert seen == [[], [], ["resolved"]]


def test_the_nearest_bad_value_counts_not_the_worst() -> None:
    watched = Watched()
    watched.fire(told(bad(), checks=(figure("dominant_user", 0.9, "warning"),)))
    watched.see(told(bad(), checks=(figure("dominant_user", 0.51, "warning"),)))
    watched.see(told(checks=(figure("dominant_user", 0.49),)))
    assert watched.phase == "firing"
    watched.see(told(checks=(figure("dominant_user", 0.40),)))
    assert watched.phase == "resolving"


def test_what_can_not_be_measured_is_neither_good_nor_bad() -> None:
    unknown = told(checks=(figure("dominant_user", None, "unknown"),))
    watched = Watched()
    watched.see(told(bad()))
    before = watched.states
    assert watched.see(unknown) == []
    assert watched.states == before
    watched.fire()
    for _ in range(5):
        assert watched.see(unknown, after_s=1_000.0) == []
    assert watched.phase == "firing"


def test_it_escalates_once_and_never_back() -> None:
    watched = Watched()
    watched.fire()
    kinds = [watched.see(told(bad(how))) for how in ("critical", "warning", "critical", "warning")]
    assert kinds == [["escalated"], [], [], []]
    assert watched.states["dominant_user"].severity == "critical"


def test_the_worse_of_two_with_one_code_counts() -> None:
    watched = Watched()
    watched.fire(told(bad(), bad("critical")))
    assert watched.states["dominant_user"].severity == "critical"


def test_alerts_do_not_wait_for_each_other() -> None:
    watched = Watched()
    watched.fire()
    other = bad("critical", "dropped")
    assert [watched.see(told(bad(), other)) for _ in range(3)] == [[], [], ["fired"]]
    assert {code: state.phase for code, state in watched.states.items()} == {
        "dominant_user": "firing",
        "dropped": "firing",
    }


def test_a_change_says_what_when_and_since_and_is_named_apart() -> None:
    watched = Watched()
    found = [*watched.changes(told(bad())), *watched.changes(told(bad())), *watched.changes(told(bad(message="62 %")))]
    for _ in range(3):
        found += watched.changes(told(), after_s=600.0)
    assert [(c.kind, c.at, c.since, c.message, c.remedy) for c in found] == [
        ("fired", 1_000_180.0, 1_000_180.0, "62 %", "do this"),
        ("resolved", 1_001_980.0, 1_000_180.0, "62 %", "do this"),
    ]
    assert len({change.id for change in found}) == 2


def test_a_clock_that_went_back_holds_nothing_up_for_ever() -> None:
    watched = Watched()
    watched.fire()
    watched.see(told())
    assert watched.see(told(), after_s=-900_000.0) == []
    assert watched.see(told(), after_s=600.0) == ["resolved"]


def test_a_report_of_ours_is_what_it_takes() -> None:
    report = HealthReport("warning", [bad()], {})
    states, changes = step({}, report, 5.0, AlertSettings(raise_after_reports=1))
    assert states["dominant_user"].is_firing
    assert [change.kind for change in changes] == ["fired"]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"every_s": 0.5}, "every_s"),
        ({"every_s": float("nan")}, "every_s"),
        ({"raise_after_reports": 0}, "raise_after_reports"),
        ({"raise_after_reports": True}, "raise_after_reports"),
        ({"clear_after_reports": 1.5}, "clear_after_reports"),
        ({"clear_after_s": 60.0}, "clear_after_s"),
        ({"margin": 1.1}, "margin"),
        ({"webhook_url": "http://hooks.example/a", "webhook_secret": SECRET}, "webhook_url"),
        ({"webhook_url": "https://me:pw@hooks.example/a", "webhook_secret": SECRET}, "webhook_url"),
        ({"webhook_url": "https://hooks.example/a b", "webhook_secret": SECRET}, "webhook_url"),
        ({"webhook_url": "https://hooks.example/a\r\nHost: b", "webhook_secret": SECRET}, "webhook_url"),
        ({"webhook_url": "https:///a", "webhook_secret": SECRET}, "webhook_url"),
        ({"webhook_url": "https://hooks.example/" + "a" * 2_000, "webhook_secret": SECRET}, "webhook_url"),
        ({"webhook_url": "https://hooks.example/a"}, "webhook_secret"),
        ({"webhook_url": "https://hooks.example/a", "webhook_secret": SECRET[:-1]}, "webhook_secret"),
    ],
)
def test_settings_are_checked_by_name(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AlertSettings(**wrong)
    assert caught.value.field == f"alerts.{field}"
    assert SECRET[:-1] not in str(caught.value)


def test_settings_do_not_show_what_lets_one_in() -> None:
    shown = repr(AlertSettings(webhook_url="https://hooks.example:8443/T0/B1?x=1", webhook_secret=SECRET))
    assert SECRET not in shown
    assert "B1" not in shown
