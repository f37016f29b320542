from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dwell.learning.predictor import Predictor
from dwell.learning.space import space_for
from dwell.loop.judge import (
    Bench,
    Judgement,
    caller_policy,
    evidence_of,
    log_findings,
    policy_on,
    safe_policy,
    scores_on,
    within_quota,
)
from dwell.ranking import draw_ranking
from dwell.records import Adjustment, LowRank, Params
from dwell.records.rows import EventRow

THETA = np.array([1.0, 0.5])
LIVE = Params(version=0, weights={"x": 1.0}, temperature=0.5)
OTHER = Params(version=1, weights={"x": -1.0}, temperature=0.5)


def event(seq: int, version: int = 0, **changed: object) -> EventRow:
    rng = np.random.default_rng(seq)
    fields: dict[str, Any] = {
        "seq": seq,
        "event_id": f"e{seq}",
        "query_hash": seq,
        "user_hash": seq % 3,
        "served_at": float(seq),
        "features": rng.normal(size=(4, 1)).astype(np.float32),
        "inclusion": np.ones(4),
        "exposure": np.full(4, 1.5 / 4),
        "n_kept": 2,
        "n_shown": 2,
        "rewards": rng.random(2),
        "propensities": np.array([0.25, 1 / 3]),
        "caller_rank": np.array([2.0, 0.0, 1.0, 3.0]),
        "params_version": version,
        "temperature": 0.5,
        "is_held_out": False,
        "is_deterministic": False,
        "is_caller_ordered": False,
        "version": 1,
    }
    return EventRow(**{**fields, **changed})


def judgement(proposed: Params = OTHER) -> Judgement:
    space = space_for(LIVE, np.linspace(-2.0, 2.0, 50)[:, None])
    nothing = Predictor(np.zeros(space.size + 1))
    return Judgement(Bench(proposed, LIVE, "live", space, (nothing, nothing), THETA, 2.0), {})


def test_policies() -> None:
    row = event(1)
    assert caller_policy(row, 0.0).scores.tolist() == [-2.0, 0.0, -1.0, -3.0]
    np.testing.assert_allclose(policy_on(row, OTHER).scores, -row.features[:, 0].astype(np.float64))
    unweighted = Params(version=0, weights={"x": 0.0}, temperature=0.7, origin="caller-order")
    assert policy_on(row, unweighted).scores.tolist() == [-2.0, 0.0, -1.0, -3.0]
    # what users get without the proposal
    for mode, expected in (("live", LIVE), ("canary", LIVE)):
        np.testing.assert_array_equal(safe_policy(row, LIVE, mode).scores, policy_on(row, expected).scores)  # type: ignore[arg-type]
    for mode in ("log-only", "shadow"):
        found = safe_policy(row, LIVE, mode)  # type: ignore[arg-type]
        assert (found.scores.tolist(), found.temperature) == ([-2.0, 0.0, -1.0, -3.0], 0.0)


def look(at: Judgement, rows: list[EventRow]) -> Any:
    return evidence_of(at, rows, held_out=[], versions={0: LIVE, 1: OTHER}, attempt=1, most=1_000)


def test_an_event_counts_the_same_at_every_look() -> None:
    rows = [event(i, version=i % 2) for i in range(1, 30)]
    often, once = judgement(), judgement()
    for n in (1, 2, 5, 11, 29):
        at_last = look(often, rows[:n])
    at_once = look(once, rows)
    for left, right in zip(at_last.events, at_once.events, strict=True):
        assert left.slope.tobytes() == right.slope.tobytes()
        assert (left.direct, left.importance, left.unsupported) == (right.direct, right.importance, right.unsupported)


def test_events_of_several_versions_are_judged_with_averaged_exposure() -> None:
    rows = [event(i, version=i % 2) for i in range(1, 9)]
    # as logged, every document had the same exposure; opposite weights average to nearly that, each alone does not
    mixed = look(judgement(), rows).events
    alone = look(judgement(), [event(i) for i in range(1, 9)]).events
    assert mixed[0].slope.tobytes() == alone[0].slope.tobytes()  # the first event knows of one version only
    assert any(left.slope.tobytes() != right.slope.tobytes() for left, right in zip(mixed, alone, strict=True))
    unknown = evidence_of(judgement(), rows, held_out=[], versions={0: LIVE}, attempt=1, most=1_000).events
    assert [e.slope.tobytes() for e in unknown] == [e.slope.tobytes() for e in alone]


def test_a_late_reward_changes_the_evidence_and_not_the_event() -> None:
    at = judgement()
    before = look(at, [event(1)])
    after = look(at, [event(1, rewards=np.array([1.0, -1.0]), version=2)])
    assert before.events[0] is after.events[0]
    assert after.rewards[0].tolist() == [1.0, -1.0]


def test_who_and_what_stands_behind_it() -> None:
    found = look(judgement(), [event(i) for i in range(1, 8)])
    assert (found.n_users, found.is_caller_ordered_only) == (3, False)
    of_caller = look(judgement(), [event(i, is_caller_ordered=True, user_hash=None) for i in range(1, 8)])
    assert (of_caller.n_users, of_caller.n_effective_users, of_caller.is_caller_ordered_only) == (None, None, True)
    # one user with half of 12 events, six with one each: he counts 4.5, and all are worth 10.5^2 / (4.5^2 + 6) users
    skewed = look(judgement(), [event(i, user_hash=0 if i <= 6 else i) for i in range(1, 13)])
    assert (skewed.n_users, len(skewed.events)) == (7, 12)
    assert skewed.weights is not None
    # the level C solves C = 3 (6 + C) / 7
    assert skewed.weights.tolist() == pytest.approx([4.5 / 6.0] * 6 + [1.0] * 6)
    np.testing.assert_allclose(skewed.n_effective_users, 10.5**2 / (4.5**2 + 6), rtol=1e-12)


