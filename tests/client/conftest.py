"""A real HTTP server on loopback that plays a script: what it is told to answer, in order, and what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True)
class Play:
    """One scene: wait, then answer. `drip_s` sends the body byte by byte, `hangs_up` closes without an answer."""

    status: int = 200
    body: Any = field(default_factory=lambda: {"title": "as told"})
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    drip_s: float = 0.0
    hangs_up: bool = False


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


Answering = Callable[[Asked], Play]


class Stage:
    """The server: `script` is played scene by scene, then `otherwise` answers; `scene` makes one."""

    scene = Play

    def __init__(self) -> None:
        self.script: list[Play] = []
        self.otherwise: Answering = answer_like_a_server
        self.asked: list[Asked] = []
        self.lock = threading.Lock()
        stage = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = (
                True  # head and body are two writes: the second would wait 40 ms for the first's ACK
            )

            def do_GET(self) -> None:
                stage.play(self)

            def do_POST(self) -> None:
                stage.play(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def play(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        headers = {name.lower(): text for name, text in handler.headers.items()}
        asked = Asked(handler.command, handler.path, headers, body, time.monotonic())
        with self.lock:
            self.asked.append(asked)
            scene = self.script.pop(0) if self.script else self.otherwise(asked)
        time.sleep(scene.wait_s)
        if scene.hangs_up:
            handler.close_connection = True
            return
        told = scene.body if isinstance(scene.body, bytes) else json.dumps(scene.body).encode()
        handler.send_response(scene.status)
        for name, text in {"content-length": str(len(told)), **scene.headers}.items():
            handler.send_header(name, text)
        handler.end_headers()
        try:
            for i in range(len(told)) if scene.drip_s else [0]:
                handler.wfile.write(told[i : i + 1] if scene.drip_s else told)
                time.sleep(scene.drip_s)
        except OSError:
            handler.close_connection = True  # the client did not wait

    def stop(self) -> None:
        """Let go of the port; nobody answers there from now on."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def answer_like_a_server(asked: Asked) -> Play:
    """Rank in the reverse of the caller's order, and join every reaction."""
    if asked.path == "/v1/rank":
        body = asked.json
        ids = [one["id"] for one in body["candidates"]] if "candidates" in body else body["ids"]
        shown = ids[::-1][: body["k"]]
        return Play(
            body={
                "event_id": body["event_id"],
                "ids": shown,
                "scores": [float(i) for i in range(len(shown))],
                "propensities": [0.5] * len(shown),
                "params_version": 3,
                "token": "t",
                "recorded": "queued",
            }
        )
    if asked.path == "/v1/feedback":
        return Play(body={"results": [{"status": "joined", "reason": None} for _ in asked.json]})
    if asked.path == "/v1/log_retrieval":
        return Play(body={"event_id": asked.json["event_id"], "token": "t"})
    return Play(404, {"title": "Not Found", "status": 404, "code": "not_found", "detail": "no such thing"})


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Return a running server."""
    found = Stage()
    yield found
    found.stop()


@pytest.fixture
def nobody() -> str:
    """Return an address on loopback at which nobody answers."""
    found = Stage()
    found.stop()
    return found.url
