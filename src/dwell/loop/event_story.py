"""All that a store holds of one event, as plain values: for a terminal, a page, or a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dwell.errors import UnknownEventError
from dwell.records import Impression, Signal
from dwell.storage import Outcome, Reader

__all__ = ["event_story", "story_of"]


def event_story(reader: Reader, event_id: str) -> dict[str, Any]:
    """Return all that a store holds of one event, as plain values.

    "state" tells what it is: that of a recorded list, "quarantined" (with "reasons") or "orphan" (with the "signals"
    that wait for it).

    Args:
        reader: The facts.
        event_id: Which.

    Raises:
        UnknownEventError: Nothing is known of it.
    """
    state = reader.event(event_id)
    impressions = [] if state is None else reader.impressions([state.seq])
    outcomes = [] if state is None else reader.outcomes([state.seq])
    if not impressions or not outcomes:
        return _not_served(reader, event_id)
    return story_of(reader, impressions[0], outcomes[0], reader.signals([impressions[0].seq])[impressions[0].seq])


def story_of(reader: Reader, impression: Impression, outcome: Outcome, signals: Sequence[Signal]) -> dict[str, Any]:
    """Return all that is known of a recorded list, as plain values."""
    documents = _documents(impression, outcome, signals)
    n_served = len(impression.served)
    return {
        "event_id": impression.event_id,
        "seq": impression.seq,
        "state": outcome.state,
        "served_at": impression.served_at,
        "closed_at": outcome.closed_at,
        "query": impression.query,
        "user": impression.user,
        "segment": impression.segment,
        "mode": impression.mode,
        "policy": impression.policy,
        "arm": impression.arm,
        "params_version": impression.params_version,
        "own_weights": _own_weights(reader, impression),
        "temperature": impression.temperature,
        "is_deterministic": impression.is_deterministic,
        "is_shown": impression.is_shown,
        "is_altered": impression.is_altered,
        "teams": list(impression.teams),
        "swap_pair": impression.swap_pair or None,
        "is_swapped": impression.is_swapped,
        "n_candidates": impression.n_candidates,
        "features": list(impression.feature_names) if impression.has_features else [],
        "served": documents[:n_served],
        "unserved": documents[n_served:],
        "list_signals": [_signal(signal) for signal in signals if signal.doc is None],
        "reward": outcome.reward,
        "reward_version": outcome.reward_version or None,
        "examination_version": outcome.examination_version or None,
        "priority": outcome.priority,
        "predicted_reward": outcome.predicted_reward,
        "version": outcome.version,
    }


def _own_weights(reader: Reader, impression: Impression) -> dict[str, float] | None:
    """Return the weights by which the event was scored, or None where they were those of every query."""
    params = reader.params(impression.params_version) if impression.policy == "params" else None
    if params is None:
        return None
    where: dict[str, Any] = {"segment": impression.segment, "query_embedding": impression.query_embedding}
    return None if params.shift(**where) is None else dict(params.weights_for(**where))


def _documents(impression: Impression, outcome: Outcome, signals: Sequence[Signal]) -> list[dict[str, Any]]:
    """Return the served documents in the order shown, then those of the others whose features were kept."""
    kept = {doc: i for i, doc in enumerate(impression.documents)}
    of_document: dict[str, list[dict[str, Any]]] = {}
    for signal in signals:
        if signal.doc is not None:
            of_document.setdefault(signal.doc, []).append(_signal(signal))
    found = []
    others = [doc for doc in impression.documents if doc not in set(impression.served)]
    for rank, doc in enumerate((*impression.served, *others)):
        is_served, at = rank < len(impression.served), kept.get(doc)
        rewards = outcome.document_rewards if is_served else None
        found.append(
            {
                "rank": rank + 1 if is_served else None,
                "id": doc,
                "score": None if at is None else float(impression.scores[impression.document_scores[at]]),
                "propensity": float(impression.propensities[rank])
                if is_served and rank < len(impression.propensities)
                else None,
                "inclusion": None if at is None else float(impression.inclusion[at]),
                "exposure": None if at is None or outcome.exposure is None else float(outcome.exposure[at]),
                "reward": None if rewards is None or rank >= len(rewards) else float(rewards[rank]),
                "features": _features(impression, at),
                "signals": of_document.get(doc, []),
            }
        )
    return found


def _features(impression: Impression, at: int | None) -> dict[str, float]:
    if at is None or not impression.has_features:
        return {}
    return dict(zip(impression.feature_names, impression.features[at].tolist(), strict=True))


def _signal(signal: Signal) -> dict[str, Any]:
    return {"name": signal.name, "value": signal.value, "at": signal.at, "received_at": signal.received_at}


def _not_served(reader: Reader, event_id: str) -> dict[str, Any]:
    """Return what is known of an event that was never recorded.

    Raises:
        UnknownEventError: Nothing is.
    """
    quarantined = reader.quarantined(event_id=event_id)
    if quarantined:
        reasons = [{"at": q.at, "reason": q.reason} for q in quarantined]
        return {"event_id": event_id, "state": "quarantined", "reasons": reasons}
    orphans = reader.orphans(event_id)
    if orphans:
        signals = [_signal(signal) | {"doc": signal.doc} for signal in orphans]
        return {"event_id": event_id, "state": "orphan", "signals": signals}
    raise UnknownEventError(
        "no such event in this store",
        field="event_id",
        value=event_id,
        hint="It may have been erased or removed; `dwell inspect STORE` lists the newest ones.",
    )
