"""Closed events of a labelled set, served by weights that are held fixed, with simulated clicks."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from dwell.learning.learner import Lists
from dwell.learning.predictor import Predictor, PredictorSums, fit_predictor
from dwell.learning.space import Space, space_for
from dwell.ranking import conditional_propensities, draw_ranking, expected_exposure, policy_scores
from dwell.records import Params
from dwell.records.rows import EventRow, stack_rows
from dwell.testing.users import SimulatedUser
from study.worlds import FloatArray, World

__all__ = ["TEMPERATURE", "THETA", "Served", "predictors_of", "sample_of", "serve", "start_of"]

TEMPERATURE: Final = 0.3
N_SHOWN: Final = 10
THETA: Final = 1.0 / np.arange(1.0, N_SHOWN + 1.0)  # what the simulated position-based users do, too
_N_DRAWS: Final = 2_000  # once per question: events of a fixed policy share its exposure
_FITTING_ROWS: Final = 1_000  # as the loop takes


class Served(NamedTuple):
    """Events of one policy, with what the learner reads of them.

    Attributes:
        rows: Closed events in order.
        questions: int64 (n,), index of what was asked.
        phi: Per event, float64 (l, p), in served order.
    """

    rows: list[EventRow]
    questions: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
    phi: list[FloatArray]


def start_of(world: World, seed: int) -> tuple[Space, FloatArray]:
    """Return the learner's space and the logging ranker in it, as the loop makes them."""
    live = Params(version=1, weights=dict(world.weights), temperature=TEMPERATURE)
    features = np.concatenate([question.features for question in world.train])
    chosen = np.random.default_rng([seed, 5]).permutation(len(features))[:_FITTING_ROWS]
    space = space_for(live, features[chosen])
    return space, space.vector(live)


def serve(
    world: World,
    phi_of: list[FloatArray],
    weights: FloatArray,
    n: int,
    user: SimulatedUser,
    rng: np.random.Generator,
    *,
    first_seq: int = 0,
    params_version: int = 1,
) -> Served:
    """Return n events served by weights (p,) to questions drawn at random, and the clicks on them.

    Args:
        world: The set.
        phi_of: Per training question, float64 (l, p).
        weights: (p,) in the learner's space.
        n: Number of events.
        user: Who clicks.
        rng: Source of questions, rankings and clicks.
        first_seq: Sequence numbers begin here.
        params_version: Version of the weights.
    """
    exposures: dict[int, FloatArray] = {}
    rows, phis = [], []
    questions = rng.integers(len(world.train), size=n)
    for i, q in enumerate(questions.tolist()):
        question, phi = world.train[q], phi_of[q]
        scores, size = phi @ weights, len(phi)
        z = policy_scores(scores, TEMPERATURE)
        k = min(N_SHOWN, size)
        if q not in exposures:
            exposures[q] = expected_exposure(z, THETA, rng, n_draws=_N_DRAWS).value
        order = draw_ranking(scores, TEMPERATURE, size, rng).order
        clicks = user.clicks(question.grades[order[:k]], rng)
        rows.append(
            EventRow(
                seq=first_seq + i,
                event_id=f"{first_seq + i}",
                query_hash=q,
                user_hash=None,
                served_at=float(first_seq + i),
                features=question.features[order],
                inclusion=np.ones(size),
                exposure=exposures[q][order],
                n_kept=k,
                n_shown=k,
                rewards=clicks.astype(np.float64),
                propensities=conditional_propensities(z, order, k),
                caller_rank=order.astype(np.float64),
                params_version=params_version,
                temperature=TEMPERATURE,
                is_held_out=False,
                is_deterministic=False,
                is_caller_ordered=False,
                version=1,
            )
        )
        phis.append(phi[order])
    return Served(rows, questions, phis)


def predictors_of(served: Served) -> tuple[Predictor, Predictor]:
    """Return the direct method for questions of fold 0 and of fold 1."""
    p = served.phi[0].shape[1]
    found = []
    for fold in (0, 1):
        part = [i for i, row in enumerate(served.rows) if row.query_hash % 2 == fold]
        phi = np.concatenate([served.phi[i][: served.rows[i].n_kept] for i in part])
        rewards = np.concatenate([served.rows[i].rewards for i in part])
        theta = np.concatenate([THETA[: served.rows[i].n_kept] for i in part])
        found.append(fit_predictor(PredictorSums.empty(p).plus(phi, rewards, theta, np.ones(len(rewards)))))
    return found[0], found[1]


def sample_of(served: Served, chosen: list[int], start: FloatArray) -> Lists:
    """Return the chosen events as one sample; the safe policy is that of the start (p,)."""
    rows = [served.rows[i] for i in chosen]
    batch = stack_rows(rows)
    phi = np.zeros((*batch.is_document.shape, start.size))
    for i, event in enumerate(chosen):
        phi[i, : len(served.phi[event])] = served.phi[event]
    versions = np.array([row.params_version for row in rows], dtype=np.int64)
    return Lists(batch, phi, phi @ start, np.ones(len(rows)), versions)
