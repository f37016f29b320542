"""A request under an idempotency key: one effect, and for a week the same answer, whatever is sent again.

Reactions keep their answer in the very commit of their effect (`Loop.submit_feedback_many`). Other calls keep it right
afterwards: where the process dies in between, a retry has its effect again, and each of them is harmless then: a list
is found by its event id, an activation and an erasure find their work done, and `expected_version` stops a second
promotion or rollback. Two processes that work on one key at the same moment answer the same: what was kept first.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from dwell.errors import RequestError
from dwell.server.house import House, Turn
from dwell.storage import Answer

__all__ = ["once"]

_KEPT_HEADERS: Final = ("content-type", "dwell-params-version")


class _Kept(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]
    body: bytes


async def once(
    house: House, tenant: str, request: Request, effect: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Return what a request is answered; under a key, its effect happens once.

    Args:
        house: The service.
        tenant: Whose data: keys of tenants know nothing of each other.
        request: The request; its body is read whole.
        effect: What is asked for.

    Raises:
        RequestError: code `idempotency_conflict`: the key was used for another request.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return await effect(request)
    named = f"{request.url.path}:{key}"
    digest = hashlib.blake2b(await request.body(), digest_size=16).digest()
    turn = house.at_work.setdefault((tenant, named), Turn())
    turn.n_waiting += 1
    try:
        async with turn.lock:
            return await _answered(house, tenant, named, digest, request, effect)
    finally:
        turn.n_waiting -= 1
        if not turn.n_waiting:  # who still waits holds this very lock: another one would let two in at once
            del house.at_work[tenant, named]


async def _answered(
    house: House,
    tenant: str,
    named: str,
    digest: bytes,
    request: Request,
    effect: Callable[[Request], Awaitable[Response]],
) -> Response:
    loop = house.loop(tenant)
    before = await asyncio.to_thread(loop.kept_answer, named)
    if before is not None:
        return _same(before, digest)
    answer = await effect(request)
    headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
    body = msgspec.msgpack.encode(_Kept(answer.status_code, headers, bytes(answer.body)))
    kept = await house.arrivals.of(loop.keep_answer(Answer(named, digest, body, time.time())))
    return answer if kept.body == body and kept.digest == digest else _same(kept, digest)


def _same(before: Answer, digest: bytes) -> Response:
    """Return what was answered before, by this process or another one.

    Raises:
        RequestError: code `idempotency_conflict`: the key was used for another request.
    """
    if before.digest != digest:
        raise RequestError(
            "this key was used for another request",
            code="idempotency_conflict",
            field="Idempotency-Key",
            hint="Use a new key for a new request.",
        )
    kept = msgspec.msgpack.decode(before.body, type=_Kept)
    return Response(kept.body, status_code=kept.status, headers=kept.headers)
