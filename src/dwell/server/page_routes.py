"""Routes of the collector and of the example: a search page whose clicks teach the loop that ordered it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from dwell.loop import Loop
from dwell.records import Served
from dwell.retrieval import Candidates, StoredDocument
from dwell.server import page

__all__ = ["House", "Library", "page_routes"]

N_SHOWN: Final = 10
N_CANDIDATES: Final = 50  # holds the item that is looked for in nine of ten searches (docs/demo-corpus.md)
MAX_QUERY_CHARS: Final = 300  # a line that a person types; the store itself takes 64 KB
MAX_USER_CHARS: Final = 60


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


def page_routes(
    house: House, open_library: Callable[[], Library], *, tenant: str = "", public_key: str = ""
) -> list[Route]:
    """Return the routes `/dwell.js`, `/example`, `/example/search`, `/example/document` and `/example/example.css`.

    Args:
        house: The service.
        open_library: Makes what is searched. Called once, when the example is first visited, in a
            thread; it may take seconds, for which a search waits.
        tenant: The tenant whose loop orders the results. Its features must be those of the library.
        public_key: Key that pages send with what they tell; "" where the service asks for none.
    """
    example = _Example(house, open_library, tenant, public_key)
    return [
        Route("/dwell.js", _asset("dwell.js")),
        Route("/example", example.start),
        Route("/example/search", example.search),
        Route("/example/document", example.document),
        Route("/example/example.css", _asset("example.css")),
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

    def __init__(self, house: House, open_library: Callable[[], Library], tenant: str, public_key: str) -> None:
        self._house = house
        self._open_library = open_library
        self._tenant = tenant
        self._public_key = public_key
        self._library: Library | None = None
        self._opening = Lock()
        self._is_begun = False

    def start(self, request: Request) -> Response:
        """Show the page without a search, and begin to open the library: whoever comes here will search."""
        if not self._is_begun:
            self._is_begun = True
            Thread(target=self._opened, name="dwell-example", daemon=True).start()
        return _page(page.example_page(page.ExampleView(base=_base_of(request), public_key=self._public_key)))

    def search(self, request: Request) -> Response:
        """Search, rank by the live params, and show the list with what the collector must know of it."""
        base = _base_of(request)
        query = request.query_params.get("q", "").strip()
        user = request.query_params.get("user", "").strip()
        if len(query) > MAX_QUERY_CHARS or len(user) > MAX_USER_CHARS:
            return _refusal(base, 400, "That is too long", "A line is due here.", "Ask in fewer words.")
        view = page.ExampleView(base=base, query=query, user=user, public_key=self._public_key)
        if not query:
            return _page(page.example_page(view))
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
            return _page(page.example_page(view))
        return _page(page.example_page(self._ranked(view, library, loop, found)))

    def document(self, request: Request) -> Response:
        """Show one document."""
        base = _base_of(request)
        found = self._opened().document(request.query_params.get("id", ""))
        if found is None:
            return _refusal(base, 404, "No such document", "Nothing has that id.", "Search for it.")
        return _page(page.document_page(base, found.title, found.body))

    def _ranked(self, view: page.ExampleView, library: Library, loop: Loop, found: Candidates) -> page.ExampleView:
        user = view.user or None
        served = loop.rank(view.query, found.as_dicts(), k=N_SHOWN, user=user)
        found_at = {doc_id: place for place, doc_id in enumerate(found.ids, start=1)}
        results = []
        for doc_id, score, propensity in zip(
            served.ids, served.scores.tolist(), served.propensities.tolist(), strict=True
        ):
            document = library.document(doc_id)
            title, body = (document.title, document.body) if document else (doc_id, "")
            results.append(page.ExampleResult(doc_id, title, body, score, propensity, found_at[doc_id]))
        return view._replace(
            event_id=served.event_id,
            token=self._house.token_for(served, user, self._tenant),
            params_version=served.params_version,
            fallback=served.fallback,
            results=tuple(results),
        )

    def _opened(self) -> Library:
        with self._opening:
            if self._library is None:
                self._library = self._open_library()
            return self._library


def _base_of(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")


def _page(text: str, status: int = 200) -> Response:
    return HTMLResponse(text, status, headers=page.PAGE_HEADERS)


def _refusal(base: str, status: int, title: str, message: str, remedy: str) -> Response:
    return _page(page.message_page(base, title, message, remedy), status)
