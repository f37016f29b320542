"""A challenger of boosted trees: grown on what the loop may learn from, judged by users it never learns from.

Trees are not served. The verdict says whether a weighted sum is what holds the ranking back; `docs/learners.md` says
how to serve them: their score as one more feature, whose weight the loop learns and the gate judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.errors import ConfigError
from dwell.evaluation import decide
from dwell.learning.learner import Lists
from dwell.learning.predictor import Predictor
from dwell.learning.protocol import Scorer
from dwell.learning.space import Space, space_for
from dwell.learning.trees import TreeRows, TreeScorer, TreeSettings, learn_trees, tree_rows
from dwell.loop.caps import Caps, caps_of
from dwell.loop.examining import band_of
from dwell.loop.judge import Bench, Judgement, evidence_of
from dwell.loop.keep import take_in
from dwell.loop.promote import next_attempt
from dwell.loop.standing import heed_embeddings, versions_of
from dwell.loop.state import LoopState
from dwell.loop.train import fit_predictors
from dwell.records import Estimate, GateDecision
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow, stack_rows

__all__ = ["Challenge", "Lessons", "challenge", "grounds_of", "judge_scorer", "lessons_of"]

_NOTHING: Final = Estimate(0.0, -np.inf, np.inf, 0, 0.0)
_FITTING_ROWS: Final = 1_000  # as `loop.train`: more rows do not move 64 knots
_AT_ONCE: Final = 256  # events stacked together, as `loop.train`


@dataclass(frozen=True, slots=True, eq=False)
class Challenge:
    """A challenger and what the gate says of it.

    Attributes:
        scorer: The trees, or None where there was too little to grow or to judge them.
        decision: The verdict against what users get now, from held-out users' events; in no ledger, and nothing moved.
            Trees have no version: `proposed_version` is 0.
        n_learned_from: Events that they were grown on.
    """

    scorer: TreeScorer | None
    decision: GateDecision
    n_learned_from: int = 0


class Lessons(NamedTuple):
    """What challengers are grown on, and what predicts rewards where they are judged.

    Attributes:
        rows: Events that may be learned from, in close order, at least one.
        caps: How much each event and each document may teach.
        space: The live params' space, in which the predictors live.
        folds: Predictors fitted to queries of fold 0 and of fold 1.
        both: Predictor fitted to all of them.
    """

    rows: Sequence[EventRow]
    caps: Caps
    space: Space
    folds: tuple[Predictor, Predictor]
    both: Predictor


class _Challenger(NamedTuple):
    """A scorer as it is judged: at the loop's own temperature, and learned, so that its scores order."""

    scorer: Scorer
    temperature: float
    origin: str = "learned"

    def score(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return the scores of documents."""
        return self.scorer.score(features)


def challenge(state: LoopState, kind: object, settings: TreeSettings | None, now: float) -> Challenge:
    """Return trees grown on the events that may be learned from, and the gate's verdict on them. Nothing moves.

    The same for the same events, live params and settings.

    Args:
        state: The loop; its training lock is held.
        kind: "lightgbm" or "xgboost", or None for that of the settings.
        settings: How to grow them; the defaults when not given.
        now: UTC epoch seconds.

    Raises:
        ConfigError: An unknown kind, another than that of the settings, or settings of another type.
        MissingDependencyError: The library is not installed; the message has the command.
    """
    wanted = _settings(kind, settings)
    take_in(state)
    heed_embeddings(state)
    rows, judges = state.replayed.trainable(), state.replayed.held_out()
    if not judges:
        return Challenge(None, _held(state, "no closed event of a held-out user can judge trees", now))
    if not rows or not state.feature_names:
        return Challenge(None, _held(state, "no closed event can be learned from", now))
    lessons = lessons_of(state, rows)
    scorer = learn_trees(grounds_of(state, lessons), state.feature_names, wanted)
    return Challenge(scorer, judge_scorer(state, scorer, lessons, now), len(rows))


def _settings(kind: object, settings: object) -> TreeSettings:
    if settings is None:
        return TreeSettings() if kind is None else TreeSettings(kind=kind)  # type: ignore[arg-type]  # refused there
    if not isinstance(settings, TreeSettings):
        raise ConfigError(
            "TreeSettings are due here", field="settings", value=settings, hint="dwell.learning.trees has them."
        )
    if kind is not None and kind != settings.kind:
        raise ConfigError(
            f"the settings are for {settings.kind}", field="kind", value=kind, hint="Name the library in one of them."
        )
    return settings


def _held(state: LoopState, words: str, now: float) -> GateDecision:
    return GateDecision(
        "hold",
        [f"too_few_events: {words}"],
        _NOTHING,
        safe_version=state.live.version,
        kind="evaluated",
        decided_at=now,
    )


def lessons_of(state: LoopState, rows: Sequence[EventRow]) -> Lessons:
    """Return what can be learned from rows, at least one, that are not held out."""
    # evenly spread over the events, not drawn: there is nothing to seed, and what came first is not all there is
    spread = rows[:: max(1, len(rows) // _FITTING_ROWS)]
    features = np.concatenate([row.features for row in spread])
    space = space_for(state.live, features[:: max(1, len(features) // _FITTING_ROWS)])
    caps = caps_of(rows)
    fold0, fold1, both = fit_predictors(rows, space, state.theta(), ridge=state.config.learner.ridge, caps=caps)
    return Lessons(rows, caps, space, (fold0, fold1), both)


def grounds_of(state: LoopState, lessons: Lessons) -> TreeRows:
    """Return every document with its estimated relevance; what the caps withhold is withheld from trees as well."""
    lists, praise = [], []
    for start in range(0, len(lessons.rows), _AT_ONCE):
        some = lessons.rows[start : start + _AT_ONCE]
        batch = stack_rows(some)
        phi = np.zeros((*batch.is_document.shape, lessons.space.size))
        phi[batch.is_document] = lessons.space.phi(batch.features[batch.is_document])
        nobody = np.zeros(batch.is_document.shape)  # trees stay in no trust region: no safe policy is asked
        lists.append(Lists(batch, phi, nobody, np.array([lessons.caps.event(row) for row in some])))
        praise.append(lessons.caps.praised(some, phi.shape[1])[batch.is_document])
    grounds = tree_rows(lists, lessons.folds, theta=state.theta(), n_events=float(len(lessons.rows)))
    credit, capped = grounds.relevance, np.concatenate(praise)
    return grounds._replace(relevance=np.where(credit > 0.0, credit * capped, credit))


def judge_scorer(state: LoopState, scorer: Scorer, lessons: Lessons, now: float) -> GateDecision:
    """Return the gate's verdict on a scorer against what users get now, from held-out users' events. Nothing moves.

    Args:
        state: The loop; its training lock is held, and its memory is up to date.
        scorer: What orders documents; it learned from nothing but the lessons.
        lessons: What it was grown on.
        now: UTC epoch seconds.
    """
    gate = state.config.gate
    rows = state.replayed.held_out()[-gate.max_judged_events :]
    if not rows:
        return _held(state, "no closed event of a held-out user can judge it", now)
    bench = Bench(
        proposed=_Challenger(scorer, state.live.temperature),
        safe=state.live,
        mode=state.mode,
        space=lessons.space,
        # fitted to other users' events, none of which judges: nothing is left to cross-fit
        predictors=(lessons.both, lessons.both),
        theta=state.theta(),
        max_importance_weight=gate.max_importance_weight,
        band=band_of(state),
    )
    with state.store.snapshot() as reader:
        attempt = next_attempt(reader.decisions())
    evidence = evidence_of(
        Judgement(bench, {}),
        rows,
        held_out=[],  # they are what judges
        versions=versions_of(state, rows),
        attempt=attempt,
        most=len(rows),
        segments=state.replayed.segment_names(),
    )
    return decide(evidence, gate, proposed_version=0, safe_version=state.live.version, now=now, kind="evaluated")
