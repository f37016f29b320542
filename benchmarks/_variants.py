"""What would another setting have done? One line per variant, on the simulated users of `learning.py`.

    python benchmarks/_variants.py --set lightgbm_rank --seeds 3 --variant '{}' --variant '{"gate": {"kind": "block"}}'

Not part of `make bench`: docs/experiments.md names the lines that its entries were printed by.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from study.simulation import Run, run_loop
from study.worlds import READERS, World, shared_folder

ROOT: Final = Path(__file__).resolve().parent.parent
SHOWN_AT: Final = (1_000, 2_000, 3_000, 5_000, 10_000)


class Task(NamedTuple):
    """One run of one seed under one variant."""

    world: World
    seed: int
    n_events: int
    config: dict[str, Any]


def perform(task: Task) -> Run:
    """Return what came of a task; in a process of its own."""
    return run_loop(task.world, seed=task.seed, n_events=task.n_events, config=task.config)


def line(config: dict[str, Any], runs: Sequence[Run]) -> str:
    """Return one row: the mean at each checkpoint, its standard error over seeds at the end, promotions, and harm."""
    curve = np.array([[float(np.mean(point.test)) for point in run.checkpoints] for run in runs])
    asked = np.array([[point.train for point in run.checkpoints] for run in runs])
    versions = np.array([[point.version for point in run.checkpoints] for run in runs])
    events = [point.n_events for point in runs[0].checkpoints]
    moved = np.diff(versions, axis=1) != 0
    worse = int((moved & (np.diff(asked, axis=1) < 0.0)).sum())
    at = " / ".join(f"{curve[:, events.index(n)].mean():.3f}" for n in SHOWN_AT if n in events)
    error = curve[:, -1].std(ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else float("nan")
    return f"| `{json.dumps(config)}` | {at} | {error:.3f} | {int(moved.sum())} | {worse} |"


def main(given: Sequence[str] | None = None) -> None:
    """Print one row per variant."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", choices=list(READERS), default="lightgbm_rank")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--variant", action="append", type=json.loads, default=[], help="settings as JSON")
    asked = parser.parse_args(given)
    world = READERS[asked.set](shared_folder(ROOT))
    variants: list[dict[str, Any]] = asked.variant or [{}]
    tasks = [Task(world, seed, asked.events, config) for config in variants for seed in range(asked.seeds)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(perform, tasks))
    print(f"{asked.set}, {asked.events:,} events, {asked.seeds} seeds, simulated position-based clicks\n")
    print(f"| settings | nDCG@10 after {' / '.join(f'{n:,}' for n in SHOWN_AT)} | SE | promotions | worse on asked |")
    print("|---|---|---|---|---|")
    for i, config in enumerate(variants):
        print(line(config, found[i * asked.seeds : (i + 1) * asked.seeds]), flush=True)


if __name__ == "__main__":
    main()
