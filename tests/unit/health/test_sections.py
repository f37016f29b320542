"""Each section's figures by hand, and what is said of them."""

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.health.test_report import NOW, codes, snapshot

from dwell.health import Check, HealthSnapshot, report_health
from dwell.health.batches import batches_seen
from dwell.health.buffer import effective_experiences
from dwell.health.features import list_means, varying_share
from dwell.health.learning import step_cosines, step_norms
from dwell.health.ranking import exploration_cost, kendall_taus
from dwell.health.snapshot import Drawing, ListsSeen, Scored, SignalsSeen
from dwell.health.thresholds import RULES, SECTIONS, judged, shown
from dwell.records import Estimate, GateDecision
from dwell.records.rows import EventRow

NOTHING = Estimate(0.0, -1.0, 1.0, 0, 0.0)
RNG = np.random.default_rng(5)


def check(given: HealthSnapshot, name: str) -> Check:
    found = report_health(given).check(name)
    assert found is not None
    return found


def lists(n: int = 60, *, d: int = 6, k: int = 4, f: int = 2, **changed: Any) -> ListsSeen:
    """Return n lists of d documents with f features, of which k are shown in another order than the caller's."""
    fields: dict[str, Any] = {
        "features": RNG.normal(size=(n, d, f)).astype(np.float32),
        "inclusion": np.ones((n, d)),
        "caller_rank": np.argsort(RNG.random((n, d)), axis=1),
        "n_documents": np.full(n, d),
        "n_kept": np.full(n, k),
        "is_caller_ordered": np.zeros(n, dtype=bool),
        "params_version": np.full(n, 3),
    }
    return ListsSeen(**{**fields, **changed})


# ---- the table


def test_every_rule_is_of_a_section_and_what_is_judged_says_why_and_what_to_do() -> None:
    for name, rule in RULES.items():
        assert rule.section in SECTIONS, name
        if rule.side != "shown":
            assert rule.reason, name
            assert rule.remedy or name == "examination_rises", name  # that one says what to do by what was found


def test_the_page_has_every_rule_and_its_limit() -> None:
    page = (Path(__file__).parents[3] / "docs" / "health.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(" `"): line for line in page.splitlines() if line.startswith("| `")}
    assert set(rows) == set(RULES)
    for name, rule in RULES.items():
        if rule.side != "shown" and rule.limit > 1e-9:
            assert f"at {rule.side} {shown(rule.limit, rule.unit)}" in rows[name], name
        assert rule.reason in rows[name], name


@pytest.mark.parametrize(
    ("name", "value", "severity"),
    [
        ("dominant_user", 0.5, "ok"),
        ("dominant_user", 0.51, "warning"),
        ("no_feedback", 0.0, "critical"),
        ("effective_experiences", 49.0, "warning"),
        ("effective_experiences", 50.0, "ok"),
        ("fill_ratio", 1.0, "ok"),
        ("dominant_user", None, "unknown"),
    ],
)
def test_a_figure_is_well_up_to_its_limit(name: str, value: float | None, severity: str) -> None:
    found = judged(name, value, "s")
    assert found.severity == severity
    assert bool(found.remedy) == (severity in {"warning", "critical"})
    assert judged(name, value, "s", is_chance=True).severity == ("unknown" if value is None else "ok")


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [(0.5, "ratio", "50 %"), (1_234.0, "count", "1,234"), (2.5, "count", "2.5"), (90.0, "s", "90 s"),
     (1_800.0, "s", "30 min"), (0.5, "hours", "30 min"), (50.0, "hours", "50 h"), (240.0, "hours", "10 days"),
     (2_500_000.0, "bytes", "2.5 MB"), (0.1, "", "0.1")],
)  # fmt: skip
def test_figures_in_words(value: float, unit: str, words: str) -> None:
    assert shown(value, unit) == words


# ---- buffer


@pytest.mark.parametrize(
    ("drawing", "due"),
    [
        (Drawing("uniform"), 4.0),
        # masses 1, 1, 2, 4 in proportion to the priorities: (8)^2 / (1 + 1 + 4 + 16)
        (Drawing("priority", alpha=1.0), 64.0 / 22.0),
        # ranks 1 to 4, inverse: (25/12)^2 / (205/144)
        (Drawing("rank", alpha=1.0), (25.0 / 12.0) ** 2 / (205.0 / 144.0)),
        # ages 0, 1, 2, 3 half-lives: (15/8)^2 / (85/64)
        (Drawing("recency", half_life_s=3_600.0), (15.0 / 8.0) ** 2 / (85.0 / 64.0)),
    ],
)
def test_how_many_events_draws_are_worth(drawing: Drawing, due: float) -> None:
    given = snapshot(5, drawing=drawing, priorities=np.array([1.0, 1.0, 2.0, 4.0, 99.0]))
    held_out = np.array([False] * 4 + [True])
    times = NOW - 3_600.0 * np.array([4.0, 3.0, 2.0, 1.0, 0.0])
    assert effective_experiences(replace(given, is_held_out=held_out, served_at=times)) == pytest.approx(due)


