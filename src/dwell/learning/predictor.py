"""The reward predictor: relevance of a document from its features, fitted in closed form to biased clicks.

Minimises, over served documents with features phi, reward c and examination theta_k,

    sum kappa (c - theta_k m(phi))^2 / theta_k + ridge |beta|^2,   m(phi) = beta . (phi, 1)

whose normal equations are  A = sum kappa theta_k phi phi^T + ridge I,  b = sum kappa c phi: exposure-weighted least
squares, solved exactly. It is the direct method of the doubly robust estimate and the surprise behind a priority.

Source: Oosterhuis 2023 (see `relevance`), section 4.3; cross-fitting in two folds: Chernozhukov et al. 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from dwell.errors import LearningError
from dwell.records.arrays import FloatArray

__all__ = ["DEFAULT_RIDGE", "Predictor", "PredictorSums", "fit_predictor"]

DEFAULT_RIDGE: Final = 100.0  # gated-loop study: ridge 100 did no harm from 500 to 10,000 events

_MIN_RELATIVE_RIDGE: Final = 1e-10  # a condition number of 1e10 leaves six digits


@dataclass(frozen=True, slots=True, eq=False)
class PredictorSums:
    """Sufficient statistics, additive over events and shards.

    Attributes:
        gram: float64 (f + 1, f + 1), sum of weight * theta * phi phi^T.
        moment: float64 (f + 1,), sum of weight * reward * phi.
        n: Number of served documents behind them.
    """

    gram: FloatArray
    moment: FloatArray
    n: int

    @classmethod
    def empty(cls, n_features: int) -> PredictorSums:
        """Return the sums of no events."""
        return cls(np.zeros((n_features + 1, n_features + 1)), np.zeros(n_features + 1), 0)

    def plus(self, phi: FloatArray, rewards: FloatArray, theta: FloatArray, weight: FloatArray) -> PredictorSums:
        """Return the sums with more served documents: phi (n, f), rewards, theta and weight (n,)."""
        x = np.concatenate([phi, np.ones((phi.shape[0], 1))], axis=1)
        return PredictorSums(
            self.gram + (x * (weight * theta)[:, None]).T @ x, self.moment + (weight * rewards) @ x, self.n + len(x)
        )

    def joined(self, other: PredictorSums) -> PredictorSums:
        """Return the sums over the events of both."""
        return PredictorSums(self.gram + other.gram, self.moment + other.moment, self.n + other.n)

    def minus(self, phi: FloatArray, rewards: FloatArray, theta: FloatArray, weight: FloatArray) -> PredictorSums:
        """Return the sums without served documents that are in them: a late reward takes the old one back.

        Raises:
            LearningError: There are fewer documents behind the sums than are taken off.
        """
        if len(phi) > self.n:
            raise LearningError(
                "more documents are taken off than are in the sums",
                field="phi",
                value=len(phi),
                hint=f"At most {self.n}.",
            )
        more = PredictorSums.empty(phi.shape[1]).plus(phi, rewards, theta, weight)
        return PredictorSums(self.gram - more.gram, self.moment - more.moment, self.n - more.n)

    def decayed(self, factor: float) -> PredictorSums:
        """Return the sums with every event behind them counting `factor` times, in [0, 1]: 1/2 after a half-life.

        Raises:
            LearningError: The factor is outside [0, 1].
        """
        if isinstance(factor, bool) or not 0.0 <= factor <= 1.0:
            raise LearningError(
                "a decay is outside [0, 1]", field="factor", value=factor, hint="Pass 2**-(age / half)."
            )
        return PredictorSums(self.gram * factor, self.moment * factor, self.n)


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """A fitted linear predictor of relevance.

    Attributes:
        beta: float64 (f + 1,), the intercept last.
    """

    beta: FloatArray

    def predict(self, phi: FloatArray) -> FloatArray:
        """Return predicted relevance in [-1, 1], (...,), for standardised features (..., f)."""
        value: FloatArray = phi @ self.beta[:-1] + self.beta[-1]
        return np.clip(value, -1.0, 1.0)


def fit_predictor(sums: PredictorSums, *, ridge: float = DEFAULT_RIDGE) -> Predictor:
    """Return the predictor that these sums determine; the intercept is not shrunk.

    Raises:
        LearningError: The sums are not finite.
    """
    penalty = np.full(sums.moment.size, ridge)
    penalty[-1] = 1e-6  # enough to make the system regular when there is no event
    if not (np.isfinite(sums.gram).all() and np.isfinite(sums.moment).all()):
        raise LearningError(
            "the predictor's sums are not finite", code="non_finite", hint="Look for events with huge features."
        )
    system = sums.gram + np.diag(penalty)
    if ridge > _MIN_RELATIVE_RIDGE * float(np.diag(sums.gram).max()):
        return Predictor(np.linalg.solve(system, sums.moment).astype(np.float64))
    # with no ridge to speak of the system may be singular (a feature that never varies): the smallest solution
    return Predictor(np.linalg.lstsq(system, sums.moment)[0].astype(np.float64))
