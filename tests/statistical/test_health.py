"""How often health cries wolf, and how often it sees the wolf; fixed seeds.

A stationary stream of independent lists raises `reward_drift` with probability below 1e-4 by its KS test alone, half of
that since only falls count: 600 looks below are silent with probability 0.97 or more. Where a test does not say
otherwise it passes for these seeds always or never.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dwell.health import HealthSnapshot, report_health
from dwell.health.drift import drift_of, kolmogorov_smirnov
from dwell.health.feedback import DRIFT_ALPHA
from dwell.health.snapshot import ListsSeen, Scored, SignalsSeen
from dwell.testing.users import CascadeUser, PositionBasedUser, SimulatedUser

N_STREAMS = 300
NOW = 1_700_000_000.0


def reward_check(rewards: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    n = rewards.size
    given = HealthSnapshot(
        now=NOW, capacity=2 * n, states={"closed": n}, served_at=NOW - np.arange(n, 0.0, -1.0), rewards=rewards,
        user_hashes=np.arange(n, dtype=np.uint64), has_user=np.ones(n, dtype=bool),
        query_hashes=np.arange(n, dtype=np.uint64), segment_codes=np.zeros(n, dtype=np.int64), segments={0: None},
        is_held_out=np.zeros(n, dtype=bool), priorities=np.ones(n), counters={}, n_signals=n, live_version=0,
        n_promotions=0, last_verdict="",
    )  # fmt: skip
    found = report_health(given).check("reward_drift")
    assert found is not None
    return found.severity


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_rewards_of_a_stationary_stream_raise_no_alarm(rate: float) -> None:
    told = []
    for seed in range(N_STREAMS):
        rng = np.random.default_rng([seed, 1])
        told.append(reward_check(np.where(rng.random(1_500) < rate, rng.random(1_500), 0.0)))
    assert told == ["ok"] * N_STREAMS


def test_a_fall_to_a_third_is_seen_and_a_rise_to_three_times_is_none() -> None:
    seen = {"fall": 0, "rise": 0}
    for seed in range(100):
        rng = np.random.default_rng([seed, 2])
        for what, before, lately in (("fall", 0.3, 0.1), ("rise", 0.1, 0.3)):
            rates = np.where(np.arange(2_500) < 2_250, before, lately)
            rewards = np.where(rng.random(2_500) < rates, rng.random(2_500), 0.0)
            seen[what] += reward_check(rewards) == "warning"
    # 250 lists lately: the difference of .2 of the distribution functions is 3 critical distances of 1e-4 away from 0
    assert seen["fall"] >= 95
    assert seen["rise"] == 0


def test_probabilities_of_the_distance_are_uniform_where_nothing_changed() -> None:
    rng = np.random.default_rng(3)
    found = [kolmogorov_smirnov(rng.random(1_000), rng.random(200))[1] for _ in range(400)]
    # a uniform sample of 400 is further than this from uniform with probability 1e-3
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_features_of_one_world_do_not_drift() -> None:
    n_alarms = 0
    for seed in range(N_STREAMS):
        rng = np.random.default_rng([seed, 4])
        found = drift_of(rng.lognormal(size=1_000), rng.lognormal(size=300))
        n_alarms += found.psi > 0.25 and found.p_value < DRIFT_ALPHA / 10
    assert n_alarms == 0


def healthy(seed: int, user: SimulatedUser, n: int = 4_000) -> HealthSnapshot:
    """Return what a sound loop of n lists looks like: users of a power law, queries of another, clicks by a model."""
    rng = np.random.default_rng([seed, 5])
    d, k = 12, 6
    features = rng.normal(size=(n, d, 3))
    grades = 1.0 / (1.0 + np.exp(2.0 - 2.0 * features[..., 0]))
    scores = features @ np.array([0.7, 0.5, 0.5])
    scaled = scores / (0.3 * scores.std(axis=1, keepdims=True)) + rng.gumbel(size=scores.shape)
    order = np.argsort(-scaled, axis=1)
    shown = order[:, :k]
    clicks = user.clicks(np.take_along_axis(grades, shown, axis=1), rng)
    served_at = NOW - np.sort(rng.random(n))[::-1] * 86_400.0 * 10
    kept = np.take_along_axis(features, order[..., None], axis=1).astype(np.float32)

    def window(rows: slice) -> ListsSeen:
        m = len(kept[rows])
        return ListsSeen(
            kept[rows], np.ones((m, d)), order[rows], np.full(m, d), np.full(m, k), np.zeros(m, dtype=bool),
            np.full(m, 2),
        )  # fmt: skip

    delays = rng.exponential(20.0, int(clicks[-2_000:].sum()))
    return HealthSnapshot(
        now=NOW, capacity=10_000, states={"closed": n}, served_at=served_at,
        rewards=0.5 * clicks.any(axis=1) + 0.1 * clicks.sum(axis=1) / k,
        user_hashes=(rng.zipf(1.6, n) % 500).astype(np.uint64), has_user=rng.random(n) < 0.8,
        query_hashes=(rng.zipf(1.4, n) % 900).astype(np.uint64),
        segment_codes=rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1]), segments=dict(enumerate("abcd")),
        is_held_out=rng.random(n) < 0.3, priorities=rng.random(n),
        counters={"impressions": n, "fallback": n // 500, "feedback_joined": 2_000, "feedback_late": 40},
        n_signals=int(clicks.sum()), live_version=2, n_promotions=2, last_verdict="hold: not_yet",
        signals=SignalsSeen(2_000, int(clicks[-2_000:].any(axis=1).sum()), delays, 1_800.0),
        feature_names=("a", "b", "c"), newest=window(slice(-400, None)), reference=window(slice(0, -400, 4)),
        drawn=[Scored(scores[i], shown[i], float(scores[i].std())) for i in range(n - 200, n)],
    )  # fmt: skip


@pytest.mark.parametrize("user", [PositionBasedUser(), CascadeUser()], ids=["position", "cascade"])
def test_twenty_healthy_loops_raise_no_alert(user: SimulatedUser) -> None:
    reports = [report_health(healthy(seed, user)) for seed in range(20)]
    assert [[alert.code for alert in report.alerts] for report in reports] == [[]] * 20
    assert {report.status for report in reports} == {"healthy"}