def test_a_few_priorities_that_make_up_all_draws_are_a_warning() -> None:
    priorities = np.where(np.arange(600) < 10, 1.0, 1e-9)
    given = snapshot(600, capacity=1_000, drawing=Drawing("priority", alpha=1.0), priorities=priorities)
    assert codes(report_health(given)) == ["effective_experiences"]
    assert codes(report_health(replace(given, drawing=Drawing("uniform")))) == []


def test_a_full_buffer_that_turns_over_within_the_hour_is_a_warning() -> None:
    # 400 events in 4,000 s of a capacity of 400: 21.6 buffers a day; in half of that time 43
    slow, fast = (snapshot(400, served_at=NOW - np.linspace(span_s, 0.0, 400)) for span_s in (4_000.0, 3_601.0))
    assert check(slow, "turnovers_per_day").value == pytest.approx(400 / 4_000.0 * 86_400.0 / 400)
    assert codes(report_health(slow)) == []
    crowded = replace(fast, capacity=350)
    assert codes(report_health(crowded)) == ["turnovers_per_day"]
    assert codes(report_health(replace(fast, capacity=4_000))) == []  # nothing leaves what is not full


# ---- feedback


def test_coverage_and_delays_by_hand() -> None:
    seen = SignalsSeen(n_lists=200, n_answered=50, delays_s=np.arange(101.0), window_s=80.0)
    report = report_health(snapshot(signals=seen))
    told = {name: report.check(name) for name in ("coverage_ratio", "default_reward_ratio", "join_delay_median_s")}
    assert {name: found and found.value for name, found in told.items()} == {
        "coverage_ratio": 0.25, "default_reward_ratio": 0.75, "join_delay_median_s": 50.0,
    }  # fmt: skip
    assert codes(report) == ["join_delay_p90_s"]  # 90 s of at most 80
    assert codes(report_health(snapshot(signals=replace(seen, window_s=90.0)))) == []


def test_signals_that_are_worth_nothing_are_told_apart_from_none() -> None:
    silent = report_health(snapshot(rewards=np.zeros(100))).alerts[0]
    seen = SignalsSeen(100, 70, np.ones(70), 80.0)
    worthless = report_health(snapshot(rewards=np.zeros(100), signals=seen)).alerts[0]
    assert (silent.code, worthless.code) == ("no_feedback", "no_feedback")
    assert "Loop.feedback" in silent.remedy
    assert "preset" in worthless.remedy


@pytest.mark.parametrize("outcome", ["late", "orphan", "duplicate", "rejected"])
def test_what_becomes_of_signals(outcome: str) -> None:
    counters = {"feedback_joined": 40, f"feedback_{outcome}": 60}
    assert codes(report_health(snapshot(counters=counters))) == [f"{outcome}_ratio"]
    few = {"feedback_joined": 9, f"feedback_{outcome}": 40}
    assert codes(report_health(snapshot(counters=few))) == []


def test_rewards_that_fall_are_a_warning_and_rewards_that_rise_are_none() -> None:
    falling = np.where(np.arange(2_000) < 1_800, np.arange(2_000) % 2, 0.0)
    report = report_health(snapshot(2_000, capacity=4_000, rewards=falling))
    assert codes(report) == ["reward_drift"]
    assert "earn 0 in the mean, those before 0.5" in report.alerts[0].message
    assert codes(report_health(snapshot(2_000, capacity=4_000, rewards=1.0 - falling))) == []
    assert codes(report_health(snapshot(998, capacity=4_000, rewards=falling[-998:]))) == []


# ---- batches


def row(seq: int, *, user: int | None, query: int, segment: str | None, served_at: float, version: int) -> EventRow:
    one = np.zeros(1)
    return EventRow(
        seq=seq, event_id=f"e{seq}", query_hash=query, user_hash=user, served_at=served_at,
        features=np.zeros((1, 1), dtype=np.float32), inclusion=one, exposure=one, n_kept=1, n_shown=1, rewards=one,
        propensities=one, caller_rank=one, params_version=version, temperature=0.3, is_held_out=False,
        is_deterministic=False, is_caller_ordered=False, version=1, segment=segment, segment_code=ord(segment or "?"),
    )  # fmt: skip


