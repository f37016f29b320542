r"""Petrov's hybrid: the k latest accesses exactly, the older ones as if spread evenly.

    B = ln[ sum_{j <= k} a_j^-d + (n - k) (L^(1-d) - a_k^(1-d)) / ((1-d) (L - a_k)) ]

a_j is the AGE of the j-th latest access, L that of the first one; exact where n <= k. It costs k + 2 numbers an item
and has no bound on its error: 0.26 nats on average at k = 10 over histories that are not even, up to 1.8.

pyactup 2.2.5 puts the absolute TIME of the k-th latest access where a_k stands, so that its value depends on when the
clock was started; docs/activation.md shows it in six lines. This is the formula.

Source: Petrov, Computationally efficient approximation of the base-level learning equation in ACT-R, ICCM 2006.
"""

from __future__ import annotations

import numpy as np

from dwell.activation.exact import checked_ages, checked_exponent
from dwell.errors import RecordError
from dwell.records import checks

__all__ = ["DEFAULT_RECENT", "hybrid_base_level"]

DEFAULT_RECENT = 10  # Soar's choice; the error halves from k = 5 to k = 20


def hybrid_base_level(latest_ages_s: object, n_accesses: int, lifetime_s: float, decay: float = 0.5) -> float:
    """Return B in nats from the k latest accesses, how many there were, and the age of the first.

    Args:
        latest_ages_s: (k,) seconds, ascending, each > 0.
        n_accesses: n >= k, all accesses.
        lifetime_s: L, >= the oldest of the latest.
        decay: d in [0, 1).

    Raises:
        RecordError: An argument is out of its range, or they contradict each other.
    """
    ages, d = checked_ages(latest_ages_s, "latest_ages_s"), checked_exponent(decay)
    n = checks.positive_integer(n_accesses, "n_accesses")
    lifetime = float(checked_ages([lifetime_s], "lifetime_s")[0])
    if (np.diff(ages) < 0.0).any() or n < ages.size or lifetime < ages[-1]:
        raise RecordError(
            "the latest accesses, their number and the lifetime contradict each other",
            code="range",
            field="latest_ages_s",
            value=latest_ages_s,
            hint="Ages ascend, n_accesses counts them too, lifetime_s is the greatest age.",
        )
    total = float(np.sum(ages**-d))
    n_older, oldest = n - ages.size, float(ages[-1])
    if n_older:
        total += n_older * _mean_kernel(oldest, lifetime, d)
    return float(np.log(total))


def _mean_kernel(youngest_s: float, oldest_s: float, d: float) -> float:
    """Return the mean of t^-d over [youngest, oldest]; its limit where they are one."""
    if oldest_s <= youngest_s:
        return float(oldest_s**-d)
    span = oldest_s ** (1.0 - d) - youngest_s ** (1.0 - d)
    return float(span / ((1.0 - d) * (oldest_s - youngest_s)))
