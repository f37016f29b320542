"""How the service listens: uvicorn, with a protocol that cuts whoever is slow with headers.

uvicorn has no timer on the receipt of a request: a connection that says nothing stays for ever. Here headers must be
whole within a deadline, are bounded in size, and idle connections can not take the places of others.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from dwell.server.admission import Admission

__all__ = [
    "GuardedProtocol",
    "ListenSettings",
    "NotListening",
    "accepted_at_once",
    "connection_places",
    "protocol_of",
    "server",
]

HEADER_DEADLINE_S: Final = 10.0  # as long as a body may take
MAX_HEADER_BYTES: Final = 65_536  # eight times what proxies allow by default
_RESERVED_FILES: Final = 64  # the store, its readers, logs and the listener
_ACCEPTED_AT_ONCE: Final = 512  # connections per turn of the event loop, some 50 ms; a turn of searches takes longer
_ACCEPTED_OF_SHARED: Final = 8  # a choice: whoever wakes first must not take all of a burst
# A connection for which there is no place is closed in the fourth turn after it was accepted, and has a file until
# then. Where files run out, asyncio accepts nobody for a second
_TURNS: Final = 4
_MOST_IGNORED_BYTES: Final = 2_000_000  # of a body that was refused by its head: as many as are taken by default
_QUEUED_CONNECTIONS: Final = 4_096  # the system's own limit (net.core.somaxconn) since Linux 5.4


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """Where and how to listen.

    Attributes:
        host: Address.
        port: Port; 0 for any that is free.
        max_connections: Open connections beyond which new ones are closed at once; lowered to what the system allows.
        is_shared: Whether other processes accept from the same sockets: then each takes a few at a time.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_connections: int = 20_000
    is_shared: bool = False


def accepted_at_once() -> int:
    """Return how many connections are accepted per turn: fewer where few files may be open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ACCEPTED_AT_ONCE if soft == resource.RLIM_INFINITY else max(1, min(_ACCEPTED_AT_ONCE, soft // 16))


def connection_places(wanted: int) -> int:
    """Return how many connections may be open: `wanted`, or fewer where the limit on open files can not be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _RESERVED_FILES + _TURNS * _ACCEPTED_AT_ONCE
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft - _RESERVED_FILES - _TURNS * accepted_at_once()))


