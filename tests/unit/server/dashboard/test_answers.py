from dataclasses import replace

import pytest

from dwell.health import HealthReport
from dwell.records import Estimate, GateDecision
from dwell.server.dashboard.answers import is_it_better, is_it_learning
from dwell.server.dashboard.ledger import moves, standing_of

GAIN = Estimate(0.02, 0.01, 0.03, 1_000, 400.0)
NOTHING = Estimate(0.0, -1.0, 1.0, 0, 0.0)
START = GateDecision("promote", ["initial: as given"], NOTHING, proposed_version=0, kind="initial", decided_at=1.0)
JUDGED = GateDecision("promote", ["better: yes"], GAIN, proposed_version=2, safe_version=0, decided_at=5.0)
HELD = replace(JUDGED, verdict="hold", reasons=["not_yet: wait"], decided_at=3.0)
FORCED = replace(JUDGED, kind="forced", proposed_version=3, safe_version=2, decided_at=7.0)
BACK = replace(JUDGED, kind="rollback", proposed_version=2, safe_version=3, decided_at=9.0)
ASKED = replace(JUDGED, kind="evaluated", proposed_version=8, decided_at=11.0)
FULL = HealthReport("healthy", [], {"n_events": 100, "size": 90, "rewarded_share": 0.5})


def told(report: HealthReport = FULL, **figures: float) -> HealthReport:
    return replace(report, figures={**report.figures, **figures})


def test_only_what_moved_the_live_params_is_a_move() -> None:
    assert moves([START, HELD, JUDGED, FORCED, BACK, ASKED]) == [START, JUDGED, FORCED, BACK]


@pytest.mark.parametrize(
    ("version", "history", "word", "since"),
    [
        (0, [START], "start", 1.0),
        (2, [START, HELD, JUDGED], "gate", 5.0),
        (3, [START, JUDGED, FORCED], "hand", 7.0),
        (2, [START, JUDGED, FORCED, BACK], "rollback", 9.0),
        (7, [START], "nobody", None),
        (0, [], "nobody", None),
    ],
)
def test_the_ledger_says_by_whose_word_the_live_version_is_live(
    version: int, history: list[GateDecision], word: str, since: float | None
) -> None:
    found = standing_of(version, history)
    assert (found.word, found.since) == (word, since)


def test_better_by_how_much_of_what_a_list_earns() -> None:
    answer = is_it_better(standing_of(2, [START, JUDGED]), "live", 0.5)
    assert answer.tone == "good"
    assert "+0.0200" in answer.says
    assert "+4.0 %" in answer.says  # 0.02 of 0.5
    assert "%" not in is_it_better(standing_of(2, [START, JUDGED]), "live", 0.0).says


def test_other_features_are_no_beginning() -> None:
    grown = replace(START, reasons=["features: added a"], proposed_version=4, safe_version=2, decided_at=12.0)
    assert (
        "weighs the others as version 2 did" in is_it_better(standing_of(4, [START, JUDGED, grown]), "live", 0.5).says
    )


def test_what_was_forced_claims_nothing() -> None:
    assert is_it_better(standing_of(3, [START, JUDGED, FORCED]), "live", 0.5).says.startswith("Nobody knows")
    assert "nothing was promoted" in is_it_better(standing_of(0, [START]), "live", 0.5).says
    assert "went back" in is_it_better(standing_of(2, [START, JUDGED, FORCED, BACK]), "live", 0.5).says
    assert "caller's own order" in is_it_better(standing_of(2, [START, JUDGED]), "shadow", 0.5).says


def test_learning_names_the_first_thing_that_is_missing() -> None:
    def says(
        report: HealthReport, history: list[GateDecision], mode: str = "live", *, has_features: bool = True
    ) -> str:
        return is_it_learning(report, history, mode, has_features=has_features).says

    assert "No features" in says(FULL, [], has_features=False)
    assert "No list" in says(told(n_events=0), [])
    assert "none is over yet" in says(told(size=0), [])
    assert "has not told" in says(HealthReport("empty", [], {"n_events": 5}), [])
    assert "has a reward" in says(told(rewarded_share=0.0), [])
    assert "only records" in says(FULL, [], "log-only")
    assert "nothing was proposed" in says(FULL, [START])
    assert says(FULL, [START, HELD]).startswith(
        "Yes: 0 of 1 proposal went live by the gate. The last verdict is hold (not_yet:"
    )
    assert says(FULL, [START, HELD, JUDGED]).startswith("Yes: 1 of 1 proposal went live by the gate.")
