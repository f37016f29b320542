"""Does the loop learn, and does the gate keep it from harm? Simulated clicks on three labelled sets.

    python benchmarks/learning.py [--quick] [--sets lightgbm_rank,cranfield,scifact] [--seeds 5] [--events 10000]
                                  [--workers 2] [--json FILE]

Everything that is served, told and learned goes through the public calls: `dwell.open`, `rank`, `submit_feedback`,
`train`, `params.score`. The sets are no part of the project: without them this says so and ends with 0.
docs/benchmarks.md describes what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

import dwell
from study.baselines import Literal, lambdamart, linear_on_labels, literal_trainer
from study.report import FULL_EVENTS, FULL_SEEDS, Study, as_values, bar_lines, bars_of, markdown
from study.scoring import ndcg_per_question
from study.simulation import GATED, N_SHOWN, TEMPERATURE, TRAIN_EVERY, UNGATED, Run, frozen_log, run_loop
from study.worlds import READERS, FloatArray, MissingDataError, World, shared_folder

ROOT: Final = Path(__file__).resolve().parent.parent
QUICK_EVENTS: Final = 3_000
QUICK_SETS: Final = ("lightgbm_rank",)  # a smoke test ends within half a minute


class Task(NamedTuple):
    """One run of one seed: "gated", "ungated" or "literal"."""

    world: World
    seed: int
    n_events: int
    kind: str


def perform(task: Task) -> Run | Literal:
    """Return what came of a task; in a process of its own."""
    say = partial(_say, f"{task.world.name} seed {task.seed} {task.kind}")
    began = time.perf_counter()
    found: Run | Literal
    if task.kind == "literal":
        log = frozen_log(task.world, seed=task.seed, n_events=task.n_events)
        found = literal_trainer(task.world, log, task.seed)
    else:
        config = GATED if task.kind == "gated" else UNGATED
        found = run_loop(task.world, seed=task.seed, n_events=task.n_events, config=config, progress=say)
    say(f"done in {time.perf_counter() - began:.0f} s")
    return found


def _say(who: str, what: str) -> None:
    print(f"{who}: {what}", file=sys.stderr, flush=True)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test: 1 seed, 3,000 events, one set")
    parser.add_argument("--sets", help=f"comma-separated, of {', '.join(READERS)}")
    parser.add_argument("--seeds", type=int, help=f"number of seeds (default {FULL_SEEDS})")
    parser.add_argument("--events", type=int, help=f"events per run, a multiple of 1,000 (default {FULL_EVENTS:,})")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there, too")
    found = parser.parse_args(given)
    found.seeds = found.seeds or (1 if found.quick else FULL_SEEDS)
    found.events = found.events or (QUICK_EVENTS if found.quick else FULL_EVENTS)
    found.sets = found.sets.split(",") if found.sets else list(QUICK_SETS if found.quick else READERS)
    unknown = [name for name in found.sets if name not in READERS]
    if unknown:
        parser.error(f"no such set: {unknown[0]}; there are {', '.join(READERS)}")
    if min(found.seeds, found.workers) < 1 or found.events < TRAIN_EVERY or found.events % TRAIN_EVERY:
        parser.error("--seeds and --workers are at least 1, --events a multiple of 1,000")
    return found


def measure(worlds: Sequence[World], asked: argparse.Namespace) -> list[Study]:
    """Return everything measured, set by set."""
    kinds = ("gated", "ungated", "literal")
    tasks = [Task(world, seed, asked.events, kind) for world in worlds for seed in range(asked.seeds) for kind in kinds]
    with ProcessPoolExecutor(asked.workers, mp_context=get_context("spawn")) as pool:
        pending = [(task.world.name, task.kind, pool.submit(perform, task)) for task in tasks]
        on_labels = {world.name: _full_labels(world) for world in worlds}
        results: dict[tuple[str, str], list[Any]] = {}
        for name, kind, answer in pending:
            results.setdefault((name, kind), []).append(answer.result())
    return [
        Study(
            world=world,
            n_events=asked.events,
            gated=results[world.name, "gated"],
            ungated=results[world.name, "ungated"],
            literal=results[world.name, "literal"],
            linear=on_labels[world.name][0],
            trees=on_labels[world.name][1],
        )
        for world in worlds
    ]


def _full_labels(world: World) -> tuple[FloatArray, FloatArray]:
    linear, ridge = linear_on_labels(world)
    _say(world.name, f"linear on full labels: ridge {ridge:g}")
    return ndcg_per_question(linear, world.test), ndcg_per_question(lambdamart(world), world.test)


def preamble(asked: argparse.Namespace) -> list[str]:
    """Return what one must know to read the figures."""
    machine = f"Python {platform.python_version()}, numpy {np.__version__}, {os.cpu_count()} cores"
    return [
        "# Learning from simulated clicks",
        "",
        f"dwell {dwell.__version__}, {machine}.",
        "Clicks are simulated, not people's: position-based, examination 1/k, click noise 0.1,",
        f"{N_SHOWN} documents shown, temperature {TEMPERATURE}, 500 users, one event a minute,",
        f"`train()` every {TRAIN_EVERY:,} events, seeds 0 to {asked.seeds - 1}.",
        "Stores are in memory (`:memory:`), reactions go in by `submit_feedback`; ids, times and pepper are given.",
        "",
        "nDCG@10 is that of the *test* questions, never asked, in the greedy order of `loop.params.score`:",
        "gains 2^g - 1, discount log2, the ideal being the best order of the candidates; candidates are shuffled, so",
        "that ties earn nothing, and questions without a relevant candidate are left out.",
        "A difference is a tie unless both its intervals, over seeds and over questions (paired bootstrap),",
        "leave out 0; with one seed, the one over questions.",
        "",
    ]


def main() -> int:
    """Measure, print, and return 0: also where a bar is not met, which is printed, or where there are no sets."""
    asked = arguments()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # the workers inherit it: each has one core
    began = time.perf_counter()
    try:
        folder = shared_folder(ROOT)
        worlds = []
        for name in asked.sets:
            _say(name, "reading")
            worlds.append(READERS[name](folder))
    except MissingDataError as error:
        print(f"skipped: {error}")
        return 0
    studies = measure(worlds, asked)
    bars = [bar for study in studies for bar in bars_of(study)]
    lines = [
        *preamble(asked),
        *(line for study in studies for line in markdown(study)),
        "## Bars",
        "",
        *bar_lines(bars),
    ]
    seconds = time.perf_counter() - began
    print("\n".join([*lines, "", f"{seconds:.0f} s on {asked.workers} processes."]))
    if asked.json is not None:
        values: Mapping[str, Any] = {
            "dwell": dwell.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "seconds": seconds,
            "sets": [as_values(study) for study in studies],
        }
        asked.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
