"""How often a canary errs and how soon it sees: users who come back, and who differ more than their events do.

Bounds never widen as users come, so the last bounds cover every look before them; that is checked on some runs by
looking every 50 users. Seeds are fixed; the stated rates say how often another seed would fail.
"""

import numpy as np
import pytest
from scipy import stats

from dwell.evaluation.online import CanaryVerdict, canary_verdict
from dwell.records.arrays import BoolArray, FloatArray, HashArray

pytestmark = pytest.mark.statistical

SHARE = 0.2
ALPHA = 0.1
N_USERS = 600
Log = tuple[HashArray, BoolArray, FloatArray]


def log_of(seed: int, gain: float, *, is_clustered: bool) -> Log:
    """Events of users in the order in which they come; a user's own rate of clicks, raised by `gain` in the canary.

    Clustered users come 1 to 15 times and click nearly always or nearly never; the rates drift as days pass.
    """
    rng = np.random.default_rng([seed, 41])
    n_events = rng.integers(1, 16, N_USERS) if is_clustered else np.ones(N_USERS, dtype=np.int64)
    arrival = np.repeat(np.arange(N_USERS), n_events) + rng.exponential(40.0, int(n_events.sum())) * is_clustered
    user = np.repeat(np.arange(N_USERS), n_events)[np.argsort(arrival, kind="stable")]
    in_canary = rng.random(N_USERS) < SHARE
    own = rng.beta(0.2, 0.3, N_USERS) if is_clustered else np.full(N_USERS, 0.4)
    drift = 0.3 * np.linspace(-1.0, 1.0, user.size) if is_clustered else np.zeros(user.size)
    rate = np.clip(own[user] + drift, 0.0, 1.0 - max(gain, 0.0)) + gain * in_canary[user]
    return user.astype(np.uint64), in_canary[user], (rng.random(user.size) < rate).astype(np.float64)


def verdict_on(log: Log, events_per_user: int) -> CanaryVerdict:
    return canary_verdict(*log, share=SHARE, alpha=ALPHA, events_per_user=events_per_user, low=0.0)


def test_no_difference_is_seen_where_there_is_none() -> None:
    # 200 logs, half of them clustered: at the full rate of .1, more than 33 has probability below 2e-3 (binomial)
    assert stats.binom.sf(33, 200, ALPHA) < 2e-3
    n_wrong = n_split = 0
    for seed in range(200):
        log = log_of(seed, 0.0, is_clustered=seed % 2 == 1)
        found = verdict_on(log, 1 + seed % 3 if seed % 2 else 1)
        n_wrong += found.difference.low > 0.0 or found.difference.high < 0.0
        n_split += found.reason.startswith("sample_ratio")
    print(f"\n{n_wrong} of 200 logs without a difference were wrong at some look, {n_split} splits refused")
    assert n_wrong <= 33
    assert n_split <= 2  # each at .001 at most: three or more of 200 has probability below 2e-3


def test_every_look_is_covered_by_the_last() -> None:
    for seed in range(6):
        user, arm, reward = log_of(seed, 0.0, is_clustered=True)
        last = verdict_on((user, arm, reward), 2).difference
        for n in range(400, user.size, 400):  # some 50 users each
            look = verdict_on((user[:n], arm[:n], reward[:n]), 2).difference
            assert look.low <= last.low + 1e-9  # bounds are found by bisection
            assert look.high >= last.high - 1e-9


def test_counting_events_instead_of_users_would_err() -> None:
    # what the scores are for: bets on events, as if each were a user of its own, refute the truth far too often
    n_wrong = 0
    for seed in range(1, 81, 2):
        _, arm, reward = log_of(seed, 0.0, is_clustered=True)
        as_users = np.arange(arm.size, dtype=np.uint64)
        found = verdict_on((as_users, arm, reward), 1).difference
        n_wrong += found.low > 0.0 or found.high < 0.0
    print(f"\n{n_wrong} of 40 clustered logs were wrong at some look, had each event been a user")
    assert n_wrong > 8  # of 40 where 4 are allowed


@pytest.mark.parametrize(("gain", "verdict"), [(0.3, "better"), (-0.3, "worse")])
def test_a_real_difference_is_seen(gain: float, verdict: str) -> None:
    # .3 on a rate of .4 among 600 users, 120 of them in the canary: some 6 standard errors of a fixed test
    n = sum(verdict_on(log_of(seed, gain, is_clustered=False), 1).verdict == verdict for seed in range(20))
    print(f"\n{n} of 20 logs with a difference of {gain:+} were {verdict}")
    assert n >= 18
