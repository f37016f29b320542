"""Several processes that serve, and one that learns: bound to one address, started anew where they die, ended together.

The supervisor answers nobody. It binds the sockets, which all that serve accept from, keeps the learner, and passes
their calls on to it. What each has counted it adds up, so that whichever is asked for the metrics tells the same sums;
what one had counted before it died stays in them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import multiprocessing
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import Any, Final

from dwell.config import ServeSettings
from dwell.errors import DwellError, StorageError
from dwell.health import AlertSettings
from dwell.server.counts import added
from dwell.server.house import Counts, plan_of
from dwell.server.learner_link import LearnerLink, told_end
from dwell.server.page_routes import Library
from dwell.server.redaction import log_as_lines
from dwell.server.running import address_of, not_listening, told_address, webhook_of
from dwell.server.worker import WorkerPlan, run_worker

__all__ = ["run_workers"]

_log = logging.getLogger("dwell.serve")

_LOOK_S: Final = 0.2
_FIRST_PAUSE_S: Final = 0.5  # between two starts; doubles with every death, so that a broken store is not hammered
_LONGEST_PAUSE_S: Final = 30.0
_STEADY_S: Final = 60.0  # one that lived so long died of something new
_START_S: Final = 60.0  # a database that has to be brought up to date answers later than others
_END_S: Final = 20.0  # requests have ten seconds, and what is queued is to be written
_COUNT_S: Final = 1.0  # who does not answer is told by his last word
_QUEUED: Final = 4_096  # connections that wait while those that serve are started anew


def run_workers(
    where: str,
    arguments: Mapping[str, Any],
    settings: ServeSettings,
    *,
    is_open: bool,
    say: Callable[[str], None],
    advise: Callable[[str], None],
    open_library: Callable[[], Library] | None = None,
    alerts: AlertSettings | None = None,
) -> None:
    """Serve with `settings.workers` processes until SIGINT or SIGTERM, then end them all.

    Args:
        where: The store's URL.
        arguments: Of `dwell.open`.
        settings: How to serve.
        is_open: Whether no key is asked for.
        say: Prints a line: where it listens.
        advise: Prints a line for people: what is still to be done before it is of use.
        open_library: What the search page at /example searches; a function of a module.
        alerts: When an alert fires, and who is told.

    Raises:
        StorageError: The store can not be opened.
        ConfigError: An argument is out of range, or the address can not be listened on.
    """
    log_as_lines()
    webhook_of(alerts)  # what is wrong with it is told before anything is opened
    listeners = _bound(settings)
    link = LearnerLink(plan_of(where, arguments, settings))
    plan = WorkerPlan(
        where, arguments, settings, is_open, time.time(), open_library, alerts or AlertSettings(), is_first=True
    )
    staff = _Staff(plan, listeners, link)
    is_told = threading.Event()
    with _told_by_signals(is_told):
        try:
            advice = staff.start(is_told)
            if not is_told.is_set():
                port = listeners[0].getsockname()[1]
                say(told_address(address_of(settings.host, port), is_open=is_open))
                for line in advice:
                    advise(line)
            while not is_told.wait(_LOOK_S):
                staff.look()
        finally:
            staff.end()
            link.close()
            for listener in listeners:
                listener.close()


class _Worker:
    """One process that serves, and what it has said."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: Any = None
        self.pipe: Connection | None = None
        self.outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.counts: Counts = {}
        self.is_counted = threading.Event()
        self.first_word: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.began_at = 0.0
        self.start_at = 0.0
        self.pause_s = _FIRST_PAUSE_S


