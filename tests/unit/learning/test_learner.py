"""The learner's slope against finite differences of enumerated objectives, and its bounds."""

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from dwell.errors import ConfigError, DivergedError, LearningError
from dwell.learning.learner import Learned, LearnerSettings, Lists, learn, log_weights_of, position_values, spread_chain
from dwell.learning.pl_rank import Rankings, pl_rank_gradient
from dwell.learning.predictor import Predictor
from dwell.ranking import conditional_propensities, policy_scores
from dwell.ranking.policy import MIN_SPREAD
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow, RowBatch, stack_rows

THETA = np.array([1.0, 0.5, 0.25])


@pytest.fixture
def batch(event: Callable[..., EventRow]) -> RowBatch:
    """Two lists: four documents of which two were sampled with probability 1/2 and 1/5, and a short one."""
    rng = np.random.default_rng(0)
    long = event(rng.normal(size=(4, 2)), rewards=[1.0, 0.0], inclusion=[1.0, 1.0, 0.5, 0.2], n_shown=3)
    short = event(rng.normal(size=(2, 2)), rewards=[0.0, 1.0], n_shown=2, query_hash=1)
    return stack_rows([long, short])


SCORES = np.array([[0.3, -0.2, 0.9, 0.1], [0.5, 0.8, 77.0, -88.0]])  # what stands in padded places must not matter


def test_a_document_that_stands_for_several_counts_as_so_many_equals(batch: RowBatch) -> None:
    z = log_weights_of(SCORES, batch, 0.7)
    everyone = np.repeat(SCORES[0], [1, 1, 2, 5])
    of_each = np.exp(policy_scores(everyone, 0.7))
    expected = np.array([of_each[0], of_each[1], of_each[2:4].sum(), of_each[4:].sum()])
    np.testing.assert_allclose(np.exp(z[0]) / np.exp(z[0]).sum(), expected / expected.sum(), rtol=1e-12)
    np.testing.assert_allclose(z[1, :2], policy_scores(SCORES[1, :2], 0.7), rtol=1e-12)
    assert np.isneginf(z[1, 2:]).all()


def test_position_values_end_with_the_list_as_shown(batch: RowBatch) -> None:
    assert position_values(batch, THETA).tolist() == [[1.0, 0.5, 0.25, 0.0], [1.0, 0.5, 0.0, 0.0]]
    assert position_values(batch, np.array([1.0])).tolist() == [[1.0, 0.0, 0.0, 0.0]] * 2
    assert position_values(batch, np.ones(9)).tolist() == [[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]]


def slope_of_log_weights(
    scores: FloatArray, direction: FloatArray, batch: RowBatch, temperature: float, step: float
) -> FloatArray:
    """Return d (direction . z) / d s by central differences, place by place."""
    found = np.zeros_like(scores)
    for place in itertools.product(*map(range, scores.shape)):
        moved = []
        for sign in (1.0, -1.0):
            s = scores.copy()
            s[place] += sign * step
            z = np.where(batch.is_document, log_weights_of(s, batch, temperature), 0.0)
            moved.append(float((direction * z).sum()))
        found[place] = (moved[0] - moved[1]) / (2.0 * step)
    return found


def directions(batch: RowBatch, seed: int = 0) -> FloatArray:
    """Gradients as a policy gives them: 0 where there is no document, and summing to 0 in each list."""
    g = np.where(batch.is_document, np.random.default_rng(seed).normal(size=batch.is_document.shape), 0.0)
    return np.where(batch.is_document, g - g.sum(axis=1, keepdims=True) / batch.is_document.sum(axis=1)[:, None], 0.0)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_the_chain_through_the_spread(batch: RowBatch, temperature: float) -> None:
    g = directions(batch)
    expected = slope_of_log_weights(SCORES, g, batch, temperature, 1e-6)
    np.testing.assert_allclose(spread_chain(g, SCORES, batch, temperature), expected, rtol=1e-6, atol=1e-7)


def test_the_chain_where_all_scores_are_equal(batch: RowBatch) -> None:
    # within 1e-9 of equality the spread is replaced by a constant: z is linear there
    g, scores = directions(batch, 1), np.full((2, 4), 0.25)
    # scores of 0 keep a step of 1e-12 exact
    expected = slope_of_log_weights(np.zeros((2, 4)), g, batch, 0.5, 1e-12)
    np.testing.assert_allclose(spread_chain(g, scores, batch, 0.5), expected, rtol=1e-6)
    np.testing.assert_allclose(spread_chain(g, scores, batch, 0.5), g / (0.5 * MIN_SPREAD))


