import numpy as np
import pytest

from dwell.replay.systematic import inclusion_probabilities, systematic_sample


def test_inclusion_is_in_proportion_to_mass_and_sums_to_the_size() -> None:
    found = inclusion_probabilities(np.array([1.0, 2.0, 3.0, 4.0]), 2)
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_who_is_certain_leaves_the_rest_to_the_others() -> None:
    # 8/11 * 2 > 1: certain; of the remaining one draw the others have a third each
    assert inclusion_probabilities(np.array([1.0, 8.0, 1.0, 1.0]), 2) == pytest.approx([1 / 3, 1.0, 1 / 3, 1 / 3])


def test_certainty_is_found_again_among_the_rest() -> None:
    # of 100, 10, 1, 1 three are drawn: 100 is certain, then 10 of the remaining 12 is certain in two draws
    assert inclusion_probabilities(np.array([1.0, 10.0, 100.0, 1.0]), 3) == pytest.approx([0.5, 1.0, 1.0, 0.5])


def test_all_of_those_with_mass_are_certain_when_all_are_due() -> None:
    assert inclusion_probabilities(np.array([0.0, 1e-300, 5.0, 0.1]), 3).tolist() == [0.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("n_drawn", [1, 2, 7, 40, 99, 100])
def test_a_sample_is_distinct_has_its_size_and_holds_the_certain(n_drawn: int) -> None:
    rng = np.random.default_rng(n_drawn)
    masses = np.exp(rng.normal(size=100) * 3)
    inclusion = inclusion_probabilities(masses, n_drawn)
    assert inclusion.sum() == pytest.approx(n_drawn, rel=1e-12)
    for _ in range(50):
        drawn = systematic_sample(inclusion, n_drawn, rng)
        assert np.unique(drawn).size == n_drawn == drawn.size
        assert set(np.flatnonzero(inclusion >= 1.0)) <= set(drawn.tolist())


def test_equal_masses_at_the_border_of_rounding_stay_distinct() -> None:
    rng = np.random.default_rng(0)
    for n in range(2, 60):
        inclusion = inclusion_probabilities(np.full(n, 0.1), n - 1)
        for _ in range(20):
            assert np.unique(systematic_sample(inclusion, n - 1, rng)).size == n - 1


def test_what_has_no_mass_is_never_drawn() -> None:
    rng = np.random.default_rng(1)
    masses = np.array([0.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    inclusion = inclusion_probabilities(masses, 2)
    drawn = {int(i) for _ in range(200) for i in systematic_sample(inclusion, 2, rng)}
    assert drawn == {1, 3, 4}


def test_neighbours_are_drawn_together_as_often_as_others() -> None:
    # half of 20 alike: in a fixed order two neighbours would never meet; in random order P is near 10/20 * 9/19
    rng = np.random.default_rng(2)
    inclusion = inclusion_probabilities(np.ones(20), 10)
    together = sum({3, 4} <= set(systematic_sample(inclusion, 10, rng).tolist()) for _ in range(2000))
    assert 0.15 < together / 2000 < 0.35
