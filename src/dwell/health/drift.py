"""Whether what came lately is distributed as before: PSI says how much, a KS test whether it may be chance."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from dwell.records.arrays import FloatArray

__all__ = ["Drift", "drift_of", "kolmogorov_smirnov", "population_stability_index", "split_newest"]

MIN_NEWEST: Final = 100  # with fewer PSI is above 0.1 by chance alone: its mean is (bins - 1) (1 / n + 1 / m)
MAX_NEWEST: Final = 10_000  # beyond it the window is long, and the test no sharper
NEWEST_SHARE: Final = 0.1
MAX_REFERENCE: Final = 100_000  # the same on the other side: what is older says nothing of lately
MIN_ALL: Final = 1_000
BINS: Final = 10  # deciles, as Siddiqi has them


class Drift(NamedTuple):
    """How two samples differ.

    Attributes:
        psi: Population stability index, >= 0.
        ks: Largest distance of the two distribution functions, in [0, 1].
        p_value: Probability of such a distance where nothing has changed.
        change: Mean of the newest less that of the reference.
    """

    psi: float
    ks: float
    p_value: float
    change: float


def split_newest(values: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """Return the reference and the newest tenth of a series; None below 1,000 values.

    The newest are 100 to 10,000 values, the reference up to 100,000 before these.

    Args:
        values: (n,), oldest first.
    """
    if values.size < MIN_ALL:
        return None
    n = min(max(round(NEWEST_SHARE * values.size), MIN_NEWEST), MAX_NEWEST)
    return values[:-n][-MAX_REFERENCE:], values[-n:]


def drift_of(reference: FloatArray, newest: FloatArray) -> Drift:
    """Return how two samples differ, each of at least one finite value."""
    ks, p_value = kolmogorov_smirnov(reference, newest)
    psi = population_stability_index(reference, newest)
    return Drift(psi, ks, p_value, float(newest.mean() - reference.mean()))


def population_stability_index(reference: FloatArray, newest: FloatArray) -> float:
    """Return sum (q - p) ln(q / p) over the deciles of the reference, half an observation added to every bin.

    Equal deciles make one bin, as with rewards that are mostly 0; what is below or above all of the reference has bins
    of its own, and a bin without anything counts nothing.

    Source:
        Siddiqi 2006, "Credit Risk Scorecards": below 0.1 no change, above 0.25 a large one. Yurdakul 2018,
        "Statistical Properties of Population Stability Index": without a change it is (1 / n + 1 / m) chi2(bins - 1).
    """
    deciles = np.quantile(reference, np.arange(1, BINS + 1) / BINS, method="lower")
    edges = np.unique(np.append(deciles, np.nextafter(reference.min(), -np.inf)))
    counts = np.array(
        [np.bincount(np.searchsorted(edges, values), minlength=edges.size + 1) for values in (reference, newest)]
    )
    counts = counts[:, counts.any(axis=0)] + 0.5
    p, q = counts / counts.sum(axis=1, keepdims=True)
    return float((q - p) @ np.log(q / p))


def kolmogorov_smirnov(first: FloatArray, second: FloatArray) -> tuple[float, float]:
    """Return the two-sample statistic and its asymptotic p-value; with ties the test is conservative.

    Source:
        Kolmogorov's distribution with the correction of Stephens 1970, "Use of the Kolmogorov-Smirnov, Cramer-von
        Mises and Related Statistics without Extensive Tables".
    """
    both = np.unique(np.concatenate([first, second]))
    cdfs = [np.searchsorted(np.sort(values), both, side="right") / values.size for values in (first, second)]
    statistic = float(np.abs(cdfs[0] - cdfs[1]).max())
    root = math.sqrt(first.size * second.size / (first.size + second.size))
    scaled = (root + 0.12 + 0.11 / root) * statistic
    if scaled < 0.2:  # there the series needs hundreds of terms, and the probability is 1 to twelve digits
        return statistic, 1.0
    terms = [(-1) ** (j - 1) * math.exp(-2.0 * (j * scaled) ** 2) for j in range(1, 101)]
    return statistic, min(max(2.0 * math.fsum(terms), 0.0), 1.0)
