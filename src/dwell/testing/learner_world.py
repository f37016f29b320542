"""A small made-up world in which it is known what users want: closed events to try a learner on, and what it gained.

Documents have standard normal features; users examine positions by `theta` and find a document relevant with
probability sigmoid(2 truth . features - 1); lists are drawn from the weights that serve. Nobody is behind the clicks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dwell.learning.learner import Lists
from dwell.learning.predictor import Predictor, PredictorSums, fit_predictor
from dwell.ranking import conditional_propensities, policy_scores, sampled_rankings
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow, stack_rows

__all__ = ["LearnerWorld", "closed_events", "fitted_predictors", "lists_of", "value_of"]


class LearnerWorld(NamedTuple):
    """What users want, and how they look.

    Attributes:
        truth: float64 (p,), at norm 1.
        theta: float64 (k,), examination per position; k documents are shown.
        temperature: At which lists are drawn, > 0.
        n_documents: Candidates of each list, >= k.
    """

    truth: FloatArray
    theta: FloatArray
    temperature: float = 0.5
    n_documents: int = 8

    def relevance(self, features: FloatArray) -> FloatArray:
        """Return the probability that a document is relevant, (...,), for features (..., p)."""
        found: FloatArray = 1.0 / (1.0 + np.exp(1.0 - 2.0 * (features @ self.truth)))
        return found


def closed_events(
    world: LearnerWorld,
    weights: FloatArray,
    n: int,
    rng: np.random.Generator,
    *,
    first_seq: int = 0,
    params_version: int = 1,
) -> list[EventRow]:
    """Return n events that the weights served, each of a query of its own, with what users clicked on.

    Args:
        world: What users want.
        weights: (p,) in force.
        n: Number of events, >= 1.
        rng: Source of documents, rankings and clicks.
        first_seq: Their sequence numbers begin here.
        params_version: Version of the weights.
    """
    k, d = world.theta.size, world.n_documents
    x = rng.normal(size=(n, d, world.truth.size)).astype(np.float32)
    z = policy_scores(x.astype(np.float64) @ weights, world.temperature)
    order = sampled_rankings(z, 1, d, rng)[:, 0]
    draws = sampled_rankings(z, 200, k, rng)
    rows = []
    for i in range(n):
        exposure = np.bincount(draws[i].ravel(), weights=np.tile(world.theta, len(draws[i])), minlength=d)
        served = x[i, order[i]]
        clicks = rng.random(k) < world.theta * world.relevance(served[:k].astype(np.float64))
        rows.append(
            EventRow(
                seq=first_seq + i,
                event_id=f"event-{first_seq + i}",
                query_hash=int(rng.integers(2**63)),
                user_hash=i,
                served_at=float(first_seq + i),
                features=served,
                inclusion=np.ones(d),
                exposure=exposure[order[i]] / len(draws[i]),
                n_kept=k,
                n_shown=k,
                rewards=clicks.astype(np.float64),
                propensities=conditional_propensities(z[i], order[i], k),
                caller_rank=order[i].astype(np.float64),
                params_version=params_version,
                temperature=world.temperature,
                is_held_out=False,
                is_deterministic=False,
                is_caller_ordered=False,
                version=1,
            )
        )
    return rows


def lists_of(rows: Sequence[EventRow], safe: FloatArray) -> Lists:
    """Return events as one sample; the safe policy is that of the weights (p,), and all count the same."""
    batch = stack_rows(rows)
    phi = batch.features.astype(np.float64)
    versions = np.array([row.params_version for row in rows], dtype=np.int64)
    return Lists(batch, phi, phi @ safe, np.ones(len(rows)), versions)


def fitted_predictors(rows: Sequence[EventRow], theta: FloatArray) -> tuple[Predictor, Predictor]:
    """Return the direct method for queries of fold 0 and of fold 1."""
    p = rows[0].features.shape[1]
    sums = [PredictorSums.empty(p), PredictorSums.empty(p)]
    for fold in (0, 1):
        part = [row for row in rows if row.query_hash % 2 == fold]
        if part:
            phi = np.concatenate([row.features[: row.n_kept] for row in part]).astype(np.float64)
            rewards = np.concatenate([row.rewards for row in part])
            examined = np.concatenate([theta[: row.n_kept] for row in part])
            sums[fold] = sums[fold].plus(phi, rewards, examined, np.ones(len(rewards)))
    return fit_predictor(sums[0]), fit_predictor(sums[1])


def value_of(world: LearnerWorld, weights: FloatArray, *, n: int = 2_000, seed: int = 99) -> FloatArray:
    """Return the expected clicks of n fresh lists under weights, float64 (n,); a seed gives all weights the same lists.

    Args:
        world: What users want.
        weights: (p,), or (n, p) for a vector per list.
        n: Number of lists.
        seed: Of documents and draws.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, world.n_documents, world.truth.size))
    scores = x @ weights if weights.ndim == 1 else np.einsum("ndp,np->nd", x, weights)
    keys = np.log(rng.standard_exponential(scores.shape)) - policy_scores(scores, world.temperature)
    order = np.argsort(keys, axis=1)[:, : world.theta.size]
    found: FloatArray = np.take_along_axis(world.relevance(x), order, axis=1) @ world.theta
    return found
