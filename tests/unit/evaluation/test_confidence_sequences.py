"""The streaming sequence is the vectorised one, and the first step is theorem 2 by hand."""

import math

import numpy as np
import pytest

from dwell.errors import EvaluationError
from dwell.evaluation.betting import lower_bound
from dwell.evaluation.confidence_sequences import BernsteinSequence, betting_bounds, running_bernstein


def test_streaming_and_vectorised_are_the_same() -> None:
    x = np.random.default_rng(0).uniform(-2.0, 3.0, 200)
    whole = running_bernstein(x, 0.05, low=-2.0, high=3.0)
    part = BernsteinSequence(alpha=0.05, low=-2.0, high=3.0)
    for i, value in enumerate(x):
        part = part.plus(float(value))
        assert part.interval == pytest.approx((whole.low[i], whole.high[i]), abs=1e-12)
    assert whole.high[-1] - whole.low[-1] < 2.0


def test_many_equal_values_follow_theorem_2_step_by_step() -> None:
    n, log = 400, math.log(2 / 0.05)
    mean, variance, bets, hits, cost, lows = 0.5, 0.25, 0.0, 0.0, 0.0, [0.0]
    spread = 0.25
    for t in range(1, n + 1):
        bet = min(math.sqrt(2 * log / (variance * t * math.log(1 + t))), 0.5)
        bets, hits = bets + bet, hits + bet
        cost += 4 * (1 - mean) ** 2 * (-math.log(1 - bet) - bet) / 4
        mean = (0.5 + t) / (t + 1)
        spread += (1 - mean) ** 2
        variance = spread / (t + 1)
        lows.append(max(lows[-1], (hits - log - cost) / bets))
    found = running_bernstein(np.ones(n), 0.05, low=0.0, high=1.0)
    assert found.low == pytest.approx(lows[1:], abs=1e-12)
    assert lows[-1] > 0.9


def test_betting_bets_half_of_the_error_on_each_side() -> None:
    x = np.random.default_rng(1).uniform(0.0, 1.0, 300)
    low, high = betting_bounds(x, 0.1, low=0.0, high=1.0)
    assert low == lower_bound(x, 0.05, floor=0.0)
    assert high == -lower_bound(-x, 0.05, floor=-1.0)


def test_what_is_outside_of_the_range_is_refused() -> None:
    for x in (np.array([2.0]), np.array([math.nan])):
        with pytest.raises(EvaluationError):
            running_bernstein(x, 0.05, low=0.0, high=1.0)
        with pytest.raises(EvaluationError):
            BernsteinSequence(alpha=0.05, low=0.0, high=1.0).plus(float(x[0]))
