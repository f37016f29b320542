"""How sure a figure is: over seeds (the chance in clicks and draws) and over questions (the choice of a test set)."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
from scipy.special import stdtrit

from study.worlds import FloatArray

__all__ = ["Comparison", "Interval", "compared", "over_questions", "over_seeds"]

_LEVEL: Final = 0.95
_N_RESAMPLES: Final = 10_000
_FEW: Final = 2  # an interval needs two values


class Interval(NamedTuple):
    """A mean with its 95 % interval; infinite where it can not be told.

    Attributes:
        value: The mean.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def covers(self, value: float) -> bool:
        """Return whether a value lies in the interval, its ends included."""
        return self.low <= value <= self.high


class Comparison(NamedTuple):
    """One ranker less another, on the same seeds and questions.

    Attributes:
        seeds: Interval over seeds, the test questions taken as they are.
        questions: Interval over questions, averaged over the seeds at hand: the bootstrap.
        error: Paired standard error over questions.
        verdict: "better" or "worse" where both intervals say so, "tie" where one of them covers 0.
    """

    seeds: Interval
    questions: Interval
    error: float
    verdict: Literal["better", "worse", "tie"]


def over_seeds(values: FloatArray) -> Interval:
    """Return the mean over seeds with Student's interval, for float64 (s,); infinite for a single seed.

    Values that do not differ at all, as of a ranker that nothing random goes into, have an interval of width 0.
    """
    mean = float(values.mean())
    if values.size < _FEW:
        return Interval(mean, -np.inf, np.inf)
    quantile = float(stdtrit(values.size - 1, 0.5 + _LEVEL / 2.0))
    half = quantile * float(values.std(ddof=1)) / values.size**0.5
    return Interval(mean, mean - half, mean + half)


def over_questions(values: FloatArray, rng: np.random.Generator) -> Interval:
    """Return the mean over questions with the percentile bootstrap's interval, for float64 (q,).

    Source: Efron and Tibshirani 1993, chapter 13; for rankings, Sakai 2006.
    """
    mean = float(values.mean())
    if values.size < _FEW:
        return Interval(mean, -np.inf, np.inf)
    means = values[rng.integers(values.size, size=(_N_RESAMPLES, values.size))].mean(axis=1)
    low, high = np.quantile(means, [0.5 - _LEVEL / 2.0, 0.5 + _LEVEL / 2.0])
    return Interval(mean, float(low), float(high))


def compared(one: FloatArray, other: FloatArray, rng: np.random.Generator) -> Comparison:
    """Return how one ranker differs from another.

    Args:
        one: float64 (s, q), a figure per seed and question, or (1, q) for a ranker without any chance in it.
        other: The same of the other ranker.
        rng: Source of the bootstrap.
    """
    difference = one - other
    seeds = over_seeds(difference.mean(axis=1))
    per_question = difference.mean(axis=0)
    questions = over_questions(per_question, rng)
    error = float(per_question.std(ddof=1)) / per_question.size**0.5 if per_question.size >= _FEW else np.inf
    # two rankers without chance differ by the same in every seed: the questions alone decide
    is_tie = questions.covers(0.0) or (difference.shape[0] >= _FEW and seeds.covers(0.0))
    return Comparison(seeds, questions, error, "tie" if is_tie else "better" if questions.value > 0.0 else "worse")