def test_the_chain_is_zero_where_there_is_no_document(batch: RowBatch) -> None:
    assert (spread_chain(directions(batch), SCORES, batch, 0.3)[1, 2:] == 0.0).all()


def test_growing_scores_gain_nothing(batch: RowBatch) -> None:
    # only the direction of the weights means anything: no slope along the scores themselves
    slope = spread_chain(directions(batch), SCORES, batch, 0.3)
    np.testing.assert_allclose(np.where(batch.is_document, slope * SCORES, 0.0).sum(axis=1), 0.0, atol=1e-12)


def exact_gradient(z: FloatArray, rewards: FloatArray, values: FloatArray) -> FloatArray:
    """E of the sampled dJ/dz of one list: every ranking with its probability."""
    n = z.size
    orders = np.array(list(itertools.permutations(range(n))))
    probability = np.array([conditional_propensities(z, order, n).prod() for order in orders])
    log_weight = np.tile(z, (len(orders), 1))
    each = Rankings(orders[:, None, :], np.exp(log_weight), log_weight)
    return probability @ pl_rank_gradient(each, np.tile(rewards, (len(orders), 1)), np.tile(values, (len(orders), 1)))


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_the_whole_slope_is_that_of_the_enumerated_objective(
    batch: RowBatch, temperature: float, list_reward: Callable[..., float]
) -> None:
    phi = batch.features.astype(np.float64)
    credit = np.where(batch.is_document, np.random.default_rng(3).normal(size=(2, 4)), 0.0)
    values, sampling = position_values(batch, THETA), np.array([0.4, 1.6])
    sizes = batch.is_document.sum(axis=1)

    def objective(w: FloatArray) -> float:
        z = log_weights_of(phi @ w, batch, temperature)
        lists = [list_reward(z[i, :n], credit[i, :n], values[i, :n]) for i, n in enumerate(sizes)]
        return float(sampling @ lists) / 2.0

    w, step = np.array([0.8, -0.6]), 1e-5
    expected = [(objective(w + step * e) - objective(w - step * e)) / (2.0 * step) for e in np.eye(2)]
    z = log_weights_of(phi @ w, batch, temperature)
    gradient = np.zeros((2, 4))
    for i, n in enumerate(sizes):
        gradient[i, :n] = exact_gradient(z[i, :n], credit[i, :n], values[i, :n])
    slope = np.einsum("b,bd,bdp->p", sampling, spread_chain(gradient, phi @ w, batch, temperature), phi) / 2.0
    np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-8)


NOTHING = Predictor(np.zeros(3))


def lists_of(batch: RowBatch, start: FloatArray, *, features: FloatArray | None = None) -> Lists:
    phi = batch.features.astype(np.float64) if features is None else features
    return Lists(batch, phi, phi @ start, np.ones(len(batch.seqs)))


def run(
    batch: RowBatch, start: npt.ArrayLike, n_steps: int, settings: LearnerSettings | None = None, **changes: object
) -> Learned:
    start = np.asarray(start, dtype=np.float64)
    arguments = {
        "theta": THETA,
        "temperature": 0.5,
        "n_events": 1e4,
        "settings": settings or LearnerSettings(),
        "rng": np.random.default_rng(7),
        **changes,
    }
    return learn(start, (lists_of(batch, start) for _ in range(n_steps)), (NOTHING, NOTHING), **arguments)


def test_no_step_ends_where_it_started(batch: RowBatch) -> None:
    found = run(batch, [0.6, 0.8], 0)
    assert found.vector.tolist() == [0.6, 0.8]
    assert (found.n_steps, found.step_norm, found.was_bounded) == (0, 0.0, False)
    assert found.curves == {"objective": [], "gradient_norm": [], "withdrawn": []}


def test_the_same_generator_gives_the_same_bits(batch: RowBatch) -> None:
    one, two = run(batch, [0.6, 0.8], 5), run(batch, [0.6, 0.8], 5)
    assert one.vector.tobytes() == two.vector.tobytes()
    assert one.curves == two.curves
    other = run(batch, [0.6, 0.8], 5, rng=np.random.default_rng(8))
    assert other.vector.tobytes() != one.vector.tobytes()


