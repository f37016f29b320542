"""Judging as a loop judges: its own functions, an examination measured from the events before, and its band.

What a loop does before a proposal stands is done here: examination is measured from the lists that the live policy drew
and their clicks, taken over where it differs materially from 1/k, and its band goes with the proposal. The control
"assumed" leaves all of that out and computes with 1/k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from dwell.evaluation import Evidence
from dwell.learning.predictor import Predictor, PredictorSums, fit_predictor
from dwell.loop.judge import Band, Bench, Judgement, evidence_of
from dwell.ranking import expected_exposure, named_generator, policy_scores
from dwell.reward.examination import HarvestSums, PositionBased
from dwell.reward.measuring import Measured, examination_after, measure
from study.judging_logs import MAX_IMPORTANCE, TEMPERATURE, THETA, Field, Log, Proposal
from study.worlds import FloatArray

__all__ = ["WAYS", "Before", "before", "exposed_anew", "first_events", "judged", "predictor_of"]

WAYS: Final = ("loop", "assumed")


class Before(NamedTuple):
    """What is known before a proposal is judged, from events that do not judge it.

    Attributes:
        predictor: Fitted to them.
        theta: float64 (k,), the examination in force.
        band: Between what it lies, or None for the control.
        measured: What the log said of it, or None for the control.
    """

    predictor: Predictor
    theta: FloatArray
    band: Band | None = None
    measured: Measured | None = None


class _Ranked(NamedTuple):
    """A policy as a loop knows it: scores of documents, whose one feature is their number in the field."""

    scores: FloatArray
    temperature: float
    version: int
    origin: str = "learned"
    feature_names: tuple[str, ...] = ("document",)

    def score(self, features: FloatArray) -> FloatArray:
        return self.scores[features[..., 0].astype(np.int64)]


class _Numbered(NamedTuple):
    """The predictor's features of documents, by their number."""

    features: FloatArray

    def phi(self, features: FloatArray) -> FloatArray:
        return self.features[features[..., 0].astype(np.int64)]


def predictor_of(field: Field, log: Log, rewards: FloatArray, theta: FloatArray = THETA) -> Predictor:
    """Return the relevance predictor that these events determine; it must not judge them."""
    sums = PredictorSums.empty(field.features[0].shape[1])
    k = theta.size
    for start in range(0, len(log.rows), 200):
        part = range(start, min(start + 200, len(log.rows)))
        phi = np.concatenate([field.features[log.question[i]][log.order[i][:k]] for i in part])
        n = len(part)
        sums = sums.plus(phi, rewards[part.start : part.stop].ravel(), np.tile(theta, n), np.ones(n * k))
    return fit_predictor(sums)


def before(field: Field, log: Log, rewards: FloatArray, way: str = "loop") -> Before:
    """Return what events and their clicks say before anything is proposed.

    Args:
        field: The questions.
        log: What was served.
        rewards: Clicks, float64 (n, k).
        way: "loop", or "assumed" for the control.
    """
    if way == "assumed":
        return Before(predictor_of(field, log, rewards), THETA)
    assumed = PositionBased()
    harvested = HarvestSums.of(np.array([row.propensities for row in log.rows]), rewards)
    measured = measure(assumed, THETA.size, harvested=harvested)
    theta = examination_after(assumed, measured).theta(THETA.size)
    return Before(predictor_of(field, log, rewards, theta), theta, Band.of(measured), measured)


def exposed_anew(field: Field, log: Log, theta: FloatArray) -> Log:
    """Return a log whose exposure is that under an examination, drawn as a loop draws it; itself where that is 1/k."""
    if (theta == THETA).all():
        return log
    rows = []
    for row, question, order in zip(log.rows, log.question.tolist(), log.order, strict=True):
        z = policy_scores(field.live[question], TEMPERATURE)
        rng = named_generator(b"", "exposure", row.event_id)
        rows.append(replace(row, exposure=expected_exposure(z, theta, rng).value[order]))
    return log._replace(rows=tuple(rows))


def judged(field: Field, log: Log, proposed: Proposal, known: Before, *, temperature: float = TEMPERATURE) -> Evidence:
    """Return what a loop makes of a log about a proposal, before its clicks are known: they all are 0.

    Exposure must be that under the examination in force. Every event is another user's, and nobody is held out.
    """
    starts = np.concatenate([[0], np.cumsum([scores.size for scores in field.live])])
    rows = [
        replace(row, features=(starts[question] + order)[:, None].astype(np.float32))
        for row, question, order in zip(log.rows, log.question.tolist(), log.order, strict=True)
    ]
    live = _Ranked(np.concatenate(field.live), TEMPERATURE, 1)
    bench = Bench(
        proposed=_Ranked(np.concatenate(proposed), temperature, 2),
        safe=live,
        mode="live",
        space=_Numbered(np.concatenate(field.features)),
        predictors=(known.predictor, known.predictor),
        theta=known.theta,
        max_importance_weight=MAX_IMPORTANCE,
        band=known.band,
    )
    found = evidence_of(Judgement(bench, {}), rows, held_out=[], versions={1: live}, attempt=1, most=len(rows))
    # how well clicks fit is a note that decides nothing, and there are no clicks yet
    return replace(found, findings=[one for one in found.findings if one.severity != "warn"])


def first_events(evidence: Evidence, rewards: Sequence[FloatArray], n: int, *, attempt: int = 1) -> Evidence:
    """Return the evidence of the first events alone, with their clicks."""
    return replace(
        evidence,
        events=evidence.events[:n],
        rewards=list(rewards[:n]),
        n_users=n,
        n_effective_users=float(n),
        weights=None if evidence.weights is None else evidence.weights[:n],
        users=evidence.users[:n],
        attempt=attempt,
    )
