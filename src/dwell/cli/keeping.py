"""What leaves a store: a user's traces for good, or a copy of everything for other tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dwell.cli.options import rewards_option, store_argument, tenant_option
from dwell.cli.printing import document, examples, json_option, plain, say
from dwell.cli.stores import admin_loop, facts, reader_loop
from dwell.errors import DwellError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
@click.option("--format", "format_name", type=click.Choice(["jsonl"]), default="jsonl", show_default=True)
@rewards_option
@tenant_option
@json_option
@examples(
    "dwell export search.dwell experience.jsonl",
)
def export(store: str, path: str, format_name: str, rewards: object, tenant: str, *, as_json: bool) -> None:
    """Write every experience to a new file.

    One JSON object per line, oldest first, events that are still open included.
    """
    from dwell.loop.export import export_experiences

    with reader_loop(store, tenant, {"rewards": rewards}, has_rewards=True) as loop:
        n_experiences = export_experiences(_counted(loop.experiences()), Path(path), format_name)
    if as_json:
        document({"n_experiences": n_experiences, "path": path})
    else:
        say(f"{n_experiences} experiences written to {plain(path)}")


def _counted(experiences: Iterable[Experience]) -> Iterator[Experience]:
    """Yield what is given, and say on a terminal how far it went."""
    is_shown = sys.stderr.isatty()
    for n, experience in enumerate(experiences, start=1):
        if is_shown and n % 1_000 == 0:
            click.echo(f"\r{n} experiences", nl=False, err=True)
        yield experience
    if is_shown:
        click.echo("\r\x1b[K", nl=False, err=True)
