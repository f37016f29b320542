"""Sampled gradients and learning itself. Seeds are fixed; the stated rates say how often another seed would fail."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy import stats

from dwell.learning.learner import Learned, LearnerSettings, Lists, learn, log_weights_of, position_values
from dwell.learning.pl_rank import full_rankings, pl_rank_gradient
from dwell.learning.predictor import Predictor, PredictorSums, fit_predictor
from dwell.ranking import conditional_propensities, draw_ranking, expected_exposure, policy_scores
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow, stack_rows

pytestmark = pytest.mark.statistical


def list_reward(z: FloatArray, rewards: FloatArray, values: FloatArray) -> float:
    """E[sum of value at rank * reward] under Plackett-Luce, by enumeration."""
    k = int((values > 0.0).sum())
    total = 0.0
    for top in itertools.permutations(range(z.size), k):
        rest = [d for d in range(z.size) if d not in top]
        p = conditional_propensities(z, np.array([*top, *rest]), k).prod()
        total += p * float(values[:k] @ rewards[list(top)])
    return total


def slope_of(function: Callable[[FloatArray], float], x: FloatArray, step: float = 1e-5) -> FloatArray:
    return np.array([(function(x + step * e) - function(x - step * e)) / (2.0 * step) for e in np.eye(x.size)])


def test_two_hundred_thousand_samples_meet_the_enumerated_gradient() -> None:
    # n = 5, K = 3: 100 chunks of 2,000 rankings give the mean and its standard error; 5 of them, 6e-7 per document
    rng = np.random.default_rng(11)
    z, rewards = rng.normal(size=5), np.array([1.0, 0.0, 0.4, -0.6, 0.2])
    values = np.array([1.0, 0.5, 1.0 / 3.0, 0.0, 0.0])
    noise = np.log(rng.standard_exponential((100, 2_000, 5), dtype=np.float32))
    chunks = pl_rank_gradient(full_rankings(np.tile(z, (100, 1)), noise), np.tile(rewards, (100, 1)), values[None])
    exact = slope_of(lambda x: list_reward(x, rewards, values), z)
    error = chunks.std(axis=0, ddof=1) / 10.0
    assert (np.abs(chunks.mean(axis=0) - exact) < 5.0 * error).all()
    assert np.abs(chunks.mean(axis=0) - exact).max() < 2e-3


THETA = 1.0 / np.arange(1.0, 6.0)
TRUTH = np.array([0.5, 0.7, -0.5, 0.1]) / np.linalg.norm([0.5, 0.7, -0.5, 0.1])
START = np.array([1.0, 0.0, 0.0, 0.0])
TAU = 0.3


def relevance_of(x: FloatArray) -> FloatArray:
    return 1.0 / (1.0 + np.exp(1.0 - 2.0 * (x @ TRUTH)))


def simulated_log(seed: int, n: int, *, flat: float = 0.0, d: int = 8) -> list[EventRow]:
    """Lists of eight documents, five shown, drawn from the start weights; position-based clicks; every query new.

    In a share `flat` of the lists the start weights can not tell the documents apart.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        x = rng.normal(size=(d, 4))
        if rng.random() < flat:
            x[:, 0] = 0.0
        drawn = draw_ranking(x @ START, TAU, THETA.size, rng)
        order = np.concatenate([drawn.order, np.setdiff1d(np.arange(d), drawn.order)])
        exposure = expected_exposure(policy_scores(x @ START, TAU), THETA, rng).value
        clicks = (rng.random(THETA.size) < THETA * relevance_of(x[drawn.order])).astype(float)
        rows.append(
            EventRow(
                seq=i,
                event_id=str(i),
                query_hash=int(rng.integers(2**63)),
                user_hash=i,
                served_at=0.0,
                features=x[order].astype(np.float32),
                inclusion=np.ones(d),
                exposure=exposure[order],
                n_kept=THETA.size,
                n_shown=THETA.size,
                rewards=clicks,
                propensities=drawn.propensities,
                caller_rank=order.astype(float),
                params_version=1,
                temperature=TAU,
                is_held_out=False,
                is_deterministic=False,
                is_caller_ordered=False,
                version=1,
            )
        )
    return rows


def predictors(rows: list[EventRow]) -> tuple[Predictor, Predictor]:
    """The direct method for queries of fold 0 and of fold 1."""
    sums = [PredictorSums.empty(4), PredictorSums.empty(4)]
    for row in rows:
        fold = row.query_hash % 2
        phi = row.features[: row.n_kept].astype(np.float64)
        sums[fold] = sums[fold].plus(phi, row.rewards, THETA, np.ones(row.n_kept))
    return fit_predictor(sums[0]), fit_predictor(sums[1])


