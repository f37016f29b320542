"""What one training step costs: 256 lists, 16 rankings each, PL-Rank-3, ours against bare numpy and against torch.

    python benchmarks/steps.py [--quick] [--json FILE]

All contestants take turns in one run on one thread, and ratios are made within a round. "Bare numpy" is the arithmetic
of the same step written out in one function without checks or padding; it ends at the same weights. Torch's rows are
left out where torch is not installed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

# before numpy is imported: afterwards its threads are there
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 - after the number of threads

from _steps_bare import bare_step  # noqa: E402 - the same
from _steps_ours import SETTINGS, made_up, our_step  # noqa: E402 - the same
from _timing import Contestant, Interval, interval, race, ratio, verdict  # noqa: E402 - the same
from dwell.learning.pl_rank import full_rankings, pl_rank_gradient  # noqa: E402 - the same
from dwell.ranking import conditional_propensities  # noqa: E402 - the same

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

N_LISTS: Final = 256
SIZES: Final = (10, 20, 50, 100)
N_ROUNDS: Final = 41
N_QUICK_ROUNDS: Final = 7
BARE_BAR: Final = 1.3  # at most so many times the bare arithmetic
TORCH_BAR: Final = 5.0  # at least so many times faster
GRADIENT_BAR: Final = 1e-3
N_GRADIENT_SAMPLES: Final = 8_000_000  # one ranking has a standard deviation of about 0.5: 5 errors are 9e-4
N_QUICK_GRADIENT_SAMPLES: Final = 100_000
_CHUNK: Final = 100_000

OURS: Final = "dwell"
BARE: Final = "bare numpy"
TORCH: Final = ("torch, PL-Rank", "torch, log-probability")


class Steps(NamedTuple):
    """What a step costs with lists of one length.

    Attributes:
        n_documents: Length of each list.
        seconds: {contestant: (rounds,) seconds per step}.
        difference: Largest difference of a weight, or of the slope's norm, between ours and the bare or torch's step.
    """

    n_documents: int
    seconds: dict[str, FloatArray]
    difference: float

    def against(self, name: str) -> Interval | None:
        """Return the ratio to a contestant that ran: ours over the bare arithmetic, or torch's over ours."""
        if name not in self.seconds:
            return None
        ours, other = self.seconds[OURS], self.seconds[name]
        return ratio(ours, other) if name == BARE else ratio(other, ours)


