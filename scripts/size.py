"""Measure files and functions, and refuse what nobody reads in one sitting.

The limits come from the most readable Python libraries that were profiled before the project: median file 140 to 250
lines, no file over 600, no function over 80. The median is reported; the two maxima are a gate.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 80
MEDIAN_FILE_LINES = (140, 250)


class Measured(NamedTuple):
    """A file or a function, and how many lines it has."""

    n_lines: int
    name: str


def measure(root: Path) -> tuple[list[Measured], list[Measured]]:
    """Count the lines of every file and of every function under a folder.

    A function is counted from its `def` to its last line, docstring included.

    Args:
        root: The package's folder.

    Returns:
        Files and functions, each sorted by length.
    """
    files, functions = [], []
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        files.append(Measured(len(text.splitlines()), str(path)))
        for node in ast.walk(ast.parse(text, str(path))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
                functions.append(Measured(n_lines, f"{path}:{node.lineno} {node.name}"))
    return sorted(files), sorted(functions)


def report(kind: str, measured: list[Measured], limit: int) -> list[str]:
    """Print median, 90th percentile and maximum, and return one complaint per breach of the limit."""
    if measured:
        lines = [item.n_lines for item in measured]
        p90 = lines[int(0.9 * (len(lines) - 1))]
        longest = measured[-1]
        figures = f"{len(lines):5d}   median {median(lines):5.0f}   p90 {p90:4d}   max {longest.n_lines:4d}"
        print(f"{kind:9s} {figures}  {longest.name}")
    return [f"{item.name}: {item.n_lines} lines, the limit is {limit}" for item in measured if item.n_lines > limit]


def main() -> int:
    """Report on the folder named on the command line (default: the package), 1 if a limit is broken."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("src/dwell")
    files, functions = measure(root)
    if not files:
        print(f"size: no Python file under {root}")
        return 1
    breaches = report("files", files, MAX_FILE_LINES) + report("functions", functions, MAX_FUNCTION_LINES)
    middle = median(item.n_lines for item in files)
    low, high = MEDIAN_FILE_LINES
    verdict = "within" if low <= middle <= high else "outside"
    print(f"median file: {middle:.0f} lines, {verdict} the aim of {low} to {high}")
    for breach in breaches:
        print(f"size: {breach}: split it")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
