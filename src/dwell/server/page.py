"""What browsers are given: the collector `dwell.js`, and the pages of the example. Nothing here knows a loop."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

import jinja2

from dwell.server.lesson import Lesson

__all__ = [
    "MAX_QUERY_CHARS",
    "MAX_USER_CHARS",
    "PAGE_HEADERS",
    "Asset",
    "ExampleResult",
    "ExampleView",
    "document_page",
    "dwell_js",
    "example_page",
    "lesson_part",
    "message_page",
    "page_asset",
]

#: Headers of every page of the example. Nothing comes from elsewhere and nothing runs that is not a file of ours. Not
#: `no-store`: a page that the browser may not keep can not tell how long its visitor was away.
PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "private, no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

MAX_QUERY_CHARS: Final = 300  # a line that a person types; the store itself takes 64 KB
MAX_USER_CHARS: Final = 60
_EXCERPT_CHARS: Final = 200  # two lines of a result on a desk, five on a phone
_MEDIA_TYPES: Final = {
    "dwell.js": "text/javascript; charset=utf-8",
    "example.css": "text/css; charset=utf-8",
    "example.js": "text/javascript; charset=utf-8",
}


class Asset(NamedTuple):
    """A static file and what goes with it.

    Attributes:
        content: Its bytes.
        integrity: Subresource integrity: "sha384-" and the digest.
        etag: A strong entity tag, quotes included.
        headers: Media type and caching. Any site may load it: it is the same for everybody and holds no secret.
    """

    content: bytes
    integrity: str
    etag: str
    headers: dict[str, str]


class ExampleResult(NamedTuple):
    """One row of a list.

    Attributes:
        doc_id: The document's id.
        title: What it is called.
        body: What it says, of which an excerpt is shown.
        score: Its raw score under the params.
        propensity: P(this document here | those above it).
        found_at: Its place in the retriever's own order, from 1.
        place: Its place by the params that ordered the list, without the draw, from 1; None where they order nothing.
        first_place: The same by the first params of the store.
    """

    doc_id: str
    title: str
    body: str
    score: float
    propensity: float
    found_at: int
    place: int | None = None
    first_place: int | None = None

    @property
    def moved(self) -> int:
        """How many places it has risen since the first params; below 0 where it sank."""
        return 0 if self.place is None or self.first_place is None else self.first_place - self.place

    @property
    def excerpt(self) -> str:
        """The beginning of the body on one line."""
        text = " ".join(self.body.split())
        return text if len(text) <= _EXCERPT_CHARS else f"{text[:_EXCERPT_CHARS].rstrip()}…"


class ExampleView(NamedTuple):
    """What the page of the example shows.

    Attributes:
        base: Path below which the service is mounted, "" at the root.
        query: What was asked, "" where nothing was.
        user: Who asks, "" where nobody says.
        public_key: Key that the browser sends with what it tells, "" where none is asked for.
        event_id: The served list, "" where there is none.
        token: Its impression token.
        params_version: Version of the params that ordered it.
        fallback: Code of what went wrong where the loop served the retriever's own order, else None.
        results: The rows, in the order served.
        first_version: The first params of the store, against which places are told.
        subject: What is searched.
        lesson: What the page says of its own learning, or None where it says nothing: no dashboard stands beside it.
        n_simulated: Simulated visitors that can be sent after a result; 0 where there are none.
    """

    base: str
    query: str = ""
    user: str = ""
    public_key: str = ""
    event_id: str = ""
    token: str = ""
    params_version: int = 0
    fallback: str | None = None
    results: tuple[ExampleResult, ...] = ()
    first_version: int = 0
    subject: str = "Python's documentation"
    lesson: Lesson | None = None
    n_simulated: int = 0


@cache
def page_asset(name: str) -> Asset:
    """Return "dwell.js", "example.css" or "example.js".

    Raises:
        KeyError: There is no such file.
    """
    media_type = _MEDIA_TYPES[name]
    content = files("dwell.server").joinpath("static", name).read_bytes()
    integrity = "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()
    headers = {
        "Content-Type": media_type,
        # Five minutes: a new version of the service reaches pages soon, and a busy site asks rarely.
        "Cache-Control": "public, max-age=300",
        "Access-Control-Allow-Origin": "*",  # with `integrity`, a script of another origin is read by CORS only
        "Cross-Origin-Resource-Policy": "cross-origin",
        "X-Content-Type-Options": "nosniff",
    }
    return Asset(content, integrity, f'"{hashlib.sha256(content).hexdigest()[:32]}"', headers)


def dwell_js() -> tuple[bytes, str]:
    """Return the collector and its `integrity` (SHA-384)."""
    asset = page_asset("dwell.js")
    return asset.content, asset.integrity


def example_page(view: ExampleView) -> str:
    """Return the search page, with the results of one search where there was one."""
    page_script = page_asset("example.js").integrity
    return (
        _templates().get_template("example.html").render(view=view, integrity=dwell_js()[1], page_integrity=page_script)
    )


def lesson_part(view: ExampleView) -> str:
    """Return the strip "learning from you" alone."""
    return _templates().get_template("lesson.html").render(view=view)


def document_page(base: str, title: str, body: str) -> str:
    """Return one document as a page."""
    return _templates().get_template("document.html").render(base=base, title=title, body=body)


def message_page(base: str, title: str, message: str, remedy: str) -> str:
    """Return a page that says what can not be done, and what to do."""
    return _templates().get_template("message.html").render(base=base, title=title, message=message, remedy=remedy)


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("dwell.server"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
