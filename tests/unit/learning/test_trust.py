import math

import numpy as np
import pytest

from dwell.learning.trust import MAX_TRUST, trust_radius, trusted_rewards

# what is added to both exposures moves the edge: (e + .01) / (s + .01) = 1 + eps
SAFE = 0.19


def edge(eps: float) -> float:
    return (SAFE + 0.01) * (1.0 + eps) - 0.01


@pytest.mark.parametrize("eps", [0.1, 0.5, 1.5])
def test_credit_is_withdrawn_where_following_it_would_leave_the_region(eps: float) -> None:
    lower = (SAFE + 0.01) / (1.0 + eps) - 0.01
    exposure = np.array([[edge(eps) - 1e-6, edge(eps) + 1e-6, lower + 1e-6, lower - 1e-6]])
    safe = np.full((1, 4), SAFE)
    plus = trusted_rewards(np.full((1, 4), 0.3), exposure, safe, eps=eps)
    minus = trusted_rewards(np.full((1, 4), -0.3), exposure, safe, eps=eps)
    assert plus.tolist() == [[0.3, 0.0, 0.3, 0.3]]
    assert minus.tolist() == [[-0.3, -0.3, -0.3, 0.0]]


def test_at_the_safe_policy_all_credit_stands() -> None:
    rewards = np.random.default_rng(0).normal(size=(5, 7))
    exposure = np.random.default_rng(1).random((5, 7))
    assert (trusted_rewards(rewards, exposure, exposure, eps=0.0) == rewards).all()


def test_a_document_that_the_safe_policy_never_shows_can_not_be_lifted_far() -> None:
    # (e + .01) / .01 > 2.5 from e = .015 on
    found = trusted_rewards(np.ones((1, 2)), np.array([[0.014, 0.016]]), np.zeros((1, 2)), eps=1.5)
    assert found.tolist() == [[1.0, 0.0]]


def test_the_radius_grows_with_the_root_of_the_events() -> None:
    assert trust_radius(-1.0) == trust_radius(0.0) == 0.0
    assert trust_radius(400.0) == pytest.approx(0.025 * 20.0)
    assert trust_radius(3_600.0) == pytest.approx(MAX_TRUST)
    assert trust_radius(1e12) == MAX_TRUST
    assert math.isfinite(trust_radius(math.inf))
