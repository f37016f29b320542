"""System calls that fail on purpose, by `strace -e inject`."""

from __future__ import annotations

import functools
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from children import HERE, environment_of


@functools.cache
def why_not() -> str:
    """Return why no system call can be made to fail here, or ""."""
    if shutil.which("strace") is None:
        return "failing system calls need strace: it was not found"
    tried = subprocess.run(
        [
            "strace",
            "-f",
            "--seccomp-bpf",
            "-e",
            "trace=fsync",
            "-e",
            "inject=fsync:error=EIO",
            "-o",
            "/dev/null",
            "true",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if tried.returncode == 0 else f"failing system calls need ptrace: {tried.stderr.strip()[:200]}"


def run_failing(root: Path, store: Path, call: str, fault: str, when: str, *arguments: object) -> list[str]:
    """Return what `faulty_child` said while calls on a store's files failed, or until one killed it.

    Skips the test where nobody may trace.

    Args:
        root: The project.
        store: Path of the store; calls on other files than it, its journals and its lock do not fail.
        call: The system call.
        fault: As "error=EIO", or "signal=KILL".
        when: Which calls, counted per thread: "3" the third, "3+" from the third on, "3+7" every seventh from there.
        arguments: Those of the child after the path.
    """
    if why_not():
        pytest.skip(why_not())
    names = ("", "-journal", "-wal", "-shm", ".lock")
    paths = [option for name in names for option in ("-P", f"{store}{name}")]
    # seccomp spares the child a stop at every other call; signals are not sent beside it (strace 6.1)
    fast = [] if fault.startswith("signal") else ["--seccomp-bpf"]
    command = ["strace", "-f", *fast, "-o", "/dev/null", *paths, "-e", f"trace={call}"]
    command += ["-e", f"inject={call}:{fault}:when={when}", sys.executable, str(HERE / "faulty_child.py")]
    done = subprocess.run(
        [*command, str(store), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment_of(root, PYTHONFAULTHANDLER="1"),
        timeout=120,
        check=False,
    )
    may_end = {0, -signal.SIGKILL} if fault.startswith("signal") else {0}
    assert done.returncode in may_end, (call, fault, when, done.stdout[-1_000:], done.stderr[-3_000:])
    return done.stdout.splitlines()
