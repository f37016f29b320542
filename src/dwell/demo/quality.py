"""How good a ranking is when the truth is known: nDCG and MRR, with intervals that know which queries hang together."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from dwell.demo.world import Search
from dwell.ranking import policy_scores
from dwell.records import Estimate, Params
from dwell.records.arrays import FloatArray

__all__ = ["DEPTH", "Quality", "Scores", "compared", "ideal_gain", "mean_of", "ndcg", "reciprocal_rank", "score"]

DEPTH = 10  # both measures look at the ten results that are shown

_Z_95 = 1.959963984540054
_DISCOUNT = 1.0 / np.log2(np.arange(2, DEPTH + 2))

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


def ndcg(grades: FloatArray, ideal: float) -> FloatArray:
    """nDCG@10 of rankings, float64 (...), gains being the grades themselves; 0 where there is nothing to find.

    Args:
        grades: (..., k) grades in the order shown.
        ideal: DCG@10 of the best order.

    Source: K. Järvelin, J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 20(4), 2002, with the
        discount 1 / log2(1 + rank).
    """
    top = grades[..., :DEPTH]
    gained: FloatArray = top @ _DISCOUNT[: top.shape[-1]]
    return gained / ideal if ideal > 0.0 else np.zeros_like(gained)


def ideal_gain(grades: FloatArray) -> float:
    """DCG@10 of the best order of these documents."""
    best = np.sort(grades)[::-1][:DEPTH]
    return float(best @ _DISCOUNT[: best.size])


def reciprocal_rank(grades: FloatArray) -> FloatArray:
    """1 / rank of the first wanted document within ten, float64 (...); 0 where there is none."""
    wanted = grades[..., :DEPTH] > 0.0
    first: FloatArray = 1.0 / (1.0 + wanted.argmax(axis=-1)) if wanted.shape[-1] else np.zeros(wanted.shape[:-1])
    return np.where(wanted.any(axis=-1), first, 0.0)


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


def mean_of(values: FloatArray, groups: Sequence[Hashable]) -> Estimate:
    """A mean with its normal 95 % interval; values of one group count as hanging together.

    The variance is the cluster-robust one, G / (G - 1) * sum over groups of (sum of deviations)^2 / n^2. With a single
    group nothing is known of the spread: the interval is infinite.

    Args:
        values: (n,), n >= 1.
        groups: n labels: queries with the same answer are one piece of evidence.

    Source: K.-Y. Liang, S. Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 73, 1986.
    """
    names = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    n_groups = len(names)
    mean = float(values.mean())
    if n_groups < 2:
        return Estimate(mean, -np.inf, np.inf, values.size, float(n_groups))
    sums = np.bincount([names[name] for name in groups], weights=values - mean)
    error = float(np.sqrt(n_groups / (n_groups - 1) * (sums**2).sum())) / values.size
    return Estimate(mean, mean - _Z_95 * error, mean + _Z_95 * error, values.size, float(n_groups))


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
