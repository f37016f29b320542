"""The synchronous client: threads around the flows of `calls`."""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from dwell.client import calls
from dwell.client.asking import feedback_item
from dwell.client.buffering import PATIENCE, Buffer, Waiting, checked_capacity
from dwell.client.core import Answer, Core, Failure, Flow, Send, positive_s
from dwell.client.transport import MAX_CONNECTIONS, answer_of, failure_of, new_http
from dwell.health.doctor import Diagnosis
from dwell.health.report import HealthReport
from dwell.records import Experience, Feedback, GateDecision, Params, Served

if TYPE_CHECKING:
    import httpx

    from dwell.loop.train import TrainReport

__all__ = ["Client"]

T = TypeVar("T")

_OPEN: weakref.WeakSet[Client] = weakref.WeakSet()


class Client:
    """A loop that another process serves: the same calls as `Loop`, safe from any thread.

    What serves people fails open: `rank` answers within `rank_timeout_s` with the caller's own order and
    `Served.fallback` where the server is not there, and `feedback` answers "rejected" with the reason. Every other call
    raises. Times are the server's: no call takes `now`.

    Args:
        url: Address of `dwell serve`.
        key: A secret or admin key of the tenant, as `dwell keys` printed it; never shown again by the client.
        strict: Whether `rank` and `log_retrieval` raise.
        rank_timeout_s: Longest time of `rank` and `log_retrieval`, every attempt included.
        feedback_timeout_s: Longest time of `feedback` and of each request of `feedback_many`.
        timeout_s: Longest time of every other call; `train` learns for ten seconds or so.
        flush_every_s: Longest time that a reaction given to `submit_feedback` waits for others.
        max_buffered: Reactions that may wait; more are answered "rejected", and counted.
        close_timeout_s: Longest time that `close` takes to send what waits.
        http: An `httpx.Client` of your own, for proxies and certificates; it is closed with this one.
        rng: Chance of the waits between attempts.
        clock: A clock that never goes back, s.
        sleep: Waits for so many seconds.

    Attributes:
        counters: What did not go well so far, by name: "fallback", "dropped_impressions", "dropped_feedback",
            "feedback_failed", and failed requests by their code.

    Raises:
        ConfigError: The address, the key or a time can not be used.
        MissingDependencyError: httpx is not installed; the message has the command.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        strict: bool = False,
        rank_timeout_s: float = 0.25,
        feedback_timeout_s: float = 2.0,
        timeout_s: float = 60.0,
        flush_every_s: float = 1.0,
        max_buffered: int = 10_000,
        close_timeout_s: float = 5.0,
        http: httpx.Client | None = None,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._core = Core(
            url,
            key,
            strict=strict,
            rank_timeout_s=rank_timeout_s,
            feedback_timeout_s=feedback_timeout_s,
            timeout_s=timeout_s,
            rng=rng,
            clock=clock,
        )
        self._sleep = sleep
        self._flush_every_s = positive_s(flush_every_s, "flush_every_s")
        self._close_timeout_s = positive_s(close_timeout_s, "close_timeout_s")
        self._max_buffered = checked_capacity(max_buffered)
        self._is_own_http = http is None
        self._http = new_http(self._core.url) if http is None else http
        self._begin()
        _OPEN.add(self)

    def _begin(self) -> None:
        """Set up what a forked child can not take over: threads, locks, and what waits to be sent by the parent."""
        self._let_go = weakref.finalize(self, self._http.close)  # of a client that nobody closed, and nobody has
        self._let_go.atexit = False
        self._workers = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="dwell-client")
        self._waiting: Buffer[Future[Feedback]] = Buffer(self._max_buffered)
        self._changed = threading.Condition()
        self._sender: threading.Thread | None = None
        self._under_way: list[Waiting[Future[Feedback]]] = []
        self._sent_until = math.inf

    # ---- serve and record

    def rank(
        self,
        query: str,
        candidates: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str] | None = None,
        features: object = None,
        k: int = 10,
        user: str | None = None,
        segment: str | None = None,
        query_embedding: object = None,
        event_id: str | None = None,
        activate: bool = True,
    ) -> Served:
        """Return which documents to show, in which order; never raises into a search unless the client is strict.

        Arguments as `Loop.rank`. Where the server does not answer in time, refuses, or is not there, the caller's own
        order comes back with propensities 1 and the reason in `fallback`: "unreachable", "timeout", "overloaded",
        "server_error", "circuit_open" (not asked: it failed five times in a row a moment ago), "unauthorized" or
        another code of the error tree. Such a list has an event id that the server does not know, and nothing is
        learned from it.

        Raises:
            RecordError: No ids can be read or `k` is no positive integer; with strict=True, on any bad value.
            ServiceError: With strict=True, where the server did not rank.
        """
        return self._run(
            calls.rank(
                self._core,
                query,
                candidates,
                ids=ids,
                features=features,
                k=k,
                user=user,
                segment=segment,
                query_embedding=query_embedding,
                event_id=event_id,
                activate=activate,
            ),
            self._send_in_time,
        )

    def log_retrieval(
        self,
        query: str,
        results: Sequence[Mapping[str, Any]],
        *,
        user: str | None = None,
        segment: str | None = None,
        query_embedding: object = None,
        event_id: str | None = None,
    ) -> str:
        """Record a list that another ranker ordered and return its event id, for `feedback`.

        Arguments as `Loop.log_retrieval`. Where the server is not there the list is not recorded, counted as
        "dropped_impressions", and its event id comes back all the same.

        Raises:
            RecordError: A malformed value.
            ServiceError: With strict=True, where the server did not record it.
        """
        return self._run(
            calls.log_retrieval(
                self._core,
                query,
                results,
                user=user,
                segment=segment,
                query_embedding=query_embedding,
                event_id=event_id,
            ),
            self._send_in_time,
        )

    def feedback(
        self,
        event_id: str,
        signal: str,
        *,
        doc: str | None = None,
        value: float = 1.0,
        at: float | None = None,
        idempotency_key: str | None = None,
    ) -> Feedback:
        """Return what became of one reaction, once its commit is durable on the server; never raises on data.

        Arguments as `Loop.feedback`. Where the server is not there: "rejected", with the reason.
        """
        item = feedback_item(event_id, signal, doc=doc, value=value, at=at, idempotency_key=idempotency_key)
        return self._run(calls.feedback(self._core, [item]), self._send_in_time)[0]

    def feedback_many(self, items: Sequence[Mapping[str, Any]]) -> list[Feedback]:
        """Return what became of many reactions, in their order; one commit per thousand.

        Items as `Loop.feedback_many`.

        Raises:
            RecordError: `items` is no sequence: there is no number of answers to give.
        """
        return self._run(calls.feedback_many(self._core, items), self._send_in_time)

    def submit_feedback(
        self,
        event_id: str,
        signal: str,
        *,
        doc: str | None = None,
        value: float = 1.0,
        at: float | None = None,
        idempotency_key: str | None = None,
    ) -> Future[Feedback]:
        """Return a future of what `feedback` would answer, without waiting: reactions are sent together, in order.

        They go out every `flush_every_s`, or when 1,000 or 64 KB of them wait. A server that is away for less than half
        a minute loses none of them. `close` sends what is left; what a process takes along when it is killed is lost.
        Callbacks of the future run in the thread that sends: what would wait there holds up the others.
        """
        answer: Future[Feedback] = Future()
        answer.set_running_or_notify_cancel()
        item = feedback_item(event_id, signal, doc=doc, value=value, at=at, idempotency_key=idempotency_key)
        if isinstance(item, Feedback):
            answer.set_result(item)
            return answer
        with self._changed:
            refusal = self._take_in(Waiting(item, answer))
        if refusal is not None:
            answer.set_result(refusal)
        return answer

    def _take_in(self, one: Waiting[Future[Feedback]]) -> Feedback | None:
        if self._core.is_closed:
            return Feedback("rejected", "closed: the client was closed")
        if not self._waiting.add(one):
            self._core.count("dropped_feedback")
            return Feedback("rejected", f"overloaded: {self._max_buffered} reactions wait to be sent")
        if self._sender is None:
            self._sender = threading.Thread(
                target=_send_waiting, args=(weakref.ref(self),), name="dwell-feedback", daemon=True
            )
            self._sender.start()
        if self._waiting.is_due:
            self._changed.notify_all()
        return None

    def activate(self, event_id: str, *, shown: Sequence[str] | None = None) -> None:
        """Record that a deferred event was shown; arguments as `Loop.activate`.

        Raises:
            RecordError: As `Loop.activate`.
            ServiceError: The server did not do it.
        """
        return self._run(calls.activate(self._core, event_id, shown=shown))

    # ---- learn and judge

    def train(self, *, steps: int | None = None) -> TrainReport:
        """Let the server close events, judge what stands and learn; return its report.

        Raises:
            StorageError: Its store could not.
            ServiceError: The server did not do it; code `accepted`: the learner beside it will.
        """
        return self._run(calls.train(self._core, steps=steps))

    def evaluate(self, params: Params | int) -> GateDecision:
        """Return the gate's verdict on any params, or on a stored version by its number; nothing moves.

        Raises:
            RecordError: The params do not fit, or hold a transform that the server did not send.
            ServiceError: The server did not do it.
        """
        return self._run(calls.evaluate(self._core, params))

    def promote(self, params: Params | int, *, force: bool = False, expected_version: int | None = None) -> Params:
        """Make params live if the evidence says so, and return them.

        Args:
            params: Params, or the number of a stored version.
            force: Promote whatever the gate says; recorded as forced.
            expected_version: Refuse where another version than this one is live.

        Raises:
            PromotionRefused: The gate did not say "promote"; it carries the decision.
            AlreadyLiveError: They are live; nothing is written.
            StaleParamsError: Another version is live than expected.
            RecordError: The params do not fit.
            ServiceError: The server did not do it.
        """
        return self._run(calls.promote(self._core, params, force=force, expected_version=expected_version))

    def rollback(self, to: int | None = None, *, expected_version: int | None = None) -> Params:
        """Return to the params that were live before, or to a version.

        Raises:
            NothingToRollBackError: There is no such version.
            StaleParamsError: Another version is live than expected.
            ServiceError: The server did not do it.
        """
        return self._run(calls.rollback(self._core, to, expected_version=expected_version))

    # ---- look

    @property
    def params(self) -> Params:
        """The params in force; after `close`, those that were read last."""
        return self._run(calls.live_params(self._core))

    @property
    def features(self) -> tuple[str, ...]:
        """Registered feature names, in the order of `Params.weights`."""
        return self.params.feature_names

    @property
    def counters(self) -> dict[str, int]:
        """What did not go well so far, by name."""
        return dict(self._core.counters)

    def history(self) -> list[GateDecision]:
        """Return every gate decision, oldest first; after `close`, those that were read last."""
        return self._run(calls.history(self._core))

    def experiences(self, *, since: float | None = None, limit: int | None = None) -> Iterator[Experience]:
        """Yield experiences in the order served; arguments as `Loop.experiences`, and at most 1,000."""
        yield from self._run(calls.experiences(self._core, since=since, limit=limit))

    def doctor(self) -> Diagnosis:
        """Return what is wrong with the loop, most harmful first, each with its remedy, and whether it is learning."""
        return self._run(calls.doctor(self._core))

    def health(self) -> HealthReport:
        """Return how the loop is, with alerts in plain words and what to do about each."""
        return self._run(calls.health(self._core))

    # ---- end

    def erase(self, user: str) -> int:
        """Remove everything of a user for good, and return how many events went.

        Raises:
            StorageError: As `Loop.erase`.
            ServiceError: The server did not do it.
        """
        return self._run(calls.erase(self._core, user))

    def close(self) -> None:
        """Send what waits, at most for `close_timeout_s`, and let go of the server; closing twice is legal.

        What could not be sent is answered "rejected" and counted.
        """
        with self._changed:
            if self._core.is_closed:
                return
            self._sent_until = self._core.clock() + self._close_timeout_s
            sender = self._sender
            self._changed.notify_all()
        if sender is not None and sender is not threading.current_thread():
            sender.join(self._close_timeout_s)
        with self._changed:
            self._core.is_closed = True
            left = [*self._under_way, *self._waiting.take_all()]
        self._let_go()
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._core.count("dropped_feedback", len(left))
        _resolve(left, [Feedback("rejected", "closed: the client was closed before it could be sent")] * len(left))
        _OPEN.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<dwell.Client {self._core.url!r}>"

    # ---- the shell

    def _run(
        self,
        flow: Flow[T],
        send: Callable[[Send], Answer | Failure] | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> T:
        """Drive a flow to its end."""
        send = self._send if send is None else send
        sleep = self._sleep if sleep is None else sleep
        outcome: Answer | Failure | None = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as done:
                found: T = done.value
                return found
            outcome = send(step) if isinstance(step, Send) else sleep(step.seconds)

    def _send(self, step: Send) -> Answer | Failure:
        request = step.request
        try:
            response = self._http.request(
                request.method,
                self._core.url + request.path,
                content=request.body,
                headers=self._core.headers(request),
                timeout=step.timeout_s,
            )
        except Exception as error:  # noqa: BLE001 - httpx's, the socket's, or a closed client's: there is no answer
            return failure_of(error)
        return answer_of(response)

    def _send_in_time(self, step: Send) -> Answer | Failure:
        """Send from another thread, so that neither a name server nor an answer in drops holds up a search."""
        try:
            answer = self._workers.submit(self._send, step)
        except RuntimeError:  # no more threads: the client, or the interpreter, is on its way out
            return Failure("unreachable", may_have_arrived=False, detail="closing")
        try:
            return answer.result(step.timeout_s)
        except TimeoutError:
            return Failure("timeout", may_have_arrived=not answer.cancel())

    # ---- the thread that sends what waits

    def _is_closing(self) -> bool:
        return self._sent_until < math.inf

    def _next_part(self) -> list[Waiting[Future[Feedback]]] | None:
        """Return what to send now, nothing where there is nothing yet, or None at the end."""
        with self._changed:
            if not self._is_closing() and not self._waiting.is_due:
                self._changed.wait(self._flush_every_s)
            self._under_way = self._waiting.take()
            return None if self._is_closing() and not self._under_way else self._under_way

    def _send_part(self, part: list[Waiting[Future[Feedback]]]) -> None:
        bodies = [one.body for one in part]
        flow = calls.send_items(self._core, bodies, PATIENCE, is_guarded=False, ends_at=lambda: self._sent_until)
        answers = self._run(flow, sleep=self._pause)
        with self._changed:
            self._under_way = []
        _resolve(part, answers)

    def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the moment in which `close` is called: then there is no later attempt."""
        if self._is_closing():
            time.sleep(seconds)
            return
        with self._changed:
            self._changed.wait_for(self._is_closing, seconds)


