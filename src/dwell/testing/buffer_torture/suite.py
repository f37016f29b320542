"""All cases, run one by one against an adapter, and the table of what became of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from dwell.errors import ConfigError
from dwell.testing.buffer_torture.cases_door import AT_THE_DOOR
from dwell.testing.buffer_torture.cases_draws import THE_DRAW
from dwell.testing.buffer_torture.cases_identity import BOUNDS, IDENTITY
from dwell.testing.buffer_torture.cases_saving import PROCESSES, SAVING
from dwell.testing.buffer_torture.cases_threads import THREADS
from dwell.testing.buffer_torture.demands import Case

__all__ = ["CASES", "OUTCOMES", "AdapterNotImportedError", "Outcome", "Result", "run", "table"]

Outcome = Literal["pass", "wrong answer", "exception", "crash", "hang", "not offered"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
CASES: Final[tuple[Case, ...]] = (*AT_THE_DOOR, *THE_DRAW, *IDENTITY, *BOUNDS, *SAVING, *PROCESSES, *THREADS)

TIMEOUT_S: Final = 60.0  # of one case; the slowest took 4 s on a machine that did other things


class AdapterNotImportedError(ImportError):
    """The adapter, or the package that it is for, can not be imported; says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one case.

    Attributes:
        case: The case.
        outcome: "pass", "wrong answer" (the buffer answered, and it is not true), "exception", "crash" (the process
            ended by a signal or an exit), "hang" (beyond the time limit) or "not offered".
        detail: What was wrong; empty for a pass.
        took_s: Duration in seconds, the start of the process included.
    """

    case: Case
    outcome: Outcome
    detail: str
    took_s: float


def run(
    adapter: str,
    cases: Sequence[Case] = CASES,
    *,
    timeout_s: float = TIMEOUT_S,
    python: str = sys.executable,
    path: Sequence[str | Path] = (),
) -> list[Result]:
    """Return the results of a buffer's cases, in the order of the cases.

    Args:
        adapter: Where the adapter class is, as "module:Class".
        cases: Cases of `CASES`.
        timeout_s: Time limit of each case, > 0.
        python: Interpreter to run them with; it must find dwell.
        path: Folders that the adapter's module is looked for in, before those of `sys.path`.

    Raises:
        AdapterNotImportedError: The adapter can not be imported.
        ConfigError: `adapter` is not of that form, or the limit is not positive.
    """
    if adapter.count(":") != 1:
        raise ConfigError(
            "an adapter is named by module and class", field="adapter", value=adapter, hint="module:Class"
        )
    if not timeout_s > 0.0:
        raise ConfigError("a time limit is above 0", field="timeout_s", value=timeout_s)
    if not cases:
        return []
    searched = os.pathsep.join([str(folder) for folder in path] + [folder for folder in sys.path if folder])
    command = [python, "-m", "dwell.testing.buffer_torture.host", adapter, str(timeout_s)]
    done = subprocess.run(  # noqa: S603 - our own module
        [*command, *(case.name for case in cases)],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": searched},
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    if not said or "failed" in said[0]:
        reason = said[0]["failed"] if said else done.stderr.strip()[-400:]
        raise AdapterNotImportedError(f"{adapter}: {reason}")
    return [
        Result(case, line["outcome"], line["detail"], line["took_s"]) for case, line in zip(cases, said, strict=True)
    ]


def table(results: Mapping[str, Sequence[Result]]) -> str:
    """Return a Markdown table, a row for each case, a column for each buffer, and the totals.

    Args:
        results: What `run` returned, by the name of the buffer; all of the same cases.
    """
    columns = list(results.values())
    lines = ["| case | " + " | ".join(results) + " |", "|---" * (len(columns) + 1) + "|"]
    group = ""
    for row in zip(*columns, strict=True):
        case = row[0].case
        if case.group != group:
            group = case.group
            lines.append(f"| **{group}** |" + " |" * len(columns))
        cells = [
            result.outcome if result.outcome in {"pass", "not offered"} else f"**{result.outcome}**" for result in row
        ]
        lines.append(f"| {case.name} | " + " | ".join(cells) + " |")
    lines.append("| **totals** |" + " |" * len(columns))
    counts = [Counter(result.outcome for result in column) for column in columns]
    lines += [f"| {outcome} | " + " | ".join(str(count[outcome]) for count in counts) + " |" for outcome in OUTCOMES]
    return "\n".join(lines)
