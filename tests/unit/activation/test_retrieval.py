"""Noise, recall, latency, mismatch, spreading, blending: closed forms and refusals."""

import math
from typing import Any

import numpy as np
import pytest

from dwell.activation import (
    blended,
    choice_probabilities,
    latency_s,
    mismatch,
    noise,
    noise_variance,
    recall_probability,
    spreading,
)
from dwell.errors import RecordError


def test_noise_is_logistic() -> None:
    # 50,000 draws: quantiles of the logistic within 5 standard errors, a false alarm once in a million each
    draws = noise(np.random.default_rng(1), 50_000, 0.4)
    for share in (0.1, 0.5, 0.9):
        below = np.mean(draws < 0.4 * math.log(share / (1.0 - share)))
        assert below == pytest.approx(share, abs=5.0 * math.sqrt(share * (1.0 - share) / 50_000))
    assert noise_variance(0.4) == pytest.approx(math.pi**2 / 3.0 * 0.16)
    assert (noise(np.random.default_rng(1), (2, 3), 0.0) == np.zeros((2, 3))).all()


def test_recall_is_the_chance_that_noise_lifts_activation_over_the_threshold() -> None:
    draws = noise(np.random.default_rng(2), 50_000, 0.25)
    for activation in (-1.3, -1.0, -0.8):
        expected = recall_probability([activation], -1.0, 0.25)[0]
        lifted = np.mean(activation + draws > -1.0)
        assert lifted == pytest.approx(expected, abs=5.0 * math.sqrt(expected * (1.0 - expected) / 50_000))


def test_recall_has_no_overflow_in_either_tail() -> None:
    found = recall_probability([-1e5, 1e5, -math.inf, 0.0], 0.0, 0.01)
    assert found == pytest.approx([0.0, 1.0, 0.0, 0.5])


def test_latency_falls_with_activation() -> None:
    assert latency_s([0.0, 1.0, -math.inf], 2.0, 0.5) == pytest.approx([2.0, 2.0 * math.exp(-0.5), math.inf])


def test_mismatch_is_nothing_for_the_same_and_the_penalty_for_nothing_in_common() -> None:
    found = mismatch([[1.0, 1.0], [0.0, 1.0], [0.5, 0.0]], 2.0, weights=[1.0, 3.0])
    assert found == pytest.approx([0.0, -2.0, -1.0 - 6.0])


def test_an_entity_that_many_share_says_less_about_each() -> None:
    links = np.array([[True, False], [True, True], [False, False]])
    found = spreading(links, [10.0, 2.0], strength=2.0, total_weight=1.0)
    expected = [0.5 * (2.0 - math.log(10.0)), 0.5 * (4.0 - math.log(20.0)), 0.0]
    assert found == pytest.approx(expected)
    assert (spreading(np.zeros((3, 0), dtype=bool), []) == np.zeros(3)).all()


def test_choice_is_a_softmax_and_blending_its_mean() -> None:
    shares = choice_probabilities([0.0, math.log(3.0)], 1.0)
    assert shares == pytest.approx([0.25, 0.75])
    assert blended([8.0, 4.0], [0.0, math.log(3.0)], 1.0) == pytest.approx(5.0)
    assert choice_probabilities([-math.inf, -800.0, -800.0], 0.5) == pytest.approx([0.0, 0.5, 0.5])


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: noise(np.random.default_rng(0), 3, -1.0), "s"),
        (lambda: recall_probability([0.0], math.nan), "threshold"),
        (lambda: recall_probability([math.nan], 0.0), "activations"),
        (lambda: recall_probability([0.0], 0.0, 0.0), "s"),
        (lambda: latency_s(["a"]), "activations"),
        (lambda: latency_s([0.0], 0.0), "factor_s"),
        (lambda: mismatch([[1.5]]), "similarities"),
        (lambda: mismatch([0.5]), "similarities"),
        (lambda: mismatch([[0.5]], weights=[1.0, 1.0]), "weights"),
        (lambda: mismatch([[0.5]], -1.0), "penalty"),
        (lambda: spreading([[1, 0]], [1.0, 1.0]), "links"),
        (lambda: spreading(np.array([[True]]), [1.0, 1.0]), "links"),
        (lambda: spreading(np.array([[True]]), [0.0]), "fans"),
        (lambda: choice_probabilities([-math.inf]), "activations"),
        (lambda: choice_probabilities([]), "activations"),
        (lambda: choice_probabilities([0.0], 0.001), "temperature"),
        (lambda: blended([1.0], [0.0, 0.0]), "values"),
        (lambda: blended([math.nan], [0.0]), "values"),
    ],
)
def test_what_has_no_value_is_refused(call: Any, field: str) -> None:
    with pytest.raises(RecordError) as refused:
        call()
    assert refused.value.field == field
    assert refused.value.hint
