"""Off-policy estimators for ranked lists: what a target policy would have earned per list, position by position.

The more is assumed of the user, the smaller the weights. With r_k the reward at position k and y the list shown:

    whole list      any user                       w = P(y | target) / P(y | logging), the same for all positions
    prefix          reads from the top and may     w_k = product over j <= k of P(y_j | above, target) / P(.. | logging)
                    stop: r_k depends on y_1..y_k
    item position   r_k depends on y_k and k only  w_k = P(y_k at k | target) / P(y_k at k | logging), marginal

Each value is the sum over positions of mean(w_k r_k). Self-normalised, it is the sum of mean(w_k r_k) times the share
of lists that reach position k, over mean(w_k): position by position, so that a deep position with wild weights does not
move the top. Lists may differ in length; the length must not depend on the policy.

Source: McInerney, Brost, Chandar, Mehrotra and Carterette 2020, "Counterfactual Evaluation of Slate Recommendations
with Sequential Reward Interactions" (prefix weights, and whole-list ones as the baseline); Li, Abbasi-Yadkori, Kveton,
Muthukrishnan, Vinay and Wen 2018, "Offline Evaluation of Ranking Policies with Click Models" (item position).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dwell.errors import EvaluationError
from dwell.evaluation.estimators import arguments
from dwell.evaluation.estimators.sums import Sums, sums_of
from dwell.records.arrays import BoolArray, FloatArray

__all__ = ["cascade_doubly_robust", "item_position_ips", "list_ips", "prefix_ips"]


def list_ips(
    rewards: npt.ArrayLike,
    list_propensities: npt.ArrayLike,
    target_list_probabilities: npt.ArrayLike,
    *,
    self_normalised: bool = False,
) -> Sums:
    """Return the sums of whole-list IPS, mean(w sum_k r_k): unbiased for any user, of use for small steps only.

    Args:
        rewards: (n, k) finite, 0 beyond the end of a list.
        list_propensities: (n,) probability of the whole list under the logging policy, in (0, 1].
        target_list_probabilities: (n,) of the same list under the target policy, in [0, 1].
        self_normalised: Whether to divide by the mean weight.
    """
    r = arguments.reals(rewards, "rewards", n_axes=2)
    shape = r.shape[:1]
    logged = arguments.propensities(list_propensities, "list_propensities", shape=shape)
    target = arguments.probabilities(target_list_probabilities, "target_list_probabilities", shape=shape)
    with np.errstate(over="ignore", invalid="ignore"):  # a weight that overflows is refused by its sums
        w = target / logged
        earned = w * r.sum(axis=1)
    if self_normalised:
        return sums_of("list_snips", w, np.zeros(w.size), earned[None], w[None], np.ones((1, w.size)))
    return sums_of("list_ips", w, earned)


def item_position_ips(
    rewards: npt.ArrayLike,
    item_position_propensities: npt.ArrayLike,
    target_item_position_probabilities: npt.ArrayLike,
    *,
    is_shown: npt.ArrayLike | None = None,
    self_normalised: bool = False,
) -> Sums:
    """Return the sums of independent IPS (IIPS), sum_k mean(w_k r_k) with marginal item-position weights.

    Args:
        rewards: (n, k) finite, 0 beyond the end of a list.
        item_position_propensities: (n, k) probability that the logging policy places this document at this position,
            whatever stands elsewhere, in (0, 1].
        target_item_position_probabilities: (n, k) the same under the target policy, in [0, 1].
        is_shown: bool (n, k), whether the list reaches this position; all do by default.
        self_normalised: Whether to divide by the mean weight, position by position.
    """
    r, shown = _lists(rewards, is_shown)
    field = "item_position_propensities"
    logged = arguments.propensities(item_position_propensities, field, shape=r.shape, where=shown)
    target = _targets(target_item_position_probabilities, "target_item_position_probabilities", shown)
    with np.errstate(over="ignore"):
        w = target / logged
    name = "item_position_snips" if self_normalised else "item_position_ips"
    return _by_position(name, w, r, shown, np.zeros(len(r)), is_normalised=self_normalised)


def prefix_ips(
    rewards: npt.ArrayLike,
    propensities: npt.ArrayLike,
    target_probabilities: npt.ArrayLike,
    *,
    is_shown: npt.ArrayLike | None = None,
    self_normalised: bool = False,
) -> Sums:
    """Return the sums of reward-interaction IPS (RIPS), sum_k mean(w_k r_k) with prefix weights.

    Args:
        rewards: (n, k) finite, 0 beyond the end of a list.
        propensities: (n, k) probability of the document given those above it under the logging policy, in (0, 1]; what
            `Served.propensities` holds. Not multiplied up.
        target_probabilities: (n, k) the same under the target policy, in [0, 1].
        is_shown: bool (n, k), whether the list reaches this position; all do by default.
        self_normalised: Whether to divide by the mean weight, position by position.
    """
    r, shown = _lists(rewards, is_shown)
    w = _prefix_weights(propensities, target_probabilities, shown)
    name = "prefix_snips" if self_normalised else "prefix_ips"
    return _by_position(name, w, r, shown, np.zeros(len(r)), is_normalised=self_normalised)


def cascade_doubly_robust(
    rewards: npt.ArrayLike,
    propensities: npt.ArrayLike,
    target_probabilities: npt.ArrayLike,
    predicted: npt.ArrayLike,
    predicted_target: npt.ArrayLike,
    *,
    is_shown: npt.ArrayLike | None = None,
    self_normalised: bool = False,
) -> Sums:
    """Return the sums of Cascade-DR, sum_k mean(w_k (r_k - q_k) + w_(k-1) v_k), w_0 = 1.

    q_k predicts what this document *and all below it* earn, given those above; v_k is its mean when the target policy
    chooses the document at k below the same ones. Unbiased under the assumption of prefix weights, whatever is
    predicted; the better the prediction, the less the weights matter.

    Args:
        rewards: (n, k) finite, 0 beyond the end of a list.
        propensities: (n, k) probability of the document given those above it under the logging policy, in (0, 1].
        target_probabilities: (n, k) the same under the target policy, in [0, 1].
        predicted: (n, k) q_k, rewards from position k on, 0 beyond the end of a list.
        predicted_target: (n, k) v_k, 0 beyond the end of a list.
        is_shown: bool (n, k), whether the list reaches this position; all do by default.
        self_normalised: Whether to divide by the mean weight, position by position.

    Source:
        Kiyohara, Saito, Matsuhiro, Narita, Shimizu and Yamamoto 2022, "Doubly Robust Off-Policy Evaluation for Ranking
        Policies under the Cascade Behavior Model", the Cascade-DR estimator.
    """
    r, shown = _lists(rewards, is_shown)
    w = _prefix_weights(propensities, target_probabilities, shown)
    q = _padded(predicted, "predicted", shown)
    v = _padded(predicted_target, "predicted_target", shown)
    # w_k multiplies r_k - q_k and the v of the next position, so that one weight stands at each position
    with np.errstate(over="ignore", invalid="ignore"):  # what is no number is refused by the sums
        left = r - q
        left[:, :-1] += v[:, 1:]
    name = "cascade_sndr" if self_normalised else "cascade_doubly_robust"
    direct = v[:, 0] if v.shape[1] else np.zeros(len(r))
    return _by_position(name, w, left, shown, direct, is_normalised=self_normalised)


def _lists(rewards: object, is_shown: object) -> tuple[FloatArray, BoolArray]:
    """Return rewards and which positions the lists reach: always from the top, without gaps."""
    r = arguments.reals(rewards, "rewards", n_axes=2)
    if is_shown is None:
        return r, np.ones(r.shape, dtype=np.bool_)
    shown = arguments.flags(is_shown, "is_shown", shape=r.shape)
    if (shown[:, 1:] & ~shown[:, :-1]).any():
        raise EvaluationError(
            "a list has a gap", code="gap", field="is_shown", hint="Fill positions from the top; pad at the end only."
        )
    if r[~shown].any():
        raise EvaluationError(
            "a position that no list reaches has a reward", code="range", field="rewards", hint="Pad with 0."
        )
    return r, shown


def _targets(value: object, field: str, shown: BoolArray) -> FloatArray:
    array = np.asarray(value)
    if array.shape == shown.shape and array.dtype.kind in "fiu":
        array = np.where(shown, array, 0.0)  # padding may hold anything, NaN included
    return arguments.probabilities(array, field, shape=shown.shape)


def _padded(value: object, field: str, shown: BoolArray) -> FloatArray:
    found = arguments.reals(value, field, shape=shown.shape)
    if found[~shown].any():
        raise EvaluationError(
            "a position that no list reaches has a prediction", code="range", field=field, hint="Pad with 0."
        )
    return found


def _prefix_weights(propensities: object, target_probabilities: object, shown: BoolArray) -> FloatArray:
    """Return the product of the ratios down to each position, 0 beyond the end of a list."""
    logged = arguments.propensities(propensities, "propensities", shape=shown.shape, where=shown)
    target = _targets(target_probabilities, "target_probabilities", shown)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.cumprod(target / logged, axis=1), dtype=np.float64)


def _by_position(
    name: str, w: FloatArray, left: FloatArray, shown: BoolArray, direct: FloatArray, *, is_normalised: bool
) -> Sums:
    """Return the sums of mean(direct) + sum_k mean(w_k left_k), each divided by its mean weight on request.

    The weight of an event, for its sample size, is the mean over its positions.
    """
    n_shown = np.maximum(shown.sum(axis=1), 1)
    with np.errstate(over="ignore", invalid="ignore"):
        weight = w.sum(axis=1) / n_shown
        earned = w * left
        if not is_normalised:
            return sums_of(name, weight, direct + earned.sum(axis=1))
    return sums_of(name, weight, direct, earned.T, w.T, shown.T.astype(np.float64))
