"""Writes to a ring for ever, telling on standard output which epoch is on disk.

    python ring_child.py <path> <seed>

The rows of a ring at epoch e are those that `play` leaves after e steps. A line is written after each checkpoint. It
never ends by itself.
"""

from __future__ import annotations

import os
import random
import sys

from dwell.storage.column_ring import ColumnRing
from dwell.testing.store_rings import sample_columns, sample_ring_schema, sample_row

CAPACITY = 1_000


def play(ring: ColumnRing, seed: int, step: int) -> None:
    """Change a ring by one step: the same changes for the same numbers, whatever ran before in the process."""
    rng = random.Random(f"{seed}/{step}")
    first = 1 + 40 * step
    ring.put_many(sample_columns(range(first, first + 40), step % 2048))
    for seq in rng.sample(range(1, first + 40), k=min(10, first)):
        ring.put(seq, sample_row(seq, step % 2048))
    there = sorted(ring.seqs().tolist())
    ring.drop(rng.sample(there, k=min(30, len(there) // 2)))
    ring.set(there[:20], "priority", [float(step)] * 20)


def main() -> None:
    """Run until killed."""
    ring = ColumnRing.create(sys.argv[1], sample_ring_schema(), CAPACITY)
    step = 0
    while True:
        play(ring, int(sys.argv[2]), step)
        step += 1
        if step % 3 == 0:
            ring.checkpoint(step)
            os.write(1, f"{step}\n".encode("ascii"))


if __name__ == "__main__":
    main()
