"""Signing in: a key is shown once and exchanged for a session, so that no page and no address ever holds it."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from dwell.server.caller import house_of
from dwell.server.dashboard.rendering import PAGE_HEADERS, rendered
from dwell.server.dashboard.visit import Visit
from dwell.server.sessions import COOKIE, LIFETIME_S

__all__ = ["login", "logout", "sign_in"]

_MOST_BYTES: Final = 4_000  # a key has 80 characters
_MOST_THEN: Final = 1_000  # an address with a filter and an id has 300 characters
_OWN_PAGE: Final = re.compile(r"/dashboard/[!-~]*")
# Of Sec-Fetch-Site. Signed in by another page, with a key of its own, somebody would take its data for his
_OWN_SITES: Final = frozenset({"same-origin", "none"})


def login(request: Request, *, message: str = "", status: int = 200, then: str | None = None) -> Response:
    """Show where a key is due.

    Args:
        request: The request.
        message: What was wrong with the key; "" for nothing.
        status: Of the answer.
        then: The page to go on with; None reads it from the address.
    """
    base, house = str(request.scope.get("root_path", "")).rstrip("/"), house_of(request)
    if house.is_open:
        return RedirectResponse(f"{base}/", status_code=303, headers=PAGE_HEADERS)
    context = {
        "base": base, "message": message, "has_keys": house.has_keys, "was_signed_in": COOKIE in request.cookies,
        "then": _own_page(request.query_params.get("then", "") if then is None else then),
    }  # fmt: skip
    text = rendered("login.html", context)
    return HTMLResponse(text, status, headers=PAGE_HEADERS)


async def sign_in(request: Request) -> Response:
    """Take a key and begin a session.

    How often somebody may try is not counted: nobody guesses 256 bits, and a wrong key costs one hash.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in _OWN_SITES:
        return login(request, message="That came from another page. Sign in here.", status=403)
    house, now = house_of(request), time.time()
    body = await request.body()
    given = _given(body)
    key, then = house.key_of(given.get("key", "").strip()), _own_page(given.get("then", ""))
    if key is None:
        return login(request, message="That is no key, or one that is not good any more.", status=401, then=then)
    if key.kind in {"public", "agent"}:
        words = "A public key opens no dashboard: it is read by everybody."
        return login(request, message=words, status=403, then=then)
    name = house.begin_session(key.id, now)
    base = str(request.scope.get("root_path", "")).rstrip("/")
    answer = RedirectResponse(f"{base}{then or '/'}", status_code=303, headers=PAGE_HEADERS)
    answer.set_cookie(
        COOKIE, name, max_age=int(LIFETIME_S), path=base or "/", httponly=True, samesite="strict",
        secure=_is_encrypted(request),
    )  # fmt: skip
    return answer


def _own_page(address: str) -> str:
    """Return the address if it is one of a page of ours, below the base; else "": nobody is led elsewhere."""
    return address if len(address) <= _MOST_THEN and _OWN_PAGE.fullmatch(address) else ""


def _given(body: bytes) -> dict[str, str]:
    """Return the fields of the form; none where it is no form of ours."""
    if len(body) > _MOST_BYTES:
        return {}
    try:
        return dict(parse_qsl(body.decode("ascii"), max_num_fields=5))
    except ValueError:
        return {}


def _is_encrypted(request: Request) -> bool:
    """Return whether the browser came by https: to us, or to a proxy before us that says so.

    Whoever claims it falsely gets a cookie that his browser does not send back: that harms only himself.
    """
    return request.url.scheme == "https" or request.headers.get("x-forwarded-proto", "") == "https"


async def logout(visit: Visit) -> Response:
    """End the session and show where a key is due.

    Raises:
        RequestError: Another page made this browser ask for it.
    """
    await visit.form()
    await asyncio.to_thread(visit.house.end_session, visit.request.cookies.get(COOKIE, ""), visit.now)
    answer = visit.go("/dashboard/login")
    answer.delete_cookie(COOKIE, path=visit.base or "/", httponly=True, samesite="strict")
    return answer
