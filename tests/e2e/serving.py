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
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from dwell.server.tokens import read_signing_keys
from dwell.storage import open_store

from ..canary import kept  # noqa: TID252 - tests are no installed package

ROOT = Path(__file__).resolve().parents[2]
START_S = 30.0
_TOKEN = re.compile(r'"token": ?"[^"]*"|data-dwell-token="[^"]*"')
# their answers hold a token, or should
_WITH_TOKEN = frozenset(
    {"/v1/rank", "/v1/log_retrieval", "/v1/activate", "/example/search", "/example/learn", "/example/visitors"}
)


@dataclass
class Service:
    """A service that listens, and how to talk to it."""

    process: subprocess.Popen[str]
    url: str
    key: str | None = None
    said: str = ""
    errors: IO[str] | None = None
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
                status, content, told = answer.status, answer.read(), answer.headers
        except HTTPError as error:
            status, content, told = error.code, error.read(), error.headers
        text = content.decode("utf-8", "replace")
        kept.hear(
            f"the answer to {method} {path}", _TOKEN.sub("", text) if path.partition("?")[0] in _WITH_TOKEN else text
        )
        kept.hear(f"the headers of the answer to {method} {path}", str(told))
        return status, _decoded(content), {n.lower(): v for n, v in told.items()}

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End the service and return its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(how)
        return self.process.wait(timeout=30)

    def log(self) -> str:
        """What it has written to its error stream so far."""
        assert self.errors is not None
        self.errors.seek(0)
        return self.errors.read()


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw


@contextlib.contextmanager
def service(
    store: Path | str | None,
    *arguments: str,
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
    limits: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
) -> Iterator[Service]:
    """Serve a store on a free port of this machine until the context is left: a file, a URL, or what the settings say.

    `limits` are those of the shell's `ulimit` on each of its processes, as "-v 2000000" for 2 GB of addresses; `words`
    are another command than `serve STORE`.
    """
    named = ("serve",) if store is None else ("serve", str(store))
    command = [sys.executable, "-m", "dwell", *(words or named), "--port", "0", *arguments]
    if limits:
        set_first = "".join(f"ulimit {limit} && " for limit in limits)
        command = ["/bin/sh", "-c", f'{set_first}exec "$@"', "sh", *command]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **(environment or {})}
    with tempfile.TemporaryFile("a+") as errors:
        process = subprocess.Popen(command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=errors, text=True)
        found = Service(process, "", errors=errors)
        try:
            found.url, found.said = _address(found)
            yield found
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=30)
            if process.poll() is None:
                process.kill()
                process.wait()
            assert process.stdout is not None
            kept.hear("the output of dwell serve", found.said + process.stdout.read(), again=True)
            process.stdout.close()
            kept.hear("the log of dwell serve", found.log(), again=True)
            _keep_secrets_of(store, env)


def _address(found: Service) -> tuple[str, str]:
    """Return where it listens, and the line that says so."""
    process = found.process
    assert process.stdout is not None
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        ready, _, _ = select.select([process.stdout], [], [], 0.2)
        line = process.stdout.readline() if ready else ""
        address = re.search(r"http://[\w.:\[\]]+", line)
        if address:
            return address[0], line
        if process.poll() is not None:
            break
    process.kill()
    process.wait()
    raise AssertionError(f"the service did not start: {found.log()}")


def _keep_secrets_of(store: Path | str | None, env: dict[str, str]) -> None:
    """Have what was said searched for the secrets of a store: its pepper, and the keys that sign tokens."""
    if store is None or isinstance(store, str) or not store.exists():
        return
    pepper = Path(f"{store}.pepper")
    kept.keep("a pepper", env.get("DWELL_PEPPER") or pepper.read_text(encoding="ascii").strip())
    opened = open_store(str(store), role="reader")
    with contextlib.closing(opened), opened.snapshot() as reader:
        for key in read_signing_keys(reader):
            kept.keep("a key that signs tokens", key.secret)


def made_key(store: Path, kind: str, *more: str) -> str:
    """Return a new key of a store, made by `dwell keys create`."""
    words = ["keys", "create", "--kind", kind, "--name", kind, str(store), *more, "--json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-m", "dwell", *words], env=env, capture_output=True, text=True, check=True)
    key = str(json.loads(done.stdout)["key"])
    kept.keep(f"a key of kind {kind}", key)
    kept.hear("the error stream of dwell keys create", done.stderr)
    return key
