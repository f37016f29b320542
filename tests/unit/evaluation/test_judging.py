"""What one event says about a proposal, against exact expectations over rankings and clicks."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest

from dwell.evaluation.judging import (
    SUPPORT,
    EventPolicy,
    JudgedEvent,
    differences,
    judge_event,
    kish,
)
from dwell.evaluation.prefix import prefix_difference
from dwell.ranking import conditional_propensities, policy_scores
from dwell.records.arrays import FloatArray, IntArray
from dwell.records.rows import EventRow

THETA = np.array([1.0, 0.5])
TRUE = np.array([0.9, 0.3, 0.5, 0.1])
LOGGED = EventPolicy(np.array([1.0, 0.4, 0.0, -0.6]), 1.0)
SAFE = LOGGED
BETTER = EventPolicy(np.array([1.5, -0.2, 1.0, -1.0]), 0.8)


def rankings(policy: EventPolicy, k: int = 2) -> Iterator[tuple[IntArray, float, FloatArray]]:
    """Every ranking of the top k with its probability and its steps; a single one where nothing is drawn."""
    n = policy.scores.size
    if policy.temperature == 0.0:
        yield np.argsort(-policy.scores, kind="stable"), 1.0, np.ones(k)
        return
    z = policy_scores(policy.scores, policy.temperature)
    for top in itertools.permutations(range(n), k):
        order = np.array([*top, *(d for d in range(n) if d not in top)])
        steps = conditional_propensities(z, order, k)
        yield order, float(steps.prod()), steps


def exact_exposure(policy: EventPolicy, theta: FloatArray = THETA) -> FloatArray:
    exposure = np.zeros(policy.scores.size)
    for order, p, _ in rankings(policy, theta.size):
        exposure[order[: theta.size]] += p * theta
    return exposure


def value_of(policy: EventPolicy) -> float:
    return float(exact_exposure(policy) @ TRUE)


def reordered(policy: EventPolicy, order: IntArray) -> EventPolicy:
    return EventPolicy(policy.scores[order], policy.temperature)


def judged(
    event: Callable[..., EventRow],
    order: IntArray,
    *,
    proposed: EventPolicy,
    safe: EventPolicy = SAFE,
    logged: EventPolicy = LOGGED,
    predicted: FloatArray | None = None,
    clip: float = 100.0,
    steps: FloatArray | None = None,
    name: str = "e",
) -> JudgedEvent:
    """Judge one event that showed the first two of this order."""
    row = event(
        order.size,
        2,
        exposure=exact_exposure(logged)[order],
        propensities=np.ones(2) if steps is None else steps,
        is_deterministic=logged.temperature == 0.0,
        event_id=name,
    )
    predicted = np.zeros(order.size) if predicted is None else predicted
    arguments = (reordered(proposed, order), reordered(safe, order), predicted[order], THETA)
    return judge_event(row, *arguments, max_importance_weight=clip)


def expected_difference(event: Callable[..., EventRow], *, n_names: int, **arguments: object) -> FloatArray:
    """E over rankings and clicks of the estimate, per named stream of sampled exposures, float64 (n_names,)."""
    logged = arguments.get("logged", LOGGED)
    found = []
    for name in range(n_names):
        total = 0.0
        for order, p, steps in rankings(logged):
            one = judged(event, order, steps=steps, name=str(name), **arguments)
            chance = THETA * TRUE[order[:2]]
            for clicks in itertools.product((0.0, 1.0), repeat=2):
                weight = float(np.prod(np.where(clicks, chance, 1.0 - chance)))
                total += p * weight * float(differences([one], [np.array(clicks)])[0])
        found.append(total)
    return np.array(found)


def within_five_errors(found: FloatArray, expected: float) -> bool:
    # 5 standard errors of the sampled exposures: false-alarm rate 6e-7
    return abs(found.mean() - expected) < 5.0 * found.std(ddof=1) / np.sqrt(found.size)


@pytest.mark.statistical
@pytest.mark.parametrize("predicted", [[0.0] * 4, [0.5, 0.5, 0.5, 0.5], [1.0, -1.0, 0.2, 0.7], list(TRUE)])
def test_the_difference_is_unbiased_whatever_was_predicted(
    event: Callable[..., EventRow], predicted: list[float]
) -> None:
    found = expected_difference(event, n_names=60, proposed=BETTER, predicted=np.array(predicted))
    assert within_five_errors(found, value_of(BETTER) - value_of(SAFE))


@pytest.mark.statistical
def test_against_a_deterministic_safe_policy_and_for_a_deterministic_proposal(event: Callable[..., EventRow]) -> None:
    caller = EventPolicy(np.array([0.0, -1.0, -2.0, -3.0]), 0.0)
    sorted_better = EventPolicy(BETTER.scores, 0.0)
    found = expected_difference(event, n_names=2, proposed=sorted_better, safe=caller)
    # nothing is sampled: exact
    np.testing.assert_allclose(found, value_of(sorted_better) - value_of(caller), atol=1e-12)


@pytest.mark.statistical
def test_sharpness_alone_reads_as_a_gain_where_low_positions_are_looked_at_less_than_assumed(
    event: Callable[..., EventRow],
) -> None:
    """Clicks ignore relevance: every policy earns .3 (1 + .2). Under 1/k that is not what its estimate says."""
    sharp, looked, below = EventPolicy(LOGGED.scores, 0.4), np.array([1.0, 0.2]), np.array([1.0, 0.1])

    def by_formula(theta: FloatArray) -> float:
        """The sum over documents of E[clicks] (new - safe) / logged, all exposures but that of clicks under theta."""
        new, logged = exact_exposure(sharp, theta), exact_exposure(LOGGED, theta)
        return float((new - logged) / logged @ (0.3 * exact_exposure(LOGGED, looked)))

    assert by_formula(looked) == pytest.approx(0.0, abs=1e-12)
    assert by_formula(THETA) > 0.01
    # an end of a band that holds the truth says otherwise
    assert by_formula(below) < 0.0

    found = []
    for name in range(60):
        total = np.zeros(3)
        for order, p, steps in rankings(LOGGED):
            row = event(4, 2, exposure=exact_exposure(LOGGED)[order], propensities=steps, event_id=str(name))
            policies = (reordered(sharp, order), reordered(LOGGED, order))
            one = judge_event(row, *policies, np.zeros(4), THETA, max_importance_weight=100.0, ends=(looked, below))
            # linear in clicks: their means will do
            total += p * np.array(
                [part.direct + part.slope @ (0.3 * looked - part.expected) for part in (one, *one.ends)]
            )
        found.append(total)
    for values, theta in zip(np.array(found).T, (THETA, looked, below), strict=True):
        assert within_five_errors(values, by_formula(theta))


def test_the_same_policy_differs_by_nothing(event: Callable[..., EventRow]) -> None:
    one = judged(event, np.arange(4), proposed=SAFE, predicted=np.array([0.5, -0.3, 0.9, 1.0]))
    assert one.direct == 0.0
    assert (one.slope == 0.0).all()
    assert one.unsupported == 0.0


def test_judging_twice_gives_the_same_bits_and_the_rewards_are_not_read(event: Callable[..., EventRow]) -> None:
    order = np.array([2, 0, 1, 3])
    one, two = judged(event, order, proposed=BETTER), judged(event, order, proposed=BETTER)
    assert one.direct == two.direct
    assert one.slope.tobytes() == two.slope.tobytes()
    row = event(4, 2, rewards=np.full(2, np.nan))
    blind = judge_event(row, BETTER, SAFE, np.zeros(4), THETA, max_importance_weight=2.0)
    assert np.isfinite(blind.slope).all()


def test_a_late_reward_moves_the_difference_by_its_slope(event: Callable[..., EventRow]) -> None:
    one = judged(event, np.array([2, 0, 1, 3]), proposed=BETTER, predicted=np.full(4, 0.2))
    before, after = differences([one, one], [np.array([0.0, 0.0]), np.array([0.0, 1.0])])
    assert after - before == pytest.approx(one.slope[1])
    assert before == pytest.approx(one.direct - one.slope @ (THETA * 0.2))


def test_without_support_a_document_promises_nothing(event: Callable[..., EventRow]) -> None:
    """The planted case: a proposal that lifts a document that was never shown, and that the predictor praises."""
    shown = np.array([0.9, 0.6, 0.0, 0.0])
    row = event(4, 2, exposure=shown)
    praised = np.array([0.3, 0.3, 1.0, 1.0])
    lifts_unknown = EventPolicy(np.array([0.0, -1.0, 9.0, 8.0]), 0.0)
    keeps = EventPolicy(np.array([9.0, 8.0, 0.0, -1.0]), 0.0)
    one = judge_event(row, lifts_unknown, keeps, praised, THETA, max_importance_weight=2.0)
    # by the direct method alone it would read 1.5 * (1.0 - 0.3) = +1.05 better; what it takes away is known to count
    assert one.direct == pytest.approx(-1.5 * 0.3)
    assert one.unsupported == pytest.approx(1.0)
    x = differences([one], [np.array([1.0, 0.0])])
    assert x[0] < 0.0


def test_half_the_support_is_half_the_promise(event: Callable[..., EventRow]) -> None:
    row = event(3, 1, exposure=np.array([0.9, SUPPORT / 2.0, 0.9]), n_shown=1)
    swap, keep = EventPolicy(np.array([0.0, 1.0, -1.0]), 0.0), EventPolicy(np.array([1.0, 0.0, -1.0]), 0.0)
    one = judge_event(row, swap, keep, np.array([0.0, 0.8, 0.0]), THETA, max_importance_weight=2.0)
    assert one.direct == pytest.approx(0.5 * 0.8)
    assert one.unsupported == pytest.approx(1.0)


def test_weights_are_clipped_on_both_sides(event: Callable[..., EventRow]) -> None:
    row = event(4, 2, exposure=np.array([0.1, 0.1, 0.5, 0.5]))
    swap, keep = EventPolicy(np.array([0.0, 9.0, -1.0, -2.0]), 0.0), EventPolicy(np.array([9.0, 0.0, -1.0, -2.0]), 0.0)
    one = judge_event(row, swap, keep, np.zeros(4), THETA, max_importance_weight=2.0)
    # exposures 1 and 1/2 change places: -+.5 / .1 = -+5
    assert one.slope.tolist() == [-2.0, 2.0]
    free = judge_event(row, swap, keep, np.zeros(4), THETA, max_importance_weight=100.0)
    np.testing.assert_allclose(free.slope, [-5.0, 5.0])


def test_an_exposure_of_zero_does_not_divide(event: Callable[..., EventRow]) -> None:
    row = event(3, 2, exposure=np.zeros(3))
    one = judge_event(row, BETTER._replace(scores=np.array([0.0, 1.0, 2.0])), EventPolicy(np.arange(3.0), 0.0),
                      np.ones(3), THETA, max_importance_weight=2.0)  # fmt: skip
    assert np.isfinite(one.slope).all()
    # gains without support promise nothing, losses are believed; the gains of a list are its losses, and with a
    # prediction of 1 everywhere they are the unsupported share of the list's examination
    assert one.direct == pytest.approx(-one.unsupported * THETA[:2].sum())


def test_exposures_of_a_deterministic_policy_add_up_when_documents_stand_for_others(
    event: Callable[..., EventRow],
) -> None:
    # three served, two sampled with probability 1/2 and 1/4: they stand for 2 + 4 candidates
    theta = np.array([1.0, 0.5, 0.25, 0.2])
    inclusion = np.array([1.0, 1.0, 1.0, 0.5, 0.25])
    row = event(5, 3, inclusion=inclusion, n_shown=4, exposure=np.ones(5))
    top_sampled = EventPolicy(np.array([1.0, 0.0, -1.0, 9.0, -9.0]), 0.0)
    nobody = EventPolicy(np.array([-9.0, -8.0, -7.0, -10.0, 9.0]), 0.0)
    unit = np.eye(5)
    gains = [judge_event(row, top_sampled, nobody, unit[d], theta, max_importance_weight=2.0).direct for d in range(5)]
    # the first takes positions 1 and 2, then two served ones; against it, four equals take all four positions
    new, old = np.array([0.25, 0.2, 0.0, 1.5, 0.0]), np.array([0.0, 0.0, 0.0, 0.0, 1.95])
    np.testing.assert_allclose(gains, new - old, atol=1e-12)


def test_a_list_as_long_as_its_documents_and_one_document(event: Callable[..., EventRow]) -> None:
    one = judge_event(event(1, 1), EventPolicy(np.zeros(1), 0.3), EventPolicy(np.zeros(1), 0.0), np.ones(1),
                      np.array([1.0, 0.5]), max_importance_weight=2.0)  # fmt: skip
    assert one.direct == 0.0
    assert one.slope.tolist() == [0.0]


def test_an_examination_table_shorter_than_the_list(event: Callable[..., EventRow]) -> None:
    row = event(4, 3, n_shown=3)
    one = judge_event(row, EventPolicy(np.arange(4.0), 0.3), SAFE, np.ones(4), np.array([1.0]),
                      max_importance_weight=2.0)  # fmt: skip
    assert one.expected.tolist() == [1.0, 0.0, 0.0]


def test_prefix_weights_are_ratios_of_probabilities(event: Callable[..., EventRow]) -> None:
    for order, _, steps in rankings(LOGGED):
        one = judged(event, order, proposed=BETTER, steps=steps)
        z = policy_scores(BETTER.scores, BETTER.temperature)
        expected = np.cumprod(conditional_propensities(z, order, 2) / steps)
        np.testing.assert_allclose(one.prefix, expected, rtol=1e-9)
        np.testing.assert_allclose(one.safe_prefix, 1.0, rtol=1e-9)


def test_prefix_weights_have_mean_one(event: Callable[..., EventRow]) -> None:
    # over all rankings of the logging policy; what breaks first when propensities are wrong
    total = np.zeros(2)
    for order, p, steps in rankings(LOGGED):
        total += p * judged(event, order, proposed=BETTER, steps=steps).prefix
    np.testing.assert_allclose(total, 1.0, atol=1e-12)


@pytest.mark.parametrize("deterministic", ["logger", "proposal", "safe"])
def test_where_nothing_was_drawn_there_are_no_prefix_weights(
    event: Callable[..., EventRow], deterministic: str
) -> None:
    still = EventPolicy(np.array([3.0, 2.0, 1.0, 0.0]), 0.0)
    one = judged(
        event,
        np.arange(4),
        proposed=still if deterministic == "proposal" else BETTER,
        safe=still if deterministic == "safe" else SAFE,
        logged=still if deterministic == "logger" else LOGGED,
    )
    assert one.prefix is None
    assert one.safe_prefix is None
    assert np.isfinite(one.slope).all()


def test_a_proposal_that_could_hardly_have_shown_this_has_finite_weights(event: Callable[..., EventRow]) -> None:
    # far apart and cold: weights of e^-3000 underflow, their ratios do not
    scores = np.array([-2_000.0, -2_001.0, 5.0, -1_999.0])
    row = event(4, 2, propensities=np.array([1e-300, 1e-300]))
    cold = EventPolicy(scores, 0.001)
    one = judge_event(row, cold, EventPolicy(-scores, 0.001), np.zeros(4), THETA, max_importance_weight=2.0)
    assert np.isfinite(one.prefix).all()
    assert np.isfinite(one.safe_prefix).all()
    found = prefix_difference([one, one], [np.ones(2), np.zeros(2)])
    assert found is None or np.isfinite(found[:2]).all()


def cascade_log(
    rng: np.random.Generator, event: Callable[..., EventRow], n: int
) -> tuple[list[JudgedEvent], list[FloatArray]]:
    """Users who read from the top and stop at the first click: events with their clicks."""
    events, rewards = [], []
    orders, chances, steps = zip(*rankings(LOGGED), strict=True)
    policies = {}
    for i in rng.choice(len(orders), size=n, p=chances):
        if i not in policies:
            policies[i] = judged(event, orders[i], proposed=BETTER, steps=steps[i])
        attracted = rng.random(2) < TRUE[orders[i][:2]]
        clicks = np.array([attracted[0], attracted[1] and not attracted[0]], dtype=float)
        events.append(policies[i])
        rewards.append(clicks)
    return events, rewards


def cascade_value(policy: EventPolicy) -> float:
    total = 0.0
    for order, p, _ in rankings(policy):
        first, second = TRUE[order[:2]]
        total += p * (first + (1.0 - first) * second)
    return total


@pytest.mark.statistical
def test_the_prefix_difference_holds_for_users_who_read_from_the_top(event: Callable[..., EventRow]) -> None:
    # 5 of its own standard errors, 6e-7; and these are those of a bootstrap within 4 of their own errors
    rng = np.random.default_rng(0)
    events, rewards = cascade_log(rng, event, 4_000)
    value, error, n, effective = prefix_difference(events, rewards)
    assert abs(value - (cascade_value(BETTER) - cascade_value(SAFE))) < 5.0 * error
    assert n == 4_000
    assert 0.0 < effective <= n
    again = []
    for _ in range(100):
        drawn = rng.integers(0, n, 1_000)
        again.append(prefix_difference([events[i] for i in drawn], [rewards[i] for i in drawn])[0])
    bootstrap = np.std(again, ddof=1) * np.sqrt(1_000 / n)
    assert abs(error / bootstrap - 1.0) < 4.0 / np.sqrt(2.0 * 99)


def made_up(prefix: npt.ArrayLike, safe: npt.ArrayLike) -> JudgedEvent:
    return JudgedEvent(1, 0.0, np.zeros(len(prefix)), np.zeros(len(prefix)), np.array(prefix), np.array(safe), 1.0, 0.0)


@pytest.mark.statistical
def test_lists_of_different_length(event: Callable[..., EventRow]) -> None:
    rng = np.random.default_rng(1)
    events, rewards = [], []
    for _ in range(3_000):
        m = rng.integers(1, 4)
        events.append(made_up(rng.gamma(2.0, 0.5, m), np.ones(m)))
        rewards.append((rng.random(m) < [0.9, 0.5, 0.1][:m]).astype(float))
    value, error, n, _ = prefix_difference(events, rewards)
    # by hand: a position's mean times the share of lists that have it
    expected = 0.0
    for k in range(3):
        some = [(e.prefix[k], c[k]) for e, c in zip(events, rewards, strict=True) if len(c) > k]
        w, c = np.array(some).T
        expected += ((w * c).sum() / w.sum() - c.mean()) * len(some) / n
    assert value == pytest.approx(expected)
    again = []
    for _ in range(100):
        drawn = rng.integers(0, n, n)
        again.append(prefix_difference([events[i] for i in drawn], [rewards[i] for i in drawn])[0])
    assert abs(error / np.std(again, ddof=1) - 1.0) < 4.0 / np.sqrt(2.0 * 99)


def test_how_often_a_position_was_shown_is_uncertain_too() -> None:
    # a third of 90 lists have a second position; there the proposal has every click and the safe policy none, so that
    # the value is the share of such lists and nothing else varies
    events, rewards = [], []
    for i in range(90):
        m, c = 1 + (i % 3 == 0), float(i % 2)
        events.append(made_up([1.0, 2.0 * c][:m], [1.0, 2.0 - 2.0 * c][:m]))
        rewards.append(np.array([0.0, c][:m]))
    value, error, _, _ = prefix_difference(events, rewards)
    assert value == pytest.approx(1 / 3)
    assert error == pytest.approx(np.sqrt(1 / 3 * 2 / 3 / 89))


def test_fewer_than_two_drawn_events_have_no_prefix_difference() -> None:
    drawn, still = made_up([1.0], [1.0]), made_up([1.0], [1.0])._replace(prefix=None, safe_prefix=None)
    assert prefix_difference([], []) is None
    assert prefix_difference([drawn, still, still], [np.ones(1)] * 3) is None
    assert prefix_difference([drawn, still, drawn], [np.ones(1)] * 3) == (0.0, 0.0, 2, 2.0)


def test_weights_of_nothing_are_worth_nothing() -> None:
    both = [made_up([0.0], [1.0]), made_up([0.0], [1.0])]
    assert prefix_difference(both, [np.ones(1), np.ones(1)]) is None


def test_positions_are_read_down_to_where_a_few_lists_carry_everything() -> None:
    """Forty lists: all count at the first position, one alone (Kish 1, below a tenth of forty) at the second."""
    events = [made_up([1.0, 1e6 if i == 0 else 1.0, 1.0], [1.0, 1.0, 1.0]) for i in range(40)]
    rewards = [np.array([float(i % 2), 1.0, 1.0]) for i in range(40)]
    rewards[0] = np.array([0.0, -1.0, -1.0])
    value, _, n, effective = prefix_difference(events, rewards)
    # what stands below counts no more, not even where the weights would be even again
    assert (value, n, effective) == (0.0, 40, 40.0)
    even = [made_up([1.0, 1.0], [1.0, 1.0])] * 40
    assert prefix_difference(even, [c[:2] for c in rewards])[3] == 40.0


def test_kish_counts_equal_weights() -> None:
    assert kish(np.full(7, 0.3)) == pytest.approx(7.0)
    assert kish(np.array([1.0, 0.0, 0.0])) == 1.0
    assert kish(np.array([1.0, 3.0])) == pytest.approx(16.0 / 10.0)
    assert kish(np.zeros(5)) == kish(np.zeros(0)) == 0.0


def test_events_and_rewards_must_pair_up(event: Callable[..., EventRow]) -> None:
    one = judged(event, np.arange(4), proposed=BETTER)
    with pytest.raises(ValueError, match="zip"):
        differences([one], [])
