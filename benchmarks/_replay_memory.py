"""Memory per record: one process per system, which reports how much it grew.

    python benchmarks/_replay_memory.py SYSTEM N

A small buffer of the same kind is filled first, so that what importing and compiling take is not counted.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from _replay_ours import Ours
from _replay_peers import Cpprb, Torchrl
from _replay_rows import ID_BYTES, RECORD, Block, Layout, event_ids, priorities, rows, template
from _replay_systems import AbsentError, System

CHUNK: Final = 5_000  # rows made at once: 10 MB, which the allocator hands back
N_SMALL: Final = 500  # rows of the buffer beforehand: 1 MB
# What is freed goes back to the system at once; else the C library would serve rows from what making them left behind.
HAND_BACK: Final = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
SYSTEMS: Final[dict[str, Callable[[Layout, int], System]]] = {
    "dwell": Ours,
    "dwell, fast": lambda layout, n: Ours(layout, n, "numba"),
    "cpprb": Cpprb,
    "torchrl": Torchrl,
}


class Footprint(NamedTuple):
    """What one record takes.

    Attributes:
        name: The system.
        n: Records.
        rss_bytes: Growth of the resident set per record.
        payload_bytes: What a record is: its numbers, and the text of its id where the system keeps ids.
        own_bytes: What the system itself says per record; 0 where it says nothing.
    """

    name: str
    n: int
    rss_bytes: float
    payload_bytes: int
    own_bytes: float

    @property
    def over_payload(self) -> float:
        """Memory as a multiple of the payload."""
        return self.rss_bytes / self.payload_bytes


def fill(system: System, pattern: Block, values: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    """Put rows 0 to n - 1 into a system, chunk by chunk."""
    for first in range(0, values.size, CHUNK):
        chunk = values[first : first + CHUNK]
        block = rows(pattern, first, chunk.size)
        system.add_many(system.prepared(block, event_ids(first, chunk.size), chunk))


def resident_bytes() -> int:
    """Return the resident set of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measured_here(name: str, n: int) -> Footprint:
    """Return the footprint of a system that is filled in this process."""
    pattern = template(RECORD, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    make = SYSTEMS[name]
    fill(make(RECORD, N_SMALL), pattern, priorities(rng, N_SMALL))
    values = priorities(rng, n)
    before = resident_bytes()
    system = make(RECORD, n)
    fill(system, pattern, values)
    system.draw(64)
    grown = resident_bytes() - before
    is_ours = isinstance(system, Ours)
    payload = RECORD.n_bytes() + (ID_BYTES if is_ours else 0)
    return Footprint(name, n, grown / n, payload, system.n_bytes / n if isinstance(system, Ours) else 0.0)


def measured(name: str, n: int) -> Footprint:
    """Return the footprint of a system that is filled in a process of its own.

    Raises:
        AbsentError: It is not installed, or failed; says why.
    """
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), name, str(n)],
        env=os.environ | HAND_BACK,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise AbsentError((done.stderr.strip().splitlines() or ["ended without a word"])[-1])
    found = json.loads(done.stdout.splitlines()[-1])
    return Footprint(**found)


def main() -> int:
    """Fill one system and print its footprint as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("system", choices=list(SYSTEMS))
    parser.add_argument("n", type=int)
    asked = parser.parse_args()
    try:
        print(json.dumps(measured_here(asked.system, asked.n)._asdict()))
    except AbsentError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
