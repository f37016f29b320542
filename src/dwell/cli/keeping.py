"""What leaves a store: a user's traces for good, or a copy of everything for other tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from dwell.cli.options import rewards_option, store_argument, tenant_option
from dwell.cli.printing import document, examples, json_option, plain, say
from dwell.cli.stores import admin_loop, facts, reader_loop
from dwell.errors import DwellError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dwell.loop import Loop
    from dwell.records import Experience

__all__ = ["erase", "export"]


def _is_confirmed(store: str, user: str) -> bool:
    try:
        return click.confirm(f"Erase everything of user '{plain(user)}' from {plain(store)}, for good?", err=True)
    except click.Abort:
        return False  # nobody is there to answer


@click.command()
@store_argument
@click.option("--user", required=True, metavar="U", help="The user's id, as it was given to rank.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@tenant_option
@json_option
@examples(
    "dwell erase search.dwell --user u-77",
    "dwell erase search.dwell --user u-77 --yes --json",
)
def erase(store: str, user: str, tenant: str, *, yes: bool, as_json: bool) -> None:
    """Remove everything of a user, for good.

    Events, signals, parked ones and statistics go. Works beside a process that has the store open. A tombstone
    stays, so that an import can not bring the user back.
    """
    if not yes:
        with facts(store, tenant):
            pass  # a wrong path is told before anybody is asked; nothing is held while somebody thinks
        if not _is_confirmed(store, user):
            raise DwellError("nothing was erased: it was not confirmed", hint="Answer y, or pass --yes.")
    with admin_loop(store, tenant) as loop:
        n_events = loop.erase(user)
    if as_json:
        document({"n_events": n_events})
    else:
        say(f"{n_events} events erased")


@click.command()
@click.argument("store")
@click.argument("path")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["jsonl", "ubi", "quepid", "workbench"]),
    default="jsonl",
    show_default=True,
    help="Experiences; or lists and reactions for OpenSearch; or judgments made of clicks.",
)
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
    "dwell export search.dwell ubi.ndjson --format ubi",
    "dwell export search.dwell judgments.csv --format quepid",
)
def export(
    store: str,
    path: str,
    *,
    format_name: str,
    signal: str,
    min_users: int,
    rewards: object,
    tenant: str,
    raw_cells: bool,
    as_json: bool,
) -> None:
    """Write every experience to a new file.

    "jsonl" and "ubi" hold all of it, oldest first, events that are still open included. "quepid" and "workbench" hold
    relevance judgments: clicks over the clicks that the places of a document would draw.
    """
    with reader_loop(store, tenant, {"rewards": rewards}, has_rewards=True) as loop:
        if format_name in {"quepid", "workbench"}:
            done = _judgments(loop, Path(path), format_name, signal, min_users, is_raw=raw_cells)
        else:
            done = _experiences(loop, Path(path), format_name)
    if as_json:
        document(done | {"path": path})
    else:
        first, *others = (f"{n} {_COUNTED[name]}" for name, n in done.items())
        say("; ".join([f"{first} written to {plain(path)}", *others]))


_COUNTED: Final = {
    "n_experiences": "experiences",
    "n_judgments": "judgments",
    "n_few_users": "queries of too few users left out",
    "n_never_clicked": "documents without an expected click left out",
}


def _experiences(loop: Loop, path: Path, format_name: str) -> dict[str, int]:
    from dwell.integrations.ubi.exporting import write_ubi
    from dwell.loop.export import export_experiences

    experiences = _counted(loop.experiences())
    if format_name == "ubi":
        return {"n_experiences": write_ubi(experiences, loop.signals, path)}
    return {"n_experiences": export_experiences(experiences, path, format_name)}


def _judgments(
    loop: Loop, path: Path, format_name: str, signal: str, min_users: int, *, is_raw: bool
) -> dict[str, int]:
    from dwell.integrations.ubi import coec, write_quepid, write_workbench

    found = coec(_counted(loop.experiences()), signal=signal, min_users=min_users)
    if format_name == "quepid":
        n = write_quepid(found.judgments, path, is_raw=is_raw)
    else:
        n = write_workbench(found.judgments, path)
    return {"n_judgments": n, "n_few_users": found.n_few_users, "n_never_clicked": found.n_never_clicked}


def _counted(experiences: Iterable[Experience]) -> Iterator[Experience]:
    """Yield what is given, and say on a terminal how far it went."""
    is_shown = sys.stderr.isatty()
    for n, experience in enumerate(experiences, start=1):
        if is_shown and n % 1_000 == 0:
            click.echo(f"\r{n} experiences", nl=False, err=True)
        yield experience
    if is_shown:
        click.echo("\r\x1b[K", nl=False, err=True)
