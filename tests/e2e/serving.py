"""A real `dwell serve` in a process of its own, for the tests that talk to it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[2]
START_S = 30.0


@dataclass
class Service:
    """A service that listens, and how to talk to it."""

    process: subprocess.Popen[str]
    url: str
    key: str | None = None
    said: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def call(
        self, method: str, path: str, body: object = None, *, key: str | None = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Return status, decoded answer and headers of one call; `raw` bytes go as they are."""
        raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        given = {"content-type": "application/json", **{n.replace("_", "-"): v for n, v in headers.items()}}
        if key or self.key:
            given["authorization"] = f"Bearer {key or self.key}"
        request = Request(self.url + path, data=raw, method=method, headers=given)  # noqa: S310 - our own loopback
        try:
            with urlopen(request, timeout=60) as answer:  # noqa: S310 - our own loopback
                return answer.status, _decoded(answer.read()), {n.lower(): v for n, v in answer.headers.items()}
        except HTTPError as error:
            return error.code, _decoded(error.read()), {n.lower(): v for n, v in error.headers.items()}

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End the service and return its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(how)
        return self.process.wait(timeout=30)


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw


@contextlib.contextmanager
def service(
    store: Path | None, *arguments: str, environment: dict[str, str] | None = None, cwd: Path | None = None
) -> Iterator[Service]:
    """Serve a store, that of the configuration when None, on a free port of this machine until the context is left."""
    named = [] if store is None else [str(store)]
    command = [sys.executable, "-m", "dwell", "serve", *named, "--port", "0", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **(environment or {})}
    process = subprocess.Popen(command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url, said = _address(process)
        yield Service(process, url, said=said)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _address(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return where it listens, and the line that says so."""
    assert process.stdout is not None
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        ready, _, _ = select.select([process.stdout], [], [], 0.2)
        line = process.stdout.readline() if ready else ""
        found = re.search(r"http://[\w.:\[\]]+", line)
        if found:
            return found[0], line
        if process.poll() is not None:
            break
    process.kill()
    raise AssertionError(f"the service did not start: {process.stderr.read() if process.stderr else ''}")


def made_key(store: Path, kind: str, *more: str) -> str:
    """Return a new key of a store, made by `dwell keys create`."""
    words = ["keys", "create", "--kind", kind, "--name", kind, str(store), *more, "--json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-m", "dwell", *words], env=env, capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)["key"])
