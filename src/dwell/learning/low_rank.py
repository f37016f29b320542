"""Weights that depend on the query through its embedding, by a matrix of low rank. Off unless somebody asks for it.

    s(q, d) = (w + U V^T e_q) . phi(d),      U (p, r), V (m, r), 1 <= r <= 8

w are the global weights, which do not move here; e_q is the query's embedding at norm 1. A query without an embedding,
or with one that is 0, gets w. What is learned is a few directions in the space of queries and what each does to the
weights; rank and pull towards w keep it from learning queries by heart.

With g = dJ/ds of a list:   dJ/dU = sum_q (phi^T g) (V^T e_q)^T,    dJ/dV = sum_q e_q (U^T phi^T g)^T.

U starts at 0, so that learning starts at the global weights, and V at random directions: at V = 0 as well, nothing
would ever move. The weights of each query are bounded around w as a proposal is around the live params.

Source: Chu and Park 2009, "Personalized Recommendation on Dynamic Content Using Predictive Bilinear Models"; that the
bilinear form has a low rank: Rendle 2010, "Factorization Machines".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from dwell.errors import DivergedError, LearningError
from dwell.learning.adam import Adam, adam_step
from dwell.learning.learner import (
    LearnerSettings,
    Lists,
    Objective,
    ScoreSlope,
    Terms,
    bounded,
    check_lists,
    check_start,
    checked_scores,
    list_reward,
    score_slope,
    terms_of,
)
from dwell.learning.predictor import Predictor
from dwell.records.adjustments import MAX_RANK, unit_rows
from dwell.records.arrays import FloatArray

__all__ = [
    "MAX_RANK",
    "LowRankLearned",
    "LowRankWeights",
    "QueryLists",
    "contained",
    "factor_slopes",
    "learn_low_rank",
    "resized",
]

_MOST_SHIFT: Final = 0.95  # of weights at norm 1: what is added never turns them round, nor leaves nothing of them
_HALVINGS: Final = 30  # of the factor by which U is scaled down; beyond them nothing is left


class QueryLists(NamedTuple):
    """A sample of lists with the embeddings of their queries.

    Attributes:
        lists: The lists.
        embeddings: float64 (b, m), any norm; 0 where a query has none.
        additions: float64 (b, p), what is added to the global weights in each list besides, or None.
    """

    lists: Lists
    embeddings: FloatArray
    additions: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LowRankWeights:
    """Weights as a function of the query.

    Attributes:
        overall: float64 (p,), w, at norm 1.
        u: float64 (p, r).
        v: float64 (m, r).
        settings: Its bounds hold for the weights of every query, around w.
    """

    overall: FloatArray
    u: FloatArray
    v: FloatArray
    settings: LearnerSettings

    def vector_for(self, embedding: FloatArray | None) -> FloatArray:
        """Return the weights of a query, float64 (p,) at norm 1; the global ones without an embedding.

        Raises:
            LearningError: The embedding is of another size, or not finite.
        """
        if embedding is None:
            return self.overall
        e = _unit_rows(np.asarray(embedding, dtype=np.float64)[None, :], len(self.v))[0]
        shift = self.u @ (self.v.T @ e)
        return bounded(self.overall + shift, self.overall, self.settings)[0] if shift.any() else self.overall

    def score(self, phi: FloatArray, embedding: FloatArray | None) -> FloatArray:
        """Return the scores of documents, float64 (n,), for features (n, p) in the learner's space."""
        scores: FloatArray = phi @ self.vector_for(embedding)
        return scores


class LowRankLearned(NamedTuple):
    """Where learning ended.

    Attributes:
        weights: The weights as a function of the query.
        n_steps: Steps taken.
        curves: As of `Learned`, per step.
    """

    weights: LowRankWeights
    n_steps: int
    curves: dict[str, list[float]]


