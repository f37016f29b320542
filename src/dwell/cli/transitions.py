"""The two transitions by hand: promote, and roll back."""

from __future__ import annotations

import click

from dwell.cli.decisions import params_document, say_decision
from dwell.cli.options import settings_options, store_argument, tenant_option
from dwell.cli.printing import document, examples, json_option, say
from dwell.cli.stores import admin_loop
from dwell.errors import PromotionRefused

__all__ = ["promote", "rollback"]


@click.command()
@store_argument
@click.option("--version", type=click.IntRange(min=0), required=True, metavar="N", help="The version to make live.")
@click.option("--force", is_flag=True, help="Whatever the evidence says; the ledger records it as forced.")
@settings_options
@tenant_option
@json_option
@examples(
    "dwell promote search.dwell --version 3",
    "dwell promote search.dwell --version 3 --force",
)
def promote(store: str, version: int, tenant: str, *, force: bool, as_json: bool, **given: object) -> None:
    """Make a stored version live, on evidence.

    Works beside a process that has the store open: it serves the new version within a second. A refusal is exit code
    1 and is in the ledger too.
    """
    with admin_loop(store, tenant, given) as loop:
        before = loop.params.version
        try:
            live = loop.promote(loop.version(version), force=force)
        except PromotionRefused as error:
            if as_json:
                document({"live": params_document(loop.params), "was": before, "decision": error.decision})
            raise
        decision = loop.history()[-1]
    if as_json:
        document({"live": params_document(live), "was": before, "decision": decision})
        return
    say(f"version {live.version} is live, was {before}")
    say_decision(decision)


@click.command()
@store_argument
@click.option("--to", type=click.IntRange(min=0), metavar="N", help="Version. Default: the one that was live before.")
@tenant_option
@json_option
@examples(
    "dwell rollback search.dwell",
    "dwell rollback search.dwell --to 2",
)
def rollback(store: str, to: int | None, tenant: str, *, as_json: bool) -> None:
    """Return to the params before.

    Bit for bit as they were. Works beside a process that has the store open: it serves them within a second.
    """
    with admin_loop(store, tenant) as loop:
        before = loop.params.version
        live = loop.rollback(to)
    if as_json:
        document({"live": params_document(live), "was": before})
    else:
        say(f"version {live.version} is live again, was {before}")
