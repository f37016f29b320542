"""What a benchmark of learning consists of: runs that know nothing of each other, each in a process of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np

from study.baselines import literal_trainer
from study.figures import EARLY_EVENTS, FROZEN, FROZEN_LONG, RIVALS
from study.log_rankers import naive_pl_rank, unbiased_lambdamart, vw_bandit
from study.one_query_each import run_queries
from study.pdgd import pdgd
from study.scoring import ndcg_per_question
from study.simulation import GATED, UNGATED, frozen_log, run_loop
from study.worlds import FloatArray, World

__all__ = ["PARTS", "PDGD", "QUERIES", "Task", "perform", "say", "tasks_of"]

QUERIES: Final = "one_query_each"
PARTS: Final = {
    "loops": ("gated", "ungated"),
    "early": ("early gated", "early ungated"),
    "literal": ("literal",),
    "rivals": ("on the log", "bandits", "pdgd", "frozen"),
}
_TRAINED_EARLY: Final = (EARLY_EVENTS // 2, EARLY_EVENTS)  # the second call may promote what the first one proposed
# a loop of 10,000 events takes ten times the default 100 steps, and a second call without new events learns nothing;
# one pass is still one pass: a step has a tenth as many lists
_LONG: Final = {"target_steps": 1_000, "max_steps": 1_000, "max_seconds": 600.0}
_FIRST_SLOT, _ALL_SLOTS, PDGD, _TREES, _NAIVE = RIVALS


class Task(NamedTuple):
    """One run of one seed.

    Attributes:
        world: The set, or the number of features of a world of queries that are asked once.
        user: Click model.
        seed: Of everything random.
        n_events: Events.
        kind: One of those in `PARTS`, or "queries".
    """

    world: World | int
    user: str
    seed: int
    n_events: int
    kind: str

    @property
    def name(self) -> str:
        """What is run, in words."""
        name = f"{QUERIES}, {self.world} features" if isinstance(self.world, int) else self.world.name
        return f"{name}, {self.user}, seed {self.seed}, {self.kind}"


def say(who: str, what: str) -> None:
    """Tell somebody who waits."""
    print(f"{who}: {what}", file=sys.stderr, flush=True)


def tasks_of(world: World, *, user: str, seeds: Sequence[int], n_events: int, kinds: Collection[str]) -> list[Task]:
    """Return the runs of one set under one kind of user."""
    return [Task(world, user, seed, n_events, kind) for seed in seeds for kind in kinds]


def perform(task: Task) -> Any:  # noqa: ANN401 - a Run, a Literal, a Trail or figures, by the kind of task
    """Return what came of a task."""
    began = time.perf_counter()
    if isinstance(task.world, int):
        found: Any = run_queries(task.world, task.seed, n_events=task.n_events)
    else:
        found = _PERFORMED[task.kind](task, task.world)
    say(task.name, f"done in {time.perf_counter() - began:.0f} s")
    return found


def _looped(config: dict[str, Any], train_at: Sequence[int] | None = None) -> Callable[[Task, World], Any]:
    def run(task: Task, world: World) -> Any:  # noqa: ANN401 - see `perform`
        return run_loop(
            world,
            seed=task.seed,
            n_events=task.n_events if train_at is None else max(train_at),
            config=config,
            user=task.user,
            train_at=train_at,
            progress=partial(say, task.name),
        )

    return run


def _literal(task: Task, world: World) -> Any:  # noqa: ANN401 - see `perform`
    log = frozen_log(world, seed=task.seed, n_events=task.n_events, user=task.user)
    return literal_trainer(world, log, task.seed)


def _on_the_log(task: Task, world: World) -> dict[str, FloatArray]:
    log = frozen_log(world, seed=task.seed, n_events=task.n_events, user=task.user)
    rankers = {_TREES: unbiased_lambdamart(world, log), _NAIVE: naive_pl_rank(world, log, task.seed)}
    return {name: ndcg_per_question(score, world.test) for name, score in rankers.items()}


def _bandits(task: Task, world: World) -> dict[str, FloatArray]:
    log = frozen_log(world, seed=task.seed, n_events=task.n_events, user=task.user)
    return {
        name: ndcg_per_question(vw_bandit(world, log, slots=slots), world.test)
        for name, slots in ((_FIRST_SLOT, 1), (_ALL_SLOTS, log[0].shown.size))
    }


def _pdgd(task: Task, world: World) -> dict[float, FloatArray]:
    return pdgd(world, seed=task.seed, n_events=task.n_events, user=task.user)


def _frozen(task: Task, world: World) -> dict[str, FloatArray]:
    """Return dwell on the same log: the start serves all events, then one call of `train`, and that goes live."""
    found = {}
    for name, training in ((FROZEN, {}), (FROZEN_LONG, _LONG)):
        run = _looped({**UNGATED, "training": training}, (task.n_events,))(task, world)
        found[name] = np.asarray(run.checkpoints[-1].test)
    return found


_PERFORMED: Final[dict[str, Callable[[Task, World], Any]]] = {
    "gated": _looped(GATED),
    "ungated": _looped(UNGATED),
    "early gated": _looped(GATED, _TRAINED_EARLY),
    "early ungated": _looped(UNGATED, _TRAINED_EARLY),
    "literal": _literal,
    "on the log": _on_the_log,
    "bandits": _bandits,
    "pdgd": _pdgd,
    "frozen": _frozen,
}
