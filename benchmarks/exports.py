"""What an export costs: events a second and peak memory, by format, over stores of one size and of four times that.

    python benchmarks/exports.py [--quick]

Events have 16 features of 30 candidates, ten of them shown, a query of five words, an embedding of 64 numbers, and a
click in every second list. Each export is a process of its own; "grown" is the peak above what the process had when the
store was open. What counts is that four times the events grow it no further.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

N_EVENTS: Final = 5_000
N_QUICK_EVENTS: Final = 1_000
TIMES: Final = 4
FORMATS: Final = ("jsonl", "csv", "parquet", "svmlight", "vw", "ubi", "obp", "arrow")
START: Final = 1_700_000_000.0
PEPPER: Final = "a pepper of this benchmark"
FEATURES: Final = tuple(f"f{j}" for j in range(16))


def filled(path: Path, n: int) -> None:
    """Make a store of n closed events."""
    import numpy as np

    import dwell

    rng = np.random.default_rng(n)
    with dwell.open(path, features=FEATURES, pepper=PEPPER, durability="relaxed", embedding_dim=64) as loop:
        for i in range(n):
            served = loop.rank(
                f"how to do thing {i % 997}", ids=[f"doc-{(37 * i + 101 * j) % 100_000}" for j in range(30)],
                features=rng.standard_normal((30, 16)), user=f"u{i % 500}", event_id=f"e{i}", now=START + i,
                query_embedding=rng.standard_normal(64),
            )  # fmt: skip
            if i % 2:
                loop.submit_feedback(served.event_id, "click", doc=served.ids[i % 3], now=START + i)
            if i % 1_000 == 999:
                loop.history()  # waits for the writer, whose queue is bounded
        loop.close_events(now=START + 1e7)


def peak_kb() -> int:
    """Return the most memory that this process had at a time; `getrusage` would tell that of its parent as well."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def exported(store: Path, name: str) -> dict[str, float]:
    """Export in this process, and return what that took."""
    import dwell
    from dwell.integrations.arrow import ExperienceTable
    from dwell.integrations.obp import write_obp
    from dwell.integrations.ubi import export_ubi

    with dwell.open(store, pepper=PEPPER, capacity=1_000) as loop, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out"
        if name in {"arrow", "parquet"}:
            loop.export(Path(folder) / "first", "parquet", limit=1)  # pyarrow is loaded before the clock runs
        before, started = peak_kb(), time.perf_counter()
        if name == "ubi":
            n = export_ubi(loop, path)
        elif name == "obp":
            n = write_obp(loop, path)
        elif name == "arrow":
            n = sum(batch.num_rows for batch in ExperienceTable(loop).reader())
        else:
            n = loop.export(path, name)
        taken_s = time.perf_counter() - started
        size = path.stat().st_size if path.exists() else 0
    return {"n": n, "seconds": taken_s, "bytes": size, "grown_mb": (peak_kb() - before) / 1_024}


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events")
    parser.add_argument("--export", nargs=2, metavar=("STORE", "FORMAT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.export:
        print(json.dumps(exported(Path(given.export[0]), given.export[1])))
        return
    n = N_QUICK_EVENTS if given.quick else N_EVENTS
    with tempfile.TemporaryDirectory() as place:
        for times in (1, TIMES):
            filled(Path(place) / f"{times}.dwell", n * times)
        measured(Path(place))


def measured(place: Path) -> None:
    """Measure every format over both stores."""
    print(f"{'format':<9} {'events':>7} {'events/s':>9} {'bytes each':>11} {'grown MB':>9}")
    for name in FORMATS:
        for times in (1, TIMES):
            store = place / f"{times}.dwell"
            done = subprocess.run(
                [sys.executable, __file__, "--export", str(store), name], capture_output=True, text=True, check=True
            )
            found = json.loads(done.stdout)
            print(
                f"{name:<9} {found['n']:>7,} {found['n'] / found['seconds']:>9,.0f}"
                f" {found['bytes'] / max(found['n'], 1):>11,.0f} {found['grown_mb']:>9.0f}"
            )


if __name__ == "__main__":
    main()
