"""Off-policy estimators for one action an event: what a target policy would have earned where another one served.

Each function maps one batch of events to `Sums`; add the sums of all batches and ask them for the estimate. Throughout,

    w = P(action | target policy) / P(action | logging policy),

r is the reward, mu a prediction of it, and mu(target) the mean of the prediction under the target policy. Predictions
must be cross-fitted: one that has seen the event's own reward makes the doubly robust forms biased and their intervals
too short.

Source: each function names its own. Formulas and assumptions side by side: docs/estimators.md.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from dwell.errors import EvaluationError
from dwell.evaluation.estimators import arguments
from dwell.evaluation.estimators.sums import Sums, sums_of
from dwell.records.arrays import FloatArray

__all__ = [
    "balanced_ips",
    "direct_method",
    "doubly_robust",
    "ips",
    "replay",
    "shrunk_doubly_robust",
    "subgaussian_doubly_robust",
    "subgaussian_ips",
    "switch_doubly_robust",
]

_SHARES_SUM: Final = 1e-9  # shares of loggers are quotients of counts


def replay(rewards: npt.ArrayLike, is_match: npt.ArrayLike) -> Sums:
    """Return the mean reward of the events in which the target policy chooses what was shown.

    Assumes that the logging policy drew uniformly: of any other it estimates the value on the events that match.

    Args:
        rewards: (n,) finite.
        is_match: bool (n,), whether the target policy chooses the logged action.

    Source:
        Li, Chu, Langford and Wang 2011, "Unbiased Offline Evaluation of Contextual-bandit-based News Article
        Recommendation Algorithms", the policy evaluator.
    """
    r = arguments.reals(rewards, "rewards")
    w = arguments.flags(is_match, "is_match", shape=r.shape).astype(np.float64)
    return _weighted("replay", w, np.zeros(r.size), r, is_normalised=True)


def ips(
    rewards: npt.ArrayLike,
    propensities: npt.ArrayLike,
    target_probabilities: npt.ArrayLike,
    *,
    max_importance_weight: float | None = None,
    self_normalised: bool = False,
) -> Sums:
    """Return the sums of inverse propensity scoring, mean(w r); clipped and self-normalised (SNIPS) on request.

    Unbiased without either. Clipping at W replaces w by min(w, W), which biases towards 0 by what was cut off.
    Self-normalisation divides by mean(w): bias of order 1/n, no value outside the rewards seen, smaller variance
    wherever w varies more than w r.

    Args:
        rewards: (n,) finite.
        propensities: (n,) probability of the logged action under the logging policy, in (0, 1].
        target_probabilities: (n,) of the same action under the target policy, in [0, 1].
        max_importance_weight: Largest weight W, > 0, or None.
        self_normalised: Whether to divide by the mean weight.

    Source:
        Strehl et al. 2010, "Learning from Logged Implicit Exploration Data"; Ionides 2008, "Truncated Importance
        Sampling" (clipping); Swaminathan and Joachims 2015, "The Self-Normalized Estimator for Counterfactual
        Learning" (SNIPS).
    """
    r = arguments.reals(rewards, "rewards")
    w = _importance_weights(propensities, target_probabilities, r.shape)
    name = "snips" if self_normalised else "ips"
    if max_importance_weight is not None:
        most = arguments.positive(max_importance_weight, "max_importance_weight")
        w, name = np.minimum(w, most), f"{name}(max_importance_weight={most!r})"
    return _weighted(name, w, np.zeros(r.size), r, is_normalised=self_normalised)


def balanced_ips(
    rewards: npt.ArrayLike,
    logger_propensities: npt.ArrayLike,
    logger_shares: npt.ArrayLike,
    target_probabilities: npt.ArrayLike,
    *,
    self_normalised: bool = False,
) -> Sums:
    """Return the sums of IPS on a log of several loggers, weighted by their mixture: w = target / sum_j share_j p_j.

    An action needs support by one of the loggers only, and its weight never exceeds 1 / share_j times that of logger j.
    The interval takes the logger of each event as drawn with these shares. Where their numbers were fixed instead, it
    is wider than it need be, never narrower.

    Args:
        rewards: (n,) finite.
        logger_propensities: (n, j) probability of the logged action under *every* logger, in [0, 1].
        logger_shares: (j,) share of the whole log, not of this batch, that each logger wrote; positive, sum 1.
        target_probabilities: (n,) of the same action under the target policy, in [0, 1].
        self_normalised: Whether to divide by the mean weight.

    Source:
        Agarwal, Basu, Schnabel and Joachims 2017, "Effective Evaluation using Logged Bandit Feedback from Multiple
        Loggers", the balanced estimator.
    """
    r = arguments.reals(rewards, "rewards")
    shares = arguments.reals(logger_shares, "logger_shares")
    if not shares.size or not (shares > 0.0).all() or abs(float(shares.sum()) - 1.0) > _SHARES_SUM:
        raise EvaluationError(
            "shares of loggers are positive and sum to 1",
            code="range",
            field="logger_shares",
            value=shares.tolist(),
            hint="Divide the number of events of each logger by the number of all events of the whole log.",
        )
    each = arguments.probabilities(logger_propensities, "logger_propensities", shape=(r.size, shares.size))
    w = _importance_weights(each @ shares, target_probabilities, r.shape)
    name = f"balanced_{'snips' if self_normalised else 'ips'}({', '.join(f'{share:.12g}' for share in shares)})"
    return _weighted(name, w, np.zeros(r.size), r, is_normalised=self_normalised)


def subgaussian_ips(
    rewards: npt.ArrayLike,
    propensities: npt.ArrayLike,
    target_probabilities: npt.ArrayLike,
    *,
    smoothing: float,
    self_normalised: bool = False,
) -> Sums:
    """Return the sums of sub-Gaussian IPS: w is replaced by its harmonic mean with 1, w / (1 - s + s w).

    No weight exceeds 1/s, smoothly, so the tails are those of a bounded variable; the price is a bias of order s.

    Args:
        rewards: (n,) finite.
        propensities: (n,) probability of the logged action under the logging policy, in (0, 1].
        target_probabilities: (n,) of the same action under the target policy, in [0, 1].
        smoothing: s in [0, 1]; 0 is IPS, 1 ignores the weights.
        self_normalised: Whether to divide by the mean weight.

    Source:
        Metelli, Russo and Restelli 2021, "Subgaussian and Differentiable Importance Sampling for Off-Policy Evaluation
        and Learning", the power-mean correction with exponent -1.
    """
    r = arguments.reals(rewards, "rewards")
    s = arguments.at_least(smoothing, "smoothing", 0.0, most=1.0)
    w = _harmonic(_importance_weights(propensities, target_probabilities, r.shape), s)
    name = f"subgaussian_{'snips' if self_normalised else 'ips'}(smoothing={s!r})"
    return _weighted(name, w, np.zeros(r.size), r, is_normalised=self_normalised)


def direct_method(predicted_target: npt.ArrayLike) -> Sums:
    """Return the sums of the direct method, the mean prediction under the target policy.

    It is as good as the predictor. The interval shows how predictions vary between events and nothing of their error.

    Args:
        predicted_target: (n,) predicted reward under the target policy, sum over actions of P(action) mu(action).

    Source:
        Beygelzimer and Langford 2009, "The Offset Tree for Learning with Partial Labels" (as a baseline); Dudik et al.
        2014, "Doubly Robust Policy Evaluation and Optimization", the direct method.
    """
    predicted = arguments.reals(predicted_target, "predicted_target")
    return sums_of("direct_method", np.ones(predicted.size), predicted)


def doubly_robust(
    rewards: npt.ArrayLike,
    propensities: npt.ArrayLike,
    target_probabilities: npt.ArrayLike,
    predicted: npt.ArrayLike,
    predicted_target: npt.ArrayLike,
    *,
    max_importance_weight: float | None = None,
    self_normalised: bool = False,
) -> Sums:
    """Return the sums of the doubly robust estimator, mean(mu(target) + w (r - mu)).

    Unbiased if the propensities or the predictions are right. Self-normalised (SNDR), the correction is divided by
    mean(w).

    Args:
        rewards: (n,) finite.
        propensities: (n,) probability of the logged action under the logging policy, in (0, 1].
        target_probabilities: (n,) of the same action under the target policy, in [0, 1].
        predicted: (n,) predicted reward of the logged action.
        predicted_target: (n,) predicted reward under the target policy.
        max_importance_weight: Largest weight W, > 0, or None.
        self_normalised: Whether to divide the correction by the mean weight.

    Source:
        Dudik, Erhan, Langford and Li 2014, "Doubly Robust Policy Evaluation and Optimization"; Kallus and Uehara 2019,
        "Intrinsically Efficient, Stable, and Bounded Off-Policy Evaluation for Reinforcement Learning" (SNDR).
    """
    r, w, direct = _corrected(rewards, propensities, target_probabilities, predicted, predicted_target)
    name = "sndr" if self_normalised else "doubly_robust"
    if max_importance_weight is not None:
        most = arguments.positive(max_importance_weight, "max_importance_weight")
        w, name = np.minimum(w, most), f"{name}(max_importance_weight={most!r})"
    return _weighted(name, w, direct, r, is_normalised=self_normalised)


def switch_doubly_robust(
    rewards: npt.ArrayLike,
    propensities: npt.ArrayLike,
    target_probabilities: npt.ArrayLike,
    predicted: npt.ArrayLike,
    predicted_target: npt.ArrayLike,
    *,
    max_importance_weight: float,
) -> Sums:
    """Return the sums of Switch-DR: doubly robust, without the correction of events whose weight exceeds the limit.

    Args:
        rewards: (n,) finite.
        propensities: (n,) probability of the logged action under the logging policy, in (0, 1].
        target_probabilities: (n,) of the same action under the target policy, in [0, 1].
        predicted: (n,) predicted reward of the logged action.
        predicted_target: (n,) predicted reward under the target policy.
        max_importance_weight: From a larger weight on the prediction stands alone, >= 0; at 0 it always does.

    Source:
        Wang, Agarwal and Dudik 2017, "Optimal and Adaptive Off-policy Evaluation in Contextual Bandits", SWITCH-DR.
    """
    r, w, direct = _corrected(rewards, propensities, target_probabilities, predicted, predicted_target)
    most = arguments.at_least(max_importance_weight, "max_importance_weight", 0.0)
    name = f"switch_doubly_robust(max_importance_weight={most!r})"
    return _weighted(name, np.where(w <= most, w, 0.0), direct, r)


def shrunk_doubly_robust(
    rewards: npt.ArrayLike,
    propensities: npt.ArrayLike,
    target_probabilities: npt.ArrayLike,
    predicted: npt.ArrayLike,
    predicted_target: npt.ArrayLike,
    *,
    shrinkage: float,
) -> Sums:
    """Return the sums of DR with optimistic shrinkage (DRos): w is replaced by w s / (w^2 + s).

    The weight rises to sqrt(s)/2 at w = sqrt(s) and falls again: what is very rare is left to the prediction.

    Args:
        rewards: (n,) finite.
        propensities: (n,) probability of the logged action under the logging policy, in (0, 1].
        target_probabilities: (n,) of the same action under the target policy, in [0, 1].
        predicted: (n,) predicted reward of the logged action.
        predicted_target: (n,) predicted reward under the target policy.
        shrinkage: s >= 0; 0 is the direct method, large s is doubly robust.

    Source:
        Su, Dimakopoulou, Krishnamurthy and Dudik 2020, "Doubly Robust Off-Policy Evaluation with Shrinkage", the
        optimistic weights.
    """
    r, w, direct = _corrected(rewards, propensities, target_probabilities, predicted, predicted_target)
    s = arguments.at_least(shrinkage, "shrinkage", 0.0)
    with np.errstate(divide="ignore", over="ignore"):  # 1/w and w/s may be infinite: the weight is then 0, as it should
        shrunk = 1.0 / (1.0 / w + w / s) if s > 0.0 else np.zeros(w.size)
    return _weighted(f"shrunk_doubly_robust(shrinkage={s!r})", shrunk, direct, r)


def subgaussian_doubly_robust(
    rewards: npt.ArrayLike,
    propensities: npt.ArrayLike,
    target_probabilities: npt.ArrayLike,
    predicted: npt.ArrayLike,
    predicted_target: npt.ArrayLike,
    *,
    smoothing: float,
) -> Sums:
    """Return the sums of sub-Gaussian DR: doubly robust with the weights w / (1 - s + s w).

    Args:
        rewards: (n,) finite.
        propensities: (n,) probability of the logged action under the logging policy, in (0, 1].
        target_probabilities: (n,) of the same action under the target policy, in [0, 1].
        predicted: (n,) predicted reward of the logged action.
        predicted_target: (n,) predicted reward under the target policy.
        smoothing: s in [0, 1]; 0 is doubly robust, 1 ignores the weights.

    Source:
        Metelli, Russo and Restelli 2021, as `subgaussian_ips`, on the correction of Dudik et al. 2014.
    """
    r, w, direct = _corrected(rewards, propensities, target_probabilities, predicted, predicted_target)
    s = arguments.at_least(smoothing, "smoothing", 0.0, most=1.0)
    return _weighted(f"subgaussian_doubly_robust(smoothing={s!r})", _harmonic(w, s), direct, r)


def _importance_weights(propensities: object, target_probabilities: object, shape: tuple[int, ...]) -> FloatArray:
    logged = arguments.propensities(propensities, "propensities", shape=shape)
    target = arguments.probabilities(target_probabilities, "target_probabilities", shape=shape)
    with np.errstate(over="ignore"):  # a weight that overflows is refused by its sums, unless it is clipped
        weights: FloatArray = target / logged
    return weights


def _harmonic(w: FloatArray, s: float) -> FloatArray:
    """Return w / (1 - s + s w), which tends to 1 / s."""
    if s == 0.0:
        return w
    with np.errstate(divide="ignore", invalid="ignore"):  # where w is large it is divided out, so that it may overflow
        found: FloatArray = np.where(w > 1.0, 1.0 / (s + (1.0 - s) / w), w / (1.0 - s + s * np.minimum(w, 1.0)))
    return found


def _corrected(
    rewards: object, propensities: object, target_probabilities: object, predicted: object, predicted_target: object
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return what the prediction leaves to correct, the weights, and the direct term."""
    r = arguments.reals(rewards, "rewards")
    w = _importance_weights(propensities, target_probabilities, r.shape)
    with np.errstate(over="ignore"):  # what is no number is refused by the sums
        left = r - arguments.reals(predicted, "predicted", shape=r.shape)
    return left, w, arguments.reals(predicted_target, "predicted_target", shape=r.shape)


def _weighted(name: str, w: FloatArray, direct: FloatArray, left: FloatArray, *, is_normalised: bool = False) -> Sums:
    """Return the sums of mean(direct + w left), or of mean(direct) + mean(w left) / mean(w)."""
    with np.errstate(invalid="ignore", over="ignore"):  # what is no number is refused by the sums
        numerator = w * left
        if not is_normalised:
            return sums_of(name, w, direct + numerator)
    return sums_of(name, w, direct, numerator[None], w[None], np.ones((1, w.size)))
