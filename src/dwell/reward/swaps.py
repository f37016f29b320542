r"""Swaps of adjacent results on a small share of traffic: examination measured even where the logger draws nothing.

A list is chosen with probability `share`; a chosen list gets one adjacent pair, uniformly, and a fair coin shows that
pair as it stood or swapped. Both orders are then equally frequent by design, so among lists with pair j

    theta_{j+1} / theta_j = sum(c_{j+1}) / sum(c_j),

whatever the logger and its temperature. Lists whose coin fell on "as it stood" count: without them the ratio is biased.

Source: Joachims, Swaminathan, Schnabel, WSDM 2017, section 5 (swap interventions; adjacent pairs chain).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.errors import ConfigError, EvaluationError, RecordError
from dwell.records import checks
from dwell.records.arrays import FloatArray
from dwell.reward.examination import HarvestSums

__all__ = ["Swapped", "examined_given_pair", "swap_sums", "swapped"]


class Swapped(NamedTuple):
    """A list after the intervention was drawn.

    Attributes:
        order: What is shown, int (k,).
        pair: Upper position of the pair that was drawn, counted from 1; 0: the list was not chosen.
        is_swapped: Whether the pair was shown the other way round.
        propensities: float64 (k,), whose product is P(this order | this pair was drawn). The pair's joint probability
            stands at its upper position and 1 at its lower one. Leave lists with a pair out of `harvest`.
    """

    order: npt.NDArray[np.int64]
    pair: int
    is_swapped: bool
    propensities: FloatArray


def swapped(
    order: npt.ArrayLike, rng: np.random.Generator, share: float, *, propensities: npt.ArrayLike | None = None
) -> Swapped:
    """Return the list to show: with probability `share` an adjacent pair is drawn and swapped by a fair coin.

    Consumes the same three random numbers whatever is drawn. A list of one document is never chosen.

    Args:
        order: int (k,), documents in the order that the logger chose.
        rng: Where the three numbers come from.
        share: Probability that a list is chosen, in [0, 1].
        propensities: float (k,), the logger's P(document i | those above it), in (0, 1]; None: deterministic, all 1.

    Raises:
        ConfigError: `share` is out of its range.
        EvaluationError: `order` is no list of documents, or `propensities` do not fit it.
    """
    try:
        share = checks.within(share, "share", 0.0, 1.0)
    except RecordError as error:
        raise ConfigError(
            error.message, field="share", value=share, hint="0.02 swaps one list in a hundred."
        ) from error
    shown = np.array(order)
    if shown.ndim != 1 or shown.dtype.kind not in "iu" or len(shown) == 0:
        raise EvaluationError("an order is a list of integers", field="order", value=order, hint="Pass int (k,).")
    p = np.ones(len(shown)) if propensities is None else np.array(propensities, dtype=np.float64)
    if p.shape != shown.shape or not ((p > 0.0) & (p <= 1.0)).all():
        raise EvaluationError(
            "propensities are (k,), each in (0, 1]", field="propensities", value=propensities, hint="Or pass None."
        )
    chosen, which, coin = rng.random(3)
    shown = shown.astype(np.int64)
    k = len(shown)
    if chosen >= share or k < 2:
        return Swapped(shown, 0, False, p)
    j = int(which * (k - 1))
    first, second = p[j], p[j + 1]
    # P(a, b) and P(b, a) under Plackett-Luce, see `examination`; the coin gives both orders the mean of the two
    other = second * (1.0 - first) * first / ((1.0 - second) + first * second)
    p[j], p[j + 1] = 0.5 * (first * second + other), 1.0
    is_swapped = bool(coin < 0.5)
    if is_swapped:
        shown[[j, j + 1]] = shown[[j + 1, j]]
    return Swapped(shown, j + 1, is_swapped, p)


def examined_given_pair(theta: FloatArray, pair: int) -> FloatArray:
    """Return theta of what the logger put at each position, given the drawn pair, float64 (k,).

    Either document of the pair stands at either place half of the time: both are looked at with the mean of the two.
    This is exact, so that a swapped list is learned from like any other, whatever it shows.

    Args:
        theta: float64 (k,), examination of each position shown.
        pair: Upper position of the pair, from 1, below k.
    """
    mixed = theta.copy()
    mixed[pair - 1 : pair + 1] = theta[pair - 1 : pair + 1].mean()
    return mixed


def swap_sums(pairs: npt.ArrayLike, clicks: npt.ArrayLike) -> HarvestSums:
    """Return the sums of lists with their drawn pairs; `.fitted(source="swaps")` is the examination.

    Args:
        pairs: int (n,), `Swapped.pair` of each list; lists with 0 only count as lists.
        clicks: float or bool (n, k), click in [0, 1] per shown document in shown order; NaN beyond a list's end.

    Raises:
        EvaluationError: Shapes differ, a click is out of its range, or a pair lies beyond its list.
    """
    pair, c = np.asarray(pairs), np.asarray(clicks, dtype=np.float64)
    if pair.ndim != 1 or pair.dtype.kind not in "iu" or c.ndim != 2 or len(c) != len(pair) or c.shape[1] < 1:
        raise EvaluationError(
            "pairs are integers (n,) and clicks (n, k)",
            field="pairs",
            value=(pair.shape, c.shape),
            hint="Pad with NaN.",
        )
    is_shown = ~np.isnan(c)
    length = is_shown.sum(axis=1)
    if (is_shown[:, 1:] & ~is_shown[:, :-1]).any() or not ((c[is_shown] >= 0.0) & (c[is_shown] <= 1.0)).all():
        raise EvaluationError("a click is in [0, 1], NaN only at the end", field="clicks", hint="Pass clicks.")
    if ((pair < 0) | ((pair > 0) & (pair >= length))).any():
        raise EvaluationError("a pair lies within its list", field="pairs", hint="Pass Swapped.pair as it was.")
    weights = (pair[:, None] == np.arange(1, c.shape[1])).astype(np.float64)
    return HarvestSums.weighted(weights, np.where(is_shown, c, 0.0))
