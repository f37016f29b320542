"""Routes of the strip "learning from you": what it says, and having the learner learn now.

Only where no key is asked for: whoever is on this machine may look and decide, and the guard refuses pages from
elsewhere.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from dwell.config import Config
from dwell.errors import DwellError, RecordError
from dwell.server import page
from dwell.server.dashboard.ledger import standing_of
from dwell.server.house import House
from dwell.server.lesson import Lesson, Own, Rules, Waiting, told, what_one_did, what_was_learned
from dwell.storage import Reader

__all__ = ["Lessons", "base_of", "form_of", "led_back", "no_form"]

_A_DAY_S: Final = 86_400.0
_MOST_LISTS: Final = 200  # of one visitor, newest first: more than anybody looks through in a day
_MOST_LEARNED: Final = 300  # lists among which the visitors behind a proposal are counted
_MOST_DECISIONS: Final = 200
_LEARNING_S: Final = 50.0  # below the guard's minute, so that the page says why
_MOST_FORM_BYTES: Final = 4_000
_MOST_FIELDS: Final = 5


class Lessons:
    """What the strip says, and what it can ask for. Safe from any thread.

    Args:
        house: The service.
        tenant: Whose loop.
    """

    def __init__(self, house: House, tenant: str = "") -> None:
        self._house = house
        self._tenant = tenant
        self._said = ""
        self._visitors: tuple[int, int | None] = (-1, None)  # a proposal's version, and who stands behind it

    def routes(self) -> list[Route]:
        """Return `/example/lesson`, the strip alone, and `/example/learn`."""
        return [Route("/example/lesson", self.show), Route("/example/learn", self.learn, methods=["POST"])]

    def say(self, words: str) -> None:
        """Have the strip say what was just done."""
        self._said = f"{time.strftime('%H:%M:%S', time.gmtime())} UTC: {words}"

    def of(self, user: str | None) -> Lesson:
        """Return the strip for a visitor.

        Raises:
            StorageError: The store could not be read.
        """
        loop, now = self._house.loop(self._tenant), time.time()
        loop.refresh()
        rules, proposed, known = self._rules(), loop.proposed, None
        if user is not None:
            with suppress(RecordError):  # no name that anything could be recorded under
                known = loop.pseudonym(user)
        with loop.facts() as reader:
            own = None if known is None else _own(reader, known, rules.window_s, now)
            history = reader.decisions(limit=_MOST_DECISIONS)
            live = reader.live_version()
            waiting = None
            if proposed is not None:
                last = next((d for d in reversed(history) if d.proposed_version == proposed.version), None)
                waiting = Waiting(proposed.version, self._behind(reader, proposed.version, proposed.created_at), last)
        standing = standing_of(loop.params.version if live is None else live, history)
        n_refused = loop.counts.get("feedback_rejected", 0)
        return told(own, standing, waiting, history, rules, n_refused=n_refused, said=self._said)

    def _rules(self) -> Rules:
        arguments: Mapping[str, Any] = self._house.arguments
        config = arguments.get("config")
        gate = (config if isinstance(config, Config) else Config()).gate
        window_s = float(arguments.get("attribution_window_s", Config().store.attribution_window_s))
        return Rules(window_s, gate.min_events, gate.min_users)

    def _behind(self, reader: Reader, version: int, made_at: float) -> int | None:
        """Return how many named visitors a proposal could learn from; None where there are too many lists to look."""
        known, n_visitors = self._visitors
        if known != version:
            seqs = reader.seqs(states=("closed", "reopened"), until=made_at, limit=_MOST_LEARNED, newest_first=True)
            users = {shown.user for shown in reader.impressions(seqs) if shown.user is not None}
            n_visitors = len(users) if len(seqs) < _MOST_LEARNED else None
            self._visitors = (version, n_visitors)
        return n_visitors

    def show(self, request: Request) -> Response:
        """Show the strip alone; 204 where the browser has it as it is."""
        user = request.query_params.get("user", "")[: page.MAX_USER_CHARS] or None
        query = request.query_params.get("q", "")[: page.MAX_QUERY_CHARS]
        text = page.lesson_part(
            page.ExampleView(base=base_of(request), query=query, user=user or "", lesson=self.of(user))
        )
        tag = f'"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"'
        headers = {**page.PAGE_HEADERS, "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(text, headers=headers)

    async def learn(self, request: Request) -> Response:
        """Have the learner learn now, and lead back to the search."""
        asked = await form_of(request)
        if asked is None:
            return no_form(request)
        loop = await run_in_threadpool(self._house.loop, self._tenant)
        try:
            await self._house.arrivals.of(loop.when_recorded("nothing"))  # what was served before this is learned from
            report = await self._house.calls.call("train", self._tenant, {"steps": None}, timeout_s=_LEARNING_S)
        except DwellError as error:
            self.say(f"nothing was learned: {error}")
        else:
            self.say(what_was_learned(report))
        await run_in_threadpool(loop.refresh)
        return led_back(request, asked)


async def form_of(request: Request) -> dict[str, str] | None:
    """Return the fields of a form of these pages, or None where it is none."""
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded" or len(body) > _MOST_FORM_BYTES:
        return None
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return None


def no_form(request: Request) -> Response:
    """Return the answer to what is no form of these pages."""
    text = page.message_page(base_of(request), "That can not be read", "It is no form of this page.", "Use the page's.")
    return HTMLResponse(text, status_code=415, headers=page.PAGE_HEADERS)


def led_back(request: Request, asked: Mapping[str, str]) -> Response:
    """Return the answer that leads back to the search that a form was sent from."""
    where = urlencode({"q": asked.get("q", ""), "user": asked.get("user", "")})
    return RedirectResponse(f"{base_of(request)}/example/search?{where}", status_code=303, headers=page.PAGE_HEADERS)


def base_of(request: Request) -> str:
    """Return the path below which the service is mounted, "" at the root."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def _own(reader: Reader, pseudonym: str, window_s: float, now: float) -> Own:
    # a list served this instant is part of what was done
    events = reader.events_of(pseudonym, since=max(0.0, now - _A_DAY_S), until=now + 1.0)[-_MOST_LISTS:]
    return what_one_did(events, reader.signals([event.seq for event in events]), window_s=window_s, now=now)
