"""What the strip "learning from you" says, from made-up facts."""

import pytest

from dwell.records import Estimate, GateDecision, Signal
from dwell.server.dashboard.ledger import standing_of
from dwell.server.lesson import Own, Rules, Waiting, told, version_before, what_one_did, what_was_learned
from dwell.storage import EventState

RULES = Rules(window_s=20.0, min_events=200, min_users=20)
AT = 1_700_000_000.0


def event(seq: int, served_at: float, *, state: str = "open") -> EventState:
    closed_at = None if state == "open" else served_at + RULES.window_s
    return EventState(seq, f"e-{seq}", state, 0, served_at, closed_at, "p", ("a", "b"))  # type: ignore[arg-type]


def signal(seq: int, name: str, at: float) -> Signal:
    return Signal(event_id=f"e-{seq}", name=name, doc="a", value=1.0, at=at, received_at=at)


def decision(
    verdict: str, kind: str, version: int, *, safe: int = 0, n: int = 0, users: float | None = None, at: float = AT
) -> GateDecision:
    diagnostics = {} if users is None else {"n_effective_users": users}
    return GateDecision(
        verdict, [f"code: words of {version}"], Estimate(0.0, -1.0, 1.0, n, float(n)), {}, diagnostics,  # type: ignore[arg-type]
        proposed_version=version, safe_version=safe, kind=kind, decided_at=at,  # type: ignore[arg-type]
    )  # fmt: skip


START = [decision("promote", "initial", 0)]


def test_what_counts_and_what_is_still_open_are_counted_from_the_facts() -> None:
    events = [event(1, AT, state="reopened"), event(2, AT + 30.0), event(3, AT + 45.0)]
    signals = {
        1: [signal(1, "click", AT + 1.0), signal(1, "thumbs", AT + 25.0)],  # the second after 20 s: late
        2: [signal(2, "view", AT + 31.0), signal(2, "click", AT + 32.0)],
    }
    # at +55: the first is over, the second ended at +50, the third ends at +65
    found = what_one_did(events, signals, window_s=RULES.window_s, now=AT + 55.0)
    assert found == Own(n_lists=3, n_open=1, over_in_s=10.0, n_clicks=2, n_ratings=1, n_late=1)
    assert what_one_did([], {}, window_s=20.0, now=AT) == Own()


@pytest.mark.parametrize(
    ("own", "says"),
    [
        (None, "Say who you are"),
        (Own(), "Search, and open"),
        (Own(n_lists=2, n_open=0), "no click and no rating"),
        (Own(n_lists=2, n_open=2, over_in_s=9.0, n_clicks=1), "window of 20 s"),
        (Own(n_lists=2, n_open=1, over_in_s=9.0, n_clicks=1), "Learn now"),
    ],
)
def test_what_comes_next_is_the_first_thing_that_is_missing(own: Own | None, says: str) -> None:
    lesson = told(own, standing_of(0, START), None, START, RULES)
    assert len(lesson.why) == 1
    assert says in lesson.why[0]
    assert (lesson.waiting, lesson.back_to, lesson.verdict) == (None, None, "")
    assert "before anything was learned" in lesson.now


def test_why_a_proposal_changes_nothing_is_said_with_the_figures_of_its_verdict() -> None:
    judged = decision("hold", "judged", 1, n=17, users=1.0)
    history = [*START, judged]
    lesson = told(Own(n_lists=30, n_clicks=30), standing_of(0, history), Waiting(1, 1, judged), history, RULES)
    said = " ".join(lesson.why)
    assert (
        "Version 1 was learned from the lists of 1 visitor and is not live: the order is still that of version 0"
        in said
    )
    assert "200 lists" in said
    assert "20 effective visitors" in said
    assert "so far it has 17 and 1 effective" in said
    assert "one visitor is one visitor" in said
    assert "at most 3 average" in said
    assert (lesson.verdict, lesson.reasons, lesson.waiting) == ("hold", ("code: words of 1",), 1)
    many = told(Own(), standing_of(0, history), Waiting(1, 30, judged), history, RULES)
    assert "from the lists of 30 visitors" in many.why[0]
    assert len(many.why) == 2
    unjudged = told(Own(), standing_of(0, START), Waiting(1, None, None), START, RULES)
    assert "so far it has 0 and no visitor" in unjudged.why[1]
    assert unjudged.verdict == ""


def test_by_whose_word_the_live_order_came_and_what_was_before() -> None:
    forced = [*START, decision("promote", "forced", 1)]
    by_hand = told(Own(), standing_of(1, forced), None, forced, RULES)
    assert "Version 1 orders the lists: promoted by hand" in by_hand.now
    assert by_hand.back_to == 0
    proved = [*START, decision("promote", "judged", 1)]
    assert "the gate promoted it. Words of 1." in told(Own(), standing_of(1, proved), None, proved, RULES).now
    undone = [*forced, decision("promote", "rollback", 0, safe=1)]
    back = told(Own(), standing_of(0, undone), None, undone, RULES)
    assert "again" in back.now
    assert back.back_to == 1
    assert version_before(0, START) is None


def test_a_rejection_is_told_until_other_params_are_live() -> None:
    rejected = [*START, decision("reject", "judged", 1, at=AT + 1.0)]
    assert told(Own(), standing_of(0, rejected), None, rejected, RULES).verdict == "reject"
    moved = [*rejected, decision("promote", "forced", 2, at=AT + 2.0)]
    assert told(Own(), standing_of(2, moved), None, moved, RULES).verdict == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n_steps": 4}, "1 list closed. Version 3 was learned from 7 lists."),
        ({"ended_by": "standing"}, "version 3, which stands"),
        ({"decision": {"verdict": "promote", "reasons": ["better: by much."]}}, "Version 0 went live: by much."),
        ({}, "1 list closed. Nothing was learned: no closed list."),
    ],
)
def test_the_learners_answer_is_a_sentence(change: dict[str, object], says: str) -> None:
    report = {
        "decision": {"verdict": "hold", "reasons": ["too_few_events: no closed list"]}, "n_steps": 0, "n_closed": 1,
        "n_learned_from": 7, "ended_by": "no_events", "proposed": {"version": 3}, "live": {"version": 0},
    }  # fmt: skip
    assert says in what_was_learned({**report, **change})
