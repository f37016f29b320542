"""Every page of the dashboard in one table, and what all of them share: who may see it, and what errors look like."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from dwell.errors import DwellError, RequestError
from dwell.server.dashboard import (
    access,
    activation,
    buffer,
    decide,
    decisions,
    doctor,
    event,
    events,
    overview,
    params,
    queries,
)
from dwell.server.dashboard.rendering import PAGE_HEADERS, rendered, static_file
from dwell.server.dashboard.visit import Visit, visit_of
from dwell.server.problems import problem_of, retry_after_of

__all__ = ["PAGES", "Page", "dashboard_routes"]

_log = logging.getLogger("dwell.serve")
_YEAR_S: Final = 31_536_000  # an address with the mark of its content in it never changes

Handler = Callable[[Visit], Awaitable[Response]]


class Page(NamedTuple):
    """One page.

    Attributes:
        path: Its address.
        handler: What answers.
        methods: "GET", or "POST" for what changes something.
        needs: The least kind of key.
    """

    path: str
    handler: Handler
    methods: tuple[str, ...] = ("GET",)
    needs: str = "secret"


PAGES: Final = (
    Page("/", overview.show),
    Page("/dashboard/params", params.show),
    Page("/dashboard/decisions", decisions.show),
    Page("/dashboard/buffer", buffer.show),
    Page("/dashboard/decide", decide.confirm, needs="admin"),
    Page("/dashboard/decide", decide.carry_out, ("POST",), "admin"),
    Page("/dashboard/queries", queries.show),
    Page("/dashboard/events", events.show),
    Page("/dashboard/events/{event_id:path}", event.show),
    Page("/dashboard/activation", activation.show),
    Page("/dashboard/activation/item", activation.show_item),
    Page("/dashboard/activation/change", activation.change, ("POST",), "admin"),
    Page("/dashboard/activation/forget", activation.confirm_forgetting, needs="admin"),
    Page("/dashboard/activation/forget", activation.forget, ("POST",), "admin"),
    Page("/dashboard/doctor", doctor.show),
    Page("/dashboard/logout", access.logout, ("POST",)),
)


def dashboard_routes() -> list[Route]:
    """Return the routes of all pages, of their files, and of signing in and out."""
    routes = [Route(page.path, _guarded(page), methods=list(page.methods)) for page in PAGES]
    return [
        *routes,
        Route("/dashboard/login", access.login, methods=["GET"]),
        Route("/dashboard/login", access.sign_in, methods=["POST"]),
        Route("/dashboard/static/{mark}/{name:path}", _static, methods=["GET"]),
        Route("/dashboard/{address:path}", _guarded(Page("", _nothing)), methods=["GET"]),
    ]


def _guarded(page: Page) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        visit = visit_of(request)
        if visit is None:
            return _to_login(request)
        request.state.tenant = visit.tenant
        try:
            _check(page, visit)
            with visit.house.pages.entered():
                return await page.handler(visit)
        except Exception as error:  # noqa: BLE001 - whatever it is, the browser gets a page that says so
            return _told(visit, error)

    return answer


def _to_login(request: Request) -> Response:
    """Return the answer that leads to where a key is due: of the whole page, also where only a part was asked for."""
    base = str(request.scope.get("root_path", "")).rstrip("/")
    login, wanted = f"{base}/dashboard/login", request.url.path.removeprefix(base)
    if request.method == "GET" and wanted != "/":
        login += f"?{urlencode({'then': wanted + (f'?{request.url.query}' if request.url.query else '')})}"
    if "hx-request" in request.headers:
        login = f"{base}/dashboard/login"  # the address of a part is not that of the page it is in
        return Response(status_code=401, headers={**PAGE_HEADERS, "hx-redirect": login})
    return RedirectResponse(login, status_code=303, headers=PAGE_HEADERS)


def _check(page: Page, visit: Visit) -> None:
    if page.needs == "admin" and not visit.may_decide:
        raise RequestError(
            "this takes a key of kind admin", code="forbidden", field="key", value=visit.kind,
            hint="Sign out, and in again with such a key.",
        )  # fmt: skip


async def _nothing(_: Visit) -> Response:
    raise RequestError(
        "there is no page at this address", code="not_found", field="address", value=None,
        hint="Check it, or begin at one of the pages above.",
    )  # fmt: skip


def _told(visit: Visit, error: Exception) -> Response:
    request_id = str(getattr(visit.request.state, "request_id", ""))
    problem = problem_of(error, request_id=request_id)
    if not isinstance(error, DwellError):
        _log.error("page %s: %s", request_id, type(error).__name__, exc_info=error)
    context = {"visit": visit, "problem": problem, "here": visit.request.url.path, "stamp": ""}
    retry = retry_after_of(error)
    headers = PAGE_HEADERS if retry is None else {**PAGE_HEADERS, "Retry-After": str(retry)}
    return HTMLResponse(rendered("problem.html", context), problem.status, headers=headers)


def _static(request: Request) -> Response:
    found = static_file(request.path_params["name"])
    if found is None or request.path_params["mark"] != found.mark:
        return Response("there is nothing here", status_code=404, media_type="text/plain", headers=PAGE_HEADERS)
    headers = {"cache-control": f"public, max-age={_YEAR_S}, immutable", "x-content-type-options": "nosniff"}
    return Response(found.content, media_type=found.media_type, headers=headers)
