"""Harvesting against simulated logs. Seeds are fixed; the stated rates say how often another seed would fail."""

import numpy as np
import pytest

from dwell.records.arrays import FloatArray
from dwell.reward.examination import harvest
from dwell.testing.users import PositionBasedUser


def plackett_luce_log(
    rng: np.random.Generator, *, n_lists: int, n_candidates: int, k: int, temperature: float
) -> tuple[FloatArray, FloatArray]:
    """Draw lists by Gumbel top-k: every query is new. Returns scores in shown order and propensities, both (n, k)."""
    scores = rng.normal(size=(n_lists, n_candidates))
    logits = scores / temperature
    order = np.argsort(-(logits + rng.gumbel(size=logits.shape)), axis=1)
    exps = np.take_along_axis(np.exp(logits - logits.max(axis=1, keepdims=True)), order, axis=1)
    remaining = np.cumsum(exps[:, ::-1], axis=1)[:, ::-1]
    return np.take_along_axis(scores, order, axis=1)[:, :k], (exps / remaining)[:, :k]


@pytest.mark.statistical
@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("eta", [1.0, 0.5])
def test_eta_is_recovered_within_six_hundredths(eta: float, temperature: float) -> None:
    # over 200 seeds the error of eta has a standard deviation of at most 0.016: 0.06 is 3.7 of them, a false-alarm
    # rate of about 2e-4 per case; the error of theta stays below 0.045 in all of them
    rng = np.random.default_rng(20)
    scores, propensities = plackett_luce_log(rng, n_lists=20_000, n_candidates=15, k=10, temperature=temperature)
    clicks = PositionBasedUser(eta=eta).clicks(1.0 / (1.0 + np.exp(1.0 - scores)), rng)
    found = np.array(harvest(propensities, clicks).values)
    log_rank = np.log(np.arange(1, 11))
    assert -(np.log(found) @ log_rank) / (log_rank @ log_rank) == pytest.approx(eta, abs=0.06)
    np.testing.assert_allclose(found, np.arange(1.0, 11.0) ** -eta, atol=0.06)


@pytest.mark.statistical
def test_the_standard_error_is_the_spread_over_repetitions() -> None:
    # 200 independent z-values: their mean square is chi-square(200)/200, outside [0.7, 1.35] with probability 1e-3;
    # eta = 1, so that the pseudo-clicks pull towards the truth, and they are few, so that they shrink little
    z = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        scores, propensities = plackett_luce_log(rng, n_lists=1_000, n_candidates=5, k=3, temperature=1.0)
        clicks = PositionBasedUser(eta=1.0).clicks(1.0 / (1.0 + np.exp(-scores)), rng)
        found = harvest(propensities, clicks, pseudo_clicks=1.0)
        z.append((found.values[2] - 1.0 / 3.0) / found.se[2])
    assert 0.7 < np.mean(np.square(z)) < 1.35


@pytest.mark.statistical
def test_a_wrong_propensity_shows_that_it_matters() -> None:
    # the same log, taken for a uniformly random one, yields another examination: the weights do the work
    rng = np.random.default_rng(3)
    scores, propensities = plackett_luce_log(rng, n_lists=20_000, n_candidates=15, k=10, temperature=0.3)
    clicks = PositionBasedUser(eta=1.0).clicks(1.0 / (1.0 + np.exp(1.0 - 3.0 * scores)), rng)
    truth = 1.0 / np.arange(1.0, 11.0)
    right = np.abs(np.array(harvest(propensities, clicks).values) - truth).max()
    # under p = 1/(number left) every order is equally likely, which is what ignoring propensities assumes
    ignored = np.tile(1.0 / np.arange(15.0, 5.0, -1.0), (20_000, 1))
    wrong = np.abs(np.array(harvest(ignored, clicks).values) - truth).max()
    assert right < 0.06 < wrong
