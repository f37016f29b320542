"""Judge a proposal by the users who got it: a canary's users against all others, looked at as often as you like.

A stable hash puts a user in the canary with probability p. Once a user has had m events, their mean reward r is a score

    x = (r - c) (1[canary] / p - 1[live] / (1 - p)),   c the mean score of the users before,

whose mean is the difference between the arms, whatever c is: c is fixed before the user's arm matters, and takes out
the variance that both arms share. One score per user: events of one user are not independent, users are. The scores are
bet on (`betting`), so the verdict may be asked for after every user.

No propensity, click model or exposure enters: this is what decides where the estimates of `judging` are in doubt. It is
slow for the same reason.

Source: Horvitz and Thompson 1952; Waudby-Smith and Ramdas 2024 (betting); Fabijan et al. 2019, "Diagnosing sample ratio
mismatch in online controlled experiments" (the share of the canary is tested as well).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np

from dwell.errors import EvaluationError
from dwell.evaluation.betting import lower_bound, upper_bound
from dwell.evaluation.judging import kish
from dwell.records import Estimate
from dwell.records.arrays import BoolArray, FloatArray, HashArray, IntArray

__all__ = ["CanaryVerdict", "UserScores", "anytime_estimate", "canary_verdict", "user_scores"]

_RATIO_ALPHA: Final = 1e-3  # Fabijan et al. 2019 take p < .0005 to .01 for a mismatch: sound splits pass nearly always


class UserScores(NamedTuple):
    """One score per user who has had enough events, in the order in which they had.

    Attributes:
        score: float64 (u,), mean reward of the user's first events.
        is_canary: bool (u,), the user's arm.
    """

    score: FloatArray
    is_canary: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryVerdict:
    """What the users of both arms say.

    Attributes:
        verdict: "better" (the canary), "worse" or "undecided".
        difference: Mean reward of a canary user's event minus that of a live user's, with its anytime-valid interval
            of error alpha; n counts users, the effective sample size weighs them by the share of their arm.
        n_users: Users with a score.
        n_canary_users: Those of them in the canary.
        reason: Starts with a code and says it in words.
    """

    verdict: Literal["better", "worse", "undecided"]
    difference: Estimate
    n_users: int
    n_canary_users: int
    reason: str


def _check(user_hashes: HashArray, is_canary: BoolArray, rewards: FloatArray, events_per_user: int) -> None:
    if user_hashes.ndim != 1 or user_hashes.dtype != np.uint64:
        raise EvaluationError(
            "hashes are due as uint64 (n,)", field="user_hashes", value=(user_hashes.dtype, user_hashes.shape)
        )
    if is_canary.shape != user_hashes.shape or is_canary.dtype != np.bool_:
        raise EvaluationError("one bool per event is due", field="is_canary", value=(is_canary.dtype, is_canary.shape))
    if rewards.shape != user_hashes.shape or not np.isfinite(rewards).all():
        raise EvaluationError("one finite reward per event is due", field="rewards", value=rewards.shape)
    if isinstance(events_per_user, bool) or events_per_user < 1:
        raise EvaluationError("a user's score needs at least one event", field="events_per_user", value=events_per_user)


def user_scores(
    user_hashes: HashArray, is_canary: BoolArray, rewards: FloatArray, *, events_per_user: int = 1
) -> UserScores:
    """Return the mean reward of each user's first events, users in the order in which they reached that many.

    What a prefix of the events gives is a prefix of what all of them give.

    Args:
        user_hashes: uint64 (n,), in the order in which the rewards became known.
        is_canary: bool (n,), the arm of each event.
        rewards: (n,), finite, reward per list.
        events_per_user: Events m behind a score, >= 1; users with fewer have none, later events count for nothing.

    Raises:
        EvaluationError: Wrong types or shapes, or a user in both arms.
    """
    _check(user_hashes, is_canary, rewards, events_per_user)
    found, users = np.unique(user_hashes, return_inverse=True)
    n_events = np.bincount(users, minlength=found.size)
    in_canary = np.bincount(users, weights=is_canary, minlength=found.size)
    is_mixed = (in_canary > 0) & (in_canary < n_events)
    if is_mixed.any():
        raise EvaluationError(
            f"{int(is_mixed.sum())} users are in both arms",
            field="is_canary",
            value=int(found[is_mixed][0]),
            hint="Pass only events that were served while this canary ran, and only of users who are known.",
        )
    by_user = np.argsort(users, kind="stable")
    nth = np.empty(users.size, dtype=np.int64)  # 1 for a user's first event
    nth[by_user] = np.arange(users.size) - np.repeat(np.cumsum(n_events) - n_events, n_events) + 1
    is_used = nth <= events_per_user
    total = np.bincount(users[is_used], weights=rewards[is_used], minlength=found.size)
    reached: IntArray = np.flatnonzero(nth == events_per_user)
    return UserScores(total[users[reached]] / events_per_user, is_canary[reached])


def anytime_estimate(x: FloatArray, alpha: float, *, bound: float, weights: FloatArray) -> Estimate:
    """Return the mean with an interval that misses it, at any time, with chance alpha at most, half of it on each side.

    Args:
        x: float64 (n,), in the order in which they became known, each within +-bound; n may be 0.
        alpha: In (0, 1).
        bound: > 0.
        weights: (n,), >= 0, what each value weighs in the effective sample size; the mean is not weighted.
    """
    return Estimate(
        value=float(x.mean()) if x.size else 0.0,
        low=lower_bound(x, 0.5 * alpha, floor=-bound),
        high=upper_bound(x, 0.5 * alpha, ceiling=bound),
        n=x.size,
        effective_sample_size=kish(weights),
    )


def canary_verdict(
    user_hashes: HashArray,
    is_canary: BoolArray,
    rewards: FloatArray,
    *,
    share: float,
    alpha: float,
    events_per_user: int = 1,
    low: float = -1.0,
    high: float = 1.0,
) -> CanaryVerdict:
    """Return whether the canary's users are better off; wrong with chance alpha at most, however often it is asked.

    Assumed: a user's arm is drawn by a hash that says nothing about them (a salt of its own), with chance `share`
    throughout; users do not influence each other; the arm does not change who comes back `events_per_user` times, nor
    when (at 1 that is no assumption: everybody in the log came once); the difference does not change sign over time. A
    caller with several proposals in turn spends alpha over them.

    Args:
        user_hashes: uint64 (n,), in the order in which the rewards became known; only events of known users, served
            while this canary ran.
        is_canary: bool (n,), the arm of each event.
        rewards: (n,), reward per list, in [low, high].
        share: Chance p that a user is in the canary, in (0, 1).
        alpha: Chance of a wrong "better" or "worse", in (0, 1); half of it on each side.
        events_per_user: As in `user_scores`; 1 to 3. More takes out noise within users and waits longer.
        low: Least reward possible; tighter bounds decide sooner, above all with a small share.
        high: Most reward possible.

    Raises:
        EvaluationError: Wrong types or shapes, rewards outside of the bounds, a user in both arms, or a setting out of
            range.
    """
    if isinstance(share, bool) or not 0.0 < share < 1.0:
        raise EvaluationError("the share of the canary lies in (0, 1)", field="share", value=share)
    if isinstance(alpha, bool) or not 0.0 < alpha < 1.0:
        raise EvaluationError("the chance of an error lies in (0, 1)", field="alpha", value=alpha)
    if not (np.isfinite([low, high]).all() and low < high):
        raise EvaluationError("bounds are finite, the lower one first", field="low", value=(low, high))
    scores = user_scores(user_hashes, is_canary, rewards, events_per_user=events_per_user)
    if rewards.size and not (rewards.min() >= low and rewards.max() <= high):
        raise EvaluationError(
            f"rewards lie outside of [{low:g}, {high:g}]",
            field="rewards",
            value=(float(rewards.min()), float(rewards.max())),
        )
    before = np.arange(scores.score.size)
    earlier = np.concatenate([[0.0], np.cumsum(scores.score)])[:-1] if before.size else np.zeros(0)
    centre = np.divide(earlier, before, out=np.full(before.size, 0.5 * (low + high)), where=before > 0)
    weights = np.where(scores.is_canary, 1.0 / share, 1.0 / (1.0 - share))
    x = (scores.score - centre) * np.where(scores.is_canary, weights, -weights)
    bound = (high - low) / min(share, 1.0 - share)
    difference = anytime_estimate(x, alpha, bound=bound, weights=weights)
    verdict, reason = _verdict(difference, scores.is_canary, share)
    return CanaryVerdict(
        verdict=verdict,
        difference=difference,
        n_users=x.size,
        n_canary_users=int(scores.is_canary.sum()),
        reason=reason,
    )


def _verdict(
    difference: Estimate, is_canary: BoolArray, share: float
) -> tuple[Literal["better", "worse", "undecided"], str]:
    n, n_canary = is_canary.size, int(is_canary.sum())
    if not n:
        return "undecided", "too_few_users: no user has had enough events"
    shown = f"{difference.value:+.4f} reward per list, {difference.low:+.4f} to {difference.high:+.4f}"
    behind = f"on {n} users, {n_canary} of them in the canary"
    indicator = is_canary.astype(np.float64)
    least = lower_bound(indicator, 0.5 * _RATIO_ALPHA, floor=0.0)
    most = upper_bound(indicator, 0.5 * _RATIO_ALPHA, ceiling=1.0)
    if not least <= share <= most:
        return "undecided", (
            f"sample_ratio: {n_canary} of {n} users are in the canary where {share:.1%} were due: the split is not the"
            " one assumed, or one arm loses users or events"
        )
    # both ends can be refuted when the effect changed on the way: what began well and turned is not decided
    if difference.low > 0.0 and min(difference.value, difference.high) > 0.0:
        return "better", f"better: {shown}, {behind}"
    if difference.high < 0.0 and max(difference.value, difference.low) < 0.0:
        return "worse", f"worse: {shown}, {behind}"
    return "undecided", f"not_yet: {shown}, {behind}"
