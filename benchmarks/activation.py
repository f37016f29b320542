"""What activation costs: a scan of a million items, a thousand candidates, ten served items, against pyactup.

    python benchmarks/activation.py [--quick] [--only memory|durable] [--json FILE]

All contestants take turns in one run on one thread, and ratios are made within a round. pyactup is asked by `retrieve`
for the activation of chunks with 100 accesses each; its rows are left out where it is not installed. Ours has two
channels, and its cost does not depend on the number of accesses. `durable` sends serves through the loop's own writer
into a file, synced, and counts until the last one is on the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import json
import os
import platform
import sqlite3
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

# before numpy is imported: afterwards its threads are there
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 - after the number of threads

from _activation_durable import (  # noqa: E402 - the same
    ALONE,
    DURABLE_BAR,
    N_QUICK_SERVES,
    N_SERVES,
    bytes_in_store,
    durable,
)
from _activation_durable import N_ROUNDS as N_DURABLE_ROUNDS  # noqa: E402 - the same
from _timing import Contestant, Interval, interval, race, ratio, verdict  # noqa: E402 - the same
from dwell.activation import LADDER_12, LADDER_14, Activation, Ladder, TraceTable  # noqa: E402 - the same

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

N_ITEMS: Final = 1_000_000
N_QUICK_ITEMS: Final = 100_000
N_ROUNDS: Final = 21
N_QUICK_ROUNDS: Final = 7
N_CHUNKS: Final = 300  # of pyactup: it takes 8 to 12 us for one
N_ACCESSES: Final = 100
NOW_US: Final = 1_700_000_000_000_000
DAY_US: Final = 86_400_000_000

SCAN: Final = "scan, all items"
SOME: Final = "1,000 candidates, all items"
FEW: Final = "1,000 candidates, 10,000 items"
SERVE: Final = "serve of 10 items"
ADD: Final = "the same, sums alone"
CAPPED: Final = "serve of 10 items in a session"
SAID: Final = "feedback on one item"
THEIRS: Final = "pyactup, retrieve"
LEARN: Final = "pyactup, learn of 10"

# seconds per call that were promised; the scan for a million items
BARS: Final = {SCAN: 0.2, SOME: 0.2e-3, FEW: 0.2e-3, SERVE: 50e-6, ADD: 50e-6}
N_FEW: Final = 10_000
FASTER_BAR: Final = 50.0  # per item, than pyactup
BYTES_BAR: Final = 250.0
BYTES_BAR_14: Final = 290.0


def filled(n_items: int) -> tuple[Activation, list[str]]:
    """Return an activation with a history for each item, and the items."""
    rng = np.random.default_rng(7)
    memory, items = Activation(), [f"item-{number}" for number in range(n_items)]
    for _ in range(2):
        at = NOW_US - 2 * DAY_US - rng.integers(0, 700 * DAY_US, n_items)
        memory.load_history(items, at, (rng.random(n_items) < 0.2).astype(np.float64), np.ones(n_items))
    return memory, items


def our_contestants(memory: Activation, items: Sequence[str]) -> list[Contestant]:
    """Return our calls; events of a round are new ones."""
    rng, numbers = np.random.default_rng(11), itertools.count()
    some = [[items[i] for i in rng.integers(0, len(items), 1_000)] for _ in range(20)]
    smaller, its_items = filled(min(N_FEW, len(items)))
    few = [[its_items[i] for i in rng.integers(0, len(its_items), 1_000)] for _ in range(20)]

    def served(n: int) -> list[tuple[list[str], int, str]]:
        drawn = [rng.choice(len(items), 10, replace=False) for _ in range(n)]
        return [([items[i] for i in ten], NOW_US + next(numbers), f"e{next(numbers)}") for ten in drawn]

    def said(n: int) -> list[tuple[str, str]]:
        events = served(n)
        for ten, at, event_id in events:
            memory.serve(ten, at, event_id=event_id)
        return [(event_id, ten[0]) for ten, _, event_id in events]

    def capped(one: tuple[list[str], int, str]) -> object:
        return memory.serve(one[0], one[1], event_id=one[2], session=f"s{one[1] // 8}")

    table, exposure = TraceTable(LADDER_12), np.tile([0.0, 1.0], (10, 1))
    table.add(items, NOW_US - DAY_US, np.ones((len(items), 2)))
    later = NOW_US + DAY_US
    return [
        Contestant(SCAN, lambda n: [None] * n, lambda _: memory.scores(None, later), 1),
        Contestant(SOME, lambda n: some[:n], lambda ids: memory.scores(ids, later), 20),
        Contestant(FEW, lambda n: few[:n], lambda ids: smaller.scores(ids, later), 20),
        Contestant(SERVE, served, lambda one: memory.serve(one[0], one[1], event_id=one[2]), 200),
        Contestant(ADD, served, lambda one: table.add(one[0], one[1], exposure), 200),
        Contestant(CAPPED, served, capped, 200),
        Contestant(SAID, said, lambda one: memory.feedback(one[0], one[1], 1.0), 200),
    ]


def their_contestants() -> tuple[str, list[Contestant]]:
    """Return pyactup's version, "" where it is not installed, and its calls."""
    try:
        import pyactup  # a peer that may be absent
    except ImportError:
        return "", []
    memory = pyactup.Memory(noise=0.0, temperature=1.0, decay=0.5)
    for _ in range(N_ACCESSES):
        for chunk in range(N_CHUNKS):
            memory.learn({"item": chunk, "kind": "chunk"})
        memory.advance(1.0)
    other = pyactup.Memory(noise=0.0, temperature=1.0, decay=0.5)

    def learn(_: object) -> None:
        for chunk in range(10):
            other.learn({"item": chunk})
        other.advance(1.0)

    asked = {"kind": "chunk"}
    return pyactup.__version__, [
        Contestant(THEIRS, lambda n: [None] * n, lambda _: memory.retrieve(asked), 3),
        Contestant(LEARN, lambda n: [None] * n, learn, 20),
    ]


