"""The replay buffer against cpprb, torchrl and the founding document's code: speed, memory, durable ingest.

    python benchmarks/replay.py [--quick] [--n 100000] [--only cycle,update,add,mixed,seed,loop,memory,ingest,ring]
                                [--folder FOLDER] [--json FILE]

Ratios of CPU time, system against system in one run, each call with fresh random input. A peer that is not installed
is skipped with a message. docs/benchmarks.md says how to read it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import dwell
from _replay_field import FULL, QUICK, Effort, Field
from _replay_ingest import APPEND, BARE, BATCH_SIZES, BULK, SINGLY, Ingest, ingest
from _replay_memory import SYSTEMS, Footprint, measured
from _replay_mixed import latencies, mixed
from _replay_peers import versions
from _replay_races import adds, cycles, seed_figures, updates
from _replay_report import OF_BARE_INSERT, OVER_PAYLOAD, Figure, as_values, table, tally
from _replay_ring import ring_figures
from _replay_rows import LOOP_ROW, RECORD, Layout
from _replay_systems import ALPHA, BETA, AbsentError
from _timing import verdict

SIZES: Final = (100_000, 1_000_000)
QUICK_SIZES: Final = (4_000,)
N_INGEST_ROUNDS: Final = 9
N_INGESTED: Final = 4_096  # impressions per round and contestant
RACES: Final[Mapping[str, tuple[str, Callable[[Field], list[Figure]]]]] = {
    "cycle": ("sample, gather, weights, update the same rows", cycles),
    "update": ("update alone", updates),
    "add": ("add", adds),
    "mixed": ("cycle with adds, and beside a writer; nothing is promised", mixed),
    "seed": ("the founding document's code", seed_figures),
}
N_RING: Final = 1_000_000  # experiences reopened, as promised
SECTIONS: Final = (*RACES, "loop", "memory", "ingest", "ring")
ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Printed(NamedTuple):
    """What was found: lines to print, figures to judge, values to write."""

    lines: list[str]
    figures: list[Figure]
    values: dict[str, Any]


def say(what: str) -> None:
    """Tell whoever watches what is being done; the report alone goes to standard output."""
    print(what, file=sys.stderr, flush=True)


def of_layout(layout: Layout, n: int, sections: Sequence[str], effort: Effort, *, has_peers: bool = True) -> Printed:
    """Return the races over one layout and size.

    Args:
        layout: Columns of a row.
        n: Rows in each buffer.
        sections: Which races.
        effort: How much is run.
        has_peers: Whether the peers run, too.
    """
    field = Field(layout, n, effort, say, has_peers=has_peers)
    lines = [
        f"## {layout.name}, {n:,} rows",
        "",
        f"{layout.n_bytes()} bytes a row, of which a learner reads {layout.n_bytes(layout.learner)}.",
        "",
        *(f"* {found.name}: {found}" for found in field.checks),
        *(f"* skipped: {reason}" for reason in field.absent),
        "",
    ]
    figures: list[Figure] = []
    for section in sections:
        title, measure = RACES[section]
        say(f"{layout.name}, {n:,} rows: {section}")
        found = measure(field)
        figures += found
        lines += [f"### {title[:1].upper()}{title[1:]}", "", *table(found), ""]
        if section == "mixed":
            lines += [f"On the clock, while another thread adds without pause; {n:,} rows:", "", *latencies(field), ""]
    checks = [found._asdict() | {"is_sound": found.is_sound} for found in field.checks]
    values = {"row": layout.name, "n": n, "figures": [as_values(one) for one in figures], "checks": checks}
    return Printed(lines, figures, values)


def memory(sizes: Sequence[int], *, is_judged: bool) -> Printed:
    """Return the footprint of every system, each in a process of its own."""
    lines = [
        "## Memory",
        "",
        "Growth of the resident set while rows are put in, one process each. The payload is the row, and the text of",
        f"its id in ours; the others keep none. Promised is at most {OVER_PAYLOAD} times the payload.",
        "",
        "| system | rows | bytes a record | payload | times the payload | its own account | |",
        "|---|---|---|---|---|---|---|",
    ]
    found: list[Footprint] = []
    for n in sizes:
        for name in SYSTEMS:
            say(f"memory, {n:,} rows: {name}")
            try:
                one = measured(name, n)
            except AbsentError as error:
                lines.append(f"| {name} | {n:,} | skipped: {error} | | | | |")
                continue
            found.append(one)
            kept = "" if not name.startswith("dwell") else _kept(one.over_payload <= OVER_PAYLOAD, is_judged=is_judged)
            own = f"{one.own_bytes:,.0f}" if one.own_bytes else ""
            lines.append(
                f"| {name} | {n:,} | {one.rss_bytes:,.0f} | {one.payload_bytes:,} | {one.over_payload:.3f} | {own} "
                f"| {kept} |"
            )
    return Printed([*lines, ""], [], {"memory": [one._asdict() for one in found]})


def _kept(is_met: bool, *, is_judged: bool) -> str:  # noqa: FBT001 - the one fact that it is about
    if not is_judged:
        return "not judged"
    return "met" if is_met else "**not met**"


def durable(effort: Effort, folder: Path | None) -> Printed:
    """Return durable ingest at both batch sizes."""
    lines = [
        "## Durable ingest",
        "",
        "Impressions acknowledged per second of the clock: every batch is on disk when its call returns.",
        f"Promised is {OF_BARE_INSERT} of the bare insert.",
        "",
        "| batch | bytes | who | per second (interval) | of the bare insert (interval) | |",
        "|---|---|---|---|---|---|",
    ]
    found: list[Ingest] = []
    for size in BATCH_SIZES:
        say(f"durable ingest, batch {size}")
        n_rounds, n_calls = (N_INGEST_ROUNDS, N_INGESTED // size) if effort.is_judged else (effort.n_rounds, 1)
        one = ingest(size, n_rounds=n_rounds, n_calls=n_calls, folder=folder)
        found.append(one)
        for name in (BULK, SINGLY, BARE, APPEND):
            is_ours = name in {BULK, SINGLY}
            judged = verdict(one.of_bare[name], OF_BARE_INSERT) if effort.is_judged else "not judged"
            lines.append(
                f"| {size} | {one.row_bytes:,.0f} | {name} | {one.per_second[name]} | {one.of_bare[name]} "
                f"| {judged if is_ours else ''} |"
            )
    values = [
        {
            "batch_size": one.batch_size,
            "row_bytes": one.row_bytes,
            "per_second": {name: value._asdict() for name, value in one.per_second.items()},
            "of_bare": {name: value._asdict() for name, value in one.of_bare.items()},
        }
        for one in found
    ]
    return Printed([*lines, ""], [], {"ingest": values})


def ring(effort: Effort, folder: Path | None) -> Printed:
    """Return what `_replay_ring` has to say."""
    lines = ring_figures(N_RING if effort.is_judged else QUICK_SIZES[-1], folder, is_judged=effort.is_judged)
    return Printed(["## The column ring", "", *lines, ""], [], {})


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test: small buffers, few calls, nothing judged")
    parser.add_argument("--n", type=int, help=f"rows per buffer (default {SIZES[0]:,}, then {SIZES[1]:,})")
    parser.add_argument("--only", help=f"comma-separated, of {', '.join(SECTIONS)}")
    parser.add_argument("--folder", type=Path, help="where ingest writes (default: the system's temporary folder)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there, too")
    found = parser.parse_args(given)
    found.only = found.only.split(",") if found.only else list(SECTIONS)
    unknown = [name for name in found.only if name not in SECTIONS]
    if unknown:
        parser.error(f"no such section: {unknown[0]}; there are {', '.join(SECTIONS)}")
    if found.n is not None and found.n < QUICK_SIZES[0]:
        parser.error(f"--n is at least {QUICK_SIZES[0]:,}")
    found.sizes = (found.n,) if found.n is not None else QUICK_SIZES if found.quick else SIZES
    return found


def preamble(effort: Effort) -> list[str]:
    """Return what one must know to read the figures."""
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    return [
        "# The replay buffer against its peers",
        "",
        f"dwell {dwell.__version__}, {versions()}; {machine}.",
        f"CPU time of the process, one thread of arithmetic; {effort.n_rounds} rounds, everybody in turn within each.",
        f"Everywhere alpha {ALPHA:g}, beta {BETA:g}; fresh random priorities in every call. Ours runs with its lock,",
        "checks, staleness and identity on; the peers keep no ids and are called as their documentation does.",
        "In brackets: between what the median lies with 95 % confidence. Met and not met are said where the whole",
        "interval is on one side of what was promised, else it is a tie.",
        "",
    ]


def gathered(asked: argparse.Namespace, *, has_peers: bool = True) -> list[Printed]:
    """Return everything asked for, part by part; buffers of one part are gone before the next begins."""
    effort = QUICK if asked.quick else FULL
    races = [name for name in RACES if name in asked.only]
    loop_races = [name for name in ("cycle", "update", "add") if "loop" in asked.only]
    found = []
    for layout, sections in ((RECORD, races), (LOOP_ROW, loop_races)):
        for n in asked.sizes if sections else ():
            found.append(of_layout(layout, n, sections, effort, has_peers=has_peers))
            gc.collect()
    if "memory" in asked.only:
        found.append(memory(asked.sizes, is_judged=effort.is_judged))
    if "ingest" in asked.only:
        found.append(durable(effort, asked.folder))
    if "ring" in asked.only:
        found.append(ring(effort, asked.folder))
    return found


def main() -> int:
    """Measure, print, and return 0, also where a promise is not met: that is printed."""
    asked = arguments()
    if any(os.environ.get(name) != "1" for name in ONE_THREAD):
        # libraries read these when they are loaded, which they are by now: begin anew
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | dict.fromkeys(ONE_THREAD, "1"))  # noqa: S606 - ourselves
    began = time.perf_counter()
    found = gathered(asked)
    figures = [figure for part in found for figure in part.figures]
    lines = [*preamble(QUICK if asked.quick else FULL), *(line for part in found for line in part.lines)]
    print("\n".join([*lines, tally(figures), "", f"{time.perf_counter() - began:.0f} s."]))
    if asked.json is not None:
        values = {"dwell": dwell.__version__, "versions": versions(), "parts": [part.values for part in found]}
        asked.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