def test_what_batches_were_made_of() -> None:
    first = row(1, user=7, query=1, segment="a", served_at=100.0, version=0)
    second = row(2, user=None, query=2, segment="a", served_at=300.0, version=2)
    third = row(3, user=8, query=2, segment="b", served_at=200.0, version=1)
    objective = [*(0.1 for _ in range(2)), *(0.5 for _ in range(16)), *(0.9 for _ in range(2))]
    found = batches_seen(
        [[first, first, second, second], [first, third]],
        learned_at=400.0, live_version=3, objective=objective, step_norm=0.25,
    )  # fmt: skip
    assert found is not None
    assert (found.n_batches, found.n_drawn, found.n_distinct) == (2, 6, 3)
    assert found.duplicate_ratio == pytest.approx(0.25)  # a half of the first, none of the second
    assert found.effective_users == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))
    assert found.effective_queries == pytest.approx(2.0)  # three draws each
    assert (found.largest_segment, found.largest_segment_share) == ("a", pytest.approx(5 / 6))
    assert (found.mean_age_s, found.oldest_age_s) == (pytest.approx((3 * 300 + 2 * 100 + 200) / 6), 300.0)
    assert (found.oldest_version, found.live_version, found.step_norm) == (0, 3, 0.25)
    # the means of the first and of the last tenth of 20 steps
    assert (found.objective_first, found.objective_last) == (pytest.approx(0.1), pytest.approx(0.9))
    assert batches_seen([], learned_at=0.0, live_version=1) is None
    told = report_health(snapshot(1_000, capacity=4_000, batches=replace(found, duplicate_ratio=0.6)))
    assert codes(told) == ["batch_duplicates_ratio"]
    assert codes(report_health(snapshot(998, capacity=4_000, batches=replace(found, duplicate_ratio=0.6)))) == []
    behind = told.check("batch_versions_behind")
    assert behind is not None
    assert behind.value == 3


# ---- learning


def decision(verdict: Any, *, kind: Any = "judged", at: float = NOW) -> GateDecision:
    return GateDecision(verdict, [f"{verdict}: why"], NOTHING, kind=kind, decided_at=at)


def test_the_ledger_is_counted_without_what_the_gate_was_not_asked() -> None:
    ledger = [
        decision("promote", kind="initial"),
        decision("promote", at=NOW - 7_200.0),
        decision("hold"),
        decision("promote", kind="rollback"),
        decision("reject"),
    ]
    report = report_health(snapshot(decisions=ledger))
    names = ("n_promoted", "n_held", "n_rejected", "rejected_in_a_row", "hours_since_promotion")
    assert [c.value for name in names if (c := report.check(name))] == [1, 1, 1, 1, 2.0]
    assert codes(report_health(snapshot(decisions=[decision("reject")] * 9))) == []
    assert codes(report_health(snapshot(decisions=[decision("reject")] * 10))) == ["rejected_in_a_row"]


def test_steps_by_hand_and_params_that_go_to_and_fro() -> None:
    path = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0], [0.0, 0.0], [4.0, -3.0]])
    assert step_norms(path).tolist() == [5.0, 0.0, 5.0, 5.0]
    # there and back: -1; then at a right angle: 0; the step of length 0 has no direction
    assert step_cosines(path) == pytest.approx([-1.0, 0.0])
    swinging = np.array([[math.cos(a), math.sin(a)] for a in (0.0, 0.3, 0.0, 0.3, 0.0)])
    turning = np.array([[math.cos(a), math.sin(a)] for a in (0.0, 0.3, 0.5, 0.6, 0.65)])
    assert codes(report_health(snapshot(steps=swinging))) == ["step_cosine"]
    assert codes(report_health(snapshot(steps=turning))) == []
    assert check(snapshot(steps=turning), "step_shrink").value == pytest.approx(
        np.median([math.sin(0.05), math.sin(0.025)]) / np.median([math.sin(0.15), math.sin(0.1)])
    )
    assert check(snapshot(steps=swinging[:3]), "step_cosine").severity == "unknown"


# ---- ranking


def test_kendalls_tau_is_that_of_all_pairs_of_what_was_shown() -> None:
    given = lists(5, d=6, k=4)
    due = [
        sum(np.sign(row[j] - row[i]) for i, j in combinations(range(4), 2)) / 6.0 for row in given.caller_rank.tolist()
    ]
    assert kendall_taus(given) == pytest.approx(due)
    assert kendall_taus(lists(2, caller_rank=np.tile(np.arange(6), (2, 1)))).tolist() == [1.0, 1.0]
    assert kendall_taus(lists(2, caller_rank=np.tile(np.arange(6)[::-1], (2, 1)))).tolist() == [-1.0, -1.0]
    assert kendall_taus(lists(3, n_kept=np.array([1, 0, 4]))).size == 1
    assert kendall_taus(lists(3, is_caller_ordered=np.ones(3, dtype=bool))).size == 0


def test_params_that_order_as_the_caller_did_are_a_warning_once_something_was_promoted() -> None:
    same = lists(caller_rank=np.tile(np.arange(6), (60, 1)))
    assert codes(report_health(snapshot(newest=same))) == ["order_tau"]
    assert codes(report_health(snapshot(newest=same, n_promotions=0))) == []
    assert codes(report_health(snapshot(newest=lists()))) == []


