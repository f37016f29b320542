"""Starting children that will be killed, and reading what they said until then."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def environment_of(root: Path, **more: str) -> dict[str, str]:
    """Return this process's environment with the sources in front."""
    return {**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONWARNINGS": "error", **more}


class Child:
    """A process that writes one line for each thing that it was told is durable.

    Args:
        nursery: Where it was forked.
        pid: Its process id.
        pipe: Its standard output.
    """

    def __init__(self, nursery: Nursery, pid: int, pipe: int) -> None:
        self.pid = pid
        self._nursery = nursery
        self._pipe = os.fdopen(pipe, "rb")

    def line(self) -> str:
        """Return the next line; "" when it is dead and everything was read."""
        return self._pipe.readline().decode("ascii").rstrip("\n")

    def until_open(self) -> list[str]:
        """Return its lines up to "open", which says that it has opened its store."""
        lines = [self.line()]
        while lines[-1] not in {"open", ""}:
            lines.append(self.line())
        assert lines[-1] == "open", f"it ended before it had opened: {lines}"
        return lines

    def ended(self, number: int | None = signal.SIGKILL) -> tuple[int, list[str]]:
        """Send a signal, wait until the process is dead, and return its exit code and the lines not read yet.

        Args:
            number: The signal, or None to wait for the process to end by itself.
        """
        if number is not None:
            os.kill(self.pid, number)
        lines = self._pipe.read().decode("ascii").split("\n")
        self._pipe.close()
        code = self._nursery.ask("wait", self.pid)
        assert lines.pop() == "", "a torn line would be no acknowledgement"
        return code, lines

    def killed_after(self, rng: random.Random, most_s: float) -> list[str]:
        """Kill -9 at a random moment within `most_s` seconds; return the lines not read yet."""
        time.sleep(rng.uniform(0.0, most_s))
        code, lines = self.ended()
        assert code == -signal.SIGKILL, f"it ended by itself: exit code {code}"
        return lines


class Nursery:
    """See `nursery.py`.

    Args:
        root: The project.
        folder: Where pipes are made.
        environment: Additional environment variables of all children.
    """

    def __init__(self, root: Path, folder: Path, **environment: str) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "nursery.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment_of(root, **environment),
            text=True,
        )

    def ask(self, *command: object) -> Any:
        """Return the answer to one command."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, module: str, *arguments: object) -> Child:
        """Return a child that runs `module.main(arguments)`."""
        fifo = self._folder / f"pipe-{id(self)}-{next(self._numbers)}"
        os.mkfifo(fifo)
        pid = self.ask("start", module, str(fifo), [str(argument) for argument in arguments])
        pipe = os.open(fifo, os.O_RDONLY)  # waits until the child has opened its end
        fifo.unlink()
        return Child(self, pid, pipe)

    def close(self) -> None:
        """End it; whoever it forked and nobody killed is killed by the first line that nobody reads."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
