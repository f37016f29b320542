"""The routes of the page and of the example, asked in process; the loop and the library are real and in memory."""

import asyncio
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any, NamedTuple

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import dwell
from dwell.demo.documents import Document
from dwell.loop import Loop
from dwell.records import Served
from dwell.retrieval import Retriever
from dwell.server import page
from dwell.server.page_routes import page_routes

TEXTS = {
    "csv.reader": "Read a csv file row by row.",
    "csv.writer": "Write a csv file row by row.",
    "json.load": "Read a json file into objects.",
    "a&b=<c>": "Read a strange id in a file.",
}


class Hosted(NamedTuple):
    """The smallest house: one loop, and tokens that say what they were made of."""

    one: Loop

    def loop(self, tenant: str) -> Loop:
        assert tenant == "t"
        return self.one

    def token_for(self, served: Served, user: str | None, tenant: str) -> str:
        return f"{served.event_id}/{user}/{tenant}"


class List(HTMLParser):
    """The documents of a list, and the attributes of everything."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.docs: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.update(attrs)
        found = dict(attrs)
        self.docs += [found["data-dwell-doc"] or ""] if "data-dwell-doc" in found else []
        self.links += [found["href"] or ""] if tag == "a" else []


class Client(NamedTuple):
    """Asks an application without a socket."""

    app: Starlette

    def get(self, path: str, *, params: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> Any:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.get(path, params=params, headers=headers)

        return asyncio.run(ask())


def client_of(loop: Loop, opened: list[int] | None = None) -> Client:
    def library() -> Retriever:
        (opened if opened is not None else []).append(1)
        return Retriever.build([Document(doc_id, doc_id, text) for doc_id, text in TEXTS.items()], n_dimensions=2)

    routes = page_routes(Hosted(loop), library, tenant="t", public_key="dwell_pub_k")
    return Client(Starlette(routes=[*routes, Mount("/below", routes=routes)]))


@pytest.fixture
def loop() -> Iterator[Loop]:
    with dwell.open(":memory:", features=list(Retriever.names)) as opened:
        yield opened


def test_the_collector_is_served_with_its_tag_and_not_twice(loop: Loop) -> None:
    client = client_of(loop)
    first = client.get("/dwell.js")
    assert first.content == page.dwell_js()[0]
    assert first.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert first.headers["Access-Control-Allow-Origin"] == "*"
    again = client.get("/dwell.js", headers={"If-None-Match": f'"other", W/{first.headers["ETag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/dwell.js", headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_search_is_served_by_the_loop_and_recorded(loop: Loop) -> None:
    client = client_of(loop)
    answer = client.get("/example/search", params={"q": " read a file ", "user": "u-1"})
    assert answer.status_code == 200
    shown = List(answer.text)
    event_id = shown.attributes["data-dwell-event"]
    assert isinstance(event_id, str)
    assert shown.attributes["data-dwell-token"] == f"{event_id}/u-1/t"
    assert (shown.attributes["data-key"], shown.attributes["data-user"]) == ("dwell_pub_k", "u-1")
    assert f"params version {loop.params.version}" in answer.text
    assert set(shown.docs) <= set(TEXTS)
    assert len(shown.docs) >= 2
    for doc in shown.docs:  # every one of them was served under that event, and nothing else was
        assert loop.feedback(event_id, "click", doc=doc).status == "joined"
    assert loop.feedback(event_id, "click", doc="csv.nothing").status == "rejected"


def test_every_document_can_be_read_whatever_its_id(loop: Loop) -> None:
    client = client_of(loop)
    shown = List(client.get("/example/search", params={"q": "strange id"}).text)
    link = next(link for link in shown.links if "strange" not in link and "%3C" in link)
    assert TEXTS["a&b=<c>"] in client.get(link).text
    assert client.get("/example/document", params={"id": "<script>"}).status_code == 404


def test_pages_run_nothing_from_elsewhere_and_may_be_kept_for_going_back(loop: Loop) -> None:
    client = client_of(loop)
    for path in ("/example", "/example/search?q=csv", "/example/search", "/example/document?id=none"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert "no-store" not in headers["Cache-Control"]


def test_below_a_path_every_link_stays_below_it(loop: Loop) -> None:
    text = client_of(loop).get("/below/example/search", params={"q": "csv file"}).text
    shown = List(text)
    assert shown.links
    assert all(link.startswith("/below/") for link in shown.links)
    assert 'src="/below/dwell.js"' in text


def test_what_can_not_be_answered_says_why(loop: Loop) -> None:
    client = client_of(loop)
    assert client.get("/example/search", params={"q": "x" * 301}).status_code == 400
    assert client.get("/example/search", params={"q": "csv", "user": "u" * 61}).status_code == 400
    nothing = client.get("/example/search", params={"q": "zzzz"})
    assert nothing.status_code == 200
    assert "Nothing in the documentation" in nothing.text
    with dwell.open(":memory:", features=["price"]) as other:
        refused = client_of(other).get("/example/search", params={"q": "csv"})
    assert refused.status_code == 409
    assert "price" in refused.text


def test_the_library_is_opened_once(loop: Loop) -> None:
    opened: list[int] = []
    client = client_of(loop, opened)
    assert opened == []
    for path in ("/example", "/example", "/example/search?q=csv", "/example/search?q=json"):
        client.get(path)
    assert opened == [1]