def _send_waiting(of: weakref.ref[Client]) -> None:
    """Send what waits until the client is closed, or nobody has it any more."""
    while True:
        client = of()
        if client is None:
            return
        part = client._next_part()  # noqa: SLF001 - the client's own thread
        if part is None:
            return
        if part:
            client._send_part(part)  # noqa: SLF001 - the client's own thread
        del client


def _resolve(part: Sequence[Waiting[Future[Feedback]]], answers: Sequence[Feedback]) -> None:
    for one, answer in zip(part, answers, strict=True):
        with contextlib.suppress(InvalidStateError):
            one.answer.set_result(answer)


def _begin_anew() -> None:
    """In a forked child: sockets and threads are the parent's, and what waits is the parent's to send."""
    for client in list(_OPEN):
        client._core.begin_anew()  # noqa: SLF001 - this module's own class
        client._let_go.detach()  # noqa: SLF001 - this module's own class
        if client._is_own_http:  # noqa: SLF001 - this module's own class
            client._http = new_http(client._core.url)  # noqa: SLF001 - this module's own class
        client._begin()  # noqa: SLF001 - this module's own class


def _close_all() -> None:
    for client in list(_OPEN):
        client.close()


os.register_at_fork(after_in_child=_begin_anew)
atexit.register(_close_all)
