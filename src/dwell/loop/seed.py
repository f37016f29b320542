"""The founding document's own functions, by its names, done right.

They work on a `ReplayBuffer` and on anybody's `ranking_model` (`compute_gradient`, `update_params`) and
`reward_predictor` (`predict`). What differs from the document, and why: the reward reaches the model unscaled, and a
temporal weight acts once; prioritised draws come with the weights that correct for them; an age is never negative;
users are users, not prefixes of event ids.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np

from dwell.errors import ReplayError
from dwell.records import Batch, Experience, checks
from dwell.records.arrays import FloatArray
from dwell.replay import ReplayBuffer
from dwell.replay.priority import priority_of

__all__ = [
    "RankingModel",
    "RewardModel",
    "add_experience_with_priority",
    "buffer_health_report",
    "compute_priority",
    "temporal_weight",
    "train_from_replay",
    "train_with_temporal_weighting",
]

HALF_LIFE_HOURS: Final = 168.0  # founding document, temporal_weight: one week
TEMPORAL_LEARNING_RATE: Final = 0.01  # founding document, train_with_temporal_weighting
MAX_SHARE: Final = 0.5  # dominated: one group makes up more than all others together
MIN_JUDGED: Final = 20  # below it a majority is chance: 11 of 20 from a group of a quarter has probability 0.004


class RankingModel(Protocol):
    """Anything that can be trained by these functions."""

    def compute_gradient(
        self,
        *,
        query: Sequence[float],
        results: Sequence[Mapping[str, Any]],
        reward: float,
        old_params: Mapping[str, float],
    ) -> Any:  # noqa: ANN401 - whatever update_params of the same model takes
        """Return the direction in which the params would have earned more reward."""
        ...

    def update_params(self, gradient: Any, *, learning_rate: float) -> Any:  # noqa: ANN401 - its own gradient
        """Move the params along the gradient."""
        ...


class RewardModel(Protocol):
    """Anything that predicts a reward."""

    def predict(self, query_embedding: Sequence[float], ranking_params: Mapping[str, float], /) -> float:
        """Return the reward to expect."""
        ...


def compute_priority(experience: Experience, predicted_reward: float) -> float:
    """Return `|reward - predicted| + 0.1 |reward| + 0.01`: how surprising and how extreme it was, above 0.

    Raises:
        RecordError: The prediction is not a finite number.
    """
    return priority_of(experience.reward, checks.finite(predicted_reward, "predicted_reward"))


def add_experience_with_priority(buffer: ReplayBuffer, experience: Experience, reward_predictor: RewardModel) -> None:
    """Set the experience's priority from what the predictor expected, and add it.

    Raises:
        RecordError: The prediction is not a finite number; nothing was added.
        ReplayError: As `ReplayBuffer.add`.
    """
    predicted = reward_predictor.predict(experience.query_embedding, experience.ranking_params)
    experience.priority = compute_priority(experience, float(predicted))
    buffer.add(experience)


def train_from_replay(
    buffer: ReplayBuffer,
    ranking_model: RankingModel,
    batch_size: int = 64,
    learning_rate: float = 0.01,
    *,
    now: float | None = None,
    rng: np.random.Generator | None = None,
) -> int:
    """Draw a batch by priority, make one update per drawn experience, and return the number of updates.

    Each update is `compute_gradient` with the reward as it is, then `update_params` with `learning_rate` times the
    sampling weight: on average over the batch the given rate, and free of the bias of the priorities.

    Args:
        buffer: Where to draw from.
        ranking_model: What to train.
        batch_size: Experiences to draw, repeats included. With fewer kept nothing happens and 0 is returned.
        learning_rate: Finite step size.
        now: Checked, and without effect: see `ReplayBuffer.sample`.
        rng: Source of the draw; the buffer's own when not given.

    Raises:
        RecordError: `batch_size` is no int above 0, or a number is not finite.
        ReplayError: `batch_size` is above 2**20.
    """
    rate = checks.finite(learning_rate, "learning_rate")
    n_due = checks.positive_integer(batch_size, "batch_size")
    with buffer.held():
        if buffer.size() < n_due:
            return 0
        batch = buffer.sample(n_due, strategy="priority", now=now, rng=rng)
        experiences = batch.experiences
    return _updated(ranking_model, experiences, rate * batch.sampling_weights)


def temporal_weight(experience: Experience, current_time: float, half_life_hours: float = HALF_LIFE_HOURS) -> float:
    """Return 2^(-age / half-life), in (0, 1]: 1 now, a half one half-life ago; an age below 0 counts as 0.

    Args:
        experience: Its `timestamp` is UTC epoch seconds.
        current_time: UTC epoch seconds.
        half_life_hours: Above 0.

    Raises:
        RecordError: A number is not finite.
        ReplayError: The half-life is not above 0.
    """
    half_life = checks.finite(half_life_hours, "half_life_hours")
    if half_life <= 0.0:
        raise ReplayError(
            "a half-life is above 0", field="half_life_hours", value=half_life_hours, hint="Pass hours, such as 168."
        )
    age_hours = max(checks.finite(current_time, "current_time") - experience.timestamp, 0.0) / 3600.0
    return math.exp2(-age_hours / half_life)


def train_with_temporal_weighting(
    buffer: ReplayBuffer,
    ranking_model: RankingModel,
    batch_size: int = 64,
    *,
    now: float | None = None,
    rng: np.random.Generator | None = None,
) -> int:
    """Draw a batch by priority, make one update per draw with older ones counting less; return their number.

    The learning rate of each update is 0.01 times its sampling weight times its `temporal_weight`, which is absolute:
    a batch all one half-life old moves the params half as far. The sampling weight removes the priorities only, also
    where the buffer has a `half_life_s`: the decay acts once.

    Args:
        buffer: Where to draw from; with fewer than `batch_size` kept, as many are drawn, and none from an empty one.
        ranking_model: What to train.
        batch_size: Experiences to draw, repeats included.
        now: The instant that ages are measured from, UTC epoch seconds; the clock when not given.
        rng: Source of the draw; the buffer's own when not given.

    Raises:
        RecordError: `batch_size` is no int above 0, or `now` is no instant.
        ReplayError: `batch_size` is above 2**20.
    """
    current_time = time.time() if now is None else checks.timestamp(now, "now")
    n_due = checks.positive_integer(batch_size, "batch_size")
    with buffer.held():
        if buffer.size() == 0:
            return 0
        batch = buffer.sample(min(n_due, buffer.size()), strategy="priority", now=current_time, rng=rng)
        experiences = batch.experiences
    ages = np.array([temporal_weight(experience, current_time) for experience in experiences])
    return _updated(ranking_model, experiences, TEMPORAL_LEARNING_RATE * ages * _towards_uniform(batch))


def buffer_health_report(buffer: ReplayBuffer, *, now: float | None = None) -> dict[str, Any]:
    """Return what the buffer holds, in figures, by the founding document's keys and some more.

    `{"status": "empty"}` for an empty buffer. Otherwise:

    * size, capacity_pct (size / capacity, a fraction in [0, 1]), avg_reward, reward_std (sample; 0 for one),
    * avg_age_hours, oldest_hours, newest_hours: ages, a timestamp in the future counting as 0,
    * unique_contexts: different users; an experience without a user counts by its query instead,
    * n_users, n_without_user, n_future_timestamps, n_segments, max_segment_share, max_user_share,
    * effective_priority_n: 1 / sum of p^2 over priority shares, the number of experiences that priority draws see,
    * alerts: codes, "dominated_by_segment", "dominated_by_user", "future_timestamps"; status: "warning" with any
      alert, else "healthy". Dominated: more than half, among at least 20 with a known segment or user.

    Args:
        buffer: What to report on.
        now: The instant that ages are measured from, UTC epoch seconds; the clock when not given.

    Raises:
        RecordError: `now` is no instant.
    """
    current_time = time.time() if now is None else checks.timestamp(now, "now")
    experiences = list(buffer.buffer)
    if not experiences:
        return {"status": "empty"}
    n = len(experiences)
    rewards = [experience.reward for experience in experiences]
    ages_hours = [max(current_time - experience.timestamp, 0.0) / 3600.0 for experience in experiences]
    users = Counter(experience.user for experience in experiences if experience.user is not None)
    segments = Counter(experience.segment for experience in experiences if experience.segment is not None)
    queries = {experience.query for experience in experiences if experience.user is None}
    n_future = sum(experience.timestamp > current_time for experience in experiences)
    alerts = [
        code
        for code, holds in (
            ("dominated_by_segment", _is_dominated(segments)),
            ("dominated_by_user", _is_dominated(users)),
            ("future_timestamps", n_future > 0),
        )
        if holds
    ]
    return {
        "status": "warning" if alerts else "healthy",
        "size": n,
        "capacity_pct": n / buffer.capacity,
        "avg_reward": statistics.fmean(rewards),
        "reward_std": statistics.stdev(rewards) if n > 1 else 0,
        "avg_age_hours": statistics.fmean(ages_hours),
        "unique_contexts": len(users) + len(queries),
        "oldest_hours": max(ages_hours),
        "newest_hours": min(ages_hours),
        "n_users": len(users),
        "n_without_user": n - users.total(),
        "n_future_timestamps": n_future,
        "n_segments": len(segments),
        "max_segment_share": max(segments.values(), default=0) / n,
        "max_user_share": max(users.values(), default=0) / n,
        "effective_priority_n": _effective_n([experience.priority for experience in experiences], buffer.alpha),
        "alerts": alerts,
    }


def _updated(model: RankingModel, experiences: Sequence[Experience], rates: FloatArray) -> int:
    for experience, rate in zip(experiences, rates.tolist(), strict=True):
        gradient = model.compute_gradient(
            query=experience.query_embedding,
            results=experience.results_served,
            reward=experience.reward,
            old_params=experience.ranking_params,
        )
        model.update_params(gradient, learning_rate=rate)
    return len(experiences)


def _towards_uniform(batch: Batch) -> FloatArray:
    """Return weights of mean 1 that correct for the priorities alone, whatever the buffer's target is."""
    weights: FloatArray = batch.sampling_probabilities.min() / batch.sampling_probabilities
    weights /= weights.mean()
    return weights


def _is_dominated(counts: Counter[str]) -> bool:
    n_known = counts.total()
    return n_known >= MIN_JUDGED and max(counts.values()) > MAX_SHARE * n_known


def _effective_n(priorities: Sequence[float], alpha: float) -> float:
    largest = max(priorities)
    if largest == 0.0:
        return float(len(priorities))
    masses = (np.array(priorities) / largest) ** alpha * (np.array(priorities) > 0.0)
    return float(masses.sum() ** 2 / (masses**2).sum())