def table(seconds: dict[str, FloatArray], n_items: int) -> list[str]:
    """Return costs, bars and verdicts as a Markdown table."""
    lines = ["| call | cost | bar | |", "|---|---|---|---|"]
    for name, found in seconds.items():
        unit, factor = ("ms", 1e3) if name in {SCAN, SOME, FEW, THEIRS} else ("us", 1e6)
        cost = interval(factor * found)
        bar = BARS.get(name)
        if bar is None or (name == SCAN and n_items != N_ITEMS):
            lines.append(f"| {name} | {cost} {unit} | | |")
        else:
            said = verdict(interval(found), bar, at_least=False)
            lines.append(f"| {name} | {cost} {unit} | at most {factor * bar:g} {unit} | {said} |")
    return lines


def against(seconds: dict[str, FloatArray], n_items: int) -> Interval | None:
    """Return how many times as long pyactup takes for an item of a scan; None where it did not run."""
    if THEIRS not in seconds:
        return None
    return ratio(seconds[THEIRS] / N_CHUNKS, seconds[SCAN] / n_items)


def bytes_kept(n_items: int, ladder: Ladder) -> float:
    """Return the bytes an item takes in a table of SQLite: a number, when it is forgotten, and its row."""
    memory = Activation(ladder=ladder)
    memory.access([f"item-{number}" for number in range(n_items)], NOW_US)
    with contextlib.closing(sqlite3.connect(":memory:")) as store:
        store.execute("CREATE TABLE activation (item INTEGER PRIMARY KEY, forget_us INTEGER, row BLOB) STRICT")
        rows = ((number, NOW_US + number, row) for number, (_, row) in enumerate(memory.rows()))
        store.executemany("INSERT INTO activation VALUES (?, ?, ?)", rows)
        (pages,), (page_bytes,) = (store.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    return float(pages * page_bytes / n_items)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{N_QUICK_ITEMS:,} items, {N_QUICK_ROUNDS} rounds")
    parser.add_argument("--only", choices=["memory", "durable"], help="one of the two parts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there, too")
    return parser.parse_args(given)


def measured(n_items: int, n_rounds: int, say: Callable[[str], None] = print) -> dict[str, FloatArray]:
    """Return the seconds per call of each contestant in each round."""
    memory, items = filled(n_items)
    version, theirs = their_contestants()
    say(f"{n_items:,} items, two channels, {memory.ladder.ladder_id}, float64; {n_rounds} rounds, one thread;")
    say(f"Python {platform.python_version()}, numpy {np.__version__}; pyactup {version or 'is not installed'}.\n")
    # a pass of the garbage collector over millions of ids belongs to whoever holds them, at no call in particular
    gc.collect()
    gc.freeze()
    try:
        return race([*our_contestants(memory, items), *theirs], n_rounds=n_rounds)
    finally:
        gc.unfreeze()


def durable_table(per_second: dict[str, FloatArray]) -> list[str]:
    """Return serves a second, the bar and the verdict as a Markdown table."""
    lines = ["| kept on disk | serves a second | bar | |", "|---|---|---|---|"]
    for name, found in per_second.items():
        bar, said = (
            ("", "") if name != ALONE else (f"at least {DURABLE_BAR:,.0f}", verdict(interval(found), DURABLE_BAR))
        )
        lines.append(f"| {name} | {interval(found)} | {bar} | {said} |")
    return lines


def _durable_part(*, is_quick: bool) -> dict[str, FloatArray]:
    n_serves, n_rounds = (N_QUICK_SERVES, 1) if is_quick else (N_SERVES, N_DURABLE_ROUNDS)
    print(f"\n{n_serves:,} serves, durability full, {n_rounds} rounds; rows written behind once a second.\n")
    found = durable(n_serves, n_rounds)
    print("\n".join(durable_table(found)))
    print()
    for n_rates, most in ((12, BYTES_BAR), (14, BYTES_BAR_14)):
        kept = bytes_in_store(N_FEW, n_rates)
        met = "met" if kept <= most else "**not met**"
        print(f"In the store, K = {n_rates}, ids and both indexes: {kept:.0f} bytes an item, at most {most:g}: {met}.")
    return found


def main() -> int:
    """Measure, print, and return 0, also where a bar is not met: that is printed."""
    asked = arguments()
    seconds: dict[str, FloatArray] = {}
    print("# The cost of activation\n")
    if asked.only != "durable":
        seconds |= _memory_part(is_quick=asked.quick)
    if asked.only != "memory":
        seconds |= _durable_part(is_quick=asked.quick)
    if asked.json is not None:
        rounds = {name: values.tolist() for name, values in seconds.items()}
        asked.json.write_text(json.dumps(rounds, indent=1) + "\n", encoding="utf-8")
    return 0


def _memory_part(*, is_quick: bool) -> dict[str, FloatArray]:
    n_items, n_rounds = (N_QUICK_ITEMS, N_QUICK_ROUNDS) if is_quick else (N_ITEMS, N_ROUNDS)
    seconds = measured(n_items, n_rounds)
    print("\n".join(table(seconds, n_items)))
    found = against(seconds, n_items)
    if found is not None:
        said = verdict(found, FASTER_BAR)
        print(
            f"\nAn item takes pyactup ({N_ACCESSES} accesses) {found} times as long: at least {FASTER_BAR:g}: {said}."
        )
    for ladder, most in ((LADDER_12, BYTES_BAR), (LADDER_14, BYTES_BAR_14)):
        kept = bytes_kept(N_FEW, ladder)
        met = "met" if kept <= most else "**not met**"
        print(f"Kept on {ladder.ladder_id}: {kept:.0f} bytes an item in SQLite, at most {most:g}: {met}.")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
