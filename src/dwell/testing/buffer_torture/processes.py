"""Other processes for the torture suite: made by fork, so that a case can be in two of them at once."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from typing import Final, NoReturn

from dwell.testing.buffer_torture.demands import WrongAnswerError

__all__ = ["PATIENCE_S", "ChildError", "Saver", "in_another_process"]

PATIENCE_S: Final = 20.0  # what a save or a small task may take in another process before it counts as stuck
_BEGUN: Final = b"b"
_DONE: Final = b"d"


class ChildError(Exception):
    """The other process failed; says with what."""


def in_another_process(task: Callable[[], object]) -> None:
    """Run a task in a process of its own, until its end.

    A signal that ends it ends this process, too.

    Raises:
        WrongAnswerError: The task raised it.
        ChildError: The task raised anything else.
    """
    wait_for(started(task))


def started(task: Callable[[], object]) -> tuple[int, int]:
    """Start a task in a process of its own and return its process id and the pipe that its failure comes through."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _run_and_exit(task, writer)
    os.close(writer)
    return pid, reader


def wait_for(child: tuple[int, int]) -> None:
    """Wait for a started task.

    Raises:
        WrongAnswerError: The task raised it.
        ChildError: The task raised anything else.
    """
    pid, reader = child
    with os.fdopen(reader, encoding="utf-8") as pipe:
        failure = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    if failure.startswith(WrongAnswerError.__name__):
        raise WrongAnswerError(failure.partition(": ")[2])
    if failure or status:
        raise ChildError(failure or f"status {status}")


def _run_and_exit(task: Callable[[], object], writer: int) -> NoReturn:
    code = 0
    try:
        task()
    except BaseException as error:  # noqa: BLE001 - nothing may run on in the copy of the caller
        os.write(writer, f"{type(error).__name__}: {error}".encode())
        code = 1
    os._exit(code)


class Saver:
    """A process that saves, over and over, until it is killed.

    Args:
        saves: What to call, in turn, for ever.

    Attributes:
        n_begun: Saves begun, as known since `kill`.
        n_done: Saves finished, as known since `kill`.
    """

    def __init__(self, *saves: Callable[[], None]) -> None:
        self.n_begun = self.n_done = 0
        self._reader, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._reader)
            _run_and_exit(lambda: _save_for_ever(saves, writer), writer)
        os.close(writer)

    def time_of_one_save_s(self) -> float:
        """Wait for two saves and return what the second one took, in seconds.

        Raises:
            ChildError: It did not save in time, or failed.
        """
        for due in (_BEGUN, _DONE, _BEGUN):
            self._expect(due)
        began = time.perf_counter()
        self._expect(_DONE)
        return time.perf_counter() - began

    def kill(self, *, after_s: float) -> None:
        """Wait for a save to begin, let it go on for a while, and kill the process without warning.

        Raises:
            ChildError: It did not begin in time, or failed.
        """
        self._expect(_BEGUN)
        time.sleep(after_s)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        while rest := os.read(self._reader, 4096):
            self._count(rest)
        os.close(self._reader)

    def _expect(self, due: bytes) -> None:
        ready, _, _ = select.select([self._reader], [], [], PATIENCE_S)
        found = os.read(self._reader, 1) if ready else b""
        if found != due:
            os.kill(self._pid, signal.SIGKILL)
            rest = os.read(self._reader, 4096) if ready else b""
            raise ChildError(f"the saving process failed: {(found + rest).decode(errors='replace')[:200]!r}")
        self._count(found)

    def _count(self, said: bytes) -> None:
        self.n_begun += said.count(_BEGUN)
        self.n_done += said.count(_DONE)


def _save_for_ever(saves: tuple[Callable[[], None], ...], writer: int) -> NoReturn:
    while True:
        for save in saves:
            os.write(writer, _BEGUN)
            save()
            os.write(writer, _DONE)
