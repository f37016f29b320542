"""Routes of the collector and of the example: a search page whose clicks teach the loop that ordered it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread
from typing import Final, NamedTuple, Protocol

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from dwell.loop import Loop
from dwell.records import Params, Served
from dwell.retrieval import Candidates, StoredDocument
from dwell.server import page
from dwell.server.lesson_routes import Lessons, base_of, form_of, led_back, no_form

__all__ = ["House", "Library", "Setting", "Simulated", "page_routes"]

N_SHOWN: Final = 10
_MOST_TITLE_CHARS: Final = 80
N_CANDIDATES: Final = 50  # holds the item that is looked for in nine of ten searches (docs/demo-corpus.md)


class House(Protocol):
    """What the example needs of the service."""

    def loop(self, tenant: str) -> Loop:
        """The open loop of a tenant."""
        ...

    def token_for(self, served: Served, user: str | None, tenant: str) -> str:
        """A signed impression token of what was served to that user."""
        ...


class Library(Protocol):
    """What the example searches: a `dwell.retrieval.Retriever`, or what answers like one."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features of its candidates."""
        ...

    def search(self, query: str, n_candidates: int = 50) -> Candidates:
        """Candidates for a query."""
        ...

    def document(self, doc_id: str) -> StoredDocument | None:
        """The document of that id."""
        ...


class Simulated(NamedTuple):
    """Simulated visitors that a person may send after a result.

    Attributes:
        n: How many.
        send: Has each of them search, look, and click that document where it is shown; gives how many found it. Given
            the loop, the query, its candidates and the document's id.
    """

    n: int
    send: Callable[[Loop, str, Candidates, str], int]


class Setting(NamedTuple):
    """What stands around the search page.

    Attributes:
        lessons: Says what the loop learns, and asks it to learn; None where no dashboard stands beside the page.
        simulated: Visitors to be sent, or None: where people's own clicks are kept nobody is made up.
        visitor: Name with which the page begins, "" for nobody.
        subject: What is searched, as a title.
    """

    lessons: Lessons | None = None
    simulated: Simulated | None = None
    visitor: str = ""
    subject: str = "Python's documentation"


def page_routes(
    house: House,
    open_library: Callable[[], Library],
    *,
    tenant: str = "",
    public_key: str = "",
    setting: Setting | None = None,
) -> list[Route]:
    """Return the routes `/dwell.js`, `/example` and what lies below it.

    Args:
        house: The service.
        open_library: Makes what is searched. Called once, when the example is first visited, in a
            thread; it may take seconds, for which a search waits.
        tenant: The tenant whose loop orders the results. Its features must be those of the library.
        public_key: Key that pages send with what they tell; "" where the service asks for none.
        setting: What stands around the search page; nothing when not given.
    """
    setting = setting or Setting()
    example = _Example(house, open_library, tenant, public_key, setting)
    more = [] if setting.lessons is None else setting.lessons.routes()
    if setting.simulated is not None:
        more.append(Route("/example/visitors", example.send_visitors, methods=["POST"]))
    return [
        *more,
        Route("/dwell.js", _asset("dwell.js")),
        Route("/example", example.start),
        Route("/example/search", example.search),
        Route("/example/document", example.document),
        Route("/example/example.css", _asset("example.css")),
        Route("/example/example.js", _asset("example.js")),
    ]