class _Staff:
    """All that serve, the messages between them and the learner, and what those that ended had counted."""

    def __init__(self, plan: WorkerPlan, listeners: list[socket.socket], link: LearnerLink) -> None:
        self._plan = plan
        self._listeners = listeners
        self._link = link
        self._workers = [_Worker(i) for i in range(plan.settings.workers)]
        self._lock = threading.Lock()
        self._gone: Counts = {}
        self._told_learner: tuple[bool, int] = (False, 0)
        self._is_ending = False

    def start(self, is_told: threading.Event) -> list[str]:
        """Start the first, which makes what the store lacks, then the learner and the others; return what it advises.

        Raises:
            DwellError: What the first one met.
        """
        self._begin(self._workers[0])
        advice = self._first_word(self._workers[0], is_told)
        self._link.start()
        for worker in self._workers[1:]:
            self._begin(worker)
        return advice

    def _first_word(self, worker: _Worker, is_told: threading.Event) -> list[str]:
        ends_at = time.monotonic() + _START_S
        while not is_told.is_set():
            with contextlib.suppress(queue.Empty):
                word = worker.first_word.get(timeout=_LOOK_S)
                if isinstance(word, DwellError):
                    raise word
                return list(word)
            if not worker.process.is_alive() or time.monotonic() > ends_at:
                raise StorageError(
                    "a process that serves did not start", code="internal", hint="Its log says what it met."
                )
        return []

    def look(self) -> None:
        """Start anew who died, and tell all whether the learner runs."""
        now = time.monotonic()
        for worker in self._workers:
            if worker.process is not None and not worker.process.is_alive():
                self._bury(worker, now)
            elif worker.process is None and now >= worker.start_at:
                self._begin(worker)
        learner = (self._link.is_up, self._link.n_starts)
        if learner != self._told_learner:
            self._told_learner = learner
            self._tell_all(("learner", *learner))

    def _begin(self, worker: _Worker) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        plan = self._plan if worker.number == 0 else _not_first(self._plan)
        name = f"dwell-worker-{worker.number}"
        worker.process = context.Process(target=run_worker, args=(theirs, self._listeners, plan), name=name)
        worker.process.start()
        theirs.close()
        worker.pipe, worker.outbox, worker.began_at = ours, queue.SimpleQueue(), time.monotonic()
        worker.outbox.put(("learner", *self._told_learner))
        threading.Thread(target=_send_all, args=(ours, worker.outbox), name=f"{name}-out", daemon=True).start()
        threading.Thread(target=self._hear, args=(worker, ours), name=f"{name}-in", daemon=True).start()

    def _bury(self, worker: _Worker, now: float) -> None:
        lived_s = now - worker.began_at
        worker.pause_s = _FIRST_PAUSE_S if lived_s > _STEADY_S else min(2 * worker.pause_s, _LONGEST_PAUSE_S)
        worker.start_at = now + worker.pause_s
        ended = told_end(worker.process.exitcode)
        worker.process, worker.pipe = None, None
        worker.outbox.put(None)
        with self._lock:
            self._gone = added(self._gone, worker.counts)
            worker.counts = {}
        worker.is_counted.set()
        _log.warning(
            "process %d of those that serve ended (%s); another one starts in %g s",
            worker.number,
            ended,
            worker.pause_s,
        )

    def _hear(self, worker: _Worker, pipe: Connection) -> None:
        """Take what a worker says, until it ends."""
        outbox = worker.outbox
        with contextlib.suppress(EOFError, OSError):
            while True:
                kind, *rest = pipe.recv()
                if kind in {"ready", "failed"}:
                    worker.first_word.put(rest[0])
                    if kind == "failed":
                        _log.error("process %d of those that serve did not start: %s", worker.number, rest[0])
                elif kind == "follow":
                    self._link.follow(rest[0])
                elif kind == "call":
                    self._pass_on(worker, outbox, *rest)
                elif kind == "counted":
                    self._note(worker, pipe, rest[0])
                elif kind == "gather":
                    self._note(worker, pipe, rest[1])
                    # the others answer in threads of their own, and this one must go on hearing
                    threading.Thread(target=self._gather, args=(worker, outbox, rest[0]), daemon=True).start()
        pipe.close()

    def _note(self, worker: _Worker, pipe: Connection, counts: Counts) -> None:
        with self._lock:
            if worker.pipe is pipe:  # else its share stands among those that are gone
                worker.counts = counts
        worker.is_counted.set()

    def _gather(self, asker: _Worker, outbox: queue.SimpleQueue[Any], number: int) -> None:
        others = [worker for worker in self._workers if worker is not asker and worker.pipe is not None]
        for worker in others:
            worker.is_counted.clear()
            worker.outbox.put(("count",))
        ends_at = time.monotonic() + _COUNT_S
        for worker in others:
            worker.is_counted.wait(max(ends_at - time.monotonic(), 0.0))
        with self._lock:
            sums = added(self._gone, *(worker.counts for worker in self._workers))
        outbox.put(("answer", number, sums, None))

    def _pass_on(
        self,
        worker: _Worker,
        outbox: queue.SimpleQueue[Any],
        number: int,
        name: str,
        tenant: str,
        arguments: Mapping[str, Any],
    ) -> None:
        def answer(done: Future[Any]) -> None:
            failure = done.exception()
            result = None if failure is not None else done.result()
            outbox.put(("answer", number, result, failure))
            if name == "health" and failure is None:  # so that all tell the same
                self._tell_all(("report", tenant, result), besides=worker)

        self._link.submit(name, tenant, arguments).add_done_callback(answer)

    def _tell_all(self, message: tuple[Any, ...], *, besides: _Worker | None = None) -> None:
        for worker in self._workers:
            if worker is not besides and worker.pipe is not None:
                worker.outbox.put(message)

    def end(self) -> None:
        """End all that serve: each answers what it works on and writes what it queued, or is killed after its time."""
        running = [worker.process for worker in self._workers if worker.process is not None]
        for process in running:
            process.terminate()
        ends_at = time.monotonic() + _END_S
        for process in running:
            process.join(max(ends_at - time.monotonic(), 0.0))
            if process.is_alive():
                _log.error("process %d did not end in %g s, and is killed", process.pid, _END_S)
                process.kill()
                process.join()
        for worker in self._workers:
            worker.outbox.put(None)


def _not_first(plan: WorkerPlan) -> WorkerPlan:
    return dataclasses.replace(plan, is_first=False)


def _send_all(pipe: Connection, outbox: queue.SimpleQueue[Any]) -> None:
    """Send what is put into the outbox, until None or the end of the pipe."""
    with contextlib.suppress(OSError):
        while (message := outbox.get()) is not None:
            pipe.send(message)


@contextlib.contextmanager
def _told_by_signals(is_told: threading.Event) -> Iterator[None]:
    """Set an event at SIGINT and SIGTERM."""

    def note(_number: int, _frame: object) -> None:
        is_told.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bound(settings: ServeSettings) -> list[socket.socket]:
    """Return sockets that listen on each address of the host.

    Raises:
        ConfigError: The address can not be listened on.
    """
    found: list[socket.socket] = []
    try:
        port = settings.port
        for family, kind, protocol, _, address in socket.getaddrinfo(
            settings.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            listener = socket.socket(family, kind, protocol)
            found.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address[0], port, *address[2:]))
            listener.listen(_QUEUED)
            port = listener.getsockname()[1]
    except OSError as error:
        for listener in found:
            listener.close()
        raise not_listening(settings) from error
    return found
