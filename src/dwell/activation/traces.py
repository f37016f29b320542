r"""Multi-timescale traces: what is kept of a history, and the arithmetic on it.

The state of one channel of one item is an instant, `last_us`, and S (K,), its sums as of that instant:

    S_k = sum_j amount_j e^(-rate_k (last - t_j)),        base level B(now) = ln sum_k w_k(d) S_k e^(-rate_k (now -
    last)).

Everything is linear in the events, therefore exact: an event older than `last_us` is decayed to `last_us` before it is
added, a retraction subtracts what the event had become, two shards are added at the later of their instants. Nothing
here knows d.

Arrays may have any leading shape: S is (..., K), instants are (...), one for all channels of an item.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dwell.activation.instants import US_PER_S
from dwell.activation.ladder import Ladder
from dwell.records.arrays import FloatArray, IntArray

__all__ = ["ROUNDING", "added", "base_level", "decayed", "factors", "masses", "merged", "retracted"]

# a sum of which this part of the amount taken away is left holds nothing but rounding: 2^-53 a few thousand times
ROUNDING: Final = 1e-12


def decayed(traces: FloatArray, elapsed_us: IntArray | int, ladder: Ladder) -> FloatArray:
    """Return traces as of an instant `elapsed_us` later, (..., K).

    Args:
        traces: (..., K).
        elapsed_us: (...) microseconds, >= 0.
        ladder: Its rates.
    """
    faded: FloatArray = traces * factors(elapsed_us, ladder)
    return faded


def factors(elapsed_us: IntArray | int, ladder: Ladder) -> FloatArray:
    """Return what is left of each sum after so many microseconds, (..., K) in [0, 1]."""
    seconds = np.asarray(elapsed_us, dtype=np.float64) / US_PER_S
    factors: FloatArray = np.exp(-seconds[..., None] * ladder.rates)
    return factors


def added(
    traces: FloatArray, last_us: IntArray | int, at_us: IntArray | int, amounts: FloatArray | float, ladder: Ladder
) -> tuple[FloatArray, IntArray]:
    """Return traces and instants with one more event each, in whatever order events come.

    Args:
        traces: (..., K) as of `last_us`.
        last_us: (...) instants of the traces.
        at_us: (...) instant of the event.
        amounts: (...) what the event adds to each sum, >= 0.
        ladder: Its rates.
    """
    last, at = np.asarray(last_us, dtype=np.int64), np.asarray(at_us, dtype=np.int64)
    newest = np.maximum(last, at)
    grown = decayed(traces, newest - last, ladder)
    grown += np.asarray(amounts, dtype=np.float64)[..., None] * factors(newest - at, ladder)
    return grown, newest


def retracted(
    traces: FloatArray, last_us: IntArray | int, at_us: IntArray | int, amounts: FloatArray | float, ladder: Ladder
) -> FloatArray:
    """Return traces without an event that was added before, (..., K) >= 0, at the instants they had.

    Where nothing but rounding is left the traces are zero exactly.

    Args:
        traces: (..., K) as of `last_us`.
        last_us: (...) instants of the traces, >= `at_us`.
        at_us: (...) instant of the event.
        amounts: (...) what it had added, >= 0.
        ladder: Its rates.
    """
    taken = np.asarray(amounts, dtype=np.float64)[..., None]
    elapsed = np.asarray(last_us, dtype=np.int64) - np.asarray(at_us, dtype=np.int64)
    left: FloatArray = np.maximum(traces - taken * factors(elapsed, ladder), 0.0)
    # the first rate is 0: its sum is the plain sum of amounts
    left[left[..., 0] <= ROUNDING * taken[..., 0]] = 0.0
    return left


def merged(
    one: FloatArray, one_us: IntArray | int, other: FloatArray, other_us: IntArray | int, ladder: Ladder
) -> tuple[FloatArray, IntArray]:
    """Return traces and instants of two histories in one, as if every event had been added to the same.

    Args:
        one: (..., K) as of `one_us`.
        one_us: (...).
        other: (..., K) as of `other_us`, of other events.
        other_us: (...).
        ladder: Its rates.
    """
    a, b = np.asarray(one_us, dtype=np.int64), np.asarray(other_us, dtype=np.int64)
    newest = np.maximum(a, b)
    return decayed(one, newest - a, ladder) + decayed(other, newest - b, ladder), newest


def masses(traces: FloatArray, elapsed_us: IntArray | int, decay: float, ladder: Ladder) -> FloatArray:
    """Return sum_j amount_j K(age_j), (...), K the ladder's kernel at this decay: t^-d within its bound.

    Args:
        traces: (..., K).
        elapsed_us: (...) since their instants; what is negative counts as 0, since no age is.
        decay: d in [0.1, 0.9].
        ladder: Its rates and weights.

    Raises:
        RecordError: The decay is outside its range.
    """
    elapsed = np.maximum(np.asarray(elapsed_us, dtype=np.int64), 0)
    found: FloatArray = (traces * factors(elapsed, ladder)) @ ladder.weights(decay)
    return found


def base_level(traces: FloatArray, elapsed_us: IntArray | int, decay: float, ladder: Ladder) -> FloatArray:
    """Return B = ln sum_j amount_j age_j^-d in nats, ages in seconds, (...); -inf where there is no event.

    Within `ladder.bound_nats` of the exact value for any history with ages of 60 s to 10 years. Below 60 s the kernel
    saturates: one access at age 0 has B = -1.5 at d = 0.5, where the power law has no value.

    Args:
        traces: (..., K).
        elapsed_us: (...) since their instants.
        decay: d in [0.1, 0.9].
        ladder: Its rates and weights.

    Raises:
        RecordError: The decay is outside its range.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(masses(traces, elapsed_us, decay, ladder)))
