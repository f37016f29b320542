"""The learner's own process: it closes, learns, judges and promotes for every tenant, on a schedule or when called.

It shares nothing with the process that serves but the store and one pipe: it may be slow, and it may die, and nobody's
search notices. When the pipe ends, so does it.

Of a tenant one learns at a time. Where the service of another host has the learner, this one stands by: it looks every
second whether the other still is, and says meanwhile how the loop is from what stands in the store.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

from dwell.errors import DwellError, LearnerDown, StorageError, StoreOwnedError
from dwell.health import HealthReport
from dwell.loop import Loop, TrainReport, open_loop
from dwell.loop.snapshot import health_stamp
from dwell.records import Params
from dwell.server.redaction import log_as_lines
from dwell.server.tracing import where_traced
from dwell.server.wire import plain

__all__ = ["Plan", "run_learner"]

_log = logging.getLogger("dwell.learner")

_NICE: Final = 10  # a search comes before learning from it
_LOOK_S: Final = 1.0  # how often the volume is looked at
_MOST_TRIED: Final = 3  # tenants a look that others learn for: each costs a connection and a third of a second
_UNCHANGED_S: Final = 10.0  # ages grow: a page that shows them is never further behind
_REST: Final = 10.0  # of the learner's time at most a tenth goes to who asks how it is
_FEW: Final = 1_000  # closed events whose report takes milliseconds: whoever begins looks after every step he makes


@dataclass(frozen=True, slots=True)
class Plan:
    """What the learner is told when it starts.

    Attributes:
        where: The store's file.
        arguments: Of `dwell.open`, the same ones that the serving process has.
        train_every_s: Longest time between two rounds of a tenant that got events, > 0.
        train_after_events: Events after which a round begins earlier, >= 1.
        is_traced: Whether OpenTelemetry is told of rounds of learning.
    """

    where: str
    arguments: Mapping[str, Any]
    train_every_s: float
    train_after_events: int
    is_traced: bool = False


@dataclass(slots=True)
class _Tenant:
    loop: Loop
    trained_at: float
    last_seq: int = 0
    failures: int = 0
    health: _Told | None = None


class _Told(NamedTuple):
    """A report, and what it was made of.

    Attributes:
        report: The report.
        state: What has changed whenever the report would.
        made_at: Monotonic seconds.
        cost_s: How long it took.
    """

    report: HealthReport
    state: tuple[int, ...]
    made_at: float
    cost_s: float


class _Learner:
    """The loops that one process learns for."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._tenants: dict[str, _Tenant] = {}
        self._awaited: deque[str] = deque()
        self._seen: dict[str, _Told] = {}

    def tenant(self, name: str) -> _Tenant:
        """Return a tenant's loop, opened at its first use.

        Raises:
            StoreOwnedError: Another process learns for it.
            StorageError: The store can not be opened.
        """
        found = self._tenants.get(name)
        if found is None:
            opened = open_loop(self._plan.where, **self._plan.arguments, tenant=name, _role="learner")
            loop = where_traced(opened, name, is_traced=self._plan.is_traced)
            found = self._tenants[name] = _Tenant(loop, trained_at=time.monotonic())
            if name in self._awaited:
                self._awaited.remove(name)
                _log.info("this process learns for tenant %r from now on", name)
        return found

    def _await(self, name: str, why: StorageError) -> None:
        """Stand by for a tenant: what was in memory is made anew from the facts when its turn comes."""
        lost = self._tenants.pop(name, None)
        if lost is not None:
            with contextlib.suppress(DwellError):
                lost.loop.close()
        if name not in self._awaited:
            self._awaited.append(name)
            _log.info("nothing is learned here for tenant %r until it can be: %s", name, why)

    def take_over(self) -> None:
        """Try to learn for those tenants that another process learned for, or whose store was away."""
        for _ in range(min(_MOST_TRIED, len(self._awaited))):
            name = self._awaited[0]
            self._awaited.rotate(-1)
            with contextlib.suppress(StorageError):
                self.tenant(name)

    def call(self, name: str, tenant: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401 - what can be sent
        """Return what one of the loop's calls gives, as it travels: params hold views that no pipe takes.

        Raises:
            DwellError: As the loop's own call.
        """
        try:
            of = self.tenant(tenant)
            return None if name == "follow" else self._called(of, name, arguments)
        except StoreOwnedError as error:
            self._await(tenant, error)
            return None if name == "follow" else self._told_beside(name, tenant, arguments, error)
        except StorageError as error:
            if name == "follow":
                self._await(tenant, error)
                return None
            raise

    def _told_beside(self, name: str, tenant: str, arguments: Mapping[str, Any], error: StoreOwnedError) -> Any:  # noqa: ANN401 - what can be sent
        """Return what can be told of a loop that another process learns for.

        Raises:
            LearnerDown: It takes the one that learns.
        """
        if name not in {"health", "doctor", "evaluate"}:
            raise LearnerDown(
                f"another service learns for this tenant: process {error.value}",
                hint="Ask that one; this one takes over by itself when it ends.",
            )
        last = self._seen.get(tenant)
        if name == "health" and last is not None and time.monotonic() - last.made_at < _UNCHANGED_S:
            return last.report
        with open_loop(self._plan.where, **self._plan.arguments, tenant=tenant, _role="reader") as loop:
            if name == "doctor":
                return loop.doctor()
            if name == "evaluate":
                return plain(loop.evaluate(_params(loop, arguments)))
            began = time.monotonic()
            self._seen[tenant] = _Told(loop.health(), (), began, time.monotonic() - began)
            return self._seen[tenant].report

    def _called(self, of: _Tenant, name: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as above
        if name == "train":
            return plain(self.train(of, **arguments))
        if name == "doctor":
            return of.loop.doctor()
        if name == "health":
            return _told_again(of)
        if name == "evaluate":
            return plain(of.loop.evaluate(_params(of.loop, arguments)))
        if name == "promote":
            force = bool(arguments["force"])
            of.loop.promote(_params(of.loop, arguments), force=force)
            of.health = None
            return plain(of.loop.params), plain(of.loop.history()[-1])
        raise StorageError(f"the learner knows no call {name!r}", code="internal")

    def train(self, of: _Tenant, *, steps: int | None = None) -> TrainReport:
        """Return the report of one round."""
        of.trained_at = time.monotonic()
        of.last_seq = of.loop.last_seq()
        of.health = None  # what a store's own writer has changed is no change to it
        return of.loop.train(steps=steps)

    def rounds(self) -> None:
        """Train every tenant whose time has come or that got many events; a failure is logged and tried again."""
        self.take_over()
        for name, of in list(self._tenants.items()):
            try:
                if not self._is_due(of):
                    continue
                report = self.train(of)
            except StoreOwnedError as error:
                self._await(name, error)
            except DwellError as error:
                of.failures += 1
                _log.warning("learning for tenant %r failed: %s", name, error)
            else:
                of.failures = 0
                if report.n_closed or report.n_steps:
                    _log.info(
                        "tenant %r: %d closed, %d steps, %s", name, report.n_closed, report.n_steps, report.ended_by
                    )

    def _is_due(self, of: _Tenant) -> bool:
        n_new = of.loop.last_seq() - of.last_seq
        # what is open closes without new events, too: a quiet tenant is looked at as often
        is_due = time.monotonic() - of.trained_at >= self._plan.train_every_s * 2 ** min(of.failures, 6)
        return is_due or n_new >= self._plan.train_after_events

    def close(self) -> None:
        for of in self._tenants.values():
            of.loop.close()


def _told_again(of: _Tenant) -> HealthReport:
    """Return how a loop is: the last report while nothing has changed, or while it has cost too much to make anew."""
    began = time.monotonic()
    state = health_stamp(of.loop._state)  # noqa: SLF001 - who learns for a loop may look at all of it
    last = of.health
    if last is not None:
        rest_s = 0.0 if state[-1] < _FEW else min(_REST * last.cost_s, _UNCHANGED_S)
        if began - last.made_at < (_UNCHANGED_S if state == last.state else rest_s):
            return last.report
    report = of.loop.health()
    of.health = _Told(report, state, began, time.monotonic() - began)
    return report


def _params(loop: Loop, asked: Mapping[str, Any]) -> Params:
    version, weights = asked.get("version"), asked.get("weights")
    if version is not None:
        return loop.version(version)
    return Params(version=0, weights=weights or {}, temperature=loop.params.temperature)


def run_learner(pipe: Connection, plan: Plan) -> None:
    """Serve calls from the pipe and learn in between, until the pipe ends.

    Args:
        pipe: Takes (number, call, tenant, arguments) and gives (number, result, error).
        plan: What to learn from, and when.
    """
    log_as_lines()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both: the serving process says when to stop
    os.nice(_NICE)
    learner = _Learner(plan)
    try:
        looked_at = time.monotonic()
        while True:
            if pipe.poll(_LOOK_S):
                _answer(pipe, learner)
            if time.monotonic() - looked_at >= _LOOK_S:  # by the clock: who asks all the time must not stop learning
                looked_at = time.monotonic()
                learner.rounds()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the serving process has ended
    finally:
        learner.close()


def _answer(pipe: Connection, learner: _Learner) -> None:
    number, name, tenant, arguments = pipe.recv()
    result: object = None
    failure: Exception | None = None
    try:
        result = learner.call(name, tenant, arguments)
    except Exception as error:  # noqa: BLE001 - whoever asked is told, and the learner goes on
        failure = error
    try:
        pipe.send((number, result, failure))
    except (TypeError, AttributeError, ValueError) as error:  # what can not be sent is still an answer
        pipe.send((number, None, StorageError(f"the answer can not be sent: {error}", code="internal")))
