"""The listener on real sockets: whoever is slow with headers is cut, and others are answered meanwhile."""

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from dwell.server.admission import Admission
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
async def listening(
    max_connections: int = 1_000, *, app: Any = hello, admission: Admission | None = None
) -> AsyncIterator[int]:
    """Serve on a free port of loopback, within this loop."""
    settings = ListenSettings(port=0, max_connections=max_connections)
    found = server(app, settings, header_deadline_s=DEADLINE_S, admission=admission)
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


async def told(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return status and body of the next answer of a connection."""
    async with asyncio.timeout(10.0 * DEADLINE_S):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


POSTED = b"POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody"


def test_who_finds_no_room_is_refused_by_his_head_and_rests_for_a_second() -> None:
    admission = Admission(1, always=frozenset({b"/livez"}))
    called: list[str] = []

    async def run() -> None:
        may_end = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            called.append(scope["path"])
            if scope["path"] == "/v1/rank":
                await may_end.wait()
            await hello(scope, receive, send)
            admission.leave(scope)

        async with listening(app=app, admission=admission) as port:
            first, second, third = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            first[1].write(POSTED)
            while admission.n == 0:  # noqa: ASYNC110 - a count, not an event
                await asyncio.sleep(0.01)
            began = time.monotonic()
            second[1].write(POSTED)
            status, body = await told(second[0])
            assert (status, b'"overloaded"' in body) == (503, True)
            assert time.monotonic() - began < 0.5, "a refusal waits for nothing"
            third[1].write(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await told(third[0]) == (200, b"ok")
            may_end.set()
            assert await told(first[0]) == (200, b"ok")
            second[1].write(POSTED)
            assert await told(second[0]) == (200, b"ok"), "the same connection"
            assert time.monotonic() - began > 0.9, "he was listened to before his time"
            for _, writer in (first, second, third):
                writer.close()

    alone(run)
    assert called == ["/v1/rank", "/livez", "/v1/rank"]
    assert admission.n == 0
    assert dict(admission.n_refused) == {"": 1}


def test_a_body_on_its_way_takes_no_room_and_one_that_was_refused_may_not_take_for_ever() -> None:
    admission = Admission(1)
    slow = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n\r\n"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        while message.get("more_body"):
            message = await receive()
        await hello(scope, receive, send)
        admission.leave(scope)

    async def run() -> tuple[bytes, float, float]:
        async with listening(app=app, admission=admission) as port:
            slowly = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
            for _, writer in slowly:
                writer.write(slow + b"x")
            line, _ = await answer(port)
            admission.enter({})  # from here on there is no room
            silent, much = await asyncio.gather(closed_after(port, slow), closed_after(port, slow, bytes(500_000)))
            for _, writer in slowly:
                writer.transport.abort()
            return line, silent, much

    line, silent, much = alone(run)
    assert line == b"HTTP/1.1 200 OK\r\n"
    assert DEADLINE_S * 0.9 < silent < DEADLINE_S * 3.0
    assert much < DEADLINE_S, "2 MB are enough"
