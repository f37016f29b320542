"""Draws follow their laws. Seeds are fixed; each check alarms falsely with probability 1e-6 over the choice of seeds.

70 checks at 1e-6: one false alarm in 14,000 choices of all seeds.
"""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from dwell.records import Experience
from dwell.replay import ReplayBuffer
from dwell.replay.sum_tree import SumTree

pytestmark = pytest.mark.statistical

FALSE_ALARM = 1e-6
HALF_LIFE_S = 100.0
ALPHA = 0.6
N = 60


def made(seed: int) -> ReplayBuffer:
    """60 experiences that are left of 100, after evictions, removals and updates; zeros among the priorities."""
    rng = np.random.default_rng(seed)
    buffer = ReplayBuffer(70, alpha=ALPHA, half_life_s=HALF_LIFE_S, seed=seed)
    for i in range(100):
        buffer.add(
            Experience(
                f"e{i}",
                1e9 + 400.0 * float(rng.random()),
                "",
                [],
                [],
                {},
                {},
                0.0,
                segment=[None, "a", "b", "b", "b", "b", "b"][i % 7],
            )
        )
        if i % 9 == 0:
            buffer.sample(1, strategy="priority")
    for i in range(35, 95, 6):
        buffer.remove(f"e{i}")
    live = [item.event_id for item in buffer]
    assert len(live) == N
    buffer.update_priorities(live, np.where(rng.random(N) < 0.2, 0.0, np.exp(2 * rng.normal(size=N))))
    return buffer


def law_by_definition(buffer: ReplayBuffer, strategy: str) -> np.ndarray:
    """P of each experience, oldest first, from what can be read of it."""
    items = list(buffer)
    times = np.array([item.timestamp for item in items])
    raw = np.array([item.priority for item in items])
    recency = 2.0 ** ((times - times.max()) / HALF_LIFE_S)
    if strategy == "uniform":
        masses = np.ones(N)
    elif strategy == "priority":
        masses = np.where(raw > 0.0, raw**ALPHA, 0.0)
    elif strategy == "rank":
        rank = stats.rankdata(-raw, method="ordinal")  # no two above 0 are equal
        masses = np.where(raw > 0.0, rank**-ALPHA, 0.0)
    elif strategy == "recency":
        masses = recency
    else:
        masses = np.zeros(N)
        for segment in {item.segment for item in items}:
            inside = np.array([item.segment == segment for item in items])
            masses += inside * recency / recency[inside].sum()
    return masses / masses.sum()


def places(buffer: ReplayBuffer, seqs: np.ndarray) -> np.ndarray:
    """Position by age of each draw."""
    order = buffer.seqs()
    by_seq = np.argsort(order)
    return by_seq[np.searchsorted(order[by_seq], seqs)]


def p_value(counts: np.ndarray, law: np.ndarray) -> float:
    """Chi-squared against the law; cells expected below 10 are pooled, cells of probability 0 must be empty."""
    assert counts[law == 0.0].sum() == 0
    counts, law = counts[law > 0.0], law[law > 0.0]
    expected = law * counts.sum()
    is_small = expected < 10.0
    if is_small.any():
        counts = np.append(counts[~is_small], counts[is_small].sum())
        expected = np.append(expected[~is_small], expected[is_small].sum())
    return float(stats.chisquare(counts, expected).pvalue)


