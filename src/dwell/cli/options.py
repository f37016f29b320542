"""Arguments and options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click

__all__ = ["instant", "json_object", "rewards_option", "settings_options", "store_argument", "tenant_option"]

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_STORE: Final = "demo.dwell"


def _store_or_default(_: click.Context, parameter: click.Parameter, value: str | None) -> str:
    if value is not None:
        return value
    if Path(DEFAULT_STORE).exists():
        return DEFAULT_STORE
    raise click.MissingParameter(
        f"There is no {DEFAULT_STORE} in this folder to take instead.",
        param=parameter,
        param_type="argument",
        param_hint="STORE",
    )


def store_argument(command: F) -> F:
    """Give a command the argument STORE, demo.dwell where it is left out and there."""
    return click.argument("store", required=False, callback=_store_or_default)(command)


def tenant_option(command: F) -> F:
    """Give a command `--tenant`."""
    return click.option("--tenant", default="", metavar="NAME", help="Whose data, in a store of several tenants.")(
        command
    )


def settings_options(command: F) -> F:
    """Give a command the settings that the file does not keep, for those who open their loop with others."""
    for option in (
        click.option("--config", metavar="FILE", help="TOML file of settings, as dwell.open(config=...)."),
        click.option(
            "--mode",
            type=click.Choice(["log-only", "shadow", "canary", "live"]),
            help="Mode of the loop. Default: the one in which the newest event was served.",
        ),
        click.option(
            "--temperature", type=float, help="Exploration of the loop. Default: as the newest event was served."
        ),
        click.option(
            "--holdout", type=float, default=0.3, show_default=True, help="Share of users whose events only judge."
        ),
        click.option("--capacity", type=int, help="Closed events to keep. Default: all that are there."),
    ):
        command = option(command)
    return command


def instant(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Return an option's ISO 8601 instant as UTC epoch seconds; without a zone it is in UTC.

    Raises:
        BadParameter: It is none.
    """
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter("an ISO 8601 instant is due here, like 2026-01-31 or 2026-01-31T12:00:00Z") from error
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def json_object(_: click.Context, __: click.Parameter, value: str | None) -> dict[str, Any] | None:
    """Return an option's JSON object.

    Raises:
        BadParameter: It is none.
    """
    if value is None:
        return None
    try:
        found = json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"this is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise click.BadParameter('an object is due here, like {"bm25": 1.0}')
    return found


def _rewards(context: click.Context, parameter: click.Parameter, value: str | None) -> object:
    is_mapping = value is not None and value.lstrip().startswith("{")
    return json_object(context, parameter, value) if is_mapping else value


def rewards_option(command: F) -> F:
    """Give a command `--rewards`."""
    return click.option(
        "--rewards",
        callback=_rewards,
        metavar="NAME|JSON",
        help="Preset, or {signal: weight}. Default: what made the newest stored reward.",
    )(command)
