"""Where requests meet the network: httpx, loaded when a client is made."""

from __future__ import annotations

import ssl
from types import ModuleType
from typing import TYPE_CHECKING, Final

from dwell.client.core import Answer, Failure
from dwell.errors import MissingDependencyError

if TYPE_CHECKING:
    import httpx

__all__ = ["MAX_CONNECTIONS", "answer_of", "failure_of", "new_async_http", "new_http"]

MAX_CONNECTIONS: Final = 64  # as many searches at once as a process of a web application has threads, with room


def _library() -> ModuleType:
    try:
        import httpx
    except ImportError as error:
        raise MissingDependencyError("httpx is not installed", hint="pip install 'dwell[client]'") from error
    return httpx


def new_http(url: str) -> httpx.Client:
    """Return a pool of connections for a server.

    Raises:
        MissingDependencyError: httpx is not installed; the message has the command.
    """
    pool: httpx.Client = _library().Client(limits=_limits(), verify=_trust(url))
    return pool


def new_async_http(url: str) -> httpx.AsyncClient:
    """Return a pool of connections for a server, for asyncio.

    Raises:
        MissingDependencyError: httpx is not installed; the message has the command.
    """
    pool: httpx.AsyncClient = _library().AsyncClient(limits=_limits(), verify=_trust(url))
    return pool


def _limits() -> httpx.Limits:
    limits: httpx.Limits = _library().Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
    return limits


def _trust(url: str) -> ssl.SSLContext | bool:
    """Return which certificates to trust: without TLS none, since reading them all takes a tenth of a second."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.startswith("http://") else True


def answer_of(response: httpx.Response) -> Answer:
    """Return a response that was read."""
    return Answer(
        response.status_code, {name.lower(): text for name, text in response.headers.items()}, response.content
    )


def failure_of(error: Exception) -> Failure:
    """Return why there is no response, without the request: its headers hold the key."""
    library = _library()
    never_left = isinstance(error, library.ConnectError | library.ConnectTimeout | library.PoolTimeout)
    is_late = isinstance(error, library.TimeoutException | TimeoutError)
    return Failure("timeout" if is_late else "unreachable", not never_left, type(error).__name__)
