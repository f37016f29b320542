"""Whatever the lists: gradients are finite, transforms monotone, a proposal stays on the sphere within its bounds."""

from dataclasses import replace

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dwell.learning.estimates import Channel, RelevanceKind, channels_of, position_based
from dwell.learning.learner import LearnerSettings, Lists, estimated_relevance, learn, log_weights_of, spread_chain
from dwell.learning.pl_rank import exposure_of, full_rankings, pl_rank_gradient
from dwell.learning.predictor import Predictor, PredictorSums, fit_predictor
from dwell.learning.relevance import relevance_estimates
from dwell.learning.space import space_for
from dwell.learning.transform import fit_transform
from dwell.learning.trust import trusted_rewards
from dwell.records import Params
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow, RowBatch, stack_rows

THETA = np.array([1.0, 0.6, 0.3, 0.2])
unit_interval = st.floats(0.0, 1.0)
feature = st.one_of(st.floats(-3.0, 3.0, width=32), st.sampled_from([0.0, 1.0, -1e6, 1e6]))


@st.composite
def rows(draw: st.DrawFn, n_features: int = 2) -> EventRow:
    n = draw(st.integers(1, 6))
    kept = draw(st.integers(0, min(n, 4)))
    inclusion = [1.0] * kept + draw(st.lists(st.floats(0.01, 1.0), min_size=n - kept, max_size=n - kept))
    return EventRow(
        seq=draw(st.integers(0, 100)),
        event_id="e",
        query_hash=draw(st.integers(0, 2**64 - 1)),
        user_hash=None,
        served_at=0.0,
        features=draw(hnp.arrays(np.float32, (n, n_features), elements=feature)),
        inclusion=np.array(inclusion),
        exposure=draw(hnp.arrays(np.float64, n, elements=unit_interval)),
        n_kept=kept,
        n_shown=draw(st.integers(max(kept, 1), 6)),
        rewards=draw(hnp.arrays(np.float64, kept, elements=st.floats(-1.0, 1.0))),
        propensities=np.ones(kept),
        caller_rank=np.arange(float(n)),
        params_version=1,
        temperature=0.3,
        is_held_out=False,
        is_deterministic=False,
        is_caller_ordered=False,
        version=1,
    )


batches = st.lists(rows(), min_size=1, max_size=4).map(stack_rows)
temperatures = st.sampled_from([0.01, 0.3, 1.0])


@st.composite
def starts(draw: st.DrawFn) -> FloatArray:
    vector = np.array(draw(st.lists(st.sampled_from([0.0, 1.0, -0.5, 0.3]), min_size=2, max_size=2)))
    assume(vector.any())
    return vector / np.linalg.norm(vector)


@given(batches, starts(), temperatures, st.integers(0, 2**32))
def test_gradients_are_finite_sum_to_zero_and_vanish_where_there_is_no_document(
    batch: RowBatch, w: FloatArray, temperature: float, seed: int
) -> None:
    phi = batch.features.astype(np.float64)
    z = log_weights_of(phi @ w, batch, temperature)
    assert np.isneginf(z[~batch.is_document]).all()
    assert np.isfinite(z[batch.is_document]).all()
    b, d = z.shape
    noise = np.log(np.random.default_rng(seed).standard_exponential((b, 3, d), dtype=np.float32))
    rankings = full_rankings(z, noise)
    values = np.zeros((b, d))
    values[:, : THETA.size] = THETA[:d]
    credit = relevance_estimates(batch, np.zeros((b, d)), THETA, clip=0.1)
    assert (credit[~batch.is_document] == 0.0).all()
    gradient = pl_rank_gradient(rankings, credit, values)
    assert np.isfinite(gradient).all()
    assert (gradient[~batch.is_document] == 0.0).all()
    np.testing.assert_allclose(gradient.sum(axis=1), 0.0, atol=1e-9)
    slope = spread_chain(gradient, phi @ w, batch, temperature)
    assert np.isfinite(slope).all()
    assert (slope[~batch.is_document] == 0.0).all()
    exposure = exposure_of(rankings, values)
    np.testing.assert_allclose(exposure.sum(axis=1), values.sum(axis=1), atol=1e-9)
    kept = trusted_rewards(credit, exposure, exposure, eps=0.0)
    np.testing.assert_array_equal(kept, credit)


