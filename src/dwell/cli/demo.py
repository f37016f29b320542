"""See it learn."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from dwell.cli.printing import examples, json_option, say

__all__ = ["demo"]

_OF_THE_PLAYED: Final = {
    "report": "--report", "n_events": "--events", "train_every": "--train-every", "as_json": "--json"
}  # fmt: skip
_OF_THE_SERVED: Final = {"port": "--port", "is_kept": "--keep"}


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


def _refuse(context: click.Context, names: Mapping[str, str], *, is_served: bool) -> None:
    """Refuse options of the other kind of demo.

    Raises:
        UsageError: One was given.
    """
    for name, option in names.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            words = "does nothing with --serve: leave one of them out" if is_served else "needs --serve"
            raise click.UsageError(f"{option} {words}", context)


def _serve(config_file: Path | None, **asked: Any) -> int:  # noqa: ANN401 - options of several types
    from dwell.cli.serving import check_open
    from dwell.config import read_config
    from dwell.demo.living import LivingOptions, serve_demo

    given = _settings(config_file)
    check_open(read_config(given, os.environ).serve.host, no_auth=True)
    serve_demo(LivingOptions(config=given, **asked), say=say)
    return 0


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
@click.option("--serve", "is_served", is_flag=True, help="Serve a search page and the dashboard instead, to live in.")
@click.option("--port", type=click.IntRange(0, 65_535), help="With --serve: port; 0 takes a free one.")
@click.option("--keep", "is_kept", is_flag=True, help="With --serve: go on with the store of an earlier demo.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="TOML file of settings.")
@json_option
@examples(
    "dwell demo",
    "dwell demo --corpus notes --seed 7",
    "dwell demo --events 2000 --train-every 500 --json",
    "dwell demo --serve",
)
@click.pass_context
def demo(
    context: click.Context,
    /,
    config_file: Path | None,
    port: int | None,
    *,
    is_served: bool,
    is_kept: bool,
    as_json: bool,
    **asked: Any,  # noqa: ANN401 - options of several types
) -> int:
    """See it learn, on real text.

    Simulated readers search and click, the loop learns, a planted mistake is refused, and a rollback restores what was.
    No network, under a minute. The store stays: look into it with the other commands. With --serve you are the reader:
    a search page beside the dashboard, on this machine only, until Ctrl-C.
    """
    _refuse(context, _OF_THE_PLAYED if is_served else _OF_THE_SERVED, is_served=is_served)
    if is_served:
        return _serve(
            config_file, corpus=asked["corpus"], store=asked["store"], seed=asked["seed"], port=port, is_kept=is_kept
        )
    from dwell.demo.run import DemoOptions, run_demo

    return run_demo(DemoOptions(config=_settings(config_file), as_json=as_json, **asked), out=sys.stdout)
