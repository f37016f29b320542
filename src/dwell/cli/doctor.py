"""Ask what is wrong with a store, and bring an older one up to date."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import click

from dwell.cli.options import store_argument, tenant_option
from dwell.cli.printing import document, examples, fact_lines, json_option, plain, say, styled
from dwell.cli.stores import check_place, reader_loop
from dwell.errors import ConfigError, RecordError, StorageError, StoreBusyError

if TYPE_CHECKING:
    from dwell.health.doctor import Diagnosis

__all__ = ["db", "doctor"]

_COLORS: Final[Mapping[str, str]] = {"critical": "red", "warning": "yellow", "notice": "cyan"}
_NOT_THERE: Final = frozenset({"no_store", "no_tenant"})  # a wrong path or name is no sick store


@click.command()
@store_argument
@tenant_option
@json_option
@examples(
    "dwell doctor search.dwell",
    "dwell doctor search.dwell --json",
)
def doctor(store: str, tenant: str, *, as_json: bool) -> int:
    """Say what is wrong, most harmful first, and what to do.

    It reads the newest 5,000 events, beside whoever has the store open, also where the store can not be opened as a
    loop. Exit code 1 if anything is wrong that costs learning, so that a monitor can watch it; 0 where all is well, or
    nothing was served yet.
    """
    found = _diagnosis(store, tenant)
    if as_json:
        document({"store": store, **found.to_dict()})
    else:
        _say(found, store)
    return 0 if found.is_healthy else 1


def _diagnosis(store: str, tenant: str) -> Diagnosis:
    """Return what is wrong with a store.

    Raises:
        ConfigError: The URL of the database is malformed.
        StorageError: There is no such store or tenant, or a writer held it too long.
    """
    from dwell.loop.examine_store import why_unopened

    try:
        with reader_loop(store, tenant) as loop:
            return _named(loop.doctor(), store)
    except (StorageError, RecordError, ConfigError) as error:
        is_busy = isinstance(error, StoreBusyError) and error.code != "unreachable"
        if error.code in _NOT_THERE or is_busy or (isinstance(error, ConfigError) and error.field != "pepper"):
            raise
        return _named(why_unopened(error, store, time.time()), store)


def _named(found: Diagnosis, store: str) -> Diagnosis:
    """Return a diagnosis whose remedies are commands on this store."""
    from dataclasses import replace

    findings = tuple(replace(one, remedy=one.remedy.replace("STORE", shlex.quote(store))) for one in found.findings)
    return replace(found, findings=findings)


def _say(found: Diagnosis, store: str) -> None:
    n_wrong = len(found.findings)
    named = f"{n_wrong} {'NOTICE' if found.is_healthy else 'FINDING'}{'S' if n_wrong > 1 else ''}"
    head = named if not found.is_healthy else f"WELL, {named}" if n_wrong else "WELL"
    say(f"{styled(head, 'green' if found.is_healthy else 'yellow')}  {plain(store)}")
    say(f"  {plain(found.answer)}")
    for i, one in enumerate(found.findings, start=1):
        say()
        say(f"  {i}. {styled(one.severity, _COLORS[one.severity])}  {one.code}: {plain(one.message)}")
        say(f"     {plain(one.remedy)}")
    if found.n_events:
        say()
        say(f"looked at, over the newest {found.n_events} events:")
        for look in found.looked_at:
            say(f"  {plain(look.title)} {plain(look.sentence)}")


@click.group()
@examples(
    "dwell db upgrade search.dwell",
    "dwell db copy search.dwell postgresql://dwell@db.internal/dwell",
)
def db() -> None:
    """Keep the store's file, or database."""


@db.command()
@click.argument("store")
@json_option
@examples("dwell db upgrade search.dwell")
def upgrade(store: str, *, as_json: bool) -> None:
    """Bring a store of an older version up to date.

    One transaction: it is done, or nothing has happened. Whoever opens a store to write to it does the same.
    """
    from dwell.storage.upgrading import upgrade as upgraded

    check_place(store)
    done = upgraded(store)
    if as_json:
        document({"store": store, "schema_version_before": done.before, "schema_version": done.after})
    elif done.before == done.after:
        say(f"{plain(store)} has schema version {done.after}: nothing is to be done")
    else:
        say(f"{plain(store)}: schema version {done.before} -> {done.after}")


@db.command()
@click.argument("store")
@click.argument("role")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["server", "learner", "reader"]),
    required=True,
    help="What a process under that role does.",
)
@click.option("--tenant", metavar="NAME", help="Of a reader: it sees this tenant alone, by SQL.")
@click.option("--apply", "is_applied", is_flag=True, help="Run them, in one transaction; else they are printed only.")
@examples(
    "dwell db grants postgresql://dwell@db.internal/dwell app --as server",
    "dwell db grants postgresql://dwell@db.internal/dwell analyst --as reader --apply",
)
def grants(store: str, role: str, kind: str, tenant: str | None, *, is_applied: bool) -> None:
    """Print what gives a role of the database the rights that it needs, and no more.

    The role is made by the database's administrator: LOGIN, and nothing else. The user of the URL owns the tables.
    """
    from dwell.storage.granting import apply_grants
    from dwell.storage.granting import grants as found_grants

    statements = found_grants(store, role, kind, tenant=tenant)
    if is_applied:
        apply_grants(store, statements)
    for statement in statements:
        say(f"{plain(statement)};")


@db.command()
@click.argument("source")
@click.argument("target")
@json_option
@examples(
    "dwell db copy search.dwell postgresql://dwell@db.internal/dwell",
    "dwell db copy postgresql://dwell@db.internal/dwell back.dwell",
)
def copy(source: str, target: str, *, as_json: bool) -> None:
    """Copy a store, all tenants of it, into a new one, and compare both.

    From a file to a database, back, or between two of a kind. TARGET has to be empty; it gets everything in one
    transaction, or nothing. What is written to SOURCE meanwhile is not in it: stop who writes there first. The pepper
    is in no store: TARGET needs that of SOURCE.
    """
    from dwell.storage import PEPPER_VARIABLE, has_side_files
    from dwell.storage.copying import copy_store

    check_place(source)
    copied = copy_store(source, target)
    if as_json:
        document({"source": source, "target": target, "n_rows": copied.n_rows, "digests": copied.digests})
        return
    say(f"{plain(target)} holds what {plain(source)} does, compared row by row:")
    fact_lines((name, f"{n:,}") for name, n in copied.n_rows.items() if n)
    if has_side_files(source):
        pepper = shlex.quote(f"{plain(source)}.pepper")
        say(f"{plain(target)} needs the pepper of {plain(source)}, which is in {PEPPER_VARIABLE} or beside the file:")
        say(f'  export {PEPPER_VARIABLE}="$(cat {pepper})"')
    else:
        say(
            f"it needs the same pepper: in {PEPPER_VARIABLE}, or as {plain(target)}.pepper, readable by its owner alone"
        )
