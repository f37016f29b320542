"""How much one user or one document may weigh, and how much one user moved an estimate.

A batch is capped by water-filling: totals above a level are cut to it, and the level is a multiple of the mean of what
remains. A stream that is tested while it grows is capped by what was seen before each event only, so that weights never
change afterwards and a betting test on the weighted values stays valid.

Caps are per account. Many fake accounts are many users here: nothing in this module sees that they are one person.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from dwell.errors import EvaluationError
from dwell.records.arrays import BoolArray, FloatArray, HashArray, IntArray

__all__ = [
    "MAX_DOCUMENT_SHARE",
    "MAX_USER_FACTOR",
    "UserInfluence",
    "capped_level",
    "document_factor",
    "document_weights",
    "sequential_user_weights",
    "user_influence",
    "user_weights",
]

MAX_USER_FACTOR: Final = 3.0  # a choice: as many average users as one account may stand for
MAX_DOCUMENT_SHARE: Final = 0.05  # a choice: of all positive credit
_TOP: Final = 3


class UserInfluence(NamedTuple):
    """How far a mean moves when users are left out.

    Attributes:
        value: The mean of all events.
        without_one: The mean without the most influential user; nan where nobody else remains.
        without_three: The mean without the three most influential users; nan where nobody else remains.
    """

    value: float
    without_one: float
    without_three: float


def _checked(user_hashes: HashArray, has_user: BoolArray | None) -> BoolArray:
    if user_hashes.ndim != 1 or user_hashes.dtype != np.uint64:
        raise EvaluationError(
            "hashes are due as uint64 (n,)", field="hashes", value=(user_hashes.dtype, user_hashes.shape)
        )
    if has_user is None:
        return np.ones(user_hashes.size, dtype=np.bool_)
    if has_user.shape != user_hashes.shape or has_user.dtype != np.bool_:
        raise EvaluationError("one bool per event is due", field="has_user", value=(has_user.dtype, has_user.shape))
    return has_user


def _checked_factor(max_user_factor: float) -> None:
    if not (math.isfinite(max_user_factor) and max_user_factor >= 1.0):
        raise EvaluationError("a factor is a finite number >= 1", field="max_user_factor", value=max_user_factor)


def _numbered(user_hashes: HashArray, has_user: BoolArray) -> tuple[IntArray, int]:
    """Return each event's user as a number, and how many there are; all events without a user share the last one."""
    found, inverse = np.unique(user_hashes[has_user], return_inverse=True)
    users = np.full(user_hashes.size, found.size, dtype=np.int64)
    users[has_user] = inverse
    return users, found.size + int(not has_user.all())


def capped_level(totals: FloatArray, factor: float) -> float:
    """Return the largest C with C = factor * mean(min(totals, C)), or inf where no total lies above it.

    Args:
        totals: (n,) of each user, or document, in any order, n >= 1.
        factor: >= 1.
    """
    ordered = np.sort(totals)
    below = np.cumsum(ordered)[::-1]  # sum of all but the j largest, j = 0, 1, ...
    room = totals.size - factor * np.arange(totals.size)
    levels = np.divide(factor * below, room, out=np.full(totals.size, np.inf), where=room > 0.0)
    j = int(np.argmax(ordered[::-1] <= levels * (1.0 + 1e-12)))  # the fewest cut that leave nobody above the level
    return math.inf if j == 0 else float(levels[j])


def user_weights(
    user_hashes: HashArray, *, has_user: BoolArray | None = None, max_user_factor: float = MAX_USER_FACTOR
) -> FloatArray:
    """Return a weight in (0, 1] per event: no user's total exceeds the factor times the mean of the capped totals.

    With no more users than the factor nobody can exceed it, and all weights are 1.

    Args:
        user_hashes: uint64 (n,).
        has_user: bool (n,), whether the event names a user; all that name none count as one user together, since
            leaving out the name must not be a way around the cap. None where all name one.
        max_user_factor: >= 1; at 1 all users weigh as much as the smallest.

    Raises:
        EvaluationError: Wrong types or shapes, or a factor below 1.
    """
    known = _checked(user_hashes, has_user)
    _checked_factor(max_user_factor)
    if not user_hashes.size:
        return np.zeros(0)
    users, n_users = _numbered(user_hashes, known)
    totals = np.bincount(users, minlength=n_users).astype(np.float64)
    weights: FloatArray = np.minimum(1.0, capped_level(totals, max_user_factor) / totals)[users]
    return weights


