"""Does the loop learn, and does the gate keep it from harm? Simulated clicks on labelled sets and on made-up ones.

    python benchmarks/learning.py [--quick] [--sets lightgbm_rank,cranfield,scifact,heavy_tailed,one_query_each]
                                  [--users pbm,cascade,dbn] [--only loops,early,literal,rivals] [--rivals lightgbm_rank]
                                  [--seeds 5] [--events 10000] [--workers 2] [--json FILE]

Everything that is served, told and learned goes through the public calls: `dwell.open`, `rank`, `submit_feedback`,
`train`, `params.score`. The labelled sets are no part of the project: without them this says so and measures
the others. docs/benchmarks.md describes what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np

import dwell
from study.bars import bar_lines, bars_of, query_bars
from study.baselines import lambdamart, linear_on_labels
from study.figures import (
    DWELL,
    FULL_EVENTS,
    FULL_SEEDS,
    LINEAR,
    TREES,
    UNGATED,
    Study,
    best_setting,
)
from study.heavy_tailed import heavy_tailed_world
from study.one_query_each import CHECKED_AT, WIDTHS, Trail
from study.query_report import query_markdown, query_values
from study.report import as_values, markdown
from study.scoring import ndcg_per_question
from study.simulation import CLICK_MODELS, CLICK_NOISE, N_SHOWN, TEMPERATURE, TRAIN_EVERY
from study.tasks import PARTS, PDGD, QUERIES, Task, perform, say, tasks_of
from study.worlds import READERS, FloatArray, MissingDataError, World, shared_folder

ROOT: Final = Path(__file__).resolve().parent.parent
HEAVY: Final = "heavy_tailed"
SETS: Final = (*READERS, HEAVY, QUERIES)
QUICK_EVENTS: Final = 1_000  # a smoke test ends within half a minute
QUICK_SETS: Final = ("lightgbm_rank", HEAVY, QUERIES)
QUICK_USERS: Final = {"lightgbm_rank": ("pbm",), HEAVY: ("cascade",)}
QUICK_QUERIES: Final = 500  # events, of the narrower world
QUICK_LOG: Final = 200  # events of the log that others learn from
ALL_USERS: Final = ("lightgbm_rank", HEAVY)  # sets on which all kinds of users are asked unless told otherwise


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test: 1 seed, 1,000 events, three sets")
    parser.add_argument("--sets", help=f"comma-separated, of {', '.join(SETS)} (default: all)")
    parser.add_argument(
        "--users",
        help=f"comma-separated, of {', '.join(CLICK_MODELS)} (default: all on {', '.join(ALL_USERS)}; else pbm)",
    )
    parser.add_argument("--only", help=f"comma-separated parts, of {', '.join(PARTS)} (default: all)")
    parser.add_argument(
        "--rivals", help="sets on which rankers of others learn from the same log (default: lightgbm_rank)"
    )
    parser.add_argument("--seeds", type=int, help=f"number of seeds (default {FULL_SEEDS})")
    parser.add_argument("--events", type=int, help=f"events per run, a multiple of 1,000 (default {FULL_EVENTS:,})")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there, too")
    found = parser.parse_args(given)
    found.seeds = found.seeds or (1 if found.quick else FULL_SEEDS)
    found.events = found.events or (QUICK_EVENTS if found.quick else FULL_EVENTS)
    found.sets = _listed(parser, found.sets, "set", SETS) or list(QUICK_SETS if found.quick else SETS)
    found.users = _listed(parser, found.users, "click model", CLICK_MODELS)
    found.only = _listed(parser, found.only, "part", PARTS) or list(PARTS)
    found.rivals = _listed(parser, found.rivals, "set", SETS) or ["lightgbm_rank"]
    if min(found.seeds, found.workers) < 1 or found.events < TRAIN_EVERY or found.events % TRAIN_EVERY:
        parser.error("--seeds and --workers are at least 1, --events a multiple of 1,000")
    return found


def _listed(
    parser: argparse.ArgumentParser, given: str | None, what: str, known: Sequence[str] | Mapping[str, Any]
) -> list[str]:
    names = given.split(",") if given else []
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"no such {what}: {unknown[0]}; there are {', '.join(known)}")
    return names


def users_on(name: str, asked: argparse.Namespace) -> list[str]:
    """Return the click models to run on a set."""
    usual = QUICK_USERS.get(name, ("pbm",)) if asked.quick else CLICK_MODELS if name in ALL_USERS else ("pbm",)
    return asked.users or list(usual)


def planned(world: World, asked: argparse.Namespace) -> list[Task]:
    """Return the runs of a set. The founding document's trainer and the rivals meet the first kind of users alone."""
    tasks = []
    for i, user in enumerate(users_on(world.name, asked)):
        for part in asked.only:
            if part == "rivals" and (i > 0 or world.name not in asked.rivals):
                continue
            if part == "literal" and (i > 0 or world.name == HEAVY):
                continue  # the raw values of the heavy tails are not what its document had in mind
            n_events = QUICK_LOG if asked.quick and part in {"literal", "rivals"} else asked.events
            tasks += tasks_of(world, user=user, seeds=range(asked.seeds), n_events=n_events, kinds=PARTS[part])
    return tasks


