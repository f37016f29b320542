"""PDGD: pair weights by enumeration, users' preferences recovered in expectation, and nothing from another policy."""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import pytest

from dwell.errors import LearningError
from dwell.learning.learner import Learned, LearnerSettings, Lists, log_weights_of
from dwell.learning.pdgd import PdgdLearner, own_lists, pdgd_gradient, swap_shares
from dwell.learning.predictor import Predictor
from dwell.ranking import conditional_propensities
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow, stack_rows
from dwell.testing.learner_world import LearnerWorld, closed_events

START = np.array([0.6, -0.8])
WORLD = LearnerWorld(truth=np.array([0.0, 1.0]), theta=np.array([1.0, 0.5, 0.25]), n_documents=5)
Z = np.array([0.0, -0.5, -1.2, -0.3])


def probability(z: FloatArray, order: tuple[int, ...], k: int) -> float:
    return float(conditional_propensities(z, np.array(order), k).prod())


def test_the_share_of_the_exchanged_list_is_that_of_its_enumerated_probability() -> None:
    k = 3
    for order in itertools.permutations(range(4)):
        found = swap_shares(Z[list(order)][None], np.ones((1, k), dtype=np.int64))[0]
        as_shown = probability(Z, order, k)
        for i, j in itertools.combinations(range(k), 2):
            other = list(order)
            other[i], other[j] = other[j], other[i]
            exchanged = probability(Z, tuple(other), k)
            assert found[i, j] == pytest.approx(exchanged / (as_shown + exchanged), rel=1e-12)
            assert found[j, i] == found[i, j]


def test_a_short_list_is_not_exchanged_with_what_lies_beyond_it() -> None:
    longer = swap_shares(np.array([[*Z[:2], -np.inf, -np.inf]]), np.array([[1, 1, 0]]))[0, :2, :2]
    alone = swap_shares(Z[None, :2], np.ones((1, 2), dtype=np.int64))[0]
    np.testing.assert_allclose(longer, alone, rtol=1e-12)


def expected_gradient(event: Callable[..., EventRow], relevance: FloatArray, examined: FloatArray) -> FloatArray:
    """E of the gradient per document, over every ranking and every pattern of clicks of position-based users."""
    k, total = examined.size, np.zeros(4)
    for order in itertools.permutations(range(4)):
        p_list = probability(Z, order, 4)
        chance = examined * relevance[list(order[:k])]
        for clicks in itertools.product((0.0, 1.0), repeat=k):
            p_clicks = float(np.prod(np.where(np.array(clicks) > 0.0, chance, 1.0 - chance)))
            batch = stack_rows([event(np.zeros((4, 2)), rewards=clicks)])
            found = pdgd_gradient(Z[list(order)][None], batch)[0]
            np.add.at(total, list(order), p_list * p_clicks * found)
    return total


def test_in_expectation_two_documents_move_apart_as_users_prefer_them(event: Callable[..., EventRow]) -> None:
    # theorem 3.1: E = sum of alpha_ij (dz_i - dz_j), alpha_ij having the sign of the preference. With two kinds of
    # documents the kinds move apart whatever their scores are; where all are alike nothing moves at all
    examined = np.array([0.9, 0.6, 0.3])
    same = expected_gradient(event, np.full(4, 0.6), examined)
    np.testing.assert_allclose(same, 0.0, atol=1e-12)
    for good in itertools.combinations(range(4), 2):
        relevance = np.full(4, 0.2)
        relevance[list(good)] = 0.7
        found = expected_gradient(event, relevance, examined)
        bad = [d for d in range(4) if d not in good]
        assert found[list(good)].min() > 1e-3
        assert found[bad].max() < -1e-3


def test_without_the_share_users_would_seem_to_prefer_what_stood_above() -> None:
    # the same expectation without rho: documents that are alike move, since those that stood above were clicked more
    k, total = 3, np.zeros(4)
    chance = np.array([0.9, 0.6, 0.3]) * 0.6
    for order in itertools.permutations(range(4)):
        for clicks in itertools.product((0.0, 1.0), repeat=k):
            p = probability(Z, order, 4) * float(np.prod(np.where(np.array(clicks) > 0.0, chance, 1.0 - chance)))
            last = max((i for i in range(k) if clicks[i]), default=-2)
            for i, j in itertools.permutations(range(min(last + 2, k)), 2):
                if clicks[i] > clicks[j]:
                    apart = Z[order[i]] - Z[order[j]]
                    total[order[i]] += p * np.exp(apart) / (1.0 + np.exp(apart)) ** 2
                    total[order[j]] -= p * np.exp(apart) / (1.0 + np.exp(apart)) ** 2
    assert np.abs(total).max() > 1e-3


