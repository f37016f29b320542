"""The torture suite against ours and the other replay buffers that are installed.

    python benchmarks/torture.py [--quick] [--json FILE] [--only NAME ...] [--details]

Prints a Markdown table, system by case, and totals. Nothing is installed for it: what does not import is listed as not
installed. `--quick` runs ours with packed rows, and of the others the first that is installed.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from _torture_peers import PEERS
from dwell.testing.buffer_torture import CASES, AdapterNotImportedError, Result, run, table

OURS: Final = {
    "dwell, objects": "ObjectRowsAdapter",
    "dwell, packed": "PackedRowsAdapter",
    "dwell, external rows": "ExternalRowsAdapter",
}
TIMEOUT_S: Final = 30.0  # of one case; the slowest took 3.3 s on two cores that did other things


def adapters() -> dict[str, tuple[str, str]]:
    """Return package and adapter by name, ours first."""
    ours = {name: ("dwell", f"dwell.testing.buffer_torture.ours:{adapter}") for name, adapter in OURS.items()}
    return ours | {name: (package, f"_torture_peers:{adapter}") for name, (package, adapter) in PEERS.items()}


def measure(names: Sequence[str], *, is_quick: bool) -> tuple[dict[str, list[Result]], dict[str, str]]:
    """Return the results by name and version, and why others could not be run."""
    results: dict[str, list[Result]] = {}
    missing: dict[str, str] = {}
    n_peers = 0
    for name in names:
        package, adapter = adapters()[name]
        if package != "dwell" and is_quick and n_peers:
            continue
        try:
            installed = version(package.replace("_", "-"))
        except PackageNotFoundError:
            if package != "dwell":
                missing[name] = "not installed"
                continue
            installed = "not packaged"
        print(f"{name} {installed} ...", file=sys.stderr, flush=True)
        try:
            found = run(adapter, timeout_s=TIMEOUT_S, path=[Path(__file__).resolve().parent])
        except AdapterNotImportedError as error:
            missing[name] = f"does not import: {error}"
            continue
        n_peers += package != "dwell"
        results[name if package == "dwell" else f"{name} {installed}"] = found
    return results, missing


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="The torture suite against every replay buffer that is installed.")
    parser.add_argument("--quick", action="store_true", help="ours with packed rows, and one other")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every outcome with its detail")
    parser.add_argument("--only", nargs="+", choices=list(adapters()), metavar="NAME", help="these buffers only")
    parser.add_argument("--details", action="store_true", help="say of each failure what was wrong")
    return parser.parse_args(given)


def main() -> int:
    """Run the suite, print the table; 0 whatever the outcomes are."""
    asked = arguments()
    everything = [name for name in adapters() if not asked.quick or name not in OURS or name == "dwell, packed"]
    results, missing = measure(asked.only or everything, is_quick=asked.quick)
    print(f"{len(CASES)} cases; Python {platform.python_version()}, {platform.system()} {platform.machine()}\n")
    print(table(results))
    for name, why in missing.items():
        print(f"\n{name}: {why}")
    if asked.details:
        print_details(results)
    if asked.json:
        asked.json.write_text(json.dumps(as_json(results, missing), indent=1) + "\n", encoding="utf-8")
    return 0


def print_details(results: dict[str, list[Result]]) -> None:
    """Print what was wrong, failure by failure."""
    for name, column in results.items():
        print(f"\n### {name}\n")
        for result in column:
            if result.outcome not in {"pass", "not offered"}:
                print(f"* {result.case.name}: {result.outcome}: {result.detail}")


def as_json(results: dict[str, list[Result]], missing: dict[str, str]) -> dict[str, object]:
    """Return everything as plain values."""
    return {
        "cases": [
            {"name": case.name, "group": case.group, "source": case.source, "expectation": case.expectation}
            for case in CASES
        ],
        "not_run": missing,
        "results": {
            name: [
                {"case": r.case.name, "outcome": r.outcome, "detail": r.detail, "took_s": round(r.took_s, 3)}
                for r in column
            ]
            for name, column in results.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
