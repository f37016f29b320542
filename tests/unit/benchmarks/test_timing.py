import math

import numpy as np
import pytest

from _timing import Contestant, Interval, interval, race, ratio, verdict


def test_a_race_takes_turns_and_throws_its_first_round_away() -> None:
    asked: list[str] = []
    given: list[tuple[str, int]] = []

    def contestant(name: str) -> Contestant:
        def prepare(n_calls: int) -> list[int]:
            asked.append(name)
            return [len(asked) * 100 + i for i in range(n_calls)]

        return Contestant(name, prepare, lambda one: given.append((name, one)), 3)

    seconds = race([contestant("a"), contestant("b")], n_rounds=2)
    assert {name: found.shape for name, found in seconds.items()} == {"a": (2,), "b": (2,)}
    # one round more than asked for; the first of each is another one than in the round before
    assert [asked[i : i + 2] for i in (0, 2, 4)] == [["b", "a"], ["a", "b"], ["b", "a"]]
    assert len(given) == 3 * 2 * 3
    assert len(set(given)) == len(given)  # no input comes twice


def test_a_race_counts_what_the_clock_says_per_call() -> None:
    now = [0.0]

    def spend(seconds: float) -> None:
        now[0] += seconds

    slow = Contestant("slow", lambda n: [6.0] * n, spend, 5)
    fast = Contestant("fast", lambda n: [2.0] * n, spend, 50)
    seconds = race([slow, fast], n_rounds=3, clock=lambda: now[0])
    assert ratio(seconds["slow"], seconds["fast"]) == Interval(3.0, 3.0, 3.0)


@pytest.mark.parametrize("n", [3, 5, 6, 9, 11, 30])
def test_an_interval_is_the_narrowest_pair_of_order_statistics_that_holds_the_median(n: int) -> None:
    values = np.random.default_rng(n).permutation(n).astype(float)  # rank i is the value i
    found = interval(values)

    def coverage(k: int) -> float:  # the k-th smallest to the k-th largest: fewer than k values on either side fail
        return 1.0 - 2.0 * sum(math.comb(n, i) for i in range(k)) / 2.0**n

    legal = [k for k in range(1, n // 2 + 1) if coverage(k) >= 0.95]
    k = max(legal, default=1)
    assert (found.low, found.high) == (k - 1, n - k)
    assert found.value == (n - 1) / 2


@pytest.mark.parametrize(
    ("found", "at_least", "said"),
    [
        (Interval(2.0, 1.6, 2.2), True, "met"),
        (Interval(2.0, 1.5, 2.2), True, "met"),
        (Interval(1.0, 0.9, 1.4), True, "**not met**"),
        (Interval(1.6, 1.4, 1.7), True, "tie, median met"),
        (Interval(1.4, 1.3, 1.6), True, "tie, median **not met**"),
        (Interval(1.0, 0.9, 1.4), False, "met"),
        (Interval(2.0, 1.6, 2.2), False, "**not met**"),
        (Interval(1.4, 1.3, 1.6), False, "tie, median met"),
    ],
)
def test_a_promise_of_one_and_a_half(found: Interval, at_least: bool, said: str) -> None:  # noqa: FBT001 - a case
    assert verdict(found, 1.5, at_least=at_least) == said
