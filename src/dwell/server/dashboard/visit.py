"""One request for a page: who looks, at whose loop, what that person may read and do, and how the answer is made."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from dwell.errors import RequestError
from dwell.loop import Loop
from dwell.server.caller import house_of
from dwell.server.dashboard.rendering import PAGE_HEADERS, rendered
from dwell.server.house import House
from dwell.server.sessions import COOKIE

__all__ = ["Visit", "visit_of"]

_MOST_FIELDS: Final = 20  # of a form; ours have five
_MOST_FORM_BYTES: Final = 20_000
_LIVE: Final = "live"  # the part of a page that is fetched anew while one looks


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request of somebody who may see the dashboard.

    Attributes:
        request: The request.
        house: The service.
        tenant: Whose data is shown.
        name: What the key is called.
        kind: "secret" may look, "admin" may decide as well.
        csrf: What forms must bring back; "" where no key is asked for, and the guard looks at the origin.
        base: Path below which the service is mounted, "" at the root.
        now: UTC epoch seconds of the request.
    """

    request: Request
    house: House
    tenant: str
    name: str
    kind: str
    csrf: str
    base: str
    now: float

    @property
    def loop(self) -> Loop:
        """The loop that is looked at."""
        return self.house.loop(self.tenant)

    @property
    def may_decide(self) -> bool:
        """Whether this person may promote, roll back, pin and forget."""
        return self.kind == "admin"

    @property
    def may_read_text(self) -> bool:
        """Whether the text of queries is shown to this person: as `serve.query_text_for` says."""
        least = self.house.settings.query_text_for
        return least == "secret" or (least == "admin" and self.kind == "admin")

    @property
    def has_example(self) -> bool:
        """Whether this service has the search page of the example."""
        return any(getattr(route, "path", "") == "/example" for route in self.request.app.routes)

    def text(self, query: str) -> str | None:
        """Return what was asked, or None where this person may not read it."""
        return query if self.may_read_text else None

    def asked(self, name: str, default: str = "") -> str:
        """Return a parameter of the address, cut after 600 characters: longer than any id."""
        return self.request.query_params.get(name, default)[:600]

    def number(self, name: str, default: int, *, low: int, high: int) -> int:
        """Return a whole number of the address.

        Raises:
            RequestError: It is none of that range.
        """
        text = self.request.query_params.get(name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 18 and low <= int(text) <= high):
            raise RequestError(
                f"{name} is a whole number from {low:,} to {high:,}", code="not_found", field=name, value=text[:40],
                hint="Follow the links of the page.",
            )  # fmt: skip
        return int(text)

    async def show(
        self, template: str, build: Callable[[], Mapping[str, Any]], *, status: int = 200, stamp: str = ""
    ) -> Response:
        """Return a page, or the live part of it where that is what was asked for.

        Args:
            template: Its name, as "overview.html".
            build: Makes what it shows; called in a thread, for it reads the store.
            status: Of the answer.
            stamp: What changes whenever the live part does. A browser that has it already gets 204, and nothing on its
                page moves. "" where the store's own counts tell.
        """
        is_live = self.request.headers.get("hx-target") == _LIVE
        stamp = await self.house.pages.done(partial(self._stamp, stamp))
        if is_live and self.asked("stamp") == stamp:
            return Response(status_code=204, headers=PAGE_HEADERS)
        context = await self.house.pages.done(build)
        shown = {"visit": self, "stamp": stamp, "here": self.request.url.path, **context}
        text = await self.house.pages.done(partial(rendered, template, shown, block=_LIVE if is_live else ""))
        return HTMLResponse(text, status, headers=PAGE_HEADERS)

    def _stamp(self, more: str) -> str:
        with self.loop.facts() as reader:
            seen = (
                reader.last_seq(),
                reader.epoch(),
                reader.live_version(),
                [d.decided_at for d in reader.decisions(limit=1)],
            )
        # what the address asks for is part of it: else page 2 would pass for page 1. Not the stamp itself, nor what is
        # empty, which a page adds where it asks for itself
        asked = sorted((k, v) for k, v in self.request.query_params.multi_items() if k != "stamp" and v)
        return hashlib.blake2b(repr((seen, more, asked)).encode(), digest_size=12).hexdigest()

    async def form(self) -> dict[str, str]:
        """Return the fields of the form that was sent.

        Raises:
            RequestError: No form of ours, or one that another page made this browser send.
        """
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await self.request.body()
        if kind != "application/x-www-form-urlencoded" or len(body) > _MOST_FORM_BYTES:
            raise RequestError("no form of this page", code="unsupported_media_type", hint="Use the page's own form.")
        try:
            fields = dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
        except ValueError as error:
            raise RequestError(
                "no form of this page", code="malformed_json", hint="Use the page's own form."
            ) from error
        if self.csrf and not hmac.compare_digest(fields.get("csrf", "").encode(), self.csrf.encode()):
            raise RequestError(
                "this form is of another session", code="forbidden", field="csrf", hint="Load the page anew, then send."
            )
        return fields

    def go(self, path: str) -> Response:
        """Return the answer that leads on to another page of ours."""
        return RedirectResponse(f"{self.base}{path}", status_code=303, headers=PAGE_HEADERS)


def visit_of(request: Request) -> Visit | None:
    """Return the visit, or None where nobody is signed in.

    A key that was revoked, that is over, or that is of kind "public" or "agent" lets nobody in, whatever the cookie
    says.
    """
    house, now = house_of(request), time.time()
    base = str(request.scope.get("root_path", "")).rstrip("/")
    if house.is_open:
        return Visit(
            request=request, house=house, tenant="", name="no key", kind="admin", csrf="", base=base, now=now
        )  # fmt: skip
    session = house.session(request.cookies.get(COOKIE, ""), now)
    key = None if session is None else house.key_by_id(session.key_id)
    if session is None or key is None or key.kind in {"public", "agent"}:
        return None
    return Visit(
        request=request, house=house, tenant=key.tenant, name=key.name, kind=key.kind, csrf=session.csrf, base=base,
        now=now,
    )  # fmt: skip
