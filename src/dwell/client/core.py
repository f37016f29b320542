"""What a client knows between calls, and how one call is asked: without a socket, for both shells.

A flow is a generator: it yields `Send` and `Wait`, takes an `Answer` or a `Failure` for each, and returns what the call
came to. The shells drive it: `client.py` with threads, `async_client.py` with asyncio.
"""

from __future__ import annotations

import logging
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar
from urllib.parse import urlsplit

from dwell.client.asking import Request
from dwell.client.problems import error_of, read_problem
from dwell.client.retrying import Circuit, Patience, admitted, after_failure, after_success, next_delay_s
from dwell.errors import ConfigError, DwellError, ServiceError, ServiceUnreachableError
from dwell.records import GateDecision, Params
from dwell.records.event_ids import uuid7

__all__ = [
    "Answer",
    "Call",
    "Core",
    "Failure",
    "Flow",
    "Secret",
    "Send",
    "Wait",
    "circuit_open",
    "exchange",
    "new_id",
    "positive_s",
    "retry_after_s",
]

T = TypeVar("T")

LOG: Final = logging.getLogger("dwell.client")
_KEY: Final = re.compile(r"[!-~]{1,512}")  # what a header can hold: visible ASCII
_MOST_KNOWN: Final = 64  # versions remembered; a transform of a few features has some KB
_WORTH_ASKING_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_OVERLOADED: Final = frozenset({429, 503})


class Secret:
    """A key that shows itself to nobody who does not ask for it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the key itself, for the header."""
        return self._text

    def __repr__(self) -> str:
        return "<a key>"

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled")


class Send(NamedTuple):
    """Ask, and take what comes within so many seconds."""

    request: Request
    timeout_s: float


class Wait(NamedTuple):
    """Do nothing for so many seconds."""

    seconds: float


class Answer(NamedTuple):
    """What a server answered; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Failure(NamedTuple):
    """No answer: why, whether the request may have arrived, and the kind of error in a word."""

    kind: Literal["unreachable", "timeout"]
    may_have_arrived: bool
    detail: str = ""


Flow: TypeAlias = Generator[Send | Wait, Answer | Failure | None, T]


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        request: What is asked.
        patience: How long, and how often.
        is_guarded: Whether the circuit may refuse it, and learns from it.
        ends_at: When it must have ended at the latest, on the client's clock, where that is not its own budget.
    """

    request: Request
    patience: Patience
    is_guarded: bool = False
    ends_at: Callable[[], float] | None = None


