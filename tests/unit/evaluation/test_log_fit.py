"""What warns of a log that does not fit what judges it: sums done by hand, and a small world with a wrong exposure."""

from dataclasses import replace

import numpy as np
import pytest

from dwell.evaluation import EventPolicy, judge_event
from dwell.evaluation.diagnostics import Finding
from dwell.evaluation.judging import Contribution, JudgedEvent
from dwell.evaluation.log_fit import fit_findings
from dwell.learning.predictor import Predictor
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow
from dwell.testing.learner_world import LearnerWorld, closed_events, fitted_predictors

THETA = np.array([1.0, 0.5])


def judged(expected: list[float], own: Contribution | None = None) -> JudgedEvent:
    nothing = np.zeros(len(expected))
    return JudgedEvent(1, 0.0, nothing, np.array(expected), None, None, 1.0, 0.0, own=own)


def by_code(events: list[JudgedEvent], rewards: list[FloatArray]) -> dict[str, tuple[float, str]]:
    return {one.code: (one.value, one.severity) for one in fit_findings(events, rewards, THETA)}


def clicked(n: int, first: int, second: int) -> list[FloatArray]:
    """Return n lists of which so many were clicked first, and so many others second, at half a point a click."""
    rewards = [np.array([0.5, 0.0])] * first + [np.array([0.0, 0.5])] * second
    return rewards + [np.zeros(2)] * (n - first - second)


def test_clicks_are_compared_by_rank_once_the_totals_agree() -> None:
    # promised .2 and .1 of reward a list, seen are 90 clicks in 300 lists: expected 60 and 30, which are the shares
    events = [judged([0.2, 0.1])] * 300
    assert by_code(events, clicked(300, 60, 30))["click_fit"] == (pytest.approx(0.0, abs=1e-9), "ok")
    # 40 and 50 for the same: (50 - 30) / sqrt(300 * .1 * .9) standard errors, and 2/3 more than expected
    value, severity = by_code(events, clicked(300, 40, 50))["click_fit"]
    assert value == pytest.approx(20.0 / np.sqrt(300 * 0.1 * 0.9))
    assert severity == "warn"
    # beyond chance and too small to matter: 10 % of ten times as many
    value, severity = by_code([judged([0.2, 0.1])] * 8_000, clicked(8_000, 1_500, 900))["click_fit"]
    assert (abs(value) > 3.3, severity) == (True, "ok")


def test_praise_shared_out_and_few_clicks_say_nothing() -> None:
    shared = [np.array([0.4, 0.2])] * 300  # in proportion to examination: nobody clicked
    assert by_code([judged([0.2, 0.1])] * 300, shared) == {}
    assert by_code([judged([0.2, 0.1])] * 199, clicked(199, 10, 90)) == {}
    # fewer than ten clicks are expected second: the first rank alone fits by the totals
    assert by_code([judged([0.2, 0.001])] * 300, clicked(300, 60, 30)) == {}
    assert by_code([judged([0.2, 0.1])] * 300, clicked(300, 0, 0)) == {}
    assert by_code([judged([0.0, -0.1])] * 300, clicked(300, 60, 30)) == {}


def test_the_log_of_the_live_params_is_estimated_on_one_half_and_seen_on_the_other() -> None:
    def event(direct: float) -> JudgedEvent:
        return judged([0.0, 0.0], Contribution(direct, np.ones(2), np.zeros(2)))

    # half of the events pay 1 in both halves: estimate and mean agree as long as nothing is added
    rewards = [np.array([1.0, 0.0]) if i % 4 < 2 else np.zeros(2) for i in range(400)]
    assert by_code([event(0.0)] * 400, rewards)["split_half"] == (0.0, "ok")
    # 100 of 200 ones on either side: each variance is .25 * 200/199 over 200
    error = np.sqrt(2.0 * 0.25 / 199.0)
    for gap, severity in ((2.9 * error, "ok"), (3.1 * error, "warn")):
        found = by_code([event(gap)] * 400, rewards)["split_half"]
        assert found == (pytest.approx(gap / error), severity)
    assert "split_half" not in by_code([event(9.0)] * 199, rewards[:199])
    assert "split_half" not in by_code([judged([0.0, 0.0])] * 400, rewards)


def test_exposures_that_are_not_those_of_the_policy_are_seen_where_predictions_do_not_make_up_for_them() -> None:
    world = LearnerWorld(truth=np.array([0.6, -0.8]), theta=1.0 / np.arange(1.0, 6.0))
    live = np.array([0.6, 0.8])
    sound = closed_events(world, live, 1_000, np.random.default_rng(5))
    before = closed_events(world, live, 500, np.random.default_rng(6))
    # as if everything had the same chance to be looked at
    wrong = [replace(row, exposure=np.full(8, world.theta.sum() / 8.0)) for row in sound]
    right, nothing = fitted_predictors(before, world.theta)[0], Predictor(np.zeros(3))

    def split_half(rows: list[EventRow], predictor: Predictor) -> Finding:
        policies = [EventPolicy(row.features @ live, world.temperature) for row in rows]
        events = [
            judge_event(
                row,
                policy,
                policy,
                predictor.predict(row.features),
                world.theta,
                max_importance_weight=2.0,
                is_own=True,
            )
            for row, policy in zip(rows, policies, strict=True)
        ]
        found = {one.code: one for one in fit_findings(events, [row.rewards for row in rows], world.theta)}
        return found["split_half"]

    assert [split_half(sound, predictor).severity for predictor in (right, nothing)] == ["ok", "ok"]
    seen = split_half(wrong, nothing)
    assert (seen.severity, bool(seen.remedy)) == ("warn", True)
    assert split_half(wrong, right).severity == "ok"  # doubly robust


def test_nothing_is_told_of_a_policy_that_did_not_serve() -> None:
    world = LearnerWorld(truth=np.array([0.6, -0.8]), theta=THETA)
    row = closed_events(world, np.array([1.0, 0.0]), 1, np.random.default_rng(0))[0]
    policy = EventPolicy(row.features @ np.array([1.0, 0.0]), world.temperature)
    event = judge_event(row, policy, policy, np.zeros(8), THETA, max_importance_weight=2.0)
    assert event.own is None
