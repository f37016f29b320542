"""How good what params serve is, beside what the frozen starting ranker would serve."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from dwell.demo.measures import DEPTH, mean_of, ndcg, reciprocal_rank
from dwell.demo.world import Search
from dwell.ranking import policy_scores
from dwell.records import Estimate, Params
from dwell.records.arrays import FloatArray

__all__ = ["N_DRAWS", "Quality", "Scores", "Sheet", "compared"]

#: Rankings drawn per query and measurement. The same noise serves every version and the starting ranker, so that
#: differences are of the rankers and not of the draws.
N_DRAWS = 16


class Scores(NamedTuple):
    """Quality per query.

    Attributes:
        ndcg: float64 (n,), nDCG@10 in [0, 1].
        reciprocal_rank: float64 (n,), 1 / rank of the first wanted entry within ten, else 0.
    """

    ndcg: FloatArray
    reciprocal_rank: FloatArray


class Quality(NamedTuple):
    """Quality of a ranker beside the frozen starting ranker's, on the same queries.

    Attributes:
        ndcg: Mean nDCG@10.
        mrr: Mean reciprocal rank.
        start_ndcg: The starting ranker's.
        start_mrr: The starting ranker's.
        ndcg_gain: Paired difference.
        mrr_gain: Paired difference.
    """

    ndcg: Estimate
    mrr: Estimate
    start_ndcg: Estimate
    start_mrr: Estimate
    ndcg_gain: Estimate
    mrr_gain: Estimate


class Sheet:
    """The measuring queries as one block, so that a whole measurement is a few array operations.

    Args:
        searches: The n queries; at least one of them has candidates.
        seed: Seeds the draws; the same noise serves whatever is measured.
    """

    def __init__(self, searches: Sequence[Search], seed: int) -> None:
        n, widest = len(searches), max(len(search.ids) for search in searches)
        self._is_there = np.zeros((n, widest), dtype=bool)
        self._grades = np.zeros((2, n, widest))
        for i, search in enumerate(searches):
            self._is_there[i, : len(search.ids)] = True
            for taste in (0, 1):
                self._grades[taste, i, : len(search.ids)] = search.grades[taste]
        self._ideal = np.array([search.ideal for search in searches]).T
        # as the loop takes them: in float32
        self._features = np.concatenate([search.features for search in searches]).astype(np.float32)
        self._noise = np.random.default_rng([seed, 3]).gumbel(size=(N_DRAWS, n, widest))

    def score(self, params: Params, taste: int, temperature: float) -> Scores:
        """Quality of what params would serve, per query: the mean over rankings drawn as the loop draws them.

        Args:
            params: The ranker.
            taste: Which of the two tastes judges.
            temperature: Exploration; 0 measures the params' own order.
        """
        scores = np.full(self._is_there.shape, -np.inf)
        scores[self._is_there] = params.score(self._features).astype(np.float32)
        found = Scores(np.zeros(len(scores)), np.zeros(len(scores)))
        asked = self._is_there.any(axis=1)  # a query without candidates shows nothing, and gains nothing
        keys, grades, ideal = scores[asked], self._grades[taste][asked], self._ideal[taste][asked]
        if temperature > 0.0:
            keys = policy_scores(keys, temperature)
        draws = self._noise[:, asked] if temperature > 0.0 else np.zeros((1, *keys.shape))
        for noise in draws:
            order = np.argsort(-(keys + noise), axis=1, kind="stable")[:, :DEPTH]
            shown = np.take_along_axis(grades, order, axis=1)
            found.ndcg[asked] += ndcg(shown, ideal) / len(draws)
            found.reciprocal_rank[asked] += reciprocal_rank(shown) / len(draws)
        return found


def compared(scores: Scores, start: Scores, groups: Sequence[Hashable]) -> Quality:
    """Quality beside the starting ranker's, with the paired differences."""
    return Quality(
        ndcg=mean_of(scores.ndcg, groups),
        mrr=mean_of(scores.reciprocal_rank, groups),
        start_ndcg=mean_of(start.ndcg, groups),
        start_mrr=mean_of(start.reciprocal_rank, groups),
        ndcg_gain=mean_of(scores.ndcg - start.ndcg, groups),
        mrr_gain=mean_of(scores.reciprocal_rank - start.reciprocal_rank, groups),
    )
