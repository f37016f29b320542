"""`dwell mcp`: a memory, or a loop, as a server of the Model Context Protocol."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dwell.cli.printing import examples, say
from dwell.errors import ConfigError, DwellError

if TYPE_CHECKING:
    from mcp.server import MCPServer

    from dwell.integrations.mcp import HttpSettings

__all__ = ["mcp"]

TOKEN_VARIABLE: Final = "DWELL_MCP_TOKEN"  # noqa: S105 - the name of a variable
KEY_VARIABLE: Final = "DWELL_API_KEY"
_log = logging.getLogger("dwell.mcp")


@click.command()
@click.argument("memory", required=False)
@click.option("--loop", "store", metavar="STORE", help="Serve a loop in place of a memory: rank, feedback, explain.")
@click.option("--service", metavar="URL", help=f"Serve what `dwell serve` has; its key stands in {KEY_VARIABLE}.")
@click.option("--user", help="Whose memory it is. Fixed here: no agent can ask as somebody else.")
@click.option("--read-only", is_flag=True, help="Leave out remember and forget.")
@click.option("--http", "is_http", is_flag=True, help="Listen for HTTP on /mcp, in place of standard input and output.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on, with --http.")
@click.option("--port", type=click.IntRange(1, 65_535), default=8000, show_default=True, help="Port, with --http.")
@click.option("--token-file", type=click.Path(dir_okay=False), help=f"File with the token; else {TOKEN_VARIABLE}.")
@click.option("--no-auth", is_flag=True, help="Ask nobody for a token. On this machine only.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="A further value of Host to answer to, as a proxy's.")
@click.option("--allow-origin", multiple=True, metavar="ORIGIN", help="Pages of this origin may ask.")
@click.option(
    "--train-every", type=click.FloatRange(0.0, 86_400.0), default=600.0, show_default=True, metavar="SECONDS",
    help="Learn this often; 0 for never. A service learns by itself.",
)  # fmt: skip
@examples(
    "dwell mcp agent.dwell",
    "dwell mcp agent.dwell --user u-77 --read-only",
    "DWELL_MCP_TOKEN=... dwell mcp agent.dwell --http --port 8000",
    "dwell mcp --loop search.dwell",
    "DWELL_API_KEY=... dwell mcp --service http://127.0.0.1:8080",
)
def mcp(
    memory: str | None,
    store: str | None,
    service: str | None,
    user: str | None,
    *,
    host: str,
    port: int,
    token_file: str | None,
    allow_host: tuple[str, ...],
    allow_origin: tuple[str, ...],
    train_every: float,
    read_only: bool,
    is_http: bool,
    no_auth: bool,
) -> None:
    """Serve a memory to agents by the Model Context Protocol.

    MEMORY is the file of a `dwell.memory`, made where there is none. Over standard input and output one client is
    served, which starts this command; with --http many are. What an agent says of its own work counts as an agent's.
    """
    if sum(place is not None for place in (memory, store, service)) != 1:
        raise click.UsageError("Name one of MEMORY, --loop STORE and --service URL.")
    if read_only and memory is None:
        raise click.UsageError("--read-only is for a MEMORY: a loop has nothing that is remembered or forgotten.")
    settings = None
    if is_http:
        settings = _http(host, port, token_file, no_auth=no_auth, hosts=allow_host, origins=allow_origin)
    with contextlib.ExitStack() as open_things:
        server, train = _opened(open_things, memory, store, service, user, is_read_only=read_only)
        if train is not None and train_every:
            open_things.enter_context(_learning(train, train_every))
        if settings is None:
            server.run("stdio")
            return
        from dwell.integrations.mcp import serve_http

        say(f"listening on http://{host}:{port}/mcp", err=True)
        # the server passes the signal on when it has ended: what is open is closed then
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        serve_http(server, settings)


def _http(
    host: str, port: int, token_file: str | None, *, no_auth: bool, hosts: tuple[str, ...], origins: tuple[str, ...]
) -> HttpSettings:
    """Return where to listen and whom to let in.

    Raises:
        ConfigError: There is no token and no --no-auth, or they can not go together.
    """
    from dwell.integrations.mcp import HttpSettings, checked_http

    token = os.environ.get(TOKEN_VARIABLE)
    if token_file is not None:
        try:
            token = Path(token_file).read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(
                "the file with the token can not be read",
                field="token-file",
                value=token_file,
                hint="Write the token into it, as one line of ASCII.",
            ) from error
    if no_auth:
        token = None
    elif token is None:
        raise ConfigError(
            "over HTTP a token is asked for",
            field="token",
            hint=f"Set {TOKEN_VARIABLE}, or give --token-file; on this machine --no-auth will do.",
        )
    return checked_http(HttpSettings(host=host, port=port, token=token, hosts=hosts, origins=origins))


def _opened(
    things: contextlib.ExitStack,
    memory: str | None,
    store: str | None,
    service: str | None,
    user: str | None,
    *,
    is_read_only: bool,
) -> tuple[MCPServer, Callable[[], Any] | None]:
    """Return the server of what was named, and what has it learn where nobody else does."""
    from dwell.integrations.mcp import loop_server, memory_server

    if memory is not None:
        from dwell.memory import open as open_memory

        kept = things.enter_context(open_memory(memory))
        return memory_server(kept, user=user, is_read_only=is_read_only), kept.train
    if store is not None:
        from dwell.loop import open_loop

        if not store.startswith("postgres") and not Path(store).exists():
            raise ConfigError("there is no such store", field="loop", value=store, hint="dwell.open makes one.")
        loop = things.enter_context(open_loop(store))
        return loop_server(loop, user=user), loop.train
    from dwell.client import Client

    client = things.enter_context(Client(str(service), os.environ.get(KEY_VARIABLE), rank_timeout_s=5.0))
    return loop_server(client, user=user), None


@contextlib.contextmanager
def _learning(train: Callable[[], Any], every_s: float) -> Iterator[None]:
    """Learn in a thread of its own while the body runs; what fails is logged, and tried again the next time."""
    ended = threading.Event()

    def learn() -> None:
        while not ended.wait(every_s):
            try:
                train()
            except DwellError as error:
                _log.warning("nothing was learned: %s", error)

    thread = threading.Thread(target=learn, name="dwell-mcp-learn", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
