"""How good what params serve is, beside what the frozen starting ranker would serve."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from dwell.demo.measures import DEPTH, mean_of, ndcg, reciprocal_rank
from dwell.demo.world import Search
from dwell.ranking import policy_scores
from dwell.records import Estimate, Params
from dwell.records.arrays import FloatArray

__all__ = ["N_DRAWS", "Quality", "Scores", "compared", "score"]

#: Rankings drawn per query and measurement. The same noise serves every version and the starting ranker, so that
#: differences are of the rankers and not of the draws.
N_DRAWS = 32


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


def score(params: Params, searches: Sequence[Search], taste: int, *, seed: int, temperature: float) -> Scores:
    """Quality of what params would serve, per query: the mean over rankings drawn as the loop draws them.

    Args:
        params: The ranker.
        searches: The n queries.
        taste: Which of the two tastes judges.
        seed: Seeds the draws; the same one, the same noise, whatever the params.
        temperature: Exploration; 0 measures the params' own order.
    """
    found = Scores(np.zeros(len(searches)), np.zeros(len(searches)))
    rng = np.random.default_rng([seed, 3])
    n_draws = N_DRAWS if temperature > 0.0 else 1
    for i, search in enumerate(searches):
        n = len(search.ids)
        if not n:
            continue
        # as the loop logs and serves them: in float32
        scores = params.score(search.features.astype(np.float32)).astype(np.float32).astype(np.float64)
        if temperature > 0.0:
            keys = policy_scores(scores, temperature) + rng.gumbel(size=(n_draws, n))
        else:
            keys = scores[None, :]
        shown = search.grades[taste][np.argsort(-keys, axis=1, kind="stable")[:, :DEPTH]]
        found.ndcg[i] = ndcg(shown, search.ideal[taste]).mean()
        found.reciprocal_rank[i] = reciprocal_rank(shown).mean()
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
