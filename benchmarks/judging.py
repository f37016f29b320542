"""Does the gate keep its promises? False promotions, power, users whom it misunderstands, proposals nobody can judge.

    python benchmarks/judging.py [--quick] [--runs 400] [--only null,power,bets,cascade,unsupported,propensities]
                                 [--nulls flat,sharper,equal,successive,assumed] [--workers 2] [--json FILE]

Users are simulated. `lightgbm_rank` is no part of the project: without it the synthetic field stands alone, and this
says so. docs/benchmarks.md describes what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

import dwell
from study.judging_bets import BETTORS, EFFECTS, Stop, compare
from study.judging_report import Count, as_values, table
from study.judging_runs import AGREED, EVERY, GAIN, N_FIT, Outcome, Task, perform
from study.judging_support import Asked, evaluate_bad
from study.worlds import MissingDataError, shared_folder

ROOT: Final = Path(__file__).resolve().parent.parent
FULL_RUNS: Final = 400
QUICK_RUNS: Final = 6
N_EVENTS: Final = 5_000
QUICK_EVENTS: Final = 300
N_DRAWS: Final = 20  # draws of clicks per log: drawing them is cheap, judging a log is not
USERS: Final = ("position-based", "cascade", "dbn")
NULLS: Final = {
    "flat": "clicks ignore relevance, random proposals",
    "sharper": "clicks ignore relevance, live's order drawn at temperature .1",
    "equal": "two features that do the same, their weights swapped",
    "successive": "five random proposals in a row, clicks ignore relevance, alpha spent",
}
ASSUMED: Final = "assumed"
CONTROL: Final = "control, as no loop judges: the sharper one, examination assumed as 1/k and no band"
PROPENSITIES: Final = (
    "dwell.evaluation.propensity_checks",
    "study.judging_propensities",
)  # the check, and its benchmark


class Work(NamedTuple):
    """What a section needs: how many runs, how long, on which fields, and who does them.

    Attributes:
        runs: Runs of a null; other sections take a half of it.
        n_events: Judged events of a run.
        fields: Names of the fields.
        is_quick: Whether this is a smoke test.
        pool: Processes.
        nulls: Which nulls, of `NULLS` and "assumed".
    """

    runs: int
    n_events: int
    fields: Sequence[str]
    is_quick: bool
    pool: ProcessPoolExecutor
    nulls: Sequence[str] = (*NULLS, ASSUMED)


def _outcomes(work: Work, tasks: Sequence[Task]) -> list[Outcome]:
    return [one for found in work.pool.map(perform, tasks) for one in found]


def _tasks(work: Work, kind: str, runs: int, users: Sequence[str]) -> list[Task]:
    """Return tasks that make so many runs, users and fields taking turns."""
    n_draws = min(N_DRAWS, max(1, runs // (len(users) * len(work.fields))))
    n_logs = -(-runs // n_draws)
    return [
        Task(kind, users[i % len(users)], work.fields[i // len(users) % len(work.fields)], i, n_draws, work.n_events)
        for i in range(n_logs)
    ]


def null_section(work: Work) -> list[Count]:
    """Return how often proposals that are no better are promoted, by null and by kind of user."""
    counts = []
    for null in work.nulls:
        is_control = null == ASSUMED
        tasks = _tasks(work, "sharper" if is_control else null, work.runs, USERS)
        if is_control:
            tasks = [task._replace(way=ASSUMED) for task in tasks]
        found = _outcomes(work, tasks)[: work.runs]
        hits = [one for one in found if one.verdict == "promote"]
        by_user = ", ".join(f"{user} {_share(user, hits, found)}" for user in USERS)
        what, bar = (CONTROL, None) if is_control else (NULLS[null], 0.05)
        counts.append(Count(what, len(hits), len(found), at_most=bar, note=by_user))
    return counts


def _share(user: str, hits: Sequence[Outcome], found: Sequence[Outcome]) -> str:
    n_hits, n = (sum(one.task.user == user for one in some) for some in (hits, found))
    return f"{n_hits} of {n}"


def power_section(work: Work) -> list[Count]:
    """Return how often a proposal that gains 2.4 % is promoted, by gate and attempt."""
    runs = max(1, work.runs // 2)
    found = _outcomes(work, _tasks(work, "power", runs, USERS[:1]))
    counts = []
    for gate in ("anytime", "block", AGREED):
        for attempt in range(1, 6):
            mine = [one for one in found if (one.kind, one.attempt) == (gate, attempt)]
            if gate == AGREED and attempt > 1:
                continue
            stops = [one.n for one in mine if one.verdict == "promote"]
            is_bar = attempt == 1 and gate == "anytime"
            note = f"median {np.median(stops):,.0f} events" if stops else ""
            counts.append(
                Count(f"{gate}, proposal {attempt}", len(stops), len(mine), at_least=0.9 if is_bar else None, note=note)
            )
    for user in USERS[1:]:
        others = _outcomes(work, _tasks(work, "power", max(1, runs // 5), (user,)))
        mine = [one for one in others if (one.kind, one.attempt) == ("anytime", 1)]
        hits = sum(one.verdict == "promote" for one in mine)
        note = "" if mine else f"no proposal gains {GAIN:.1%}: such users hardly mind the order"
        counts.append(Count(f"anytime, proposal 1, {user} users", hits, len(mine), note=note))
    return counts


def bets_section(work: Work) -> list[Count]:
    """Return how often, and how soon, each bettor refutes that a proposal is no better."""
    stops: list[Stop] = [
        one for found in work.pool.map(compare, _tasks(work, "bets", work.runs // 2, USERS[:1])) for one in found
    ]
    counts = []
    for effect in EFFECTS:
        for attempt in (1, 5):
            for bets in BETTORS:
                mine = [one.n for one in stops if (one.bets, one.effect, one.attempt) == (bets, effect, attempt)]
                over = [n for n in mine if n is not None]
                waited = np.array([np.inf if n is None else n for n in mine])
                median = float(np.median(waited)) if mine else np.inf
                note = f"median {median:,.0f} events" if np.isfinite(median) else ""
                what = (
                    f"{effect:g} of the gain, proposal {attempt}: {bets}"
                    if effect
                    else f"no gain, proposal {attempt}: {bets}"
                )
                counts.append(Count(what, len(over), len(mine), at_most=None if effect else 0.05, note=note))
    return counts


def cascade_section(work: Work) -> list[Count]:
    """Return how often a proposal is promoted that is worse for cascade users."""
    found = _outcomes(work, _tasks(work, "cascade", max(1, work.runs // 2), ("cascade",)))
    counts = []
    for what in ("any", "over-rated"):
        for gate in ("anytime", AGREED):
            mine = [one for one in found if (one.what, one.kind) == (what, gate)]
            hits = sum(one.verdict == "promote" for one in mine)
            truths = [one.truth for one in mine]
            note = f"truth {min(truths):+.2%} to {max(truths):+.2%} of clicks" if truths else "none was found"
            name = "worse in any way" if what == "any" else "worse, and praised by position-based estimates"
            counts.append(
                Count(f"{name}: {gate}", hits, len(mine), at_most=0.05 if gate == "anytime" else None, note=note)
            )
    return counts


def unsupported_section(work: Work) -> list[Count]:
    """Return how often `evaluate` promotes proposals that are bad, on heavy tails."""
    found: list[Asked] = evaluate_bad(*((150, 4) if work.is_quick else (1_500, 40)))
    counts = []
    for what in ("random direction", "never shown"):
        mine = [one for one in found if one.what == what]
        note = f"truly {min(m.truth for m in mine):+.3f} to {max(m.truth for m in mine):+.3f} clicks a list"
        counts.append(Count(what, sum(one.verdict == "promote" for one in mine), len(mine), at_most=0.0, note=note))
    return counts


def propensity_section(work: Work) -> list[Count]:
    """Return how often corrupted propensities are noticed; nothing where the check is not there."""
    if any(find_spec(name) is None for name in PROPENSITIES):
        return []
    module = import_module(PROPENSITIES[1])
    counts: list[Count] = module.corrupted(4 if work.is_quick else 100, work.n_events)
    return counts


SECTIONS: Final[dict[str, tuple[str, Callable[[Work], list[Count]]]]] = {
    "null": ("Proposals that are no better are promoted", null_section),
    "power": (f"A proposal that gains {GAIN:.1%} of clicks is promoted", power_section),
    "bets": ("Bets: no better is refuted", bets_section),
    "cascade": ("A worse proposal is promoted, cascade users", cascade_section),
    "unsupported": ("`evaluate` promotes a bad proposal, heavy tails", unsupported_section),
    "propensities": ("Propensities wrong by 10 % are noticed", propensity_section),
}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test: few runs of 300 events, one field")
    parser.add_argument("--runs", type=int, help=f"runs of each null; others take half (default {FULL_RUNS})")
    parser.add_argument("--only", help=f"comma-separated, of {', '.join(SECTIONS)}")
    parser.add_argument("--nulls", help=f"comma-separated, of {', '.join((*NULLS, ASSUMED))} (default all)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there, too")
    found = parser.parse_args(given)
    found.runs = (QUICK_RUNS if found.quick else FULL_RUNS) if found.runs is None else found.runs
    found.only = found.only.split(",") if found.only else list(SECTIONS)
    found.nulls = found.nulls.split(",") if found.nulls else [*NULLS, ASSUMED]
    for what, names, there in (("section", found.only, SECTIONS), ("null", found.nulls, (*NULLS, ASSUMED))):
        unknown = [name for name in names if name not in there]
        if unknown:
            parser.error(f"no such {what}: {unknown[0]}; there are {', '.join(there)}")
    if found.runs < 2 or found.workers < 1:
        parser.error("--runs is at least 2, --workers at least 1")
    return found


def preamble(fields: Sequence[str]) -> list[str]:
    """Return what one must know to read the figures."""
    missing = "" if len(fields) > 1 else " (`lightgbm_rank` was not asked for, or is not on this machine)"
    machine = f"Python {platform.python_version()}, numpy {np.__version__}, {os.cpu_count()} cores"
    return [
        "# Judging on simulated clicks",
        "",
        f"dwell {dwell.__version__}, {machine}.",
        "Users are simulated, no people: position-based, cascade and DBN, click noise 0.1; 10 of some 15 candidates",
        f"shown, temperature 0.3. Fields: {', '.join(fields)}{missing}.",
        f"A look every {EVERY} judged events, up to {N_EVENTS:,} (--quick: {QUICK_EVENTS}, which judges no bar).",
        f"Runs share logs, up to {N_DRAWS} draws of clicks on each. Intervals are Clopper and Pearson's; the share",
        "itself meets a bar, or does not.",
        f"As a loop judges: examination is measured from the {N_FIT:,} events before, and its band must agree.",
        "",
    ]


def main() -> int:
    """Measure, print, and return 0: also where a bar is not met, which is printed."""
    asked = arguments()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # the workers inherit it: each has one core
    fields = ["synthetic"]
    if not asked.quick:
        try:
            shared_folder(ROOT)
            fields.append("lightgbm_rank")
        except MissingDataError as error:
            print(f"without lightgbm_rank: {error}", file=sys.stderr)
    print("\n".join(preamble(fields)), flush=True)
    values = {}
    with ProcessPoolExecutor(asked.workers, mp_context=get_context("spawn")) as pool:
        work = Work(asked.runs, QUICK_EVENTS if asked.quick else N_EVENTS, fields, asked.quick, pool, asked.nulls)
        for name in asked.only:
            title, section = SECTIONS[name]
            began = time.perf_counter()
            counts = section(work)
            seconds = time.perf_counter() - began
            rows = table(counts, is_judged=not asked.quick) if counts else ["not measured: nothing checks it yet."]
            # a section takes minutes: what is known is printed
            print(
                "\n".join([f"## {title}", "", *rows, "", f"{seconds:.0f} s on {asked.workers} processes.", ""]),
                flush=True,
            )
            values[name] = {"seconds": seconds, "counts": as_values(counts)}
    if asked.json is not None:
        asked.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
