"""The estimate by prefix weights, from sums over events: whoever holds a part of them adds its sums to the others'.

It holds for users who read from the top and stop anywhere. Per position k the value is sum w_k c_k / sum w_k, and the
error is that of the linearised ratio. Weights are products, so that deep down a few lists carry everything, and neither
value nor error can be read: positions are read from the top until the lists are worth less than a tenth of themselves
(Kish).

Two rounds of sums make it: first the positions' weights and credits, then, once the ratios are known, what each event
moves them by.

Source: McInerney et al. 2020, "Counterfactual Evaluation of Slate Recommendations with Sequential Reward Interactions".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from dwell.evaluation.judging import JudgedEvent
from dwell.evaluation.log_fit import padded_sum
from dwell.records.arrays import FloatArray

__all__ = ["Moments", "PrefixRatios", "PrefixSums", "prefix_difference", "prefix_moments", "prefix_of", "prefix_sums"]

# learning study, section 2.7: an estimate by products of ratios fails below .1 of its events
MIN_PREFIX_SHARE: Final = 0.1

Prefix = tuple[float, float, int, float]


class PrefixSums(NamedTuple):
    """Sums over the events that were drawn, per position; each float64 (k,).

    Attributes:
        n: How many events.
        shown: Events that showed the position.
        weight: Sum of the proposal's weights.
        square: Of their squares.
        credit: Of weight times reward.
        safe_weight: As `weight`, of the safe policy.
        safe_square: As `square`.
        safe_credit: As `credit`.
    """

    n: int
    shown: FloatArray
    weight: FloatArray
    square: FloatArray
    credit: FloatArray
    safe_weight: FloatArray
    safe_square: FloatArray
    safe_credit: FloatArray

    def plus(self, other: PrefixSums) -> PrefixSums:
        """Return the sums over the events of both."""
        return PrefixSums(self.n + other.n, *(padded_sum(a, b) for a, b in zip(self[1:], other[1:], strict=True)))


class PrefixRatios(NamedTuple):
    """What all events together say of each position that can be read, float64 (k,).

    Attributes:
        n: Events.
        frequency: Share of them that showed the position: its mean counts as often.
        scale: Sum of the proposal's weights over n.
        share: Its reward per list at the position.
        safe_scale: As `scale`, of the safe policy.
        safe_share: As `share`.
        effective: Effective sample size at the first position.
    """

    n: int
    frequency: FloatArray
    scale: FloatArray
    share: FloatArray
    safe_scale: FloatArray
    safe_share: FloatArray
    effective: float

    @classmethod
    def of(cls, sums: PrefixSums) -> PrefixRatios | None:
        """Return the ratios; None where fewer than two events were drawn, or the first position can not be read."""
        if sums.n < 2:
            return None
        k = _readable(sums)
        if k == 0:
            return None
        return cls(
            n=sums.n,
            frequency=sums.shown[:k] / sums.n,
            scale=sums.weight[:k] / sums.n,
            share=_ratio(sums.credit[:k], sums.weight[:k]),
            safe_scale=sums.safe_weight[:k] / sums.n,
            safe_share=_ratio(sums.safe_credit[:k], sums.safe_weight[:k]),
            effective=_kish(sums.weight[0], sums.square[0]),
        )

    @property
    def value(self) -> float:
        """The difference."""
        new, safe = (self.share * self.frequency).sum(), (self.safe_share * self.frequency).sum()
        return float(new) - float(safe)


class Moments(NamedTuple):
    """Mean and spread of values that are added up in parts.

    Attributes:
        n: How many.
        mean: Their mean.
        square: Sum of squared distances from it.

    Source:
        Chan, Golub and LeVeque 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances".
    """

    n: int = 0
    mean: float = 0.0
    square: float = 0.0

    @classmethod
    def of(cls, values: FloatArray) -> Moments:
        """Return the moments of (n,) values."""
        if not values.size:
            return cls()
        mean = float(values.mean())
        return cls(values.size, mean, float(((values - mean) ** 2).sum()))

    def plus(self, other: Moments) -> Moments:
        """Return the moments of both together."""
        n = self.n + other.n
        if n == 0:
            return self
        gap = other.mean - self.mean
        return Moments(
            n, self.mean + gap * other.n / n, self.square + other.square + gap * gap * (self.n * other.n / n)
        )

    @property
    def error_of_mean(self) -> float:
        """Standard error of the mean; n is at least 2."""
        return math.sqrt(self.square / (self.n - 1)) / math.sqrt(self.n)


class _Padded(NamedTuple):
    """Events that were drawn, padded to (n, k)."""

    weight: FloatArray
    safe: FloatArray
    credit: FloatArray
    is_shown: FloatArray


def _padded(events: Sequence[JudgedEvent], rewards: Sequence[FloatArray]) -> _Padded:
    usable = [
        (e, c) for e, c in zip(events, rewards, strict=True) if e.prefix is not None and e.safe_prefix is not None
    ]
    n, k = len(usable), max((len(c) for _, c in usable), default=0)
    weight, safe, credit, is_shown = np.zeros((n, k)), np.zeros((n, k)), np.zeros((n, k)), np.zeros((n, k))
    for i, (event, c) in enumerate(usable):
        m = len(c)
        weight[i, :m], safe[i, :m], credit[i, :m], is_shown[i, :m] = event.prefix, event.safe_prefix, c, 1.0
    return _Padded(weight, safe, credit, is_shown)


def prefix_sums(events: Sequence[JudgedEvent], rewards: Sequence[FloatArray]) -> PrefixSums:
    """Return the first round of sums over some events."""
    weight, safe, credit, is_shown = _padded(events, rewards)
    return PrefixSums(
        len(weight),
        is_shown.sum(axis=0),
        weight.sum(axis=0),
        (weight**2).sum(axis=0),
        (weight * credit).sum(axis=0),
        safe.sum(axis=0),
        (safe**2).sum(axis=0),
        (safe * credit).sum(axis=0),
    )


def prefix_moments(events: Sequence[JudgedEvent], rewards: Sequence[FloatArray], ratios: PrefixRatios) -> Moments:
    """Return the second round over the same events: how far each of them moves the difference."""
    padded = _padded(events, rewards)
    k = len(ratios.frequency)
    # lists that are shorter than the longest of all events show nothing below their end
    weight, safe, credit, is_shown = (
        np.pad(values, ((0, 0), (0, max(k - values.shape[1], 0))))[:, :k] for values in padded
    )
    effect = np.zeros(len(weight))
    for w, scale, share, sign in (
        (weight, ratios.scale, ratios.share, 1.0),
        (safe, ratios.safe_scale, ratios.safe_share, -1.0),
    ):
        scaled = np.divide(w * (credit - share), scale, out=np.zeros_like(w), where=scale > 0.0)
        effect += sign * (scaled * ratios.frequency + share * (is_shown - ratios.frequency)).sum(axis=1)
    return Moments.of(effect)


def prefix_of(ratios: PrefixRatios, moments: Moments) -> Prefix:
    """Return (difference, standard error, n, effective sample size) from both rounds over all events."""
    return ratios.value, moments.error_of_mean, ratios.n, ratios.effective


def prefix_difference(events: Sequence[JudgedEvent], rewards: Sequence[FloatArray]) -> Prefix | None:
    """Return (difference, standard error, n, effective sample size) by self-normalised prefix weights.

    None where fewer than two events were drawn, or the first position can not be read.
    """
    ratios = PrefixRatios.of(prefix_sums(events, rewards))
    return None if ratios is None else prefix_of(ratios, prefix_moments(events, rewards, ratios))


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0.0)


def _kish(total: float, square: float) -> float:
    return float(total) ** 2 / float(square) if square > 0.0 else 0.0


def _readable(sums: PrefixSums) -> int:
    """Return how many positions, from the top, hold enough effective lists under both policies."""
    for k, shown in enumerate(sums.shown.tolist()):
        worth = min(_kish(sums.weight[k], sums.square[k]), _kish(sums.safe_weight[k], sums.safe_square[k]))
        if worth < MIN_PREFIX_SHARE * shown:
            return k
    return len(sums.shown)
