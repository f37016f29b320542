"""Why a list was ranked as it was, what it earned and for what, and what became of the experience made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np

from dwell.loop.event_story import event_story, story_of
from dwell.loop.expected import stored_predictor
from dwell.loop.list_pull import list_pull
from dwell.loop.rows import aligned_features, event_row
from dwell.loop.state import LoopState
from dwell.ranking import contributions, order_of, standardised_contributions
from dwell.records import Impression, Params, Signal
from dwell.records.arrays import FloatArray
from dwell.reward.parts import RewardParts, reward_parts
from dwell.storage import Outcome, Reader

__all__ = ["Fate", "Inspection", "RankedDocument", "Scoring", "inspected", "versions_asked"]

_MOST_VERSIONS: Final = 100  # newest versions that are asked whether they learned from a list
_LEAST_VERSIONS: Final = 8
_MOST_WEIGHTS: Final = 2_000  # in all of them: reading a version costs 0.08 ms a feature, and who asks waits
_OVER: Final = frozenset({"closed", "reopened", "evicted"})


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """Where a document stood, and would stand now.

    Attributes:
        doc: Its id.
        place: As shown, from 1; None for one that was not served.
        callers_place: In the order in which the caller gave the candidates, from 1; None for one without features.
        live_place: By the live params without exploration, among the documents whose features were kept, from 1.
        live_score: Its score by the live params.
        parts: {feature: by how much it lifted the document above the mean of those kept, in standard deviations of
            their scores} by the params that served it; empty where none did.
        live_parts: The same by the live params.
    """

    doc: str
    place: int | None
    callers_place: int | None
    live_place: int | None
    live_score: float | None
    parts: Mapping[str, float]
    live_parts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Scoring:
    """By what documents were scored.

    Attributes:
        version: Version of the params.
        weights: {feature: weight for this query}, in the units of the params.
        is_learned: Whether the weights act on standardised features.
    """

    version: int
    weights: Mapping[str, float]
    is_learned: bool


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of the experience.

    Attributes:
        is_held_out: Whether it only judges.
        obstacle: Why nothing can be learned from it, in words; "" where it can.
        learned_by: Versions that were made when it lay before the learner, oldest first: each of them looked at it
            once while it was new, and may have drawn it again later.
        judged: Versions that were made before it was served and judged after it was over, oldest first.
        pull: {weight: how the list's expected reward grows with it}, see `list_pull`; None where that is not known.
    """

    is_held_out: bool
    obstacle: str
    learned_by: tuple[int, ...]
    judged: tuple[int, ...]
    pull: Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that is known of one event.

    Attributes:
        story: As `event_story` returns it.
        documents: The served ones in the order shown, then the others whose features were kept; none for an event that
            was not recorded.
        served_by: What scored it, or None where the order was somebody else's.
        live: What the live params would score it by, or None where it has no features or they have no weights.
        rewards: Its reward in parts; None before there is one, or where it was computed by other rules than today's.
        fate: What became of the experience; None for an event that was not recorded.
    """

    story: dict[str, Any]
    documents: tuple[RankedDocument, ...] = ()
    served_by: Scoring | None = None
    live: Scoring | None = None
    rewards: RewardParts | None = None
    fate: Fate | None = None


@dataclass(slots=True)
class _Scored:
    scoring: Scoring | None = None
    scores: FloatArray | None = None
    parts: dict[str, dict[str, float]] = field(default_factory=dict)


def inspected(state: LoopState, event_id: str) -> Inspection:
    """Return all that is known of one event.

    Args:
        state: The loop.
        event_id: Which.

    Raises:
        UnknownEventError: Nothing is known of it.
    """
    with state.store.snapshot() as reader:
        event = reader.event(event_id)
        impressions = [] if event is None else reader.impressions([event.seq])
        outcomes = [] if event is None else reader.outcomes([event.seq])
        if not impressions or not outcomes:
            return Inspection(event_story(reader, event_id))
        impression, outcome = impressions[0], outcomes[0]
        signals = reader.signals([impression.seq])[impression.seq]
        served = _scored(impression, reader.params(impression.params_version), is_due=impression.policy == "params")
        live = _scored(impression, state.live, is_due=True)
        return Inspection(
            story=story_of(reader, impression, outcome, signals),
            documents=_documents(impression, served, live),
            served_by=served.scoring,
            live=live.scoring,
            rewards=_rewards(state, impression, outcome, signals),
            fate=_fate(state, reader, impression, outcome),
        )


def _scored(impression: Impression, params: Params | None, *, is_due: bool) -> _Scored:
    if params is None or not is_due or not impression.has_features or not params.weights:
        return _Scored()
    where: dict[str, Any] = {"segment": impression.segment}
    if params.by_query is not None and impression.query_embedding is not None:
        if len(impression.query_embedding) != len(params.by_query.v):
            return _Scored()
        where["query_embedding"] = impression.query_embedding
    names, features = params.feature_names, aligned_features(impression, params.feature_names)
    parts = standardised_contributions(contributions(params, features, **where))
    by_document = {
        doc: dict(zip(names, row, strict=True)) for doc, row in zip(impression.documents, parts.tolist(), strict=True)
    }
    scoring = Scoring(params.version, dict(params.weights_for(**where)), params.transform is not None)
    return _Scored(scoring, params.score(features, **where), by_document)


def _documents(impression: Impression, served: _Scored, live: _Scored) -> tuple[RankedDocument, ...]:
    callers = [int(i) + 1 for i in impression.document_scores]
    at = {doc: i for i, doc in enumerate(impression.documents)}
    places = {} if live.scores is None else {i: n for n, i in enumerate(order_of(live.scores, np.array(callers)), 1)}
    shown = set(impression.served)
    found = []
    for rank, doc in enumerate((*impression.served, *(doc for doc in impression.documents if doc not in shown))):
        i = at.get(doc)
        found.append(
            RankedDocument(
                doc=doc,
                place=rank + 1 if rank < len(impression.served) else None,
                callers_place=None if i is None else callers[i],
                live_place=None if i is None else places.get(i),
                live_score=None if i is None or live.scores is None else float(live.scores[i]),
                parts=served.parts.get(doc, {}),
                live_parts=live.parts.get(doc, {}),
            )
        )
    return tuple(found)


def _rewards(
    state: LoopState, impression: Impression, outcome: Outcome, signals: Sequence[Signal]
) -> RewardParts | None:
    """Return the parts of the reward as it stands in the store, or of what it would be while the event is open."""
    rules, is_over = state.rules, outcome.state in _OVER
    if not impression.served or (is_over and outcome.reward_version != rules.preset.reward_version):
        return None
    theta = rules.examination.theta(impression.n_served)
    found = reward_parts(rules.preset, impression.served, signals, theta, is_window_over=is_over)
    if not is_over or outcome.document_rewards is None:
        return found
    kept = outcome.document_rewards
    # the list's own share moves with the examination, which may have been measured anew since
    same = len(kept) == len(found.documents) and np.allclose(kept, [one.reward for one in found.documents], atol=1e-6)
    return found if same else None


def _fate(state: LoopState, reader: Reader, impression: Impression, outcome: Outcome) -> Fate:
    names = state.feature_names
    limits = state.limits
    row = event_row(impression, outcome, feature_names=names, salt=state.identity.salt, holdout=limits.holdout)
    if row is None:
        return Fate(False, _obstacle(impression, outcome), (), (), None)
    learned, judged = _versions(reader, outcome, versions_asked(len(names)))
    counts = reader.counts()
    pull = list_pull(
        row,
        state.live,
        stored_predictor(reader, names),
        theta=state.theta(),
        n_events=float(min(counts.get("closed", 0) + counts.get("reopened", 0), limits.capacity)),
        settings=state.config.learner,
    )
    return Fate(row.is_held_out, "", () if row.is_held_out else learned, judged, pull)


def _obstacle(impression: Impression, outcome: Outcome) -> str:
    if not impression.has_features:
        return "it was logged without features: there is nothing that weights could act on"
    if not impression.is_shown:
        return "it was never shown"
    if not impression.is_policys:
        return "no single policy chose the order that was shown"
    if outcome.state == "open":
        return "its attribution window is not over yet"
    return "its exposure under the policy that served it is not known"


def versions_asked(n_features: int) -> int:
    """Return how many of the newest versions are asked whether they learned from a list."""
    return min(max(_MOST_WEIGHTS // max(n_features, 1), _LEAST_VERSIONS), _MOST_VERSIONS)


def _versions(reader: Reader, outcome: Outcome, most: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the learned versions that had this event before them, and those that it judged."""
    last_look = {decision.proposed_version: decision.decided_at for decision in reader.decisions()}
    learned, judged = [], []
    closed_at = outcome.closed_at
    for version in reader.params_versions()[-most:]:
        body = reader.setting(f"learned:{version}")
        params = reader.params(version) if body and closed_at is not None else None
        if not body or params is None or closed_at is None:
            continue
        if outcome.seq <= msgspec.msgpack.decode(body, type=int):
            if closed_at <= params.created_at:
                learned.append(version)
        elif closed_at <= last_look.get(version, -1.0):
            judged.append(version)
    return tuple(learned), tuple(judged)
