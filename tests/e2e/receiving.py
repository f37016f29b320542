"""A webhook's receiver over TLS on this machine, with a certificate that only these tests trust."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass
class Received:
    """One request: its first line, its headers by lower-case name, its body, and the name that TLS was asked for."""

    line: str
    headers: dict[str, str]
    body: bytes
    server_name: str | None


@dataclass
class Receiver:
    """What listens, what it got, and what it answers: `answers` one by one, then `answer`."""

    url: str
    trusted: ssl.SSLContext
    got: list[Received] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    answer: bytes = OK
    n_connections: int = 0
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, n: int, *, within_s: float = 10.0) -> list[Received]:
        """Return the first n requests once they are there."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.got) >= n, within_s), f"{len(self.got)} of {n} arrived"
            return self.got[:n]


def certificate(folder: Path) -> tuple[Path, Path]:
    """Return a new certificate for localhost and 127.0.0.1, its own authority, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        if os.environ.get("DWELL_GATES") == "required":
            pytest.fail("the tests of the webhook need openssl")
        pytest.skip("openssl is not installed")
    cert, key = folder / "cert.pem", folder / "key.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", names, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@contextlib.contextmanager
def receiver(folder: Path, *, host: str = "127.0.0.1") -> Iterator[Receiver]:
    """Receive on a free port of this machine until the context is left."""
    cert, key = certificate(folder)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    names: list[str | None] = []
    tls.sni_callback = lambda _socket, name, _context: names.append(name)  # type: ignore[assignment]
    family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.bind(address)
        listening.listen()
        found = Receiver(
            f"https://{host}:{listening.getsockname()[1]}/hook", ssl.create_default_context(cafile=str(cert))
        )
        thread = threading.Thread(target=_receive, args=(listening, tls, names, found), daemon=True)
        thread.start()
        yield found
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)


def _receive(listening: socket.socket, tls: ssl.SSLContext, names: list[str | None], found: Receiver) -> None:
    while True:
        try:
            plain, _ = listening.accept()
        except OSError:
            return
        found.n_connections += 1
        names.clear()
        with contextlib.suppress(OSError), plain, tls.wrap_socket(plain, server_side=True) as secure:
            secure.settimeout(5.0)
            request = _read(secure)
            request.server_name = names[0] if names else None
            secure.sendall(found.answers.pop(0) if found.answers else found.answer)
            with found.arrived:
                found.got.append(request)
                found.arrived.notify_all()


def _read(secure: ssl.SSLSocket) -> Received:
    raw = b""
    until = time.monotonic() + 5.0
    while b"\r\n\r\n" not in raw and time.monotonic() < until:
        raw += secure.recv(4_096)
    head, _, body = raw.partition(b"\r\n\r\n")
    line, *rest = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in rest)}
    while len(body) < int(headers.get("content-length", 0)) and time.monotonic() < until:
        body += secure.recv(4_096)
    return Received(line, headers, body, None)
