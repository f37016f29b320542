import numpy as np
import pytest

from dwell.replay.draws import Drawn
from dwell.replay.weights import log2_recency, sampling_weights


def drawn_with(probabilities: np.ndarray, log2_masses: np.ndarray | None = None) -> Drawn:
    return Drawn(np.arange(len(probabilities)), probabilities, log2_masses)


def test_the_weights_are_target_over_probability_with_mean_one() -> None:
    target, probability = np.array([0.2, 0.3, 0.5]), np.array([0.6, 0.3, 0.1])
    ratio = target / probability
    found = sampling_weights(drawn_with(probability), np.log2(target), beta=1.0)
    assert found == pytest.approx(ratio / ratio.mean(), rel=1e-14)


def test_beta_is_an_exponent_of_the_ratio() -> None:
    log2_ratio = np.array([0.0, 2.0, 4.0])
    powers = np.array([1.0, 2.0, 4.0])  # (2^0, 2^2, 2^4) ^ 0.5
    alike = drawn_with(np.ones(3))
    assert sampling_weights(alike, log2_ratio, beta=0.5) == pytest.approx(powers * 3 / 7, rel=1e-15)
    assert sampling_weights(alike, log2_ratio, beta=0.0).tolist() == [1.0, 1.0, 1.0]


def test_a_draw_from_the_target_needs_no_correction() -> None:
    log2 = np.array([-1e6, -3.7, 0.0])
    assert sampling_weights(drawn_with(np.exp2(log2), log2), log2, beta=1.0).tolist() == [1.0, 1.0, 1.0]


def test_a_decay_beyond_the_range_of_floats_still_has_weights() -> None:
    # both were drawn uniformly, one is 5,000 half-lives older: 2^-5000 has no float64
    found = sampling_weights(drawn_with(np.ones(2)), np.array([-5000.0, -10000.0]), beta=1.0)
    assert found.tolist() == [2.0, 0.0]


def test_one_half_life_halves() -> None:
    log2 = log2_recency(np.array([0.0, 60.0, 120.0]), 120.0, 60.0)
    assert np.exp2(log2).tolist() == [0.25, 0.5, 1.0]