def _asset(name: str) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        asset = page.page_asset(name)
        headers = {**asset.headers, "ETag": asset.etag}
        known = {tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")}
        if asset.etag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        return Response(asset.content, headers=headers)

    return answer


class _Example:
    """The pages, and the library once it was opened. Its methods run in threads: ranking and searching may wait."""

    def __init__(
        self, house: House, open_library: Callable[[], Library], tenant: str, public_key: str, setting: Setting
    ) -> None:
        self._house = house
        self._open_library = open_library
        self._tenant = tenant
        self._public_key = public_key
        self._setting = setting
        self._library: Library | None = None
        self._opening = Lock()
        self._is_begun = False

    def start(self, request: Request) -> Response:
        """Show the page without a search, and begin to open the library: whoever comes here will search."""
        if not self._is_begun:
            self._is_begun = True
            Thread(target=self._opened, name="dwell-example", daemon=True).start()
        return self._shown(self._view(request, "", self._setting.visitor))

    def search(self, request: Request) -> Response:
        """Search, rank by the live params, and show the list with what the collector must know of it."""
        base = base_of(request)
        query = request.query_params.get("q", "").strip()
        user = request.query_params.get("user", "").strip()
        if len(query) > page.MAX_QUERY_CHARS or len(user) > page.MAX_USER_CHARS:
            return _refusal(base, 400, "That is too long", "A line is due here.", "Ask in fewer words.")
        view = self._view(request, query, user)
        if not query:
            return self._shown(view)
        library, loop = self._opened(), self._house.loop(self._tenant)
        if set(loop.features) != set(library.names):
            return _refusal(
                base,
                409,
                "The example can not use this store",
                f"Its features are {', '.join(loop.features)}; those of the example are {', '.join(library.names)}.",
                "Serve a store of its own with the features of the example.",
            )
        found = library.search(query, N_CANDIDATES)
        if not len(found):
            return self._shown(view)
        return self._shown(self._ranked(view, library, loop, found))

    def document(self, request: Request) -> Response:
        """Show one document."""
        base = base_of(request)
        found = self._opened().document(request.query_params.get("id", ""))
        if found is None:
            return _refusal(base, 404, "No such document", "Nothing has that id.", "Search for it.")
        return _page(page.document_page(base, found.title, found.body))

    def _ranked(self, view: page.ExampleView, library: Library, loop: Loop, found: Candidates) -> page.ExampleView:
        user = view.user or None
        served = loop.rank(view.query, found.as_dicts(), k=N_SHOWN, user=user)
        found_at = {doc_id: place for place, doc_id in enumerate(found.ids, start=1)}
        with loop.facts() as reader:
            first_version = reader.params_versions()[0]
        places, first_places = (
            _places(loop.version(version), found) for version in (served.params_version, first_version)
        )
        results = []
        for doc_id, score, propensity in zip(
            served.ids, served.scores.tolist(), served.propensities.tolist(), strict=True
        ):
            document = library.document(doc_id)
            title, body = (document.title, document.body) if document else (doc_id, "")
            stands = places.get(doc_id), first_places.get(doc_id)
            results.append(page.ExampleResult(doc_id, title, body, score, propensity, found_at[doc_id], *stands))
        return view._replace(
            event_id=served.event_id,
            token=self._house.token_for(served, user, self._tenant),
            params_version=served.params_version,
            fallback=served.fallback,
            results=tuple(results),
            first_version=first_version,
        )

    def _view(self, request: Request, query: str, user: str) -> page.ExampleView:
        simulated = self._setting.simulated
        return page.ExampleView(
            base=base_of(request),
            query=query,
            user=user,
            public_key=self._public_key,
            subject=self._setting.subject,
            n_simulated=0 if simulated is None else simulated.n,
        )

    def _shown(self, view: page.ExampleView) -> Response:
        lessons = self._setting.lessons
        return _page(
            page.example_page(view if lessons is None else view._replace(lesson=lessons.of(view.user or None)))
        )

    async def send_visitors(self, request: Request) -> Response:
        """Have simulated visitors search for the same and click one result, and lead back to the search."""
        asked = await form_of(request)
        simulated, lessons = self._setting.simulated, self._setting.lessons
        if asked is None or simulated is None:
            return no_form(request)
        query, doc_id = asked.get("q", "").strip()[: page.MAX_QUERY_CHARS], asked.get("doc", "")
        n_found = await run_in_threadpool(self._sent, simulated, query, doc_id)
        if lessons is not None:
            lessons.say(
                f"{simulated.n} SIMULATED visitors searched for “{query}”; {n_found} of them were shown"
                f" {doc_id[:_MOST_TITLE_CHARS]}, and clicked it."
            )
        return led_back(request, asked)

    def _sent(self, simulated: Simulated, query: str, doc_id: str) -> int:
        found = self._opened().search(query, N_CANDIDATES)
        return simulated.send(self._house.loop(self._tenant), query, found, doc_id) if doc_id in found.ids else 0

    def _opened(self) -> Library:
        with self._opening:
            if self._library is None:
                self._library = self._open_library()
            return self._library


def _places(params: Params, found: Candidates) -> dict[str, int]:
    """Return each candidate's place by the params alone, from 1; nothing where they keep the caller's order."""
    if params.origin == "caller-order" or params.feature_names != found.names:
        return {}
    order = np.argsort(-params.score(found.features), kind="stable")
    return {found.ids[i]: place for place, i in enumerate(order.tolist(), start=1)}


def _page(text: str, status: int = 200) -> Response:
    return HTMLResponse(text, status, headers=page.PAGE_HEADERS)


def _refusal(base: str, status: int, title: str, message: str, remedy: str) -> Response:
    return _page(page.message_page(base, title, message, remedy), status)