class Core:
    """Settings, circuit, counters and what was learned of the server; safe from any thread.

    Attributes:
        url: Where the server is, without a slash at its end.
        key: The key, or None.
        is_strict: Whether `rank` and `log_retrieval` raise.
        counters: What did not go well, by name.
        is_closed: Whether it was closed.

    Raises:
        ConfigError: The URL or the key can not be used; the key is not shown.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        strict: bool,
        rank_timeout_s: float,
        feedback_timeout_s: float,
        timeout_s: float,
        rng: random.Random | None,
        clock: Callable[[], float],
    ) -> None:
        self.url = _checked_url(url)
        self.key = None if key is None else _checked_key(key)
        self.is_strict = strict
        # inside a search there is time for one more attempt at most, and only where the first one failed at once
        self.rank_patience = Patience(positive_s(rank_timeout_s, "rank_timeout_s"), attempts=3, base_s=0.02)
        self.feedback_patience = Patience(positive_s(feedback_timeout_s, "feedback_timeout_s"), attempts=4)
        self.patience = Patience(positive_s(timeout_s, "timeout_s"), attempts=4, base_s=0.2)
        self._is_own_rng = rng is None
        self.rng = random.Random() if rng is None else rng  # noqa: S311 - spreads waits, keeps no secret
        self.clock = clock
        self.counters: Counter[str] = Counter()
        self.is_closed = False
        self.known: dict[int, Params] = {}
        self.last_params: Params | None = None
        self.last_history: list[GateDecision] | None = None
        self._circuit = Circuit()
        self._lock = threading.Lock()
        self._last_trouble: str | None = None
        self._last_fallback: str | None = None

    def headers(self, request: Request) -> dict[str, str]:
        """Return the headers of a request, the key among them."""
        found = {"accept": "application/json, application/problem+json", "user-agent": "dwell-client"}
        if self.key is not None:
            found["authorization"] = f"Bearer {self.key.reveal()}"
        if request.body is not None:
            found["content-type"] = "application/json"
        if request.idempotency_key is not None:
            found["idempotency-key"] = request.idempotency_key
        return found

    def admits(self) -> bool:
        """Return whether the circuit lets one more call through."""
        with self._lock:
            found = admitted(self._circuit, self.clock())
            if found is not None:
                self._circuit = found
        return found is not None

    def refuses(self) -> bool:
        """Return whether a guarded call would not be made now: then nothing need be prepared for it."""
        return admitted(self._circuit, self.clock()) is None

    def note_answer(self) -> None:
        """Close the circuit: the server answers."""
        with self._lock:
            is_back = self._last_trouble is not None
            self._circuit = after_success()
            self._last_trouble = None
        if is_back:
            LOG.info("%s answers again", self.url)

    def note_failure(self, code: str) -> None:
        """Count a failure; the first one of its kind in a row is logged."""
        with self._lock:
            self._circuit = after_failure(self._circuit, self.clock(), self.rng)
            is_new = self._last_trouble != code
            self._last_trouble = code
            self.counters[code] += 1
        if is_new:
            LOG.warning("%s: %s", self.url, code)

    def note_fallback(self, code: str) -> None:
        """Count a search that was served in the caller's order; the first one with its reason in a row is logged."""
        with self._lock:
            is_new = self._last_fallback != code
            self._last_fallback = code
            self.counters["fallback"] += 1
        if is_new:
            LOG.warning("%s: searches are served in the caller's order: %r", self.url, code)

    def note_served(self) -> None:
        """Note that a search was served by the server."""
        self._last_fallback = None

    def count(self, name: str, n: int = 1) -> None:
        """Count what did not go well."""
        with self._lock:
            self.counters[name] += n

    def remember(self, params: Params) -> Params:
        """Keep a version that the server sent, so that it can be named by its number, and return it."""
        with self._lock:
            self.known.pop(params.version, None)
            self.known[params.version] = params
            while len(self.known) > _MOST_KNOWN:
                del self.known[next(iter(self.known))]
        return params

    def begin_anew(self) -> None:
        """Forget the locks and the circuit of the process that this one was forked from."""
        self._lock = threading.Lock()
        self._circuit = Circuit()
        if self._is_own_rng:
            self.rng = random.Random()  # noqa: S311 - as above; a copy would draw the waits that its siblings draw


def new_id() -> str:
    """Return a new event id or idempotency key: a UUID of version 7, from the system's entropy."""
    return uuid7(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10), "big"))


def exchange(core: Core, call: Call) -> Flow[Answer]:
    """Ask until there is an answer that no repetition would better, and return it.

    Every request that is repeated carries an event id or an idempotency key of the client's: it has one effect.

    Raises:
        ServiceUnreachableError: There was none within the budget. `may_have_arrived` says whether a request may have
            taken effect without one.
        DwellError: The server refused, see `problems.error_of`.
    """
    if core.is_closed:
        raise ServiceError("the client was closed", code="closed", hint="Make another one.")
    if call.is_guarded and not core.admits():
        raise circuit_open()
    start = core.clock()
    may_have_arrived = False
    attempt = 0
    while True:
        ends_at = start + call.patience.budget_s
        if call.ends_at is not None:
            ends_at = min(ends_at, call.ends_at())
        left = ends_at - core.clock()
        if left <= 0.0:
            raise _unanswered("timeout", "no answer in time", has_arrived=may_have_arrived)
        attempt += 1
        answer = yield Send(call.request, left)
        if isinstance(answer, Answer) and answer.status not in _WORTH_ASKING_AGAIN:
            core.note_answer()
            return _accepted(answer, call.request)
        may_have_arrived |= not isinstance(answer, Failure) or answer.may_have_arrived
        error = _error_of(answer, call.request, has_arrived=may_have_arrived)
        if call.is_guarded:
            core.note_failure(error.code)
        wanted = retry_after_s(answer.headers) if isinstance(answer, Answer) else None
        delay = next_delay_s(attempt, core.rng, call.patience, left_s=ends_at - core.clock(), retry_after_s=wanted)
        if delay is None:
            raise error
        yield Wait(delay)


