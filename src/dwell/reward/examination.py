r"""Who looks where: the probability that a user examines each position, assumed or measured.

Under the position-based model P(click on d at k) = theta_k * r_d. `harvest` measures theta from the logger's own
randomness. Given everything else about a served list, Plackett-Luce put the documents at positions k and k+1 in the
order that was served, (a, b), rather than (b, a), with a probability that follows from the two logged propensities
p = P(a | above), p' = P(b | above, a) alone:

    P(a, b | rest) ~ p p',     P(b, a | rest) ~ p'(1-p) p / (1 - p'(1-p)),     q = P(a, b) / (P(a, b) + P(b, a)).

Weighing each list by w = min(q, 1-q) / q makes both orders equally frequent in expectation, so that both positions hold
the same documents equally often, and sum(w c_{k+1}) / sum(w c_k) estimates theta_{k+1} / theta_k without knowing any
relevance and without a query that repeats. w is at most 1; a deterministic list has q = 1 and weighs nothing.

Source: Joachims, Swaminathan, Schnabel, WSDM 2017 (swap interventions); Agarwal, Zaitsev, Wang, Li, Najork, Joachims,
WSDM 2019 (interventions harvested from logs, the adjacent chain). The conditional swap probability is ours.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from dwell.errors import ConfigError, EvaluationError, RecordError
from dwell.records import checks
from dwell.records.arrays import FloatArray

__all__ = [
    "MAX_POSITIONS",
    "PSEUDO_CLICKS",
    "Examination",
    "Fitted",
    "HarvestSums",
    "PositionBased",
    "Source",
    "harvest",
]

Source = Literal["harvest", "swaps", "regression_em"]

PSEUDO_CLICKS: Final = (
    30.0  # per adjacent pair, towards 1/k: recovered eta 1 and 0.5 in a simulated loop, see the tests
)
MAX_POSITIONS: Final = 10_000  # far beyond any list that is shown; a typing error must not allocate gigabytes


class Examination(Protocol):
    """Probability that a user looks at each position."""

    @property
    def version(self) -> str:
        """Name and numbers of the model: what is computed under another version is stale."""
        ...

    @property
    def is_assumed(self) -> bool:
        """Whether the numbers were assumed, rather than measured here."""
        ...

    def theta(self, k: int) -> FloatArray:
        """Return float64 (k,), the probability of examination of positions 1 to k, each in (0, 1].

        Raises:
            ConfigError: k is not in [1, 10000].
        """
        ...


@dataclass(frozen=True, slots=True)
class PositionBased:
    """The position-based model with theta_k = 1 / k^eta: a convention, not a measurement.

    Attributes:
        eta: Severity of the position bias, in [0, 4]; 0 looks everywhere, 1 is the usual assumption.

    Raises:
        ConfigError: eta is out of its range.

    Source: Joachims, Swaminathan, Schnabel, WSDM 2017, section 6 (eta in simulations).
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        try:
            eta = checks.within(self.eta, "eta", 0.0, 4.0)
        except RecordError as error:
            raise ConfigError(error.message, field="eta", value=self.eta, hint="1 is the usual choice.") from error
        object.__setattr__(self, "eta", eta)

    @property
    def version(self) -> str:
        """Name and eta."""
        return f"position-based/{self.eta!r}"

    @property
    def is_assumed(self) -> bool:
        """Always: nobody measured it."""
        return True

    def theta(self, k: int) -> FloatArray:
        """Return float64 (k,), 1 / rank^eta."""
        _check_length(k)
        values: FloatArray = np.arange(1, k + 1, dtype=np.float64) ** -self.eta
        return values


@dataclass(frozen=True, slots=True)
class Fitted:
    """A table of measured examination probabilities, relative to the first position.

    Attributes:
        values: theta of positions 1 to n, the first 1, each in (0, 1].
        se: Standard error of each, >= 0, the first 0.
        n_lists: Number of lists behind it.
        n_effective: Per adjacent pair, Kish's effective number of lists that told something, n - 1 of them.
        source: How it was measured.

    Raises:
        ConfigError: Lengths differ or a value is out of its range.
    """

    values: tuple[float, ...]
    se: tuple[float, ...]
    n_lists: int = 0
    n_effective: tuple[float, ...] = ()
    source: Source = "harvest"

    def __post_init__(self) -> None:
        has_values = bool(self.values) and self.values[0] == 1.0 and all(0.0 < v <= 1.0 for v in self.values)
        has_errors = len(self.se) == len(self.values) and all(0.0 <= e < math.inf for e in self.se)
        if not (has_values and has_errors):
            raise ConfigError(
                "a table of examination starts at 1 and holds probabilities with their standard errors",
                field="values",
                value=(self.values, self.se),
                hint="Divide by the first position's value.",
            )

    @property
    def version(self) -> str:
        """Name and a digest of the table."""
        return f"fitted/{hashlib.blake2b(repr(self.values).encode(), digest_size=6).hexdigest()}"

    @property
    def is_assumed(self) -> bool:
        """Never within the table; positions beyond it fall as 1/k, which is assumed."""
        return False

    def theta(self, k: int) -> FloatArray:
        """Return float64 (k,): the table, and beyond its n positions theta_n * n / rank."""
        _check_length(k)
        known = np.array(self.values[:k], dtype=np.float64)
        n = len(self.values)
        tail = self.values[-1] * n / np.arange(n + 1, k + 1, dtype=np.float64)
        values: FloatArray = np.concatenate([known, tail])
        return values