def timed(n_documents: int, *, n_lists: int, n_rounds: int) -> Steps:
    """Return what a step costs, every contestant that is installed in turn."""
    task = made_up(n_lists, n_documents)
    calls = {OURS: lambda seed: our_step(task, seed), BARE: lambda seed: bare_step(task, seed)}
    try:
        from _steps_torch import TorchTask, torch_step  # optional: gigabytes
    except ImportError:
        pass
    else:
        tensors = TorchTask(task)
        calls[TORCH[0]] = lambda seed: torch_step(tensors, seed)
        calls[TORCH[1]] = lambda seed: torch_step(tensors, seed, is_pl_rank=False)
    expected = our_step(task, 0)
    same = [calls[name](0) for name in (BARE, TORCH[0]) if name in calls]
    difference = max(float(np.abs(found - expected).max()) for found in same)
    n_calls = max(1, 40 // n_documents)
    seeds = itertools.count()
    entered = [
        Contestant(name, lambda n: [next(seeds) for _ in range(n)], call, n_calls) for name, call in calls.items()
    ]
    return Steps(n_documents, race(entered, n_rounds=n_rounds), difference)


def gradient_error(n_samples: int, seed: int = 11) -> float:
    """Return the largest error of a sampled PL-Rank gradient against the enumerated one: 5 documents, 3 shown."""
    rng = np.random.default_rng(seed)
    z, rewards = rng.normal(size=5), np.array([1.0, 0.0, 0.4, -0.6, 0.2])
    values = np.array([1.0, 0.5, 1.0 / 3.0, 0.0, 0.0])
    total = np.zeros(5)
    for begin in range(0, n_samples, _CHUNK):
        n = min(_CHUNK, n_samples - begin)
        noise = np.log(np.maximum(rng.standard_exponential((1, n, 5), dtype=np.float32), np.float32(1e-30)))
        total += n * pl_rank_gradient(full_rankings(z[None], noise), rewards[None], values[None])[0]
    return float(np.abs(total / n_samples - enumerated_gradient(z, rewards, values[:3])).max())


def enumerated_gradient(z: FloatArray, rewards: FloatArray, values: FloatArray) -> FloatArray:
    """Return dJ/dz over all rankings of the top: sum of P(y) reward(y) d log P(y)/dz, exactly."""
    gradient = np.zeros_like(z)
    for top in itertools.permutations(range(z.size), values.size):
        order = np.array([*top, *(i for i in range(z.size) if i not in top)])
        chance = float(conditional_propensities(z, order, values.size).prod())
        slope = np.zeros_like(z)
        for rank, one in enumerate(top):
            rest = order[rank:]
            slope[one] += 1.0
            slope[rest] -= np.exp(z[rest]) / np.exp(z[rest]).sum()
        gradient += chance * float(values @ rewards[list(top)]) * slope
    return gradient


def peak_bytes(n_lists: int, n_documents: int) -> int:
    """Return the most memory that one step of ours allocates beside what it is given."""
    task = made_up(n_lists, n_documents)
    our_step(task, 0)
    tracemalloc.start()
    our_step(task, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def step_table(measured: Sequence[Steps]) -> list[str]:
    """Return costs, ratios and verdicts as a Markdown table."""
    lines = [
        "| documents | contestant | ms a step | ratio | bar | |",
        "|---|---|---|---|---|---|",
    ]
    for steps in measured:
        for name, seconds in steps.seconds.items():
            found = steps.against(name)
            cost = interval(1e3 * seconds)
            if name == OURS or found is None:
                lines.append(f"| {steps.n_documents} | {name} | {cost} | | | |")
            elif name == BARE:
                said = verdict(found, BARE_BAR, at_least=False)
                lines.append(f"| | {name} | {cost} | ours takes {found} | at most {BARE_BAR:g} | {said} |")
            else:
                said = verdict(found, TORCH_BAR)
                lines.append(f"| | {name} | {cost} | takes {found} of ours | at least {TORCH_BAR:g} | {said} |")
    return lines


def memory_table() -> list[str]:
    """Return what a step of ours allocates for batches of several sizes, as a Markdown table."""
    lines = ["| lists in the batch | documents | peak, MB | bytes per list and document |", "|---|---|---|---|"]
    for n_lists, n_documents in ((64, 10), (256, 10), (1_024, 10), (256, 100)):
        peak = peak_bytes(n_lists, n_documents)
        lines.append(f"| {n_lists:,} | {n_documents} | {peak / 1e6:.1f} | {peak / n_lists / n_documents:,.0f} |")
    return lines


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{N_QUICK_ROUNDS} rounds, not {N_ROUNDS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there, too")
    return parser.parse_args(given)


def main() -> int:
    """Measure, print, and return 0, also where a bar is not met: that is printed."""
    asked = arguments()
    n_rounds = N_QUICK_ROUNDS if asked.quick else N_ROUNDS
    measured = [timed(d, n_lists=N_LISTS, n_rounds=n_rounds) for d in SIZES]
    n_samples = N_QUICK_GRADIENT_SAMPLES if asked.quick else N_GRADIENT_SAMPLES
    error = gradient_error(n_samples)
    torch = sys.modules.get("torch")
    beside = f"torch {torch.__version__}" if torch else "torch is not installed: its rows are skipped"
    print("# The cost of a training step\n")
    print(f"{N_LISTS} lists, {SETTINGS.n_samples} rankings each, 10 shown; {n_rounds} rounds, one thread;")
    print(f"Python {platform.python_version()}, numpy {np.__version__}; {beside}.\n")
    print("\n".join(step_table(measured)))
    print(f"\nLargest difference in weights or slope, same step: {max(s.difference for s in measured):.1e}.")
    met = "met" if error < GRADIENT_BAR else "**not met**"
    print(f"PL-Rank against enumeration, {n_samples:,} rankings: {error:.1e}, below {GRADIENT_BAR:g}: {met}.\n")
    print("\n".join(memory_table()))
    print("\nA step is given its batch and nothing else: no row depends on the length of the log.")
    if asked.json is not None:
        rounds = {s.n_documents: {name: seconds.tolist() for name, seconds in s.seconds.items()} for s in measured}
        asked.json.write_text(
            json.dumps({"seconds": rounds, "gradient_error": error}, indent=1) + "\n", encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
