"""Segments and weights by query in made-up worlds, where the global weights are the mean of what users want."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from dwell.learning.learner import LearnerSettings, Lists
from dwell.learning.low_rank import QueryLists, learn_low_rank
from dwell.learning.segments import SegmentHalves, SegmentWeights, learn_segments
from dwell.ranking import policy_scores
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow
from dwell.testing.learner_world import LearnerWorld, closed_events, fitted_predictors, lists_of, value_of

__all__ = ["query_lines", "segment_lines"]

THETA: Final = 1.0 / np.arange(1.0, 6.0)
BASE: Final = np.array([0.5, 0.7, -0.5, 0.1]) / np.linalg.norm([0.5, 0.7, -0.5, 0.1])
AWAY: Final = np.array([0.1, -0.5, -0.7, 0.5]) / np.linalg.norm([0.1, -0.5, -0.7, 0.5])  # at right angles to it
SETTINGS: Final = LearnerSettings(step_size=0.01, n_samples=8)
TEMPERATURE: Final = 0.5
N_SEGMENTS: Final = 8
SIZE: Final = 6  # of an embedding
N_FRESH: Final = 3_000


def _resampled(rows: Sequence[EventRow], rng: np.random.Generator) -> list[Lists]:
    return [lists_of([rows[i] for i in rng.integers(len(rows), size=64)], BASE) for _ in range(20)]


def _segments(seed: int, spread: float, n: int) -> tuple[float, float, float]:
    """Return clicks per list above the global weights' by each segment's own weights, by shrunk ones, and kappa."""
    rng = np.random.default_rng([seed, 77])
    truths = BASE + spread * rng.normal(size=(N_SEGMENTS, BASE.size))
    worlds = [LearnerWorld(truth / np.linalg.norm(truth), THETA, TEMPERATURE) for truth in truths]
    rows = [closed_events(world, BASE, n, rng) for world in worlds]
    halves = {
        code: SegmentHalves(_resampled(part[: n // 2], rng), _resampled(part[n // 2 :], rng), float(n))
        for code, part in enumerate(rows)
    }
    predictors = fitted_predictors([row for part in rows for row in part], THETA)

    def learned(kappa: float | None) -> SegmentWeights:
        return learn_segments(
            BASE,
            halves,
            predictors,
            theta=THETA,
            temperature=TEMPERATURE,
            settings=SETTINGS,
            rng=np.random.default_rng([seed, 78]),
            kappa=kappa,
        )

    def gain(found: SegmentWeights) -> float:
        of_each = [value_of(world, found.vector_for(code)) for code, world in enumerate(worlds)]
        before = [value_of(world, BASE) for world in worlds]
        return float(np.mean(of_each) - np.mean(before))

    shrunk = learned(None)
    return gain(learned(0.0)), gain(shrunk), shrunk.kappa


def segment_lines(n_seeds: int) -> list[str]:
    """Return the table of segments, the mean over seeds with its standard error."""
    lines = [
        f"## {N_SEGMENTS} made-up segments, clicks per list above those of the global weights\n",
        "| segments | events of each | own weights | shrunk | kappa, median |",
        "|---|---|---|---|---|",
    ]
    for spread, name in ((0.0, "do not differ"), (0.15, "differ a little"), (0.5, "differ")):
        for n in (40, 400):
            found = np.array([_segments(seed, spread, n) for seed in range(n_seeds)])
            cells = [name, f"{n}", *(_with_error(found[:, i]) for i in (0, 1)), f"{np.median(found[:, 2]):.0f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def _with_error(values: FloatArray) -> str:
    error = values.std(ddof=1) / values.size**0.5 if values.size > 1 else np.inf
    return f"{values.mean():+.4f} (se {error:.4f})"


def _truths(embeddings: FloatArray, strength: float) -> FloatArray:
    truths = BASE + strength * embeddings[:, :1] * AWAY
    found: FloatArray = truths / np.linalg.norm(truths, axis=1, keepdims=True)
    return found


def _embeddings(n: int, rng: np.random.Generator) -> FloatArray:
    e = rng.normal(size=(n, SIZE))
    found: FloatArray = e / np.linalg.norm(e, axis=1, keepdims=True)
    return found


def _by_query(seed: int, strength: float, n: int, rank: int) -> float:
    """Return clicks per list of fresh queries above those of the global weights."""
    rng = np.random.default_rng([seed, 3])
    embeddings = _embeddings(n, rng)
    rows: list[EventRow] = []
    for i, truth in enumerate(_truths(embeddings, strength)):
        rows += closed_events(LearnerWorld(truth, THETA, TEMPERATURE), BASE, 1, rng, first_seq=i)
    chosen = [rng.integers(n, size=128) for _ in range(80)]
    weights = learn_low_rank(
        BASE,
        (QueryLists(lists_of([rows[i] for i in some], BASE), embeddings[some]) for some in chosen),
        fitted_predictors(rows, THETA),
        rank=rank,
        embedding_size=SIZE,
        theta=THETA,
        temperature=TEMPERATURE,
        n_events=float(n),
        settings=SETTINGS,
        rng=rng,
    ).weights
    fresh = np.random.default_rng(9)
    asked = _embeddings(N_FRESH, fresh)
    x, noise = fresh.normal(size=(N_FRESH, 8, BASE.size)), np.log(fresh.standard_exponential((N_FRESH, 8)))
    relevance = 1.0 / (1.0 + np.exp(1.0 - 2.0 * np.einsum("ndp,np->nd", x, _truths(asked, strength))))

    def clicks(vectors: FloatArray) -> float:
        order = np.argsort(noise - policy_scores(np.einsum("ndp,np->nd", x, vectors), TEMPERATURE), axis=1)
        return float((np.take_along_axis(relevance, order[:, : THETA.size], axis=1) @ THETA).mean())

    own = np.array([weights.vector_for(e) for e in asked])
    return clicks(own) - clicks(np.tile(BASE, (N_FRESH, 1)))


def query_lines(n_seeds: int) -> list[str]:
    """Return the table of weights by query, the mean over seeds with its standard error."""
    lines = [
        "## Weights by query, clicks per list above those of the global weights\n",
        "| what users want | events | rank 1 | rank 3 |",
        "|---|---|---|---|",
    ]
    for strength, name in ((0.0, "does not depend on the query"), (1.5, "does, in one direction")):
        for n in (500, 2_000):
            of_ranks = [
                _with_error(np.array([_by_query(seed, strength, n, rank) for seed in range(n_seeds)]))
                for rank in (1, 3)
            ]
            lines.append("| " + " | ".join([name, f"{n}", *of_ranks]) + " |")
    return lines
