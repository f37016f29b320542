"""The edges of the other checks: from where on something is named."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dwell.health.doctor.arriving import clocks, parked, put_aside, rewards
from dwell.health.doctor.diagnosis import Checked
from dwell.health.doctor.evidence import RingSeen, SeenEvent
from dwell.health.doctor.exploring import equal_chances, exploration, features_logged
from dwell.health.doctor.learning import closing, influence, overlap, proposals
from dwell.health.doctor.upkeep import ring
from dwell.records import Estimate, GateDecision, Params

from .evidences import START, click, event, evidence


def codes(found: Checked) -> list[str]:
    return [one.code for one in found.findings]


@pytest.mark.parametrize(("n", "due"), [(49, []), (50, ["rewards_missing"])])
def test_fifty_closed_lists_are_enough(n: int, due: list[str]) -> None:
    found = rewards(evidence([event(i) for i in range(n)]))
    assert (codes(found), found.looked.is_judged) == (due, bool(due))


def test_one_reaction_that_counts_is_a_reward() -> None:
    events = [event(i) for i in range(60)]
    assert codes(rewards(evidence([*events, event(60, reward=0.3, signals=(click(60, at=START + 70.0),))]))) == []
    weightless = event(60, signals=(click(60, at=START + 70.0, name="view"),))
    found = rewards(evidence([*events, weightless]))
    assert codes(found) == ["rewards_all_default"]
    assert "'view'" in found.findings[0].message


def test_praise_and_blame_that_cancel_out_are_feedback() -> None:
    mixed = event(60, signals=(click(60, at=START + 70.0),))._replace(
        document_rewards=np.array([0.5, -0.5, 0.0], np.float32)
    )
    assert codes(rewards(evidence([*(event(i) for i in range(60)), mixed]))) == []


@pytest.mark.parametrize(
    ("orphans", "signals", "due"), [(19, 0, []), (20, 0, ["orphans"]), (20, 180, []), (21, 179, ["orphans"])]
)
def test_a_tenth_of_the_reactions_waits(orphans: int, signals: int, due: list[str]) -> None:
    assert codes(parked(evidence([], counts={"orphans": orphans, "signals": signals}))) == due


@pytest.mark.parametrize(
    ("aside", "served", "due"),
    [(9, 0, []), (10, 990, ["quarantined"]), (10, 991, []), (60, 40, ["quarantined"])],
)
def test_one_call_in_a_hundred_is_put_aside(aside: int, served: int, due: list[str]) -> None:
    found = put_aside(evidence([], counts={"quarantined": aside, "closed": served}))
    assert codes(found) == due
    if due:
        assert found.findings[0].severity == ("critical" if aside > served else "warning")


@pytest.mark.parametrize(("early", "due"), [(9, []), (10, ["clock_skew"])])
def test_a_reaction_at_the_very_instant_of_its_list_was_dated_before_it(early: int, due: list[str]) -> None:
    events = [
        event(i, signals=(click(i, at=START + i, received_at=START + i + (2.0 if i < early else 0.0)),))
        for i in range(100)
    ]
    assert codes(clocks(evidence(events), {})) == due


@pytest.mark.parametrize(("ahead_s", "due"), [(300.0, []), (301.0, ["clock_skew"])])
def test_lists_of_the_future(ahead_s: float, due: list[str]) -> None:
    events = [event(i, at=START + ahead_s) for i in range(10)]
    assert codes(clocks(evidence(events, now=START), {})) == due


@pytest.mark.parametrize(
    ("late_s", "n", "due"),
    [(4_199.0, 60, []), (4_201.0, 60, ["learner_idle"]), (4_201.0, 49, []), (1e6, 50, ["learner_idle"])],
)
def test_windows_that_are_an_hour_over(late_s: float, n: int, due: list[str]) -> None:
    """The window is ten minutes: 600 s and an hour after it was served a list is overdue, by the newest one."""
    waiting = [event(i, at=START, state="open", reward=None) for i in range(n)]
    newest = event(n, at=START + late_s, state="open", reward=None)
    done = event(n + 1, at=START)
    assert codes(closing(evidence([*waiting, newest, done], now=START + 1e9))) == due


def test_what_was_never_closed_is_judged_by_now() -> None:
    waiting = [event(i, at=START, state="open", reward=None) for i in range(60)]
    assert codes(closing(evidence(waiting, now=START + 4_000.0))) == []
    assert codes(closing(evidence(waiting, now=START + 5_000.0))) == ["learner_idle"]


@pytest.mark.parametrize(("bare", "due"), [(9, []), (10, ["no_features"]), (100, ["no_features"])])
def test_lists_without_features(bare: int, due: list[str]) -> None:
    nothing: dict[str, Any] = {"features": np.zeros((0, 0), np.float32)}
    events = [event(i, **(nothing if i < bare else {})) for i in range(100)]
    found = features_logged(evidence(events))
    assert codes(found) == due
    if due:
        assert found.findings[0].severity == ("critical" if bare == 100 else "warning")


def served_as(n: int, **how: Any) -> list[SeenEvent]:
    return [event(i, is_deterministic=True, temperature=0.0, **how) for i in range(n)]


@pytest.mark.parametrize(
    ("how", "due"),
    [
        ({"policy": "params"}, ["no_exploration"]),
        ({"policy": "caller"}, ["no_exploration"]),
        ({"policy": "caller", "mode": "shadow"}, []),  # as asked for
        ({"policy": "caller", "mode": "log-only"}, []),
        ({"policy": "external"}, ["no_propensities"]),
        ({"policy": "params", "arm": "interleave"}, []),
    ],
)
def test_who_ordered_and_whether_anything_was_drawn(how: dict[str, Any], due: list[str]) -> None:
    assert codes(exploration(evidence(served_as(60, **how)))) == due


def test_some_drawn_lists_are_exploration() -> None:
    assert codes(exploration(evidence([*served_as(98), event(98), event(99)]))) == []


@pytest.mark.parametrize(("off", "due"), [(1.019, ["scores_equal"]), (1.021, [])])
def test_equal_chances(off: float, due: list[str]) -> None:
    uniform = 1.0 / np.array([6.0, 5.0, 4.0])
    events = [event(i, propensities=uniform * np.array([1.0, off, 1.0])) for i in range(60)]
    assert codes(equal_chances(evidence(events))) == due


def test_a_list_of_one_tells_nothing_of_chances() -> None:
    alone = [event(i, n_candidates=1, propensities=np.ones(1), served=("d",)) for i in range(60)]
    assert not equal_chances(evidence(alone)).looked.is_judged


def decided(verdict: str, n: int, *, share: float = 1.0, version: int = 2, **more: float) -> GateDecision:
    found = Estimate(0.0, -1.0, 1.0, n, share * n)
    return GateDecision(verdict, [f"{verdict}: said so"], found, proposed_version=version, diagnostics=more)  # type: ignore[arg-type]


REWARDED = [event(i, reward=0.5) for i in range(20)]


@pytest.mark.parametrize(
    ("n_closed", "how", "due"),
    [
        (199, {}, []),
        (200, {}, ["nothing_learned"]),
        (200, {"n_learned": 1, "decisions": (decided("hold", 100),)}, []),
        (200, {"n_learned": 3, "decisions": (decided("reject", 100),) * 2}, []),
        (200, {"n_learned": 3, "decisions": (decided("reject", 100),) * 3}, ["never_moved"]),
        (200, {"n_learned": 3, "decisions": (decided("reject", 100),) * 3, "mode": "shadow"}, []),
        (200, {"n_learned": 4, "decisions": (*(decided("reject", 9),) * 3, decided("promote", 9))}, []),
        (200, {"n_learned": 1, "decisions": (decided("hold", 19_999),)}, []),
        (200, {"n_learned": 1, "decisions": (decided("hold", 20_000),)}, ["never_moved"]),
    ],
)
def test_proposals(n_closed: int, how: dict[str, Any], due: list[str]) -> None:
    assert codes(proposals(evidence(REWARDED, counts={"closed": n_closed}, **how))) == due


def test_a_learned_version_that_orders_alike_has_no_influence() -> None:
    learned = Params(version=2, weights={"a": 2.0, "b": 1e-9}, origin="learned")
    start = Params(version=0, weights={"a": 1.0, "b": 0.0})
    rng = np.random.default_rng(0)
    events = [event(i, features=rng.normal(size=(6, 2)).astype(np.float32)) for i in range(60)]
    found = influence(evidence(events, live=learned, start=start))
    assert codes(found) == ["no_influence"]
    assert found.findings[0].figures["kendall_tau"] == 1.0
    other = replace(learned, weights={"a": 0.0, "b": 1.0})
    assert codes(influence(evidence(events, live=other, start=start))) == []
    assert not influence(evidence(events, live=replace(learned, origin="given"), start=start)).looked.is_judged
    # nothing was learned before the caller's order: it is compared with that
    by_caller = [event(i, features=-np.arange(12.0).reshape(6, 2).astype(np.float32)) for i in range(60)]
    turned = [
        one._replace(impression=replace(one.impression, document_scores=np.arange(6)[::-1].copy())) for one in by_caller
    ]
    same = [one._replace(impression=replace(one.impression, document_scores=np.arange(6))) for one in by_caller]
    assert codes(influence(evidence(same, live=learned))) == ["no_influence"]
    assert codes(influence(evidence(turned, live=learned))) == []


@pytest.mark.parametrize(
    ("decision", "due"),
    [
        (decided("hold", 199, share=0.01), []),
        (decided("hold", 200, share=0.19), ["ess_low"]),
        (decided("hold", 200, share=0.2), []),
        (decided("hold", 200, share=0.9, exposure_ess=0.1), ["ess_low"]),
    ],
)
def test_lists_that_are_worth_little(decision: GateDecision, due: list[str]) -> None:
    assert codes(overlap(evidence([], decisions=(decision,)))) == due


@pytest.mark.parametrize(
    ("state", "is_named"), [("none", False), ("in_use", False), ("in_step", False), ("stale", True), ("damaged", True)]
)
def test_the_side_file(state: Any, *, is_named: bool) -> None:
    assert codes(ring(evidence([], ring=RingSeen(state, "seen so")))) == ["ring_stale"] * is_named
