"""Team drafts by all their coins: who drafts, how likely a list is, and who wins."""

import itertools
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from dwell.errors import EvaluationError
from dwell.evaluation.interleaving import (
    Interleaved,
    draft_probability,
    drafted,
    interleaved_credit,
    interleaving_verdict,
    team_draft,
)
from dwell.records.arrays import FloatArray, IntArray


def all_drafts(first: IntArray, second: IntArray, k: int) -> list[Interleaved]:
    """One draft per sequence of coins, all equally likely."""
    return [drafted(first, second, k, coins) for coins in itertools.product([True, False], repeat=(k + 1) // 2)]


def pairs(n: int = 60) -> Iterator[tuple[IntArray, IntArray, int]]:
    """Pairs of rankings: the same documents, others, and lists of different length; often with a common prefix."""
    rng = np.random.default_rng(0)
    for i in range(n):
        first = rng.permutation(5)
        second = rng.permutation(5) if i % 3 else rng.permutation(8)
        if i % 4 == 0:
            second = np.concatenate([first[:2], second[~np.isin(second, first[:2])]])
        yield (
            first[: rng.integers(1, 6)] if i % 2 else first,
            second[: rng.integers(1, 9)] if i % 2 else second,
            i % 6 + 1,
        )


def by_team_size(first: IntArray, second: IntArray, k: int, coins: tuple[bool, ...]) -> Interleaved:
    """The draft as Radlinski et al. state it, for the same documents: who has drafted fewer, or else the coin."""
    order: list[int] = []
    team: list[int] = []
    for a, b in zip(first, second, strict=True):
        if a != b or len(order) == k:
            break
        order.append(int(a))
        team.append(0)
    flips = iter(coins)
    while len(order) < min(k, first.size):
        ones, others = team.count(1), team.count(-1)
        is_first = ones < others or (ones == others and next(flips))
        order.append(int(next(doc for doc in (first if is_first else second) if doc not in order)))
        team.append(1 if is_first else -1)
    return Interleaved(np.array(order), np.array(team))


def test_the_draft_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        first, second, k = rng.permutation(5), rng.permutation(5), int(rng.integers(1, 5))
        for coins in itertools.product([True, False], repeat=3):
            found, expected = drafted(first, second, k, coins), by_team_size(first, second, k, coins)
            np.testing.assert_array_equal(found.order, expected.order)
            np.testing.assert_array_equal(found.team, expected.team)


def test_a_draft_by_hand() -> None:
    first, second = np.array([4, 0, 1, 2]), np.array([4, 2, 0, 1])
    found = drafted(first, second, 4, [False, True])
    np.testing.assert_array_equal(found.order, [4, 2, 0, 1])
    np.testing.assert_array_equal(found.team, [0, -1, 1, 1])


def test_every_list_is_full_and_names_each_document_once() -> None:
    for first, second, k in pairs():
        union = set(first.tolist()) | set(second.tolist())
        for order, team in all_drafts(first, second, k):
            assert len(set(order.tolist())) == order.size == team.size == min(k, len(union))
            assert set(order.tolist()) <= union
            assert set(order[team == 1].tolist()) <= set(first.tolist())
            assert set(order[team == -1].tolist()) <= set(second.tolist())
            assert abs(int(team.sum())) <= 1


def test_equal_rankings_draft_for_nobody() -> None:
    found = team_draft(np.array([3, 1, 2]), np.array([3, 1, 2]), 3, np.random.default_rng(0))
    np.testing.assert_array_equal(found.order, [3, 1, 2])
    np.testing.assert_array_equal(found.team, 0)


def test_the_rest_of_a_longer_list_is_for_nobody() -> None:
    found = drafted(np.array([0, 1, 2, 3]), np.array([9]), 4, [True, True])
    np.testing.assert_array_equal(found.order, [0, 9, 1, 2])
    np.testing.assert_array_equal(found.team, [1, -1, 0, 0])


def test_a_draft_without_an_answer_is_for_nobody() -> None:
    first, second = np.array([5, 0, 1]), np.array([6, 0])
    without = drafted(first, second, 4, [True, True])  # the first takes 0, the last that the second had
    np.testing.assert_array_equal(without.order, [5, 6, 0, 1])
    np.testing.assert_array_equal(without.team, [1, -1, 0, 0])
    answered = drafted(first, second, 4, [True, False])
    np.testing.assert_array_equal(answered.team, [1, -1, -1, 1])


def test_the_probability_of_a_list_is_its_share_of_all_coins() -> None:
    for first, second, k in pairs():
        drafts = all_drafts(first, second, k)
        counted = Counter(tuple(order.tolist()) for order, _ in drafts)
        for order, n in counted.items():
            assert draft_probability(first, second, np.array(order)) == n / len(drafts)
        length = len(next(iter(counted)))
        union = sorted(set(first.tolist()) | set(second.tolist()))
        if len(union) <= 6:
            for order in itertools.permutations(union, length):
                if order not in counted:
                    assert draft_probability(first, second, np.array(order)) == 0.0


def test_coins_are_fair_and_their_number_does_not_depend_on_the_rankings() -> None:
    first, second = np.array([0, 1]), np.array([1, 0])
    rng = np.random.default_rng(2)
    starts = sum(int(team_draft(first, second, 1, rng).team[0]) for _ in range(2_000))
    assert abs(starts) < 4 * 2_000**0.5  # four standard deviations of fair coins
    a, b = np.random.default_rng(3), np.random.default_rng(3)
    team_draft(first, second, 5, a)
    team_draft(first, first, 5, b)
    assert a.random() == b.random()


def test_who_clicks_anything_prefers_nobody() -> None:
    # one click, on each shown document equally likely: expected credit is 0 exactly, whatever the lists
    for first, second, k in pairs():
        total = 0.0
        for order, team in all_drafts(first, second, k):
            total += sum(interleaved_credit(team, row) for row in np.eye(order.size))
        assert total == 0.0


def expected_credit(first: IntArray, second: IntArray, k: int, relevance: FloatArray) -> float:
    """Users look at one shown document, any, and click by its relevance; over all coins and looks."""
    total, drafts = 0.0, all_drafts(first, second, k)
    for order, team in drafts:
        chance = relevance[order] / order.size
        total += sum(p * interleaved_credit(team, row) for p, row in zip(chance, np.eye(order.size), strict=True))
    return total / len(drafts)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_better_ranker_wins_in_expectation(k: int) -> None:
    relevance = np.array([0.8, 0.4, 0.2, 0.1])
    best = np.arange(4)
    for other in itertools.permutations(range(4)):
        second = np.array(other)
        credit = expected_credit(best, second, k, relevance)
        assert credit == pytest.approx(-expected_credit(second, best, k, relevance), abs=1e-12)
        if (second[:k] == best[:k]).all():
            assert credit == 0.0
        else:
            assert credit > 1e-3, other


def test_credit_is_the_difference_over_the_whole() -> None:
    team = np.array([1, -1, 0, -1, 1])
    assert interleaved_credit(team, np.array([1.0, 0.0, 1.0, 0.0, 0.0])) == 1.0
    assert interleaved_credit(team, np.array([0.0, 0.5, 1.0, 0.0, 0.0])) == -1.0
    assert interleaved_credit(team, np.array([0.5, 0.25, 9.0, 0.25, 1.0])) == pytest.approx((1.5 - 0.5) / 2.0)
    assert interleaved_credit(team, np.array([-1.0, 0.0, 0.0, 0.0, 0.0])) == -1.0  # a dislike counts against its team
    assert interleaved_credit(team, np.array([0.0, 0.0, 1.0, 0.0, 0.0])) == 0.0
    assert interleaved_credit(team, np.zeros(5)) == 0.0


def test_verdicts_have_the_sign_of_the_credit() -> None:
    x = np.where(np.arange(200) % 4 == 0, -1.0, 1.0)  # mean .5
    found = interleaving_verdict(x, alpha=0.05)
    assert found.verdict == "first"
    assert found.difference.value == 0.5
    assert interleaving_verdict(-x, alpha=0.05).verdict == "second"
    assert interleaving_verdict(x[:4], alpha=0.05).verdict == "undecided"
    assert interleaving_verdict(np.zeros(0), alpha=0.05).difference.n == 0
    turned = np.concatenate([np.ones(100), -np.ones(400)])
    assert interleaving_verdict(turned, alpha=0.05).verdict == "undecided"


def test_weights_take_out_what_one_user_repeats() -> None:
    x = np.ones(100)
    weights = np.zeros(100)
    weights[:3] = 1.0
    assert interleaving_verdict(x, alpha=0.05).verdict == "first"
    found = interleaving_verdict(x, alpha=0.05, weights=weights)
    assert found.verdict == "undecided"
    assert found.difference.effective_sample_size == 3.0


def test_false_verdicts_stay_below_alpha() -> None:
    # bounds never widen: whoever looked at any time is covered by the last look. At the full rate of .1, more than 33
    # of 200 has probability below 2e-3 (binomial)
    rng = np.random.default_rng(4)
    runs = [interleaving_verdict(rng.choice([-1.0, 0.0, 1.0], 300), alpha=0.1).difference for _ in range(200)]
    assert sum(found.low > 0.0 or found.high < 0.0 for found in runs) <= 33


RANKING = np.array([0, 1])


@pytest.mark.parametrize(
    ("first", "second", "k", "coins", "field"),
    [
        (np.zeros(0, dtype=np.int64), RANKING, 1, [True], "first"),
        (np.array([0.0, 1.0]), RANKING, 1, [True], "first"),
        (np.array([-1, 1]), RANKING, 1, [True], "first"),
        (RANKING, np.array([1, 1]), 1, [True], "second"),
        (RANKING, np.array([[1, 0]]), 1, [True], "second"),
        (RANKING, RANKING, 0, [True], "k"),
        (RANKING, RANKING, True, [True], "k"),
        (RANKING, np.array([1, 0]), 2, [], "coins"),
    ],
)
def test_what_can_not_be_drafted_is_refused_by_name(
    first: IntArray, second: IntArray, k: int, coins: list[bool], field: str
) -> None:
    with pytest.raises(EvaluationError) as caught:
        drafted(first, second, k, coins)
    assert caught.value.field == field


def test_what_can_not_be_credited_is_refused_by_name() -> None:
    for call, field in (
        (lambda: interleaved_credit(np.array([2]), np.zeros(1)), "team"),
        (lambda: interleaved_credit(np.array([1]), np.zeros(2)), "rewards"),
        (lambda: interleaved_credit(np.array([1]), np.array([np.nan])), "rewards"),
        (lambda: interleaving_verdict(np.array([1.5]), alpha=0.05), "credit"),
        (lambda: interleaving_verdict(np.array([np.nan]), alpha=0.05), "credit"),
        (lambda: interleaving_verdict(np.array([1.0]), alpha=0.0), "alpha"),
        (lambda: interleaving_verdict(np.array([1.0]), alpha=0.05, weights=np.array([2.0])), "weights"),
        (lambda: interleaving_verdict(np.array([1.0]), alpha=0.05, weights=np.ones(2)), "weights"),
    ):
        with pytest.raises(EvaluationError) as caught:
            call()
        assert caught.value.field == field