def test_what_drawing_costs_by_hand() -> None:
    # sorted: 3, 2; drawn: 1, 3. Lost: (2 / log2(2) - 1 / log2(3)) / (1 + 1 / log2(3)), over a spread of 2
    weight = 1.0 / math.log2(3.0)
    found = exploration_cost([Scored(np.array([1.0, 2.0, 3.0]), np.array([0, 2]), 2.0)])
    assert found == pytest.approx([(2.0 - weight) / (1.0 + weight) / 2.0])
    assert exploration_cost([Scored(np.array([1.0, 2.0]), np.array([1, 0]), 1.0)]).tolist() == [0.0]
    assert exploration_cost([Scored(np.zeros(3), np.array([], dtype=np.int64), 0.0)]).size == 0
    worst = [Scored(np.arange(10.0), np.arange(5), float(np.arange(10.0).std()))] * 60
    assert codes(report_health(snapshot(drawn=worst))) == ["exploration_cost_sd"]


# ---- features


def test_the_mean_of_candidates_counts_who_was_hardly_kept_for_all_he_stands_for() -> None:
    features = np.array([[[1.0], [4.0], [9.0]]], dtype=np.float32)
    given = lists(1, features=features, inclusion=np.array([[1.0, 0.5, 0.1]]), n_documents=np.array([2]))
    # the third is no document; the second stands for two: (1 + 2 * 4) / 3
    assert list_means(given).tolist() == [[3.0]]


def test_a_feature_that_never_differs_within_a_list_is_named() -> None:
    given = lists()
    given.features[:, :, 1] = np.arange(60)[:, None]  # it differs between lists, which orders nothing
    assert varying_share(given).tolist() == [1.0, 0.0]
    named = {"newest": given, "feature_names": ("bm25", "site")}
    told = check(snapshot(**named), "constant_features")
    assert (told.value, told.severity) == (1, "ok")  # it orders nothing, and harms nothing
    assert told.sentence.endswith("lists: site")
    assert check(snapshot(**named, own_features=frozenset({"site"})), "constant_features").value == 0


def test_a_feature_that_came_otherwise_lately_is_named_with_how_much() -> None:
    before, lately = lists(400), lists(300)
    names = {"feature_names": ("bm25", "price")}
    assert codes(report_health(snapshot(newest=lately, reference=before, **names))) == []
    lately.features[:, :, 1] += 1.0
    told = report_health(snapshot(newest=lately, reference=before, **names))
    assert codes(told) == ["drifted_features"]
    assert "price (PSI" in told.alerts[0].message
    assert "bm25" not in told.alerts[0].message
    assert codes(report_health(snapshot(newest=lately, reference=lists(199), **names))) == []  # too few before


def test_values_that_did_not_exist_are_counted_and_do_not_spoil_the_rest() -> None:
    given = lists()
    given.features[:30, :, 1] = np.nan
    found = check(snapshot(newest=given, feature_names=("bm25", "new")), "missing_ratio")
    assert found.value == pytest.approx(0.25)
    assert codes(report_health(snapshot(newest=given, feature_names=("bm25", "new")))) == []


# ---- shares, distributions, timeline


def test_shares_are_the_largest_twenty_by_name() -> None:
    report = report_health(snapshot(100, query_hashes=(np.arange(100) % 30).astype(np.uint64)))
    assert [share.n for share in report.shares["query"]] == [4] * 10 + [3] * 10
    assert report.shares["query"][0].name == f"{0:016x}"
    assert report.shares["query"][0].share == 0.04
    assert [share.name for share in report.shares["segment"]] == ["a", "b"]  # of two that are alike the name decides


def test_distributions_and_timeline_count_every_event_once() -> None:
    report = report_health(snapshot(100, newest=lists(params_version=np.arange(60))))
    assert set(report.distributions) == {"age_hours", "reward", "priority", "params_version"}
    for name, found in report.distributions.items():
        assert len(found.edges) == len(found.counts) + 1
        assert sum(found.counts) == (60 if name == "params_version" else 100)
    timeline = report.timeline
    assert timeline is not None
    assert (sum(timeline.n_lists), len(timeline.n_lists), len(timeline.edges_s)) == (100, 60, 61)
    means = zip(timeline.n_lists, timeline.mean_reward, strict=True)
    assert sum(n * mean for n, mean in means if mean is not None) == pytest.approx(25.0)  # half of 100 lists earn .5
    assert report_health(snapshot(0)).timeline is None


def test_events_of_one_instant_are_one_bucket() -> None:
    timeline = report_health(snapshot(10, served_at=np.full(10, NOW))).timeline
    assert timeline is not None
    assert (timeline.n_lists, timeline.mean_reward) == ((10,), (0.25,))
