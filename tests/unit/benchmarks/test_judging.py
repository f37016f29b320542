"""The benchmark of the gate: its fields say what they promise, and its shortcuts say what the gate says."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

import _abuse
import abuse
import judging
from dwell.evaluation import Evidence, GateSettings, decide, differences
from dwell.evaluation.betting import log_wealth
from dwell.evaluation.gate import Z_END
from dwell.evaluation.judging import Contribution, EventPolicy, judge_event
from study.judging_bets import BETTORS, estimated_mean_wealth
from study.judging_logs import (
    TEMPERATURE,
    THETA,
    USERS,
    apparent_gain,
    gain_of,
    log_of,
    rewards_of,
    symmetric_field,
    synthetic_field,
    with_gain,
)
from study.judging_loop import Before, before, exposed_anew, first_events, judged, predictor_of
from study.judging_propensities import corrupted
from study.judging_report import Count, exact_interval, table
from study.judging_runs import Task, differences_of, direction, outcome, perform
from study.judging_support import evaluate_bad


@pytest.fixture(scope="module")
def log() -> tuple[Evidence, np.ndarray]:
    """Return 300 events that judge the best ranker of a small field, and clicks on them."""
    rng = np.random.default_rng(0)
    field = synthetic_field(rng, n_questions=12)
    served = log_of(field, 300, rng, name="test")
    rewards = rewards_of(served, USERS["position-based"], rng)
    known = Before(predictor_of(field, served, rewards), THETA)
    return judged(field, served, field.relevance, known), rewards


def test_swapped_weights_are_worth_the_same_though_lists_differ() -> None:
    field, swapped = symmetric_field(np.random.default_rng(1), n_questions=40)
    assert (
        np.mean([np.argsort(a).tolist() == np.argsort(b).tolist() for a, b in zip(field.live, swapped, strict=True)])
        < 0.2
    )
    # a question and its mirror: what the proposal makes of one, live makes of the other
    for i in range(0, 40, 2):
        np.testing.assert_allclose(swapped[i], field.live[i + 1])
        np.testing.assert_allclose(field.relevance[i], field.relevance[i + 1])
    for user in USERS.values():
        # the noise of a question differs from its mirror's: 40 questions of 400 draws leave less than 1 %
        assert abs(gain_of(field, swapped, user)[1]) < 0.01


def test_the_live_policy_gains_nothing_over_itself() -> None:
    field = synthetic_field(np.random.default_rng(2), n_questions=5)
    assert gain_of(field, field.live, USERS["cascade"]) == (0.0, 0.0)
    assert apparent_gain(field, field.live, USERS["cascade"]) == 0.0


def test_position_based_estimates_are_right_about_position_based_users_alone() -> None:
    field = synthetic_field(np.random.default_rng(3), n_questions=20)
    better = with_gain(field, field.relevance, USERS["position-based"], 0.01)
    assert better is not None
    truth = gain_of(field, better, USERS["position-based"])
    assert truth[1] == pytest.approx(0.01, abs=1e-3)
    assert apparent_gain(field, better, USERS["position-based"]) == pytest.approx(truth[0], rel=0.2)
    assert apparent_gain(field, better, USERS["cascade"]) > 3.0 * abs(gain_of(field, better, USERS["cascade"])[0])


def test_a_gain_that_no_step_reaches_is_none() -> None:
    field = synthetic_field(np.random.default_rng(4), n_questions=5)
    worst = tuple(-r for r in field.relevance)
    assert with_gain(field, worst, USERS["position-based"], 0.01) is None


def test_clicks_that_ignore_relevance_fall_with_the_position_alone() -> None:
    rng = np.random.default_rng(5)
    log = log_of(synthetic_field(rng, n_questions=10), 400, rng, name="flat")
    clicks = np.concatenate([rewards_of(log, USERS["position-based"], rng, flat=0.3) for _ in range(20)])
    # (.1 + .9 * .3) / k; 8,000 lists: four standard errors are at most .022
    np.testing.assert_allclose(clicks.mean(axis=0), 0.37 * THETA, atol=0.022)


def test_differences_in_one_go_are_those_of_the_package(log: tuple[Evidence, np.ndarray]) -> None:
    events, rewards = log[0].events, log[1]
    np.testing.assert_allclose(differences_of(events, rewards), differences(events, list(rewards)), rtol=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("kind", ["anytime", "block"])
@pytest.mark.parametrize("shift", [-1.5, -0.1, 0.0])
def test_looks_that_are_skipped_would_have_said_hold(
    log: tuple[Evidence, np.ndarray], kind: str, sign: float, shift: float
) -> None:
    evidence, rewards = log
    events = [e._replace(direct=sign * (e.direct + 0.5), slope=sign * e.slope) for e in evidence.events]
    # a gain that 300 events show; one end of examination says the same, the other less
    events = [
        e._replace(ends=tuple(Contribution(e.direct + by, e.slope, e.expected) for by in (0.0, shift))) for e in events
    ]
    turned = dataclasses.replace(evidence, events=events)
    settings = GateSettings(
        kind=kind,
        block_events=100,
        futility_events=100,
        min_events=60,
        max_judged_events=250,  # type: ignore[arg-type]
    )
    expected = ("hold", 300)
    for n in range(50, 301, 50):
        verdict = decide(
            first_events(turned, rewards, n), settings, proposed_version=2, safe_version=1, now=0.0
        ).verdict
        if verdict != "hold":
            expected = (verdict, n)
            break
    assert outcome(turned, rewards, settings) == expected
    assert (expected[0] == "promote") == (sign > 0.0 and shift > -1.5)


@pytest.mark.parametrize("z", [0.8, 1.2, 1.8])
def test_no_look_is_skipped_that_an_end_just_lets_through(log: tuple[Evidence, np.ndarray], z: float) -> None:
    evidence, rewards = log
    # a clear gain, and an end that is z standard errors above 0 at the one look that there is
    x = differences(evidence.events, list(rewards))
    up, just = 0.5 - x.mean(), z * x.std(ddof=1) / math.sqrt(x.size) - x.mean()
    events = [
        e._replace(
            direct=e.direct + up,
            ends=tuple(Contribution(e.direct + by, e.slope, e.expected) for by in (up, just)),
        )
        for e in evidence.events
    ]
    said = dataclasses.replace(evidence, events=events)
    shown = first_events(said, rewards, x.size)
    verdict = decide(shown, GateSettings(), proposed_version=2, safe_version=1, now=0.0).verdict
    assert outcome(said, rewards, GateSettings(), every=x.size) == (verdict, x.size)
    assert verdict == ("promote" if z > Z_END else "hold")


def test_an_event_says_what_the_package_makes_of_its_policies() -> None:
    rng = np.random.default_rng(8)
    field = synthetic_field(rng, n_questions=3)
    served = log_of(field, 4, rng, name="same")
    known = before(field, served, rewards_of(served, USERS["cascade"], rng))
    found = judged(field, served, field.relevance, known, temperature=0.2)
    for event, row, question, order in zip(found.events, served.rows, served.question, served.order, strict=True):
        expected = judge_event(
            row,
            EventPolicy(field.relevance[question][order], 0.2),
            EventPolicy(field.live[question][order], TEMPERATURE),
            known.predictor.predict(field.features[question])[order],
            THETA,
            max_importance_weight=GateSettings().max_importance_weight,
            ends=known.band[:2],
        )
        assert event.direct == pytest.approx(expected.direct)
        np.testing.assert_allclose(event.slope, expected.slope)
        for end, expected_end in zip(event.ends, expected.ends, strict=True):
            np.testing.assert_allclose(end.slope, expected_end.slope)


def test_examination_is_taken_from_the_log_and_the_exposure_with_it() -> None:
    rng = np.random.default_rng(9)
    field = synthetic_field(rng, n_questions=20)
    served = log_of(field, 1_500, rng, name="measured")
    # all documents attract with .1 + .9 * .5: of cascade users .45^(k - 1) reach position k
    clicks = rewards_of(served, USERS["cascade"], rng, flat=0.5)
    looked, band = before(field, served, clicks).theta, before(field, served, clicks).band
    np.testing.assert_allclose(looked[:4], 0.45 ** np.arange(4), atol=0.12)
    assert (band.low <= looked).all()
    assert (looked <= band.high).all()
    seen = exposed_anew(field, served, looked)
    assert [row.exposure.sum() for row in seen.rows[:5]] == pytest.approx([looked.sum()] * 5)
    assert exposed_anew(field, served, THETA) is served
    control = before(field, served, clicks, "assumed")
    assert (control.band, control.theta is THETA) == (None, True)


def test_a_null_is_run_as_often_as_asked_and_a_hundred_events_promote_nothing() -> None:
    found = perform(Task("flat", "position-based", "synthetic", 0, 3, 100))
    assert len(found) == 3
    assert all(one.verdict != "promote" for one in found)


def test_a_missing_set_leaves_no_runs(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DWELL_SHARED", str(tmp_path))
    assert perform(Task("flat", "dbn", "lightgbm_rank", 7, 1, 50)) == []


def test_a_direction_of_half_of_the_questions_is_better_than_live() -> None:
    rng = np.random.default_rng(6)
    field = synthetic_field(rng, n_questions=40)
    assert gain_of(field, direction(field, rng), USERS["position-based"], n_draws=50)[1] > 0.0


def test_bets_on_the_estimated_mean_are_those_of_the_paper() -> None:
    x = np.random.default_rng(7).normal(0.2, 0.3, 30)
    wealth = 0.0
    for i, value in enumerate(x):
        n = i + 1.0
        average = x[:i].sum() / n
        variance = (np.square(x[:i]).sum() + 0.25) / n - average**2
        bet = min(max(average / (variance + average**2), 0.0), 0.3)
        wealth += math.log1p(bet * value)
    assert estimated_mean_wealth(x, 0.0, floor=-3.0)[-1] == pytest.approx(wealth)
    np.testing.assert_array_equal(BETTORS["mixture, bound 3"](x), log_wealth(x, 0.0, floor=-3.0))


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (20, 400)])
def test_the_interval_is_that_of_the_binomial_test(hits: int, n: int) -> None:
    found = stats.binomtest(hits, n).proportion_ci(method="exact")
    assert exact_interval(hits, n) == pytest.approx((found.low, found.high), abs=1e-9)


def test_a_bar_is_met_by_the_share() -> None:
    assert Count("a", 20, 400, at_most=0.05).verdict == "met"
    assert Count("a", 21, 400, at_most=0.05).verdict == "**not met**"
    assert Count("a", 89, 100, at_least=0.9).verdict == "**not met**"
    assert Count("a", 0, 0, at_most=0.05).verdict == "not judged"
    assert Count("a", 1, 40, at_most=0.0).bar == "none"
    assert "not judged" in table([Count("a", 400, 400, at_most=0.05)], is_judged=False)[-1]


def test_bad_proposals_are_bad_and_not_promoted() -> None:
    found = evaluate_bad(60, 4)
    assert [one.what for one in found] == ["random direction", "never shown"] * 2
    assert all(one.truth < 0.0 for one in found)
    assert all(one.verdict != "promote" for one in found)


@pytest.mark.parametrize("wrong", [["--only", "nulls"], ["--nulls", "none"], ["--runs", "1"], ["--workers", "0"]])
def test_what_can_not_be_run_is_wrong_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        judging.arguments(wrong)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_full_run_is_what_the_bars_are_about() -> None:
    assert judging.arguments([]).runs == 400
    assert (abuse.arguments([]).seeds, abuse.arguments([]).only) == (100, list(range(len(_abuse.ATTACKS))))


def test_an_attacker_sells_what_clean_users_do_not_want() -> None:
    start = _abuse.utilities(lambda x: x @ _abuse.LIVE)
    sold = _abuse.utilities(lambda x: x @ (_abuse.LIVE + 0.5 * np.eye(_abuse.N_FEATURES)[_abuse.SPAM]))
    change = sold - start
    assert change.mean() < -4.0 * change.std(ddof=1) / len(change) ** 0.5


def test_a_hostile_account_clicks_on_what_it_sells_wherever_it_stands() -> None:
    x = np.zeros((5, _abuse.N_FEATURES))
    x[:, _abuse.SPAM] = [-1.0, 2.0, 0.5, 3.0, -2.0]
    hostile = _abuse.Attack("a", 0.5, 1, "hostile")
    clicked = _abuse.clicks_of(hostile, True, x, np.random.default_rng(0))
    assert sorted(clicked.tolist()) == [1, 3]
    x[:, _abuse.SPAM] = -1.0
    assert _abuse.clicks_of(hostile, True, x, np.random.default_rng(0)).size == 0


def test_what_is_worse_is_said_of_promotions_and_of_what_is_lost() -> None:
    worse, better = _abuse.Promoted(1_000, -0.01, 0.001), _abuse.Promoted(1_000, 0.01, 0.001)
    harmless = _abuse.Attack("a", 0.5, 1, "hostile")
    assert abuse.verdict_of(harmless, [_abuse.Run("a", 0, (better,), 0.01)], is_judged=True) == "met"
    assert abuse.verdict_of(harmless, [_abuse.Run("a", 0, (worse,), 0.0)], is_judged=True) == "**not met**"
    unmoved = harmless._replace(bar="unmoved")
    assert abuse.verdict_of(unmoved, [_abuse.Run("a", 0, (), -0.02)], is_judged=True) == "**not met**"


def test_a_temperature_that_is_wrong_is_noticed_and_a_sound_log_is_not() -> None:
    found = {count.what.split(",")[0]: count for count in corrupted(2, 300)}
    assert found.pop("sound").hits == 0
    assert len(found) == 4
    # each is far beyond three standard errors at 300 events
    assert all(count.hits == 2 for count in found.values())
