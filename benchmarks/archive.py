"""What an archive costs: bytes, writing, reading, erasing a user, and learning from more than memory holds.

    python benchmarks/archive.py [--quick]

Events have 16 features of 32 documents, ten of them served. Learning is measured in processes of their own, over
archives of one size and of several times that: what counts is that their peak memory is the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

N_EVENTS: Final = 20_000
N_QUICK_EVENTS: Final = 6_000
TIMES: Final = 5
N_STEPS: Final = 20  # beside the looks at all events that come first
N_USERS: Final = 2_000
DAY_S: Final = 86_400.0
START: Final = 1_700_000_000.0
PEPPER: Final = "a pepper of this benchmark"
FEATURES: Final = tuple(f"f{j}" for j in range(16))


def events_of(n: int, first: int) -> list[Any]:
    """Return closed events, 2,000 a day."""
    import numpy as np

    from dwell.storage import Outcome, pseudonym
    from dwell.storage.archive_rows import ArchivedEvent
    from dwell.testing.store_samples import sample_impression

    rng = np.random.default_rng(first)
    found = []
    for i in range(first, first + n):
        plain = sample_impression(f"event-{i:08d}", k=10, n=32, f=len(FEATURES))
        user = pseudonym(PEPPER.encode(), "", f"u{i % N_USERS}")
        kept = len(plain.documents)
        impression = replace(
            plain, seq=i, user=user, served_at=START + i * DAY_S / 2_000, feature_names=FEATURES, mode="live",
            policy="params", params_version=0, arm="live",
            features=rng.standard_normal((kept, len(FEATURES))).astype(np.float32),
        )  # fmt: skip
        outcome = Outcome(
            seq=i, state="evicted", version=1, closed_at=impression.served_at + 1_800.0, reward=0.5,
            document_rewards=(rng.random(10) < 0.1).astype(np.float32), reward_version="search/1",
            exposure=np.linspace(1.0, 0.1, kept, dtype=np.float32), exposure_se=np.zeros(kept, np.float32),
            examination_version="position-based/1.0",
        )  # fmt: skip
        found.append(ArchivedEvent(impression, outcome))
    return found


def archive_in(folder: Path, n: int) -> tuple[float, int]:
    """Write n events, and return the seconds that it took and the bytes that it made."""
    from dwell.storage.archive import Archive
    from dwell.storage.archive_places import archive_files

    archive = Archive.of(folder, tenant="", store="benchmark", pepper=PEPPER.encode())
    archive.begin()
    taken_s = 0.0
    for first in range(1, n + 1, 2_000):
        some = events_of(min(2_000, n + 1 - first), first)
        started = time.perf_counter()
        with archive.alone():
            archive.add(some)
        taken_s += time.perf_counter() - started
    return taken_s, sum(path.stat().st_size for path in archive_files(folder))


def peak_kb() -> int:
    """Return the most memory that this process had at a time; `getrusage` would tell that of its parent as well."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def learned(folder: str, steps: int) -> dict[str, float]:
    """Learn from an archive in this process, and return what that took."""
    import dwell

    with dwell.open(":memory:", features=FEATURES, weights=dict.fromkeys(FEATURES, 0.25), pepper=PEPPER) as loop:
        before = peak_kb()
        started = time.perf_counter()
        report = loop.train_from_archive(folder, steps=steps, now=START + 1e7)
        taken_s = time.perf_counter() - started
    peak = peak_kb()
    return {
        "n_events": report.n_learned_from, "n_steps": report.n_steps, "seconds": taken_s,
        "peak_mb": peak / 1_024, "grown_mb": (peak - before) / 1_024,
    }  # fmt: skip


def in_a_process(folder: Path) -> dict[str, float]:
    """Return what learning from an archive takes, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--learn", str(folder)], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events")
    parser.add_argument("--learn", metavar="DIR", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.learn:
        print(json.dumps(learned(given.learn, N_STEPS)))
        return
    n = N_QUICK_EVENTS if given.quick else N_EVENTS
    with tempfile.TemporaryDirectory() as place:
        measured(Path(place), n)


def measured(place: Path, n: int) -> None:
    """Measure archives of n events and of several times as many."""
    from dwell.storage import pseudonym
    from dwell.storage.archive import Archive, read_archive
    from dwell.storage.archive_places import archive_files
    from dwell.storage.archive_rows import events_of as decoded

    print(f"{'events':>8} {'MB':>7} {'bytes each':>11} {'written/s':>10} {'read/s':>8} {'checked/s':>10}", end="")
    print(f" {'erase ms':>9} {'parts':>6} {'written anew':>13}")
    for times in (1, TIMES):
        folder = place / f"{times}"
        taken_s, n_bytes = archive_in(folder, n * times)
        started = time.perf_counter()
        n_rows = sum(table.num_rows for table in read_archive(folder))
        read_s = time.perf_counter() - started
        started = time.perf_counter()
        for table in read_archive(folder):
            for _ in decoded(table):
                pass
        checked_s = time.perf_counter() - started
        before = set(archive_files(folder))
        archive = Archive.of(folder, tenant="", store="benchmark", pepper=PEPPER.encode())
        started = time.perf_counter()
        with archive.alone():
            archive.erase(pseudonym(PEPPER.encode(), "", "nobody"))
        erase_s = time.perf_counter() - started
        n_anew = len(before - set(archive_files(folder)))
        print(
            f"{n_rows:>8,} {n_bytes / 1e6:>7.1f} {n_bytes / n_rows:>11,.0f} {n_rows / taken_s:>10,.0f}"
            f" {n_rows / read_s:>8,.0f} {n_rows / checked_s:>10,.0f} {erase_s * 1e3:>9.0f} {len(before):>6}"
            f" {n_anew:>13}"
        )
    print(f"\n{'learned from':>13} {'steps':>6} {'s':>7} {'peak MB':>8} {'grown by MB':>12}")
    for times in (1, TIMES):
        found = in_a_process(place / f"{times}")
        print(
            f"{found['n_events']:>13,.0f} {found['n_steps']:>6.0f} {found['seconds']:>7.1f}"
            f" {found['peak_mb']:>8.0f} {found['grown_mb']:>12.0f}"
        )


if __name__ == "__main__":
    main()