def _accepted(answer: Answer, request: Request) -> Answer:
    if 200 <= answer.status < 300:
        return answer
    raise error_of(read_problem(answer.status, answer.body), request.body)


def circuit_open() -> ServiceUnreachableError:
    """Return the error of a call that is not made."""
    return _unanswered("circuit_open", "not asked: it failed several times in a row", has_arrived=False)


def _unanswered(code: str, message: str, *, has_arrived: bool) -> ServiceUnreachableError:
    error = ServiceUnreachableError(message, code=code, hint="Check that the server runs, and its address.")
    error.may_have_arrived = has_arrived
    return error


def _error_of(answer: Answer | Failure | None, request: Request, *, has_arrived: bool) -> DwellError:
    """Return the error that ends the call where this was the last attempt."""
    if isinstance(answer, Answer):
        told = error_of(read_problem(answer.status, answer.body), request.body)
        if not isinstance(told, ServiceUnreachableError):  # a code with a class of its own: the store's own trouble
            return told
        code = "overloaded" if answer.status in _OVERLOADED else "timeout" if answer.status == 408 else "server_error"
        error = _unanswered(code, f"the server answered {answer.status}: {told.message}", has_arrived=has_arrived)
        error.hint = told.hint or error.hint
        return error
    kind, detail = (answer.kind, answer.detail) if isinstance(answer, Failure) else ("unreachable", "")
    words = "no answer in time" if kind == "timeout" else "the server can not be reached"
    return _unanswered(kind, f"{words} ({detail})" if detail else words, has_arrived=has_arrived)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long a server asks to be left alone; None where it does not say, or not legibly.

    A date is taken relative to the answer's own `Date`: clocks need not agree.

    Source:
        RFC 9110, section 10.2.3.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - parsedate_to_datetime(headers["date"])).total_seconds())
    except (KeyError, TypeError, ValueError):
        return None


def _checked_url(url: object) -> str:
    """Return the server's address; what a refused one holds is not shown, since it may be a password."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        is_bare = not (parts.username or parts.password or parts.query or parts.fragment)
    except ValueError:
        is_address = is_bare = False
    if not (is_address and is_bare) or not isinstance(url, str):
        raise ConfigError(
            "the address of a server is http:// or https:// with a host, and neither a name and password nor a query",
            field="url",
            value=type(url).__name__,
            hint="Pass 'http://127.0.0.1:8321', and the key as key=.",
        )
    return url.rstrip("/")


def _checked_key(key: object) -> Secret:
    if not isinstance(key, str) or _KEY.fullmatch(key) is None:
        raise ConfigError(
            "a key is 1 to 512 visible ASCII characters",
            field="key",
            value=type(key).__name__,
            hint="Pass it as `dwell keys` printed it, without white space or a line's end.",
        )
    return Secret(key)


def positive_s(value: object, name: str) -> float:
    """Return a time in seconds.

    Raises:
        ConfigError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value <= 86_400.0:
        raise ConfigError(
            "a time is a number of seconds above 0, at most a day", field=name, value=value, hint="Pass seconds."
        )
    return float(value)
