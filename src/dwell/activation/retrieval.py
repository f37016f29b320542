r"""From base level to recall: noise, partial matching, spreading activation, probability and latency.

Activation is a sum in nats: A = B + mismatch + spreading + noise. Each term is a function of its own, so that a
caller adds what it wants.

Source: Anderson and Lebiere 1998; Anderson et al. 2004, An integrated theory of the mind. Partial matching as in
pyactup 2.2.5 ("natural" similarities), the probability of recall and latency as in pyactr 0.3.2.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dwell.errors import RecordError
from dwell.records import checks
from dwell.records.arrays import FloatArray

__all__ = ["DEFAULT_NOISE", "latency_s", "mismatch", "noise", "noise_variance", "recall_probability", "spreading"]

DEFAULT_NOISE: Final = 0.25  # s of the logistic, pyactup's default: a standard deviation of 0.45 nats
_LARGEST: Final = 1e6  # nats, far beyond what any activation is


def noise(rng: np.random.Generator, shape: int | tuple[int, ...], s: float = DEFAULT_NOISE) -> FloatArray:
    """Return logistic noise in nats with mean 0 and variance pi^2 s^2 / 3.

    Args:
        rng: Source of the draw.
        shape: Of what is returned.
        s: Scale, >= 0; 0 is no noise.

    Raises:
        RecordError: s is out of its range.
    """
    scale = checks.within(s, "s", 0.0, _LARGEST)
    return np.asarray(rng.logistic(0.0, scale, shape)) if scale > 0.0 else np.zeros(shape)


def noise_variance(s: float) -> float:
    """Return pi^2 s^2 / 3, in nats squared.

    Raises:
        RecordError: s is out of its range.
    """
    return float(np.pi**2 / 3.0 * checks.within(s, "s", 0.0, _LARGEST) ** 2)


def recall_probability(activations: object, threshold: float, s: float = DEFAULT_NOISE) -> FloatArray:
    """Return P(A + noise > threshold) = 1 / (1 + e^((threshold - A) / s)), of the shape of the activations.

    Args:
        activations: Nats, any shape; -inf where there is no history.
        threshold: tau, nats. It depends on the unit of ages: ours is seconds.
        s: Scale of the noise, > 0.

    Raises:
        RecordError: An activation is no number, the threshold not finite, or s out of its range.
    """
    scale = checks.within(s, "s", 1e-9, _LARGEST)
    gap = (checks.finite(threshold, "threshold") - _nats(activations)) / scale
    # both tails without overflow: e^-|x| is at most 1
    small = np.exp(-np.abs(gap))
    return np.asarray(np.where(gap > 0.0, small, 1.0) / (1.0 + small))


def latency_s(activations: object, factor_s: float = 1.0, exponent: float = 1.0) -> FloatArray:
    """Return the seconds that recall takes, F e^(-f A), of the shape of the activations.

    Args:
        activations: Nats, any shape; infinite seconds where -inf.
        factor_s: F, seconds at A = 0, > 0.
        exponent: f, > 0.

    Raises:
        RecordError: An argument is out of its range.
    """
    f = checks.within(exponent, "exponent", 1e-9, _LARGEST)
    with np.errstate(over="ignore"):
        return np.asarray(checks.within(factor_s, "factor_s", 1e-12, _LARGEST) * np.exp(-f * _nats(activations)))


def mismatch(similarities: object, penalty: float = 1.0, *, weights: object = None) -> FloatArray:
    """Return what partial matching takes from each item, penalty * sum_slots weight (similarity - 1), (n,) nats <= 0.

    Args:
        similarities: (n, slots) between what was asked and what the item has, in [0, 1]; 1 is the same. From ACT-R's
            own in [-1, 0] take 1 + similarity.
        penalty: MP >= 0, nats for one slot that has nothing in common.
        weights: (slots,) >= 0 of the slots; 1 each when not given.

    Raises:
        RecordError: A similarity is outside [0, 1], or shapes differ.
    """
    alike = _nats(similarities, "similarities")
    if alike.ndim != 2 or (alike < 0.0).any() or (alike > 1.0).any():
        raise RecordError(
            "similarities are (n, slots) numbers in [0, 1]",
            code="range",
            field="similarities",
            value=alike.shape,
            hint="1 is the same, 0 has nothing in common.",
        )
    per_slot = np.ones(alike.shape[1]) if weights is None else _nats(weights, "weights")
    if per_slot.shape != (alike.shape[1],) or (per_slot < 0.0).any():
        raise RecordError(
            f"{alike.shape[1]} weights >= 0 are due, one per slot",
            code="range",
            field="weights",
            value=weights,
            hint="Leave them out where all slots weigh the same.",
        )
    return np.asarray(checks.within(penalty, "penalty", 0.0, _LARGEST) * ((alike - 1.0) @ per_slot))


def spreading(links: object, fans: object, *, strength: float = 1.6, total_weight: float = 1.0) -> FloatArray:
    """Return what spreads from the entities of a query to items that share them, sum_j W/m (S - ln fan_j), (n,) nats.

    The fan effect: an entity that many items share says less about each. Where the fan exceeds e^S an entity takes
    away from the items that have it; choose S above the ln of the largest fan where that is not wanted.

    Args:
        links: (n, m) bool, whether item i has entity j of the query.
        fans: (m,) whole numbers >= 1, how many items have entity j, of all items and not of the candidates only.
        strength: S, nats.
        total_weight: W, shared by the m entities evenly.

    Raises:
        RecordError: Shapes differ, or a fan is below 1.
    """
    has = np.asarray(links)
    counts = _nats(fans, "fans")
    if has.dtype != np.bool_ or has.ndim != 2 or counts.shape != (has.shape[1],):
        raise RecordError(
            "links are (n, m) booleans, fans (m,)",
            code="type",
            field="links",
            value=(has.dtype, has.shape, counts.shape),
            hint="One column per entity of the query.",
        )
    if (counts < 1.0).any():
        raise RecordError(
            "a fan is the number of items that have the entity, at least 1",
            code="range",
            field="fans",
            value=fans,
            hint="Leave out entities that no item has.",
        )
    if not counts.size:
        return np.zeros(len(has))
    per_entity = checks.within(total_weight, "total_weight", 0.0, _LARGEST) / counts.size
    return np.asarray(has @ (per_entity * (checks.within(strength, "strength", 0.0, _LARGEST) - np.log(counts))))


def _nats(values: object, field: str = "activations") -> FloatArray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or np.isnan(array).any() or (array == np.inf).any():
        raise RecordError(
            "numbers are due here", code="non_finite", field=field, value=values, hint="Remove what is NaN or text."
        )
    return array.astype(np.float64)