def sequential_user_weights(
    user_hashes: HashArray, *, has_user: BoolArray | None = None, max_user_factor: float = MAX_USER_FACTOR
) -> FloatArray:
    """Return a weight in [0, 1] per event that is fixed by its user and the users before it, float64 (n,).

    A user's total may grow to the factor times the mean total of the OTHER named users seen so far, that mean counting
    as at least 1; what is above weighs nothing. The weights of a prefix never change as the sequence grows. The
    product of weight and value is bet on: this tests the mean of capped users, "E[w x | the past] <= 0", not the mean
    of events.

    Args:
        user_hashes: uint64 (n,), in the order in which the events are tested.
        has_user: bool (n,); events without a user share one cap as soon as anybody is named, and weigh 1 before.
        max_user_factor: >= 1.

    Raises:
        EvaluationError: Wrong types or shapes, or a factor below 1.
    """
    known = _checked(user_hashes, has_user)
    _checked_factor(max_user_factor)
    users, n_users = _numbered(user_hashes, known)
    totals, weights = [0.0] * n_users, [0.0] * users.size
    is_seen = [False] * n_users
    named_total, n_named = 0.0, 0
    for i, (user, is_named) in enumerate(zip(users.tolist(), known.tolist(), strict=True)):
        own = totals[user]
        if is_named:
            if not is_seen[user]:
                is_seen[user] = True
                n_named += 1
            others = n_named - 1
            mean = (named_total - own) / others if others else 1.0
        else:
            mean = named_total / n_named if n_named else math.inf
        room = max_user_factor * (max(1.0, mean)) - own
        weight = 1.0 if room >= 1.0 else max(0.0, room)
        weights[i] = weight
        totals[user] = own + weight
        if is_named:
            named_total += weight
    return np.array(weights)


def document_weights(doc_hashes: HashArray, credit: FloatArray, *, max_share: float = MAX_DOCUMENT_SHARE) -> FloatArray:
    """Return a weight in (0, 1] per credit: no document keeps more than its share of all positive credit that is kept.

    The share is `max_share`, or that of three average documents with positive credit, whichever is more. Credit at or
    below zero keeps weight 1.

    Args:
        doc_hashes: uint64 (n,).
        credit: (n,), finite.
        max_share: In (0, 1].

    Raises:
        EvaluationError: Wrong types or shapes, credit that is not finite, or a share outside (0, 1].
    """
    _checked(doc_hashes, None)
    if credit.shape != doc_hashes.shape or not np.isfinite(credit).all():
        raise EvaluationError("one finite credit per document is due", field="credit", value=credit.shape)
    if not 0.0 < max_share <= 1.0:
        raise EvaluationError("a share lies in (0, 1]", field="max_share", value=max_share)
    weights = np.ones(credit.size)
    positive = credit > 0.0
    if positive.any():
        found, docs = np.unique(doc_hashes[positive], return_inverse=True)
        totals = np.bincount(docs, weights=credit[positive]).astype(np.float64)
        level = capped_level(totals, document_factor(found.size, max_share))
        weights[positive] = np.minimum(1.0, level / totals)[docs]
    return weights


def document_factor(n_documents: int, max_share: float = MAX_DOCUMENT_SHARE) -> float:
    """Return how many average documents one may weigh, of so many with positive credit."""
    return max(max_share * n_documents, MAX_USER_FACTOR)


def user_influence(x: FloatArray, user_hashes: HashArray, *, has_user: BoolArray | None = None) -> UserInfluence:
    """Return how far the mean of x moves without its most influential user, and without the top three.

    Args:
        x: (n,), finite, n >= 1.
        user_hashes: uint64 (n,).
        has_user: bool (n,); events without a user count as one user.

    Raises:
        EvaluationError: Nothing given, wrong types or shapes, or values that are not finite.
    """
    known = _checked(user_hashes, has_user)
    if x.shape != user_hashes.shape or not x.size or not np.isfinite(x).all():
        raise EvaluationError("one finite value per event is due, of at least one", field="x", value=x.shape)
    users, n_users = _numbered(user_hashes, known)
    sums, counts = np.bincount(users, weights=x, minlength=n_users), np.bincount(users, minlength=n_users)
    total, n, value = float(x.sum()), x.size, float(x.mean())
    left = n - counts
    without = np.divide(total - sums, left, out=np.full(n_users, value), where=left > 0)
    order = np.argsort(-np.abs(without - value), kind="stable")

    def mean_without(top: IntArray) -> float:
        remaining = n - int(counts[top].sum())
        return (total - float(sums[top].sum())) / remaining if remaining else math.nan

    return UserInfluence(value, mean_without(order[:1]), mean_without(order[:_TOP]))
