"""See it learn."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import click

from dwell.cli.printing import examples, json_option

__all__ = ["demo"]


def _settings(file: Path | None) -> dict[str, Any]:
    """Return what a TOML file of settings says.

    Raises:
        ConfigError: It can not be read, or says what there is not.
    """
    from dwell.config import read_config

    if file is None:
        return {}
    read_config(file, os.environ)
    return tomllib.loads(file.read_text(encoding="utf-8"))


@click.command()
@click.option(
    "--corpus",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder of .txt, .md or .rst files. Default: the documentation of the running Python.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default="demo.dwell",
    show_default=True,
    metavar="FILE",
    help="Where the store goes and stays; that of an earlier demo is replaced.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    default="demo-report.html",
    show_default=True,
    metavar="FILE",
    help="Where the report goes; that of an earlier demo is replaced.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seeds everything that is drawn.")
@click.option("--events", "n_events", type=int, default=6_000, show_default=True, help="Searches in all.")
@click.option("--train-every", type=int, default=1_000, show_default=True, help="Searches between two trainings.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="TOML file of settings.")
@json_option
@examples(
    "dwell demo",
    "dwell demo --corpus notes --seed 7",
    "dwell demo --events 2000 --train-every 500 --json",
)
def demo(config_file: Path | None, *, as_json: bool, **asked: Any) -> int:  # noqa: ANN401 - options of several types
    """See it learn, on real text.

    Simulated readers search and click, the loop learns, a planted mistake is refused, and a rollback restores what was.
    No network, under a minute. The store stays: look into it with the other commands.
    """
    from dwell.demo.run import DemoOptions, run_demo

    return run_demo(DemoOptions(config=_settings(config_file), as_json=as_json, **asked), out=sys.stdout)
