"""Weights by query: slopes of both factors against finite differences, bounds, and who gets the global weights."""

from collections.abc import Callable

import numpy as np
import pytest

from dwell.errors import DivergedError, LearningError
from dwell.learning.learner import LearnerSettings, Sampled, log_weights_of
from dwell.learning.low_rank import (
    LowRankLearned,
    LowRankWeights,
    QueryLists,
    contained,
    factor_slopes,
    learn_low_rank,
    resized,
)
from dwell.learning.predictor import Predictor
from dwell.records.arrays import FloatArray
from dwell.records.rows import RowBatch
from dwell.testing.learner_world import LearnerWorld, closed_events, lists_of

OVERALL = np.array([0.6, 0.8, 0.0])
WORLD = LearnerWorld(truth=np.array([0.0, 0.0, 1.0]), theta=np.array([1.0, 0.5]), n_documents=4)
NOTHING = Predictor(np.zeros(4))
LINEAR = np.random.default_rng(5).normal(size=(6, 4))
LINEAR -= LINEAR.mean(axis=1, keepdims=True)


def sample(n: int = 6, seed: int = 0) -> QueryLists:
    rows = closed_events(WORLD, OVERALL, n, np.random.default_rng(seed))
    return QueryLists(lists_of(rows, OVERALL), np.random.default_rng(seed + 1).normal(size=(n, 5)))


def learned(samples: list[QueryLists], rank: int = 2, **changes: object) -> LowRankLearned:
    arguments = {
        "overall": OVERALL,
        "rank": rank,
        "embedding_size": 5,
        "theta": WORLD.theta,
        "temperature": 0.5,
        "n_events": 1e4,
        "settings": LearnerSettings(step_size=0.02),
        "rng": np.random.default_rng(0),
        **changes,
    }
    return learn_low_rank(samples=samples, predictors=(NOTHING, NOTHING), **arguments)


def test_the_slopes_of_both_factors_are_those_of_the_objective() -> None:
    # J = mean over lists of weight * f(phi (w + U V^T e)), f smooth: here a sum of sines with known derivative
    rng = np.random.default_rng(0)
    phi, e = rng.normal(size=(6, 4, 3)), rng.normal(size=(6, 5))
    weights, u, v = rng.uniform(0.5, 1.5, 6), rng.normal(size=(3, 2)), rng.normal(size=(5, 2))

    def scores(u: FloatArray, v: FloatArray) -> FloatArray:
        return np.einsum("bdp,bp->bd", phi, OVERALL + e @ v @ u.T)

    def objective(u: FloatArray, v: FloatArray) -> float:
        return float((weights * np.sin(scores(u, v)).sum(axis=1)).mean())

    pulls = np.einsum("bd,bdp->bp", np.cos(scores(u, v)), phi) * weights[:, None]
    slope_u, slope_v = factor_slopes(pulls, e, u, v)
    step = 1e-6
    for factor, slope in ((u, slope_u), (v, slope_v)):
        for place in np.ndindex(factor.shape):
            kept = factor[place]
            factor[place] = kept + step
            up = objective(u, v)
            factor[place] = kept - step
            down = objective(u, v)
            factor[place] = kept
            assert slope[place] == pytest.approx((up - down) / (2.0 * step), rel=1e-6, abs=1e-8)


