"""The service as one ASGI application: routes behind the guard, every error a problem document."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dwell.errors import RequestError
from dwell.server.admission import busy
from dwell.server.caller import caller_of, house_of
from dwell.server.dashboard.routes import dashboard_routes
from dwell.server.endpoints import ENDPOINTS, Endpoint
from dwell.server.guard import App, Guard, GuardLimits, Receive, Scope, Send
from dwell.server.headers import check_headers
from dwell.server.house import House
from dwell.server.openapi import docs_page, openapi_document
from dwell.server.problems import MEDIA_TYPE, problem_of, retry_after_of
from dwell.server.retries import once
from dwell.server.tracing import TraceContext
from dwell.server.wording import pointer_in_body

__all__ = ["build_app"]

Handler = Callable[[Request], Awaitable[Response]]

_log = logging.getLogger("dwell.serve")
_BODIES_HELD: Final = 32  # of the largest that are taken, 64 MB; thousands as searches have them
_CODES: Final = {404: "not_found", 405: "method_not_allowed"}


def build_app(house: House, *, more: Sequence[BaseRoute] = ()) -> App:
    """Return the application.

    Args:
        house: What it serves from; the caller closes it after the server has stopped.
        more: Further routes, as those of the page.
    """
    document = openapi_document(ENDPOINTS)
    encoded, page = msgspec.json.encode(document), docs_page(document)
    handlers: dict[tuple[str, str], Handler] = {}
    for endpoint in ENDPOINTS:
        handlers[endpoint.method, endpoint.path] = _counted(house, endpoint)
    routes: list[BaseRoute] = [Route(path, handler, methods=[method]) for (method, path), handler in handlers.items()]
    routes += [
        Route("/openapi.json", partial(_fixed, body=encoded, media_type="application/json")),
        Route("/docs", partial(_fixed, body=page.encode(), media_type="text/html; charset=utf-8")),
        *dashboard_routes(),
        *more,
    ]
    inner = Starlette(routes=routes, exception_handlers={HTTPException: _not_routed})
    inner.state.house = house
    house.admission.paths = frozenset(path for _, path in handlers)
    settings = house.settings
    limits = GuardLimits(
        max_body_bytes=settings.max_body_bytes,
        body_deadline_s=settings.body_timeout_s,
        max_held_bytes=_BODIES_HELD * settings.max_body_bytes,
        origins=frozenset(settings.origins),
        is_local=house.is_open,
    )
    straight = _Straight(inner, handlers)
    return Guard(TraceContext(straight) if settings.is_traced else straight, limits, house.admission.leave)


class _Straight:
    """Answers calls whose path is known as it stands, without looking through all routes; the rest is the router's.

    A handler of ours raises nothing, so that none of the router's nets is needed.
    """

    def __init__(self, inner: Starlette, handlers: Mapping[tuple[str, str], Handler]) -> None:
        self._inner = inner
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        handler = self._handlers.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if handler is None:
            await self._inner(scope, receive, send)
            return
        scope["app"] = self._inner
        answer = await handler(Request(scope, receive, send))
        await answer(scope, receive, send)


def _fixed(_request: Request, *, body: bytes, media_type: str) -> Response:
    return Response(body, media_type=media_type)


def _counted(house: House, endpoint: Endpoint) -> Handler:
    """Return the handler with what all of them share: admission, errors as problems, counting."""

    async def handler(request: Request) -> Response:
        if house.n_in_flight >= house.settings.max_in_flight and endpoint.needs != "nobody":
            return _counted_answer(house, endpoint, _told(request, busy()))
        house.n_in_flight += 1
        try:
            await check_headers(request, endpoint)
            if endpoint.is_once and "idempotency-key" in request.headers:
                _, caller = caller_of(request, "secret")
                answer = await once(house, caller.tenant, request, endpoint.handler)
            else:
                answer = await endpoint.handler(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a problem document
            answer = _told(request, error)
        finally:
            house.n_in_flight -= 1
        return _counted_answer(house, endpoint, answer)

    return handler


def _counted_answer(house: House, endpoint: Endpoint, answer: Response) -> Response:
    house.requests[endpoint.path, answer.status_code] += 1
    return answer


def _told(request: Request, error: Exception) -> Response:
    request_id = str(getattr(request.state, "request_id", ""))
    problem = problem_of(error, request_id=request_id)
    if problem.path:
        house = house_of(request)
        loop = house.loops().get(str(getattr(request.state, "tenant", ""))) or house.loop("")
        problem = replace(problem, path=pointer_in_body(problem.path, request.url.path, loop.feature_columns))
    if problem.status >= 500 and problem.code not in {"overloaded", "learner_down"}:
        _log.error("request %s: %s: %s", request_id, type(error).__name__, problem.code, exc_info=error)
    headers: dict[str, str] = {}
    retry = retry_after_of(error)
    if retry is not None:
        headers["retry-after"] = str(retry)
    if problem.status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(msgspec.json.encode(problem), status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


async def _not_routed(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    code = _CODES.get(status, "not_found")
    found = RequestError(
        "there is nothing here" if status == 404 else "another method is due here",
        code=code,
        hint="GET /docs shows what there is.",
    )
    answer = _told(request, found)
    headers: dict[str, Any] = getattr(error, "headers", None) or {}
    for name, value in headers.items():
        answer.headers[name] = value
    answer.status_code = status
    return answer
