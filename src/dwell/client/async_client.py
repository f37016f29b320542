"""The asynchronous client: asyncio around the same flows."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from dwell.client import calls
from dwell.client.asking import feedback_item
from dwell.client.buffering import PATIENCE, Buffer, Waiting, checked_capacity
from dwell.client.core import Answer, Core, Failure, Flow, Send, positive_s
from dwell.client.transport import answer_of, failure_of, new_async_http
from dwell.health.doctor import Diagnosis
from dwell.health.report import HealthReport
from dwell.records import Experience, Feedback, GateDecision, Params, Served

if TYPE_CHECKING:
    import httpx

    from dwell.loop.train import TrainReport

__all__ = ["AsyncClient"]

T = TypeVar("T")


class AsyncClient:
    """A loop that another process serves, for asyncio: the calls of `Client`, each one awaited.

    Attributes are awaited as well: `await client.params`. `submit_feedback` returns an `asyncio.Future` at once, and
    `experiences` is an asynchronous iterator. Use it in one event loop, and close it there. Arguments and errors are
    those of `Client`.

    Args:
        url: Address of `dwell serve`.
        key: A secret or admin key of the tenant; never shown again by the client.
        strict: Whether `rank` and `log_retrieval` raise.
        rank_timeout_s: Longest time of `rank` and `log_retrieval`, every attempt included.
        feedback_timeout_s: Longest time of `feedback` and of each request of `feedback_many`.
        timeout_s: Longest time of every other call.
        flush_every_s: Longest time that a reaction given to `submit_feedback` waits for others.
        max_buffered: Reactions that may wait; more are answered "rejected", and counted.
        close_timeout_s: Longest time that `close` takes to send what waits.
        http: An `httpx.AsyncClient` of your own, for proxies and certificates; it is closed with this one.
        rng: Chance of the waits between attempts.
        clock: A clock that never goes back, s.
        sleep: Waits for so many seconds.

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
        http: httpx.AsyncClient | None = None,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
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
        self._http = new_async_http(self._core.url) if http is None else http
        self._waiting: Buffer[asyncio.Future[Feedback]] = Buffer(self._max_buffered)
        self._under_way: list[Waiting[asyncio.Future[Feedback]]] = []
        self._is_due = asyncio.Event()
        self._closing = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._sent_until = math.inf

    # ---- serve and record

    async def rank(
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
        """Return which documents to show, as `Client.rank`: it never raises into a search unless the client is strict.

        Raises:
            RecordError: No ids can be read or `k` is no positive integer; with strict=True, on any bad value.
            ServiceError: With strict=True, where the server did not rank.
        """
        return await self._run(
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
            )
        )

    async def log_retrieval(
        self,
        query: str,
        results: Sequence[Mapping[str, Any]],
        *,
        user: str | None = None,
        segment: str | None = None,
        query_embedding: object = None,
        event_id: str | None = None,
    ) -> str:
        """Record a list that another ranker ordered and return its event id, as `Client.log_retrieval`.

        Raises:
            RecordError: A malformed value.
            ServiceError: With strict=True, where the server did not record it.
        """
        return await self._run(
            calls.log_retrieval(
                self._core,
                query,
                results,
                user=user,
                segment=segment,
                query_embedding=query_embedding,
                event_id=event_id,
            )
        )

    async def feedback(
        self,
        event_id: str,
        signal: str,
        *,
        doc: str | None = None,
        value: float = 1.0,
        at: float | None = None,
        idempotency_key: str | None = None,
    ) -> Feedback:
        """Return what became of one reaction, as `Client.feedback`; never raises on data."""
        item = feedback_item(event_id, signal, doc=doc, value=value, at=at, idempotency_key=idempotency_key)
        return (await self._run(calls.feedback(self._core, [item])))[0]

    async def feedback_many(self, items: Sequence[Mapping[str, Any]]) -> list[Feedback]:
        """Return what became of many reactions, in their order, as `Client.feedback_many`.

        Raises:
            RecordError: `items` is no sequence: there is no number of answers to give.
        """
        return await self._run(calls.feedback_many(self._core, items))

    def submit_feedback(
        self,
        event_id: str,
        signal: str,
        *,
        doc: str | None = None,
        value: float = 1.0,
        at: float | None = None,
        idempotency_key: str | None = None,
    ) -> asyncio.Future[Feedback]:
        """Return a future of what `feedback` would answer, at once: reactions are sent together, in order.

        As `Client.submit_feedback`; a task of the running event loop sends them.
        """
        answer: asyncio.Future[Feedback] = asyncio.get_running_loop().create_future()
        item = feedback_item(event_id, signal, doc=doc, value=value, at=at, idempotency_key=idempotency_key)
        refusal = item if isinstance(item, Feedback) else self._take_in(Waiting(item, answer))
        if refusal is not None:
            answer.set_result(refusal)
        return answer

    def _take_in(self, one: Waiting[asyncio.Future[Feedback]]) -> Feedback | None:
        if self._core.is_closed:
            return Feedback("rejected", "closed: the client was closed")
        if not self._waiting.add(one):
            self._core.count("dropped_feedback")
            return Feedback("rejected", f"overloaded: {self._max_buffered} reactions wait to be sent")
        if self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._send_waiting())
        if self._waiting.is_due:
            self._is_due.set()
        return None

    async def activate(self, event_id: str, *, shown: Sequence[str] | None = None) -> None:
        """Record that a deferred event was shown, as `Client.activate`.

        Raises:
            RecordError: As `Loop.activate`.
            ServiceError: The server did not do it.
        """
        await self._run(calls.activate(self._core, event_id, shown=shown))

    # ---- learn and judge

    async def train(self, *, steps: int | None = None) -> TrainReport:
        """Let the server close events, judge what stands and learn; return its report.

        Raises:
            StorageError: Its store could not.
            ServiceError: The server did not do it; code `accepted`: the learner beside it will.
        """
        return await self._run(calls.train(self._core, steps=steps))

    async def evaluate(self, params: Params | int) -> GateDecision:
        """Return the gate's verdict on any params, or on a stored version by its number; nothing moves.

        Raises:
            RecordError: The params do not fit, or hold a transform that the server did not send.
            ServiceError: The server did not do it.
        """
        return await self._run(calls.evaluate(self._core, params))

    async def promote(
        self, params: Params | int, *, force: bool = False, expected_version: int | None = None
    ) -> Params:
        """Make params live if the evidence says so, and return them, as `Client.promote`.

        Raises:
            PromotionRefused: The gate did not say "promote"; it carries the decision.
            AlreadyLiveError: They are live; nothing is written.
            StaleParamsError: Another version is live than expected.
            RecordError: The params do not fit.
            ServiceError: The server did not do it.
        """
        return await self._run(calls.promote(self._core, params, force=force, expected_version=expected_version))

    async def rollback(self, to: int | None = None, *, expected_version: int | None = None) -> Params:
        """Return to the params that were live before, or to a version.

        Raises:
            NothingToRollBackError: There is no such version.
            StaleParamsError: Another version is live than expected.
            ServiceError: The server did not do it.
        """
        return await self._run(calls.rollback(self._core, to, expected_version=expected_version))

    # ---- look

    @property
    def params(self) -> Coroutine[Any, Any, Params]:
        """The params in force, to be awaited; after `close`, those that were read last."""
        return self._run(calls.live_params(self._core))

    @property
    def features(self) -> Coroutine[Any, Any, tuple[str, ...]]:
        """Registered feature names, to be awaited, in the order of `Params.weights`."""
        return self._features()

    async def _features(self) -> tuple[str, ...]:
        return (await self.params).feature_names

    @property
    def counters(self) -> dict[str, int]:
        """What did not go well so far, by name."""
        return dict(self._core.counters)

    async def history(self) -> list[GateDecision]:
        """Return every gate decision, oldest first; after `close`, those that were read last."""
        return await self._run(calls.history(self._core))

    async def experiences(self, *, since: float | None = None, limit: int | None = None) -> AsyncIterator[Experience]:
        """Yield experiences in the order served; arguments as `Loop.experiences`, and at most 1,000."""
        for one in await self._run(calls.experiences(self._core, since=since, limit=limit)):
            yield one

    async def doctor(self) -> Diagnosis:
        """Return what is wrong with the loop, most harmful first, each with its remedy, and whether it is learning."""
        return await self._run(calls.doctor(self._core))

    async def health(self) -> HealthReport:
        """Return how the loop is, with alerts in plain words and what to do about each."""
        return await self._run(calls.health(self._core))

    # ---- end

    async def erase(self, user: str) -> int:
        """Remove everything of a user for good, and return how many events went.

        Raises:
            StorageError: As `Loop.erase`.
            ServiceError: The server did not do it.
        """
        return await self._run(calls.erase(self._core, user))

    async def close(self) -> None:
        """Send what waits, at most for `close_timeout_s`, and let go of the server; closing twice is legal.

        What could not be sent is answered "rejected" and counted.
        """
        if self._closing.is_set():
            return
        self._sent_until = self._core.clock() + self._close_timeout_s
        self._closing.set()
        self._is_due.set()
        if self._sender is not None:
            await asyncio.wait([self._sender], timeout=self._close_timeout_s)
            self._sender.cancel()
        self._core.is_closed = True
        left = [*self._under_way, *self._waiting.take_all()]
        self._core.count("dropped_feedback", len(left))
        _resolve(left, [Feedback("rejected", "closed: the client was closed before it could be sent")] * len(left))
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<dwell.AsyncClient {self._core.url!r}>"

    # ---- the shell

    async def _run(self, flow: Flow[T], sleep: Callable[[float], Awaitable[None]] | None = None) -> T:
        """Drive a flow to its end."""
        outcome: Answer | Failure | None = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as done:
                found: T = done.value
                return found
            if isinstance(step, Send):
                outcome = await self._send(step)
            else:
                await (self._sleep if sleep is None else sleep)(step.seconds)
                outcome = None

    async def _send(self, step: Send) -> Answer | Failure:
        request = step.request
        try:
            async with asyncio.timeout(step.timeout_s):
                response = await self._http.request(
                    request.method,
                    self._core.url + request.path,
                    content=request.body,
                    headers=self._core.headers(request),
                    timeout=step.timeout_s,
                )
        except Exception as error:  # noqa: BLE001 - httpx's, the socket's, or a closed client's: there is no answer
            return failure_of(error)
        return answer_of(response)

    async def _send_waiting(self) -> None:
        """Send what waits until the client is closed."""
        while True:
            await self._pause(self._flush_every_s)
            self._is_due.clear()
            while self._waiting:
                self._under_way = self._waiting.take()
                bodies = [one.body for one in self._under_way]
                flow = calls.send_items(
                    self._core, bodies, PATIENCE, is_guarded=False, ends_at=lambda: self._sent_until
                )
                answers = await self._run(flow, self._pause_unless_closing)
                _resolve(self._under_way, answers)
                self._under_way = []
            if self._closing.is_set():
                return

    async def _pause(self, seconds: float) -> None:
        """Wait until a request is full, the client is closed, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_due.wait()

    async def _pause_unless_closing(self, seconds: float) -> None:
        """Wait, but not beyond the moment in which `close` is called: then there is no later attempt."""
        if self._closing.is_set():
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()


def _resolve(part: Sequence[Waiting[asyncio.Future[Feedback]]], answers: Sequence[Feedback]) -> None:
    for one, answer in zip(part, answers, strict=True):
        if not one.answer.done():
            one.answer.set_result(answer)
