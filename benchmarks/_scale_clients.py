"""Clients of a service that write down everything they were told: lists, reactions, retries, and when."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
import numpy as np

from _scale_life import N_SHOWN, request
from _service_load import answer_of

__all__ = ["Crowd", "Heard", "Listed", "candidates"]

REACTING: Final = 0.5  # of the lists get a click
RETRYING: Final = 0.1  # of the requests, of either kind, are sent again by whoever is free
# Requests of one connection: whoever is idle takes the next one, and were all of them opened at once and then kept, the
# first process to wake would have them all
LASTING: Final = 40
APART_S: Final = 0.05  # between the first connections
_WAIT_S: Final = 0.1  # after a refusal or a broken connection
_ANSWER_S: Final = 30.0


class Listed(NamedTuple):
    """A list that was acknowledged as being on the disk.

    Attributes:
        number: Of the event: what was asked follows from it.
        ids: Documents, from the top.
        scores: Their scores.
        propensities: As answered.
        version: Params version.
        begun: When it was asked for, epoch seconds.
        ended: When it was answered.
        port: Of the client's connection.
    """

    number: int
    ids: tuple[str, ...]
    scores: tuple[float, ...]
    propensities: tuple[float, ...]
    version: int
    begun: float
    ended: float
    port: int


class Heard(NamedTuple):
    """A reaction that was acknowledged.

    Attributes:
        number: Of the event.
        doc: What was clicked.
        status: What became of it.
        seconds: Until the answer.
    """

    number: int
    doc: str
    status: str
    seconds: float


def candidates(number: int) -> dict[str, Any]:
    """Return what is asked for in an event: the same whenever it is asked."""
    return request(number, np.random.default_rng([7, number]))


class Crowd:
    """Clients that ask until they are told to stop, each on a connection of its own, and repeat what others asked.

    Args:
        url: The service.
        n_clients: Connections.
        seed: Of who reacts and who retries.
    """

    def __init__(self, url: str, n_clients: int, seed: int = 0) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 0
        self._n_clients = n_clients
        self._rng = np.random.default_rng(seed)
        self._numbers = itertools.count()
        self.lists: list[Listed] = []
        self.reactions: list[Heard] = []
        self.statuses: Counter[str] = Counter()
        self.n_retried = self.n_same = self.n_broken = self.n_fallbacks = 0
        self.wrong: list[str] = []
        self.is_over = False

    async def ask(self) -> None:
        """Ask until `is_over`; every request that was begun is answered before this ends."""
        await asyncio.gather(*(self._client(i * APART_S) for i in range(self._n_clients)))

    async def _client(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        line = _Line(self, self._host, self._port)
        try:
            while not self.is_over:
                listed = await self._list(line, next(self._numbers))
                if listed is None:
                    continue
                self.lists.append(listed)
                if self._rng.random() < REACTING:
                    await self._react(line, listed)
                if self._rng.random() < RETRYING:
                    await self._again(line, self.lists[int(self._rng.integers(len(self.lists)))])
        finally:
            line.close()

    async def _list(self, line: _Line, number: int) -> Listed | None:
        given = candidates(number)
        body = msgspec.json.encode(
            {**given, "features": given["features"].astype(np.float64).tolist(), "k": N_SHOWN, "wait": True,
             "event_id": _event_id(number)}
        )  # fmt: skip
        begun = time.time()
        answer = await line.post("/v1/rank", body)
        if answer["fallback"] is not None or answer["recorded"] != "durable":
            self.n_fallbacks += 1
            return None
        found = (tuple(answer["ids"]), tuple(answer["scores"]), tuple(answer["propensities"]))
        return Listed(number, *found, answer["params_version"], begun, time.time(), line.port)

    async def _react(self, line: _Line, listed: Listed, *, doc: str | None = None) -> None:
        doc = doc or listed.ids[int(self._rng.integers(min(3, len(listed.ids))))]
        body = msgspec.json.encode({"event_id": _event_id(listed.number), "signal": "click", "doc": doc})
        began = time.perf_counter()
        key = f"reaction-{listed.number}"
        answer = await line.post("/v1/feedback", body, {"Idempotency-Key": key})
        heard = Heard(listed.number, doc, answer["status"], time.perf_counter() - began)
        if heard.status not in {"joined", "late", "orphan"}:
            self.wrong.append(f"reaction {key} was answered {answer}")
        self.reactions.append(heard)
        if self._rng.random() < RETRYING:
            self.n_retried += 1
            again = await line.post("/v1/feedback", body, {"Idempotency-Key": key})
            self._compare(f"reaction {key}", answer, again)

    async def _again(self, line: _Line, listed: Listed) -> None:
        """Ask for a list that somebody else was served, under its id."""
        self.n_retried += 1
        again = await self._list(line, listed.number)
        if again is not None:
            self._compare(_event_id(listed.number), listed[1:5], again[1:5])

    def _compare(self, what: str, first: object, second: object) -> None:
        if first == second:
            self.n_same += 1
        else:
            self.wrong.append(f"{what}: first {first}, then {second}")


def _event_id(number: int) -> str:
    return f"scale-{number:012d}"


class _Line:
    """A connection that is made anew when it breaks, and that sends a request until it is answered 200."""

    def __init__(self, crowd: Crowd, host: str, port: int) -> None:
        self._crowd, self._host, self._server_port = crowd, host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.port = 0
        self._n_left = 0

    async def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the answer to a request."""
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{more}Content-Type: application/json\r\n"
        whole = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        while True:
            try:
                status, answer = await asyncio.wait_for(self._exchange(whole), _ANSWER_S)
            except (OSError, EOFError, TimeoutError):
                self._crowd.n_broken += 1
                self.close()
                await asyncio.sleep(_WAIT_S)
                continue
            self._crowd.statuses[f"{path} {status}"] += 1
            if status == 200:
                found: dict[str, Any] = msgspec.json.decode(answer)
                return found
            if status not in {429, 503}:
                raise AssertionError(f"{path} was answered {status}: {answer[:300]!r}")
            await asyncio.sleep(_WAIT_S)

    async def _exchange(self, whole: bytes) -> tuple[int, bytes]:
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._server_port)
            self.port = int(self._writer.get_extra_info("sockname")[1])
            self._n_left = LASTING
        self._writer.write(whole)
        read = b""
        while (found := answer_of(read)) is None:
            part = await self._reader.read(1 << 16)
            if not part:
                raise EOFError
            read += part
        self._n_left -= 1
        if self._n_left == 0:
            self.close()
        return found

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None
