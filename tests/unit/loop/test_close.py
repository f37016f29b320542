from typing import Any

import numpy as np
import pytest

from dwell.loop.close import logged_exposure
from dwell.records import Impression
from dwell.reward.examination import PositionBased

ETA1 = PositionBased(1.0)


def impression(**changed: object) -> Impression:
    fields: dict[str, Any] = {
        "event_id": "e",
        "served_at": 5.0,
        "query": "q",
        "mode": "live",
        "policy": "params",
        "params_version": 2,
        "temperature": 1.0,
        "is_deterministic": False,
        "served": ("b", "a"),
        "propensities": np.ones(2),
        "n_candidates": 3,
        "scores": np.array([0.0, 1.0, 2.0], dtype=np.float32),
        "score_sd": float(np.std([0.0, 1.0, 2.0])),
        "documents": ("b", "a", "c"),
        "document_scores": np.array([1, 0, 2]),
        "inclusion": np.ones(3),
        "features": np.ones((3, 1), dtype=np.float32),
        "feature_names": ("x",),
    }
    return Impression(**{**fields, **changed})


def by_enumeration(z: np.ndarray[Any, Any], theta: tuple[float, float]) -> list[float]:
    weight = np.exp(z)
    found = np.zeros(len(z))
    for i in range(len(z)):
        first = weight[i] / weight.sum()
        found[i] += theta[0] * first
        for j in range(len(z)):
            if j != i:
                found[j] += theta[1] * first * weight[j] / (weight.sum() - weight[i])
    return found.tolist()


def test_exposure_is_that_of_the_policy_that_served() -> None:
    found = logged_exposure(impression(), ETA1)
    assert found is not None
    expected = by_enumeration(np.array([1.0, 0.0, 2.0]) / np.std([0.0, 1.0, 2.0]), (1.0, 0.5))
    # 200 draws: 5 standard errors of each document
    assert (np.abs(found.value - expected) < 5.0 * found.standard_error + 1e-12).all()
    assert found.value.sum() == pytest.approx(1.5)


def test_it_is_a_pure_function_of_what_was_logged() -> None:
    one, two = logged_exposure(impression(), ETA1), logged_exposure(impression(), ETA1)
    other = logged_exposure(impression(event_id="f"), ETA1)
    assert one is not None
    assert two is not None
    assert other is not None
    assert one.value.tobytes() == two.value.tobytes() != other.value.tobytes()


def test_a_fixed_order_is_examined_as_shown() -> None:
    found = logged_exposure(impression(is_deterministic=True, temperature=0.0), ETA1)
    assert found is not None
    assert found.value.tolist() == [1.0, 0.5, 0.0]
    assert found.standard_error.tolist() == [0.0, 0.0, 0.0]


def test_without_features_or_with_an_altered_order_there_is_none() -> None:
    assert logged_exposure(impression(features=np.zeros((0, 0), dtype=np.float32)), ETA1) is None
    assert logged_exposure(impression(is_altered=True), ETA1) is None
    assert logged_exposure(impression(arm="interleave"), ETA1) is None


def test_the_unlogged_tail_takes_its_share() -> None:
    # one document beyond the logged ones, as heavy as the three together
    sd = float(np.std([0.0, 1.0, 2.0]))
    rest = float(np.logaddexp.reduce(np.array([0.0, 1.0, 2.0]) / sd))
    found = logged_exposure(impression(rest_logsumexp=rest, served=("b",)), ETA1)
    assert found is not None
    # one position: the tail stands there half of the time; 200 draws, 5 standard errors of 0.5
    assert abs(found.value.sum() - 0.5) < 5.0 * np.sqrt(0.25 / 200)


def test_exposure_given_a_pair_is_that_over_both_sides_of_the_coin() -> None:
    z = np.array([1.0, 0.0, 2.0]) / np.std([0.0, 1.0, 2.0])
    drawn = logged_exposure(impression(arm="swap", swap_pair=1), ETA1)
    assert drawn is not None
    # half of the time each of the two stands at the other's place
    as_drawn, swapped = by_enumeration(z, (1.0, 0.5)), by_enumeration(z, (0.5, 1.0))
    expected = (np.array(as_drawn) + np.array(swapped)) / 2.0
    assert (np.abs(drawn.value - expected) < 5.0 * drawn.standard_error + 1e-12).all()
    still = logged_exposure(impression(arm="swap", swap_pair=1, is_deterministic=True, temperature=0.0), ETA1)
    assert still is not None
    np.testing.assert_allclose(still.value, [0.75, 0.75, 0.0])


def test_a_pair_that_was_cut_apart_says_nothing_and_one_below_the_cut_nothing_special() -> None:
    whole = logged_exposure(impression(served=("b",), swap_pair=0), ETA1)
    below = logged_exposure(impression(served=("b",), arm="swap", swap_pair=2), ETA1)
    assert logged_exposure(impression(served=("b",), arm="swap", swap_pair=1), ETA1) is None
    assert whole is not None
    assert below is not None
    assert (below.value == whole.value).all()
