"""`LinearRanker`: linear scores under a Plackett-Luce policy, trained one experience at a time.

The gradient of one experience is that of its expected reward with respect to the weights w,

    min(pi_w(y) / pi_old(y), max_importance_weight) * reward * d/dw log pi_w(y)

with y the list as it was served and pi the Plackett-Luce policy over the documents of that list, with log weights
score / temperature. (The policy that `ranking` serves divides by the spread of the scores over all candidates, too;
a served list does not tell that spread.) It is what the founding document asks for: one reward for the whole list.
Credit per document, from exposure, is the business of `learning.learner`, which reached 0.743 nDCG where this form
ended at 0.699 (docs/decisions).

Source: Williams 1992, "Simple Statistical Gradient-Following Algorithms" (the score function); Swaminathan and
Joachims 2015, "Counterfactual Risk Minimization" (the clipped importance weight).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from dwell.errors import DivergedError, LearningError
from dwell.records import checks
from dwell.records.arrays import FloatArray

__all__ = ["LinearRanker"]

DEFAULT_MAX_IMPORTANCE_WEIGHT: Final = 10.0  # learning study, section 2.6: clip of the ratio in the gate's estimate


class LinearRanker:
    """A weight per feature; scores are the weighted sums.

    A feature that a document lacks, or whose value is no finite number, counts as the mean of the others' in the list:
    it speaks neither for nor against the document.

    Args:
        weights: Starting weights, {feature: finite float}, at least one.
        temperature: Of the policy, > 0, in units of the score.
        max_importance_weight: Upper bound of pi_w(y) / pi_old(y), > 0.

    Raises:
        RecordError: A name or a number is malformed.
        LearningError: The temperature or the bound is not above 0.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        temperature: float = 1.0,
        max_importance_weight: float = DEFAULT_MAX_IMPORTANCE_WEIGHT,
    ) -> None:
        self._names = checks.feature_names(weights)
        self._weights = np.array([checks.finite(weights[name], f"weights.{name}") for name in self._names])
        self._temperature = _positive(temperature, "temperature")
        self._max_importance_weight = _positive(max_importance_weight, "max_importance_weight")

    @property
    def params(self) -> dict[str, float]:
        """A copy of the weights, {feature: float}."""
        return dict(zip(self._names, self._weights.tolist(), strict=True))

    def score(self, results: Sequence[Mapping[str, Any]]) -> FloatArray:
        """Return the score of each document, float64 (n,)."""
        scores: FloatArray = self._features(results) @ self._weights
        return scores

    def rank(self, results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the documents by descending score; equal scores keep their order."""
        return [results[i] for i in np.argsort(-self.score(results), kind="stable").tolist()]

    def compute_gradient(
        self,
        query: Sequence[float],
        results: Sequence[Mapping[str, Any]],
        reward: float,
        old_params: Mapping[str, float],
    ) -> dict[str, float]:
        """Return the gradient of one experience's expected reward, {feature: float}; 0 for a list of one document.

        Args:
            query: The query's embedding; a linear ranker over documents' features does not use it.
            results: The list as served, from the top: a mapping per document with its features.
            reward: Reward of the list, finite.
            old_params: Weights in force when it was served; a name that is absent has weight 0. Without any name that
                this ranker has, the importance weight is 1 (or the bound, if that is lower).

        Raises:
            RecordError: The reward or an old weight is not a finite number.
            DivergedError: The features are so large that scores are not finite.
        """
        del query
        value = checks.finite(reward, "reward")
        if len(results) < 2:
            return dict.fromkeys(self._names, 0.0)
        old = np.array([checks.finite(old_params.get(name, 0.0), f"old_params.{name}") for name in self._names])
        features = self._features(results)
        with np.errstate(over="ignore", invalid="ignore"):
            log_likelihood, slope = _log_likelihood(features, self._weights, self._temperature)
            log_ratio = 0.0
            if any(name in old_params for name in self._names):
                log_ratio = log_likelihood - _log_likelihood(features, old, self._temperature)[0]
            importance = np.exp(min(log_ratio, np.log(self._max_importance_weight)))
            gradient = importance * value * slope
        if not np.isfinite(gradient).all():
            raise DivergedError(
                "the scores of a list are not finite",
                field="results",
                value=results,
                hint="Look for features that are not in their usual range.",
            )
        return dict(zip(self._names, gradient.tolist(), strict=True))

    def update_params(self, gradient: Mapping[str, float], learning_rate: float) -> None:
        """Move the weights by `learning_rate` times the gradient; features it does not name stay.

        Raises:
            RecordError: The learning rate or an entry of the gradient is not a finite number.
            DivergedError: A weight would not be finite. Nothing has changed.
        """
        rate = checks.finite(learning_rate, "learning_rate")
        slope = np.array([checks.finite(gradient.get(name, 0.0), f"gradient.{name}") for name in self._names])
        with np.errstate(over="ignore"):
            moved = self._weights + rate * slope
        if not np.isfinite(moved).all():
            raise DivergedError(
                "the step makes a weight infinite",
                field="learning_rate",
                value=learning_rate,
                hint="Take a smaller one.",
            )
        self._weights = moved

    def _features(self, results: Sequence[Mapping[str, Any]]) -> FloatArray:
        """Return the features, float64 (n, f), absent ones filled with the list's mean, or 0 if all are absent."""
        table = np.array([[_number(result.get(name)) for name in self._names] for result in results], dtype=np.float64)
        table = table.reshape(len(results), len(self._names))
        is_known = np.isfinite(table)
        known = np.where(is_known, table, 0.0)
        mean = known.sum(axis=0) / np.maximum(is_known.sum(axis=0), 1)
        return np.where(is_known, table, mean)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float | np.floating | np.integer) else np.nan


def _positive(value: float, field: str) -> float:
    number = checks.finite(value, field)
    if number <= 0.0:
        raise LearningError("a number above 0 is due here", field=field, value=value, hint="Pass a positive float.")
    return number


def _log_likelihood(features: FloatArray, weights: FloatArray, temperature: float) -> tuple[float, FloatArray]:
    """Return log pi(list in the given order) and its gradient with respect to the weights.

    Args:
        features: (n, f), n >= 2, in served order.
        weights: (f,).
        temperature: > 0.
    """
    z = features @ weights / temperature
    z -= z.max()
    # log of the sum over documents not yet placed, from the tail
    remaining = np.logaddexp.accumulate(z[::-1])[::-1]
    # d log pi / d z_d = 1 - sum over ranks k <= rank(d) of P(d | not yet placed)
    chosen_at = np.triu(np.exp(z[None, :] - remaining[:, None]))
    slope: FloatArray = (1.0 - chosen_at.sum(axis=0)) @ features / temperature
    return float((z - remaining).sum()), slope
