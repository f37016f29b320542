"""Normalised discounted cumulative gain, one figure per question."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from study.worlds import FloatArray, Question

__all__ = ["Scorer", "ndcg", "ndcg_per_question", "ndcg_shown"]

Scorer = Callable[[npt.NDArray[np.float32]], FloatArray]


def _discounted(grades: npt.NDArray[np.int64]) -> float:
    gains = np.exp2(grades.astype(np.float64)) - 1.0
    return float((gains / np.log2(np.arange(2, grades.size + 2))).sum())


def ndcg_shown(shown: npt.NDArray[np.int64], grades: npt.NDArray[np.int64], k: int = 10) -> float:
    """Return nDCG at k of documents shown, by their grades from the top; NaN where no candidate is relevant.

    Gains are 2^grade - 1, discounts 1 / log2(rank + 1); the ideal is the best order of the candidates.

    Source: Järvelin and Kekäläinen 2002, with the exponential gains of Burges et al. 2005.
    """
    best = _discounted(np.sort(grades)[::-1][:k])
    return _discounted(shown[:k]) / best if best > 0.0 else float("nan")


def ndcg(scores: FloatArray, grades: npt.NDArray[np.int64], k: int = 10) -> float:
    """Return nDCG at k of the candidates in descending order of their scores, ties in the order given."""
    order = np.argsort(-scores, kind="stable")[:k]
    return ndcg_shown(grades[order], grades, k)


def ndcg_per_question(score: Scorer, questions: Sequence[Question], k: int = 10) -> FloatArray:
    """Return nDCG at k of each question under a scorer, float64 (n,)."""
    return np.array([ndcg(score(question.features), question.grades, k) for question in questions])