def _unit_rows(embeddings: FloatArray, m: int) -> FloatArray:
    """Return embeddings (b, m) at norm 1, those that are 0 as they are."""
    if embeddings.ndim != 2 or embeddings.shape[1] != m:
        raise LearningError(
            f"embeddings are not of size {m}",
            code="shape",
            field="embeddings",
            value=embeddings.shape,
            hint="Use the embedding model that the weights were learned with.",
        )
    if not np.isfinite(embeddings).all():
        raise LearningError(
            "an embedding is not finite", code="non_finite", field="embeddings", hint="Leave it out, or pass zeros."
        )
    return unit_rows(embeddings)


def factor_slopes(
    pulls: FloatArray, embeddings: FloatArray, u: FloatArray, v: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return dJ/dU (p, r) and dJ/dV (m, r), the mean over lists.

    Args:
        pulls: (b, p) phi^T dJ/ds of each list, times its sampling weight.
        embeddings: (b, m) at norm 1 or 0.
        u: (p, r).
        v: (m, r).
    """
    b = len(pulls)
    slope_u: FloatArray = pulls.T @ (embeddings @ v) / b
    slope_v: FloatArray = embeddings.T @ (pulls @ u) / b
    return slope_u, slope_v


def learn_low_rank(
    overall: FloatArray,
    samples: Iterable[QueryLists],
    predictors: tuple[Predictor, Predictor],
    *,
    rank: int,
    embedding_size: int,
    theta: FloatArray,
    temperature: float,
    n_events: float,
    settings: LearnerSettings,
    rng: np.random.Generator,
    objective: Objective = list_reward,
    start: tuple[FloatArray, FloatArray] | None = None,
) -> LowRankLearned:
    """Return weights as a function of the query after one step per sample; the global weights stay.

    Args:
        overall: (p,) the global weights at norm 1.
        samples: One sample of lists and embeddings per step.
        predictors: The direct method, fitted to queries of fold 0 and of fold 1.
        rank: r, 1 to 8.
        embedding_size: m, >= 1.
        theta: (k,) examination per position.
        temperature: Exploration temperature of the policy being learned, > 0.
        n_events: Effective number of events behind the log: sets the clip and the trust region.
        settings: What the learner may do; `l2` pulls U towards 0, the bounds hold per query.
        rng: Source of V's start and of the sampled rankings.
        objective: What is climbed.
        start: U (p, r) and V (m, r) from which it learns on; U = 0 and V at random when not given.

    Raises:
        LearningError: The rank is outside 1 to 8, the start no finite vector at norm 1, an embedding not finite.
        DivergedError: A gradient or something that a list says was not finite.
    """
    check_start(overall)
    if isinstance(rank, bool) or not 1 <= rank <= MAX_RANK:
        raise LearningError(
            f"the rank is outside 1 to {MAX_RANK}", code="rank", field="rank", value=rank, hint="Begin with 1 or 2."
        )
    terms = terms_of(
        predictors, theta=theta, temperature=temperature, n_events=n_events, settings=settings, objective=objective
    )
    u, v = _drawn(rng, overall.size, embedding_size, rank) if start is None else start
    adam = Adam(np.zeros(u.size + v.size), np.zeros(u.size + v.size))
    curves: dict[str, list[float]] = {"objective": [], "gradient_norm": [], "withdrawn": []}
    for sample in samples:
        check_lists(sample.lists, adam.n_steps + 1)
        checked_scores(sample.lists, overall, adam.n_steps + 1)
        slope, found = _slope(sample, LowRankWeights(overall=overall, u=u, v=v, settings=settings), terms, rng)
        if not np.isfinite(slope).all():
            raise DivergedError(
                "the gradient is not finite",
                field="step",
                value=adam.n_steps + 1,
                hint="Look for events with huge features.",
            )
        adam, move = adam_step(adam, slope, settings.step_size)
        u = u + move[: u.size].reshape(u.shape)
        v = v + move[u.size :].reshape(v.shape)
        curves["objective"].append(found.objective)
        curves["gradient_norm"].append(float(np.linalg.norm(slope)))
        curves["withdrawn"].append(found.withdrawn)
    return LowRankLearned(LowRankWeights(overall=overall, u=u, v=v, settings=settings), adam.n_steps, curves)


def _drawn(rng: np.random.Generator, p: int, m: int, rank: int) -> tuple[FloatArray, FloatArray]:
    # columns of norm 1: an embedding of norm 1 that lies along one moves the weights by as much as U says
    v = rng.standard_normal((m, rank))
    v /= np.linalg.norm(v, axis=0)
    return np.zeros((p, rank)), v


def resized(u: FloatArray, v: FloatArray, rank: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return factors of another rank: the same sum where the rank grows, the nearest one where it shrinks.

    Args:
        u: (p, r).
        v: (m, r).
        rank: The rank wanted, >= 1.
        rng: Draws further directions, which add nothing yet.
    """
    known = u.shape[1]
    if rank >= known:
        more_u, more_v = _drawn(rng, len(u), len(v), rank - known)
        return np.hstack([u, more_u]), np.hstack([v, more_v])
    q, triangle = np.linalg.qr(v)
    left, sizes, right = np.linalg.svd(u @ triangle.T, full_matrices=False)
    return left[:, :rank] * sizes[:rank], q @ right[:rank].T


def contained(u: FloatArray, v: FloatArray, bases: Sequence[FloatArray], settings: LearnerSettings) -> FloatArray:
    """Return U (p, r), scaled down until U V^T e keeps every query's weights within the bounds, whatever its embedding.

    With it weights by query are a plain sum, bounded by construction: s = sigma_max(U V^T) is the most that an
    embedding at norm 1 can add, which turns weights at norm 1 by at most arcsin(s), and weight j grows to at most
    (|w_j| + |row j of U V^T|) / (1 - s).

    Args:
        u: (p, r).
        v: (m, r).
        bases: Weights (p,) at norm 1 to which it is added: the global ones, and those of segments.
        settings: `max_step_norm` bounds the distance from the base, `max_weight` every weight; where a base is at the
            bound, nothing may be added.
    """
    # sigma_max and the rows through the small triangle of V: m may be thousands
    triangle = np.asarray(np.linalg.qr(v, mode="r"), dtype=np.float64)
    turned = u @ triangle.T
    most = float(np.linalg.norm(turned, ord=2))
    rows = np.linalg.norm(turned, axis=1)
    limit = min(float(np.sin(min(2.0 * np.arcsin(settings.max_step_norm / 2.0), np.pi / 2.0))), _MOST_SHIFT)
    scale = 1.0 if most <= limit else limit / most
    for _ in range(_HALVINGS):
        if settings.max_weight >= 1.0 or all(_fits(base, scale * rows, scale * most, settings) for base in bases):
            return scale * u
        scale *= 0.5
    return np.zeros_like(u)


def _fits(base: FloatArray, rows: FloatArray, most: float, settings: LearnerSettings) -> bool:
    """Return whether no weight at norm 1 can leave its bound, or grow where it is beyond it already."""
    limit = np.maximum(settings.max_weight, np.abs(base))
    return bool(((np.abs(base) + rows) / (1.0 - most) <= limit).all())


def _slope(
    sample: QueryLists, now: LowRankWeights, terms: Terms, rng: np.random.Generator
) -> tuple[FloatArray, ScoreSlope]:
    """Return the slope of U and V in one vector, and what it was made of."""
    lists = sample.lists
    embeddings = _unit_rows(sample.embeddings, len(now.v))
    base = now.overall if sample.additions is None else now.overall + sample.additions
    weights = base + embeddings @ now.v @ now.u.T
    found = score_slope(lists, np.einsum("bdp,bp->bd", lists.phi, weights), terms, rng)
    pulls = np.einsum("bd,bdp->bp", found.gradient, lists.phi) * lists.weights[:, None]
    slope_u, slope_v = factor_slopes(pulls, embeddings, now.u, now.v)
    # the pull is on U alone: where U is 0, Adam would make whole steps of a pull on V, however small
    return np.concatenate([(slope_u - terms.settings.l2 * now.u).ravel(), slope_v.ravel()]), found