def learned(rows: list[EventRow], seed: int, *, n_steps: int = 60, settings: LearnerSettings | None = None) -> Learned:
    rng = np.random.default_rng([seed, 1])

    def samples() -> Iterator[Lists]:
        for _ in range(n_steps):
            batch = stack_rows([rows[i] for i in rng.integers(0, len(rows), 64)])
            phi = batch.features.astype(np.float64)
            yield Lists(batch, phi, phi @ START, np.ones(64))

    return learn(
        START,
        samples(),
        predictors(rows),
        theta=THETA,
        temperature=1.0,
        n_events=float(len(rows)),
        settings=settings or LearnerSettings(step_size=0.005),
        rng=rng,
    )


def served_value(w: FloatArray, *, n: int = 1_500) -> FloatArray:
    """Expected clicks per list under a policy, on fresh lists: by exposure, with the true relevance."""
    rng = np.random.default_rng(99)  # the same lists and noise for all policies: a paired comparison
    x = rng.normal(size=(n, 8, 4))
    z = policy_scores(x @ w, TAU)
    keys = np.log(rng.standard_exponential(z.shape)) - z
    order = np.argsort(keys, axis=1)[:, : THETA.size]
    return np.take_along_axis(relevance_of(x), order, axis=1) @ THETA


def test_the_first_step_has_the_slope_of_the_enumerated_objective() -> None:
    # 1,024 samples for each of 40 copies of a list: over 30 seeds its length has a relative sd of .007: .05 is 7
    rng = np.random.default_rng(3)
    x = rng.normal(size=(5, 4))
    row = simulated_log(0, 1, d=8)[0]
    few = {"inclusion": np.ones(5), "exposure": np.full(5, 0.4), "caller_rank": np.arange(5.0)}
    row = dataclasses.replace(row, features=x.astype(np.float32), **few)
    batch = stack_rows([row] * 40)
    phi, start = batch.features.astype(np.float64), np.array([0.5, 0.5, -0.5, 0.5])
    nothing = Predictor(np.zeros(5))
    found = learn(
        start,
        [Lists(batch, phi, phi @ start, np.ones(40))],
        (nothing, nothing),
        theta=THETA,
        temperature=1.0,
        n_events=1e4,
        settings=LearnerSettings(n_samples=1_024),
        rng=rng,
    )
    # without a predictor the credit of a shown document is c / exposure, less the mean of the list
    credit = row.rewards / 0.4
    credit = credit - credit.mean()
    one = stack_rows([row])
    values = position_values(one, THETA)[0]

    def objective(w: FloatArray) -> float:
        return list_reward(log_weights_of(one.features.astype(np.float64) @ w, one, 1.0)[0], credit, values)

    exact = slope_of(objective, start)
    assert found.curves["gradient_norm"][0] == pytest.approx(np.linalg.norm(exact), rel=0.05)
    # and its direction: Adam's first step follows the sign of each coordinate
    moved = found.vector / found.vector[0] * (start[0] + 0.003 * np.sign(exact[0])) - start
    clear = np.abs(exact) > 0.2 * np.linalg.norm(exact)
    assert (np.sign(moved[clear]) == np.sign(exact[clear])).all()


def test_learning_improves_what_users_would_click() -> None:
    # paired z over 1,500 fresh lists; each of three logs must gain at 5 standard errors (3e-7 under no gain)
    before = served_value(START)
    for seed in range(3):
        found = learned(simulated_log(seed, 1_000), seed)
        gain = served_value(found.vector) - before
        assert gain.mean() > 5.0 * gain.std(ddof=1) / np.sqrt(gain.size)
        assert found.vector @ TRUTH > START @ TRUTH + 0.15


def test_lists_that_the_live_params_can_not_order_do_not_freeze_learning() -> None:
    # cosine to the truth starts at .50; with one such list in ten and no flatness weight it ended at .50 to .53
    found = learned(simulated_log(5, 1_000, flat=0.1), 5)
    assert found.vector @ TRUTH > START @ TRUTH + 0.15
    assert max(found.curves["gradient_norm"]) < 10.0


def test_clicks_that_ignore_relevance_teach_no_direction() -> None:
    # pure noise: over 12 logs the mean cosine of the step to the truth is 0; Student's t, false-alarm rate 1e-3
    rng = np.random.default_rng(8)
    towards = []
    rows = simulated_log(6, 400)
    for seed in range(12):
        noisy = [dataclasses.replace(row, rewards=(rng.random(THETA.size) < 0.3 * THETA).astype(float)) for row in rows]
        step = learned(noisy, seed, n_steps=15).vector - START
        sideways = TRUTH - (TRUTH @ START) * START
        towards.append(step @ sideways / np.linalg.norm(step))
    assert stats.ttest_1samp(towards, 0.0).pvalue > 1e-3
