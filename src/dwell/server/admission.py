"""How many requests are worked on at once, and what the others are told before anything is spent on them.

Under ten times the load that a service can carry, nine of ten requests are refused. Each of them costs what is then
lacking for the tenth: so they are refused as soon as their head is read, with an answer that was made before, and who
was told to come again in a second is not listened to for that long.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import MutableMapping
from typing import Any, Final

import msgspec

from dwell.errors import RequestError
from dwell.server.problems import MEDIA_TYPE, problem_of

__all__ = ["RETRY_AFTER_S", "Admission", "busy"]

RETRY_AFTER_S: Final = 1
_MOST_RETRY_AFTER_S: Final = 5  # behind a proxy other callers share a connection that is not listened to
# Refusals a second that are aimed at. One costs 50 to 100 us: these take a twentieth of a core from good answers
_REFUSALS_PER_S: Final = 500
_ENTERED: Final = "dwell.entered"
_ID: Final = b"0" * 20  # as long as every id of a request that is refused here


def busy() -> RequestError:
    """Return the error of a request for which there is no room."""
    return RequestError(
        "too many requests are being worked on",
        code="overloaded",
        retry_after_s=float(RETRY_AFTER_S),
        hint="Send it again, when Retry-After says so.",
    )


class Admission:
    """Counts requests from their last byte to the end of their answer. For one event loop.

    A request whose body is still on its way takes no room: else those who send slowly would take all of it.

    Args:
        limit: How many are worked on at once.
        always: Paths that are answered whatever is going on.
        headers: What every answer carries.

    Attributes:
        n_refused: Refused requests by path; those to other paths than `paths` under "".
        paths: What is counted by itself: a caller can think of any path.
    """

    def __init__(
        self, limit: int, *, always: frozenset[bytes] = frozenset(), headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        self._limit = limit
        self._always = always
        self._n = 0
        self._name = secrets.token_hex(4).encode()
        self._n_answers = 0
        self.n_refused: Counter[str] = Counter()
        self.paths: frozenset[str] = frozenset()
        self._n_resting = 0
        self._answers = [_answer(seconds, headers) for seconds in range(_MOST_RETRY_AFTER_S + 1)]

    @property
    def n(self) -> int:
        """How many requests are worked on."""
        return self._n

    def has_room_for(self, url: bytes) -> bool:
        """Return whether a request may be worked on."""
        return self._n < self._limit or url in self._always

    def enter(self, scope: MutableMapping[str, Any]) -> None:
        """Note that a request is whole."""
        scope[_ENTERED] = True
        self._n += 1

    def leave(self, scope: MutableMapping[str, Any]) -> None:
        """Note that a request was answered, if it was noted before."""
        if scope.pop(_ENTERED, False):
            self._n -= 1

    def refusal(self, url: bytes) -> tuple[bytes, int]:
        """Return a whole answer to a request for which there is no room, and for how long its sender must rest.

        The more are resting the longer: so refusals a second are bounded, however many callers there are.
        """
        path = url.partition(b"?")[0].decode("latin-1")
        self.n_refused[path if path in self.paths else ""] += 1
        self._n_answers += 1
        seconds = min(max(RETRY_AFTER_S, -(-self._n_resting // _REFUSALS_PER_S)), _MOST_RETRY_AFTER_S)
        return self._answers[seconds].replace(_ID, b"%s-%011d" % (self._name, self._n_answers)), seconds

    def rest(self) -> None:
        """Note that a caller is not listened to."""
        self._n_resting += 1

    def rested(self) -> None:
        """Note that a caller is listened to again."""
        self._n_resting -= 1


def _answer(seconds: int, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Return an answer that says when to come again, with `_ID` for the request's id."""
    body = msgspec.json.encode(problem_of(busy(), request_id=_ID.decode()))
    lines = [
        b"HTTP/1.1 503 Service Unavailable",
        b"content-type: " + MEDIA_TYPE.encode(),
        b"content-length: %d" % len(body),
        b"retry-after: %d" % seconds,
        b"x-request-id: " + _ID,
        *(name + b": " + value for name, value in headers),
    ]
    return b"\r\n".join([*lines, b"", body])
