"""What was learned from one served list: impression, joined signals, reward and priority in one value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any, Literal

from dwell.errors import RecordError
from dwell.records import checks

__all__ = ["Experience", "ExperienceState"]

ExperienceState = Literal["open", "closed", "reopened", "not_shown", "evicted"]

_NO_NUMBERS: Mapping[str, float] = {}


@dataclass(slots=True, eq=False)
class Experience:
    r"""One retrieval interaction: the nine fields of the seed, in its order, and what a counterfactual needs.

    All fields are frozen, except that `priority` may be assigned until the experience is added to a buffer
    (`ReplayBuffer.add` keeps a sealed copy).

    Attributes:
        event_id: Identity, matches `[\w.:/@-]{1,128}`.
        timestamp: When the list was served, UTC epoch seconds, >= 0.
        query: The request, at most 64 KB.
        query_embedding: The request's vector; finite numbers, at most 8,192; empty where there is none.
        results_served: The list as shown: a mapping per document with "id", "rank" (from 1), "score" and features.
        ranking_params: Weights in force when the list was served, {name: finite float}.
        feedback_signals: Signals joined so far, {name: finite float}, aggregated per name.
        reward: Reward of the whole list, in [-1, 1].
        priority: How much replaying it is worth, finite, >= 0, stored raw.
        params_version: Version of `ranking_params`, >= 0.
        mode: Mode of the loop when it was served.
        temperature: Exploration temperature, >= 0.
        policy: "params", "caller" or "external".
        arm: "live", "canary", "baseline", "interleave" or "swap".
        user: Pseudonym or None.
        segment: Group of queries, or None.
        propensities: P(document i | those above it) per served document, each in (0, 1]; empty where unknown.
        document_rewards: Reward per document id, each in [-1, 1].
        document_signals: Aggregated signals per document id.
        candidates: What is logged of the candidate set: a mapping per kept document with "id", "score" and
            "inclusion" (probability with which it was kept, in (0, 1]).
        n_candidates: Number of candidates of the call, >= 0.
        state: "open", "closed", "reopened", "not_shown" or "evicted".
        version: Counts recomputations of the reward, >= 0.
        keep_probability: Probability with which an event like this one was kept, in (0, 1].
        reward_version: Name and version of the function that computed the reward.
        seq: Position in the store's order; 0 outside a store.
        predicted_reward: What the reward predictor expected of the list before its reward was known, in [-1, 1], or
            None.
    """

    event_id: str
    timestamp: float
    query: str
    query_embedding: Sequence[float]
    results_served: Sequence[Mapping[str, Any]]
    ranking_params: Mapping[str, float]
    feedback_signals: Mapping[str, float]
    reward: float
    priority: float = 1.0
    params_version: int = 0
    mode: str = "live"
    temperature: float = 0.0
    policy: str = "params"
    arm: str = "live"
    user: str | None = None
    segment: str | None = None
    propensities: Sequence[float] = ()
    document_rewards: Mapping[str, float] = field(default_factory=dict)
    document_signals: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    candidates: Sequence[Mapping[str, Any]] = ()
    n_candidates: int = 0
    state: ExperienceState = "closed"
    version: int = 0
    keep_probability: float = 1.0
    reward_version: str = ""
    seq: int = 0
    predicted_reward: float | None = None
    _is_sealed: bool = field(default=False, init=False, repr=False)
    _is_built: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        checks.event_id(self.event_id)
        checks.timestamp(self.timestamp, "timestamp")
        checks.query_text(self.query)
        if len(self.query_embedding):
            checks.embedding(self.query_embedding)
        for name, numbers in (("ranking_params", self.ranking_params), ("feedback_signals", self.feedback_signals)):
            for key, number in numbers.items():
                checks.finite(number, f"{name}.{key}")
        checks.within(self.reward, "reward", -1.0, 1.0, code="reward_range")
        _check_priority(self.priority)
        if self.predicted_reward is not None:
            checks.within(self.predicted_reward, "predicted_reward", -1.0, 1.0, code="reward_range")
        for i, propensity in enumerate(self.propensities):
            _check_probability(propensity, f"propensities[{i}]", "propensity_range")
        for doc, number in self.document_rewards.items():
            checks.within(number, f"document_rewards.{doc}", -1.0, 1.0, code="reward_range")
        _check_probability(self.keep_probability, "keep_probability", "range")
        object.__setattr__(self, "_is_built", True)

    def __setattr__(self, name: str, value: object) -> None:
        if getattr(self, "_is_built", False):
            if name != "priority":
                raise FrozenInstanceError(
                    f"an Experience is frozen: {name!r} can not be assigned, use dataclasses.replace"
                )
            if self._is_sealed:
                raise FrozenInstanceError(
                    "this Experience is in a buffer: use ReplayBuffer.update_priorities to change its priority"
                )
            _check_priority(value)
        object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Experience):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self) if f.init)

    __hash__ = None  # type: ignore[assignment]

    def sealed(self) -> Experience:
        """Return a copy whose priority can no longer be assigned."""
        copy = dataclasses.replace(self)
        object.__setattr__(copy, "_is_sealed", True)
        return copy


def _check_priority(value: object) -> None:
    number = checks.finite(value, "priority")
    if number < 0.0:
        raise RecordError(
            "a priority is at least 0",
            code="priority",
            field="priority",
            value=value,
            hint="Pass the raw error's magnitude.",
        )


def _check_probability(value: object, field_name: str, code: str) -> None:
    number = checks.finite(value, field_name)
    if not 0.0 < number <= 1.0:
        raise RecordError(
            "a probability of something that happened is in (0, 1]",
            code=code,
            field=field_name,
            value=value,
            hint="Log the probability at serving time; leave it out where it is unknown.",
        )


def _same(left: object, right: object) -> bool:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_same(left[k], right[k]) for k in left)
    if isinstance(left, str) or isinstance(right, str):
        return left == right
    if (
        hasattr(left, "__len__")
        and hasattr(right, "__len__")
        and hasattr(left, "__iter__")
        and hasattr(right, "__iter__")
    ):
        return len(left) == len(right) and all(_same(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)
