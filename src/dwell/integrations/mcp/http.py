"""The server behind HTTP: a bearer token, the addresses it answers to, and nobody else's pages."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from dwell.errors import ConfigError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["MIN_TOKEN", "HttpSettings", "checked_http", "http_app", "serve_http"]

MIN_TOKEN: Final = 20  # characters: 20 of base 64 are 120 bits, beyond guessing
MAX_BODY_BYTES: Final = 1_000_000  # a text has 64 KB at most, a thousand candidates some hundred
MAX_SESSIONS: Final = 100  # each holds streams; an agent has one
SESSION_IDLE_S: Final = 1_800.0  # the library's own default
PATH: Final = "/mcp"


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Where a server listens, and who may ask it.

    Attributes:
        host: Address to listen on.
        port: Port.
        token: What a client sends as `Authorization: Bearer`; None for nobody is asked, on this machine alone.
        hosts: Further values of `Host` that are answered, as a proxy's name; those of the address always are.
        origins: Further values of `Origin` that are answered: pages of these sites may ask. The address's own is.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


def checked_http(settings: HttpSettings) -> HttpSettings:
    """Return the settings as they are.

    Raises:
        ConfigError: The token is short, no text for a header, or there is none and others than this machine may ask.
    """
    token = settings.token
    if token is None:
        if not _is_loopback(settings.host):
            raise ConfigError(
                "beyond this machine a token is asked for",
                field="token",
                hint="Give one with --token-file or DWELL_MCP_TOKEN.",
            )
    elif len(token) < MIN_TOKEN or not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError(
            f"a token has {MIN_TOKEN} characters or more, none of them a space",
            field="token",
            value="(not shown)",
            hint='Make one: python -c "import secrets; print(secrets.token_urlsafe(32))".',
        )
    return settings


def http_app(server: MCPServer, settings: HttpSettings) -> ASGIApp:
    """Return the server as an ASGI application on `/mcp`; it checks token, Host, Origin, type and size of a request.

    Raises:
        ConfigError: As `checked_http`.
    """
    checked = checked_http(settings)
    names = {checked.host, "localhost", "127.0.0.1", "[::1]"} if _is_loopback(checked.host) else {checked.host}
    hosts = [f"[{name}]" if ":" in name and not name.startswith("[") else name for name in sorted(names)]
    own = [f"{name}:{checked.port}" for name in hosts]
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=MAX_BODY_BYTES,
        session_idle_timeout=SESSION_IDLE_S,
        max_sessions=MAX_SESSIONS,
        transport_security=TransportSecuritySettings(
            allowed_hosts=[*own, *checked.hosts],
            # nobody else's page has this origin: who rebinds a name to this address sends that name as Host
            allowed_origins=[*(f"http://{place}" for place in own), *checked.origins],
        ),
        host=checked.host,
    )
    return app if checked.token is None else _Guarded(app, checked.token)


def serve_http(server: MCPServer, settings: HttpSettings) -> None:
    """Serve until the process is asked to end.

    Raises:
        ConfigError: As `checked_http`.
    """
    import uvicorn

    uvicorn.run(http_app(server, settings), host=settings.host, port=settings.port, log_level="warning")


class _Guarded:
    """Lets in who has the token; the library itself asks for none unless there is an OAuth server."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._due = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_let_in(scope):
            await self._app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json"), (b"www-authenticate", b'Bearer realm="dwell"')]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"error": "unauthorized"}'})

    def _is_let_in(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._due)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
