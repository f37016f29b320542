"""A canary's scores and verdict in small cases; how often it errs is in tests/statistical/test_online.py."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from dwell.errors import EvaluationError
from dwell.evaluation.online import CanaryVerdict, anytime_estimate, canary_verdict, user_scores


def users(*names: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return np.array(names, dtype=np.uint64)


def judged(scores: list[float], is_canary: list[bool], **settings: float) -> CanaryVerdict:
    """One event per user."""
    chosen: dict[str, Any] = {"share": 0.5, "alpha": 0.05, **settings}
    return canary_verdict(
        np.arange(len(scores), dtype=np.uint64), np.array(is_canary, dtype=np.bool_), np.array(scores), **chosen
    )


def test_users_score_in_the_order_in_which_they_have_enough() -> None:
    hashes = users(7, 3, 3, 7, 9, 3, 7)
    arms = np.array([True, False, False, True, True, False, True])
    rewards = np.array([0.1, 0.2, 0.4, 0.5, 0.9, -1.0, -1.0])
    one = user_scores(hashes, arms, rewards)
    np.testing.assert_allclose(one.score, [0.1, 0.2, 0.9])
    np.testing.assert_array_equal(one.is_canary, [True, False, True])
    two = user_scores(hashes, arms, rewards, events_per_user=2)
    np.testing.assert_allclose(two.score, [0.3, 0.3])  # 3 has two before 7 has, 9 never has
    np.testing.assert_array_equal(two.is_canary, [False, True])


def test_scores_of_a_prefix_are_a_prefix_of_the_scores() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 12, 80).astype(np.uint64)
    arms, rewards = hashes % 3 == 0, rng.random(80)
    whole = user_scores(hashes, arms, rewards, events_per_user=3)
    for n in range(0, 80, 7):
        part = user_scores(hashes[:n], arms[:n], rewards[:n], events_per_user=3)
        np.testing.assert_array_equal(part.score, whole.score[: part.score.size])
        np.testing.assert_array_equal(part.is_canary, whole.is_canary[: part.score.size])


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_difference_is_unbiased_over_all_assignments(share: float) -> None:
    # each user has a reward under either arm; all 2^n assignments, weighted by their chance
    live, canary = np.array([0.2, -0.5, 0.9, 0.0]), np.array([0.6, 0.1, 0.3, 1.0])
    expected = 0.0
    for arms in itertools.product([False, True], repeat=4):
        chance = math.prod(share if arm else 1.0 - share for arm in arms)
        expected += chance * judged(np.where(arms, canary, live).tolist(), list(arms), share=share).difference.value
    assert expected == pytest.approx(float((canary - live).mean()), abs=1e-12)


def test_the_difference_by_hand() -> None:
    # centres: the middle of the bounds, then the mean of the scores before
    found = judged([0.5, 1.0, 0.0], [True, False, True], share=0.25, low=0.0)
    x = [(0.5 - 0.5) * 4.0, -(1.0 - 0.5) / 0.75, (0.0 - 0.75) * 4.0]
    assert found.difference.value == pytest.approx(sum(x) / 3.0)
    w = [4.0, 1.0 / 0.75, 4.0]
    assert found.difference.effective_sample_size == pytest.approx(sum(w) ** 2 / sum(v * v for v in w))
    assert (found.n_users, found.n_canary_users, found.difference.n) == (3, 2, 3)


def test_bounds_never_widen_as_users_come() -> None:
    rng = np.random.default_rng(1)
    arms = (rng.random(400) < 0.5).tolist()
    scores = (rng.random(400) < np.where(arms, 0.8, 0.2)).astype(float).tolist()
    looks = [judged(scores[:n], arms[:n]).difference for n in range(50, 401, 50)]
    assert all(b.low >= a.low - 1e-9 and b.high <= a.high + 1e-9 for a, b in itertools.pairwise(looks))
    assert looks[-1].low > 0.0


@pytest.mark.parametrize(("sign", "verdict"), [(1.0, "better"), (-1.0, "worse")])
def test_a_clear_difference_is_seen_with_its_sign(sign: float, verdict: str) -> None:
    arms = [bool(i % 2) for i in range(200)]
    found = judged([sign * (0.5 if arm else -0.5) for arm in arms], arms)
    assert found.verdict == verdict
    assert found.reason.startswith(f"{verdict}: {sign * 1.0:+.1f}")


def test_what_began_well_and_turned_is_undecided() -> None:
    arms = [bool(i % 2) for i in range(2_000)]
    scores = [(0.5 if arm == (i < 500) else -0.5) for i, arm in enumerate(arms)]
    assert judged(scores[:500], arms[:500]).verdict == "better"
    assert judged(scores, arms).verdict == "undecided"


def test_a_split_that_is_not_the_share_decides_nothing() -> None:
    arms = [bool(i % 2) for i in range(400)]
    scores = [0.5 if arm else -0.5 for arm in arms]
    found = judged(scores, arms, share=0.1)
    assert found.verdict == "undecided"
    assert found.reason.startswith("sample_ratio: 200 of 400 users")


def test_nobody_says_nothing() -> None:
    found = judged([], [])
    assert (found.verdict, found.n_users, found.difference.value) == ("undecided", 0, 0.0)
    assert found.reason.startswith("too_few_users")
    assert (found.difference.low, found.difference.high) == (-4.0, 4.0)  # nothing is known within the bounds


def test_half_of_alpha_is_spent_on_each_side() -> None:
    # wealth of equal values c against 0 with a capped bet .97 / bound: (1 + .97 c / bound)^n once the cap binds
    x = np.full(40, 1.0)
    found = anytime_estimate(x, 0.1, bound=1.0, weights=np.ones(40))
    other = anytime_estimate(-x, 0.1, bound=1.0, weights=np.ones(40))
    assert found.low == pytest.approx(-other.high)
    assert found.low < anytime_estimate(x, 0.2, bound=1.0, weights=np.ones(40)).low


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"user_hashes": np.arange(2)}, "user_hashes"),
        ({"is_canary": np.array([0, 1])}, "is_canary"),
        ({"is_canary": np.array([True])}, "is_canary"),
        ({"user_hashes": users(1, 1)}, "is_canary"),
        ({"rewards": np.array([0.0, math.nan])}, "rewards"),
        ({"rewards": np.array([0.0, 1.1])}, "rewards"),
        ({"rewards": np.zeros(3)}, "rewards"),
        ({"share": 0.0}, "share"),
        ({"share": 1.0}, "share"),
        ({"share": True}, "share"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 1.0}, "alpha"),
        ({"events_per_user": 0}, "events_per_user"),
        ({"events_per_user": True}, "events_per_user"),
        ({"low": 1.0}, "low"),
        ({"high": math.inf}, "low"),
    ],
)
def test_what_can_not_be_judged_is_refused_by_name(changed: dict[str, Any], field: str) -> None:
    given: dict[str, Any] = {
        "user_hashes": users(1, 2),
        "is_canary": np.array([True, False]),
        "rewards": np.zeros(2),
        "share": 0.5,
        "alpha": 0.05,
        **changed,
    }
    with pytest.raises(EvaluationError) as caught:
        canary_verdict(given.pop("user_hashes"), given.pop("is_canary"), given.pop("rewards"), **given)
    assert caught.value.field == field
