"""Whole experiences, read from the facts: what a person looks at, and what leaves through an export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dwell.errors import UnknownEventError
from dwell.records import Experience, Impression, Params, Signal
from dwell.reward.compute import RewardResult, compute_reward
from dwell.reward.examination import Examination
from dwell.reward.presets import RewardPreset
from dwell.storage import Outcome, Reader

__all__ = ["experience_of", "read_experience", "reward_of", "weights_on"]


def reward_of(
    impression: Impression,
    outcome: Outcome,
    signals: Sequence[Signal],
    *,
    preset: RewardPreset,
    examination: Examination,
) -> RewardResult:
    """Return what the signals so far give under the rewards of now; what stood at the close is in `outcome`."""
    is_over = outcome.state not in {"open", "not_shown"}
    theta = examination.theta(impression.n_served)
    return compute_reward(preset, impression.served, signals, theta, is_window_over=is_over)


def experience_of(
    impression: Impression,
    outcome: Outcome,
    signals: Sequence[Signal],
    weights: Mapping[str, float],
    *,
    preset: RewardPreset,
    examination: Examination,
) -> Experience:
    """Return one experience from its facts.

    While an event is open its reward is what its signals so far would give, and its state says that it may change.
    """
    result = reward_of(impression, outcome, signals, preset=preset, examination=examination)
    rewards = result.document_rewards if outcome.document_rewards is None else outcome.document_rewards
    features = (
        {doc: impression.features[i] for i, doc in enumerate(impression.documents)} if impression.has_features else {}
    )
    score = {
        doc: float(impression.scores[i])
        for doc, i in zip(impression.documents, impression.document_scores, strict=True)
    }
    served: list[dict[str, Any]] = []
    for i, doc in enumerate(impression.served):
        shown: dict[str, Any] = {"id": doc, "rank": i + 1}
        if doc in score:
            shown["score"] = score[doc]
        if doc in features:
            shown |= {name: float(v) for name, v in zip(impression.feature_names, features[doc], strict=True)}
        served.append(shown)
    return Experience(
        event_id=impression.event_id,
        timestamp=impression.served_at,
        query=impression.query,
        query_embedding=[] if impression.query_embedding is None else impression.query_embedding.tolist(),
        results_served=served,
        ranking_params=dict(weights),
        feedback_signals=result.signals,
        reward=result.reward if outcome.reward is None else outcome.reward,
        priority=outcome.priority,
        params_version=impression.params_version,
        mode=impression.mode,
        temperature=impression.temperature,
        policy=impression.policy,
        arm=impression.arm,
        user=impression.user,
        segment=impression.segment,
        propensities=impression.propensities.tolist(),
        document_rewards={doc: float(r) for doc, r in zip(impression.served, rewards, strict=False)},
        document_signals=result.document_signals,
        candidates=[
            {"id": doc, "score": score[doc], "inclusion": float(p)}
            for doc, p in zip(impression.documents, impression.inclusion, strict=True)
        ],
        n_candidates=impression.n_candidates,
        state=outcome.state,
        version=outcome.version,
        keep_probability=impression.keep_probability,
        reward_version=outcome.reward_version or preset.reward_version,
        seq=outcome.seq,
        predicted_reward=outcome.predicted_reward,
    )


def weights_on(version: Params, impression: Impression) -> Mapping[str, float]:
    """Return the weights that an event was scored by: its segment and embedding may have added to them."""
    embedding = impression.query_embedding
    if version.by_query is not None and embedding is not None and len(embedding) != len(version.by_query.v):
        embedding = None  # logged by somebody else's ranker, from another model: this version never scored it
    return version.weights_for(segment=impression.segment, query_embedding=embedding)


def read_experience(
    reader: Reader, seq: int, *, preset: RewardPreset, examination: Examination, params: Callable[[int], Params | None]
) -> Experience:
    """Return one experience by its seq.

    Raises:
        UnknownEventError: It is not there, or was erased.
    """
    impressions, outcomes = reader.impressions([seq]), reader.outcomes([seq])
    if not impressions or not outcomes:
        raise UnknownEventError("no such event in this store", field="seq", value=seq, hint="It may have been erased.")
    version = params(impressions[0].params_version)
    return experience_of(
        impressions[0],
        outcomes[0],
        reader.signals([seq]).get(seq, []),
        {} if version is None else weights_on(version, impressions[0]),
        preset=preset,
        examination=examination,
    )