@given(batches, starts(), temperatures, st.floats(0.001, 1.0), st.floats(0.001, 2.0), st.floats(0.05, 1.0))
def test_a_proposal_has_norm_one_and_stays_within_its_bounds(
    batch: RowBatch, start: FloatArray, temperature: float, step: float, limit: float, bound: float
) -> None:
    phi = batch.features.astype(np.float64)
    lists = Lists(batch, phi, phi @ start, np.ones(len(phi)))
    nothing = Predictor(np.zeros(3))
    found = learn(
        start,
        [lists] * 3,
        (nothing, nothing),
        theta=THETA,
        temperature=temperature,
        n_events=1_000.0,
        settings=LearnerSettings(step_size=step, max_step_norm=limit, max_weight=bound, n_samples=2),
        rng=np.random.default_rng(0),
    )
    assert abs(np.linalg.norm(found.vector) - 1.0) < 1e-9
    assert np.linalg.norm(found.vector - start) <= limit + 1e-9
    assert (np.abs(found.vector) <= np.maximum(bound, np.abs(start)) + 1e-9).all()
    assert found.step_norm <= limit


columns = hnp.arrays(
    np.float64, st.integers(1, 200), elements=st.one_of(st.floats(width=32, allow_infinity=False), st.just(0.0))
)


@given(columns, st.sampled_from(["gauss", "moments"]), columns)
def test_a_transform_is_finite_and_monotone_on_any_column(column: FloatArray, kind: str, others: FloatArray) -> None:
    transform = fit_transform(column[:, None], kind=kind)
    assert (np.diff(transform.knots[0]) > 0.0).all()
    mapped = transform.apply(np.sort(others)[:, None])[:, 0]
    assert np.isfinite(mapped).all()
    seen = mapped[: (~np.isnan(others)).sum()]  # sorting puts NaN last
    assert (np.diff(seen) >= -1e-9).all()
    assert (mapped[seen.size :] == 0.0).all()


weights = st.lists(st.floats(-100.0, 100.0), min_size=2, max_size=2)
tables = hnp.arrays(np.float64, (20, 2), elements=st.integers(-50, 50).map(float))


@given(tables, weights, hnp.arrays(np.float64, 3, elements=st.floats(-5.0, 5.0)))
def test_params_score_what_the_space_scores(table: FloatArray, given_weights: list[float], vector: FloatArray) -> None:
    assume(np.abs(vector).max() > 1e-3)
    live = Params(1, dict(zip(("a", "b"), given_weights, strict=True)))
    space = space_for(live, table)
    params = space.params(vector, version=2, parent=live, created_at=0.0)
    expected = space.phi(table) @ vector / np.linalg.norm(vector)
    np.testing.assert_allclose(params.score(table), expected, rtol=1e-7, atol=1e-7)


@st.composite
def served(draw: st.DrawFn) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    n = draw(st.integers(0, 12))
    array = lambda low, high: draw(hnp.arrays(np.float64, n, elements=st.floats(low, high)))  # noqa: E731 - four alike
    return (
        draw(hnp.arrays(np.float64, (n, 2), elements=st.floats(-5.0, 5.0))),
        array(-1.0, 1.0),
        array(0.01, 1.0),
        array(0.0, 3.0),
    )


@given(served(), st.integers(0, 12), st.floats(0.0, 100.0))
def test_predictor_sums_do_not_care_how_events_were_sharded(
    log: tuple[FloatArray, FloatArray, FloatArray, FloatArray], cut: int, ridge: float
) -> None:
    whole = PredictorSums.empty(2).plus(*log)
    parts = PredictorSums.empty(2).plus(*(x[:cut] for x in log)).plus(*(x[cut:] for x in log))
    assert parts.n == whole.n
    np.testing.assert_allclose(parts.gram, whole.gram, atol=1e-9)
    np.testing.assert_allclose(parts.moment, whole.moment, atol=1e-9)
    assert np.isfinite(fit_predictor(whole, ridge=ridge).beta).all()


@given(one=rows(), weight=st.floats(0.0, 10.0), kind=st.sampled_from(["naive", "clipped", "direct", "doubly_robust"]))
def test_two_channels_of_one_model_are_one_with_dislikes_at_their_price(
    one: EventRow, weight: float, kind: RelevanceKind
) -> None:
    batch = stack_rows([one])
    phi = np.zeros((*batch.is_document.shape, 2))
    nothing = (Predictor(np.zeros(3)),) * 2
    model, no_prediction = position_based(THETA), np.zeros(batch.rewards.shape)
    channels = tuple(Channel(part, batch.exposure, no_prediction, model) for part in channels_of(batch.rewards))
    lists = Lists(batch, phi, phi[..., 0], np.ones(1))
    split = estimated_relevance(
        lists._replace(channels=channels), nothing, THETA, clip=0.1, kind=kind, negative_weight=weight
    )
    priced = replace(batch, rewards=np.where(batch.rewards < 0.0, weight * batch.rewards, batch.rewards))
    whole = estimated_relevance(lists._replace(batch=priced), nothing, THETA, clip=0.1, kind=kind)
    np.testing.assert_allclose(split, whole, rtol=1e-9, atol=1e-12)