def test_rows_that_leave_take_no_evidence_with_them() -> None:
    rows = [event(i, version=i % 2) for i in range(1, 30)]
    sliding, once = judgement(), judgement()
    for start in range(0, 26, 4):
        found = look(sliding, rows[start : start + 5])  # never more than five rows in memory
    at_once = look(once, rows)
    assert [e.seq for e in found.events] == list(range(1, 30))
    for left, right in zip(found.events, at_once.events, strict=True):
        assert left.slope.tobytes() == right.slope.tobytes()
    assert [r.tolist() for r in found.rewards] == [row.rewards.tolist() for row in rows]
    assert (found.n_users, found.n_effective_users) == (at_once.n_users, at_once.n_effective_users)


def test_a_sequence_holds_no_more_than_asked_for() -> None:
    at, rows = judgement(), [event(i) for i in range(1, 10)]
    for n in (5, 9):
        found = evidence_of(at, rows[:n], held_out=[], versions={0: LIVE}, attempt=1, most=6)
        assert [e.seq for e in found.events] == list(range(1, min(n, 6) + 1))


def test_the_first_events_of_both_kinds_are_named() -> None:
    at = judgement()
    assert at.first_seqs() == []
    look(at, [event(i, is_held_out=i > 4) for i in range(2, 8)])
    assert at.first_seqs() == [2, 5]


def test_who_has_judged_enough_is_left_out_from_then_on_and_the_beginning_stays() -> None:
    users = [1, 2, 3] * 4 + [9] * 40 + [1, 2, 3] * 4 + [None] * 5
    kept = within_quota(list(range(len(users))), users)
    heavy = [i for i in kept if users[i] == 9]
    # three others with four events each: he may reach three times their mean
    assert heavy == list(range(12, 24))
    assert [i for i in kept if users[i] is None] == list(range(64, 69))
    for n in range(len(users)):
        assert within_quota(list(range(n)), users[:n]) == [i for i in kept if i < n]


def test_propensities_that_the_scores_do_not_give_are_found_and_sound_ones_are_not() -> None:
    rng = np.random.default_rng(3)
    sound, wrong = [], []
    for i in range(1, 200):
        features = rng.normal(size=(6, 1)).astype(np.float32)
        scores = LIVE.score(features).astype(np.float32).astype(np.float64)
        drawn = draw_ranking(scores, 0.3, 3, rng)
        order = np.concatenate([drawn.order, np.setdiff1d(np.arange(6), drawn.order)])
        common = {
            "features": features[order],
            "inclusion": np.ones(6),
            "exposure": np.full(6, 0.3),
            "caller_rank": order.astype(float),
            "n_kept": 3,
            "n_shown": 3,
            "rewards": np.zeros(3),
            "temperature": 0.3,
        }
        sound.append(event(i, **common, propensities=drawn.propensities))
        wrong.append(event(i, **common, propensities=np.minimum(drawn.propensities * 1.1, 1.0)))
    assert {f.severity for f in log_findings(sound, {0: LIVE})} == {"ok"}
    assert "fail" in {f.severity for f in log_findings(wrong, {0: LIVE})}
    # where candidates were only sampled, or the version is not known, the order of neighbours is asked instead
    sampled = [replace(row, inclusion=np.full(6, 0.5)) for row in sound]
    for rows, versions in ((sampled, {0: LIVE}), (sound, {})):
        assert [(f.code, f.severity) for f in log_findings(rows, versions)] == [("pair_order", "ok")]
    halved = [replace(row, inclusion=np.full(6, 0.5), propensities=row.propensities * 0.5) for row in sound]
    assert [(f.code, f.severity) for f in log_findings(halved, {0: LIVE})] == [("pair_order", "fail")]


def test_each_event_is_scored_by_its_own_segment_and_embedding() -> None:
    params = Params(
        version=2,
        weights={"x": 1.0},
        by_segment={"de": Adjustment({"x": -3.0}), "en": Adjustment({"x": 1.0})},
        by_query=LowRank(np.array([[0.5]]), np.array([[1.0], [0.0]])),
    )
    segments, e = ("de", None, "en", "nowhere"), np.float32([3.0, 4.0])
    rows = [event(i, segment=segments[i % 4], query_embedding=e if i % 3 else None) for i in range(1, 25)]
    slopes = {"de": -2.0, "en": 2.0}
    for row, scores in zip(rows, scores_on(rows, params), strict=True):
        slope = slopes.get(row.segment or "", 1.0) + (0.5 * 0.6 if row.query_embedding is not None else 0.0)
        np.testing.assert_allclose(scores, slope * row.features[:, 0].astype(np.float64), rtol=1e-12)
        np.testing.assert_array_equal(policy_on(row, params).scores, scores)
    # the judgement uses them for both sides
    at = judgement(replace(params, version=1))
    at.prepare(rows)
    for row, scores in zip(rows, scores_on(rows, params), strict=True):
        np.testing.assert_array_equal(at._scored[row.seq].proposed.scores, scores)
        np.testing.assert_array_equal(at._scored[row.seq].safe.scores, row.features[:, 0].astype(np.float64))
