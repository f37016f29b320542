"""What `dwell.memory` costs as it grows: adding, recalling, forgetting, opening, and fitting the latent space.

    python benchmarks/memory.py [--quick] [--n 10000] [--json FILE]

Texts are made up: 12 words of a vocabulary of 20,000 with Zipf's frequencies. Every call is durable on return (a file,
`durability="full"`). An `add` that crosses a fourth more texts fits the space anew; these are told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# before numpy is imported: afterwards its threads are there
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 - after the number of threads

import dwell.memory  # noqa: E402 - the same

N_WORDS = 20_000
N_PER_TEXT = 12
N_CALLS = 200
N_FORGOTTEN = 20
NOW = 1_700_000_000.0


def made_up(n: int, rng: np.random.Generator) -> list[str]:
    """Return texts of words by Zipf's law."""
    ranks = np.minimum(rng.zipf(1.2, (n, N_PER_TEXT)), N_WORDS)
    return [" ".join(f"w{rank}x" for rank in row) for row in ranks.tolist()]


def timed(call: Callable[[int], object], n: int) -> list[float]:
    """Return milliseconds of each of n calls."""
    took = []
    for i in range(n):
        began = time.perf_counter()
        call(i)
        took.append(1e3 * (time.perf_counter() - began))
    return took


def told(name: str, took: Sequence[float]) -> str:
    """Return a line of a table: median, 95th percentile, longest."""
    return f"| {name} | {np.median(took):.2f} | {np.quantile(took, 0.95):.2f} | {max(took):.1f} | {len(took):,} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test: 300 memories")
    parser.add_argument("--n", type=int, default=10_000, help="memories")
    parser.add_argument("--json", type=Path, help="a file for every figure")
    given = parser.parse_args()
    n, took = 300 if given.quick else given.n, dict[str, list[float]]()
    rng = np.random.default_rng(0)
    texts = made_up(n, rng)
    asked = [" ".join(text.split()[:4]) for text in made_up(N_CALLS, rng)]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {n:,} texts\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.dwell"
        with dwell.memory.open(path, pepper="benchmark") as memory:
            n_fitted = 0
            for i, text in enumerate(texts):
                is_fit = i + 1 - n_fitted >= max(1.0, 0.25 * n_fitted)  # as `dwell.memory.shelf` has it
                n_fitted = i + 1 if is_fit else n_fitted
                name = "add that fits anew" if is_fit else "add"
                began = time.perf_counter()
                memory.add(text, id=f"m{i}", now=NOW + i)
                took.setdefault(name, []).append(1e3 * (time.perf_counter() - began))
            took["add, last thousand"] = took["add"][-1_000:]
            took["search"] = timed(lambda i: memory.search(asked[i], now=NOW + n), N_CALLS)
            took["peek"] = timed(lambda i: memory.search(asked[i], now=NOW + n, peek=True), N_CALLS)
            took["forget"] = timed(lambda i: memory.forget(f"m{i}"), N_FORGOTTEN)
        took["open"] = timed(lambda _: dwell.memory.open(path, pepper="benchmark").close(), 3)
        print("| call | median ms | 95 % | longest | calls |\n|---|---|---|---|---|")
        print("\n".join(told(name, each) for name, each in took.items()))
        size = Path(f"{path}.texts").stat().st_size
        print(f"\n{size / n:.0f} bytes a memory on disk, of which text {np.mean([len(text) for text in texts]):.0f};")
        fitting = sum(took["add that fits anew"]) / 1e3
        print(f"all fits: {fitting:.2f} of {fitting + sum(took['add']) / 1e3:.1f} s of adding")
    if given.json is not None:
        given.json.write_text(json.dumps(took), encoding="utf-8")


if __name__ == "__main__":
    main()
