"""Whether clicks look like the examination that is in force: it falls with the rank, and it predicts clicks."""

from __future__ import annotations

from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.errors import EvaluationError
from dwell.records.arrays import FloatArray
from dwell.reward.examination import Examination, HarvestSums

__all__ = ["Calibration", "Finding", "calibration", "monotone_findings"]

_LEVEL: Final = 0.01  # over all pairs together (Bonferroni): a finding stops somebody's work
_Z: Final = 1.959963984540054  # two-sided 95 %


class Finding(NamedTuple):
    """Something wrong, in words.

    Attributes:
        code: "rises".
        words: What was seen, with its numbers.
        remedy: What to look at.
    """

    code: str
    words: str
    remedy: str


class Calibration(NamedTuple):
    """Observed over expected clicks per position, NaN where none is expected; pointwise 95 % intervals.

    Attributes:
        ratio: float64 (k,), 1 where the model predicts well.
        low: float64 (k,), lower end.
        high: float64 (k,), upper end.
    """

    ratio: FloatArray
    low: FloatArray
    high: FloatArray


def monotone_findings(sums: HarvestSums) -> tuple[Finding, ...]:
    """Return a finding per adjacent pair whose lower position is looked at more, beyond chance (1 % over all pairs)."""
    m = len(sums.upper)
    own = np.diag(sums.products)
    cross = np.diag(sums.products[:m, m:])
    deviation = np.sqrt(np.maximum(own[:m] + own[m:] - 2.0 * cross, 0.0))
    limit = NormalDist().inv_cdf(1.0 - _LEVEL / max(m, 1))
    found = np.flatnonzero((sums.lower - sums.upper > limit * deviation) & (sums.lower > 0.0))
    return tuple(
        Finding(
            "rises",
            f"position {j + 2} is looked at more than position {j + 1}: {sums.lower[j]:.0f} weighted clicks"
            f" against {sums.upper[j]:.0f}",
            "Check that positions are logged as shown; if so, users do not read from the top (a grid, a carousel).",
        )
        for j in found.tolist()
    )


def calibration(examination: Examination, predicted: npt.ArrayLike, clicks: npt.ArrayLike) -> Calibration:
    """Return observed / expected clicks per position, where theta_k * predicted relevance is expected.

    The error is that of a ratio of sums over lists (delta method); the prediction counts as given.

    Args:
        examination: The model in force.
        predicted: float (n, k), predicted relevance in [0, 1] of what was shown; NaN beyond a list's end.
        clicks: float or bool (n, k), clicks in [0, 1]; ignored where `predicted` is NaN.

    Raises:
        EvaluationError: Shapes differ or a value is out of its range.
    """
    r, c = np.asarray(predicted, dtype=np.float64), np.asarray(clicks, dtype=np.float64)
    if r.ndim != 2 or r.shape != c.shape or r.shape[1] < 1:
        raise EvaluationError(
            "predictions and clicks are both (n, k)", field="clicks", value=(r.shape, c.shape), hint="Pad with NaN."
        )
    is_shown = ~np.isnan(r)
    for name, values in (("predicted", r[is_shown]), ("clicks", c[is_shown])):
        if not ((values >= 0.0) & (values <= 1.0)).all():
            raise EvaluationError(f"{name}: a value is in [0, 1]", field=name, hint="Pass probabilities and clicks.")
    hoped = np.where(is_shown, r, 0.0) * examination.theta(r.shape[1])
    seen = np.where(is_shown, c, 0.0)
    expected = hoped.sum(axis=0)
    has = expected > 0.0
    ratio = np.divide(seen.sum(axis=0), expected, out=np.full(len(expected), np.nan), where=has)
    squares = ((seen - np.where(has, ratio, 0.0) * hoped) ** 2).sum(axis=0)
    half = np.divide(_Z * np.sqrt(squares), expected, out=np.full(len(expected), np.nan), where=has)
    return Calibration(ratio, np.maximum(ratio - half, 0.0), ratio + half)
