"""Ranking: how far what is served is from the caller's order, and what exploring costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from dwell.health.report import Check
from dwell.health.snapshot import HealthSnapshot, ListsSeen, Scored
from dwell.health.thresholds import MIN_JUDGED, judged
from dwell.records.arrays import FloatArray

__all__ = ["exploration_cost", "kendall_taus", "ranking_checks"]

_FLOOR_SD: Final = 1e-9  # as in the policy: scores that are all equal have no spread


def ranking_checks(snapshot: HealthSnapshot) -> Iterator[Check]:
    """Yield the checks of ranking that stand on lists; that of calls served the caller's order is in `counted`."""
    taus = np.zeros(0) if snapshot.newest is None else kendall_taus(snapshot.newest)
    if taus.size < MIN_JUDGED:
        yield judged("order_tau", None, f"{taus.size} lists were ordered by params: too few to tell")
    else:
        tau = float(taus.mean())
        words = (
            f"of two documents shown, {50.0 * (1.0 + tau):.3g} % stand as the caller had them, over the newest "
            f"{taus.size:,} lists ordered by params"
        )
        if not snapshot.n_promotions:
            words += "; nothing was promoted yet"
        yield judged("order_tau", tau, words, is_chance=not snapshot.n_promotions)
    costs = exploration_cost(snapshot.drawn)
    if costs.size < MIN_JUDGED:
        yield judged("exploration_cost_sd", None, f"{costs.size} lists were drawn: too few to tell")
    else:
        cost = float(costs.mean())
        words = f"a list gives up {cost:.2g} standard deviations of score a position, over the newest {costs.size:,}"
        yield judged("exploration_cost_sd", cost, words)


def kendall_taus(lists: ListsSeen) -> FloatArray:
    """Return, per list that params ordered, Kendall's tau between it and the caller's order, float64 (m,).

    1 where all pairs of documents shown stand as the caller had them, -1 where none does. Lists of fewer than two
    documents are left out.

    Source:
        Kendall 1938, "A New Measure of Rank Correlation"; ranks have no ties.
    """
    is_counted = ~lists.is_caller_ordered & (lists.n_kept >= 2)
    ranks, kept = lists.caller_rank[is_counted], lists.n_kept[is_counted].astype(np.int64)
    agreeing = np.zeros(len(ranks))
    for i in range(int(kept.max(initial=0)) - 1):
        later = np.arange(i + 1, int(kept.max(initial=0)))
        is_pair = later[None, :] < kept[:, None]
        agreeing += (np.sign(ranks[:, later] - ranks[:, i, None]) * is_pair).sum(axis=1)
    taus: FloatArray = agreeing / (kept * (kept - 1) / 2.0)
    return taus


def exploration_cost(drawn: Sequence[Scored]) -> FloatArray:
    """Return, per list, how much score was given up by drawing it instead of sorting, float64 (m,).

    Sum over positions of (score when sorted - score when drawn), a position i counting 1 / log2(1 + i), divided by the
    sum of these weights and by the scores' standard deviation. 0 where the list is sorted; its mean over lists is an
    unbiased estimate of what is expected.
    """
    costs = []
    for scores, served, score_sd in drawn:
        k = len(served)
        if not k:
            continue
        values = np.asarray(scores, dtype=np.float64)
        weights = 1.0 / np.log2(np.arange(2.0, k + 2.0))
        best = np.sort(values)[::-1][:k]
        costs.append(float(weights @ (best - values[served]) / weights.sum() / max(score_sd, _FLOOR_SD)))
    return np.array(costs)
