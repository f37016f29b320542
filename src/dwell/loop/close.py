"""The second half of the second arrow: when a window is over, signals become reward, and exposure is computed once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dwell.ranking import Exposure, deterministic_exposure, expected_exposure, named_generator, policy_scores
from dwell.records import Impression, Signal
from dwell.records.arrays import Float32Array
from dwell.records.experience import ExperienceState
from dwell.replay.priority import priority_of
from dwell.reward.compute import compute_reward
from dwell.reward.examination import Examination
from dwell.reward.presets import RewardPreset
from dwell.reward.swaps import examined_given_pair
from dwell.storage import EventState, Outcome, Transaction

__all__ = ["Rules", "close_one", "exposed_under", "logged_exposure", "reopen"]


class Rules(NamedTuple):
    """How signals become reward.

    Attributes:
        preset: The named, versioned reward function.
        examination: How likely users look at each position.
        attribution_window_s: How long signals are waited for.
        late_window_s: How long after the close a signal still reopens an event.
    """

    preset: RewardPreset
    examination: Examination
    attribution_window_s: float
    late_window_s: float


def logged_exposure(impression: Impression, examination: Examination) -> Exposure | None:
    """Return the expected examination of each kept document under the policy that served; None without features.

    A pure function of what was logged: the draws are seeded by the event id. Of a list with a drawn pair it is the
    exposure given that pair, over both sides of the coin; None where the pair was cut apart when the list was shown.
    """
    n, pair = impression.n_served, impression.swap_pair
    if not impression.has_features or not impression.is_policys or (pair and pair == n):
        return None
    theta = examination.theta(n)
    if 0 < pair < n:
        theta = examined_given_pair(theta, pair)
    if impression.is_deterministic:
        position = {doc: i for i, doc in enumerate(impression.served)}
        order = np.array([position.get(doc, -1) for doc in impression.documents])
        value = np.where(order >= 0, theta[np.maximum(order, 0)], 0.0)
        return deterministic_exposure(np.arange(0), theta, len(order))._replace(value=value)
    if impression.policy == "external":  # one document, drawn elsewhere: the scores are the logs of its chances
        value = np.exp(impression.scores[impression.document_scores].astype(np.float64)) * theta[0]
        value[0] = impression.propensities[0] * theta[0]
        return Exposure(value, np.zeros(len(value)))
    z = policy_scores(impression.scores, impression.temperature, spread=impression.score_sd)
    if np.isfinite(impression.rest_logsumexp):
        # the unlogged tail competes as one document: it holds the lightest candidates, so it is rarely placed twice
        scale = impression.temperature * max(impression.score_sd, 1e-9)
        z = np.append(z, impression.rest_logsumexp - float(impression.scores.max()) / scale)
    rng = named_generator(b"", "exposure", impression.event_id)
    found = expected_exposure(z, theta, rng)
    return Exposure(found.value[impression.document_scores], found.standard_error[impression.document_scores])


def exposed_under(impression: Impression, outcome: Outcome, examination: Examination | None) -> Outcome:
    """Return an outcome whose exposure stands on an examination; as it is where none is given, or it has no exposure.

    Args:
        impression: What was served.
        outcome: What came of it.
        examination: The one in force, or None.
    """
    if examination is None or outcome.exposure is None or outcome.examination_version == examination.version:
        return outcome
    found = logged_exposure(impression, examination)
    if found is None:
        return outcome
    return dataclasses.replace(
        outcome, exposure=found.value.astype(np.float32), examination_version=examination.version
    )


def _rewarded(
    outcome: Outcome, impression: Impression, signals: Sequence[Signal], rules: Rules, state: ExperienceState
) -> Outcome:
    """Return an outcome with its reward computed from all signals so far, one version on."""
    theta = rules.examination.theta(impression.n_served)
    result = compute_reward(rules.preset, impression.served, signals, theta)
    return dataclasses.replace(
        outcome,
        state=state,
        version=outcome.version + 1,
        reward=result.reward,
        priority=priority_of(result.reward, outcome.predicted_reward or 0.0),
        document_rewards=_float32(result.document_rewards),
        reward_version=rules.preset.reward_version,
    )


def _float32(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Float32Array:
    return values.astype(np.float32)


def close_one(
    tx: Transaction,
    event: EventState,
    impression: Impression,
    exposure: Exposure | None,
    rules: Rules,
    *,
    predicted_reward: float | None = None,
) -> Outcome | None:
    """Close an open event inside a transaction; return its outcome, or None where it is no longer open.

    An event that was never shown gets no reward: nothing was observed.
    """
    found = tx.outcomes([event.seq])
    if not found or found[0].state != "open":
        return None
    before = dataclasses.replace(found[0], predicted_reward=predicted_reward)
    signals = tx.signals([event.seq]).get(event.seq, [])
    outcome = dataclasses.replace(
        _rewarded(before, impression, signals, rules, "closed"),
        closed_at=event.served_at + rules.attribution_window_s,
        exposure=None if exposure is None else _float32(exposure.value),
        exposure_se=None if exposure is None else _float32(exposure.standard_error),
        examination_version=rules.examination.version,
    )
    return outcome if tx.put_outcome(outcome, expected_version=before.version) else None


def reopen(tx: Transaction, event: EventState, rules: Rules) -> bool:
    """Compute a closed event's reward again from all its signals; return whether it was done."""
    outcomes, impressions = tx.outcomes([event.seq]), tx.impressions([event.seq])
    if not outcomes or not impressions:
        return False
    signals = tx.signals([event.seq]).get(event.seq, [])
    outcome = _rewarded(outcomes[0], impressions[0], signals, rules, "reopened")
    return tx.put_outcome(outcome, expected_version=outcomes[0].version)
