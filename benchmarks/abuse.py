"""Who can push the loop to what clean users like less? Simulated attackers and a small loop, by its public calls.

    python benchmarks/abuse.py [--quick] [--seeds 100] [--events 3000] [--only 0,1,5] [--config '{"gate": {...}}']
                               [--workers 2] [--json FILE]

Every version that went live by itself is measured on clean users, against what was live before it, by fresh lists and
closed-form click probabilities. docs/benchmarks.md describes what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np

import dwell
from _abuse import ATTACKS, TRAIN_EVERY, Attack, Run, run
from study.judging_report import exact_interval

FULL_SEEDS: Final = 100
FULL_EVENTS: Final = 3_000
QUICK_ATTACKS: Final = (0, 3)
MOVED: Final = 0.01  # what one account may cost clean users


def verdict_of(attack: Attack, runs: Sequence[Run], *, is_judged: bool) -> str:
    """Return whether what was promised of an attack was met; empty where nothing is."""
    if attack.bar == "limit":
        return "a limit: nothing is promised"
    if not is_judged:
        return "not judged"
    is_met = not any(promoted.is_worse for found in runs for promoted in found.promoted)
    if attack.bar == "unmoved":
        is_met = is_met and all(found.moved > -MOVED for found in runs)
    return "met" if is_met else "**not met**"


def table(found: dict[str, list[Run]], *, is_judged: bool) -> list[str]:
    """Return Markdown lines, one per attack."""
    lines = [
        "| attack | seeds with a worse promotion, exact 95 % | promotions, worse | worst | utility, mean (range) | |",
        "|---|---|---|---|---|---|",
    ]
    for attack in ATTACKS:
        runs = found.get(attack.name)
        if not runs:
            continue
        every = [promoted for one in runs for promoted in one.promoted]
        bad = sum(any(promoted.is_worse for promoted in one.promoted) for one in runs)
        low, high = exact_interval(bad, len(runs))
        moved = np.array([one.moved for one in runs])
        worst = f"{min(promoted.gain for promoted in every):+.2%}" if every else ""
        lines.append(
            f"| {attack.name} | {bad} of {len(runs)} ({low:.3f} to {high:.3f}) "
            f"| {len(every)}, {sum(promoted.is_worse for promoted in every)} | {worst} "
            f"| {moved.mean():+.2%} ({moved.min():+.2%} to {moved.max():+.2%}) "
            f"| {verdict_of(attack, runs, is_judged=is_judged)} |"
        )
    return lines


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test: one seed, 1,000 events, two attacks")
    parser.add_argument("--seeds", type=int, help=f"number of seeds (default {FULL_SEEDS})")
    parser.add_argument("--events", type=int, help=f"events a run, a multiple of 1,000 (default {FULL_EVENTS:,})")
    parser.add_argument("--only", help=f"comma-separated numbers of attacks, 0 to {len(ATTACKS) - 1}")
    parser.add_argument("--config", type=json.loads, default={}, metavar="JSON", help="settings of the loop")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every promotion there, too")
    found = parser.parse_args(given)
    found.seeds = (1 if found.quick else FULL_SEEDS) if found.seeds is None else found.seeds
    found.events = (TRAIN_EVERY if found.quick else FULL_EVENTS) if found.events is None else found.events
    chosen = [int(i) for i in found.only.split(",")] if found.only else None
    found.only = chosen or (list(QUICK_ATTACKS) if found.quick else list(range(len(ATTACKS))))
    if not all(0 <= i < len(ATTACKS) for i in found.only):
        parser.error(f"attacks are numbered 0 to {len(ATTACKS) - 1}")
    if min(found.seeds, found.workers) < 1 or found.events < TRAIN_EVERY or found.events % TRAIN_EVERY:
        parser.error("--seeds and --workers are at least 1, --events a multiple of 1,000")
    return found


def main() -> int:
    """Measure, print, and return 0: also where a bar is not met, which is printed."""
    asked = arguments()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # the workers inherit it: each has one core
    began = time.perf_counter()
    tasks = [(ATTACKS[i], seed) for seed in range(asked.seeds) for i in asked.only]
    one = partial(run, n_events=asked.events, config=asked.config)
    found: dict[str, list[Run]] = {}
    with ProcessPoolExecutor(asked.workers, mp_context=get_context("spawn")) as pool:
        for answer in pool.map(one, *zip(*tasks, strict=True)):
            found.setdefault(answer.attack, []).append(answer)
            last = [f"{promoted.gain:+.2%}" for promoted in answer.promoted]
            print(f"{answer.attack}, seed {answer.seed}: {last}", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - began
    machine = f"Python {platform.python_version()}, numpy {np.__version__}, {os.cpu_count()} cores"
    lines = [
        "# Attacks on a loop that learns from clicks",
        "",
        f"dwell {dwell.__version__}, {machine}. Users and attackers are simulated.",
        f"{asked.events:,} events, `train()` every {TRAIN_EVERY:,}, seeds 0 to {asked.seeds - 1}.",
        f"Settings: {json.dumps(asked.config)}.",
        "A promotion is worse than live where clean clicks per list fall by more than two standard errors of that.",
        "Utility is that of what is live in the end, in clean clicks per list, over that of the first ranker.",
        "",
        *table(found, is_judged=not asked.quick),
        "",
        f"{seconds:.0f} s on {asked.workers} processes.",
    ]
    print("\n".join(lines))
    if asked.json is not None:
        values: dict[str, Any] = {name: [_plain(each) for each in runs] for name, runs in found.items()}
        asked.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return 0


def _plain(one: Run) -> dict[str, Any]:
    return {"seed": one.seed, "moved": one.moved, "promoted": [promoted._asdict() for promoted in one.promoted]}


if __name__ == "__main__":
    sys.exit(main())
