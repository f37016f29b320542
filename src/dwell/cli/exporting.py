"""A copy of what a store recorded, for other tools."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from dwell.cli.options import instant, rewards_option, tenant_option
from dwell.cli.printing import document, examples, json_option, plain, say
from dwell.cli.stores import reader_loop

if TYPE_CHECKING:
    from dwell.loop import Loop
    from dwell.loop.export import ExportChoices
    from dwell.records import Experience

__all__ = ["export"]

_OF_QUERIES: Final = ("ubi", "quepid", "workbench")  # a query is what they are about
_FORMATS: Final = ("jsonl", "csv", "parquet", "svmlight", "vw", "obp", "obp-slates", *_OF_QUERIES)
_COUNTED: Final = {
    "n_experiences": "experiences",
    "n_left_out": "left out",
    "n_judgments": "judgments",
    "n_few_users": "queries of too few users left out",
    "n_never_clicked": "documents without an expected click left out",
}


@click.command()
@click.argument("store")
@click.argument("path")
@click.option("--format", "format_name", type=click.Choice(_FORMATS), default="jsonl", show_default=True, help="Shape.")
@click.option("--since", callback=instant, metavar="INSTANT", help="Only what was served then or later.")
@click.option("--until", callback=instant, metavar="INSTANT", help="Only what was served before.")
@click.option("--limit", type=click.IntRange(min=0), help="At most so many events, the newest ones.")
@click.option("--without-text", is_flag=True, help="Leave out queries, and the embeddings that tell of them.")
@click.option(
    "--signal", default="click", show_default=True, metavar="NAME", help="Of judgments: what counts as a click."
)
@click.option(
    "--min-users",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Of judgments: queries that fewer users asked are left out.",
)
@click.option(
    "--raw-cells", is_flag=True, help="Of quepid: leave cells as they are, even what a spreadsheet would run."
)
@rewards_option
@tenant_option
@json_option
@examples(
    "dwell export search.dwell experience.jsonl",
    "dwell export search.dwell may.parquet --format parquet --since 2026-05-01 --until 2026-06-01",
    "dwell export search.dwell lists.csv --format csv --limit 1000 --without-text",
    "dwell export search.dwell judgments.csv --format quepid",
)
def export(
    store: str,
    path: str,
    *,
    format_name: str,
    since: float | None,
    until: float | None,
    limit: int | None,
    without_text: bool,
    signal: str,
    min_users: int,
    rewards: object,
    tenant: str,
    raw_cells: bool,
    as_json: bool,
) -> None:
    """Write what was recorded to a new file.

    "jsonl", "parquet", "csv" and "ubi" hold every event, oldest first, those that are still open included; "svmlight",
    "vw", "obp" and "obp-slates" those that are examples of something: they are over, and have features. "quepid" and
    "workbench" hold relevance judgments: clicks over the clicks that the places of a document would draw. Users are
    pseudonyms. docs/exports.md says what each format loses.
    """
    if without_text and format_name in _OF_QUERIES:
        raise click.UsageError(f"--without-text leaves nothing of {format_name}: it is about queries.")
    progress = Progress()
    choices: ExportChoices = {
        "since": since,
        "until": until,
        "limit": limit,
        "has_text": not without_text,
        "on_progress": progress,
    }
    with reader_loop(store, tenant, {"rewards": rewards}, has_rewards=True) as loop:
        if format_name in {"quepid", "workbench"}:
            done = _judgments(loop, Path(path), format_name, choices, (signal, min_users, raw_cells))
        else:
            n = _events(loop, Path(path), format_name, choices)
            done = {"n_experiences": n, "n_left_out": progress.n - n}
    if as_json:
        document(done | {"path": path})
    else:
        (name, first), *others = done.items()
        told = [f"{n} {_COUNTED[name]}" for name, n in others if n or name != "n_left_out"]
        say("; ".join([f"{first} {_COUNTED[name]} written to {plain(path)}", *told]))


def _events(loop: Loop, path: Path, format_name: str, choices: ExportChoices) -> int:
    if format_name == "ubi":
        from dwell.integrations.ubi.exporting import write_ubi

        return write_ubi(_experiences(loop, choices), loop.signals, path)
    if format_name in {"obp", "obp-slates"}:
        from dwell.integrations.obp import write_obp

        return write_obp(loop, path, is_slates=format_name == "obp-slates", **choices)
    return loop.export(path, format_name, **choices)


def _judgments(
    loop: Loop, path: Path, format_name: str, choices: ExportChoices, how: tuple[str, int, bool]
) -> dict[str, int]:
    from dwell.integrations.ubi import coec, write_quepid, write_workbench

    signal, min_users, is_raw = how
    found = coec(_experiences(loop, choices), signal=signal, min_users=min_users)
    if format_name == "quepid":
        n = write_quepid(found.judgments, path, is_raw=is_raw)
    else:
        n = write_workbench(found.judgments, path)
    return {"n_judgments": n, "n_few_users": found.n_few_users, "n_never_clicked": found.n_never_clicked}


def _experiences(loop: Loop, choices: ExportChoices) -> Iterator[Experience]:
    from dwell.loop.export import chosen_events

    events = chosen_events(loop._state, **choices)  # noqa: SLF001 - an export tells all that a loop holds
    return (event.experience() for event in events)


class Progress:
    """Says on a terminal how far it went, and nothing in a pipe; told last how many events there were."""

    def __init__(self) -> None:
        self.n = 0
        self._show: Callable[[str], None] = _shown if sys.stderr.isatty() else lambda _: None

    def __call__(self, n: int) -> None:
        is_over, self.n = n == self.n or n % 1_000 > 0, n
        self._show("\r\x1b[K" if is_over else f"\r{n} experiences")


def _shown(words: str) -> None:
    click.echo(words, nl=False, err=True)
