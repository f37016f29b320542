"""A process that asks at a rate of its own, whatever comes back: what a service meets that more ask than it can answer.

Arrivals are due at equal distances. Each goes out on a connection that waits for nothing; where there is none it is
held back, for then every caller there is waits already. A connection that was told to come again is used again at once,
and one that was closed is opened anew: these callers obey nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

import numpy as np

from _service_load import FloatArray, answer_of, process_apart

MARK: Final = b"@" * 10  # what a peak's number replaces
_NUMBER: Final = MARK[:7]  # what the number of an arrival replaces: a body keeps its length
_TICK_S: Final = 0.002
_SETTLE_S: Final = 1.0
_GRACE_S: Final = 15.0  # for what is on its way when the flood ends


class Flood(NamedTuple):
    """What to ask.

    Attributes:
        url: The server's address.
        requests: Whole requests, sent in turn, seven `@` in each replaced by the number of the arrival.
        good: What stands in the answer to a request that was acknowledged.
        per_s: Arrivals per second.
        seconds: How long.
        n_connections: Callers there are.
    """

    url: str
    requests: Sequence[bytes]
    good: bytes
    per_s: float
    seconds: float
    n_connections: int


class Flooded(NamedTuple):
    """What came of it.

    Attributes:
        seconds: From the first arrival to the last.
        n_due: Arrivals that were due.
        n_sent: Arrivals that went out.
        statuses: Number of answers by status; 0 for those that never came.
        n_good: Answers of status 200 that came before the flood ended.
        latencies: Seconds to each answer of status 200.
        n_silent: Refusals without Retry-After.
        acknowledged: Numbers of the arrivals that were acknowledged.
        bodies: Bodies of the first refusals.
    """

    seconds: float
    n_due: int
    n_sent: int
    statuses: Counter[int]
    n_good: int
    latencies: FloatArray
    n_silent: int
    acknowledged: list[int]
    bodies: list[bytes]


class _Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._read = b""
        self._began = 0.0
        self._asked: int | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._run.free.append(self)

    def ask(self, position: int, request: bytes) -> None:
        """Send a request."""
        self._asked, self._began = position, time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._read = self._read + data if self._read else data
        found = answer_of(self._read)
        if found is None or self._asked is None:
            return
        has_wait = b"retry-after" in self._read.lower()
        self._read = b""
        position, self._asked = self._asked, None
        self._run.take(position, *found, time.perf_counter() - self._began, has_wait=has_wait)
        if not self._transport.is_closing():
            self._run.free.append(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - as asyncio calls it
        if self._asked is not None:
            self._run.statuses[0] += 1
            self._asked = None
        self._run.lost(self)

    def hang_up(self) -> None:
        """Close the connection."""
        if self._asked is not None:
            self._run.statuses[0] += 1
            self._asked = None
        self._transport.abort()


class _Run:
    """What the connections of one flood share."""

    def __init__(self, good: bytes) -> None:
        self._good = good
        self.free: deque[_Caller] = deque()
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.acknowledged: list[int] = []
        self.bodies: list[bytes] = []
        self.n_silent = 0
        self.n_lost = 0

    def take(self, position: int, status: int, body: bytes, seconds: float, *, has_wait: bool) -> None:
        self.statuses[status] += 1
        if status == 200:
            self.latencies.append(seconds)
            if self._good in body:
                self.acknowledged.append(position)
            return
        self.n_silent += not has_wait
        if len(self.bodies) < 3:
            self.bodies.append(body)

    def lost(self, caller: _Caller) -> None:
        self.n_lost += 1
        if caller in self.free:
            self.free.remove(caller)


async def flood(asked: Flood) -> Flooded:
    """Return what came of a flood."""
    address = urlsplit(asked.url)
    run, loop = _Run(asked.good), asyncio.get_running_loop()
    callers = [
        (await loop.create_connection(lambda: _Caller(run), address.hostname, address.port))[1]
        for _ in range(asked.n_connections)
    ]
    await asyncio.sleep(_SETTLE_S)  # all of them are taken in
    began = time.perf_counter()
    n_due, n_sent, n_reopened = 0, 0, 0
    while (now := time.perf_counter() - began) < asked.seconds:
        n_now = int(now * asked.per_s)
        while n_due < n_now:
            if run.free:
                request = asked.requests[n_sent % len(asked.requests)]
                run.free.popleft().ask(n_sent, request.replace(_NUMBER, b"%07d" % n_sent))
                n_sent += 1
                n_due += 1
            else:
                n_due = n_now
        if run.n_lost > n_reopened:
            n_reopened += 1
            callers.append((await loop.create_connection(lambda: _Caller(run), address.hostname, address.port))[1])
        await asyncio.sleep(_TICK_S)
    seconds, n_good = time.perf_counter() - began, run.statuses[200]
    until = time.perf_counter() + _GRACE_S
    while run.statuses.total() < n_sent and time.perf_counter() < until:  # noqa: ASYNC110 - a count, not an event
        await asyncio.sleep(0.01)
    for caller in callers:
        caller.hang_up()
    await asyncio.sleep(0)
    latencies = np.array(run.latencies)
    return Flooded(seconds, n_due, n_sent, run.statuses, n_good, latencies, run.n_silent, run.acknowledged, run.bodies)


class Flooder:
    """The process that floods; ends with the context."""

    def __enter__(self) -> Self:
        self._process = process_apart(flood)
        self._pipe = self._process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.__exit__(None, None, None)

    def begin(self, asked: Flood) -> None:
        """Let it begin."""
        self._pipe.send(asked)

    def is_over(self, wait_s: float) -> bool:
        """Return whether it ended, after waiting for that at most so long."""
        return self._pipe.poll(wait_s)

    def found(self) -> Flooded:
        """Return what came of it."""
        found = self._pipe.recv()
        assert isinstance(found, Flooded)
        return found
