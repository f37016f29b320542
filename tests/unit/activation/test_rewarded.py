"""Two channels: closed forms, monotony, and the law of the draw."""

import math
from typing import Any

import numpy as np
import pytest

from dwell.activation import Prior, drawn_activation, need_odds
from dwell.errors import ConfigError, RecordError


def test_without_a_history_it_is_the_base_rate_whatever_the_decay() -> None:
    prior = Prior(base_rate=0.3, n_exposures=5.0, age_s=100.0)
    for decay in (0.1, 0.5, 0.9):
        alpha, beta = prior.masses(decay)
        assert need_odds(np.zeros(1), np.zeros(1), alpha, beta)[0] == pytest.approx(math.log(0.3))
        assert alpha + beta == pytest.approx(5.0 * 100.0**-decay)
    assert prior.activation == pytest.approx(math.log(0.3))


def test_reward_raises_and_exposure_lowers() -> None:
    masses = np.linspace(0.0, 3.0, 50)
    assert (np.diff(need_odds(masses, np.full(50, 3.0), 0.1, 0.9)) > 0.0).all()
    assert (np.diff(need_odds(np.full(50, 1.0), masses, 0.1, 0.9)) < 0.0).all()


def test_with_a_vanishing_prior_and_exposure_ignored_it_is_base_level() -> None:
    rewards = np.array([0.02, 0.5, 7.0])
    constant = need_odds(rewards, np.zeros(3), 1e-12, 1.0) - np.log(rewards)
    assert constant == pytest.approx(np.full(3, 0.0), abs=1e-9)


@pytest.mark.parametrize("law", ["gamma", "beta"])
def test_the_mean_of_the_draw_is_exp_of_activation(law: Any) -> None:
    # 40,000 draws each: a standard error of at most 0.5 % of the mean; 5 of them, a false alarm once in a million
    rng, n = np.random.default_rng(5), 40_000
    for p, e in ((0.0, 0.0), (0.5, 2.0), (3.0, 3.0)):
        rewards, exposures = np.full(n, p), np.full(n, e)
        draws = np.exp(drawn_activation(rewards, exposures, 1.0, 2.0, rng=rng, law=law))
        expected = math.exp(need_odds(np.array([p]), np.array([e]), 1.0, 2.0)[0])
        assert draws.mean() == pytest.approx(expected, abs=5.0 * draws.std() / math.sqrt(n))


def test_the_law_beta_needs_reward_within_exposure() -> None:
    with pytest.raises(RecordError, match="more reward than exposure"):
        drawn_activation(np.array([2.0]), np.array([1.0]), 1.0, 1.0, rng=np.random.default_rng(0), law="beta")
    with pytest.raises(RecordError) as refused:
        drawn_activation(np.ones(1), np.ones(1), 1.0, 1.0, rng=np.random.default_rng(0), law="normal")  # type: ignore[arg-type]
    assert refused.value.field == "law"


def test_draws_are_finite_for_the_smallest_shapes() -> None:
    draws = drawn_activation(np.zeros(1_000), np.zeros(1_000), 1e-4, 1e-3, rng=np.random.default_rng(0))
    assert np.isfinite(draws).all()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"base_rate": 0.0}, "prior.base_rate"),
        ({"base_rate": 1.0}, "prior.base_rate"),
        ({"n_exposures": 0.0}, "prior.n_exposures"),
        ({"age_s": math.inf}, "prior.age_s"),
        ({"age_s": True}, "prior.age_s"),
    ],
)
def test_a_malformed_prior_is_refused(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Prior(**settings)
    assert refused.value.field == field
