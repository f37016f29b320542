"""Praise and dislikes with models of their own: exposures again, and what a dislike says at which position."""

from typing import Any

import numpy as np
import pytest

from dwell.learning import estimates
from dwell.learning.learner import LearnerSettings, Lists, estimated_relevance
from dwell.learning.predictor import Predictor
from dwell.learning.relevance import relevance_estimates
from dwell.loop.channels import Channels, channels_for, credited, is_split, logged_again, models_for
from dwell.records import Params
from dwell.records.rows import EventRow, stack_rows

THETA = np.array([1.0, 0.5])
LIVE = Params(version=1, weights={"x": 1.0}, temperature=0.5)
NOTHING = (Predictor(np.zeros(2)), Predictor(np.zeros(2)))


def event(**changed: object) -> EventRow:
    fields: dict[str, Any] = {
        "seq": 1,
        "event_id": "e1",
        "query_hash": 1,
        "user_hash": None,
        "served_at": 0.0,
        "features": np.array([[1.0], [0.0], [-1.0]], dtype=np.float32),
        "inclusion": np.ones(3),
        "exposure": np.full(3, 0.5),
        "n_kept": 2,
        "n_shown": 2,
        "rewards": np.array([1.0, 0.0]),
        "propensities": np.array([0.5, 0.5]),
        "caller_rank": np.arange(3.0),
        "params_version": 1,
        "temperature": 0.5,
        "is_held_out": False,
        "is_deterministic": False,
        "is_caller_ordered": False,
        "version": 1,
    }
    return EventRow(**{**fields, **changed})


def channels(settings: LearnerSettings, rows: list[EventRow], versions: dict[int, Params]) -> Channels:
    found = channels_for(settings, THETA, rows, lambda _rows, _theta: NOTHING, versions)
    assert found is not None
    return found


def said(settings: LearnerSettings, row: EventRow) -> list[float]:
    """Return what the learner is told of each document of one event."""
    batch = stack_rows([row])
    phi = batch.features.astype(np.float64)
    lists = Lists(batch, phi, phi[..., 0], np.ones(1))
    split = channels(settings, [row], {1: LIVE}) if is_split(settings) else None
    if split is not None:
        assert split.known([row], np.ones(1))[0] == [row]
    lists = credited(lists, [row], THETA, settings, split)
    weight = settings.negative_weight
    found = estimated_relevance(lists, NOTHING, THETA, clip=0.01, kind=settings.relevance, negative_weight=weight)
    return found[0].tolist()


def test_by_default_nothing_is_split_and_the_bits_are_those_of_the_formula() -> None:
    assert not is_split(LearnerSettings())
    assert channels_for(LearnerSettings(), THETA, [event()], lambda _rows, _theta: NOTHING, {}) is None
    row = event(rewards=np.array([0.7, -0.3]), exposure=np.array([0.4, 0.3, 0.2]))
    expected = relevance_estimates(stack_rows([row]), np.zeros((1, 3)), THETA, clip=0.01)
    assert said(LearnerSettings(), row) == expected[0].tolist()


def test_exposure_again_is_what_the_positions_say() -> None:
    alphas = np.array([THETA, [1.0, 1.0]])
    fixed = event(is_deterministic=True, propensities=np.ones(2))
    assert logged_again(fixed, alphas, {}).tolist() == [[1.0, 0.5, 0.0], [1.0, 1.0, 0.0]]
    drawn = logged_again(event(), alphas, {1: LIVE})
    # what every list shows sums to theta's, and to two places
    np.testing.assert_allclose(drawn.sum(axis=1), [1.5, 2.0], rtol=1e-12)
    # P(first) of Plackett-Luce over x / (.5 sd); P(second) by the sum over who stood first; 200 draws
    weight = np.exp(np.array([1.0, 0.0, -1.0]) / (0.5 * np.sqrt(2.0 / 3.0)))
    first = weight / weight.sum()
    second = [sum(first[i] * weight[j] / (weight.sum() - weight[i]) for i in range(3) if i != j) for j in range(3)]
    np.testing.assert_allclose(drawn[0], first + 0.5 * np.array(second), atol=4.0 * 0.5 / np.sqrt(200.0))
    assert logged_again(event(), alphas, {}) is None


def test_what_a_sampled_document_stands_for_shares_its_exposure() -> None:
    # three documents of equal score, of which the third was kept with probability 1/2: it stands for two
    row = event(features=np.zeros((3, 1), dtype=np.float32), inclusion=np.array([1.0, 1.0, 0.5]))
    each = logged_again(row, np.ones((1, 1)), {1: LIVE})[0]  # one place, four equal candidates
    np.testing.assert_allclose(each, 0.25, atol=4.0 * np.sqrt(0.25 * 0.75 / 200.0))


