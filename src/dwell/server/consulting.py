"""The doctor for a page: what he last said, asked anew beside it, so that nobody who looks waits long for him."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from dwell.errors import LearnerDown
from dwell.health.doctor import Diagnosis

__all__ = ["Consultation", "Told"]

_FRESH_S: Final = 10.0  # he reads thousands of lists: half a second or more, which a page asks for every five seconds
_FIRST_S: Final = 0.1  # a page is to be there within 300 ms; it says that he looks, and asks again in a second
_AGAIN_S: Final = 0.1


class Told(NamedTuple):
    """What a page may say now.

    Attributes:
        diagnosis: The last one, or None before the first.
        is_looking: Whether he looks again at the moment.
    """

    diagnosis: Diagnosis | None
    is_looking: bool


@dataclass(slots=True, eq=False)
class Consultation:
    """The last diagnosis of one loop. To be used from the service's event loop only."""

    _last: Diagnosis | None = None
    _fresh_until: float = float("-inf")
    _asked: asyncio.Task[Diagnosis] | None = None

    async def told(self, ask: Callable[[], Awaitable[Diagnosis]], now: float) -> Told:
        """Return the last diagnosis; one that is older than ten seconds is asked for anew, and shown once it is there.

        Where the learner does not answer, the last one stays.

        Args:
            ask: Asks the doctor.
            now: Seconds of a clock that only goes forward.

        Raises:
            Exception: Whatever `ask` raised, once; the next visit asks again.
        """
        if self._asked is None and now >= self._fresh_until:
            self._asked = asyncio.ensure_future(ask())
        if self._asked is not None:
            await asyncio.wait({self._asked}, timeout=_FIRST_S if self._last is None else _AGAIN_S)
            self._take(now)
        return Told(self._last, self._asked is not None)

    def _take(self, now: float) -> None:
        task = self._asked
        if task is None or not task.done():
            return
        self._asked = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._last, self._fresh_until = task.result(), now + _FRESH_S
        elif not isinstance(error, LearnerDown):
            raise error
