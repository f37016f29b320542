"""Which examination to believe: the most trusted measurement whose evidence suffices, and whether to change to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final, Literal

import numpy as np

from dwell.records.arrays import FloatArray
from dwell.reward.examination import Examination, Fitted, HarvestSums, PositionBased
from dwell.reward.regression_em import ClickTable, regression_em

__all__ = ["Measured", "examination_after", "is_materially_different", "measure"]

_Z: Final = 1.959963984540054  # two-sided 95 %
_BAND_ETA: Final = 0.5  # assumed 1/k^eta: eta -+ 0.5; a convention: it spans the severities that the tests simulate
_COVERED: Final = 0.9  # positions that hold this share of clicks must be measured; deeper ones move little
_MIN_EFFECTIVE: Final = 100.0  # lists per pair; a convention, far below what 500 lists at tau 0.3 give
_MAX_RELATIVE: Final = 0.25  # standard error of log theta; like the line above a convention, met at 2,000 lists
_MIN_GROUPS: Final = 50  # errors by group are too small below 20 to 50 of them: Cameron and Miller 2015, section VI
_BAND_PSEUDO_CLICKS: Final = 1.0  # a band must not be drawn towards the assumption that it is compared with
_LEVEL: Final = 0.01  # of one look: a loop looks more than once
_MATTERS: Final = 0.1  # click-weighted mean change of log theta: less is not worth computing exposures anew


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The examination to use, where it comes from, and how sure it is.

    Attributes:
        examination: What to compute with.
        source: How it was found; "assumed" was not measured.
        reasons: In words, why each more trusted way was passed over, and what to know of this one.
        low: float64 (k,), lower end of pointwise 95 % bands of theta; for "assumed", 1/k^(eta + 0.5).
        high: float64 (k,), upper end; for "assumed", 1/k^(eta - 0.5), which is a convention and no confidence.
        sums: What it was measured from, where the source is "harvest" or "swaps".
        ends: float64 (k,) each, what a verdict must not depend on: both ends of the band, and for "regression_em" those
            of the assumed one as well.
    """

    examination: Examination
    source: Literal["harvest", "swaps", "regression_em", "assumed"]
    reasons: tuple[str, ...]
    low: FloatArray
    high: FloatArray
    sums: HarvestSums | None = None
    ends: tuple[FloatArray, ...] = ()

    @property
    def is_assumed(self) -> bool:
        """Whether nobody measured it."""
        return self.source == "assumed"


def measure(
    assumed: PositionBased,
    k: int,
    *,
    harvested: HarvestSums | None = None,
    swaps: HarvestSums | None = None,
    table: ClickTable | None = None,
) -> Measured:
    """Return the most trusted examination whose evidence suffices: harvest, swaps, regression-EM, the assumed one.

    Evidence suffices when, over the positions that hold 90 % of clicks, each pair has at least 100 effective lists and
    log theta a standard error of at most 0.25.

    Args:
        assumed: What stands when nothing was measured.
        k: Number of positions of the bands.
        harvested: Sums over unaltered lists that Plackett-Luce drew.
        swaps: Sums of `swap_sums`.
        table: Clicks with features. Nothing in them says whether features express relevance, which regression-EM
            assumes: its band holds that of the assumed examination as well.

    Raises:
        ConfigError: k is not in [1, 10000].
        EvaluationError: `table` is malformed.
    """
    prior = assumed.theta(k)
    reasons: list[str] = []
    for name, sums in (("harvest", harvested), ("swaps", swaps)):
        lacking = "no record" if sums is None else _lacking(sums)
        if sums is None or lacking:
            reasons.append(f"{name}: {lacking}")
            continue
        source: Literal["harvest", "swaps"] = "harvest" if name == "harvest" else "swaps"
        fitted = sums.fitted(source=source)
        centre, error = sums.chain(_BAND_PSEUDO_CLICKS)
        return _banded(fitted, reasons, np.minimum(centre, 1.0), error, k, sums)
    band = np.arange(1, k + 1, dtype=np.float64) ** -_BAND_ETA
    low, high = prior * band, np.minimum(prior / band, 1.0)
    lacking = "no table" if table is None else _lacking_in_table(table)
    if table is not None and not lacking:
        fitted = regression_em(table)
        values = np.array(fitted.values)
        error = np.array(fitted.se) / values
        worst = float(error[: _n_holding(_clicks_of(table, len(values)))].max())
        if worst <= _MAX_RELATIVE:
            reasons.append("regression_em: biased where features do not express relevance, which no log can tell")
            found = _banded(fitted, reasons, values, error, k, None)
            widest = np.minimum(found.low, low), np.maximum(found.high, high)
            return replace(found, low=widest[0], high=widest[1], ends=(*widest, low, high))
        lacking = f"a standard error of {worst:.2f} of theta, above {_MAX_RELATIVE}"
    reasons.append(f"regression_em: {lacking}")
    reasons.append(f"assumed: 1/k^{assumed.eta:g}, measured by nobody")
    return Measured(assumed, "assumed", tuple(reasons), low, high, ends=(low, high))