def test_curves_have_one_value_per_step_and_nothing_is_withdrawn_at_the_start(batch: RowBatch) -> None:
    found = run(batch, [0.6, 0.8], 6)
    assert found.n_steps == 6
    assert {name: len(curve) for name, curve in found.curves.items()} == dict.fromkeys(found.curves, 6)
    # the first rankings under the proposal and the safe params are the same
    assert found.curves["withdrawn"][0] == 0.0


@pytest.mark.parametrize("limit", [0.01, 0.3, 1.0, 2.0])
def test_the_proposal_is_at_norm_one_and_within_its_step(batch: RowBatch, limit: float) -> None:
    start = np.array([-0.6, 0.8])
    found = run(batch, start, 30, LearnerSettings(step_size=1.0, max_step_norm=limit))
    assert np.linalg.norm(found.vector) == pytest.approx(1.0, abs=1e-12)
    assert np.linalg.norm(found.vector - start) <= limit + 1e-12
    assert found.step_norm == pytest.approx(np.linalg.norm(found.vector - start), abs=1e-9)
    assert found.was_bounded == (found.step_norm == pytest.approx(limit))


def test_one_step_moves_each_weight_by_the_step_size(batch: RowBatch) -> None:
    # Adam's first step is step_size * slope / (|slope| + 1e-8): its sign, whatever its size
    start = np.array([0.6, 0.8])
    found = run(batch, start, 1, LearnerSettings(step_size=0.01))
    moved = [start + 0.01 * np.array(signs) for signs in itertools.product((-1.0, 1.0), repeat=2)]
    distances = [np.abs(found.vector - m / np.linalg.norm(m)).max() for m in moved]
    assert min(distances) < 1e-6


def test_a_weight_is_held_at_its_bound_and_the_others_make_good_the_norm(event: Callable[..., EventRow]) -> None:
    rng = np.random.default_rng(0)
    # the first feature alone is what users want
    rows = []
    for i in range(30):
        x = rng.normal(size=(5, 3))
        x = x[np.argsort(-x[:, 0])]
        rows.append(event(x, rewards=[1.0, 0.0, 0.0], exposure=np.full(5, 0.4), query_hash=i))
    batch, start = stack_rows(rows), np.array([0.2, 0.4, 0.8**0.5])
    zero = Predictor(np.zeros(4))

    def end(**settings: float) -> FloatArray:
        return learn(
            start,
            (lists_of(batch, start) for _ in range(60)),
            (zero, zero),
            theta=THETA,
            temperature=0.5,
            n_events=1e4,
            settings=LearnerSettings(step_size=0.05, max_step_norm=2.0, **settings),
            rng=np.random.default_rng(0),
        ).vector

    assert end()[0] > 0.7
    bounded = end(max_weight=0.5)
    assert bounded[0] == pytest.approx(0.5)
    assert abs(bounded[1]) <= 0.5 + 1e-12
    assert abs(bounded[2]) <= start[2] + 1e-12  # live beyond the bound: it may stay, not grow
    assert np.linalg.norm(bounded) == pytest.approx(1.0)


def test_starting_at_the_raw_score_alone_is_legal_under_any_bound(batch: RowBatch) -> None:
    found = run(batch, [0.0, 1.0], 20, LearnerSettings(step_size=0.5, max_weight=0.3, max_step_norm=0.2))
    assert np.linalg.norm(found.vector) == pytest.approx(1.0)
    assert abs(found.vector[0]) <= 0.3
    assert np.linalg.norm(found.vector - [0.0, 1.0]) <= 0.2 + 1e-12


def test_one_feature_can_only_stay_or_turn_round(event: Callable[..., EventRow]) -> None:
    rows = [event([[0.1], [0.9]], rewards=[1.0, 0.0])]
    found = learn(
        np.array([1.0]),
        [Lists(stack_rows(rows), np.array([[[0.1], [0.9]]]), np.array([[0.1, 0.9]]), np.ones(1))] * 5,
        (Predictor(np.zeros(2)), Predictor(np.zeros(2))),
        theta=THETA,
        temperature=0.5,
        n_events=100.0,
        settings=LearnerSettings(step_size=1.0),
        rng=np.random.default_rng(0),
    )
    assert found.vector.tolist() == [1.0]


