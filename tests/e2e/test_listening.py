"""The listener on real sockets: whoever is slow with headers is cut, and others are answered meanwhile."""

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from dwell.server.listen import ListenSettings, connection_places, protocol_of, server

T = TypeVar("T")


def alone(run: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return what a coroutine gives in an event loop of its own thread: a browser's may run in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(run())).result()


DEADLINE_S = 1.0
ASKED = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@contextlib.asynccontextmanager
async def listening(max_connections: int = 1_000) -> AsyncIterator[int]:
    """Serve on a free port of loopback, within this loop."""
    found = server(hello, ListenSettings(port=0, max_connections=max_connections), header_deadline_s=DEADLINE_S)
    found.config.load()
    found.lifespan = found.config.lifespan_class(found.config)
    await found.startup()
    try:
        yield found.servers[0].sockets[0].getsockname()[1]
    finally:
        await found.shutdown()


async def closed_after(port: int, first: bytes, every: bytes = b"") -> float:
    """Return how long a connection lasts that sends `first`, then `every` each 50 ms."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    writer.write(first)
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(5 * DEADLINE_S):
            ended = asyncio.ensure_future(reader.read())
            while not ended.done():
                writer.write(every)
                await asyncio.wait([ended], timeout=0.05)
            await ended
    writer.close()
    return time.monotonic() - began


async def answer(port: int, request: bytes = ASKED) -> tuple[bytes, float]:
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    line = await reader.readline()
    writer.close()
    return line, time.monotonic() - began


def test_slow_headers_are_cut_and_others_are_answered_meanwhile() -> None:
    async def run() -> tuple[list[float], list[tuple[bytes, float]]]:
        async with listening() as port:
            slow = [
                asyncio.ensure_future(closed_after(port, first, every))
                for first, every in (
                    (b"", b""),
                    (b"GET / HTTP/1.1\r\n", b"x-a: b\r\n"),
                    (b"GET /", b"t"),
                    (ASKED, b"\r\n"),
                )
                * 20
            ]
            await asyncio.sleep(DEADLINE_S / 3)
            answers = [await answer(port) for _ in range(5)]
            return await asyncio.gather(*slow), answers

    lasted, answers = alone(run)
    assert all(DEADLINE_S * 0.9 < s < 4.0 * DEADLINE_S for s in lasted), (min(lasted), max(lasted))
    for line, took in answers:
        assert line == b"HTTP/1.1 200 OK\r\n"
        assert took < 1.0


@pytest.mark.parametrize("headers", [b"x-a: " + b"b" * 70_000 + b"\r\n", b"x-a: bcdefghi\r\n" * 10_000])
def test_headers_beyond_64_kb_are_refused(headers: bytes) -> None:
    async def run() -> bytes:
        async with listening() as port:
            return (await answer(port, b"GET / HTTP/1.1\r\nhost: x\r\n" + headers + b"\r\n"))[0]

    assert alone(run).startswith(b"HTTP/1.1 400")


def test_a_connection_is_kept_for_a_second_request() -> None:
    async def run() -> bytes:
        async with listening() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(2):
                writer.write(ASKED)
                found = await reader.readuntil(b"ok")
                await asyncio.sleep(DEADLINE_S * 1.2)  # longer than headers may take, shorter than it is kept
            writer.close()
            return found

    assert alone(run).startswith(b"HTTP/1.1 200")


def test_connections_beyond_the_places_are_closed_at_once() -> None:
    async def run() -> float:
        async with listening(max_connections=3) as port:
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            lasted = await closed_after(port, b"")
            for _, writer in held:
                writer.close()
            return lasted

    assert alone(run) < DEADLINE_S / 2


def test_places_fit_the_limit_on_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert 1 <= connection_places(10**9) < 10**9 or hard == resource.RLIM_INFINITY
        assert connection_places(10) == 10
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert protocol_of(7).max_connections == 7
