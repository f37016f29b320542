"""Calls to the learner, as the service makes them: awaited for so long, and asked once where many only look."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from dwell.errors import LearnerDown

__all__ = ["LearnerCalls", "Link", "learner_is_down"]


class Link(Protocol):
    """A way to the learner, from any thread."""

    @property
    def is_up(self) -> bool:
        """Whether a learner runs."""
        ...

    @property
    def n_starts(self) -> int:
        """How often a learner was started."""
        ...

    def start(self) -> None:
        """Begin."""
        ...

    def follow(self, tenant: str) -> None:
        """Have the learner learn for a tenant from now on."""
        ...

    def submit(self, name: str, tenant: str, arguments: Mapping[str, Any]) -> Future[Any]:
        """Return a future of one of the loop's calls; it ends in `LearnerDown` where there is no learner."""
        ...

    def close(self) -> None:
        """End."""
        ...


class LearnerCalls:
    """Calls over a link, from the service's event loop.

    Args:
        link: The way.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._shared: dict[tuple[str, str], Future[Any]] = {}

    async def call(self, name: str, tenant: str, arguments: Mapping[str, Any], *, timeout_s: float) -> Any:  # noqa: ANN401 - what can be sent
        """Return what one of the loop's calls gives.

        Raises:
            LearnerDown: There is no learner, or it did not answer in time: it may be learning.
            DwellError: As the loop's own call.
        """
        return await _answer_of(self._link.submit(name, tenant, arguments), timeout_s)

    async def shared_call(self, name: str, tenant: str, *, timeout_s: float) -> Any:  # noqa: ANN401 - as above
        """Return what a call without arguments gives; one that is under way for somebody else is waited for as well.

        Who only looks may ask as often as he likes: he takes one of the places in front of a learner at work, and
        leaves the others to those who decide.

        Raises:
            As `call`.
        """
        with self._lock:
            found = self._shared.get((name, tenant))
        if found is None or found.done():
            found = self._link.submit(name, tenant, {})
            with self._lock:
                self._shared[name, tenant] = found
        return await _answer_of(found, timeout_s)


def learner_is_down() -> LearnerDown:
    """Return what is raised where no learner runs."""
    return LearnerDown("the learner is not running", hint="It is started anew by itself; try again in a moment.")


async def _answer_of(future: Future[Any], timeout_s: float) -> Any:  # noqa: ANN401 - what can be sent
    """Return what comes of a call, waited for so long; the call itself goes on.

    Raises:
        LearnerDown: Nothing came in time.
    """
    try:
        return await asyncio.wait_for(asyncio.wrap_future(future), timeout_s)
    except TimeoutError as error:
        raise LearnerDown(
            f"the learner did not answer within {timeout_s:g} s", hint="It may be learning: try again."
        ) from error
