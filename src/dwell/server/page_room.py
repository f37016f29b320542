"""Room for pages: how many are made at once and by how many threads, so that who looks takes little from searches.

Long answers to programs that look, as a ledger, are written by the same threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

from dwell.server.admission import busy

__all__ = ["PageRoom"]

T = TypeVar("T")

# Threads of the interpreter take turns with the loop that answers searches. With the six that asyncio takes on two
# cores, twenty browsers that ask all the time made a search with an idempotency key, which needs one of them as well,
# wait 0.45 s in the middle
_THREADS: Final = 2


class PageRoom:
    """Where pages are made. To be entered from one event loop.

    Args:
        limit: Pages worked on at once, those that wait for a thread included, >= 1.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._n = 0
        self._threads = ThreadPoolExecutor(_THREADS, "dwell-pages")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Take a place until the context is left.

        Raises:
            RequestError: There is none; it says when to come again.
        """
        if self._n >= self._limit:
            raise busy()
        self._n += 1
        try:
            yield
        finally:
            self._n -= 1

    async def done(self, work: Callable[[], T]) -> T:
        """Return what work gives that reads the store, or takes its time."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Let go of what waits; what is under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
