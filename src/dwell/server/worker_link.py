"""A serving process's end of the pipe to its supervisor: calls to the one learner, and the sums of what all counted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import queue
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import Any, Final

from dwell.health import HealthReport
from dwell.server.house import Counts
from dwell.server.learner_calls import learner_is_down

__all__ = ["WorkerLink"]

_GATHER_S: Final = 2.0  # the supervisor waits half as long for the others: see `supervisor`
_LAST_S: Final = 25.0  # after the supervisor's end: requests have ten seconds, and what is queued is to be written


class WorkerLink:
    """The way to the learner through the supervisor, from any thread.

    When the pipe ends the supervisor has died, and so does this process: in peace, or by force where that takes long.

    Args:
        pipe: Takes and gives what `supervisor` says.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Any]] = {}
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._is_up = False
        self._n_starts = 0
        self._is_closing = False
        self.counts: Callable[[], Counts] = dict
        self.on_report: Callable[[str, HealthReport], None] = lambda _tenant, _report: None

    def start(self) -> None:
        """Begin to listen to the supervisor."""
        for target in (self._receive, self._send):
            threading.Thread(target=target, name=f"dwell-worker{target.__name__}", daemon=True).start()

    @property
    def is_up(self) -> bool:
        """Whether a learner runs."""
        return self._is_up

    @property
    def n_starts(self) -> int:
        """How often a learner was started."""
        return self._n_starts

    def follow(self, tenant: str) -> None:
        """Have the learner learn for a tenant from now on."""
        self._outbox.put(("follow", tenant))

    def submit(self, name: str, tenant: str, arguments: Mapping[str, Any]) -> Future[Any]:
        """Return a future of one of the loop's calls.

        Raises (in the future):
            LearnerDown: There is no learner at the moment, or it ended before it answered.
        """
        return self._asked("call", name, tenant, dict(arguments))

    async def gathered(self, counts: Counts) -> Counts:
        """Return the sums of what all that serve have counted, this process's share given."""
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._asked("gather", counts)), _GATHER_S)
        except TimeoutError:  # the supervisor is about to end: a smaller sum would be told as a start from zero
            raise learner_is_down() from None

    def ready(self, advice: list[str]) -> None:
        """Tell that this process listens, and what its store still lacks."""
        self._outbox.put(("ready", advice))

    def close(self) -> None:
        """Let the supervisor's end be nothing to die of: this process ends already."""
        self._is_closing = True

    def _asked(self, *what: object) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        number = next(self._numbers)
        with self._lock:
            self._waiting[number] = future
        self._outbox.put((what[0], number, *what[1:]))
        return future

    def _send(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._pipe.send(self._outbox.get())

    def _receive(self) -> None:
        try:
            while True:
                self._take(self._pipe.recv())
        except (EOFError, OSError):
            self._end()

    def _take(self, message: tuple[Any, ...]) -> None:
        kind, *rest = message
        if kind == "answer":
            number, result, failure = rest
            with self._lock:
                future = self._waiting.pop(number, None)
            if future is not None and failure is None:
                future.set_result(result)
            elif future is not None:
                future.set_exception(failure)
        elif kind == "learner":
            self._is_up, self._n_starts = rest
        elif kind == "count":
            self._outbox.put(("counted", self.counts()))
        elif kind == "report":
            self.on_report(*rest)

    def _end(self) -> None:
        with self._lock:
            lost, self._waiting = self._waiting, {}
        for future in lost.values():
            future.set_exception(learner_is_down())
        if self._is_closing:
            return
        os.kill(os.getpid(), signal.SIGTERM)
        timer = threading.Timer(_LAST_S, os._exit, (1,))
        timer.daemon = True
        timer.start()
