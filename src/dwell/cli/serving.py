"""`dwell serve`: the loop behind HTTP, with its learner beside it."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import TYPE_CHECKING, Any

import click

from dwell.cli.printing import examples, say
from dwell.errors import ConfigError

if TYPE_CHECKING:
    from dwell.config import Config

__all__ = ["serve"]


@click.command()
@click.argument("store", required=False)
@click.option("--config", "config_path", type=click.Path(dir_okay=False), help="A TOML file: see `dwell config show`.")
@click.option("--features", help="Names of the features of every candidate, comma-separated; else those of the store.")
@click.option("--mode", type=click.Choice(["log-only", "shadow", "canary", "live"]), help="What users are served.")
@click.option("--learner", type=click.Choice(["replay", "activation", "both"]), help="Who learns; else store.learner.")
@click.option("--host", help="Address to listen on; beyond this machine it takes keys.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port; 0 takes a free one.")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that serve; more than one on PostgreSQL.")
@click.option("--no-auth", is_flag=True, help="Ask nobody for a key. On this machine only.")
@click.option("--example", is_flag=True, help="Serve a search page at /example whose clicks teach the loop.")
@examples(
    "dwell serve search.dwell --features bm25,cosine --no-auth",
    "dwell keys create --kind secret --name shop search.dwell",
    "dwell serve search.dwell --learner both --no-auth",
    "dwell serve postgresql://dwell@db.internal/dwell --workers 4",
    "dwell serve --config dwell.toml",
)
def serve(
    store: str | None,
    config_path: str | None,
    features: str | None,
    mode: str | None,
    host: str | None,
    port: int | None,
    *,
    workers: int | None,
    learner: str | None,
    no_auth: bool,
    example: bool,
) -> None:
    """Serve a store over HTTP: rank, log, feed back, and learn in a process of its own.

    Without a STORE, that of the configuration is served. It is made where it is not there yet.
    """
    import os

    from dwell.config import read_config

    config = read_config(config_path, os.environ)
    where = store or config.store.where
    if not where:
        raise ConfigError(
            "nothing says what to serve", field="store.where", value="", hint="Name a store, or set it in the file."
        )
    settings = dataclasses.replace(
        config.serve,
        host=config.serve.host if host is None else host,
        port=config.serve.port if port is None else port,
        workers=config.serve.workers if workers is None else workers,
        is_example_served=config.serve.is_example_served or example,
    )
    check_open(settings.host, no_auth=no_auth)
    _check_workers(where, settings.workers)
    if settings.is_example_served and not no_auth:
        raise ConfigError(
            "the example asks its visitors for no key",
            field="serve.is_example_served",
            value=True,
            hint="Serve it with --no-auth, on this machine.",
        )
    arguments = _arguments(config, features, {"mode": mode, "learner": learner})
    _run(where, arguments, dataclasses.replace(config, serve=settings), no_auth=no_auth)


def _check_workers(where: str, n: int) -> None:
    """Refuse several processes on what one alone may own.

    Raises:
        ConfigError: The store is a file.
    """
    from dwell.storage import is_postgres

    if n > 1 and not is_postgres(where):
        raise ConfigError(
            "a file has one owner: one process serves it",
            field="serve.workers",
            value=n,
            hint="Leave --workers out, or move the store: dwell db copy STORE postgresql://... serves from several.",
        )


def check_open(host: str, *, no_auth: bool) -> None:
    """Refuse to serve without keys what others can reach.

    Raises:
        ConfigError: The address is not of this machine alone.
    """
    if not no_auth:
        return
    try:
        is_own = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_own = False
    if not is_own:
        raise ConfigError(
            "without keys the service listens on this machine only",
            field="serve.host",
            value=host,
            hint="Leave --no-auth out and make keys with `dwell keys create`, or listen on 127.0.0.1.",
        )


def _arguments(config: Config, features: str | None, given: dict[str, str | None]) -> dict[str, Any]:
    chosen = {name: value for name, value in given.items() if value is not None}
    found = {**config.store.arguments(), "config": config, **chosen}
    if features is not None:
        found["features"] = [name.strip() for name in features.split(",") if name.strip()]
    return found


def _run(where: str, arguments: dict[str, Any], config: Config, *, no_auth: bool) -> None:
    from dwell.server.running import run_service

    library = None
    if config.serve.is_example_served:
        from dwell.demo.example import python_library

        library = python_library
    if config.serve.workers > 1:
        from dwell.server.supervisor import run_workers

        run_workers(
            where,
            arguments,
            config.serve,
            is_open=no_auth,
            say=say,
            advise=_advise,
            open_library=library,
            alerts=config.alerts,
        )
        return
    run_service(
        where,
        arguments,
        config.serve,
        is_open=no_auth,
        say=say,
        advise=_advise,
        open_library=library,
        alerts=config.alerts,
    )


def _advise(line: str) -> None:
    say(f"dwell: {line}", err=True)
