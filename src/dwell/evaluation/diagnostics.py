"""Does the log deserve trust, and does the estimate rest on enough of it? Each check is one finding with its remedy.

Source: Kish 1965 (effective sample size); Owen 2013, "Monte Carlo theory, methods and examples", section 9.3 (weights
average 1). `docs/diagnostics.md` has a row for each check.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from dwell.errors import EvaluationError
from dwell.evaluation.judging import kish
from dwell.records.arrays import FloatArray, IntArray

__all__ = [
    "Finding",
    "Severity",
    "agreement",
    "click_fit",
    "click_fit_of",
    "graded",
    "mass_share",
    "mean_weight",
    "split_half_finding",
    "weight_concentration",
    "z_of_mean",
]

Severity = Literal["ok", "warn", "fail"]
Family = Literal["exposure", "item_position", "prefix", "list"]
Mass = Literal["clipped", "unsupported"]

MAX_Z: Final = 3.0  # two-sided 0.27 % of sound logs
_MIN_ESS: Final[dict[str, float]] = {"exposure": 0.2, "item_position": 0.1, "prefix": 0.1, "list": 0.01}
_MAX_SHARE: Final = 0.05  # one event that carries more decides the estimate
_MASS: Final[dict[str, float]] = {"clipped": 0.05, "unsupported": 0.10}
_FEW: Final = 2  # a variance needs two values


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        code: Name of the check.
        severity: "ok", "warn" (read the estimate with care) or "fail" (do not read it).
        value: What was measured.
        threshold: Where "ok" ends.
        words: What was found, for a person.
        remedy: What to do about it; empty where nothing is to be done.
    """

    code: str
    severity: Severity
    value: float
    threshold: float
    words: str
    remedy: str


def graded(code: str, severity: Severity, value: float, threshold: float, words: str, remedy: str) -> Finding:
    """Return a finding that names its remedy only where something is wrong."""
    return Finding(
        code=code,
        severity=severity,
        value=value,
        threshold=threshold,
        words=words,
        remedy="" if severity == "ok" else remedy,
    )


def _checked(values: FloatArray, field: str, *, low: float = -math.inf) -> FloatArray:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size < _FEW or not np.isfinite(x).all() or x.min() < low:
        raise EvaluationError(
            f"a check needs at least two finite numbers, none below {low:g}", field=field, value=x.shape
        )
    return x


def z_of_mean(x: FloatArray, expected: float) -> float:
    """Return how many standard errors the mean of (n,) independent values is from `expected`; 0 where both agree."""
    gap = float(x.mean()) - expected
    error = float(x.std(ddof=1)) / math.sqrt(x.size)
    if error > 0.0:
        return gap / error
    return 0.0 if abs(gap) <= 1e-9 else math.copysign(math.inf, gap)  # rounding of a mean of equal values


def weight_concentration(weights: FloatArray, family: Family) -> tuple[Finding, Finding]:
    """Return what share of the events the weights are worth (Kish), and how much the heaviest event carries.

    Args:
        weights: (n,) one weight an event, >= 0, n >= 2.
        family: What the weights correct for; the threshold depends on it.
    """
    w = _checked(weights, "weights", low=0.0)
    share = kish(w) / w.size
    heaviest = float(w.max() / w.sum()) if w.sum() > 0.0 else 1.0
    least = _MIN_ESS[family]
    return (
        graded(
            f"{family}_ess",
            "ok" if share >= least else "fail",
            share,
            least,
            f"{w.size} events are worth {share:.1%} of themselves",
            "Judge a proposal closer to the logging policy, explore with a higher temperature, or collect more events.",
        ),
        graded(
            f"{family}_max_share",
            "ok" if heaviest < _MAX_SHARE else "warn",
            heaviest,
            _MAX_SHARE,
            f"the heaviest event carries {heaviest:.1%} of the weight",
            "Collect more events or clip the weights: a single event decides this estimate.",
        ),
    )


def mass_share(share: float, kind: Mass) -> Finding:
    """Return whether too much of the weights was clipped, or of the proposal's exposure unsupported.

    Args:
        share: In [0, 1].
        kind: "clipped" or "unsupported".
    """
    if not 0.0 <= share <= 1.0:
        raise EvaluationError("a share lies in [0, 1]", field="share", value=share)
    most = _MASS[kind]
    remedy = {
        "clipped": "The estimate is biased towards the logging policy: propose a smaller step or explore more.",
        "unsupported": "Documents that were hardly ever shown would be: explore with a higher temperature.",
    }[kind]
    return graded(f"{kind}_mass", "ok" if share < most else "warn", share, most, f"{share:.1%} is {kind}", remedy)


