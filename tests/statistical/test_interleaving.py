"""How often interleaving errs and how soon it sees: drafts of two policies' draws, users who come back.

Both policies draw Plackett-Luce rankings with the same noise, as the loop serves them. Bounds never widen as lists
come, so the last bounds cover every look before them. Seeds are fixed; the stated rates say how often another seed
would fail.
"""

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from dwell.evaluation.influence import sequential_user_weights
from dwell.evaluation.interleaving import InterleavingVerdict, drafted, interleaved_credit, interleaving_verdict
from dwell.ranking import draw_ranking
from dwell.records.arrays import FloatArray, IntArray

pytestmark = pytest.mark.statistical

ALPHA = 0.1
N_LISTS = 200
K = 5
N_QUERIES = 40


class Drafts(NamedTuple):
    """Lists by query and coins, (40, 8, 5): their teams, and how much more the proposal makes of each document."""

    team: IntArray
    gain: FloatArray


@lru_cache(maxsize=1)
def drafts() -> Drafts:
    """Queries of 8 documents: the proposal orders them by one number, the live params by another."""
    rng = np.random.default_rng(42)
    team, gain = np.zeros((N_QUERIES, 8, K), dtype=np.int64), np.zeros((N_QUERIES, 8, K))
    for i in range(N_QUERIES):
        a, b = rng.normal(size=8), rng.normal(size=8)
        first, second = (draw_ranking(scores, 0.3, K, np.random.default_rng(i)).order for scores in (a, b))
        for j, coins in enumerate(itertools.product([True, False], repeat=3)):
            found = drafted(first, second, K, coins)
            team[i, j], gain[i, j] = found.team, (a - b)[found.order]
    return Drafts(team, gain)


def verdict_on(seed: int, *, preference: float, is_clustered: bool) -> InterleavingVerdict:
    """Users look at position k with 1/k, and click at a rate of their own and by what the proposal makes more of.

    Clustered users come by Zipf's law: a few of them make most of the log.
    """
    rng = np.random.default_rng([seed, 43])
    user = rng.zipf(1.6, N_LISTS) % 60 if is_clustered else np.arange(N_LISTS)
    own = rng.uniform(0.1, 0.9, N_LISTS)
    which = rng.integers(N_QUERIES, size=N_LISTS), rng.integers(8, size=N_LISTS)  # fair coins
    rate = np.clip(own[user][:, None] + preference * drafts().gain[which], 0.0, 1.0)
    clicks = (rng.random((N_LISTS, K)) < rate / np.arange(1, K + 1)).astype(np.float64)
    credit = np.array([interleaved_credit(*one) for one in zip(drafts().team[which], clicks, strict=True)])
    return interleaving_verdict(credit, alpha=ALPHA, weights=sequential_user_weights(user.astype(np.uint64)))


def test_no_preference_is_seen_where_there_is_none() -> None:
    # 120 logs, half of them clustered: at the full rate of .1, more than 22 has probability below 2e-3 (binomial)
    assert stats.binom.sf(22, 120, ALPHA) < 2e-3
    found = [verdict_on(seed, preference=0.0, is_clustered=seed % 2 == 1).difference for seed in range(120)]
    n_wrong = sum(one.low > 0.0 or one.high < 0.0 for one in found)
    print(f"\n{n_wrong} of 120 logs without a preference were wrong at some look")
    assert n_wrong <= 22


@pytest.mark.parametrize(("preference", "verdict"), [(0.15, "first"), (-0.15, "second")])
def test_a_preference_is_seen(preference: float, verdict: str) -> None:
    n = sum(verdict_on(s, preference=preference, is_clustered=False).verdict == verdict for s in range(12))
    print(f"\n{n} of 12 logs with a preference of {preference:+} were {verdict}")
    assert n >= 10
