"""A process that asks a server as fast as its answers come: raw HTTP/1.1 over connections that stay open.

It makes nothing while it measures: requests are bytes that were made before, and of an answer only its status and its
length are read. That takes it about 20 us a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

import numpy as np

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

Work = Callable[[Any], Coroutine[Any, Any, object]]

_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "


class Load(NamedTuple):
    """What to ask.

    Attributes:
        url: The server's address.
        requests: Whole requests, asked in turn, again from the first one after the last.
        n_requests: How many in all.
        n_clients: Connections; each waits for its answer before it asks again.
    """

    url: str
    requests: Sequence[bytes]
    n_requests: int
    n_clients: int


class Asked(NamedTuple):
    """What came of it.

    Attributes:
        seconds: From the first request to the last answer.
        latencies: Seconds of each request.
        statuses: Number of answers by status.
        bodies: The bodies of the first answers, one per request of the load.
        cpu_s: Processor time that the asking took.
    """

    seconds: float
    latencies: FloatArray
    statuses: Counter[int]
    bodies: list[bytes]
    cpu_s: float


def request(path: str, body: bytes, key: str | None = None) -> bytes:
    """Return a POST as bytes."""
    auth = f"Authorization: Bearer {key}\r\n" if key else ""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{auth}Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, waiting: Iterator[bytes], run: _Run) -> None:
        self._waiting, self._run = waiting, run
        self._read = b""
        self._began = 0.0
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def ask(self) -> None:
        """Send the next request, or tell that there is none."""
        following = next(self._waiting, None)
        if following is None:
            self._run.close(self)
            return
        self._began = time.perf_counter()
        self._transport.write(following)

    def data_received(self, data: bytes) -> None:
        self._read = self._read + data if self._read else data
        found = answer_of(self._read)
        if found is None:
            return
        self._read = b""
        self._run.take(*found, time.perf_counter() - self._began)
        self.ask()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - as asyncio calls it
        self._run.close(self)

    def hang_up(self) -> None:
        """Close the connection."""
        self._transport.close()


def answer_of(read: bytes) -> tuple[int, bytes] | None:
    """Return status and body of an answer; None while it is not whole."""
    end = read.find(_END)
    if end < 0:
        return None
    at = read.lower().find(_LENGTH, 0, end)
    n = int(read[at + len(_LENGTH) : read.find(b"\r\n", at)]) if at >= 0 else 0
    body = read[end + len(_END) :]
    return (int(read[9:12]), body) if len(body) >= n else None


class _Run:
    """What the connections of one load share."""

    def __init__(self, n_bodies: int) -> None:
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.bodies: list[bytes] = []
        self.open: set[_Client] = set()
        self.is_over = asyncio.Event()
        self._n_bodies = n_bodies

    def take(self, status: int, body: bytes, seconds: float) -> None:
        self.latencies.append(seconds)
        self.statuses[status] += 1
        if len(self.bodies) < self._n_bodies:
            self.bodies.append(body)

    def close(self, client: _Client) -> None:
        self.open.discard(client)
        if not self.open:
            self.is_over.set()


async def ask(load: Load) -> Asked:
    """Return what came of a load."""
    address = urlsplit(load.url)
    waiting = (load.requests[i % len(load.requests)] for i in range(load.n_requests))
    run, loop = _Run(len(load.requests)), asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: _Client(waiting, run), address.hostname, address.port))[1]
        for _ in range(load.n_clients)
    ]
    run.open = set(clients)
    began, cpu = time.perf_counter(), time.process_time()
    for client in clients:
        client.ask()
    await run.is_over.wait()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    for client in clients:
        client.hang_up()
    return Asked(seconds, np.array(run.latencies), run.statuses, run.bodies, cpu)


def _obey(work: Work, pipe: Connection) -> None:
    import uvloop

    try:
        while True:
            pipe.send(uvloop.run(work(pipe.recv())))
    except EOFError:
        pass


@contextlib.contextmanager
def process_apart(work: Work) -> Iterator[Connection]:
    """Give a pipe to a process that answers what is sent with what the work returns for it; it ends with the context.

    Args:
        work: A coroutine function of a module, which a spawned process can find again.
    """
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_obey, args=(work, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield pipe
    finally:
        pipe.close()
        process.join(10)


class Loader:
    """The process that asks; ends with the context."""

    def __enter__(self) -> Self:
        self._process = process_apart(ask)
        self._pipe = self._process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.__exit__(None, None, None)

    def ask(self, load: Load) -> Asked:
        """Return what came of a load, asked from the other process.

        Raises:
            AssertionError: Not everything was answered with 200.
        """
        self._pipe.send(load)
        found = self._pipe.recv()
        assert isinstance(found, Asked)
        assert found.statuses == {200: load.n_requests}, (found.statuses, found.bodies[:1])
        return found