def test_lists_of_one_document_teach_nothing(event: Callable[..., EventRow]) -> None:
    found = run(stack_rows([event([[1.0, 2.0]], rewards=[1.0])] * 3), [0.6, 0.8], 10)
    np.testing.assert_allclose(found.vector, [0.6, 0.8], atol=1e-12)
    assert found.curves["gradient_norm"] == [0.0] * 10


def test_equal_documents_teach_nothing(event: Callable[..., EventRow]) -> None:
    batch = stack_rows([event(np.ones((4, 2)), rewards=[1.0, 0.0, 0.0])] * 3)
    found = run(batch, [0.6, 0.8], 10, LearnerSettings(l2=0.0))
    np.testing.assert_allclose(found.vector, [0.6, 0.8], atol=1e-6)


def test_a_feature_that_is_the_same_for_a_whole_list_keeps_its_weight(event: Callable[..., EventRow]) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(20):
        x = rng.normal(size=(5, 3))
        x[:, 2] = rng.normal()
        rows.append(event(x, rewards=rng.integers(0, 2, 3).astype(float)))
    start, none = np.array([0.36, 0.48, 0.8]), Predictor(np.zeros(4))
    batch = stack_rows(rows)
    found = learn(
        start,
        [lists_of(batch, start)],
        (none, none),
        theta=THETA,
        temperature=0.5,
        n_events=1e4,
        settings=LearnerSettings(step_size=0.01),
        rng=np.random.default_rng(0),
    ).vector
    # Adam moves whatever has a slope, however small, by its whole step
    moved = [start + 0.01 * np.array([*signs, 0.0]) for signs in itertools.product((-1.0, 1.0), repeat=2)]
    assert min(np.abs(found - m / np.linalg.norm(m)).max() for m in moved) < 1e-6


@pytest.mark.parametrize("temperature", [0.001, 0.01])
def test_a_nearly_deterministic_policy_does_not_diverge(batch: RowBatch, temperature: float) -> None:
    found = run(batch, [0.6, 0.8], 20, temperature=temperature)
    assert np.isfinite(found.vector).all()
    assert np.isfinite(found.curves["gradient_norm"]).all()


def test_a_huge_feature_does_not_diverge(batch: RowBatch) -> None:
    start = np.array([0.6, 0.8])
    lists = lists_of(batch, start, features=batch.features.astype(np.float64) * 1e30)
    found = learn(
        start,
        [lists] * 5,
        (NOTHING, NOTHING),
        theta=THETA,
        temperature=0.5,
        n_events=1e4,
        settings=LearnerSettings(),
        rng=np.random.default_rng(0),
    )
    assert np.isfinite(found.vector).all()


@pytest.mark.parametrize("where", ["phi", "rewards", "weights", "predictor"])
def test_a_value_that_is_not_a_number_stops_learning_by_name(event: Callable[..., EventRow], where: str) -> None:
    start = np.array([0.6, 0.8])
    reward = np.nan if where == "rewards" else 1.0
    batch = stack_rows([event(np.random.default_rng(0).normal(size=(4, 2)), rewards=[reward, 0.0])] * 2)
    phi = batch.features.astype(np.float64)
    if where == "phi":
        phi[0, 1, 0] = np.nan
    predictor = Predictor(np.array([np.nan, 0.0, 0.0])) if where == "predictor" else NOTHING
    lists = Lists(batch, phi, phi @ start, np.array([np.nan, 1.0]) if where == "weights" else np.ones(2))
    with pytest.raises(DivergedError, match="not finite") as caught:
        learn(
            start,
            [lists],
            (predictor, predictor),
            theta=THETA,
            temperature=0.5,
            n_events=100.0,
            settings=LearnerSettings(),
            rng=np.random.default_rng(0),
        )
    assert (caught.value.field, caught.value.value) == ("step", 1)