@pytest.mark.parametrize("strategy", ["uniform", "priority", "rank", "recency", "stratified"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_draws_with_replacement_follow_the_law(strategy: str, seed: int) -> None:
    buffer = made(seed)
    law = law_by_definition(buffer, strategy)
    batch = buffer.sample(200_000, strategy=strategy)  # type: ignore[arg-type]
    at = places(buffer, batch.seqs)
    np.testing.assert_allclose(batch.sampling_probabilities, law[at], rtol=1e-10)
    assert p_value(np.bincount(at, minlength=N), law) > FALSE_ALARM


@pytest.mark.parametrize("strategy", ["priority", "rank", "recency"])
@pytest.mark.parametrize("n_drawn", [1, 7, 64, 1000])
def test_one_draw_per_slice_keeps_every_count_next_to_its_expectation(strategy: str, n_drawn: int) -> None:
    buffer = made(9)
    law = law_by_definition(buffer, strategy)
    n_batches = 100_000 // n_drawn if n_drawn > 1 else 10_000
    totals = np.zeros(N)
    for _ in range(n_batches if n_drawn < 64 else 300):
        counts = np.bincount(places(buffer, buffer.sample(n_drawn, strategy=strategy).seqs), minlength=N)  # type: ignore[arg-type]
        # a stretch of b * p slices holds all draws of the slices within it, and may hold those of the two at its ends
        assert (counts >= np.floor(n_drawn * law) - 1).all()
        assert (counts <= np.ceil(n_drawn * law) + 1).all()
        totals += counts
    # counts vary less than those of independent draws, so chi-squared can only be too small
    assert p_value(totals, law) > FALSE_ALARM


@pytest.mark.parametrize("strategy", ["priority", "rank", "recency"])
@pytest.mark.parametrize("n_drawn", [1, 9])
def test_batches_of_sliced_laws_are_independent_of_each_other(strategy: str, n_drawn: int) -> None:
    # the first draw of each batch, and that of the next: the upper half of its slice by age against the lower half
    buffer = made(10)
    first = [int(places(buffer, buffer.sample(n_drawn, strategy=strategy).seqs[:1])[0]) for _ in range(8000)]  # type: ignore[arg-type]
    is_upper = np.array(first) >= np.median(first)
    table = np.histogram2d(is_upper[0::2], is_upper[1::2], bins=2)[0]
    assert float(stats.chi2_contingency(table).pvalue) > FALSE_ALARM


@pytest.mark.parametrize("strategy", ["uniform", "stratified"])
def test_draws_are_independent_of_each_other(strategy: str) -> None:
    # pairs of consecutive draws: counts of (first in the upper half by age, second in it) against the product law
    buffer = made(4)
    law = law_by_definition(buffer, strategy)
    at = places(buffer, buffer.sample(200_000, strategy=strategy).seqs)  # type: ignore[arg-type]
    upper = law[N // 2 :].sum()
    cell = 2 * (at[0::2] >= N // 2) + (at[1::2] >= N // 2)
    product = np.array([(1 - upper) ** 2, upper * (1 - upper), upper * (1 - upper), upper**2])
    assert p_value(np.bincount(cell, minlength=4), product) > FALSE_ALARM


@pytest.mark.parametrize("strategy", ["uniform", "priority", "rank", "recency", "stratified"])
@pytest.mark.parametrize("n_drawn", [5, 25])
def test_inclusion_without_replacement_is_what_is_reported(strategy: str, n_drawn: int) -> None:
    buffer = made(5)
    n_repeats = 4000
    counts, reported = np.zeros(N), np.full(N, np.nan)
    for _ in range(n_repeats):
        batch = buffer.sample(n_drawn, strategy=strategy, replace=False)  # type: ignore[arg-type]
        at = places(buffer, batch.seqs)
        counts[at] += 1
        reported[at] = batch.sampling_probabilities * n_drawn
    seen = ~np.isnan(reported)
    certain = reported == 1.0
    assert (counts[certain] == n_repeats).all()
    # repeats are independent, so each count is binomial; Bonferroni over the experiences
    low, high = (
        stats.binom.ppf(q, n_repeats, reported[seen & ~certain]) for q in (FALSE_ALARM / 2 / N, 1 - FALSE_ALARM / 2 / N)
    )
    assert (low <= counts[seen & ~certain]).all()
    assert (counts[seen & ~certain] <= high).all()
    # what was never seen must be rare: all inclusion probabilities sum to the size of the batch
    assert reported[seen].sum() == pytest.approx(n_drawn, abs=0.05 * n_drawn)


def test_every_set_is_as_likely_in_sample_uniform() -> None:
    buffer = ReplayBuffer(6, seed=6)
    buffer.extend(Experience(f"e{i}", 0.0, "", [], [], {}, {}, 0.0) for i in range(6))
    sets = {frozenset(pair): i for i, pair in enumerate(combinations([f"e{i}" for i in range(6)], 3))}
    drawn = [sets[frozenset(item.event_id for item in buffer.sample_uniform(3))] for _ in range(20_000)]
    assert p_value(np.bincount(drawn, minlength=20), np.full(20, 0.05)) > FALSE_ALARM


def test_sample_priority_follows_the_law() -> None:
    buffer = made(7)
    law = law_by_definition(buffer, "priority")
    at = {item.event_id: i for i, item in enumerate(buffer)}
    drawn = [at[item.event_id] for _ in range(400) for item in buffer.sample_priority(N)]
    assert p_value(np.bincount(drawn, minlength=N), law) > FALSE_ALARM


@pytest.mark.parametrize("strategy", ["priority", "stratified", "recency", "uniform", "rank"])
def test_weighted_draws_estimate_the_mean_under_the_target(strategy: str) -> None:
    # self-normalised importance sampling of f = log age; its error by the delta method, 5 standard errors: 6e-7
    buffer = made(8)
    items = list(buffer)
    raw = np.array([item.priority for item in items])
    if strategy in {"priority", "rank"}:
        buffer.update_priorities(buffer.seqs(), raw + 0.05)  # a priority of 0 has no weight that corrects for it
    times = np.array([item.timestamp for item in items])
    target = 2.0 ** ((times - times.max()) / HALF_LIFE_S)
    target /= target.sum()
    f = np.log(times.max() - times + 1.0)
    truth = float(target @ f)
    batch = buffer.sample(200_000, strategy=strategy)  # type: ignore[arg-type]
    values = f[places(buffer, batch.seqs)]
    estimate = float((batch.sampling_weights * values).mean())
    error = float(np.sqrt(np.mean((batch.sampling_weights * (values - truth)) ** 2) / values.size))
    assert abs(estimate - truth) < 5.0 * error


@pytest.mark.parametrize("n", [10, 1000, 5000])
def test_a_tree_of_any_height_follows_its_masses(n: int) -> None:
    rng = np.random.default_rng(n)
    masses = np.exp(rng.normal(size=n)) * (rng.random(n) < 0.8)
    tree = SumTree(n)
    tree.set(np.arange(n), masses)
    counts = np.bincount(tree.find(rng.random(1_000_000) * tree.total), minlength=n)
    assert p_value(counts, masses / masses.sum()) > FALSE_ALARM
