"""Does it hold at size? Bulk ingest, steps over 10^7 experiences, several processes, costs per event, and a plan.

    python benchmarks/scale.py [--only copy,steps,processes,same,costs,plan] [--quick] [--url postgresql://...]
                               [--sizes N,N,...] [--minutes 10] [--folder FOLDER] [--costs FILE]

Without a URL (--url, or the variable DWELL_BENCH_POSTGRES) a PostgreSQL is started for the run as the tests start
theirs; a URL names a database that holds nothing. The sections write what they measured to the file that `plan` reads.
Shards on Ray are measured by benchmarks/cluster.py. docs/scaling.md says how to read it. Linux only: processor time
is read from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

# before numpy is imported: afterwards its threads are there
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 - after the number of threads

import _scale_copy as copying  # noqa: E402 - after the number of threads
import _scale_costs as costing  # noqa: E402 - the same
import _scale_plan as planning  # noqa: E402 - the same
import _scale_processes as serving  # noqa: E402 - the same
import _scale_same as comparing  # noqa: E402 - the same
import _scale_steps as stepping  # noqa: E402 - the same
import dwell  # noqa: E402 - the same
from _scale_place import VARIABLE, emptied  # noqa: E402 - the same

COSTS: Final = Path(__file__).resolve().parent / "scale_costs.json"


def copy(asked: argparse.Namespace) -> list[str]:
    """Return what bulk ingest reaches of a bare COPY."""
    with emptied(asked.url) as database:
        found = copying.copied(database.url, copying.N_QUICK_ROUNDS if asked.quick else copying.N_ROUNDS)
    rates = {"store": copying.OURS, "bare": copying.BY_ROW, "whole": copying.WHOLE}
    _note(asked, "copy", {name: float(np.median(found.per_s[who])) for name, who in rates.items()})
    return ["## COPY: bulk ingest", "", *copying.copy_lines(found, is_judged=not asked.quick)]


def steps(asked: argparse.Namespace) -> list[str]:
    """Return what a training step costs by the size of the buffer."""
    sizes = asked.sizes or (stepping.QUICK_SIZES if asked.quick else stepping.SIZES)
    n_rounds = stepping.N_QUICK_ROUNDS if asked.quick else stepping.N_ROUNDS
    kept, measured = stepping.steps(sizes, n_rounds)
    _note(asked, "steps", {"bytes of an experience": kept[-1].measured_bytes / kept[-1].n, "n": kept[-1].n})
    return ["## Steps: training by size", "", *stepping.step_lines(kept, measured, is_judged=not asked.quick)]


def processes(asked: argparse.Namespace) -> list[str]:
    """Return whether several API processes and a learner lose, double or mix anything."""
    minutes = asked.minutes or (0.2 if asked.quick else 10.0)
    ended, found = serving.processes(asked.url, minutes=minutes, n_workers=asked.workers)
    ran = {"cpu_s": ended.cpu_s, "n_events": len(ended.crowd.lists), "seconds": ended.seconds}
    _note(asked, "processes", ran | {"n_processes": ended.n_workers, "n_cores": os.cpu_count()})
    lines = serving.process_lines(ended, found, is_judged=not asked.quick)
    return ["## Processes: one tenant, one database", "", *lines]


def same(asked: argparse.Namespace) -> list[str]:
    """Return whether PostgreSQL learns and decides what SQLite does."""
    found = comparing.same(asked.url, is_quick=asked.quick, folder=asked.folder)
    return ["## The same on PostgreSQL", "", *comparing.same_lines(found)]


def costs(asked: argparse.Namespace) -> list[str]:
    """Return what events cost, and write it to the file that the plan reads."""
    sizes = asked.sizes or (costing.QUICK_SIZES if asked.quick else costing.SIZES)
    told, commits = costing.costs_of(sizes, asked.url, asked.folder)
    _note(asked, "costs", told | {"seconds of a commit": commits})
    lines = costing.cost_lines(told, is_judged=not asked.quick)
    lines += ["", *(f"A commit of one small row, {store}: {1e3 * of:.2f} ms." for store, of in commits.items())]
    return ["## Costs: per million events", "", *lines]


def plan(asked: argparse.Namespace) -> list[str]:
    """Return the plan that follows from the costs in the file."""
    path = asked.costs or COSTS
    if not path.exists():
        return ["## Plan", "", f"{path.name} is not there: `--only costs,steps` writes it."]
    found = json.loads(path.read_text(encoding="utf-8"))
    return ["## Plan: a thousand million events a day", "", *planning.plan_lines(found)]


def _note(asked: argparse.Namespace, key: str, value: object) -> None:
    """Write a section's figures down for the plan; those of a smoke test only where a file is named."""
    if asked.costs is not None or not asked.quick:
        planning.noted(asked.costs or COSTS, key, value)


SECTIONS: Final[dict[str, Callable[[argparse.Namespace], list[str]]]] = {
    "copy": copy,
    "steps": steps,
    "processes": processes,
    "same": same,
    "costs": costs,
    "plan": plan,
}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help=f"comma-separated, of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="a smoke test: small sizes, few rounds, nothing judged")
    parser.add_argument("--url", default=os.environ.get(VARIABLE, ""), help="an empty database")
    parser.add_argument("--sizes", help="comma-separated sizes of `steps` and `costs`, growing, in place of theirs")
    parser.add_argument("--minutes", type=float, help="how long `processes` asks (default 10, or .2 with --quick)")
    parser.add_argument("--workers", type=int, default=serving.N_WORKERS, help="API processes (default %(default)s)")
    parser.add_argument("--folder", type=Path, help="where files are written (default: the system's temporary folder)")
    parser.add_argument("--costs", type=Path, metavar="FILE", help=f"measured costs (default {COSTS.name})")
    found, _ = parser.parse_known_args(given)
    found.only = found.only.split(",") if found.only else list(SECTIONS)
    unknown = [name for name in found.only if name not in SECTIONS]
    if unknown:
        parser.error(f"no such section: {unknown[0]}; there are {', '.join(SECTIONS)}")
    try:
        found.sizes = tuple(int(size) for size in found.sizes.split(",")) if found.sizes else None
    except ValueError:
        parser.error("--sizes are whole numbers")
    if found.sizes and (min(found.sizes) < 100 or list(found.sizes) != sorted(set(found.sizes))):
        parser.error("--sizes are at least 100 and grow")
    return found


def main() -> int:
    """Measure, print, and return 0, also where a bar is not met: that is printed."""
    asked, began = arguments(), time.perf_counter()
    print("# At size\n")
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"dwell {dwell.__version__}, {machine}.\n", flush=True)
    for name in asked.only:
        started = time.perf_counter()
        print("\n".join(SECTIONS[name](asked)))
        print(f"\n{name}: {time.perf_counter() - started:.0f} s.\n", flush=True)
    print(f"{time.perf_counter() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