def measure(worlds: Sequence[World], asked: argparse.Namespace) -> tuple[list[Study], dict[int, list[Trail]]]:
    """Return everything measured: set by set and kind of users by kind of users, and the queries asked once."""
    tasks = [task for world in worlds for task in planned(world, asked)]
    widths = () if QUERIES not in asked.sets else WIDTHS[:1] if asked.quick else WIDTHS
    if QUERIES in asked.sets:
        n_events = QUICK_QUERIES if asked.quick else min(asked.events, CHECKED_AT[-1])
        tasks += [Task(width, "pbm", seed, n_events, "queries") for width in widths for seed in range(asked.seeds)]
    with ProcessPoolExecutor(asked.workers, mp_context=get_context("spawn")) as pool:
        # each run is told by its set's number of features or name, its users and its kind
        pending: dict[tuple[str, str, str], list[Future[Any]]] = {}
        for task in tasks:
            where = str(task.world) if isinstance(task.world, int) else task.world.name
            pending.setdefault((where, task.user, task.kind), []).append(pool.submit(perform, task))
        labelled = {world.name: pool.submit(full_labels, world) for world in worlds}
        results = {key: [answer.result() for answer in answers] for key, answers in pending.items()}
        on_labels = {name: answer.result() for name, answer in labelled.items()}
    studies = []
    for world in worlds:
        for user in users_on(world.name, asked):
            of_kind = {
                kind: found for (where, who, kind), found in results.items() if (where, who) == (world.name, user)
            }
            if of_kind:
                studies.append(study_of(world, user, asked.events, of_kind, on_labels[world.name]))
    trails = {width: results[str(width), "pbm", "queries"] for width in widths}
    return studies, trails


def study_of(
    world: World, user: str, n_events: int, of_kind: Mapping[str, list[Any]], labelled: Mapping[str, FloatArray]
) -> Study:
    """Return what was measured of one set under one kind of users, results by seed for each kind of run."""
    rivals: dict[str, FloatArray] = {}
    for kind in ("frozen", "bandits", "on the log"):
        for name in of_kind[kind][0] if kind in of_kind else ():
            rivals[name] = np.stack([one[name] for one in of_kind[kind]])
    if "pdgd" in of_kind:
        rivals[PDGD] = best_setting(of_kind["pdgd"])[1]
    early = {DWELL: of_kind.get("early gated", []), UNGATED: of_kind.get("early ungated", [])}
    return Study(
        world=world,
        user=user,
        n_events=n_events,
        gated=of_kind.get("gated", []),
        ungated=of_kind.get("ungated", []),
        early={name: runs for name, runs in early.items() if runs},
        literal=of_kind.get("literal", []),
        rivals=rivals,
        labelled=labelled,
    )


def full_labels(world: World) -> dict[str, FloatArray]:
    """Return the figures of rankers that know all labels."""
    linear, ridge = linear_on_labels(world)
    say(world.name, f"linear on full labels: ridge {ridge:g}")
    return {
        LINEAR: ndcg_per_question(linear, world.test),
        TREES: ndcg_per_question(lambdamart(world), world.test),
    }


def preamble(asked: argparse.Namespace) -> list[str]:
    """Return what one must know to read the figures."""
    machine = f"Python {platform.python_version()}, numpy {np.__version__}, {os.cpu_count()} cores"
    return [
        "# Learning from simulated clicks",
        "",
        f"dwell {dwell.__version__}, {machine}.",
        f"Clicks are simulated, not people's: three click models, click noise {CLICK_NOISE},",
        f"{N_SHOWN} documents shown, temperature {TEMPERATURE}, 500 users, one event a minute,",
        f"`train()` every {TRAIN_EVERY:,} events, seeds 0 to {asked.seeds - 1}. What stands under 100 events is",
        "a run of its own, trained after 50 and after 100.",
        "Stores are in memory (`:memory:`), reactions go in by `submit_feedback`; ids, times and pepper are given.",
        "",
        "nDCG@10 is that of the *test* questions, never asked, in the greedy order of `loop.params.score`:",
        "gains 2^g - 1, discount log2, the ideal being the best order of the candidates; candidates are shuffled, so",
        "that ties earn nothing, and questions without a relevant candidate are left out.",
        "A difference is a tie unless both its intervals, over seeds and over questions (paired bootstrap),",
        "leave out 0; with one seed, the one over questions.",
        *([f"A smoke test: who learns from a log has {QUICK_LOG} events of it alone."] if asked.quick else []),
        "",
    ]


def worlds_asked(asked: argparse.Namespace) -> list[World]:
    """Return the sets asked for, saying of each that is not on this machine that it is skipped."""
    worlds = []
    for name in asked.sets:
        try:
            if name == HEAVY:
                worlds.append(heavy_tailed_world())
            elif name != QUERIES:
                say(name, "reading")
                worlds.append(READERS[name](shared_folder(ROOT)))
        except MissingDataError as error:
            print(f"skipped: {name}: {error}")
    return worlds


def main() -> int:
    """Measure, print, and return 0: also where a bar is not met, which is printed, or where there are no sets."""
    asked = arguments()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # the workers inherit it: each has one core
    began = time.perf_counter()
    worlds = worlds_asked(asked)
    if not worlds and QUERIES not in asked.sets:
        return 0
    studies, trails = measure(worlds, asked)
    lines = [*preamble(asked), *(line for study in studies for line in markdown(study))]
    if trails:
        lines += query_markdown(trails)
    bars = [*(bar for study in studies for bar in bars_of(study)), *query_bars(trails)]
    lines += ["## Bars", "", *bar_lines(bars)]
    seconds = time.perf_counter() - began
    print("\n".join([*lines, "", f"{seconds:.0f} s on {asked.workers} processes."]))
    if asked.json is not None:
        values: Mapping[str, Any] = {
            "dwell": dwell.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "seconds": seconds,
            "sets": [as_values(study) for study in studies],
            QUERIES: query_values(trails),
            "bars": [bar._asdict() for bar in bars],
        }
        asked.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
