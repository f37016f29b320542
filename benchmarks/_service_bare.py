"""What a search service costs that learns nothing: Starlette, msgspec, numpy, and apsw in groups.

    python benchmarks/_service_bare.py FILE N_BYTES

Serves on a free port of this machine and prints its address. POST /rank reads candidates, scores them, and hands a row
of N_BYTES to a thread that commits in groups; POST /feedback answers once its row is on disk. No keys, no tokens, no
checks beyond the types, no retries, no propensities: the least that such an endpoint can be.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import threading
import time
from typing import Any, Final

import apsw
import msgspec
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

N_FEATURES: Final = 8
NAMES: Final = tuple(f"feature_{j}" for j in range(N_FEATURES))
WEIGHTS: Final = np.ones(N_FEATURES)
_MOST_JOBS: Final = 1_000  # per commit, as in dwell.storage.writer

Candidate = msgspec.defstruct("Candidate", [("id", str), *((name, float) for name in NAMES)])


class RankBody(msgspec.Struct):
    """Candidates, each with one number per feature."""

    query: str
    candidates: list[Candidate]  # type: ignore[valid-type] - made of the names
    k: int = 10
    user: str | None = None


class Item(msgspec.Struct):
    """A reaction."""

    event_id: str
    signal: str
    doc: str


class GroupWriter:
    """One thread that commits whatever waits; a job with a future is answered after its commit."""

    def __init__(self, path: str) -> None:
        self._connection = apsw.Connection(path)
        self._connection.execute("PRAGMA journal_mode = WAL").fetchall()
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, event_id TEXT UNIQUE, at REAL, user TEXT, "
            "shown TEXT, body BLOB); CREATE TABLE IF NOT EXISTS signals (event_id TEXT, name TEXT, doc TEXT, at REAL)"
        )
        self._waiting: list[tuple[str, tuple[Any, ...], asyncio.Future[None] | None]] = []
        self._has_work = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def submit(self, sql: str, row: tuple[Any, ...], future: asyncio.Future[None] | None = None) -> None:
        """Queue a row."""
        with self._has_work:
            self._waiting.append((sql, row, future))
            self._has_work.notify()

    def _run(self) -> None:
        while True:
            with self._has_work:
                self._has_work.wait_for(lambda: self._waiting)
                group, self._waiting = self._waiting[:_MOST_JOBS], self._waiting[_MOST_JOBS:]
            self._connection.execute("BEGIN IMMEDIATE")
            for sql in {sql for sql, _, _ in group}:
                self._connection.executemany(sql, [row for of, row, _ in group if of == sql])
            self._connection.execute("COMMIT")
            futures = [future for _, _, future in group if future is not None]
            if futures:
                futures[0].get_loop().call_soon_threadsafe(_resolve, futures)


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def bare_app(path: str, n_bytes: int) -> Starlette:
    """Return the application.

    Args:
        path: The file it writes to.
        n_bytes: Length of what is kept of a list.
    """
    writer = GroupWriter(path)
    read_rank, read_item = msgspec.json.Decoder(RankBody).decode, msgspec.json.Decoder(Item).decode
    encode = msgspec.json.Encoder().encode

    async def rank(request: Request) -> Response:
        asked = read_rank(await request.body())
        features = np.array([msgspec.structs.astuple(c)[1:] for c in asked.candidates])
        scores = features @ WEIGHTS
        order = np.argsort(-scores)[: asked.k]
        ids = [asked.candidates[i].id for i in order]
        event_id = secrets.token_hex(16)
        raw = features.astype(np.float32).tobytes()
        body = (raw * (n_bytes // len(raw) + 1))[:n_bytes]
        writer.submit(
            "INSERT INTO events (event_id, at, user, shown, body) VALUES (?, ?, ?, ?, ?)",
            (event_id, time.time(), asked.user, encode(ids).decode(), body),
        )
        answer = {"event_id": event_id, "ids": ids, "scores": scores[order].tolist()}
        return Response(encode(answer), media_type="application/json")

    async def feedback(request: Request) -> Response:
        item = read_item(await request.body())
        written = asyncio.get_running_loop().create_future()
        writer.submit(
            "INSERT INTO signals VALUES (?, ?, ?, ?)", (item.event_id, item.signal, item.doc, time.time()), written
        )
        await written
        return Response(b'{"status":"joined"}', media_type="application/json")

    return Starlette(routes=[Route("/rank", rank, methods=["POST"]), Route("/feedback", feedback, methods=["POST"])])


async def _serve(path: str, n_bytes: int) -> None:
    config = uvicorn.Config(bare_app(path, n_bytes), port=0, access_log=False, log_config=None, server_header=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.01)
    print(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
