import numpy as np
import pytest
from scipy import stats

from study.statistics import Interval, compared, over_questions, over_seeds


def test_the_interval_over_seeds_is_student_s() -> None:
    values = np.array([0.71, 0.74, 0.69, 0.72, 0.75])
    expected = stats.t.interval(0.95, df=4, loc=values.mean(), scale=stats.sem(values))
    found = over_seeds(values)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(expected)


def test_one_seed_says_nothing_of_chance() -> None:
    assert over_seeds(np.array([0.7])) == Interval(0.7, -np.inf, np.inf)


def test_the_bootstrap_agrees_with_the_normal_interval_on_many_questions() -> None:
    """The bootstrap's quantiles have a Monte Carlo error near 2 % of the half width with 10,000 resamples."""
    values = np.random.default_rng(0).normal(0.1, 1.0, size=400)
    half = 1.959963984540054 * values.std() / np.sqrt(400)
    found = over_questions(values, np.random.default_rng(1))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


@pytest.mark.parametrize(("shift", "verdict"), [(0.2, "better"), (-0.2, "worse"), (0.0, "tie")])
def test_a_difference_counts_where_seeds_and_questions_agree(shift: float, verdict: str) -> None:
    rng = np.random.default_rng(2)
    other = rng.uniform(0.3, 0.6, size=(5, 60))
    noise = rng.normal(0.0, 0.05, size=(5, 60))
    noise -= noise.mean(axis=0)  # a shift of 0 is a mean difference of exactly 0 on every question
    assert compared(other + noise + shift, other, np.random.default_rng(0)).verdict == verdict


def test_a_difference_that_one_seed_in_five_makes_is_a_tie() -> None:
    difference = np.zeros((5, 60))
    difference[0] = 0.5  # on every question, so that the questions alone would call it better
    found = compared(difference, np.zeros((1, 60)), np.random.default_rng(0))
    assert found.questions.low > 0.0
    assert found.verdict == "tie"


def test_a_difference_that_one_question_in_sixty_makes_is_a_tie() -> None:
    difference = np.zeros((5, 60))
    difference[:, 0] = 0.5  # in every seed, so that the seeds alone would call it better
    found = compared(difference, np.zeros((1, 60)), np.random.default_rng(0))
    assert found.seeds.low > 0.0
    assert found.verdict == "tie"


def test_rankers_without_chance_are_compared_over_questions_alone() -> None:
    one = np.random.default_rng(3).uniform(0.1, 0.2, size=(1, 60))
    found = compared(one, np.zeros((1, 60)), np.random.default_rng(0))
    assert found.verdict == "better"
    assert found.error == pytest.approx(stats.sem(one[0]))
