"""Look at the settings that would be in force, and where each comes from."""

from __future__ import annotations

import os

import click

from dwell.cli.printing import document, examples, json_option, table

__all__ = ["config"]


@click.group()
@examples(
    "dwell config show",
    "dwell config show --config dwell.toml",
)
def config() -> None:
    """Look at the settings in force."""


@config.command()
@click.option("--config", "config_file", metavar="FILE", help="TOML file of settings, as dwell.open(config=...).")
@json_option
@examples(
    "dwell config show --config dwell.toml",
    "DWELL_GATE__ALPHA=0.01 dwell config show --json",
)
def show(config_file: str | None, *, as_json: bool) -> None:
    """Show every setting, its value, and its origin: default, file or environment.

    A later origin overrules an earlier one. In the environment a setting is DWELL_<SECTION>__<NAME>.
    """
    from dwell.config import settings_of

    settings = list(settings_of(config_file, os.environ))
    if as_json:
        document([{"name": s.name, "value": s.value, "origin": s.origin} for s in settings])
    else:
        table(("setting", "value", "origin"), settings)
