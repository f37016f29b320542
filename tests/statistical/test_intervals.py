"""How often intervals miss. Seeds are fixed; the stated rates say how often another seed would fail."""

import numpy as np
import pytest
from scipy import stats

from dwell.evaluation import intervals as iv
from dwell.evaluation.confidence_sequences import betting_bounds, running_bernstein

pytestmark = pytest.mark.statistical

ALPHA, N_RUNS, N = 0.1, 200, 300
TOO_MANY = int(stats.binom.isf(1e-4, N_RUNS, ALPHA)) + 1  # at the promised rate, with probability 1e-4
DRAWS = {
    "rare": (lambda rng: (rng.random(N) < 0.02).astype(float), 0.02),
    "even": (lambda rng: (rng.random(N) < 0.5).astype(float), 0.5),
    "skewed": (lambda rng: rng.beta(0.05, 0.95, N), 0.05),
}


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5])
def test_the_exact_interval_covers_by_enumeration(p: float) -> None:
    n = 40
    chance = stats.binom.pmf(np.arange(n + 1), n, p)
    covered = [low <= p <= high for low, high in (iv.clopper_pearson(k, n, ALPHA) for k in range(n + 1))]
    assert chance @ covered >= 1 - ALPHA


@pytest.mark.parametrize("name", DRAWS)
def test_anytime_bounds_ever_miss_at_most_as_often_as_promised(name: str) -> None:
    draw, mean = DRAWS[name]
    rng = np.random.default_rng(3)
    missed = {"bernstein": 0, "betting": 0, "hoeffding": 0, "fixed bernstein": 0}
    for _ in range(N_RUNS):
        x = draw(rng)
        running = running_bernstein(x, ALPHA, low=0.0, high=1.0)
        missed["bernstein"] += bool((running.low > mean).any() or (running.high < mean).any())
        for label, (low, high) in (
            # betting bounds never widen: the last look has missed if any has
            ("betting", betting_bounds(x, ALPHA, low=0.0, high=1.0)),
            ("hoeffding", iv.hoeffding(x, ALPHA, low=0.0, high=1.0)),
            ("fixed bernstein", iv.empirical_bernstein(x, ALPHA, low=0.0, high=1.0)),
        ):
            missed[label] += not low <= mean <= high
    print(f"{name}: {missed} of {N_RUNS} missed, {TOO_MANY} would be too many")
    assert max(missed.values()) < TOO_MANY


def test_student_misses_as_often_as_it_says_on_normal_values() -> None:
    rng = np.random.default_rng(4)
    found = [iv.student(rng.normal(size=5), ALPHA) for _ in range(2_000)]
    missed = sum(not low <= 0.0 <= high for low, high in found)
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], 2_000, ALPHA)  # outside with probability 1e-4
    assert low <= missed <= high


def test_large_sample_intervals_miss_about_as_often_as_they_say() -> None:
    # 2,000 runs at 10 %: four standard deviations of the share are 0.027;
    # to that comes what n = 300 lacks to normal: 0.0042 for exponential values, by the next term (Edgeworth)
    rng, n_runs = np.random.default_rng(5), 2_000
    missed = {"normal": 0, "ratio": 0, "wilson": 0}
    for _ in range(n_runs):
        x = rng.exponential(size=N)
        y = 1.0 + rng.random(N)
        hits = int((rng.random(N) < 0.2).sum())
        for name, (low, high), truth in (
            ("normal", iv.normal(x, ALPHA), 1.0),
            # x / y is 2 on average, and the two go together: as two means apart, the interval would be too long
            ("ratio", iv.normal_ratio(2.0 * y + 0.5 * (x - 1.0), y, ALPHA), 2.0),
            ("wilson", iv.wilson(hits, N, ALPHA), 0.2),
        ):
            missed[name] += not low <= truth <= high
    print(f"of {n_runs} runs: {missed} missed")
    for name, count in missed.items():
        assert abs(count / n_runs - 0.1) <= 0.027 + 0.0042, name


def test_wilson_covers_about_its_level_on_average_over_p() -> None:
    # by enumeration, no chance in it: n = 40, and the same mean over 99 values of p
    n, ps = 40, np.arange(1, 100) / 100.0
    ends = np.array([iv.wilson(k, n, ALPHA) for k in range(n + 1)])
    covered = [
        stats.binom.pmf(np.arange(n + 1), n, p) @ ((ends[:, 0] <= p) & (p <= ends[:, 1])).astype(float) for p in ps
    ]
    print(f"Wilson at n {n}: {np.mean(covered):.4f} on average, {min(covered):.4f} at worst")
    assert np.mean(covered) == pytest.approx(1 - ALPHA, abs=0.01)
