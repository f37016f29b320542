"""Caps on the influence of one user or one document: small cases by hand, properties on any sequence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwell.errors import EvaluationError
from dwell.evaluation.influence import document_weights, sequential_user_weights, user_influence, user_weights

SEQUENCES = st.lists(st.integers(0, 12), min_size=1, max_size=80)


def hashes(users: list[int]) -> np.ndarray:
    return np.array(users, dtype=np.uint64)


def test_a_flood_weighs_as_much_as_three_capped_means() -> None:
    # nine users with 2 events, one with 100: C = 3 (18 + C) / 10, so C = 54 / 7
    users = [u for u in range(9) for _ in range(2)] + [9] * 100
    weights = user_weights(hashes(users))
    np.testing.assert_allclose(weights[:18], 1.0)
    np.testing.assert_allclose(weights[18:], 54.0 / 7.0 / 100.0)


def test_no_more_users_than_the_factor_are_not_capped() -> None:
    np.testing.assert_array_equal(user_weights(hashes([0] * 50 + [1, 2])), 1.0)


def test_events_without_a_user_count_as_one_user() -> None:
    users = [u for u in range(9) for _ in range(2)] + list(range(100, 200))
    known = np.arange(118) < 18
    np.testing.assert_allclose(user_weights(hashes(users), has_user=known)[18:], 54.0 / 700.0)


@given(SEQUENCES, st.floats(1.0, 6.0))
def test_no_total_exceeds_the_factor_times_the_mean_total(users: list[int], factor: float) -> None:
    weights = user_weights(hashes(users), max_user_factor=factor)
    totals = np.bincount(users, weights=weights)
    totals = totals[np.bincount(users) > 0]
    assert (weights > 0.0).all()
    assert (weights <= 1.0).all()
    assert totals.max() <= factor * totals.mean() * (1.0 + 1e-9)


def test_a_stream_caps_the_one_who_floods_it() -> None:
    # alone: up to 3; then one other with a total of 1: still 3; then the other reaches 2: room for 6
    np.testing.assert_array_equal(sequential_user_weights(hashes([0] * 5 + [1, 0, 1, 0])), [1, 1, 1, 0, 0, 1, 0, 1, 1])


def test_a_stream_that_names_nobody_is_not_capped() -> None:
    known = np.zeros(50, dtype=bool)
    np.testing.assert_array_equal(sequential_user_weights(hashes([0] * 50), has_user=known), 1.0)


@given(SEQUENCES, st.lists(st.booleans(), min_size=80, max_size=80), st.integers(0, 80))
def test_weights_of_a_prefix_never_change(users: list[int], named: list[bool], cut: int) -> None:
    known = np.array(named[: len(users)])
    whole = sequential_user_weights(hashes(users), has_user=known)
    np.testing.assert_array_equal(sequential_user_weights(hashes(users[:cut]), has_user=known[:cut]), whole[:cut])
    assert ((whole >= 0.0) & (whole <= 1.0)).all()


def test_a_document_keeps_no_more_than_its_share() -> None:
    # a hundred documents of credit 1, one of 1,000: C = .05 (100 + C), so C = 5 / .95
    docs, credit = hashes([*range(100), 100, 100]), np.array([1.0] * 100 + [1000.0, -4.0])
    weights = document_weights(docs, credit)
    np.testing.assert_allclose(weights[:100], 1.0)
    np.testing.assert_allclose(weights[100], 5.0 / 0.95 / 1000.0)
    assert weights[101] == 1.0


def test_influence_is_that_of_leaving_users_out() -> None:
    x = np.array([10.0, 10.0, 1.0, 2.0, 3.0])
    found = user_influence(x, hashes([7, 7, 1, 2, 3]))
    np.testing.assert_allclose(found, [5.2, 2.0, 3.0])  # then users 1 and 2 move it most: 3 remains
    assert np.isnan(user_influence(x, hashes([1] * 5)).without_one)


@pytest.mark.parametrize("factor", [0.5, np.nan, np.inf])
def test_a_factor_below_one_is_refused(factor: float) -> None:
    with pytest.raises(EvaluationError, match="factor"):
        user_weights(hashes([1]), max_user_factor=factor)
