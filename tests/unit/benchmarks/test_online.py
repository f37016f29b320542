"""The benchmark of online judging: its pool is what it says, and its stops are the verdicts'."""

import numpy as np
import pytest
from scipy import stats

import online
from dwell.evaluation.online import canary_verdict
from online import Pool, first_look, median_interval, one_run, pool_of, table


def test_a_pool_gains_what_was_asked_for() -> None:
    pool = pool_of(np.random.default_rng(0), gain=0.05, n_questions=40, n_draws=12)
    gain = pool.proposed.sum() / pool.live.sum() - 1.0
    # the gain is measured on 400 draws a question and paired: 12 draws of 40 questions leave some .4 %
    assert gain == pytest.approx(0.05, abs=0.015)
    assert abs(pool.team.sum(axis=2)).max() <= 1
    # what both draft lies between what each would show, as far as its coins go
    assert pool.live.sum() < pool.drafted.sum() * 1.01


def made(difference: float) -> Pool:
    """Two positions: whoever drafts the first is clicked there by the difference more often."""
    team = np.array([[[1, -1], [-1, 1]]])
    drafted = 0.4 + 0.5 * difference * team
    return Pool(np.full((1, 2, 2), 0.4), np.full((1, 2, 2), 0.4 + difference), drafted, team)


def test_a_difference_is_seen_by_both_and_none_by_neither() -> None:
    found = one_run(made(0.3), 0.5, 3_000, np.random.default_rng(1))
    assert found.split is not None
    assert found.interleaved is not None
    equal = one_run(made(0.0), 0.5, 1_000, np.random.default_rng(2))
    assert (equal.split, equal.interleaved) == (None, None)


def test_the_first_look_is_the_first_with_a_verdict() -> None:
    rng = np.random.default_rng(3)
    n = 2_000
    arm = rng.random(n) < 0.5
    rewards = 0.5 * (rng.random(n) < np.where(arm, 0.6, 0.3))
    users = np.arange(n, dtype=np.uint64)

    def low(m: int) -> float:
        return canary_verdict(users[:m], arm[:m], rewards[:m], share=0.5, alpha=0.05).difference.low

    assert first_look(low, n) == next(m for m in range(online.EVERY, n + 1, online.EVERY) if low(m) > 0.0)
    assert first_look(lambda _: 0.0, n) is None


def test_the_interval_of_a_median_is_that_of_the_binomial() -> None:
    middle, low, high = median_interval(list(range(1, 21)))
    rank = int(stats.binom.ppf(0.025, 20, 0.5))
    assert (middle, low, high) == (10.0, float(rank), float(21 - rank))
    assert median_interval([1.0, np.inf, 2.0])[2] == np.inf


def test_what_was_not_seen_is_said() -> None:
    lines = table([online.Run(share, None, 300) for share in online.SHARES for _ in range(7)], 600)
    assert lines[2].startswith("| 20% | over 600 (over 600 to over 600) | 0 of 7 | 300 (300 to 300) | 7 of 7 |")
    assert "at least 2.0 (2.0 to 2.0)" in lines[2]