def test_the_whole_slope_goes_through_the_spread_of_the_scores() -> None:
    # an objective that is linear in the log weights: its value is known, and so are its finite differences. From the
    # second step on both factors have a slope; what is followed is read off the curve of its length
    given = sample()
    batch = given.lists.batch
    lengths: list[float] = []

    def linear(_: Sampled) -> FloatArray:
        return LINEAR

    settings = LearnerSettings(step_size=1e-9, l2=0.0)
    found = learned([given] * 2, objective=linear, settings=settings)
    u, v = found.weights.u, found.weights.v
    e = given.embeddings / np.linalg.norm(given.embeddings, axis=1, keepdims=True)

    def objective(u: FloatArray, v: FloatArray) -> float:
        scores = np.einsum("bdp,bp->bd", given.lists.phi, OVERALL + e @ v @ u.T)
        return float((flat(scores, batch) * (LINEAR * log_weights_of(scores, batch, 0.5)).sum(axis=1)).mean())

    step = 1e-5
    for place in np.ndindex(u.shape):
        moved = [u.copy(), u.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        lengths.append((objective(moved[0], v) - objective(moved[1], v)) / (2.0 * step))
    assert found.curves["gradient_norm"][1] == pytest.approx(np.linalg.norm(lengths), rel=1e-4)


def flat(scores: FloatArray, batch: RowBatch) -> FloatArray:
    """The weight of a list, 1 where its scores are spread by .3; those of this sample are, by the assertion."""
    assert scores.std(axis=1).min() > 0.3
    assert batch.is_document.all()
    return np.ones(len(scores))


def test_no_embedding_or_one_of_zeros_means_the_global_weights() -> None:
    found = learned([sample()] * 3).weights
    assert found.vector_for(None) is found.overall
    assert found.vector_for(np.zeros(5)) is found.overall
    assert found.vector_for(np.ones(5)).tolist() != OVERALL.tolist()
    np.testing.assert_array_equal(found.score(np.eye(3), None), OVERALL)


def test_lists_without_embeddings_teach_nothing() -> None:
    given = sample()._replace(embeddings=np.zeros((6, 5)))
    found = learned([given] * 3, settings=LearnerSettings(l2=0.0)).weights
    assert (found.u == 0.0).all()


def test_learning_starts_at_the_global_weights() -> None:
    found = learned([])
    assert found.n_steps == 0
    assert (found.weights.u == 0.0).all()
    np.testing.assert_array_equal(found.weights.vector_for(np.ones(5)), OVERALL)


def test_the_norm_of_an_embedding_has_no_meaning() -> None:
    found = learned([sample()] * 3).weights
    e = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    for scale in (1e-200, 1.0, 1e200):
        np.testing.assert_allclose(found.vector_for(scale * e), found.vector_for(e), rtol=1e-12)


def test_the_weights_of_every_query_are_within_the_bounds() -> None:
    settings = LearnerSettings(step_size=1.0, max_step_norm=0.2, max_weight=0.7)
    found = learned([sample()] * 10, settings=settings).weights
    for e in np.random.default_rng(0).normal(size=(50, 5)):
        vector = found.vector_for(e)
        assert np.linalg.norm(vector) == pytest.approx(1.0)
        assert np.linalg.norm(vector - OVERALL) <= 0.2 + 1e-12
        assert (np.abs(vector) <= np.maximum(0.7, OVERALL) + 1e-12).all()


def test_the_same_generator_gives_the_same_bits_and_nothing_given_is_changed() -> None:
    given = sample()
    before = given.lists.phi.tobytes(), given.embeddings.tobytes()
    one, two = learned([given] * 3), learned([given] * 3)
    assert one.weights.u.tobytes() == two.weights.u.tobytes()
    assert one.curves == two.curves
    assert (given.lists.phi.tobytes(), given.embeddings.tobytes()) == before


def test_at_the_edge_of_the_trust_region_nothing_is_asked() -> None:
    # credit goes by what was served on top; a safe policy that hides exactly that leaves nothing to follow
    given = sample(1, seed=4)
    lists = given.lists
    lists.batch.rewards[:] = [[1.0, 1.0, 0.0, 0.0]]
    lists.batch.exposure[:] = 0.5
    phi = np.array([[[1.2, 1.2, 0.4], [1.0, 1.0, -0.1], [-0.9, -0.9, 0.2], [-1.1, -1.1, -0.3]]])
    inside = QueryLists(lists._replace(phi=phi, safe_scores=phi @ OVERALL), given.embeddings)
    outside = QueryLists(lists._replace(phi=phi, safe_scores=-10.0 * (phi @ OVERALL)), given.embeddings)
    settings = LearnerSettings(step_size=0.02, l2=0.0)
    assert np.abs(learned([inside] * 3, settings=settings).weights.u).max() > 0.0
    assert np.abs(learned([outside] * 3, settings=settings).weights.u).max() == 0.0


@pytest.mark.parametrize("rank", [0, 9, True, -1])
def test_a_rank_outside_one_to_eight_is_refused(rank: int) -> None:
    with pytest.raises(LearningError) as caught:
        learned([], rank=rank)
    assert caught.value.field == "rank"


def _nan_in(given: QueryLists, where: str) -> QueryLists:
    if where == "embeddings":
        return given._replace(embeddings=np.full((6, 5), np.nan))
    array = getattr(given.lists, where).copy()
    array[(0,) * array.ndim] = np.nan
    return given._replace(lists=given.lists._replace(**{where: array}))


@pytest.mark.parametrize("where", ["phi", "safe_scores", "weights", "embeddings"])
def test_what_is_not_finite_is_refused(where: str) -> None:
    with pytest.raises(LearningError, match="not finite"):
        learned([_nan_in(sample(), where)])


def test_another_size_of_embedding_is_refused() -> None:
    weights = LowRankWeights(overall=OVERALL, u=np.ones((3, 1)), v=np.ones((5, 1)), settings=LearnerSettings())
    with pytest.raises(LearningError, match="size 5"):
        weights.vector_for(np.ones(4))
    with pytest.raises(LearningError, match="size 5"):
        learned([sample()._replace(embeddings=np.ones((6, 4)))])


def test_a_gradient_that_is_not_finite_stops_it() -> None:
    bad: Callable[[Sampled], FloatArray] = lambda _: np.full((6, 4), np.nan)  # noqa: E731
    with pytest.raises(DivergedError, match="not finite"):
        learned([sample()], objective=bad)


# ------------------------------------------------------------ as a part of params


@pytest.mark.parametrize(("max_step_norm", "max_weight"), [(1.0, 1.0), (0.2, 1.0), (0.5, 0.85), (2.0, 1.0)])
def test_contained_factors_keep_every_query_within_the_bounds(max_step_norm: float, max_weight: float) -> None:
    rng = np.random.default_rng(0)
    settings = LearnerSettings(max_step_norm=max_step_norm, max_weight=max_weight)
    bases = [OVERALL, np.array([0.8, 0.0, 0.6])]
    v = rng.normal(size=(5, 2))
    u = contained(3.0 * rng.normal(size=(3, 2)), v, bases, settings)
    assert np.abs(u).max() > 0.01
    # the worst query is the first right singular vector; the others are drawn
    worst = np.linalg.svd(u @ v.T)[2][0]
    for e in [worst, -worst, *rng.normal(size=(200, 5))]:
        for base in bases:
            moved = base + u @ (v.T @ (e / np.linalg.norm(e)))
            moved /= np.linalg.norm(moved)
            assert np.linalg.norm(moved - base) <= max_step_norm + 1e-12
            assert (np.abs(moved) <= np.maximum(max_weight, np.abs(base)) + 1e-12).all()


def test_contained_factors_use_the_room_that_there_is() -> None:
    # one direction across the weights: 2 arcsin(.1) is allowed, so sin of it is what may be added; here all of it is
    v = np.array([[1.0], [0.0]])
    u = contained(np.array([[0.0], [0.0], [5.0]]), v, [OVERALL], LearnerSettings(max_step_norm=0.2))
    assert u[2, 0] == pytest.approx(np.sin(2.0 * np.arcsin(0.1)))
    small = np.array([[0.0], [0.0], [0.01]])
    np.testing.assert_array_equal(contained(small, v, [OVERALL], LearnerSettings(max_step_norm=0.2)), small)


def test_at_the_bound_of_a_weight_nothing_is_added() -> None:
    u = contained(np.ones((3, 1)), np.ones((2, 1)), [OVERALL], LearnerSettings(max_weight=0.8))
    assert not u.any()


def test_factors_of_another_rank() -> None:
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(3, 2)), rng.normal(size=(5, 2))
    wider = resized(u, v, 4, rng)
    assert wider[0].shape == (3, 4)
    np.testing.assert_allclose(wider[0] @ wider[1].T, u @ v.T, rtol=1e-14)
    narrow = resized(u, v, 1, rng)
    # the nearest matrix of rank 1 misses by the second singular value (Eckart and Young 1936)
    missed = np.linalg.norm(u @ v.T - narrow[0] @ narrow[1].T, ord=2)
    assert missed == pytest.approx(np.linalg.svd(u @ v.T)[1][1])


def test_learning_goes_on_from_factors_and_on_top_of_what_a_segment_adds() -> None:
    rng = np.random.default_rng(0)
    u, v = 0.1 * rng.normal(size=(3, 2)), rng.normal(size=(5, 2))
    unmoved = learned([], start=(u, v)).weights
    np.testing.assert_array_equal(unmoved.u @ unmoved.v.T, u @ v.T)
    # an addition that is the same in all lists is another vector of global weights, and followed as such
    given, more = sample(), np.array([0.2, -0.8, 0.6])
    assert np.linalg.norm(OVERALL + more) == pytest.approx(1.0)
    on_top = learned([given._replace(additions=np.tile(more, (6, 1)))] * 3).weights
    moved = learned([given] * 3, overall=OVERALL + more).weights
    np.testing.assert_allclose(on_top.u, moved.u, rtol=1e-9)
    assert np.abs(on_top.u).max() > 0.0
