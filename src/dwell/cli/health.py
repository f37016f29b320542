"""Ask how a loop is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

import click

from dwell.cli.options import store_argument, tenant_option
from dwell.cli.printing import NOTHING, document, examples, fact_lines, json_option, number, plain, say, styled, table
from dwell.cli.stores import reader_loop

if TYPE_CHECKING:
    from dwell.health import ExaminationSeen, Section

__all__ = ["health"]

_COLORS: Final[Mapping[str, str]] = {
    "healthy": "green",
    "ok": "green",
    "empty": "cyan",
    "unknown": "cyan",
    "warning": "yellow",
    "critical": "red",
}


@click.command()
@store_argument
@click.option("--capacity", type=click.IntRange(min=1), help="Closed events to keep, as dwell.open(capacity=...).")
@tenant_option
@json_option
@examples(
    "dwell health search.dwell",
    "dwell health search.dwell --json",
)
def health(store: str, capacity: int | None, tenant: str, *, as_json: bool) -> int:
    """Say how the loop is, and what to do.

    Exit code 1 if the status is critical, so that a monitor can watch it. What a running process counts in memory
    (lists that it could not record, calls that fell back) is not in the file: ask Loop.health() there.
    """
    with reader_loop(store, tenant, {"capacity": capacity}) as loop:
        report = loop.health()
    if as_json:
        document(report.to_dict())
    else:
        say(f"{styled(report.status.upper(), _COLORS[report.status])}  {plain(store)}")
        for alert in report.alerts:
            say(f"  {styled(alert.severity, _COLORS[alert.severity])}  {alert.code}: {plain(alert.message)}")
            say(f"    {plain(alert.remedy)}")
        _say_sections(report.sections)
        say()
        fact_lines([(n, number(v) if isinstance(v, float) else v) for n, v in report.figures.items()])
        if report.examination is not None:
            _say_examination(report.examination)
    return 1 if report.status == "critical" else 0


def _say_sections(sections: Sequence[Section]) -> None:
    """Print every figure that is judged, its threshold and what was found, a section a table."""
    from dwell.health.thresholds import shown

    for section in sections:
        say()
        say(section.title)
        for check in section.checks:
            value = NOTHING if check.value is None else shown(check.value, check.unit)
            held = f"  ({check.threshold})" if check.threshold else ""
            severity = styled(f"{check.severity:<8}", _COLORS[check.severity])
            say(f"  {severity}  {plain(check.title)}: {value}{held}")


def _say_examination(seen: ExaminationSeen) -> None:
    order = "never rising" if seen.is_monotone else "rising somewhere"
    said = f"; the events say: {seen.measured}" if seen.measured else ""
    say()
    say(f"who looks where: {seen.source} ({plain(seen.version)}), {order}{said}")
    columns = zip_longest(seen.values, seen.low, seen.high, seen.calibration)
    heads = ("position", "examination", "low", "high", "observed/expected")
    rows = [[NOTHING if cell is None else number(cell) for cell in row] for row in columns]
    table(heads, [(str(i + 1), *row) for i, row in enumerate(rows)], right=heads)
