"""The one policy: Plackett-Luce over scores standardised within the candidates of one call.

    pi(y | q) = product over ranks of  exp(z_y) / sum over documents not yet placed of exp(z_d),
    z_d = (s_d - max s) / (temperature * max(sd_q(s), 1e-9))

Dividing by the spread of the scores makes the norm of the weights meaningless, so that exploration does not fade as
weights grow. Serving, exposure, learner, trust region and gate all call `policy_scores`.

Source: Plackett 1975; Luce 1959; Gumbel top-k: Kool et al. 2019, "Stochastic Beams and Where to Find Them".
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.errors import RecordError
from dwell.records.arrays import FloatArray, IntArray

__all__ = ["MIN_SPREAD", "Drawn", "conditional_propensities", "draw_ranking", "policy_scores", "score_spread"]

MIN_SPREAD: Final = 1e-9  # design, section 5: below it all scores count as equal
_HUGE: Final = 1e150  # squares of larger scores overflow float64: they are divided by the largest first
_WIDE: Final = 600.0  # exp(-708) is the smallest normal float64; a wider range of log weights is summed as logarithms


class Drawn(NamedTuple):
    """A ranking and how likely each of its steps was.

    Attributes:
        order: int64 (k,), candidate indices from the top.
        propensities: float64 (k,), P(document i | those above it), in (0, 1].
    """

    order: IntArray
    propensities: FloatArray


def score_spread(scores: npt.NDArray[np.floating], weights: FloatArray | None = None) -> FloatArray:
    """Return the population standard deviation of scores along the last axis.

    Args:
        scores: (..., n) finite scores.
        weights: (..., n) how many candidates each score stands for, >= 0; all one when not given.
    """
    s = np.asarray(scores, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        spread = _plain_spread(s, weights)
    if np.isfinite(spread).all():
        return spread
    peak = np.abs(s).max(axis=-1, keepdims=True)
    peak = np.where(peak > _HUGE, peak, 1.0)
    return _plain_spread(s / peak, weights) * peak[..., 0]


def _plain_spread(s: FloatArray, weights: FloatArray | None) -> FloatArray:
    if weights is None:
        return _deviation(s)
    total = weights.sum(axis=-1, keepdims=True)
    mean = (weights * s).sum(axis=-1, keepdims=True) / total
    weighted: FloatArray = np.sqrt((weights * (s - mean) ** 2).sum(axis=-1) / total[..., 0])
    return weighted


def _deviation(s: FloatArray) -> FloatArray:
    """Return the population standard deviation along the last axis: what `std` returns, in half its time."""
    n = s.shape[-1]
    apart = s - np.add.reduce(s, axis=-1, keepdims=True) / n
    deviation: FloatArray = np.sqrt(np.add.reduce(apart * apart, axis=-1) / n)
    return deviation


def policy_scores(
    scores: npt.NDArray[np.floating], temperature: float, *, spread: npt.ArrayLike | None = None
) -> FloatArray:
    """Return the Plackett-Luce log weights z of candidates, float64 (..., n), at most 0.

    Args:
        scores: (..., n) raw scores; -inf marks a place that holds no candidate.
        temperature: Exploration temperature, > 0.
        spread: Standard deviation over all candidates of the call, where `scores` holds only some of them.

    Raises:
        RecordError: The temperature is not above 0: without exploration there is no distribution.
    """
    if not temperature > 0.0:
        raise RecordError(
            "a Plackett-Luce policy needs a temperature above 0",
            code="range",
            field="temperature",
            value=temperature,
            hint="At temperature 0 the order is a stable sort: use draw_ranking.",
        )
    s = np.asarray(scores, dtype=np.float64)
    if spread is None and s.ndim == 1:
        with np.errstate(over="ignore", invalid="ignore"):
            alone = float(_deviation(s))
        if alone <= _HUGE:  # one list as it is served: the same operations as below, on scalars in a third of the time
            z: FloatArray = (s - s.max()) / (temperature * max(alone, MIN_SPREAD))
            return z
    sd = _candidates_spread(s) if spread is None else np.asarray(spread, dtype=np.float64)
    if sd.max() > _HUGE:
        peak = np.abs(np.where(s > -np.inf, s, 0.0)).max(axis=-1, keepdims=True)
        peak = np.where(peak > _HUGE, peak, 1.0)
        s, sd = s / peak, sd / peak[..., 0]
    scale = temperature * np.maximum(sd, MIN_SPREAD)
    result: FloatArray = (s - s.max(axis=-1, keepdims=True)) / scale[..., None]
    return result


def _candidates_spread(s: FloatArray) -> FloatArray:
    """Return the spread of scores over those that are not -inf."""
    with np.errstate(over="ignore", invalid="ignore"):
        sd = _deviation(s)
    if np.isfinite(sd).all():
        return sd
    is_candidate = s != -np.inf
    return score_spread(np.where(is_candidate, s, 0.0), is_candidate.astype(np.float64))


def conditional_propensities(log_weights: FloatArray, order: IntArray, k: int) -> FloatArray:
    """Return P(document i | those above it) for the first k of a full ranking, float64 (k,), in (0, 1].

    Args:
        log_weights: (n,) Plackett-Luce log weights.
        order: (n,) a permutation of the candidates.
        k: Length of the list, 1 <= k <= n.
    """
    z = log_weights[order]
    peak = z.max()
    # summed from the tail: a difference of prefix sums would cancel once a heavy document is placed
    if peak - z.min() <= _WIDE:
        weight = np.exp(z - peak)
        below = np.cumsum(weight[::-1])[::-1]
        ratio: FloatArray = np.minimum(weight[:k] / below[:k], 1.0)
        return ratio
    remaining = np.logaddexp.accumulate(z[::-1])[::-1]
    steps: FloatArray = np.minimum(np.exp(z[:k] - remaining[:k]), 1.0)
    return steps


def draw_ranking(scores: FloatArray, temperature: float, k: int, rng: np.random.Generator) -> Drawn:
    """Return a ranking drawn from the policy, with its conditional propensities.

    At temperature 0 it equals a stable sort by descending score, and every propensity is 1.

    Args:
        scores: (n,) finite raw scores in the caller's order.
        temperature: >= 0.
        k: Documents to place, 1 <= k <= n.
        rng: Source of the draw; not touched at temperature 0.
    """
    if temperature == 0.0:
        return Drawn(np.argsort(-scores, kind="stable")[:k], np.ones(k))
    z = policy_scores(scores, temperature)
    # an exponential race: E_d / exp(z_d) ascending is Gumbel top-k, in the log domain so that nothing overflows
    keys = np.log(rng.standard_exponential(scores.size)) - z
    order = np.argsort(keys, kind="stable")
    return Drawn(order[:k], conditional_propensities(z, order, k))