class GuardedProtocol(HttpToolsProtocol):
    """HTTP/1.1 by httptools, with a deadline and a bound for headers. `protocol_of` sets the figures."""

    header_deadline_s = HEADER_DEADLINE_S
    max_header_bytes = MAX_HEADER_BYTES
    max_connections = 20_000
    admission: Admission | None = None

    def __init__(self, *given: Any, **named: Any) -> None:  # noqa: ANN401 - as uvicorn calls it
        super().__init__(*given, **named)
        self._header_timer: asyncio.TimerHandle | None = None
        self._is_in_headers = True
        self._n_header_bytes = 0
        self._is_refused = False
        self._n_ignored_bytes = 0
        self._rest_s = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or close it at once where all places are taken."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.abort()
            return
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; too many bytes before the end of the headers close the connection."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self._arm()  # also for blank lines, with which no request begins
        if self._is_in_headers:
            self._n_header_bytes += len(data)
        super().data_received(data)
        if self._is_in_headers and self._n_header_bytes > self.max_header_bytes and not self.transport.is_closing():
            self.send_400_response("Headers too large.")

    def on_message_begin(self) -> None:
        """Start the deadline with the first byte of a request."""
        super().on_message_begin()
        self._is_in_headers, self._n_header_bytes = True, 0
        self._arm()

    def on_headers_complete(self) -> None:
        """Stop the deadline; the guard times the body."""
        self._is_in_headers = False
        if sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > self.max_header_bytes:
            self.send_400_response("Headers too large.")
            return
        cycle: RequestResponseCycle | None = self.cycle
        is_alone = cycle is None or cycle.response_complete  # else an answer would overtake another one
        self._is_refused = is_alone and self.admission is not None and not self.admission.has_room_for(self.url)
        if self._is_refused and self.admission is not None:
            answer, self._rest_s = self.admission.refusal(self.url)
            self.transport.write(answer)
            self._n_ignored_bytes = 0
            return  # the deadline is now one for the rest of the body, which nobody reads
        self._disarm()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Ignore what follows headers that were refused."""
        if self._is_refused:
            self._n_ignored_bytes += len(body)
            if self._n_ignored_bytes > _MOST_IGNORED_BYTES:
                self._cut()
        elif self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Count a request from here on; ignore the end of one that was refused."""
        if self._is_refused:
            self._rest()
            return
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None:
            return
        super().on_message_complete()
        if self.admission is not None and not cycle.response_complete and not self.pipeline:
            self.admission.enter(cast("dict[str, Any]", cycle.scope))

    def _rest(self) -> None:
        """Do not listen to a caller for as long as he was told to wait."""
        self._is_refused = False
        self._disarm()
        if self.transport.is_closing():
            return
        if not self.parser.should_keep_alive():
            self.transport.close()
            return
        self.flow.pause_reading()
        self.loop.call_later(self._rest_s, self._listen_again)
        if self.admission is not None:
            self.admission.rest()

    def _listen_again(self) -> None:
        if self.admission is not None:
            self.admission.rested()
        if not self.transport.is_closing() and self.flow is not None:
            self.flow.resume_reading()
            self._arm()

    def _arm(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(self.header_deadline_s, self._cut)

    def _disarm(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _cut(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()


class NotListening(Exception):  # noqa: N818 - it says what is the case, as its neighbours do
    """The address can not be listened on; the log says why."""


class _Server(Server):
    """uvicorn's server without its last act: raising the signal again, which would cut what is still to be written."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, with a longer queue than asyncio takes from it in one turn.

        Raises:
            NotListening: The address is taken, or none of this machine.
        """
        try:
            await super().startup(sockets)
        except SystemExit as error:  # which would leave a task behind it with a traceback that nobody asked for
            raise NotListening from error
        for listening in self.servers if self.started else ():
            for one in listening.sockets:
                with contextlib.closing(one.dup()) as same:
                    same.listen(_QUEUED_CONNECTIONS)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGINT or SIGTERM; a second one does not wait for requests."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def protocol_of(
    max_connections: int, header_deadline_s: float = HEADER_DEADLINE_S, admission: Admission | None = None
) -> type[GuardedProtocol]:
    """Return the protocol with its figures: uvicorn takes a class and passes it no settings."""
    figures = {"max_connections": max_connections, "header_deadline_s": header_deadline_s, "admission": admission}
    return type("GuardedProtocol", (GuardedProtocol,), figures)


def server(
    app: Any,  # noqa: ANN401 - an ASGI application
    settings: ListenSettings,
    *,
    header_deadline_s: float = HEADER_DEADLINE_S,
    admission: Admission | None = None,
) -> Server:
    """Return a server that is ready to run: `server(...).run()`.

    Args:
        app: The ASGI application.
        settings: Where and how to listen.
        header_deadline_s: How long headers may take, in seconds.
        admission: Who is refused as soon as his head is read; the application tells it when a request is over.
    """
    places = connection_places(settings.max_connections)
    config = Config(
        app,
        host=settings.host,
        port=settings.port,
        http=protocol_of(places, header_deadline_s, admission),
        ws="none",
        server_header=False,
        access_log=False,
        log_config=None,
        proxy_headers=False,  # an address in a header is the caller's word
        backlog=min(accepted_at_once(), _ACCEPTED_OF_SHARED) if settings.is_shared else accepted_at_once(),
        timeout_keep_alive=10,
        timeout_graceful_shutdown=10,
    )
    return _Server(config)
