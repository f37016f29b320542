"""Off-policy estimators on (event, document) exposures: the position-based model, in which weights stay small.

A document d earns theta_k rel_d at position k: the chance that the position is looked at, times what the document is
worth to this query. Then a list is worth sum_d omega_d rel_d, omega_d the exposure of d under the target policy and
rho_d that under the logging policy, each the expected examination over its rankings. What one document earns depends
neither on the others nor on anything but its position.

The model is an assumption and a large effective sample size does not see it fail: under users who read from the top and
stop, these estimators were biased by more than the effect at an effective sample size above 95 %. Ask one with other
assumptions as well (`prefix_ips`).

Source: Oosterhuis and de Rijke 2020, "Policy-Aware Unbiased Learning to Rank", section 4 (exposure as propensity);
Oosterhuis 2023, "Doubly Robust Estimation for Correcting Position Bias in Click Feedback for Unbiased Learning to
Rank", section 4.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dwell.errors import EvaluationError
from dwell.evaluation.estimators import arguments
from dwell.evaluation.estimators.sums import Sums, sums_of
from dwell.records.arrays import FloatArray

__all__ = ["exposure_doubly_robust", "exposure_ips"]


def exposure_ips(
    rewards: npt.ArrayLike,
    exposure: npt.ArrayLike,
    target_exposure: npt.ArrayLike,
    examination: npt.ArrayLike,
    *,
    max_importance_weight: float | None = None,
    self_normalised: bool = False,
) -> Sums:
    """Return the sums of exposure-based IPS, mean over events of sum_d (omega_d / rho_d) c_d.

    Self-normalised, it is divided by the mean of sum_d (omega_d / rho_d) theta_d over the documents shown, whose
    expectation is the total exposure sum_d omega_d, and multiplied by the mean of that total.

    Args:
        rewards: (n, d) reward c of each document, 0 where it was not shown.
        exposure: (n, d) rho, exposure under the logging policy, in (0, 1] wherever the target policy exposes.
        target_exposure: (n, d) omega, exposure under the target policy, in [0, 1].
        examination: (n, d) theta at the position where the document was shown, in (0, 1]; 0 where it was not shown.
        max_importance_weight: Largest omega / rho, > 0, or None.
        self_normalised: Whether to divide by the total exposure as the weights see it.

    Raises:
        EvaluationError: `zero_propensity`: the target policy exposes a document that the logging policy never does, so
            that no reward can ever tell of it.
    """
    c, w, omega, theta = _weights(rewards, exposure, target_exposure, examination, max_importance_weight)
    unseen = (omega > 0.0) & (np.asarray(exposure) == 0.0)
    arguments.refused(
        "the target policy exposes a document that the logging policy never does",
        "exposure",
        np.asarray(exposure),
        unseen,
        code="zero_propensity",
        hint="Explore with a higher temperature, or use exposure_doubly_robust, which falls back on its prediction.",
    )
    name = _named("exposure_snips" if self_normalised else "exposure_ips", max_importance_weight)
    with np.errstate(over="ignore", invalid="ignore"):
        earned = (w * c).sum(axis=1)
        weight = _event_weight(w, theta)
        if not self_normalised:
            return sums_of(name, weight, earned)
        seen = (w * theta).sum(axis=1)
    return sums_of(name, weight, np.zeros(len(c)), earned[None], seen[None], omega.sum(axis=1)[None])


def exposure_doubly_robust(
    rewards: npt.ArrayLike,
    exposure: npt.ArrayLike,
    target_exposure: npt.ArrayLike,
    examination: npt.ArrayLike,
    predicted: npt.ArrayLike,
    *,
    max_importance_weight: float | None = None,
) -> Sums:
    """Return the sums of exposure-based DR, mean of sum_d omega_d mu_d + sum over shown d (omega/rho)(c - theta mu).

    Unbiased under the position-based model if exposures or predictions are right. A document that the logging policy
    never exposes counts by its prediction alone, which is where this estimator can be far too optimistic.

    Args:
        rewards: (n, d) reward c of each document, 0 where it was not shown.
        exposure: (n, d) rho, exposure under the logging policy, in (0, 1] where shown, else in [0, 1].
        target_exposure: (n, d) omega, exposure under the target policy, in [0, 1].
        examination: (n, d) theta at the position where the document was shown, in (0, 1]; 0 where it was not shown.
        predicted: (n, d) mu, predicted relevance: the reward of a document that is looked at.
        max_importance_weight: Largest omega / rho, > 0, or None.
    """
    c, w, omega, theta = _weights(rewards, exposure, target_exposure, examination, max_importance_weight)
    mu = arguments.reals(predicted, "predicted", shape=c.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        value = (omega * mu + w * (c - theta * mu)).sum(axis=1)
        weight = _event_weight(w, theta)
    return sums_of(_named("exposure_doubly_robust", max_importance_weight), weight, value)


def _named(name: str, most: float | None) -> str:
    return name if most is None else f"{name}(max_importance_weight={most!r})"


def _event_weight(w: FloatArray, theta: FloatArray) -> FloatArray:
    """Return the mean weight of the documents shown: one weight an event, for its sample size."""
    weight: FloatArray = w.sum(axis=1) / np.maximum((theta > 0.0).sum(axis=1), 1)
    return weight


def _weights(
    rewards: object, exposure: object, target_exposure: object, examination: object, most: float | None
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return rewards, weights (0 where not shown), target exposures and examinations."""
    c = arguments.reals(rewards, "rewards", n_axes=2)
    theta = arguments.probabilities(examination, "examination", shape=c.shape)
    omega = arguments.probabilities(target_exposure, "target_exposure", shape=c.shape)
    is_shown = theta > 0.0
    arguments.probabilities(exposure, "exposure", shape=c.shape)
    rho = arguments.propensities(exposure, "exposure", shape=c.shape, where=is_shown)
    if c[~is_shown].any():
        raise EvaluationError(
            "a document that was not looked at has a reward",
            code="range",
            field="rewards",
            hint="Give the examination of the position where it was shown.",
        )
    with np.errstate(over="ignore"):
        w = np.where(is_shown, omega / rho, 0.0)
    if most is not None:
        w = np.minimum(w, arguments.positive(most, "max_importance_weight"))
    return c, w, omega, theta