def test_events_of_an_unknown_version_are_left_out_by_reason() -> None:
    rows = [event(), event(seq=2, params_version=7), event(seq=3)]
    split = channels(LearnerSettings(trust_bias=True), rows, {1: LIVE})
    kept, weights = split.known(rows, np.array([1.0, 2.0, 3.0]))
    assert ([row.seq for row in kept], weights.tolist()) == ([1, 3], [1.0, 3.0])
    split.known(rows, np.ones(3))  # counted once
    assert split.left_out == {"version_unknown": 1}


def test_a_dislike_lowers_a_document_whatever_its_position_where_it_is_told_to() -> None:
    fixed = {"is_deterministic": True, "propensities": np.ones(2), "exposure": np.array([1.0, 0.5, 0.0])}
    first, second = (event(**fixed, rewards=np.array(rewards)) for rewards in ([-0.8, 0.0], [0.0, -0.8]))
    as_clicks, as_shown = (
        LearnerSettings(relevance="ips", negative_weight=2.0, negative_examination=how) for how in ("clicks", "shown")
    )
    # looked at half as often, a dislike counts twice: that is how clicks are read
    np.testing.assert_allclose(said(as_clicks, first), [-1.6, 0.0, 0.0])
    np.testing.assert_allclose(said(as_clicks, second), [0.0, -3.2, 0.0])
    # whoever dislikes has read it: no correction for the position
    np.testing.assert_allclose(said(as_shown, first), [-1.6, 0.0, 0.0])
    np.testing.assert_allclose(said(as_shown, second), [0.0, -1.6, 0.0])
    # praise is corrected as before
    clicked = event(**fixed, rewards=np.array([0.0, 0.5]))
    np.testing.assert_allclose(said(as_shown, clicked), [0.0, 1.0, 0.0])


def test_trust_is_taken_off_praise_alone_in_units_of_reward() -> None:
    settings = LearnerSettings(trust_bias=True, relevance="clipped")
    positive, negative = models_for(THETA, settings, worth=0.5)
    alpha, beta = estimates.trusting(THETA, relevant=0.98, irrelevant=0.65)
    assert (positive.alpha.tolist(), positive.beta.tolist()) == (alpha.tolist(), (0.5 * beta).tolist())
    assert (negative.alpha.tolist(), negative.beta.tolist()) == (THETA.tolist(), [0.0, 0.0])
    fixed = event(
        is_deterministic=True,
        propensities=np.ones(2),
        exposure=np.array([1.0, 0.5, 0.0]),
        rewards=np.array([0.5, -0.5]),
    )
    # a click is worth .5: that much of a click at the first position comes with the position
    expected = [(0.5 - 0.5 * beta[0]) / alpha[0], -0.5 * beta[1] / alpha[1] - 0.5 / 0.5, 0.0]
    np.testing.assert_allclose(said(settings, fixed), expected, rtol=1e-12)


def test_ips_counts_the_list_that_was_shown_as_a_draw() -> None:
    never_drawn = event(exposure=np.array([0.0, 0.5, 0.5]), rewards=np.array([1.0, 0.0]))
    found = said(LearnerSettings(relevance="ips"), never_drawn)
    assert found == [pytest.approx(201.0), 0.0, 0.0]  # 1 / ((200 * 0 + 1) / 201)


def test_one_model_for_both_is_no_split_at_all() -> None:
    row = event(rewards=np.array([0.7, -0.3]), exposure=np.array([0.4, 0.3, 0.2]))
    batch = stack_rows([row])
    phi = batch.features.astype(np.float64)
    # predictors of the channels, whose difference is that of the whole: estimates are linear in both
    fits = iter([(Predictor(np.array([0.1, 0.3])),) * 2, (Predictor(np.array([-0.1, 0.2])),) * 2])
    models = (estimates.position_based(THETA),) * 2
    split = Channels(models, THETA, [row], lambda _rows, _theta: next(fits), {})
    lists = Lists(batch, phi, phi[..., 0], np.ones(1))
    together = (Predictor(np.array([0.2, 0.1])),) * 2
    np.testing.assert_allclose(
        estimated_relevance(lists._replace(channels=split.of(lists, [row])), NOTHING, THETA, clip=0.25),
        estimated_relevance(lists, together, THETA, clip=0.25),
        rtol=1e-12,
    )
