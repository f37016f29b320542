"""Archives: what is in them, whether it is sound, and back into a store."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dwell.cli.options import tenant_option
from dwell.cli.printing import document, examples, fact_lines, json_option, plain, say, table
from dwell.cli.stores import admin_store, owner_loop
from dwell.errors import ArchiveError, ConfigError, DwellError

if TYPE_CHECKING:
    from dwell.storage.archive_places import Days

__all__ = ["archive", "days_option", "days_or_none", "existing_archive"]

days_option = click.option("--days", metavar="A..B", help="Only events served on these days, UTC.")


def days_or_none(text: str | None) -> Days | None:
    """Return the days of an option, None where it was not given.

    Raises:
        ConfigError: No days.
    """
    from dwell.storage.archive_places import days_between

    return None if text is None else days_between(text)


def existing_archive(folder: str) -> str:
    """Return a folder that is to be read: one that is misspelt is no empty archive.

    Raises:
        ConfigError: It is not there.
    """
    if not Path(folder).exists():
        raise ConfigError(
            "there is no such folder", field="archive", value=folder, hint="Give the one that the store archives to."
        )
    return folder


@click.group()
@examples("dwell archive ls archive")
def archive() -> None:
    """Look at what a store archived, check it, bring it back."""


@archive.command()
@click.argument("folder", metavar="DIR")
@days_option
@tenant_option
@json_option
@examples("dwell archive ls archive", "dwell archive ls archive --days 2026-01-01..2026-01-31 --json")
def ls(folder: str, days: str | None, tenant: str, *, as_json: bool) -> None:
    """List the parts of an archive."""
    from dwell.storage.archive_verify import list_archive

    parts = list(list_archive(existing_archive(folder), tenant=tenant, days=days_or_none(days)))
    if as_json:
        document({"parts": [part._asdict() for part in parts]})
        return
    if parts:
        rows = [
            (part.day, f"{part.first_seq} to {part.last_seq}", part.n_rows, part.n_users, part.n_bytes)
            for part in parts
        ]
        table(("day", "numbers", "events", "users", "bytes"), rows, right=("events", "users", "bytes"))
        say()
    n_rows, n_bytes = sum(part.n_rows for part in parts), sum(part.n_bytes for part in parts)
    say(f"{len(parts)} parts, {n_rows} events, {n_bytes} bytes")


@archive.command()
@click.argument("folder", metavar="DIR")
@tenant_option
@json_option
@examples("dwell archive verify archive")
def verify(folder: str, tenant: str, *, as_json: bool) -> None:
    """Read all of an archive, and say what is wrong with it: digests, columns, every row."""
    from dwell.storage.archive_verify import verify_archive

    problems = verify_archive(existing_archive(folder), tenant=tenant)
    if as_json:
        document({"problems": problems})
    else:
        for problem in problems:
            say(plain(problem))
        say("nothing is wrong with it" if not problems else f"{len(problems)} things are wrong with it")
    if problems:
        raise ArchiveError("the archive is damaged", code="archive_values", hint="See above.")


@archive.command(name="import")
@click.argument("store")
@click.argument("folder", metavar="DIR")
@days_option
@tenant_option
@json_option
@examples("dwell archive import search.dwell archive --days 2026-01-31")
def import_(store: str, folder: str, days: str | None, tenant: str, *, as_json: bool) -> None:
    """Bring archived events back into the store that they came from.

    Doing it again changes nothing. Users who were erased stay erased. What was evicted stays evicted:
    `dwell train STORE --from-archive DIR` learns from it.
    """
    from dwell.loop.archive_import import import_archive

    existing_archive(folder)
    remedy = "call dwell.loop.archive_import.import_archive in it"
    with closing(owner_loop(store, tenant, {}, has_rewards=False, remedy=remedy)) as loop:
        found = import_archive(loop, folder, days=days_or_none(days))
    if as_json:
        document(found._asdict())
        return
    fact_lines(
        [
            ("events brought back", found.n_added),
            ("there already", found.n_known),
            ("of erased users", found.n_erased),
        ]
    )


@archive.command()
@click.argument("store")
@click.argument("folder", metavar="DIR")
@click.option("--yes", is_flag=True, help="Do not ask.")
@tenant_option
@json_option
@examples("dwell archive forget search.dwell /mnt/lost/archive --yes")
def forget(store: str, folder: str, tenant: str, *, yes: bool, as_json: bool) -> None:
    """Say that an archive is gone for good, so that erasures no longer wait for it.

    Nothing is deleted. What still stands there is no longer erased: whoever keeps a copy has to see to it.
    """
    from dwell.loop.archiving import forget_archive
    from dwell.storage.archive_places import archive_folder

    path = str(archive_folder(folder))
    if not yes and not _is_confirmed(path):
        raise DwellError("nothing was forgotten: it was not confirmed", hint="Answer y, or pass --yes.")
    with admin_store(store, tenant) as opened, opened.transaction() as tx:
        forget_archive(tx, path)
    if as_json:
        document({"forgotten": path})
    else:
        say(f"erasures no longer look into {plain(path)}")


def _is_confirmed(path: str) -> bool:
    try:
        return click.confirm(f"Is the archive in '{plain(path)}' gone for good?", err=True)
    except click.Abort:
        return False  # nobody is there to answer
