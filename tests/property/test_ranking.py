"""Whatever the scores: propensities are probabilities, and only the order and relative distances count."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dwell.ranking import conditional_propensities, draw_ranking, expected_exposure, named_generator, policy_scores
from dwell.records.arrays import FloatArray

finite = st.floats(-1e308, 1e308, allow_subnormal=False)
lists = hnp.arrays(np.float64, st.integers(1, 12), elements=finite)
ordinary = hnp.arrays(np.float64, st.integers(2, 12), elements=st.integers(-1_000, 1_000).map(float))
temperatures = st.floats(1e-3, 1e3)


@given(lists, st.one_of(st.just(0.0), temperatures), st.integers(0, 2**32), st.data())
def test_a_draw_is_a_ranking_with_probabilities(
    scores: FloatArray, temperature: float, seed: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, scores.size))
    drawn = draw_ranking(scores, temperature, k, np.random.default_rng(seed))
    assert drawn.order.shape == drawn.propensities.shape == (k,)
    assert len(set(drawn.order.tolist())) == k
    assert ((drawn.propensities > 0.0) & (drawn.propensities <= 1.0)).all()
    if k == scores.size:
        assert drawn.propensities[-1] == 1.0


@given(lists, st.integers(0, 2**32))
def test_no_exploration_is_a_stable_sort(scores: FloatArray, seed: int) -> None:
    drawn = draw_ranking(scores, 0.0, scores.size, np.random.default_rng(seed))
    assert drawn.order.tolist() == sorted(range(scores.size), key=lambda i: -scores[i])


@given(ordinary, temperatures, st.floats(1e-3, 1e12), st.integers(-(10**6), 10**6))
def test_scale_and_shift_of_the_scores_mean_nothing(
    scores: FloatArray, temperature: float, scale: float, shift: int
) -> None:
    assume(scores.std() > 0.0)
    z = policy_scores(scores, temperature)
    # integers below 2^53 shift without rounding; a scale rounds each score once
    np.testing.assert_allclose(policy_scores(scores + shift, temperature), z, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(policy_scores(scores * scale, temperature), z, rtol=1e-9, atol=1e-9)


@given(ordinary, temperatures, st.data())
def test_the_names_of_documents_mean_nothing(scores: FloatArray, temperature: float, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(scores.size))))
    z = policy_scores(scores, temperature)
    found = conditional_propensities(z, order, scores.size)
    again = conditional_propensities(z[order], np.arange(scores.size), scores.size)
    np.testing.assert_array_equal(found, again)


@given(lists, temperatures, st.permutations(range(12)), st.data())
def test_any_order_has_propensities_that_are_probabilities(
    scores: FloatArray, temperature: float, order: list[int], data: st.DataObject
) -> None:
    order = np.array([i for i in order if i < scores.size])
    k = data.draw(st.integers(1, scores.size))
    found = conditional_propensities(policy_scores(scores, temperature), order, k)
    assert ((found >= 0.0) & (found <= 1.0)).all()


@given(lists, temperatures, st.integers(1, 15), st.integers(0, 2**32))
def test_exposures_add_up_to_what_the_positions_hold(scores: FloatArray, temperature: float, k: int, seed: int) -> None:
    theta = 1.0 / np.arange(1, k + 1)
    found = expected_exposure(policy_scores(scores, temperature), theta, np.random.default_rng(seed), n_draws=20)
    assert abs(found.value.sum() - theta[: scores.size].sum()) < 1e-9
    assert ((found.value >= 0.0) & (found.value <= 1.0 + 1e-12)).all()
    assert (found.standard_error >= 0.0).all()


names = st.lists(st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.integers()), max_size=4)


@given(st.binary(max_size=64), names, names)
def test_streams_are_equal_exactly_when_their_names_are(
    secret: bytes, one: list[str | int], other: list[str | int]
) -> None:
    a, b = named_generator(secret, *one).random(2), named_generator(secret, *other).random(2)
    assert (a == b).all() == ([str(x) for x in one] == [str(x) for x in other])
