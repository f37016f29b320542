"""The service from its start to its end: open, listen, answer, drain, write, close."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shlex
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

import itsdangerous  # noqa: F401 - tokens need it later: whoever starts without it is told now, not at the first list
from starlette.routing import BaseRoute

from dwell.config import ServeSettings
from dwell.errors import ConfigError
from dwell.health import AlertSettings
from dwell.server.alert_watch import AlertWatch
from dwell.server.app import build_app
from dwell.server.house import House, open_house
from dwell.server.lesson_routes import Lessons
from dwell.server.listen import ListenSettings, NotListening, server
from dwell.server.page_routes import Library, Setting, page_routes
from dwell.server.redaction import log_as_lines
from dwell.server.telling_health import told_health
from dwell.server.webhook import Webhook

__all__ = ["address_of", "not_listening", "run_service", "serve_house", "told_address", "webhook_of"]

_LOOKS_BETWEEN: Final = 100  # looks at what is young for each one at all there is; ten by default


def run_service(
    where: str,
    arguments: Mapping[str, Any],
    settings: ServeSettings,
    *,
    is_open: bool,
    say: Callable[[str], None],
    advise: Callable[[str], None],
    open_library: Callable[[], Library] | None = None,
    alerts: AlertSettings | None = None,
    setting: Setting | None = None,
    tell: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM: then no new request is taken, those at work are answered, and all is written.

    Args:
        where: The store's file.
        arguments: Of `dwell.open`.
        settings: How to serve.
        is_open: Whether no key is asked for.
        say: Prints a line: where it listens.
        advise: Prints a line for people: what is still to be done before it is of use.
        open_library: What the search page at /example searches; without it there is none.
        alerts: When an alert fires, and who is told; the defaults where not given.
        setting: What stands around that page; where no key is asked for it says what is learned, in any case.
        tell: Told the address once it listens.

    Raises:
        StorageError: The store can not be opened.
        ConfigError: An argument is out of range, or the example does not fit the store.
    """
    log_as_lines()
    webhook = webhook_of(alerts)
    house = open_house(where, arguments, settings, is_open=is_open)

    def started(address: str, advice: list[str]) -> None:
        say(told_address(address, is_open=is_open))
        if tell is not None:
            tell(address)
        for line in advice:
            advise(line)

    try:
        serve_house(house, open_library=open_library, alerts=alerts, webhook=webhook, setting=setting, started=started)
    finally:
        house.close()


def webhook_of(alerts: AlertSettings | None) -> Webhook | None:
    """Return who is told of alerts, or None.

    Raises:
        ConfigError: The address is none that may be called.
    """
    return Webhook(alerts.webhook_url, alerts.webhook_secret) if alerts is not None and alerts.webhook_url else None


def told_address(address: str, *, is_open: bool) -> str:
    """Return the line that says where the service listens."""
    return f"dwell serves on {address} (the API: /docs)" + ("; no keys are asked for" if is_open else "")


def serve_house(
    house: House,
    *,
    started: Callable[[str, list[str]], None],
    open_library: Callable[[], Library] | None = None,
    alerts: AlertSettings | None = None,
    webhook: Webhook | None = None,
    setting: Setting | None = None,
    is_telling: bool = True,
    listeners: list[socket.socket] | None = None,
) -> None:
    """Serve an open house until SIGINT or SIGTERM; the caller closes it.

    Args:
        house: What is served.
        started: Told the address once it listens, and what is still to be done before it is of use.
        open_library: What the search page at /example searches.
        alerts: When an alert fires.
        webhook: Who is told.
        setting: What stands around that page.
        is_telling: Whether alerts are looked at and told of here; else another process does, and they are read.
        listeners: Bound sockets to listen on, in the place of the address of the settings.

    Raises:
        ConfigError: The address can not be listened on, or the example does not fit the store.
    """
    settings, rules = house.settings, alerts or AlertSettings()
    try:
        app = build_app(house, more=_pages(house, open_library, setting or Setting()))
        _settle()
        watch = AlertWatch(house, rules, told_health, webhook, is_telling=is_telling)
        asyncio.run(_serve(app, house, watch, started=started, listeners=listeners))
    except NotListening as error:
        raise not_listening(settings) from error


def not_listening(settings: ServeSettings) -> ConfigError:
    """Return what is raised where the address can not be listened on."""
    return ConfigError(
        "the address can not be listened on",
        field="serve.port",
        value=f"{settings.host}:{settings.port}",
        hint="Choose another --port, 0 for any that is free, or an address of this machine.",
    )


def _settle() -> None:
    """Take what was made so far, and what lasts, out of the collector's way: it stops everybody while it looks.

    With 10,000 connections open its whole look takes 0.2 s and more, and was taken at every quarter that they grew.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _LOOKS_BETWEEN)


def _next_steps(house: House) -> list[str]:
    """Return what a new store still lacks, and where it comes from."""
    found = []
    if not house.loop("").features:
        found.append(
            "no features are registered: /v1/log_retrieval records lists, /v1/rank needs the names of the numbers that "
            "come with each candidate; start it with --features bm25,cosine, or with store.features in a file"
        )
    if not house.is_open and not house.has_keys:
        found.append(
            f"nobody has a key yet: dwell keys create {shlex.quote(house.where)} --kind secret --name backend makes "
            "one for servers, --kind public for browsers, --kind admin for yourself; it is good within a second"
        )
    return found


async def _serve(
    app: Any,  # noqa: ANN401 - an ASGI application
    house: House,
    watch: AlertWatch,
    *,
    started: Callable[[str, list[str]], None],
    listeners: list[socket.socket] | None,
) -> None:
    settings = house.settings
    listen = ListenSettings(settings.host, settings.port, settings.max_connections, is_shared=listeners is not None)
    found = server(app, listen, header_deadline_s=settings.header_timeout_s, admission=house.admission)
    serving = asyncio.create_task(found.serve(sockets=listeners))
    while not found.started and not serving.done():  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.01)
    if found.started:
        port = found.servers[0].sockets[0].getsockname()[1]
        started(address_of(settings.host, port), _next_steps(house))
    else:
        await serving  # it raises why
    watching = asyncio.create_task(watch.run())
    await serving
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


def address_of(host: str, port: int) -> str:
    """Return the URL of an address."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _pages(house: House, open_library: Callable[[], Library] | None, setting: Setting) -> list[BaseRoute]:
    """Return the routes of the collector, and of the example where there is something to search."""
    if house.is_open and open_library is not None:  # to learn and to promote takes a key elsewhere
        setting = setting._replace(lessons=Lessons(house))
    routes = page_routes(house, open_library or _nothing, setting=setting)
    return [route for route in routes if open_library is not None or not route.path.startswith("/example")]


def _nothing() -> Library:
    raise LookupError("no library is served")  # its routes are not mounted
