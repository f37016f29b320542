r"""Choice among items and blending: the value that memory as a whole expects.

P_i = e^(A_i / T) / sum_j e^(A_j / T),    V = sum_i P_i v_i. T defaults to sqrt(2) s, at least 0.01.

Instance-based learning is this and nothing else: outcomes are items, the option with the highest blended value is
taken.

Source: Lebiere 1999 (blending); Gonzalez, Lerch and Lebiere 2003 (instance-based learning); as in pyactup 2.2.5.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dwell.activation.retrieval import DEFAULT_NOISE
from dwell.errors import RecordError
from dwell.records import checks
from dwell.records.arrays import FloatArray

__all__ = ["blended", "choice_probabilities", "default_temperature"]

MIN_TEMPERATURE: Final = 0.01  # pyactup's: below it the choice is the maximum in all but rounding


def default_temperature(s: float = DEFAULT_NOISE) -> float:
    """Return T = sqrt(2) s, at least 0.01.

    Raises:
        RecordError: s is negative.
    """
    return max(float(np.sqrt(2.0) * checks.within(s, "s", 0.0, 1e6)), MIN_TEMPERATURE)


def choice_probabilities(activations: object, temperature: float | None = None) -> FloatArray:
    """Return the probability that each item is the one recalled, (n,), sum 1.

    Args:
        activations: (n,) nats, n >= 1; -inf is never recalled, but not all may be.
        temperature: T >= 0.01; that of the default noise when not given.

    Raises:
        RecordError: There is no item with a finite activation, or the temperature is out of its range.
    """
    nats = np.asarray(activations)
    if nats.dtype.kind not in "fiu" or nats.ndim != 1 or not np.isfinite(nats).any() or np.isnan(nats).any():
        raise RecordError(
            "one or more activations are due, at least one of them finite",
            code="non_finite",
            field="activations",
            value=activations,
            hint="Leave out items without a history.",
        )
    t = default_temperature() if temperature is None else checks.within(temperature, "temperature", 0.01, 1e6)
    shares: FloatArray = np.exp((nats - nats.max()) / t)
    return np.asarray(shares / shares.sum())


def blended(values: object, activations: object, temperature: float | None = None) -> float:
    """Return V = sum_i P_i v_i.

    Args:
        values: (n,) finite numbers.
        activations: (n,) nats.
        temperature: As in `choice_probabilities`.

    Raises:
        RecordError: Shapes differ, a value is not finite, or as in `choice_probabilities`.
    """
    shares = choice_probabilities(activations, temperature)
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "fiu" or numbers.shape != shares.shape or not np.isfinite(numbers).all():
        raise RecordError(
            f"{shares.size} finite values are due, one per activation",
            code="non_finite",
            field="values",
            value=values,
            hint="Pass arrays of the same length.",
        )
    return float(shares @ numbers.astype(np.float64))
