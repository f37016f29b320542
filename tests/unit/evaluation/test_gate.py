"""Each verdict and each reason, from evidence made by hand."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from dwell.errors import ConfigError
from dwell.evaluation import Evidence, GateSettings, JudgedEvent, decide, spent_alpha
from dwell.evaluation.diagnostics import Finding
from dwell.evaluation.interleaving import InterleavingVerdict
from dwell.evaluation.judging import Contribution
from dwell.evaluation.online import CanaryVerdict
from dwell.records import Estimate, GateDecision
from dwell.records.arrays import FloatArray

CODES = {
    "better",
    "not_yet",
    "worse",
    "no_gain",
    "undecided",
    "too_few_events",
    "too_few_users",
    "users_unknown",
    "unsupported",
    "disagreement",
    "held_out_users",
    "weak_support",
    "gate_off",
}


def judged(
    x: FloatArray, *, unsupported: float = 0.0, importance: float = 1.0, prefix: float | None = None
) -> JudgedEvent:
    """An event whose difference is x, whatever was rewarded."""
    weights = None if prefix is None else np.array([prefix])
    safe = None if prefix is None else np.ones(1)
    return JudgedEvent(1, float(x), np.zeros(1), np.zeros(1), weights, safe, importance, unsupported)


def evidence(
    xs: npt.ArrayLike,
    *,
    users: int | None = 100,
    caller: bool = False,
    held_out: Sequence[float] | FloatArray = (),
    attempt: int = 1,
    rewards: FloatArray | None = None,
    **event: float,
) -> Evidence:
    return Evidence(
        events=[judged(x, **event) for x in xs],
        rewards=[np.zeros(1) for _ in xs] if rewards is None else [np.array([c]) for c in rewards],
        n_users=users,
        is_caller_ordered_only=caller,
        held_out=np.array(held_out, dtype=np.float64),
        attempt=attempt,
    )


def decided(given: Evidence, **settings: object) -> GateDecision:
    found = decide(given, GateSettings(**settings), proposed_version=5, safe_version=4, now=12.0)
    assert found.reasons
    assert all(reason.partition(":")[0] in CODES and reason.partition(": ")[2] for reason in found.reasons)
    return found


def codes(found: FloatArray) -> list[str]:
    return [reason.partition(":")[0] for reason in found.reasons]


def swinging(mean: float, swing: float, n: int) -> FloatArray:
    """Return n values with exactly this mean: mean + swing and mean - swing by turns."""
    return mean + swing * np.where(np.arange(n) % 2, 1.0, -1.0)


GOOD = swinging(0.3, 0.2, 400)
BAD = swinging(-0.3, 0.2, 400)
UNCLEAR = swinging(0.001, 0.5, 400)


@pytest.mark.parametrize("kind", ["anytime", "block"])
def test_what_is_clearly_better_is_promoted(kind: str) -> None:
    found = decided(evidence(GOOD), kind=kind, block_events=400)
    assert (found.verdict, codes(found)) == ("promote", ["better"])
    assert found.difference.value == pytest.approx(0.3)
    assert 0.0 < found.difference.low < 0.3 < found.difference.high
    assert found.difference.n == 400
    assert (found.proposed_version, found.safe_version, found.decided_at, found.kind) == (5, 4, 12.0, "judged")


@pytest.mark.parametrize("kind", ["anytime", "block"])
def test_what_is_clearly_worse_is_rejected_before_its_time(kind: str) -> None:
    found = decided(evidence(BAD), kind=kind)
    assert (found.verdict, codes(found)) == ("reject", ["worse"])
    assert found.difference.high < 0.0


def test_what_is_not_clear_waits() -> None:
    found = decided(evidence(UNCLEAR))
    assert (found.verdict, codes(found)) == ("hold", ["not_yet"])


def test_without_any_event_it_waits() -> None:
    found = decided(evidence([]))
    assert (found.verdict, codes(found)) == ("hold", ["too_few_events"])
    assert (found.difference.value, found.difference.n, found.difference.effective_sample_size) == (0.0, 0, 0.0)
    assert (found.difference.low, found.difference.high) == (-math.inf, math.inf)


def test_after_long_enough_no_gain_is_a_rejection() -> None:
    no_gain = swinging(-0.001, 0.5, 1_000)
    assert codes(decided(evidence(no_gain[:998]))) == ["not_yet"]
    found = decided(evidence(no_gain))
    assert (found.verdict, codes(found)) == ("reject", ["no_gain"])


def test_at_the_end_of_patience_undecided_is_a_rejection() -> None:
    found = decided(evidence(UNCLEAR), max_judged_events=400)
    assert (found.verdict, codes(found)) == ("reject", ["undecided"])
    assert decided(evidence(UNCLEAR), max_judged_events=401).verdict == "hold"


def test_a_held_proposal_does_not_stand_for_ever() -> None:
    held = evidence(GOOD, users=3)
    assert decided(held, max_judged_events=401).verdict == "hold"
    found = decided(held, max_judged_events=400)
    assert (found.verdict, codes(found)) == ("reject", ["undecided", "too_few_users"])


def test_few_events_hold_however_good() -> None:
    found = decided(evidence(GOOD[:198]))
    assert (found.verdict, codes(found)) == ("hold", ["too_few_events"])
    assert decided(evidence(GOOD[:200])).verdict == "promote"


def test_few_users_hold_and_unknown_users_are_only_said() -> None:
    found = decided(evidence(GOOD, users=19))
    assert (found.verdict, codes(found)) == ("hold", ["too_few_users"])
    assert decided(evidence(GOOD, users=20)).verdict == "promote"
    found = decided(evidence(GOOD, users=None))
    assert (found.verdict, codes(found)) == ("promote", ["better", "users_unknown"])
    assert not {"n_users", "n_effective_users"} & set(found.diagnostics)


def test_one_user_with_half_of_the_traffic_counts_for_few() -> None:
    # 200 events of one user and one event of each of 200 others: 400^2 / (200^2 + 200)
    effective = 400**2 / (200**2 + 200)
    given = dataclasses.replace(evidence(GOOD, users=201), n_effective_users=effective)
    found = decided(given)
    assert (found.verdict, codes(found)) == ("hold", ["too_few_users"])
    assert "effective are 4.0 of them" in found.reasons[0]
    assert (found.diagnostics["n_users"], found.diagnostics["n_effective_users"]) == (201.0, effective)
    assert decided(given, min_users=3).verdict == "promote"
    # twenty users with equally many events are twenty, whatever a sum of squares was rounded to
    assert decided(dataclasses.replace(given, n_effective_users=20.0 - 1e-12)).verdict == "promote"


def test_events_of_the_callers_order_alone_are_no_support() -> None:
    found = decided(evidence(GOOD, caller=True))
    assert (found.verdict, codes(found)) == ("hold", ["unsupported"])
    assert "caller" in found.reasons[0]


@pytest.mark.parametrize(
    ("share", "verdict", "expected"),
    [
        (0.10, "promote", ["better"]),
        (0.11, "promote", ["better", "weak_support"]),
        (0.30, "promote", ["better", "weak_support"]),
        (0.31, "hold", ["unsupported"]),
        (1.00, "hold", ["unsupported"]),
    ],
)
def test_unsupported_exposure_is_reported_and_then_holds(share: float, verdict: str, expected: list[str]) -> None:
    found = decided(evidence(GOOD, unsupported=share))
    assert (found.verdict, codes(found)) == (verdict, expected)
    assert found.diagnostics["unsupported_exposure"] == pytest.approx(share)


def test_held_out_users_veto_only_when_they_are_significantly_worse() -> None:
    # mean -.1, sd .3: worse at 1.645 standard errors from n = (1.645 * .3 / .1)^2 = 25 on
    assert decided(evidence(GOOD, held_out=swinging(-0.1, 0.3, 20))).verdict == "promote"
    found = decided(evidence(GOOD, held_out=swinging(-0.1, 0.3, 30)))
    assert (found.verdict, codes(found)) == ("hold", ["held_out_users"])
    assert "never learned from" in found.reasons[0]
    assert found.estimates["held_out_users"].value == pytest.approx(-0.1)
    assert decided(evidence(GOOD, held_out=swinging(+0.1, 0.3, 30))).verdict == "promote"
    assert decided(evidence(GOOD, held_out=[-1.0])).verdict == "promote"  # one value has no error


def test_the_prefix_estimate_vetoes_only_when_it_is_significantly_negative() -> None:
    clicked = np.arange(400) % 2.0

    def with_weights(weights: FloatArray) -> Evidence:
        events = [judged(x, prefix=w) for x, w in zip(GOOD, weights, strict=True)]
        return dataclasses.replace(evidence(GOOD, rewards=clicked), events=events)

    # the proposal would have shown the unclicked lists: weight 1.9 without a click and .1 with one
    found = decided(with_weights(1.9 - 1.8 * clicked))
    assert (found.verdict, codes(found)) == ("hold", ["disagreement"])
    # self-normalised: (.1 / 2) / 1 - 1 / 2
    assert found.estimates["prefix"].value == pytest.approx(0.05 - 0.5)
    assert "prefix" in found.reasons[0]
    assert decided(with_weights(0.1 + 1.8 * clicked)).verdict == "promote"
    # weights that have nothing to do with clicks: a difference of 0 is no veto
    found = decided(with_weights(0.1 + 1.8 * (np.arange(400) // 2 % 2)))
    assert found.estimates["prefix"].value == pytest.approx(0.0)
    assert found.verdict == "promote"
    assert "prefix" not in decided(evidence(GOOD)).estimates


def test_all_objections_are_named_at_once() -> None:
    found = decided(evidence(GOOD[:100], users=1, unsupported=0.5, held_out=swinging(-0.5, 0.1, 30)))
    assert found.verdict == "hold"
    assert codes(found) == ["too_few_events", "too_few_users", "unsupported", "held_out_users"]
    found = decided(evidence(UNCLEAR[:100], users=1))
    assert codes(found) == ["not_yet", "too_few_events", "too_few_users"]


def test_without_a_gate_everything_goes_live_and_the_figures_still_tell() -> None:
    found = decided(evidence(BAD, unsupported=0.2), kind="off")
    assert (found.verdict, codes(found)) == ("promote", ["gate_off", "weak_support"])
    assert found.difference.high < 0.0
    assert decided(evidence([]), kind="off").verdict == "promote"


def test_the_block_gate_waits_for_its_block_and_then_decides() -> None:
    assert codes(decided(evidence(GOOD[:398]), kind="block", block_events=400)) == ["not_yet"]
    assert decided(evidence(UNCLEAR), kind="block", block_events=402).verdict == "hold"
    found = decided(evidence(UNCLEAR), kind="block", block_events=400)
    assert (found.verdict, codes(found)) == ("reject", ["no_gain"])


@pytest.mark.parametrize("attempt", [1, 2, 5])
def test_the_block_gate_is_the_one_sided_normal_test(attempt: int) -> None:
    n, swing = 400, 0.4
    error = swing * math.sqrt(n / (n - 1)) / math.sqrt(n)
    critical = stats.norm.isf(0.05 * 6.0 / (math.pi**2 * attempt**2))
    for factor, verdict in ((0.99, "reject"), (1.01, "promote")):
        given = evidence(swinging(factor * critical * error, swing, n), attempt=attempt)
        found = decided(given, kind="block", block_events=n)
        assert found.verdict == verdict
        # the interval is the one that decides
        assert found.difference.low == pytest.approx((factor - 1.0) * critical * error, abs=1e-6)
        assert found.difference.high == pytest.approx((factor + 1.0) * critical * error, abs=1e-6)


def test_a_block_without_any_spread_decides_nothing() -> None:
    assert decided(evidence(np.full(400, 0.5)), kind="block", block_events=400).verdict != "promote"


def test_each_further_proposal_needs_more() -> None:
    spent = [spent_alpha(0.05, j) for j in range(1, 2_000)]
    assert (np.diff(spent) < 0.0).all()
    assert sum(spent) < 0.05
    # the tail of 1 / j^2 beyond n is below 1 / n
    assert sum(spent) > 0.05 * (1.0 - 6.0 / (math.pi**2 * 1_999))
    lows = []
    for attempt in (1, 2, 10):
        found = decided(evidence(GOOD, attempt=attempt))
        assert found.alpha == pytest.approx(spent_alpha(0.05, attempt))
        assert found.diagnostics["attempt"] == attempt
        lows.append(found.difference.low)
    assert lows == sorted(lows, reverse=True)
    # enough for a first proposal, not for a hundredth
    # a bet of at most .3 on .1: 200 * log(1.03) = 5.9, against log(1 / .03) = 3.5 and log(1 / 3e-6) = 12.7
    little = swinging(0.1, 0.1, 200)
    assert decided(evidence(little)).verdict == "promote"
    assert decided(evidence(little, attempt=100)).verdict == "hold"


def test_what_began_well_and_turned_is_not_promoted() -> None:
    turned = np.concatenate([GOOD[:150], swinging(-0.3, 0.2, 400)])
    assert codes(decided(evidence(turned[:150]))) == ["too_few_events"]
    found = decided(evidence(turned))
    assert found.difference.low > 0.0 > found.difference.value
    assert (found.verdict, codes(found)) == ("reject", ["worse"])
    # turned, but not refuted yet
    found = decided(evidence(np.concatenate([GOOD[:150], swinging(-0.3, 0.2, 152)])))
    assert (found.verdict, codes(found)) == ("hold", ["not_yet"])


def test_differences_beyond_the_bound_are_cut_and_counted() -> None:
    x = GOOD.copy()
    x[:4] = [50.0, -50.0, 3.0, -3.0]
    found = decided(evidence(x))
    assert found.diagnostics["cut_share"] == pytest.approx(2 / 400)
    assert found.difference.value == pytest.approx(np.clip(x, -3.0, 3.0).mean())
    assert decided(evidence(x), bound=1.0).diagnostics["cut_share"] == pytest.approx(4 / 400)


def test_the_effective_sample_size_is_that_of_the_importance() -> None:
    given = evidence(GOOD)
    heavy = [e._replace(importance=3.0 if i == 0 else 1.0) for i, e in enumerate(given.events)]
    found = decided(dataclasses.replace(given, events=heavy))
    assert found.difference.effective_sample_size == pytest.approx((399 + 3) ** 2 / (399 + 9))
    assert found.diagnostics["exposure_max_share"] == pytest.approx(3 / 402)  # at the clip of 2: not yet clipped
    nothing = decided(evidence(GOOD, importance=0.0))
    assert nothing.difference.effective_sample_size == 0.0
    assert "exposure_max_share" not in nothing.diagnostics


def test_every_figure_that_is_reported_is_a_number() -> None:
    for given in (evidence([]), evidence(GOOD), evidence(BAD, users=None), evidence([0.1], held_out=[0.3, 0.2])):
        found = decided(given)
        assert all(math.isfinite(v) for v in found.diagnostics.values())
        for estimate in (found.difference, *found.estimates.values()):
            assert math.isfinite(estimate.value)
            assert estimate.low <= estimate.value <= estimate.high or estimate.n == 0
            assert 0.0 <= estimate.effective_sample_size <= estimate.n + 1e-9


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "sometimes"),
        ("alpha", 0.0),
        ("alpha", 0.6),
        ("alpha", float("nan")),
        ("max_importance_weight", 0.0),
        ("bound", 0.0),
        ("block_events", 10),
        ("min_events", 1),
        ("min_users", 0),
        ("futility_events", 99),
        ("unsupported_warn", -0.1),
        ("unsupported_refuse", 1.1),
        ("max_judged_events", 1),
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        GateSettings(**{name: value})
    assert caught.value.field == f"gate.{name}"


def codes_of(found: GateDecision) -> list[str]:
    return [reason.partition(":")[0] for reason in found.reasons]


def judge(given: Evidence, **settings: object) -> GateDecision:
    return decide(given, GateSettings(**settings), proposed_version=5, safe_version=4, now=12.0)


def test_a_log_that_failed_a_check_promotes_nothing() -> None:
    wrong = Finding(
        code="mean_weight", severity="fail", value=7.0, threshold=3.0, words="weights average 1.1", remedy="Look."
    )
    doubtful = dataclasses.replace(wrong, code="exposure_max_share", severity="warn")
    held = judge(dataclasses.replace(evidence(GOOD), findings=(wrong,)))
    assert (held.verdict, codes_of(held)) == ("hold", ["mean_weight"])
    assert "weights average 1.1" in held.reasons[0]
    assert held.diagnostics["mean_weight"] == 7.0
    noted = judge(dataclasses.replace(evidence(GOOD), findings=(doubtful,)))
    assert (noted.verdict, codes_of(noted)) == ("promote", ["better", "exposure_max_share"])


def test_an_estimate_that_is_low_for_want_of_support_proves_no_harm() -> None:
    """Gains without support count nothing and losses all: with what is not believed, -.3 may be a gain."""

    def with_forgone(forgone: float, n: int = 1) -> GateDecision:
        given = evidence(np.tile(BAD, n), unsupported=0.5)
        return judge(dataclasses.replace(given, events=[e._replace(forgone=forgone) for e in given.events]))

    assert codes_of(with_forgone(0.35)) == ["not_yet", "unsupported"]
    assert with_forgone(0.35).verdict == "hold"
    # were it a loss with all that it promises, it is one
    assert (with_forgone(0.05).verdict, codes_of(with_forgone(0.05))) == ("reject", ["worse"])
    assert (with_forgone(0.35, n=3).verdict, codes_of(with_forgone(0.35, n=3))) == ("reject", ["no_gain"])


def test_a_bound_that_the_mean_has_fallen_below_promotes_nothing() -> None:
    began_well = np.concatenate([swinging(0.6, 0.2, 500), swinging(0.05, 0.2, 1_500)])
    found = judge(evidence(began_well))
    assert found.difference.low > found.difference.value > 0.0
    assert (found.verdict, codes_of(found)) == ("hold", ["not_yet"])


def test_a_few_users_alone_promote_nothing() -> None:
    """Two accounts with half of all events say it is better; sixty others see no difference."""
    is_loud = np.arange(1_200) % 2 == 0
    xs = np.where(is_loud, 0.6, 0.0) + swinging(0.0, 0.3, 1_200)[::-1]
    users = [int(i % 4 < 2) if loud else 100 + i % 60 for i, loud in enumerate(is_loud)]
    counts = {user: users.count(user) for user in set(users)}
    weights = np.array([min(1.0, 30.0 / counts[user]) for user in users])
    given = evidence(xs)
    assert judge(given).verdict == "promote"
    found = judge(dataclasses.replace(given, weights=weights, users=users))
    assert (found.verdict, codes_of(found)) == ("hold", ["few_users_decide"])
    # by hand: the weighted mean, its error by user
    mean = float(weights @ xs / weights.sum())
    parts = [sum(w * (x - mean) for w, x, u in zip(weights, xs, users, strict=True) if u == user) for user in counts]
    error = float(np.sqrt(np.square(parts).sum()) / weights.sum())
    capped = found.estimates["capped_users"]
    assert capped.value == pytest.approx(mean)
    assert capped.high - mean == pytest.approx(1.959963984540054 * error)
    # where everybody gains, the caps change nothing
    everybody = judge(dataclasses.replace(evidence(swinging(0.3, 0.2, 1_200)), weights=weights, users=users))
    assert everybody.verdict == "promote"


def test_a_split_that_is_not_the_one_assumed_is_told() -> None:
    nothing = Estimate(0.0, -1.0, 1.0, 500, 500.0)
    skewed = CanaryVerdict(
        verdict="undecided", difference=nothing, n_users=500, n_canary_users=10, reason="sample_ratio: 10 of 500"
    )
    assert "canary_sample_ratio" in codes_of(judge(dataclasses.replace(evidence(GOOD), canary=skewed)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("is_rolled_back", "no"),
        ("min_segment_events", 2.5),
        ("segment_margin", True),
        ("segment_margin", "x"),
        ("segment_margin", float("nan")),
    ],
)
def test_a_setting_of_another_kind_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        GateSettings(**{name: value})
    assert caught.value.field == f"gate.{name}"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("said", "verdict", "code"), [("second", "reject", "interleaving_worse"), ("first", "promote", "better")]
)
def test_whose_documents_users_choose_rejects_and_never_promotes(
    said: Literal["first", "second"], verdict: str, code: str
) -> None:
    words = "worse: mean credit -0.2" if said == "second" else "better: mean credit +0.2"
    found = InterleavingVerdict(verdict=said, difference=Estimate(-0.2, -0.3, -0.1, 90, 90.0), reason=words)
    decision = judge(dataclasses.replace(evidence(GOOD), interleaving=found))
    assert (decision.verdict, codes_of(decision)[0]) == (verdict, code)
    assert decision.estimates["interleaving"] == found.difference
    alone = judge(dataclasses.replace(evidence([]), interleaving=found))
    assert alone.verdict == ("reject" if said == "second" else "hold")
    # a gate that is off asks nobody
    assert judge(dataclasses.replace(evidence(GOOD), interleaving=found), kind="off").verdict == "promote"


def test_another_method_of_the_canary_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        GateSettings(canary_method="both")  # type: ignore[arg-type]
    assert caught.value.field == "gate.canary_method"


def test_a_segment_that_is_shown_to_lose_holds_what_is_better_over_all() -> None:
    # three of four events are of the segment that gains
    is_many = np.arange(800) % 4 > 0
    xs = np.where(is_many, 0.5, -0.3) + swinging(0.0, 0.2, 800)
    names = ["many" if it else "few" for it in is_many]
    found = judge(dataclasses.replace(evidence(xs), segments=names))
    assert found.verdict == "hold"
    assert codes_of(found) == ["segment_few"]
    # within the margin, without names, or with too few events in it, it does not
    assert judge(dataclasses.replace(evidence(xs), segments=names), segment_margin=0.5).verdict == "promote"
    assert judge(evidence(xs)).verdict == "promote"
    assert judge(dataclasses.replace(evidence(xs), segments=names), min_segment_events=300).verdict == "promote"


def test_a_gain_that_hangs_on_the_examination_waits() -> None:
    better, worse = Contribution(0.3, np.zeros(1), np.zeros(1)), Contribution(-0.1, np.zeros(1), np.zeros(1))
    given = evidence(GOOD)

    def at_ends(*ends: Contribution) -> GateDecision:
        return judge(dataclasses.replace(given, events=[e._replace(ends=ends) for e in given.events]))

    held = at_ends(better, worse)
    assert (held.verdict, codes_of(held)) == ("hold", ["examination"])
    assert held.estimates["examination_low"].value == pytest.approx(0.3)
    assert held.estimates["examination_high"].value == pytest.approx(-0.1)
    assert at_ends(better, better).verdict == "promote"
    # beside regression-EM's own ends stand those of the assumed band: each of them may hold, none may release
    assert at_ends(better, better, better, better).verdict == "promote"
    for i in range(4):
        ends = [worse if j == i else better for j in range(4)]
        assert codes_of(at_ends(*ends)) == ["examination"]
    assert set(held.estimates) < set(at_ends(better, better, worse, worse).estimates)


@pytest.mark.parametrize(("z", "verdict"), [(0.5, "hold"), (0.95, "hold"), (1.05, "promote"), (3.0, "promote")])
@pytest.mark.parametrize("end", [0, 1])
def test_an_end_that_is_above_zero_by_chance_holds(z: float, verdict: str, end: int) -> None:
    # the mean of 400 values that swing by .2, in standard errors: one is asked for
    error = float(np.std(swinging(0.0, 0.2, 400), ddof=1)) / math.sqrt(400)
    given, unsure = evidence(GOOD), swinging(z * error, 0.2, 400)
    events = []
    for event, x in zip(given.events, unsure, strict=True):
        ends = [Contribution(value, np.zeros(1), np.zeros(1)) for value in (0.3, float(x))]
        events.append(event._replace(ends=(ends[1 - end], ends[end])))
    found = judge(dataclasses.replace(given, events=events))
    assert found.verdict == verdict
    assert codes_of(found) == (["examination"] if verdict == "hold" else ["better"])


def test_a_few_events_that_carry_the_weights_hold() -> None:
    given = evidence(GOOD)
    heavy = [e._replace(importance=1e4 if i < 10 else 0.0) for i, e in enumerate(given.events)]
    found = judge(dataclasses.replace(given, events=heavy))
    assert (found.verdict, codes_of(found)) == ("hold", ["exposure_ess", "exposure_max_share"])
    # beyond the clip no weight counts more: one heavy event among many is no reason
    one = [e._replace(importance=1e4 if i == 0 else 1.0) for i, e in enumerate(given.events)]
    assert judge(dataclasses.replace(given, events=one)).verdict == "promote"