def test_only_documents_down_to_one_below_the_last_click_were_seen(event: Callable[..., EventRow]) -> None:
    batch = stack_rows([event(np.zeros((4, 2)), rewards=[0.0, 1.0, 0.0, 0.0])])
    found = pdgd_gradient(Z[None], batch)[0]
    assert found[1] > 0.0
    assert found[0] < 0.0
    assert found[2] < 0.0
    assert found[3] == 0.0
    assert found.sum() == pytest.approx(0.0, abs=1e-15)
    nobody = stack_rows([event(np.zeros((4, 2)), rewards=[0.0] * 4)])
    assert (pdgd_gradient(Z[None], nobody) == 0.0).all()


def rows_of(n: int = 20) -> list[EventRow]:
    return closed_events(WORLD, START, n, np.random.default_rng(3), params_version=7)


def lists(rows: list[EventRow], start: FloatArray = START) -> Lists:
    return own_lists(rows, np.stack([row.features for row in rows]).astype(np.float64), start, params_version=7)


def learned(samples: list[Lists], *, start: FloatArray = START, version: int = 7) -> Learned:
    nothing = Predictor(np.zeros(3))
    return PdgdLearner(params_version=version)(
        start,
        samples,
        (nothing, nothing),
        theta=WORLD.theta,
        temperature=WORLD.temperature,
        n_events=20.0,
        settings=LearnerSettings(),
        rng=np.random.default_rng(0),
    )


def test_own_lists_are_learned_from_in_one_step_of_their_sum() -> None:
    rows = rows_of()
    found = learned([lists(rows[:10]), lists(rows[10:])])
    assert found.n_steps == 1
    both = learned([lists(rows)])
    np.testing.assert_allclose(found.vector, both.vector, rtol=1e-12)
    assert found.step_norm > 0.0


def test_the_slope_is_that_of_the_pair_objective_through_the_spread() -> None:
    # one list: J(w) = sum of fixed pair weights times sigmoid(z_i - z_j), whose derivative has sigma_ij in it
    row = next(row for row in rows_of() if row.rewards.tolist() == [0.0, 1.0, 0.0])
    one = lists([row])
    share = swap_shares(log_weights_of(one.phi @ START, one.batch, WORLD.temperature), np.ones((1, 3), dtype=np.int64))

    def objective(w: FloatArray) -> float:
        z = log_weights_of(one.phi @ w, one.batch, WORLD.temperature)[0]
        return sum(float(share[0, 1, j]) / (1.0 + np.exp(z[j] - z[1])) for j in (0, 2))

    step = 1e-6
    slope = np.array([(objective(START + step * e) - objective(START - step * e)) / (2.0 * step) for e in np.eye(2)])
    moved = START + LearnerSettings().step_size * slope
    np.testing.assert_allclose(learned([one]).vector, moved / np.linalg.norm(moved), rtol=1e-8)


@pytest.mark.parametrize("what", ["is_deterministic", "is_caller_ordered", "params_version"])
def test_an_event_of_another_policy_is_refused_where_lists_are_made(what: str) -> None:
    rows = rows_of(3)
    rows[1] = dataclasses.replace(rows[1], **{what: 6 if what == "params_version" else True})
    with pytest.raises(LearningError, match="PDGD learns") as caught:
        lists(rows)
    assert caught.value.code == "off_policy"


def refused(samples: list[Lists], **changes: object) -> str:
    with pytest.raises(LearningError) as caught:
        learned(samples, **changes)
    assert caught.value.code == "off_policy"
    return str(caught.value.field)


def test_replayed_and_foreign_lists_are_refused_by_name() -> None:
    one = lists(rows_of())
    assert refused([one], version=8) == "params_version"  # the weights have moved on
    assert refused([one._replace(params_versions=None)]) == "params_versions"
    assert refused([one, one]) == "seq"  # replayed
    assert refused([one._replace(weights=np.linspace(0.5, 1.5, 20))]) == "weights"  # drawn by priority
    # the version is the same by name, the weights are not: the propensities tell
    assert refused([one], start=np.array([0.8, -0.6])) == "seq"


def test_where_not_all_candidates_were_kept_the_version_has_to_do() -> None:
    rows = [dataclasses.replace(row, inclusion=np.array([1.0, 1.0, 1.0, 0.5, 0.5])) for row in rows_of()]
    assert learned([lists(rows)]).n_steps == 1
