"""Everything measured on one set under one kind of user, and the figures that tables and bars are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Final, NamedTuple, TypeVar

import numpy as np

from study.baselines import Literal
from study.scoring import ndcg_per_question
from study.simulation import Checkpoint, Run
from study.statistics import Comparison, compared
from study.worlds import FloatArray, World

__all__ = [
    "DWELL",
    "EARLY_EVENTS",
    "FROZEN",
    "FROZEN_LONG",
    "FULL_EVENTS",
    "FULL_SEEDS",
    "LINEAR",
    "LITERAL",
    "LOGGING",
    "ON_LABELS",
    "RIVALS",
    "TREES",
    "UNGATED",
    "WITHOUT_CHANCE",
    "Promotion",
    "Study",
    "best_setting",
    "difference",
    "literal_choice",
    "promotions_of",
]

LOGGING: Final = "logging policy"
LITERAL: Final = "founding document's trainer, literal"
DWELL: Final = "dwell (gated, defaults)"
UNGATED: Final = "dwell, ungated"
LINEAR: Final = "linear, full labels"
TREES: Final = "LambdaMART, full labels"
ON_LABELS: Final = (LINEAR, TREES)
WITHOUT_CHANCE: Final = frozenset({LOGGING, LINEAR, TREES})  # the same in every seed

FROZEN: Final = "dwell on the frozen log, defaults"
FROZEN_LONG: Final = "dwell on the frozen log, ten times the steps"
RIVALS: Final = (
    "VW cb_explore_adf, first slot",
    "VW cb_explore_adf, all slots",
    "PDGD, on-line",
    "unbiased LambdaMART",
    "naive click-through, PL-Rank",
)

EARLY_EVENTS: Final = 100
FULL_EVENTS: Final = 10_000
FULL_SEEDS: Final = 5
_BOOTSTRAP_SEED: Final = 5

K = TypeVar("K")


class Promotion(NamedTuple):
    """A change of the live params by `train`.

    Attributes:
        n_events: Events served before it.
        test: Change of mean nDCG@10 on the test questions.
        train: The same on the questions that users ask.
    """

    n_events: int
    test: float
    train: float


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything measured on one set under one kind of user; sequences are by seed, and empty where not asked for.

    Attributes:
        world: The set.
        user: Click model.
        n_events: Events per run.
        gated: Runs with the default gate.
        ungated: Runs in which each retrain goes live.
        early: Runs of 100 events, trained after 50 and after 100, {DWELL or UNGATED: runs}.
        literal: The founding document's trainer.
        rivals: {ranker: float64 (s, q)}, others and dwell on the same frozen log; PDGD on-line.
        labelled: {LINEAR or TREES: float64 (q,)}, nDCG@10 per test question.
    """

    world: World
    user: str = "pbm"
    n_events: int
    gated: Sequence[Run] = ()
    ungated: Sequence[Run] = ()
    early: Mapping[str, Sequence[Run]] = field(default_factory=dict)
    literal: Sequence[Literal] = ()
    rivals: Mapping[str, FloatArray] = field(default_factory=dict)
    labelled: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def n_seeds(self) -> int:
        """How many seeds were run."""
        counts = [len(self.gated), len(self.ungated), len(self.literal), *(len(one) for one in self.rivals.values())]
        return max(counts)

    @property
    def is_full(self) -> bool:
        """Whether the bars apply: 10,000 events, 5 seeds."""
        return self.n_events >= FULL_EVENTS and self.n_seeds >= FULL_SEEDS

    @property
    def has_early(self) -> bool:
        """Whether the first 100 events were looked at."""
        return bool(self.early)

    @cached_property
    def logging(self) -> FloatArray:
        """The starting ranker's figures, float64 (q,)."""
        weights = np.array([self.world.weights[name] for name in self.world.feature_names])
        return ndcg_per_question(lambda features: features.astype(np.float64) @ weights, self.world.test)

    @cached_property
    def figures(self) -> dict[str, FloatArray]:
        """nDCG@10 per ranker at the end, float64 (s, q), or (1, q) for one without chance in it."""
        found = {LOGGING: self.logging[None, :]}
        if self.literal:
            found[LITERAL] = literal_choice(self.literal)[1]
        for name, runs in self.loops.items():
            found[name] = np.stack([run.checkpoints[-1].test for run in runs])
        found |= self.rivals
        return found | {name: figures[None, :] for name, figures in self.labelled.items()}

    @property
    def loops(self) -> dict[str, Sequence[Run]]:
        """The loops that were run, {DWELL or UNGATED: runs}."""
        return {name: runs for name, runs in ((DWELL, self.gated), (UNGATED, self.ungated)) if runs}

    def curve(self, name: str) -> FloatArray:
        """Return mean nDCG@10 of a loop, float64 (s, c), per seed and checkpoint."""
        return np.array([[float(point.test.mean()) for point in run.checkpoints] for run in self.loops[name]])

    def has_point(self, name: str, n_events: int) -> bool:
        """Return whether it is known what a loop had live after so many events."""
        return any(point.n_events == n_events for point in self._points(name, n_events)[0])

    def means_at(self, name: str, n_events: int) -> FloatArray:
        """Return mean nDCG@10 of what a loop had live after so many events, float64 (s,)."""
        return np.array(
            [
                next(float(point.test.mean()) for point in reversed(points) if point.n_events == n_events)
                for points in self._points(name, n_events)
            ]
        )

    def _points(self, name: str, n_events: int) -> list[tuple[Checkpoint, ...]]:
        runs = self.early.get(name, ()) if n_events <= EARLY_EVENTS else self.loops.get(name, ())
        return [run.checkpoints for run in runs] or [()]


def difference(study: Study, one: str, other: str) -> Comparison:
    """Return how two rankers of a study differ, at the end."""
    return compared(study.figures[one], study.figures[other], np.random.default_rng(_BOOTSTRAP_SEED))


def promotions_of(checkpoints: Sequence[Checkpoint]) -> list[Promotion]:
    """Return what went live, in order, with what it changed."""
    return [
        Promotion(after.n_events, float(after.test.mean() - before.test.mean()), after.train - before.train)
        for before, after in pairwise(checkpoints)
        if after.version != before.version
    ]


def best_setting(by_seed: Sequence[Mapping[K, FloatArray]]) -> tuple[K, FloatArray]:
    """Return the setting with the best mean over seeds on the test questions, and its figures, float64 (s, q)."""
    best = max(by_seed[0], key=lambda key: float(np.mean([one[key] for one in by_seed])))
    return best, np.stack([one[best] for one in by_seed])


def literal_choice(found: Sequence[Literal]) -> tuple[tuple[float, int], FloatArray]:
    """Return the literal trainer's (learning rate, passes) with the best mean over seeds, and its figures (s, q)."""
    return best_setting([one.test for one in found])
