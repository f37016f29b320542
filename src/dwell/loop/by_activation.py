"""The proposal of the learner that needs no buffer: activation orders, beside the starting formula where there is one.

There is nothing to fit: activation learns with every event, and what is proposed is only that it counts, a step at a
time: what the live params have hardly ever shown can not be judged. The gate judges each step as any proposal, on
events that were served after it was made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from dwell.activation import FEATURES
from dwell.config import Config
from dwell.learning.learner import Learned, LearnerSettings, bounded
from dwell.learning.predictor import Predictor
from dwell.learning.space import space_for
from dwell.loop.caps import caps_of
from dwell.loop.train import Learning, Standardised, fit_predictors, fitting_features
from dwell.records import Params
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow

__all__ = ["counts_already", "hastened", "is_activations_turn", "propose_activation"]


# Distance of unit vectors: 14 degrees. At 60 degrees at once, half of a proposal's exposure went to documents that were
# hardly ever shown, and the gate promoted none of them (docs/experiments.md).
_STEP: Final = 0.25
_MOST_HALVED: Final = 4
_NEAR: Final = 0.5 * _STEP  # replay's own steps are not undone: several calls' worth of them
_THERE: Final = 1e-6


def counts_already(live: Params, max_weight: float) -> bool:
    """Return whether the params in force weigh activation as much as is ever proposed: it learns on by itself."""
    if live.transform is None or live.weights.get(FEATURES[0], 0.0) <= 0.0:
        return False
    most = np.sqrt(0.5) if live.raw_score is not None else 1.0
    return live.weights[FEATURES[0]] / live.norm() >= min(most, max_weight) - _THERE


def is_activations_turn(learner: str, live: Params, attempt: int) -> bool:
    """Return whether the next proposal is activation's.

    Where both learn, activation proposes once, first, where it has no weight yet: it needs no fitting, and what replay
    makes of some hundred events is a small step that stands until thousands have judged it (docs/experiments.md).
    Replay goes on from there.
    """
    return learner == "activation" or (learner == "both" and attempt == 1 and live.weights.get(FEATURES[0]) == 0.0)


def propose_activation(
    live: Params,
    rows: Sequence[EventRow],
    *,
    attempt: int,
    version: int,
    theta: FloatArray,
    config: Config,
    now: float,
    rng: np.random.Generator,
) -> Learning:
    """Return params by which activation counts more than in the live ones.

    Where it leads, a few promotions on: beside a starting formula, one nat of activation weighs as much as one standard
    deviation of its score; without one activation orders alone.

    Args:
        live: Params in force.
        rows: What may be learned from, at least one: the predictor that helps to judge is fitted to it.
        attempt: Number of the proposal to these live params, from 1: each time the step is half as long.
        version: Number of the new version.
        theta: (k,) examination per position.
        config: Settings.
        now: UTC epoch seconds.
        rng: Chooses the rows that the feature map is fitted to.
    """
    space = space_for(live, fitting_features(rows, rng))
    fold0, fold1, both = fit_predictors(
        rows, space, theta, ridge=config.learner.ridge, standardised=Standardised(space, rows), caps=caps_of(rows)
    )
    start, vector = space.vector(live), np.zeros(space.size)
    if space.raw_weights is not None:
        vector[-1] = 1.0
    vector[live.feature_names.index(FEATURES[0])] = 1.0
    vector, moved, was_cut = bounded(vector, start, _stepping(attempt, config.learner))
    params = space.params(vector, version=version, parent=live, created_at=now)
    learned = Learned(vector, 1, moved, was_cut, {})
    served_by = Counter(row.params_version for row in rows)
    return Learning(params, learned, both, "steps", {}, 0, served_by, {}, (fold0, fold1))


def hastened(
    learned: Learned,
    start: FloatArray,
    predictor: Predictor,
    *,
    names: Sequence[str],
    attempt: int,
    settings: LearnerSettings,
) -> Learned:
    """Return what replay learned, a whole step nearer to what the reward predictor weighs where that is far away.

    Which way each weight goes is replay's to say: one that it moves away from the predictor's stays as it was learned.
    A step of replay's is made for weights that are about right, as a starting formula's are: beside one, near to the
    predictor, and where nothing was learned, it decides alone. Equal weights may point anywhere, and activation begins
    with none. Evidence and age are left to replay altogether: what is served often has much of the first, and would be
    served more often for it.

    Args:
        learned: By replay.
        start: (p,) the live params at norm 1.
        predictor: Fitted to all that may be learned from, in the same space.
        names: Of the features, in order.
        attempt: Number of the proposal to these live params, from 1: each time the step is half as long.
        settings: Its bounds hold for the whole.
    """
    if start.size > len(names) or not learned.n_steps:
        return learned
    aim = predictor.beta[:-1].copy()
    aim[[names.index(name) for name in FEATURES[1:]]] = 0.0
    size = float(np.linalg.norm(aim))
    if size < _THERE or float(np.linalg.norm(aim / size - start)) <= _NEAR:
        return learned
    is_agreed = (learned.vector - start) * (aim / size - learned.vector) > 0.0
    aim = np.where(is_agreed, aim / size, learned.vector)
    nearer = bounded(aim, learned.vector, _stepping(attempt, settings))[0]
    vector, moved, was_cut = bounded(nearer, start, settings)
    return replace(learned, vector=vector, step_norm=moved, was_bounded=learned.was_bounded or was_cut)


def _stepping(attempt: int, settings: LearnerSettings) -> LearnerSettings:
    """Return settings under which a step is as long as it may be in this attempt."""
    step = min(_STEP * 0.5 ** min(attempt - 1, _MOST_HALVED), settings.max_step_norm)
    return replace(settings, max_step_norm=step)
