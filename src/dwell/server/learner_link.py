"""The serving process's end of the pipe: calls to the learner, and a new learner where the old one died."""

from __future__ import annotations

import contextlib
import itertools
import logging
import multiprocessing
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import Any, Final

from dwell.errors import LearnerDown
from dwell.server.learner import Plan, run_learner
from dwell.server.learner_calls import learner_is_down

__all__ = ["LearnerLink", "told_end"]

_log = logging.getLogger("dwell.serve")

_FIRST_PAUSE_S: Final = 1.0  # between two starts; doubles with every death, so that a broken store is not hammered
_LONGEST_PAUSE_S: Final = 60.0
_STEADY_S: Final = 120.0  # a learner that lived so long died of something new
_JOIN_S: Final = 10.0
_MOST_WAITING: Final = 32  # calls that a learner at work is kept; each may be as large as a body, 2 MB


class LearnerLink:
    """Calls to the learner's process, from any thread; started anew whenever it ends.

    Args:
        plan: What the learner is told.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Any]] = {}
        self._tenants: set[str] = set()
        self._pipe: Connection | None = None
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._process: Any = None
        self._is_closing = threading.Event()
        self._n_starts = 0
        self._thread = threading.Thread(target=self._keep, name="dwell-learner-link", daemon=True)

    def start(self) -> None:
        """Start the learner and keep it running."""
        self._thread.start()

    @property
    def is_up(self) -> bool:
        """Whether a learner runs."""
        process = self._process
        # a process that was killed may be told of as alive a little longer than its pipe lasts
        return self._pipe is not None and process is not None and process.is_alive()

    @property
    def n_starts(self) -> int:
        """How often a learner was started."""
        return self._n_starts

    def follow(self, tenant: str) -> None:
        """Have the learner learn for a tenant from now on."""
        with self._lock:
            is_new = tenant not in self._tenants
            self._tenants.add(tenant)
        if is_new and self.is_up:
            self.submit("follow", tenant, {})

    def submit(self, name: str, tenant: str, arguments: Mapping[str, Any]) -> Future[Any]:
        """Return a future of one of the loop's calls.

        Raises (in the future):
            LearnerDown: There is no learner at the moment, or it ended before it answered.
        """
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        number = next(self._numbers)
        with self._lock:
            if self._pipe is None:
                future.set_exception(learner_is_down())
            elif len(self._waiting) >= _MOST_WAITING and name != "follow":
                future.set_exception(
                    LearnerDown("the learner is busy, and enough wait for it", hint="It may be learning: try again.")
                )
            else:
                self._waiting[number] = future
                self._outbox.put((number, name, tenant, dict(arguments)))
        return future

    def close(self) -> None:
        """End the learner: it is told by the end of the pipe, and has ten seconds."""
        self._is_closing.set()
        with self._lock:
            pipe, self._pipe = self._pipe, None
        if pipe is not None:
            with contextlib.suppress(OSError):
                _end(pipe)
        process = self._process
        if process is not None:
            process.join(_JOIN_S)
            if process.is_alive():
                process.terminate()
                process.join(_JOIN_S)

    def _keep(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._is_closing.is_set():
            began = time.monotonic()
            ended = told_end(self._run_one())
            if self._is_closing.is_set():
                return
            pause_s = _FIRST_PAUSE_S if time.monotonic() - began > _STEADY_S else min(2 * pause_s, _LONGEST_PAUSE_S)
            _log.warning("the learner ended (%s); another one starts in %g s", ended, pause_s)
            self._is_closing.wait(pause_s)

    def _run_one(self) -> int | None:
        """Run a learner until it ends; return its exit code as `multiprocessing` has it."""
        context = multiprocessing.get_context("spawn")  # a forked child would inherit the store
        ours, theirs = context.Pipe()
        process = context.Process(target=run_learner, args=(theirs, self._plan), name="dwell-learner", daemon=True)
        process.start()
        theirs.close()
        self._process, self._n_starts = process, self._n_starts + 1
        outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # A learner at work reads nothing, and a full pipe holds who sends: never the loop that answers searches
        threading.Thread(target=_send_all, args=(ours, outbox), name="dwell-learner-outbox", daemon=True).start()
        with self._lock:
            self._pipe, self._outbox = ours, outbox
            tenants = list(self._tenants)
        for tenant in tenants:
            self.submit("follow", tenant, {})
        try:
            while True:
                number, result, failure = ours.recv()
                with self._lock:
                    future = self._waiting.pop(number, None)
                if future is not None and failure is None:
                    future.set_result(result)
                elif future is not None:
                    future.set_exception(failure)
        except (EOFError, OSError):
            pass
        finally:
            with self._lock:
                self._pipe = None
                lost, self._waiting = self._waiting, {}
            outbox.put(None)
            for future in lost.values():
                future.set_exception(learner_is_down())
            with contextlib.suppress(OSError):
                ours.close()
            process.join(_JOIN_S)
        return process.exitcode


def told_end(code: int | None) -> str:
    """Return how a process ended, in words: its exit code, or the signal that ended it."""
    if code is None:
        return "it hangs"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _send_all(pipe: Connection, outbox: queue.SimpleQueue[Any]) -> None:
    """Send what is put into the outbox, until None or the end of the pipe."""
    with contextlib.suppress(OSError):
        while (call := outbox.get()) is not None:
            pipe.send(call)


def _end(pipe: Connection) -> None:
    """Tell both ends that nothing more comes: closing does not while another thread of ours waits to read from it."""
    with socket.socket(fileno=os.dup(pipe.fileno())) as both:
        both.shutdown(socket.SHUT_RDWR)