def mean_weight(weights: FloatArray) -> Finding:
    """Return whether importance weights average 1, as they do where the propensities are those of the draws.

    Args:
        weights: (n,) target probability over logged propensity, independent between events; choose a target that the
            logging policy covers with bounded weights, or the normal approximation is poor.
    """
    w = _checked(weights, "weights", low=0.0)
    z = z_of_mean(w, 1.0)
    return graded(
        "mean_weight",
        "ok" if abs(z) <= MAX_Z else "fail",
        z,
        MAX_Z,
        f"importance weights average {w.mean():.4f}, {z:+.1f} standard errors from 1",
        "The logged propensities are not those of the draws: check temperature, version and what follows the ranking.",
    )


def click_fit(clicks: FloatArray, expected: FloatArray, rank: IntArray) -> tuple[Finding, ...]:
    """Return one finding per rank: observed clicks over those the click model expects.

    The standard error is binomial, by the model's own variance; the threshold is split over the ranks.

    Args:
        clicks: (n,) 0 or 1.
        expected: (n,) examination times predicted relevance, in [0, 1].
        rank: (n,) 1-based.
    """
    c, e = _checked(clicks, "clicks", low=0.0), _checked(expected, "expected", low=0.0)
    r = np.asarray(rank)
    if not c.shape == e.shape == r.shape or e.max() > 1.0 or c.max() > 1.0:
        raise EvaluationError("clicks and expected clicks are equally many numbers in [0, 1]", field="expected")
    ranks = np.unique(r)
    here = [r == k for k in ranks]
    return click_fit_of(
        ranks,
        np.array([c[at].sum() for at in here]),
        np.array([e[at].sum() for at in here]),
        np.array([(e[at] * (1.0 - e[at])).sum() for at in here]),
    )


def click_fit_of(ranks: IntArray, observed: FloatArray, hoped: FloatArray, variance: FloatArray) -> tuple[Finding, ...]:
    """Return what `click_fit` does, from sums over the documents of each rank, (m,) each.

    Args:
        ranks: 1-based, different.
        observed: Clicks.
        hoped: Clicks expected.
        variance: Sum of expected (1 - expected).
    """
    most = (
        MAX_Z + math.log(ranks.size) / MAX_Z
    )  # the normal tail is about exp(-z^2 / 2): holds the whole table at MAX_Z
    found = []
    for k, seen, due, spread in zip(ranks.tolist(), observed.tolist(), hoped.tolist(), variance.tolist(), strict=True):
        error = math.sqrt(spread)
        gap = seen - due
        z = gap / error if error > 0.0 else (0.0 if gap == 0.0 else math.copysign(math.inf, gap))
        found.append(
            graded(
                f"click_fit_{k}",
                "ok" if abs(z) <= most else "warn",
                z,
                most,
                f"rank {k}: {seen:.0f} clicks, {due:.1f} expected ({z:+.1f} standard errors)",
                "Measure examination again; until then trust the prefix estimate more than the exposure estimate.",
            )
        )
    return tuple(found)


def agreement(first: FloatArray, second: FloatArray) -> Finding:
    """Return whether two estimates under different assumptions agree on the same events.

    Args:
        first: (n,) contributions of each event to one estimate.
        second: (n,) to the other, paired.
    """
    a, b = _checked(first, "first"), _checked(second, "second")
    if a.shape != b.shape:
        raise EvaluationError("paired estimates have one contribution an event", field="second", value=b.shape)
    z = z_of_mean(a - b, 0.0)
    return graded(
        "agreement",
        "ok" if abs(z) <= MAX_Z else "warn",
        z,
        MAX_Z,
        f"the estimates are {float((a - b).mean()):+.4f} apart, {z:+.1f} standard errors",
        "One of the assumptions fails: check the click fit, and let a canary decide.",
    )


def split_half_finding(estimated: FloatArray, observed: FloatArray) -> Finding:
    """Return whether an estimator gives the logging policy, on half of a log, the value that the other half shows.

    Sees logged exposures or propensities that are not those of the policy that logged, and predictions that do not fit
    the examination. It does not see an examination that is wrong in the logged and in the target exposure alike: the
    two cancel where the target is the logger. Where nothing was fitted, `agreement` on the same events is sharper.

    Args:
        estimated: (m,) contributions of the events of one half to the estimate, the target being the logging policy;
            whatever the estimator was fitted to comes from this half.
        observed: (n,) reward of each list of the other half, in the same unit.
    """
    a, b = _checked(estimated, "estimated"), _checked(observed, "observed")
    gap = float(a.mean() - b.mean())
    error = math.sqrt(float(a.var(ddof=1)) / a.size + float(b.var(ddof=1)) / b.size)
    sure = 0.0 if abs(gap) <= 1e-9 else math.copysign(math.inf, gap)  # rounding of a mean of equal values
    z = gap / error if error > 0.0 else sure
    return graded(
        "split_half",
        "ok" if abs(z) <= MAX_Z else "fail",
        z,
        MAX_Z,
        f"the log's own policy is estimated {gap:+.4f} off what it earned, {z:+.1f} standard errors",
        "The logged exposures are not those of the policy that served: compute them anew; measure examination again.",
    )