def harvest(propensities: npt.ArrayLike, clicks: npt.ArrayLike, *, pseudo_clicks: float = PSEUDO_CLICKS) -> Fitted:
    """Return the examination of each position, measured from lists that Plackett-Luce drew.

    Assumes the position-based model, a Plackett-Luce logger, and that what was shown is what was drawn (leave altered
    lists out). A ratio above 1 is possible by chance; the table is capped at the first position's 1.

    Args:
        propensities: float (n, k), `Served.propensities` of n lists, P(document i | those above it), each in (0, 1];
            NaN from the end of a shorter list on.
        clicks: float or bool (n, k), click or credit in [0, 1] per shown document; ignored where propensities are NaN.
        pseudo_clicks: Weight of the assumption theta_k = 1/k, in clicks per adjacent pair, > 0.

    Raises:
        EvaluationError: Shapes differ, or a value is out of its range.
    """
    return HarvestSums.of(propensities, clicks).fitted(pseudo_clicks=pseudo_clicks)


@dataclass(frozen=True, slots=True, eq=False)
class HarvestSums:
    """Sums over lists from which examination is measured; they add up over batches, shards and machines.

    Of each list and adjacent pair, the click above and the click below enter times the list's weight for that pair.

    Attributes:
        n_lists: Number of lists.
        clicks: float64 (k,), clicks per position, unweighted.
        upper: float64 (k-1,), weighted clicks at the upper position of each pair.
        lower: float64 (k-1,), weighted clicks at the lower position of each pair.
        told: float64 (k-1,), sum of weights.
        told_squares: float64 (k-1,), sum of squared weights.
        products: float64 (2(k-1), 2(k-1)), sum over lists of x x', x the list's (upper, lower): what errors need.
    """

    n_lists: int
    clicks: FloatArray
    upper: FloatArray
    lower: FloatArray
    told: FloatArray
    told_squares: FloatArray
    products: FloatArray

    @classmethod
    def empty(cls, k: int) -> HarvestSums:
        """Return the sums of no list of up to `k` positions.

        Raises:
            ConfigError: k is not in [1, 10000].
        """
        _check_length(k)
        pair = np.zeros(k - 1)
        return cls(0, np.zeros(k), pair, pair, pair, pair, np.zeros((2 * k - 2, 2 * k - 2)))

    @classmethod
    def of(cls, propensities: npt.ArrayLike, clicks: npt.ArrayLike) -> HarvestSums:
        """Return the sums of lists that Plackett-Luce drew; arguments and errors as of `harvest`."""
        p = np.asarray(propensities, dtype=np.float64)
        c = np.asarray(clicks, dtype=np.float64)
        _check_log(p, c)
        return cls.weighted(_swap_weights(p), np.where(np.isnan(p), 0.0, c))

    @classmethod
    def weighted(cls, weights: FloatArray, clicks: FloatArray) -> HarvestSums:
        """Return the sums of lists whose weights (n, k-1) make both orders of each pair equally frequent.

        NaN weighs nothing; `clicks` (n, k) are finite. Nothing is checked.
        """
        told = np.where(np.isnan(weights), 0.0, weights)
        upper, lower = told * clicks[:, :-1], told * clicks[:, 1:]
        both = np.hstack([upper, lower])
        return cls(
            n_lists=len(clicks),
            clicks=clicks.sum(axis=0),
            upper=upper.sum(axis=0),
            lower=lower.sum(axis=0),
            told=told.sum(axis=0),
            told_squares=(told**2).sum(axis=0),
            products=both.T @ both,
        )

    @property
    def n_effective(self) -> FloatArray:
        """Kish's effective number of lists that told something, float64 (k-1,)."""
        squares = self.told_squares
        counts: FloatArray = np.divide(self.told**2, squares, out=np.zeros_like(squares), where=squares > 0.0)
        return counts

    def plus(self, propensities: npt.ArrayLike, clicks: npt.ArrayLike) -> HarvestSums:
        """Return these sums with a batch of lists added; arguments and errors as of `harvest`."""
        return self + HarvestSums.of(propensities, clicks)

    def __add__(self, other: HarvestSums) -> HarvestSums:
        """Return the sums over the lists of both; the shorter is padded with positions that nobody saw."""
        k = max(len(self.clicks), len(other.clicks))
        one, two = _padded(self, k), _padded(other, k)
        return HarvestSums(
            n_lists=one.n_lists + two.n_lists,
            clicks=one.clicks + two.clicks,
            upper=one.upper + two.upper,
            lower=one.lower + two.lower,
            told=one.told + two.told,
            told_squares=one.told_squares + two.told_squares,
            products=one.products + two.products,
        )

    def fitted(self, *, pseudo_clicks: float = PSEUDO_CLICKS, source: Source = "harvest") -> Fitted:
        """Return the measured examination, capped at the first position's 1.

        Raises:
            EvaluationError: `pseudo_clicks` is not finite and above 0.
        """
        theta, se = self.chain(pseudo_clicks)
        return Fitted(
            values=tuple(np.minimum(theta, 1.0).tolist()),
            se=tuple((theta * se).tolist()),
            n_lists=self.n_lists,
            n_effective=tuple(self.n_effective.tolist()),
            source=source,
        )

    def chain(self, pseudo_clicks: float = PSEUDO_CLICKS) -> tuple[FloatArray, FloatArray]:
        """Return theta before it is capped, and the standard errors of log theta, each float64 (k,).

        Raises:
            EvaluationError: `pseudo_clicks` is not finite and above 0.
        """
        _check_pseudo_clicks(pseudo_clicks)
        m = len(self.upper)
        rank = np.arange(1, m + 1, dtype=np.float64)
        upper = self.upper + pseudo_clicks * (rank + 1.0) / (2.0 * rank + 1.0)
        lower = self.lower + pseudo_clicks * rank / (2.0 * rank + 1.0)
        theta = np.concatenate([[1.0], np.cumprod(lower / upper)])
        # a list moves log theta_j by l/L - u/U of each pair above j; neighbours share a position, hence the products
        steps = np.tri(m)
        influence = np.hstack([-steps / upper, steps / lower])
        variance = np.einsum("ij,jk,ik->i", influence, self.products, influence)
        return theta, np.concatenate([[0.0], np.sqrt(np.maximum(variance, 0.0))])


