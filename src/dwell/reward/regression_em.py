r"""Examination and relevance fitted together to clicks by expectation-maximisation: the last resort before assuming.

P(click) = theta_k * g(x), g a logistic regression. Given a list without a click, the E-step says who looked and what
was relevant; the M-step averages the one per position and regresses the other on features. It needs no randomness, and
pays for that: where g can not express relevance, the part that it misses and that goes with the rank is booked as
examination. Where queries do not repeat, nothing in the data corrects it: it was biased in our simulations.

Source: Wang, Golbandi, Bendersky, Metzler, Najork, WSDM 2018, section 4 (regression-EM; here logistic, not trees).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.errors import EvaluationError
from dwell.records.arrays import FloatArray, IntArray
from dwell.reward.examination import Fitted

__all__ = ["ClickTable", "regression_em"]

_ROUNDS: Final = 200  # EM is slow near its end; it stops earlier once theta moves by less than _STILL
_STILL: Final = 1e-5
_RIDGE: Final = 1.0  # on standardised features: a prior of variance 1 per coefficient
_FLOOR: Final = 1e-6  # theta and g stay off 0 and 1, where the E-step divides by zero


class ClickTable(NamedTuple):
    """Shown documents, one a row.

    Attributes:
        clicks: float or bool (m,), 0 or 1.
        positions: int (m,), from 1.
        features: float (m, f), features or predicted relevance; no constant is needed.
        groups: int (m,), who looked (the user, else the query), or None: what one of them does is not independent.
    """

    clicks: npt.ArrayLike
    positions: npt.ArrayLike
    features: npt.ArrayLike
    groups: npt.ArrayLike | None = None


def regression_em(table: ClickTable) -> Fitted:
    """Return the examination of positions 1 to the largest, relative to the first, by regression-EM.

    Standard errors are those of maximum likelihood with both parts unknown (Fisher's information); with groups, those
    of resampling whole groups where they are larger, in the limit of many resamples, which needs no draw (the
    sandwich). They hold the noise and not the bias of a relevance model that is wrong.

    Source of the errors: Liang and Zeger 1986; Cameron and Miller 2015, "A practitioner's guide to cluster-robust
    inference" (the factor G / (G - 1), and the pairs cluster bootstrap that this is the limit of).

    Raises:
        EvaluationError: Shapes differ, a value is out of its range, or a position up to the largest has no row.
    """
    c, position, x, groups = _checked(table)
    k = int(position.max()) + 1
    counts = np.bincount(position, minlength=k).astype(np.float64)
    spread = x.std(axis=0)
    x = np.hstack([np.ones((len(x), 1)), (x - x.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)])
    theta = 1.0 / np.arange(1, k + 1, dtype=np.float64)
    beta = np.zeros(x.shape[1])
    beta[0] = -1.0
    for _ in range(_ROUNDS):
        g, seen = _relevance(x, beta), theta[position]
        missed = np.maximum(1.0 - seen * g, _FLOOR)
        looked = c + (1.0 - c) * seen * (1.0 - g) / missed
        relevant = c + (1.0 - c) * g * (1.0 - seen) / missed
        beta = _newton(x, relevant, g, beta)
        moved = np.clip(np.bincount(position, looked, k) / counts, _FLOOR, 1.0)
        moved[0] = 1.0  # it started at 1, where EM stays but for rounding: the scale is not identified, g takes it
        is_still = np.abs(moved - theta).max() < _STILL
        theta = moved
        if is_still:
            break
    se = theta * _log_errors(c, x, _relevance(x, beta), theta, position, groups)
    return Fitted(tuple(theta.tolist()), tuple(se.tolist()), int(counts[0]), source="regression_em")


def _relevance(x: FloatArray, beta: FloatArray) -> FloatArray:
    g: FloatArray = np.clip(1.0 / (1.0 + np.exp(-np.clip(x @ beta, -30.0, 30.0))), _FLOOR, 1.0 - _FLOOR)
    return g


def _newton(x: FloatArray, target: FloatArray, g: FloatArray, beta: FloatArray) -> FloatArray:
    ridge = np.full(len(beta), _RIDGE)
    ridge[0] = _FLOOR
    hessian = (x * (g * (1.0 - g))[:, None]).T @ x + np.diag(ridge)
    moved: FloatArray = beta + np.linalg.solve(hessian, x.T @ (target - g) - ridge * beta)
    return moved


def _log_errors(
    c: FloatArray, x: FloatArray, g: FloatArray, theta: FloatArray, position: IntArray, groups: IntArray | None
) -> FloatArray:
    """Return float64 (k,), standard errors of log theta, the first 0: from the information of (log theta, beta)."""
    k = len(theta)
    rate = np.minimum(theta[position] * g, 1.0 - _FLOOR)
    slope = np.hstack([np.eye(k)[position][:, 1:], (1.0 - g)[:, None] * x])
    information = (slope * (rate / (1.0 - rate))[:, None]).T @ slope
    inverse = np.linalg.pinv(information, hermitian=True)
    variance = np.diag(inverse)[: k - 1]
    if groups is not None:
        n_groups = int(groups.max()) + 1
        scores = np.zeros((n_groups, slope.shape[1]))
        np.add.at(scores, groups, slope * ((c - rate) / (1.0 - rate))[:, None])
        moved = (scores @ inverse)[:, : k - 1]
        variance = np.maximum(variance, (moved**2).sum(axis=0) * n_groups / (n_groups - 1))
    errors: FloatArray = np.concatenate([[0.0], np.sqrt(np.maximum(variance, 0.0))])
    return errors


def _checked(table: ClickTable) -> tuple[FloatArray, IntArray, FloatArray, IntArray | None]:
    c = np.asarray(table.clicks, dtype=np.float64)
    position = np.asarray(table.positions)
    x = np.asarray(table.features, dtype=np.float64)
    if c.ndim != 1 or len(c) == 0 or position.shape != c.shape or x.ndim != 2 or len(x) != len(c):
        raise EvaluationError(
            "clicks and positions are (m,) and features (m, f)",
            field="table",
            value=(c.shape, position.shape, x.shape),
            hint="One row per shown document.",
        )
    if not ((c == 0.0) | (c == 1.0)).all() or not np.isfinite(x).all():
        raise EvaluationError("clicks are 0 or 1 and features finite", field="table", hint="Threshold graded rewards.")
    if position.dtype.kind not in "iu" or position.min() < 1 or position.max() > len(c):
        raise EvaluationError("positions are integers from 1", field="positions", hint="Count from 1.")
    if (np.bincount(position)[1:] == 0).any():
        raise EvaluationError("a position has no row", field="positions", hint="Cut the table at the gap.")
    groups: IntArray | None = None
    if table.groups is not None:
        given = np.asarray(table.groups)
        if given.shape != c.shape or given.dtype.kind not in "iu":
            raise EvaluationError(
                "groups are integers (m,)", field="groups", value=given.shape, hint="Number users, or queries."
            )
        groups = np.unique(given, return_inverse=True)[1].astype(np.int64)
        if groups.max() == 0:
            raise EvaluationError(
                "one group says nothing of what groups differ by", field="groups", value=1, hint="Pass two or more."
            )
    return c, position.astype(np.int64) - 1, x, groups
