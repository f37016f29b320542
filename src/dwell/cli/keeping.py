"""What leaves a store for good: a user's traces."""

from __future__ import annotations

import click

from dwell.cli.options import store_argument, tenant_option
from dwell.cli.printing import document, examples, json_option, plain, say
from dwell.cli.stores import admin_loop, facts
from dwell.errors import DwellError

__all__ = ["erase"]


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