def is_materially_different(current: Examination, measured: Measured) -> bool:
    """Return whether to replace the examination in force, which means computing every exposure anew.

    Both must hold. (1) Chance does not explain the difference: under the theta in force, the weighted clicks of each
    pair obey E[theta_{j+1} u_j - theta_j l_j] = 0, tested jointly over the pairs that hold 90 % of clicks by chi-square
    at 1 % (the errors of a measured theta in force are added). (2) It matters: the click-weighted mean of
    |log theta - log theta in force| is above 0.1. For regression-EM, (1) is a z-test per position, Bonferroni at 1 %.
    An assumed theta never replaces anything.
    """
    if measured.is_assumed:
        return False
    k = len(measured.low)
    sums = measured.sums
    clicks = np.ones(k) if sums is None else _fit_length(sums.clicks, k)
    if k < 2 or clicks.sum() == 0.0:
        return False
    now, new = current.theta(k), measured.examination.theta(k)
    gap = np.abs(np.log(new) - np.log(now))
    if float(gap @ clicks / clicks.sum()) <= _MATTERS:
        return False
    known = np.zeros(k)  # squared relative errors of the theta in force
    if isinstance(current, Fitted):
        relative = np.array(current.se) / np.array(current.values)
        known[: len(relative)] = relative[:k] ** 2
    if sums is None:
        own = (np.log(measured.high) - np.log(measured.low)) / (2.0 * _Z)
        z = NormalDist().inv_cdf(1.0 - _LEVEL / (2.0 * (k - 1)))
        return bool((gap[1:] > z * np.sqrt(own[1:] ** 2 + known[1:])).any())
    return _is_beyond_chance(sums, now, known)


def examination_after(current: Examination, measured: Measured) -> Examination:
    """Return what to compute with after a measurement: the measured examination where it differs materially.

    Regression-EM takes over nothing: whether features express relevance, which it assumes, no log can tell. What it
    finds widens the band, so that a proposal which stands on the assumed examination alone waits.

    Args:
        current: The examination in force.
        measured: What was found since.
    """
    is_trusted = measured.source in {"harvest", "swaps"}
    return measured.examination if is_trusted and is_materially_different(current, measured) else current


def _is_beyond_chance(sums: HarvestSums, theta: FloatArray, known: FloatArray) -> bool:
    m, n = min(_n_covered(sums), len(theta)) - 1, len(sums.upper)
    above, below = theta[:m], theta[1 : m + 1]
    drift = below * sums.upper[:m] - above * sums.lower[:m]
    to_drift = np.zeros((m, 2 * n))
    to_drift[np.arange(m), np.arange(m)] = below
    to_drift[np.arange(m), n + np.arange(m)] = -above
    variance = to_drift @ sums.products @ to_drift.T
    scale = (below * sums.upper[:m]) ** 2
    variance += np.diag(scale * (known[:m] + known[1 : m + 1]))
    rank = int(np.linalg.matrix_rank(variance, hermitian=True))
    if rank == 0:
        return False
    statistic = float(drift @ np.linalg.pinv(variance, hermitian=True) @ drift)
    return _chi_square_tail(statistic, rank) < _LEVEL


