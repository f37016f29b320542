"""`dwell import` of logs that other systems keep: a command per format, all with the same options and report."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from dwell.cli.importing import check_read, open_for_import, say_refusals, words_of
from dwell.cli.options import json_object, rewards_option, tenant_option
from dwell.cli.printing import document, examples, fact_lines, json_option, say
from dwell.cli.stores import reader_loop

if TYPE_CHECKING:
    from dwell.integrations.importing import ImportReport
    from dwell.loop import Loop

__all__ = ["log_commands"]

_TOLD_EACH_S: Final = 0.1  # what changes more often can not be read
_BAR: Final = 30  # characters
_CLEAR: Final = "\r\x1b[K"
_WITHOUT_FEATURES: Final = (
    "Lists without all of the store's features are counted, joined and exported, and nothing is learned from them.\n"
    "docs/imports.md says where each format has them."
)


class _Log(NamedTuple):
    """What a command says of its format."""

    format: str
    help: str
    files: str
    example: str
    has_columns: bool = False


_LOGS: Final = (
    _Log(
        "jsonl",
        "Bring in JSON lines: lists and reactions, or an export.",
        "Each line holds what log_retrieval or log_feedback was given, or an experience of `dwell export`.",
        "dwell import jsonl search.dwell log.jsonl",
    ),
    _Log(
        "csv",
        "Bring in a table of comma-separated values.",
        "A row is a document of a list, or a reaction; the first row names the columns.",
        'dwell import csv search.dwell log.csv --columns \'{"event_id": "request", "doc": "item"}\'',
        has_columns=True,
    ),
    _Log(
        "parquet",
        "Bring in a table of Parquet.",
        "A row is a document of a list, a reaction, or a whole list with nested results.",
        "dwell import parquet search.dwell log.parquet",
        has_columns=True,
    ),
    _Log(
        "metarank",
        "Bring in events of Metarank.",
        "Each line is an item, user, ranking or interaction event; items before the rankings that show them.",
        "dwell import metarank search.dwell events.jsonl.gz",
    ),
    _Log(
        "algolia",
        "Bring in searches and Insights events of Algolia.",
        "Each line is an event, a search response with its queryID, or an entry of the search log.",
        "dwell import algolia search.dwell searches.jsonl events.jsonl",
    ),
    _Log(
        "open-bandit",
        "Bring in the Open Bandit Dataset.",
        "Each row is one place of a list, with the chance of what stood there.",
        "dwell import open-bandit fashion.dwell all.csv --create --features affinity",
    ),
    _Log(
        "vw-dsjson",
        "Bring in decisions that Vowpal Wabbit or Personalizer logged.",
        "Each line is a decision with the chances of its actions and the cost that was joined to it.",
        "dwell import vw-dsjson search.dwell decisions.json",
    ),
    _Log(
        "vw-text",
        "Bring in examples of Vowpal Wabbit's --cb_adf.",
        "An example has a line for each action and ends with an empty line.",
        "dwell import vw-text search.dwell train.dat",
    ),
)


def _signals(context: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, str | None] | None:
    found = json_object(context, parameter, value)
    if found is not None and not all(signal is None or isinstance(signal, str) for signal in found.values()):
        raise click.BadParameter('a signal\'s name or null is due for each name, like {"buy": "purchase"}')
    return found


def _columns(context: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, str] | None:
    found = json_object(context, parameter, value)
    if found is not None and not all(isinstance(column, str) for column in found.values()):
        raise click.BadParameter('a column\'s name is due for each field, like {"event_id": "request"}')
    return found


def _names(_: click.Context, __: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [name.strip() for name in value.split(",") if name.strip()]


def log_commands() -> Iterator[click.Command]:
    """Yield the commands, one per format."""
    for log in _LOGS:
        yield _command(log)


def _command(log: _Log) -> click.Command:
    @examples(log.example, f"{log.example.partition(' --')[0]} --dry-run")
    def run(store: str, files: tuple[str, ...], **given: Any) -> None:  # noqa: ANN401 - the options below
        _run(log.format, store, files, **given)

    packed = "" if log.format == "parquet" else ' Files may be packed with gzip, and "-" is standard input.'
    run.__doc__ = (
        f"{log.help}\n\n    {log.files}{packed} Doing it again changes nothing, and what was cut off goes on where it"
        f" was.{(run.__doc__ or '').removeprefix('None')}"
    )
    command = json_option(tenant_option(rewards_option(run)))
    for option in (
        click.option("--features", callback=_names, metavar="NAMES", help="With --create: features of the new store."),
        click.option("--create", is_flag=True, help="Make the store where there is none."),
        click.option("--dry-run", is_flag=True, help="Read everything, write nothing, and print the same report."),
        click.option("--name", help="What the log is called, where its lines have no ids. Default: the file's name."),
        click.option(
            "--signals", callback=_signals, metavar="JSON", help="{name: signal}, null to ignore it, where they differ."
        ),
    ):
        command = option(command)
    if log.has_columns:
        command = click.option(
            "--columns", callback=_columns, metavar="JSON", help="{field: column}, where they are called otherwise."
        )(command)
    command = click.argument("files", nargs=-1, required=True, metavar="FILE...")(command)
    return click.command(name=log.format)(click.argument("store")(command))


def _run(
    format_name: str,
    store: str,
    files: tuple[str, ...],
    *,
    rewards: object,
    tenant: str,
    as_json: bool,
    create: bool,
    dry_run: bool,
    features: list[str] | None,
    name: str | None,
    signals: Mapping[str, str | None] | None,
    columns: Mapping[str, str] | None = None,
) -> None:
    from dwell.integrations.importing import import_logs

    if features is not None and not create:
        raise click.UsageError("--features are those of a new store: give --create with them.")
    if len(files) != len(set(files)):
        raise click.UsageError("A file is named twice.")
    with (
        closing(_loop(store, tenant, rewards, features, create=create, dry_run=dry_run)) as loop,
        _progress(files) as on_progress,
    ):
        report = import_logs(
            loop,
            files,
            format=format_name,
            name=name,
            signals=signals,
            columns=columns,
            is_dry_run=dry_run,
            on_progress=on_progress,
        )
    if as_json:
        document(report)
    else:
        _say(report)
    n_used = report.n_items + report.n_skipped - report.n_refused
    check_read(max(n_used, 0), report.n_refused, [one.reason for one in report.refused])


def _loop(store: str, tenant: str, rewards: object, features: list[str] | None, *, create: bool, dry_run: bool) -> Loop:
    from dwell.loop import open_loop

    if not dry_run:
        return open_for_import(store, tenant, rewards, may_create=create, features=features)
    if create and not os.path.lexists(store):
        return open_loop(":memory:", tenant=tenant, rewards=rewards, features=features)
    return reader_loop(store, tenant, {"rewards": rewards}, has_rewards=True)


@contextmanager
def _progress(files: Sequence[str]) -> Iterator[Callable[[int, int, int], None]]:
    """Give what draws a bar on a terminal, and nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    totals = [_size(file) for file in files]
    last_s = 0.0

    def draw(i: int, n: int, n_bytes: int) -> None:
        nonlocal last_s
        if time.monotonic() - last_s < _TOLD_EACH_S:
            return
        last_s = time.monotonic()
        share = min(n_bytes / totals[i], 1.0) if totals[i] else None
        bar = "" if share is None else f"[{'#' * round(_BAR * share):.<{_BAR}}] {share:4.0%}  "
        of = f" of file {i + 1} of {len(files)}" if len(files) > 1 else ""
        click.echo(f"{_CLEAR}{bar}{n:,} items{of}", nl=False, err=True)

    try:
        yield draw
    finally:
        click.echo(_CLEAR, nl=False, err=True)


def _size(file: str) -> int:
    """Return the bytes that will be read of a file, 0 where that is not known."""
    is_known = Path(file).is_file() and not file.endswith((".gz", ".parquet"))
    return Path(file).stat().st_size if is_known else 0


def _say(report: ImportReport) -> None:
    if report.is_dry_run:
        say("Nothing was written. An import from the start would give:")
    skipped = f", {report.n_skipped} taken by an earlier import" if report.n_skipped else ""
    pairs: list[tuple[str, object]] = [
        ("read", f"{report.n_items} items, {report.n_refused} refused{skipped}"),
        ("lists", f"{report.n_lists} recorded, {report.n_lists_known} known"),
        ("with a known chance", report.n_lists_drawn),
        ("reactions", words_of(report.feedback)),
        ("left out", words_of(report.left_out)),
        ("normalised", words_of(report.normalised)),
        ("unknown signals", words_of(report.unknown_signals)),
        ("before their list", report.n_too_early),
    ]
    if report.n_erased:
        pairs.append(("of erased users", report.n_erased))
    fact_lines(pairs)
    if report.n_lists_without_features:
        say()
        say(f"{report.n_lists_without_features} of {report.n_lists}: {_WITHOUT_FEATURES}")
    say_refusals(report.refused, "line")
