"""Runs an example as a reader would: as a program of its own, in an empty folder, and without a network."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
# An audit hook of the interpreter hears of each connection before it is made; other machines are refused.
WITHOUT_NETWORK = """
import sys

def heard(event, arguments):
    if event in {"socket.connect", "socket.sendto", "socket.getaddrinfo"}:
        where = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
        host = where[0] if isinstance(where, tuple) else where
        if event != "socket.getaddrinfo" and not isinstance(where, tuple):
            return  # a socket of the file system
        if host not in {None, "", "localhost", "127.0.0.1", "::1", b"localhost", b"127.0.0.1"}:
            raise OSError(f"an example reaches for the network: {event} {host!r}")

sys.addaudithook(heard)
"""


class Done(NamedTuple):
    """What came of a program: exit code, what it printed, what it complained of, CPU seconds of it and its children."""

    code: int
    printed: str
    complaints: str
    cpu_s: float


def run(folder: Path, *arguments: str) -> Done:
    """Run Python with these arguments in a folder, which is emptied of nothing: give a new one."""
    hook = folder.with_name(folder.name + "-hook")
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(WITHOUT_NETWORK, encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(hook), str(ROOT / "src")]),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "HOME": str(folder),
    }
    environment.pop("DWELL_PEPPER", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Done(done.returncode, done.stdout, done.stderr, cpu_s)
