"""Which events are checked, what is refused, and one log whose statistics are worked out by hand."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from dwell.errors import EvaluationError
from dwell.evaluation.propensity_checks import pair_order_finding, propensity_findings
from dwell.ranking import policy_scores
from dwell.records import Params
from dwell.records.rows import EventRow

Event = Callable[..., EventRow]
# weights 2, 1, 1: the first step picks the heavy one with 1/2, the second one of two equal ones with 1/2
Z = np.log([2.0, 1.0, 1.0])
P = np.array([0.5, 0.5])


def sound(event: Event) -> EventRow:
    return event(3, 2, propensities=P)


def test_a_small_log_by_hand(event: Event) -> None:
    # four lists: heavy first twice, a light one first twice (then heavy or light)
    light = np.log([1.0, 2.0, 1.0])
    rows = [sound(event)] * 2 + [event(3, 2, propensities=np.array([0.25, p])) for p in (2 / 3, 1 / 3)]
    weights = [Z, Z, light, np.log([1.0, 1.0, 2.0])]
    derived, surprise, weight = propensity_findings(rows, weights)
    assert (derived.severity, derived.value) == ("ok", 0.0)
    # surprise: -log p minus entropy, summed over both steps
    entropy = {"first": 1.5 * math.log(2), "even": math.log(2), "uneven": math.log(3) - 2 / 3 * math.log(2)}
    s = np.array(
        [
            -2 * math.log(0.5) - entropy["first"] - entropy["even"],
            -2 * math.log(0.5) - entropy["first"] - entropy["even"],
            -math.log(0.25) - math.log(2 / 3) - entropy["first"] - entropy["uneven"],
            -math.log(0.25) - math.log(1 / 3) - entropy["first"] - entropy["uneven"],
        ]
    )
    assert surprise.value == pytest.approx(s.mean() / (s.std(ddof=1) / 2))
    # the sharper target has weights 2^1.5, 1, 1; a list weighs the mean of its two steps
    h = 2**1.5
    w = np.array(
        [
            (h / (h + 2) / 0.5 + 1) / 2,
            (h / (h + 2) / 0.5 + 1) / 2,
            (1 / (h + 2) / 0.25 + h / (h + 1) / (2 / 3)) / 2,
            (1 / (h + 2) / 0.25 + 1 / (h + 1) / (1 / 3)) / 2,
        ]
    )
    assert weight.value == pytest.approx((w.mean() - 1) / (w.std(ddof=1) / 2))


def test_wrong_numbers_are_counted_against_complete_lists(event: Event) -> None:
    wrong = event(3, 2, propensities=P * np.array([1.002, 1.0]))
    close = event(3, 2, propensities=P * np.array([1.0009, 1.0]))
    for n_wrong, severity in ((1, "warn"), (2, "fail")):
        rows = [wrong] * n_wrong + [close] * (100 - n_wrong)
        derived = propensity_findings(rows, [Z] * 100)[0]
        assert (derived.code, derived.severity) == ("propensity_derived", severity)
        assert derived.value == pytest.approx(n_wrong / 100)


@pytest.mark.parametrize("flag", ["is_deterministic", "is_caller_ordered"])
def test_what_drew_nothing_is_left_out(event: Event, flag: str) -> None:
    # its propensities would be refused, and its log weights need not fit
    other = event(3, 2, propensities=np.array([0.0, 9.0]), **{flag: True})
    alone = propensity_findings([sound(event)] * 5, [Z] * 5)
    assert propensity_findings([*[sound(event)] * 5, other], [Z] * 5 + [np.zeros(7)]) == alone
    assert propensity_findings([other, sound(event)], [Z, Z]) == ()


def test_lists_whose_candidates_were_sampled_are_not_derived(event: Event) -> None:
    # the third candidate stands for two: weights 2, 1, 2 give 2/5, then 1/3
    sampled = event(3, 2, propensities=np.array([0.4, 1 / 3]), inclusion=np.array([1.0, 1.0, 0.5]))
    codes = [f.code for f in propensity_findings([sampled] * 4, [Z] * 4)]
    assert codes == ["propensity_surprise", "mean_weight"]
    # the other order, 1/5 then 2/4. Surprise in units of log 2: 2/5 - 1 here, 2/5 + (1/2 - 1) there
    other = event(3, 2, propensities=np.array([0.2, 0.5]), inclusion=np.array([1.0, 1.0, 0.5]))
    surprise, _ = propensity_findings([sampled, sampled, other, other], [Z, Z, *[np.log([1.0, 2.0, 1.0])] * 2])
    x = np.array([-0.6, -0.6, -0.1, -0.1])
    assert surprise.value == pytest.approx(x.mean() / (x.std(ddof=1) / 2))
    # beside complete lists it is not counted: the share is of those alone
    wrong = event(3, 2, propensities=P * 0.5)
    derived = propensity_findings([sampled] * 6 + [wrong] + [sound(event)] * 3, [Z] * 10)[0]
    assert derived.value == 0.25


@pytest.mark.parametrize(
    ("p", "z", "field"),
    [
        ([0.0, 0.5], Z, "propensities"),
        ([-0.1, 0.5], Z, "propensities"),
        ([1.1, 0.5], Z, "propensities"),
        ([np.nan, 0.5], Z, "propensities"),
        ([0.5, 0.5], np.array([0.0, np.nan, 0.0]), "propensities"),
        ([0.5, 0.5], np.array([0.0, -np.inf, 0.0]), "propensities"),
        ([0.5, 0.5], np.zeros(2), "log_weights"),
        ([0.5], Z, "log_weights"),
    ],
)
def test_what_can_not_be_checked_is_refused_by_name(event: Event, p: list[float], z: np.ndarray, field: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        propensity_findings([sound(event), event(3, 2, propensities=np.array(p))], [Z, z])
    assert caught.value.field == field


def test_each_event_needs_its_log_weights(event: Event) -> None:
    with pytest.raises(EvaluationError) as caught:
        propensity_findings([sound(event)] * 2, [Z])
    assert caught.value.field == "log_weights"


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_scores_rounded_to_float32_give_the_logged_propensities(event: Event, scale: float) -> None:
    rng = np.random.default_rng(8)
    params = Params(1, {"a": 1.0, "b": -0.5, "c": 0.25})
    rows, weights = [], []
    for _ in range(200):
        # an offset of three spreads: what rounding can do grows with the size of the score, not with its spread
        features = (scale * (3.0 + rng.normal(size=(12, 3)))).astype(np.float32)
        scores = params.score(features)
        z = policy_scores(scores, 0.1)
        order = np.argsort(-(z + rng.gumbel(size=12)))
        below = np.cumsum(np.exp(z[order])[::-1])[::-1]
        rows.append(event(12, 6, propensities=(np.exp(z[order]) / below)[:6]))
        weights.append(policy_scores(scores.astype(np.float32).astype(np.float64), 0.1)[order])
    derived = propensity_findings(rows, weights)[0]
    assert (derived.severity, derived.value) == ("ok", 0.0)


def chances(weights: np.ndarray) -> np.ndarray:
    return weights / np.cumsum(weights[::-1])[::-1]


@pytest.mark.parametrize("orientation", ["score", "likelier"])
def test_the_pair_statistic_is_zero_in_expectation_over_both_orders(orientation: str) -> None:
    # both orders of the pair at positions 2 and 3, four times to three
    one, two = np.array([4.0, 3.0, 2.0, 1.0]), np.array([4.0, 2.0, 3.0, 1.0])
    a, b = math.prod(chances(one)), math.prod(chances(two))
    assert a / b == pytest.approx(4 / 3)  # (3/6)(2/3) to (2/6)(3/4)
    lists = [one] * 4 + [two] * 3
    p = [chances(x)[1:3] for x in lists]
    higher = [x[1:3] for x in lists]
    found = pair_order_finding(p, higher if orientation == "score" else None)
    assert found is not None
    assert found.value == pytest.approx(0.0, abs=1e-9)
    # counted once more often than its share: (4 * 3/7 + 3/7 - 3 * 4/7) / 8 over its standard error
    found = pair_order_finding([*p, p[0]], [*higher, higher[0]] if orientation == "score" else None)
    x = np.array([3 / 7] * 5 + [-4 / 7] * 3)
    assert found is not None
    assert found.value == pytest.approx(x.mean() / (x.std(ddof=1) / math.sqrt(8)))


def test_lists_of_any_length_count_and_deterministic_ones_do_not() -> None:
    p = [chances(np.array([3.0, 2.0, 1.0])), chances(np.array([1.0, 2.0]))]
    # (1 - q) of neighbours in order: both orders of a pair have the chances f s and s' f'
    three = (1.0 - served(3.0, 2.0, 6.0)) + (1.0 - served(2.0, 1.0, 3.0))
    two = -(1.0 - served(1.0, 2.0, 3.0))
    x = np.array([three, two])
    found = pair_order_finding(p)
    assert found is not None
    assert found.value == pytest.approx(x.mean() / (x.std(ddof=1) / math.sqrt(2)))
    sure = pair_order_finding([*p, np.ones(3)])
    x = np.array([three, two, 0.0])
    assert sure is not None
    assert sure.value == pytest.approx(x.mean() / (x.std(ddof=1) / math.sqrt(3)))
    assert pair_order_finding([*p, np.ones(1)]) == found
    assert pair_order_finding([p[0], np.ones(1)]) is None
    assert pair_order_finding([]) is None


def served(upper: float, lower: float, total: float) -> float:
    """Chance of this order of two weights, given the two, where `total` is what is left to draw from."""
    this = upper / total * lower / (total - upper)
    return this / (this + lower / total * upper / (total - lower))


@pytest.mark.parametrize("bad", [0.0, 1.5, -0.5, math.nan])
def test_a_propensity_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(EvaluationError) as caught:
        pair_order_finding([P, np.array([0.5, bad])])
    assert caught.value.field == "propensities"


@pytest.mark.parametrize("given", [[P], [P, np.ones(3)], [P, np.array([1.0, np.nan])]])
def test_an_orientation_that_does_not_fit_is_refused(given: list[np.ndarray]) -> None:
    with pytest.raises(EvaluationError) as caught:
        pair_order_finding([P, P], given)
    assert caught.value.field == "orientation"
