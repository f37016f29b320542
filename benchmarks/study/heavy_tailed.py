"""A set with heavy tails, made from a seed: raw values from hundredths to hundreds of millions, and what they tell.

What decides a document's grade is the *rank* of its values, not their size: each column is a quantile function of a
normal score, and grades come from the scores. Whoever weighs raw values listens to the few largest ones. Nobody stands
behind the grades; the set is made so that it needs no data and so that the tails are known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from study.worlds import FloatArray, Question, World, ridge_start, world_of

__all__ = ["N_FEATURES", "N_TELLING", "heavy_tailed_world"]

N_FEATURES: Final = 46  # as many as the public set MQ2008 has
N_TELLING: Final = 12
_N_ASKED: Final = 400
_N_TEST: Final = 150
_FEWEST: Final = 25
_MOST: Final = 35  # candidates
_SEED: Final = 11
_START_SHARE: Final = 0.05
_START_RIDGE: Final = 10.0
_START_SEED: Final = 1
_LOWEST: Final = 0.016
_HIGHEST: Final = 2e8
_OUTLIER: Final = 1e12
_OUTLIER_SHARE: Final = 1e-3  # one document in some thirty lists
_SPARSE_SHARE: Final = 0.8  # zeros in a sparse column
_SHARES: Final = (0.55, 0.25, 0.12, 0.05, 0.03)  # of the grades 0 to 4: web search, where most is irrelevant
_UNTOLD: Final = 2.0  # standard deviation of what no feature tells, that of the telling ones together being 1


class _Column(NamedTuple):
    """How a column's raw values come from normal scores.

    Attributes:
        raw: Rising function of scores.
        shift: Standard deviation of what all documents of a question have in common, in units of the score.
        is_sparse: Whether most values are 0.
    """

    raw: Callable[[FloatArray], FloatArray]
    shift: float
    is_sparse: bool


def _log_normal(middle: float, sigma: float) -> Callable[[FloatArray], FloatArray]:
    return lambda score: middle * np.exp(sigma * score)


def _pareto(least: float, tail: float) -> Callable[[FloatArray], FloatArray]:
    # survival (least / x)^tail: the quantile of a normal score's own tail
    return lambda score: least * ndtr(-score) ** (-1.0 / tail)


def _columns(rng: np.random.Generator) -> list[_Column]:
    columns = []
    for j in range(N_FEATURES):
        middle = float(10.0 ** rng.uniform(-1.0, 4.0))
        raw = (
            _log_normal(middle, float(rng.uniform(0.5, 3.0)))
            if j % 2
            else _pareto(middle, float(rng.uniform(0.5, 2.0)))
        )
        columns.append(_Column(raw, float(rng.choice([0.0, 0.5, 1.0])), j % 7 == 3))
    return columns


def _raw_values(column: _Column, scores: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return values that rise with the scores of one question's documents, float64 (n,)."""
    shifted = scores + column.shift * rng.normal()
    values = np.clip(column.raw(shifted), _LOWEST, _HIGHEST)
    if column.is_sparse:
        # the low scores are the zeros: a sparse column still rises
        values[ndtr(scores) < _SPARSE_SHARE] = 0.0
    return values


def heavy_tailed_world() -> World:
    """Return the set, always the same: 400 questions asked and 150 that test, 46 features of which 12 tell.

    Columns are log-normal (log standard deviation .5 to 3) and Pareto (tail .5 to 2, so that some have no mean), cut
    to [0.016, 2e8]; one in seven is four fifths zeros, and one holds 1e12 for one document in a thousand. Many have a
    level of their own per question. The grade rises with a weighted sum of the telling columns' scores plus what none
    tells. The logging policy is ridge regression of the grades on raw values, on 5 % of the questions.
    """
    rng = np.random.default_rng(_SEED)
    columns = _columns(rng)
    telling = rng.permutation(N_FEATURES - 1)[:N_TELLING]  # not the last one, which holds the outliers
    worth = rng.uniform(0.5, 1.5, size=N_TELLING)
    worth /= np.linalg.norm(worth)
    cuts = _cuts()

    def question(name: str) -> Question:
        n = int(rng.integers(_FEWEST, _MOST + 1))
        scores = rng.normal(size=(n, N_FEATURES))
        merit = scores[:, telling] @ worth + _UNTOLD * rng.normal(size=n)
        grades = np.searchsorted(cuts, merit).astype(np.int64)
        values = np.column_stack([_raw_values(columns[j], scores[:, j], rng) for j in range(N_FEATURES)])
        values[rng.random(n) < _OUTLIER_SHARE, -1] = _OUTLIER
        return Question(name, tuple(f"{name}-{i}" for i in range(n)), values.astype(np.float32), grades)

    asked = [question(f"asked-{i}") for i in range(_N_ASKED)]
    tested = [question(f"test-{i}") for i in range(_N_TEST)]
    names = tuple(f"h{j}" for j in range(1, N_FEATURES + 1))
    start = ridge_start(asked, _START_SHARE, _START_RIDGE, _START_SEED)
    return world_of(
        "heavy_tailed",
        names,
        asked,
        tested,
        max_grade=4,
        weights=dict(zip(names, start.tolist(), strict=True)),
        start="ridge regression (ridge 10) on the raw values of 5 % of the labelled questions",
    )


def _cuts() -> FloatArray:
    """Return the merits at which a grade ends, float64 (4,): those of a normal merit with the shares of the grades."""
    found: FloatArray = ndtri(np.cumsum(_SHARES)[:-1]) * (1.0 + _UNTOLD**2) ** 0.5
    return found
