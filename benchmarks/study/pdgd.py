"""Pairwise differentiable gradient descent as published, on-line: it serves what it has learned and learns from that.

A plain second implementation, list by list, of what `dwell.learning` offers in another form; here it is a rival.

Source: Oosterhuis and de Rijke, CIKM 2018, algorithm 1 (arXiv 1809.08415).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from study.scoring import ndcg_per_question
from study.simulation import N_SHOWN, TEMPERATURE, Clicks, events_of
from study.worlds import FloatArray, IntArray, World, standardised

__all__ = ["RATES", "pdgd", "pdgd_update"]

_FAR: Final = 700.0  # exp overflows beyond 709
RATES: Final = (0.003, 0.01, 0.03, 0.1)  # the last one is the authors' own


def pdgd_update(
    documents: FloatArray, scores: FloatArray, shown: IntArray, clicks: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> FloatArray:
    """Return the sum over preferred pairs of rho sigma sigma' (x_i - x_j), float64 (f,).

    A clicked document is preferred to one not clicked, of those above the last click and the one below it. Both are
    taken as looked at, nothing further down.

    Args:
        documents: (n, f), all candidates.
        scores: (n,), log weights of the Plackett-Luce policy that served.
        shown: (k,) indices into the documents, from the top.
        clicks: (k,).
    """
    slope = np.zeros(len(scores))
    if clicks.any() and not clicks.all():
        weight = np.exp(scores - scores.max())
        looked = min(int(np.flatnonzero(clicks).max()) + 2, shown.size)
        placed = weight[shown]
        left = weight.sum() - np.concatenate([[0.0], np.cumsum(placed)[:-1]])
        left = np.maximum(left, 1e-300)
        for i in np.flatnonzero(clicks[:looked]).tolist():
            for j in np.flatnonzero(~clicks[:looked]).tolist():
                share = _swapped_share(placed, left, i, j)
                apart = min(abs(float(scores[shown[i]] - scores[shown[j]])), _FAR)
                slip = share / (2.0 + math.exp(apart) + math.exp(-apart))  # e^a e^b / (e^a + e^b)^2
                slope[shown[i]] += slip
                slope[shown[j]] -= slip
    gradient: FloatArray = slope @ documents
    return gradient


def _swapped_share(placed: FloatArray, left: FloatArray, i: int, j: int) -> float:
    """Return P(R*) / (P(R) + P(R*)), R* being the list with the documents at i and j exchanged."""
    high, low = min(i, j), max(i, j)
    # between the two places, the one exchanged upwards is gone and the other still there
    before = left[high + 1 : low + 1]
    after = np.maximum(before + placed[high] - placed[low], 1e-300)
    odds = float(np.prod(before / after))
    return odds / (1.0 + odds)


def pdgd(world: World, *, seed: int, n_events: int, user: str) -> dict[float, FloatArray]:
    """Return nDCG@10 per test question after the events, {learning rate: float64 (q,)}.

    It begins at the logging policy in standardised units, at the spread at which the loop's lists are drawn too, and is
    asked the same questions by the same users. Whoever reads the result may choose the learning rate on the test
    questions, in its favour.
    """
    space = standardised(world)
    requests = list(events_of(world, n_events, seed))
    found = {}
    for rate in RATES:
        clicks = Clicks(world, seed, user)
        rng = np.random.default_rng([seed, 6])
        w = space.start / TEMPERATURE
        for number, event in enumerate(requests):
            documents, grades = space.train[event.question], world.train[event.question].grades
            scores = documents @ w
            keys = np.log(np.maximum(rng.standard_exponential(scores.size), 1e-300)) - scores
            shown = np.argsort(keys)[:N_SHOWN]
            w = w + rate * pdgd_update(documents, scores, shown, clicks(number, grades[shown]))
        found[rate] = ndcg_per_question(space.scorer(w), world.test)
    return found