def _chi_square_tail(x: float, df: int) -> float:
    """Return P(chi-square with `df` degrees > x), by the finite sums of Abramowitz and Stegun, 26.4.4-5."""
    if x <= 0.0:
        return 1.0
    half, is_odd = x / 2.0, df % 2
    tail = math.erfc(math.sqrt(half)) if is_odd else 0.0
    for i in range(df // 2):
        power = i + 0.5 * is_odd
        tail += math.exp(power * math.log(half) - half - math.lgamma(power + 1.0))
    return tail


def _n_covered(sums: HarvestSums) -> int:
    """Return how many positions from the top hold 90 % of clicks, at least 2 where there are two."""
    return _n_holding(sums.clicks)


def _n_holding(clicks: FloatArray) -> int:
    held = np.cumsum(clicks)
    count = int(np.searchsorted(held, _COVERED * held[-1])) + 1
    return min(max(count, 2), len(held))


def _lacking_in_table(table: ClickTable) -> str:
    """Return why nothing can be read from a table, in words; nothing if it can be tried."""
    clicks = _clicks_of(table, 2)
    if not (clicks[: _n_holding(clicks)] > 0.0).all():
        return "a position without a click"
    n = len(np.unique(np.asarray(table.groups))) if table.groups is not None else len(np.asarray(table.clicks))
    return f"{n} users and queries, below {_MIN_GROUPS}" if n < _MIN_GROUPS else ""


def _clicks_of(table: ClickTable, k: int) -> FloatArray:
    at = np.maximum(np.asarray(table.positions, dtype=np.int64) - 1, 0)
    found: FloatArray = np.bincount(at, np.asarray(table.clicks, dtype=np.float64), k).astype(np.float64)
    return found


def _lacking(sums: HarvestSums) -> str:
    """Return what the evidence lacks, in words; nothing if it suffices."""
    n = _n_covered(sums)
    if len(sums.clicks) < 2 or sums.clicks.sum() == 0.0:
        return "no click on a list of two or more"
    fewest = float(sums.n_effective[: n - 1].min())
    if fewest < _MIN_EFFECTIVE:
        return f"{fewest:.0f} effective lists at the weakest pair, below {_MIN_EFFECTIVE:.0f}"
    error = float(sums.chain(_BAND_PSEUDO_CLICKS)[1][:n].max())
    return f"a standard error of {error:.2f} of theta, above {_MAX_RELATIVE}" if error > _MAX_RELATIVE else ""


def _banded(
    fitted: Fitted,
    reasons: list[str],
    centre: FloatArray,
    error: FloatArray,
    k: int,
    sums: HarvestSums | None,
) -> Measured:
    """Bands on log theta around the estimate without its pull, widened to hold it; [0, 1] beyond the table."""
    n = min(k, len(centre))
    values = np.array(fitted.values)[:n]
    low, high = np.full(k, np.finfo(np.float64).tiny), np.ones(k)
    low[:n] = np.minimum(centre[:n] * np.exp(-_Z * error[:n]), values)
    high[:n] = np.clip(np.maximum(centre[:n] * np.exp(_Z * error[:n]), values), 0.0, 1.0)
    return Measured(fitted, fitted.source, tuple(reasons), low, high, sums, ends=(low, high))


def _fit_length(values: FloatArray, k: int) -> FloatArray:
    fitted: FloatArray = np.pad(values[:k], (0, max(k - len(values), 0)))
    return fitted
