"""Answers of the writer's thread, brought to whoever awaits them in the event loop, all of one commit together."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["Arrivals"]

T = TypeVar("T")


class Arrivals:
    """Awaits futures that other threads resolve, and wakes the event loop once for many.

    `asyncio.wrap_future` wakes it for each, through a socket, and many callers wait for one commit. One of these serves
    one event loop.
    """

    def __init__(self) -> None:
        self._arrived: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._is_woken = False

    async def of(self, future: Future[T]) -> T:
        """Return a future's result, or raise its error; whoever is cancelled meanwhile cancels nothing but himself."""
        loop = asyncio.get_running_loop()
        here: asyncio.Future[T] = loop.create_future()

        def arrive(done: Future[T]) -> None:
            self._arrived.append((here, done))
            if not self._is_woken:
                self._is_woken = True
                loop.call_soon_threadsafe(self._hand_over)

        future.add_done_callback(arrive)
        return await here

    def _hand_over(self) -> None:
        self._is_woken = False  # before looking: what arrives from now on wakes the loop anew
        while self._arrived:
            here, done = self._arrived.popleft()
            if here.done():
                continue
            if done.cancelled():
                here.cancel()
                continue
            error = done.exception()
            if error is None:
                here.set_result(done.result())
            else:
                here.set_exception(error)
