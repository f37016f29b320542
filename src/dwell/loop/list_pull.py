"""Where one list alone pulls the weights: its own term of the gradient that the learner climbs."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from dwell.errors import LearningError
from dwell.learning.learner import LearnerSettings, Lists, score_slope, terms_of
from dwell.learning.protocol import OBJECTIVES
from dwell.loop.channels import is_split
from dwell.loop.expected import Expected
from dwell.ranking import named_generator
from dwell.records import Params
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow, stack_rows

__all__ = ["STARTING_SCORE", "list_pull"]

#: What the weight of the starting ranker's own score is called beside those of the features.
STARTING_SCORE: Final = "starting score"
# Rankings drawn for the one list: 16 times the learner's, whose noise many lists average out; 3 ms for 64 documents
_N_SAMPLES: Final = 256
_LEARNER_TEMPERATURE: Final = 0.3  # as `train`: where serving draws nothing, the default policy is differentiated


def list_pull(
    row: EventRow,
    live: Params,
    expected: Expected | None,
    *,
    theta: FloatArray,
    n_events: float,
    settings: LearnerSettings,
) -> dict[str, float] | None:
    """Return by how much this list's expected reward grows per unit of each weight, at the live params; or None.

    It is the list's own term of the gradient, in the learner's standardised units, before sampling weights, caps and
    the optimiser: what the learner made of it together with all other lists is another thing. None where nothing has
    been learned yet, where the live params weigh otherwise than the reward predictor, or where the learner is one whose
    steps are no sum over lists of this kind (PDGD, dislikes or trust with a click model of their own).

    Args:
        row: The list as the learner reads it.
        live: The live params.
        expected: The reward predictor in force.
        theta: float64 (k,), examination per position.
        n_events: Effective number of events behind the log, >= 0.
        settings: The learner's.
    """
    objective = OBJECTIVES.get(settings.objective)
    is_plain = objective is not None and not is_split(settings) and not live.is_adjusted
    if expected is None or not is_plain or objective is None:
        return None
    space = expected.space
    if space.feature_names != live.feature_names or (space.raw_weights is None and live.transform is None):
        return None
    vector, phi = space.vector(live), space.phi(row.features)[None]
    scores = phi @ vector
    lists = Lists(stack_rows([row]), phi, scores, np.ones(1))
    try:
        terms = terms_of(
            (expected.predictor, expected.predictor),
            theta=theta,
            temperature=live.temperature or _LEARNER_TEMPERATURE,
            n_events=n_events,
            settings=replace(settings, n_samples=_N_SAMPLES),
            objective=objective,
        )
    except LearningError:
        return None  # a predictor that is not finite speaks of nothing
    slope = score_slope(lists, scores, terms, named_generator(b"", "pull", row.event_id))
    found = (slope.gradient[0] @ phi[0]).tolist()
    names = (*space.feature_names, STARTING_SCORE)[: len(found)]
    return dict(zip(names, found, strict=True)) if np.isfinite(found).all() else None
