"""Who sends too much, too slowly, too deep or nothing at all is cut off, and meanwhile another caller is answered.

Against a real `dwell serve`; how long it lets somebody be slow is shortened, so that the attacks end within the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import json
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .serving import Service, service

# Read before a fixture clears the shell's settings; `make soak` opens ten thousand
N_IDLE = int(os.environ.get("DWELL_IDLE_CONNECTIONS", "500"))
LEAST_ANSWERS = 5  # also where an attack is over at once
WITHIN_S = 1.0  # another caller's answer, whatever is going on
SLOW_S = 1.5  # as long as headers and bodies may take
SETTINGS = {
    "DWELL_SERVE__TRAIN_EVERY_S": "3600.0",
    "DWELL_SERVE__HEADER_TIMEOUT_S": str(SLOW_S),
    "DWELL_SERVE__BODY_TIMEOUT_S": str(SLOW_S),
}
FEATURES = ("--features", "good,noise")
HUGE = 64_000_000
MOST_MEMORY = 200_000_000  # one that starts takes 65 MB; nobody's 64 MB are ever held
RANK = json.dumps({"query": "q", "candidates": [{"id": "a", "good": 1.0, "noise": 0.0}]}).encode()
DEEP = b'{"query": "q", "candidates": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
BOMB = gzip.compress(bytes(HUGE), compresslevel=1)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    store = tmp_path_factory.mktemp("attacked") / "s.dwell"
    with service(store, *FEATURES, "--no-auth", environment=SETTINGS) as found:
        yield found


def port_of(served: Service) -> int:
    return int(urlsplit(served.url).port or 0)


def head(*more: str, path: str = "/v1/rank") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: localhost", "content-type: application/json", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def whole(body: bytes, *more: str) -> bytes:
    return head(f"content-length: {len(body)}", *more) + body


def answer_s(port: int) -> float:
    """Return how long a ranking takes a caller who comes anew."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * WITHIN_S)
    connection.request("POST", "/v1/rank", RANK, {"content-type": "application/json"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, body
    return time.monotonic() - began


def slowest_while(port: int, attack: Callable[[], Awaitable[None]], *, least_s: float = 0.0) -> float:
    """Return the slowest answer to another caller while an attack lasts, which runs in an event loop of its own."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(attack())  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 - told in the thread of the test
            failed.append(error)

    thread = threading.Thread(target=run)
    took = [answer_s(port)]
    until = time.monotonic() + least_s
    thread.start()
    while thread.is_alive() or time.monotonic() < until or len(took) < LEAST_ANSWERS:
        took.append(answer_s(port))
        time.sleep(0.02)
    thread.join()
    if failed:
        raise failed[0]
    return max(took)


async def left(reading: asyncio.Future[bytes], writer: asyncio.StreamWriter) -> None:
    """Leave a connection at once, with nothing of it for the collector to find."""
    reading.cancel()
    writer.transport.abort()
    with contextlib.suppress(ConnectionError, asyncio.CancelledError):
        await reading
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def sent(port: int, request: bytes, *, then: bytes = b"", n_then: int = 0, every_s: float = 0.0) -> int:
    """Send a request, then `then` again and again, and return the status of the answer, 0 where there was none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    status = asyncio.ensure_future(reader.readline())
    try:
        writer.write(request)
        for _ in range(n_then):
            if status.done():
                break
            writer.write(then)
            await writer.drain()
            if every_s:
                await asyncio.wait([status], timeout=every_s)
        line = await asyncio.wait_for(status, 10.0 * SLOW_S)
    except ConnectionError:
        line = b""
    finally:
        await left(status, writer)
    return int(line.split()[1]) if line else 0


def memory(served: Service) -> int:
    """Return the most memory that the service has had, in bytes."""
    text = Path(f"/proc/{served.process.pid}/status").read_text(encoding="utf-8")
    return 1_000 * next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM"))


MEGABYTE = bytes(1_000_000)
CHUNK = b"f4240\r\n" + MEGABYTE + b"\r\n"


@pytest.mark.parametrize(
    ("request_", "then", "n_then", "status"),
    [
        (head(f"content-length: {HUGE}"), MEGABYTE, HUGE // len(MEGABYTE), {413, 0}),  # who only sends may miss it
        (head(f"content-length: {HUGE}"), b"", 0, {413}),
        (head("transfer-encoding: chunked"), CHUNK, HUGE // len(MEGABYTE), {413, 0}),
        (head("transfer-encoding: chunked"), CHUNK, 5, {408}),  # read, thrown away, and never ended
        (whole(BOMB, "content-encoding: gzip"), b"", 0, {413}),
        (whole(DEEP), b"", 0, {400}),
        (whole(gzip.compress(DEEP), "content-encoding: gzip"), b"", 0, {400}),
        (head(f"content-length: {len(RANK)}", "transfer-encoding: chunked") + RANK, b"", 0, {400}),
    ],
    ids=["64 MB", "64 MB announced", "64 MB in chunks", "chunks without end", "bomb", "deep", "deep bomb", "smuggled"],
)
def test_too_much_is_refused_and_others_are_answered(
    served: Service, request_: bytes, then: bytes, n_then: int, status: set[int]
) -> None:
    port = port_of(served)

    async def attack() -> None:
        for _ in range(2):
            found = await asyncio.gather(*(sent(port, request_, then=then, n_then=n_then) for _ in range(8)))
            assert set(found) <= status, found

    assert slowest_while(port, attack, least_s=0.3) < WITHIN_S
    assert memory(served) < MOST_MEMORY


def test_who_is_slow_is_cut_off_in_time_and_others_are_answered(served: Service) -> None:
    port = port_of(served)
    slow = [
        (b"POST /v1/rank HTTP/1.1\r\n", b"x-a: b\r\n", 0),
        (b"POST", b"", 0),
        (head("content-length: 1000"), b" ", 408),
        (head("transfer-encoding: chunked"), b"1\r\n \r\n", 408),
        (head("content-length: 1000"), b"", 408),
    ]

    async def slowly(first: bytes, then: bytes) -> tuple[int, float]:
        began = time.monotonic()
        found = await sent(port, first, then=then, n_then=1_000, every_s=0.05)
        return found, time.monotonic() - began

    async def attack() -> None:
        found = await asyncio.gather(*(slowly(first, then) for first, then, _ in slow * 20))
        assert [status for status, _ in found] == [status for _, _, status in slow * 20]
        lasted = [s for _, s in found]
        assert min(lasted) > 0.9 * SLOW_S, "somebody was cut off who had time"
        assert max(lasted) < 3.0 * SLOW_S

    assert slowest_while(port, attack) < WITHIN_S


def test_bodies_that_are_held_back_take_bounded_memory(served: Service) -> None:
    port, nearly = port_of(served), bytes(1_900_000)

    async def attack() -> None:
        statuses = await asyncio.gather(*(sent(port, head("content-length: 1999999") + nearly) for _ in range(150)))
        assert set(statuses) <= {408, 503}, set(statuses)
        assert statuses.count(503), "285 MB were held for callers who never end"

    assert slowest_while(port, attack) < WITHIN_S
    assert memory(served) < MOST_MEMORY


def test_others_are_answered_beside_many_idle_connections(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < N_IDLE + 300:
        pytest.skip(f"the system allows {hard} open files, and {N_IDLE + 300} are needed")
    settings = {**SETTINGS, "DWELL_SERVE__HEADER_TIMEOUT_S": "60.0"}  # silence is not cut short here
    with service(tmp_path / "s.dwell", *FEATURES, "--no-auth", environment=settings) as found:
        port, held = port_of(found), []

        async def attack() -> None:
            command = [sys.executable, str(Path(__file__).with_name("idling.py")), str(port), str(N_IDLE), "2"]
            idling = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            told, _ = await idling.communicate()
            held.append(int(told))

        slowest = slowest_while(port, attack)
        print(f"{N_IDLE} idle connections: the slowest answer to another caller took {slowest:.3f} s")
        assert held == [N_IDLE]
        assert slowest < WITHIN_S
        assert found.call("GET", "/readyz")[0] == 200


def cpu_s(served: Service) -> float:
    text = Path(f"/proc/{served.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(text[11]) + int(text[12])) / os.sysconf("SC_CLK_TCK")


def test_at_its_limit_of_open_files_it_neither_dies_nor_spins(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(
            service(tmp_path / "s.dwell", *FEATURES, "--no-auth", environment=SETTINGS, limits=("-n 160",))
        )
        port = port_of(found)
        left_open = stack.enter_context
        known = left_open(contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)))
        known.request("GET", "/livez")
        assert known.getresponse().read()
        held = [left_open(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(600)]
        time.sleep(0.3)
        before = cpu_s(found)
        for _ in range(10):
            began = time.monotonic()
            known.request("POST", "/v1/rank", RANK, {"content-type": "application/json"})
            assert known.getresponse().read()
            assert time.monotonic() - began < WITHIN_S, "who is connected is answered"
            time.sleep(0.1)
        assert cpu_s(found) - before < 0.5, "it spins"
        for one in held:
            one.close()
        time.sleep(0.2)
        assert answer_s(port) < WITHIN_S, "places that are free again are given"
        assert found.stop() == 0
        said = found.process.stderr.read() if found.process.stderr else ""
        assert "Traceback" not in said
        assert "out of system resource" not in said
