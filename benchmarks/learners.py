"""Which learner makes most of the same clicks? One proposal of each, from the same log, on a labelled set.

    python benchmarks/learners.py [--sets lightgbm_rank] [--seeds 3] [--events 10000] [--users position]
                                  [--json FILE]

The log is served by one ranker that is never changed, the clicks on it are simulated. Every learner that may learn from
a log makes one proposal of it, ungated, from the same samples and estimates; PDGD, which may not, serves as many lists
itself, 100 by each version. Figures are nDCG@10 of questions that nobody asked, in greedy order.

    python benchmarks/learners.py --made-up [--seeds 5]

compares weights per segment and weights by query with the global ones, in worlds where the truth is known.
docs/learners.md has what both printed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from _learners_log import TEMPERATURE, THETA, Served, predictors_of, sample_of, serve, start_of
from _learners_made_up import query_lines, segment_lines
from dwell.learning.learner import LearnerSettings
from dwell.learning.pdgd import PdgdLearner
from dwell.learning.predictor import Predictor
from dwell.learning.protocol import OBJECTIVES, learner_of
from dwell.learning.space import Space
from dwell.learning.trees import TreeKind, TreeObjective, TreeSettings, learn_trees, tree_rows
from dwell.testing.users import CascadeUser, PositionBasedUser, SimulatedUser
from study.scoring import ndcg_per_question
from study.statistics import compared
from study.worlds import READERS, FloatArray, MissingDataError, World, shared_folder

ROOT: Final = Path(__file__).resolve().parent.parent
N_STEPS: Final = 100  # the loop's own number of steps and lists per step
BATCH: Final = 256
PDGD_BATCH: Final = 100  # lists served by one version
TREES: Final[tuple[tuple[TreeKind, TreeObjective], ...]] = (
    ("lightgbm", "regression"),
    ("lightgbm", "lambdarank"),
    ("xgboost", "regression"),
    ("xgboost", "lambdarank"),
)


class Start(NamedTuple):
    """What all learners begin with.

    Attributes:
        world: The set.
        seed: Of clicks, draws and samples.
        space: The learner's space.
        vector: float64 (p,), the logging ranker in it.
        phi: Per training question, float64 (l, p).
        user: Who clicks.
    """

    world: World
    seed: int
    space: Space
    vector: FloatArray
    phi: list[FloatArray]
    user: SimulatedUser

    def quality(self, weights: FloatArray) -> FloatArray:
        """Return nDCG@10 per test question of weights (p,)."""
        return ndcg_per_question(lambda features: self.space.phi(features) @ weights, self.world.test)


def by_objective(start: Start, log: Served, predictors: tuple[Predictor, Predictor], objective: str) -> FloatArray:
    """Return nDCG@10 per test question of one proposal."""
    rng = np.random.default_rng([start.seed, 6])
    n = len(log.rows)

    def samples() -> Any:  # noqa: ANN401 - an iterator of lists
        for _ in range(N_STEPS):
            yield sample_of(log, rng.integers(n, size=BATCH).tolist(), start.vector)

    found = learner_of(objective)(
        start.vector,
        samples(),
        predictors,
        theta=THETA,
        temperature=TEMPERATURE,
        n_events=float(n),
        settings=LearnerSettings(),
        rng=np.random.default_rng([start.seed, 7]),
    )
    return start.quality(found.vector)


def by_trees(
    start: Start, log: Served, predictors: tuple[Predictor, Predictor], kind: TreeKind, objective: TreeObjective
) -> FloatArray:
    """Return nDCG@10 per test question of one challenger."""
    n = len(log.rows)
    parts = (list(range(i, min(i + 1_000, n))) for i in range(0, n, 1_000))
    rows = tree_rows((sample_of(log, part, start.vector) for part in parts), predictors, theta=THETA, n_events=float(n))
    trees = learn_trees(rows, start.world.feature_names, TreeSettings(kind=kind, objective=objective))
    return ndcg_per_question(trees.score, start.world.test)


def by_pdgd(start: Start, n_events: int) -> FloatArray:
    """Return nDCG@10 per test question of the weights after serving and learning from n events."""
    rng = np.random.default_rng([start.seed, 8])
    weights, nothing = start.vector, Predictor(np.zeros(start.vector.size + 1))
    for version, first in enumerate(range(0, n_events, PDGD_BATCH), 1):
        log = serve(
            start.world, start.phi, weights, PDGD_BATCH, start.user, rng, first_seq=first, params_version=version
        )
        lists = sample_of(log, list(range(len(log.rows))), weights)
        weights = PdgdLearner(params_version=version)(
            weights,
            [lists],
            (nothing, nothing),
            theta=THETA,
            temperature=TEMPERATURE,
            n_events=float(len(log.rows)),
            settings=LearnerSettings(),
            rng=rng,
        ).vector
    return start.quality(weights)


def measure(
    world: World, *, n_seeds: int, n_events: int, users: str, say: Callable[[str], None]
) -> tuple[dict[str, FloatArray], dict[str, float]]:
    """Return nDCG@10 per learner, float64 (seeds, questions), and seconds per proposal."""
    found: dict[str, list[FloatArray]] = {}
    seconds: dict[str, float] = {}
    for seed in range(n_seeds):
        space, vector = start_of(world, seed)
        user = (PositionBasedUser if users == "position" else CascadeUser)(noise=0.1, max_grade=world.max_grade)
        start = Start(world, seed, space, vector, [space.phi(q.features) for q in world.train], user)
        log = serve(world, start.phi, vector, n_events, user, np.random.default_rng([seed, 1]))
        predictors = predictors_of(log)
        jobs: dict[str, Callable[[], FloatArray]] = {"the logging ranker": lambda s=start: s.quality(s.vector)}
        for name in ("pl_rank", *(name for name in OBJECTIVES if name != "pl_rank")):
            jobs[name] = lambda o=name, s=start, g=log, p=predictors: by_objective(s, g, p, o)
        jobs["pdgd, its own lists"] = lambda s=start: by_pdgd(s, n_events)
        for kind, objective in TREES:
            jobs[f"{kind}, {objective}"] = lambda k=kind, o=objective, s=start, g=log, p=predictors: by_trees(
                s, g, p, k, o
            )
        for name, job in jobs.items():
            began = time.perf_counter()
            found.setdefault(name, []).append(job())
            seconds[name] = seconds.get(name, 0.0) + (time.perf_counter() - began) / n_seeds
            say(f"{world.name} seed {seed}: {name} {found[name][-1].mean():.4f}")
    return {name: np.array(values) for name, values in found.items()}, seconds


def table(found: dict[str, FloatArray], seconds: dict[str, float]) -> list[str]:
    """Return one line per learner, each compared with PL-Rank on the same seeds and questions."""
    lines = ["| learner | nDCG@10 | less PL-Rank | over questions, 95 % | verdict | s |", "|---|---|---|---|---|---|"]
    for name, values in found.items():
        cells = [name, f"{values.mean():.4f}", "", "", "", f"{seconds[name]:.1f}"]
        if name != "pl_rank":
            c = compared(values, found["pl_rank"], np.random.default_rng(0))
            cells[2:5] = (
                f"{c.questions.value:+.4f}",
                f"{c.questions.low:+.4f} to {c.questions.high:+.4f}",
                c.verdict,
            )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", default="lightgbm_rank", help=f"comma-separated, of {', '.join(READERS)}")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default 3)")
    parser.add_argument("--events", type=int, default=10_000, help="lists in the log (default 10,000)")
    parser.add_argument("--users", choices=("position", "cascade"), default="position", help="who clicks")
    parser.add_argument("--made-up", action="store_true", help="segments and weights by query instead")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    found = parser.parse_args(given)
    found.sets = found.sets.split(",")
    unknown = [name for name in found.sets if name not in READERS]
    if unknown:
        parser.error(f"no such set: {unknown[0]}; there are {', '.join(READERS)}")
    if found.seeds < 1 or found.events < PDGD_BATCH or found.events % PDGD_BATCH:
        parser.error(f"--seeds is at least 1, --events a multiple of {PDGD_BATCH}")
    return found


def main() -> int:
    """Measure, print, and return 0, also where there are no sets."""
    asked = arguments()
    if asked.made_up:
        print("\n".join([*segment_lines(asked.seeds), "", *query_lines(asked.seeds)]))
        return 0
    values: dict[str, Any] = {}
    print(f"Simulated clicks ({asked.users} users, noise 0.1), {asked.events:,} lists, seeds 0 to {asked.seeds - 1}.")
    print("A difference is a tie unless its intervals over seeds and over questions both leave out 0.\n")
    for name in asked.sets:
        try:
            world = READERS[name](shared_folder(ROOT))
        except MissingDataError as error:
            print(f"skipped: {error}")
            return 0
        found, seconds = measure(
            world,
            n_seeds=asked.seeds,
            n_events=asked.events,
            users=asked.users,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
        print(f"## {name}: {len(world.test)} test questions\n")
        print("\n".join([*table(found, seconds), ""]))
        values[name] = {learner: scores.mean(axis=1).tolist() for learner, scores in found.items()}
    if asked.json is not None:
        asked.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
