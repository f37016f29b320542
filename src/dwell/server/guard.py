"""The door of the service: what is too big, too slow, too deep or packed too tight never reaches a route.

No server of ASGI has a limit on bodies or on how slowly they come; this has, in pure ASGI, for whatever is behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from dwell.errors import RequestError
from dwell.server.problems import MEDIA_TYPE, problem_of, retry_after_of

__all__ = ["SECURITY_HEADERS", "App", "Guard", "GuardLimits", "Receive", "Scope", "Send", "inflated", "is_too_deep"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_NEITHER_BRACKETS: Final = bytes(b for b in range(256) if b not in b"[]{}")
# Possessive, and a string without end is one to the end: else the search begins anew at every quote, in quadratic time
# A bracket that opens right behind one that closed nests no deeper than that one did: it need not be counted. In a
# string such a pair counts for nothing, too
_SIDE_BY_SIDE: Final = (b"},{", b"}, {", b"],[", b"], [")
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# A body that is refused is read on for as long, and thrown away: who is cut off while sending never reads why
_DRAINED_S: Final = 2.0
_DRAINED_BYTES: Final = 16_000_000
_LOCAL_HOST: Final = re.compile(rb"(?i:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?")
_LOCAL_ORIGIN: Final = re.compile(rb"https?://" + _LOCAL_HOST.pattern)
SECURITY_HEADERS: Final = (
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """What a request may be.

    Attributes:
        max_body_bytes: Largest body, as sent and as unpacked: 1,000 signals of 2 KB.
        body_deadline_s: How long a body may take to arrive whole.
        request_deadline_s: How long a request may take in all.
        max_depth: How deep JSON may be nested; the API needs 4.
        max_held_bytes: Bodies held at once, beyond which those above an equal share are refused.
        origins: The exact origins whose pages may read answers; none by default.
        is_local: Whether whoever is on this machine may call, so that pages from elsewhere must not.
    """

    max_body_bytes: int = 2_000_000
    body_deadline_s: float = 10.0
    request_deadline_s: float = 60.0
    max_depth: int = 64
    max_held_bytes: int = 64_000_000
    origins: frozenset[str] = frozenset()
    is_local: bool = False


def is_too_deep(body: bytes, max_depth: int) -> bool:
    """Return whether JSON is nested deeper than `max_depth`, without decoding it, in time linear in its length.

    Strings are only looked for where the brackets alone are too deep. So a body whose strings hide closing brackets can
    pass; the decoder, which has a limit of its own, refuses that one.
    """
    n_open = body.count(b"[") + body.count(b"{")
    for pair in _SIDE_BY_SIDE:
        if n_open <= max_depth:
            return False
        n_open -= body.count(pair)
    return n_open > max_depth and _depth(body) > max_depth and _depth(_STRING.sub(b"", body)) > max_depth


def _depth(text: bytes) -> int:
    brackets = np.frombuffer(text.translate(None, _NEITHER_BRACKETS), dtype=np.uint8)
    is_opening = (brackets == ord("[")) | (brackets == ord("{"))
    return int(np.cumsum(np.where(is_opening, 1, -1), dtype=np.int32).max(initial=0))


def inflated(body: bytes, limit: int) -> bytes:
    """Return what gzip packed, never making more than `limit` bytes of it.

    Raises:
        RequestError: code `too_large`; or `malformed_json` where it is no gzip, is cut, or has something after it.
    """
    unpacking = zlib.decompressobj(wbits=31)
    try:
        found = unpacking.decompress(body, limit + 1)
    except zlib.error as error:
        raise RequestError("the body is no gzip", code="malformed_json", hint="Send it unpacked.") from error
    if len(found) > limit:
        raise _too_large(limit)
    if not unpacking.eof or unpacking.unused_data:
        raise RequestError("the body is not one whole gzip", code="malformed_json", hint="Send it unpacked.")
    return found


class Guard:
    """An ASGI application in front of another one; see the module.

    Args:
        app: What is guarded.
        limits: What a request may be.
        when_over: Called with the scope of each request when all is done with it.
    """

    def __init__(
        self, app: App, limits: GuardLimits | None = None, when_over: Callable[[Scope], None] | None = None
    ) -> None:
        self._when_over = when_over or (lambda _: None)
        self._app = app
        self._limits = limits or GuardLimits()
        self._name = secrets.token_hex(4)  # tells the requests of this run from those of others
        self._n_requests = 0
        self._held: dict[int, int] = {}  # bytes of the bodies that came so far, by request
        self._n_held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it through with its body whole."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        self._n_requests += 1
        given = headers.get(b"x-request-id", b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"{self._name}-{self._n_requests}".encode()
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        out = _Answer(send, [*SECURITY_HEADERS, (b"x-request-id", request_id), *self._cors(headers)])
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await out({"type": "http.response.start", "status": 204, "headers": self._preflight(headers)})
            await out({"type": "http.response.body", "body": b""})
            return
        try:
            async with asyncio.timeout(self._limits.request_deadline_s):
                self._check_local(headers)
                body = await self._body(scope, headers, receive)
                await self._app(scope, _Replay(body, receive), out)
        except RequestError as error:
            await out.refuse(error, request_id.decode())
        except TimeoutError:
            await out.refuse(RequestError("this took too long", code="overloaded"), request_id.decode())
        finally:
            self._n_held -= self._held.pop(id(scope), 0)
            self._when_over(scope)

    def _hold(self, scope: Scope, n_bytes: int) -> None:
        """Note how much is held of a body.

        Whoever sends little is never refused for those who send much: together they hold at most twice the limit.

        Raises:
            RequestError: code `overloaded`: all of them are too much, and this one more than its share.
        """
        limit = self._limits.max_held_bytes
        self._n_held += n_bytes - self._held.get(id(scope), 0)
        self._held[id(scope)] = n_bytes
        if self._n_held > limit and n_bytes * len(self._held) > limit:
            raise RequestError(
                "too many large bodies are being sent", code="overloaded", retry_after_s=1.0, hint="Send it again."
            )

    async def _body(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        limit = self._limits.max_body_bytes
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding not in {b"identity", b"gzip"}:
            raise RequestError(
                "this content encoding is not read", code="unsupported_media_type", field="Content-Encoding",
                hint="Send gzip, or nothing packed.",
            )  # fmt: skip
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and (len(length) > 18 or int(length) > limit):
            await _drain(headers, receive)
            raise _too_large(limit)
        parts, n_bytes, is_more = [], 0, True
        try:
            async with asyncio.timeout(self._limits.body_deadline_s):
                while is_more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RequestError("the caller went away", code="timeout")
                    parts.append(message.get("body", b""))
                    n_bytes += len(parts[-1])
                    self._hold(scope, n_bytes)
                    is_more = message.get("more_body", False)
                    if n_bytes > limit:
                        parts.clear()
                        if is_more:
                            await _drain(headers, receive)
                        raise _too_large(limit)
        except TimeoutError as error:
            raise RequestError("the body came too slowly", code="timeout", hint="Send it at once.") from error
        body = b"".join(parts)
        if encoding == b"gzip":
            body = inflated(body, limit)
            self._hold(scope, len(body))
            left_out = (b"content-encoding", b"content-length")
            kept = [(name, value) for name, value in scope["headers"] if name not in left_out]
            scope["headers"] = [*kept, (b"content-length", b"%d" % len(body))]
        # Lines of NDJSON are documents of their own, but together they are no deeper than the deepest one
        if is_too_deep(body, self._limits.max_depth):
            raise RequestError(
                f"the body is nested deeper than {self._limits.max_depth}", code="malformed_json", hint="Flatten it."
            )
        return body

    def _check_local(self, headers: dict[bytes, bytes]) -> None:
        """Refuse what a page from elsewhere makes a browser on this machine send.

        Without keys being on this machine is all that is asked of a caller, and a browser is. A page that is not ours
        names its origin; one whose name was pointed at this machine names itself as the host.

        Raises:
            RequestError: code `forbidden`.
        """
        if not self._limits.is_local:
            return
        host, origin = headers.get(b"host", b""), headers.get(b"origin")
        if _LOCAL_HOST.fullmatch(host) is None:
            raise RequestError(
                "without keys this machine is called by its own name", code="forbidden", field="Host",
                hint="Call 127.0.0.1 or localhost, or serve with keys.",
            )  # fmt: skip
        if origin is not None and _LOCAL_ORIGIN.fullmatch(origin) is None and not self._is_allowed(origin):
            raise RequestError(
                "without keys pages from elsewhere may not call", code="forbidden", field="Origin",
                hint="List the page's origin in serve.origins, or serve with keys.",
            )  # fmt: skip

    def _cors(self, headers: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        origin = headers.get(b"origin", b"")
        if not self._limits.origins:
            return []
        allowed = [(b"access-control-allow-origin", origin)] if self._is_allowed(origin) else []
        return [(b"vary", b"origin"), *allowed]

    def _is_allowed(self, origin: bytes) -> bool:
        return origin.decode("latin-1") in self._limits.origins

    def _preflight(self, headers: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        if not self._is_allowed(headers.get(b"origin", b"")):
            return []
        return [
            (b"access-control-allow-methods", b"POST, GET"),
            (b"access-control-allow-headers", b"authorization, content-type, idempotency-key, x-api-key"),
            (b"access-control-max-age", b"600"),
        ]


class _Answer:
    """Sends, with the headers that every answer has, and knows whether it began."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self._has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._has_begun = True
            own = list(message.get("headers", ()))
            names = {name.lower() for name, _ in own}
            ours = [(name, value) for name, value in self._headers if name == b"vary" or name not in names]
            message = {**message, "headers": [pair for pair in own if pair[0].lower() != b"server"] + ours}
        await self._send(message)

    async def refuse(self, error: RequestError, request_id: str) -> None:
        """Answer with a problem, and close the connection: what is left of the body is not read."""
        if self._has_begun:
            raise error
        problem = problem_of(error, request_id=request_id)
        body = msgspec.json.encode(problem)
        headers = [
            (b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body)), (b"connection", b"close")
        ]  # fmt: skip
        retry = retry_after_of(error)
        if retry is not None:
            headers.append((b"retry-after", b"%d" % retry))
        await self({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


class _Replay:
    """Hands the body over in one piece, then whatever the server says."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


async def _drain(headers: dict[bytes, bytes], receive: Receive) -> None:
    """Throw away what is left of a body, as far as that is little; nothing of it is kept."""
    length = headers.get(b"content-length", b"0")
    is_long = len(length) > 18 or (length.isdigit() and int(length) > _DRAINED_BYTES)
    if b"expect" in headers or is_long:  # it waits for leave, or its end is far off
        return
    n_bytes, is_more = 0, True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAINED_S):
            while is_more and n_bytes < _DRAINED_BYTES:
                message = await receive()
                n_bytes += len(message.get("body", b""))
                is_more = message.get("more_body", False)


def _too_large(limit: int) -> RequestError:
    return RequestError(f"a body has at most {limit:,} bytes", code="too_large", hint="Send several smaller ones.")