def _padded(sums: HarvestSums, k: int) -> HarvestSums:
    more = k - len(sums.clicks)
    if more == 0:
        return sums
    m = len(sums.upper)
    products = np.zeros((2 * k - 2, 2 * k - 2))
    at = np.concatenate([np.arange(m), k - 1 + np.arange(m)])
    products[np.ix_(at, at)] = sums.products
    upper, lower, told, squares = (np.pad(x, (0, more)) for x in (sums.upper, sums.lower, sums.told, sums.told_squares))
    return HarvestSums(sums.n_lists, np.pad(sums.clicks, (0, more)), upper, lower, told, squares, products)


def _swap_weights(p: FloatArray) -> FloatArray:
    """Return float64 (n, k-1), min(q, 1-q) / q of the served order of positions k and k+1; NaN beyond a list's end."""
    first, second = p[:, :-1], p[:, 1:]
    # (1 - q) / q, with 1 - p'(1-p) in a form that does not cancel when p' is near 1
    swapped, served = 1.0 - first, (1.0 - second) + first * second
    weights: FloatArray = np.minimum(served, swapped) / served
    return weights


def _check_log(p: FloatArray, c: FloatArray) -> None:
    if p.ndim != 2 or p.shape != c.shape or p.shape[1] < 1:
        raise EvaluationError(
            "propensities and clicks are both (n, k)", field="clicks", value=(p.shape, c.shape), hint="Pad with NaN."
        )
    is_shown = ~np.isnan(p)
    if (is_shown[:, 1:] & ~is_shown[:, :-1]).any():
        raise EvaluationError("a list has a gap", field="propensities", value="NaN", hint="Pad at the end only.")
    if not ((p[is_shown] > 0.0) & (p[is_shown] <= 1.0)).all():
        raise EvaluationError("a propensity is in (0, 1]", field="propensities", hint="Leave unknown ones out.")
    if not ((c[is_shown] >= 0.0) & (c[is_shown] <= 1.0)).all():
        raise EvaluationError("a click is in [0, 1]", field="clicks", hint="Pass clicks, or rewards clipped at 0.")


def _check_pseudo_clicks(pseudo_clicks: float) -> None:
    if not 0.0 < pseudo_clicks < math.inf:
        raise EvaluationError(
            "pseudo-clicks are finite and above 0", field="pseudo_clicks", value=pseudo_clicks, hint="30 by default."
        )


def _check_length(k: object) -> None:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= MAX_POSITIONS:
        raise ConfigError(
            f"a number of positions is in [1, {MAX_POSITIONS}]", field="k", value=k, hint="Pass the list's length."
        )