@pytest.mark.parametrize("name", ["rewards", "exposures", "sampling weights", "safe scores", "features"])
def test_what_is_not_finite_is_named(event: Callable[..., EventRow], name: str) -> None:
    start = np.array([0.6, 0.8])
    batch = stack_rows([event(np.random.default_rng(0).normal(size=(4, 2)), rewards=[1.0, 0.0])] * 2)
    lists = lists_of(batch, start)
    where = {
        "rewards": batch.rewards,
        "exposures": batch.exposure,
        "sampling weights": lists.weights,
        "safe scores": lists.safe_scores,
        "features": lists.phi,
    }[name]
    where[(1,) * where.ndim] = np.inf
    with pytest.raises(DivergedError, match=name):
        learn(
            start,
            [lists],
            (NOTHING, NOTHING),
            theta=THETA,
            temperature=0.5,
            n_events=100.0,
            settings=LearnerSettings(),
            rng=np.random.default_rng(0),
        )


@pytest.mark.parametrize("n_events", [-1.0, float("nan"), float("inf")])
def test_a_number_of_events_that_is_none_is_refused(batch: RowBatch, n_events: float) -> None:
    with pytest.raises(LearningError) as caught:
        run(batch, [0.6, 0.8], 1, n_events=n_events)
    assert caught.value.field == "n_events"


@pytest.mark.parametrize("start", [[3.0, 4.0], [0.0, 0.0], [float("nan"), 1.0], [[0.6, 0.8]], []])
def test_a_start_that_is_no_unit_vector_is_refused(batch: RowBatch, start: npt.ArrayLike) -> None:
    given = np.asarray(start, dtype=np.float64)
    with pytest.raises(LearningError) as caught:
        learn(
            given,
            [],
            (NOTHING, NOTHING),
            theta=THETA,
            temperature=0.5,
            n_events=100.0,
            settings=LearnerSettings(),
            rng=np.random.default_rng(0),
        )
    assert caught.value.field == "start"


def test_each_query_is_predicted_by_the_fold_that_never_saw_it(event: Callable[..., EventRow]) -> None:
    # nothing was rewarded and the exposure of the unserved document is full, so that its credit is the prediction alone
    x = np.array([[1.0, 0.0], [-1.0, 0.0]])
    start = np.array([0.0, 1.0])
    says = {1.0: Predictor(np.array([1.0, 0.0, 0.0])), -1.0: Predictor(np.array([-1.0, 0.0, 0.0]))}

    def first_step(query_hash: int, predictors: tuple[Predictor, Predictor]) -> float:
        batch = stack_rows([event(x, rewards=[], exposure=[1.0, 1.0], n_shown=1, query_hash=query_hash)])
        settings = LearnerSettings(step_size=0.01, n_samples=256)
        return learn(
            start,
            [lists_of(batch, start)],
            predictors,
            theta=THETA,
            temperature=0.5,
            n_events=1e4,
            settings=settings,
            rng=np.random.default_rng(0),
        ).vector[0]

    # fold 0 is judged by the predictor of fold 1, and the other way round
    assert first_step(2, (says[-1.0], says[1.0])) > 0.0 > first_step(3, (says[-1.0], says[1.0]))
    assert first_step(2, (says[1.0], says[-1.0])) < 0.0 < first_step(3, (says[1.0], says[-1.0]))


def test_the_pull_towards_the_live_params_wins_when_it_is_strong(batch: RowBatch) -> None:
    free = run(batch, [0.6, 0.8], 60, LearnerSettings(step_size=0.02))
    held = run(batch, [0.6, 0.8], 60, LearnerSettings(step_size=0.02, l2=100.0))
    assert held.step_norm < 0.5 * free.step_norm


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step_size", 0.0),
        ("step_size", 1.5),
        ("step_size", float("nan")),
        ("n_samples", 0),
        ("n_samples", 2_000),
        ("l2", -1.0),
        ("l2", float("inf")),
        ("ridge", float("nan")),
        ("max_step_norm", 2.1),
        ("max_weight", 0.0),
        ("objective", "ndcg"),
        ("relevance", "unbiased"),
        ("trust_bias", 1),
        ("trust_relevant", 0.0),
        ("trust_relevant", 1.01),
        ("trust_irrelevant", -0.1),
        ("trust_irrelevant", 0.98),
        ("negative_weight", -1.0),
        ("negative_weight", float("nan")),
        ("negative_examination", "nobody"),
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        LearnerSettings(**{name: value})
    assert (caught.value.field, bool(caught.value.hint)) == (f"learner.{name}", True)
